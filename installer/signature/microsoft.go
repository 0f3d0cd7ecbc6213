package signature

import (
	"fmt"
	"slices"
	"strings"
)

// fatGeometry is what a FAT file system's first sector says (Microsoft, FAT: General Overview of On-Disk Format).
type fatGeometry struct {
	ok                           bool
	sector, cluster              int64 // bytes
	tables, root, rootSize, data int64 // offsets and a length in bytes
	rootCluster                  uint32
	fat32                        bool
}

func (a *area) fatGeometry() (g fatGeometry) {
	boot := a.at(0, 512)
	if boot == nil || a.has(3, bitLockerMagic) {
		return g
	}
	named := a.has(0x52, "MSWIN") || a.has(0x52, "FAT32   ") || a.has(0x36, "MSDOS") ||
		a.has(0x36, "FAT16   ") || a.has(0x36, "FAT12   ") || a.has(0x36, "FAT     ")
	// File systems of old floppies do not say what they are.
	jump := boot[0] == 0xeb || boot[0] == 0xe9
	if !named && (!jump || !a.has(mbrMagic, "\x55\xaa") || a.has(0x36, "JFS     ") || a.has(0x36, "HPFS    ")) {
		return g
	}
	sector, perCluster, reserved, copies := int64(a.le16(11)), int64(boot[13]), int64(a.le16(14)), int64(boot[16])
	power := func(n int64) bool { return n > 0 && n&(n-1) == 0 }
	if !power(sector) || sector < 512 || sector > 4096 || !power(perCluster) || reserved == 0 || copies == 0 ||
		boot[21] < 0xf8 && boot[21] != 0xf0 {
		return g
	}
	length := int64(a.le16(22))
	if g.fat32 = length == 0; g.fat32 {
		length = int64(a.le32(36))
	}
	g.ok = length > 0
	g.sector, g.cluster = sector, sector*perCluster
	g.tables = reserved * sector
	g.root = g.tables + length*copies*sector
	g.rootSize = int64(a.le16(17)) * 32
	g.data = g.root + (g.rootSize+sector-1)/sector*sector
	g.rootCluster = a.le32(44)
	return g
}

func (a *area) fat() (Found, bool) {
	g := a.fatGeometry()
	if !g.ok {
		return Found{}, false
	}
	found := Found{Kind: "vfat", Usage: Filesystem, Offset: 0x36}
	serial := int64(39)
	if g.fat32 {
		found.Offset, serial = 0x52, 67
	}
	if mark := a.at(serial-1, 1); g.fat32 || mark[0] == 0x28 || mark[0] == 0x29 {
		found.UUID = a.shortSerial(serial)
	}
	found.Label = a.fatLabel(g)
	return found, true
}

func (a *area) shortSerial(offset int64) string {
	return fmt.Sprintf("%04X-%04X", a.le16(offset+2), a.le16(offset))
}

// maxDirectory bounds how far a root directory is followed, in bytes. The name of a volume is nearly always the first entry.
const maxDirectory = 2 << 20

// fatLabel returns the name of the volume, an entry of the root directory.
func (a *area) fatLabel(g fatGeometry) string {
	if !g.fat32 {
		label, _ := a.fatLabelIn(g.root, g.rootSize)
		return label
	}
	for cluster, read := g.rootCluster, int64(0); cluster >= 2 && cluster < 0x0ffffff8 && read < maxDirectory; read += g.cluster {
		if label, end := a.fatLabelIn(g.data+int64(cluster-2)*g.cluster, g.cluster); end {
			return label
		}
		cluster = a.le32(g.tables+int64(cluster)*4) & 0x0fffffff
	}
	return ""
}

// fatLabelIn looks through part of a directory; end says that there is no need to look further.
func (a *area) fatLabelIn(offset, size int64) (label string, end bool) {
	for at := offset; at < offset+size; at += 32 {
		entry := a.at(at, 32)
		if entry == nil || entry[0] == 0 {
			return "", true
		}
		const volume, directory, longName = 0x08, 0x10, 0x0f
		if entry[0] == 0xe5 || entry[11]&0x3f == longName || entry[11]&(volume|directory) != volume {
			continue
		}
		name := slices.Clone(entry[:11])
		if name[0] == 0x05 {
			name[0] = 0xe5
		}
		return strings.TrimSpace(strings.ToValidUTF8(string(name), "\uFFFD")), true
	}
	return "", false
}

// exfat (Microsoft, exFAT file system specification, 3.1)
func (a *area) exfat() (Found, bool) {
	if !a.has(3, "EXFAT   ") {
		return Found{}, false
	}
	found := Found{Kind: "exfat", Usage: Filesystem, Offset: 3, UUID: a.shortSerial(100)}
	shifts := a.at(108, 2)
	if shifts == nil || shifts[0] < 9 || shifts[0] > 12 || shifts[1] > 25-shifts[0] {
		return found, true
	}
	sectorShift := shifts[0]
	cluster := int64(1) << (shifts[0] + shifts[1])
	table, heap := int64(a.le32(80))<<sectorShift, int64(a.le32(88))<<sectorShift
	for at, read := a.le32(96), int64(0); at >= 2 && at < 0xfffffff7 && read < maxDirectory; read += cluster {
		base := heap + int64(at-2)*cluster
		for entry := base; entry < base+min(cluster, maxDirectory); entry += 32 {
			data := a.at(entry, 32)
			if data == nil || data[0] == 0 {
				return found, true
			}
			if data[0] == 0x83 { // volume label: characters, then at most 11 of them
				found.Label = a.wide(entry+2, 2*int(min(data[1], 11)))
				return found, true
			}
		}
		at = a.le32(table + int64(at)*4)
	}
	return found, true
}

// ntfs finds an NTFS file system. Its name is an attribute of the fourth record of the master file table.
func (a *area) ntfs() (Found, bool) {
	const nameAttribute, end = 0x60, 0xffffffff
	if !a.has(3, "NTFS    ") || a.at(0, 512) == nil {
		return Found{}, false
	}
	found := Found{Kind: "ntfs", Usage: Filesystem, Offset: 3, UUID: fmt.Sprintf("%016X", a.le64(72))}
	sector, perCluster := int64(a.le16(11)), int64(a.at(13, 1)[0])
	if perCluster > 128 {
		perCluster = 1 << (256 - perCluster)
	}
	if sector < 256 || sector > 4096 || perCluster == 0 || perCluster > 1<<20 {
		return found, true
	}
	cluster := sector * perCluster
	record := int64(int8(a.at(64, 1)[0]))
	if record = record * cluster; record <= 0 {
		record = 1 << min(-(record/cluster), 16)
	}
	table := a.le64(48)
	if record < 64 || record > 1<<16 || table > uint64(a.size/cluster) {
		return found, true
	}
	base := int64(table)*cluster + 3*record
	if !a.has(base, "FILE") {
		return found, true
	}
	for at := base + int64(a.le16(base+20)); at+24 <= base+record; {
		kind, length := a.le32(at), int64(a.le32(at+4))
		if kind == nameAttribute {
			size, value := int64(a.le32(at+16)), at+int64(a.le16(at+20))
			if value+size <= base+record {
				found.Label = a.wide(value, int(size))
			}
			break
		}
		if kind == end || length < 8 {
			break
		}
		at += length
	}
	return found, true
}
