# Debian 12 for real machines: an ISO that installs a server by itself, and the same files for booting from the network.
#
#   imagefactory build examples/bare-metal.hcl      writes out/bare-metal-host-1.0.0-x86_64.iso and …-pxe/
#   imagefactory boot --iso --disk 20GiB            tries the ISO on a blank disk, in QEMU
#
# The installer takes the smallest disk that holds nothing. It never writes to a disk with a partition table, a file
# system or a part of one on it; when it finds no disk to take it shows every disk, says why it was not taken, and stops.
# Log in as admin, password imagefactory.
#
# A stick. Everything on it is lost, so look twice at what lsblk shows:
#
#   sudo dd if=out/bare-metal-host-1.0.0-x86_64.iso of=/dev/sdX bs=4M conv=fsync oflag=direct status=progress
#
# A disc, in a drive that writes:
#
#   xorriso -as cdrecord -v dev=/dev/sr0 blank=as_needed out/bare-metal-host-1.0.0-x86_64.iso
#
# A BMC takes the ISO as virtual media: on its web page, or from an HTTP server by Redfish, after which the machine starts
# from it once. Where the drive is below Managers differs between vendors:
#
#   curl -ku USER https://BMC/redfish/v1/Managers/1/VirtualMedia/CD/Actions/VirtualMedia.InsertMedia \
#     -H 'Content-Type: application/json' -d '{"Image": "http://boot.example.com/bare-metal-host-1.0.0-x86_64.iso"}'
#   ipmitool -I lanplus -H BMC -U USER chassis bootdev cdrom options=efiboot
#
# The network. Put the files of out/bare-metal-host-1.0.0-x86_64-pxe/ where output "pxe" below says they are served, and
# let firmware start boot.ipxe with iPXE, or grub.cfg with GRUB. With dnsmasq, for machines which start iPXE themselves:
#
#   dhcp-match=set:ipxe,175
#   dhcp-boot=tag:ipxe,http://boot.example.com/bare-metal/boot.ipxe
#
# A GRUB that firmware loads by TFTP reads the menu from the same files, with: configfile (tftp,ADDRESS)/bare-metal/grub.cfg
#
# The console. Everything is shown on the screen and on the first serial port; over the network, and over a cable:
#
#   ipmitool -I lanplus -H BMC -U USER sol activate
#   picocom -b 115200 /dev/ttyUSB0
#
# Whoever watches can change what the recipe says: in the menu "e" edits the entry, and arguments at the end of the line
# that begins with "linux" override the recipe, for example imagefactory.target=serial:S3Z2NB0K100000X imagefactory.wipe,
# or imagefactory.dry_run, which shows the decision and writes nothing.

name    = "bare-metal-host"
version = "1.0.0"
distro  = "debian-12"
arch    = "x86_64"

hostname = "debian"
timezone = "Etc/UTC"
locale   = "C.UTF-8"

rootfs {
  packages = [
    "linux-image-amd64", # with the drivers of real machines, for the installer, too
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
    "pciutils",
    "ca-certificates",
  ]

  # Firmware that network cards and disk controllers load, where their drivers ask for it:
  #
  # packages   = [ … "firmware-bnx2", "firmware-bnx2x", "firmware-qlogic", "firmware-misc-nonfree"]
  # repository "debian" { components = ["main", "non-free-firmware"] }
}

# The password of "admin" is for trying the image out. Replace it before the image leaves your desk:
#   imagefactory build -var password=... FILE        or put it into a -var-file nobody else can read
# Better still, remove password_hash below and use ssh_authorized_keys alone.
variable "password" {
  default     = "imagefactory"
  description = "Password of the user admin"
  sensitive   = true
}

variable "boot_server" {
  default     = "http://boot.example.com/bare-metal"
  description = "URL of the directory with the files for booting from the network"
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

# Runs inside the image while it is built.
script "services" {
  inline = <<-SH
    systemctl enable systemd-networkd systemd-resolved ssh
    systemctl disable systemd-networkd-wait-online
  SH
}

# Runs on the machine when the image is on its disk, in the installed root: what differs from machine to machine.
script "identity" {
  stage  = "install"
  inline = <<-SH
    serial=$(tr -cd 'A-Za-z0-9' 2>/dev/null </sys/class/dmi/id/product_serial || true)
    if [ -n "$serial" ]; then
      echo "node-$serial" | tr A-Z a-z | cut -c 1-63 >/etc/hostname
    fi
  SH
}

disk {
  layout = "single" # BIOS boot partition, ESP, ROOT; the installer grows the root to the disk
  size   = "3GiB"

  # A partition that outlives installations when target below has match = "only" and preserve = ["PERSIST"]:
  # partition "PERSIST" {
  #   role  = "data"
  #   size  = "8GiB"
  #   mount = "/srv"
  # }
}

boot {
  firmware = ["bios", "uefi"]           # the ISO and what it installs start under both, with Secure Boot, too
  console  = ["tty0", "ttyS0,115200n8"] # screen and serial port; the last one is /dev/console
  timeout  = 1                          # seconds; a medium's menu waits at least 5
}

output "iso" {
  mode       = "install"
  label      = "BARE_METAL"
  confirm    = false    # the medium installs by itself; true: somebody must agree on the console
  after      = "reboot" # or "poweroff", "halt"
  on_failure = "shell"  # or "reboot", "halt"

  target {
    match = "smallest-empty" # "largest-empty", or "only": exactly one disk meets the conditions

    # Conditions, all of which must hold. Patterns may have "*" and "?" in them:
    # by_id      = "nvme-SAMSUNG*" # name in /dev/disk/by-id
    # serial     = "S3Z2NB0K1*"
    # min_size   = "200GiB"
    # rotational = false
    # transport  = "nvme"
    # wipe       = true # with match = "only": take a disk that holds data
  }

  # Lines of JSON for programs: which disk was taken, how far the copy is, that it is done.
  events {
    console = "ttyS0"
  }
}

output "pxe" {
  url = var.boot_server

  target {
    match = "smallest-empty"
  }
}
