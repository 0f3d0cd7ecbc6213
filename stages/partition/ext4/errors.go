package ext4

import (
	"fmt"
	"strings"
)

// NoSpaceError says that a file system is too small for its tree. It is the
// mistake of whoever chose the size.
type NoSpaceError struct {
	Need, Have    int64 // bytes: the least size that would do, or 0 when none would, and the size asked for
	BlockSize     int
	MissingBlocks int64 // blocks of the tree, the journal and the file system's own structures without a place
	MissingInodes int64 // inodes without a place

	grow int64 // blocks by which the size must grow at least, or 0 when that does not help
}

func (e *NoSpaceError) Error() string {
	var missing []string
	if e.MissingBlocks > 0 {
		missing = append(missing, fmt.Sprintf("%d blocks (%s)", e.MissingBlocks, formatBytes(e.MissingBlocks*int64(e.BlockSize))))
	}
	if e.MissingInodes > 0 {
		missing = append(missing, fmt.Sprintf("%d inodes", e.MissingInodes))
	}
	remedy := "ask for more inodes"
	if e.Need > 0 {
		remedy = fmt.Sprintf("make it %s (%d bytes) or larger", formatBytes(e.Need), e.Need)
	}
	return fmt.Sprintf("the ext4 file system of %s is too small for its contents: %s are missing; %s", formatBytes(e.Have), strings.Join(missing, " and "), remedy)
}

// ExitStatus is that of a wrong recipe.
func (e *NoSpaceError) ExitStatus() int { return 2 }

// CorruptError says what is wrong with the bytes of a file system.
type CorruptError struct {
	Where  string // the structure: "inode 12", "group 3", …
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("the ext4 file system is damaged: %s: %s", e.Where, e.Reason)
}

func corrupt(where, format string, args ...any) error {
	return &CorruptError{Where: where, Reason: fmt.Sprintf(format, args...)}
}

// formatBytes gives n in the largest IEC unit it reaches, rounded up to a tenth,
// so that a size printed as enough is enough.
func formatBytes(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	unit, size := int64(1024), 0
	for n/1024 >= unit && size < len(units)-1 {
		unit *= 1024
		size++
	}
	whole, tenths := n/unit, (n%unit*10+unit-1)/unit
	if tenths == 10 {
		whole, tenths = whole+1, 0
	}
	return fmt.Sprintf("%d.%d %ciB", whole, tenths, units[size])
}
