package ext4

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

const (
	logGroupsPerFlex = 4 // 16 groups share a place for bitmaps and inode tables, as mke2fs has it

	// minTailBlocks is how many blocks beyond its metadata the last group must
	// have to be worth having; mke2fs drops a shorter one too.
	minTailBlocks = 50

	// maxResizableBlocks is how far block numbers of resize_inode reach.
	maxResizableBlocks = math.MaxUint32
)

// span is a run of blocks.
type span struct {
	start, length uint64
}

func (s span) end() uint64 { return s.start + s.length }

// place is where the bitmaps and the inode table of a group lie, by block.
type place struct {
	blockBitmap, inodeBitmap, inodeTable uint64
}

// geometry is what follows from the options, the size and the number of inodes
// needed alone: block groups and their metadata.
type geometry struct {
	config             *config
	features           featureSet
	blocks             uint64
	unused             uint64 // blocks at the end that make too short a group
	tailNeed           uint64 // blocks with which they would make one
	groups             uint64
	descSize           uint64
	descBlocks         uint64 // of one copy of the group descriptors
	reservedDescBlocks uint64 // behind each copy, for resize_inode
	inodesPerGroup     uint64
	inodeTableBlocks   uint64 // per group
	places             []place
	metadata           []span // all of the above, sorted and disjoint
}

func (g *geometry) inodes() uint64 { return g.groups * g.inodesPerGroup }

func (g *geometry) groupStart(group uint64) uint64 {
	return g.config.firstDataBlock + group*g.config.blocksPerGroup
}

func (g *geometry) groupEnd(group uint64) uint64 {
	return min(g.groupStart(group+1), g.blocks)
}

func (g *geometry) hasSuperblock(group uint64) bool { return hasSuperblock(group, g.features) }

// hasSuperblock reports whether a group starts with a copy of the superblock and of
// the group descriptors.
func hasSuperblock(group uint64, features featureSet) bool {
	if group <= 1 || !features.has(roCompat, roSparseSuper) {
		return true
	}
	for _, base := range [...]uint64{3, 5, 7} {
		power := base
		for power < group {
			power *= base
		}
		if power == group {
			return true
		}
	}
	return false
}

// baseBlocks is the number of blocks at a group's start that superblock, group
// descriptors and their reserve take.
func (g *geometry) baseBlocks(group uint64) uint64 {
	if !g.hasSuperblock(group) {
		return 0
	}
	return 1 + g.descBlocks + g.reservedDescBlocks
}

// newGeometry divides size bytes into groups. It fails with a *NoSpaceError when
// the groups' own metadata do not fit.
func newGeometry(c *config, size int64, neededInodes uint64) (*geometry, error) {
	g := &geometry{config: c, features: c.features, blocks: uint64(size) / uint64(c.BlockSize)}
	if g.blocks > math.MaxUint32 {
		if !g.features.has(incompat, incompat64Bit) {
			return nil, fmt.Errorf("ext4: a file system of %s with blocks of %d bytes needs the feature \"64bit\"", formatBytes(size), c.BlockSize)
		}
		if g.features.has(compat, compatResizeInode) {
			if !c.featuresDefault {
				return nil, fmt.Errorf("ext4: a file system of %s cannot have the feature \"resize_inode\"; leave it out", formatBytes(size))
			}
			g.features.compat &^= compatResizeInode
		}
	}
	g.descSize = 32
	if g.features.has(incompat, incompat64Bit) {
		g.descSize = 64
	}
	for {
		if g.blocks <= c.firstDataBlock {
			return nil, g.noSpace(size, minTailBlocks, 0)
		}
		g.groups = (g.blocks - c.firstDataBlock + c.blocksPerGroup - 1) / c.blocksPerGroup
		g.descBlocks = (g.groups*g.descSize + uint64(c.BlockSize) - 1) / uint64(c.BlockSize)
		g.reservedDescBlocks = g.growthReserve()
		if err := g.divideInodes(neededInodes); err != nil {
			return nil, err
		}
		last := g.groups - 1
		tail := g.blocks - g.groupStart(last)
		overhead := g.baseBlocks(last) + 2 + g.inodeTableBlocks + minTailBlocks
		if c.blocksPerGroup < g.baseBlocks(0)+2+g.inodeTableBlocks+minTailBlocks {
			return nil, fmt.Errorf("ext4: in a file system of %s the descriptors of groups and inodes do not fit into a block group of %d blocks; use larger blocks or fewer inodes", formatBytes(size), c.blocksPerGroup)
		}
		if tail >= overhead {
			break
		}
		if last == 0 {
			return nil, g.noSpace(size, overhead-tail, 0)
		}
		g.blocks -= tail
		g.unused, g.tailNeed = g.unused+tail, overhead
	}
	return g, g.placeMetadata(size)
}

// noSpace makes the error for what is missing at a size. It knows the next size at
// which less may be missing.
func (g *geometry) noSpace(size int64, blocks, inodes uint64) error {
	e := &NoSpaceError{Have: size, BlockSize: g.config.BlockSize, MissingBlocks: int64(blocks), MissingInodes: int64(inodes)}
	switch {
	case g.unused > 0 && (blocks > 0 || g.config.Inodes == 0):
		e.grow = max(1, int64(g.tailNeed)-int64(g.unused))
	case blocks > 0:
		e.grow = int64(blocks)
	case g.config.InodeRatio > 0:
		// Rounding up gives each group some inodes more than the ratio.
		rounding := g.groups * max(g.config.inodesPerBlock, 8)
		next := uint64(size/g.config.InodeRatio) + max(inodes, rounding+1) - rounding
		e.grow = (int64(next)*g.config.InodeRatio - size + int64(g.config.BlockSize) - 1) / int64(g.config.BlockSize)
	case g.config.Inodes == 0:
		e.grow = int64(g.config.blocksPerGroup)
	}
	return e
}

// growthReserve computes the number of group descriptor blocks to reserve, as
// mke2fs does: for growth by 1024, but no more than resize_inode can address.
func (g *geometry) growthReserve() uint64 {
	if !g.features.has(compat, compatResizeInode) {
		return 0
	}
	maxBlocks := uint64(maxResizableBlocks)
	if g.config.MaxGrowth > 0 {
		maxBlocks = min(maxBlocks, uint64(g.config.MaxGrowth)/uint64(g.config.BlockSize))
	} else if g.blocks < maxBlocks/1024 {
		maxBlocks = g.blocks * 1024
	}
	if maxBlocks <= g.blocks {
		return 0
	}
	groups := (maxBlocks - g.config.firstDataBlock + g.config.blocksPerGroup - 1) / g.config.blocksPerGroup
	perBlock := uint64(g.config.BlockSize) / g.descSize
	addressable := uint64(g.config.BlockSize) / 4
	return min((groups+perBlock-1)/perBlock-g.descBlocks, addressable)
}

// divideInodes sets the number of inodes per group.
func (g *geometry) divideInodes(needed uint64) error {
	c := g.config
	wanted := uint64(c.Inodes)
	if wanted == 0 {
		ratio := uint64(c.InodeRatio)
		size := (g.blocks + g.unused) * uint64(c.BlockSize)
		if ratio == 0 {
			switch {
			case size >= 16<<40:
				ratio = 64 << 10
			case size >= 4<<40:
				ratio = 32 << 10
			default:
				ratio = 16 << 10
			}
		}
		wanted = size / ratio
		if c.InodeRatio == 0 {
			wanted = max(wanted, needed+needed/8)
		}
		wanted = min(wanted, math.MaxUint32-2*c.blocksPerGroup)
	}
	// Whole blocks of the table and whole bytes of the bitmap.
	multiple := max(c.inodesPerBlock, 8)
	perGroup := max((wanted+g.groups-1)/g.groups, firstInode+5)
	perGroup = (perGroup + multiple - 1) / multiple * multiple
	if limit := 8 * uint64(c.BlockSize); perGroup > limit {
		if c.Inodes > 0 {
			return fmt.Errorf("ext4: %d inodes do not fit into %d block groups of %d", c.Inodes, g.groups, limit)
		}
		perGroup = limit
	}
	if perGroup*g.groups > math.MaxUint32 {
		return fmt.Errorf("ext4: %d inodes are more than a file system can have", perGroup*g.groups)
	}
	g.inodesPerGroup = perGroup
	g.inodeTableBlocks = perGroup / c.inodesPerBlock
	return nil
}

// placeMetadata finds the place of every bitmap and inode table: at the start of
// its group or, under flex_bg, one kind after the other from the start of the
// first of 16 groups on.
func (g *geometry) placeMetadata(size int64) error {
	together := uint64(1)
	if g.features.has(incompat, incompatFlexBG) {
		together = 1 << logGroupsPerFlex
	}
	g.places = make([]place, g.groups)
	for group := range g.groups {
		if base := g.baseBlocks(group); base > 0 {
			g.metadata = append(g.metadata, span{g.groupStart(group), base})
		}
	}
	for first := uint64(0); first < g.groups; first += together {
		places := g.places[first:min(first+together, g.groups)]
		cursor := g.groupStart(first)
		for i := range places {
			places[i].blockBitmap = g.placeRun(&cursor, 1)
		}
		for i := range places {
			places[i].inodeBitmap = g.placeRun(&cursor, 1)
		}
		for i := range places {
			places[i].inodeTable = g.placeRun(&cursor, g.inodeTableBlocks)
		}
		if cursor > g.blocks {
			return g.noSpace(size, cursor-g.blocks, 0)
		}
	}
	slices.SortFunc(g.metadata, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	joined := g.metadata[:1]
	for _, s := range g.metadata[1:] {
		if last := &joined[len(joined)-1]; last.end() == s.start {
			last.length += s.length
			continue
		}
		joined = append(joined, s)
	}
	g.metadata = joined
	return nil
}

// placeRun takes the first n contiguous blocks from cursor on that hold no copy of
// the superblock and its followers, and moves cursor behind them.
func (g *geometry) placeRun(cursor *uint64, n uint64) uint64 {
	for {
		group := (*cursor - g.config.firstDataBlock) / g.config.blocksPerGroup
		if free := g.groupStart(group) + g.baseBlocks(group); *cursor < free {
			*cursor = free
		}
		next := group + 1
		if *cursor+n > g.groupStart(next) && next < g.groups && g.hasSuperblock(next) {
			*cursor = g.groupStart(next)
			continue
		}
		start := *cursor
		*cursor += n
		g.metadata = append(g.metadata, span{start, n})
		return start
	}
}

// allocator gives out the blocks that metadata leave free, in ascending order and
// without gaps: all blocks below next are in use.
type allocator struct {
	obstacles []span // those not yet passed
	next      uint64
	end       uint64
	missing   uint64 // how many blocks were asked for beyond end
}

func newAllocator(g *geometry) *allocator {
	a := &allocator{obstacles: g.metadata, next: g.config.firstDataBlock, end: g.blocks}
	a.skip()
	return a
}

// skip moves next behind the metadata that it stands on.
func (a *allocator) skip() {
	for len(a.obstacles) > 0 && a.obstacles[0].start <= a.next {
		a.next = max(a.next, a.obstacles[0].end())
		a.obstacles = a.obstacles[1:]
	}
}

// take returns the next run of at most n free blocks. Beyond the end of the file
// system it counts what is missing and returns an empty run.
func (a *allocator) take(n uint64) span {
	limit := a.end
	if len(a.obstacles) > 0 {
		limit = a.obstacles[0].start
	}
	s := span{a.next, min(n, limit-a.next)}
	if s.length == 0 {
		a.missing += n
		return s
	}
	a.next = s.end()
	a.skip()
	return s
}

// takeEach returns n single blocks.
func (a *allocator) takeEach(n int) []uint64 {
	blocks := make([]uint64, 0, n)
	for len(blocks) < n {
		s := a.take(uint64(n - len(blocks)))
		if s.length == 0 {
			break
		}
		for b := s.start; b < s.end(); b++ {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// takeOne returns one block, or 0 when there is none.
func (a *allocator) takeOne() uint64 { return a.take(1).start }
