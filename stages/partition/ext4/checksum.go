package ext4

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c continues a checksum as the kernel's ext4_chksum does: without the
// inversions before and after that package crc32 makes.
func crc32c(crc uint32, p []byte) uint32 { return ^crc32.Update(^crc, castagnoli, p) }

// crc32cUint32 continues a checksum over the little endian bytes of v.
func crc32cUint32(crc, v uint32) uint32 {
	var p [4]byte
	binary.LittleEndian.PutUint32(p[:], v)
	return crc32c(crc, p[:])
}

// crc32cUint64 continues a checksum over the little endian bytes of v.
func crc32cUint64(crc uint32, v uint64) uint32 {
	var p [8]byte
	binary.LittleEndian.PutUint64(p[:], v)
	return crc32c(crc, p[:])
}

// inodeChecksumSeed starts the checksums of an inode and of its extent and
// directory blocks.
func inodeChecksumSeed(seed, number, generation uint32) uint32 {
	return crc32cUint32(crc32cUint32(seed, number), generation)
}

// crc16 continues the checksum that group descriptors have under uninit_bg: the
// reflected polynomial 0x8005.
func crc16(crc uint16, p []byte) uint16 {
	for _, b := range p {
		crc ^= uint16(b)
		for range 8 {
			low := crc & 1
			crc >>= 1
			if low != 0 {
				crc ^= 0xa001
			}
		}
	}
	return crc
}
