package partition_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/store"
)

const mib = 1 << 20

var seed = store.Sum([]byte("a build's key"))

// nodeSpecs is the node contract of the `ab` layout: the BIOS boot partition is entry 5 and lies first.
func nodeSpecs() []partition.Spec {
	specs := []partition.Spec{
		{Number: 5, Label: "BIOS", Type: partition.TypeBIOSBoot, Size: mib},
		{Number: 1, Label: "BOOT", Type: partition.TypeESP, Size: 10 * mib, Attributes: partition.AttributeRequired},
		{Number: 2, Label: "ROOT-A", Type: partition.TypeLinuxRootX86_64, Size: 20*mib - 12345, Attributes: 1 << 60},
		{Number: 3, Label: "ROOT-B", Type: partition.TypeLinuxRootX86_64, Size: 20 * mib},
		{Number: 4, Label: "PERSIST", Type: partition.TypeLinuxVar, Rest: true},
	}
	for i := range specs {
		specs[i].GUID = partition.UUID(seed, "partition/"+specs[i].Label)
	}
	return specs
}

func TestComposedDiskAsOtherToolsSeeIt(t *testing.T) {
	st := disktest.Store(t)
	l, err := partition.Plan(64*mib, partition.UUID(seed, "disk"), nodeSpecs())
	if err != nil {
		t.Fatal(err)
	}
	boot, ok := l.Partition("BOOT")
	if !ok {
		t.Fatal("the layout has no BOOT")
	}
	content := []byte("the start of the BOOT partition")
	im, err := partition.BytesImage(st, content, boot.Size)
	if err != nil {
		t.Fatal(err)
	}
	code := bytes.Repeat([]byte{0x90}, 440)
	d, err := partition.Compose(st, l, partition.Contents{BootCode: code, Partitions: map[int]disk.Image{1: im}})
	if err != nil {
		t.Fatal(err)
	}
	path := disktest.WriteFile(t, st, d)

	if out := disktest.Run(t, "sgdisk", "-v", path); !strings.Contains(out, "No problems found") || strings.Contains(out, "Caution") {
		t.Errorf("sgdisk -v is not content:\n%s", out)
	}
	if out := disktest.Run(t, "sfdisk", "--verify", path); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk --verify is not content:\n%s", out)
	}
	dump := strings.ReplaceAll(disktest.Run(t, "sfdisk", "--dump", path), path, "disk")
	want := fmt.Sprintf(`label: gpt
label-id: %s
device: disk
unit: sectors
first-lba: 34
last-lba: 131038
sector-size: 512

disk1 : start=        4096, size=       20480, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=%s, name="BOOT", attrs="RequiredPartition"
disk2 : start=       24576, size=       40960, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=%s, name="ROOT-A", attrs="GUID:60"
disk3 : start=       65536, size=       40960, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=%s, name="ROOT-B"
disk4 : start=      106496, size=       22528, type=4D21B016-B534-45C2-A9FB-5C16E091FD2D, uuid=%s, name="PERSIST"
disk5 : start=        2048, size=        2048, type=21686148-6449-6E6F-744E-656564454649, uuid=%s, name="BIOS"
`, upper("disk"), upper("partition/BOOT"), upper("partition/ROOT-A"), upper("partition/ROOT-B"), upper("partition/PERSIST"), upper("partition/BIOS"))
	if dump != want {
		t.Errorf("sfdisk --dump prints\n%s\nwant\n%s", dump, want)
	}

	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw[:440], code) {
		t.Error("the boot code is not in the first sector")
	}
	if !bytes.HasPrefix(raw[boot.Start:], content) {
		t.Error("the image of BOOT is not at the start of its partition")
	}
	again, err := partition.ReadTable(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	byNumber := partition.Layout{Size: l.Size, GUID: l.GUID, Partitions: []partition.Placed{
		l.Partitions[1], l.Partitions[2], l.Partitions[3], l.Partitions[4], l.Partitions[0],
	}}
	if !reflect.DeepEqual(again, byNumber) {
		t.Errorf("ReadTable gives\n%+v, want\n%+v", again, byNumber)
	}

	// A damaged primary table is replaced by the backup, and a disk with neither says so.
	raw[512+60] ^= 1
	if again, err = partition.ReadTable(bytes.NewReader(raw), int64(len(raw))); err != nil || !reflect.DeepEqual(again, byNumber) {
		t.Errorf("with a damaged primary table ReadTable gives %+v, %v", again, err)
	}
	raw[len(raw)-512+60] ^= 1
	if _, err = partition.ReadTable(bytes.NewReader(raw), int64(len(raw))); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("with both headers damaged ReadTable gives the error %v", err)
	}
}

func upper(name string) string { return strings.ToUpper(partition.UUID(seed, name).String()) }

// TestDiskGrows does what cloud tools and the installer do on a larger disk: move the backup table, grow the last partition.
func TestDiskGrows(t *testing.T) {
	st := disktest.Store(t)
	l, err := partition.Plan(0, partition.UUID(seed, "disk"), nodeSpecs())
	if err != nil {
		t.Fatal(err)
	}
	d, err := partition.Compose(st, l, partition.Contents{})
	if err != nil {
		t.Fatal(err)
	}
	path := disktest.WriteFile(t, st, d)
	if err := os.Truncate(path, 300*mib); err != nil {
		t.Fatal(err)
	}
	disktest.Run(t, "sgdisk", "-e", "-d", "4", "-n", "4:0:0", path)
	if out := disktest.Run(t, "sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v after growing:\n%s", out)
	}
}

func TestHugeDisk(t *testing.T) {
	st := disktest.Store(t)
	l, err := partition.Plan(20<<40, partition.UUID(seed, "disk"), nodeSpecs())
	if err != nil {
		t.Fatal(err)
	}
	d, err := partition.Compose(st, l, partition.Contents{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	mbr := make([]byte, 512)
	if _, err := r.ReadAt(mbr, 0); err != nil {
		t.Fatal(err)
	}
	if n := binary.LittleEndian.Uint32(mbr[458:]); n != 0xffffffff {
		t.Errorf("the protective partition of a 20 TiB disk has %#x sectors, want 0xffffffff", n)
	}
	again, err := partition.ReadTable(r, d.Size)
	if err != nil {
		t.Fatal(err)
	}
	if last := again.Partitions[3]; last.End() != 20<<40-mib {
		t.Errorf("the last partition of a 20 TiB disk ends at %d", last.End())
	}
}

func TestPlan(t *testing.T) {
	guid := func(n byte) partition.GUID { return partition.GUID{15: n} }
	fixed := partition.Spec{Number: 1, Label: "A", Type: partition.TypeLinux, GUID: guid(1), Size: 10 * mib}
	rest := partition.Spec{Number: 2, Label: "B", Type: partition.TypeLinux, GUID: guid(2), Rest: true, Size: 5 * mib}
	with := func(s partition.Spec, change func(*partition.Spec)) partition.Spec { change(&s); return s }

	t.Run("smallest", func(t *testing.T) {
		l, err := partition.Plan(0, guid(9), []partition.Spec{rest, fixed})
		if err != nil {
			t.Fatal(err)
		}
		if l.Size != 17*mib || l.Partitions[0].Size != 5*mib || l.Partitions[1].Start != 6*mib {
			t.Errorf("layout is %+v", l)
		}
	})
	t.Run("too small", func(t *testing.T) {
		_, err := partition.Plan(14*mib, guid(9), []partition.Spec{fixed, rest})
		var small *partition.TooSmallError
		if !errors.As(err, &small) || small.Need != 17*mib || small.Have != 14*mib {
			t.Fatalf("error is %v", err)
		}
		if want := "the disk is 3 MiB too small: it has 14 MiB and its partitions and tables need 17 MiB (A 10 MiB, B 5 MiB); enlarge the disk or shrink a partition"; err.Error() != want {
			t.Errorf("error is %q, want %q", err, want)
		}
	})
	for name, test := range map[string]struct {
		size  int64
		specs []partition.Spec
		want  string
	}{
		"two rests":      {0, []partition.Spec{rest, with(fixed, func(s *partition.Spec) { s.Rest = true })}, `partitions "B" and "A" both want the rest`},
		"one number":     {0, []partition.Spec{fixed, with(rest, func(s *partition.Spec) { s.Number = 1 })}, `both have the number 1`},
		"one GUID":       {0, []partition.Spec{fixed, with(rest, func(s *partition.Spec) { s.GUID = guid(1) })}, `both have the GUID`},
		"number 0":       {0, []partition.Spec{with(fixed, func(s *partition.Spec) { s.Number = 0 })}, `has the number 0`},
		"number 129":     {0, []partition.Spec{with(fixed, func(s *partition.Spec) { s.Number = 129 })}, `has the number 129`},
		"no size":        {0, []partition.Spec{with(fixed, func(s *partition.Spec) { s.Size = 0 })}, `has the size 0`},
		"no type":        {0, []partition.Spec{with(fixed, func(s *partition.Spec) { s.Type = partition.GUID{} })}, `has no type`},
		"long label":     {0, []partition.Spec{with(fixed, func(s *partition.Spec) { s.Label = strings.Repeat("😀", 19) })}, `has 38 UTF-16 code units`},
		"bad label":      {0, []partition.Spec{with(fixed, func(s *partition.Spec) { s.Label = "\xff" })}, `is not UTF-8`},
		"impossible":     {0, []partition.Spec{with(fixed, func(s *partition.Spec) { s.Size = 1<<63 - 1 })}, `no disk holds`},
		"overflow":       {0, []partition.Spec{with(fixed, func(s *partition.Spec) { s.Size = 1 << 62 }), with(rest, func(s *partition.Spec) { s.Size = 1 << 62 })}, `no disk holds`},
		"negative disk":  {-1, nil, `no disk has -1 bytes`},
		"monstrous disk": {1<<63 - 1, nil, `no disk has`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := partition.Plan(test.size, guid(9), test.specs); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one containing %q", err, test.want)
			}
		})
	}
}

func TestComposeRefuses(t *testing.T) {
	st := disktest.Store(t)
	l, err := partition.Plan(0, partition.UUID(seed, "disk"), nodeSpecs()[:2])
	if err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]partition.Contents{
		`partition "BOOT" has 10485760 bytes, 1 too few`:     {Partitions: map[int]disk.Image{1: {Size: 10*mib + 1}}},
		"only 0 of them are in the layout":                   {Partitions: map[int]disk.Image{2: {Size: 1}}},
		"boot code has 441 bytes; the first sector has room": {BootCode: make([]byte, 441)},
	} {
		if _, err := partition.Compose(st, l, c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one containing %q", err, want)
		}
	}
}

func TestUUID(t *testing.T) {
	// (head -c32 /dev/zero; printf disk) | sha256sum, with the version and variant bits set by hand.
	g := partition.UUID(store.Digest{}, "disk")
	if g.String() != "f79af8ec-5042-8a68-931e-8b5b3abfe423" {
		t.Errorf("UUID is %s", g)
	}
	if g[6]>>4 != 8 || g[8]>>6 != 2 {
		t.Errorf("UUID %s is not of version 8 and the RFC's variant", g)
	}
	if other := partition.UUID(store.Digest{}, "disks"); other == g {
		t.Error("two names give one UUID")
	}
	back, err := partition.ParseGUID(strings.ToUpper(g.String()))
	if err != nil || back != g {
		t.Errorf("ParseGUID(%s) = %s, %v", g, back, err)
	}
	for _, bad := range []string{"", "x", "0fc63daf84834772-8e79-3d69d8477de4--", g.String() + "0", strings.Replace(g.String(), "-", "a", 1)} {
		if _, err := partition.ParseGUID(bad); err == nil {
			t.Errorf("ParseGUID accepts %q", bad)
		}
	}
}

// TestBIOSBoot compares with what grub-bios-setup is known to write (facts measured by booting), field by field, on
// images of GRUB's shape.
func TestBIOSBoot(t *testing.T) {
	boot := bytes.Repeat([]byte{0x11}, 512)
	boot[510], boot[511] = 0x55, 0xaa
	core := bytes.Repeat([]byte{0x22}, 3*512+1)
	code, patched, err := partition.BIOSBoot(boot, core, 2048)
	if err != nil {
		t.Fatal(err)
	}
	wantCode := bytes.Clone(boot[:440])
	copy(wantCode[0x5c:], []byte{0, 8, 0, 0, 0, 0, 0, 0, 0xff})
	copy(wantCode[0x66:], []byte{0x90, 0x90})
	if !bytes.Equal(code, wantCode) {
		t.Errorf("boot code is %x, want %x", code, wantCode)
	}
	wantCore := append(bytes.Clone(core), make([]byte, 511)...)
	copy(wantCore[0x1f4:], []byte{1, 8, 0, 0, 0, 0, 0, 0, 3, 0, 0x20, 0x08})
	if !bytes.Equal(patched, wantCore) {
		t.Error("core.img differs from what grub-bios-setup makes of it")
	}
	for want, f := range map[string]func() error{
		"boot.img is not":          func() error { _, _, err := partition.BIOSBoot(boot[:511], core, 2048); return err },
		"core.img has 512 bytes":   func() error { _, _, err := partition.BIOSBoot(boot, core[:512], 2048); return err },
		"cannot start at sector 0": func() error { _, _, err := partition.BIOSBoot(boot, core, 0); return err },
	} {
		if err := f(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one containing %q", err, want)
		}
	}
}

func FuzzReadTable(f *testing.F) {
	st := disktest.Store(f)
	specs := nodeSpecs()
	for i := range specs {
		specs[i].Size, specs[i].Rest = mib, false
	}
	l, err := partition.Plan(0, partition.UUID(seed, "disk"), specs)
	if err != nil {
		f.Fatal(err)
	}
	d, err := partition.Compose(st, l, partition.Contents{})
	if err != nil {
		f.Fatal(err)
	}
	r, err := d.Open(st)
	if err != nil {
		f.Fatal(err)
	}
	head := make([]byte, 34*512)
	if _, err := r.ReadAt(head, 0); err != nil {
		f.Fatal(err)
	}
	f.Add(head, d.Size, false)
	f.Add(head, d.Size, true)
	f.Fuzz(func(t *testing.T, p []byte, size int64, mend bool) {
		if mend {
			p = bytes.Clone(p)
			mendChecksums(p)
		}
		l, err := partition.ReadTable(bytes.NewReader(p), size)
		if err != nil {
			return
		}
		for _, p := range l.Partitions {
			if p.Start < 0 || p.Size <= 0 || p.End() > size {
				t.Errorf("partition %+v does not lie within the disk of %d bytes", p, size)
			}
		}
	})
}

// mendChecksums makes the checksums of a primary table right, so that fuzzing gets behind them.
func mendChecksums(p []byte) {
	if len(p) < 34*512 {
		return
	}
	h := p[512:1024]
	if n := int(binary.LittleEndian.Uint32(h[80:])) * int(binary.LittleEndian.Uint32(h[84:])); n > 0 && n <= len(p)-1024 {
		binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(p[1024:1024+n]))
	}
	if n := binary.LittleEndian.Uint32(h[12:]); n <= 512 {
		clear(h[16:20])
		binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:n]))
	}
}
