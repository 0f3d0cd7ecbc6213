// Package report says what is in a system, what became of it, and how two of
// them differ: as tables for a terminal, as JSON, and as a page for a browser.
//
// # Comparing two systems
//
// A [Snapshot] is what is known of a system: of a recipe that was built, of an
// output directory, or of an image file, whoever made it. [Diff] compares two
// and returns a [Difference], which is at the same time the document that
// "imagefactory diff --output json" prints.
//
// What is compared: packages, kernels, services, user accounts and groups, the
// sizes of the outputs, and of every path its type, contents, mode, owner,
// symlink target, device number, capabilities, ACLs, SELinux label, other
// extended attributes, and which other paths are the same file (hard links).
// Times are not: they say when something was built, not what it is. What one
// of the snapshots does not tell is not compared, and a note says so.
package report
