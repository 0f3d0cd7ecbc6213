package fat_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/partition/fat"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// checkReader compares what our reader sees in the file system at path with files.
func checkReader(t *testing.T, path string, files map[string][]byte) *fat.FS {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := fat.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := f.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Type == tree.Directory {
				walk(e.Path)
				continue
			}
			count++
			want, ok := files[e.Path]
			if !ok {
				t.Errorf("the reader sees %q, which is not there", e.Path)
				continue
			}
			r, err := f.Open(strings.ToUpper(e.Path))
			if err != nil {
				t.Error(err)
				continue
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) || e.Size != int64(len(want)) {
				t.Errorf("the reader reads %d bytes of %s, %v; want %d equal ones", len(got), e.Path, err, len(want))
			}
		}
	}
	walk(tree.Root)
	for name := range files {
		if !strings.HasSuffix(name, "/") {
			count--
		} else if e, err := f.Stat(strings.TrimSuffix(name, "/")); err != nil || e.Type != tree.Directory {
			t.Errorf("directory %s: %+v, %v", name, e, err)
		}
	}
	if count != 0 {
		t.Errorf("the reader sees %d files more than there are", count)
	}
	return f
}

func TestReaderReadsOurs(t *testing.T) {
	st := disktest.Store(t)
	for size, bits := range map[int64]int{2 * mib: 12, 16 * mib: 16, 70 * mib: 32} {
		im, err := fat.Write(context.Background(), st, makeTree(t, st, espFiles()), fat.Options{Size: size, Label: "esp", VolumeID: 0xfeed, Time: when})
		if err != nil {
			t.Fatal(err)
		}
		f := checkReader(t, disktest.WriteFile(t, st, im), espFiles())
		if i := f.Info(); i.Bits != bits || i.Label != "ESP" || i.VolumeID != 0xfeed || i.Size != size {
			t.Errorf("the file system is described as %+v", i)
		}
		e, err := f.Stat("efi/boot/bootx64.efi")
		if err != nil || e.Path != "EFI/BOOT/BOOTX64.EFI" || e.MTime != (tree.Time{Sec: when.Sec - when.Sec%2}) || e.Mode != 0o644 {
			t.Errorf("Stat gives %+v, %v", e, err)
		}
	}
}

// TestReaderReadsOthers reads what mkfs.fat and mtools write, which allocate and name differently.
func TestReaderReadsOthers(t *testing.T) {
	files := espFiles()
	delete(files, "EFI/debian/fonts/")
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	hidden, err := filepath.Glob(filepath.Join(dir, ".[a-z]*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range hidden {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, args := range [][]string{{"-F", "12", "-C"}, {"-F", "16", "-C"}, {"-F", "32", "-C"}, {"-F", "16", "-S", "4096", "-C"}} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "other")
			kib := map[string]string{"12": "4096", "16": "20000", "32": "70000"}[args[1]]
			if len(args) > 3 {
				kib = "200000"
			}
			disktest.Run(t, "mkfs.fat", append(args, "-n", "OTHER", path, kib)...)
			disktest.Run(t, "mcopy", append(append([]string{"-s", "-i", path}, names...), "::")...)
			if f := checkReader(t, path, files); f.Info().Label != "OTHER" {
				t.Errorf("the label is %q", f.Info().Label)
			}
		})
	}
}

func TestReaderErrors(t *testing.T) {
	st := disktest.Store(t)
	im, err := fat.Write(context.Background(), st, makeTree(t, st, espFiles()), fat.Options{Size: mib, Time: when})
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(disktest.WriteFile(t, st, im))
	if err != nil {
		t.Fatal(err)
	}
	f, err := fat.Open(bytes.NewReader(good), mib)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"none", "EFI/none", "README.TXT/none"} {
		if _, err := f.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Stat(%q) gives %v", path, err)
		}
	}
	if _, err := f.Open("EFI"); err == nil {
		t.Error("a directory can be opened")
	}
	if _, err := f.ReadDir("README.TXT"); err == nil {
		t.Error("a file can be listed")
	}
	if _, err := fat.Open(bytes.NewReader(good[:100]), 100); err == nil {
		t.Error("100 bytes can be opened")
	}
	if _, err := fat.Open(bytes.NewReader(good), mib-512); err == nil {
		t.Error("a file system larger than its device can be opened")
	}
	bad := bytes.Clone(good)
	for i := 4096 + 3; i < 4096+6*512; i++ { // the table, but for its first entries
		bad[i] = 0
	}
	f, err = fat.Open(bytes.NewReader(bad), mib)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Open("EFI/BOOT/BOOTX64.EFI"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a file whose chain is broken gives the error %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	st := disktest.Store(f)
	tr := makeTree(f, st, map[string][]byte{"EFI/BOOT/BOOTX64.EFI": make([]byte, 3000), "a long name.txt": []byte("x"), "dir/sub/": nil})
	im, err := fat.Write(context.Background(), st, tr, fat.Options{Size: 128 * kib, Label: "L", Time: when})
	if err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(disktest.WriteFile(f, st, im))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, b []byte) {
		fsys, err := fat.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		seen := 0
		var walk func(dir string)
		walk = func(dir string) {
			entries, err := fsys.ReadDir(dir)
			if err != nil {
				return
			}
			for _, e := range entries {
				if seen++; seen > 200 {
					return
				}
				if e.Type == tree.Directory {
					walk(e.Path)
				} else if r, err := fsys.Open(e.Path); err == nil {
					io.Copy(io.Discard, io.LimitReader(r, mib))
				}
			}
		}
		walk(tree.Root)
	})
}
