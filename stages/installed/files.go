package installed

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// reader reads files of a tree and finds the places of paths that packages name.
type reader struct {
	store *store.Store
	tree  *tree.Tree
	dirs  map[string]string // where directories are that packages name; "" for nowhere
}

// errAbsent says that a file of the database is not there.
var errAbsent = errors.New("there is no such file")

// file returns the contents of the regular file at an absolute path, following links; errAbsent
// when there is none.
func (r *reader) file(name string) ([]byte, error) {
	at, err := r.tree.Resolve(relative(name))
	if err != nil {
		return nil, errAbsent
	}
	e, ok := r.tree.Lookup(at)
	if !ok {
		return nil, errAbsent
	}
	return r.contents(e)
}

// contents returns the contents of a regular file.
func (r *reader) contents(e tree.Entry) ([]byte, error) {
	if e.Type != tree.Regular {
		return nil, fmt.Errorf("/%s is a %s and not a file", e.Path, e.Type)
	}
	p, err := r.store.ReadAll(e.Digest)
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", e.Path, err)
	}
	return p, nil
}

// children returns the entries of a directory, which may be reached through links; none when it
// is not there.
func (r *reader) children(dir string) []tree.Entry {
	at, err := r.tree.Resolve(relative(dir))
	if err != nil {
		return nil
	}
	return r.tree.Children(at)
}

// locate returns where the tree has the path that a package names, following links in its
// directories; false when it does not have it.
func (r *reader) locate(name string) (string, bool) {
	p := path.Clean(relative(name))
	if p == tree.Root {
		return "/", true
	}
	dir, ok := r.directory(tree.Parent(p))
	if !ok {
		return "", false
	}
	at := tree.Join(dir, path.Base(p))
	if _, ok := r.tree.Lookup(at); !ok {
		return "", false
	}
	return "/" + at, true
}

// directory is locate for a path that is a directory to the package: where the tree has a link, it is
// where that leads.
func (r *reader) directory(p string) (string, bool) {
	if p == tree.Root {
		return p, true
	}
	if at, ok := r.dirs[p]; ok {
		return at, at != ""
	}
	at, err := r.tree.Resolve(p)
	if err == nil {
		if e, ok := r.tree.Lookup(at); !ok || e.Type != tree.Directory {
			at = ""
		}
	} else {
		at = ""
	}
	r.dirs[p] = at
	return at, at != ""
}

// writer changes files of a tree.
type writer struct {
	reader
	edit *tree.Editor
}

// replace gives the file at an absolute path other contents. Mode, owner and time stay: who
// looks at the image learns nothing from a time of this build.
func (w *writer) replace(name string, p []byte) error {
	at, err := w.tree.Resolve(relative(name))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	e, ok := w.edit.Get(at)
	if !ok {
		return fmt.Errorf("%s: %w", name, errAbsent)
	}
	if e.Digest, err = w.store.Put(p); err != nil {
		return err
	}
	e.Size, e.Link = int64(len(p)), 0
	w.edit.Put(e)
	return nil
}

// remove takes out the file or the link at an absolute path, where directories may be links.
func (w *writer) remove(name string) {
	if dir, err := w.tree.Resolve(tree.Parent(relative(name))); err == nil {
		w.edit.Remove(tree.Join(dir, path.Base(name)))
	}
}

// exists reports whether the tree has something at an absolute path, following links.
func (w *writer) exists(name string) bool {
	at, err := w.tree.Resolve(relative(name))
	if err != nil {
		return false
	}
	_, ok := w.edit.Get(at)
	return ok
}

// lines returns the lines of p without their ends; the last one need not have one.
func lines(p []byte) []string {
	if len(p) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(p), "\n"), "\n")
}
