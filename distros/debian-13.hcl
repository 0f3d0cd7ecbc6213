# As Debian 12; what differs is said here.
distro "debian-13" {
  inherits = "debian-12"
  title    = "Debian 13 (trixie)"
  version  = "13"
  codename = "trixie"

  repository "debian" {
    suites = ["trixie", "trixie-updates"]
  }

  repository "debian-security" {
    suites = ["trixie-security"]
  }

  base {
    packages = []
  }

  # base-files ships /bin, /lib, /lib64 and /sbin as links.
  architecture "x86_64" {
    links = {}
  }

  architecture "aarch64" {
    links = {}
  }

  grow {
    packages = ["systemd-repart"]
  }

  verified = {
    repositories = "A mirror of these suites was used in November 2026."
    keys         = "The Release files of November 2026 verify with this keyring."
    packages     = "Read from the x86_64 packages of 13.7."
    kernel       = "Read from the x86_64 packages of 13.7."
    initramfs    = "Images for x86_64 were booted with it."
    grub         = "Read from the x86_64 packages of 13.7; images for both kinds of firmware were booted."
    efi          = "Read from the x86_64 packages of 13.7, GRUB's built-in prefix too; booted with Secure Boot."
    filesystems  = "GRUB and the kernel of booted x86_64 images read them."
    selinux      = "The packages of a minimal host bring no policy."
    database     = "dpkg of booted images finds nothing to complain of."
    boot         = "examples/debian-13.hcl was built and booted under BIOS, UEFI and Secure Boot, x86_64."
  }

  unverified = [
    "aarch64 was never built; its names follow the x86_64 ones.",
    "The fallback URLs were not reachable where this was written; the mirror came from the host's apt configuration.",
  ]
}
