// Package sat solves propositional formulas for the dependency solvers of the package
// families. A variable says that a package is part of the set that is looked for.
//
// A Solver is one with conflict-driven clause learning (Marques-Silva and Sakallah,
// GRASP, 1999) that leaves every decision to its user, because which of several
// solutions is found is what users of a package manager notice: Decide makes a
// literal hold, and when a clause fails by it, Learn adds the clause that keeps from
// the same mistake and takes decisions back. In the loop
//
//	conflict := s.Propagate()
//	for {
//		switch {
//		case conflict != nil && s.Level() == 0:
//			return s.Core(conflict) // no solution, and why
//		case conflict != nil:
//			s.Learn(conflict)
//			conflict = s.Propagate()
//		case undecided():
//			conflict = s.Decide(preferred())
//		default:
//			return nil // the values are a solution
//		}
//	}
//
// it finds a solution when there is one. When there is none, Core lists what the clauses
// of the contradiction say, and Minimize leaves out what it does not need.
//
// Clauses can be given all at once or, by Expand, when the first of their variables becomes
// true: of 64,000 packages of a distribution a solution looks at a few hundred.
package sat
