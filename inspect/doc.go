// Package inspect looks into disk images without mounting them: the partition
// table, the file systems, and the files in them, from raw and qcow2 images
// alike.
//
// It reads GPT, ext2/3/4 and FAT; partitions that hold anything else are
// listed without a file system.
//
// [Image.System] reads the whole operating system in an image into a tree, for
// everything that works on trees: comparing, scanning, explaining. It looks into
// imagefactory's installation media too.
//
// Images are foreign bytes. What is read of one is bounded by its size, or by
// limits that an error names, and every number in it is checked before it is
// used.
package inspect
