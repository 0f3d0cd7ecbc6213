package rpm

import (
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/sat"
)

// addDependencies makes clauses of the dependencies of a package and of all packages that
// these lead to.
func (s *search) addDependencies(start int32) {
	for todo := []int32{start}; len(todo) > 0; {
		i := todo[0]
		todo = todo[1:]
		if s.added[i] {
			continue
		}
		s.added[i] = true
		later := func(j int32) {
			if !s.added[j] {
				todo = append(todo, j)
			}
		}
		p := s.universe.packages[i]
		for n := range p.Requires {
			s.addRequirement(i, &p.Requires[n], later)
		}
		for n := range p.Conflicts {
			s.addConflict(i, &p.Conflicts[n], later)
		}
		for n := range p.Obsoletes {
			for _, j := range s.universe.matching(p.Obsoletes[n]) {
				if j != i {
					s.exclusive(factObsoletes, i, j, &p.Obsoletes[n])
				}
			}
		}
		for _, j := range s.universe.named[p.Name] {
			if j != i && !s.added[j] { // else it was done when we were at j
				s.exclusive(factSameName, i, j, nil)
			}
		}
		if s.weakDeps {
			for n := range p.Recommends {
				s.candidatesOf(p.Recommends[n], later)
			}
		}
	}
}

func (s *search) exclusive(kind factKind, i, j int32, relation *Dependency) {
	s.give(&fact{kind: kind, subject: i, other: j, relation: relation, literals: []sat.Literal{isOut(max(i, j)), isOut(min(i, j))}})
}

func (s *search) addRequirement(i int32, d *Dependency, later func(int32)) {
	if isRPMLib(d.Name) {
		return
	}
	if !d.IsRich() {
		targets := s.providing(*d)
		if _, itself := slices.BinarySearch(targets, i); itself {
			return
		}
		literals := make([]sat.Literal, 0, len(targets)+1)
		literals = append(literals, isOut(i))
		for _, t := range targets {
			literals = append(literals, isIn(t))
			later(t)
		}
		s.give(&fact{kind: factRequires, subject: i, relation: d, literals: literals})
		return
	}
	for _, literals := range s.normal(*d, false) {
		s.addRich(factRequires, i, d, literals, later)
	}
}

// addRich adds one of the clauses that a rich dependency of a package consists of.
func (s *search) addRich(kind factKind, i int32, d *Dependency, literals []sat.Literal, later func(int32)) {
	literals = sortLiterals(append(slices.Clone(literals), isOut(i)))
	if literals == nil {
		return // it holds as soon as the package is there
	}
	for _, l := range literals {
		if l.Positive() {
			later(int32(l.Variable()))
		}
	}
	s.give(&fact{kind: kind, subject: i, other: -1, relation: d, literals: literals})
}

// isRPMLib reports whether a capability is one of rpm itself, which is always there.
func isRPMLib(name string) bool { return strings.HasPrefix(name, "rpmlib(") }

// addConflict adds what a package conflicts with, except itself: rpm allows that, and
// packages that exclude other providers of what they provide rely on it.
func (s *search) addConflict(i int32, d *Dependency, later func(int32)) {
	if !d.IsRich() {
		for _, j := range s.providing(*d) {
			if j != i {
				s.exclusive(factConflicts, i, j, d)
			}
		}
		return
	}
	for _, literals := range s.normal(*d, true) {
		if len(literals) != 1 || literals[0] != isOut(i) {
			s.addRich(factConflicts, i, d, literals, later)
		}
	}
}

// candidatesOf calls f for the packages that may be installed because of a weak
// dependency.
func (s *search) candidatesOf(d Dependency, f func(int32)) {
	if !d.IsRich() {
		for _, i := range s.providing(d) {
			f(i)
		}
		return
	}
	for _, literals := range s.normal(d, false) {
		for _, l := range literals {
			if l.Positive() {
				f(int32(l.Variable()))
			}
		}
	}
}

// addSupplements adds the dependencies of packages that supplement others which can
// become part of the set.
func (s *search) addSupplements() {
	for changed := true; changed; {
		changed = false
		for _, i := range s.supplemental {
			if s.added[i] || s.excluded[i] {
				continue
			}
			if slices.ContainsFunc(s.universe.packages[i].Supplements, s.isPossible) {
				s.addDependencies(i)
				changed = true
			}
		}
	}
}

// isPossible says whether a dependency may come to hold with the packages that are part of
// the formula.
func (s *search) isPossible(d Dependency) bool {
	if !d.IsRich() {
		return slices.ContainsFunc(s.providing(d), func(i int32) bool { return s.added[i] })
	}
	e := s.universe.expression(d)
	return e != nil && s.isExpressionPossible(e)
}

func (s *search) isExpressionPossible(e *Expression) bool {
	switch e.Op {
	case Single:
		return s.isPossible(e.Dependency)
	case And:
		return !slices.ContainsFunc(e.Operands, func(o *Expression) bool { return !s.isExpressionPossible(o) })
	case Or:
		return slices.ContainsFunc(e.Operands, s.isExpressionPossible)
	case With, Without:
		return slices.ContainsFunc(s.packagesOf(e), func(i int32) bool { return s.added[i] })
	default:
		return true
	}
}

// normal returns the clauses of which all hold when a rich dependency does, or, negated,
// when it does not; a single clause of no literals if that can never be, as for a dependency
// that is malformed, or too large to be meant.
func (s *search) normal(d Dependency, negated bool) [][]sat.Literal {
	n := normalizer{search: s}
	e := s.universe.expression(d)
	if e == nil {
		return never()
	}
	clauses := n.normal(e, negated)
	if n.tooLarge {
		return never()
	}
	return clauses
}

// never returns the clauses of what cannot be.
func never() [][]sat.Literal { return [][]sat.Literal{{}} }

func canNotHold(clauses [][]sat.Literal) bool { return len(clauses) == 1 && len(clauses[0]) == 0 }

// A normalizer brings expressions into conjunctive normal form.
type normalizer struct {
	search   *search
	tooLarge bool
}

// maxClauses bounds the product of the clauses of two operands. Real dependencies have
// a few hundred.
const maxClauses = 1 << 16

func (n *normalizer) normal(e *Expression, negated bool) [][]sat.Literal {
	if n.tooLarge {
		return nil
	}
	switch e.Op {
	case Single, With, Without:
		return n.anyOf(n.search.packagesOf(e), negated)
	case And:
		return n.fold(e.Operands, negated, negated)
	case Or:
		return n.fold(e.Operands, negated, !negated)
	}
	// a if b else c: (a or not b) and (b or c); a unless b else c: (a and not b) or (b and c).
	a, b := e.Operands[0], e.Operands[1]
	disjunction := (e.Op == If) != negated // of a and b
	first := n.join(n.normal(a, negated), n.normal(b, !negated), disjunction)
	if len(e.Operands) == 2 {
		return first
	}
	second := n.join(n.normal(b, negated), n.normal(e.Operands[2], negated), disjunction)
	return n.join(first, second, !disjunction)
}

// anyOf says that one of some packages is in the set, or negated that none is.
func (n *normalizer) anyOf(packages []int32, negated bool) [][]sat.Literal {
	if negated {
		var clauses [][]sat.Literal
		for _, i := range packages {
			clauses = append(clauses, []sat.Literal{isOut(i)})
		}
		return clauses
	}
	literals := make([]sat.Literal, 0, len(packages))
	for _, i := range packages {
		literals = append(literals, isIn(i))
	}
	return [][]sat.Literal{literals}
}

func (n *normalizer) fold(operands []*Expression, negated, disjunction bool) [][]sat.Literal {
	clauses := n.normal(operands[0], negated)
	for _, operand := range operands[1:] {
		clauses = n.join(clauses, n.normal(operand, negated), disjunction)
	}
	return clauses
}

// join returns the clauses of "a and b", or of "a or b".
func (n *normalizer) join(a, b [][]sat.Literal, disjunction bool) [][]sat.Literal {
	switch neverA, neverB := canNotHold(a), canNotHold(b); {
	case !disjunction && neverA, disjunction && neverB:
		return a
	case !disjunction && neverB, disjunction && neverA:
		return b
	case !disjunction:
		return append(slices.Clip(a), b...)
	}
	if len(a)*len(b) > maxClauses {
		n.tooLarge = true
		return nil
	}
	var product [][]sat.Literal
	for _, x := range a {
		for _, y := range b {
			if both := sortLiterals(append(slices.Clone(x), y...)); both != nil {
				product = append(product, both)
			}
		}
	}
	return product
}

// packagesOf returns the packages that are what an expression of With, Without and Or
// describes, in their order.
func (s *search) packagesOf(e *Expression) []int32 {
	if e.Op == Single {
		return s.providing(e.Dependency)
	}
	set := slices.Clone(s.packagesOf(e.Operands[0]))
	for _, operand := range e.Operands[1:] {
		others := s.packagesOf(operand)
		in := func(i int32) bool { _, found := slices.BinarySearch(others, i); return found }
		switch e.Op {
		case Or:
			set = append(set, others...)
			slices.Sort(set)
			set = slices.Compact(set)
		case With:
			set = slices.DeleteFunc(set, func(i int32) bool { return !in(i) })
		default: // Without; ParseRich allows no others here
			set = slices.DeleteFunc(set, in)
		}
	}
	return set
}
