package deb

import (
	"cmp"
	"slices"
	"strings"
)

// A Request says which packages a set must and must not contain.
type Request struct {
	Packages []Item
	Exclude  []Item // never part of the set, not even as essential packages
	// Essential asks for every package of the native architecture that is
	// marked "Essential: yes"; Priorities for those of the listed priorities
	// ("required", "important", ...).
	Essential  bool
	Priorities []string
	// Recommends asks for recommended packages too, where nothing speaks
	// against them.
	Recommends bool
}

// An Item names a package and who wants it.
type Item struct {
	Name   string // name, name:arch, name=version or name:arch=version
	Origin string // where it was asked for, like "recipe.hcl:12"; may be empty
}

// Solve returns a set of packages that contains what was asked for and in
// which every dependency is satisfied and nothing conflicts, sorted by name
// and architecture. It does not depend on the order of the request.
//
// The set is the one that apt-get install would choose for an empty system if
// it was asked for the same packages in the order of their names: only the
// newest version of each package (or the one that was asked for by "=") is
// considered; dependencies are followed depth first; one that nothing chosen so far
// satisfies is given its first alternative that is possible, and among several
// providers an essential one, one of higher priority, or the one mentioned
// last. Where this leads into a contradiction, unlike apt, Solve looks for
// another set, and it finds one if there is one.
//
// If there is none, the error is an *UnsatisfiableError.
func (u *Universe) Solve(r Request) ([]*Package, error) {
	s := newSearch(u, r.Recommends)
	if wrong := s.ask(r); len(wrong) > 0 {
		return nil, &UnsatisfiableError{Reasons: wrong}
	}
	conflict, err := s.run()
	if err != nil {
		return nil, err
	}
	if conflict != nil {
		return nil, &UnsatisfiableError{Reasons: s.explain(s.sat.Core(conflict))}
	}
	var set []*Package
	for v, chosen := range s.chosen {
		if chosen {
			set = append(set, s.packages[v])
		}
	}
	slices.SortFunc(set, comparePackages)
	return set, nil
}

func comparePackages(a, b *Package) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch))
}
