package inspect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// File is one file of an image with its attributes.
type File struct {
	Path   string    `json:"path"` // absolute, in its file system
	Type   string    `json:"type"` // "file", "directory", "symlink", "character device", …
	Mode   string    `json:"mode"` // permission bits as an octal number: "0755"
	UID    uint32    `json:"uid"`
	GID    uint32    `json:"gid"`
	Size   int64     `json:"size"` // of a regular file, in bytes
	MTime  time.Time `json:"mtime"`
	Target string    `json:"target,omitempty"` // of a symlink
	Major  uint32    `json:"major,omitempty"`  // of a device
	Minor  uint32    `json:"minor,omitempty"`  // of a device
	Xattrs []Xattr   `json:"xattrs,omitempty"` // sorted by name

	volume volume
	entry  tree.Entry
}

// Xattr is an extended attribute.
type Xattr struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

func newFile(v volume, e tree.Entry) *File {
	f := &File{
		Path: "/", Type: e.Type.String(), Mode: fmt.Sprintf("%04o", e.Mode),
		UID: e.UID, GID: e.GID, Size: e.Size, MTime: time.Unix(e.MTime.Sec, int64(e.MTime.Nsec)).UTC(),
		Target: e.Target, Major: e.Major, Minor: e.Minor, volume: v, entry: e,
	}
	if e.Path != tree.Root {
		f.Path = "/" + e.Path
	}
	for _, x := range e.Xattrs {
		f.Xattrs = append(f.Xattrs, Xattr{x.Name, x.Value})
	}
	return f
}

// IsDir reports whether the file is a directory.
func (f *File) IsDir() bool { return f.entry.Type == tree.Directory }

// IsRegular reports whether the file has contents.
func (f *File) IsRegular() bool { return f.entry.Type == tree.Regular }

// Children returns what a directory holds, sorted by name.
func (f *File) Children() ([]*File, error) {
	entries, err := f.volume.readDir(f.entry.Path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	files := make([]*File, len(entries))
	for i, e := range entries {
		files[i] = newFile(f.volume, e)
	}
	return files, nil
}

// Open returns a reader over the contents of a regular file.
func (f *File) Open() (io.Reader, error) {
	if !f.IsRegular() {
		return nil, fmt.Errorf("%s is a %s and has no contents", f.Path, f.Type)
	}
	r, err := f.volume.open(f.entry.Path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	return r, nil
}

// Walk calls visit for the file and, if it is a directory, everything below
// it, in order.
func (f *File) Walk(visit func(*File) error) error {
	if err := visit(f); err != nil {
		return err
	}
	if !f.IsDir() {
		return nil
	}
	children, err := f.Children()
	if err != nil {
		return err
	}
	for _, child := range children {
		if err := child.Walk(visit); err != nil {
			return err
		}
	}
	return nil
}

// maxLinks is how many symlinks a path may lead through, as in Linux.
const maxLinks = 40

// File returns the file at a path: absolute in the root file system, or behind
// the number or label of a partition and a colon, as in ESP:/EFI/BOOT. Symlinks
// on the way are followed inside the file system; a symlink at the end is not.
func (im *Image) File(name string) (*File, error) {
	part, rest, found := strings.Cut(name, ":")
	if !found || strings.HasPrefix(name, "/") {
		part, rest = "", name
	}
	if !strings.HasPrefix(rest, "/") {
		return nil, fmt.Errorf("%q is not a path in an image: write /etc/fstab, or ESP:/EFI for another partition", name)
	}
	v, err := im.volume(part)
	if err != nil {
		return nil, err
	}
	e, err := resolve(v, rest)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return newFile(v, e), nil
}

// resolve finds the entry that an absolute path leads to.
func resolve(v volume, name string) (tree.Entry, error) {
	links := 0
	pending := strings.Split(name, "/")
	at := tree.Root
	entry, err := v.stat(at)
	for err == nil && len(pending) > 0 {
		element := pending[0]
		pending = pending[1:]
		switch element {
		case "", ".":
			continue
		case "..":
			at = tree.Parent(at)
			entry, err = v.stat(at)
			continue
		}
		entry, err = v.stat(tree.Join(at, element))
		if err != nil {
			break
		}
		if entry.Type != tree.Symlink || len(pending) == 0 {
			at = entry.Path
			continue
		}
		if links++; links > maxLinks {
			return tree.Entry{}, errors.New("too many symlinks")
		}
		if path.IsAbs(entry.Target) {
			at = tree.Root
		}
		pending = append(strings.Split(entry.Target, "/"), pending...)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return tree.Entry{}, fs.ErrNotExist
	}
	return entry, err
}
