# A system that runs, is administered and updated by its package manager, and is not read: everything that the recipe
# installs with what it needs, and no documentation, translations or caches.
profile "minimal" {
  description = "what the recipe installs and what that needs, without documentation, translations and caches"
  reachable   = true
  essential   = true

  role "system" {
    reason   = "distributions expect it of every system"
    packages = ["base-files", "filesystem", "setup", "*-release", "system-release", "netbase", "tzdata"]
  }

  role "packages" {
    reason   = "installs, removes and updates packages"
    packages = ["apt", "dpkg", "dnf", "dnf5", "yum", "microdnf", "rpm", "debian-archive-keyring", "ubuntu-keyring"]
  }

  links = ["/etc/alternatives", "/etc/systemd/**", "/etc/rc?.d", "/etc/rc.d/rc?.d", "/etc/ssl/certs", "/etc/runlevels/*"]

  paths "documentation" {
    reason = "nobody reads it on the machine"
    globs = [
      "/usr/share/doc/**", "/usr/share/doc-base/**", "/usr/share/gtk-doc/**", "/usr/share/help/**", "/usr/share/info/**",
      "/usr/share/man/**", "/usr/share/lintian/**", "/usr/share/linda/**", "/usr/share/bug/**",
      "/usr/local/share/man/**", "/var/cache/man/**", "/var/log/README",
    ]
    except = [
      # The licences come with the copies that are given away.
      "/usr/share/doc/*/copyright", "/usr/share/doc/*/LICENSE*", "/usr/share/doc/*/COPYING*",
    ]
  }

  paths "translations" {
    reason = "messages are in English; the character sets of C.UTF-8 are part of the C library"
    globs  = ["/usr/share/locale/**", "/usr/share/i18n/**", "/usr/lib/locale/**", "/usr/share/X11/locale/**"]
    except = ["/usr/share/locale/locale.alias", "/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8"]
  }

  paths "caches" {
    reason = "what reads them makes them anew"
    globs = [
      "/etc/*-", "/usr/lib/python3*/**/__pycache__", "/usr/share/**/__pycache__", "/var/cache/apt/**", "/var/cache/debconf/*-old", "/var/cache/dnf/**",
      "/var/cache/ldconfig/**", "/var/cache/libdnf5/**", "/var/cache/yum/**", "/var/lib/apt/lists/**", "/var/lib/dpkg/*-old",
      "/var/log/**/*.log", "/var/log/**/*.log.*",
    ]
    except = ["/var/cache/apt/archives/partial", "/var/lib/apt/lists/partial"]
  }

  paths "completions" {
    reason = "only help who types"
    globs  = ["/usr/share/bash-completion/completions/**", "/etc/bash_completion.d/**", "/usr/share/zsh/**", "/usr/share/fish/**"]
  }

  leftovers "debconf" {
    packages = ["debconf", "cdebconf"]
    paths    = ["/var/cache/debconf/**"]
  }

  leftovers "ca-certificates" {
    packages = ["ca-certificates"]
    paths    = ["/etc/ssl/certs/*", "/etc/ca-certificates.conf"]
  }
}
