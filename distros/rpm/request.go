package rpm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/sat"
)

// ask enters the request. It returns what is wrong with the request in itself, as
// sentences: what it asks for does not exist.
func (s *search) ask(r Request) (wrong []string) {
	for _, item := range inOrder(r.Exclude) {
		found, _ := s.universe.specifiedByName(item.Spec)
		if len(found) == 0 && !isGlob(item.Spec) && !item.Optional {
			wrong = append(wrong, s.unknown(item))
		}
		s.items = append(s.items, item)
		for _, i := range found {
			if !s.excluded[i] {
				s.excluded[i] = true
				s.give(&fact{kind: factExcluded, subject: i, other: int32(len(s.items) - 1), literals: []sat.Literal{isOut(i)}})
			}
		}
	}
	for _, item := range inOrder(r.Install) {
		if problem := s.askFor(item); problem != "" {
			wrong = append(wrong, problem)
		}
	}
	return wrong
}

// inOrder returns items sorted by their specs: what is asked for first makes a difference, the
// order of the request must not.
func inOrder(items []Item) []Item {
	items = slices.Clone(items)
	slices.SortStableFunc(items, func(a, b Item) int { return strings.Compare(a.Spec, b.Spec) })
	return items
}

// askFor enters one item, or says what is wrong with it.
func (s *search) askFor(item Item) (problem string) {
	clauses, was, err := s.wantedBy(item)
	switch {
	case err != nil:
		return fmt.Sprintf("%s: %v", item, err)
	case len(clauses) == 0 && item.Optional:
		return ""
	case len(clauses) == 0 && len(was) > 0:
		return fmt.Sprintf("%s is asked for, but %s", item, s.whyExcluded(was))
	case len(clauses) == 0:
		return s.unknown(item)
	}
	if item.If != "" {
		clauses = s.onlyIf(item.If, clauses)
	}
	s.want(item, clauses)
	return ""
}

// want enters what an item asks for as clauses.
func (s *search) want(item Item, clauses [][]sat.Literal) {
	s.items = append(s.items, item)
	for _, literals := range clauses {
		f := &fact{kind: factAsked, subject: int32(len(s.items) - 1), literals: literals}
		s.jobs = append(s.jobs, f.clause())
	}
}

// wantedBy returns the clauses of which an item says that they hold; none when there is
// nothing that it asks for, or only packages that are excluded.
func (s *search) wantedBy(item Item) (clauses [][]sat.Literal, was []int32, err error) {
	spec := strings.TrimSpace(item.Spec)
	if strings.HasPrefix(spec, "(") {
		e, err := ParseRich(spec)
		if err != nil {
			return nil, nil, err
		}
		n := normalizer{search: s}
		clauses = n.normal(e, false)
		if n.tooLarge || canNotHold(clauses) {
			return nil, nil, nil
		}
		return clauses, nil, nil
	}
	groups, was := s.pick(spec)
	for _, g := range groups {
		var literals []sat.Literal
		for _, i := range g.packages {
			literals = append(literals, isIn(i))
		}
		clauses = append(clauses, literals)
	}
	return clauses, was, nil
}

// onlyIf makes clauses depend on a package of a name.
func (s *search) onlyIf(name string, clauses [][]sat.Literal) [][]sat.Literal {
	var conditional [][]sat.Literal
	for _, condition := range s.providing(Dependency{Name: name}) {
		for _, literals := range clauses {
			if literals := sortLiterals(append(slices.Clone(literals), isOut(condition))); literals != nil {
				conditional = append(conditional, literals)
			}
		}
	}
	return conditional
}
