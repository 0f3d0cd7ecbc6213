// Package files reads the configuration in a tree as programs of the target would:
// through symbolic links, by patterns, and from directories of drop-in files.
package files

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// MaxSize is the most bytes a file of configuration may have. More than that is a
// mistake or an attack, and nothing to parse line by line in memory.
const MaxSize = 16 << 20

// Root is a tree with the store that has its files.
type Root struct {
	Store *store.Store
	Tree  *tree.Tree
}

// File is a file of configuration.
type File struct {
	Path string // absolute, where it was looked for
	Real string // absolute, where it is after following symbolic links
	Data []byte
}

// Lookup returns the entry that the absolute path p leads to.
func (r Root) Lookup(p string) (tree.Entry, bool) {
	real, err := r.Tree.Resolve(relative(p))
	if err != nil {
		return tree.Entry{}, false
	}
	return r.Tree.Lookup(real)
}

// Exists reports whether the absolute path p leads to something.
func (r Root) Exists(p string) bool {
	_, ok := r.Lookup(p)
	return ok
}

// Read returns the regular file that the absolute path p leads to, and whether there
// is one.
func (r Root) Read(p string) (File, bool, error) {
	e, ok := r.Lookup(p)
	if !ok || e.Type != tree.Regular {
		return File{}, false, nil
	}
	if e.Size > MaxSize {
		return File{}, false, fmt.Errorf("%s has %d bytes, more than the %d that are read of a configuration file", p, e.Size, MaxSize)
	}
	data, err := r.Contents(e)
	return File{Path: p, Real: "/" + e.Path, Data: data}, true, err
}

// Contents returns what is in the regular file e.
func (r Root) Contents(e tree.Entry) ([]byte, error) {
	data, err := r.Store.ReadAll(e.Digest)
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", e.Path, err)
	}
	return data, nil
}

// DropIns returns the files whose names end with suffix in the directories, which
// come in order of precedence: of files of one name only the first directory's
// counts, be it a link to /dev/null. The files are ordered by name, as systemd
// and kmod read them.
func (r Root) DropIns(suffix string, dirs ...string) ([]File, error) {
	byName := map[string]string{}
	for _, dir := range dirs {
		e, ok := r.Lookup(dir)
		if !ok || e.Type != tree.Directory {
			continue
		}
		for _, child := range r.Tree.Children(e.Path) {
			name := child.Name()
			if strings.HasPrefix(name, ".") || !strings.HasSuffix(name, suffix) || child.Type == tree.Directory {
				continue
			}
			if _, there := byName[name]; !there {
				byName[name] = path.Join(dir, name)
			}
		}
	}
	names := make([]string, 0, len(byName))
	for name := range byName {
		names = append(names, name)
	}
	slices.Sort(names)
	var found []File
	for _, name := range names {
		f, ok, err := r.Read(byName[name])
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, f)
		}
	}
	return found, nil
}

// ConfDirs returns the directories systemd and kmod read drop-in files of a kind
// from, in order of precedence: "sysctl.d".
func ConfDirs(name string) []string {
	return []string{"/etc/" + name, "/run/" + name, "/usr/local/lib/" + name, "/usr/lib/" + name, "/lib/" + name}
}

// Glob returns the entries that any of the patterns matches and none of except, in
// the tree's order. Patterns are absolute; * and ? match in one element, a last
// element ** everything below.
func (r Root) Glob(patterns, except []string) []tree.Entry {
	matches := map[string]tree.Entry{}
	for _, p := range patterns {
		for _, e := range r.glob(p) {
			if !Match(except, "/"+e.Path) {
				matches[e.Path] = e
			}
		}
	}
	found := make([]tree.Entry, 0, len(matches))
	for _, e := range matches {
		found = append(found, e)
	}
	slices.SortFunc(found, func(a, b tree.Entry) int { return tree.Compare(a.Path, b.Path) })
	return found
}

// glob returns the entries that one pattern matches. It walks down from the root, so
// that a pattern costs no look at the whole tree, and follows links of directories.
func (r Root) glob(pattern string) []tree.Entry {
	rest := strings.Split(relative(pattern), "/")
	dirs := []string{tree.Root}
	for i, element := range rest {
		last := i == len(rest)-1
		var next []tree.Entry
		for _, dir := range dirs {
			switch {
			case last && element == "**":
				for _, e := range r.Tree.Subtree(dir) {
					if e.Path != dir {
						next = append(next, e)
					}
				}
			case strings.ContainsAny(element, "*?["):
				for _, e := range r.Tree.Children(dir) {
					if ok, err := path.Match(element, e.Name()); ok && err == nil {
						next = append(next, e)
					}
				}
			default:
				if e, ok := r.Tree.Lookup(tree.Join(dir, element)); ok {
					next = append(next, e)
				}
			}
		}
		if last {
			return next
		}
		dirs = dirs[:0:0]
		for _, e := range next {
			real, err := r.Tree.Resolve(e.Path)
			if err != nil {
				continue
			}
			if e, ok := r.Tree.Lookup(real); ok && e.Type == tree.Directory {
				dirs = append(dirs, real)
			}
		}
	}
	return nil
}

// Match reports whether any of the patterns matches the absolute path.
func Match(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if above, ok := strings.CutSuffix(pattern, "/**"); ok {
			// As many elements as the pattern has, and at least one more.
			elements, wanted := strings.Split(p, "/"), strings.Count(above, "/")+1
			if len(elements) <= wanted {
				return false
			}
			ok, err := path.Match(above, strings.Join(elements[:wanted], "/"))
			return ok && err == nil
		}
		ok, err := path.Match(pattern, p)
		return ok && err == nil
	})
}

// relative turns an absolute path into one of a tree.
func relative(p string) string {
	p = strings.TrimPrefix(path.Clean("/"+p), "/")
	if p == "" {
		return tree.Root
	}
	return p
}
