package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Inode numbers with a meaning (Documentation/filesystems/ext4, "Special inodes").
const (
	rootInode      = 2
	resizeInode    = 7
	journalInode   = 8
	firstInode     = 11 // the first that is not reserved; lost+found by custom
	lostFoundInode = firstInode
)

const (
	inodeSize     = 256
	baseInodeSize = 128
	extraIsize    = 32 // bytes of fields behind the first 128
	inodeXattrs   = inodeSize - baseInodeSize - extraIsize

	maxLinks = 65000
)

// Inode flags (i_flags).
const (
	flagIndex    = 0x1000
	flagHugeFile = 0x40000
	flagExtents  = 0x80000
)

// File types in i_mode.
const (
	modeFIFO        = 0x1000
	modeCharDevice  = 0x2000
	modeDirectory   = 0x4000
	modeBlockDevice = 0x6000
	modeRegular     = 0x8000
	modeSymlink     = 0xa000
	modeSocket      = 0xc000
	modeTypeMask    = 0xf000
)

// modeOf gives each type its bits in i_mode.
var modeOf = [...]uint16{
	tree.Regular:     modeRegular,
	tree.Directory:   modeDirectory,
	tree.Symlink:     modeSymlink,
	tree.CharDevice:  modeCharDevice,
	tree.BlockDevice: modeBlockDevice,
	tree.FIFO:        modeFIFO,
	tree.Socket:      modeSocket,
}

// typeOfMode is the inverse of modeOf.
func typeOfMode(mode uint16) (tree.Type, bool) {
	for t, m := range modeOf {
		if m != 0 && m == mode&modeTypeMask {
			return tree.Type(t), true
		}
	}
	return 0, false
}

// inode is one inode to be written, with its data.
type inode struct {
	number   uint32
	path     string // for errors
	mode     uint16
	uid, gid uint32
	links    uint32
	size     int64
	flags    uint32
	mtime    tree.Time
	atime    tree.Time
	block    [60]byte // i_block: extent root, symlink target or device number
	xattrs   []byte   // in the inode
	external *xattrBlock

	data   []byte       // blocks of the file system's own: a directory's, a slow symlink's, the journal's first
	digest store.Digest // a regular file's contents
	runs   []span       // of blocks to be mapped, by their number in the file

	// Where all that lies, as of the last plan.
	extents      []extent
	extentBlocks []uint64
	metaBlocks   uint64 // blocks of the resize inode, which has no extents
}

func (in *inode) isDirectory() bool { return in.mode&modeTypeMask == modeDirectory }

// mapped is the number of blocks of data.
func (in *inode) mapped() uint64 {
	var n uint64
	for _, r := range in.runs {
		n += r.length
	}
	return n
}

// inodeTimeFits reports whether t can be stored with the two epoch bits: from
// 1901-12-13 to 2446-05-10.
func inodeTimeFits(t tree.Time) bool {
	return t.Sec >= -1<<31 && t.Sec < -1<<31+1<<34
}

// encodeTime splits a time into the signed low 32 bits of its seconds and the
// extra field: two more bits of seconds, 30 of nanoseconds.
func encodeTime(t tree.Time) (seconds, extra uint32) {
	epoch := (t.Sec - int64(int32(t.Sec))) >> 32 & 3
	return uint32(t.Sec), t.Nsec<<2 | uint32(epoch)
}

// decodeTime is the inverse of encodeTime.
func decodeTime(seconds, extra uint32) tree.Time {
	return tree.Time{Sec: int64(int32(seconds)) + int64(extra&3)<<32, Nsec: extra >> 2}
}

// encode writes the inode into p, which is inodeSize zeros
// (Documentation/filesystems/ext4, "Index Nodes").
func (in *inode) encode(p []byte, c *config, features featureSet) error {
	le := binary.LittleEndian
	blocks := in.mapped() + uint64(len(in.extentBlocks)) + in.metaBlocks
	var acl uint64
	if in.external != nil {
		acl = in.external.block
		blocks++
	}
	sectors := blocks * uint64(c.BlockSize/512)
	if sectors > 1<<32-1 && !features.has(roCompat, roHugeFile) {
		return fmt.Errorf("/%s: a file of 2 TiB or more needs the ext4 feature \"huge_file\"", in.path)
	}
	mtime, mtimeExtra := encodeTime(in.mtime)
	atime, atimeExtra := encodeTime(in.atime)
	ctime, ctimeExtra := encodeTime(c.Time)

	le.PutUint16(p[0x00:], in.mode)
	le.PutUint16(p[0x02:], uint16(in.uid))
	le.PutUint32(p[0x04:], uint32(in.size))
	le.PutUint32(p[0x08:], atime)
	le.PutUint32(p[0x0c:], ctime)
	le.PutUint32(p[0x10:], mtime)
	le.PutUint16(p[0x18:], uint16(in.gid))
	le.PutUint16(p[0x1a:], uint16(in.links))
	le.PutUint32(p[0x1c:], uint32(sectors))
	le.PutUint32(p[0x20:], in.flags)
	copy(p[0x28:], in.block[:])
	le.PutUint32(p[0x68:], uint32(acl))
	le.PutUint32(p[0x6c:], uint32(in.size>>32))
	le.PutUint16(p[0x74:], uint16(sectors>>32))
	le.PutUint16(p[0x76:], uint16(acl>>32))
	le.PutUint16(p[0x78:], uint16(in.uid>>16))
	le.PutUint16(p[0x7a:], uint16(in.gid>>16))
	le.PutUint16(p[0x80:], extraIsize)
	le.PutUint32(p[0x84:], ctimeExtra)
	le.PutUint32(p[0x88:], mtimeExtra)
	le.PutUint32(p[0x8c:], atimeExtra)
	le.PutUint32(p[0x90:], ctime) // creation
	le.PutUint32(p[0x94:], ctimeExtra)
	copy(p[baseInodeSize+extraIsize:], in.xattrs)
	if features.metadataChecksums() {
		sum := inodeChecksum(p, inodeChecksumSeed(c.checksumSeed, in.number, 0))
		le.PutUint16(p[0x7c:], uint16(sum))
		le.PutUint16(p[0x82:], uint16(sum>>16))
	}
	return nil
}

// encodeUnusedInode gives a reserved inode without use the checksum it needs.
func encodeUnusedInode(p []byte, number uint32, c *config) {
	if c.features.metadataChecksums() {
		binary.LittleEndian.PutUint16(p[0x7c:], uint16(inodeChecksum(p, inodeChecksumSeed(c.checksumSeed, number, 0))))
	}
}

// inodeChecksum computes the checksum of the inode p, taking the one in it as zero.
// The high half of the field belongs to it when the extra fields reach so far.
func inodeChecksum(p []byte, seed uint32) uint32 {
	zero := []byte{0, 0}
	crc := crc32c(seed, p[:0x7c])
	crc = crc32c(crc, zero)
	if len(p) <= baseInodeSize {
		return crc32c(crc, p[0x7e:])
	}
	crc = crc32c(crc, p[0x7e:0x82])
	if hasChecksumHi(p) {
		crc = crc32c(crc, zero)
	} else {
		crc = crc32c(crc, p[0x82:0x84])
	}
	return crc32c(crc, p[0x84:])
}

func hasChecksumHi(p []byte) bool {
	return len(p) > baseInodeSize && binary.LittleEndian.Uint16(p[0x80:]) >= 4
}

// encodeDevice writes a device number as the kernel does: the old form of 8 and 8
// bits in the first word, where it fits, else the new one of 12 and 20 in the
// second.
func encodeDevice(block []byte, major, minor uint32) error {
	switch {
	case major < 1<<8 && minor < 1<<8:
		binary.LittleEndian.PutUint32(block[0:], major<<8|minor)
	case major < 1<<12 && minor < 1<<20:
		binary.LittleEndian.PutUint32(block[4:], minor&0xff|major<<8|minor&^0xff<<12)
	default:
		return errors.New("the device number has more than 12 bits of major or 20 of minor")
	}
	return nil
}

// decodeDevice is the inverse of encodeDevice.
func decodeDevice(block []byte) (major, minor uint32) {
	if old := binary.LittleEndian.Uint32(block[0:]); old != 0 {
		return old >> 8 & 0xff, old & 0xff
	}
	d := binary.LittleEndian.Uint32(block[4:])
	return d >> 8 & 0xfff, d&0xff | d>>12&0xfff00
}
