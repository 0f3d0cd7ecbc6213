package recipes

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/imagefactory/imagefactory/distros"
)

// Format returns the recipe source in canonical style: indentation and aligned "=". What it means does not change; text
// that is no valid HCL is formatted as far as it goes.
func Format(src []byte) []byte {
	out := bytes.TrimSpace(hclwrite.Format(src))
	if len(out) == 0 {
		return nil
	}
	return append(out, '\n')
}

// Starter returns a commented recipe for an image of the distribution, which loads without problems and boots. The error
// is a *distros.UnknownError, or says why the name cannot be one.
func Starter(name, distro string) ([]byte, error) {
	if !namePattern.MatchString(name) {
		return nil, fmt.Errorf("%q cannot be the name of an image: use letters, digits, \".\", \"_\" and \"-\", starting with a letter or digit", name)
	}
	d, err := distros.Load(distro)
	if err != nil {
		return nil, err
	}
	arch := d.Architectures[0]
	var packages strings.Builder
	for _, p := range append(append([]string{}, arch.Kernels...), d.Host.Packages...) {
		fmt.Fprintf(&packages, "    %q,\n", p)
	}
	return Format([]byte(strings.NewReplacer(
		"@NAME@", fmt.Sprintf("%q", name),
		"@DISTRO@", fmt.Sprintf("%q", distro),
		"@TITLE@", d.Title,
		"@ARCH@", fmt.Sprintf("%q", arch.Name),
		"@TIMEZONE@", fmt.Sprintf("%q", d.Timezone),
		"@LOCALE@", fmt.Sprintf("%q", d.Locale),
		"@PACKAGES@", packages.String(),
		"@REPOSITORIES@", starterKeys(d),
		"@GROUP@", fmt.Sprintf("%q", d.Host.Group),
		"@NETWORK@", starterNetwork(d),
		"@SERVICES@", strings.Join(d.Host.Services, " "),
		"@SIZE@", fmt.Sprintf("%q", d.Host.Size),
	).Replace(starter))), nil
}

// starterKeys says where keys belong that the distribution leaves to the recipe.
func starterKeys(d *distros.Distro) string {
	var b strings.Builder
	for _, r := range d.Repositories {
		if !r.GPGCheck || r.HasKey() {
			continue
		}
		if b.Len() == 0 {
			fmt.Fprintf(&b, "\n# The vendor's public key must come with the recipe. It is %s;\n# copy it to keys/.\n", r.KeySource)
		}
		fmt.Fprintf(&b, "repository %q {\n  gpg_key = %q\n}\n", r.Name, StarterKey(d))
	}
	return b.String()
}

// StarterKey is where starter recipes expect the key of a distribution that has none: a path relative to the recipe.
func StarterKey(d *distros.Distro) string { return "keys/" + d.Name + ".asc" }

// starterNetwork configures what does nothing without configuration.
func starterNetwork(d *distros.Distro) string {
	if !slices.Contains(d.Host.Services, "systemd-networkd") {
		return ""
	}
	return networkd
}

const networkd = `
# Every wired interface asks DHCP for its address.
file "/etc/systemd/network/80-dhcp.network" {
  content = <<-EOT
    [Match]
    Name=en* eth*

    [Network]
    DHCP=yes
  EOT
}
`

const starter = `# A minimal bootable host with @TITLE@.
#
#   imagefactory validate FILE    checks it
#   imagefactory lock FILE        pins every package, so that the same recipe gives the same image
#   imagefactory build FILE       writes out/NAME-VERSION-ARCH.qcow2 and .raw
#   imagefactory boot             starts the newest image in QEMU

name    = @NAME@
version = var.version
distro  = @DISTRO@
arch    = @ARCH@

timezone = @TIMEZONE@
locale   = @LOCALE@
# hostname = "node-1"                  # unless it is the name

# Set with -var version=..., in a -var-file, or with IMAGEFACTORY_VAR_version.
variable "version" {
  default = "0.1.0"
}

# The password of "admin". Nobody can log in with it before you set one; make a hash with: openssl passwd -6
variable "password_hash" {
  default   = "*"
  sensitive = true
}

rootfs {
  packages = [
@PACKAGES@  ]
  # recommends = true                  # also what packages recommend
  # exclude    = ["package"]           # never install these
@REPOSITORIES@}

user "admin" {
  comment       = "Administrator"
  password_hash = var.password_hash
  # groups              = [@GROUP@]
  # ssh_authorized_keys = [file("id_ed25519.pub")]
}
@NETWORK@
# Scripts run inside the image while it is built, each cached as a stage of its own.
script "services" {
  inline = <<-SH
    systemctl enable @SERVICES@
  SH
}

disk {
  layout = "single"                    # BIOS boot partition, ESP, ROOT; the root grows to the real disk on first boot
  size   = @SIZE@

  # partition "ESP" { size = "200MiB" }  # change a part of the layout
}

boot {
  console = ["tty0", "ttyS0,115200n8"] # the last one is /dev/console
  timeout = 1
}

output "qcow2" {}
output "raw" {}

# To ship less, with better settings: what the role does not need goes, and the rules of a baseline are applied. What that
# does is told by "imagefactory trim FILE" and "imagefactory scan FILE".
#
# trim {
#   profile = "container-host" # or "minimal"
# }
# harden {
#   profile = "baseline" # lets people log in over the network with keys only
# }

# For real machines: an ISO that installs the image by itself, and what boots the same from the network. Their kernel is
# the image's, so it needs the drivers of those machines. Try them with: imagefactory boot --iso
#
# output "iso" {
#   target {
#     match = "smallest-empty" # takes no disk that holds anything; without a target: the only disk
#   }
# }
# output "pxe" {
#   url = "http://boot.example.com/node"
# }
`
