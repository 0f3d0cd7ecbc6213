# What Enterprise Linux 9 and later have in common. Not a distribution by itself.
distro "el" {
  inherits = "rpm"
  abstract = true

  # The release's own package is whatever provides system-release. Without its languages named, glibc would bring all.
  base {
    packages = [
      "filesystem", "setup", "bash", "coreutils", "glibc-minimal-langpack", "shadow-utils", "util-linux", "rpm", "systemd",
      "systemd-udev", "system-release", "tzdata", "grub2-common", "grub2-tools-minimal",
    ]
  }

  architecture "x86_64" {
    signed {
      packages = ["shim-x64", "grub2-efi-x64"]
    }
  }

  architecture "aarch64" {
    signed {
      packages = ["shim-aa64", "grub2-efi-aa64"]
    }
  }

  grub {
    bls = true
  }

  initramfs {
    packages = ["dracut", "dracut-config-generic"]
  }

  # systemd-repart enlarges the partition, which must be of the type the specification of discoverable partitions has
  # for the root; systemd-growfs, asked for by the mount option, enlarges the file system. Both are in systemd-udev.
  grow {
    mount_options = "x-systemd.growfs"

    file "/etc/repart.d/50-root.conf" {
      content = "[Partition]\nType=root\n"
    }
  }

  selinux {
    mode     = "enforcing"
    packages = ["selinux-policy-targeted"]
  }

  host_packages = [
    "NetworkManager", "ca-certificates", "chrony", "conntrack-tools", "dnf", "e2fsprogs", "ethtool", "iproute", "iptables-nft",
    "kmod", "openssh-server", "podman", "socat", "sudo", "tar",
  ]
  host_services = ["NetworkManager", "chronyd", "sshd"]
}
