package deb

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// A Universe is the packages of all repositories of an image, prepared for
// looking up. It is immutable and can be used by several goroutines.
type Universe struct {
	arch    string   // native architecture
	archs   []string // all architectures, the native one first
	indexes []*Index

	packages  []*Package // sorted by name; packages of one name in the order of the repositories
	providers map[string][]provision
}

// A provision says that a package provides something.
type provision struct {
	pkg     *Package
	arch    string // the architecture it is provided for
	version string // "" if provided without a version
}

// NewUniverse returns the universe of the packages in all indexes that are of
// architecture arch or all, or of one of the foreign architectures. All
// repositories have the same priority; of packages with the same name,
// architecture and version the first is used. Malformed Provides are an error.
func NewUniverse(arch string, foreign []string, indexes ...*Index) (*Universe, error) {
	u := &Universe{arch: arch, archs: append([]string{arch}, foreign...), indexes: indexes, providers: make(map[string][]provision)}
	n := 0
	for _, index := range indexes {
		n += len(index.Packages)
	}
	u.packages = make([]*Package, 0, n)
	for _, index := range indexes {
		for _, p := range index.Packages {
			if !slices.Contains(u.archs, u.archOf(p)) {
				continue
			}
			u.packages = append(u.packages, p)
			if p.Provides == "" {
				continue
			}
			provided, err := ParseRelations(p.Provides)
			if err != nil {
				return nil, fmt.Errorf("repository %s: package %s: Provides: %w", p.Repository, p, err)
			}
			for _, r := range provided {
				if r.Op != AnyVersion && r.Op != Equal {
					continue // means nothing; apt and dpkg pass over it too
				}
				u.providers[r.Name] = append(u.providers[r.Name], provision{p, cmp.Or(r.Arch, u.archOf(p)), r.Version})
			}
		}
	}
	slices.SortStableFunc(u.packages, func(a, b *Package) int { return strings.Compare(a.Name, b.Name) })
	return u, nil
}

// archOf returns the architecture that a package counts as: "all" is native.
func (u *Universe) archOf(p *Package) string {
	if p.Arch == "all" {
		return u.arch
	}
	return p.Arch
}

// named returns all packages of a name, of every architecture and version.
func (u *Universe) named(name string) []*Package {
	byName := func(p *Package, name string) int { return strings.Compare(p.Name, name) }
	first, found := slices.BinarySearchFunc(u.packages, name, byName)
	if !found {
		return nil
	}
	last := first
	for last < len(u.packages) && u.packages[last].Name == name {
		last++
	}
	return u.packages[first:last]
}

// names returns the names of all packages, some of them more than once.
func (u *Universe) names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, p := range u.packages {
			if !yield(p.Name) {
				return
			}
		}
	}
}

// newest returns the newest package of a name and architecture, or nil.
func (u *Universe) newest(name, arch string) *Package {
	var newest *Package
	for _, p := range u.named(name) {
		if u.archOf(p) == arch && (newest == nil || CompareVersions(p.Version, newest.Version) > 0) {
			newest = p
		}
	}
	return newest
}

// Newest returns the newest package of a name for the native architecture, without
// looking at what it depends on. The error is an *UnsatisfiableError.
func (u *Universe) Newest(item Item) (*Package, error) {
	if p := u.newest(item.Name, u.arch); p != nil {
		return p, nil
	}
	// Not there: Solve says why, with names that are near.
	if _, err := u.Solve(Request{Packages: []Item{item}}); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("package %s: there is none for %s", item.Name, u.arch)
}

// mentionedAt returns the place of a name in the order of first mention.
func (u *Universe) mentionedAt(name string) uint64 {
	for i, index := range u.indexes {
		if n, ok := index.mentioned[name]; ok {
			return uint64(i)<<32 | uint64(n)
		}
	}
	return uint64(len(u.indexes)) << 32
}
