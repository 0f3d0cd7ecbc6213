package emit

import (
	"fmt"
	"io"
	"os"

	"github.com/imagefactory/imagefactory/stages/emit/qcow2"
)

// DiskFile is an image file opened for reading, whatever its format.
type DiskFile struct {
	io.ReaderAt        // the disk's bytes; safe for several goroutines
	Format      string // "raw" or "qcow2"
	size        int64
	file        *os.File
}

// OpenImage opens a qcow2 image, told by its magic number, or else a raw image or block device.
func OpenImage(path string) (*DiskFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the image: %w", err)
	}
	d, err := openImage(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open the image %s: %w", path, err)
	}
	return d, nil
}

func openImage(f *os.File) (*DiskFile, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("it is a directory")
	}
	size, err := f.Seek(0, io.SeekEnd) // Stat knows no size of a block device
	if err != nil {
		return nil, err
	}
	if !qcow2.Detect(f) {
		return &DiskFile{ReaderAt: f, Format: "raw", size: size, file: f}, nil
	}
	r, err := qcow2.Open(f, size)
	if err != nil {
		return nil, err
	}
	return &DiskFile{ReaderAt: r, Format: "qcow2", size: r.Size(), file: f}, nil
}

// Size is the size of the disk in bytes.
func (d *DiskFile) Size() int64 { return d.size }

// Close closes the file.
func (d *DiskFile) Close() error { return d.file.Close() }
