package signature

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// image is written by hand, where no tool makes it without a kernel, a controller or another operating system.
type image []byte

func (b image) put(offset int, data string) image { copy(b[offset:], data); return b }
func (b image) le16(offset int, n uint16) image {
	binary.LittleEndian.PutUint16(b[offset:], n)
	return b
}
func (b image) le32(offset int, n uint32) image {
	binary.LittleEndian.PutUint32(b[offset:], n)
	return b
}
func (b image) le64(offset int, n uint64) image {
	binary.LittleEndian.PutUint64(b[offset:], n)
	return b
}
func (b image) be32(offset int, n uint32) image { binary.BigEndian.PutUint32(b[offset:], n); return b }
func (b image) be64(offset int, n uint64) image { binary.BigEndian.PutUint64(b[offset:], n); return b }

const testUUID = "\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef"

// md1 is a superblock of Linux RAID 1.x at an offset.
func (b image) md1(offset int) image {
	b.le32(offset, mdMagic).le32(offset+4, 1).put(offset+16, testUUID).put(offset+32, "host:data").le64(offset+144, uint64(offset/512))
	return b
}

// md0 is a superblock of Linux RAID 0.90.
func (b image) md0(offset int) image {
	b.le32(offset, mdMagic).le32(offset+8, 90).le32(offset+32, 1024)
	for i, word := range []int{5, 13, 14, 15} {
		b.le32(offset+4*word, uint32(0x01234567+i))
	}
	return b
}

// zfs writes a label's values and uberblocks.
func (b image) zfs(offset int) image {
	at := offset + zfsValues + 12
	pair := func(key string, value func(at int) int) {
		padded := (len(key) + 3) / 4 * 4
		b.be32(at+8, uint32(len(key))).put(at+12, key)
		size := 12 + padded + value(at+12+padded)
		b.be32(at, uint32(size))
		at += size
	}
	pair("version", func(at int) int { b.be32(at, zfsTypeUint64).be32(at+4, 1).be64(at+8, 5000); return 16 })
	pair("name", func(at int) int { b.be32(at, zfsTypeString).be32(at+4, 1).be32(at+8, 4).put(at+12, "tank"); return 16 })
	pair("pool_guid", func(at int) int { b.be32(at, zfsTypeUint64).be32(at+4, 1).be64(at+8, 1234567890123456789); return 16 })
	for i := range 8 {
		b.le64(offset+zfsUberblocks+i*zfsUberblock, zfsUberMagic).le64(offset+zfsUberblocks+i*zfsUberblock+8, 5000)
	}
	return b
}

func (b image) silicon() image {
	base := len(b) - 512
	b.le32(base+0x60, 0x2f000000).put(base+0x36, "ARRAY")
	var sum uint16
	for i := 0; i < 0x13e; i += 2 {
		sum += binary.LittleEndian.Uint16(b[base+i:])
	}
	return b.le16(base+0x13e, -sum)
}

func (b image) via() image {
	base := len(b) - 512
	b.put(base, "\x55\xaa\x01\x02\x03")
	var sum byte
	for _, c := range b[base : base+50] {
		sum += c
	}
	b[base+50] = sum
	return b
}

// TestBuilt lets blkid confirm what no tool here makes.
func TestBuilt(t *testing.T) {
	const small, large = 4 << 20, 65 << 20 // libblkid ignores much on disks of 1 MiB: floppies
	for _, test := range []struct {
		kind, label string
		size        int
		build       func(b image)
	}{
		{"linux_raid_member", "", small, func(b image) { b.md0(small - 64<<10) }},
		{"linux_raid_member", "host:data", small, func(b image) { b.md1(small - 8<<10) }},
		{"linux_raid_member", "host:data", small, func(b image) { b.md1(0) }},
		{"linux_raid_member", "host:data", small, func(b image) { b.md1(4096) }},
		{"ddf_raid_member", "", small, func(b image) { b.put(small-512, "\xde\x11\xde\x11").put(small-504, "LSI     0123456789abcdef") }},
		{"ddf_raid_member", "", small, func(b image) {
			b.put(small-257*512, "\xde\x11\xde\x11").put(small-257*512+8, "Dell    0123456789abcdef")
		}},
		{"isw_raid_member", "", small, func(b image) { b.put(small-1024, "Intel Raid ISM Cfg Sig. 1.3.00") }},
		{"nvidia_raid_member", "", small, func(b image) { b.put(small-1024, "NVIDIA") }},
		{"lsi_mega_raid_member", "", small, func(b image) { b.put(small-512, "$XIDE$") }},
		{"hpt45x_raid_member", "", small, func(b image) { b.put(small-11*512, "\xf3\x16\x78\x5a") }},
		{"hpt37x_raid_member", "", small, func(b image) { b.put(4640, "\xf0\x16\x78\x5a") }},
		{"promise_fasttrack_raid_member", "", small, func(b image) { b.put(small-63*512, "Promise Technology, Inc.") }},
		{"promise_fasttrack_raid_member", "", small, func(b image) { b.put(small-3087*512, "Promise Technology, Inc.") }},
		{"adaptec_raid_member", "", small, func(b image) { b.put(small-512, "\x37\xfc\x4d\x1e").put(small-256, "DPTM") }},
		{"jmicron_raid_member", "", small, func(b image) { b.put(small-512, "JM").le16(small-508, 1).le16(small-506, uint16(0x10000-0x4d4a-1)) }},
		{"silicon_medley_raid_member", "", small, func(b image) { b.silicon() }},
		{"via_raid_member", "", small, func(b image) { b.via() }},
		{"drbd", "", small, func(b image) { b.be32(small-4096+60, 0x83740267+4).be64(small-4096+40, 0xfedcba9876543210) }},
		{"drbd", "", small, func(b image) { b.be32(small-4096+60, 0x83740267+6).be64(small-4096+48, 0xfedcba9876543210) }},
		{"zfs_member", "tank", large, func(b image) { b.zfs(0) }},
		{"zfs_member", "tank", large, func(b image) { b.zfs(large - zfsLabel) }},
		{"VMFS_volume_member", "", small, func(b image) { b.put(1<<20, "\x0d\xd0\x01\xc0\x03") }},
		{"VMFS", "datastore1", small, func(b image) { b.put(2<<20, "\x5e\xf1\xab\x2f").put(2<<20+29, "datastore1") }},
		{"ceph_bluestore", "", small, func(b image) { b.put(0, "bluestore block device\nfd1b") }},
		{"LVM1_member", "", small, func(b image) { b.put(0, "HM\x01\x00") }},
		{"DM_snapshot_cow", "", small, func(b image) { b.put(0, "SnAp") }},
		{"DM_verity_hash", "", small, func(b image) { b.put(0, "verity\x00\x00\x01").put(16, testUUID) }},
		{"DM_integrity", "", small, func(b image) { b.put(0, "integrt\x00\x01") }},
		{"BitLocker", "", small, func(b image) {
			b.put(0, "\xeb\x58\x90-FVE-FS-").le64(176, 1<<20).put(1<<20, "-FVE-FS-").put(0x1fe, "\x55\xaa").put(160, "\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01")
		}},
		{"vdo", "", small, func(b image) { b.put(0, "dmvdo001") }},
		{"reiser4", "four", small, func(b image) { b.put(64<<10, "ReIsEr4").put(64<<10+20, testUUID).put(64<<10+36, "four") }},
		{"hfs", "", small, func(b image) { b.put(1024, "BD").be32(1024+20, 512) }},
		{"apfs", "", small, func(b image) {
			b.put(32, "NXSB").put(72, testUUID).le32(36, 4096).put(0, "\x01").le16(24, 1).put(27, "\x80")
		}},
		{"ReFS", "", small, func(b image) { b.put(0, "\x00\x00\x00ReFS\x00") }},
		{"romfs", "rom", small, func(b image) { b.put(0, "-rom1fs-").put(16, "rom") }},
		{"oracleasm", "DISK1", small, func(b image) { b.put(32, "ORCLDISKDISK1") }},
		{"vxfs", "", small, func(b image) { b.put(1024, "\xf5\xfc\x01\xa5") }},
		{"bfs", "", small, func(b image) { b.put(0, "\xce\xfa\xad\x1b") }},
		{"hpfs", "", small, func(b image) { b.put(0x2000, "\x49\xe8\x95\xf9").put(0x2200, "\x49\x18\x91\xf9").put(0x26, "\x29") }},
		{"ufs", "", small, func(b image) { b.le32(8<<10+0x55c, 0x00011954) }},
		{"sysv", "", small, func(b image) { b.le32(512+504, 0xfd187e20) }},
		{"swsuspend", "", small, func(b image) { b.put(4086, "S1SUSPEND") }},
		{"ubi", "", small, func(b image) { b.put(0, "UBI#") }},
	} {
		t.Run(test.kind, func(t *testing.T) {
			b := make(image, test.size)
			test.build(b)
			path := sparse(t, int64(test.size), pieces(b))
			want, contents := blkid(t, path), scanFile(t, path)
			if want["TYPE"] != test.kind {
				t.Errorf("blkid says %v", want)
			}
			if len(contents.Found) != 1 || contents.Found[0].Kind != test.kind || contents.Found[0].Label != test.label {
				t.Fatalf("found %+v", contents.Found)
			}
			switch test.kind {
			case "linux_raid_member", "zfs_member", "reiser4", "drbd", "DM_verity_hash":
				if contents.Found[0].UUID != want["UUID"] {
					t.Errorf("UUID %q, but blkid says %q", contents.Found[0].UUID, want["UUID"])
				}
			}
		})
	}
}

// pieces are the blocks of an image that are not zero.
func pieces(b image) map[int64]string {
	list := map[int64]string{}
	for at := 0; at < len(b); at += 4096 {
		block := string(b[at:min(at+4096, len(b))])
		if block != string(make([]byte, len(block))) {
			list[int64(at)] = block
		}
	}
	return list
}

// TestBeyondBlkid: kinds that the libblkid of old systems, or every one, does not know.
func TestBeyondBlkid(t *testing.T) {
	for kind, b := range map[string]image{
		"bcachefs": make(image, 1<<20).put(4096+24, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef").put(4096+56, testUUID).put(4096+72, "cache"),
		"befs":     make(image, 1<<20).put(544, "BFS1"),
		"ldm":      make(image, 1<<20).put(6*512, "PRIVHEAD"),
		"aix":      make(image, 1<<20).put(0, "\xc9\xc2\xd4\xc1"),
		"bsd":      make(image, 1<<20).le32(512, 0x82564557).le32(512+132, 0x82564557),
		"mac":      make(image, 1<<20).put(0, "ER\x02\x00").put(512, "PM"),
		"gfs2":     make(image, 1<<20).put(64<<10, gfsMagic).be32(64<<10+24, 1801),
		"stratis":  make(image, 1<<20).put(516, stratisMagic),
	} {
		contents := scanFile(t, sparse(t, int64(len(b)), pieces(b)))
		if len(contents.Found) != 1 || contents.Found[0].Kind != kind {
			t.Errorf("%s: %v", kind, contents)
		}
	}
}

// TestPartitionAtTheEnd: metadata at the end of a partition that ends with the disk is the partition's.
func TestPartitionAtTheEnd(t *testing.T) {
	const size = 16 << 20
	path := sparse(t, size, nil)
	run(t, fmt.Sprintf("label: dos\nstart=2048, size=%d, type=fd\n", (size-1<<20)/512), "sfdisk", "-q", path)
	b := make(image, 64<<10).md0(0)
	for offset, data := range pieces(b) {
		patch(t, path, size-64<<10+offset, data)
	}
	contents := scanFile(t, path)
	if len(contents.Found) != 2 || contents.Found[0].Kind != "dos" || contents.Found[1].Kind != "linux_raid_member" || contents.Found[1].Partition != 1 {
		t.Errorf("%v", contents)
	}
}
