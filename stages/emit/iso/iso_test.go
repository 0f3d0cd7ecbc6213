package iso_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/emit/iso"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/store"
)

// random returns n bytes that are the same in every run.
func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, seed))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

var seed = store.Sum([]byte("the key of a build"))

// bootable returns a medium as a build makes one, and the options for it. Its boot images do not boot.
func bootable(t testing.TB) (*fixture, iso.Options) {
	f := newFixture(t)
	f.directory("EFI", 0o700)
	f.file(t, "boot/grub/grub.cfg", 0o644, []byte("menuentry Install {}\n"))
	f.file(t, "boot/grub/i386-pc/eltorito.img", 0o644, random(1, 40_003))
	f.image(t, "boot/grub/efi.img", 0o644, random(2, 4*mib-512), 512)
	f.image(t, "imagefactory/payload", 0o600, random(3, 2*mib+77), 3*mib)
	f.file(t, "imagefactory/install.json", 0o444, []byte("{}"))
	f.file(t, "imagefactory/a copy of install.json", 0o4755, []byte("{}"))
	f.file(t, "empty", 0o644, nil)
	f.directory("no files", 0o1777)
	f.symlink("vmlinuz", "boot/../boot/./linux/vmlinuz")
	f.symlink("absolute", "/imagefactory/payload")
	f.symlink("root", "/")
	return f, iso.Options{
		VolumeSetID: "0f1e2d3c4b5a", ApplicationID: "imagefactory 1.0", PreparerID: "A person", Seed: seed,
		BIOS: &iso.BIOS{Image: "boot/grub/i386-pc/eltorito.img", HybridMBR: bootHybrid(t)},
		EFI:  "boot/grub/efi.img",
	}
}

// patched notes that readers see the BIOS image as it lies at path.
func (f *fixture) patched(t testing.TB, path, name string) []byte {
	t.Helper()
	to := filepath.Join(t.TempDir(), "patched")
	disktest.Run(t, "osirrox", "-indev", path, "-extract", "/"+name, to)
	got, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	want := f.want[name]
	if len(got) != len(want.data) {
		t.Fatalf("the BIOS image has %d bytes, want %d", len(got), len(want.data))
	}
	// All else must be as it was.
	original := []byte(want.data)
	for _, area := range [][2]int{{8, 64}, {2548, 2556}} {
		copy(original[area[0]:area[1]], got[area[0]:area[1]])
	}
	if !bytes.Equal(got, original) {
		t.Error("the BIOS image is changed where nothing is to be patched")
	}
	want.data = string(got)
	f.want[name] = want
	return got
}

func TestReadersAgree(t *testing.T) {
	f, o := bootable(t)
	path := f.write(t, o)
	f.patched(t, path, o.BIOS.Image)
	f.checkReaders(t, path)
}

// TestBootsAsToldByXorriso holds what xorriso recognises in the boot catalog, the system area and the BIOS image.
func TestBootsAsToldByXorriso(t *testing.T) {
	f, o := bootable(t)
	path := f.write(t, o)
	out := disktest.Run(t, "xorriso", "-indev", path, "-report_el_torito", "plain", "-report_system_area", "plain")
	for _, want := range []string{
		`Volume id    : 'TEST_1'`,
		`El Torito boot img :   1  BIOS  y   none  0x0000  0x00      4 `,
		`El Torito boot img :   2  UEFI  y   none  0x0000  0x00   8192 `,
		`El Torito img path :   1  /boot/grub/i386-pc/eltorito.img`,
		`El Torito img opts :   1  boot-info-table grub2-boot-info`,
		`El Torito img path :   2  /boot/grub/efi.img`,
		`System area summary: MBR protective-msdos-label grub2-mbr cyl-align-off GPT`,
		`MBR partition      :   1   0x00  0xee            1 `,
		`MBR partition      :   2   0x80  0x00            0            1`,
		`GPT partname local :   1  ISO9660`,
		`GPT partname local :   2  EFI`,
		`GPT partition path :   2  /boot/grub/efi.img`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("xorriso does not say %q, but\n%s", want, out)
		}
	}
	if out := disktest.Run(t, "xorriso", "-indev", path, "-check_media", "--"); !regexp.MustCompile(`Media region :\s+0 ,\s+\d+ , \+ good`).MatchString(out) {
		t.Errorf("xorriso -check_media says\n%s", out)
	}
}

// TestIsADisk holds the partition table.
func TestIsADisk(t *testing.T) {
	f, o := bootable(t)
	path := f.write(t, o)
	if out := disktest.Run(t, "sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v says\n%s", out)
	}
	if out := disktest.Run(t, "fdisk", "-l", path); strings.Contains(strings.ToLower(out), "warn") || strings.Contains(out, "not") || !strings.Contains(out, "Disklabel type: gpt") {
		t.Errorf("fdisk -l says\n%s", out)
	}
	var table struct {
		PartitionTable struct {
			Label, ID  string
			Partitions []struct {
				Start, Size      int64
				Type, UUID, Name string
				Attrs            string
			}
		}
	}
	if err := json.Unmarshal([]byte(disktest.Run(t, "sfdisk", "--json", path)), &table); err != nil {
		t.Fatal(err)
	}
	p := table.PartitionTable.Partitions
	if len(p) != 2 || table.PartitionTable.ID != strings.ToUpper(partition.UUID(seed, "iso/disk").String()) {
		t.Fatalf("sfdisk sees %+v", table)
	}
	if p[0].Start != 64 || p[0].Start+p[0].Size != p[1].Start || p[0].Name != "ISO9660" || p[0].Attrs != "RequiredPartition GUID:60" {
		t.Errorf("the first partition is %+v", p[0])
	}
	if p[1].Size != 4*mib/512 || p[1].Type != strings.ToUpper(partition.TypeESP.String()) {
		t.Errorf("the second partition is %+v", p[1])
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(image)%mib != 0 {
		t.Errorf("the image has %d bytes, which is no multiple of 1 MiB", len(image))
	}
	if esp := image[p[1].Start*512:][:4*mib]; string(esp) != f.want[o.EFI].data {
		t.Error("the EFI system partition is not the FAT image")
	}
	if out := disktest.Run(t, "blkid", "-p", path); !strings.Contains(out, `LABEL="TEST_1"`) || !strings.Contains(out, `TYPE="iso9660"`) ||
		!strings.Contains(out, `VOLUME_SET_ID="0f1e2d3c4b5a"`) || !strings.Contains(out, `PTTYPE="gpt"`) {
		t.Errorf("blkid says %s", out)
	}
	if out := disktest.Run(t, "file", "-b", path); !strings.HasPrefix(out, "ISO 9660 CD-ROM filesystem data (DOS/MBR boot sector) 'TEST_1' (bootable)") {
		t.Errorf("file says %s", out)
	}
}

// TestVolumeDescriptor holds what isoinfo reads.
func TestVolumeDescriptor(t *testing.T) {
	f, o := bootable(t)
	path := f.write(t, o)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	out := disktest.Run(t, "isoinfo", "-d", "-i", path)
	for _, want := range []string{
		"Volume id: TEST_1\n", "Volume set id: 0f1e2d3c4b5a\n", "Application id: imagefactory 1.0\n", "Data preparer id: A person\n",
		"Logical block size is: 2048\n", "Rock Ridge signatures version 1 found", "Nsect 4\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("isoinfo -d does not say %q, but\n%s", want, out)
		}
	}
	if size := regexp.MustCompile(`Volume size is: (\d+)`).FindStringSubmatch(out); len(size) != 2 || size[1] != decimal(info.Size()/2048) {
		t.Errorf("isoinfo sees a volume of %v blocks; the file has %d", size, info.Size()/2048)
	}
	// Both path tables, which hardly anybody reads.
	table := disktest.Run(t, "isoinfo", "-p", "-i", path)
	for _, name := range []string{"BOOT", "EFI", "GRUB", "IMAGEFACTORY", "I386_PC", "NO_FILES"} {
		if !strings.Contains(table, name+"\n") {
			t.Errorf("isoinfo -p does not name %s:\n%s", name, table)
		}
	}
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func TestSameInputsSameBytes(t *testing.T) {
	var first disk.Image
	for i := range 5 {
		f, o := bootable(t)
		if i > 0 { // the order of files is of no importance
			rand.New(rand.NewPCG(uint64(i), 0)).Shuffle(len(f.files), func(a, b int) { f.files[a], f.files[b] = f.files[b], f.files[a] })
		}
		im := f.compose(t, o)
		if i == 0 {
			first = im
		} else if !bytes.Equal(im.Encode(), first.Encode()) {
			t.Fatal("two runs give different images")
		}
	}
}

// TestContentsAreNotCopied holds that the medium refers to files where they are in the store, and to equal files once.
func TestContentsAreNotCopied(t *testing.T) {
	f := newFixture(t)
	big := random(5, mib)
	f.file(t, "one", 0o644, big)
	f.file(t, "two/again", 0o644, big)
	im := f.compose(t, iso.Options{})
	var refers, other int64
	for _, e := range im.Extents {
		if e.Object == store.Sum(big) {
			refers += e.Length
		} else {
			other += e.Length
		}
	}
	if refers != mib || other > 64<<10 {
		t.Errorf("the image refers to %d bytes of the file of %d and has %d others", refers, mib, other)
	}
	path := f.write(t, iso.Options{})
	f.checkReaders(t, path)
}

// TestKindsOfMedia holds that every combination of firmware has what it needs and nothing else.
func TestKindsOfMedia(t *testing.T) {
	_, all := bootable(t)
	for name, c := range map[string]struct {
		bios, mbr, efi bool
		system         string
		entries        []string
	}{
		"data":       {system: ""},
		"BIOS CD":    {bios: true, entries: []string{"BIOS"}},
		"BIOS":       {bios: true, mbr: true, entries: []string{"BIOS"}, system: "MBR protective-msdos-label grub2-mbr cyl-align-off GPT"},
		"UEFI":       {efi: true, entries: []string{"UEFI"}, system: "MBR protective-msdos-label cyl-align-off GPT"},
		"BIOS+UEFI":  {bios: true, mbr: true, efi: true, entries: []string{"BIOS", "UEFI"}, system: "MBR protective-msdos-label grub2-mbr cyl-align-off GPT"},
		"CD of both": {bios: true, efi: true, entries: []string{"BIOS", "UEFI"}, system: "MBR protective-msdos-label cyl-align-off GPT"},
	} {
		t.Run(name, func(t *testing.T) {
			f, o := bootable(t)
			if !c.efi {
				o.EFI = ""
			}
			if !c.bios {
				o.BIOS = nil
			} else if !c.mbr {
				o.BIOS = &iso.BIOS{Image: all.BIOS.Image}
			}
			path := f.write(t, o)
			if c.bios {
				f.patched(t, path, o.BIOS.Image)
			}
			f.checkReaders(t, path)
			out := disktest.Run(t, "xorriso", "-indev", path, "-report_el_torito", "plain", "-report_system_area", "plain")
			var entries []string
			for _, m := range regexp.MustCompile(`El Torito boot img : +\d+  (\w+)`).FindAllStringSubmatch(out, -1) {
				entries = append(entries, m[1])
			}
			var system string
			if m := regexp.MustCompile(`System area summary: (.*)`).FindStringSubmatch(out); m != nil {
				system = m[1]
			}
			if !slices.Equal(entries, c.entries) || system != c.system {
				t.Errorf("xorriso sees boot images for %q and the system area %q; want %q and %q\n%s", entries, system, c.entries, c.system, out)
			}
			if c.system != "" {
				if out := disktest.Run(t, "sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
					t.Errorf("sgdisk -v says\n%s", out)
				}
			}
		})
	}
}

// TestLargeFile holds that a file beyond 4 GiB is in several sections that readers join, and what follows it is found.
func TestLargeFile(t *testing.T) {
	f := newFixture(t)
	// Two marks around a hole of 9 GiB.
	d := f.put(t, random(9, 4096))
	const size = 9<<30 + 4096 + 5
	b := disk.NewBuilder(f.st, size)
	if err := errors.Join(b.AddObject(0, d, 0, 2000), b.AddObject(size-2001, d, 2000, 2001)); err != nil {
		t.Fatal(err)
	}
	large, err := b.Image()
	if err != nil {
		t.Fatal(err)
	}
	f.files = append(f.files, iso.File{Path: "large", Mode: 0o600, Image: &large})
	f.file(t, "z", 0o644, []byte("behind it"))
	path := disktest.WriteFile(t, f.st, f.compose(t, iso.Options{}))
	out := disktest.Run(t, "xorriso", "-indev", path, "-find", "/", "-exec", "report_lba", "--")
	sections := regexp.MustCompile(`File data lba: +\d+ , +(\d+) , +(\d+) , +(\d+) , '/large'`).FindAllStringSubmatch(out, -1)
	if len(sections) != 3 {
		t.Fatalf("xorriso sees the sections %q\n%s", sections, out)
	}
	next := number(t, sections[0][1])
	begin := next * 2048
	for _, s := range sections {
		if start := number(t, s[1]); start != next || number(t, s[3]) != size {
			t.Errorf("xorriso sees the sections %q of a file of %d bytes", sections, int64(size))
		}
		next += number(t, s[2])
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	tail := make([]byte, 2001)
	if _, err := file.ReadAt(tail, begin+size-2001); err != nil || !bytes.Equal(tail, random(9, 4096)[2000:4001]) {
		t.Errorf("the last bytes are others (%v)", err)
	}
	if out := disktest.Run(t, "bsdtar", "-tvf", path); !regexp.MustCompile(`-rw------- .* ` + decimal(size) + ` .* large\n`).MatchString(out) {
		t.Errorf("bsdtar sees\n%s", out)
	}
	if out := disktest.Run(t, "isoinfo", "-R", "-i", path, "-x", "/z"); out != "behind it" {
		t.Errorf("isoinfo reads %q behind the large file", out)
	}
	if !full() {
		return
	}
	// All 9 GiB of it.
	sum := disktest.Run(t, "sh", "-c", `bsdtar -xOf "$1" large | tail -c 2001 | sha256sum`, "sh", path)
	if !strings.HasPrefix(sum, store.Sum(tail).Hex()) {
		t.Errorf("libarchive reads other last bytes: %s", sum)
	}
}

func number(t *testing.T, digits string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestLargeEFIImage holds what stands in the boot catalog for a FAT image whose size that cannot express.
func TestLargeEFIImage(t *testing.T) {
	f := newFixture(t)
	f.image(t, "efi.img", 0o644, random(2, mib), 31*mib)
	f.file(t, "other", 0o644, random(3, mib))
	path := f.write(t, iso.Options{EFI: "efi.img", Seed: seed})
	out := disktest.Run(t, "xorriso", "-indev", path, "-report_el_torito", "plain", "-report_system_area", "plain")
	if !regexp.MustCompile(`El Torito boot img :   1  UEFI  y   none  0x0000  0x00      0 `).MatchString(out) || !strings.Contains(out, "GPT partition path :   2  /efi.img") {
		t.Errorf("xorriso says\n%s", out)
	}
}

func TestRefuses(t *testing.T) {
	st := disktest.Store(t)
	small, err := st.Put([]byte("small"))
	if err != nil {
		t.Fatal(err)
	}
	huge := disk.Image{Size: 100*(1<<32-2048) + 1}
	beyond := disk.Image{Size: 100 * (1<<32 - 2048)}
	var many []iso.File
	for i := range 23 {
		many = append(many, iso.File{Path: string(rune('a' + i)), Image: &beyond})
	}
	var dirs []iso.File
	for i := range 1 << 16 {
		dirs = append(dirs, iso.File{Path: decimal(int64(i)), Directory: true})
	}
	good := iso.Options{VolumeID: "X"}
	file := func(path string) iso.File { return iso.File{Path: path, Digest: small} }
	for _, c := range []struct {
		files []iso.File
		o     iso.Options
		want  string
	}{
		{nil, iso.Options{}, `the volume label "" must be 1 to 32 of A-Z, 0-9 and _`},
		{nil, iso.Options{VolumeID: "lower"}, `the volume label "lower" must be`},
		{nil, iso.Options{VolumeID: strings.Repeat("A", 33)}, `must be 1 to 32`},
		{nil, iso.Options{VolumeID: "X", VolumeSetID: "ü"}, `the volume set identifier "ü" must be at most 128 printable ASCII characters`},
		{nil, iso.Options{VolumeID: "X", ApplicationID: strings.Repeat("A", 129)}, `the application identifier "AAA`},
		{nil, iso.Options{VolumeID: "X", Epoch: -1}, `the time -1 is not between 1970 and 2155`},
		{nil, iso.Options{VolumeID: "X", Epoch: 5_869_584_000}, `is not between 1970 and 2155`},
		{nil, iso.Options{VolumeID: "X", BIOS: &iso.BIOS{Image: "a", HybridMBR: make([]byte, 512)}}, `boot_hybrid.img is not GRUB's boot sector`},
		{nil, iso.Options{VolumeID: "X", EFI: "efi"}, `UEFI shall boot /efi, but that is not among the files`},
		{[]iso.File{{Path: "efi", Digest: store.Sum(nil)}}, iso.Options{VolumeID: "X", EFI: "efi"}, `UEFI shall boot /efi, but that is empty`},
		{[]iso.File{{Path: "efi", Target: "x"}}, iso.Options{VolumeID: "X", EFI: "efi"}, `is not among the files`},
		{[]iso.File{file("efi")}, iso.Options{VolumeID: "X", EFI: "efi"}, `/efi has 5 bytes, which is no multiple of 512: it is no FAT image`},
		{[]iso.File{file("bios")}, iso.Options{VolumeID: "X", BIOS: &iso.BIOS{Image: "bios"}}, `/bios has 5 bytes, which is no i386-pc-eltorito image`},
		{[]iso.File{file("x")}, iso.Options{VolumeID: "X", BIOS: &iso.BIOS{Image: "x"}, EFI: "x"}, `BIOS and UEFI cannot boot the same image`},
		{[]iso.File{file("a"), file("a")}, good, `/a: it is named twice`},
		{[]iso.File{file("a"), file("a/b")}, good, `/a/b: /a is not a directory`},
		{[]iso.File{file("/a")}, good, `the path is absolute`},
		{[]iso.File{file("a/../b")}, good, `the path has an element ".."`},
		{[]iso.File{file(strings.Repeat("n", 256))}, good, `256 bytes, 255 is the most`},
		{[]iso.File{{Path: "a"}}, good, `/a: it must be exactly one of`},
		{[]iso.File{{Path: "a", Digest: small, Directory: true}}, good, `/a: it must be exactly one of`},
		{[]iso.File{file(".")}, good, `/.: it must be exactly one of`},
		{[]iso.File{{Path: "a", Digest: small, Mode: 0o100644}}, good, `/a: mode 0100644 has more than permission bits`},
		{[]iso.File{{Path: "a", Digest: store.Sum([]byte("gone"))}}, good, `/a: object sha256:`},
		{[]iso.File{{Path: "a", Target: "x\x00y"}}, good, `holds a NUL byte`},
		{[]iso.File{{Path: "a", Target: strings.Repeat("x/", 512)}}, good, `/a: the target of the symbolic link has 1024 bytes; 1023 are the most`},
		{[]iso.File{{Path: "a", Target: strings.Repeat("x", 256)}}, good, `/a: the target of the symbolic link has an element of 256 bytes`},
		{[]iso.File{{Path: "a", Image: &huge}}, good, `/a: it has 429496524801 bytes; Linux reads no files of more than 429496524800 bytes`},
		{many, good, `more than the 8 TiB that ISO 9660 can address`},
		{dirs, good, `there are 65537 directories; path tables have room for 65535`},
	} {
		_, err := iso.Compose(st, c.files, c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "compose the ISO image: ") {
			t.Errorf("error is %v, want one containing %q", err, c.want)
		}
	}
	if _, err := iso.Compose(st, []iso.File{{Path: "a", Image: &disk.Image{Size: 5, Extents: []disk.Extent{{Length: 9}}}}}, good); err == nil {
		t.Error("an image that is none is accepted")
	}
}
