package target

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/disks"
	"github.com/imagefactory/imagefactory/installer/signature"
)

const gib = 1 << 30

// machine is a server with a disk of every kind: what each case changes is all it is about.
func machine() []disks.Disk {
	return []disks.Disk{
		{
			Name: "nvme0n1", Path: "/dev/nvme0n1", Size: 960 * gib, LogicalSector: 512, Transport: disks.NVMe,
			Model: "SAMSUNG MZQL2960HCJR-00A07", Serial: "S64FNE0R100001", WWN: "eui.36344630520000010025384500000001",
			ByID:   []string{"nvme-SAMSUNG_MZQL2960HCJR-00A07_S64FNE0R100001", "nvme-eui.36344630520000010025384500000001"},
			ByPath: []string{"pci-0000:01:00.0-nvme-1"},
		},
		{
			Name: "sda", Path: "/dev/sda", Size: 480 * gib, LogicalSector: 512, Transport: disks.SATA,
			Vendor: "ATA", Model: "INTEL SSDSC2KB480G8", Serial: "PHYF001", WWN: "0x55cd2e4150000001",
			ByID:       []string{"ata-INTEL_SSDSC2KB480G8_PHYF001", "wwn-0x55cd2e4150000001"},
			ByPath:     []string{"pci-0000:00:17.0-ata-1", "pci-0000:00:17.0-ata-1.0"},
			Partitions: []disks.Partition{{Name: "sda1", Path: "/dev/sda1", Number: 1}},
		},
		{
			Name: "sdb", Path: "/dev/sdb", Size: 4000 * gib, LogicalSector: 512, Transport: disks.SAS, Rotational: true,
			Vendor: "SEAGATE", Model: "ST4000NM0095", Serial: "ZC1/0001", WWN: "0x5000c50094000001",
			ByID:   []string{"scsi-35000c50094000001", "wwn-0x5000c50094000001"},
			ByPath: []string{"pci-0000:3b:00.0-sas-phy0-lun-0"},
		},
		{
			Name: "sdc", Path: "/dev/sdc", Size: 32 * gib, LogicalSector: 512, Transport: disks.USB, Removable: true,
			Vendor: "SanDisk", Model: "Ultra", Serial: "4C530001",
			ByID:       []string{"usb-SanDisk_Ultra_4C530001-0:0"},
			ByPath:     []string{"pci-0000:00:14.0-usb-0:3:1.0-scsi-0:0:0:0"},
			Partitions: []disks.Partition{{Name: "sdc1", Path: "/dev/sdc1", Number: 1}, {Name: "sdc2", Path: "/dev/sdc2", Number: 2}},
		},
	}
}

var (
	// installed is what an earlier installation left.
	installed = signature.Contents{
		Found: []signature.Found{
			{Kind: "gpt", Usage: signature.PartitionTable},
			{Kind: "vfat", Usage: signature.Filesystem, Label: "BOOT", Partition: 1},
			{Kind: "xfs", Usage: signature.Filesystem, Label: "ROOT-A", Partition: 2},
			{Kind: "xfs", Usage: signature.Filesystem, Label: "PERSIST", Partition: 4},
		},
		Partitions: []signature.Partition{{Number: 1, Label: "BOOT"}, {Number: 2, Label: "ROOT-A"}, {Number: 3, Label: "ROOT-B"}, {Number: 4, Label: "PERSIST"}},
	}
	other   = signature.Contents{Found: []signature.Found{{Kind: "LVM2_member", Usage: signature.VolumeManager}}}
	unknown = signature.Contents{Unknown: true}
)

// contents gives every disk something to hold; disks that are not named are empty.
func contents(all []disks.Disk, held map[string]signature.Contents) map[string]Inspection {
	list := map[string]Inspection{}
	for _, d := range all {
		list[d.Name] = Inspection{Contents: held[d.Name]}
	}
	return list
}

// sameLayout says that some disks have the image's partitions.
func sameLayout(names ...string) func(disks.Disk, []string) error {
	return func(d disks.Disk, labels []string) error {
		if slices.Contains(names, d.Name) {
			return nil
		}
		return errors.New("partition PERSIST begins at 1 MiB, and in the image at 16485 MiB")
	}
}

func TestChoose(t *testing.T) {
	yes, no := true, false
	type held = map[string]signature.Contents
	for _, test := range []struct {
		name   string
		change func(all []disks.Disk) []disks.Disk
		medium string // "sdc" unless set
		policy config.Target
		held   held
		layout func(disks.Disk, []string) error
		want   string   // the disk's name, or nothing
		says   []string // parts of the error
	}{
		// Which of several.
		{name: "smallest", policy: config.Target{Match: config.MatchSmallestEmpty}, want: "sda"},
		{name: "largest", policy: config.Target{Match: config.MatchLargestEmpty}, want: "sdb"},
		{name: "smallest of the empty ones", policy: config.Target{Match: config.MatchSmallestEmpty}, held: held{"sda": other}, want: "nvme0n1"},
		{name: "largest of the empty ones", policy: config.Target{Match: config.MatchLargestEmpty}, held: held{"sdb": installed}, want: "nvme0n1"},
		{name: "only, but there are three", policy: config.Target{Match: config.MatchOnly}, says: []string{"3 disks fit", "nvme0n1, sda, sdb", "fits, and so do others"}},
		{name: "nothing asked is only", policy: config.Target{}, says: []string{"3 disks fit"}},
		{name: "only, and two hold data", policy: config.Target{Match: config.MatchOnly}, held: held{"sda": other, "sdb": unknown}, want: "nvme0n1"},
		{name: "only one disk", change: func(all []disks.Disk) []disks.Disk { return all[1:2] }, policy: config.Target{Match: config.MatchOnly}, want: "sda"},
		{
			name: "two of the smallest size", policy: config.Target{Match: config.MatchSmallestEmpty},
			change: func(all []disks.Disk) []disks.Disk { all[0].Size = all[1].Size; return all },
			says:   []string{"2 disks are equally the smallest: nvme0n1, sda have 480 GiB each", "is larger than nvme0n1"},
		},
		{
			name: "two of the largest size", policy: config.Target{Match: config.MatchLargestEmpty},
			change: func(all []disks.Disk) []disks.Disk { all[0].Size = all[2].Size; return all },
			says:   []string{"2 disks are equally the largest", "is smaller than"},
		},
		{
			name: "a tie of larger ones does not matter", policy: config.Target{Match: config.MatchSmallestEmpty},
			change: func(all []disks.Disk) []disks.Disk { all[0].Size = all[2].Size; return all }, want: "sda",
		},
		{
			name: "a sector less is smaller", policy: config.Target{Match: config.MatchSmallestEmpty},
			change: func(all []disks.Disk) []disks.Disk { all[0].Size = all[1].Size - 512; return all }, want: "nvme0n1",
		},

		// Conditions.
		{name: "by path of the device", policy: config.Target{Path: "/dev/sdb"}, want: "sdb"},
		{name: "by path in by-id", policy: config.Target{Path: "/dev/disk/by-id/wwn-0x5000c50094000001"}, want: "sdb"},
		{name: "by path in by-path", policy: config.Target{Path: "/dev/disk/by-path/pci-0000:01:00.0-nvme-1"}, want: "nvme0n1"},
		{name: "by a path nobody has", policy: config.Target{Path: "/dev/sdz"}, says: []string{"no disk of this machine may be installed on", "is not /dev/sdz"}},
		{name: "by the path of a partition", policy: config.Target{Path: "/dev/sda1"}, says: []string{"is not /dev/sda1"}},
		{name: "by-id", policy: config.Target{ByID: "ata-INTEL_SSDSC2KB480G8_PHYF001"}, want: "sda"},
		{name: "by-id with the directory", policy: config.Target{ByID: "/dev/disk/by-id/ata-INTEL_*"}, want: "sda"},
		{name: "by-id glob", policy: config.Target{ByID: "nvme-SAMSUNG_*"}, want: "nvme0n1"},
		{name: "by-id glob of several", policy: config.Target{ByID: "wwn-*"}, says: []string{"2 disks fit", "sda, sdb"}},
		{name: "by-id glob of several, then the smallest", policy: config.Target{ByID: "wwn-*", Match: config.MatchSmallestEmpty}, want: "sda"},
		{name: "by-id must match wholly", policy: config.Target{ByID: "ata-INTEL"}, says: []string{`has the name in /dev/disk/by-id "ata-INTEL_SSDSC2KB480G8_PHYF001", and "ata-INTEL" is wanted`}},
		{name: "by-path", policy: config.Target{ByPath: "pci-0000:00:17.0-ata-1"}, want: "sda"},
		{name: "by-path glob", policy: config.Target{ByPath: "*-sas-phy0-*"}, want: "sdb"},
		{name: "serial", policy: config.Target{Serial: "PHYF001"}, want: "sda"},
		{name: "serial with a slash", policy: config.Target{Serial: "ZC1*"}, want: "sdb"},
		{name: "serial class", policy: config.Target{Serial: "PHYF00[12]"}, want: "sda"},
		{name: "no such serial", policy: config.Target{Serial: "X*"}, says: []string{`has the serial number "PHYF001", and "X*" is wanted`}},
		{
			name: "a disk without a serial number", policy: config.Target{Serial: "*"},
			change: func(all []disks.Disk) []disks.Disk { all[1].Serial = ""; return all[1:2] },
			says:   []string{`has no serial number, and "*" is wanted`},
		},
		{name: "WWN", policy: config.Target{WWN: "0x55cd2e4150000001"}, want: "sda"},
		{name: "WWN without a prefix, in capitals", policy: config.Target{WWN: "55CD2E4150000001"}, want: "sda"},
		{name: "WWN as sysfs has it", policy: config.Target{WWN: "naa.5000c500*"}, want: "sdb"},
		{name: "WWN as by-id has it", policy: config.Target{WWN: "wwn-0x5000c500*"}, want: "sdb"},
		{name: "WWN of NVMe", policy: config.Target{WWN: "eui.3634*"}, want: "nvme0n1"},
		{name: "model", policy: config.Target{Model: "INTEL SSDSC2KB*"}, want: "sda"},
		{name: "model with underscores", policy: config.Target{Model: "INTEL_SSDSC2KB*"}, want: "sda"},
		{name: "at least", policy: config.Target{MinSize: 961 * gib}, want: "sdb"},
		{name: "at least, inclusive", policy: config.Target{MinSize: 4000 * gib}, want: "sdb"},
		{name: "at most, inclusive", policy: config.Target{MaxSize: 480 * gib}, want: "sda"},
		{name: "at most, exclusive", policy: config.Target{MaxSize: 480*gib - 1}, says: []string{"has 480 GiB, more than the 480.0 GiB (515396075519 bytes) that are wanted"}},
		{name: "between", policy: config.Target{MinSize: 500 * gib, MaxSize: 1000 * gib}, want: "nvme0n1"},
		{name: "rotational", policy: config.Target{Rotational: &yes}, want: "sdb"},
		{name: "not rotational", policy: config.Target{Rotational: &no, Match: config.MatchLargestEmpty}, want: "nvme0n1"},
		{name: "transport", policy: config.Target{Transport: "nvme"}, want: "nvme0n1"},
		{name: "serial ATA is ATA", policy: config.Target{Transport: "ata"}, want: "sda"},
		{name: "no such transport", policy: config.Target{Transport: "virtio"}, says: []string{"is connected by sata, and virtio is wanted"}},
		{name: "all conditions together", policy: config.Target{Transport: "sata", Serial: "PHYF*", MinSize: 400 * gib, Rotational: &no}, want: "sda"},
		{name: "all but one", policy: config.Target{Transport: "sata", Serial: "PHYF*", MinSize: 500 * gib}, says: []string{"has 480 GiB, less than the 500 GiB that are wanted"}},

		// The medium.
		{name: "the medium by its path", medium: "/dev/sdc", policy: config.Target{Path: "/dev/sdc"}, says: []string{"is the medium the installer runs from"}},
		{name: "the medium by its partition", medium: "/dev/sdc2", policy: config.Target{Transport: "usb", Wipe: true}, says: []string{"is the medium the installer runs from"}},
		{name: "the medium by its serial", policy: config.Target{Serial: "4C530001", Wipe: true}, says: []string{"is the medium the installer runs from"}},
		{name: "the medium is a SATA disk", medium: "sda1", policy: config.Target{Match: config.MatchSmallestEmpty}, want: "nvme0n1"},
		{
			name: "another path to the medium", medium: "sda", policy: config.Target{Path: "/dev/sdb", Wipe: true},
			change: func(all []disks.Disk) []disks.Disk { all[2].WWN = all[1].WWN; return all },
			says:   []string{"is the medium the installer runs from"},
		},

		// Disks that cannot be installed on.
		{
			name: "read-only", policy: config.Target{Path: "/dev/sda"},
			change: func(all []disks.Disk) []disks.Disk { all[1].ReadOnly = true; return all }, says: []string{"is read-only"},
		},
		{
			name: "too small", policy: config.Target{Match: config.MatchSmallestEmpty},
			change: func(all []disks.Disk) []disks.Disk { all[1].Size = 20*gib - 512; return all }, want: "nvme0n1",
		},
		{
			name: "just large enough", policy: config.Target{Match: config.MatchSmallestEmpty},
			change: func(all []disks.Disk) []disks.Disk { all[1].Size = 20 * gib; return all }, want: "sda",
		},
		{
			name: "too small is said exactly", policy: config.Target{Path: "/dev/sda"},
			change: func(all []disks.Disk) []disks.Disk { all[1].Size = 20*gib - 512; return all },
			says:   []string{"is too small: it has 20.0 GiB (21474835968 bytes) and the image needs 20 GiB"},
		},
		{
			name: "no medium in the drive", policy: config.Target{Path: "/dev/sda"},
			change: func(all []disks.Disk) []disks.Disk { all[1].Size = 0; return all }, says: []string{"has no medium in it"},
		},
		{
			name: "large sectors", policy: config.Target{Path: "/dev/sda"},
			change: func(all []disks.Disk) []disks.Disk { all[1].LogicalSector = 4096; return all },
			says:   []string{"has sectors of 4096 bytes, and the image's partition table is made for 512"},
		},
		{
			name: "zones", policy: config.Target{Path: "/dev/sda"},
			change: func(all []disks.Disk) []disks.Disk { all[1].HostManagedZones = true; return all }, says: []string{"can only be written in zones"},
		},
		{
			name: "in use, even with wipe", policy: config.Target{Path: "/dev/sda", Wipe: true},
			change: func(all []disks.Disk) []disks.Disk { all[1].Holders = []string{"dm-0", "md127"}; return all },
			says:   []string{"is in use by dm-0, md127"},
		},
		{name: "no disk at all", change: func([]disks.Disk) []disks.Disk { return nil }, says: []string{"this machine has no disk that the installer can see"}},

		// Removable disks.
		{name: "USB is not taken by chance", medium: "/dev/sr0", policy: config.Target{Match: config.MatchSmallestEmpty}, want: "sda"},
		{
			name: "USB alone is not taken by chance", medium: "/dev/sr0", policy: config.Target{},
			change: func(all []disks.Disk) []disks.Disk { return all[3:] }, says: []string{"is connected by USB, and nothing in the policy names it"},
		},
		{name: "USB when asked for", medium: "/dev/sr0", policy: config.Target{Transport: "usb"}, want: "sdc"},
		{name: "USB when named", medium: "/dev/sr0", policy: config.Target{ByID: "usb-SanDisk_*"}, want: "sdc"},
		{
			name: "removable", medium: "/dev/sr0", policy: config.Target{},
			change: func(all []disks.Disk) []disks.Disk { all[1].Removable = true; return all[1:2] },
			says:   []string{"is removable, and nothing in the policy names it"},
		},

		// Disks that hold something.
		{name: "data is refused", policy: config.Target{Path: "/dev/sda"}, held: held{"sda": other}, says: []string{"holds LVM2_member: only wipe = true"}},
		{name: "data of an unknown kind is refused", policy: config.Target{Path: "/dev/sda"}, held: held{"sda": unknown}, says: []string{"holds data of an unknown kind"}},
		{name: "wipe", policy: config.Target{Path: "/dev/sda", Wipe: true}, held: held{"sda": other}, want: "sda"},
		{name: "wipe of unknown data", policy: config.Target{Path: "/dev/sda", Wipe: true}, held: held{"sda": unknown}, want: "sda"},
		{name: "with wipe every disk counts as empty", policy: config.Target{Match: config.MatchSmallestEmpty, Wipe: true}, held: held{"sda": installed}, want: "sda"},
		{name: "wipe does not choose", policy: config.Target{Wipe: true}, says: []string{"3 disks fit"}},

		// Preserved partitions.
		{
			name: "preserve", policy: config.Target{Path: "/dev/sda", Preserve: []string{"PERSIST"}},
			held: held{"sda": installed}, layout: sameLayout("sda"), want: "sda",
		},
		{
			name: "preserve, but another layout", policy: config.Target{Path: "/dev/sda", Preserve: []string{"PERSIST"}},
			held: held{"sda": installed}, layout: sameLayout(),
			says: []string{"holds gpt partition table, vfat \"BOOT\" on partition 1", "does not have the partitions to preserve: partition PERSIST begins at 1 MiB"},
		},
		{
			name: "preserve on an empty disk is a first installation", policy: config.Target{Path: "/dev/sda", Preserve: []string{"PERSIST"}},
			layout: sameLayout(), want: "sda",
		},
		{
			name: "preserve finds the disk", policy: config.Target{Match: config.MatchSmallestEmpty, Preserve: []string{"PERSIST"}},
			held: held{"nvme0n1": installed}, layout: sameLayout("nvme0n1"), want: "nvme0n1",
		},
		{
			name: "preserve on two disks", policy: config.Target{Preserve: []string{"PERSIST"}},
			held: held{"nvme0n1": installed, "sdb": installed}, layout: sameLayout("nvme0n1", "sdb"),
			says: []string{"2 disks fit", "does not hold the partitions to preserve, and another disk does"},
		},
		{
			name: "preserve and wipe: another layout is wiped", policy: config.Target{Path: "/dev/sda", Preserve: []string{"PERSIST"}, Wipe: true},
			held: held{"sda": installed}, layout: sameLayout(), want: "sda",
		},
		{
			name: "preserve and no way to tell", policy: config.Target{Path: "/dev/sda", Preserve: []string{"PERSIST"}},
			held: held{"sda": installed}, says: []string{"holds gpt"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			all := machine()
			if test.change != nil {
				all = test.change(all)
			}
			medium := test.medium
			if medium == "" {
				medium = "/dev/sdc"
			}
			decision, err := Choose(all, medium, test.policy, Options{Contents: contents(all, test.held), ImageSize: 20 * gib, Layout: test.layout})
			if test.want != "" {
				if err != nil {
					t.Fatalf("%s is expected, but: %v", test.want, err)
				}
				if decision.Disk.Name != test.want {
					t.Fatalf("%s is taken, %s is expected:\n%s", decision.Disk.Name, test.want, decision.Table())
				}
				return
			}
			if err == nil {
				t.Fatalf("%s is taken:\n%s", decision.Disk.Name, decision.Table())
			}
			for _, part := range test.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the message lacks %q:\n%v", part, err)
				}
			}
			var noDisk *NoDisk
			if !errors.As(err, &noDisk) {
				t.Fatalf("%T", err)
			}
			for _, c := range noDisk.Candidates {
				if len(c.Reasons) == 0 || c.Taken {
					t.Errorf("%s has no reason: %+v", c.Disk.Name, c)
				}
			}
		})
	}
}

// TestUnreadable: what nobody could look at is not empty, and wipe is no permission to find out.
func TestUnreadable(t *testing.T) {
	all := machine()
	inspections := contents(all, nil)
	inspections["sda"] = Inspection{Err: errors.New("65536 bytes at offset 0 cannot be read: input/output error")}
	delete(inspections, "nvme0n1")
	for _, wipe := range []bool{false, true} {
		decision, err := Choose(all, "/dev/sdc", config.Target{Match: config.MatchSmallestEmpty, Wipe: wipe}, Options{Contents: inspections, ImageSize: gib})
		if err != nil || decision.Disk.Name != "sdb" {
			t.Fatalf("%v, %v", decision.Disk.Name, err)
		}
		if table := decision.Table(); !strings.Contains(table, "cannot be read: 65536 bytes at offset 0") || !strings.Contains(table, "nobody knows what it holds") {
			t.Errorf("\n%s", table)
		}
	}
}

// TestFailedDriver: a disk that nobody sees may be the smallest one, and make another not the only one.
func TestFailedDriver(t *testing.T) {
	for _, test := range []struct {
		policy config.Target
		want   string // nothing for a refusal
	}{
		{config.Target{Match: config.MatchSmallestEmpty}, ""},
		{config.Target{Match: config.MatchLargestEmpty, Wipe: true}, ""},
		{config.Target{Match: config.MatchOnly, Model: "ST4000*"}, ""},
		{config.Target{Serial: "ZC1*"}, ""},
		{config.Target{Transport: "sas"}, ""},
		{config.Target{Path: "/dev/sdb"}, ""}, // another disk may have had this name, had it been seen
		{config.Target{Match: config.MatchSmallestEmpty, Serial: "ZC1/0001"}, "sdb"},
		{config.Target{WWN: "5000c50094000001"}, "sdb"},
		{config.Target{ByID: "wwn-0x5000c50094000001"}, "sdb"},
		{config.Target{Path: "/dev/disk/by-path/pci-0000:3b:00.0-sas-phy0-lun-0"}, "sdb"},
	} {
		all := machine()
		decision, err := Choose(all, "/dev/sdc", test.policy, Options{
			Contents: contents(all, nil), ImageSize: gib, FailedDrivers: []string{"megaraid_sas (loading the module megaraid_sas: exec format error)"},
		})
		if decision.Disk.Name != test.want {
			t.Errorf("%+v: %q is taken: %v", test.policy, decision.Disk.Name, err)
		}
		if test.want != "" {
			continue
		}
		none := (*NoDisk)(nil)
		if !errors.As(err, &none) || !strings.Contains(none.Problem, "megaraid_sas (loading the module") {
			t.Errorf("%+v: %v", test.policy, err)
			continue
		}
		for _, c := range none.Candidates {
			if len(c.Reasons) == 0 {
				t.Errorf("%+v: nothing says why %s is not taken", test.policy, c.Disk.Name)
			}
		}
	}
	_, err := Choose(nil, "", config.Target{Serial: "ZC1/0001"}, Options{FailedDrivers: []string{"nvme (reason)"}})
	if err == nil || !strings.Contains(err.Error(), "no disk that the installer can see") || !strings.Contains(err.Error(), "nvme (reason)") {
		t.Error(err)
	}
}

// TestMediumNames: a partition belongs to its disk, and to no other whose name begins alike.
func TestMediumNames(t *testing.T) {
	for _, test := range []struct {
		name, disk string
		want       bool
	}{
		{"sda", "sda", true}, {"/dev/sda", "/dev/sda", true}, {"sda12", "sda", true}, {"sdaa", "sda", false}, {"sdaa1", "sda", false},
		{"sda", "sdaa", false}, {"nvme0n1p2", "nvme0n1", true}, {"nvme0n12", "nvme0n1", false}, {"nvme0n1p", "nvme0n1", false},
		{"mmcblk0p1", "mmcblk0", true}, {"mmcblk0boot0", "mmcblk0", false}, {"", "sda", false}, {"", "", false}, {"sda", "", false},
	} {
		if got := leadsTo(test.name, test.disk); got != test.want {
			t.Errorf("%q of %q: %v", test.name, test.disk, got)
		}
	}
}

// TestDecision checks what a dry run prints.
func TestDecision(t *testing.T) {
	all := machine()
	decision, err := Choose(all, "/dev/sdc", config.Target{Serial: "PHYF001", Preserve: []string{"PERSIST"}},
		Options{Contents: contents(all, map[string]signature.Contents{"sda": installed}), ImageSize: 20 * gib, Layout: sameLayout("sda")})
	if err != nil {
		t.Fatal(err)
	}
	if len(decision.Kept) != 1 || decision.Kept[0].Label != "PERSIST" || len(decision.Wiped) != 3 || !slices.Equal(decision.Preserve, []string{"PERSIST"}) {
		t.Errorf("kept %v, wiped %v, preserve %v", decision.Kept, decision.Wiped, decision.Preserve)
	}
	encoded, err := json.Marshal(decision)
	if err != nil {
		t.Fatal(err)
	}
	var decoded struct {
		Disk  struct{ Path, Serial string }
		Wiped []struct{ Kind string }
		Kept  []struct {
			Label     string
			Partition int
		}
		Candidates []struct {
			Disk    struct{ Name string }
			Taken   bool
			Reasons []string
		}
	}
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		t.Fatal(err)
	}
	if decoded.Disk.Path != "/dev/sda" || len(decoded.Wiped) != 3 || decoded.Kept[0].Partition != 4 || len(decoded.Candidates) != 4 {
		t.Errorf("%s", encoded)
	}
	for _, c := range decoded.Candidates {
		if c.Taken != (c.Disk.Name == "sda") || c.Taken == (len(c.Reasons) > 0) {
			t.Errorf("%+v", c)
		}
	}

	wiped, err := Choose(all, "", config.Target{Serial: "PHYF001", Preserve: []string{"PERSIST"}, Wipe: true},
		Options{Contents: contents(all, map[string]signature.Contents{"sda": installed}), ImageSize: 20 * gib, Layout: sameLayout()})
	if err != nil || len(wiped.Kept) != 0 || len(wiped.Wiped) != 4 || wiped.Preserve != nil {
		t.Errorf("%+v, %v", wiped, err)
	}
	if encoded, _ := json.Marshal(wiped); !strings.Contains(string(encoded), `"kept":[]`) {
		t.Errorf("%s", encoded)
	}
}

// TestTable is what a technician reads on the console.
func TestTable(t *testing.T) {
	all := machine()
	all[1].Model = "EVIL\x1b[2J\x07 DISK"
	_, err := Choose(all, "/dev/sdc1", config.Target{MinSize: 1000 * gib}, Options{
		Contents:  contents(all, map[string]signature.Contents{"sdb": installed}),
		ImageSize: 500 * gib,
		Skipped:   []disks.Skipped{{Name: "sr0", Why: "an optical drive"}, {Name: "loop0", Why: "a loop device"}, {Name: "md127", Why: "a software RAID: made of other disks"}},
	})
	const want = `no disk of this machine may be installed on:
DISK     SIZE       BUS   MODEL                       SERIAL
nvme0n1  960.0 GiB  nvme  SAMSUNG MZQL2960HCJR-00A07  S64FNE0R100001
  - has 960 GiB, less than the 1000 GiB that are wanted
sda      480.0 GiB  sata  EVIL?[2J? DISK              PHYF001
  - is too small: it has 480 GiB and the image needs 500 GiB
  - has 480 GiB, less than the 1000 GiB that are wanted
sdb      3.9 TiB    sas   SEAGATE ST4000NM0095        ZC1/0001
  - holds gpt partition table, vfat "BOOT" on partition 1, xfs "ROOT-A" on partition 2, xfs "PERSIST" on partition 4: only wipe = true, or imagefactory.wipe on the kernel command line, allows to overwrite it
sdc      32.0 GiB   usb   SanDisk Ultra               4C530001
  - is the medium the installer runs from
sr0 is no disk: an optical drive
md127 is no disk: a software RAID: made of other disks`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}
