package signature

import "slices"

// superblocks returns everything that is no partition table, without what lies inside a partition of a whole disk.
func (a *area) superblocks() []Found {
	var list []Found
	add := func(found Found, ok bool) {
		inside := a.inPartition(found.Offset, found.Offset+1)
		if ok && !inside && !slices.ContainsFunc(list, func(f Found) bool { return f.Kind == found.Kind }) {
			list = append(list, found)
		}
	}
	for _, f := range formats {
		add(f.find(a))
	}
	for _, find := range []func(*area) (Found, bool){
		(*area).ext, (*area).fat, (*area).exfat, (*area).ntfs, (*area).iso9660, (*area).udf, (*area).ufs, (*area).sysv,
		(*area).xfsLog, (*area).nilfsBackup, (*area).zfs,
		(*area).luks, (*area).lvm2, (*area).mdraid, (*area).ddf, (*area).drbd,
	} {
		add(find(a))
	}
	if a.whole {
		for _, find := range firmwareRAID {
			add(find(a))
		}
	}
	// Copies of superblocks outlive a new file system, as any other of its blocks does. They say something only where
	// nothing else is.
	if len(list) == 0 {
		add(a.extBackup())
		add(a.btrfsBackup())
	}
	return list
}

// formats are the superblocks at fixed places. Where a format has several places, the first one counts.
var formats = slices.Concat(filesystems, containers, swaps())

var filesystems = []format{
	{kind: "xfs", usage: Filesystem, magic: "XFSB", uuidAt: 32, labelAt: 108, labelLen: 12},
	{kind: "exfs", usage: Filesystem, magic: "EXFS"},
	{kind: "btrfs", usage: Filesystem, base: 64 << 10, magicAt: 0x40, magic: btrfsMagic, uuidAt: 0x20, labelAt: 0x12b, labelLen: 256},
	{kind: "f2fs", usage: Filesystem, base: 1024, magic: "\x10\x20\xf5\xf2", uuidAt: 0x6c, wideLabelAt: 0x7c},
	{kind: "f2fs", usage: Filesystem, base: 4096 + 1024, magic: "\x10\x20\xf5\xf2", uuidAt: 0x6c, wideLabelAt: 0x7c},
	{kind: "squashfs", usage: Filesystem, magic: "hsqs", valid: func(a *area, base int64) bool { return a.le16(base+28) >= 4 }},
	{kind: "squashfs3", usage: Filesystem, magic: "hsqs", valid: func(a *area, base int64) bool { return a.le16(base+28) < 4 }},
	{kind: "squashfs3", usage: Filesystem, magic: "sqsh"},
	{kind: "erofs", usage: Filesystem, base: 1024, magic: "\xe2\xe1\xf5\xe0", uuidAt: 48, labelAt: 64, labelLen: 16},
	{kind: "jfs", usage: Filesystem, base: 32 << 10, magic: "JFS1", uuidAt: 136, labelAt: 152, labelLen: 16},
	{kind: "reiserfs", usage: Filesystem, base: 64 << 10, magicAt: 0x34, magic: "ReIsEr2Fs", uuidAt: 0x54, labelAt: 0x64, labelLen: 16},
	{kind: "reiserfs", usage: Filesystem, base: 64 << 10, magicAt: 0x34, magic: "ReIsEr3Fs", uuidAt: 0x54, labelAt: 0x64, labelLen: 16},
	{kind: "reiserfs", usage: Filesystem, base: 64 << 10, magicAt: 0x34, magic: "ReIsErFs"},
	{kind: "reiserfs", usage: Filesystem, base: 8 << 10, magicAt: 0x34, magic: "ReIsErFs"},
	{kind: "reiserfs", usage: Filesystem, base: 8 << 10, magicAt: 20, magic: "ReIsErFs"},
	{kind: "reiser4", usage: Filesystem, base: 64 << 10, magic: "ReIsEr4", uuidAt: 20, labelAt: 36, labelLen: 16},
	{kind: "nilfs2", usage: Filesystem, base: 1024, magicAt: 6, magic: nilfsMagic, uuidAt: 152, labelAt: 168, labelLen: 80, valid: validNilfs},
	{kind: "bcachefs", usage: Filesystem, base: 4096, magicAt: 24, magic: "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", uuidAt: 56, labelAt: 72, labelLen: 32},
	// Its first years, when it was told from bcache by where the superblock says it is.
	{kind: "bcachefs", usage: Filesystem, base: 4096, magicAt: 24, magic: bcacheMagic, uuidAt: 56, labelAt: 72, labelLen: 32,
		valid: func(a *area, base int64) bool { return a.le64(base+8) != 8 && a.le64(base+104) == 8 }},
	{kind: "apfs", usage: Filesystem, magicAt: 32, magic: "NXSB", uuidAt: 72},
	{kind: "hfsplus", usage: Filesystem, base: 1024, magic: "H+", valid: validHFSPlus},
	{kind: "hfsplus", usage: Filesystem, base: 1024, magic: "HX", valid: validHFSPlus},
	{kind: "hfs", usage: Filesystem, base: 1024, magic: "BD", valid: validHFS},
	{kind: "ReFS", usage: Filesystem, magic: "\x00\x00\x00ReFS\x00"},
	{kind: "hpfs", usage: Filesystem, base: 0x2000, magic: "\x49\xe8\x95\xf9"},
	{kind: "gfs", usage: Filesystem, base: 64 << 10, magic: gfsMagic, valid: func(a *area, base int64) bool { return a.be32(base+24) == 1309 }},
	{kind: "gfs2", usage: Filesystem, base: 64 << 10, magic: gfsMagic, valid: func(a *area, base int64) bool {
		version := a.be32(base + 24)
		return version >= 1800 && version < 1900
	}},
	{kind: "ocfs2", usage: Filesystem, base: 1 << 10, magic: "OCFSV2", uuidAt: 0x150, labelAt: 0x110, labelLen: 64},
	{kind: "ocfs2", usage: Filesystem, base: 2 << 10, magic: "OCFSV2", uuidAt: 0x150, labelAt: 0x110, labelLen: 64},
	{kind: "ocfs2", usage: Filesystem, base: 4 << 10, magic: "OCFSV2", uuidAt: 0x150, labelAt: 0x110, labelLen: 64},
	{kind: "ocfs2", usage: Filesystem, base: 8 << 10, magic: "OCFSV2", uuidAt: 0x150, labelAt: 0x110, labelLen: 64},
	{kind: "ocfs", usage: Filesystem, base: 8 << 10, magic: "OracleCFS"},
	{kind: "oracleasm", usage: VolumeManager, magicAt: 32, magic: "ORCLDISK", labelAt: 40, labelLen: 24},
	{kind: "vxfs", usage: Filesystem, base: 1 << 10, magic: "\xf5\xfc\x01\xa5"},
	{kind: "vxfs", usage: Filesystem, base: 8 << 10, magic: "\xa5\x01\xfc\xf5"},
	{kind: "cramfs", usage: Filesystem, magic: "\x45\x3d\xcd\x28", labelAt: 48, labelLen: 16},
	{kind: "cramfs", usage: Filesystem, magic: "\x28\xcd\x3d\x45", labelAt: 48, labelLen: 16},
	{kind: "romfs", usage: Filesystem, magic: "-rom1fs-", labelAt: 16, labelLen: 16},
	{kind: "minix", usage: Filesystem, base: 1024, magicAt: 0x10, magic: "\x7f\x13", valid: validMinix},
	{kind: "minix", usage: Filesystem, base: 1024, magicAt: 0x10, magic: "\x8f\x13", valid: validMinix},
	{kind: "minix", usage: Filesystem, base: 1024, magicAt: 0x10, magic: "\x68\x24", valid: validMinix},
	{kind: "minix", usage: Filesystem, base: 1024, magicAt: 0x10, magic: "\x78\x24", valid: validMinix},
	{kind: "minix", usage: Filesystem, base: 1024, magicAt: 0x18, magic: "\x5a\x4d", valid: validMinix},
	{kind: "befs", usage: Filesystem, magicAt: 32, magic: "BFS1"},
	{kind: "befs", usage: Filesystem, magicAt: 32, magic: "1SFB"},
	{kind: "befs", usage: Filesystem, base: 512, magicAt: 32, magic: "BFS1"},
	{kind: "befs", usage: Filesystem, base: 512, magicAt: 32, magic: "1SFB"},
	{kind: "bfs", usage: Filesystem, magic: "\xce\xfa\xad\x1b"},
	{kind: "xenix", usage: Filesystem, base: 1024, magicAt: 0x400, magic: "\x2b\x55\x44"},
	{kind: "xenix", usage: Filesystem, base: 1024, magicAt: 0x400, magic: "\x44\x55\x2b"},
	{kind: "ubifs", usage: Filesystem, magic: "\x31\x18\x10\x06"},
	{kind: "nss", usage: Filesystem, base: 4096, magic: "SPB5"},
	{kind: "zonefs", usage: Filesystem, magic: "SFOZ"},
	{kind: "mpool", usage: Filesystem, magic: "mpoolDev"},
	{kind: "VMFS", usage: Filesystem, base: 2 << 20, magic: "\x5e\xf1\xab\x2f", labelAt: 29, labelLen: 128},
	{kind: "drbdproxy_datalog", usage: Filesystem, magic: "DRBDdlh*"},
}

// containers are what other block devices, or other programs than file systems, keep their data in.
var containers = []format{
	{kind: "VMFS_volume_member", usage: VolumeManager, base: 1 << 20, magic: "\x0d\xd0\x01\xc0"},
	{kind: "LVM1_member", usage: VolumeManager, magic: "HM\x01\x00"},
	{kind: "LVM1_member", usage: VolumeManager, magic: "HM\x02\x00"},
	{kind: "stratis", usage: VolumeManager, base: 512, magicAt: 4, magic: stratisMagic},
	{kind: "stratis", usage: VolumeManager, base: 9 * 512, magicAt: 4, magic: stratisMagic},
	{kind: "ldm", usage: VolumeManager, base: 6 * 512, magic: "PRIVHEAD"}, // Windows dynamic disks
	{kind: "bcache", usage: Other, base: 4096, magicAt: 24, magic: bcacheMagic, uuidAt: 40,
		valid: func(a *area, base int64) bool { return a.le64(base+8) == 8 }},
	{kind: "vdo", usage: Other, magic: "dmvdo001"},
	{kind: "ceph_bluestore", usage: Other, magic: "bluestore block device"},
	{kind: "drbdmanage_control_volume", usage: Other, magic: "$DRBDmgr=q"},
	{kind: "DM_snapshot_cow", usage: Other, magic: "SnAp"},
	{kind: "DM_verity_hash", usage: Crypto, magic: "verity\x00\x00", uuidAt: 16},
	{kind: "DM_integrity", usage: Crypto, magic: "integrt\x00"},
	{kind: "BitLocker", usage: Crypto, magicAt: 3, magic: bitLockerMagic},
	// On removable disks it looks like a FAT file system, but for this identifier.
	{kind: "BitLocker", usage: Crypto, magicAt: 424, magic: "\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01"},
	{kind: "ubi", usage: RAID, magic: "UBI#"},
	{kind: "hpt37x_raid_member", usage: RAID, base: 4608, magicAt: 32, magic: "\xf0\x16\x78\x5a"},
	{kind: "hpt37x_raid_member", usage: RAID, base: 4608, magicAt: 32, magic: "\xfd\x16\x78\x5a"},
}

const (
	btrfsMagic     = "_BHRfS_M"
	bcacheMagic    = "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"
	bitLockerMagic = "-FVE-FS-"
	gfsMagic       = "\x01\x16\x19\x70"
	stratisMagic   = "!Stra0tis\x86\xff\x02^\x41rh"
)

// swaps are the magics at the end of the first page, for every size of page.
func swaps() []format {
	var list []format
	for _, page := range []int64{4096, 8192, 16384, 32768, 65536} {
		for _, kind := range []struct{ name, magic string }{
			{"swap", "SWAPSPACE2"}, {"swap", "SWAP-SPACE"},
			{"swsuspend", "S1SUSPEND"}, {"swsuspend", "S2SUSPEND"}, {"swsuspend", "ULSUSPEND"}, {"swsuspend", "LINHIB0001"},
		} {
			f := format{kind: kind.name, usage: Swap, magicAt: page - 10, magic: kind.magic}
			if kind.magic != "SWAP-SPACE" { // the first version has neither
				f.uuidAt, f.labelAt, f.labelLen = 1024+12, 1024+28, 16
			}
			list = append(list, f)
		}
	}
	return append(list, format{kind: "swsuspend", usage: Swap, magic: "\xed\xc3\x02\xe9\x98\x56\xe5\x0c"})
}
