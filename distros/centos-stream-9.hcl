distro "centos-stream-9" {
  inherits = "el"
  title    = "CentOS Stream 9"
  version  = "9"

  rpm {
    module_platform = "platform:el9"
  }

  repository "baseos" {
    url              = "https://mirror.stream.centos.org/$releasever-stream/BaseOS/$basearch/os"
    keyrings         = ["/etc/pki/rpm-gpg/RPM-GPG-KEY-centosofficial", "/usr/share/distribution-gpg-keys/centos/RPM-GPG-KEY-CentOS-Official"]
    keyring_package  = "distribution-gpg-keys"
    key_url          = "https://www.centos.org/keys/RPM-GPG-KEY-CentOS-Official"
    key_fingerprints = ["99DB70FAE1D7CE227FB6488205B555B38483C65D"]
  }

  repository "appstream" {
    url              = "https://mirror.stream.centos.org/$releasever-stream/AppStream/$basearch/os"
    keyrings         = ["/etc/pki/rpm-gpg/RPM-GPG-KEY-centosofficial", "/usr/share/distribution-gpg-keys/centos/RPM-GPG-KEY-CentOS-Official"]
    keyring_package  = "distribution-gpg-keys"
    key_url          = "https://www.centos.org/keys/RPM-GPG-KEY-CentOS-Official"
    key_fingerprints = ["99DB70FAE1D7CE227FB6488205B555B38483C65D"]
  }

  architecture "x86_64" {
    signed {
      prefix = "/EFI/centos"

      file "shim" {
        sources = ["/boot/efi/EFI/centos/shimx64.efi"]
        name    = "shimx64.efi"
      }

      file "mokmanager" {
        sources = ["/boot/efi/EFI/centos/mmx64.efi"]
        name    = "mmx64.efi"
      }

      file "grub" {
        sources = ["/boot/efi/EFI/centos/grubx64.efi"]
        name    = "grubx64.efi"
      }
    }
  }

  architecture "aarch64" {
    signed {
      prefix = "/EFI/centos"

      file "shim" {
        sources = ["/boot/efi/EFI/centos/shimaa64.efi"]
        name    = "shimaa64.efi"
      }

      file "mokmanager" {
        sources = ["/boot/efi/EFI/centos/mmaa64.efi"]
        name    = "mmaa64.efi"
      }

      file "grub" {
        sources = ["/boot/efi/EFI/centos/grubaa64.efi"]
        name    = "grubaa64.efi"
      }
    }
  }

  grub {
    vendor = "/EFI/centos"
  }

  verified = {
    packages = "The names are in x86_64 metadata of 2025; no package was seen."
    kernel   = "Both paths are in the file lists of x86_64 metadata of 2025."
    grub     = "Programs and directories are in the file lists of x86_64 metadata of 2025."
    efi      = "The x86_64 files are in the file lists of 2025; the prefix built into GRUB was not read."
    database = "rpm's own file list of 2025 has rpmdb.sqlite there; modules solve as dnf solves them."
  }

  unverified = [
    "No image was built: the packages were never available where this was written.",
    "The fingerprint of the key was taken from several public sources that agree; no package was verified with it.",
  ]
}
