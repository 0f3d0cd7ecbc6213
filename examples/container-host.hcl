# Debian 12 as a host of containers, and nothing else: everything that a node of a cluster needs, trimmed and hardened, with
# its first container images on board.
#
#   imagefactory build examples/container-host.hcl      writes an ISO that installs it, a qcow2 and a raw image
#   imagefactory boot out/container-host-1.0.0-x86_64.qcow2
#
#   imagefactory trim examples/container-host.hcl --report trim.html      what went, and how much that was
#   imagefactory why examples/container-host.hcl libsystemd0              why something is still there
#   imagefactory scan examples/container-host.hcl                         what of the baseline holds, rule by rule
#   imagefactory diff examples/debian-12.hcl examples/container-host.hcl  how two systems differ
#
# Log in on a console as admin, password imagefactory. "sudo ctr -n k8s.io images ls" lists the container images.

name    = "container-host"
version = "1.0.0"
distro  = "debian-12"
arch    = "x86_64"

hostname = "node"
timezone = "Etc/UTC"
locale   = "C.UTF-8"

# What the host needs when it runs. What these packages need comes by itself; what is needed only to install and configure
# them goes again when the image is trimmed.
rootfs {
  packages = [
    # The system. The kernel is the one for real machines, the installer takes its drivers from it, too.
    "linux-image-amd64",
    "systemd",
    "systemd-sysv",
    "systemd-resolved",
    "libpam-systemd",
    "udev",
    "dbus",
    "kmod",
    "e2fsprogs",
    "procps",
    "chrony",
    "ca-certificates",

    # Administration.
    "openssh-server",
    "sudo",

    # Containers: the runtime, its plugins for networks, and the profiles they are confined by.
    "containerd",
    "runc",
    "containernetworking-plugins",
    "apparmor",

    # What kubelet, kube-proxy and network plugins call.
    "iproute2",
    "iptables",
    "nftables",
    "ipset",
    "conntrack",
    "ethtool",
    "socat",
  ]
}

# The password of "admin" is for trying the image out. Replace it before the image leaves your desk:
#   imagefactory build -var password=... FILE        or put it into a -var-file nobody else can read
# It opens consoles only: the baseline below lets nobody log in over the network but with a key:
#   imagefactory build -var "ssh_keys=[\"$(cat ~/.ssh/id_ed25519.pub)\"]" FILE
variable "password" {
  default     = "imagefactory"
  description = "Password of the user admin"
  sensitive   = true
}

variable "ssh_keys" {
  type        = list(string)
  default     = []
  description = "Public keys of those who log in as admin"
}

user "admin" {
  comment             = "Administrator"
  groups              = ["sudo"]
  password_hash       = sha512crypt(var.password, "imagefactorydemo") # the salt stands here so that builds stay the same
  ssh_authorized_keys = var.ssh_keys
}

# Every wired interface asks DHCP for its address. Booting does not wait for it. Interfaces that network plugins make have
# other names, and stay theirs.
file "/etc/systemd/network/80-dhcp.network" {
  content = <<-EOT
    [Match]
    Name=en* eth*

    [Network]
    DHCP=yes

    [Link]
    RequiredForOnline=no
  EOT
}

# Containers are layers of file systems, and their traffic crosses bridges.
file "/etc/modules-load.d/containers.conf" {
  content = <<-EOT
    overlay
    br_netfilter
  EOT
}

file "/etc/sysctl.d/90-containers.conf" {
  content = <<-EOT
    net.ipv4.ip_forward = 1
    net.bridge.bridge-nf-call-iptables = 1
    net.bridge.bridge-nf-call-ip6tables = 1
    vm.max_map_count = 262144
    vm.overcommit_memory = 1
    fs.inotify.max_user_instances = 8192
    fs.inotify.max_user_watches = 524288
  EOT
}

# containerd for kubelet: control groups are systemd's. What is not said here is containerd's default.
file "/etc/containerd/config.toml" {
  content = <<-EOT
    version = 2

    [plugins."io.containerd.grpc.v1.cri"]
      sandbox_image = "registry.k8s.io/pause:3.6"

      [plugins."io.containerd.grpc.v1.cri".cni]
        bin_dir = "/usr/lib/cni"
        conf_dir = "/etc/cni/net.d"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
        runtime_type = "io.containerd.runc.v2"

        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
          SystemdCgroup = true
  EOT
}

# The initial RAM file system needs drivers of disks and what a disk may be connected by, not those of networks and of other
# file systems: it is half as large, and unpacked sooner.
file "/etc/initramfs-tools/conf.d/disks" {
  content = "MODULES=list\n"
}

file "/etc/initramfs-tools/hooks/disks" {
  mode    = "0755"
  content = <<-EOT
    #!/bin/sh -e
    case "$1" in
    prereqs) exit 0 ;;
    esac
    . /usr/share/initramfs-tools/hook-functions
    manual_add_modules ext4 crc32c virtio_pci virtio_mmio usbhid hid-generic atkbd i8042 hyperv-keyboard
    copy_modules_dir kernel/drivers/usb/host
    auto_add_modules scsi block ata usb_storage
    hidden_dep_add_modules
  EOT
}

# Container images which are there on first boot, without a network. The label is the name by which the runtime knows the
# image; the source is where the build takes it from, which can be a mirror of your own. "imagefactory lock" pins both by
# digest. Where the build host has no signature policy (containers-policy.json(5)), the source must name the digest itself:
# "docker://registry.example.com/pause@sha256:…".
variable "registry" {
  default     = "registry.k8s.io"
  description = "Registry the container images are taken from"
}

variable "insecure_registry" {
  default     = false
  description = "Whether the registry may speak plain HTTP"
}

# The image every pod begins with.
container "registry.k8s.io/pause:3.6" {
  runtime  = "containerd"
  source   = "docker://${var.registry}/pause:3.6"
  insecure = var.insecure_registry
}

# The image a cluster resolves names with.
container "registry.k8s.io/coredns/coredns:v1.10.1" {
  runtime  = "containerd"
  source   = "docker://${var.registry}/coredns/coredns:v1.10.1"
  insecure = var.insecure_registry
}

# Settings of the kernel, of sshd, of accounts and of permissions, by the rules of the baseline. A rule that does not suit is
# skipped by its identifier, or gets another value; "imagefactory scan" lists all of them, with reasons.
harden {
  profile = "baseline"
  # skip = ["…"]
  # set  = { … = "…" }
}

# What does not serve the role goes: package managers, documentation, translations, drivers of devices no server has, and
# every package that nothing reaches from what is kept. The build fails when something that stays misses what went.
trim {
  profile = "container-host"

  # Packages, units and paths, and globs of them, that stay besides what the profile keeps.
  # keep = ["tcpdump", "/usr/share/zoneinfo/**"]

  # Plugins for networks that clusters do not make of these.
  remove = [
    "cni-dhcp.service",
    "cni-dhcp.socket",
    "/usr/lib/cni/dhcp",
    "/usr/lib/cni/host-device",
    "/usr/lib/cni/ipvlan",
    "/usr/lib/cni/macvlan",
    "/usr/lib/cni/ptp",
    "/usr/lib/cni/sbr",
    "/usr/lib/cni/static",
    "/usr/lib/cni/vlan",
    "/usr/lib/cni/vrf",
  ]

  # Modules besides the classes that the profile leaves out: no such disks, radios and networks here.
  paths = [
    "/usr/lib/modules/*/kernel/drivers/hwmon",
    "/usr/lib/modules/*/kernel/drivers/block/rnbd",
    "/usr/lib/modules/*/kernel/drivers/infiniband",
    "/usr/lib/modules/*/kernel/**/*rdma.ko",
    "/usr/lib/modules/*/kernel/net/rds",
    "/usr/lib/modules/*/kernel/net/smc",
    "/usr/lib/modules/*/kernel/fs/btrfs",
    "/usr/lib/modules/*/kernel/fs/f2fs",
    "/usr/lib/modules/*/kernel/net/batman-adv",
    "/usr/lib/modules/*/kernel/net/wireless",
  ]

  services {
    enable = ["systemd-networkd", "systemd-resolved", "ssh", "containerd", "chrony"]
    remove = ["systemd-networkd-wait-online"] # else systemd-networkd enables it, and booting waits for the network
  }

  # The build fails with exit status 4, and says who is to blame, when the image grows beyond this.
  budget {
    packages   = 150
    services   = 143
    size       = "512MiB"
    image_size = "225MiB" # of which real images of pause and coredns take 16
  }
}

disk {
  layout = "single" # BIOS boot partition, ESP, ROOT; the root grows to the real disk
  size   = "2GiB"
}

boot {
  firmware = ["bios", "uefi"]           # with Secure Boot, too
  console  = ["tty0", "ttyS0,115200n8"] # screen and serial port; the last one is /dev/console
  timeout  = 1

  # What the baseline asks of the kernel, and only its command line can say.
  cmdline = ["slab_nomerge", "init_on_alloc=1", "page_alloc.shuffle=1", "randomize_kstack_offset=on", "vsyscall=none"]
}

# Installs the host on the smallest disk that holds nothing. examples/bare-metal.hcl says more of media.
# Compressed once and installed often: the highest level saves a tenth, and takes some seconds longer.
output "iso" {
  level = 19

  target {
    match = "smallest-empty"
  }
}

output "qcow2" {
  compression = "zstd"
}

output "raw" {}
