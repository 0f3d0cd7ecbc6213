package finish

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/payload"
	"github.com/imagefactory/imagefactory/stages/partition"
)

// Kept is a partition whose contents survive the installation.
type Kept struct {
	// Partition is as the disk has it; it may be larger than in the image when it lies last.
	Partition partition.Placed
	// Range is what must not be written: the partition, and behind one that lies last everything.
	Range payload.Range
	// Filesystem is what the disk has in it; see [Identify].
	Filesystem Filesystem
}

// Skip returns the ranges of kept partitions for [payload.Plan.Skip].
func Skip(kept []Kept) []payload.Range {
	var ranges []payload.Range
	for _, k := range kept {
		ranges = append(ranges, k.Range)
	}
	return ranges
}

// Last returns the ranges for [payload.Plan.Last]: the starts of the partitions from which firmware starts the system,
// without which the disk does not pass for an installed one while it is written.
func Last(layout config.Layout, kept []Kept) []payload.Range {
	var ranges []payload.Range
	for _, p := range layout.Partitions {
		isKept := false
		for _, k := range kept {
			isKept = isKept || k.Partition.Number == p.Number
		}
		starts := strings.EqualFold(p.TypeGUID, partition.TypeESP.String()) || strings.EqualFold(p.TypeGUID, partition.TypeBIOSBoot.String())
		if starts && !isKept {
			ranges = append(ranges, payload.Range{Offset: p.Start, Length: min(p.Size, alignment)})
		}
	}
	return ranges
}

// Keep decides whether the partitions of a disk with the given labels can be kept when the layout is installed on it. They
// can when the disk has a partition with the same number, label, type and start; with the same size, or, when the
// partition lies last in the layout, with at least that size. Nothing else of the disk may lie where they do. The error is a
// sentence that says why not; nothing is written. size is that of the disk in bytes.
func Keep(r io.ReaderAt, size int64, layout config.Layout, labels []string) ([]Kept, error) {
	if len(labels) == 0 {
		return nil, nil
	}
	disk, err := partition.ReadTable(r, size)
	if errors.Is(err, partition.ErrNoTable) {
		return nil, fmt.Errorf("it has no partition table, and so no partition %s to keep", strings.Join(labels, ", "))
	}
	if err != nil {
		return nil, err
	}
	var kept []Kept
	for _, label := range labels {
		want, ok := layout.Partition(label)
		if !ok {
			return nil, fmt.Errorf("the image has no partition %q to keep the disk's for", label)
		}
		last := lastIn(layout, want)
		have, err := match(disk, want, last)
		if err != nil {
			return nil, err
		}
		if last {
			have.Size = max(have.Size, sizeInBackup(r, size, have))
		}
		fs, err := Identify(io.NewSectionReader(r, have.Start, have.Size))
		if err != nil {
			return nil, fmt.Errorf("its partition %d (%s) cannot be read: %w", have.Number, label, err)
		}
		if want.Filesystem != "" && fs.Type != want.Filesystem {
			return nil, fmt.Errorf("its partition %d (%s) holds %s, and the new system expects %s there", have.Number, label, fs, want.Filesystem)
		}
		k := Kept{Partition: have, Filesystem: fs, Range: payload.Range{Offset: have.Start, Length: have.Size}}
		if last {
			// The image's own backup table would lie in it.
			k.Range.Length = size/sectorSize*sectorSize - have.Start
		}
		kept = append(kept, k)
	}
	return kept, nil
}

// match finds a wanted partition on a disk.
func match(disk partition.Layout, want config.Partition, last bool) (partition.Placed, error) {
	var named []partition.Placed
	for _, p := range disk.Partitions {
		if p.Label == want.Label {
			named = append(named, p)
		}
	}
	switch len(named) {
	case 0:
		return partition.Placed{}, fmt.Errorf("it has no partition with the label %q to keep", want.Label)
	case 1:
	default:
		return partition.Placed{}, fmt.Errorf("it has %d partitions with the label %q: which to keep is unclear", len(named), want.Label)
	}
	have := named[0]
	differ := func(what string, have, want any) (partition.Placed, error) {
		return partition.Placed{}, fmt.Errorf("its partition %q has %s %v, and in the new system %v: keeping it would make it unusable", named[0].Label, what, have, want)
	}
	switch {
	case have.Number != want.Number:
		return differ("the number", have.Number, want.Number)
	case !strings.EqualFold(have.Type.String(), want.TypeGUID):
		return differ("the type", have.Type, strings.ToLower(want.TypeGUID))
	case have.Start != want.Start:
		return differ("the start", have.Start, want.Start)
	case last && have.Size < want.Size:
		return differ("the size", have.Size, fmt.Sprintf("at least %d", want.Size))
	case !last && have.Size != want.Size:
		return differ("the size", have.Size, want.Size)
	}
	for _, p := range disk.Partitions {
		if p.Number != have.Number && p.Start < have.End() && have.Start < p.End() {
			return partition.Placed{}, fmt.Errorf("its partitions %d and %d overlap: its table is damaged", p.Number, have.Number)
		}
	}
	return have, nil
}

// sizeInBackup returns the size in bytes that the table at the end of a disk gives a partition; 0 when it has none like it.
// A power cut after the new primary table was written, and before [SettleTable], leaves the image's size in the one and the
// size before in the other.
func sizeInBackup(r io.ReaderAt, size int64, p partition.Placed) int64 {
	sectors := uint64(size / sectorSize)
	t, err := readTable(r, sectors, sectors-1)
	if err != nil || p.Number > t.count() || !t.used(p.Number) || int64(t.start(p.Number))*sectorSize != p.Start {
		return 0
	}
	return int64(t.last(p.Number)+1)*sectorSize - p.Start
}

// lastIn reports whether no partition of the layout lies behind p.
func lastIn(layout config.Layout, p config.Partition) bool {
	for _, other := range layout.Partitions {
		if other.Start > p.Start {
			return false
		}
	}
	return true
}
