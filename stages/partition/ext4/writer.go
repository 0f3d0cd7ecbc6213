package ext4

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Write makes an ext4 file system that holds the tree t, whose contents are in st.
// The image refers to file contents where they are in the store; only the file
// system's own structures become new objects. It is the same for the same tree and
// options.
//
// A tree that does not fit is a *NoSpaceError; other errors name the path or the
// option that ext4 cannot hold.
func Write(ctx context.Context, st *store.Store, t *tree.Tree, o Options) (disk.Image, error) {
	c, err := newConfig(o)
	if err != nil {
		return disk.Image{}, err
	}
	if err := checkContents(st, t); err != nil {
		return disk.Image{}, err
	}
	holes, err := findHoles(ctx, st, t, c)
	if err != nil {
		return disk.Image{}, err
	}
	contents, err := newContents(c, t, holes)
	if err != nil {
		return disk.Image{}, err
	}
	p, err := newPlan(c, contents, o.Size)
	if noSpace := (*NoSpaceError)(nil); errors.As(err, &noSpace) {
		if noSpace.Need, err = minSize(c, contents); err != nil && !errors.As(err, new(*NoSpaceError)) {
			return disk.Image{}, err
		}
		return disk.Image{}, noSpace
	}
	if err != nil {
		return disk.Image{}, err
	}
	return p.write(ctx, st)
}

// MinSize returns the least Size in bytes with which Write puts t into a file system
// with the other options of o. Files are counted without holes, so where there are
// some, Write may do with less. Where InodeRatio makes the number of inodes
// decide, rounding it in each group makes the result up to a block group too large.
func MinSize(t *tree.Tree, o Options) (int64, error) {
	c, err := newConfig(o)
	if err != nil {
		return 0, err
	}
	contents, err := newContents(c, t, nil)
	if err != nil {
		return 0, err
	}
	return minSize(c, contents)
}

// minSize approaches the least size from below: what is missing at one size is
// missing at the next too, and more never suffices with less.
func minSize(c *config, contents *contents) (int64, error) {
	const smallest = 8 // blocks
	for size := int64(smallest * c.BlockSize); ; {
		_, err := newPlan(c, contents, size)
		if err == nil {
			return size, nil
		}
		noSpace := (*NoSpaceError)(nil)
		if !errors.As(err, &noSpace) || noSpace.grow == 0 || noSpace.grow > (math.MaxInt64-size)/int64(c.BlockSize) {
			return 0, err
		}
		size += noSpace.grow * int64(c.BlockSize)
	}
}

// checkContents makes sure that the store has what the image will refer to.
func checkContents(st *store.Store, t *tree.Tree) error {
	entries := t.Entries()
	for i := range entries {
		if e := &entries[i]; e.Type == tree.Regular && !st.Has(e.Digest) {
			return fmt.Errorf("/%s: its contents %s: %w", e.Path, e.Digest, store.ErrNotFound)
		}
	}
	return nil
}

// plan is a file system in which every block has its place.
type plan struct {
	config     *config
	geometry   *geometry
	contents   *contents
	resize     *inode // nil without resize_inode
	journal    *inode // nil without has_journal
	dataEnd    uint64 // all blocks below are in use; above, only metadata are
	freeBlocks uint64 // known once the groups are written
}

// newPlan finds a place for everything: directories first, then external attributes,
// long symlinks, the journal and the files, each in tree order, and each extent tree
// behind what it maps. It fails with a *NoSpaceError when size bytes do not suffice.
func newPlan(c *config, contents *contents, size int64) (*plan, error) {
	g, err := newGeometry(c, size, uint64(contents.lastInode))
	if err != nil {
		return nil, err
	}
	p := &plan{config: c, geometry: g, contents: contents}
	a := newAllocator(g)
	if g.features.has(compat, compatResizeInode) {
		p.resize = newResizeInode(g, a)
	}
	p.place(a, contents.directories...)
	for _, x := range contents.xattrBlocks {
		x.block = a.takeOne()
	}
	p.place(a, contents.symlinks...)
	if g.features.has(compat, compatHasJournal) {
		p.journal = newJournal(c, g.blocks)
		p.place(a, p.journal)
	}
	p.place(a, contents.files...)
	p.dataEnd = a.next

	missingInodes := int64(contents.lastInode) - int64(g.inodes())
	if a.missing == 0 && missingInodes <= 0 {
		return p, nil
	}
	return nil, g.noSpace(size, a.missing, uint64(max(missingInodes, 0)))
}

// place takes blocks for the inodes' data and extent trees.
func (p *plan) place(a *allocator, inodes ...*inode) {
	for _, in := range inodes {
		in.extents = mapBlocks(a, in.runs)
		in.extentBlocks = a.takeEach(extentNodeCount(len(in.extents), p.config.extentsPerBlock))
	}
}

// write makes the image.
func (p *plan) write(ctx context.Context, st *store.Store) (disk.Image, error) {
	blockSize := int64(p.config.BlockSize)
	b := disk.NewBuilder(st, p.config.Size)
	write := func(block uint64, data []byte) error { return b.WriteAt(data, int64(block)*blockSize) }

	if p.resize != nil {
		if err := p.writeResizeBlocks(write); err != nil {
			return disk.Image{}, err
		}
	}
	for _, list := range [][]*inode{p.contents.directories, p.contents.symlinks, p.journals()} {
		for _, in := range list {
			if err := p.writeData(in, write); err != nil {
				return disk.Image{}, err
			}
		}
	}
	for _, x := range p.contents.xattrBlocks {
		x.finish(p.config)
		if err := write(x.block, x.data); err != nil {
			return disk.Image{}, err
		}
	}
	for _, in := range p.contents.files {
		if err := ctx.Err(); err != nil {
			return disk.Image{}, err
		}
		if err := p.writeExtents(in, write); err != nil {
			return disk.Image{}, err
		}
		for _, e := range in.extents {
			offset := int64(e.logical) * blockSize
			n := min(int64(e.length)*blockSize, in.size-offset)
			if err := b.AddObject(int64(e.physical)*blockSize, in.digest, offset, n); err != nil {
				return disk.Image{}, err
			}
		}
	}
	if err := p.writeInodes(write); err != nil {
		return disk.Image{}, err
	}
	if err := p.writeGroupsAndSuperblocks(st, b, write); err != nil {
		return disk.Image{}, err
	}
	return b.Image()
}

func (p *plan) journals() []*inode {
	if p.journal == nil {
		return nil
	}
	return []*inode{p.journal}
}

// writeExtents puts the extent tree's root into the inode and writes the rest.
func (p *plan) writeExtents(in *inode, write func(block uint64, data []byte) error) error {
	seed := inodeChecksumSeed(p.config.checksumSeed, in.number, 0)
	for _, node := range encodeExtents(in.block[:], in.extents, in.extentBlocks, p.config, seed) {
		if err := write(node.block, node.data); err != nil {
			return err
		}
	}
	return nil
}

// writeData writes an inode's extent tree and its data, which may be shorter than
// what is mapped: the rest is zeros.
func (p *plan) writeData(in *inode, write func(block uint64, data []byte) error) error {
	if err := p.writeExtents(in, write); err != nil {
		return err
	}
	blockSize := uint64(p.config.BlockSize)
	for _, e := range in.extents {
		from, to := uint64(e.logical)*blockSize, uint64(e.logical+e.length)*blockSize
		if to = min(to, uint64(len(in.data))); from < to {
			if err := write(e.physical, in.data[from:to]); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeInodes writes the part of the inode tables that is in use.
func (p *plan) writeInodes(write func(block uint64, data []byte) error) error {
	g := p.geometry
	table := make([]byte, g.inodesPerGroup*inodeSize)
	flush := func(group, used uint64) error {
		if err := write(g.places[group].inodeTable, table[:used*inodeSize]); err != nil {
			return err
		}
		clear(table)
		return nil
	}
	group := uint64(0)
	put := func(number uint32, encode func(p []byte) error) error {
		index := uint64(number - 1)
		if index/g.inodesPerGroup != group {
			if err := flush(group, g.inodesPerGroup); err != nil {
				return err
			}
			group++
		}
		index %= g.inodesPerGroup
		return encode(table[index*inodeSize : (index+1)*inodeSize])
	}
	special := map[uint32]*inode{rootInode: p.contents.inodes[0], resizeInode: p.resize, journalInode: p.journal}
	for number := uint32(1); number < firstInode; number++ {
		err := put(number, func(b []byte) error {
			if in := special[number]; in != nil {
				return in.encode(b, p.config, g.features)
			}
			encodeUnusedInode(b, number, p.config)
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, in := range p.contents.inodes[1:] {
		if err := put(in.number, func(b []byte) error { return in.encode(b, p.config, g.features) }); err != nil {
			return err
		}
	}
	return flush(group, uint64(p.contents.lastInode)-group*g.inodesPerGroup)
}

// largeTable is the size in bytes from which on group descriptors become an object
// of their own that all copies share.
const largeTable = 256 << 10

// writeGroupsAndSuperblocks writes the bitmaps and all copies of group descriptors and
// superblock.
func (p *plan) writeGroupsAndSuperblocks(st *store.Store, b *disk.Builder, write func(block uint64, data []byte) error) error {
	g := p.geometry
	table, err := p.writeGroups(write)
	if err != nil {
		return err
	}
	writeTable := write
	if len(table) >= largeTable {
		digest, err := st.Put(table)
		if err != nil {
			return err
		}
		writeTable = func(block uint64, data []byte) error {
			return b.AddObject(int64(block)*int64(p.config.BlockSize), digest, 0, int64(len(data)))
		}
	}
	sb := newSuperblock(p)
	if err := b.WriteAt(sb.encode(0, g.features), superblockOffset); err != nil {
		return err
	}
	for group := range g.groups {
		if !g.hasSuperblock(group) {
			continue
		}
		start := g.groupStart(group)
		if group > 0 {
			if err := write(start, sb.encode(group, g.features)); err != nil {
				return err
			}
		}
		if err := writeTable(start+1, table); err != nil {
			return err
		}
	}
	return nil
}
