# What the releases of BigCloud Enterprise Linux for Euler have in common. Not a distribution by itself.
distro "bclinux-euler" {
  inherits = "openeuler"
  abstract = true

  repository "os" {
    url        = "http://mirrors.bclinux.org/bclinux/oe$releasever/OS/$basearch"
    key_source = "in /etc/pki/rpm-gpg of an installed system"
    exclude    = ["bclinux-license-manager"]
  }

  repository "everything" {
    url        = "http://mirrors.bclinux.org/bclinux/oe$releasever/everything/$basearch"
    key_source = "in /etc/pki/rpm-gpg of an installed system"
    exclude    = ["bclinux-license-manager"]
  }

  repository "update" {
    url        = "http://mirrors.bclinux.org/bclinux/oe$releasever/update/$basearch"
    key_source = "in /etc/pki/rpm-gpg of an installed system"
    exclude    = ["bclinux-license-manager"]
  }

  repository "extras" {
    url        = "http://mirrors.bclinux.org/bclinux/oe$releasever/extras/$basearch"
    key_source = "in /etc/pki/rpm-gpg of an installed system"
    exclude    = ["bclinux-license-manager"]
  }

  architecture "x86_64" {
    signed {
      prefix = "/EFI/*"

      file "shim" {
        sources = ["/boot/efi/EFI/*/shimx64.efi", "/boot/efi/EFI/BOOT/BOOTX64.EFI"]
        name    = "shimx64.efi"
      }

      file "mokmanager" {
        sources = ["/boot/efi/EFI/*/mmx64.efi", "/boot/efi/EFI/BOOT/mmx64.efi"]
        name    = "mmx64.efi"
      }

      file "grub" {
        sources = ["/boot/efi/EFI/*/grubx64.efi"]
        name    = "grubx64.efi"
      }
    }
  }

  architecture "aarch64" {
    signed {
      prefix = "/EFI/*"

      file "shim" {
        sources = ["/boot/efi/EFI/*/shimaa64.efi", "/boot/efi/EFI/BOOT/BOOTAA64.EFI"]
        name    = "shimaa64.efi"
      }

      file "mokmanager" {
        sources = ["/boot/efi/EFI/*/mmaa64.efi", "/boot/efi/EFI/BOOT/mmaa64.efi"]
        name    = "mmaa64.efi"
      }

      file "grub" {
        sources = ["/boot/efi/EFI/*/grubaa64.efi"]
        name    = "grubaa64.efi"
      }
    }
  }

  grub {
    vendor = "/EFI/bclinux"
  }

  selinux {
    mode = "disabled"
  }
}
