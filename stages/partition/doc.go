// Package partition composes a disk from file system images: it places partitions ([Plan]), writes the GUID partition
// table of UEFI 2.10 chapter 5 and the boot code of GRUB for BIOS around them ([Compose], [BIOSBoot]), and reads
// tables back ([ReadTable]).
//
// Sectors are 512 bytes. Partitions start and end on multiples of 1 MiB, so that they are aligned for every disk, SSD
// and RAID stripe in use. The order of partitions on the disk is the order in which they are planned; their
// number, the entry of the table, is independent of it.
//
// Nothing here is random or looks at a clock: every GUID comes from the caller, usually from [UUID].
package partition
