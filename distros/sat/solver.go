package sat

// A Solver looks for values of variables by which all clauses hold. The zero value
// has no variables.
type Solver[F any] struct {
	// Expand, if not nil, returns further clauses when variable v becomes true for the
	// first time. Each must contain False(v), and so it means nothing before.
	Expand func(v int) []*Clause[F]

	values   []int8 // by variable: 1 true, -1 false, 0 undecided
	levels   []int  // by variable: number of decisions before it got its value
	reasons  []*Clause[F]
	expanded []bool
	watches  [][]*Clause[F] // by literal: the clauses that watch it

	trail     []Literal // what holds, in the order in which it was found
	decisions []int     // lengths of trail before each decision
	examined  int       // literals of trail whose consequences are known
}

// NewVariable returns the next variable, counted from 0.
func (s *Solver[F]) NewVariable() int {
	s.values = append(s.values, 0)
	s.levels = append(s.levels, 0)
	s.reasons = append(s.reasons, nil)
	s.expanded = append(s.expanded, false)
	s.watches = append(s.watches, nil, nil)
	return len(s.values) - 1
}

// Value returns 1 if l holds, -1 if its negation does, 0 if that is undecided.
func (s *Solver[F]) Value(l Literal) int8 {
	v := s.values[l.Variable()]
	if l&1 != 0 {
		return -v
	}
	return v
}

// Level returns the number of decisions made and not taken back.
func (s *Solver[F]) Level() int { return len(s.decisions) }

// LevelOf returns the number of decisions that were made when variable v got its
// value: 0 for what follows from the clauses alone. It means nothing for undecided
// variables.
func (s *Solver[F]) LevelOf(v int) int { return s.levels[v] }

// Trail returns the literals that hold, in the order in which that was found. It
// is valid until the next change.
func (s *Solver[F]) Trail() []Literal { return s.trail }

// Decide makes l, which must be undecided, hold and draws the consequences. It
// returns the clause that cannot hold then, or nil.
func (s *Solver[F]) Decide(l Literal) *Clause[F] {
	s.decisions = append(s.decisions, len(s.trail))
	s.assign(l, nil)
	return s.Propagate()
}

func (s *Solver[F]) assign(l Literal, reason *Clause[F]) {
	v := l.Variable()
	s.values[v] = 1
	if l&1 != 0 {
		s.values[v] = -1
	}
	s.levels[v], s.reasons[v] = len(s.decisions), reason
	s.trail = append(s.trail, l)
}

// Add adds a clause and returns it if it cannot hold with what is known. Its
// consequences are drawn by the next Propagate.
func (s *Solver[F]) Add(c *Clause[F]) *Clause[F] {
	// Watched are the literals that are falsified last: those which hold or
	// may hold, then those that became false most recently.
	for i := range min(2, len(c.Literals)) {
		best := i
		for j := i + 1; j < len(c.Literals); j++ {
			if s.watchRank(c.Literals[j]) > s.watchRank(c.Literals[best]) {
				best = j
			}
		}
		c.Literals[i], c.Literals[best] = c.Literals[best], c.Literals[i]
	}
	if len(c.Literals) > 1 {
		s.watch(c, 0)
		s.watch(c, 1)
	}
	if s.Value(c.Literals[0]) < 0 {
		return c
	}
	if s.Value(c.Literals[0]) == 0 && (len(c.Literals) == 1 || s.Value(c.Literals[1]) < 0) {
		s.assign(c.Literals[0], c)
	}
	return nil
}

func (s *Solver[F]) watchRank(l Literal) int {
	if s.Value(l) < 0 {
		return s.levels[l.Variable()]
	}
	return len(s.decisions) + 1 + int(s.Value(l))
}

func (s *Solver[F]) watch(c *Clause[F], i int) {
	l := c.Literals[i]
	s.watches[l] = append(s.watches[l], c)
}

// Propagate draws all consequences of what holds. It returns a clause that
// cannot hold, or nil.
func (s *Solver[F]) Propagate() *Clause[F] {
	for ; s.examined < len(s.trail); s.examined++ {
		l := s.trail[s.examined]
		if conflict := s.falsify(l.Negated()); conflict != nil {
			return conflict
		}
		if v := l.Variable(); s.Expand != nil && l.Positive() && !s.expanded[v] {
			s.expanded[v] = true
			var conflict *Clause[F]
			for _, c := range s.Expand(v) { // all are added, even after a conflict
				failed := s.Add(c)
				// A clause of one literal is not watched: it has to be the one
				// that is learned from.
				if failed != nil && (conflict == nil || len(failed.Literals) == 1) {
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
func (s *Solver[F]) falsify(l Literal) *Clause[F] {
	watching := s.watches[l]
	kept := watching[:0]
	for i, c := range watching {
		if c.Literals[0] == l {
			c.Literals[0], c.Literals[1] = c.Literals[1], c.Literals[0]
		}
		if s.Value(c.Literals[0]) <= 0 && s.watchAnother(c) {
			continue
		}
		kept = append(kept, c)
		switch s.Value(c.Literals[0]) {
		case 0:
			s.assign(c.Literals[0], c)
		case -1:
			s.watches[l] = append(kept, watching[i+1:]...)
			return c
		}
	}
	s.watches[l] = kept
	return nil
}

// watchAnother replaces the second watched literal by one that is not false.
func (s *Solver[F]) watchAnother(c *Clause[F]) bool {
	for i := 2; i < len(c.Literals); i++ {
		if s.Value(c.Literals[i]) >= 0 {
			c.Literals[1], c.Literals[i] = c.Literals[i], c.Literals[1]
			s.watch(c, 1)
			return true
		}
	}
	return false
}

// Learn adds the clause that follows from a conflict (at its first unique
// implication point) and takes back all decisions but those by which it makes
// one literal hold. It returns the clause, which is not to be changed. At least one
// decision must have been made. Propagate is to be called next, or Restart.
func (s *Solver[F]) Learn(conflict *Clause[F]) *Clause[F] {
	level := len(s.decisions)
	seen := make(map[int]bool)
	learned := &Clause[F]{}
	open := 0 // literals of this level that are to be replaced by their reasons
	back := 0 // the highest of the other levels
	at := len(s.trail)
	for c := conflict; ; {
		learned.from = append(learned.from, c)
		for _, l := range c.Literals {
			v := l.Variable()
			if seen[v] || s.levels[v] == 0 {
				continue
			}
			seen[v] = true
			if s.levels[v] == level {
				open++
			} else {
				back = max(back, s.levels[v])
				learned.Literals = append(learned.Literals, l)
			}
		}
		for at--; !seen[s.trail[at].Variable()] || s.levels[s.trail[at].Variable()] != level; at-- {
		}
		l := s.trail[at]
		if open--; open == 0 {
			learned.Literals = append(learned.Literals, l.Negated())
			break
		}
		c = s.reasons[l.Variable()]
	}
	s.Undo(back)
	s.Add(learned)
	return learned
}

// Restart takes back all decisions.
func (s *Solver[F]) Restart() { s.Undo(0) }

// Undo takes back all decisions but the first ones, as many as level says.
func (s *Solver[F]) Undo(level int) {
	if len(s.decisions) <= level {
		return
	}
	for _, l := range s.trail[s.decisions[level]:] {
		s.values[l.Variable()], s.reasons[l.Variable()] = 0, nil
	}
	s.trail = s.trail[:s.decisions[level]]
	s.decisions = s.decisions[:level]
	s.examined = min(s.examined, len(s.trail))
}
