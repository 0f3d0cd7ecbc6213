package finish_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/installer/finish"
	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/partition/ext4"
	"github.com/imagefactory/imagefactory/stages/partition/fat"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// ext4Image writes a file system with one file, as a build does.
func ext4Image(t testing.TB, st *store.Store, size int64, uuid partition.GUID, path, content string) disk.Image {
	t.Helper()
	d, err := st.Put([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	e := tree.Empty(tree.Time{Sec: 1}).Edit()
	if dir := tree.Parent(path); dir != "" {
		if err := e.MkdirAll(dir, tree.Entry{Type: tree.Directory, Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
	}
	e.Put(tree.Entry{Path: path, Type: tree.Regular, Mode: 0o644, Size: int64(len(content)), Digest: d})
	root, err := e.Tree()
	if err != nil {
		t.Fatal(err)
	}
	im, err := ext4.Write(t.Context(), st, root, ext4.Options{Size: size, UUID: uuid})
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// TestFilesystemsFillTheirPartitions grows what our writers and mkfs make, and has the tools of each look at it.
func TestFilesystemsFillTheirPartitions(t *testing.T) {
	const grown = 3 << 30
	for name, test := range map[string]struct {
		make  func(t *testing.T, path string)
		check []string
		want  string // type; empty when it is left as it is
		least int64  // size afterwards
	}{
		"ext4 of ours": {func(t *testing.T, path string) {
			st := disktest.Store(t)
			im := ext4Image(t, st, 60*mib, partition.UUID(seed, "fs"), "file", "content")
			if err := os.Rename(disktest.WriteFile(t, st, im), path); err != nil {
				t.Fatal(err)
			}
		}, []string{"e2fsck", "-f", "-n"}, "ext4", grown - 128*mib},
		"ext4 of mkfs": {func(t *testing.T, path string) {
			sparse(t, path, 200*mib)
			disktest.Run(t, "mkfs.ext4", "-q", path)
		}, []string{"e2fsck", "-f", "-n"}, "ext4", grown - 128*mib},
		"xfs": {func(t *testing.T, path string) {
			sparse(t, path, 320*mib)
			disktest.Run(t, "mkfs.xfs", "-q", path)
		}, []string{"xfs_repair", "-n"}, "xfs", grown - mib},
		"vfat of ours": {func(t *testing.T, path string) {
			st := disktest.Store(t)
			im, err := fat.Write(t.Context(), st, tree.Empty(tree.Time{Sec: 1 << 30}), fat.Options{Size: 40 * mib})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(disktest.WriteFile(t, st, im), path); err != nil {
				t.Fatal(err)
			}
		}, []string{"fsck.fat", "-n"}, "", 0},
		"nothing": {func(t *testing.T, path string) { sparse(t, path, mib) }, []string{"true"}, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fs")
			test.make(t, path)
			if err := os.Truncate(path, grown); err != nil {
				t.Fatal(err)
			}
			device := loop(t, path)
			if test.want == "ext4" && !mayResize(t) {
				t.Skip("CAP_SYS_RESOURCE is needed to enlarge a mounted ext4; TestInAMachine does it")
			}
			g, err := finish.GrowFilesystem(device)
			if err != nil {
				t.Fatal(err)
			}
			if test.want == "" {
				if g.Left == "" || g.After != g.Before {
					t.Errorf("it says %+v of what cannot grow", g)
				}
			} else if g.Type != test.want || g.Left != "" || g.After < test.least || g.After > grown || g.Before >= g.After {
				t.Errorf("it says %+v", g)
			}
			disktest.Run(t, test.check[0], append(test.check[1:], device)...)
			again, err := finish.GrowFilesystem(device)
			if err != nil || again.Before != g.After || again.After != g.After {
				t.Errorf("repeated, it gives %+v, %v", again, err)
			}
			if test.want == "" {
				return
			}
			dir, unmount := mount(t, device)
			if err := os.WriteFile(filepath.Join(dir, "new"), make([]byte, 8*mib), 0o644); err != nil {
				t.Error(err)
			}
			if name == "ext4 of ours" {
				if p, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(p) != "content" {
					t.Errorf("the file in it reads %q, %v", p, err)
				}
			}
			unmount()
			disktest.Run(t, test.check[0], append(test.check[1:], device)...)
		})
	}
}

func sparse(t testing.TB, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
}

// TestIdentifyAgreesWithBlkid compares what is read from superblocks.
func TestIdentifyAgreesWithBlkid(t *testing.T) {
	for _, mkfs := range [][]string{
		{"mkfs.ext4", "-q"}, {"mkfs.ext4", "-q", "-O", "^64bit,^extents,^flex_bg,^metadata_csum"}, {"mkfs.ext4", "-q", "-O", "^64bit,^extent,^flex_bg,^has_journal,^metadata_csum,^huge_file,^dir_nlink,^extra_isize"},
		{"mkfs.ext4", "-q", "-b", "1024"}, {"mkfs.xfs", "-q"}, {"mkfs.xfs", "-q", "-b", "size=1024"},
		{"mkfs.fat", "-F", "12"}, {"mkfs.fat", "-F", "16"}, {"mkfs.fat", "-F", "32"},
	} {
		t.Run(strings.Join(mkfs, " "), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fs")
			size := int64(320 * mib)
			if strings.HasSuffix(mkfs[len(mkfs)-1], "12") {
				size = 4 * mib
			}
			sparse(t, path, size)
			disktest.Run(t, mkfs[0], append(mkfs[1:], path)...)
			fs, err := finish.Identify(open(t, path))
			if err != nil {
				t.Fatal(err)
			}
			value := func(tag string) string {
				return strings.TrimSpace(disktest.Run(t, "blkid", "-p", "-o", "value", "-s", tag, path))
			}
			if fs.Type != value("TYPE") || fs.UUID != value("UUID") {
				t.Errorf("it reads %s %s, blkid %s %s", fs.Type, fs.UUID, value("TYPE"), value("UUID"))
			}
			if fs.Size < size-mib || fs.Size > size {
				t.Errorf("it has %d bytes of %d", fs.Size, size)
			}
		})
	}
}

func FuzzIdentify(f *testing.F) {
	f.Add(make([]byte, 2048))
	for _, magic := range []string{"XFSB", "LUKS"} {
		f.Add(append([]byte(magic), make([]byte, 2048)...))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		fs, err := finish.Identify(strings.NewReader(string(p)))
		if err != nil || fs.Size < 0 || (fs.Type == "") != (fs.Size == 0) {
			t.Errorf("it reads %+v, %v", fs, err)
		}
	})
}
