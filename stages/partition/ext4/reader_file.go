package ext4

import (
	"encoding/binary"
	"fmt"
	"io"
	"sort"
)

// File is an open regular file.
type File struct {
	fs      *FS
	where   string
	size    int64
	extents []extent
}

// Size is the file's size in bytes.
func (f *File) Size() int64 { return f.size }

// NewReader returns a reader over the whole file.
func (f *File) NewReader() *io.SectionReader { return io.NewSectionReader(f, 0, f.size) }

// ReadAt implements io.ReaderAt. Holes read as zeros.
func (f *File) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("read %s at the negative offset %d", f.where, offset)
	}
	if offset >= f.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > f.size-offset
	if short {
		p = p[:f.size-offset]
	}
	total := len(p)
	blockSize := int64(f.fs.blockSize)
	i := sort.Search(len(f.extents), func(i int) bool {
		e := f.extents[i]
		return int64(e.logical+e.length)*blockSize > offset
	})
	for len(p) > 0 {
		hole := int64(len(p))
		if i < len(f.extents) {
			hole = min(hole, max(0, int64(f.extents[i].logical)*blockSize-offset))
		}
		clear(p[:hole])
		p, offset = p[hole:], offset+hole
		if len(p) == 0 {
			break
		}
		e := f.extents[i]
		within := offset - int64(e.logical)*blockSize
		n := min(int64(len(p)), int64(e.length)*blockSize-within)
		if err := readFull(f.fs.r, p[:n], int64(e.physical)*blockSize+within); err != nil {
			return total - len(p), fmt.Errorf("read %s: %w", f.where, err)
		}
		p, offset = p[n:], offset+n
		i++
	}
	if short {
		return total, io.EOF
	}
	return total, nil
}

// openInode maps an inode's blocks.
func (f *FS) openInode(in *diskInode) (*File, error) {
	m := blockMapper{fs: f, in: in, seed: in.seed(f), seen: map[uint64]bool{}}
	var err error
	switch {
	case in.flags&flagExtents != 0:
		depth := int(binary.LittleEndian.Uint16(in.block[6:]))
		if depth > maxExtentDepth {
			return nil, corrupt(in.where(), "its extent tree has %d levels", depth)
		}
		err = m.extentNode(in.block, extentsInInode, depth)
	default:
		err = m.indirect()
	}
	if err != nil {
		return nil, err
	}
	return &File{fs: f, where: in.where(), size: int64(in.size), extents: m.extents}, nil
}

// blockMapper collects the extents of an inode in ascending order.
type blockMapper struct {
	fs      *FS
	in      *diskInode
	seed    uint32
	extents []extent
	next    uint64          // first logical block not yet passed
	mapped  uint64          // blocks mapped so far
	seen    map[uint64]bool // blocks of the tree
}

func (m *blockMapper) corrupt(format string, args ...any) error {
	return corrupt(m.in.where(), format, args...)
}

// add maps n blocks, joining them to the extent before where they continue it.
func (m *blockMapper) add(logical, n, physical uint64) error {
	if logical < m.next || logical+n > maxFileBlocks+1 {
		return m.corrupt("its extents overlap or are out of order at block %d", logical)
	}
	if err := m.fs.checkBlocks(physical, n, m.in.where()); err != nil {
		return err
	}
	if m.mapped += n; m.mapped > m.fs.blocks {
		return m.corrupt("it maps more blocks than there are")
	}
	m.next = logical + n
	if last := len(m.extents) - 1; last >= 0 {
		if e := &m.extents[last]; uint64(e.logical+e.length) == logical && e.physical+uint64(e.length) == physical {
			e.length += uint32(n)
			return nil
		}
	}
	m.extents = append(m.extents, extent{uint32(logical), uint32(n), physical})
	return nil
}

// node reads a block of the tree, each at most once.
func (m *blockMapper) node(block uint64) ([]byte, error) {
	if m.seen[block] {
		return nil, m.corrupt("its block tree holds block %d twice", block)
	}
	m.seen[block] = true
	return m.fs.readBlock(block, m.in.where())
}

// extentNode collects the extents in and below a node with room for capacity entries.
func (m *blockMapper) extentNode(p []byte, capacity, depth int) error {
	le := binary.LittleEndian
	entries, limit := int(le.Uint16(p[2:])), int(le.Uint16(p[4:]))
	switch {
	case le.Uint16(p[0:]) != extentMagic:
		return m.corrupt("a node of its extent tree has the magic number %#x", le.Uint16(p[0:]))
	case int(le.Uint16(p[6:])) != depth:
		return m.corrupt("a node of its extent tree has the depth %d instead of %d", le.Uint16(p[6:]), depth)
	case entries > limit || limit > capacity:
		return m.corrupt("a node of its extent tree has %d entries and room for %d", entries, limit)
	}
	for i := range entries {
		e := p[extentHeaderSize+i*extentSize:][:extentSize]
		logical := uint64(le.Uint32(e))
		if depth == 0 {
			n := uint64(le.Uint16(e[4:]))
			physical := uint64(le.Uint16(e[6:]))<<32 | uint64(le.Uint32(e[8:]))
			switch {
			case n == 0:
				return m.corrupt("an extent of it has no blocks")
			case n > maxExtentBlocks: // allocated but not written: reads as zeros
				if logical < m.next {
					return m.corrupt("its extents overlap or are out of order at block %d", logical)
				}
				m.next = logical + n - maxExtentBlocks
			default:
				if err := m.add(logical, n, physical); err != nil {
					return err
				}
			}
			continue
		}
		child, err := m.node(uint64(le.Uint16(e[8:]))<<32 | uint64(le.Uint32(e[4:])))
		if err != nil {
			return err
		}
		childLimit := int(le.Uint16(child[4:]))
		capacity := (len(child) - extentHeaderSize) / extentSize
		if m.fs.features.metadataChecksums() && childLimit <= capacity {
			tail := extentTailOffset(childLimit)
			if tail+4 > len(child) {
				return m.corrupt("a node of its extent tree has no room for a checksum")
			}
			if have, want := le.Uint32(child[tail:]), crc32c(m.seed, child[:tail]); have != want {
				return m.corrupt("a node of its extent tree has the checksum %#x instead of %#x", have, want)
			}
		}
		if err := m.extentNode(child, capacity, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// indirect collects the blocks of an inode without extents: 12 direct ones, then an
// indirect, a double-indirect and a triple-indirect block.
func (m *blockMapper) indirect() error {
	const direct = 12
	logical := uint64(0)
	for i := range 15 {
		block := uint64(binary.LittleEndian.Uint32(m.in.block[4*i:]))
		if err := m.indirectBlock(block, max(0, i-direct+1), &logical); err != nil {
			return err
		}
	}
	return nil
}

// indirectBlock collects what a pointer with levels of indirection covers, and moves
// logical behind it.
func (m *blockMapper) indirectBlock(block uint64, levels int, logical *uint64) error {
	perBlock := m.fs.blockSize / 4
	covered := uint64(1)
	for range levels {
		covered *= perBlock
	}
	if block == 0 || *logical > maxFileBlocks {
		*logical += covered
		return nil
	}
	if levels == 0 {
		*logical++
		return m.add(*logical-1, 1, block)
	}
	p, err := m.node(block)
	if err != nil {
		return err
	}
	for ; len(p) > 0; p = p[4:] {
		if err := m.indirectBlock(uint64(binary.LittleEndian.Uint32(p)), levels-1, logical); err != nil {
			return err
		}
	}
	return nil
}
