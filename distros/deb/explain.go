package deb

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/sat"
	"github.com/imagefactory/imagefactory/distros/wording"
)

// An UnsatisfiableError says why no set of packages is what was asked for.
type UnsatisfiableError struct {
	// Reasons are clauses of sentences, without a full stop. All of them
	// together make the request impossible, none can be left out; or each of
	// them is about an item that does not exist.
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
func (i Item) String() string { return i.Name + origin(i.Origin) }

func origin(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

// Limits of what messages list.
const (
	maxNearest      = 3
	maxProviders    = 8
	maxAlternatives = 4
)

// unknown says that an item is about a package that does not exist, and which
// one may be meant.
func (s *search) unknown(item Item, name, arch string) string {
	if others := s.universe.named(name); len(others) > 0 {
		return fmt.Sprintf("%s does not exist for architecture %s, only for %s", item, arch, others[0].Arch)
	}
	var providers []string
	found := s.lookUp(Relation{Name: name}, func(*Package, string) bool { return true })
	s.sortByPreference(found, Relation{Name: name})
	for _, p := range found {
		providers = append(providers, p.Name)
	}
	switch {
	case len(providers) == 1:
		return fmt.Sprintf("%s is a virtual package; ask for %s, which provides it", item, providers[0])
	case len(providers) > 1:
		return fmt.Sprintf("%s is a virtual package; ask for one of those which provide it: %s", item, wording.List(providers, "or", maxProviders))
	}
	text := fmt.Sprintf("there is no package %s", item)
	if nearest := wording.Nearest(name, s.universe.names(), maxNearest); len(nearest) > 0 {
		text += "; did you mean " + wording.List(nearest, "or", maxNearest) + "?"
	}
	return text
}

func (s *search) unknownVersion(item Item, name, arch, version string) string {
	if err := CheckVersion(version); err != nil {
		return fmt.Sprintf("%s: %v", item, err)
	}
	var versions []string
	for _, p := range s.universe.named(name) {
		if s.universe.archOf(p) == arch {
			versions = append(versions, fmt.Sprintf("%s (repository %s)", p.Version, p.Repository))
		}
	}
	return fmt.Sprintf("%s: there is no such version, only %s", item, wording.List(versions, "and", maxProviders))
}

// explain turns facts that contradict each other into sentences: as few facts
// as possible, in the order in which one leads to the next, beginning with
// what was asked for.
func (s *search) explain(facts []*fact) []string {
	facts = sat.Minimize(facts, (*fact).clause)
	e := explanation{search: s, about: make(map[int][]*fact), asked: make(map[int]string), told: make(map[int]bool)}
	for _, f := range facts {
		if f.kind == factAsked {
			e.asked[f.subject] = origin(f.origin)
		} else {
			e.about[f.subject] = append(e.about[f.subject], f)
		}
	}
	for _, about := range e.about {
		slices.SortStableFunc(about, func(f, g *fact) int { return cmp.Compare(f.kind, g.kind) })
	}
	for _, f := range s.given {
		if f.kind == factAsked && slices.Contains(facts, f) {
			e.tell(f.subject)
		}
	}
	return e.sentences
}

// An explanation is the sentences about a contradiction, as far as they are
// written.
type explanation struct {
	search    *search
	about     map[int][]*fact // by subject
	asked     map[int]string  // who asked for the packages that were asked for
	told      map[int]bool    // subjects whose facts are part of the sentences
	sentences []string
}

// tell writes the sentences about a package and what they lead to.
func (e *explanation) tell(v int) {
	if e.told[v] {
		return
	}
	e.told[v] = true
	for _, f := range e.about[v] {
		if e.alike(f)[0] != f {
			continue // was part of the first one's sentence
		}
		text, last := e.sentence(e.name(v), f)
		e.sentences = append(e.sentences, text)
		open := slices.DeleteFunc(slices.Clone(last.targets), func(t int) bool { return e.told[t] || len(e.about[t]) == 0 })
		for i, t := range open {
			if rest := len(open) - i; i >= maxAlternatives && rest > 1 {
				e.sentences = append(e.sentences, fmt.Sprintf("the %d others that satisfy %s are impossible too", rest, last.relation))
				break
			}
			e.tell(t)
		}
	}
}

// name returns the name of a package and who asked for it.
func (e *explanation) name(v int) string { return e.search.packages[v].Name + e.asked[v] }

// sentence writes what a fact says. Where that leads to one package of which
// there is one thing to say, the sentence goes on with it. It returns the last
// fact that it says.
func (e *explanation) sentence(subject string, f *fact) (text string, last *fact) {
	for {
		text += subject + " " + e.predicate(f)
		if len(f.targets) != 1 {
			return text, f
		}
		next := f.targets[0]
		if e.told[next] || len(e.about[next]) != 1 {
			return text, f
		}
		e.told[next] = true
		subject, f = ", which", e.about[next][0]
	}
}

// predicate writes what a fact says without its subject.
func (e *explanation) predicate(f *fact) string {
	s := e.search
	switch f.kind {
	case factExcluded:
		return "is excluded" + origin(f.origin)
	case factNeeds:
		text := "requires " + f.relation.String()
		return text + e.providers(f) + s.missing(f.relation, s.packages[f.subject])
	case factArchitectures:
		a, b := s.packages[f.subject], s.packages[f.other]
		return fmt.Sprintf("for %s cannot be installed together with %s for %s", a.Arch, e.name(f.other), b.Arch)
	}
	verb := "conflicts with"
	if f.breaks {
		verb = "breaks"
	}
	other, r := s.packages[f.other], f.relation[0]
	switch {
	case other.Name != r.Name:
		var providers []string
		for _, g := range e.alike(f) {
			providers = append(providers, e.name(g.other))
		}
		provide := "provide"
		if len(providers) == 1 {
			provide = "provides"
		}
		return fmt.Sprintf("%s %s, which %s %s", verb, r, wording.List(providers, "and", maxProviders), provide)
	case r.Op != AnyVersion:
		return fmt.Sprintf("%s %s, and %s is %s", verb, r, e.name(f.other), other.Version)
	default:
		return fmt.Sprintf("%s %s", verb, e.name(f.other))
	}
}

// alike returns the facts that say the same as f: that its subject conflicts
// with whatever provides something, once for each package that does.
func (e *explanation) alike(f *fact) []*fact {
	if f.kind != factConflicts || e.search.packages[f.other].Name == f.relation[0].Name {
		return []*fact{f}
	}
	var facts []*fact
	for _, g := range e.about[f.subject] {
		if g.kind == f.kind && g.breaks == f.breaks && g.relation[0] == f.relation[0] && e.search.packages[g.other].Name != g.relation[0].Name {
			facts = append(facts, g)
		}
	}
	return facts
}

// providers names the packages that satisfy a dependency by providing it.
func (e *explanation) providers(f *fact) string {
	var names []string
	for _, t := range f.targets {
		name := e.search.packages[t].Name
		if !slices.ContainsFunc(f.relation, func(r Relation) bool { return r.Name == name }) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " (provided by " + wording.List(names, "and", maxProviders) + ")"
}

// missing says why nothing at all satisfies some alternatives of a dependency
// of a package.
func (s *search) missing(relation Alternatives, p *Package) string {
	var reasons []string
	for _, r := range relation {
		if len(s.satisfying(r, p)) == 0 {
			reasons = append(reasons, s.whyNot(r, p))
		}
	}
	if len(reasons) == 0 {
		return ""
	}
	return "; " + wording.List(reasons, "and", maxProviders)
}

// whyNot says why nothing satisfies one alternative.
func (s *search) whyNot(r Relation, p *Package) string {
	arch := s.universe.archOf(p)
	if r.Arch != "" && r.Arch != "any" && r.Arch != "native" {
		arch = r.Arch
	}
	if c := s.candidate(r.Name, arch); c != nil {
		if r.Op.Holds(c.Version, r.Version) { // so it is the architecture qualifier
			return fmt.Sprintf("%s is not marked Multi-Arch: allowed", r.Name)
		}
		text := fmt.Sprintf("the newest %s is %s (repository %s)", r.Name, c.Version, c.Repository)
		if c != s.universe.newest(r.Name, arch) {
			text = fmt.Sprintf("%s=%s was asked for", r.Name, c.Version)
		}
		for _, other := range s.universe.named(r.Name) {
			if s.universe.archOf(other) == arch && r.Op.Holds(other.Version, r.Version) {
				return fmt.Sprintf("%s, but %s=%s (repository %s) would do if asked for", text, r.Name, other.Version, other.Repository)
			}
		}
		return text
	}
	if others := s.universe.named(r.Name); len(others) > 0 {
		return fmt.Sprintf("%s exists only for architecture %s", r.Name, others[0].Arch)
	}
	var providers []string
	for _, provided := range s.universe.providers[r.Name] {
		version := "without a version"
		if provided.version != "" {
			version = "as " + provided.version
		}
		providers = append(providers, provided.pkg.Name+" "+version)
	}
	if len(providers) > 0 {
		return fmt.Sprintf("%s is only provided, by %s", r.Name, wording.List(providers, "and", maxProviders))
	}
	return fmt.Sprintf("no repository has %s", r.Name)
}
