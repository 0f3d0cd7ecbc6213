// Package extract writes a tree to a directory as it is, owners and all, for programs
// that can only look at directories. Nothing in it is ever run.
package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// ErrNotRoot says that only root can give files away.
var ErrNotRoot = errors.New("only root can write files of other owners")

// To writes the tree into dir, which has to be empty or missing, and is closed to
// others. Device nodes are left out where the kernel does not allow making them, as in
// most containers.
func To(ctx context.Context, st *store.Store, t *tree.Tree, dir string) error {
	if os.Geteuid() != 0 {
		return ErrNotRoot
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	inodes := map[uint32]string{}
	for _, e := range t.Entries() {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if e.Path == tree.Root {
			continue
		}
		p := filepath.Join(dir, filepath.FromSlash(e.Path))
		if first, ok := inodes[e.Link]; ok && e.Link != 0 {
			if err := os.Link(first, p); err != nil {
				return err
			}
			continue
		}
		made, err := create(st, &e, p)
		if err != nil {
			return fmt.Errorf("/%s: %w", e.Path, err)
		}
		if !made {
			continue
		}
		if e.Link != 0 {
			inodes[e.Link] = p
		}
		if err := attributes(&e, p); err != nil {
			return fmt.Errorf("/%s: %w", e.Path, err)
		}
	}
	// Times of directories, which their entries changed, from the innermost outwards.
	entries := t.Entries()
	for i := len(entries) - 1; i > 0; i-- {
		if e := &entries[i]; e.Type == tree.Directory {
			if err := setTime(e, filepath.Join(dir, filepath.FromSlash(e.Path))); err != nil {
				return err
			}
		}
	}
	return nil
}

// create makes what e is, without its attributes; false when it was left out.
func create(st *store.Store, e *tree.Entry, p string) (bool, error) {
	switch e.Type {
	case tree.Regular:
		return true, contents(st, e, p)
	case tree.Directory:
		return true, os.Mkdir(p, 0o700)
	case tree.Symlink:
		return true, os.Symlink(e.Target, p)
	case tree.FIFO:
		return true, unix.Mkfifo(p, 0o600)
	case tree.Socket:
		return true, unix.Mknod(p, unix.S_IFSOCK|0o600, 0)
	}
	kind := uint32(unix.S_IFCHR)
	if e.Type == tree.BlockDevice {
		kind = unix.S_IFBLK
	}
	err := unix.Mknod(p, kind|0o600, int(unix.Mkdev(e.Major, e.Minor)))
	if errors.Is(err, unix.EPERM) {
		return false, nil
	}
	return true, err
}

// contents writes a regular file.
func contents(st *store.Store, e *tree.Entry, p string) error {
	object, err := st.Object(e.Digest)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, object.NewReader())
	return errors.Join(err, f.Close())
}

// attributes gives p owner, mode, extended attributes and time. The owner comes before
// the mode and the capabilities, which a change of owner takes away.
func attributes(e *tree.Entry, p string) error {
	if err := os.Lchown(p, int(e.UID), int(e.GID)); err != nil {
		return err
	}
	if e.Type != tree.Symlink {
		if err := unix.Chmod(p, e.Mode); err != nil {
			return err
		}
	}
	for _, x := range e.Xattrs {
		if err := unix.Lsetxattr(p, x.Name, x.Value, 0); err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("extended attribute %s: %w", x.Name, err)
		}
	}
	return setTime(e, p)
}

func setTime(e *tree.Entry, p string) error {
	at := unix.Timespec{Sec: e.MTime.Sec, Nsec: int64(e.MTime.Nsec)}
	return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}
