distro "kylin-v10-sp3" {
  inherits = "openeuler"
  title    = "Kylin Linux Advanced Server V10 SP3"
  version  = "10"

  repository "base" {
    url        = "https://update.cs2c.com.cn/NS/V10/V10SP3/os/adv/lic/base/$basearch"
    key_source = "/etc/pki/rpm-gpg/RPM-GPG-KEY-kylin of an installed system"
  }

  repository "updates" {
    url        = "https://update.cs2c.com.cn/NS/V10/V10SP3/os/adv/lic/updates/$basearch"
    key_source = "/etc/pki/rpm-gpg/RPM-GPG-KEY-kylin of an installed system"
  }

  architecture "x86_64" {
    signed {
      prefix = "/EFI/kylin"

      file "shim" {
        sources = ["/boot/efi/EFI/kylin/shimx64.efi", "/boot/efi/EFI/BOOT/BOOTX64.EFI"]
        name    = "shimx64.efi"
      }

      file "mokmanager" {
        sources = ["/boot/efi/EFI/kylin/mmx64.efi", "/boot/efi/EFI/BOOT/mmx64.efi"]
        name    = "mmx64.efi"
      }

      file "grub" {
        sources = ["/boot/efi/EFI/kylin/grubx64.efi"]
        name    = "grubx64.efi"
      }
    }
  }

  architecture "aarch64" {
    signed {
      prefix = "/EFI/kylin"

      file "shim" {
        sources = ["/boot/efi/EFI/kylin/shimaa64.efi", "/boot/efi/EFI/BOOT/BOOTAA64.EFI"]
        name    = "shimaa64.efi"
      }

      file "mokmanager" {
        sources = ["/boot/efi/EFI/kylin/mmaa64.efi", "/boot/efi/EFI/BOOT/mmaa64.efi"]
        name    = "mmaa64.efi"
      }

      file "grub" {
        sources = ["/boot/efi/EFI/kylin/grubaa64.efi"]
        name    = "grubaa64.efi"
      }
    }
  }

  grub {
    vendor = "/EFI/kylin"
  }

  selinux {
    mode = "disabled"
  }

  host_packages = [
    "NetworkManager", "ca-certificates", "chrony", "dnf", "e2fsprogs", "ethtool", "iproute", "iptables", "kmod", "openssh-server",
    "passwd", "sudo", "tar",
  ]
  host_services = ["NetworkManager", "chronyd", "sshd"]

  notes = [
    "aarch64 kernels use pages of 64 KiB.",
  ]

  unverified = [
    "Which container runtime its repositories have is not known: a minimal host has none.",
    "Nothing of it was seen: neither packages nor metadata. Names follow openEuler.",
    "The names of boot packages, the database of rpm and the default of SELinux were not checked.",
  ]
}
