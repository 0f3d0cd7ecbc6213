package iso

import (
	"errors"
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
	bootRecordBlock = 17 // El Torito 2.0 section 3.0
	maxSection      = math.MaxUint32 &^ (blockSize - 1)
	maxDirectories  = math.MaxUint16 // numbers of parents in path tables have 16 bits

	// trailing is room behind the last file, in bytes: a drive that reads ahead of a CD written in track-at-once mode
	// fails on the blocks before its end (what xorriso calls padding, with the same value).
	trailing = 150 * blockSize

	// backupTable is the room of the backup partition table, in bytes: 32 sectors of entries and its header.
	backupTable = 33 * partition.SectorSize
)

// place decides where everything lies, in the order of the package comment.
func (m *medium) place() error {
	m.orderDirectories()
	if len(m.dirs) > maxDirectories {
		return fmt.Errorf("there are %d directories; path tables have room for %d", len(m.dirs), maxDirectories)
	}
	next := int64(bootRecordBlock + 1)
	if m.bios != nil || m.efi != nil {
		next++
	}
	var beyond error
	take := func(bytes int64) uint32 {
		at := next
		if next += blocks(bytes); next > math.MaxUint32 {
			beyond = errors.New("its files need more than the 8 TiB that ISO 9660 can address")
		}
		return uint32(at)
	}
	m.pathTableSize = len(m.pathTable(littleEndian))
	m.pathTableL, m.pathTableM = take(int64(m.pathTableSize)), take(int64(m.pathTableSize))
	for _, d := range m.dirs {
		// Sizes do not depend on places, so that what is encoded without knowing these tells how much room it takes.
		d.block = take(int64(len(m.directory(d))))
		if d.records > maxSection {
			return fmt.Errorf("/%s: its entries take %d bytes; %d are the most", d.path, d.records, int64(maxSection))
		}
	}
	if m.bios != nil || m.efi != nil {
		m.catalog = take(blockSize)
	}
	if m.bios != nil {
		m.bios.block = take(m.bios.size)
	}
	// Readers exist that ignore a file at block 0, so empty ones point somewhere.
	empty := uint32(next)
	// Readers take files at one place for hard links, so that only those share their contents that differ in nothing else.
	type inode struct {
		digest store.Digest
		mode   uint32
	}
	contents := map[inode]uint32{}
	if err := m.root.walk(func(n *node) error {
		if n == m.bios || n == m.efi {
			return nil
		}
		if n.size == 0 {
			n.block = empty
			return nil
		}
		if n.image == nil {
			if block, ok := contents[inode{n.digest, n.mode}]; ok {
				n.block, n.shared = block, true
				return nil
			}
		}
		n.block = take(n.size)
		if n.image == nil {
			contents[inode{n.digest, n.mode}] = n.block
		}
		return nil
	}); err != nil {
		return err
	}
	// Last, so that what lies before it is one partition, and what firmware takes for its end when it is too large for
	// the boot catalog is not far from it.
	if m.efi != nil {
		m.efi.block = take(m.efi.size)
	}
	m.end = next * blockSize
	m.size = m.end + trailing
	if m.hybrid() {
		m.size = (m.size + backupTable + partition.Alignment - 1) &^ (partition.Alignment - 1)
	}
	if m.size/blockSize > math.MaxUint32 {
		beyond = errors.New("its files need more than the 8 TiB that ISO 9660 can address")
	}
	return beyond
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
