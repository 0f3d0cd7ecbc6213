# Debian 12: a minimal host for containers, for virtual machines. Build and try it with
#
#   imagefactory build examples/debian-12.hcl
#   imagefactory boot
#
# and log in as admin, password imagefactory.

name    = "debian-12-host"
version = "1.0.0"
distro  = "debian-12"
arch    = "x86_64"

hostname = "debian"
timezone = "Etc/UTC"
locale   = "C.UTF-8"

rootfs {
  packages = [
    "linux-image-cloud-amd64", # starts quickly in virtual machines; for real hardware: "linux-image-amd64"
    "systemd",
    "systemd-sysv",
    "systemd-resolved",
    "systemd-timesyncd",
    "libpam-systemd",
    "udev",
    "dbus",
    "openssh-server",
    "sudo",
    "iproute2",
    "kmod",
    "e2fsprogs",
    "ca-certificates",
  ]
}

# The password of "admin" is for trying the image out. Replace it before the image leaves your desk:
#   imagefactory build -var password=... FILE        or put it into a -var-file nobody else can read
# Better still, remove password_hash below and use ssh_authorized_keys alone.
variable "password" {
  default     = "imagefactory"
  description = "Password of the user admin"
  sensitive   = true
}

user "admin" {
  comment       = "Administrator"
  groups        = ["sudo"]
  password_hash = sha512crypt(var.password, "imagefactorydemo") # the salt stands here so that builds stay the same
  # ssh_authorized_keys = [file("id_ed25519.pub")]
}

# Every wired interface asks DHCP for its address. Booting does not wait for it.
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

# Kernel parameters a host of containers wants.
file "/etc/sysctl.d/90-containers.conf" {
  content = <<-EOT
    net.ipv4.ip_forward = 1
    vm.max_map_count = 262144
  EOT
}

# Runs inside the image while it is built, as a stage of its own: changing it does not install packages again.
script "services" {
  inline = <<-SH
    systemctl enable systemd-networkd systemd-resolved ssh
    systemctl disable systemd-networkd-wait-online
  SH
}

disk {
  layout = "single" # BIOS boot partition, ESP, ROOT; the root grows to the real disk on first boot
  size   = "2GiB"
}

boot {
  firmware = ["bios", "uefi"]           # one image boots under both; UEFI with the distribution's signed shim and GRUB
  console  = ["tty0", "ttyS0,115200n8"] # screen and serial port; the last one is /dev/console
  timeout  = 1
}

output "raw" {}
output "qcow2" {
  compression = "zstd"
}
