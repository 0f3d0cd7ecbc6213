package ext4

import "encoding/binary"

// Flags of a group descriptor (bg_flags).
const (
	groupInodeUninit = 0x1 // inode bitmap and table are not initialized
	groupBlockUninit = 0x2 // the block bitmap is not initialized
	groupTableZeroed = 0x4 // the unused part of the inode table reads as zero
)

// groupDescriptor is a group descriptor with its halves joined.
type groupDescriptor struct {
	blockBitmap, inodeBitmap, inodeTable     uint64
	freeBlocks, freeInodes, usedDirs         uint32
	flags                                    uint16
	blockBitmapChecksum, inodeBitmapChecksum uint32
	unusedInodes                             uint32 // at the end of the table, never used yet
	checksum                                 uint16
}

// encode writes the descriptor of a group into p, which is of the descriptor's
// size (Documentation/filesystems/ext4, "Block Group Descriptors").
func (d *groupDescriptor) encode(p []byte, group uint64, features featureSet, seed uint32, uuid [16]byte) {
	le := binary.LittleEndian
	le.PutUint32(p[0x00:], uint32(d.blockBitmap))
	le.PutUint32(p[0x04:], uint32(d.inodeBitmap))
	le.PutUint32(p[0x08:], uint32(d.inodeTable))
	le.PutUint16(p[0x0c:], uint16(d.freeBlocks))
	le.PutUint16(p[0x0e:], uint16(d.freeInodes))
	le.PutUint16(p[0x10:], uint16(d.usedDirs))
	le.PutUint16(p[0x12:], d.flags)
	le.PutUint16(p[0x18:], uint16(d.blockBitmapChecksum))
	le.PutUint16(p[0x1a:], uint16(d.inodeBitmapChecksum))
	le.PutUint16(p[0x1c:], uint16(d.unusedInodes))
	if len(p) >= 64 {
		le.PutUint32(p[0x20:], uint32(d.blockBitmap>>32))
		le.PutUint32(p[0x24:], uint32(d.inodeBitmap>>32))
		le.PutUint32(p[0x28:], uint32(d.inodeTable>>32))
		le.PutUint16(p[0x2c:], uint16(d.freeBlocks>>16))
		le.PutUint16(p[0x2e:], uint16(d.freeInodes>>16))
		le.PutUint16(p[0x30:], uint16(d.usedDirs>>16))
		le.PutUint16(p[0x32:], uint16(d.unusedInodes>>16))
		le.PutUint16(p[0x38:], uint16(d.blockBitmapChecksum>>16))
		le.PutUint16(p[0x3a:], uint16(d.inodeBitmapChecksum>>16))
	}
	le.PutUint16(p[0x1e:], groupChecksum(p, group, features, seed, uuid))
}

// groupChecksum computes the checksum of the descriptor p, ignoring the one in it.
func groupChecksum(p []byte, group uint64, features featureSet, seed uint32, uuid [16]byte) uint16 {
	var number [4]byte
	binary.LittleEndian.PutUint32(number[:], uint32(group))
	switch {
	case features.metadataChecksums():
		crc := crc32c(seed, number[:])
		crc = crc32c(crc, p[:0x1e])
		crc = crc32c(crc, []byte{0, 0})
		return uint16(crc32c(crc, p[0x20:]))
	case features.has(roCompat, roGroupCsum):
		crc := crc16(0xffff, uuid[:])
		crc = crc16(crc, number[:])
		crc = crc16(crc, p[:0x1e])
		return crc16(crc, p[0x20:])
	default:
		return 0
	}
}

// decodeGroupDescriptor reads a descriptor of 32 or at least 64 bytes.
func decodeGroupDescriptor(p []byte) groupDescriptor {
	le := binary.LittleEndian
	d := groupDescriptor{
		blockBitmap:         uint64(le.Uint32(p[0x00:])),
		inodeBitmap:         uint64(le.Uint32(p[0x04:])),
		inodeTable:          uint64(le.Uint32(p[0x08:])),
		freeBlocks:          uint32(le.Uint16(p[0x0c:])),
		freeInodes:          uint32(le.Uint16(p[0x0e:])),
		usedDirs:            uint32(le.Uint16(p[0x10:])),
		flags:               le.Uint16(p[0x12:]),
		blockBitmapChecksum: uint32(le.Uint16(p[0x18:])),
		inodeBitmapChecksum: uint32(le.Uint16(p[0x1a:])),
		unusedInodes:        uint32(le.Uint16(p[0x1c:])),
		checksum:            le.Uint16(p[0x1e:]),
	}
	if len(p) >= 64 {
		d.blockBitmap |= uint64(le.Uint32(p[0x20:])) << 32
		d.inodeBitmap |= uint64(le.Uint32(p[0x24:])) << 32
		d.inodeTable |= uint64(le.Uint32(p[0x28:])) << 32
		d.freeBlocks |= uint32(le.Uint16(p[0x2c:])) << 16
		d.freeInodes |= uint32(le.Uint16(p[0x2e:])) << 16
		d.usedDirs |= uint32(le.Uint16(p[0x30:])) << 16
		d.unusedInodes |= uint32(le.Uint16(p[0x32:])) << 16
		d.blockBitmapChecksum |= uint32(le.Uint16(p[0x38:])) << 16
		d.inodeBitmapChecksum |= uint32(le.Uint16(p[0x3a:])) << 16
	}
	return d
}

// setBits sets the bits from (inclusive) to to (exclusive) of a bitmap whose bit 0
// is the lowest of its first byte.
func setBits(bitmap []byte, from, to uint64) {
	for from < to && from%8 != 0 {
		bitmap[from/8] |= 1 << (from % 8)
		from++
	}
	for ; from+8 <= to; from += 8 {
		bitmap[from/8] = 0xff
	}
	for ; from < to; from++ {
		bitmap[from/8] |= 1 << (from % 8)
	}
}

// groupWriter makes the descriptors and bitmaps of all groups in ascending order.
type groupWriter struct {
	plan     *plan
	metadata []span   // not yet behind the current group
	dirs     []uint32 // directories per group
	table    []byte   // all descriptors
}

// writeGroups gives the bitmaps that must exist to write and returns the encoded
// descriptors.
func (p *plan) writeGroups(write func(block uint64, data []byte) error) ([]byte, error) {
	g := p.geometry
	w := &groupWriter{plan: p, metadata: g.metadata, dirs: make([]uint32, g.groups)}
	for _, in := range p.contents.inodes {
		if in.isDirectory() {
			w.dirs[uint64(in.number-1)/g.inodesPerGroup]++
		}
	}
	w.table = make([]byte, g.descBlocks*uint64(g.config.BlockSize))
	for group := range g.groups {
		if err := w.writeGroup(group, write); err != nil {
			return nil, err
		}
	}
	return w.table, nil
}

func (w *groupWriter) writeGroup(group uint64, write func(block uint64, data []byte) error) error {
	p, g, c := w.plan, w.plan.geometry, w.plan.config
	at := g.places[group]
	d := groupDescriptor{
		blockBitmap: at.blockBitmap,
		inodeBitmap: at.inodeBitmap,
		inodeTable:  at.inodeTable,
		usedDirs:    w.dirs[group],
	}
	lazy := g.features.groupChecksums()

	bitmap := make([]byte, c.BlockSize)
	used := w.markBlocks(bitmap, group)
	start, end := g.groupStart(group), g.groupEnd(group)
	d.freeBlocks = uint32(end - start - used)
	p.freeBlocks += uint64(d.freeBlocks)
	if lazy && group != g.groups-1 && used == w.impliedBlocks(group) {
		d.flags |= groupBlockUninit
	} else {
		setBits(bitmap, end-start, 8*uint64(c.BlockSize))
		if g.features.metadataChecksums() {
			d.blockBitmapChecksum = crc32c(c.checksumSeed, bitmap[:c.blocksPerGroup/8])
		}
		if err := write(at.blockBitmap, bitmap); err != nil {
			return err
		}
	}

	usedInodes := min(g.inodesPerGroup, uint64(p.contents.lastInode)-min(uint64(p.contents.lastInode), group*g.inodesPerGroup))
	d.freeInodes = uint32(g.inodesPerGroup - usedInodes)
	if lazy {
		d.flags |= groupTableZeroed
		d.unusedInodes = d.freeInodes
	}
	if lazy && usedInodes == 0 {
		d.flags |= groupInodeUninit
	} else {
		clear(bitmap)
		setBits(bitmap, 0, usedInodes)
		setBits(bitmap, g.inodesPerGroup, 8*uint64(c.BlockSize))
		if g.features.metadataChecksums() {
			d.inodeBitmapChecksum = crc32c(c.checksumSeed, bitmap[:g.inodesPerGroup/8])
		}
		if err := write(at.inodeBitmap, bitmap); err != nil {
			return err
		}
	}
	d.encode(w.table[group*g.descSize:(group+1)*g.descSize], group, g.features, c.checksumSeed, c.UUID)
	return nil
}

// markBlocks sets the bits of the group's blocks in use and returns their number.
func (w *groupWriter) markBlocks(bitmap []byte, group uint64) (used uint64) {
	start, end := w.plan.geometry.groupStart(group), w.plan.geometry.groupEnd(group)
	// Below dataEnd everything is in use.
	full := min(max(w.plan.dataEnd, start), end)
	setBits(bitmap, 0, full-start)
	used = full - start
	for len(w.metadata) > 0 && w.metadata[0].end() <= start {
		w.metadata = w.metadata[1:]
	}
	for _, m := range w.metadata {
		if m.start >= end {
			break
		}
		from, to := max(m.start, full), min(m.end(), end)
		if from < to {
			setBits(bitmap, from-start, to-start)
			used += to - from
		}
	}
	return used
}

// impliedBlocks is the number of blocks in use that readers know of without a
// block bitmap (the kernel's ext4_init_block_bitmap).
func (w *groupWriter) impliedBlocks(group uint64) uint64 {
	g := w.plan.geometry
	blocks := g.baseBlocks(group)
	if !g.features.has(incompat, incompatFlexBG) {
		blocks += 2 + g.inodeTableBlocks
	}
	return blocks
}
