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
//
// A file belongs to a package when the package's list of files names it;
// /var/lib/dpkg/info/NAME.* belongs to NAME, and the database of packages to
// all packages that differ. Text counts such files at their package instead of
// listing them, and lists a directory that was added or removed as one line,
// unless [TextOptions] ask for everything. The JSON document always has all.
//
// # Documents
//
// Two documents of JSON are formats of our own: [Difference] and [Trimming].
// Their members are those of the types, which say what each means; "schema" is
// [DifferenceSchema] and [TrimSchema]. A reader must refuse a schema that it
// does not know and ignore members that it does not know. Lists are sorted as
// the types say, so equal inputs give equal bytes. Sizes are bytes.
//
// # The page
//
// [HTML] writes one document that needs nothing else: style, script and data
// are in it, and it works from a file, without a network. Its content security
// policy names the digests of that style and script, so that nothing else runs
// or is loaded, whatever the names in an image say; the script makes all of
// its elements from text, never from markup.
//
// The data are JSON in the element with the id "data", for the page's own
// script and for no other reader. The map is a tree of packages, directories
// and files with their sizes before and after trimming. Files hard linked to
// one another count at the first of their paths, files of several packages at
// the first package by name. Of more than 12,000 files the smaller ones are
// summed up within their directory, which keeps the page of 20,000 files below
// 3 MB; nothing is left out of the sums.
package report
