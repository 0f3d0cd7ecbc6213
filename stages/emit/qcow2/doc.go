// Package qcow2 writes and reads QEMU's disk image format, version 3, as docs/interop/qcow2.txt of QEMU describes it.
//
// [Write] streams a sparse source into an image with compressed clusters. A file it writes has this order:
//
//	header            one cluster
//	data              compressed clusters packed at byte granularity, and whole clusters for what does not compress
//	L2 tables         those that map something, in order
//	L1 table
//	refcount blocks
//	refcount table
//
// Clusters of zeros are not allocated. The file depends on the source and the options only: workers compress in
// parallel, but what they made is placed in the order of the disk.
//
// [Open] reads images that have no backing file: versions 2 and 3, plain, zero, deflate and zstd clusters. It is safe
// for hostile input: what it allocates is bounded by its caches and by the size of the file.
package qcow2

const (
	magic   = "QFI\xfb"
	version = 3

	clusterBits = 16 // of what is written; qemu-img's default
	clusterSize = 1 << clusterBits

	headerLength   = 112 // version 3 with the compression type
	extensionEnd   = 0
	extensionNames = 0x6803f857 // feature name table: lets a reader that is too old say what it lacks

	// Incompatible features.
	featureDirty           = 1 << 0
	featureCorrupt         = 1 << 1
	featureExternalData    = 1 << 2
	featureCompressionType = 1 << 3
	featureExtendedL2      = 1 << 4

	// Bits of L1 and L2 entries.
	flagCopied     = 1 << 63 // the refcount is exactly 1
	flagCompressed = 1 << 62
	flagZero       = 1 << 0
	offsetMask     = 0x00fffffffffffe00

	compressedSector = 512 // the unit of a compressed cluster's length
)

// The values of the header's compression type.
const (
	typeDeflate = 0
	typeZstd    = 1
)
