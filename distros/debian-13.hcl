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

  verified = "Package names, file names and GRUB's built-in prefix were read from the x86_64 packages of 13.7 in November 2026, and examples/debian-13.hcl was built."
}
