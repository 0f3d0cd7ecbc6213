# A machine that runs containers: from the network, in a cluster or alone, installed from an image and replaced by a newer
# image. Nothing is installed on it, so it has no package manager, no compilers and no scripts of packages.
#
# The names are those of Debian and of what is made from it, and those of Fedora, Red Hat, openEuler and what is made from
# them. What is not installed is not kept; what is here and installed is kept without the recipe saying so.
profile "container-host" {
  description = "runs containers: kernel, systemd, network, container runtime, ssh and time; no package manager"
  inherits    = "minimal"
  essential   = false

  # Needs that packages declare because their maintainer scripts, or the hooks of others', call these.
  scripts = [
    "adduser", "cdebconf", "chkconfig", "alternatives", "debconf", "debianutils", "dpkg", "dracut*", "grub2-tools", "grub2-tools-extra", "grubby", "init-system-helpers",
    "initramfs-tools*", "install-info", "info", "initscripts*", "kernel-tools*", "linux-base", "lsb-base", "mkinitramfs*", "perl", "perl-base",
    "runit-helper", "sensible-utils", "sysvinit-utils", "tiny-initramfs*", "ucf", "usr-is-merged", "usrmerge",
    "libdebconfclient0", "base-passwd", "python3-debconf",
  ]

  role "system" {
    packages = ["base-files", "basesystem", "glibc-common", "libc-bin"]
  }

  role "kernel" {
    reason   = "the machine starts with it"
    packages = ["linux-image-*", "kernel", "kernel-core", "kernel-modules", "kernel-modules-core"]
  }

  role "firmware" {
    reason   = "drivers load it; of the files in it, those stay that a driver asks for"
    packages = ["linux-firmware*", "firmware-*", "*-firmware", "intel-microcode", "amd64-microcode", "microcode_ctl"]
  }

  role "init" {
    reason = "starts everything else, names devices, and speaks to both"
    packages = [
      "systemd", "systemd-sysv", "systemd-udev", "udev", "dbus", "dbus-broker", "libpam-systemd", "systemd-pam", "kmod", "libnss-systemd",
      "libnss-myhostname", "libnss-resolve", "hostname", "systemd-container",
    ]
  }

  role "shell" {
    reason = "what services and administrators call in scripts"
    packages = [
      "bash", "coreutils", "coreutils-single", "dash", "debianutils", "findutils", "gawk", "grep", "gzip", "mawk", "ncurses-base", "sed", "tar",
      "util-linux", "util-linux-core", "mount", "which",
    ]
  }

  role "login" {
    reason = "administrators log in"
    packages = [
      "login", "passwd", "shadow", "shadow-utils", "sudo", "openssh-server", "authselect", "authselect-libs", "procps", "procps-ng", "libpam-modules",
      "pam", "libpam-runtime",
    ]
  }

  role "network" {
    reason = "connects the machine and its containers"
    packages = [
      "NetworkManager", "systemd-networkd", "systemd-resolved", "netplan.io", "ifupdown", "iproute2", "iproute", "iproute-tc", "iptables",
      "iptables-nft", "iptables-libs", "nftables", "ebtables", "ipset", "ipvsadm", "conntrack", "conntrack-tools", "ethtool", "socat",
      "ca-certificates", "netbase", "iputils", "iputils-ping",
    ]
  }

  role "containers" {
    reason = "runs containers"
    packages = [
      "containerd", "containerd.io", "runc", "crun", "containernetworking-plugins", "cri-tools", "cri-o", "cri-o1.*", "podman", "conmon", "docker.io",
      "docker-ce", "docker-engine", "moby-engine", "iSulad", "kubelet", "kubeadm", "kubernetes-kubelet", "kubernetes-kubeadm", "kubernetes-node",
      "container-selinux", "containers-common",
    ]
  }

  role "time" {
    reason   = "certificates and clusters need the right time"
    packages = ["chrony", "systemd-timesyncd", "ntpsec"]
  }

  role "disks" {
    reason = "checks, mounts and enlarges file systems"
    packages = [
      "e2fsprogs", "xfsprogs", "dosfstools", "fdisk", "gdisk", "cloud-guest-utils", "cloud-utils-growpart", "systemd-repart", "grub2-tools-minimal",
    ]
  }

  role "confinement" {
    reason   = "confines containers and services"
    packages = ["apparmor", "selinux-policy", "selinux-policy-targeted", "policycoreutils", "libseccomp2", "libseccomp", "audit"]
  }

  manager {
    reason = "the machine gets a new image, not packages"
    packages = [
      "apt", "apt-utils", "aptitude", "dpkg", "dpkg-dev", "debsig*", "dnf", "dnf5*", "microdnf", "yum", "rpm", "rpm-build*", "zypper", "tdnf",
      "debian-archive-keyring", "ubuntu-keyring", "unattended-upgrades", "packagekit", "PackageKit", "snapd",
    ]
  }

  # The bundle of certificates is made; the program that makes it anew is not called on the machine.
  need "certificates" {
    reason = "only update-ca-certificates calls it"
    of     = ["ca-certificates"]
    on     = ["openssl", "openssl-perl"]
    drop   = true
  }

  # What is not named here stays: network, disks, controllers, virtual machines, file systems of today, InfiniBand, consoles
  # of remote management, serial lines on USB, memory cards that machines start from.
  modules {
    drop = [
      "amateur-radio", "atm", "bluetooth", "can", "cluster-filesystems", "firewire", "flash", "floppy", "gadget", "graphics", "industrial", "isdn",
      "joystick", "laptop", "legacy-filesystems", "legacy-network", "media", "modem", "mouse", "nfc", "parallel-port", "pcmcia", "sensors", "sound",
      "staging", "tests", "thunderbolt", "usb-devices", "wireless",
    ]
    keep_modules = ["erofs"] # images of containers
    firmware     = true
  }

  paths "package manager" {
    reason = "nothing is installed on the machine"
    unless = ["dpkg", "rpm"]
    globs = [
      "/etc/apt/**", "/etc/dpkg/**", "/usr/share/debconf/**", "/etc/debconf.conf", "/etc/yum.repos.d/**", "/etc/yum/**", "/etc/dnf/**", "/etc/pki/rpm-gpg/**",
      "/usr/lib/rpm/**", "/usr/share/keyrings/**", "/var/lib/ucf/**", "/var/lib/pam/**", "/var/lib/systemd/deb-systemd-*/**", "/usr/share/apport/**",
      "/var/lib/alternatives/**", "/var/cache/dictionaries-common/**", "/var/lib/vim/**", "/usr/share/polkit-1/actions/org.dpkg*",
    ]
  }

  paths "scripts of the package manager" {
    reason = "written in a language that is not there, and called by maintainer scripts only"
    unless = ["perl-base", "perl", "perl-interpreter"]
    globs = [
      "/usr/sbin/pam-auth-update", "/usr/sbin/pam_getenv", "/usr/bin/c_rehash", "/usr/share/perl5/**", "/usr/share/perl/**", "/usr/lib/*/perl5/**",
      "/usr/lib/*/perl-base/**",
    ]
  }

  paths "initramfs generator" {
    reason = "the image comes with its initramfs"
    unless = ["initramfs-tools-core", "dracut"]
    globs = [
      "/etc/initramfs-tools/**", "/usr/share/initramfs-tools/**", "/var/lib/initramfs-tools/**", "/usr/lib/dracut/**", "/etc/dracut.conf.d/**",
      "/etc/kernel/*.d/**", "/usr/lib/kernel/install.d/**", "/usr/share/kernel/**",
    ]
  }

  paths "scripts of another init" {
    reason = "systemd starts services by their units"
    unless = ["sysvinit-core", "initscripts"]
    globs  = ["/etc/init.d/**", "/etc/rc?.d/**", "/etc/runit/**", "/etc/sv/**", "/usr/lib/runit-helper/**", "/usr/share/runit/**"]
    except = ["/etc/rc.d/init.d/functions"]
  }

  paths "cron jobs" {
    reason = "nothing runs them"
    unless = ["cron", "cronie", "anacron", "systemd-cron", "bcron"]
    globs  = ["/etc/cron.d/**", "/etc/cron.daily/**", "/etc/cron.hourly/**", "/etc/cron.weekly/**", "/etc/cron.monthly/**", "/etc/crontab"]
  }

  paths "rotation of logs" {
    reason = "the journal bounds itself"
    unless = ["logrotate"]
    globs  = ["/etc/logrotate.d/**"]
  }

  paths "sources of compiled data" {
    reason = "systemd-hwdb made /usr/lib/udev/hwdb.bin of them"
    globs  = ["/usr/lib/udev/hwdb.d/**"]
  }

  paths "character sets" {
    reason = "programs of the host speak UTF-8"
    globs  = ["/usr/lib/*/gconv/*.so", "/usr/lib64/gconv/*.so", "/usr/share/i18n/**"]
    except = [
      "/usr/lib/*/gconv/UTF-*.so", "/usr/lib/*/gconv/UNICODE.so", "/usr/lib/*/gconv/ISO8859-1.so", "/usr/lib/*/gconv/ISO8859-15.so",
      "/usr/lib64/gconv/UTF-*.so", "/usr/lib64/gconv/UNICODE.so", "/usr/lib64/gconv/ISO8859-1.so", "/usr/lib64/gconv/ISO8859-15.so",
    ]
  }

  paths "development" {
    reason = "nothing is built on the machine"
    globs = [
      "/usr/include/**", "/usr/lib/**/pkgconfig/**", "/usr/lib64/pkgconfig/**", "/usr/share/pkgconfig/**", "/usr/share/aclocal/**", "/usr/share/cmake/**",
      "/usr/src/**", "/usr/lib/modules/*/build", "/usr/lib/modules/*/source", "/usr/lib/debug/**", "/usr/share/gdb/**", "/usr/share/vim/**",
      "/usr/share/systemtap/**", "/boot/System.map-*", "/usr/share/gcc*/**",
    ]
  }

  paths "other tools" {
    reason = "tests, and what newer programs of the same package do"
    globs = [
      "/usr/bin/containerd-stress",      # loads a runtime to test it
      "/usr/bin/containerd-shim",        # of containerd before 1.2
      "/usr/bin/containerd-shim-runc-v1",
    ]
  }

  services "initramfs" {
    reason = "they are started in an initramfs, which has its own copy"
    remove = ["initrd.target", "initrd-*", "systemd-volatile-root.service", "systemd-pcrphase*.service"]
  }

  services "sleep" {
    reason = "the machine never sleeps"
    remove = [
      "sleep.target", "suspend.target", "hibernate.target", "hybrid-sleep.target", "suspend-then-hibernate.target", "systemd-suspend.service",
      "systemd-hibernate.service", "systemd-hibernate-resume@.service", "systemd-hibernate-resume.service", "systemd-hibernate-clear.service",
      "systemd-hybrid-sleep.service", "systemd-suspend-then-hibernate.service",
    ]
  }

  services "devices" {
    reason = "there are no such devices"
    remove = [
      "bluetooth.target", "printer.target", "smartcard.target", "sound.target", "usb-gadget.target", "systemd-backlight@.service", "systemd-rfkill.service",
      "systemd-rfkill.socket",
    ]
  }

  services "another init" {
    reason = "they stand for scripts and run levels of another init"
    unless = ["sysvinit-core", "initscripts"]
    remove = [
      "cryptdisks.service", "cryptdisks-early.service", "hwclock.service", "kmod.service", "procps.service", "rc.service", "rcS.service", "sudo.service",
      "udev.service", "x11-common.service", "runlevel?.target", "systemd-initctl.service", "systemd-initctl.socket", "systemd-update-utmp-runlevel.service",
      "rc-local.service",
    ]
  }

  services "inside a container" {
    reason = "they are for a system that runs in a container itself, or that systemd-nspawn starts"
    unless = ["systemd-container"]
    remove = ["console-getty.service", "container-getty@.service", "machine.slice", "exit.target", "systemd-exit.service"]
  }

  services "updates of packages" {
    reason = "the machine gets a new image, not packages"
    remove = ["system-update.target", "system-update-pre.target", "system-update-cleanup.service", "factory-reset.target"]
  }

  services "questions" {
    reason = "nobody sits in front of the machine when it starts for the first time; the recipe answers"
    remove = ["systemd-firstboot.service", "systemd-localed.service"]
  }

  services "volumes" {
    reason = "there are no such volumes, or programs for them"
    unless = ["lvm2", "cryptsetup", "cryptsetup-bin", "quota"]
    remove = [
      "e2scrub*", "integritysetup*.target", "remote-cryptsetup.target", "remote-veritysetup.target", "veritysetup*.target", "quotaon.service",
      "systemd-quotacheck.service", "pam_namespace.service",
    ]
  }

  services "logging" {
    reason = "no other program than the journal gets messages"
    unless = ["rsyslog", "syslog-ng", "syslog-ng-core"]
    remove = ["syslog.socket"]
  }

  services "terminals" {
    reason = "logind starts terminals"
    unless = ["elogind"]
    remove = ["getty-static.service"]
  }

  services "time" {
    reason = "only systemd-timesyncd tells it"
    unless = ["systemd-timesyncd"]
    remove = ["systemd-time-wait-sync.service"]
  }

  leftovers "apt" {
    packages = ["apt"]
    paths    = ["/var/lib/apt/**", "/var/cache/apt/**", "/etc/apt/**", "/var/log/apt/**"]
  }

  leftovers "dpkg" {
    packages = ["dpkg"]
    paths    = ["/etc/dpkg/**", "/var/log/alternatives.log", "/var/log/dpkg.log", "/var/backups/**"]
  }

  leftovers "dnf" {
    packages = ["dnf", "dnf5", "microdnf", "yum"]
    paths    = ["/var/lib/dnf/**", "/var/cache/dnf/**", "/var/lib/yum/**", "/var/log/dnf*", "/var/log/hawkey.log"]
  }

  leftovers "initramfs" {
    packages = ["initramfs-tools-core", "dracut"]
    paths    = ["/var/lib/initramfs-tools/**", "/var/lib/dracut/**"]
  }

  leftovers "vim" {
    packages = ["vim-common", "vim-tiny", "vim-minimal"]
    paths    = ["/etc/vim/**"]
  }
}
