package e2e

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/qemu"
)

// anyDisk is the policy of the media that the command line gives another one.
const anyDisk = `target {
    match = "smallest-empty"
  }`

// named gives a disk a serial number and an interface.
func named(disk qemu.Disk, serial string, on qemu.Interface) qemu.Disk {
	disk.Serial, disk.Interface = serial, on
	return disk
}

// testPolicy checks which disk of several is taken, or why none is, and that neither
// a refusal nor a dry run changes a byte.
func testPolicy(t *testing.T, m *medium) {
	const small, middle, large = 224 << 20, 256 << 20, 320 << 20
	ext4 := func(t *testing.T, size int64) qemu.Disk { return filled(t, size, "mke2fs", "-q", "-t", "ext4", "-F") }
	disksOfAllKinds := func(t *testing.T) []qemu.Disk {
		turning := named(blank(t, large), "TURNS", qemu.SATA)
		turning.RotationRate, turning.WWN = 7200, 0x5000c500a1b2c3d4
		return []qemu.Disk{
			named(blank(t, middle), "MIDDLE", qemu.VirtIO), named(blank(t, small), "SMALL", qemu.NVMe), turning,
			named(blank(t, 100<<20), "TINY", qemu.VirtIO), named(ext4(t, small-1<<20), "FULL", qemu.SCSI), named(blank(t, small), "STICK", qemu.USB),
		}
	}
	for _, c := range []struct {
		name      string
		disks     func(t *testing.T) []qemu.Disk
		arguments string
		taken     string   // serial number; "" for a refusal
		says      []string // on the console
	}{
		{name: "smallest empty", disks: disksOfAllKinds, taken: "SMALL"},
		{name: "largest empty", disks: disksOfAllKinds, arguments: "imagefactory.target=largest-empty", taken: "TURNS"},
		{name: "serial number", disks: disksOfAllKinds, arguments: "imagefactory.target=serial:MID*", taken: "MIDDLE"},
		{name: "path", disks: disksOfAllKinds, arguments: "imagefactory.target=/dev/nvme0n1", taken: "SMALL"},
		{name: "name by id", disks: disksOfAllKinds, arguments: "imagefactory.target=by-id:wwn-0x5000c500a1b2c3d4", taken: "TURNS"},
		{name: "stick by its name", disks: disksOfAllKinds, arguments: "imagefactory.target=serial:STICK", taken: "STICK"},
		{name: "wipe", disks: disksOfAllKinds, arguments: "imagefactory.target=serial:FULL imagefactory.wipe", taken: "FULL"},
		{
			name: "no wipe", disks: disksOfAllKinds, arguments: "imagefactory.target=serial:FULL",
			says: []string{"no disk of this machine may be installed on", "holds ext4", "is too small", "serial number"},
		},
		{
			name: "only one of many", disks: disksOfAllKinds, arguments: "imagefactory.target=only",
			says: []string{"3 disks fit, and the policy does not say which"},
		},
		{
			name: "two smallest",
			disks: func(t *testing.T) []qemu.Disk {
				return []qemu.Disk{named(blank(t, small), "ONE", qemu.VirtIO), named(blank(t, small), "TWO", qemu.SATA), named(blank(t, large), "THREE", qemu.SCSI)}
			},
			says: []string{"2 disks are equally the smallest", "ONE", "TWO", "THREE", "is larger than"},
		},
		{
			name:  "too small",
			disks: func(t *testing.T) []qemu.Disk { return []qemu.Disk{named(blank(t, 100<<20), "TINY", qemu.VirtIO)} },
			says:  []string{"no disk of this machine may be installed on", "is too small: it has 100 MiB and the image needs 192 MiB"},
		},
		{
			name:  "no disk",
			disks: func(t *testing.T) []qemu.Disk { return nil },
			says:  []string{"this machine has no disk that the installer can see"},
		},
		{
			name: "large sectors",
			disks: func(t *testing.T) []qemu.Disk {
				disk := named(blank(t, large), "LARGE-SECTORS", qemu.NVMe)
				disk.SectorSize = 4096
				return []qemu.Disk{disk}
			},
			says: []string{"has sectors of 4096 bytes, and the image's partition table is made for 512: format it to that size"},
		},
		{
			name: "driver that fails", disks: disksOfAllKinds, arguments: "nvme.io_queue_depth=none",
			says: []string{"disks may be missing here", "nvme (loading the module nvme: invalid argument)", "a disk behind it may be the one that is meant"},
		},
		{
			name: "driver that fails, and a disk that is named", disks: disksOfAllKinds,
			arguments: "nvme.io_queue_depth=none imagefactory.target=serial:MIDDLE", taken: "MIDDLE",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			disks := c.disks(t)
			same := unchanged(t, disks...)
			arguments := strings.TrimSpace(c.arguments)
			if c.taken != "" {
				arguments += " imagefactory.dry_run imagefactory.after=poweroff"
			}
			i := install(t, m.installer(arguments, append(slices.Clone(disks), m.cd())...))
			if c.taken == "" {
				i.refuses(c.says...)
			} else {
				i.takes(c.taken)
				i.until("done")
				i.ends()
			}
			i.vm.Quit()
			same()
		})
	}
}

// testForeign checks that no disk which holds what others wrote is taken, whatever it is.
func testForeign(t *testing.T, m *medium) {
	disks := foreignDisks(t, m.document.Payload.DiskSize+16<<20)
	same := unchanged(t, disks...)
	for _, arguments := range []string{"", "imagefactory.dry_run"} {
		t.Run("arguments "+arguments, func(t *testing.T) {
			if arguments != "" && !full() {
				t.Skip("only with IMAGEFACTORY_TEST=full")
			}
			alone(t)
			i := install(t, m.installer(arguments, append(slices.Clone(disks), m.cd())...))
			i.refuses(
				"no disk of this machine may be installed on",
				"bcache", "btrfs", "crypto_LUKS", "exfat", "f2fs", "gpt", "jfs", "LVM2_member", "linux_raid_member", "nilfs2", "ntfs", "dos", "reiserfs", "swap", "udf", "vfat", "xfs",
			)
			i.vm.Quit()
			same()
		})
	}
}

// takes waits for the decision, which must be the disk with this serial number.
func (i *installation) takes(serial string) {
	i.t.Helper()
	decision := i.until("decision").Decision
	if decision.Disk.Serial != serial {
		i.t.Errorf("the disk %s is taken, not %s: %+v", decision.Disk.Serial, serial, decision)
	}
	for _, candidate := range decision.Candidates {
		if candidate.Disk.Serial != serial && len(candidate.Reasons) == 0 {
			i.t.Errorf("nothing says why the disk %s is not taken", candidate.Disk.Serial)
		}
	}
}

// refuses waits for a decision that takes no disk, and for the prompt. The console
// must say all of says in between.
func (i *installation) refuses(says ...string) {
	i.t.Helper()
	decision := i.until("decision").Decision
	if decision.Problem == "" {
		i.t.Fatalf("a disk is taken: %+v", decision)
	}
	for _, candidate := range decision.Candidates {
		if candidate.Taken || len(candidate.Reasons) == 0 {
			i.t.Errorf("nothing says why the disk %s is not taken", candidate.Disk.Serial)
		}
	}
	failed := i.fails("Nothing was written to any disk.")
	if failed.Stage != "decision" {
		i.t.Errorf("it failed at %q", failed.Stage)
	}
	i.prompt()
	_, table, _ := strings.Cut(string(i.vm.Console.Transcript()), "FAILED (")
	for _, text := range says {
		if !strings.Contains(table, text) {
			i.t.Errorf("the console does not say %q", text)
		}
	}
}

// foreignDisks are disks with what others keep on them.
func foreignDisks(t *testing.T, size int64) []qemu.Disk {
	var disks []qemu.Disk
	add := func(disk qemu.Disk, name string) {
		disks = append(disks, named(disk, strings.ToUpper(name), qemu.SCSI))
	}
	for _, name := range []string{"bcache", "btrfs", "exfat", "f2fs", "jfs", "luks1", "luks2", "lvm2", "nilfs2", "ntfs", "ocfs2", "reiserfs", "udf", "xfs"} {
		add(recorded(t, name, size), name)
	}
	add(filled(t, size, "sgdisk", "-n", "1:0:0"), "gpt")
	add(filled(t, size, "mkfs.fat"), "vfat")
	add(filled(t, size, "mkswap", "-q"), "swap")
	add(filled(t, size, "sh", "-c", `echo 'type=83' | sfdisk --quiet --label dos "$0"`), "dos")
	add(raidMember(t, size), "raid")
	return disks
}

// raidMember makes a disk of an array: the superblock that mdadm writes by default,
// version 1.2 (linux/raid/md_p.h), which nothing but the kernel and mdadm on real
// devices make.
func raidMember(t *testing.T, size int64) qemu.Disk {
	t.Helper()
	const at, length, devices = 4096, 256, 2
	b := make([]byte, length+2*devices)
	le := binary.LittleEndian
	le.PutUint32(b[0:], 0xa92b4efc)                // magic
	le.PutUint32(b[4:], 1)                         // major version
	copy(b[16:], "0123456789abcdef")               // UUID of the array
	copy(b[32:], "host:array")                     // name
	le.PutUint32(b[72:], 1)                        // level
	le.PutUint64(b[80:], uint64(size/sector-2048)) // size
	le.PutUint32(b[92:], devices)
	le.PutUint64(b[128:], 2048)                     // where data begins
	le.PutUint64(b[136:], uint64(size/sector-2048)) // size of it
	le.PutUint64(b[144:], at/sector)                // where this superblock is
	le.PutUint32(b[220:], devices)                  // length of the table of roles
	copy(b[168:], "fedcba9876543210")               // UUID of the device
	var sum uint64
	for i := 0; i < len(b); i += 4 {
		sum += uint64(le.Uint32(b[i:]))
	}
	le.PutUint32(b[216:], uint32(sum)+uint32(sum>>32))
	disk := blank(t, size)
	write(t, disk.Path, at, b)
	return disk
}

// testPreserve installs on a disk whose PERSIST holds a file, twice: the
// file outlives it, the system is new.
func testPreserve(t *testing.T, m *medium) {
	const size = 320 << 20
	target := named(blank(t, size), "TARGET", qemu.VirtIO)
	t.Run("first", func(t *testing.T) {
		i := install(t, m.installer("imagefactory.after=poweroff", target, m.cd()))
		i.succeeds()
		m.checkInstalled(t, target.Path)
	})
	_, list := partitions(t, target.Path)
	persist, root := list[1], list[2]
	file := filepath.Join(t.TempDir(), "photograph")
	if err := os.WriteFile(file, noise(3<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	where := at(target.Path, persist.Start*sector)
	command(t, "debugfs", "-w", "-R", "write "+file+" photograph", where)
	// The system is damaged, which a new installation mends.
	write(t, target.Path, root.Start*sector+8<<20, noise(4<<20))

	t.Run("without being asked", func(t *testing.T) {
		same := unchanged(t, target)
		i := install(t, m.installer("", target, m.cd()))
		i.refuses("holds gpt partition table")
		i.vm.Quit()
		same()
	})
	const preserving = "imagefactory.target=only imagefactory.preserve=PERSIST imagefactory.after=poweroff"
	preserved := func(t *testing.T) {
		t.Helper()
		back := filepath.Join(t.TempDir(), "photograph")
		command(t, "debugfs", "-R", "dump photograph "+back, where)
		compareFiles(t, file, back)
		checkFilesystem(t, target.Path, persist.Start*sector, persist.Size*sector)
	}
	t.Run("cut short", func(t *testing.T) {
		i := install(t, m.installer(preserving, target, m.cd()))
		for e := i.until("write"); e.Done < e.Total/2; e = i.until("write") {
		}
		if err := i.vm.Kill(); err != nil {
			t.Fatal(err)
		}
		preserved(t)
	})
	t.Run("again", func(t *testing.T) {
		i := install(t, m.installer(preserving, target, m.cd()))
		i.succeeds()
		preserved(t)
		checkFilesystem(t, target.Path, root.Start*sector, root.Size*sector)
		compareRange(t, m.raw, target.Path, list[0].Start*sector, list[0].Size*sector)
		if out := command(t, "sgdisk", "--verify", target.Path); !strings.Contains(out, "No problems found") {
			t.Errorf("sgdisk: %s", out)
		}
	})
}
