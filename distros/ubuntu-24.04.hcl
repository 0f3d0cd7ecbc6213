distro "ubuntu-24.04" {
  inherits = "deb"
  title    = "Ubuntu 24.04 LTS (noble)"
  version  = "24.04"
  codename = "noble"

  repository "ubuntu" {
    url             = "http://mirrors.edge.kernel.org/ubuntu"
    suites          = ["noble", "noble-updates", "noble-security"]
    components      = ["main", "universe"]
    keyrings        = ["/usr/share/keyrings/ubuntu-archive-keyring.gpg"]
    keyring_package = "ubuntu-keyring"
    apt_origin      = "Ubuntu"
    apt_label       = "Ubuntu"
  }

  base {
    packages = ["tzdata"] # not required here, but /etc/localtime points into it
  }

  # arm64 lives on other mirrors than amd64; a recipe which wants it brings a distro block that inherits this one.
  architecture "x86_64" {
    kernels = ["linux-image-virtual"]

    signed {
      packages  = ["shim-signed", "grub-efi-amd64-signed"]
      prefix    = "/EFI/ubuntu"
      cd_prefix = "/boot/grub"

      # Since 1.51.3 shimx64.efi.signed is an alternative, which exists only after the package is configured.
      file "shim" {
        sources = ["/usr/lib/shim/shimx64.efi.signed.latest", "/usr/lib/shim/shimx64.efi.signed"]
        name    = "shimx64.efi"
      }

      file "mokmanager" {
        sources = ["/usr/lib/shim/mmx64.efi"]
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

  grub {
    vendor = "/EFI/ubuntu"
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
    boot         = "examples/ubuntu-24.04.hcl was built and booted under BIOS, UEFI and Secure Boot, x86_64."
  }

  unverified = [
    "The fallback URL was not reachable where this was written; another mirror was used.",
  ]
}
