package iso

import (
	"fmt"
	"math"

	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/store"
)

const (
	// blockSize is the size of logical blocks and sectors in bytes; 2048 is what CDs and El Torito dictate.
	blockSize = 2048

	systemArea      = 16 // blocks that ISO 9660 leaves to others
	primaryBlock    = systemArea
	bootRecordBlock = 17 // El Torito section 2.0
	maxSection      = math.MaxUint32 &^ (blockSize - 1)
	maxDirectories  = math.MaxUint16 // numbers of parents in path tables have 16 bits

	// trailing is room behind the last file, in bytes: a drive that reads ahead of a CD written in track-at-once mode
	// fails on the blocks before its end (what xorriso calls padding, with the same value).
	trailing = 150 * blockSize

	// backupTable is the room of the backup partition table, in bytes: 32 sectors of entries and its header.
	backupTable = 33 * partition.SectorSize
)

// maxBlocks is how many blocks the 32 bits of block numbers and of the size of the volume allow.
const maxBlocks = math.MaxUint32

// allocator hands out blocks, one after the other. They may be more than maxBlocks, which whoever uses it finds in the end.
type allocator struct{ next int64 }

func (a *allocator) take(bytes int64) uint32 {
	block := a.next
	a.next += blocks(bytes)
	return uint32(block)
}

// place decides where everything lies, in the order of the package comment.
func (m *medium) place() error {
	m.orderDirectories()
	if len(m.dirs) > maxDirectories {
		return fmt.Errorf("there are %d directories; path tables have room for %d", len(m.dirs), maxDirectories)
	}
	bootable := m.bios != nil || m.efi != nil
	a := allocator{next: bootRecordBlock + 1}
	if bootable {
		a.next++ // the terminator gives its block to the boot record
	}
	m.pathTableSize = len(m.pathTable(littleEndian))
	m.pathTableL, m.pathTableM = a.take(int64(m.pathTableSize)), a.take(int64(m.pathTableSize))
	for _, d := range m.dirs {
		// Sizes do not depend on places, so that what is encoded without knowing these tells how much room it takes.
		d.block = a.take(int64(len(m.directory(d))))
		if d.records > maxSection {
			return fmt.Errorf("/%s: its entries take %d bytes; %d are the most", d.path, d.records, int64(maxSection))
		}
	}
	if bootable {
		m.catalog = a.take(blockSize)
	}
	if m.bios != nil {
		m.bios.block = a.take(m.bios.size)
	}
	m.placeContents(&a)
	// Last, so that what lies before it is one partition, and what firmware takes for its end when it is too large for
	// the boot catalog is not far from it.
	if m.efi != nil {
		m.efi.block = a.take(m.efi.size)
	}
	m.end = a.next * blockSize
	m.size = m.end + trailing
	if m.hybrid() {
		m.size = (m.size + backupTable + partition.Alignment - 1) &^ (partition.Alignment - 1)
	}
	if m.size/blockSize > maxBlocks {
		return fmt.Errorf("its files need %d bytes, more than the 8 TiB that ISO 9660 can address", m.end)
	}
	return nil
}

// placeContents places all files but the boot images.
func (m *medium) placeContents(a *allocator) {
	// Readers take files at one place for hard links, so that only those share their contents that differ in nothing else.
	type inode struct {
		digest store.Digest
		mode   uint32
	}
	contents := map[inode]uint32{}
	empty := uint32(a.next) // readers exist that ignore a file at block 0, so empty ones point somewhere
	for n := range m.root.files() {
		switch {
		case n == m.bios || n == m.efi:
		case n.size == 0:
			n.block = empty
		case n.image != nil:
			n.block = a.take(n.size)
		default:
			if n.block, n.shared = contents[inode{n.digest, n.mode}]; !n.shared {
				n.block = a.take(n.size)
				contents[inode{n.digest, n.mode}] = n.block
			}
		}
	}
}

// orderDirectories numbers the directories as path tables demand it (ECMA-119 6.9.1): level by level, within a level by
// the number of the parent, and below one parent by identifier.
func (m *medium) orderDirectories() {
	m.dirs = []*node{m.root}
	m.root.number = 1
	for i := 0; i < len(m.dirs); i++ {
		for _, c := range m.dirs[i].children {
			if c.isDir() {
				m.dirs = append(m.dirs, c)
				c.number = len(m.dirs)
			}
		}
	}
}

// blocks is how many blocks hold n bytes.
func blocks(n int64) int64 { return (n + blockSize - 1) / blockSize }
