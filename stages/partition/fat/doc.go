// Package fat writes FAT12, FAT16 and FAT32 file systems straight from trees, as Microsoft's "FAT: General Overview of
// On-Disk Format" (version 1.03) describes them, with long names. File contents stay where they are in the store; only
// boot sectors, tables and directories are new bytes.
//
// The width of the table follows from the size alone: FAT12 below 8 MiB, FAT16 below 64 MiB, FAT32 from there on, with
// the cluster sizes of Microsoft's formatter, so that the number of clusters always lies well within the range by which
// readers tell the three apart. Everything is allocated contiguously in the order of the tree. Owners, modes and
// extended attributes have no place in FAT and are dropped; symbolic links and devices are errors. All times are
// UTC. The same tree and options give the same bytes.
//
// [Open] reads file systems, of this package or any other, for `inspect`. It is safe for hostile input.
//
// It does not use go-diskfs: that library's FAT32 layout is wrong for many sizes and cannot be told a layout, its
// times come from the process environment, and it copies every file;
// its reader trusts what it reads.
package fat
