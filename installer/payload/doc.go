// Package payload is the file format in which an installer medium carries a disk, and how it gets onto a device.
//
// A payload holds the data of a disk image in chunks that stand for themselves: each can be checked before it is
// written, fetched again alone over a network, left out where a partition of the target is kept, and read back and
// compared afterwards. [Open] reads a payload from anything that is an [io.ReaderAt], such as a file of the medium or
// [HTTP]; [Payload.VerifyAll] checks all of it; [Payload.Restore] writes it to a [Device].
//
// # The format
//
// All integers are big endian. The disk's bytes decide the payload: how its holes and extents came about does not
// matter, nor does the number of processors that compressed it.
//
//	header
//	  8 bytes   magic "IFpayld\x01"; the last byte is the version of this format
//	chunks, without gaps, in the order of the disk
//	  zstd      one frame (RFC 8878) with the content size, without dictionary or checksum
//	index
//	  8 bytes   magic "IFindex\x01"
//	  u64       size of the disk in bytes, a multiple of 512
//	  u32       number of chunks, C
//	  C × {
//	    u64       offset of the chunk's bytes on the disk, a multiple of 4096
//	    u32       number of its bytes, at most 4 MiB: a multiple of 4096 unless the disk ends with the chunk
//	    u32       number of bytes of its frame, at least 1 and at most 4 MiB + 64 KiB
//	    32 bytes  SHA-256 of its bytes
//	    32 bytes  SHA-256 of its frame
//	  }
//	footer, the last 56 bytes of the file
//	  8 bytes   magic "IFpayle\x01"
//	  u64       offset of the index in the file
//	  u64       number of bytes of the index
//	  32 bytes  SHA-256 of the index
//
// The first chunk's frame begins behind the header, each other where the one before ends, the index where the last
// ends, the footer where the index ends. Chunks are in ascending order of their offsets and do not overlap. None
// crosses a multiple of 4 MiB, and none crosses 1 MiB: what makes a disk a partitioned one is a chunk of its own.
//
// Blocks of 4096 bytes that are zero are left out where 16 or more follow one another; fewer are part of a chunk, since
// a disk is faster at writing them than at being told. What no chunk covers reads as zero.
//
// Who trusts the digest of the index, because the medium's document names it, can trust everything in the payload:
// the index has the digests of all frames and of all bytes. Readers must not decompress a frame before its digest is
// found right.
//
// # Writing a disk
//
// What a device holds when a machine loses power in the middle must never pass for a finished system. [Payload.Restore]
// therefore clears the start of the disk, and its end where a backup partition table may lie, before it writes
// anything else. The chunk with the new partition table is written when everything else has been written, flushed,
// read back past the page cache and found right. Until then the disk looks empty to firmware and to an installer that
// tries again. Where partitions are kept, their table must stay: then the boot code and the parts of the disk named
// in [Plan.Last] take its place.
package payload
