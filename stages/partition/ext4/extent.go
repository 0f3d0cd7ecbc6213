package ext4

import "encoding/binary"

const (
	extentMagic      = 0xf30a
	extentHeaderSize = 12
	extentSize       = 12      // of a leaf entry and of an index entry
	extentsInInode   = 4       // entries in i_block
	maxExtentBlocks  = 1 << 15 // of an initialized extent
	maxExtentDepth   = 5
	maxFileBlocks    = 1<<32 - 1
)

// extent maps length blocks of a file, from logical on, to the blocks from
// physical on.
type extent struct {
	logical  uint32
	length   uint32
	physical uint64
}

// mapBlocks takes blocks for the runs of a file's blocks that are not holes.
func mapBlocks(a *allocator, runs []span) []extent {
	var extents []extent
	for _, run := range runs {
		for run.length > 0 {
			got := a.take(run.length)
			if got.length == 0 {
				break
			}
			run.start, run.length = run.start+got.length, run.length-got.length
			for logical := run.start - got.length; got.length > 0; {
				n := min(got.length, maxExtentBlocks)
				extents = append(extents, extent{uint32(logical), uint32(n), got.start})
				logical += n
				got.start, got.length = got.start+n, got.length-n
			}
		}
	}
	return extents
}

// extentNodeCount is the number of blocks that an extent tree needs besides the
// inode.
func extentNodeCount(extents, perBlock int) int {
	total := 0
	for n := extents; n > extentsInInode; {
		n = (n + perBlock - 1) / perBlock
		total += n
	}
	return total
}

// extentNode is one block of an extent tree.
type extentNode struct {
	block uint64
	data  []byte
}

// encodeExtents builds the extent tree (Documentation/filesystems/ext4, "Extent
// Tree"): leaves first, then each level of index nodes above, the root in root.
// It uses as many of blocks as extentNodeCount says.
func encodeExtents(root []byte, extents []extent, blocks []uint64, c *config, inodeSeed uint32) []extentNode {
	entries := make([]byte, 0, len(extents)*extentSize)
	for _, e := range extents {
		entries = binary.LittleEndian.AppendUint32(entries, e.logical)
		entries = binary.LittleEndian.AppendUint16(entries, uint16(e.length))
		entries = binary.LittleEndian.AppendUint16(entries, uint16(e.physical>>32))
		entries = binary.LittleEndian.AppendUint32(entries, uint32(e.physical))
	}
	var nodes []extentNode
	depth := 0
	for ; len(entries) > extentsInInode*extentSize; depth++ {
		var index []byte
		for rest := entries; len(rest) > 0; {
			n := min(len(rest), c.extentsPerBlock*extentSize)
			block := blocks[len(nodes)]
			data := make([]byte, c.BlockSize)
			putExtentNode(data, rest[:n], c.extentsPerBlock, depth)
			if c.features.metadataChecksums() {
				tail := extentTailOffset(c.extentsPerBlock)
				binary.LittleEndian.PutUint32(data[tail:], crc32c(inodeSeed, data[:tail]))
			}
			nodes = append(nodes, extentNode{block, data})
			index = append(index, rest[:4]...) // the first logical block below
			index = binary.LittleEndian.AppendUint32(index, uint32(block))
			index = binary.LittleEndian.AppendUint16(index, uint16(block>>32))
			index = append(index, 0, 0)
			rest = rest[n:]
		}
		entries = index
	}
	putExtentNode(root, entries, extentsInInode, depth)
	return nodes
}

// extentTailOffset is where the checksum of a node with room for limit entries
// lies.
func extentTailOffset(limit int) int { return extentHeaderSize + limit*extentSize }

func putExtentNode(p, entries []byte, limit, depth int) {
	binary.LittleEndian.PutUint16(p[0:], extentMagic)
	binary.LittleEndian.PutUint16(p[2:], uint16(len(entries)/extentSize))
	binary.LittleEndian.PutUint16(p[4:], uint16(limit))
	binary.LittleEndian.PutUint16(p[6:], uint16(depth))
	copy(p[extentHeaderSize:], entries)
}
