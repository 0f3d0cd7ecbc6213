// Package deb reads Debian repositories, chooses packages from them and
// unpacks these, without apt or dpkg. In the order in which a build uses it:
//
//   - Where the repositories are: ReadAptSources knows what the machine's apt
//     is configured to use.
//   - What they say: VerifyRelease checks an InRelease file against a keyring;
//     the digests in it vouch for the Packages indexes, which ParseIndex
//     reads. ParseStanzas is the reader of deb822(5) below all of these.
//   - Which packages: NewUniverse joins the indexes, and Universe.Solve answers
//     a Request with a set of packages, or with an UnsatisfiableError that says
//     which requirements contradict each other.
//   - Their contents: Unpack reads a .deb into the store. Database writes what
//     dpkg would know about the packages, and ConfigureSteps what is left to be
//     run inside the image; Order is the order for that.
//
// # The solver
//
// The set that Solve chooses is the one that `apt-get install` chooses on an
// empty system; the tests compare the two on Debian's own archive. People know
// apt's choices, distributions test their archives with them, and an image
// must not differ from a machine that was installed by hand. They are: only
// the newest version of each package; dependencies depth first; the first
// alternative that is possible; among providers of a virtual package the one
// that apt prefers.
//
// apt decides without ever taking back a decision, and so it gives up, or
// leaves out packages, where a solution exists. Here every relation becomes a
// clause of a propositional formula in which a variable is a package, and a
// solver with conflict-driven clause learning makes sure that a solution is
// found if there is one. apt's preferences only determine in which order it
// decides. See package sat for that solver.
//
// Relations of a package become clauses when the package is first considered
// to be part of the set. Of the 64,000 packages of Debian a solution looks at a
// few hundred, so most are never parsed beyond their names.
//
// When there is no solution, the clauses that the contradiction followed from
// are reduced until none can be left out, and written as sentences that begin
// with what was asked for.
package deb
