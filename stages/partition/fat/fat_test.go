package fat_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/partition/fat"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// when is 2026-11-21 19:23:45.67 UTC.
var when = tree.Time{Sec: 1795289025, Nsec: 670_000_000}

// makeTree stores files (by path) and returns the tree of them and their directories. Paths ending in / are directories.
func makeTree(t testing.TB, st *store.Store, files map[string][]byte) *tree.Tree {
	t.Helper()
	e := tree.Empty(when).Edit()
	dir := tree.Entry{Type: tree.Directory, Mode: 0o755, MTime: when}
	for path, data := range files {
		if p, isDir := strings.CutSuffix(path, "/"); isDir {
			if err := e.MkdirAll(p, dir); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := e.MkdirAll(tree.Parent(path), dir); err != nil {
			t.Fatal(err)
		}
		d, err := st.Put(data)
		if err != nil {
			t.Fatal(err)
		}
		e.Put(tree.Entry{Path: path, Type: tree.Regular, Mode: 0o644, MTime: when, Digest: d, Size: int64(len(data))})
	}
	result, err := e.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// espFiles is what an EFI system partition holds, and names that need every kind of directory entry.
func espFiles() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		return p
	}
	files := map[string][]byte{
		"EFI/BOOT/BOOTX64.EFI": random(150_001),
		"EFI/BOOT/grubx64.efi": random(98_304),
		"EFI/debian/grub.cfg":  []byte("search --label ROOT\n"),
		"EFI/debian/grubenv":   bytes.Repeat([]byte("#"), 1024),
		"EFI/debian/fonts/":    nil,
		"empty":                nil,
		"README.TXT":           []byte("all upper case"),
		"a name with spaces and more than 26 letters": []byte("long"),
		"LongFileName.first":                          []byte("1"),
		"LongFileName.second":                         []byte("2"),
		"LONGFI~1.FIR":                                []byte("a short name that the tail must avoid"),
		"ünïcödé 漢→.txt":                              []byte("code points beyond ASCII (mtools knows none beyond the BMP)"),
		".hidden":                                     []byte("dot"),
		"exactly13char":                               []byte("a long name that fills an entry"),
		"[brackets]+,;=.cfg":                          []byte("signs that only long names have"),
		"two.dots.conf":                               []byte("dots"),
		strings.Repeat("n", 255):                      []byte("the longest name"),
	}
	for i := range 60 {
		files[fmt.Sprintf("many/file-with-a-long-name-%03d.module", i)] = random(i * 11)
	}
	return files
}

func testSizes() []int64 {
	sizes := []int64{1*mib + 512, 2*mib - 512, 4*mib - 512, 8*mib - 512, 32*mib - 512, 64*mib - 512, 64*mib + 512, 260*mib + 512, 8*gib + 512}
	for _, m := range []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 24, 31, 32, 33, 34, 35, 40, 48, 60, 63, 64, 65, 66, 67, 72, 80, 96, 100, 127, 128,
		200, 255, 256, 257, 260, 261, 300, 400, 511, 512, 513, 600, 1000, 1024, 2047, 2048, 4096, 20 * 1024} {
		sizes = append(sizes, m*mib)
	}
	return sizes
}

func TestEverySizeIsCleanAndReadsBack(t *testing.T) {
	st := disktest.Store(t)
	files := espFiles()
	tr := makeTree(t, st, files)
	for _, size := range testSizes() {
		t.Run(fmt.Sprintf("%dKiB", size/kib), func(t *testing.T) {
			im, err := fat.Write(context.Background(), st, tr, fat.Options{Size: size, Label: "boot", VolumeID: 0x1234abcd, Time: when})
			if err != nil {
				t.Fatal(err)
			}
			path := disktest.WriteFile(t, st, im)
			if info, err := os.Stat(path); err != nil || info.Size() != size {
				t.Fatalf("the file system has %d bytes, %v; want %d", info.Size(), err, size)
			}
			// fsck.fat says nothing but a summary when all is well.
			out := disktest.Run(t, "fsck.fat", "-n", path)
			if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 2 || !strings.Contains(lines[1], "files,") {
				t.Errorf("fsck.fat is not content:\n%s", out)
			}
			if out := disktest.Run(t, "blkid", "-p", "-o", "export", path); !strings.Contains(out, "LABEL=BOOT\n") ||
				!strings.Contains(out, "UUID=1234-ABCD\n") || !strings.Contains(out, "TYPE=vfat\n") {
				t.Errorf("blkid sees\n%s", out)
			}
			if out := disktest.Run(t, "fatlabel", path); strings.TrimSpace(out) != "BOOT" {
				t.Errorf("fatlabel prints %q", out)
			}
			checkFiles(t, path, files)
		})
	}
}

// checkFiles compares what mcopy reads from the file system at path with files.
func checkFiles(t *testing.T, path string, files map[string][]byte) {
	t.Helper()
	dir := t.TempDir()
	disktest.Run(t, "mcopy", "-s", "-m", "-i", path, "::*", dir)
	for name, data := range files {
		if strings.HasSuffix(name, "/") {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || !info.IsDir() {
				t.Errorf("directory %s: %v", name, err)
			}
			continue
		}
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("mcopy reads %d bytes of %s, %v; want %d equal ones", len(got), name, err, len(data))
		}
	}
}

// TestListing holds mdir's view: short names, long names, sizes, times.
func TestListing(t *testing.T) {
	st := disktest.Store(t)
	im, err := fat.Write(context.Background(), st, makeTree(t, st, espFiles()), fat.Options{Size: 16 * mib, Label: "EFI-SYSTEM", VolumeID: 0xdeadbeef, Time: when})
	if err != nil {
		t.Fatal(err)
	}
	path := disktest.WriteFile(t, st, im)
	out := disktest.Run(t, "mdir", "-i", path, "::")
	for _, want := range []string{
		`Volume in drive : is EFI-SYSTEM`,
		`Volume Serial Number is DEAD-BEEF`,
		`EFI +<DIR> +2026-11-21  19:23`,
		`README +TXT +14 2026-11-21  19:23`,
		`LONGFI~1 FIR +37 2026-11-21  19:23 *\n`,
		`LONGFI~2 FIR +1 2026-11-21  19:23  LongFileName.first`,
		`LONGFI~1 SEC +1 2026-11-21  19:23  LongFileName.second`,
		`ANAMEW~1 +4 2026-11-21  19:23  a name with spaces and more than 26 letters`,
		`EMPTY +0 2026-11-21  19:23  empty`,
		`HIDDEN~1 +3 2026-11-21  19:23  .hidden`,
		`TWODOT~1 CON +4 2026-11-21  19:23  two.dots.conf`,
		`_BRACK~1 CFG +31 `,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("mdir does not show %q:\n%s", want, out)
		}
	}
	// Parents are found through "..": this is where go-diskfs goes wrong on FAT32.
	for _, size := range []int64{16 * mib, 100 * mib} {
		im, err := fat.Write(context.Background(), st, makeTree(t, st, espFiles()), fat.Options{Size: size, Time: when})
		if err != nil {
			t.Fatal(err)
		}
		if out := disktest.Run(t, "mdir", "-i", disktest.WriteFile(t, st, im), "::EFI/debian/fonts/../../BOOT"); !strings.Contains(out, "BOOTX64  EFI    150001") {
			t.Errorf("mdir through .. shows\n%s", out)
		}
	}
}

func TestSameInputsSameBytes(t *testing.T) {
	var want []byte
	for range 3 {
		st := disktest.Store(t)
		im, err := fat.Write(context.Background(), st, makeTree(t, st, espFiles()), fat.Options{Size: 33 * mib, Label: "x", Time: when})
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = im.Encode()
		}
		if !bytes.Equal(im.Encode(), want) {
			t.Fatal("two runs give different images")
		}
	}
}

// TestRandomTrees writes trees of many shapes, with sizes around those of sectors and clusters.
func TestRandomTrees(t *testing.T) {
	st := disktest.Store(t)
	lengths := []int{0, 1, 511, 512, 513, 1023, 1024, 1025, 2048, 4095, 4096, 4097, 70_000}
	const alphabet = "abcXYZ019 ._-+~#äΩ漢"
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 5))
			name := func() string {
				letters := []rune(alphabet)
				b := make([]rune, 1+r.IntN(40))
				for i := range b {
					b[i] = letters[r.IntN(len(letters))]
				}
				return strings.Trim(string(b), " .~") + fmt.Sprint(r.IntN(1_000_000))
			}
			dirs, files := []string{""}, map[string][]byte{}
			for range 150 {
				path := dirs[r.IntN(len(dirs))] + name()
				if r.IntN(5) == 0 {
					dirs = append(dirs, path+"/")
					files[path+"/"] = nil
					continue
				}
				data := make([]byte, lengths[r.IntN(len(lengths))])
				for i := range data {
					data[i] = byte(r.Uint32())
				}
				files[path] = data
			}
			size := []int64{7 * mib, 20 * mib, 50 * mib, 66 * mib, 300 * mib}[r.IntN(5)]
			im, err := fat.Write(context.Background(), st, makeTree(t, st, files), fat.Options{Size: size, Time: when})
			if err != nil {
				t.Fatal(err)
			}
			path := disktest.WriteFile(t, st, im)
			if out := disktest.Run(t, "fsck.fat", "-n", path); strings.Count(out, "\n") != 2 {
				t.Errorf("fsck.fat is not content:\n%s", out)
			}
			checkFiles(t, path, files)
		})
	}
}

// TestContentsAreNotCopied holds that files are referred to where they are in the store.
func TestContentsAreNotCopied(t *testing.T) {
	st := disktest.Store(t)
	files := espFiles()
	im, err := fat.Write(context.Background(), st, makeTree(t, st, files), fat.Options{Size: 100 * mib, Time: when})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range im.Extents {
		if e.Object == store.Sum(files["EFI/BOOT/BOOTX64.EFI"]) {
			if e.Length != 150_001 || e.Offset%4096 != 0 && e.Offset%512 != 0 {
				t.Errorf("BOOTX64.EFI is extent %+v", e)
			}
			return
		}
	}
	t.Error("no extent refers to BOOTX64.EFI")
}

// TestMinSize holds that a tree fits MinSize and not a MiB less, and that Write's error says how much is missing.
func TestMinSize(t *testing.T) {
	st := disktest.Store(t)
	for _, n := range []int{0, 900 * kib, 5 * mib, 20*mib + 1, 61 * mib, 70 * mib} {
		tr := makeTree(t, st, map[string][]byte{"EFI/large": make([]byte, n), "small": []byte("x")})
		size, err := fat.MinSize(tr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fat.Write(context.Background(), st, tr, fat.Options{Size: size}); err != nil {
			t.Errorf("%d bytes do not fit MinSize, %d MiB: %v", n, size/mib, err)
		}
		if size == mib {
			continue
		}
		_, err = fat.Write(context.Background(), st, tr, fat.Options{Size: size - mib})
		var noSpace *fat.NoSpaceError
		if !errors.As(err, &noSpace) || noSpace.Have != size-mib || noSpace.Need < size {
			t.Errorf("a MiB less than MinSize gives the error %v", err)
		}
	}
	tr := makeTree(t, st, map[string][]byte{"large": make([]byte, 3*mib)})
	_, err := fat.Write(context.Background(), st, tr, fat.Options{Size: mib})
	if want := "the FAT file system is 3 MiB too small: it has 1048576 bytes and its files need 4194304; enlarge it"; err == nil || err.Error() != want {
		t.Errorf("error is %v, want %q", err, want)
	}
}

func TestRefuses(t *testing.T) {
	st := disktest.Store(t)
	with := func(e tree.Entry) *tree.Tree {
		edit := makeTree(t, st, map[string][]byte{"README": nil}).Edit()
		edit.Put(e)
		tr, err := edit.Tree()
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	empty := store.Sum(nil)
	plain := makeTree(t, st, nil)
	manyNames := map[string][]byte{}
	for i := range 600 {
		manyNames[fmt.Sprintf("F%d", i)] = nil
	}
	ok := fat.Options{Size: mib}
	for want, test := range map[string]struct {
		tree    *tree.Tree
		options fat.Options
	}{
		"link is a symlink, which a FAT":              {with(tree.Entry{Path: "link", Type: tree.Symlink, Target: "x"}), ok},
		"README and readme differ in case only":       {with(tree.Entry{Path: "readme", Type: tree.Regular, Digest: empty}), ok},
		`a name on FAT cannot contain ':'`:            {with(tree.Entry{Path: "a:b", Type: tree.Regular, Digest: empty}), ok},
		"cannot end in a dot":                         {with(tree.Entry{Path: "a.", Type: tree.Regular, Digest: empty}), ok},
		"is not UTF-8":                                {with(tree.Entry{Path: "a\xff", Type: tree.Regular, Digest: empty}), ok},
		"a file on FAT has at most 4294967295":        {with(tree.Entry{Path: "big", Type: tree.Regular, Digest: empty, Size: 1 << 32}), ok},
		"has room for 512 entries and its names need": {makeTree(t, st, manyNames), ok},
		"is longer than the 11 characters":            {plain, fat.Options{Size: mib, Label: "TWELVE LONG!"}},
		`contains 'Ã'`:                                {plain, fat.Options{Size: mib, Label: "ä"}},
		"is no whole number of 512-byte sectors":      {plain, fat.Options{Size: mib + 1}},
		"is too small; make it at least 128 KiB":      {plain, fat.Options{Size: 64 * kib}},
		"is too large; make it at most 2 TiB":         {plain, fat.Options{Size: 2 << 40}},
	} {
		t.Run(want, func(t *testing.T) {
			if _, err := fat.Write(context.Background(), st, test.tree, test.options); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error is %v, want one containing %q", err, want)
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := fat.Write(ctx, st, plain, ok); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled Write gives %v", err)
	}
}
