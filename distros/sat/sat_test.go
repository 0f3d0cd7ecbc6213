package sat

import (
	"math/rand"
	"slices"
	"testing"
)

// formula is random clauses over n variables, as literals.
func formula(random *rand.Rand, n int) [][]Literal {
	var clauses [][]Literal
	for range 1 + random.Intn(5*n) {
		c := make([]Literal, 1+random.Intn(3))
		for i := range c {
			c[i] = Literal(random.Intn(2 * n))
		}
		clauses = append(clauses, c)
	}
	return clauses
}

// holds says whether bits, the values of the variables, satisfy all clauses.
func holds(clauses [][]Literal, bits int) bool {
	for _, c := range clauses {
		if !slices.ContainsFunc(c, func(l Literal) bool { return (bits>>l.Variable()&1 != 0) == l.Positive() }) {
			return false
		}
	}
	return true
}

func satisfiable(clauses [][]Literal, n int) bool {
	for bits := range 1 << n {
		if holds(clauses, bits) {
			return true
		}
	}
	return false
}

// distinct leaves out literals that a clause has twice.
func distinct(c []Literal) []Literal {
	c = slices.Clone(c)
	slices.Sort(c)
	return slices.Compact(c)
}

// TestSolverAgainstBruteForce solves random formulas, deciding at random, by jumping back
// as well as by restarting, with clauses given at once as well as by Expand.
func TestSolverAgainstBruteForce(t *testing.T) {
	const n = 8
	for seed := range int64(4000) {
		random := rand.New(rand.NewSource(seed))
		clauses := formula(random, n)
		var s Solver[int]
		for range n {
			s.NewVariable()
		}
		later := make([][]*Clause[int], n)
		var conflict *Clause[int]
		for i, literals := range clauses {
			c := &Clause[int]{Literals: distinct(literals), Fact: i}
			if first := c.Literals[0]; seed%2 == 0 && !first.Positive() {
				later[first.Variable()] = append(later[first.Variable()], c)
			} else if failed := s.Add(c); failed != nil && conflict == nil {
				conflict = failed
			}
		}
		s.Expand = func(v int) []*Clause[int] { return later[v] }
		if conflict == nil {
			conflict = s.Propagate()
		}
		for {
			if conflict != nil {
				if s.Level() == 0 {
					break
				}
				s.Learn(conflict)
				if seed%4 < 2 {
					s.Restart()
				}
				conflict = s.Propagate()
				continue
			}
			free := slices.IndexFunc(s.values, func(v int8) bool { return v == 0 })
			if free < 0 {
				break
			}
			conflict = s.Decide(Literal(2*free + random.Intn(2)))
		}
		if want := satisfiable(clauses, n); want != (conflict == nil) {
			t.Fatalf("seed %d: satisfiable %v, the solver says %v", seed, want, conflict == nil)
		}
		if conflict != nil {
			checkCore(t, seed, clauses, n, s.Core(conflict))
			continue
		}
		bits := 0
		for v, value := range s.values {
			if value > 0 {
				bits |= 1 << v
			}
		}
		if !holds(clauses, bits) {
			t.Fatalf("seed %d: the solution is none", seed)
		}
		if len(s.Trail()) != n {
			t.Fatalf("seed %d: %d literals hold, of %d variables", seed, len(s.Trail()), n)
		}
	}
}

// checkCore checks that facts are contradictory and, once minimized, all needed.
func checkCore(t *testing.T, seed int64, clauses [][]Literal, n int, facts []int) {
	t.Helper()
	pick := func(facts []int) (some [][]Literal) {
		for _, f := range facts {
			some = append(some, clauses[f])
		}
		return some
	}
	if satisfiable(pick(facts), n) {
		t.Fatalf("seed %d: the core %v is no contradiction", seed, facts)
	}
	least := Minimize(facts, func(f int) *Clause[int] { return &Clause[int]{Literals: distinct(clauses[f]), Fact: f} })
	if satisfiable(pick(least), n) {
		t.Fatalf("seed %d: the minimized core %v is no contradiction", seed, least)
	}
	for i := range least {
		if !satisfiable(pick(slices.Delete(slices.Clone(least), i, i+1)), n) {
			t.Fatalf("seed %d: fact %d of %v can be left out", seed, i, least)
		}
	}
}
