package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/qemu"
)

// medium is what an ordinary user built for installing machines.
type medium struct {
	*builder
	recipe string // path of the recipe

	iso, raw string // the ISO, and the disk it carries
	pxe      string // the directory for network boots; "" when the recipe has none

	// Of the ISO: what starts the installer without a boot loader, and what it does.
	kernel, initramfs string
	document          config.Config
}

// buildMedium builds a recipe with an output "raw" and an output "iso" as an ordinary
// user, and takes the ISO apart with xorriso.
func buildMedium(t *testing.T, name, recipe string) *medium {
	t.Helper()
	b := newBuilder(t)
	b.shareDownloads(t)
	m := &medium{builder: b, recipe: filepath.Join(b.Home, "recipe", name+".hcl")}
	b.mkdir(t, filepath.Dir(m.recipe))
	b.write(t, m.recipe, recipe)
	out := filepath.Join(b.Home, "out")
	b.must(t, t.Context(), "lock", m.recipe)
	b.must(t, t.Context(), "build", "-o", out, m.recipe)
	image := filepath.Join(out, name+"-1-x86_64")
	m.iso, m.raw = image+".iso", image+".raw"
	if _, err := os.Stat(image + "-pxe"); err == nil {
		m.pxe = image + "-pxe"
	}

	dir := t.TempDir()
	m.kernel, m.initramfs = filepath.Join(dir, "kernel"), filepath.Join(dir, "initramfs")
	document := filepath.Join(dir, "install.json")
	takeFiles(t, m.iso, map[string]string{
		"/imagefactory/kernel": m.kernel, "/imagefactory/initramfs": m.initramfs, config.MediumPath: document,
	})
	data, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &m.document); err != nil {
		t.Fatal(err)
	}
	return m
}

// takeFiles copies files out of an ISO with xorriso.
func takeFiles(t *testing.T, iso string, files map[string]string) {
	t.Helper()
	args := []string{"-indev", iso, "-osirrox", "on"}
	for from, to := range files {
		args = append(args, "-extract", from, to)
	}
	if r := finish(t, exec.Command("xorriso", args...)); r.status != 0 {
		t.Fatalf("xorriso: exit status %d\n%s", r.status, r.stderr)
	}
}

// cd is the medium in a machine's CD drive.
func (m *medium) cd() qemu.Disk { return qemu.Disk{Path: m.iso, Format: "raw", CD: true} }

// kernelArguments are those of kernels that are started without a boot loader. A busy host emulates timers so late that
// kernels take them for broken and give up; and a kernel that gives up must end the machine.
const kernelArguments = "console=ttyS0,115200 loglevel=4 panic=-1 no_timer_check "

// installer returns a machine that starts the installer as the boot loader of the
// medium would. Without firmware and boot loader a run is much shorter.
func (m *medium) installer(arguments string, disks ...qemu.Disk) qemu.Machine {
	return qemu.Machine{
		Firmware: qemu.BIOS, Disks: disks, Kernel: m.kernel, Initrd: m.initramfs, NoReboot: true,
		Cmdline: strings.TrimSpace(kernelArguments + "imagefactory.id=" + m.document.ID + " " + arguments),
	}
}

// keptModules are what the test images keep of their kernel: a whole one would
// make every copy of it, under emulation, several times as long.
const keptModules = `
    cd /usr/lib/modules/*/kernel
    mkdir /kept
    tar -cf /kept/modules.tar arch block crypto lib net/core net/packet fs/autofs fs/efivarfs fs/ext4 fs/fat fs/isofs fs/jbd2 fs/mbcache.ko fs/nls fs/overlayfs \
      drivers/acpi/button.ko drivers/ata drivers/block/loop.ko drivers/block/virtio_blk.ko drivers/cdrom drivers/char drivers/input/evdev.ko drivers/net/net_failover.ko drivers/net/virtio_net.ko \
      drivers/nvme drivers/scsi/*_mod.ko drivers/scsi/scsi_*.ko drivers/scsi/virtio_scsi.ko drivers/usb drivers/virtio
    rm -r ./*
    tar -xf /kept/modules.tar
    rm -r /kept
    depmod "$(basename "$(dirname "$PWD")")"`

const serverInstallScript = `
script "mark" {
  stage  = "install"
  inline = <<-SH
    echo "$IMAGEFACTORY_NAME on $IMAGEFACTORY_DISK" > /etc/installed
    echo "marked"
  SH
}
`

// serverRecipe is a system that boots.
const serverRecipe = `
name    = "server"
version = "1"
distro  = "debian-12"
arch    = "x86_64"

rootfs {
  packages = ["linux-image-amd64", "systemd", "systemd-sysv", "udev", "dbus", "sudo", "kmod", "e2fsprogs"]
}

user "admin" {
  groups        = ["sudo"]
  password_hash = sha512crypt("imagefactory", "imagefactorydemo")
}

script "shrink" {
  inline = <<-SH` + keptModules + `
    rm -r /usr/share/doc /usr/share/locale /usr/share/man
  SH
}

` + serverInstallScript + `
disk {
  size = "768MiB"
  partition "BIOS" {
    role = "bios"
    size = "1MiB"
  }
  partition "ESP" {
    role = "esp"
    size = "64MiB"
  }
  partition "PERSIST" {
    role       = "data"
    size       = "16MiB"
    filesystem = "ext4"
    mount      = "/persist"
  }
  partition "ROOT" {
    role       = "root"
    size       = "rest"
    filesystem = "ext4"
    mount      = "/"
  }
}

boot {
  firmware = ["bios", "uefi"]
  console  = ["tty0", "ttyS0,115200n8"]
  timeout  = 1
}

output "raw" {}
output "iso" {
  mode = "install"
  target {
    match = "smallest-empty"
  }
  events {
    console = "ttyS0"
  }
}
`

// tinyDiskRecipe is a disk with a kernel, a shell and little else, which nobody
// boots: what is written on a disk can be compared with it byte by byte, and
// writing it takes seconds. policy is the target block.
func tinyDiskRecipe(policy string) string {
	return fmt.Sprintf(`
name    = "tiny"
version = "1"
distro  = "debian-12"
arch    = "x86_64"

rootfs {
  packages = ["linux-image-amd64"]
}

script "shrink" {
  inline = <<-SH
    printf '#!/bin/sh\necho none > "$2"\n' > /usr/sbin/mkinitramfs
    %s
    find / -xdev -type f -size +8k ! -path '/usr/lib/modules/*' ! -path '/boot/*' ! -path '/proc/*' ! -path '/sys/*' \
      ! -name dash ! -name 'libc.so*' ! -name 'ld-linux*' -delete
  SH
}

disk {
  size = "192MiB"
  partition "BIOS" {
    role = "bios"
    size = "1MiB"
  }
  partition "PERSIST" {
    role       = "data"
    size       = "16MiB"
    filesystem = "ext4"
  }
  partition "ROOT" {
    role       = "root"
    size       = "rest"
    filesystem = "ext4"
    mount      = "/"
  }
}

boot {
  firmware = ["bios"]
  console  = ["ttyS0,115200n8"]
}

output "raw" {}
output "iso" {
  %s
  events {
    console = "ttyS0"
  }
}
output "pxe" {
  url = "http://boot.example.com/tiny"
  %s
  events {
    console = "ttyS0"
  }
}
`, strings.TrimSpace(keptModules), policy, policy)
}
