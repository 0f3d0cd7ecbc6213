package deb

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/sat"
)

// A search looks for a set of packages. Variable v of the formula says that
// packages[v] is part of the set.
type search struct {
	universe   *Universe
	recommends bool
	sat        sat.Solver[*fact]
	packages   []*Package
	variables  map[*Package]int
	candidates map[candidateKey]*Package // the only version considered, where it is known

	given  []*fact        // what was asked for and excluded
	roots  []int          // what was asked for
	needs  [][]dependency // by variable, once it was true
	chosen []bool         // by variable: part of the set
	err    error          // malformed relations of a package that was looked at
}

type candidateKey struct{ name, arch string }

// A dependency is one of Pre-Depends, Depends or Recommends.
type dependency struct {
	targets     []int // the packages that satisfy it, preferred ones first
	recommended bool  // may stay unsatisfied
}

// A fact is one thing that the request or a package says about the set.
type fact struct {
	kind    factKind
	subject int // variable of the package it is about

	origin   string       // of factAsked and factExcluded
	relation Alternatives // of factNeeds and factConflicts
	targets  []int        // of factNeeds: the packages that satisfy relation
	other    int          // of factConflicts and factArchitectures
	breaks   bool         // of factConflicts: it says Breaks
}

type factKind uint8

const (
	factAsked         factKind = iota // subject must be chosen
	factExcluded                      // subject must not be chosen
	factNeeds                         // subject needs one of targets
	factConflicts                     // subject cannot be together with other
	factArchitectures                 // nor can it here: the two differ in architecture only
)

func (f *fact) clause() *sat.Clause[*fact] {
	c := &sat.Clause[*fact]{Fact: f}
	switch f.kind {
	case factAsked:
		c.Literals = []sat.Literal{sat.True(f.subject)}
	case factExcluded:
		c.Literals = []sat.Literal{sat.False(f.subject)}
	case factNeeds:
		c.Literals = append(c.Literals, sat.False(f.subject))
		for _, t := range f.targets {
			c.Literals = append(c.Literals, sat.True(t))
		}
	default:
		c.Literals = []sat.Literal{sat.False(f.subject), sat.False(f.other)}
	}
	return c
}

func newSearch(u *Universe, recommends bool) *search {
	s := &search{
		universe:   u,
		recommends: recommends,
		variables:  make(map[*Package]int),
		candidates: make(map[candidateKey]*Package),
	}
	s.sat.Expand = s.expand
	return s
}

// variable returns the variable of a package.
func (s *search) variable(p *Package) int {
	v, ok := s.variables[p]
	if !ok {
		v = s.sat.NewVariable()
		s.variables[p] = v
		s.packages = append(s.packages, p)
		s.needs = append(s.needs, nil)
		s.chosen = append(s.chosen, false)
	}
	return v
}

// candidate returns the package of a name and architecture that may become
// part of the set, or nil.
func (s *search) candidate(name, arch string) *Package {
	key := candidateKey{name, arch}
	p, ok := s.candidates[key]
	if !ok {
		p = s.universe.newest(name, arch)
		s.candidates[key] = p
	}
	return p
}

// run chooses a set. It returns a clause that cannot hold if there is none.
func (s *search) run() (*sat.Clause[*fact], error) {
	for _, f := range s.given {
		if conflict := s.sat.Add(f.clause()); conflict != nil {
			return conflict, s.err
		}
	}
	for {
		conflict := s.attempt()
		if s.err != nil || conflict == nil {
			return nil, s.err
		}
		if s.sat.Level() == 0 {
			return conflict, nil
		}
		s.sat.Learn(conflict)
		s.sat.Restart() // attempt keeps its state in plain recursion
	}
}

// attempt follows all dependencies from the roots. Whatever is not decided
// yet is decided as apt would. It returns the clause that this contradicts,
// or nil.
func (s *search) attempt() *sat.Clause[*fact] {
	if conflict := s.sat.Propagate(); conflict != nil {
		return conflict
	}
	clear(s.chosen)
	for _, v := range s.roots {
		s.chosen[v] = true
	}
	for _, v := range s.roots {
		if conflict := s.follow(v); conflict != nil {
			return conflict
		}
	}
	return nil
}

// follow chooses what a chosen package needs. What is true in the formula but
// not yet chosen does not count as satisfying anything: it is needed by
// something that apt has not come to at this point, and the choice must be
// the same as apt's.
func (s *search) follow(v int) *sat.Clause[*fact] {
	for _, need := range s.needs[v] {
		if slices.ContainsFunc(need.targets, func(t int) bool { return s.chosen[t] }) {
			continue
		}
		for _, t := range need.targets {
			value := s.sat.Value(sat.True(t))
			if value < 0 {
				continue
			}
			if value == 0 {
				if conflict := s.sat.Decide(sat.True(t)); conflict != nil {
					return conflict
				}
			}
			s.chosen[t] = true
			if conflict := s.follow(t); conflict != nil {
				return conflict
			}
			break
		}
	}
	return nil
}

// expand reads the relations of a package that has become true and returns
// them as clauses.
func (s *search) expand(v int) []*sat.Clause[*fact] {
	p := s.packages[v]
	var clauses []*sat.Clause[*fact]
	for _, field := range []struct {
		name, value string
	}{{"Pre-Depends", p.PreDepends}, {"Depends", p.Depends}, {"Recommends", p.Recommends}} {
		recommended := field.name == "Recommends"
		if recommended && !s.recommends {
			continue
		}
		all, err := ParseDependencies(field.value)
		if err != nil {
			s.malformed(p, field.name, err)
		}
		for _, relation := range all {
			targets := s.anyOf(relation, p)
			if slices.Contains(targets, v) {
				continue // it provides what it needs
			}
			s.needs[v] = append(s.needs[v], dependency{targets, recommended})
			if !recommended {
				clauses = append(clauses, (&fact{kind: factNeeds, subject: v, relation: relation, targets: targets}).clause())
			}
		}
	}
	for _, field := range []struct {
		name, value string
	}{{"Conflicts", p.Conflicts}, {"Breaks", p.Breaks}} {
		all, err := ParseRelations(field.value)
		if err != nil {
			s.malformed(p, field.name, err)
		}
		for _, relation := range all {
			for _, other := range s.conflicting(relation, p) {
				clauses = append(clauses, (&fact{kind: factConflicts, subject: v, relation: Alternatives{relation},
					other: other, breaks: field.name == "Breaks"}).clause())
			}
		}
	}
	for _, arch := range s.universe.archs {
		if other := s.candidate(p.Name, arch); other != nil && other != p && !coinstallable(p, other) {
			clauses = append(clauses, (&fact{kind: factArchitectures, subject: v, other: s.variable(other)}).clause())
		}
	}
	return clauses
}

// coinstallable says whether a package can be installed together with the
// package of the same name for another architecture.
func coinstallable(a, b *Package) bool {
	return a.MultiArch == MultiArchSame && b.MultiArch == MultiArchSame && a.Version == b.Version
}

func (s *search) malformed(p *Package, field string, err error) {
	s.err = errors.Join(s.err, fmt.Errorf("repository %s: package %s: %s: %w", p.Repository, p, field, err))
}

// anyOf returns the variables of the packages that satisfy a dependency of
// package p, preferred ones first.
func (s *search) anyOf(relation Alternatives, p *Package) []int {
	var targets []int
	for _, r := range relation {
		for _, t := range s.satisfying(r, p) {
			if v := s.variable(t); !slices.Contains(targets, v) {
				targets = append(targets, v)
			}
		}
	}
	return targets
}

// satisfying returns the packages that satisfy one alternative of a dependency
// of package p, preferred ones first.
func (s *search) satisfying(r Relation, p *Package) []*Package {
	matches := func(t *Package, arch string) bool {
		switch r.Arch {
		case "":
			return arch == s.universe.archOf(p) || t.MultiArch == MultiArchForeign
		case "any":
			return t.MultiArch == MultiArchAllowed
		case "native":
			return arch == s.universe.arch
		default:
			return arch == r.Arch
		}
	}
	found := s.lookUp(r, matches)
	s.sortByPreference(found, r)
	return found
}

// conflicting returns the variables of the packages that a relation in the
// Conflicts or Breaks of package p is about. It is never about p itself, nor
// about p for another architecture by what both of them provide.
func (s *search) conflicting(r Relation, p *Package) []int {
	matches := func(t *Package, arch string) bool {
		if t == p || t.Name == p.Name && r.Name != p.Name {
			return false
		}
		switch r.Arch {
		case "":
			return true
		case "any":
			return t.MultiArch == MultiArchAllowed
		case "native":
			return arch == s.universe.arch
		default:
			return arch == r.Arch
		}
	}
	var variables []int
	for _, t := range s.lookUp(r, matches) {
		variables = append(variables, s.variable(t))
	}
	return variables
}

// lookUp returns the candidates that are or provide what a relation names, in
// a version that it allows, and for an architecture that matches allows.
func (s *search) lookUp(r Relation, matches func(p *Package, arch string) bool) []*Package {
	var found []*Package
	for _, arch := range s.universe.archs {
		if p := s.candidate(r.Name, arch); p != nil && matches(p, arch) && r.Op.Holds(p.Version, r.Version) {
			found = append(found, p)
		}
	}
	for _, provided := range s.universe.providers[r.Name] {
		p := provided.pkg
		if r.Op != AnyVersion && (provided.version == "" || !r.Op.Holds(provided.version, r.Version)) {
			continue
		}
		if matches(p, provided.arch) && s.candidate(p.Name, s.universe.archOf(p)) == p && !slices.Contains(found, p) {
			found = append(found, p)
		}
	}
	return found
}

// sortByPreference puts the packages that satisfy a relation into the order in
// which apt tries them (CompareProviders in apt-pkg/depcache.cc).
func (s *search) sortByPreference(found []*Package, r Relation) {
	if len(found) < 2 {
		return
	}
	slices.SortStableFunc(found, func(a, b *Package) int {
		return cmp.Or(
			preferTrue(r.Arch == "" && a.Name == r.Name, r.Arch == "" && b.Name == r.Name),
			preferTrue(a.Essential, b.Essential),
			preferTrue(a.Protected, b.Protected),
			cmp.Compare(slices.Index(s.universe.archs, s.universe.archOf(a)), slices.Index(s.universe.archs, s.universe.archOf(b))),
			cmp.Compare(a.priorityRank(), b.priorityRank()),
			cmp.Compare(s.universe.mentionedAt(b.Name), s.universe.mentionedAt(a.Name)),
		)
	})
}

func preferTrue(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

// ask enters the request. It returns what is wrong with the request in
// itself, as sentences: names and versions that do not exist.
func (s *search) ask(r Request) (wrong []string) {
	// Versions that were asked for come first: they settle the candidates.
	items := slices.Clone(r.Packages)
	slices.SortStableFunc(items, func(a, b Item) int {
		return preferTrue(strings.Contains(a.Name, "="), strings.Contains(b.Name, "="))
	})
	for _, item := range items {
		p, problem := s.pick(item)
		if problem != "" {
			wrong = append(wrong, problem)
			continue
		}
		s.given = append(s.given, &fact{kind: factAsked, subject: s.variable(p), origin: item.Origin})
	}
	excluded := make(map[*Package]bool)
	for _, item := range r.Exclude {
		packages, problem := s.pickAll(item)
		if problem != "" {
			wrong = append(wrong, problem)
		}
		for _, p := range packages {
			excluded[p] = true
			s.given = append(s.given, &fact{kind: factExcluded, subject: s.variable(p), origin: item.Origin})
		}
	}
	for _, p := range s.universe.packages {
		if s.universe.archOf(p) != s.universe.arch || excluded[p] {
			continue
		}
		var origin string
		switch {
		case r.Essential && p.Essential:
			origin = "essential"
		case p.Priority != "" && slices.Contains(r.Priorities, p.Priority):
			origin = "priority " + p.Priority
		default:
			continue
		}
		if s.candidate(p.Name, s.universe.arch) == p {
			s.given = append(s.given, &fact{kind: factAsked, subject: s.variable(p), origin: origin})
		}
	}
	s.setRoots()
	return wrong
}

// setRoots collects what was asked for, by name: the order in which their
// dependencies are followed makes a difference, the order of the request must
// not.
func (s *search) setRoots() {
	for _, f := range s.given {
		if f.kind == factAsked && !slices.Contains(s.roots, f.subject) {
			s.roots = append(s.roots, f.subject)
		}
	}
	slices.SortFunc(s.roots, func(a, b int) int { return comparePackages(s.packages[a], s.packages[b]) })
}

// pick returns the package that an item asks for and makes it the only
// candidate, or says why there is none.
func (s *search) pick(item Item) (p *Package, problem string) {
	name, arch, version := s.split(item)
	if version == "" {
		if p = s.candidate(name, arch); p == nil {
			return nil, s.unknown(item, name, arch)
		}
		return p, ""
	}
	for _, p := range s.universe.named(name) {
		if s.universe.archOf(p) != arch || p.Version != version {
			continue
		}
		key := candidateKey{name, arch}
		if before, ok := s.candidates[key]; ok && before != p {
			return nil, fmt.Sprintf("%s contradicts another request, for %s=%s", item, name, before.Version)
		}
		s.candidates[key] = p
		return p, ""
	}
	if s.universe.newest(name, arch) == nil {
		return nil, s.unknown(item, name, arch)
	}
	return nil, s.unknownVersion(item, name, arch, version)
}

// pickAll returns the packages that an item excludes: those for every
// architecture unless it names one.
func (s *search) pickAll(item Item) (packages []*Package, problem string) {
	name, arch, version := s.split(item)
	if version != "" {
		return nil, fmt.Sprintf("%s: a package is excluded in all versions; write %s", item, name)
	}
	for _, a := range s.universe.archs {
		if p := s.candidate(name, a); p != nil && (a == arch || !strings.Contains(item.Name, ":")) {
			packages = append(packages, p)
		}
	}
	if len(packages) == 0 {
		return nil, s.unknown(item, name, arch)
	}
	return packages, ""
}

// split takes name[:arch][=version] apart. The architecture is the native one
// unless another one is given.
func (s *search) split(item Item) (name, arch, version string) {
	rest, version, _ := strings.Cut(item.Name, "=")
	name, arch, _ = strings.Cut(rest, ":")
	if arch == "" || arch == "all" || arch == "native" {
		arch = s.universe.arch
	}
	return name, arch, version
}
