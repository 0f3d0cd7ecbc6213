// Package header reads and writes RPM headers: the index of typed data that describes
// a package, in package files, in the package database and, with other tags, around
// signatures (https://rpm-software-management.github.io/rpm/manual/format_header.html).
//
// # Format
//
// All integers are big-endian. A header, as the database stores it and as it follows
// the 8 bytes of Magic in a package file, is
//
//	u32  number of index entries
//	u32  length of the data in bytes
//	16 bytes per index entry: u32 tag, u32 type, u32 offset into the data, u32 count
//	the data
//
// Integers lie at multiples of their size; strings end in a NUL byte. The first entry
// may be a region: its data, 16 bytes, is the region's last data and has the form of
// an index entry whose offset is minus the length of the region's index. What a
// package is signed with is its region; the database adds entries after it.
//
// Headers are data of strangers. Parse accepts what rpm accepts and less: entries in
// the order of their data, nothing overlapping, known tags with their right types,
// and arrays that belong together of the same length, so that what reads a header
// later need not check.
package header
