package sat

// A Literal says that a variable is true or false.
type Literal int32

// True returns the literal that holds when variable v is true.
func True(v int) Literal { return Literal(2 * v) }

// False returns the literal that holds when variable v is false.
func False(v int) Literal { return Literal(2*v + 1) }

// Negated returns the literal that holds when l does not.
func (l Literal) Negated() Literal { return l ^ 1 }

// Variable returns the variable that l is about.
func (l Literal) Variable() int { return int(l >> 1) }

// Positive reports whether l says that its variable is true.
func (l Literal) Positive() bool { return l&1 == 0 }

// A Clause holds if any of its literals does.
type Clause[F any] struct {
	// Literals are at least one. A solver that was given the clause changes their
	// order: it watches the first two.
	Literals []Literal
	// Fact is what the clause means to the user of the solver.
	Fact F

	from []*Clause[F] // what a learned clause follows from; nil if it was given
}
