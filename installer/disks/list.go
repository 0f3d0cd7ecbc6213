package disks

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// sysfsSector is the unit of the size and start attributes, whatever the disk's own sectors are.
const sysfsSector = 512

// List returns the disks of the machine, sorted by name, and the block devices that are none, with the reason. sys is
// where sysfs is mounted ("/sys"), dev the directory of devices ("/dev"). An error means that sysfs itself cannot be
// read; a disk that disappears while it is looked at is among the skipped.
func List(sys, dev string) ([]Disk, []Skipped, error) {
	entries, err := os.ReadDir(filepath.Join(sys, "block"))
	if err != nil {
		return nil, nil, fmt.Errorf("the block devices cannot be listed: %w", err)
	}
	var disks []Disk
	var skipped []Skipped
	for _, entry := range entries {
		name := entry.Name()
		d, err := open(sys, filepath.Join("block", name))
		if err != nil {
			skipped = append(skipped, Skipped{name, err.Error()})
			continue
		}
		if why := noDisk(d, name); why != "" {
			skipped = append(skipped, Skipped{name, why})
			continue
		}
		disk, err := d.disk(dev, name)
		if err != nil {
			skipped = append(skipped, Skipped{name, err.Error()})
			continue
		}
		disks = append(disks, disk)
	}
	// Natural order: sdb before sdaa, nvme2n1 before nvme10n1.
	slices.SortFunc(disks, func(a, b Disk) int { return compareNames(a.Name, b.Name) })
	return disks, skipped, nil
}

// noDisk returns why a block device is no disk, or nothing.
func noDisk(d device, name string) string {
	for _, kind := range []struct{ prefix, why string }{
		{"loop", "a loop device: a file, not a disk"},
		{"ram", "a RAM disk: its contents are gone at the next start"},
		{"zram", "compressed memory: its contents are gone at the next start"},
		{"dm-", "a device-mapper device: part of other disks"},
		{"md", "a software RAID: made of other disks"},
		{"bcache", "a bcache device: made of other disks"},
		{"drbd", "a DRBD device: made of other disks"},
		{"nbd", "a network block device"},
		{"rbd", "a network block device"},
		{"zd", "a ZFS volume: part of other disks"},
		{"sr", "an optical drive"},
		{"fd", "a floppy drive"},
	} {
		if rest, ok := strings.CutPrefix(name, kind.prefix); ok && startsWithDigit(rest) {
			return kind.why
		}
	}
	switch {
	case strings.HasPrefix(name, "mmcblk") && strings.Contains(name, "boot"):
		return "a boot area of an eMMC, which firmware owns"
	case strings.HasPrefix(name, "mmcblk") && strings.Contains(name, "rpmb"):
		return "the replay protected area of an eMMC"
	case d.attr("hidden") == "1":
		return "one of several paths to a disk, hidden by the kernel"
	case strings.Contains(d.path, "/devices/virtual/") && !strings.Contains(d.path, "/virtual/nvme-subsystem/"):
		return "a virtual device without hardware behind it"
	}
	return ""
}

// disk reads everything about a block device that is a disk.
func (d device) disk(dev, name string) (Disk, error) {
	size, err := d.number("size")
	if err != nil {
		return Disk{}, err
	}
	path := func(name string) string {
		// Slashes in device names are exclamation marks in sysfs: cciss!c0d0.
		return filepath.Join(dev, strings.ReplaceAll(name, "!", "/"))
	}
	disk := Disk{
		Name:             name,
		Path:             path(name),
		Number:           d.attr("dev"),
		Size:             size * sysfsSector,
		LogicalSector:    d.numberOr("queue/logical_block_size", sysfsSector),
		Rotational:       d.attr("queue/rotational") == "1",
		ReadOnly:         d.attr("ro") == "1",
		Removable:        d.attr("removable") == "1",
		HostManagedZones: d.attr("queue/zoned") == "host-managed",
		Transport:        d.transport(),
		Holders:          d.entries("holders"),
	}
	disk.PhysicalSector = d.numberOr("queue/physical_block_size", disk.LogicalSector)
	id := d.identity(disk.Transport)
	disk.Vendor, disk.Model, disk.Serial, disk.WWN = id.vendor, id.model, id.serial, id.wwn
	disk.ByID = sorted(d.byID(id, disk.Transport))
	disk.ByPath = sorted(d.byPath())

	for _, entry := range d.entries("") {
		number, err := strconv.Atoi(d.child(entry).attr("partition"))
		if err != nil {
			continue
		}
		p := d.child(entry)
		start, startErr := p.number("start")
		length, sizeErr := p.number("size")
		if err := cmp.Or(startErr, sizeErr); err != nil {
			return Disk{}, err
		}
		disk.Partitions = append(disk.Partitions, Partition{
			Name: entry, Path: path(entry), DeviceNumber: p.attr("dev"), Number: number,
			Start: start * sysfsSector, Size: length * sysfsSector,
		})
		disk.Holders = append(disk.Holders, p.entries("holders")...)
	}
	slices.SortFunc(disk.Partitions, func(a, b Partition) int { return cmp.Compare(a.Number, b.Number) })
	disk.Holders = sorted(disk.Holders)
	return disk, nil
}

func sorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

func startsWithDigit(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

// compareNames orders kernel names as they were given out: by length of each run of letters, and digits as numbers.
func compareNames(a, b string) int {
	for a != "" && b != "" {
		digits := startsWithDigit(a)
		if digits != startsWithDigit(b) {
			break
		}
		end := func(s string) int {
			for i := range len(s) {
				if startsWithDigit(s[i:]) != digits {
					return i
				}
			}
			return len(s)
		}
		x, y := a[:end(a)], b[:end(b)]
		if digits {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		}
		if c := compareRuns(x, y, digits); c != 0 {
			return c
		}
		a, b = a[end(a):], b[end(b):]
	}
	return cmp.Compare(a, b)
}

// compareRuns compares runs of digits, or of letters. Letters count like digits after a common beginning: sdz comes
// before sdaa, but nvme before sda.
func compareRuns(x, y string, digits bool) int {
	if digits || (len(x) >= 2 && len(y) >= 2 && x[:2] == y[:2]) {
		return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
	}
	return cmp.Compare(x, y)
}
