distro "openeuler-24.03" {
  inherits = "openeuler"
  title    = "openEuler 24.03 LTS"
  version  = "24.03-LTS" # a service pack has another one, such as "24.03-LTS-SP1"

  repository "os" {
    url              = "https://repo.openeuler.org/openEuler-$releasever/OS/$basearch"
    keyrings         = ["/etc/pki/rpm-gpg/RPM-GPG-KEY-openEuler", "/usr/share/distribution-gpg-keys/openeuler/RPM-GPG-KEY-openEuler-EulerMaker"]
    keyring_package  = "distribution-gpg-keys"
    key_url          = "https://repo.openeuler.org/openEuler-$releasever/OS/$basearch/RPM-GPG-KEY-openEuler"
    key_fingerprints = ["8AA16BF9F2CA5244010DCA963B477C60B675600B"]
  }

  repository "everything" {
    url              = "https://repo.openeuler.org/openEuler-$releasever/everything/$basearch"
    keyrings         = ["/etc/pki/rpm-gpg/RPM-GPG-KEY-openEuler", "/usr/share/distribution-gpg-keys/openeuler/RPM-GPG-KEY-openEuler-EulerMaker"]
    keyring_package  = "distribution-gpg-keys"
    key_url          = "https://repo.openeuler.org/openEuler-$releasever/OS/$basearch/RPM-GPG-KEY-openEuler"
    key_fingerprints = ["8AA16BF9F2CA5244010DCA963B477C60B675600B"]
  }

  repository "update" {
    url              = "https://repo.openeuler.org/openEuler-$releasever/update/$basearch"
    keyrings         = ["/etc/pki/rpm-gpg/RPM-GPG-KEY-openEuler", "/usr/share/distribution-gpg-keys/openeuler/RPM-GPG-KEY-openEuler-EulerMaker"]
    keyring_package  = "distribution-gpg-keys"
    key_url          = "https://repo.openeuler.org/openEuler-$releasever/OS/$basearch/RPM-GPG-KEY-openEuler"
    key_fingerprints = ["8AA16BF9F2CA5244010DCA963B477C60B675600B"]
  }

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

  unverified = [
    "Nothing of it was seen: neither packages nor metadata.",
    "The key is the one published for 22.03 LTS SP1; that 24.03 is signed with it was not checked.",
  ]
}
