// Package ext4 writes ext4 file systems straight from trees, without a mount, a loop
// device or a privilege, and reads them and those of others.
//
// # Writing
//
// Write turns a tree.Tree into a disk.Image. The file system's own structures become
// one new object of the store; file contents are extents that refer to the objects they
// are in already and are never copied. The tail of a file's last block, the unused
// part of inode tables and the journal behind its first block are gaps, which
// read as zero. The image is a function of the tree and the Options alone.
//
// The structures are those of the kernel's Documentation/filesystems/ext4; what it leaves
// open is done as mke2fs 1.47 does it.
//
// # Features
//
// Options.Features takes the names of mke2fs and is the complete set. Known are
// has_journal, ext_attr, resize_inode, dir_index, filetype, extent, 64bit, flex_bg,
// sparse_super, large_file, huge_file, uninit_bg, dir_nlink, extra_isize,
// metadata_csum and metadata_csum_seed; DefaultFeatures is what one gets without asking.
// ext_attr, filetype, extent and large_file cannot be left out. Old kernels
// and boot loaders decide which set a distribution needs: that is its data.
//
// # Layout
//
// Blocks are given out in ascending order, without gaps, so that a file system with
// little in it has all of it at its start and shrinks well:
//
//   - the metadata of groups. Under flex_bg, the bitmaps and inode tables of 16 groups lie
//     together at the start of the first; otherwise in each group. Copies of superblock
//     and group descriptors stand at the start of group 0, 1 and the powers of 3, 5
//     and 7 (sparse_super). Behind each copy, resize_inode reserves room for the
//     descriptors of a file system 1024 times as large, or of MaxGrowth bytes: so far
//     it can be grown while mounted;
//   - the blocks of directories, the root's first;
//   - blocks of extended attributes, shared by inodes whose attributes are equal;
//   - targets of symbolic links of 60 bytes or more;
//   - the journal, of the size mke2fs chooses (4 MiB to 1 GiB) or of JournalSize;
//   - files, each followed by the blocks of its extent tree. A file that meets the
//     metadata of a group goes on behind it with another extent.
//
// Inodes are numbered in tree order: the root is 2, lost+found 11, the others follow.
// lost+found is made when the tree has none. With checksummed group descriptors,
// bitmaps of groups in which nothing is allocated are left uninitialized, and all
// inode tables are marked as zeroed: the image's gaps are zeros, so whoever writes it to
// a disk must write them too.
//
// # Holes
//
// Files of at least SparseMin bytes (4 MiB) are read once, in parallel, to find runs of
// zeros: 32 KiB or more of whole zero units of 4 KiB, counted from the file's start,
// become holes. The decision depends on the contents alone. Smaller files are
// not read. (A swap file must not have holes: make it on the machine, or write with a
// negative SparseMin.)
//
// # Directories
//
// A directory that fits into one block is a list of names in tree order. A larger one is a
// hash tree (dir_index) with half_md4 hashes of signed bytes, as mke2fs makes
// them on x86, whatever machine this runs on. Leaves are filled to 80 percent, or to the
// brim where the tree would need a third level. Without dir_index, all are lists.
//
// # Times
//
// An entry's modification time is also its access time; change and creation time are
// Options.Time. Times reach from 1901-12-13 to 2446-05-10, in nanoseconds. e2fsck takes
// those from 2310-04-04 to 2378-04-22 for bad ones of before 1970 and offers to
// change them.
//
// # Limits
//
// What ext4 cannot hold is an error with the path, never left out: extended attributes
// beyond the 88 bytes in the inode and one block; names of attributes other than user.,
// trusted., security., system.; targets of a block or more; more than 65,000 hard
// links, or subdirectories without dir_nlink; device numbers of more than 12 and 20
// bits; directories of more leaves than a hash tree of two index levels has (258,570 of
// 4 KiB). Blocks have 1024, 2048 or 4096 bytes, inodes 256. There is no inline_data,
// ea_inode, bigalloc, quota, encryption or case folding.
//
// # Reading
//
// Open gives an FS, which walks names, with everything inodes say, and reads files. It
// verifies every checksum it comes by, and Verify those of bitmaps too. Whatever
// the bytes are, it neither panics nor loops: references outside the file system,
// directories with two names, blocks twice in a tree and paths of more than 16 KiB are
// errors. It does not replay journals; Info says when one would have to be.
package ext4
