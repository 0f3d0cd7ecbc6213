// Package finish does what remains when a disk image lies on a disk that is larger than it, or on one that had a system
// before: partition table, file systems, and the firmware's boot menu.
//
// [Keep] decides, before anything is written, whether partitions of the disk can be kept. After the copy [SettleTable]
// moves the backup partition table to the end of the disk, gives kept partitions back their size and lets the last
// partition grow; [Reread] tells the kernel; [GrowFilesystem] lets the file system follow; [Adopt] makes the new system
// mount what was kept; [SetBootEntry] enters it into the boot menu of UEFI firmware. Each can be repeated: what is done already is left as it is.
//
// # The partition table
//
// A GUID partition table (UEFI 2.10 section 5.3) exists twice: behind the first sector and before the end of the disk. In
// an image the second copy lies where the image ends, and firmware, kernel and tools complain about it, or worse, on a
// larger disk. It is written anew in an order that survives a power cut at any moment: first the backup at the end of
// the disk, flushed; then the primary header and entries, flushed; then the protective MBR. In between, whichever copy is
// not being written is whole, and the sum of its header says so.
//
// # File systems
//
// ext4 and xfs grow while they are mounted, by ioctls of the kernel, so that no program is needed. Others stay as they
// are: FAT cannot grow, and what lies in a partition without a file system known here is somebody else's matter.
//
// # The boot menu
//
// A boot entry is a variable of the firmware (UEFI 2.10 section 3.1.3), a file of efivarfs. Firmware forgets entries and has
// room for few, so an entry that is right already is used again, and entries that this package once made for
// disks that no longer exist are removed.
package finish
