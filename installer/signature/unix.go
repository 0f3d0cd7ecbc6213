package signature

import "bytes"

// The superblock of ext2, ext3 and ext4 (Linux, Documentation/filesystems/ext4/super.rst).
const (
	extSuperblock = 1024
	extMagicAt    = 0x38
	extMagic      = "\x53\xef"
)

// Features that tell the three apart.
const (
	extHasJournal    = 0x4 // compatible
	extJournalDevice = 0x8 // incompatible
	ext2Incompatible = 0x2 | 0x10
	ext3Incompatible = 0x2 | 0x4 | 0x10
	ext3ReadOnly     = 0x1 | 0x2 | 0x4
)

func (a *area) ext() (Found, bool) { return a.extAt(extSuperblock) }

func (a *area) extAt(base int64) (Found, bool) {
	// The magic is short; a file system has blocks of a sensible size, and some.
	if !a.has(base+extMagicAt, extMagic) || a.le32(base+0x18) > 6 || a.le32(base+0x4) == 0 {
		return Found{}, false
	}
	compatible, incompatible, readOnly := a.le32(base+0x5c), a.le32(base+0x60), a.le32(base+0x64)
	found := Found{
		Kind: "ext4", Usage: Filesystem, Offset: base + extMagicAt,
		UUID: a.uuid(base + 0x68), Label: a.text(base+0x78, 16),
	}
	switch {
	case incompatible&extJournalDevice != 0:
		found.Kind, found.Usage = "jbd", Other
	case compatible&extHasJournal == 0 && incompatible&^ext2Incompatible == 0 && readOnly&^ext3ReadOnly == 0:
		found.Kind = "ext2"
	case compatible&extHasJournal != 0 && incompatible&^ext3Incompatible == 0 && readOnly&^ext3ReadOnly == 0:
		found.Kind = "ext3"
	}
	return found, true
}

// extBackup finds the copy in the second block group, which e2fsck restores a file system from.
func (a *area) extBackup() (Found, bool) {
	for shift := range int64(3) {
		block := int64(1024) << shift
		base := 8 * block * block // a group has as many blocks as a block has bits
		if shift == 0 {
			base += block // blocks of 1 KiB are counted from the second one
		}
		if found, ok := a.extAt(base); ok && a.le32(base+0x18) == uint32(shift) && a.le16(base+0x5a) == 1 {
			found.Backup = true
			return found, true
		}
	}
	return Found{}, false
}

// btrfsBackup finds the second superblock, at 64 MiB, which knows where it is.
func (a *area) btrfsBackup() (Found, bool) {
	const base = 64 << 20
	f := format{kind: "btrfs", usage: Filesystem, base: base, magicAt: 0x40, magic: btrfsMagic, uuidAt: 0x20, labelAt: 0x12b, labelLen: 256,
		valid: func(a *area, base int64) bool { return a.le64(base+0x30) == uint64(base) }}
	found, ok := f.find(a)
	found.Backup = true
	return found, ok
}

// nilfs2 (Linux, include/uapi/linux/nilfs2_ondisk.h)
const nilfsMagic = "\x34\x34"

func validNilfs(a *area, base int64) bool {
	size := a.le16(base + 8)
	return a.le32(base) == 2 && size >= 24 && size <= 1024
}

// nilfsBackup finds the second superblock, near the end.
func (a *area) nilfsBackup() (Found, bool) {
	f := format{kind: "nilfs2", usage: Filesystem, base: (a.size/512 - 8) * 512, magicAt: 6, magic: nilfsMagic, uuidAt: 152,
		labelAt: 168, labelLen: 80, valid: func(a *area, base int64) bool {
			return validNilfs(a, base) && a.le64(base+32) <= uint64(a.size) // the size of the device
		}}
	found, ok := f.find(a)
	found.Backup = true
	return found, ok
}

// xfsLog finds the log of an XFS file system on a device of its own: a record header in the first 256 KiB.
func (a *area) xfsLog() (Found, bool) {
	const searched = 256 << 10
	if a.has(0, "XFSB") {
		return Found{}, false
	}
	data := a.at(0, int(min(searched, max(a.size, 1))))
	for at := 0; at+512 <= len(data); at += 512 {
		if !bytes.HasPrefix(data[at:], []byte("\xfe\xed\xba\xbe")) {
			continue
		}
		if version, form := a.be32(int64(at)+8), a.be32(int64(at)+300); version >= 1 && version <= 3 && form >= 1 && form <= 3 {
			return Found{Kind: "xfs_external_log", Usage: Other, Offset: int64(at), UUID: a.uuid(int64(at) + 304)}, true
		}
	}
	return Found{}, false
}

// validMinix checks what fsck.minix does: the maps are large enough for the inodes and the zones.
func validMinix(a *area, base int64) bool {
	var inodes, zones uint32
	var imap, zmap, first, zoneSize uint16
	if a.has(base+0x18, "\x5a\x4d") { // version 3
		inodes, imap, zmap, first = a.le32(base), a.le16(base+6), a.le16(base+8), a.le16(base+10)
		zoneSize, zones = a.le16(base+12), a.le32(base+20)
	} else {
		inodes, imap, zmap, first = uint32(a.le16(base)), a.le16(base+4), a.le16(base+6), a.le16(base+8)
		zoneSize, zones = a.le16(base+10), uint32(a.le16(base+2))
		if magic := a.le16(base + 16); magic == 0x2468 || magic == 0x2478 { // version 2
			zones = a.le32(base + 20)
		}
	}
	const bits = 1024 * 8
	return zoneSize == 0 && inodes != 0 && uint64(imap)*bits > uint64(inodes) && uint32(first) <= zones &&
		uint64(zmap)*bits > uint64(zones)-uint64(first)
}

// validHFS checks the size of an allocation block, a multiple of 512.
func validHFS(a *area, base int64) bool {
	size := a.be32(base + 20)
	return size != 0 && size%512 == 0
}

// validHFSPlus checks the version, 4 of HFS+ and 5 of HFSX, and the size of a block.
func validHFSPlus(a *area, base int64) bool {
	version, size := a.be16(base+2), a.be32(base+40)
	return (version == 4 || version == 5) && size >= 512 && size&(size-1) == 0
}

// ufs looks for the superblock in its four places, of either byte order.
func (a *area) ufs() (Found, bool) {
	const magicAt = 0x55c
	for _, base := range []int64{0, 8 << 10, 64 << 10, 256 << 10} {
		for _, magic := range []uint32{0x00011954, 0x19540119, 0x00195612, 0x00095014, 0x00612195, 0x05231994} {
			if a.le32(base+magicAt) == magic || a.be32(base+magicAt) == magic {
				return Found{Kind: "ufs", Usage: Filesystem, Offset: base + magicAt}, true
			}
		}
	}
	return Found{}, false
}

// sysv looks for the superblock in its four places, of either byte order.
func (a *area) sysv() (Found, bool) {
	const magic, magicAt = 0xfd187e20, 504
	for _, block := range []int64{0, 9, 15, 18} {
		base := block*1024 + 512
		if a.le32(base+magicAt) == magic || a.be32(base+magicAt) == magic {
			return Found{Kind: "sysv", Usage: Filesystem, Offset: base + magicAt}, true
		}
	}
	return Found{}, false
}
