// Package installed reads the database of installed packages out of the tree of a root,
// whoever built that root, and changes it when packages or files go. Nothing of the
// target is executed.
//
// # What is read
//
// Family "deb": /var/lib/dpkg/status, the .list files in /var/lib/dpkg/info (their format
// is dpkg's, doc/spec/ and lib/dpkg/db-infodb.c), /var/lib/dpkg/status.d of images that
// were made without dpkg, /var/lib/dpkg/diversions and /var/lib/apt/extended_states. A package
// counts when its state is anything from unpacked to installed.
//
// Family "rpm": the first of /var/lib/rpm, /usr/lib/sysimage/rpm and /usr/share/rpm that has
// rpmdb.sqlite (rpm 4.16 and later), Packages.db (ndb) or Packages (Berkeley DB). Keys
// that rpm imported ("gpg-pubkey") are no packages.
//
// # Paths
//
// Packages name files as they were built: /lib/libx.so.1 where /lib may be a link to usr/lib
// in the root. Files here have the paths that the tree has: links in the directories of a
// path are followed, and what dpkg diverts is where it was diverted to. A path which the
// tree does not have is left out, so everything that is listed is there.
//
// # What needs what
//
// Depends and Pre-Depends, or Requires, are of kind Requires; rpm's requirements of
// scriptlets ("Requires(post)") of kind Scripts. A Need is met by any one of its providers.
// A rich dependency of rpm becomes the needs of its conjunctive normal form, each with the
// whole text; one that counts only beside other packages names these in When.
//
// # Changing it
//
// Remove is for after the files have gone from the tree. It takes packages out of the database,
// and lets the record of those that stay agree with the tree:
//
//   - dpkg: the stanza in status, the package's files in info, lines of extended_states,
//     diversions (what was diverted comes back to its place), statoverride and
//     triggers. Lines of .list, of .md5sums and of the field Conffiles about files that are gone from
//     packages that stay are taken out, so that `dpkg --verify` has nothing to report. (It reports
//     what .list has and the root has not, even where dpkg itself left it out because of
//     path-exclude.)
//   - alternatives, of dpkg and of chkconfig: what no longer exists is no choice; a link to
//     it goes to the best that is left, or away.
//   - rpm: the database is written anew in SQLite's format, and files that are gone have the state
//     "not installed", as documentation has that was left out when a package was
//     installed; `rpm --verify` does not look for these. A database in another
//     format can be dropped, not changed: nothing but rpm writes those.
//
// Drop takes the whole database away, for images without a package manager.
package installed
