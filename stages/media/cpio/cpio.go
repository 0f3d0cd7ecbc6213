// Package cpio writes archives in the "newc" format, the one of which the Linux kernel makes its first root file
// system (Documentation/driver-api/early-userspace/buffer-format.rst in its sources).
//
// Nothing of the machine that writes gets into an archive: inodes are numbered in the order of the entries, every file
// has the time it is given, and device numbers of the archive's own file system are 0. The same entries give the same
// bytes.
package cpio

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// Types of entries, as in st_mode of stat(2).
const (
	Regular    uint32 = 0o100000
	Directory  uint32 = 0o040000
	Symlink    uint32 = 0o120000
	CharDevice uint32 = 0o020000

	typeMask = 0o170000
)

// Entry is one name in an archive. It belongs to root.
type Entry struct {
	Path  string // relative and slash separated; a directory comes before what lies in it
	Mode  uint32 // type and permissions
	Time  int64  // seconds since 1970, up to the year 2106
	Size  int64  // of a regular file, less than 4 GiB
	Major uint32 // of a device
	Minor uint32
}

const (
	magic   = "070701"
	trailer = "TRAILER!!!"
	// blockSize is what archives are filled up to a multiple of, as by every cpio.
	blockSize = 512
	alignment = 4
)

// Writer writes an archive. It is used by one goroutine.
type Writer struct {
	w       io.Writer
	written int64
	inode   uint32
	last    string // path of the last entry
	missing int64  // bytes of it that Write has not got yet
	padding int64  // bytes to follow them
	seen    map[string]uint32
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w, seen: map[string]uint32{}} }

// Add begins an entry. The contents of a regular file, or the target of a symbolic link, follow by Write, as many bytes
// as Size says.
func (w *Writer) Add(e Entry) error {
	if err := w.complete(); err != nil {
		return err
	}
	if err := w.check(e); err != nil {
		return fmt.Errorf("cpio archive: /%s: %w", e.Path, err)
	}
	w.seen[e.Path] = e.Mode & typeMask
	w.inode++
	links := uint32(1)
	if e.Mode&typeMask == Directory {
		links = 2
	}
	return w.header(e, w.inode, links)
}

// check refuses what the format cannot hold and what the kernel would silently leave out.
func (w *Writer) check(e Entry) error {
	if e.Path == "" || e.Path == trailer || e.Path[0] == '/' || strings.IndexByte(e.Path, 0) >= 0 {
		return errors.New("an archive cannot hold this path")
	}
	if _, twice := w.seen[e.Path]; twice {
		return errors.New("it is twice there")
	}
	if i := strings.LastIndexByte(e.Path, '/'); i >= 0 && w.seen[e.Path[:i]] != Directory {
		return fmt.Errorf("it comes before its directory, /%s", e.Path[:i])
	}
	if e.Size < 0 || e.Size > math.MaxUint32 {
		return fmt.Errorf("%d bytes do not fit an archive's 32-bit sizes", e.Size)
	}
	if e.Time < 0 || e.Time > math.MaxUint32 {
		return fmt.Errorf("the time %d does not fit 32 bits", e.Time)
	}
	switch e.Mode & typeMask {
	case Regular, Symlink:
	case Directory, CharDevice:
		if e.Size != 0 {
			return errors.New("it is no file and cannot have contents")
		}
	default:
		return fmt.Errorf("the mode %#o is of no type written here", e.Mode)
	}
	return nil
}

func (w *Writer) header(e Entry, inode, links uint32) error {
	var b strings.Builder
	b.WriteString(magic)
	for _, field := range []uint32{
		inode, e.Mode, 0, 0, links, uint32(e.Time), uint32(e.Size), 0, 0, e.Major, e.Minor, uint32(len(e.Path) + 1), 0,
	} {
		fmt.Fprintf(&b, "%08X", field)
	}
	b.WriteString(e.Path)
	b.WriteByte(0)
	for b.Len()%alignment != 0 {
		b.WriteByte(0)
	}
	w.last, w.missing, w.padding = e.Path, e.Size, -e.Size&(alignment-1)
	return w.write([]byte(b.String()))
}

// Write gives the next bytes of the entry that was added last.
func (w *Writer) Write(p []byte) (int, error) {
	if int64(len(p)) > w.missing {
		return 0, fmt.Errorf("cpio archive: /%s has more contents than was said", w.last)
	}
	if err := w.write(p); err != nil {
		return 0, err
	}
	w.missing -= int64(len(p))
	return len(p), nil
}

func (w *Writer) write(p []byte) error {
	n, err := w.w.Write(p)
	w.written += int64(n)
	return err
}

// complete ends the entry that was added last.
func (w *Writer) complete() error {
	if w.missing > 0 {
		return fmt.Errorf("cpio archive: /%s lacks %d bytes of its contents", w.last, w.missing)
	}
	err := w.write(make([]byte, w.padding))
	w.padding = 0
	return err
}

// Close ends the archive, not the writer below it.
func (w *Writer) Close() error {
	if err := w.complete(); err != nil {
		return err
	}
	if err := w.header(Entry{Path: trailer}, 0, 1); err != nil {
		return err
	}
	return w.write(make([]byte, -w.written&(blockSize-1)))
}
