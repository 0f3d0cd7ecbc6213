package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/qemu"
)

func TestNewestImage(t *testing.T) {
	dir := t.TempDir()
	for _, iso := range []bool{false, true} {
		if _, err := newestImage(dir, iso); err == nil || !strings.Contains(err.Error(), "build one first") {
			t.Errorf("an empty directory: %v", err)
		}
	}
	for i, name := range []string{"old.raw", "new.qcow2", "older.raw", "newest.raw.sha256", "manifest.json", "old.iso", "new.iso", "new.iso.sha256"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		when := time.Unix([]int64{1000, 2000, 500, 9000, 9000, 3000, 4000, 9000}[i], 0)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	for iso, want := range map[bool]string{false: "new.qcow2", true: "new.iso"} {
		if got, err := newestImage(dir, iso); err != nil || filepath.Base(got) != want {
			t.Errorf("the newest image is %s, %v, want %s", got, err, want)
		}
	}
}

func TestDiskOptions(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{"a,if.raw": "", "b.qcow2": "", "20GiB": ""} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		value string
		want  qemu.Disk
		says  string // part of the error
	}{
		{value: "20GiB", want: qemu.Disk{Size: 20 << 30}},
		{value: "512MiB,if=nvme", want: qemu.Disk{Size: 512 << 20, Interface: qemu.NVMe}},
		{value: "./20GiB", want: qemu.Disk{Path: "./20GiB", Writable: true}},
		{value: "a,if.raw", want: qemu.Disk{Path: "a,if.raw", Writable: true}},
		{value: "b.qcow2,if=usb", want: qemu.Disk{Path: "b.qcow2", Writable: true, Interface: qemu.USB}},
		{value: "20GB", says: `write "20GiB"`},
		{value: "0MiB", says: "holds nothing"},
		{value: "20GiB,if=ide", says: `unknown interface "ide"`},
		{value: "none.raw", says: `make one first, with "truncate -s 20GiB none.raw"`},
		{value: "", says: "there is no image"},
	} {
		var o diskOptions
		err := o.Set(c.value)
		switch {
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%q: %v, want %q", c.value, err, c.says)
		case c.says == "" && (err != nil || !reflect.DeepEqual(o.disks, []qemu.Disk{c.want}) || o.String() != c.value):
			t.Errorf("%q: %+v %q, %v", c.value, o.disks, o.String(), err)
		}
	}
}

func TestMachineDisks(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"node.iso", "node.raw", "disk.raw"} {
		if err := os.WriteFile(name, make([]byte, 1<<20), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	blank := qemu.Disk{Size: 1 << 30, Interface: qemu.SATA}
	kept := qemu.Disk{Path: "disk.raw", Writable: true}
	rawKept := kept
	rawKept.Format = "raw"
	cd := qemu.Disk{Path: "node.iso", Format: "raw", CD: true, TakeOut: true}
	for _, c := range []struct {
		name, path string
		opts       bootOptions
		want       []qemu.Disk
	}{
		{"an image", "node.raw", bootOptions{snapshot: true}, []qemu.Disk{{Path: "node.raw", Format: "raw"}}},
		{"an image that is written to", "node.raw", bootOptions{}, []qemu.Disk{{Path: "node.raw", Format: "raw", Writable: true}}},
		{"an image and a disk", "node.raw", bootOptions{snapshot: true, disks: diskOptions{disks: []qemu.Disk{blank}}}, []qemu.Disk{{Path: "node.raw", Format: "raw"}, blank}},
		{"an ISO", "node.iso", bootOptions{iso: true}, []qemu.Disk{cd, {Size: 32 << 30}}},
		{"an ISO and disks", "node.iso", bootOptions{iso: true, disks: diskOptions{disks: []qemu.Disk{blank, kept}}}, []qemu.Disk{cd, blank, rawKept}},
		{"a stick", "node.iso", bootOptions{iso: true, usb: true}, []qemu.Disk{
			{Path: "node.iso", Format: "raw", Interface: qemu.USB, Removable: true, TakeOut: true}, {Size: 32 << 30},
		}},
	} {
		got, err := c.opts.machineDisks(c.path)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n%+v, %v\nwant\n%+v", c.name, got, err, c.want)
		}
	}
}

func TestBootMistakes(t *testing.T) {
	t.Chdir(t.TempDir())
	for args, says := range map[string]string{
		"--iso":                           "there is no ISO in out: build one first",
		"node.iso":                        "node.iso is an ISO: write --iso",
		"--usb node.raw":                  "write --iso, too",
		"--iso --snapshot=false node.iso": "an ISO is never written to",
		"--iso --disk 20G node.iso":       `write "20GiB"`,
		"--iso --disk none.raw node.iso":  "there is no image none.raw",
		"--iso none.iso":                  "none.iso",
	} {
		_, stderr, status := invoke(t, "", append([]string{"boot"}, strings.Fields(args)...)...)
		if status == exitDone || !strings.Contains(stderr, says) {
			t.Errorf("boot %s: exit status %d, %s, want %q", args, status, stderr, says)
		}
	}
}
