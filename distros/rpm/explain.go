package rpm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/sat"
	"github.com/imagefactory/imagefactory/distros/wording"
)

// An UnsatisfiableError says why no set of packages is what was asked for.
type UnsatisfiableError struct {
	// Reasons are clauses of sentences, without a full stop. All of them together make the
	// request impossible, none can be left out; or each of them is about an item that
	// does not exist.
	Reasons []string
}

// Error returns the only reason, or a heading and an indented line for each.
func (e *UnsatisfiableError) Error() string {
	if len(e.Reasons) == 1 {
		return e.Reasons[0]
	}
	return "the request cannot be satisfied:\n  " + strings.Join(e.Reasons, "\n  ")
}

// ExitStatus returns 2: the recipe is wrong.
func (e *UnsatisfiableError) ExitStatus() int { return 2 }

// String returns the item as messages name it.
func (i Item) String() string { return i.Spec + origin(i.Origin) }

func origin(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

// Limits of what messages list.
const (
	maxNearest  = 3
	maxPackages = 4
	maxVersions = 2
	maxCauses   = 2 // why versions of one package are impossible
)

// unknown says that an item asks for something that does not exist, and what may be meant.
func (s *search) unknown(item Item) string {
	name := strings.TrimSpace(item.Spec)
	for _, form := range nevraForms {
		if pattern, ok := form(name); ok && pattern.name != name && len(s.universe.named[pattern.name]) > 0 {
			return fmt.Sprintf("%s: there is no such package, only %s", item, s.inRepositories(s.universe.named[pattern.name]))
		}
	}
	if d, err := ParseDependency(name); err == nil && d.Sense != 0 {
		if others := s.providing(Dependency{Name: d.Name}); len(others) > 0 {
			return fmt.Sprintf("%s: no package provides that; there is %s", item, s.inRepositories(others))
		}
	}
	if isPathSpec(name) {
		return fmt.Sprintf("no package holds the file %s", item)
	}
	text := fmt.Sprintf("there is no package %s, and none provides it", item)
	if nearest := wording.Nearest(name, maps.Keys(s.universe.named), maxNearest); len(nearest) > 0 {
		text += "; did you mean " + wording.List(nearest, "or", maxNearest) + "?"
	}
	return text
}

// inRepositories lists packages, the newest first, with the repositories that have them.
func (s *search) inRepositories(packages []int32) string {
	var names []string
	for _, i := range s.newestFirst(packages) {
		p := s.universe.packages[i]
		names = append(names, fmt.Sprintf("%s (repository %s)", p, p.Repository))
	}
	return wording.List(names, "and", maxVersions)
}

// newestFirst sorts packages by version.
func (s *search) newestFirst(packages []int32) []int32 {
	u := s.universe
	packages = slices.Clone(packages)
	slices.SortStableFunc(packages, func(i, j int32) int { return CompareEVR(u.packages[j].EVR, u.packages[i].EVR) })
	return packages
}

// whyExcluded says by which items packages are excluded.
func (s *search) whyExcluded(packages []int32) string {
	u := s.universe
	for _, item := range s.items {
		found, _ := u.specifiedByName(item.Spec)
		if slices.Contains(found, packages[0]) {
			return fmt.Sprintf("%s is excluded by %s", u.packages[packages[0]], item)
		}
	}
	return fmt.Sprintf("%s is excluded", u.packages[packages[0]])
}

// explain turns facts that contradict each other into sentences: as few facts as possible,
// in the order in which one leads to the next, beginning with what was asked for.
func (s *search) explain(facts []*fact) []string {
	facts = sat.Minimize(facts, (*fact).clause)
	e := explanation{search: s, about: make(map[int32][]*fact), told: make(map[int32]bool)}
	var asked []*fact
	for _, f := range facts {
		if f.kind == factAsked {
			asked = append(asked, f)
		} else {
			e.about[f.subject] = append(e.about[f.subject], f)
		}
	}
	for _, about := range e.about {
		slices.SortStableFunc(about, func(f, g *fact) int { return cmp.Compare(f.kind, g.kind) })
	}
	slices.SortStableFunc(asked, func(f, g *fact) int { return cmp.Compare(f.subject, g.subject) })
	var others []*fact // the other sides of what leads from those before
	for _, f := range asked {
		if targets := e.untold(f); len(targets) > 0 {
			e.tell(targets, s.items[f.subject].String())
		} else {
			others = append(others, f)
		}
	}
	for _, f := range others {
		packages := s.newestFirst(f.targets())
		e.sentences = append(e.sentences, e.subject(packages, s.items[f.subject].String())+" "+inNumber("is asked for", len(packages)))
	}
	if !e.shortened {
		for _, i := range slices.Sorted(maps.Keys(e.about)) { // nothing that was told leads to these
			e.tell([]int32{i}, "")
		}
	}
	return e.sentences
}

// An explanation is the sentences about a contradiction, as far as they are written.
type explanation struct {
	search    *search
	about     map[int32][]*fact // by subject, without what was asked for
	told      map[int32]bool    // subjects whose facts are part of the sentences
	shortened bool              // some facts are not told
	sentences []string
}

// untold returns the packages that a fact leads to and that something is to be said about.
func (e *explanation) untold(f *fact) []int32 {
	var packages []int32
	for _, i := range f.targets() {
		if len(e.about[i]) > 0 && !e.told[i] {
			packages = append(packages, i)
		}
	}
	return packages
}

// An alike is packages of one name of which the same is to be said, the newest first.
type alike struct {
	packages   []int32
	predicates []string
}

// tell writes the sentences about packages that are alternatives, and what they lead to. Of
// many versions of a package it tells why the newest ones are impossible. If asked is not
// empty the packages are what that item asks for.
func (e *explanation) tell(packages []int32, asked string) {
	u := e.search.universe
	packages = slices.DeleteFunc(slices.Clone(packages), func(i int32) bool { return e.told[i] })
	slices.SortStableFunc(packages, func(i, j int32) int {
		a, b := u.packages[i], u.packages[j]
		return cmp.Or(strings.Compare(a.Name, b.Name), CompareEVR(b.EVR, a.EVR))
	})
	for len(packages) > 0 {
		name := u.packages[packages[0]].Name
		n := slices.IndexFunc(packages, func(i int32) bool { return u.packages[i].Name != name })
		if n < 0 {
			n = len(packages)
		}
		e.tellVersions(packages[:n], asked)
		packages = packages[n:]
	}
}

// tellVersions is tell for packages of one name, the newest first.
func (e *explanation) tellVersions(packages []int32, asked string) {
	var all []*alike
	for _, i := range packages {
		e.told[i] = true
		var predicates []string
		for _, f := range e.about[i] {
			predicates = append(predicates, e.predicate(f))
		}
		predicates = slices.Compact(predicates)
		n := slices.IndexFunc(all, func(a *alike) bool { return slices.Equal(a.predicates, predicates) })
		if n < 0 {
			all = append(all, &alike{predicates: predicates})
			n = len(all) - 1
		}
		all[n].packages = append(all[n].packages, i)
	}
	for n, a := range all {
		if n == maxCauses && len(all) > maxCauses+1 {
			e.shortened = true
			rest := 0
			for _, b := range all[n:] {
				rest += len(b.packages)
			}
			e.sentences = append(e.sentences, fmt.Sprintf("%d other versions of %s cannot be installed either", rest, e.search.universe.packages[packages[0]].Name))
			return
		}
		for _, predicate := range a.predicates {
			e.sentences = append(e.sentences, e.subject(a.packages, asked)+" "+inNumber(predicate, len(a.packages)))
		}
		for _, i := range a.packages {
			for _, f := range e.about[i] {
				if f.kind == factRequires {
					e.tell(e.untold(f), "")
				}
			}
		}
	}
}

// subject names packages that a sentence is about.
func (e *explanation) subject(packages []int32, asked string) string {
	u := e.search.universe
	text := u.packages[packages[0]].String()
	switch n := len(packages) - 1; {
	case n == 1:
		text += " and another version"
	case n > 1:
		text += fmt.Sprintf(" and %d other versions", n)
	}
	if asked != "" && asked != u.packages[packages[0]].Name {
		return asked + ": " + text
	}
	return text
}

// inNumber puts the verb that a predicate begins with into the plural if it is about
// several packages.
func inNumber(predicate string, packages int) string {
	verb, rest, _ := strings.Cut(predicate, " ")
	plural := map[string]string{"requires": "require", "conflicts": "conflict", "obsoletes": "obsolete", "is": "are"}[verb]
	if packages == 1 || plural == "" {
		return predicate
	}
	return plural + " " + rest
}

// predicate writes what a fact says without its subject.
func (e *explanation) predicate(f *fact) string {
	s, u := e.search, e.search.universe
	switch f.kind {
	case factExcluded:
		return "is excluded by " + s.items[f.other].String()
	case factRequires:
		return "requires " + f.relation.String() + s.providers(f)
	case factObsoletes:
		return fmt.Sprintf("obsoletes %s, which %s is", f.relation, u.packages[f.other])
	case factSameName:
		return fmt.Sprintf("cannot be installed together with %s of the same name", u.packages[f.other])
	case factConflicts:
		if f.other < 0 {
			return "conflicts with " + f.relation.String()
		}
		other := u.packages[f.other]
		if f.relation.Name == other.Name {
			return fmt.Sprintf("conflicts with %s, which %s is", f.relation, other)
		}
		return fmt.Sprintf("conflicts with %s, which %s provides", f.relation, other)
	}
	return ""
}

// providers names the packages that satisfy a requirement where it does not name them
// itself, or says why there are none.
func (s *search) providers(f *fact) string {
	packages := f.targets()
	d := *f.relation
	if len(packages) == 0 {
		return s.missing(d)
	}
	for _, i := range packages {
		if s.universe.packages[i].Name != d.Name {
			var names []string
			for _, i := range packages {
				names = append(names, s.universe.packages[i].Name)
			}
			slices.Sort(names)
			return " (provided by " + wording.List(slices.Compact(names), "and", maxPackages) + ")"
		}
	}
	return ""
}

// missing says why nothing satisfies a requirement.
func (s *search) missing(d Dependency) string {
	if d.IsRich() {
		e := s.universe.expression(d)
		if e == nil {
			_, err := ParseRich(d.Name)
			return fmt.Sprintf(", which cannot be understood: %v", err)
		}
		return ", which no packages of the repositories can satisfy"
	}
	if d.Sense != 0 {
		if others := s.providing(Dependency{Name: d.Name}); len(others) > 0 {
			return fmt.Sprintf(", which nothing provides in that version; there is %s", s.inRepositories(others))
		}
	}
	if strings.HasPrefix(d.Name, "/") {
		return ", a file that no package of the repositories holds"
	}
	return ", which nothing in the repositories provides"
}
