package finish

import (
	"errors"
	"fmt"

	"github.com/imagefactory/imagefactory/stages/partition"
)

// Growth is a partition that was made larger.
type Growth struct {
	Number        int   `json:"number"`
	Before, After int64 // size in bytes
}

// Settled is what became of a partition table.
type Settled struct {
	// Partitions are those of the disk now, by number.
	Partitions []partition.Placed
	// Grown is the partition that lies last, when it was made larger.
	Grown *Growth
}

// SettleTable fits the partition table that an image brought to the disk it lies on now, whose size is in bytes: the
// backup goes to the end of the disk, the protective MBR covers the disk, kept partitions get back the size they had,
// and with grow the partition that lies last reaches to the last full MiB before the backup. Errors name the disk; the table is
// valid, old or new, after each.
func SettleTable(d Disk, size int64, kept []Kept, grow bool) (Settled, error) {
	s, err := settle(d, size, kept, grow)
	if err != nil {
		return Settled{}, fmt.Errorf("fit the partition table to %s: %w", d.Name(), err)
	}
	return s, nil
}

// MoveBackupGPT is SettleTable without any change of partitions.
func MoveBackupGPT(d Disk, size int64) error {
	_, err := SettleTable(d, size, nil, false)
	return err
}

func settle(d Disk, size int64, kept []Kept, grow bool) (Settled, error) {
	if size < 2*alignment {
		return Settled{}, fmt.Errorf("a disk of %d bytes is too small for partitions", size)
	}
	sectors := uint64(size / sectorSize)
	t, err := readTable(d, sectors, headerLBA)
	if err != nil {
		// A power cut may have left only the backup whole; what it says is what the primary was about to say.
		backup, backupErr := readTable(d, sectors, sectors-1)
		if backupErr != nil {
			return Settled{}, fmt.Errorf("%w (and at the end of the disk: %w)", err, backupErr)
		}
		t = backup
		t.put64(offEntriesLBA, headerLBA+1)
		if t.u64(offFirstUsable) < headerLBA+1+t.entrySectors() {
			return Settled{}, errors.New("the backup table says that partitions begin within the table")
		}
	}
	old := t.u64(offOtherLBA)
	for _, k := range kept {
		n := k.Partition.Number
		if n < 1 || n > t.count() || !t.used(n) || int64(t.start(n))*sectorSize != k.Partition.Start {
			return Settled{}, fmt.Errorf("the new table has partition %d, which is kept, elsewhere than the old one", n)
		}
		t.setLast(n, uint64(k.Partition.End()/sectorSize)-1)
	}
	for _, n := range t.numbers() {
		if t.last(n) > t.lastUsable(sectors) {
			return Settled{}, fmt.Errorf("partition %d ends at sector %d, behind the last usable one, %d", n, t.last(n), t.lastUsable(sectors))
		}
	}
	var s Settled
	if grow {
		s.Grown = t.growLast(sectors)
	}
	if err := t.check(); err != nil {
		return Settled{}, err
	}
	if err := t.write(d, sectors); err != nil {
		return Settled{}, err
	}
	if err := protect(d, sectors); err != nil {
		return Settled{}, err
	}
	if err := t.eraseOld(d, old, sectors, kept); err != nil {
		return Settled{}, err
	}
	now, err := partition.ReadTable(d, size)
	if err != nil {
		return Settled{}, fmt.Errorf("what was written cannot be read back: %w", err)
	}
	s.Partitions = now.Partitions
	return s, nil
}

// growLast makes the partition that lies last end at the last full MiB, unless it reaches that far already.
func (t *table) growLast(sectors uint64) *Growth {
	const unit = alignment / sectorSize
	n := t.lastPartition()
	end := (t.lastUsable(sectors) + 1) / unit * unit
	if n == 0 || end <= t.last(n)+1 {
		return nil
	}
	g := &Growth{Number: n, Before: int64(t.last(n)-t.start(n)+1) * sectorSize, After: int64(end-t.start(n)) * sectorSize}
	t.setLast(n, end-1)
	return g
}

// lastPartition returns the number of the partition that lies last; 0 when there is none.
func (t *table) lastPartition() int {
	found := 0
	for _, n := range t.numbers() {
		if found == 0 || t.start(n) > t.start(found) {
			found = n
		}
	}
	return found
}

// check refuses partitions that overlap.
func (t *table) check() error {
	numbers := t.numbers()
	for _, a := range numbers {
		for _, b := range numbers {
			if a < b && t.start(a) <= t.last(b) && t.start(b) <= t.last(a) {
				return fmt.Errorf("partitions %d and %d would overlap", a, b)
			}
		}
	}
	return nil
}

// eraseOld clears the header of the backup table at the end of the image, lest a tool that searches the disk find it.
func (t *table) eraseOld(d Disk, lba, sectors uint64, kept []Kept) error {
	if lba <= t.u64(offFirstUsable) || lba >= t.lastUsable(sectors) {
		return nil
	}
	for _, k := range kept {
		if p := k.Partition; int64(lba)*sectorSize >= p.Start && int64(lba)*sectorSize < p.End() {
			return nil // somebody's data
		}
	}
	old, err := readTable(d, sectors, lba)
	if err != nil || [16]byte(old.header[offGUID:]) != [16]byte(t.header[offGUID:]) {
		return nil // there is none, or not this one's
	}
	if err := writeFull(d, make([]byte, sectorSize), int64(lba*sectorSize)); err != nil {
		return err
	}
	return d.Sync()
}
