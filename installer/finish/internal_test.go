package finish

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/store"
)

func TestOnlyTheDeviceOfAMountIsAdopted(t *testing.T) {
	adopted := []Adopted{{Label: "PERSIST", Expected: "aaaa-1", Kept: "bbbb-2"}, {Label: "ESP", Expected: "12AB-34CD", Kept: "FFFF-0000"}}
	for before, want := range map[string]string{
		"":                                      "",
		"UUID=aaaa-1 /var ext4 defaults 0 2\n":  "UUID=bbbb-2 /var ext4 defaults 0 2\n",
		"UUID=AAAA-1\t/var":                     "UUID=bbbb-2\t/var",
		`UUID="aaaa-1" /var`:                    "UUID=bbbb-2 /var",
		" UUID=aaaa-1 / x\nUUID=12ab-34cd /b x": " UUID=bbbb-2 / x\nUUID=FFFF-0000 /b x",
		"# UUID=aaaa-1 /var\n":                  "# UUID=aaaa-1 /var\n",
		"UUID=aaaa-11 /var\n":                   "UUID=aaaa-11 /var\n",
		"PARTUUID=aaaa-1 /var\n":                "PARTUUID=aaaa-1 /var\n",
		"/dev/sda1 /UUID=aaaa-1 ext4\n":         "/dev/sda1 /UUID=aaaa-1 ext4\n",
		"UUID=aaaa-1":                           "UUID=aaaa-1", // no mount: nothing behind the device
	} {
		if got := string(adoptLines([]byte(before), adopted)); got != want {
			t.Errorf("%q becomes %q, want %q", before, got, want)
		}
	}
}

func TestAdoptInLeavesWhatItMustNotTouch(t *testing.T) {
	dir := t.TempDir()
	adopted := []Adopted{{Expected: "aaaa-1", Kept: "bbbb-2"}}
	if err := adoptIn(dir, adopted); err != nil {
		t.Errorf("a root without fstab gives %v", err)
	}
	// A link in the image must not make the installer write elsewhere.
	outside := filepath.Join(t.TempDir(), "fstab")
	if err := os.WriteFile(outside, []byte("UUID=aaaa-1 / x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "etc/fstab")); err != nil {
		t.Fatal(err)
	}
	if err := adoptIn(dir, adopted); err == nil {
		t.Error("a link out of the root is followed")
	}
	if p, err := os.ReadFile(outside); err != nil || string(p) != "UUID=aaaa-1 / x\n" {
		t.Errorf("the file outside reads %q, %v", p, err)
	}
}

func TestPartitionGUIDsOfAllDisks(t *testing.T) {
	sys, dev := t.TempDir(), t.TempDir()
	l, err := partition.Plan(0, partition.UUID(store.Digest{1}, "disk"), []partition.Spec{
		{Number: 1, Label: "A", Type: partition.TypeESP, GUID: partition.UUID(store.Digest{1}, "A"), Size: 1},
		{Number: 2, Label: "B", Type: partition.TypeLinux, GUID: partition.UUID(store.Digest{1}, "B"), Size: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	st := disktest.Store(t)
	im, err := partition.Compose(st, l, partition.Contents{})
	if err != nil {
		t.Fatal(err)
	}
	add := func(name, from string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(sys, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if from != "" {
			if err := os.Rename(from, filepath.Join(dev, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	add("sda", disktest.WriteFile(t, st, im))
	add("sdb", empty)
	got := partitionGUIDs(sys, dev)
	if len(got) != 2 || !got[l.Partitions[0].GUID] || !got[l.Partitions[1].GUID] {
		t.Errorf("the machine has the partitions %v", got)
	}
	add("sdc", "") // a disk that cannot be opened may have any
	if got := partitionGUIDs(sys, dev); got != nil {
		t.Errorf("with a disk that cannot be read it has the partitions %v", got)
	}
}
