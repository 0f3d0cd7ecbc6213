package ext4

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/imagefactory/imagefactory/stages/tree"
)

const (
	indexEntrySize   = 8
	indexTailSize    = 8
	indexRootEntries = 32 // offset of the entries in the root block: "." and "..", then 8 bytes of information
	indexNodeEntries = 8  // in another node: behind one unused directory entry

	// leafFill is the percentage of a leaf that is filled, so that a few new names
	// do not split it at once: as e2fsck -D leaves it.
	leafFill = 80
)

// hashedEntry is a directory entry with its place in the hash order.
type hashedEntry struct {
	directoryEntry
	hash, minor uint32
}

// indexEntry says that the names with hashes from hash on are in or below a block
// of the directory. The lowest bit of hash is set when the block continues the
// same hash as the one before.
type indexEntry struct {
	hash  uint32
	block uint32
}

// indexLimit is the number of index entries a block has room for behind offset.
func (c *config) indexLimit(offset int) int {
	room := c.BlockSize - offset
	if c.features.metadataChecksums() {
		room -= indexTailSize
	}
	return room / indexEntrySize
}

// encodeIndexedDirectory builds a hash tree directory (Documentation/filesystems/ext4,
// "Hash Tree Directories"): the root in block 0, a level of index nodes behind it
// where one block does not suffice, then the leaves.
func encodeIndexedDirectory(c *config, number, parent uint32, entries []directoryEntry) ([]byte, error) {
	hashed := make([]hashedEntry, len(entries))
	for i, e := range entries {
		hashed[i].directoryEntry = e
		hashed[i].hash, hashed[i].minor = halfMD4(e.name, c.HashSeed)
	}
	slices.SortFunc(hashed, func(a, b hashedEntry) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.minor, b.minor), cmp.Compare(a.name, b.name))
	})

	rootLimit, nodeLimit := c.indexLimit(indexRootEntries), c.indexLimit(indexNodeEntries)
	seed := inodeChecksumSeed(c.checksumSeed, number, 0)
	leaves, starts := encodeLeaves(c, seed, hashed, leafFill)
	if len(starts) > rootLimit*nodeLimit {
		leaves, starts = encodeLeaves(c, seed, hashed, 100)
	}
	if len(starts) > rootLimit*nodeLimit {
		return nil, fmt.Errorf("the directory has %d entries in %d blocks, an ext4 hash tree without the feature \"large_dir\" has at most %d blocks of %d bytes", len(entries), len(starts), rootLimit*nodeLimit, c.BlockSize)
	}
	nodes := 0
	if len(starts) > rootLimit {
		nodes = (len(starts) + nodeLimit - 1) / nodeLimit
	}
	index := make([]indexEntry, len(starts))
	for i, hash := range starts {
		index[i] = indexEntry{hash, uint32(1 + nodes + i)}
	}
	blocks := make([]byte, (1+nodes)*c.BlockSize, (1+nodes)*c.BlockSize+len(leaves))
	if nodes > 0 {
		var top []indexEntry
		for i := range nodes {
			// An even share, so that every node has room for splits.
			part := index[i*len(index)/nodes : (i+1)*len(index)/nodes]
			node := blocks[(1+i)*c.BlockSize : (2+i)*c.BlockSize]
			putDirectoryEntry(node, 0, c.BlockSize, "", 0)
			c.putIndex(node, indexNodeEntries, part, seed)
			top = append(top, indexEntry{part[0].hash, uint32(1 + i)})
		}
		index = top
	}
	root := blocks[:c.BlockSize]
	putDirectoryEntry(root, number, 12, ".", fileTypeOf[tree.Directory])
	putDirectoryEntry(root[12:], parent, c.BlockSize-12, "..", fileTypeOf[tree.Directory])
	root[28] = hashHalfMD4
	root[29] = 8 // length of this information
	root[30] = uint8(min(nodes, 1))
	c.putIndex(root, indexRootEntries, index, seed)
	return append(blocks, leaves...), nil
}

// encodeLeaves packs sorted entries into blocks, each filled to fill percent, and
// returns the blocks and the hash each starts with.
func encodeLeaves(c *config, seed uint32, entries []hashedEntry, fill int) (blocks []byte, starts []uint32) {
	b := &directoryBuilder{c: c, seed: seed}
	limit := b.room() * fill / 100
	for i, e := range entries {
		if i > 0 && b.add(e.directoryEntry, limit) {
			continue
		}
		start := e.hash
		if i > 0 && entries[i-1].hash == e.hash {
			start |= 1
		}
		starts = append(starts, start)
		b.newBlock()
		b.add(e.directoryEntry, b.room())
	}
	b.closeBlock()
	return b.blocks, starts
}

// putIndex writes the entries of an index block and its checksum. The hash of the
// first entry is implied; its place holds limit and count.
func (c *config) putIndex(block []byte, offset int, entries []indexEntry, seed uint32) {
	limit := c.indexLimit(offset)
	p := block[offset:]
	for i, e := range entries {
		binary.LittleEndian.PutUint32(p[i*indexEntrySize:], e.hash)
		binary.LittleEndian.PutUint32(p[i*indexEntrySize+4:], e.block)
	}
	binary.LittleEndian.PutUint16(p[0:], uint16(limit))
	binary.LittleEndian.PutUint16(p[2:], uint16(len(entries)))
	if c.features.metadataChecksums() {
		sum := indexChecksum(block, offset, len(entries), limit, seed)
		binary.LittleEndian.PutUint32(p[limit*indexEntrySize+4:], sum)
	}
}

// indexChecksum covers an index block up to its last entry and its tail.
func indexChecksum(block []byte, offset, count, limit int, seed uint32) uint32 {
	crc := crc32c(seed, block[:offset+count*indexEntrySize])
	tail := offset + limit*indexEntrySize
	crc = crc32c(crc, block[tail:tail+4])
	return crc32cUint32(crc, 0)
}

// halfMD4 computes the hash of a name and the minor hash that orders equal ones:
// three rounds of half an MD4 over each 32 bytes (the kernel's ext4fs_dirhash, with
// signed bytes).
func halfMD4(name string, seed [16]byte) (hash, minor uint32) {
	state := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	if seed != [16]byte{} {
		for i := range state {
			state[i] = binary.LittleEndian.Uint32(seed[4*i:])
		}
	}
	for {
		var in [8]uint32
		hashWords(&in, name)
		halfMD4Transform(&state, &in)
		if len(name) <= 32 {
			break
		}
		name = name[32:]
	}
	hash = state[1] &^ 1
	if hash == 0xfffffffe { // the kernel's mark of the end of a directory
		hash = 0xfffffffc
	}
	return hash, state[2]
}

// hashWords packs up to 32 bytes of a name into words; the rest is filled with the
// length of what is left of the name.
func hashWords(words *[8]uint32, name string) {
	pad := uint32(len(name)) | uint32(len(name))<<8
	pad |= pad << 16
	for i := range words {
		v := pad
		for _, b := range []byte(name[min(4*i, len(name)):min(4*i+4, len(name))]) {
			v = uint32(int32(int8(b))) + v<<8
		}
		words[i] = v
	}
}

func halfMD4Transform(state *[4]uint32, in *[8]uint32) {
	const (
		k2 = 0x5a827999
		k3 = 0x6ed9eba1
	)
	a, b, c, d := state[0], state[1], state[2], state[3]
	f := func(a, b, c, d, x uint32, s int) uint32 { return bits.RotateLeft32(a+(d^(b&(c^d)))+x, s) }
	g := func(a, b, c, d, x uint32, s int) uint32 { return bits.RotateLeft32(a+((b&c)+((b^c)&d))+x+k2, s) }
	h := func(a, b, c, d, x uint32, s int) uint32 { return bits.RotateLeft32(a+(b^c^d)+x+k3, s) }

	for i := 0; i < 8; i += 4 {
		a = f(a, b, c, d, in[i], 3)
		d = f(d, a, b, c, in[i+1], 7)
		c = f(c, d, a, b, in[i+2], 11)
		b = f(b, c, d, a, in[i+3], 19)
	}
	for _, i := range [2]int{1, 0} {
		a = g(a, b, c, d, in[i], 3)
		d = g(d, a, b, c, in[i+2], 5)
		c = g(c, d, a, b, in[i+4], 9)
		b = g(b, c, d, a, in[i+6], 13)
	}
	for _, i := range [2]int{3, 1} {
		a = h(a, b, c, d, in[i], 3)
		d = h(d, a, b, c, in[i+4], 9)
		c = h(c, d, a, b, in[i-1], 11)
		b = h(b, c, d, a, in[i+3], 15)
	}
	state[0] += a
	state[1] += b
	state[2] += c
	state[3] += d
}
