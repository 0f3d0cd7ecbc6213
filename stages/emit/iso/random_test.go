package iso_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/emit/iso"
)

// alphabets are what names are made of: what is fine in ISO 9660, what has a meaning in it, what shells and terminals stumble
// over, other scripts, and bytes that are no text.
var alphabets = []string{
	"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_",
	"aA.",
	";.;1",
	" \t\n\\'\"*?[]{}$~#-=@",
	"äöüßéñ日本語한국어русский🐧",
	"\xff\xfe\x80\xc3a",
}

// randomName returns a name that is not taken, some of them as long as a name can be.
func randomName(r *rand.Rand, taken map[string]bool, longest int) string {
	for {
		alphabet := alphabets[r.IntN(len(alphabets))]
		letters := []rune(alphabet)
		length := 1 + r.IntN(12)
		if r.IntN(8) == 0 {
			length = 200 + r.IntN(100)
		}
		var b strings.Builder
		for b.Len() < length {
			if strings.HasPrefix(alphabet, "\xff") {
				b.WriteByte(alphabet[r.IntN(len(alphabet))])
			} else {
				b.WriteRune(letters[r.IntN(len(letters))])
			}
		}
		name := b.String()
		for len(name) > longest {
			name = name[:len(name)-1]
		}
		if name != "." && name != ".." && !taken[name] {
			taken[name] = true
			return name
		}
	}
}

// randomTarget returns a target that every reader shows as it is: none with slashes that follow one another, which some
// join, and none longer than the one SL entry that libarchive handles well.
func randomTarget(r *rand.Rand) string {
	elements := []string{}
	for range 1 + r.IntN(6) {
		elements = append(elements, []string{".", "..", "a", "usr", "日本", strings.Repeat("x", 1+r.IntN(30))}[r.IntN(6)])
	}
	target := strings.Join(elements, "/")
	if r.IntN(3) == 0 {
		target = "/" + target
	}
	return target
}

// grow fills dir with random files, and directories down to depth.
func (f *fixture) grow(t *testing.T, r *rand.Rand, dir string, depth int) {
	taken := map[string]bool{}
	for range r.IntN(14) {
		path := filepath.Join(dir, randomName(r, taken, f.longest))
		mode := uint32(r.IntN(0o10000))
		switch kind := r.IntN(12); {
		case kind < 4 && depth > 0:
			if r.IntN(2) == 0 {
				f.directory(path, mode)
			}
			f.grow(t, r, path, depth-1)
		case kind < 6:
			f.symlink(path, randomTarget(r))
		case kind == 6:
			f.file(t, path, mode, nil)
		case kind == 7:
			f.image(t, path, mode, random(r.Uint64(), 2+r.IntN(5000)), int64(1+r.IntN(10_000)))
		case kind == 8 && len(f.files) > 0: // contents that are there already
			if other := f.want[f.files[r.IntN(len(f.files))].Path]; other.mode.IsRegular() {
				f.file(t, path, mode, []byte(other.data))
			}
		default:
			size := []int{1, 2047, 2048, 2049, 4096, r.IntN(20_000)}[r.IntN(6)]
			f.file(t, path, mode, random(r.Uint64(), size))
		}
	}
}

func TestRandomTrees(t *testing.T) {
	count := uint64(12)
	if full() {
		count = 200
	}
	for n := range count {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			f := newFixture(t)
			f.grow(t, rand.New(rand.NewPCG(n, 4)), ".", 1+int(n)%6)
			f.checkReaders(t, f.write(t, iso.Options{}))
		})
	}
}

// TestManyFiles fills a directory whose names are the same in ISO 9660, and spreads many over many.
func TestManyFiles(t *testing.T) {
	f := newFixture(t)
	for i := range 3000 {
		f.file(t, fmt.Sprintf("same/a name that begins like all others %d.config", i), 0o644, []byte{byte(i), byte(i >> 8)})
		f.file(t, fmt.Sprintf("spread/%d/%d/%d", i%7, i%31, i), 0o600, []byte{byte(i), byte(i >> 8), 1})
	}
	for _, name := range []string{"readme", "README", "ReadMe", "Readme.", "readme;1", ".readme", "_readme", "README_1"} {
		f.file(t, "case/"+name, 0o644, []byte(name))
		f.directory("case/"+name+".d", 0o755)
	}
	f.checkReaders(t, f.write(t, iso.Options{}))
}

// TestDeepTree goes far beyond the eight levels of ECMA-119.
func TestDeepTree(t *testing.T) {
	f := newFixture(t)
	path := "a directory"
	for i := range 60 {
		f.file(t, path+"/file", 0o644, []byte(path))
		path = filepath.Join(path, fmt.Sprintf("level %d", i))
	}
	f.checkReaders(t, f.write(t, iso.Options{}))
}

// TestNamesOfEveryLength crosses every bound between what fits a record, an entry, an area and a block.
func TestNamesOfEveryLength(t *testing.T) {
	f := newFixture(t)
	for n := 1; n <= 255; n++ {
		f.file(t, "long/"+strings.Repeat("n", n), 0o644, []byte{byte(n)})
		f.file(t, "short/"+strings.Repeat("日", n/3)+strings.Repeat("n", n%3), 0o644, []byte{byte(n)})
		f.symlink("link/"+strings.Repeat("n", n), strings.Repeat("t", 1+n%200))
	}
	f.checkReaders(t, f.write(t, iso.Options{}))
}

// TestLongTargets holds targets that need several entries, and such as have nothing between slashes.
func TestLongTargets(t *testing.T) {
	f := newFixture(t)
	f.symlink("elements", strings.Repeat("e/", 500)+"e")
	f.symlink("parents", strings.Repeat("../", 340)+"x")
	for n := 200; n <= 255; n++ {
		f.symlink(fmt.Sprintf("long%d", n), "/"+strings.Repeat("a", n)+"/"+strings.Repeat("b", 255)+"/"+strings.Repeat("c", 255))
	}
	f.checkXorriso(t, f.write(t, iso.Options{}))
}

// TestIdentifiers holds the names that readers without Rock Ridge see, and the order of records.
func TestIdentifiers(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"vmlinuz", "grub.cfg", ".config", "a.tar.gz", "Übung.txt", "readme", "README", "ReadMe",
		"a name of more than thirty characters.text", "a name of more than thirty characters, too.text", "no.extension_of_8", "dots...", "x;1"} {
		f.file(t, name, 0o644, []byte(name))
	}
	f.directory("efi", 0o755)
	f.directory("a directory of more than thirty characters", 0o755)
	f.directory("a directory of more than thirty-one characters", 0o755)
	got := identifiers(t, f.write(t, iso.Options{}))
	want := []string{
		"A_DIRECTORY_OF_MORE_THAN_THIRTY", "A_DIRECTORY_OF_MORE_THAN_THIR_1",
		"A_NAME_OF_MORE_THAN_THIRTY.TEXT;1", "A_NAME_OF_MORE_THAN_THIR_1.TEXT;1",
		"A_TAR.GZ;1", "DOTS__.;1", "EFI", "GRUB.CFG;1", "NO.EXTENSIO;1",
		"README.;1", "README_1.;1", "README_2.;1", "VMLINUZ.;1", "X_1.;1", "_BUNG.TXT;1", "_CONFIG.;1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("isoinfo sees %q, want %q", got, want)
	}
}
