# What openEuler and the distributions made from it have in common. Not a distribution by itself.
distro "openeuler" {
  inherits = "rpm"
  abstract = true

  # The image's own rpm writes the database: which format these releases use differs, and was not seen.
  rpm {
    backend = "rpmdb"
  }

  # The release's own package is whatever provides system-release.
  base {
    packages = [
      "filesystem", "setup", "bash", "coreutils", "shadow", "util-linux", "rpm", "systemd", "system-release", "tzdata",
      "grub2-common", "grub2-tools-minimal",
    ]
  }

  # Where the programs lie in the packages differs; the first that exists is taken.
  architecture "x86_64" {
    signed {
      packages = ["shim", "grub2-efi-x64"]
    }
  }

  architecture "aarch64" {
    signed {
      packages = ["shim", "grub2-efi-aa64"]
    }
  }

  # Older systems have no systemd-repart: sfdisk enlarges the partition, and systemd-growfs, asked for by the mount
  # option, the file system.
  grow {
    packages      = ["util-linux"]
    mount_options = "x-systemd.growfs"

    file "/usr/libexec/imagefactory/grow-root" {
      mode    = "0755"
      content = <<-EOT
        #!/bin/sh
        # Enlarges the partition of the root file system to the end of its disk, if more than 1 MiB is free there.
        set -e
        device=$(readlink -f "$(findmnt --noheadings --output SOURCE /)")
        sys=$(readlink -f "/sys/class/block/$${device##*/}")
        [ -e "$sys/partition" ] || exit 0
        disk=$${sys%/*}
        # In sectors of 512 bytes, whatever the disk's are.
        free=$(($(cat "$disk/size") - $(cat "$sys/start") - $(cat "$sys/size")))
        [ "$free" -gt 2081 ] || exit 0 # with the backup of the partition table, which takes 33
        number=$(cat "$sys/partition")
        echo ', +' | sfdisk --no-reread --force -N "$number" "/dev/$${disk##*/}"
        partx --update --nr "$number" "/dev/$${disk##*/}"
      EOT
    }
  }

  unit "grow-root.service" {
    when      = "/usr/libexec/imagefactory/grow-root"
    wanted_by = "sysinit.target"
    content   = <<-EOT
      [Unit]
      Description=Enlarge the root partition
      DefaultDependencies=no
      After=systemd-remount-fs.service
      Before=systemd-growfs@-.service systemd-growfs-root.service sysinit.target shutdown.target
      Conflicts=shutdown.target

      [Service]
      Type=oneshot
      RemainAfterExit=yes
      ExecStart=/usr/libexec/imagefactory/grow-root
    EOT
  }

  selinux {
    mode     = "enforcing"
    packages = ["selinux-policy-targeted"]
  }

  host_packages = [
    "NetworkManager", "ca-certificates", "chrony", "conntrack-tools", "containerd", "containernetworking-plugins", "cri-tools",
    "dnf", "e2fsprogs", "ebtables", "ethtool", "iproute", "iptables", "kmod", "openssh-server", "passwd", "socat", "sudo", "tar",
  ]
  host_services = ["NetworkManager", "chronyd", "containerd", "sshd"]
}
