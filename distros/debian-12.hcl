distro "debian-12" {
  inherits = "deb"
  title    = "Debian 12 (bookworm)"
  version  = "12"
  codename = "bookworm"

  repository "debian" {
    url             = "http://ftp.debian.org/debian"
    suites          = ["bookworm", "bookworm-updates"]
    components      = ["main"]
    keyrings        = ["/usr/share/keyrings/debian-archive-keyring.gpg"]
    keyring_package = "debian-archive-keyring"
    apt_origin      = "Debian"
    apt_label       = "Debian"
  }

  repository "debian-security" {
    url             = "http://ftp.debian.org/debian-security"
    suites          = ["bookworm-security"]
    components      = ["main"]
    keyrings        = ["/usr/share/keyrings/debian-archive-keyring.gpg"]
    keyring_package = "debian-archive-keyring"
    apt_origin      = "Debian"
    apt_label       = "Debian-Security"
  }

  base {
    packages = ["usr-is-merged"] # else init-system-helpers brings usrmerge and the whole of perl
  }

  architecture "x86_64" {
    kernels = ["linux-image-amd64"]

    # base-files still ships /bin, /lib and /sbin as directories.
    links = {
      "/bin"    = "usr/bin"
      "/sbin"   = "usr/sbin"
      "/lib"    = "usr/lib"
      "/lib32"  = "usr/lib32"
      "/lib64"  = "usr/lib64"
      "/libx32" = "usr/libx32"
    }

    signed {
      packages  = ["shim-signed", "shim-helpers-amd64-signed", "grub-efi-amd64-signed"]
      prefix    = "/EFI/debian"
      cd_prefix = "/boot/grub"

      file "shim" {
        sources = ["/usr/lib/shim/shimx64.efi.signed"]
        name    = "shimx64.efi"
      }

      file "mokmanager" {
        sources = ["/usr/lib/shim/mmx64.efi.signed"]
        name    = "mmx64.efi"
      }

      file "grub" {
        sources = ["/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"]
        name    = "grubx64.efi"
      }

      file "grub-cd" {
        sources = ["/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed"]
        name    = "grubx64.efi"
      }
    }
  }

  architecture "aarch64" {
    package_arch = "arm64"
    efi_name     = "aa64"
    efi_fallback = "BOOTAA64.EFI"
    console      = ["tty0", "ttyAMA0,115200n8"]
    kernels      = ["linux-image-arm64"]

    links = {
      "/bin"  = "usr/bin"
      "/sbin" = "usr/sbin"
      "/lib"  = "usr/lib"
    }

    grub "uefi" {
      platform = "arm64-efi"
      packages = ["base-files", "grub-common", "grub-efi-arm64-bin"]
      modules  = "/usr/lib/grub/arm64-efi"
    }

    signed {
      packages  = ["shim-signed", "shim-helpers-arm64-signed", "grub-efi-arm64-signed"]
      prefix    = "/EFI/debian"
      cd_prefix = "/boot/grub"

      file "shim" {
        sources = ["/usr/lib/shim/shimaa64.efi.signed"]
        name    = "shimaa64.efi"
      }

      file "mokmanager" {
        sources = ["/usr/lib/shim/mmaa64.efi.signed"]
        name    = "mmaa64.efi"
      }

      file "grub" {
        sources = ["/usr/lib/grub/arm64-efi-signed/grubaa64.efi.signed"]
        name    = "grubaa64.efi"
      }

      file "grub-cd" {
        sources = ["/usr/lib/grub/arm64-efi-signed/gcdaa64.efi.signed"]
        name    = "grubaa64.efi"
      }
    }
  }

  grub {
    vendor = "/EFI/debian"
  }

  verified = {
    repositories = "A mirror of these suites was used in November 2026."
    keys         = "The Release files of November 2026 verify with this keyring."
    packages     = "Read from the x86_64 packages of 12.15."
    kernel       = "Read from the x86_64 packages of 12.15."
    initramfs    = "Images for x86_64 were booted with it."
    grub         = "Read from the x86_64 packages of 12.15; images for both kinds of firmware were booted."
    efi          = "Read from the x86_64 packages of 12.15, GRUB's built-in prefix too; booted with Secure Boot."
    filesystems  = "GRUB and the kernel of booted x86_64 images read them."
    selinux      = "The packages of a minimal host bring no policy."
    database     = "dpkg of booted images finds nothing to complain of."
    boot         = "examples/debian-12.hcl was built and booted under BIOS, UEFI and Secure Boot, x86_64."
  }

  unverified = [
    "aarch64 was never built; its names follow the x86_64 ones.",
    "The fallback URLs were not reachable where this was written; the mirror came from the host's apt configuration.",
  ]
}
