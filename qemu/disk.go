package qemu

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Interface is how a disk is connected with its machine.
type Interface string

// The interfaces a machine has.
const (
	VirtIO Interface = "virtio" // virtio-blk
	SATA   Interface = "sata"   // AHCI, with six ports
	NVMe   Interface = "nvme"   // a controller and its only namespace
	USB    Interface = "usb"    // mass storage behind xHCI
	SCSI   Interface = "scsi"   // virtio-scsi
)

// Interfaces lists every interface.
var Interfaces = []Interface{VirtIO, SATA, NVMe, USB, SCSI}

// ParseInterface turns the name a person typed into an Interface.
func ParseInterface(name string) (Interface, error) {
	if i := Interface(name); slices.Contains(Interfaces, i) {
		return i, nil
	}
	return "", fmt.Errorf("unknown interface %q: choose virtio, sata, nvme, usb or scsi", name)
}

// Disk is one disk of a Machine, or one drive with a CD in it.
type Disk struct {
	Path     string // the image; "": a blank disk of Size, which is gone when the machine has ended
	Format   string // "raw" or "qcow2"; of a blank disk ""
	Writable bool   // let the guest change the image; otherwise its writes are forgotten
	Size     int64  // bytes; larger than the image: the guest sees a disk of this size (not with Writable)

	Interface Interface // "": VirtIO, and SATA for a CD
	CD        bool      // the image is a CD, which guests cannot write; on SATA, SCSI or USB

	// TakeOut takes the CD or the USB device out of the machine where the guest reboots for the first time, as a person
	// does after an installation: before the firmware looks for something to start. Blank disks that can be started by then
	// come first from there on.
	TakeOut bool

	// What the disk says of itself. Zero values leave it to QEMU.
	Serial       string // up to 20 characters
	WWN          uint64 // world wide name; SATA and SCSI
	Model        string // SATA: up to 40 characters; SCSI: up to 16
	RotationRate int    // SATA and SCSI: 1 for one that does not turn, else revolutions per minute
	SectorSize   int    // bytes of a logical sector; 0: 512, of a CD 2048
	Removable    bool   // USB: the device says that its medium is removable, as most sticks do

	// Faults are errors the guest meets. They need a disk that is blank or Writable, or a CD.
	Faults []Fault
}

// Fault makes operations fail with an I/O error.
type Fault struct {
	Operation string // "read", "write", "flush", "discard" or "write-zeroes"
	Offset    int64  // in the image, in bytes: operations that touch this sector of 512 bytes fail; negative: all of them
}

// ahciPorts is the number of ports of q35's AHCI controller.
const ahciPorts = 6

// connected returns the disks with their interfaces chosen, or says why there cannot be such disks.
func connected(disks []Disk) ([]Disk, error) {
	disks = slices.Clone(disks)
	for i := range disks {
		var err error
		if disks[i], err = disks[i].connected(); err != nil {
			return nil, err
		}
	}
	return disks, nil
}

func (d Disk) connected() (Disk, error) {
	name := d.Path
	if name == "" {
		name = "a blank disk"
	}
	if d.Interface == "" {
		d.Interface = VirtIO
		if d.CD {
			d.Interface = SATA
		}
	}
	onCD := d.Interface == SATA || d.Interface == SCSI || d.Interface == USB
	switch {
	case !slices.Contains(Interfaces, d.Interface):
		_, err := ParseInterface(string(d.Interface))
		return d, err
	case d.Path == "" && d.Size <= 0:
		return d, fmt.Errorf("%s needs a size", name)
	case d.CD && (!onCD || d.Path == "" || d.Writable || d.Size != 0):
		return d, fmt.Errorf("%s: a CD is an image that nobody writes to, in a drive on sata, scsi or usb", name)
	case d.TakeOut && !d.CD && d.Interface != USB:
		return d, fmt.Errorf("%s: only a CD or a disk on usb can be taken out of a running machine", name)
	case len(d.Faults) > 0 && d.Path != "" && !d.Writable && !d.CD:
		return d, fmt.Errorf("%s: a disk with faults is blank, writable or a CD: writes that are forgotten do not reach the image", name)
	case d.Path != "" && d.Size != 0 && d.Writable:
		return d, fmt.Errorf("%s: a writable disk has the size of its image: leave the size out", name)
	case (d.WWN != 0 || d.Model != "" || d.RotationRate != 0) && d.Interface != SATA && d.Interface != SCSI:
		return d, fmt.Errorf("%s: only disks on sata and scsi say a WWN, a model or a rotation rate", name)
	case d.Removable && d.Interface != USB:
		return d, fmt.Errorf("%s: only disks on usb are removable", name)
	}
	return d, nil
}

// controllers are the arguments for the controllers that disks are connected with, apart from what q35 has.
func controllers(disks []Disk) []string {
	var args []string
	for _, c := range []struct {
		of     Interface
		device string
	}{{USB, "qemu-xhci,id=usb,p2=8,p3=8"}, {SCSI, "virtio-scsi-pci,id=scsi"}} {
		if slices.ContainsFunc(disks, func(d Disk) bool { return d.Interface == c.of }) {
			args = append(args, "-device", c.device)
		}
	}
	return args
}

// diskArguments are the arguments for connected disks, which firmware tries in their order. As many places are left in
// front of the first.
func diskArguments(ctx context.Context, disks []Disk, dir string) ([]string, error) {
	args := controllers(disks)
	port := 0
	for i, disk := range disks {
		drive, err := disk.drive(ctx, dir, i)
		if err != nil {
			return nil, err
		}
		device := disk.device(i)
		if disk.Interface == SATA {
			if port == ahciPorts {
				return nil, fmt.Errorf("a machine has %d sata ports, so no more disks and CDs can be on sata", ahciPorts)
			}
			device += fmt.Sprintf(",bus=ide.%d", port)
			port++
		}
		args = append(args, "-drive", fmt.Sprintf("if=none,id=disk%d,%s", i, drive),
			"-device", fmt.Sprintf("%s,id=%s,drive=disk%d,bootindex=%d", device, deviceID(i), i, len(disks)+i))
	}
	return args, nil
}

// deviceID is the name QEMU's protocol knows a disk's device by.
func deviceID(number int) string { return fmt.Sprintf("device%d", number) }

// device is the disk as an argument of -device, without what is the same for all.
func (d Disk) device(number int) string {
	var device string
	switch d.Interface {
	case VirtIO:
		device = "virtio-blk-pci"
	case SATA:
		device = "ide-hd"
		if d.CD {
			device = "ide-cd"
		}
	case SCSI:
		device = "scsi-hd,bus=scsi.0"
		if d.CD {
			device = "scsi-cd,bus=scsi.0"
		}
	case USB:
		device = "usb-storage,bus=usb.0"
	case NVMe:
		device = "nvme"
		if d.Serial == "" { // which has no default
			d.Serial = fmt.Sprintf("NVME%04d", number)
		}
	}
	option := func(name, value string) { device += "," + name + "=" + escape(value) }
	if d.Serial != "" {
		option("serial", d.Serial)
	}
	if d.WWN != 0 {
		option("wwn", fmt.Sprintf("%#x", d.WWN))
	}
	if d.Model != "" {
		option(map[Interface]string{SATA: "model", SCSI: "product"}[d.Interface], d.Model)
	}
	if d.RotationRate != 0 {
		option("rotation_rate", strconv.Itoa(d.RotationRate))
	}
	if d.SectorSize != 0 {
		option("logical_block_size", strconv.Itoa(d.SectorSize))
		option("physical_block_size", strconv.Itoa(d.SectorSize))
	}
	if d.Removable {
		option("removable", "on")
	}
	return device
}

// drive is the disk as an argument of -drive. Blank disks, and overlays of disks which are larger than their image, are
// made in dir.
func (d Disk) drive(ctx context.Context, dir string, number int) (string, error) {
	if d.Path == "" {
		blank := blankPath(dir, number)
		if err := os.WriteFile(blank, nil, 0o600); err != nil {
			return "", fmt.Errorf("making a blank disk: %w", err)
		}
		if err := os.Truncate(blank, d.Size); err != nil {
			return "", fmt.Errorf("making a blank disk of %d bytes: %w", d.Size, err)
		}
		return "format=raw,cache=unsafe,discard=unmap," + d.file(blank), nil
	}
	path, err := filepath.Abs(d.Path)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", err
	}
	switch {
	case d.CD:
		return fmt.Sprintf("format=%s,media=cdrom,readonly=on,%s", d.Format, d.file(path)), nil
	case d.Size == 0:
		snapshot := "on"
		if d.Writable {
			snapshot = "off"
		}
		return fmt.Sprintf("format=%s,snapshot=%s,discard=unmap,%s", d.Format, snapshot, d.file(path)), nil
	}
	program, err := findProgram("qemu-img", "qemu-utils", "qemu-img")
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, fmt.Sprintf("disk%d.qcow2", number))
	out, err := exec.CommandContext(ctx, program, "create", "-q", "-f", "qcow2", "-b", path, "-F", d.Format,
		overlay, strconv.FormatInt(d.Size, 10)).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("making an overlay for %s: %w: %s", d.Path, err, bytes.TrimSpace(out))
	}
	return "format=qcow2,discard=unmap,file=" + escape(overlay), nil
}

// blankPath is where a blank disk of a machine lies.
func blankPath(dir string, number int) string {
	return filepath.Join(dir, fmt.Sprintf("disk%d.raw", number))
}

// file is where the drive's bytes are: the file, or QEMU's blkdebug in front of it (docs/devel/blkdebug.txt of QEMU). Its
// rules of the event "none" hold from the start.
func (d Disk) file(path string) string {
	if len(d.Faults) == 0 {
		return "file=" + escape(path)
	}
	options := "file.driver=blkdebug,file.image.driver=file,file.image.filename=" + escape(path)
	for i, f := range d.Faults {
		rule := fmt.Sprintf(",file.inject-error.%d.", i)
		options += rule + "event=none" + rule + "iotype=" + f.Operation + rule + "errno=5"
		if f.Offset >= 0 {
			options += rule + "sector=" + strconv.FormatInt(f.Offset>>9, 10)
		}
	}
	return options
}

// escape writes a path as a value of QEMU's option syntax, in which a comma
// ends a value unless it is doubled.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }
