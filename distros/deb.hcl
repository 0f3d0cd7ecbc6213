# What Debian, Ubuntu and their relatives have in common. Not a distribution by itself: definitions inherit from it and
# say what differs. The format is described in doc.go.
distro "deb" {
  abstract = true
  family   = "deb"
  locale   = "C.UTF-8"
  timezone = "Etc/UTC"

  base {
    essential  = true
    priorities = ["required"]
  }

  architecture "x86_64" {
    package_arch = "amd64"
    efi_name     = "x64"
    efi_fallback = "BOOTX64.EFI"
    console      = ["tty0", "ttyS0,115200n8"]

    # base-files has the links of merged /usr from Debian 13 and Ubuntu 24.04 on; without them no program of the tools
    # tree finds its dynamic loader.
    grub "bios" {
      platform = "i386-pc"
      packages = ["base-files", "grub-common", "grub-pc-bin"]
      modules  = "/usr/lib/grub/i386-pc"
      boot_img = "/usr/lib/grub/i386-pc/boot.img"
    }

    grub "uefi" {
      platform = "x86_64-efi"
      packages = ["base-files", "grub-common", "grub-efi-amd64-bin"]
      modules  = "/usr/lib/grub/x86_64-efi"
    }
  }

  grub {
    mkimage = "/usr/bin/grub-mkimage"
    dir     = "/boot/grub"
  }

  kernel {
    image = "/boot/vmlinuz-{version}"
  }

  # mkinitramfs and not update-initramfs: the latter is replaced while scripts run (below) and would also sync the disk
  # and call boot loader hooks.
  initramfs {
    image    = "/boot/initrd.img-{version}"
    command  = ["/usr/sbin/mkinitramfs", "-o", "{image}", "{version}"]
    packages = ["initramfs-tools", "zstd"] # without zstd it falls back to gzip, which is slower and larger

    # Its hook would ask the devices of the build host which fsck the root needs.
    file "/etc/initramfs-tools/conf.d/filesystem" {
      content = "FSTYPE={filesystem}\n"
    }
  }

  scripts {
    env = {
      DEBIAN_FRONTEND             = "noninteractive"
      DEBCONF_NONINTERACTIVE_SEEN = "true"
      DEBCONF_NOWARNINGS          = "yes"
      INITRD                      = "No" # the kernel's hook in /etc/kernel/postinst.d makes no initramfs
    }

    # 101: the policy forbids starting services (invoke-rc.d(8)).
    file "/usr/sbin/policy-rc.d" {
      mode    = "0755"
      content = "#!/bin/sh\nexit 101\n"
    }

    # The trigger of initramfs-tools would generate one initramfs after the other; ours is a stage of its own, at the
    # end. The program and not update-initramfs.conf is replaced, because that is a conffile a package may ask about.
    file "/usr/sbin/update-initramfs" {
      mode    = "0755"
      content = "#!/bin/sh\nexit 0\n"
    }
  }

  # What the oldest kernel, e2fsprogs and GRUB of the family read: GRUB 2.06 knows no metadata_csum_seed, Linux before
  # 5.15 no orphan_file.
  ext4 {
    features = [
      "has_journal", "ext_attr", "resize_inode", "dir_index", "filetype", "extent", "64bit", "flex_bg", "sparse_super",
      "large_file", "huge_file", "dir_nlink", "extra_isize", "metadata_csum",
    ]
  }

  # systemd-repart enlarges the partition, which must be of the type the specification of discoverable partitions has
  # for the root; systemd-growfs, asked for by the mount option, enlarges the file system.
  grow {
    mount_options = "x-systemd.growfs"

    file "/etc/repart.d/50-root.conf" {
      content = "[Partition]\nType=root\n"
    }
  }

  # What package installation leaves that belongs to one machine, one build or one moment.
  clean {
    remove = [
      "/etc/.pwd.lock",
      "/etc/group-",
      "/etc/gshadow-",
      "/etc/passwd-",
      "/etc/shadow-",
      "/etc/subgid-",
      "/etc/subuid-",
      "/etc/ssh/ssh_host_*",
      "/root/.bash_history",
      "/run/**",
      "/tmp/**",
      "/var/cache/apt/*.bin",
      "/var/cache/apt/archives/*.deb",
      "/var/cache/debconf/*-old",
      "/var/cache/ldconfig/aux-cache", # inode numbers and times of the build's file system
      "/var/lib/dbus/machine-id",
      "/var/lib/dpkg/*-old",
      "/var/lib/systemd/random-seed",
      "/var/log/alternatives.log",
      "/var/log/apt/*.log",
      "/var/log/bootstrap.log",
      "/var/log/dpkg.log",
      "/var/tmp/**",
    ]

    # Empty, not absent: systemd fills it at boot without taking this for a first boot, which would preset all services.
    truncate = ["/etc/machine-id"]
  }

  # Host keys are never in an image, and the packages make them only while they are installed.
  unit "ssh-host-keys.service" {
    when      = "/usr/sbin/sshd"
    wanted_by = "multi-user.target"
    content   = <<-EOT
      [Unit]
      Description=Generate missing SSH host keys
      Before=ssh.service sshd.service ssh.socket
      ConditionPathIsReadWrite=/etc/ssh
      DefaultDependencies=no
      After=local-fs.target systemd-random-seed.service
      Conflicts=shutdown.target
      Before=shutdown.target

      [Service]
      Type=oneshot
      RemainAfterExit=yes
      ExecStart=/usr/bin/ssh-keygen -A
    EOT
  }

  host_packages = [
    "systemd", "systemd-sysv", "udev", "dbus", "libpam-systemd", "openssh-server", "iproute2", "kmod", "e2fsprogs", "ca-certificates", "tzdata",
  ]
  host_services = ["systemd-networkd"]
  host_group    = "sudo"
  host_size     = "2GiB"
}
