package ext4

import "encoding/binary"

// doubleIndirect is the number of the word in i_block that the double-indirect block
// is named in.
const doubleIndirect = 13

// newResizeInode returns the inode that owns the blocks reserved for group
// descriptors. Its one double-indirect block points to the reserved blocks of group
// 0, each of which, as an indirect block, points to its copies in the groups with a
// backup (ext2fs_create_resize_inode).
func newResizeInode(g *geometry, a *allocator) *inode {
	perBlock := int64(g.config.BlockSize / 4)
	in := &inode{
		number: resizeInode,
		path:   "<resize inode>",
		mode:   modeRegular | 0o600,
		links:  1,
		size:   (perBlock*perBlock + perBlock + 12) * int64(g.config.BlockSize),
		mtime:  g.config.Time,
		atime:  g.config.Time,
	}
	block := a.takeOne()
	binary.LittleEndian.PutUint32(in.block[4*doubleIndirect:], uint32(block))
	copies := uint64(0)
	for group := range g.groups {
		if g.hasSuperblock(group) {
			copies++
		}
	}
	in.metaBlocks = 1 + g.reservedDescBlocks*copies
	return in
}

// writeResizeBlocks writes the double-indirect block and the reserved blocks of
// group 0.
func (p *plan) writeResizeBlocks(write func(block uint64, data []byte) error) error {
	g := p.geometry
	perBlock := uint64(g.config.BlockSize / 4)
	double := make([]byte, g.config.BlockSize)
	for i := range g.reservedDescBlocks {
		reserved := g.config.firstDataBlock + 1 + g.descBlocks + i
		binary.LittleEndian.PutUint32(double[4*((g.descBlocks+i)%perBlock):], uint32(reserved))
		var copies []byte
		for group := uint64(1); group < g.groups; group++ {
			if g.hasSuperblock(group) {
				copies = binary.LittleEndian.AppendUint32(copies, uint32(reserved+group*g.config.blocksPerGroup))
			}
		}
		if len(copies) == 0 {
			continue
		}
		block := make([]byte, g.config.BlockSize)
		copy(block, copies)
		if err := write(reserved, block); err != nil {
			return err
		}
	}
	return write(uint64(binary.LittleEndian.Uint32(p.resize.block[4*doubleIndirect:])), double)
}
