package rpm

import (
	"cmp"
	"slices"
	"strings"
)

// A Request says which packages a set must and must not contain.
type Request struct {
	Install []Item
	Exclude []Item // packages that are treated as if the repositories did not have them
	// WeakDeps asks for what packages recommend, and for what supplements them, where
	// nothing speaks against it.
	WeakDeps bool
}

// An Item asks for packages.
type Item struct {
	// Spec is what package managers take: a name, name.arch, name-version,
	// name-version-release, each with an epoch before the version and with .arch after it, or
	// else a capability, "libc.so.6" or "bash >= 5", a rich dependency, or a path. Names,
	// versions and paths can contain the wildcards *, ? and [...]; then one package of
	// each name that matches is asked for.
	Spec   string
	Origin string // where it was asked for, like "recipe.hcl:12"; may be empty
	// Optional items are passed over when there is nothing that they ask for.
	Optional bool
	// If is the name of a package; unless that is part of the set the item means nothing.
	If string
}

// Solve returns a set of packages that contains what was asked for and in which every
// requirement is satisfied, nothing conflicts or obsoletes something, and each name
// is there once, sorted by name, version and architecture. It does not depend on the order
// of the request.
//
// The set is the one that dnf would install on an empty system if it was asked for the
// same in the order of the specs: where there is a choice, the repository with the lowest
// priority number, then the newest version of each name, one that is not obsoleted by
// another candidate, is recommended by what is chosen already, has no newer version that is no
// candidate, provides the newest version of what candidates have in common, and is
// suggested; what is left is decided by the name. An older version is
// taken where the newest cannot be installed.
//
// If there is no such set, the error is an *UnsatisfiableError.
func (u *Universe) Solve(r Request) ([]*Package, error) {
	s := newSearch(u, r.WeakDeps)
	if wrong := s.ask(r); len(wrong) > 0 {
		return nil, &UnsatisfiableError{Reasons: wrong}
	}
	if conflict := s.run(); conflict != nil {
		return nil, &UnsatisfiableError{Reasons: s.explain(s.sat.Core(conflict))}
	}
	var set []*Package
	for i, p := range u.packages {
		if s.isChosen(int32(i)) {
			set = append(set, p)
		}
	}
	slices.SortFunc(set, comparePackages)
	return set, nil
}

// Newest returns the package that an item asks for, of several the one that would be
// chosen first, without looking at what it requires. The error is an *UnsatisfiableError.
func (u *Universe) Newest(item Item) (*Package, error) {
	s := newSearch(u, false)
	groups, _ := s.pick(item.Spec)
	var candidates []int32
	for _, g := range groups {
		candidates = append(candidates, g.packages...)
	}
	if len(candidates) == 0 {
		return nil, &UnsatisfiableError{Reasons: []string{s.unknown(item)}}
	}
	return u.packages[s.prefer(candidates)[0]], nil
}

func comparePackages(a, b *Package) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), CompareEVR(a.EVR, b.EVR), strings.Compare(a.Arch, b.Arch))
}
