package rpm

import (
	"slices"

	"github.com/imagefactory/imagefactory/distros/sat"
)

// A wishes knows what the packages chosen so far recommend and suggest.
type wishes struct {
	search      *search
	recommended []bool
	suggested   []bool
	seen        int    // literals of the trail that were looked at
	stale       bool   // decisions were taken back since
	rich        []wish // rich ones of seen packages, which may come to mean something later
}

type wish struct {
	d  Dependency
	to []bool
}

// update looks at the packages chosen since the last time.
func (w *wishes) update() {
	n := len(w.search.universe.packages)
	if w.stale || w.recommended == nil {
		*w = wishes{search: w.search, recommended: make([]bool, n), suggested: make([]bool, n)}
	}
	trail := w.search.sat.Trail()
	if w.seen == len(trail) {
		return
	}
	for _, l := range trail[w.seen:] {
		if !l.Positive() {
			continue
		}
		p := w.search.universe.packages[l.Variable()]
		w.add(p.Recommends, w.recommended)
		w.add(p.Suggests, w.suggested)
	}
	w.seen = len(trail)
	for _, r := range w.rich {
		for _, literals := range w.search.normal(r.d, false) {
			w.addRich(literals, r.to)
		}
	}
}

func (w *wishes) add(dependencies []Dependency, to []bool) {
	for _, d := range dependencies {
		if d.IsRich() {
			w.rich = append(w.rich, wish{d, to})
			continue
		}
		for _, i := range w.search.providing(d) {
			to[i] = true
		}
	}
}

// addRich adds the packages of a clause if its condition, the packages that it has negated,
// is chosen.
func (w *wishes) addRich(literals []sat.Literal, to []bool) {
	for _, l := range literals {
		if !l.Positive() && w.search.sat.Value(l) >= 0 {
			return
		}
	}
	for _, l := range literals {
		if l.Positive() {
			to[l.Variable()] = true
		}
	}
}

// isRecommended says whether the packages chosen at the last update recommend a package,
// or it supplements what is chosen.
func (s *search) isRecommended(i int32) bool {
	return s.wanted.recommended[i] || slices.ContainsFunc(s.universe.packages[i].Supplements, s.isFulfilled)
}

// isFulfilled says whether the chosen packages are what a dependency asks for.
func (s *search) isFulfilled(d Dependency) bool { return s.fulfillment(d) != notFulfilled }

// A fulfillment says whether a dependency holds with the chosen packages.
type fulfillment uint8

const (
	notFulfilled fulfillment = iota
	byAbsence                // as a package is not chosen
	byPresence               // as a package is
)

func (s *search) fulfillment(d Dependency) fulfillment {
	if d.IsRich() {
		if e := s.universe.expression(d); e != nil {
			return s.fulfillmentOf(e)
		}
		return notFulfilled
	}
	return s.anyChosen(s.providing(d))
}

func (s *search) anyChosen(packages []int32) fulfillment {
	if slices.ContainsFunc(packages, s.isChosen) {
		return byPresence
	}
	return notFulfilled
}

func (s *search) fulfillmentOf(e *Expression) fulfillment {
	switch e.Op {
	case Single, With, Without:
		return s.anyChosen(s.packagesOf(e))
	case And:
		all := byAbsence
		for _, operand := range e.Operands {
			f := s.fulfillmentOf(operand)
			if f == notFulfilled {
				return notFulfilled
			}
			all = max(all, f)
		}
		return all
	case Or:
		any := notFulfilled
		for _, operand := range e.Operands {
			any = max(any, s.fulfillmentOf(operand))
		}
		return any
	}
	a, condition := s.fulfillmentOf(e.Operands[0]), s.fulfillmentOf(e.Operands[1])
	switch {
	case len(e.Operands) == 3 && (e.Op == If) == (condition == notFulfilled):
		return s.fulfillmentOf(e.Operands[2])
	case len(e.Operands) == 3:
		return a
	case e.Op == If && a == notFulfilled && condition == notFulfilled:
		return byAbsence
	case e.Op == Unless && condition != notFulfilled:
		return notFulfilled
	default:
		return a
	}
}

// followWeak makes recommended and supplemental packages part of the set that can be. It
// returns false if there were any: what these require comes first.
func (s *search) followWeak() bool {
	if !s.weakDeps {
		return true
	}
	recommended, supplemental := s.weakCandidates()
	all := slices.Clone(recommended)
	for _, i := range supplemental {
		if !slices.Contains(all, i) {
			all = append(all, i)
		}
	}
	switch len(all) {
	case 0:
		return true
	case 1:
		s.decide(all[0])
		return false
	}
	best := make([]bool, len(s.universe.packages))
	for _, i := range s.prefer(all) {
		best[i] = true
	}
	supplemental = slices.DeleteFunc(supplemental, func(i int32) bool { return !best[i] })
	decided := len(s.sat.Trail())
	for _, i := range s.preferInOrder(supplemental) {
		if !s.isOpen(i) {
			continue
		}
		level := s.sat.Level()
		if s.decide(i); s.failed != nil || s.sat.Level() <= level {
			return false
		}
	}
	s.followRecommendations(decided, best)
	return false
}

// weakCandidates returns the undecided packages that the chosen ones recommend, where
// they chose nothing yet that satisfies the same, and those that supplement them.
func (s *search) weakCandidates() (recommended, supplemental []int32) {
	seen := make([]bool, len(s.universe.packages))
	for i, p := range s.universe.packages {
		if !s.isChosen(int32(i)) {
			continue
		}
		for _, d := range p.Recommends {
			for _, j := range s.openRecommended(d, nil) {
				if !seen[j] {
					seen[j] = true
					recommended = append(recommended, j)
				}
			}
		}
	}
	for _, i := range s.supplemental {
		if s.isOpen(i) && !s.excluded[i] && slices.ContainsFunc(s.universe.packages[i].Supplements,
			func(d Dependency) bool { return s.fulfillment(d) == byPresence }) {
			supplemental = append(supplemental, i)
		}
	}
	return recommended, supplemental
}

// openRecommended returns the undecided packages that satisfy a recommendation, of those that
// best allows if it is not nil; none when a chosen package satisfies it.
func (s *search) openRecommended(d Dependency, best []bool) []int32 {
	var open []int32
	add := func(i int32) {
		if s.isOpen(i) && (best == nil || best[i]) && !slices.Contains(open, i) {
			open = append(open, i)
		}
	}
	if !d.IsRich() {
		targets := s.providing(d)
		if slices.ContainsFunc(targets, s.isChosen) {
			return nil
		}
		for _, i := range targets {
			add(i)
		}
		return open
	}
	for _, literals := range s.normal(d, false) {
		if slices.ContainsFunc(literals, func(l sat.Literal) bool {
			return s.sat.Value(l) > 0 || !l.Positive() && s.sat.Value(l) == 0
		}) {
			continue // satisfied, or its condition does not hold
		}
		for _, l := range literals {
			if l.Positive() {
				add(int32(l.Variable()))
			}
		}
	}
	return open
}

// followRecommendations makes the recommended packages that best allows part of the set, in
// the order in which those that recommend them were decided.
func (s *search) followRecommendations(decided int, best []bool) {
	for n := 0; n < decided && n < len(s.sat.Trail()); n++ {
		l := s.sat.Trail()[n]
		if !l.Positive() {
			continue
		}
		for _, d := range s.universe.packages[l.Variable()].Recommends {
			candidates := s.openRecommended(d, best)
			if len(candidates) == 0 {
				continue
			}
			if len(candidates) > 1 {
				candidates = s.preferInOrder(s.preferRecommended(s.prefer(candidates)))
			}
			s.branch(candidates)
			level := s.sat.Level()
			if s.decide(candidates[0]); s.failed != nil || s.sat.Level() <= level || len(s.sat.Trail()) < decided {
				return
			}
		}
	}
}
