package installed

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// The families of package databases.
const (
	Deb = "deb"
	RPM = "rpm"
)

// ErrNoDatabase says that a tree has no database of installed packages.
var ErrNoDatabase = errors.New("there is no database of installed packages in the tree")

// Database is what is installed in a tree.
type Database struct {
	Family   string    // Deb or RPM
	Packages []Package // sorted by name, architecture and version

	owners    func() map[string][]int32        // indexes of Packages by path; computed when first asked for
	providing func(capability string) []string // IDs of packages that provide a capability under another name
	byID      map[string]int32
	deb       *debDatabase
	rpm       *rpmDatabase
}

// Package is one installed package. What the family does not say is empty.
type Package struct {
	// ID is Name where one package of that name is installed, and otherwise what tells
	// them apart: "name:arch" (deb), "name-version.arch" (rpm).
	ID            string
	Name          string
	Version       string // as the package manager prints it, with epoch
	Arch          string // the package manager's name of it; "all" or "noarch" for any
	Source        string // name of the source package (deb), file name of the source package (rpm)
	SourceVersion string // version of the source package where it is not Version (deb)
	Summary       string // one line
	License       string // rpm only: the licence tag; deb has texts in /usr/share/doc
	Vendor        string // rpm: vendor; deb: maintainer
	Homepage      string
	Section       string // deb: section; rpm: group

	Essential bool // deb: the package manager refuses to remove it
	Auto      bool // installed because others need it (deb: extended_states); false when unknown

	Size   int64    // bytes, of the regular files it owns in the tree, hard linked ones once
	Files  []string // absolute paths in the tree, directories too, sorted; see the package's doc
	Config []string // configuration files among Files, sorted

	// Needs are in the order of the package's fields.
	Needs []Need
}

// NeedKind says what a need is for.
type NeedKind uint8

// The kinds of needs.
const (
	Requires   NeedKind = iota // the package does not work without
	Scripts                    // only its maintainer scripts or scriptlets need it
	Recommends                 // wanted unless there is a reason against
	Suggests                   // useful together
)

var needKinds = [...]string{"requires", "scripts", "recommends", "suggests"}

// String returns the kind in lower case, as JSON has it.
func (k NeedKind) String() string { return needKinds[k] }

// MarshalText writes the form of String.
func (k NeedKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (k *NeedKind) UnmarshalText(p []byte) error {
	i := slices.Index(needKinds[:], string(p))
	if i < 0 {
		return fmt.Errorf("%q is no kind of need", p)
	}
	*k = NeedKind(i)
	return nil
}

// Need is what a package needs.
type Need struct {
	Text string   // as written: "libc6 (>= 2.36)", "libc.so.6()(64bit)", "(a if b)"
	Kind NeedKind // what for
	// Providers are the IDs of installed packages any one of which satisfies it, in the order of
	// preference: that of the alternatives, then by name. Empty when nothing installed
	// does.
	Providers []string
	// When is empty for a need that always counts. Otherwise it counts only while one of these
	// packages (IDs) is there.
	When []string
}

// Read returns the database of the tree. errors.Is(err, ErrNoDatabase) where it has none; other
// errors name the file and what is wrong with it.
func Read(st *store.Store, t *tree.Tree) (*Database, error) {
	r := &reader{store: st, tree: t, dirs: map[string]string{}}
	d, err := readDeb(r)
	if errors.Is(err, ErrNoDatabase) {
		d, err = readRPM(r)
	}
	if err != nil {
		return nil, err
	}
	d.finish(t)
	return d, nil
}

// Empty returns the database of a tree that has none: nothing is installed.
func Empty() *Database {
	d := &Database{}
	d.finish(tree.Empty(tree.Time{}))
	return d
}

// SettleLinks returns t with alternatives that agree with what is there: choices whose files are gone are none, and
// links to them go to the best that is left, or away. Remove does that, too; before Drop it is the last
// occasion.
func (d *Database) SettleLinks(st *store.Store, t *tree.Tree) (*tree.Tree, error) {
	w := &writer{reader: reader{store: st, tree: t, dirs: map[string]string{}}, edit: t.Edit()}
	if err := d.settleAlternatives(w); err != nil {
		return nil, err
	}
	return w.edit.Tree()
}

// finish puts what both families have in common in order: it sorts, and makes what is derived.
func (d *Database) finish(t *tree.Tree) {
	for i := range d.Packages {
		p := &d.Packages[i]
		slices.Sort(p.Files)
		p.Files = slices.Compact(p.Files)
		slices.Sort(p.Config)
		p.Config = slices.Compact(p.Config)
		p.Size = sizeOf(t, p.Files)
	}
	d.byID = make(map[string]int32, len(d.Packages))
	for i, p := range d.Packages {
		d.byID[p.ID] = int32(i)
	}
	d.owners = sync.OnceValue(func() map[string][]int32 {
		owners := make(map[string][]int32, t.Len())
		for i, p := range d.Packages {
			for _, f := range p.Files {
				owners[f] = append(owners[f], int32(i))
			}
		}
		return owners
	})
}

// sizeOf returns the length of the regular files among paths, hard linked ones once.
func sizeOf(t *tree.Tree, paths []string) int64 {
	var size int64
	var links map[uint32]struct{}
	for _, p := range paths {
		e, ok := t.Lookup(relative(p))
		if !ok || e.Type != tree.Regular {
			continue
		}
		if e.Link != 0 {
			if _, ok := links[e.Link]; ok {
				continue
			}
			if links == nil {
				links = map[uint32]struct{}{}
			}
			links[e.Link] = struct{}{}
		}
		size += e.Size
	}
	return size
}

// Owners returns the IDs of the packages that own path, an absolute path in the tree; none when
// nobody does. Directories may have many owners.
func (d *Database) Owners(path string) []string {
	indexes := d.owners()["/"+strings.Trim(path, "/")]
	if len(indexes) == 0 {
		return nil
	}
	ids := make([]string, len(indexes))
	for i, n := range indexes {
		ids[i] = d.Packages[n].ID
	}
	return ids
}

// Package returns the package of an ID, or nil when there is none. The caller must not change
// it.
func (d *Database) Package(id string) *Package {
	i, ok := d.byID[id]
	if !ok {
		return nil
	}
	return &d.Packages[i]
}

// Providing returns the IDs of the packages that a recipe may mean by name: those of that name, with ":" and an architecture
// or "=" and a version behind it or not; otherwise those that own it, when it is a path, or that provide it.
func (d *Database) Providing(name string) []string {
	if strings.HasPrefix(name, "/") {
		return d.Owners(name)
	}
	unversioned, version, versioned := strings.Cut(name, "=")
	plain, arch, qualified := strings.Cut(unversioned, ":")
	var ids []string
	for _, p := range d.Packages {
		if p.Name == plain && (!qualified || p.Arch == arch) && (!versioned || p.Version == version) || p.ID == name {
			ids = append(ids, p.ID)
		}
	}
	if ids == nil && d.providing != nil {
		ids = d.providing(name)
	}
	return ids
}

// Remove returns t with a database that no longer has the packages with the IDs in names, and that
// agrees with what t still has of the others' files. It is for after the files have gone; t is
// the tree that was read, or one made from it. An ID that is not installed is an error.
func (d *Database) Remove(st *store.Store, t *tree.Tree, names []string) (*tree.Tree, error) {
	gone := make(map[string]struct{}, len(names))
	for _, name := range names {
		if d.Package(name) == nil {
			return nil, fmt.Errorf("the package %q is not installed, so it cannot be removed", name)
		}
		gone[name] = struct{}{}
	}
	w := &writer{reader: reader{store: st, tree: t, dirs: map[string]string{}}, edit: t.Edit()}
	if err := d.settleAlternatives(w); err != nil {
		return nil, err
	}
	var err error
	if d.deb != nil {
		err = d.removeDeb(w, gone)
	} else {
		err = d.removeRPM(w, gone)
	}
	if err != nil {
		return nil, err
	}
	return w.edit.Tree()
}

// Drop returns t without any database of packages, and without what package managers keep
// beside it: lists of repositories, which packages were asked for, alternatives' choices.
func (d *Database) Drop(t *tree.Tree) (*tree.Tree, error) {
	edit := t.Edit()
	for _, dir := range d.Dirs() {
		if at, err := t.Resolve(relative(dir)); err == nil {
			edit.Remove(at)
		}
		edit.Remove(relative(dir)) // where it is a link
	}
	return edit.Tree()
}

// Dirs returns the directories, absolute, that Drop takes away.
func (d *Database) Dirs() []string {
	switch d.Family {
	case Deb:
		return slices.Clone(debDirs)
	case RPM:
		return slices.Clone(rpmDirs)
	}
	return nil
}

// setIDs gives the packages, which it sorts, their IDs. distinct says what tells packages of one
// name apart.
func setIDs(packages []Package, distinct func(Package) string) {
	slices.SortStableFunc(packages, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Version, b.Version))
	})
	for i := range packages {
		p := &packages[i]
		same := func(j int) bool { return j >= 0 && j < len(packages) && packages[j].Name == p.Name }
		if p.ID = p.Name; same(i-1) || same(i+1) {
			p.ID = distinct(*p)
		}
	}
}

// relative returns a path of a database as one of a tree.
func relative(path string) string {
	path = strings.Trim(path, "/")
	if path == "" || path == "." {
		return tree.Root
	}
	return path
}
