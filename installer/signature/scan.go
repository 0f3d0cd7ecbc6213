package signature

import (
	"cmp"
	"fmt"
	"io"
	"slices"
)

// mebibyte is how much of each end of the disk must be blank for it to count as empty.
const mebibyte = 1 << 20

// maxPartitions bounds how many partitions are looked into. Linux has no more than 256 on one disk.
const maxPartitions = 256

// Scan reads the signatures on a disk of size bytes with logical sectors of sector bytes. It reads a few MiB at both ends of
// the disk and of each partition, and writes nothing. An error means that the disk could not be read where it had to be;
// nobody knows then what it holds. Damaged metadata is no error.
func Scan(r io.ReaderAt, size int64, sector int) (Contents, error) {
	if size < 0 || sector < 512 || sector&(sector-1) != 0 {
		return Contents{}, fmt.Errorf("a disk of %d bytes with sectors of %d bytes cannot be scanned", size, sector)
	}
	disk := newArea(r, 0, size)
	disk.whole = true
	disk.sector = sector
	var c Contents
	tables, partitions := disk.tables()
	c.Partitions = partitions[:min(len(partitions), maxPartitions)]
	disk.partitions = c.Partitions
	c.Found = append(tables, disk.superblocks()...)
	sortFound(c.Found)
	if len(c.Found) == 0 {
		c.Unknown = !disk.blank(0, mebibyte) || !disk.blank(size-mebibyte, size)
	}
	if disk.err != nil {
		return Contents{}, disk.err
	}
	for _, p := range c.Partitions {
		if p.container() {
			continue
		}
		area := newArea(r, p.Start, min(p.Size, size-p.Start))
		area.sector = sector
		found := area.superblocks()
		if area.err != nil {
			return Contents{}, fmt.Errorf("partition %d: %w", p.Number, area.err)
		}
		sortFound(found)
		for _, f := range found {
			f.Offset += p.Start
			f.Partition = p.Number
			c.Found = append(c.Found, f)
		}
	}
	return c, nil
}

func sortFound(list []Found) {
	slices.SortStableFunc(list, func(a, b Found) int { return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Kind, b.Kind)) })
}
