package ext4

import (
	"context"
	"fmt"
	"math/bits"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// Verify reads all metadata that names lead to, and all bitmaps, and returns the
// first error: a wrong checksum, a count that does not match a bitmap, a reference to
// nowhere. It is no substitute for e2fsck: it does not compare the bitmaps with
// what is in use.
func (f *FS) Verify(ctx context.Context) error {
	for group := range f.groups {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.verifyGroup(group); err != nil {
			return err
		}
	}
	return f.Walk(func(n *Node) error {
		if n.Type == tree.Regular {
			if _, err := f.OpenNode(n); err != nil {
				return fmt.Errorf("/%s: %w", n.Path, err)
			}
		}
		return ctx.Err()
	})
}

// verifyGroup checks the bitmaps of a group.
func (f *FS) verifyGroup(group uint64) error {
	d, err := f.descriptor(group)
	if err != nil {
		return err
	}
	start := uint64(f.sb.FirstDataBlock) + group*f.blocksPerGroup
	blocks := min(f.blocksPerGroup, f.blocks-start)
	lazy := f.features.groupChecksums()
	if !lazy || d.flags&groupBlockUninit == 0 {
		where := fmt.Sprintf("block bitmap of group %d", group)
		if err := f.verifyBitmap(where, d.blockBitmap, f.blocksPerGroup, blocks, d.freeBlocks, d.blockBitmapChecksum); err != nil {
			return err
		}
	}
	if !lazy || d.flags&groupInodeUninit == 0 {
		where := fmt.Sprintf("inode bitmap of group %d", group)
		return f.verifyBitmap(where, d.inodeBitmap, f.inodesPerGroup, f.inodesPerGroup, d.freeInodes, d.inodeBitmapChecksum)
	}
	return nil
}

// verifyBitmap checks the bitmap in a block: its checksum over covered bits and the
// number of free ones among the first n.
func (f *FS) verifyBitmap(where string, block, covered, n uint64, free, checksum uint32) error {
	p, err := f.readBlock(block, where)
	if err != nil {
		return err
	}
	if f.features.metadataChecksums() {
		want := crc32c(f.checksumSeed, p[:covered/8])
		if f.descSize < 64 {
			want &= 0xffff
		}
		if checksum != want {
			return corrupt(where, "its checksum is %#x instead of %#x", checksum, want)
		}
	}
	used := uint64(0)
	for i := range n / 8 {
		used += uint64(bits.OnesCount8(p[i]))
	}
	if rest := n % 8; rest != 0 {
		used += uint64(bits.OnesCount8(p[n/8] & (1<<rest - 1)))
	}
	if n-used != uint64(free) {
		return corrupt(where, "it has %d free, the group's descriptor says %d", n-used, free)
	}
	return nil
}
