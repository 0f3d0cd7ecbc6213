package tarball

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// entryOf returns the entry for path that h and contents describe, anything but a hard
// link, and puts the contents of a file into batch.
func entryOf(h *tar.Header, path string, contents io.Reader, batch *store.Batch, limits Limits) (tree.Entry, error) {
	e := tree.Entry{
		Path:  path,
		Mode:  uint32(h.Mode & 0o7777), // some archives put the file type in, too
		MTime: mtime(h),
	}
	var err error
	if e.UID, err = ownerID(h.Uid); err != nil {
		return e, err
	}
	if e.GID, err = ownerID(h.Gid); err != nil {
		return e, err
	}
	if e.Xattrs, err = xattrs(h); err != nil {
		return e, err
	}
	if e.Mode, err = modeOf(e.Mode, e.Xattrs); err != nil {
		return e, err
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		e.Type = tree.Regular
		if h.Size > limits.ContentBytes {
			return e, fmt.Errorf("it claims %d bytes; no archive has a file of more than %d", h.Size, limits.ContentBytes)
		}
		if e.Digest, e.Size, err = batch.Add(contents); err != nil {
			return e, err
		}
		if e.Size != h.Size {
			return e, fmt.Errorf("it has %d bytes instead of %d", e.Size, h.Size)
		}
	case tar.TypeDir:
		e.Type = tree.Directory
	case tar.TypeSymlink:
		e.Type = tree.Symlink
		e.Target, err = symlinkTarget(h.Linkname)
	case tar.TypeFifo:
		e.Type = tree.FIFO
	case tar.TypeChar:
		e.Type = tree.CharDevice
		e.Major, e.Minor, err = deviceNumber(h)
	case tar.TypeBlock:
		e.Type = tree.BlockDevice
		e.Major, e.Minor, err = deviceNumber(h)
	default:
		err = fmt.Errorf("entries of tar type %q have no place in a package or a root file system", h.Typeflag)
	}
	return e, err
}

func mtime(h *tar.Header) tree.Time {
	return tree.Time{Sec: h.ModTime.Unix(), Nsec: uint32(h.ModTime.Nanosecond())}
}

// checkSize refuses links and devices with contents, about whose length
// implementations of tar disagree.
func checkSize(h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		if h.Size != 0 {
			return fmt.Errorf("it claims contents of %d bytes, but only regular files have contents", h.Size)
		}
	}
	return nil
}

func deviceNumber(h *tar.Header) (major, minor uint32, err error) {
	if h.Devmajor < 0 || h.Devmajor > maxMajorNumber || h.Devminor < 0 || h.Devminor > maxMinorNumber {
		return 0, 0, fmt.Errorf("there is no device number %d:%d on Linux", h.Devmajor, h.Devminor)
	}
	return uint32(h.Devmajor), uint32(h.Devminor), nil
}

func symlinkTarget(target string) (string, error) {
	switch {
	case target == "":
		return "", errors.New("it is a symbolic link to nothing")
	case len(target) > maxPathBytes:
		return "", fmt.Errorf("its target has %d bytes; Linux allows %d", len(target), maxPathBytes)
	case strings.ContainsRune(target, 0):
		return "", errors.New("its target holds a NUL")
	}
	return target, nil
}

// ownerID checks a user or group id. The last one means "none" to the kernel.
func ownerID(id int) (uint32, error) {
	if id < 0 || id >= math.MaxUint32 {
		return 0, fmt.Errorf("its owner %d is not a user or group id", id)
	}
	return uint32(id), nil
}

// missingDirectory is a directory that an archive needs and does not hold.
func missingDirectory(path string, mtime tree.Time) tree.Entry {
	return tree.Entry{Path: path, Type: tree.Directory, Mode: 0o755, MTime: mtime}
}
