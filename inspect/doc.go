// Package inspect looks into disk images without mounting them: the partition
// table, the file systems, and the files in them, from raw and qcow2 images
// alike.
//
// It reads GPT, ext2/3/4 and FAT; partitions that hold anything else are
// listed without a file system.
package inspect
