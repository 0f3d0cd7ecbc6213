package partition

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// SectorSize is the size of a logical sector in bytes.
	SectorSize = 512
	// Alignment is what partitions start and end at multiples of, in bytes.
	Alignment = 1 << 20
	// MaxPartitions is the number of entries of the table.
	MaxPartitions = 128

	entrySize    = 128
	tableSectors = 1 + MaxPartitions*entrySize/SectorSize // a header and its entries
	maxLabel     = 36                                     // UTF-16 code units
	maxDiskSize  = math.MaxInt64 &^ (Alignment - 1)
)

// Spec is one partition as wanted.
type Spec struct {
	Number     int    // entry of the table, from 1; what the kernel calls it: sda5 is number 5
	Label      string // PARTLABEL, at most 36 UTF-16 code units
	Type       GUID
	GUID       GUID   // PARTUUID
	Size       int64  // bytes, rounded up to a multiple of Alignment; with Rest, the least it may get
	Rest       bool   // take whatever the others leave
	Attributes uint64 // see the Attribute constants
}

// Placed is one partition as it lies on a disk.
type Placed struct {
	Number     int
	Label      string
	Type       GUID
	GUID       GUID
	Start      int64 // bytes from the start of the disk
	Size       int64 // bytes
	Attributes uint64
}

// End is the offset of the first byte behind the partition.
func (p Placed) End() int64 { return p.Start + p.Size }

// Layout is a partitioned disk without its contents.
type Layout struct {
	Size       int64 // bytes
	GUID       GUID  // of the disk
	Partitions []Placed
}

// Partition returns the partition of a label.
func (l Layout) Partition(label string) (Placed, bool) {
	for _, p := range l.Partitions {
		if p.Label == label {
			return p, true
		}
	}
	return Placed{}, false
}

// TooSmallError says that partitions do not fit a disk.
type TooSmallError struct {
	Need, Have int64 // bytes of the disk
	Partitions []Spec
}

func (e *TooSmallError) Error() string {
	var list strings.Builder
	for i, p := range e.Partitions {
		if i > 0 {
			list.WriteString(", ")
		}
		fmt.Fprintf(&list, "%s %d MiB", p.Label, alignUp(p.Size)/Alignment)
	}
	return fmt.Sprintf("the disk is %d MiB too small: it has %d MiB and its partitions and tables need %d MiB (%s); enlarge the disk or shrink a partition",
		(e.Need-e.Have+Alignment-1)/Alignment, e.Have/Alignment, e.Need/Alignment, &list)
}

// ExitStatus is that of a mistake in the recipe.
func (e *TooSmallError) ExitStatus() int { return 2 }

// Plan places partitions on a disk of size bytes, in the order of specs, without gaps. The size is rounded up to a
// multiple of Alignment; 0 means the smallest disk that holds them. At most one partition may take the rest, and
// it need not be the last. When they do not fit, the error is a *TooSmallError.
func Plan(size int64, disk GUID, specs []Spec) (Layout, error) {
	if err := check(size, specs); err != nil {
		return Layout{}, err
	}
	// The primary table lies in the first MiB. The backup takes the last 33 sectors, hence up to another MiB.
	need := int64(2 * Alignment)
	for _, s := range specs {
		if s.Size > maxDiskSize-Alignment-need {
			return Layout{}, fmt.Errorf("partition %q: no disk holds %d bytes", s.Label, s.Size)
		}
		need += wanted(s)
	}
	if size == 0 {
		size = need
	}
	size = alignUp(size)
	if need > size {
		return Layout{}, &TooSmallError{Need: need, Have: size, Partitions: specs}
	}
	l := Layout{Size: size, GUID: disk}
	start := int64(Alignment)
	for _, s := range specs {
		n := wanted(s)
		if s.Rest {
			n += size - need
		}
		l.Partitions = append(l.Partitions, Placed{
			Number: s.Number, Label: s.Label, Type: s.Type, GUID: s.GUID, Start: start, Size: n, Attributes: s.Attributes,
		})
		start += n
	}
	return l, nil
}

// wanted is the least space a partition takes: an empty one cannot be expressed.
func wanted(s Spec) int64 { return max(alignUp(s.Size), Alignment) }

func alignUp(n int64) int64 { return (n + Alignment - 1) &^ (Alignment - 1) }

func check(size int64, specs []Spec) error {
	if size < 0 || size > maxDiskSize {
		return fmt.Errorf("no disk has %d bytes", size)
	}
	rest := ""
	numbers := map[int]string{}
	guids := map[GUID]string{}
	for _, s := range specs {
		if err := checkLabel(s.Label); err != nil {
			return err
		}
		if s.Number < 1 || s.Number > MaxPartitions {
			return fmt.Errorf("partition %q has the number %d; a table has entries 1 to %d", s.Label, s.Number, MaxPartitions)
		}
		if other, taken := numbers[s.Number]; taken {
			return fmt.Errorf("partitions %q and %q both have the number %d", other, s.Label, s.Number)
		}
		numbers[s.Number] = s.Label
		if s.Type.IsZero() || s.GUID.IsZero() {
			return fmt.Errorf("partition %q has no type or no GUID", s.Label)
		}
		if other, taken := guids[s.GUID]; taken {
			return fmt.Errorf("partitions %q and %q both have the GUID %s", other, s.Label, s.GUID)
		}
		guids[s.GUID] = s.Label
		if s.Size < 0 || s.Size == 0 && !s.Rest {
			return fmt.Errorf("partition %q has the size %d; give it a size, or the rest of the disk", s.Label, s.Size)
		}
		if s.Rest {
			if rest != "" {
				return fmt.Errorf("partitions %q and %q both want the rest of the disk", rest, s.Label)
			}
			rest = s.Label
		}
	}
	return nil
}

func checkLabel(label string) error {
	if !utf8.ValidString(label) || strings.ContainsRune(label, 0) {
		return fmt.Errorf("partition label %q is not UTF-8 text", label)
	}
	if n := len(utf16.Encode([]rune(label))); n > maxLabel {
		return fmt.Errorf("partition label %q has %d UTF-16 code units; the table has room for %d", label, n, maxLabel)
	}
	return nil
}
