package deb

// A literal says that a variable is true (2*v) or false (2*v+1).
type literal int32

func isTrue(v int) literal  { return literal(2 * v) }
func isFalse(v int) literal { return literal(2*v + 1) }

func (l literal) negated() literal { return l ^ 1 }
func (l literal) variable() int    { return int(l >> 1) }

// A clause holds if any of its literals does. The first two literals are the
// watched ones.
type clause struct {
	literals []literal
	fact     *fact     // what the clause says about packages; nil if it was learned
	from     []*clause // what a learned clause follows from
}

// A sat is a solver for propositional formulas with conflict-driven clause
// learning (Marques-Silva and Sakallah, GRASP, 1999) that leaves every
// decision to its user. Two things make it fit for package universes of which
// a solution touches a few hundred out of 64,000 packages:
//
//   - The clauses about a package are asked for when its variable first
//     becomes true. That is sound because each of them contains the negation
//     of that variable, and so means nothing before.
//   - After a conflict everything is undone but the conclusions from no
//     decision at all, and the user decides again from the beginning. The
//     learned clauses keep it from the same mistake, and it can keep its state
//     in plain recursion. Conflicts are rare enough for this to cost nothing.
type sat struct {
	expand func(v int) []*clause // the clauses of v; each contains isFalse(v)

	values   []int8 // by variable: 1 true, -1 false, 0 undecided
	levels   []int  // by variable: number of decisions before it got its value
	reasons  []*clause
	expanded []bool
	watches  [][]*clause // by literal: the clauses that watch it

	trail     []literal // what holds, in the order in which it was found
	decisions []int     // lengths of trail before each decision
	examined  int       // literals of trail whose consequences are known
}

// newVariable returns the next variable, counted from 0.
func (s *sat) newVariable() int {
	s.values = append(s.values, 0)
	s.levels = append(s.levels, 0)
	s.reasons = append(s.reasons, nil)
	s.expanded = append(s.expanded, false)
	s.watches = append(s.watches, nil, nil)
	return len(s.values) - 1
}

// value returns 1 if l holds, -1 if its negation does, else 0.
func (s *sat) value(l literal) int8 {
	v := s.values[l.variable()]
	if l&1 != 0 {
		return -v
	}
	return v
}

// decide makes l hold and draws the consequences. It returns the clause that
// cannot hold then, or nil.
func (s *sat) decide(l literal) *clause {
	s.decisions = append(s.decisions, len(s.trail))
	s.assign(l, nil)
	return s.propagate()
}

func (s *sat) assign(l literal, reason *clause) {
	v := l.variable()
	s.values[v] = 1
	if l&1 != 0 {
		s.values[v] = -1
	}
	s.levels[v], s.reasons[v] = len(s.decisions), reason
	s.trail = append(s.trail, l)
}

// add adds a clause and returns it if it cannot hold with what is known.
func (s *sat) add(c *clause) *clause {
	// Watched are the literals that are falsified last: those which hold or
	// may hold, then those that became false most recently.
	for i := range min(2, len(c.literals)) {
		best := i
		for j := i + 1; j < len(c.literals); j++ {
			if s.watchRank(c.literals[j]) > s.watchRank(c.literals[best]) {
				best = j
			}
		}
		c.literals[i], c.literals[best] = c.literals[best], c.literals[i]
	}
	if len(c.literals) > 1 {
		s.watch(c, 0)
		s.watch(c, 1)
	}
	if s.value(c.literals[0]) < 0 {
		return c
	}
	if s.value(c.literals[0]) == 0 && (len(c.literals) == 1 || s.value(c.literals[1]) < 0) {
		s.assign(c.literals[0], c)
	}
	return nil
}

func (s *sat) watchRank(l literal) int {
	if s.value(l) < 0 {
		return s.levels[l.variable()]
	}
	return len(s.decisions) + 1 + int(s.value(l))
}

func (s *sat) watch(c *clause, i int) {
	l := c.literals[i]
	s.watches[l] = append(s.watches[l], c)
}

// propagate draws all consequences of what holds. It returns a clause that
// cannot hold, or nil.
func (s *sat) propagate() *clause {
	for ; s.examined < len(s.trail); s.examined++ {
		l := s.trail[s.examined]
		if conflict := s.falsify(l.negated()); conflict != nil {
			return conflict
		}
		if v := l.variable(); l == isTrue(v) && !s.expanded[v] {
			s.expanded[v] = true
			var conflict *clause
			for _, c := range s.expand(v) { // all are added, even after a conflict
				if failed := s.add(c); failed != nil && conflict == nil {
					conflict = failed
				}
			}
			if conflict != nil {
				return conflict
			}
		}
	}
	return nil
}

// falsify looks at the clauses that watch l, which has become false.
func (s *sat) falsify(l literal) *clause {
	watching := s.watches[l]
	kept := watching[:0]
	for i, c := range watching {
		if c.literals[0] == l {
			c.literals[0], c.literals[1] = c.literals[1], c.literals[0]
		}
		if s.value(c.literals[0]) <= 0 && s.watchAnother(c) {
			continue
		}
		kept = append(kept, c)
		switch s.value(c.literals[0]) {
		case 0:
			s.assign(c.literals[0], c)
		case -1:
			s.watches[l] = append(kept, watching[i+1:]...)
			return c
		}
	}
	s.watches[l] = kept
	return nil
}

// watchAnother replaces the second watched literal by one that is not false.
func (s *sat) watchAnother(c *clause) bool {
	for i := 2; i < len(c.literals); i++ {
		if s.value(c.literals[i]) >= 0 {
			c.literals[1], c.literals[i] = c.literals[i], c.literals[1]
			s.watch(c, 1)
			return true
		}
	}
	return false
}

// learn adds the clause that follows from a conflict (at its first unique
// implication point) and undoes all decisions. At least one has been made.
func (s *sat) learn(conflict *clause) {
	level := len(s.decisions)
	seen := make(map[int]bool)
	learned := &clause{}
	open := 0 // literals of this level that are to be replaced by their reasons
	at := len(s.trail)
	for c := conflict; ; {
		learned.from = append(learned.from, c)
		for _, l := range c.literals {
			v := l.variable()
			if seen[v] || s.levels[v] == 0 {
				continue
			}
			seen[v] = true
			if s.levels[v] == level {
				open++
			} else {
				learned.literals = append(learned.literals, l)
			}
		}
		for at--; !seen[s.trail[at].variable()] || s.levels[s.trail[at].variable()] != level; at-- {
		}
		l := s.trail[at]
		if open--; open == 0 {
			learned.literals = append(learned.literals, l.negated())
			break
		}
		c = s.reasons[l.variable()]
	}
	s.undo()
	s.add(learned)
}

// undo takes back all decisions.
func (s *sat) undo() {
	if len(s.decisions) == 0 {
		return
	}
	for _, l := range s.trail[s.decisions[0]:] {
		s.values[l.variable()], s.reasons[l.variable()] = 0, nil
	}
	s.trail = s.trail[:s.decisions[0]]
	s.decisions = s.decisions[:0]
	s.examined = min(s.examined, len(s.trail))
}

// core returns the facts that a conflict before any decision follows from.
func (s *sat) core(conflict *clause) []*fact {
	var facts []*fact
	seen := map[*clause]bool{conflict: true}
	for todo := []*clause{conflict}; len(todo) > 0; {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if c.fact != nil {
			facts = append(facts, c.fact)
		}
		causes := c.from
		for _, l := range c.literals {
			if reason := s.reasons[l.variable()]; reason != nil {
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

// contradiction returns those of some facts that cannot hold together, or nil
// if all can.
func contradiction(facts []*fact) []*fact {
	s := sat{expand: func(int) []*clause { return nil }}
	renumbered := make(map[literal]literal)
	for _, f := range facts {
		c := f.clause()
		for i, l := range c.literals {
			base := l &^ 1
			if _, ok := renumbered[base]; !ok {
				renumbered[base] = isTrue(s.newVariable())
			}
			c.literals[i] = renumbered[base] | l&1
		}
		if conflict := s.add(c); conflict != nil {
			return s.core(conflict)
		}
	}
	for {
		conflict := s.propagate()
		for v := 0; conflict == nil && v < len(s.values); v++ {
			if s.values[v] == 0 {
				conflict = s.decide(isFalse(v))
			}
		}
		switch {
		case conflict == nil:
			return nil
		case len(s.decisions) == 0:
			return s.core(conflict)
		}
		s.learn(conflict)
	}
}
