package ext4

import (
	"encoding/binary"

	"github.com/imagefactory/imagefactory/stages/tree"
)

const (
	directoryEntrySize = 8 // without the name
	directoryTailSize  = 12
	directoryTailType  = 0xde
)

// fileTypeOf gives each type its value in a directory entry.
var fileTypeOf = [...]uint8{
	tree.Regular:     1,
	tree.Directory:   2,
	tree.CharDevice:  3,
	tree.BlockDevice: 4,
	tree.FIFO:        5,
	tree.Socket:      6,
	tree.Symlink:     7,
}

// directoryEntry is one name in a directory.
type directoryEntry struct {
	name   string
	number uint32
	kind   tree.Type
}

// directoryEntryLen is the space a name needs.
func directoryEntryLen(name string) int { return (directoryEntrySize + len(name) + 3) &^ 3 }

// directoryBuilder fills the blocks of a directory one after the other.
type directoryBuilder struct {
	c      *config
	seed   uint32 // of the inode's checksums
	blocks []byte
	fill   int // end of the last entry in the current block
	last   int // start of the last entry, from the start of blocks
}

// room is the number of bytes in a block that entries may use.
func (b *directoryBuilder) room() int { return b.c.BlockSize - b.c.directoryTail }

// newBlock closes the current block and starts one.
func (b *directoryBuilder) newBlock() {
	b.closeBlock()
	b.blocks = append(b.blocks, make([]byte, b.c.BlockSize)...)
	b.fill = 0
}

// add appends an entry to the current block. It reports false when the entry would
// end beyond limit.
func (b *directoryBuilder) add(e directoryEntry, limit int) bool {
	n := directoryEntryLen(e.name)
	if b.fill+n > limit {
		return false
	}
	b.last = len(b.blocks) - b.c.BlockSize + b.fill
	putDirectoryEntry(b.blocks[b.last:], e.number, n, e.name, fileTypeOf[e.kind])
	b.fill += n
	return true
}

// closeBlock extends the last entry of the current block to the block's end and
// adds the tail with the checksum.
func (b *directoryBuilder) closeBlock() {
	if len(b.blocks) == 0 {
		return
	}
	start := len(b.blocks) - b.c.BlockSize
	block := b.blocks[start:]
	if b.fill == 0 {
		binary.LittleEndian.PutUint16(block[4:], uint16(b.room())) // one unused entry
	} else {
		binary.LittleEndian.PutUint16(b.blocks[b.last+4:], uint16(start+b.room()-b.last))
	}
	if b.c.directoryTail > 0 {
		tail := block[b.room():]
		binary.LittleEndian.PutUint16(tail[4:], directoryTailSize)
		tail[7] = directoryTailType
		binary.LittleEndian.PutUint32(tail[8:], crc32c(b.seed, block[:b.room()]))
	}
}

func putDirectoryEntry(p []byte, number uint32, length int, name string, fileType uint8) {
	binary.LittleEndian.PutUint32(p[0:], number)
	binary.LittleEndian.PutUint16(p[4:], uint16(length))
	p[6] = uint8(len(name))
	p[7] = fileType
	copy(p[8:], name)
}

// encodeDirectory returns the blocks of a directory: a plain list when it fits
// into one block or there is no dir_index, else a hash tree. The list is padded
// with empty blocks to minBlocks.
func encodeDirectory(c *config, number, parent uint32, entries []directoryEntry, minBlocks int) (blocks []byte, indexed bool, err error) {
	b := &directoryBuilder{c: c, seed: inodeChecksumSeed(c.checksumSeed, number, 0)}
	b.newBlock()
	b.add(directoryEntry{".", number, tree.Directory}, b.room())
	b.add(directoryEntry{"..", parent, tree.Directory}, b.room())
	for _, e := range entries {
		if b.add(e, b.room()) {
			continue
		}
		if c.directoryIndexes {
			blocks, err = encodeIndexedDirectory(c, number, parent, entries)
			return blocks, true, err
		}
		b.newBlock()
		b.add(e, b.room())
	}
	for len(b.blocks) < minBlocks*c.BlockSize {
		b.newBlock()
	}
	b.closeBlock()
	return b.blocks, false, nil
}
