package tree

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Editor changes a copy of a tree. It keeps the changes apart from the original, so
// a few changes to a large tree are cheap.
type Editor struct {
	base    *Tree
	put     map[string]Entry
	removed map[string]struct{} // subtrees taken out of base
	links   uint32              // the highest Link number in use
}

// Edit returns an editor that starts from t, which stays as it is.
func (t *Tree) Edit() *Editor {
	e := &Editor{base: t, put: map[string]Entry{}, removed: map[string]struct{}{}}
	for i := range t.entries {
		e.links = max(e.links, t.entries[i].Link)
	}
	return e
}

// NewLink returns a Link number that no entry has.
func (e *Editor) NewLink() uint32 { e.links++; return e.links }

// hidden reports whether base's entry at path was removed, by itself or with a
// directory above it.
func (e *Editor) hidden(path string) bool {
	if len(e.removed) == 0 {
		return false
	}
	for {
		if e.isRemoved(path) {
			return true
		}
		if path == Root {
			return false
		}
		path = Parent(path)
	}
}

// Get returns the entry at path as it is now. It does not follow symbolic links.
func (e *Editor) Get(path string) (Entry, bool) {
	if entry, ok := e.put[path]; ok {
		return entry, true
	}
	if e.hidden(path) {
		return Entry{}, false
	}
	return e.base.Lookup(path)
}

// Put adds entry or replaces what is at its path. What lay below a directory that
// is replaced by something else is removed with it. To change an entry which is
// one of several hard links alone, its Link must be set to 0. The Link of an entry
// from another tree means nothing here: NewLink gives numbers for its groups.
func (e *Editor) Put(entry Entry) {
	if old, ok := e.Get(entry.Path); ok && old.Type == Directory && entry.Type != Directory {
		e.Remove(entry.Path)
	}
	e.put[entry.Path] = entry
}

// Remove takes out path and all below it. It does nothing when there is no such
// path.
func (e *Editor) Remove(path string) {
	prefix := path + "/"
	for p := range e.put {
		if p == path || path == Root || strings.HasPrefix(p, prefix) {
			delete(e.put, p)
		}
	}
	e.removed[path] = struct{}{}
}

// MkdirAll makes sure that path is a directory, creating it and missing parents
// like template (mode, owner, time). The error names the element that is there
// but is no directory.
func (e *Editor) MkdirAll(path string, template Entry) error {
	if path == Root {
		return nil
	}
	if err := e.MkdirAll(Parent(path), template); err != nil {
		return err
	}
	entry, ok := e.Get(path)
	if ok {
		if entry.Type != Directory {
			return fmt.Errorf("/%s is a %s, not a directory", path, entry.Type)
		}
		return nil
	}
	e.Put(Entry{Path: path, Type: Directory, Mode: template.Mode, UID: template.UID, GID: template.GID, MTime: template.MTime})
	return nil
}

// Resolve is Tree.Resolve on the tree as it is now.
func (e *Editor) Resolve(path string) (string, error) { return resolve(path, e.Get) }

// Tree returns the changed tree. The error names the path that breaks an invariant
// of trees.
func (e *Editor) Tree() (*Tree, error) {
	base := e.base.entries
	put := slices.SortedFunc(maps.Keys(e.put), Compare)
	entries := make([]Entry, 0, len(base)+len(put))
	for i := 0; i < len(base) || len(put) > 0; {
		switch {
		case i == len(base) || len(put) > 0 && Compare(put[0], base[i].Path) < 0:
			entries = append(entries, e.put[put[0]])
			put = put[1:]
		case e.isRemoved(base[i].Path):
			i = e.base.subtreeEnd(i)
		default:
			if len(put) == 0 || put[0] != base[i].Path {
				entries = append(entries, base[i])
			}
			i++
		}
	}
	return New(entries)
}

// isRemoved reports whether base's entry at path was removed by itself.
func (e *Editor) isRemoved(path string) bool {
	_, ok := e.removed[path]
	return ok
}
