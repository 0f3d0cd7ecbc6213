// Package tarball reads tar archives into trees.
//
// It knows the formats v7, ustar, GNU and PAX (POSIX.1-2017, pax(1)), with long names
// and sparse files, times to the nanosecond, devices, hard links, and extended
// attributes in all the ways in which they are written: SCHILY.xattr.* (GNU tar, star,
// Go), LIBARCHIVE.xattr.* (bsdtar), SCHILY.acl.* (text of POSIX.1e ACLs, which become
// the kernel's binary form) and RHT.security.selinux.
//
// There are two ways to read an archive. An Importer takes what package managers write
// and refuses whatever such an archive has no business to hold. Apply puts an archive
// over a tree as tar would extract it there, or with the whiteouts of a container
// image's layer.
//
// Archives are data of strangers: nothing lies outside of the tree, whatever names and
// links say, and what takes more than Limits allows is an error. So is an archive
// without its end mark, because nobody can tell whether it is whole.
package tarball
