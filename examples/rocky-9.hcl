# Rocky Linux 9: a minimal host for containers. Build and try it with
#
#   imagefactory build examples/rocky-9.hcl
#   imagefactory boot
#
# and log in as admin, password imagefactory.
#
# Not yet run on the vendor's packages: they were never available where this was written. "imagefactory distros
# rocky-9" tells which facts of the definition were checked, and how.

name    = "rocky-9-host"
version = "1.0.0"
distro  = "rocky-9"
arch    = "x86_64"

hostname = "rocky"
timezone = "Etc/UTC"
locale   = "C.UTF-8"

rootfs {
  packages = [
    "kernel", # with the modules of usual hardware
    "systemd",
    "NetworkManager",
    "openssh-server",
    "sudo",
    "iproute",
    "kmod",
    "e2fsprogs",
    "ca-certificates",
    "chrony",
    "dnf",
    "podman",
    "container-selinux",
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
  groups        = ["wheel"]
  password_hash = sha512crypt(var.password, "imagefactorydemo") # the salt stands here so that builds stay the same
  # ssh_authorized_keys = [file("id_ed25519.pub")]
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
    systemctl enable NetworkManager chronyd sshd
  SH
}

disk {
  layout = "single" # BIOS boot partition, ESP, ROOT; the root grows to the real disk on first boot
  size   = "4GiB"
}

boot {
  firmware = ["bios", "uefi"]           # one image boots under both; UEFI with the distribution's shim and GRUB
  console  = ["tty0", "ttyS0,115200n8"] # screen and serial port; the last one is /dev/console
  timeout  = 1
}

output "raw" {}
output "qcow2" {
  compression = "zstd"
}
