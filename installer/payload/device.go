package payload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Device is where a payload is restored to. Offsets, lengths and addresses of buffers given to it are multiples of
// [Device.SectorSize], or the operation ends where the device ends. It is used by one goroutine at a time.
type Device interface {
	// Name is the path for error messages.
	Name() string
	// Size is the size in bytes.
	Size() int64
	// SectorSize is the size in bytes of a logical sector.
	SectorSize() int64
	// WriteAt writes so that an error is that of these bytes.
	io.WriterAt
	// ReadAt reads what the device really holds, past any cache of the kernel.
	io.ReaderAt
	// Zero makes n bytes at off read as zero.
	Zero(off, n int64) error
	// Sync returns when everything written is where a power cut leaves it.
	Sync() error
}

// BlockDevice is a block device, or a file that stands for one, opened by [OpenDevice].
type BlockDevice struct {
	f      *os.File
	path   string
	size   int64
	sector int64
	block  bool
	direct bool // opened with O_DIRECT: what is read and written is not cached
}

// OpenDevice opens a device for writing. A block device that is mounted or otherwise in use gives an error: it is opened
// exclusively. Reads and writes bypass the page cache, so that errors come at their place and what is read back comes from
// the device; file systems that cannot do that are made to drop what they cache instead.
func OpenDevice(path string) (*BlockDevice, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open the target: %w", err)
	}
	d := &BlockDevice{path: path, sector: sectorSize, block: info.Mode()&(os.ModeDevice|os.ModeCharDevice) == os.ModeDevice}
	if !d.block && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open the target: %s is neither a block device nor a file", path)
	}
	flags := os.O_RDWR
	if d.block {
		flags |= unix.O_EXCL // the kernel refuses when a file system, LVM, RAID or swap uses it or one of its partitions
	}
	d.f, err = os.OpenFile(path, flags|unix.O_DIRECT, 0)
	d.direct = err == nil
	if errors.Is(err, unix.EINVAL) {
		d.f, err = os.OpenFile(path, flags, 0)
	}
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("open the target: %s is in use: one of its partitions is mounted, or belongs to a RAID, to LVM or to swap that is active", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the target: %w", err)
	}
	if err := d.measure(); err != nil {
		d.f.Close()
		return nil, fmt.Errorf("open the target %s: %w", path, err)
	}
	return d, nil
}

// measure finds out sizes.
func (d *BlockDevice) measure() error {
	var err error
	if d.size, err = d.f.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	if !d.block {
		return nil
	}
	sector, err := unix.IoctlGetInt(int(d.f.Fd()), unix.BLKSSZGET)
	if err != nil {
		return fmt.Errorf("ask for its sector size: %w", err)
	}
	d.sector = int64(sector)
	readOnly, err := unix.IoctlGetInt(int(d.f.Fd()), unix.BLKROGET)
	if err != nil {
		return fmt.Errorf("ask whether it can be written: %w", err)
	}
	if readOnly != 0 {
		return errors.New("it is write-protected")
	}
	return nil
}

// Name is the path that was opened.
func (d *BlockDevice) Name() string { return d.path }

// Size is the size in bytes.
func (d *BlockDevice) Size() int64 { return d.size }

// SectorSize is the size in bytes of a logical sector; 512 for a file.
func (d *BlockDevice) SectorSize() int64 { return d.sector }

// Close closes the device. The kernel then reads its partition table again by itself only where udev runs.
func (d *BlockDevice) Close() error { return d.f.Close() }

// WriteAt implements [Device].
func (d *BlockDevice) WriteAt(p []byte, off int64) (int, error) {
	n, err := d.f.WriteAt(p, off)
	if err != nil && d.direct && errors.Is(err, unix.EINVAL) {
		// A file on a file system whose blocks are larger than what was asked for, or without O_DIRECT after all.
		return d.undirected(func() (int, error) { return d.f.WriteAt(p[n:], off+int64(n)) }, n)
	}
	return n, err
}

// ReadAt implements [Device].
func (d *BlockDevice) ReadAt(p []byte, off int64) (int, error) {
	if !d.direct {
		if err := unix.Fadvise(int(d.f.Fd()), off, int64(len(p)), unix.FADV_DONTNEED); err != nil {
			return 0, fmt.Errorf("drop what is cached: %w", err)
		}
	}
	n, err := d.f.ReadAt(p, off)
	if err != nil && d.direct && errors.Is(err, unix.EINVAL) {
		return d.undirected(func() (int, error) { return d.f.ReadAt(p[n:], off+int64(n)) }, n)
	}
	return n, err
}

// undirected does what cannot be done with O_DIRECT without it: n bytes were done already.
func (d *BlockDevice) undirected(do func() (int, error), n int) (int, error) {
	flags, err := unix.FcntlInt(d.f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return n, err
	}
	if _, err := unix.FcntlInt(d.f.Fd(), unix.F_SETFL, flags&^unix.O_DIRECT); err != nil {
		return n, err
	}
	more, err := do()
	if _, back := unix.FcntlInt(d.f.Fd(), unix.F_SETFL, flags); err == nil {
		err = back
	}
	return n + more, err
}

// Zero implements [Device]: with BLKZEROOUT, which uses what the hardware can do, or a hole in a file; where that
// is impossible it writes zeros.
func (d *BlockDevice) Zero(off, n int64) error {
	var err error
	if d.block {
		err = zeroOut(d.f, off, n)
	} else {
		err = unix.Fallocate(int(d.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	}
	// What an old kernel, a driver or a file system cannot do, or not with these sectors, can still be written.
	if err == nil || !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTTY) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	zeros := alignedBuffer(int(min(n, TableSize)))
	for n > 0 {
		piece := zeros[:min(n, int64(len(zeros)))]
		done, err := d.WriteAt(piece, off)
		if err != nil {
			return err
		}
		off, n = off+int64(done), n-int64(done)
	}
	return nil
}

// Sync implements [Device].
func (d *BlockDevice) Sync() error { return d.f.Sync() }

func zeroOut(f *os.File, off, n int64) error {
	bounds := [2]uint64{uint64(off), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&bounds)))
	if errno != 0 {
		return errno
	}
	return nil
}

// alignedBuffer returns n bytes at an address that O_DIRECT takes on any device.
func alignedBuffer(n int) []byte {
	b := make([]byte, n+BlockSize)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (BlockSize - 1)
	return b[skip:][:n:n]
}

// zeroAll makes a range read as zero, some at a time, so that it can be interrupted.
func zeroAll(ctx context.Context, d Device, r Range, tell func()) error {
	const piece = 256 << 20
	for off := r.Offset; off < r.End(); off += piece {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.Zero(off, min(piece, r.End()-off)); err != nil {
			return &ioError{off, "zeroing", err}
		}
		tell()
	}
	return nil
}
