package ext4

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// TestReadForeign reads file systems that mke2fs made.
func TestReadForeign(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	for name, size := range map[string]int{"empty": 0, "small": 5, "direct": 12 * 1024, "indirect": 200 << 10, "double": 3 << 20} {
		if err := os.WriteFile(filepath.Join(dir, name), randomBytes(r, size), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	// Sparse, up to where blocks of 1024 bytes need triple-indirect ones.
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for off := int64(10 << 20); off < 75<<20; off += 9 << 20 {
		if _, err := f.WriteAt([]byte("data"), off); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(80<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	many := filepath.Join(dir, "many")
	if err := os.Mkdir(many, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		if err := os.WriteFile(filepath.Join(many, strings.Repeat("n", 60)+string(rune('a'+i%26))+string(rune('0'+i/26))), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"fast": "small", "slow": strings.Repeat("t", 200)} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "small"), filepath.Join(many, "small")); err != nil {
		t.Fatal(err)
	}
	want := asMke2fsHasIt(t, readMount(t, dir))

	for name, args := range map[string][]string{
		"ext2":        {"-O", "none,filetype,sparse_super,ext_attr,large_file"},
		"ext2, 1024":  {"-O", "none,filetype,sparse_super,ext_attr,large_file", "-b", "1024"},
		"ext2, 128":   {"-O", "none,filetype,sparse_super,ext_attr,large_file", "-I", "128"},
		"no filetype": {"-O", "none", "-r", "1", "-b", "2048"},
		"ext4":        {"-O", "none," + strings.Join(DefaultFeatures(), ",")},
		"ext4, 1024":  {"-O", "none," + strings.Join(DefaultFeatures(), ","), "-b", "1024"},
		"meta_bg":     {"-O", "none," + strings.Join(without("resize_inode", "meta_bg"), ","), "-b", "1024"},
		"uninit_bg":   {"-O", "none," + strings.Join(without("metadata_csum", "uninit_bg"), ",")},
		"newer":       {"-O", "none," + strings.Join(without("", "metadata_csum_seed", "orphan_file", "large_dir"), ",")},
		"large inode": {"-O", "none," + strings.Join(DefaultFeatures(), ","), "-I", "1024"},
		"sparser":     {"-O", "none," + strings.Join(without("resize_inode", "sparse_super2"), ",")},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "ext4" && name != "ext2, 1024" && name != "meta_bg" {
				fullTier(t)
			}
			image := filepath.Join(t.TempDir(), "image")
			run(t, "e2fsprogs", "mke2fs", slices.Concat([]string{"-q", "-d", dir}, args, []string{image, "128M"})...)
			// mke2fs makes no hash trees, e2fsck -D does; its status 1 says so.
			out, err := tool(t, "e2fsprogs", "e2fsck", "-fyD", image).CombinedOutput()
			if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
				t.Fatalf("e2fsck: %v\n%s", err, out)
			}
			got := readTree(t, image)
			compareTrees(t, want, asMke2fsHasIt(t, got))
		})
	}
}

// asMke2fsHasIt levels what mke2fs -d 1.47.0 does its own way: the root's time and mode,
// and all nanoseconds.
func asMke2fsHasIt(t *testing.T, tr *tree.Tree) *tree.Tree {
	t.Helper()
	entries := slices.Clone(tr.Entries())
	entries[0].MTime, entries[0].Mode = tree.Time{}, 0o755
	for i := range entries {
		entries[i].MTime.Nsec = 0
	}
	tr, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// smallImage is a file system with something of everything in few bytes.
func smallImage(t testing.TB, features []string) []byte {
	t.Helper()
	st := openStore(t)
	b := newBuilder(t, st).dir("d").file("d/f", []byte("contents")).addNames("h", 60, func(i int) string { return strings.Repeat("n", 40) + string(rune('0'+i)) })
	b.add(tree.Entry{Path: "s", Type: tree.Symlink, Target: "fast"}).add(tree.Entry{Path: "l", Type: tree.Symlink, Target: strings.Repeat("slow", 20)})
	b.add(tree.Entry{Path: "p", Type: tree.FIFO, Link: 1}).add(tree.Entry{Path: "q", Type: tree.FIFO, Link: 1})
	b.add(tree.Entry{Path: "c", Type: tree.CharDevice, Major: 5, Minor: 300, Xattrs: []tree.Xattr{{Name: "security.x", Value: []byte("in the inode")}}})
	b.contents(tree.Entry{Path: "x", Xattrs: []tree.Xattr{{Name: "system.posix_acl_access", Value: acl()}, {Name: "user.y", Value: bytes.Repeat([]byte("z"), 300)}}}, []byte("attributes"))
	b.file("e", holed(rand.New(rand.NewPCG(1, 1)), 400<<10, 40<<10))
	tr := b.tree()
	o := options(0)
	o.BlockSize, o.Features, o.SparseMin, o.Inodes = 1024, features, 1, 96
	var err error
	if o.Size, err = MinSize(tr, o); err != nil {
		t.Fatal(err)
	}
	im, err := Write(context.Background(), st, tr, o)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := im.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	p, err := io.ReadAll(io.NewSectionReader(reader, 0, im.Size))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// readEverything does with bytes all that a reader can.
func readEverything(p []byte) error {
	f, err := Open(bytes.NewReader(p), int64(len(p)))
	if err != nil {
		return err
	}
	f.Info()
	if err := f.Verify(context.Background()); err != nil {
		return err
	}
	return f.Walk(func(n *Node) error {
		if _, err := f.Stat(n.Path); err != nil {
			return err
		}
		if n.Type != tree.Regular {
			return nil
		}
		file, err := f.OpenNode(n)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, io.LimitReader(file.NewReader(), 1<<20))
		return err
	})
}

// TestDamageIsFound flips bits of bytes all over the metadata. With checksums, what
// is reached from the names is found damaged, or reads as before.
func TestDamageIsFound(t *testing.T) {
	whole := smallImage(t, without("has_journal resize_inode"))
	if err := readEverything(whole); err != nil {
		t.Fatal(err)
	}
	fsckBytes(t, whole)
	want := namesOf(t, whole)
	step := 7
	if os.Getenv("IMAGEFACTORY_TEST") != "full" {
		step = 67
	}
	found := 0
	for i := 0; i < len(whole); i += step {
		if bytes.Equal(whole[i&^1023:min(len(whole), i&^1023+1024)], make([]byte, 1024)) {
			continue
		}
		p := slices.Clone(whole)
		p[i] ^= 0x5a
		if err := readEverything(p); err == nil {
			if got := namesOf(t, p); !slices.Equal(got, want) {
				t.Fatalf("byte %d: what is read changed without an error", i)
			}
			continue
		} else if !errors.As(err, new(*CorruptError)) && !strings.Contains(err.Error(), "features that cannot be read") {
			t.Fatalf("byte %d: the error is %v", i, err)
		}
		found++
	}
	if found == 0 {
		t.Error("no damage was found")
	}
}

// namesOf describes all nodes.
func namesOf(t *testing.T, p []byte) []string {
	t.Helper()
	f, err := Open(bytes.NewReader(p), int64(len(p)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	err = f.Walk(func(n *Node) error {
		if len(n.Target) > maxFastSymlink {
			n.Target = "" // not covered by a checksum
		}
		names = append(names, describe(&n.Entry))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func fsckBytes(t *testing.T, p []byte) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, p, 0o600); err != nil {
		t.Fatal(err)
	}
	fsck(t, image)
}

// TestReaderAccess goes through the reader's ways to a file.
func TestReaderAccess(t *testing.T) {
	p := smallImage(t, nil)
	f, err := Open(bytes.NewReader(p), int64(len(p)))
	if err != nil {
		t.Fatal(err)
	}
	info := f.Info()
	if info.Label != "test" || info.UUID != testUUID || info.BlockSize != 1024 || !info.Clean || info.NeedsRecovery || info.Created.Sec != 1763750400 || !slices.Contains(info.Features, "metadata_csum") {
		t.Errorf("the file system is %+v", info)
	}
	file, err := f.Open("d/f")
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 20)
	if n, err := file.ReadAt(buf, 3); n != 5 || err != io.EOF || string(buf[:5]) != "tents" {
		t.Errorf("read %d, %v, %q", n, err, buf)
	}
	if n, err := file.ReadAt(buf, 8); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if _, err := file.ReadAt(buf, -1); err == nil {
		t.Error("a negative offset is read")
	}
	for _, path := range []string{"nothing", "d/nothing", "d/f/nothing", "", "d/"} {
		if _, err := f.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", path, err)
		}
	}
	if _, err := f.Open("d"); err == nil {
		t.Error("a directory opens as a file")
	}
	nodes, err := f.ReadDir("d")
	if err != nil || len(nodes) != 1 || nodes[0].Path != "d/f" || nodes[0].Links != 1 || nodes[0].Sectors != 2 {
		t.Errorf("the directory has %v, %v", nodes, err)
	}
	if _, err := f.ReadDir("s"); err == nil {
		t.Error("a symlink is read as a directory")
	}
	holes, err := f.Open("e")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(holes.NewReader())
	if err != nil || store.Sum(got) != store.Sum(holed(rand.New(rand.NewPCG(1, 1)), 400<<10, 40<<10)) {
		t.Errorf("the file with holes reads differently: %v", err)
	}
}

// FuzzOpen reads arbitrary bytes.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{})
	f.Add(smallImage(f, without("has_journal resize_inode metadata_csum"))[:8<<10])
	f.Fuzz(func(_ *testing.T, p []byte) { _ = readEverything(p) })
}

// FuzzPatched reads a file system with some bytes changed: each 5 bytes of input are an
// offset, of which the highest byte chooses how many, and a value.
func FuzzPatched(f *testing.F) {
	extents := smallImage(f, without("has_journal resize_inode metadata_csum"))
	blocks := foreignImage(f)
	f.Add([]byte{0, 4, 0, 0, 1}, false)
	f.Add([]byte{0x38, 4, 0, 1, 0xff, 0x60, 0x12, 0, 2, 0x7f}, true)
	f.Fuzz(func(t *testing.T, patches []byte, foreign bool) {
		base := extents
		if foreign {
			base = blocks
		}
		p := slices.Clone(base)
		for ; len(patches) >= 5; patches = patches[5:] {
			offset := int(binary.LittleEndian.Uint32(patches)&0xffffff) % len(p)
			for i := range min(len(p)-offset, 1+int(patches[3]%8)) {
				p[offset+i] = patches[4]
			}
		}
		_ = readEverything(p)
	})
}

// foreignImage is a file system without extents.
func foreignImage(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), bytes.Repeat([]byte("indirect"), 40<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "image")
	run(t, "e2fsprogs", "mke2fs", "-q", "-b", "1024", "-O", "none,filetype,ext_attr", "-N", "32", "-d", dir, image, "1M")
	p, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
