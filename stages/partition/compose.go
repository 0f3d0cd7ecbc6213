package partition

import (
	"fmt"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/store"
)

// Contents is what goes onto a partitioned disk.
type Contents struct {
	BootCode   []byte             // for the first sector, from [BIOSBoot]; nil for none
	Partitions map[int]disk.Image // by partition number; partitions without an image read as zero
}

// Compose returns the disk of a layout: protective MBR with boot code, both partition tables, and the partitions'
// images at their places. An image may be smaller than its partition, not larger.
func Compose(st *store.Store, l Layout, c Contents) (disk.Image, error) {
	if len(c.BootCode) > bootCodeSize {
		return disk.Image{}, fmt.Errorf("boot code has %d bytes; the first sector has room for %d", len(c.BootCode), bootCodeSize)
	}
	tables, err := tablePieces(l)
	if err != nil {
		return disk.Image{}, err
	}
	b := disk.NewBuilder(st, l.Size)
	for _, p := range append(tables, piece{0, protectiveMBR(l.Size, c.BootCode)}) {
		if err := b.WriteAt(p.data, p.offset); err != nil {
			return disk.Image{}, err
		}
	}
	placed := 0
	for _, p := range l.Partitions {
		im, ok := c.Partitions[p.Number]
		if !ok {
			continue
		}
		placed++
		if im.Size > p.Size {
			return disk.Image{}, fmt.Errorf("partition %q has %d bytes, %d too few for its image of %d", p.Label, p.Size, im.Size-p.Size, im.Size)
		}
		if err := b.AddImage(p.Start, im); err != nil {
			return disk.Image{}, fmt.Errorf("partition %q: %w", p.Label, err)
		}
	}
	if placed != len(c.Partitions) {
		return disk.Image{}, fmt.Errorf("there are images for %d partitions, but only %d of them are in the layout", len(c.Partitions), placed)
	}
	return b.Image()
}

// BytesImage returns an image of size bytes that begins with p: for contents that are no file system, such as
// GRUB's core image.
func BytesImage(st *store.Store, p []byte, size int64) (disk.Image, error) {
	b := disk.NewBuilder(st, size)
	if err := b.WriteAt(p, 0); err != nil {
		return disk.Image{}, err
	}
	return b.Image()
}
