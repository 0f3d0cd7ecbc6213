package drivers

import (
	"path"
	"strings"
)

// Class is a kind of driver that an installer may need on a machine nobody has seen. Where its modules lie in the
// kernel's sources, and so below /lib/modules/RELEASE/kernel, says what they are for.
type Class struct {
	Name string // for people
	// Paths are directories, with all below them, or single modules without their suffix.
	Paths []string
	// Except are directories or modules below Paths that are not wanted.
	Except []string
	// Optional says that a kernel without any of them still installs on the machines it is made for.
	Optional bool
}

// Classes are the classes of drivers chosen, in the order in which they are reported. Whatever modules depend on comes with
// them: libraries, buses and algorithms need no class.
var Classes = []Class{
	{Name: "SATA and IDE disks", Paths: []string{"drivers/ata"}},
	{Name: "NVMe disks", Paths: []string{"drivers/nvme"}, Except: []string{"drivers/nvme/target", "drivers/nvme/host/nvme-rdma"}},
	{Name: "SCSI disks and RAID controllers", Paths: []string{"drivers/scsi", "drivers/message", "drivers/ufs"}, Except: []string{"drivers/scsi/scsi_debug"}},
	{Name: "virtual disks", Paths: []string{"drivers/block"}, Except: []string{
		// Disks of other machines, made disks, and what stalls where it finds nothing.
		"drivers/block/aoe", "drivers/block/drbd", "drivers/block/nbd", "drivers/block/rbd", "drivers/block/rnbd",
		"drivers/block/brd", "drivers/block/null_blk", "drivers/block/ublk_drv", "drivers/block/zram", "drivers/block/zloop",
		"drivers/block/xen-blkback", "drivers/block/floppy", "drivers/block/paride",
	}},
	{Name: "memory cards", Paths: []string{"drivers/mmc"}, Optional: true},
	{Name: "persistent memory", Paths: []string{"drivers/nvdimm", "drivers/acpi/nfit"}, Optional: true},
	{Name: "software RAID and device mapper", Paths: []string{"drivers/md"}},
	{Name: "CDs", Paths: []string{"drivers/cdrom", "drivers/scsi/sr_mod"}},
	{Name: "USB controllers", Paths: []string{"drivers/usb/host", "drivers/usb/dwc2", "drivers/usb/dwc3", "drivers/usb/chipidea"}},
	{Name: "USB disks", Paths: []string{"drivers/usb/storage"}},
	{Name: "PCI controllers", Paths: []string{"drivers/pci/controller"}, Optional: true},
	{Name: "virtio", Paths: []string{"drivers/virtio"}},
	{Name: "Hyper-V", Paths: []string{"drivers/hv"}, Optional: true},
	{Name: "network cards", Paths: []string{
		"drivers/net/ethernet", "drivers/net/phy", "drivers/net/mdio", "drivers/net/pcs", "drivers/net/dsa/ocelot",
		"drivers/net/virtio_net", "drivers/net/vmxnet3", "drivers/net/hyperv", "drivers/net/xen-netfront",
	}, Except: []string{"drivers/net/ethernet/mellanox/mlxsw", "drivers/net/ethernet/marvell/prestera"}}, // chips of switches
	{Name: "USB network cards", Paths: []string{"drivers/net/usb"}, Optional: true},
	{Name: "bonds, VLANs and packet sockets", Paths: []string{"drivers/net/bonding", "net/8021q", "net/packet"}},
	{Name: "keyboards", Paths: []string{"drivers/hid", "drivers/input/serio", "drivers/input/keyboard/atkbd", "drivers/input/evdev"}, Except: []string{
		"drivers/hid/amd-sfh-hid", "drivers/hid/bpf", "drivers/hid/i2c-hid", "drivers/hid/intel-ish-hid", "drivers/hid/intel-thc-hid",
		"drivers/hid/surface-hid", "drivers/hid/wacom",
		"drivers/hid/hid-prodikeys", "drivers/hid/hid-picolcd", // which need sound, or infrared
	}},
	{Name: "serial lines", Paths: []string{"drivers/tty/serial"}},
	{Name: "random numbers", Paths: []string{"drivers/char/hw_random"}, Optional: true},
	{Name: "ISO 9660", Paths: []string{"fs/isofs"}},
	{Name: "FAT", Paths: []string{"fs/fat"}},
	{Name: "character sets", Paths: []string{"fs/nls"}},
	{Name: "ext4", Paths: []string{"fs/ext4"}},
	{Name: "XFS", Paths: []string{"fs/xfs"}},
	{Name: "overlay file systems", Paths: []string{"fs/overlayfs"}},
	{Name: "SquashFS", Paths: []string{"fs/squashfs"}, Optional: true},
	{Name: "UDF", Paths: []string{"fs/udf"}, Optional: true},
	{Name: "variables of the firmware", Paths: []string{"fs/efivarfs"}},
}

// has reports whether the class wants a file of the kernel's directory: "drivers/ata/ahci.ko.xz".
func (c Class) has(file string) bool {
	stem := strings.TrimSuffix(plainName(file), ".ko")
	return below(stem, c.Paths) && !below(stem, c.Except)
}

// below reports whether p is one of dirs or below one.
func below(p string, dirs []string) bool {
	for _, dir := range dirs {
		if rest, ok := strings.CutPrefix(p, dir); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// suffixes are those of compressed modules (kmod's), and of compressed firmware where the kernel reads that.
var suffixes = []string{".gz", ".xz", ".zst"}

// plainName returns the name of a file without the suffix of its compression.
func plainName(file string) string {
	for _, suffix := range suffixes {
		if name, ok := strings.CutSuffix(file, suffix); ok {
			return name
		}
	}
	return file
}

// moduleName returns the name that modules.* and the kernel know a file by.
func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(plainName(file)), ".ko"), "-", "_")
}
