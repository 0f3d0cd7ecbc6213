distro "rocky-9" {
  inherits = "el"
  title    = "Rocky Linux 9 (Blue Onyx)"
  version  = "9"

  rpm {
    module_platform = "platform:el9"
  }

  repository "baseos" {
    url              = "https://download.rockylinux.org/pub/rocky/$releasever/BaseOS/$basearch/os"
    keyrings         = ["/etc/pki/rpm-gpg/RPM-GPG-KEY-Rocky-9", "/usr/share/distribution-gpg-keys/rocky/RPM-GPG-KEY-Rocky-9"]
    keyring_package  = "distribution-gpg-keys"
    key_url          = "https://download.rockylinux.org/pub/rocky/RPM-GPG-KEY-Rocky-9"
    key_fingerprints = ["21CB256AE16FC54C6E652949702D426D350D275D"]
  }

  repository "appstream" {
    url              = "https://download.rockylinux.org/pub/rocky/$releasever/AppStream/$basearch/os"
    keyrings         = ["/etc/pki/rpm-gpg/RPM-GPG-KEY-Rocky-9", "/usr/share/distribution-gpg-keys/rocky/RPM-GPG-KEY-Rocky-9"]
    keyring_package  = "distribution-gpg-keys"
    key_url          = "https://download.rockylinux.org/pub/rocky/RPM-GPG-KEY-Rocky-9"
    key_fingerprints = ["21CB256AE16FC54C6E652949702D426D350D275D"]
  }

  architecture "x86_64" {
    signed {
      prefix = "/EFI/rocky"

      file "shim" {
        sources = ["/boot/efi/EFI/rocky/shimx64.efi"]
        name    = "shimx64.efi"
      }

      file "mokmanager" {
        sources = ["/boot/efi/EFI/rocky/mmx64.efi"]
        name    = "mmx64.efi"
      }

      file "grub" {
        sources = ["/boot/efi/EFI/rocky/grubx64.efi"]
        name    = "grubx64.efi"
      }
    }
  }

  architecture "aarch64" {
    signed {
      prefix = "/EFI/rocky"

      file "shim" {
        sources = ["/boot/efi/EFI/rocky/shimaa64.efi"]
        name    = "shimaa64.efi"
      }

      file "mokmanager" {
        sources = ["/boot/efi/EFI/rocky/mmaa64.efi"]
        name    = "mmaa64.efi"
      }

      file "grub" {
        sources = ["/boot/efi/EFI/rocky/grubaa64.efi"]
        name    = "grubaa64.efi"
      }
    }
  }

  grub {
    vendor = "/EFI/rocky"
  }

  unverified = [
    "Nothing of it was seen: names and paths follow CentOS Stream 9.",
    "The fingerprint of the key was taken from several public sources that agree; no package was verified with it.",
  ]
}
