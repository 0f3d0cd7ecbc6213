# What the releases of openEuler itself have in common. Not a distribution by itself.
distro "openeuler-lts" {
  inherits = "openeuler"
  abstract = true

  architecture "x86_64" {
    signed {
      prefix = "/EFI/openEuler"

      file "shim" {
        sources = ["/boot/efi/EFI/openEuler/shimx64.efi", "/boot/efi/EFI/BOOT/BOOTX64.EFI"]
        name    = "shimx64.efi"
      }

      file "mokmanager" {
        sources = ["/boot/efi/EFI/openEuler/mmx64.efi", "/boot/efi/EFI/BOOT/mmx64.efi"]
        name    = "mmx64.efi"
      }

      file "grub" {
        sources = ["/boot/efi/EFI/openEuler/grubx64.efi"]
        name    = "grubx64.efi"
      }
    }
  }

  architecture "aarch64" {
    signed {
      prefix = "/EFI/openEuler"

      file "shim" {
        sources = ["/boot/efi/EFI/openEuler/shimaa64.efi", "/boot/efi/EFI/BOOT/BOOTAA64.EFI"]
        name    = "shimaa64.efi"
      }

      file "mokmanager" {
        sources = ["/boot/efi/EFI/openEuler/mmaa64.efi", "/boot/efi/EFI/BOOT/mmaa64.efi"]
        name    = "mmaa64.efi"
      }

      file "grub" {
        sources = ["/boot/efi/EFI/openEuler/grubaa64.efi"]
        name    = "grubaa64.efi"
      }
    }
  }

  grub {
    vendor = "/EFI/openEuler"
  }
}
