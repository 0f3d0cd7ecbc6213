// Package target decides which disk is installed on.
//
// [Choose] is a pure function of what the machine has and what the policy says, so every case can be tested, and a dry
// run decides exactly as an installation does. It never guesses: a disk is taken only when the policy leaves one and no
// other. The rules, in order:
//
//  1. The medium the installer runs from is never taken, nor is a disk that cannot be installed on at all: read-only, too
//     small for the image, with other sectors than the image is made for, in use, or unreadable.
//  2. Every condition of the policy must hold. Globs are those of path.Match over the whole value; a disk with several
//     names needs one that matches. Removable disks and those on USB are taken only by a policy that names them, by
//     transport, path, serial number, WWN, model or a name in /dev/disk.
//  3. A disk that holds anything is refused, unless the policy wipes, or preserves partitions and the disk has them where
//     the image has them.
//  4. Of the disks left, match takes one: the smallest or the largest that is empty, or the only one. Two of the same size
//     are no answer, for which one it would be depends on the order in which the kernel found them.
//  5. Where a driver of disks failed, disks may be missing, so that nobody can tell the smallest, the largest or the only one: then
//     the policy must name the disk by its whole serial number, WWN, or name in /dev/disk.
//
// Anything else ends in a [NoDisk], whose text shows every disk and why it was not taken.
package target
