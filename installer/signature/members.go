package signature

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// luks finds a LUKS header, or the second header of LUKS2 at one of its places (LUKS2 On-Disk Format, 2.1).
func (a *area) luks() (Found, bool) {
	const first, second = "LUKS\xba\xbe", "SKUL\xba\xbe"
	header := func(base int64) Found {
		found := Found{Kind: "crypto_LUKS", Usage: Crypto, Offset: base, UUID: a.text(base+168, 40)}
		if a.be16(base+6) == 2 {
			found.Label = a.text(base+24, 48)
		}
		return found
	}
	if a.has(0, first) {
		return header(0), true
	}
	for base := int64(16 << 10); base <= 4<<20; base *= 2 {
		if a.has(base, second) && !a.inPartition(base, base+1) {
			found := header(base)
			found.Backup = true
			return found, true
		}
	}
	return Found{}, false
}

// lvm2 finds the label of a physical volume in one of the first four sectors.
func (a *area) lvm2() (Found, bool) {
	for sector := range int64(4) {
		base := sector * 512
		if !a.has(base, "LABELONE") || !a.has(base+24, "LVM2 001") {
			continue
		}
		found := Found{Kind: "LVM2_member", Usage: VolumeManager, Offset: base + 24}
		if id := string(a.at(base+32, 32)); len(id) == 32 && strings.Trim(id, "\x00") != "" {
			id = strings.ToValidUTF8(id, "?")
			parts := []string{}
			for _, n := range []int{6, 4, 4, 4, 4, 4, 6} {
				parts = append(parts, id[:min(n, len(id))])
				id = id[min(n, len(id)):]
			}
			found.UUID = strings.Join(parts, "-")
		}
		return found, true
	}
	return Found{}, false
}

// Linux software RAID (Linux, include/uapi/linux/raid/md_p.h)
const (
	mdMagic    = 0xa92b4efc
	mdReserved = 64 << 10
)

func (a *area) mdraid() (Found, bool) {
	found := Found{Kind: "linux_raid_member", Usage: RAID}
	// 0.90 lies in the last whole 64 KiB, of either byte order. In a partition that reaches to the end of the disk it is at
	// the same place, and the partition's.
	if base := a.size/mdReserved*mdReserved - mdReserved; base >= 0 && !a.inPartition(base, base+mdReserved) {
		for _, number := range []func(int64) uint32{a.le32, a.be32} {
			if number(base) != mdMagic || number(base+4) != 0 {
				continue
			}
			found.Offset = base
			var id strings.Builder
			for _, word := range []int64{5, 13, 14, 15} {
				fmt.Fprintf(&id, "%08x", number(base+4*word))
			}
			s := id.String()
			found.UUID = strings.Join([]string{s[:8], s[8:12], s[12:16], s[16:20], s[20:]}, "-")
			return found, true
		}
	}
	// 1.0 lies near the end, 1.1 at the start, 1.2 4 KiB after it.
	for _, base := range []int64{a.size&^4095 - 8192, 0, 4096} {
		if a.le32(base) == mdMagic && a.le32(base+4) == 1 && a.le64(base+144) == uint64(base/512) && !a.inPartition(base, base+1) {
			found.Offset, found.UUID, found.Label = base, a.uuid(base+16), a.text(base+32, 32)
			return found, true
		}
	}
	return Found{}, false
}

// ddf finds the anchor of the Disk Data Format that hardware RAID controllers keep (SNIA, Common RAID DDF 2.0, 4.2.2): in the
// last sector, or where some controllers put it, 257 sectors before the end.
func (a *area) ddf() (Found, bool) {
	for _, back := range []int64{1, 257} {
		base := (a.size/512 - back) * 512
		if a.has(base, "\xde\x11\xde\x11") || a.has(base, "\x11\xde\x11\xde") {
			return Found{Kind: "ddf_raid_member", Usage: RAID, Offset: base, UUID: printableID(a.at(base+8, 24))}, true
		}
	}
	return Found{}, false
}

// printableID returns an identifier that is text, and nothing of one that is not.
func printableID(b []byte) string {
	// Fields that are not used are filled with zeros, blanks or 0xff.
	s := string(bytes.TrimRightFunc(b, func(r rune) bool { return r == 0 || r == ' ' || r == utf8.RuneError }))
	if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		return ""
	}
	return s
}

// drbd finds the metadata of DRBD 8 and 9 in the last 4 KiB.
func (a *area) drbd() (Found, bool) {
	const magic = 0x83740267
	base := a.size - 4096
	if a.size < 64<<10 {
		return Found{}, false
	}
	id := base + 40
	switch a.be32(base + 60) {
	case magic + 4, magic + 5: // version 8
	case magic + 6:
		id = base + 48
	default:
		return Found{}, false
	}
	return Found{Kind: "drbd", Usage: RAID, Offset: base + 60, UUID: fmt.Sprintf("%x", a.be64(id))}, true
}

// firmwareRAID are the formats of RAID that mainboards and old controllers do. They mark whole disks only, near the end.
var firmwareRAID = []func(*area) (Found, bool){
	atEnd("isw_raid_member", 2, 0, "Intel Raid ISM Cfg Sig. "),
	atEnd("nvidia_raid_member", 2, 0, "NVIDIA"),
	atEnd("lsi_mega_raid_member", 1, 0, "$XIDE$"),
	atEnd("hpt45x_raid_member", 11, 0, "\xf3\x16\x78\x5a"),
	atEnd("hpt45x_raid_member", 11, 0, "\xfd\x16\x78\x5a"),
	(*area).adaptec, (*area).jmicron, (*area).silicon, (*area).via, (*area).promise,
}

// atEnd finds a magic in a sector counted from the end of the disk.
func atEnd(kind string, back, magicAt int64, magic string) func(*area) (Found, bool) {
	return func(a *area) (Found, bool) {
		// Intel counts the disk's own sectors, the others 512 bytes.
		sectors := []int64{512}
		if kind == "isw_raid_member" && a.sector != 512 {
			sectors = append(sectors, int64(a.sector))
		}
		for _, sector := range sectors {
			if base := (a.size/sector - back) * sector; a.has(base+magicAt, magic) {
				return Found{Kind: kind, Usage: RAID, Offset: base + magicAt}, true
			}
		}
		return Found{}, false
	}
}

// lastSector returns the offset of the last 512 bytes.
func (a *area) lastSector() int64 { return (a.size/512 - 1) * 512 }

func (a *area) adaptec() (Found, bool) {
	base := a.lastSector()
	return Found{Kind: "adaptec_raid_member", Usage: RAID, Offset: base}, a.has(base, "\x37\xfc\x4d\x1e") && a.has(base+0x100, "DPTM")
}

// jmicron: two letters and a sum of all 16-bit words, which is zero.
func (a *area) jmicron() (Found, bool) {
	base := a.lastSector()
	if !a.has(base, "JM") {
		return Found{}, false
	}
	var sum uint16
	for i := int64(0); i < 128; i += 2 {
		sum += a.le16(base + i)
	}
	return Found{Kind: "jmicron_raid_member", Usage: RAID, Offset: base}, sum == 0 || sum == 1
}

func (a *area) silicon() (Found, bool) {
	base := a.lastSector()
	if a.le32(base+0x60) != 0x2f000000 {
		return Found{}, false
	}
	var sum uint16
	for i := int64(0); i < 0x13e; i += 2 {
		sum += a.le16(base + i)
	}
	return Found{Kind: "silicon_medley_raid_member", Usage: RAID, Offset: base + 0x60}, -sum == a.le16(base+0x13e)
}

// via: a magic that boot sectors have too, so the sum of 50 bytes decides.
func (a *area) via() (Found, bool) {
	base := a.lastSector()
	data := a.at(base, 51)
	if data == nil || data[0] != 0x55 || data[1] != 0xaa || data[2] > 2 {
		return Found{}, false
	}
	var sum byte
	for _, b := range data[:50] {
		sum += b
	}
	return Found{Kind: "via_raid_member", Usage: RAID, Offset: base}, sum == data[50]
}

func (a *area) promise() (Found, bool) {
	for _, back := range []int64{63, 255, 256, 16, 399, 591, 675, 735, 911, 974, 991, 951, 3087} {
		if base := (a.size/512 - back) * 512; a.has(base, "Promise Technology, Inc.") {
			return Found{Kind: "promise_fasttrack_raid_member", Usage: RAID, Offset: base}, true
		}
	}
	return Found{}, false
}
