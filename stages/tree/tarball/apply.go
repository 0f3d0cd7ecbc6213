package tarball

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Whiteouts of layers (OCI Image Format Specification, "Image Layer Filesystem
// Changeset").
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh." // of aufs; but for opaqueMarker they mean nothing
	opaqueMarker   = ".wh..wh..opq"
)

// Options say how Apply reads an archive.
type Options struct {
	Limits Limits
	// Layer says that the archive is a layer of a container image: names that begin
	// with ".wh." remove what lies below.
	Layer bool
}

// Apply returns base with the archive in r over it, as tar extracts it there: later
// entries replace earlier ones, a directory that is there already keeps what it holds,
// missing parents are made (root's, mode 0755, with the time of the entry that needs
// them), symbolic links on the way to an entry are followed, but never out of the tree,
// and the slashes before absolute names do not count. Names with ".." are refused. The
// contents of files go into batch.
//
// The whiteouts of a layer concern what base has and never what the layer itself
// brings, in whatever order they come.
func Apply(base *tree.Tree, r io.Reader, batch *store.Batch, o Options) (*tree.Tree, error) {
	a := &applier{
		base: base, edit: base.Edit(), batch: batch, options: o,
		meter: meter{limits: o.Limits}, directories: map[string]struct{}{},
	}
	if err := Walk(r, a.read); err != nil {
		return nil, err
	}
	for _, w := range a.whiteouts {
		a.whiteOut(w)
	}
	for _, i := range a.items {
		if err := a.place(i); err != nil {
			return nil, fmt.Errorf("entry %q: %w", i.entry.Path, err)
		}
	}
	return a.edit.Tree()
}

// applier applies one archive. It reads all of it first.
type applier struct {
	base    *tree.Tree
	edit    *tree.Editor
	batch   *store.Batch
	options Options
	meter   meter

	items       []item
	whiteouts   []whiteout
	directories map[string]struct{} // that the archive itself brings
}

// item is an entry of the archive at the path it is given there.
type item struct {
	entry    tree.Entry // of a hard link, the path and time alone
	original string     // path of the entry that a hard link is another name of
}

type whiteout struct {
	dir    string
	name   string // in dir
	opaque bool   // everything in dir
}

func (a *applier) read(h *tar.Header, contents io.Reader) error {
	const volumeLabel = 'V' // of GNU tar
	if h.Typeflag == tar.TypeXGlobalHeader || h.Typeflag == volumeLabel {
		return nil
	}
	if err := checkSize(h); err != nil {
		return err
	}
	path, err := cleanPath(h.Name)
	if err != nil {
		return err
	}
	if path == tree.Root && h.Typeflag != tar.TypeDir {
		return errors.New("the root must be a directory")
	}
	if name := path[strings.LastIndexByte(path, '/')+1:]; a.options.Layer && strings.HasPrefix(name, whiteoutPrefix) {
		return a.readWhiteout(tree.Parent(path), name)
	}
	if h.Typeflag == tar.TypeLink {
		original, err := cleanPath(h.Linkname)
		if err != nil {
			return fmt.Errorf("it is a hard link: %w", err)
		}
		i := item{tree.Entry{Path: path, Target: original, MTime: mtime(h)}, original}
		if err := a.meter.count(&i.entry); err != nil {
			return err
		}
		a.items = append(a.items, i)
		return nil
	}
	e, err := entryOf(h, path, contents, a.batch, a.options.Limits)
	if err != nil {
		return err
	}
	if e.Type == tree.Directory {
		a.directories[path] = struct{}{}
	}
	a.items = append(a.items, item{entry: e})
	return a.meter.count(&e)
}

func (a *applier) readWhiteout(dir, name string) error {
	w := whiteout{dir: dir, name: strings.TrimPrefix(name, whiteoutPrefix), opaque: name == opaqueMarker}
	switch {
	case w.opaque:
	case strings.HasPrefix(name, whiteoutMeta):
		return nil
	case w.name == "" || w.name == "." || w.name == "..":
		return errors.New("it is a whiteout of nothing")
	}
	a.whiteouts = append(a.whiteouts, w)
	return a.meter.count(&tree.Entry{Path: dir, Target: name})
}

// whiteOut removes what a whiteout means from what base has.
func (a *applier) whiteOut(w whiteout) {
	dir, ok := a.lower(w.dir)
	if !ok {
		return
	}
	if !w.opaque {
		a.edit.Remove(tree.Join(dir, w.name))
		return
	}
	for _, e := range a.base.Children(dir) {
		a.edit.Remove(e.Path)
	}
}

// lower returns where in base the directory dir of the archive lies. ok is false when
// it is not there: either at all, or because base has a symbolic link in the place of a
// directory that the archive brings.
func (a *applier) lower(dir string) (string, bool) {
	at := tree.Root
	if dir == tree.Root {
		return at, true
	}
	given := ""
	for element := range strings.SplitSeq(dir, "/") {
		given = strings.TrimPrefix(given+"/"+element, "/")
		at = tree.Join(at, element)
		e, ok := a.base.Lookup(at)
		if !ok {
			return "", false
		}
		if e.Type == tree.Symlink {
			if _, replaced := a.directories[given]; replaced {
				return "", false
			}
			var err error
			if at, err = a.base.Resolve(at); err != nil {
				return "", false
			}
		}
	}
	return at, true
}

// place puts one entry of the archive into the tree.
func (a *applier) place(i item) error {
	path, err := a.resolve(i.entry.Path, i.entry.MTime)
	if err != nil {
		return err
	}
	if i.original != "" {
		return a.link(path, i.original)
	}
	i.entry.Path = path
	a.edit.Put(i.entry)
	return nil
}

// link makes path another name of the file at original.
func (a *applier) link(path, original string) error {
	dir, err := a.edit.Resolve(tree.Parent(original))
	if err != nil {
		return fmt.Errorf("it is a hard link to %q: %w", original, err)
	}
	e, ok := a.edit.Get(tree.Join(dir, original[strings.LastIndexByte(original, '/')+1:]))
	switch {
	case !ok:
		return fmt.Errorf("it is a hard link to %q, which is not there", original)
	case e.Type == tree.Directory:
		return fmt.Errorf("it is a hard link to the directory %q", original)
	case e.Path == path:
		return nil
	}
	if old, ok := a.edit.Get(path); ok && old.Type == tree.Directory && strings.HasPrefix(e.Path, path+"/") {
		return fmt.Errorf("it is a hard link to %q, which lies below it", original)
	}
	if e.Link == 0 {
		e.Link = a.edit.NewLink()
		a.edit.Put(e)
	}
	e.Path = path
	a.edit.Put(e)
	return nil
}

// resolve returns where the entry given as path lies: links in the directories before
// it are followed, and missing directories made.
func (a *applier) resolve(path string, mtime tree.Time) (string, error) {
	if path == tree.Root {
		return path, nil
	}
	dir, err := a.directory(tree.Parent(path), mtime)
	if err != nil {
		return "", err
	}
	return tree.Join(dir, path[strings.LastIndexByte(path, '/')+1:]), nil
}

// directory returns where the directory given as path lies, and makes it where there
// is nothing.
func (a *applier) directory(path string, mtime tree.Time) (string, error) {
	at, err := a.resolve(path, mtime)
	if err != nil {
		return "", err
	}
	e, ok := a.edit.Get(at)
	if ok && e.Type == tree.Symlink {
		if at, err = a.edit.Resolve(at); err != nil {
			return "", err
		}
		e, ok = a.edit.Get(at)
	}
	switch {
	case !ok:
		dir := missingDirectory(at, mtime)
		if err := a.meter.count(&dir); err != nil {
			return "", err
		}
		a.edit.Put(dir)
	case e.Type != tree.Directory:
		return "", fmt.Errorf("it lies below %q, which is not a directory", path)
	}
	return at, nil
}

// cleanPath turns the name of an entry into the path of a tree, as tar would take it.
func cleanPath(name string) (string, error) {
	if len(name) > maxPathBytes {
		return "", fmt.Errorf("its name has %d bytes; Linux allows %d", len(name), maxPathBytes)
	}
	var elements []string
	for element := range strings.SplitSeq(name, "/") {
		switch {
		case element == "" || element == ".":
			continue
		case element == "..":
			return "", fmt.Errorf("the name %q has the element %q", name, element)
		case len(element) > maxNameBytes:
			return "", fmt.Errorf("the name %q has an element of %d bytes; Linux allows %d", name, len(element), maxNameBytes)
		case strings.ContainsRune(element, 0):
			return "", fmt.Errorf("the name %q holds a NUL", name)
		}
		elements = append(elements, element)
	}
	if len(elements) == 0 {
		if name == "" {
			return "", errors.New("it has no name")
		}
		return tree.Root, nil
	}
	return strings.Join(elements, "/"), nil
}
