// Package rpm knows the packages of RPM distributions by their metadata and chooses from them
// what to install, without rpm or dnf:
//
//   - Versions: EVR, CompareEVR and CompareVersions order them as rpm does.
//   - Dependencies: Dependency is one capability, ParseRich takes rich dependencies
//     apart, SatisfiedBy says what meets what.
//   - Which packages: NewUniverse joins the packages of all repositories, and
//     Universe.Solve answers a Request with a set of packages, or with an
//     UnsatisfiableError that says which requirements contradict each other.
//
// What lies in package files, repositories and the package database is in the packages
// below this one.
//
// # The solver
//
// The set that Solve chooses is the one that `dnf install` chooses on an empty system; the
// tests compare the two on the metadata of CentOS Stream, and with libsolv, dnf's
// solver, on random universes. People know dnf's choices, distributions test their
// repositories with them, and an image must not differ from a machine that was installed
// by hand.
//
// Every dependency becomes a clause of a propositional formula in which a variable is a
// package, and the solver with conflict-driven clause learning of package sat makes sure
// that a solution is found if there is one:
//
//	a requires x, which b and c provide:     not a, or b, or c
//	a conflicts with or obsoletes b:         not a, or not b
//	a and b have the same name:              not a, or not b
//	one of several versions is asked for:    a1 or a2 or a3
//
// A rich dependency becomes the clauses of its conjunctive normal form; "with" and "without"
// choose among packages before that. Obsoletes are matched by the names of packages only, and
// replace what is asked for by a name that is obsoleted.
//
// Which solution is found depends on the order of decisions, which is libsolv's. See types
// search, and prefer for what makes one candidate better than another. What is recommended
// counts there even if weak dependencies are not asked for.
//
// # What is not known yet
//
// The primary metadata of a repository lists the files below directories called bin and /etc
// only, but packages require others, too. UnresolvedPaths names them; the complete lists
// of files are large and read for these paths alone.
//
// # Limits
//
// There is one architecture besides "noarch": no packages for 32 bits on a 64-bit system. One
// version of each name is installed, of kernels as well. Nothing is installed before.
package rpm
