package fat

import (
	"encoding/binary"
	"fmt"
	"math"
)

const (
	firstCluster    = 2 // the first two entries of a table are not clusters
	rootEntries     = 512
	tableCount      = 2
	mediaDescriptor = 0xf8 // fixed disk
	infoSector      = 1
	backupSector    = 6

	// Sectors before the first table. FAT12 and FAT16 need one, FAT32 usually has 32; multiples of 8 keep the clusters
	// aligned to 4 KiB.
	reserved   = 8
	reserved32 = 32
)

// geometry is where things lie in a file system. Sizes and offsets are bytes.
type geometry struct {
	size         int64
	bits         int // of an entry of the table: 12, 16 or 32
	clusterSize  int64
	clusterCount int64
	tableOffset  int64
	tableSize    int64
	rootOffset   int64 // of FAT12's and FAT16's root directory
	dataOffset   int64 // of cluster 2
}

// geometryFor lays out a file system of size bytes.
func geometryFor(size int64) (geometry, error) {
	g := geometry{size: size, tableOffset: reserved * sectorSize}
	rootSize := int64(rootEntries * entrySize)
	switch {
	case size%sectorSize != 0:
		return g, fmt.Errorf("a FAT file system of %d bytes is no whole number of %d-byte sectors", size, sectorSize)
	case size < 128<<10:
		return g, fmt.Errorf("a FAT file system of %d bytes is too small; make it at least 128 KiB", size)
	case size/sectorSize > math.MaxUint32:
		return g, fmt.Errorf("a FAT file system of %d bytes is too large; make it at most 2 TiB", size)
	case size < 2*mib:
		g.bits, g.clusterSize = 12, 512
	case size < 4*mib:
		g.bits, g.clusterSize = 12, 1<<10
	case size < 8*mib:
		g.bits, g.clusterSize = 12, 2<<10
	case size < 32*mib:
		g.bits, g.clusterSize = 16, 1<<10
	case size < 64*mib:
		g.bits, g.clusterSize = 16, 2<<10
	default:
		g.bits, g.clusterSize = 32, clusterSize32(size)
		g.tableOffset, rootSize = reserved32*sectorSize, 0
	}
	// A larger table leaves fewer clusters, for which a smaller table would do: grow it until it suffices.
	for {
		g.rootOffset = g.tableOffset + tableCount*g.tableSize
		g.dataOffset = g.rootOffset + rootSize
		g.clusterCount = (size - g.dataOffset) / g.clusterSize
		need := ((g.clusterCount+firstCluster)*int64(g.bits) + 7) / 8
		if g.tableSize >= need {
			return g, nil
		}
		g.tableSize = (need + 4*sectorSize - 1) / (4 * sectorSize) * (4 * sectorSize)
	}
}

// clusterSize32 is the table of Microsoft's formatter, which mkfs.fat follows too.
func clusterSize32(size int64) int64 {
	const gib = 1 << 30
	switch {
	case size <= 260*mib:
		return 512
	case size <= 8*gib:
		return 4 << 10
	case size <= 16*gib:
		return 8 << 10
	case size <= 32*gib:
		return 16 << 10
	}
	return 32 << 10
}

// clusterOffset is where cluster c starts.
func (g geometry) clusterOffset(c int64) int64 { return g.dataOffset + (c-firstCluster)*g.clusterSize }

// clustersFor is the number of clusters that n bytes take.
func (g geometry) clustersFor(n int64) int64 { return (n + g.clusterSize - 1) / g.clusterSize }

// table is a file allocation table.
type table struct {
	bits  int
	bytes []byte
	next  int64 // the first cluster that is free
}

func newTable(g geometry) table {
	t := table{bits: g.bits, bytes: make([]byte, g.tableSize), next: firstCluster}
	t.set(0, 0x0fffff00|mediaDescriptor)
	t.set(1, 0x0fffffff) // also says that the file system was unmounted cleanly
	return t
}

// allocate chains the next n clusters and returns the first; 0 when n is 0.
func (t *table) allocate(n int64) int64 {
	if n == 0 {
		return 0
	}
	first := t.next
	for t.next++; t.next < first+n; t.next++ {
		t.set(t.next-1, uint32(t.next))
	}
	t.set(t.next-1, 0x0fffffff)
	return first
}

// set writes entry c; the value is cut to the width of the table.
func (t *table) set(c int64, v uint32) {
	le := binary.LittleEndian
	switch t.bits {
	case 12:
		p := t.bytes[c*3/2:]
		if c%2 == 0 {
			le.PutUint16(p, le.Uint16(p)&0xf000|uint16(v)&0xfff)
		} else {
			le.PutUint16(p, le.Uint16(p)&0xf|uint16(v)<<4)
		}
	case 16:
		le.PutUint16(t.bytes[c*2:], uint16(v))
	default:
		le.PutUint32(t.bytes[c*4:], v)
	}
}
