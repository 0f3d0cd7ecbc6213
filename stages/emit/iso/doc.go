// Package iso composes media that boot everywhere: hybrid ISO 9660 images, which are a CD or DVD to whoever takes them for
// one, and a partitioned disk to the others. [Compose] returns a disk.Image: the contents of files are referred to where
// they lie in the store, only the description of the tree, the boot catalog and the partition table are new bytes.
// emit.ISO writes it.
//
// What is written follows ECMA-119 (ISO 9660) at interchange level 3, the System Use Sharing Protocol 1.12 (SUSP), the Rock
// Ridge Interchange Protocol 1.10 (RRIP), El Torito 1.0 and UEFI 2.10 sections 5.3 and 13.3. Same files and options give
// same bytes: every time is Options.Epoch, every GUID derives from Options.Seed, every owner is root, and the order of
// the files that are given is of no importance.
//
// # Layout
//
// In blocks of 2048 bytes. Sectors of the disk are of 512 bytes, so block b is sector 4b.
//
//	0 to 15  system area: protective MBR with boot code, GUID partition table (hybrid media only, else zeros)
//	16       primary volume descriptor
//	17       boot record volume descriptor of El Torito (bootable media only)
//	then     volume descriptor set terminator
//	then     path table, little endian; path table, big endian
//	then     directories in the order of the path tables: level by level, within a level by parent, then by identifier.
//	         Each is its records, padded to a block, and the continuation areas of their system use fields, padded likewise
//	then     boot catalog, which has no name in the tree (bootable media only)
//	then     the copy of the BIOS image that knows its place
//	then     contents of the other files, directory by directory in the order of their records, each from a block on.
//	         Files with the same object and mode share them, as readers take that for hard links
//	then     the EFI image, in one piece: the EFI system partition
//	then     150 blocks of zeros, for drives that read ahead of what they are asked for
//	then     hybrid media: zeros up to the next MiB, the last 33 sectors of which are the backup partition table
//
// The size of the volume in the primary descriptor is that of the whole image.
//
// # Names
//
// Everybody uses the names of Rock Ridge, which are arbitrary bytes but for '/' and NUL, of 1 to 255 bytes. (Linux
// cuts off names of more than 253.) Besides, each file has an identifier of interchange level 2: letters in upper
// case, every other character than A to Z and 0 to 9 as '_', at most 30 characters of which the part behind the last dot has at
// most 8, and ";1"; directories have at most 31 characters and no dot. Where names of a directory would become the same, all
// but the first, in the order of their bytes, end in _1, _2 and so on.
//
// Directories are as deep as the files ask for, and stay where they are: the relocation by which Rock Ridge evades the
// limit of eight levels (ECMA-119 section 6.8.2.1) is for readers that nobody has any more, and GRUB and others show the
// place that directories are moved to. For the same reason paths may be longer than 255 bytes. The only other deviation
// from ECMA-119 is that texts of the options, such as the volume set identifier, may have lower case letters and
// punctuation.
//
// Files of more than 4 GiB less one block are in several sections of that size, each with a record of its own, which
// follow one another without gap: Linux, GRUB, xorriso and libarchive read them, and nobody needs UDF. Linux follows at
// most 100 sections, so 400 GiB is the limit.
//
// # Rock Ridge
//
// The ER entry names RRIP_1991A, which is what version 1.10 is called and what all readers know (there are some that do
// not recognise the identifier of 1.12, IEEE_P1282; the entries used here are the same but for a serial number at the end
// of PX). Each record has, in this order, PX, TF with the times of modification, access and change in the 7-byte form,
// then NM and SL as needed. The first record of the root begins with SP, and ends with ER. Entries that do not fit the
// record's 254 bytes go on in a continuation area: CE is the last entry of the record, an area lies within one block, and is
// followed by another when it is too small. PX has 36 bytes: the mode with the bits of stat(2), the number of links of a
// directory as POSIX counts it, owner and group 0.
//
// Targets of symbolic links have at most 1023 bytes. Empty components stand for slashes that follow each other; some
// readers drop them. GRUB only understands "." and ".." at the beginning of a target.
//
// # Booting
//
// The boot catalog has an entry for BIOS: no emulation, 4 sectors, at the BIOS image; and one for UEFI in a section of
// platform 0xEF: no emulation, the EFI image and its size in sectors, or 0 when that exceeds 16 bits, which means up to
// the end of the medium. With only one of the two, that is the initial entry.
//
// The BIOS image is what grub-mkimage -O i386-pc-eltorito writes, with these fields filled in, all little endian:
//
//	8     u32  block of the primary volume descriptor, 16   ("boot info table")
//	12    u32  block of the image
//	16    u32  size of the image in bytes
//	20    u32  sum of its 32-bit words from byte 64 on, after the last of these changes
//	24         40 bytes of zeros
//	2548  u64  sector of the second sector of core.img: block × 4 + 5   (only with a hybrid MBR)
//
// The first sector is boot_hybrid.img up to byte 0x1b8, with the sector of core.img, block × 4 + 4, as u64 at 0x1b0. It
// loads core.img from the same place when a BIOS boots the medium as a disk. Of its partition table, entry 1 is the
// protective one over the whole disk, and entry 2, of type 0 and over the first sector only, is marked active for BIOSes that
// insist on it.
//
// The GUID partition table, of 128 entries, has as partition 1, "ISO9660", everything from sector 64 up to the EFI image,
// so that no tool takes it for free space: type Linux filesystem, attributes required (bit 0) and read-only (bit 60); its
// GUID is partition.UUID(Seed, "iso/partition/ISO9660"). Partition 2, "EFI", is the EFI image: type EFI system, GUID
// partition.UUID(Seed, "iso/partition/EFI"). The GUID of the disk is partition.UUID(Seed, "iso/disk"). The file system itself is
// found on the whole disk, not in a partition. A medium is hybrid when UEFI boots it or when it has a hybrid MBR.
package iso
