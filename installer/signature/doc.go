// Package signature says what a disk holds, before anybody writes to it.
//
// [Scan] looks for what libblkid looks for: partition tables, file systems, swap, members of RAID sets, physical
// volumes and encrypted containers, on the disk and inside each of its partitions. The kinds have libblkid's names, so
// that what the installer prints can be looked up. Where libblkid must decide for one answer, to mount the right thing,
// Scan returns everything it finds, because its question is another one: is there anything somebody may want to keep?
// For the same reason it accepts some superblocks that libblkid rejects as damaged, finds copies whose original is
// overwritten (the backup GPT, the second LUKS2 header, the backup superblocks of ext4 and btrfs are what people restore
// from), and reports data of no known kind at both ends of the disk ([Contents.Unknown]).
//
// What a signature looks like is described beside each of them; the offsets are those of the projects' own documents
// and headers.
package signature
