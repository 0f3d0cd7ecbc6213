package modules

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/installer/internal/testkernel"
)

// modprobe runs kmod's program on the modules of a kernel, and returns what it would load, in order.
func modprobe(t *testing.T, k testkernel.Kernel, name string) []string {
	t.Helper()
	cmd := exec.Command("modprobe", "-D", "-q", "-d", k.Dir, "-S", k.Release, "--", name)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	// No configuration of this host.
	cmd.Args = slices.Insert(cmd.Args, 1, "-C", "/dev/null")
	out, err := cmd.Output()
	if missing := (*exec.Error)(nil); errors.As(err, &missing) {
		t.Fatalf("this test needs modprobe (package kmod): %v", err)
	}
	var order []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "insmod" {
			order = append(order, moduleName(fields[1]))
		}
	}
	return order
}

// Every module of a real kernel is loaded after the same modules, in the same order, as by kmod. Where a module has several soft
// dependencies, kmod 30 forgets all but one, so that ours may be more.
func TestOrderIsKmods(t *testing.T) {
	k := testkernel.Get(t)
	x, err := Read(os.DirFS(k.Modules()))
	if err != nil {
		t.Fatal(err)
	}
	if len(x.modules) < 500 {
		t.Fatalf("only %d modules", len(x.modules))
	}
	differ := 0
	for i, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range x.modules {
			if !yield(name) {
				return
			}
		}
	}) {
		if i%5 != 0 && os.Getenv("IMAGEFACTORY_TEST") != "full" {
			continue
		}
		want := modprobe(t, k, name)
		got, err := x.Order(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// vfio comes twice in kmod's list.
		want = slices.Compact(want)
		if several := slices.ContainsFunc(got, func(m string) bool { return len(x.softdep[m].pre) > 1 }); several {
			for _, m := range want {
				if !slices.Contains(got, m) {
					t.Errorf("%s: got %v, without %s", name, got, m)
				}
			}
		} else if !slices.Equal(got, want) {
			if differ++; differ < 20 {
				t.Errorf("%s:\n got %v\nwant %v", name, got, want)
			}
		}
	}
}

// Devices as they are found in machines get the modules kmod would give them.
func TestLookupIsKmods(t *testing.T) {
	k := testkernel.Get(t)
	x, err := Read(os.DirFS(k.Modules()))
	if err != nil {
		t.Fatal(err)
	}
	for _, modalias := range []string{
		"pci:v00001AF4d00001004sv00001AF4sd00000008bc01sc00i00", // virtio-scsi
		"pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00", // virtio-net
		"virtio:d00000008v00001AF4",
		"virtio:d00000002v00001AF4",
		"scsi:t-0x00",
		"scsi:t-0x05",
		"pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", // NVMe
		"pci:v00001D0Fd0000EC20sv00001D0Fsd0000EC20bc02sc00i00", // Amazon's network card
		"pci:v000015B3d00001017sv000015B3sd00000006bc02sc00i00", // Mellanox
		"pci:v00008086d000010EDsv00008086sd000010EDbc02sc00i00", // Intel virtual function
		"acpi:PNP0A03:",
		"acpi:LNXCPU:",
		"fs-xfs", "fs-iso9660", "fs-vfat", "nls_cp437", "crypto-crc32c", "block-major-7-*", "devname:loop-control",
		"dmi:bvnSeaBIOS:bvr1.16/2:bd04/01/2014:svnQEMU:pnStandardPC(i440FX+PIIX,1996):",
		"no-such-thing",
	} {
		var got []string
		for _, name := range x.Lookup(modalias) {
			order, err := x.Order(name)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, order...)
		}
		want := modprobe(t, k, modalias)
		slices.Sort(got)
		slices.Sort(want)
		if got, want = slices.Compact(got), slices.Compact(want); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, kmod loads %v", modalias, got, want)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"*", "", true}, {"*", "a/b", true}, {"a*b*c", "axxbyyc", true}, {"a*b*c", "axxbyy", false},
		{"?", "/", true}, {"?", "", false}, {"[a-c]x", "bx", true}, {"[a-c]x", "dx", false}, {"[!a-c]", "d", true},
		{"[]]", "]", true}, {"[^]a]", "b", true}, {"[ab", "[ab", true}, {"[", "[", true}, {"[]", "[]", true}, {"*[0-9]", "ab7", true},
		{"a**b", "ab", true}, {"a*", "b", false}, {"[!", "[!", true}, {"a[0-9]*z", "a1z", true},
	} {
		if got := match(c.pattern, c.s); got != c.want {
			t.Errorf("match(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

func FuzzIndexes(f *testing.F) {
	f.Add("kernel/a.ko: kernel/b.ko\nkernel/b.ko:\n", "alias pci:v*d[0-9]* a\n", "softdep a pre: b post: c\n", "pci:v1d2")
	f.Fuzz(func(t *testing.T, dep, alias, soft, name string) {
		x, err := Read(fstest.MapFS{
			"modules.dep": {Data: []byte(dep)}, "modules.alias": {Data: []byte(alias)}, "modules.softdep": {Data: []byte(soft)},
		})
		if err != nil {
			return
		}
		for _, m := range append(x.Lookup(name), name) {
			x.Order(m)
		}
	})
}

// kernelFS has modules that depend on one another in awkward ways.
var kernelFS = fstest.MapFS{
	"modules.dep": {Data: []byte(`kernel/sd-mod.ko.xz: kernel/scsi.ko
kernel/scsi.ko:
kernel/absent.ko:
kernel/needs.ko: kernel/absent.ko
kernel/loop-a.ko:
kernel/loop-b.ko:
/lib/modules/6.1/kernel/rooted.ko.zst: kernel/scsi.ko
`)},
	"modules.alias":        {Data: []byte("alias scsi:t-0x00* sd_mod\nalias scsi:* absent\nalias dev needs\nalias x-y loop_a\n")},
	"modules.softdep":      {Data: []byte("softdep loop_a pre: loop_b needs\nsoftdep loop_b pre: loop-a\nsoftdep cifs gcm\n")},
	"modules.builtin":      {Data: []byte("kernel/ext4.ko\n")},
	"kernel/sd-mod.ko.xz":  {},
	"kernel/scsi.ko":       {},
	"kernel/needs.ko":      {},
	"kernel/loop-a.ko":     {},
	"kernel/loop-b.ko":     {},
	"kernel/rooted.ko.zst": {},
}

func TestOrderOfAwkwardModules(t *testing.T) {
	x, err := Read(kernelFS)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"sd-mod": "[scsi sd_mod]", "ext4": "[]", "loop-a": "[loop_b loop_a]", "rooted": "[scsi rooted]",
	} {
		if got, err := x.Order(name); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v %v, want %s", name, got, err, want)
		}
	}
	_, err = x.Order("needs")
	if missing := (*MissingError)(nil); !errors.As(err, &missing) || missing.Module != "absent" {
		t.Errorf("needs: %v", err)
	}
}

func TestLoader(t *testing.T) {
	x, err := Read(kernelFS)
	if err != nil {
		t.Fatal(err)
	}
	l := NewLoader(x, []string{"scsi.max-luns=4", "sd_mod.flag", `scsi.name=a b`, "modprobe.blacklist=loop-a,zz", "quiet"})
	var inserted []string
	l.insert = func(_ *Index, file, parameters string) error {
		inserted = append(inserted, file+" "+parameters)
		return nil
	}
	for _, alias := range []string{"scsi:t-0x00", "scsi:t-0x00", "x-y", "unknown"} {
		if err := l.Load(alias); err != nil {
			t.Errorf("%s: %v", alias, err)
		}
	}
	want := []string{`kernel/scsi.ko max-luns=4 name="a b"`, "kernel/sd-mod.ko.xz flag"}
	if !slices.Equal(inserted, want) {
		t.Errorf("inserted %q, want %q", inserted, want)
	}
	if l.Loaded() != 2 {
		t.Errorf("loaded %d", l.Loaded())
	}
	if err := l.Load("dev"); err == nil || !strings.Contains(err.Error(), "needs depends on absent: the module absent is not in this initramfs") {
		t.Errorf("dev: %v", err)
	}
}

// A driver of disks that does not load is told apart from others, and from modules that merely had better be there.
func TestFailedDisks(t *testing.T) {
	x, err := Read(fstest.MapFS{
		"modules.dep": {Data: []byte(`kernel/drivers/ata/ahci.ko: kernel/drivers/ata/libahci.ko
kernel/drivers/ata/libahci.ko:
kernel/drivers/ata/other.ko: kernel/drivers/ata/libahci.ko
kernel/drivers/scsi/raid.ko:
kernel/crypto/crc.ko:
kernel/drivers/nvme/host/nvme.ko:
kernel/drivers/net/card.ko:
`)},
		"modules.softdep":                  {Data: []byte("softdep raid pre: crc\n")},
		"kernel/drivers/ata/ahci.ko":       {},
		"kernel/drivers/ata/libahci.ko":    {},
		"kernel/drivers/ata/other.ko":      {},
		"kernel/drivers/scsi/raid.ko":      {},
		"kernel/crypto/crc.ko":             {},
		"kernel/drivers/nvme/host/nvme.ko": {},
		"kernel/drivers/net/card.ko":       {},
	})
	if err != nil {
		t.Fatal(err)
	}
	l := NewLoader(x, nil)
	l.insert = func(_ *Index, file, _ string) error {
		switch moduleName(file) {
		case "libahci", "crc", "card":
			return unix.ENOEXEC
		case "ahci", "other":
			return unix.ENOENT // for lack of what libahci has
		case "nvme":
			return unix.ENODEV
		}
		return nil
	}
	for _, name := range []string{"ahci", "ahci", "other", "raid", "nvme", "card"} {
		_ = l.Load(name)
	}
	failed := l.FailedDisks()
	if len(failed) != 2 || !strings.HasPrefix(failed[0], "ahci (loading the module libahci: exec format error") || !strings.HasPrefix(failed[1], "other (loading the module other: it needs a symbol") {
		t.Errorf("%q", failed)
	}
}

// Modules are unpacked to what the programs of each format packed.
func TestUnpack(t *testing.T) {
	dir := t.TempDir()
	want := bytes.Repeat([]byte("\x7fELF module\n"), 100_000)
	if err := os.WriteFile(filepath.Join(dir, "m.ko"), want, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, program := range [][]string{
		{"gzip", "-k", "m.ko"}, {"xz", "-k", "--check=crc32", "--lzma2=dict=2MiB", "m.ko"}, {"zstd", "-q", "-19", "m.ko", "-o", "m.ko.zst"}, {"true"},
	} {
		cmd := exec.Command(program[0], program[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("this test needs %s: %v: %s", program[0], err, out)
		}
	}
	for _, name := range []string{"m.ko", "m.ko.gz", "m.ko.xz", "m.ko.zst"} {
		f, err := os.DirFS(dir).Open(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := unpack(f, name)
		f.Close()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if _, err := unpack(must(os.DirFS(dir).Open("m.ko")), "m.ko.xz"); err == nil {
		t.Error("a plain module named .ko.xz was unpacked")
	}
}

func must(f fs.File, err error) fs.File {
	if err != nil {
		panic(err)
	}
	return f
}
