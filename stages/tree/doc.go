// Package tree is the value every stage passes on: a root file system, or a part
// of one, as a sorted list of entries. File contents are not part of it, only
// their digests; they live in a store.Store. A tree's identity is the digest of
// its canonical encoding.
//
// # Invariants
//
// New and Decode accept nothing else:
//
//   - entries are sorted by Compare and their paths are unique;
//   - the first entry is the root ".", a directory;
//   - every other entry's parent is in the tree and is a directory, so nothing can
//     lie below a symbolic link;
//   - paths are relative, hold no NUL, no empty, "." or ".." element, and no
//     element is longer than 255 bytes;
//   - modes are permission bits (07777) only;
//   - extended attributes are sorted by name, and names are unique and not empty;
//   - entries with the same non-zero Link are one inode: they differ in nothing but
//     Path, there are at least two of them, and groups are numbered 1, 2, … in the
//     order of their first entry. Directories are never linked;
//   - fields that do not belong to an entry's type are zero. A symbolic link's
//     target is not empty and holds no NUL. Size is the length of the contents of
//     a regular file.
//
// # Encoding, version 1
//
// The encoding is the magic "IFTREE1\n", the number of entries, and the entries in
// order. Integers are unsigned LEB128 (as encoding/binary's Uvarint), signed ones
// zigzag LEB128 (Varint), strings a length and their bytes.
//
//	path     number of leading bytes shared with the previous path, then the rest
//	         as a string
//	type     1 byte: 1 regular, 2 directory, 3 symlink, 4 character device,
//	         5 block device, 6 FIFO, 7 socket
//	mode     unsigned
//	uid, gid unsigned
//	mtime    seconds signed, nanoseconds unsigned (< 1e9)
//	link     unsigned
//	xattrs   count, then name and value strings
//	regular: 32 bytes SHA-256 of the contents, size unsigned
//	symlink: target string
//	devices: major, minor unsigned
//
// Sharing path prefixes makes the encoding of 20,000 entries about 1.5 MB. There
// is exactly one encoding of a tree: Decode refuses overlong integers and a
// shared prefix that is shorter than it could be.
package tree
