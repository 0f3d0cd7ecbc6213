package finish

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/partition"
)

// PartitionGUIDs returns the GUIDs of all partitions of all disks of this machine, for [SetBootEntry]. When a disk cannot be
// read, or has larger sectors than images have, it returns nil: what is on it is not known to be gone.
func PartitionGUIDs() map[partition.GUID]bool { return partitionGUIDs("/sys/block", "/dev") }

func partitionGUIDs(sys, dev string) map[partition.GUID]bool {
	disks, err := os.ReadDir(sys)
	if err != nil {
		return nil
	}
	guids := map[partition.GUID]bool{}
	for _, d := range disks {
		f, err := os.Open(filepath.Join(dev, strings.ReplaceAll(d.Name(), "!", "/")))
		if errors.Is(err, unix.ENOMEDIUM) || errors.Is(err, unix.ENXIO) {
			continue // a drive without a disk in it
		}
		if err != nil {
			return nil
		}
		if sector, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET); err == nil && sector != sectorSize {
			f.Close()
			return nil // its table lies elsewhere
		}
		size, err := f.Seek(0, io.SeekEnd)
		var table partition.Layout
		if err == nil && size > 0 {
			table, err = partition.ReadTable(f, size)
		}
		f.Close()
		if errors.Is(err, unix.EIO) {
			return nil
		}
		for _, p := range table.Partitions {
			guids[p.GUID] = true
		}
	}
	return guids
}
