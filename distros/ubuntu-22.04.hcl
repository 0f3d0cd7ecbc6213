# As Ubuntu 24.04; what differs is said here.
distro "ubuntu-22.04" {
  inherits = "ubuntu-24.04"
  title    = "Ubuntu 22.04 LTS (jammy)"
  version  = "22.04"
  codename = "jammy"

  repository "ubuntu" {
    suites = ["jammy", "jammy-updates", "jammy-security"]
  }

  # base-files still ships /bin, /lib and /sbin as directories.
  architecture "x86_64" {
    links = {
      "/bin"    = "usr/bin"
      "/sbin"   = "usr/sbin"
      "/lib"    = "usr/lib"
      "/lib32"  = "usr/lib32"
      "/lib64"  = "usr/lib64"
      "/libx32" = "usr/libx32"
    }
  }

  grow {
    packages = ["systemd-repart"] # in jammy-updates, not in the release itself
  }
}
