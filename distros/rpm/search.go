package rpm

import (
	"slices"

	"github.com/imagefactory/imagefactory/distros/sat"
)

// A search looks for a set of packages. Variable v of the formula says that package v
// of the universe is part of the set.
//
// It follows the solver of dnf, libsolv, in the order of its decisions, as far as
// that shows in the result on an empty system: first what was asked for; then, again
// and again in the order of the clauses, requirements that several packages
// could satisfy, those last between whose candidates only their names decide; then weak dependencies;
// at last it looks whether a package that was decided against came in anyway and could
// have been chosen in the first place.
type search struct {
	universe *Universe
	weakDeps bool
	sat      sat.Solver[*fact]
	excluded []bool

	items   []Item               // of the request
	jobs    []*sat.Clause[*fact] // what was asked for, in order
	choices []*sat.Clause[*fact] // clauses by which there can be a choice, in the order of attention
	clauses []*sat.Clause[*fact] // all that were given; the jobs once prepared
	added   []bool               // by variable: its dependencies are clauses
	failed  *sat.Clause[*fact]   // cannot hold, without any decision

	followed   bool // the jobs were chosen, with followedAt decisions
	followedAt int

	branches     []branch
	supplemental []int32                // packages with Supplements
	wanted       wishes                 // what chosen packages recommend and suggest
	provider     map[capability][]int32 // by what is required, as universe.providing finds it
}

// A capability is a dependency without what does not matter to who provides it.
type capability struct {
	name  string
	sense Sense
	evr   EVR
}

// A branch is a choice between candidates that was decided by nothing but their order.
type branch struct {
	level    int     // decisions before
	chosen   []int32 // candidates that were tried, the last one is in effect
	rejected []int32 // those that were not
}

// A fact is one thing that the request or a package says about the set.
type fact struct {
	kind     factKind
	subject  int32         // the package it is about; item of factAsked and factExcluded
	other    int32         // of factConflicts, factObsoletes and factSameName
	relation *Dependency   // of factRequires, factConflicts and factObsoletes
	literals []sat.Literal // of which one holds
}

type factKind uint8

const (
	factAsked     factKind = iota // item subject asks for one of the literals
	factExcluded                  // package subject is excluded, by item other
	factRequires                  // subject requires relation
	factConflicts                 // subject conflicts with other, or with a rich relation
	factObsoletes                 // subject obsoletes other
	factSameName                  // subject and other have the same name
)

func (f *fact) clause() *sat.Clause[*fact] {
	return &sat.Clause[*fact]{Literals: slices.Clone(f.literals), Fact: f}
}

// targets returns the packages of which the fact wants one.
func (f *fact) targets() []int32 {
	var packages []int32
	for _, l := range f.literals {
		if l.Positive() {
			packages = append(packages, int32(l.Variable()))
		}
	}
	return packages
}

func newSearch(u *Universe, weakDeps bool) *search {
	s := &search{
		universe: u,
		weakDeps: weakDeps,
		excluded: make([]bool, len(u.packages)),
		added:    make([]bool, len(u.packages)),
		provider: make(map[capability][]int32),
	}
	for i, p := range u.packages {
		s.sat.NewVariable()
		if len(p.Supplements) > 0 {
			s.supplemental = append(s.supplemental, int32(i))
		}
	}
	s.wanted.search = s
	return s
}

func isIn(i int32) sat.Literal  { return sat.True(int(i)) }
func isOut(i int32) sat.Literal { return sat.False(int(i)) }

// isChosen and isOpen say whether a package is part of the set, or not yet decided.
func (s *search) isChosen(i int32) bool { return s.sat.Value(isIn(i)) > 0 }
func (s *search) isOpen(i int32) bool   { return s.sat.Value(isIn(i)) == 0 }

// providing returns the packages that provide what a dependency, which is not rich,
// asks for.
func (s *search) providing(d Dependency) []int32 {
	key := capability{d.Name, d.Sense, d.EVR}
	found, known := s.provider[key]
	if !known {
		found = s.universe.providing(d)
		s.provider[key] = found
	}
	return found
}

// give adds a fact to the formula.
func (s *search) give(f *fact) { s.clauses = append(s.clauses, f.clause()) }

func positives(literals []sat.Literal) int {
	n := 0
	for _, l := range literals {
		if l.Positive() {
			n++
		}
	}
	return n
}

// run chooses a set. It returns a clause that cannot hold if there is none.
func (s *search) run() *sat.Clause[*fact] {
	s.prepare()
	if s.failed == nil {
		s.settle(s.sat.Propagate())
	}
	for s.failed == nil && !s.attempt() {
	}
	return s.failed
}

// prepare adds the clauses of all packages that can become part of the set.
func (s *search) prepare() {
	for _, c := range s.jobs {
		for _, i := range c.Fact.targets() {
			s.addDependencies(i)
		}
	}
	if s.weakDeps {
		s.addSupplements()
	}
	slices.SortStableFunc(s.clauses, func(a, b *sat.Clause[*fact]) int { return compareLiterals(a.Fact.literals, b.Fact.literals) })
	s.clauses = append(s.clauses, s.jobs...)
	for _, c := range s.clauses {
		if positives(c.Literals) > 1 {
			s.choices = append(s.choices, c)
		}
		if len(c.Literals) > 1 {
			s.sat.Add(c)
		}
	}
	for _, c := range s.clauses { // what they say is found out by propagation, in its order
		if len(c.Literals) == 1 && s.failed == nil {
			s.failed = s.sat.Add(c)
		}
	}
}

// compareLiterals orders clauses by the packages they are about, the last package
// first.
func compareLiterals(a, b []sat.Literal) int {
	for i := 0; ; i++ {
		x, y := signed(a, i), signed(b, i)
		if x != y || x == 0 {
			return x - y
		}
	}
}

// signed returns literal i as a number that is positive for packages in the set, negative for
// packages out of it and 0 behind the last literal.
func signed(literals []sat.Literal, i int) int {
	if i >= len(literals) {
		return 0
	}
	n := literals[i].Variable() + 1
	if !literals[i].Positive() {
		return -n
	}
	return n
}

// sortLiterals brings the literals of a clause into their order, packages out of the
// set first, and drops what is there twice. It returns nil if the clause always holds.
func sortLiterals(literals []sat.Literal) []sat.Literal {
	slices.SortFunc(literals, func(a, b sat.Literal) int { return signed([]sat.Literal{a}, 0) - signed([]sat.Literal{b}, 0) })
	literals = slices.Compact(literals)
	for i, j := 0, len(literals)-1; i < j; {
		switch out, in := literals[i].Variable(), literals[j].Variable(); {
		case literals[i].Positive() || !literals[j].Positive():
			return literals
		case out == in:
			return nil
		case out > in:
			i++
		default:
			j--
		}
	}
	return literals
}

// settle resolves a conflict: it learns from it and takes decisions back until none is
// left.
func (s *search) settle(conflict *sat.Clause[*fact]) {
	for conflict != nil && s.failed == nil {
		if s.sat.Level() == 0 {
			s.failed = conflict
			return
		}
		learned := s.sat.Learn(conflict)
		if positives(learned.Literals) > 1 {
			s.choices = append(s.choices, learned)
		}
		s.forget()
		conflict = s.sat.Propagate()
	}
}

// forget drops what belongs to decisions that were taken back.
func (s *search) forget() {
	for n := len(s.branches); n > 0 && s.branches[n-1].level >= s.sat.Level(); n-- {
		s.branches = s.branches[:n-1]
	}
	s.wanted.stale = true
}

// decide makes a package part of the set, or finds out that it cannot be.
func (s *search) decide(i int32) { s.settle(s.sat.Decide(isIn(i))) }

// choose makes the best of some undecided packages part of the set.
func (s *search) choose(candidates []int32) {
	if len(candidates) > 1 {
		candidates = s.preferInOrder(s.preferRecommended(s.prefer(candidates)))
	}
	s.branch(candidates)
	s.decide(candidates[0])
}

// branch remembers that all but the first candidate were not chosen.
func (s *search) branch(candidates []int32) {
	if len(candidates) > 1 {
		s.branches = append(s.branches, branch{s.sat.Level(), candidates[:1:1], slices.Clone(candidates[1:])})
	}
}

// attempt makes decisions until everything is decided, and returns true, or decisions
// had to be taken back and it is to be called again.
func (s *search) attempt() bool {
	for _, step := range []func() bool{s.followJobs, s.followChoices, s.followWeak, s.minimize} {
		if !step() || s.failed != nil {
			return false
		}
	}
	return true
}

// open returns the undecided packages of which a clause wants one, or nil when it holds or
// does not apply yet.
func (s *search) open(c *sat.Clause[*fact]) []int32 {
	n := 0
	for _, l := range c.Literals {
		value := s.sat.Value(l)
		switch {
		case value > 0 || value == 0 && !l.Positive():
			return nil
		case value == 0:
			n++
		}
	}
	if n == 0 {
		return nil
	}
	candidates := make([]int32, 0, n)
	for _, l := range c.Literals {
		if s.sat.Value(l) == 0 {
			candidates = append(candidates, int32(l.Variable()))
		}
	}
	return candidates
}

// followJobs chooses what was asked for, unless the decisions by which that was done hold. What
// becomes open after them is a choice like any other.
func (s *search) followJobs() bool {
	start := s.sat.Level()
	if s.followed && start >= s.followedAt {
		return true
	}
	for i := 0; i < len(s.jobs); i++ {
		candidates := s.open(s.jobs[i])
		if candidates == nil {
			continue
		}
		before := s.sat.Level()
		s.choose(candidates)
		switch level := s.sat.Level(); {
		case s.failed != nil || level < start:
			return false
		case level == before:
			i-- // something else
		case level < before:
			i = -1
		}
	}
	s.followed, s.followedAt = true, s.sat.Level()
	return true
}

// followChoices chooses between packages that satisfy a requirement. Where more than names
// decides it does so at once; the others wait until nothing else is left, as what is
// chosen by then may recommend one of the candidates.
func (s *search) followChoices() bool {
	start := s.sat.Level()
	first := -1 // of the choices that wait
	waiting := true
	for i, quiet := 0, 0; ; i, quiet = i+1, quiet+1 {
		if quiet >= len(s.choices) {
			if first < 0 || !waiting {
				return true
			}
			i, quiet, waiting = first, 0, false
		}
		if i >= len(s.choices) {
			i = 0
		}
		if len(s.choices) == 0 {
			return true
		}
		candidates := s.open(s.choices[i])
		if candidates == nil {
			continue
		}
		if waiting && len(candidates) > 1 {
			candidates = s.preferRecommended(s.prefer(candidates))
			if len(candidates) > 1 {
				if first < 0 {
					first = i
				}
				continue
			}
		}
		s.choose(candidates)
		if s.failed != nil || s.sat.Level() < start {
			return false
		}
		quiet = -1 // something changed: look at all again
	}
}

// minimize looks for a choice in which a candidate was rejected that is part of the set now,
// or is recommended where what was chosen is not, and takes it instead.
func (s *search) minimize() bool {
	at, candidate := -1, int32(-1)
	s.wanted.update()
	for n := len(s.branches) - 1; n >= 0; n-- {
		b := &s.branches[n]
		recommended := int32(-1)
		for _, p := range b.rejected {
			if s.isChosen(p) && s.sat.LevelOf(int(p)) > b.level {
				at, candidate, recommended = n, p, -1
				break
			}
			if recommended < 0 && s.isRecommended(p) {
				recommended = p
			}
		}
		if recommended < 0 {
			continue
		}
		for _, p := range b.chosen {
			if s.isChosen(p) && s.sat.LevelOf(int(p)) == b.level+1 && !s.isRecommended(p) {
				at, candidate = n, recommended
				break
			}
		}
	}
	if at < 0 {
		return true
	}
	b := s.branches[at]
	b.rejected = slices.DeleteFunc(b.rejected, func(p int32) bool { return p == candidate })
	b.chosen = append(b.chosen, candidate)
	s.branches = append(s.branches[:at], b)
	s.sat.Undo(b.level)
	s.wanted.stale = true
	if s.isOpen(candidate) {
		s.decide(candidate)
	}
	return false
}
