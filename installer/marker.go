package installer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/installer/payload"
)

// While a disk is being installed, its last sector before the first MiB says so. Nothing else is there: partition tables end
// long before, partitions begin at the MiB. A disk with this mark holds nothing but our own unfinished work, whatever else it
// seems to hold, so an installation that was interrupted at any moment, by a power cut or a script that failed, can be repeated
// without permission to wipe. Where partitions are kept no mark is made: the disk holds more than ours, and keeping them can be
// repeated anyhow.
const (
	markerOffset = 1<<20 - markerSize
	markerSize   = 512
	markerText   = "imagefactory: this disk is being installed; until that is finished it holds nothing of value\n"
)

// marker returns the sector for a medium.
func marker(id string) []byte {
	sector := make([]byte, markerSize)
	copy(sector, markerText+"id: "+id+"\n")
	return sector
}

// unfinished says whether a disk is marked, and by the medium with which id.
func unfinished(r io.ReaderAt) (id string, ok bool) {
	sector := make([]byte, markerSize)
	if n, _ := r.ReadAt(sector, markerOffset); n < markerSize {
		return "", false
	}
	rest, ok := bytes.CutPrefix(sector, []byte(markerText+"id: "))
	if !ok {
		return "", false
	}
	line, _, ok := bytes.Cut(rest, []byte("\n"))
	return string(line), ok
}

// markedDevice keeps the mark on a disk while a payload is restored to it. To whom it serves, the disk seems to hold what was
// written: reads of the marked sector give what that wrote there.
type markedDevice struct {
	payload.Device
	mark   []byte
	hidden [markerSize]byte // what the sector shall seem to hold
}

func newMarkedDevice(d payload.Device, id string) *markedDevice {
	return &markedDevice{Device: d, mark: marker(id)}
}

// overlap returns the parts of a buffer at off, and of the sector, that are the same place.
func overlap(off int64, length int) (inBuffer, inSector, n int64) {
	from, to := max(off, markerOffset), min(off+int64(length), markerOffset+markerSize)
	return from - off, from - markerOffset, to - from
}

// WriteAt implements payload.Device.
func (d *markedDevice) WriteAt(p []byte, off int64) (int, error) {
	at, sector, n := overlap(off, len(p))
	if n <= 0 {
		return d.Device.WriteAt(p, off)
	}
	copy(d.hidden[sector:sector+n], p[at:])
	// In place, for the buffer's address suits the device; and undone, for it is the caller's.
	copy(p[at:at+n], d.mark[sector:])
	written, err := d.Device.WriteAt(p, off)
	copy(p[at:at+n], d.hidden[sector:])
	return written, err
}

// ReadAt implements payload.Device.
func (d *markedDevice) ReadAt(p []byte, off int64) (int, error) {
	read, err := d.Device.ReadAt(p, off)
	at, sector, n := overlap(off, read)
	if n <= 0 {
		return read, err
	}
	if !bytes.Equal(p[at:at+n], d.mark[sector:sector+n]) {
		return read, fmt.Errorf("%s does not hold what was written to it", d.Name())
	}
	copy(p[at:at+n], d.hidden[sector:])
	return read, err
}

// Zero implements payload.Device.
func (d *markedDevice) Zero(off, length int64) error {
	if err := d.Device.Zero(off, length); err != nil {
		return err
	}
	if off > markerOffset || off+length < markerOffset+markerSize {
		return nil
	}
	clear(d.hidden[:])
	return d.writeSector(d.mark)
}

// unmark takes the mark away from the device at path, which is no longer open.
func (d *markedDevice) unmark(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt(d.hidden[:], markerOffset)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		return fmt.Errorf("marking %s as installed: %w", path, err)
	}
	return nil
}

// writeSector writes one sector. Past the page cache, devices want memory at the start of a page.
func (d *markedDevice) writeSector(sector []byte) error {
	page, err := pages(markerSize)
	if err != nil {
		return err
	}
	defer free(page)
	copy(page, sector)
	_, err = d.Device.WriteAt(page, markerOffset)
	return err
}

// pages returns n bytes at the start of a page; free gives them back.
func pages(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
}

func free(p []byte) { _ = unix.Munmap(p) }
