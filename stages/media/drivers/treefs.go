package drivers

import (
	"io"
	"io/fs"
	"path"
	"time"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// treeFS is the directory of a kernel's modules in a tree: all that readers of module indexes ask of a file system.
type treeFS struct {
	st  *store.Store
	t   *tree.Tree
	dir string
}

func (f treeFS) lookup(op, name string) (tree.Entry, error) {
	if !fs.ValidPath(name) {
		return tree.Entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	real, err := f.t.Resolve(path.Join(f.dir, name))
	if err == nil {
		if e, ok := f.t.Lookup(real); ok {
			return e, nil
		}
	}
	return tree.Entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// Stat implements fs.StatFS.
func (f treeFS) Stat(name string) (fs.FileInfo, error) {
	e, err := f.lookup("stat", name)
	return info{e}, err
}

// Open implements fs.FS for regular files.
func (f treeFS) Open(name string) (fs.File, error) {
	e, err := f.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if e.Type != tree.Regular {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	o, err := f.st.Object(e.Digest)
	if err != nil {
		return nil, err
	}
	return file{o.NewReader(), e}, nil
}

type file struct {
	*io.SectionReader
	entry tree.Entry
}

func (f file) Stat() (fs.FileInfo, error) { return info{f.entry}, nil }
func (f file) Close() error               { return nil }

type info struct{ entry tree.Entry }

func (i info) Name() string       { return i.entry.Name() }
func (i info) Size() int64        { return i.entry.Size }
func (i info) ModTime() time.Time { return time.Unix(i.entry.MTime.Sec, int64(i.entry.MTime.Nsec)) }
func (i info) IsDir() bool        { return i.entry.Type == tree.Directory }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	mode := fs.FileMode(i.entry.Mode & 0o777)
	if i.IsDir() {
		mode |= fs.ModeDir
	}
	return mode
}
