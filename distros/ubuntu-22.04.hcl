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

  verified = {
    repositories = "A mirror of these suites was used in November 2026."
    keys         = "The Release files of November 2026 verify with this keyring."
    packages     = "Read from the x86_64 packages of the release and of -updates."
    kernel       = "Read from the x86_64 packages of the release and of -updates."
    initramfs    = "Images for x86_64 were booted with it."
    grub         = "Read from the x86_64 packages of the release and of -updates; images for both kinds of firmware were booted."
    efi          = "Read from the x86_64 packages of the release and of -updates, GRUB's built-in prefix too; booted with Secure Boot."
    filesystems  = "GRUB and the kernel of booted x86_64 images read them."
    selinux      = "The packages of a minimal host bring no policy."
    database     = "dpkg of booted images finds nothing to complain of."
    boot         = "A minimal host was built and booted under BIOS, UEFI and Secure Boot, x86_64."
  }

  unverified = [
    "The fallback URL was not reachable where this was written; another mirror was used.",
  ]
}
