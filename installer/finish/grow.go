package finish

import (
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctls of file systems, for architectures with the generic encoding, such as x86 and ARM.
const (
	extResize = 0x40086610 // EXT4_IOC_RESIZE_FS: _IOW('f', 16, __u64)
	xfsGrow   = 0x4010586e // XFS_IOC_FSGROWFSDATA: _IOW('X', 110, struct xfs_growfs_data)
)

// FilesystemGrowth is what became of a file system.
type FilesystemGrowth struct {
	Type          string `json:"type,omitempty"` // empty when the partition holds none known here
	Before, After int64  // size in bytes
	// Left says why it was left as it is; empty when it now fills its partition.
	Left string `json:"left,omitempty"`
}

// GrowFilesystem makes the file system of a partition, given by its device, fill it. ext4 and xfs are mounted for that in a
// temporary place, with the kernel's own growing code; the modules for them must be loaded. Others are left as they
// are, and the result says so.
func GrowFilesystem(device string) (FilesystemGrowth, error) {
	g, err := growFilesystem(device)
	if err != nil {
		return g, fmt.Errorf("grow the file system of %s: %w", device, err)
	}
	return g, nil
}

func growFilesystem(device string) (FilesystemGrowth, error) {
	fs, size, err := identifyDevice(device)
	if err != nil {
		return FilesystemGrowth{}, err
	}
	g := FilesystemGrowth{Type: fs.Type, Before: fs.Size, After: fs.Size}
	var grow func(dir *os.File, fs Filesystem, blocks uint64) error
	switch fs.Type {
	case "ext4":
		grow = growExt4
	case "xfs":
		grow = growXFS
	case "":
		g.Left = "it holds no file system that can grow"
		return g, nil
	default:
		g.Left = fs.Type + " cannot grow while the installer runs"
		return g, nil
	}
	want := size / fs.blockSize
	if want*fs.blockSize <= fs.Size {
		return g, nil
	}
	err = mounted(device, fs.Type, func(dir *os.File) error { return grow(dir, fs, uint64(want)) })
	if err != nil {
		return g, err
	}
	after, _, err := identifyDevice(device)
	if err != nil {
		return g, err
	}
	g.After = after.Size
	// Both leave out a last group too small for its own metadata.
	if after.Type != fs.Type || want-after.Size/fs.blockSize >= fs.blocksPerUnit {
		return g, fmt.Errorf("it has %d bytes after growing, instead of %d", after.Size, want*fs.blockSize)
	}
	return g, nil
}

// identifyDevice reads the superblock and the size of a partition.
func identifyDevice(device string) (Filesystem, int64, error) {
	f, err := os.Open(device)
	if err != nil {
		return Filesystem{}, 0, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return Filesystem{}, 0, err
	}
	fs, err := Identify(f)
	return fs, size, err
}

// mounted calls do with the root of a file system that is mounted for that long.
func mounted(device, fsType string, do func(dir *os.File) error) (err error) {
	if err := os.MkdirAll(os.TempDir(), 0o1777); err != nil {
		return err
	}
	place, err := os.MkdirTemp("", "imagefactory-mount-")
	if err != nil {
		return err
	}
	defer os.Remove(place)
	if err := unix.Mount(device, place, fsType, unix.MS_NOATIME|unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount it as %s: %w", fsType, err)
	}
	defer func() {
		if unmountErr := unix.Unmount(place, 0); unmountErr != nil && err == nil {
			err = fmt.Errorf("unmount it: %w", unmountErr)
		}
	}()
	dir, err := os.Open(place)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := do(dir); err != nil {
		return err
	}
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("flush it: %w", err)
	}
	return nil
}

func growExt4(dir *os.File, _ Filesystem, blocks uint64) error {
	if err := ioctl(dir, extResize, unsafe.Pointer(&blocks)); err != nil {
		return fmt.Errorf("the kernel refuses to make it %d blocks large: %w", blocks, err)
	}
	return nil
}

func growXFS(dir *os.File, fs Filesystem, blocks uint64) error {
	args := struct {
		blocks  uint64
		percent uint32 // of inodes: must be what it is
		_       uint32
	}{blocks: blocks, percent: uint32(fs.inodePercent)}
	if err := ioctl(dir, xfsGrow, unsafe.Pointer(&args)); err != nil {
		return fmt.Errorf("the kernel refuses to make it %d blocks large: %w", blocks, err)
	}
	return nil
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
