package finish

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/partition"
)

// nodeWait bounds the wait for the nodes of new partitions: devtmpfs makes them within the ioctl, udev later.
const nodeWait = 10 * time.Second

// PartitionPath is the path of a disk's partition: /dev/sda1, /dev/nvme0n1p1.
func PartitionPath(disk string, number int) string {
	if last := disk[len(disk)-1]; last >= '0' && last <= '9' {
		return disk + "p" + strconv.Itoa(number)
	}
	return disk + strconv.Itoa(number)
}

// Reread makes the kernel know the partitions that [SettleTable] returned, and waits for their device nodes. Nobody else may
// have the disk open exclusively. Where a partition is in use, and a new start or its removal impossible, the error says so.
func Reread(disk string, partitions []partition.Placed) error {
	if err := reread(disk, partitions); err != nil {
		return fmt.Errorf("make the kernel read the partition table of %s again: %w", disk, err)
	}
	for _, p := range partitions {
		if err := awaitNode(PartitionPath(disk, p.Number)); err != nil {
			return err
		}
	}
	return nil
}

func reread(disk string, partitions []partition.Placed) error {
	f, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer f.Close()
	// What was written past the page cache, and what others cached before, must not meet.
	if err := ioctl(f, unix.BLKFLSBUF, nil); err != nil {
		return err
	}
	err = ioctl(f, unix.BLKRRPART, nil)
	for wait := 100 * time.Millisecond; errors.Is(err, unix.EBUSY) && wait < 2*time.Second; wait *= 2 {
		time.Sleep(wait) // whoever looks at a new device, as udev does, holds it for a moment
		err = ioctl(f, unix.BLKRRPART, nil)
	}
	if err != nil && !errors.Is(err, unix.EBUSY) {
		return err
	}
	// One of the disk's partitions may be in use, or the kernel made without code for this kind of table.
	return updateEach(f, disk, partitions)
}

// updateEach tells the kernel of partitions it does not know, or not rightly, one by one, which it takes while others of the
// disk are in use.
func updateEach(f *os.File, disk string, partitions []partition.Placed) error {
	real, err := filepath.EvalSymlinks(disk)
	if err != nil {
		return err
	}
	name := filepath.Base(real)
	known, err := knownPartitions(filepath.Join("/sys/class/block", name))
	if err != nil {
		return err
	}
	wanted := map[int]partition.Placed{}
	for _, p := range partitions {
		wanted[p.Number] = p
	}
	for number, have := range known {
		if want, ok := wanted[number]; ok && want.Start == have.Start {
			continue
		}
		if err := blkpg(f, unix.BLKPG_DEL_PARTITION, have); err != nil {
			return fmt.Errorf("partition %d is in use where the new system has another: %w", number, err)
		}
		delete(known, number)
	}
	for _, want := range partitions {
		have, ok := known[want.Number]
		op := unix.BLKPG_ADD_PARTITION
		if ok {
			op = unix.BLKPG_RESIZE_PARTITION
		}
		if ok && have.Size == want.Size {
			continue
		}
		if err := blkpg(f, op, want); err != nil {
			return fmt.Errorf("partition %d: %w", want.Number, err)
		}
	}
	return nil
}

// knownPartitions reads what partitions the kernel knows of a disk, given by its directory in sysfs.
func knownPartitions(dir string) (map[int]partition.Placed, error) {
	entries, err := filepath.Glob(filepath.Join(dir, "*", "partition"))
	if err != nil {
		return nil, err
	}
	known := map[int]partition.Placed{}
	for _, e := range entries {
		var values [3]int64
		for i, file := range []string{"partition", "start", "size"} {
			text, err := os.ReadFile(filepath.Join(filepath.Dir(e), file))
			if err != nil {
				return nil, err
			}
			if values[i], err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err != nil {
				return nil, fmt.Errorf("%s: %w", e, err)
			}
		}
		const unit = 512 // of sysfs, whatever the disk's sectors are
		known[int(values[0])] = partition.Placed{Number: int(values[0]), Start: values[1] * unit, Size: values[2] * unit}
	}
	return known, nil
}

// blkpg is ioctl BLKPG of include/uapi/linux/blkpg.h.
func blkpg(f *os.File, op int, p partition.Placed) error {
	part := unix.BlkpgPartition{Start: p.Start, Length: p.Size, Pno: int32(p.Number)}
	arg := unix.BlkpgIoctlArg{Op: int32(op), Datalen: int32(unsafe.Sizeof(part)), Data: (*byte)(unsafe.Pointer(&part))}
	return ioctl(f, unix.BLKPG, unsafe.Pointer(&arg))
}

func awaitNode(path string) error {
	for end := time.Now().Add(nodeWait); ; time.Sleep(50 * time.Millisecond) {
		_, err := os.Stat(path)
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the kernel knows the new partitions, but %s does not appear: %w", path, err)
		}
	}
}
