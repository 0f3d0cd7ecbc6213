package signature

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
)

// tables returns the partition tables of a disk, and the partitions in the one that counts: GPT before DOS, unless only
// the GPT's backup is left, which a DOS table written later does not erase.
func (a *area) tables() (found []Found, partitions []Partition) {
	gpt, gptPartitions := a.gpt()
	dos, dosPartitions := a.dos(len(gpt) > 0)
	found = append(gpt, dos...)
	partitions = gptPartitions
	if len(gpt) == 0 || gpt[0].Backup && len(dosPartitions) > 0 {
		partitions = dosPartitions
	}
	return append(found, a.otherTables()...), partitions
}

// gptHeader is a header of a GUID partition table (UEFI 2.10, 5.3.2).
type gptHeader struct {
	offset int64
	sector int64
	sound  bool // its checksum is right
}

const (
	gptMagic      = "EFI PART"
	gptHeaderSize = 92
	gptEntrySize  = 128
	// gptMaxEntries bounds what is read of a damaged header. Tables have 128 entries.
	gptMaxEntries = 1024
)

// gpt looks for both headers. A disk may have been written behind another controller, with other logical sectors.
func (a *area) gpt() ([]Found, []Partition) {
	var headers []gptHeader
	primary := false
	for _, sector := range slices.Compact([]int64{int64(a.sector), 512, 4096}) {
		for i, offset := range []int64{sector, (a.size/sector - 1) * sector} {
			if a.has(offset, gptMagic) && !slices.ContainsFunc(headers, func(h gptHeader) bool { return h.offset == offset }) {
				headers = append(headers, gptHeader{offset, sector, a.soundGPT(offset)})
				primary = primary || i == 0
			}
		}
	}
	if len(headers) == 0 {
		return nil, nil
	}
	// The first one, which is the primary one, unless it is damaged and another is not.
	best := headers[max(0, slices.IndexFunc(headers, func(h gptHeader) bool { return h.sound }))]
	found := Found{Kind: "gpt", Usage: PartitionTable, UUID: a.guid(best.offset + 56), Offset: best.offset, Backup: !primary}
	return []Found{found}, a.gptEntries(best)
}

func (a *area) soundGPT(offset int64) bool {
	size := a.le32(offset + 12)
	if size < gptHeaderSize || size > 4096 {
		return false
	}
	header := slices.Clone(a.at(offset, int(size)))
	if header == nil {
		return false
	}
	sum := binary.LittleEndian.Uint32(header[16:])
	clear(header[16:20])
	return crc32.ChecksumIEEE(header) == sum
}

func (a *area) gptEntries(h gptHeader) []Partition {
	first, count, size := a.le64(h.offset+72), a.le32(h.offset+80), a.le32(h.offset+84)
	if first > uint64(a.size/h.sector) || size < gptEntrySize || size > 4096 || size%8 != 0 {
		return nil
	}
	sectors := uint64(a.size / h.sector)
	var list []Partition
	for i := range min(count, gptMaxEntries) {
		at := int64(first)*h.sector + int64(i)*int64(size)
		kind := a.guid(at)
		start, end := a.le64(at+32), a.le64(at+40)
		if kind == "" || start > end || start >= sectors {
			continue
		}
		list = append(list, Partition{
			Number: int(i) + 1, Label: a.wide(at+56, 72), Type: kind, GUID: a.guid(at + 16),
			Start: int64(start) * h.sector, Size: int64(min(end, sectors-1)-start+1) * h.sector,
		})
	}
	return list
}

// Types of DOS partitions that mean something here.
const (
	dosEmpty      = 0x00
	dosExtended   = 0x05
	dosExtendedX  = 0x0f
	dosLinuxExt   = 0x85
	dosProtective = 0xee
)

// Where a master boot record has what.
const (
	mbrDiskID  = 440
	mbrEntries = 446
	mbrEntry   = 16
	mbrMagic   = 510
)

// maxLogical bounds the chain of logical partitions, which may be a ring on a damaged disk.
const maxLogical = 128

// dos looks for a DOS partition table. One that only protects a GPT is reported when the GPT is gone.
func (a *area) dos(gpt bool) ([]Found, []Partition) {
	if !a.has(mbrMagic, "\x55\xaa") || a.bootSector() {
		return nil, nil
	}
	protective := false
	var list []Partition
	for i := range 4 {
		at := int64(mbrEntries + i*mbrEntry)
		if flag := a.at(at, 1); flag == nil || flag[0]&0x7f != 0 {
			return nil, nil // the end of a boot program
		}
		p, ok := a.dosEntry(at, 0)
		protective = protective || p.kind == dosProtective
		if !ok {
			continue
		}
		list = append(list, p.partition(i+1))
		if p.extended() {
			list = append(list, a.logical(p.start)...)
		}
	}
	switch {
	case protective && gpt:
		return nil, nil
	case protective:
		return []Found{{Kind: "PMBR", Usage: PartitionTable, Offset: mbrMagic}}, nil
	}
	found := Found{Kind: "dos", Usage: PartitionTable, Offset: mbrMagic}
	if id := a.le32(mbrDiskID); id != 0 {
		found.UUID = fmt.Sprintf("%08x", id)
	}
	slices.SortFunc(list, func(x, y Partition) int { return x.Number - y.Number })
	return []Found{found}, list
}

// bootSector says whether the first sector is the beginning of a file system that ends it with the same magic.
func (a *area) bootSector() bool {
	return a.fatGeometry().ok || a.has(3, "NTFS    ") || a.has(3, "EXFAT   ") || a.has(3, bitLockerMagic) ||
		a.has(0x36, "JFS     ") || a.has(0x36, "HPFS    ")
}

type dosEntry struct {
	kind        byte
	start, size int64
}

func (e dosEntry) extended() bool {
	return e.kind == dosExtended || e.kind == dosExtendedX || e.kind == dosLinuxExt
}

// container says that the partition holds nothing but logical partitions.
func (p Partition) container() bool {
	return p.Type == "0x05" || p.Type == "0x0f" || p.Type == "0x85"
}

func (e dosEntry) partition(number int) Partition {
	return Partition{Number: number, Type: fmt.Sprintf("0x%02x", e.kind), Start: e.start, Size: e.size}
}

// dosEntry reads an entry whose start counts from base; false when there is none.
func (a *area) dosEntry(at, base int64) (dosEntry, bool) {
	data := a.at(at, mbrEntry)
	if data == nil {
		return dosEntry{}, false
	}
	e := dosEntry{
		kind:  data[4],
		start: base + int64(binary.LittleEndian.Uint32(data[8:]))*int64(a.sector),
		size:  int64(binary.LittleEndian.Uint32(data[12:])) * int64(a.sector),
	}
	if e.kind == dosEmpty || e.size == 0 || e.start >= a.size {
		return e, false
	}
	e.size = min(e.size, a.size-e.start)
	return e, true
}

// logical follows the chain of extended boot records that begins at an offset.
func (a *area) logical(extended int64) []Partition {
	var list []Partition
	for at, n := extended, 0; n < maxLogical && a.has(at+mbrMagic, "\x55\xaa"); n++ {
		if p, ok := a.dosEntry(at+mbrEntries, at); ok {
			list = append(list, p.partition(5+len(list)))
		}
		next, ok := a.dosEntry(at+mbrEntries+mbrEntry, extended)
		if !ok || !next.extended() || next.start <= at {
			break
		}
		at = next.start
	}
	return list
}

// otherTables finds the labels of other systems. Their partitions are not looked into.
func (a *area) otherTables() []Found {
	var list []Found
	table := func(kind string, offset int64) {
		list = append(list, Found{Kind: kind, Usage: PartitionTable, Offset: offset})
	}
	if a.be16(508) == 0xdabe && a.xor16() == 0 {
		table("sun", 508)
	}
	if a.be32(0) == 0x0be5a941 {
		table("sgi", 0)
	}
	if a.has(0, "ER") && (a.has(512, "PM") || a.has(2048, "PM")) {
		table("mac", 0)
	}
	for _, offset := range []int64{512, 64, 128} {
		if a.le32(offset) == 0x82564557 && a.le32(offset+132) == 0x82564557 {
			table("bsd", offset)
			break
		}
	}
	if a.has(0, "\xc9\xc2\xd4\xc1") {
		table("aix", 0)
	}
	return list
}

// xor16 combines the 16-bit words of the first sector; a Sun label makes that zero.
func (a *area) xor16() uint16 {
	var sum uint16
	for i := int64(0); i < 512; i += 2 {
		sum ^= a.be16(i)
	}
	return sum
}
