package sat

import "slices"

// Core returns the facts of the given clauses that a conflict before any decision
// follows from.
func (s *Solver[F]) Core(conflict *Clause[F]) []F {
	var facts []F
	seen := map[*Clause[F]]bool{conflict: true}
	for todo := []*Clause[F]{conflict}; len(todo) > 0; {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if c.from == nil {
			facts = append(facts, c.Fact)
		}
		causes := c.from
		for _, l := range c.Literals {
			if reason := s.reasons[l.Variable()]; reason != nil {
				causes = append(causes[:len(causes):len(causes)], reason)
			}
		}
		for _, cause := range causes {
			if !seen[cause] {
				seen[cause] = true
				todo = append(todo, cause)
			}
		}
	}
	return facts
}

// Contradiction returns those of some facts that cannot hold together, or nil if all
// can. The clause of a fact must be a new one with each call of clause.
func Contradiction[F any](facts []F, clause func(F) *Clause[F]) []F {
	var s Solver[F]
	renumbered := make(map[int]int)
	for _, f := range facts {
		c := clause(f)
		for i, l := range c.Literals {
			v, ok := renumbered[l.Variable()]
			if !ok {
				v = s.NewVariable()
				renumbered[l.Variable()] = v
			}
			c.Literals[i] = True(v) | l&1
		}
		if conflict := s.Add(c); conflict != nil {
			return s.Core(conflict)
		}
	}
	for {
		conflict := s.Propagate()
		for v := 0; conflict == nil && v < len(s.values); v++ {
			if s.values[v] == 0 {
				conflict = s.Decide(False(v))
			}
		}
		switch {
		case conflict == nil:
			return nil
		case s.Level() == 0:
			return s.Core(conflict)
		}
		s.Learn(conflict)
	}
}

// Minimize leaves out facts of a contradiction as long as the rest is still
// contradictory. The order of the others stays the same.
func Minimize[F comparable](facts []F, clause func(F) *Clause[F]) []F {
	for i := 0; i < len(facts); {
		rest := Contradiction(slices.Delete(slices.Clone(facts), i, i+1), clause)
		if rest == nil {
			i++ // cannot be left out
			continue
		}
		// Everything before i is necessary, so it is part of the rest.
		facts = slices.DeleteFunc(slices.Clone(facts), func(f F) bool { return !slices.Contains(rest, f) })
	}
	return facts
}
