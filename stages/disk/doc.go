// Package disk holds the value that every writer of disk images reads: an [Image], a list of extents saying which bytes
// of which object of the content-addressed store stand at which offset. Nothing is copied to compose a disk: a file
// system image refers to the files' contents where they already are, a partitioned disk refers to what its file systems
// refer to, and raw, qcow2 and every other output stream from the same list. Ranges that no extent covers read as zero
// and cost nothing.
//
// A [Builder] collects metadata bytes, objects and whole images at offsets and refuses overlaps; a [Reader] serves
// the composed bytes at any offset, to any number of goroutines.
//
// # Encoding
//
// An image is kept in the store as one object. All fixed-width integers are big endian; a uvarint is the unsigned LEB128
// of encoding/binary in its shortest form.
//
//	8 bytes   magic "IFdisk\x00\x01"; the last byte is the version of this encoding
//	u64       size of the image in bytes
//	u32       number of distinct objects, D
//	u32       number of extents, E
//	D × 32    SHA-256 digests of the objects, in the order in which the extents first name them
//	E × {
//	  uvarint   bytes between the end of the previous extent (or 0) and the start of this one
//	  uvarint   length of the extent in bytes, at least 1
//	  uvarint   index of its object, counting from 0
//	  uvarint   offset of its first byte within the object
//	}
//
// Nothing follows the last extent. The encoding is canonical: an image has exactly one, and [Decode] refuses every other
// sequence of bytes, so the digest of the encoding identifies the image.
package disk
