package finish_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/installer/finish"
	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/partition"
)

// memoryVariables are firmware in memory.
type memoryVariables map[string][]byte

func (m memoryVariables) Names() ([]string, error) { return slices.Collect(maps.Keys(m)), nil }
func (m memoryVariables) Read(name string) ([]byte, error) {
	v, ok := m[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return v, nil
}
func (m memoryVariables) Write(name string, v []byte) error { m[name] = bytes.Clone(v); return nil }
func (m memoryVariables) Remove(name string) error {
	if _, ok := m[name]; !ok {
		return fs.ErrNotExist
	}
	delete(m, name)
	return nil
}

func entryOf(t testing.TB, label, build string) finish.BootEntry {
	t.Helper()
	boot, _ := planned(t, 40*mib, build).Partition("BOOT")
	return finish.BootEntry{Label: label, Partition: boot, Loader: `\EFI\debian\shimx64.efi`}
}

// TestEntryIsThatOfTheSpecification compares with bytes put together by hand from UEFI 2.10, sections 3.1.3 and 10.3.5.
func TestEntryIsThatOfTheSpecification(t *testing.T) {
	guid, err := partition.ParseGUID("01234567-89ab-cdef-fedc-ba9876543210")
	if err != nil {
		t.Fatal(err)
	}
	v := memoryVariables{}
	e := finish.BootEntry{Label: "Node ü", Loader: `\EFI\A.EFI`, Partition: partition.Placed{Number: 2, Start: 1 << 20, Size: 10 << 20, GUID: guid}}
	r, err := finish.SetBootEntry(v, e, nil)
	if err != nil || r.Name != "Boot0000" || r.Reused {
		t.Fatalf("%+v, %v", r, err)
	}
	want := "01000000" + "4a00" + // active; the path has 74 bytes
		"4e006f0064006500" + "2000" + "fc00" + "0000" + // the label
		"04012a00" + "02000000" + "0008000000000000" + "0050000000000000" + // hard drive: partition 2, sectors 2048 and 20480
		"67452301ab89efcd" + "fedcba9876543210" + "0202" + // its GUID, in a GPT
		"04041c00" + "5c004500460049005c0041002e00450046004900" + "0000" + // the file: 4 + 22 bytes, and 2 of terminator
		"7fff0400"
	want = strings.Replace(want, "4a00", fmt.Sprintf("%02x00", 42+4+2*len(`\EFI\A.EFI`)+2+4), 1)
	want = strings.Replace(want, "04041c00", fmt.Sprintf("0404%02x00", 4+2*len(`\EFI\A.EFI`)+2), 1)
	if got := hex.EncodeToString(v["Boot0000"]); got != want {
		t.Errorf("the entry is\n%s, want\n%s", got, want)
	}
	if got := hex.EncodeToString(v["BootOrder"]); got != "0000" {
		t.Errorf("the order is %s", got)
	}
}

func TestEntriesComeAndGo(t *testing.T) {
	v := memoryVariables{}
	set := func(e finish.BootEntry, present ...finish.BootEntry) finish.BootResult {
		t.Helper()
		guids := map[partition.GUID]bool{e.Partition.GUID: true}
		for _, p := range present {
			guids[p.Partition.GUID] = true
		}
		r, err := finish.SetBootEntry(v, e, guids)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	order := func() string { return hex.EncodeToString(v["BootOrder"]) }
	// What the firmware has of its own, one entry of which no order knows.
	for _, n := range []string{"Boot0000", "Boot0001", "Boot0003"} {
		v[n] = append([]byte{1, 0, 0, 0, 4, 0, 'U', 0, 'i', 0, 0, 0}, 0x7f, 0xff, 4, 0)
	}
	v["BootOrder"] = []byte{1, 0, 0, 0, 4, 0} // 4 does not exist any more
	v["BootNext"] = []byte{1, 0}
	v["Timeout"] = []byte{5, 0}

	first := entryOf(t, "node", "one")
	if r := set(first); r.Name != "Boot0002" || r.Reused || len(r.Removed) > 0 || order() != "0200"+"0100"+"0000"+"0400" {
		t.Errorf("a new entry: %+v, order %s", r, order())
	}
	if r := set(first); r.Name != "Boot0002" || !r.Reused || order() != "0200"+"0100"+"0000"+"0400" {
		t.Errorf("the same again: %+v, order %s", r, order())
	}
	v["BootOrder"] = []byte{1, 0, 2, 0}
	if r := set(first); !r.Reused || order() != "0200"+"0100" {
		t.Errorf("the same, but not first: %+v, order %s", r, order())
	}
	// Another disk with the same product, which stays.
	second := entryOf(t, "node", "two")
	if r := set(second, first); r.Name != "Boot0005" && r.Name != "Boot0004" || len(r.Removed) > 0 {
		t.Errorf("beside another disk's: %+v", r)
	}
	// A reinstallation of the second: its old partition is gone, the first's is not.
	third := entryOf(t, "node", "three")
	if r := set(third, first); len(r.Removed) != 1 || v["Boot0002"] == nil {
		t.Errorf("after a reinstallation: %+v", r)
	}
	// The same partition with another loader.
	changed := third
	changed.Loader = `\EFI\BOOT\BOOTX64.EFI`
	if r := set(changed, first); len(r.Removed) != 1 || r.Reused {
		t.Errorf("with another loader: %+v", r)
	}
	// Nobody else's entry goes, whatever is present.
	other := entryOf(t, "other", "four")
	set(other)
	if r := set(entryOf(t, "node", "five")); v["Boot0000"] == nil || v["Boot0001"] == nil || v["Boot0003"] == nil || len(r.Removed) != 2 {
		t.Errorf("with other disks gone: %+v", r)
	}
	// Disks that could not be read may be there.
	before := len(v)
	if r, err := finish.SetBootEntry(v, entryOf(t, "node", "six"), nil); err != nil || len(r.Removed) > 0 || len(v) != before+1 {
		t.Errorf("with unknown disks: %+v, %v", r, err)
	}
}

func TestEntryRefuses(t *testing.T) {
	for name, change := range map[string]func(e *finish.BootEntry){
		"no label":            func(e *finish.BootEntry) { e.Label = "" },
		"a path with slashes": func(e *finish.BootEntry) { e.Loader = "/EFI/BOOT/BOOTX64.EFI" },
		"a relative path":     func(e *finish.BootEntry) { e.Loader = `EFI\BOOT` },
		"no partition":        func(e *finish.BootEntry) { e.Partition = partition.Placed{} },
	} {
		e := entryOf(t, "node", "one")
		change(&e)
		v := memoryVariables{}
		if _, err := finish.SetBootEntry(v, e, nil); err == nil || len(v) > 0 {
			t.Errorf("%s: error %v, variables %v", name, err, v)
		}
	}
}

// TestEfibootmgrSeesOurEntry has the usual tool read what is written, in a directory that stands for efivarfs, and write the
// same entry itself.
func TestEfibootmgrSeesOurEntry(t *testing.T) {
	dir := t.TempDir() + "/" // efivar wants it so
	t.Setenv("EFIVARFS_PATH", dir)
	l := planned(t, 40*mib, "one")
	boot, _ := l.Partition("BOOT")
	e := finish.BootEntry{Label: "KUBE node", Partition: boot, Loader: `\EFI\debian\shimx64.efi`}
	r, err := finish.SetBootEntry(finish.EFIVarFS(dir), e, nil)
	if err != nil {
		t.Fatal(err)
	}
	out := disktest.Run(t, "efibootmgr", "-v")
	device := fmt.Sprintf("HD(2,GPT,%s,0x%x,0x%x)", boot.GUID, boot.Start/512, boot.Size/512)
	for _, want := range []string{"BootOrder: 0000", "Boot0000* KUBE node", device, `File(\EFI\debian\shimx64.efi)`} {
		if !strings.Contains(out, want) {
			t.Errorf("efibootmgr lacks %q:\n%s", want, out)
		}
	}
	ours, err := finish.EFIVarFS(dir).Read(r.Name)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, "Boot0000-8be4df61-93ca-11d2-aa0d-00e098032b8c"))
	if err != nil || !bytes.Equal(file[:4], []byte{7, 0, 0, 0}) {
		t.Errorf("the attributes are % x, %v", file[:4], err)
	}
	// An entry with the same label of a partition that is gone is replaced.
	again := e
	again.Partition, _ = planned(t, 40*mib, "two").Partition("BOOT")
	r, err = finish.SetBootEntry(finish.EFIVarFS(dir), again, map[partition.GUID]bool{again.Partition.GUID: true})
	if err != nil || !slices.Equal(r.Removed, []string{"Boot0000"}) {
		t.Errorf("%+v, %v", r, err)
	}

	path := imageFile(t, l, l.Size)
	device = loop(t, path)
	theirs := t.TempDir() + "/"
	t.Setenv("EFIVARFS_PATH", theirs)
	disktest.Run(t, "efibootmgr", "-c", "-d", device, "-p", "2", "-L", e.Label, "-l", e.Loader)
	reference, err := finish.EFIVarFS(theirs).Read("Boot0000")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours, reference) {
		t.Errorf("we write\n%x, efibootmgr\n%x", ours, reference)
	}
}

// FuzzBootEntries sets an entry in firmware whose variables hold anything.
func FuzzBootEntries(f *testing.F) {
	v := memoryVariables{}
	e := entryOf(f, "node", "one")
	if _, err := finish.SetBootEntry(v, e, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(v["Boot0000"], []byte{0, 0, 7, 0})
	f.Add([]byte{1, 0, 0, 0, 0xff, 0xff, 0, 0}, []byte{1})
	f.Fuzz(func(t *testing.T, option, order []byte) {
		v := memoryVariables{"Boot0000": option, "BootFFFF": option, "BootOrder": order, "Boot": option, "BootXYZW": option}
		r, err := finish.SetBootEntry(v, e, map[partition.GUID]bool{e.Partition.GUID: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := v["BootOrder"]; len(got) < 2 || fmt.Sprintf("Boot%02X%02X", got[1], got[0]) != r.Name || v[r.Name] == nil {
			t.Errorf("%s was set, and the order is % x", r.Name, got)
		}
		again, err := finish.SetBootEntry(v, e, map[partition.GUID]bool{e.Partition.GUID: true})
		if err != nil || !again.Reused || again.Name != r.Name {
			t.Errorf("repeated it gives %+v, %v", again, err)
		}
	})
}
