// Package rootfs is the stage that merges the trees of packages into the tree of a
// root file system.
//
// The rules are those every package manager ends up with, made independent of the
// order of installation:
//
//   - A directory that one package ships and another ships as a symbolic link to a
//     directory stays a link: files of the first go to where it points. The same
//     holds for links that are there before any package (merged /usr).
//   - A directory several packages ship takes its mode and owner from the one that
//     says anything but "root, 0755": dpkg keeps what was unpacked first, rpm what
//     came last, and neither order is meant by anyone.
//   - A file several packages ship must be the same in all of them, or one of the
//     packages must be allowed to take it over (dpkg's Replaces). Anything else is
//     an error that names both.
package rootfs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// Member is a package to merge.
type Member struct {
	Name string // for messages, and for the order of the result's decisions
	Tree *tree.Tree
}

// MergeOptions says how to merge.
type MergeOptions struct {
	// Links are symbolic links to create first: absolute path to target. Their
	// targets are made as directories.
	Links map[string]string
	// TakesOver reports whether a file of member by replaces one of member of.
	TakesOver func(by, of int) bool
	// Time is the modification time of what no package ships.
	Time tree.Time
}

// ConflictError says that two packages ship different things at one path.
type ConflictError struct {
	Path string // absolute
	A, B string // the packages; A is empty when it is a link that comes before any
	What string // how they differ
}

func (e *ConflictError) Error() string {
	if e.A == "" {
		return fmt.Sprintf("the distribution's own links and the package %s both have %s, %s; correct the links of the distribution's architecture, or exclude the package", e.B, e.Path, e.What)
	}
	return fmt.Sprintf("the packages %s and %s both ship %s, %s, and neither declares that it replaces the other; exclude one of them (packages that resolve such a conflict with a diversion in their preinst script are not supported)", e.A, e.B, e.Path, e.What)
}

// Result is a merged root.
type Result struct {
	Tree *tree.Tree
	// Lost holds, by member, the absolute paths as the member ships them which
	// another member took over.
	Lost map[int][]string
}

// Merge merges members. It gives the same result for any order of them.
func Merge(members []Member, o MergeOptions) (*Result, error) {
	m := merger{
		options: o,
		members: members,
		entries: map[string]placed{},
		links:   map[string]string{},
		real:    map[string]string{tree.Root: tree.Root},
		lost:    map[int][]string{},
	}
	order := make([]int, len(members))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(members[a].Name, members[b].Name) })
	m.collectLinks(order)
	if err := m.placeLinks(); err != nil {
		return nil, err
	}
	for _, i := range order {
		if err := m.add(i); err != nil {
			return nil, err
		}
	}
	t, err := m.tree()
	if err != nil {
		return nil, err
	}
	for _, paths := range m.lost {
		slices.Sort(paths)
	}
	return &Result{Tree: t, Lost: m.lost}, nil
}

// placed is an entry of the result and who shipped it: nobody or a member.
type placed struct {
	entry   tree.Entry
	member  int
	shipped string // where the member ships it
}

const nobody = -1

type merger struct {
	options MergeOptions
	members []Member
	entries map[string]placed
	links   map[string]string // symbolic links that may stand for directories, path to target
	real    map[string]string // directory as shipped to where it really is
	lost    map[int][]string
	nlinks  uint32 // highest hard link number used
}

// collectLinks finds the links that stand for directories: those of the options, and
// those which a member ships at a path where another ships a directory.
func (m *merger) collectLinks(order []int) {
	for p, target := range m.options.Links {
		m.links[strings.TrimPrefix(p, "/")] = target
	}
	dirs := map[string]struct{}{}
	for _, i := range order {
		for _, e := range m.members[i].Tree.Entries() {
			if e.Type == tree.Directory {
				dirs[e.Path] = struct{}{}
			}
		}
	}
	for _, i := range order {
		for _, e := range m.members[i].Tree.Entries() {
			if e.Type != tree.Symlink {
				continue
			}
			if _, ok := dirs[e.Path]; ok {
				m.links[e.Path] = e.Target
			}
		}
	}
}

// placeLinks puts the links of the options and their target directories.
func (m *merger) placeLinks() error {
	for _, p := range slices.Sorted(maps.Keys(m.options.Links)) {
		at := strings.TrimPrefix(p, "/")
		if err := tree.CheckPath(at); err != nil {
			return fmt.Errorf("link %s: %w", p, err)
		}
		dir, err := m.directory(tree.Parent(at), 0)
		if err != nil {
			return fmt.Errorf("link %s: %w", p, err)
		}
		m.mkdirs(dir)
		at = tree.Join(dir, at[strings.LastIndexByte(at, '/')+1:])
		m.entries[at] = placed{tree.Entry{Path: at, Type: tree.Symlink, Mode: 0o777, MTime: m.options.Time, Target: m.options.Links[p]}, nobody, at}
		target, err := m.follow(at, m.options.Links[p], 0)
		if err != nil {
			return fmt.Errorf("link %s: %w", p, err)
		}
		m.mkdirs(target)
	}
	return nil
}

// mkdirs makes the directory at p and its parents where they are missing.
func (m *merger) mkdirs(p string) {
	for ; p != tree.Root; p = tree.Parent(p) {
		if _, ok := m.entries[p]; ok {
			return
		}
		m.entries[p] = placed{tree.Entry{Path: p, Type: tree.Directory, Mode: 0o755, MTime: m.options.Time}, nobody, p}
	}
}

const maxLinks = 40 // as Linux

// follow returns the directory that the link at p with the given target stands for.
func (m *merger) follow(p, target string, depth int) (string, error) {
	if depth > maxLinks {
		return "", fmt.Errorf("/%s: too many levels of symbolic links", p)
	}
	if !strings.HasPrefix(target, "/") {
		target = "/" + tree.Parent(p) + "/" + target
	}
	clean := strings.TrimPrefix(path.Clean(target), "/")
	if clean == "" {
		return tree.Root, nil
	}
	return m.directory(clean, depth+1)
}

// directory returns where the directory shipped as p really is.
func (m *merger) directory(p string, depth int) (string, error) {
	if r, ok := m.real[p]; ok {
		return r, nil
	}
	parent, err := m.directory(tree.Parent(p), depth)
	if err != nil {
		return "", err
	}
	r := tree.Join(parent, p[strings.LastIndexByte(p, '/')+1:])
	target, ok := m.links[p]
	if !ok {
		target, ok = m.links[r]
	}
	if ok {
		if r, err = m.follow(r, target, depth); err != nil {
			return "", err
		}
	}
	m.real[p] = r
	return r, nil
}

// add places the entries of member i.
func (m *merger) add(i int) error {
	offset := m.nlinks
	for _, e := range m.members[i].Tree.Entries() {
		if e.Link != 0 {
			e.Link += offset
			m.nlinks = max(m.nlinks, e.Link)
		}
		shipped := e.Path
		if e.Type == tree.Directory {
			dir, err := m.directory(shipped, 0)
			if err != nil {
				return fmt.Errorf("package %s: %w", m.members[i].Name, err)
			}
			e.Path = dir
		} else {
			dir, err := m.directory(tree.Parent(shipped), 0)
			if err != nil {
				return fmt.Errorf("package %s: %w", m.members[i].Name, err)
			}
			e.Path = tree.Join(dir, e.Name())
		}
		if err := m.place(i, shipped, e); err != nil {
			return err
		}
	}
	return nil
}

// place puts entry e of member i, shipped at another path perhaps, into the result.
func (m *merger) place(i int, shipped string, e tree.Entry) error {
	old, taken := m.entries[e.Path]
	switch {
	case !taken:
		if e.Path != shipped {
			m.mkdirs(tree.Parent(e.Path))
		}
		m.entries[e.Path] = placed{e, i, shipped}
	case old.entry.Type == tree.Directory && e.Type == tree.Directory:
		if old.member == nobody || plain(&old.entry) && !plain(&e) {
			m.entries[e.Path] = placed{e, i, shipped}
		}
	case sameFile(&old.entry, &e):
		// One copy serves both, as with packages of several architectures.
	case m.takesOver(i, old.member):
		m.lost[old.member] = append(m.lost[old.member], "/"+old.shipped)
		m.entries[e.Path] = placed{e, i, shipped}
	case m.takesOver(old.member, i):
		m.lost[i] = append(m.lost[i], "/"+shipped)
	default:
		conflict := &ConflictError{Path: "/" + e.Path, B: m.members[i].Name, What: difference(&old.entry, &e)}
		if old.member != nobody {
			conflict.A = m.members[old.member].Name
		}
		return conflict
	}
	return nil
}

// takesOver reports whether a file of member by replaces one of member of.
func (m *merger) takesOver(by, of int) bool {
	return by != nobody && of != nobody && by != of && m.options.TakesOver != nil && m.options.TakesOver(by, of)
}

// plain reports whether a directory has the mode and owner every packager's default
// gives.
func plain(e *tree.Entry) bool {
	return e.Mode == 0o755 && e.UID == 0 && e.GID == 0 && len(e.Xattrs) == 0
}

// sameFile reports whether two packages ship the same thing, times apart.
func sameFile(a, b *tree.Entry) bool {
	if a.Type == tree.Symlink {
		return b.Type == tree.Symlink && a.Target == b.Target
	}
	return a.Type == b.Type && a.Digest == b.Digest && a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.Major == b.Major && a.Minor == b.Minor &&
		slices.EqualFunc(a.Xattrs, b.Xattrs, sameXattr)
}

func sameXattr(a, b tree.Xattr) bool { return a.Name == b.Name && bytes.Equal(a.Value, b.Value) }

// difference says in words how two entries at one path differ.
func difference(a, b *tree.Entry) string {
	switch {
	case a.Type != b.Type:
		return fmt.Sprintf("one as a %s and one as a %s", a.Type, b.Type)
	case a.Type == tree.Symlink:
		return fmt.Sprintf("pointing to %s and to %s", a.Target, b.Target)
	case a.Digest != b.Digest:
		return "with different contents"
	case !slices.EqualFunc(a.Xattrs, b.Xattrs, sameXattr):
		return "with different extended attributes"
	default:
		return "with different modes or owners"
	}
}

// tree returns the result.
func (m *merger) tree() (*tree.Tree, error) {
	if _, ok := m.entries[tree.Root]; !ok {
		return nil, errors.New("there are no packages to make a root file system of")
	}
	entries := make([]tree.Entry, 0, len(m.entries))
	for _, p := range m.entries {
		entries = append(entries, p.entry)
	}
	return tree.New(entries)
}
