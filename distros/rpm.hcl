# What distributions of RPM packages have in common. Not a distribution by itself: definitions inherit from it and say
# what differs. The format is described in doc.go.
distro "rpm" {
  abstract = true
  family   = "rpm"
  locale   = "C.UTF-8"
  timezone = "Etc/UTC"

  rpm {
    database = "/var/lib/rpm"
  }

  base {
    packages = ["filesystem", "setup", "bash", "coreutils", "shadow-utils", "util-linux", "rpm", "systemd", "tzdata"]
  }

  architecture "x86_64" {
    package_arch = "x86_64"
    efi_name     = "x64"
    efi_fallback = "BOOTX64.EFI"
    console      = ["tty0", "ttyS0,115200n8"]
    kernels      = ["kernel"]

    grub "bios" {
      platform = "i386-pc"
      packages = ["grub2-tools", "grub2-pc-modules"]
      modules  = "/usr/lib/grub/i386-pc"
      boot_img = "/usr/lib/grub/i386-pc/boot.img"
    }

    grub "uefi" {
      platform = "x86_64-efi"
      packages = ["grub2-tools", "grub2-efi-x64-modules"]
      modules  = "/usr/lib/grub/x86_64-efi"
    }
  }

  architecture "aarch64" {
    package_arch = "aarch64"
    efi_name     = "aa64"
    efi_fallback = "BOOTAA64.EFI"
    console      = ["tty0", "ttyAMA0,115200n8"]
    kernels      = ["kernel"]

    grub "uefi" {
      platform = "arm64-efi"
      packages = ["grub2-tools", "grub2-efi-aa64-modules"]
      modules  = "/usr/lib/grub/arm64-efi"
    }
  }

  grub {
    mkimage = "/usr/bin/grub2-mkimage"
    dir     = "/boot/grub2"
  }

  # Some kernel packages hold the kernel in /boot, others beside its modules.
  kernel {
    image  = "/boot/vmlinuz-{version}"
    source = "/usr/lib/modules/{version}/vmlinuz"
  }

  # Host-only, dracut's default, is an initramfs for the machine it runs on: here the build host.
  initramfs {
    image    = "/boot/initramfs-{version}.img"
    command  = ["/usr/bin/dracut", "--force", "--no-hostonly", "--no-hostonly-cmdline", "--reproducible", "{image}", "{version}"]
    packages = ["dracut"]
  }

  scripts {
    env = {
      SYSTEMD_OFFLINE = "1" # systemctl changes links and talks to no manager
    }

    # What kernels call when they are installed. The initramfs and the boot entries are stages of their own, at the end;
    # of what these programs do only the list of modules is left.
    file "/usr/bin/kernel-install" {
      mode    = "0755"
      content = <<-EOT
        #!/bin/sh
        # add VERSION [KERNEL]
        [ "$1" != add ] || exec /usr/sbin/depmod -a "$2"
      EOT
    }

    file "/usr/sbin/new-kernel-pkg" {
      mode    = "0755"
      content = <<-EOT
        #!/bin/sh
        # [OPTION]... VERSION
        case " $* " in *" --depmod "*) ;; *) exit 0 ;; esac
        while [ $# -gt 1 ]; do shift; done
        exec /usr/sbin/depmod -a "$1"
      EOT
    }

    # Other packages call these two in their scripts. grub2-mkconfig would ask for the devices of the build host.
    file "/usr/bin/dracut" {
      mode    = "0755"
      content = "#!/bin/sh\nexit 0\n"
    }

    file "/usr/sbin/grub2-mkconfig" {
      mode    = "0755"
      content = "#!/bin/sh\nexit 0\n"
    }
  }

  # What the oldest kernel, e2fsprogs and GRUB of the family read: GRUB before 2.12 knows no metadata_csum_seed, Linux
  # before 5.15 no orphan_file.
  ext4 {
    features = [
      "has_journal", "ext_attr", "resize_inode", "dir_index", "filetype", "extent", "64bit", "flex_bg", "sparse_super",
      "large_file", "huge_file", "dir_nlink", "extra_isize", "metadata_csum",
    ]
  }

  # What package installation leaves that belongs to one machine, one build or one moment.
  clean {
    remove = [
      "/etc/.pwd.lock",
      "/etc/.updated",
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
      "/usr/lib/sysimage/rpm/.rpm.lock",
      "/usr/lib/sysimage/rpm/rpmdb.sqlite-*",
      "/var/.updated",
      "/var/cache/dnf/**",
      "/var/cache/ldconfig/aux-cache", # inode numbers and times of the build's file system
      "/var/cache/yum/**",
      "/var/lib/NetworkManager/secret_key",
      "/var/lib/dbus/machine-id",
      "/var/lib/dnf/history.sqlite*",
      "/var/lib/rpm/.dbenv.lock",
      "/var/lib/rpm/.rpm.lock",
      "/var/lib/rpm/__db.*",
      "/var/lib/rpm/rpmdb.sqlite-*",
      "/var/lib/systemd/random-seed",
      "/var/log/dnf*.log",
      "/var/log/dracut.log",
      "/var/log/hawkey.log",
      "/var/log/yum.log",
      "/var/tmp/**",
    ]

    # Empty, not absent: systemd fills it at boot without taking this for a first boot, which would preset all services.
    truncate = ["/etc/machine-id"]
  }

  # Host keys are never in an image. Where sshd comes with a unit of its own that makes missing ones, that does it.
  unit "ssh-host-keys.service" {
    when      = "/usr/sbin/sshd"
    wanted_by = "multi-user.target"
    content   = <<-EOT
      [Unit]
      Description=Generate missing SSH host keys
      Before=sshd.service
      ConditionPathExists=!/usr/lib/systemd/system/sshd-keygen@.service
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

  host_services = ["NetworkManager", "sshd"]
  host_group    = "wheel"
  host_size     = "4GiB"
}
