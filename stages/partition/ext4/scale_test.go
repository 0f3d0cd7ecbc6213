package ext4

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

	"github.com/imagefactory/imagefactory/stages/store"
)

// indexLevels returns how many levels of index blocks a directory has, as debugfs
// sees it.
func indexLevels(t *testing.T, image, path string) int {
	t.Helper()
	out := run(t, "e2fsprogs", "debugfs", "-R", "htree_dump "+path, image)
	_, rest, ok := strings.Cut(out, "Indirect levels: ")
	if !ok {
		t.Fatalf("debugfs htree_dump printed\n%s", clip([]byte(out)))
	}
	return atoi(t, strings.Fields(rest)[0])
}

// TestIndexedDirectories writes hash trees of one and two levels, and changes them
// through the kernel, which finds names by their hashes alone.
func TestIndexedDirectories(t *testing.T) {
	for _, test := range []struct {
		blockSize, names, nameLen, levels int
		full                              bool
	}{
		{4096, 500, 20, 0, false},
		{1024, 250, 200, 0, false},
		{1024, 400, 200, 1, false},
		{1024, 6000, 100, 1, false},
		{4096, 70000, 12, 0, true},
		{2048, 70000, 200, 1, true},
		{4096, 70000, 255, 1, true},
	} {
		t.Run(fmt.Sprintf("%d names of %d bytes in blocks of %d", test.names, test.nameLen, test.blockSize), func(t *testing.T) {
			if test.full {
				fullTier(t)
			}
			st := openStore(t)
			name := func(i int) string {
				return fmt.Sprintf("%d\xe9%s", i, strings.Repeat("n", test.nameLen))[:test.nameLen]
			}
			tr := newBuilder(t, st).addNames("d", test.names, name).tree()
			o := options(320 << 20)
			o.BlockSize = test.blockSize
			image := write(t, st, tr, o)
			fsck(t, image)
			if levels := indexLevels(t, image, "/d"); levels != test.levels {
				t.Errorf("the directory has %d levels of indirection, want %d", levels, test.levels)
			}
			compareTrees(t, tr, readTree(t, image))
			compareTrees(t, tr, readDebugfs(t, image))
			t.Run("kernel", func(t *testing.T) {
				root, unmount := loopMount(t, image)
				for i := 0; i < test.names; i += 1 + test.names/1000 {
					if err := os.Rename(filepath.Join(root, "d", name(i)), filepath.Join(root, "d", fmt.Sprintf("renamed %d", i))); err != nil {
						t.Fatal(err)
					}
					if i%2 == 0 {
						if err := os.Remove(filepath.Join(root, "d", fmt.Sprintf("renamed %d", i))); err != nil {
							t.Fatal(err)
						}
					}
				}
				unmount()
				fsck(t, image)
			})
		})
	}
}

// TestFillingDirectoriesThroughTheKernel adds names until leaves and index nodes
// split.
func TestFillingDirectoriesThroughTheKernel(t *testing.T) {
	st := openStore(t)
	tr := newBuilder(t, st).addNames("d", 3000, func(i int) string { return fmt.Sprintf("%0100d", i) }).tree()
	o := options(160 << 20)
	o.BlockSize = 1024
	image := write(t, st, tr, o)
	root, unmount := loopMount(t, image)
	for i := range 5000 {
		if err := os.WriteFile(filepath.Join(root, "d", fmt.Sprintf("new %0100d", i)), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	unmount()
	fsck(t, image)
}

// TestManySubdirectories has more subdirectories than a link count can say.
func TestManySubdirectories(t *testing.T) {
	for _, n := range []int{64997, 64998, 64999, 66000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			if n != 66000 {
				fullTier(t)
			}
			st := openStore(t)
			b := newBuilder(t, st).dir("d")
			for i := range n {
				b.dir(fmt.Sprintf("d/%d", i))
			}
			tr := b.tree()
			image := write(t, st, tr, options(640<<20))
			fsck(t, image)
			compareTrees(t, tr, readTree(t, image))
			t.Run("kernel", func(t *testing.T) {
				root, unmount := loopMount(t, image)
				for i := range 100 {
					if err := os.Remove(filepath.Join(root, fmt.Sprintf("d/%d", i*7))); err != nil {
						t.Fatal(err)
					}
					if err := os.Mkdir(filepath.Join(root, fmt.Sprintf("d/new %d", i)), 0o700); err != nil {
						t.Fatal(err)
					}
				}
				unmount()
				fsck(t, image)
			})

			o := options(640 << 20)
			o.Features = without("dir_nlink")
			_, err := Write(context.Background(), st, tr, o)
			if n+2 > maxLinks && (err == nil || !strings.HasPrefix(err.Error(), "/d: ") || !strings.Contains(err.Error(), "dir_nlink")) {
				t.Errorf("without dir_nlink: %v", err)
			}
			if n+2 <= maxLinks && err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHashCollisions has names of equal hashes on both sides of a leaf's end.
func TestHashCollisions(t *testing.T) {
	st := openStore(t)
	o := options(64 << 20)
	o.BlockSize = 1024
	c, err := newConfig(o)
	if err != nil {
		t.Fatal(err)
	}
	// Pairs of equal hashes are found by trying. Three names of 220 bytes go into a leaf,
	// so every third pair is divided.
	seen := map[uint32][]string{}
	b := newBuilder(t, st).dir("d")
	suffix := strings.Repeat("x", 200)
	pairs := 0
	for i := 0; pairs < 40; i++ {
		name := fmt.Sprintf("%020d%s", i, suffix)
		hash, _ := halfMD4(name, c.HashSeed)
		if seen[hash] = append(seen[hash], name); len(seen[hash]) == 2 {
			pairs++
			for _, name := range seen[hash] {
				b.file("d/"+name, nil)
			}
		}
	}
	tr := b.tree()
	image := write(t, st, tr, o)
	fsck(t, image)
	continued := regexp.MustCompile(`Hash 0x[0-9a-f]*[13579bdf], block`)
	if out := run(t, "e2fsprogs", "debugfs", "-R", "htree_dump /d", image); !continued.MatchString(out) {
		t.Errorf("no leaf continues the hash of the one before:\n%s", clip([]byte(out)))
	}
	t.Run("kernel", func(t *testing.T) {
		root, unmount := loopMount(t, image)
		for _, e := range tr.Subtree("d")[1:] {
			if err := os.Remove(filepath.Join(root, e.Path)); err != nil {
				t.Fatal(err)
			}
		}
		unmount()
		fsck(t, image)
	})
}

// TestHalfMD4 compares hashes with those of debugfs.
func TestHalfMD4(t *testing.T) {
	seed := [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	r := rand.New(rand.NewPCG(5, 6))
	var commands, want []string
	for n := 1; n <= 255; n++ {
		name := make([]byte, n)
		for i := range name {
			name[i] = "abcdefghijklmnopqrstuvwxyz0123456789._-\xe4\xff\x80"[r.IntN(42)]
		}
		name[0] = 'n' // not '-'
		hash, minor := halfMD4(string(name), seed)
		commands = append(commands, fmt.Sprintf("dx_hash -h half_md4 -s 01020304-0506-0708-090a-0b0c0d0e0f10 %s", name))
		want = append(want, fmt.Sprintf("Hash of %s is 0x%x (minor 0x%x)", name, hash, minor))
	}
	cmd := tool(t, "e2fsprogs", "debugfs", "-f", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range want {
		if !bytes.Contains(out, []byte(line+"\n")) {
			t.Errorf("debugfs does not print %q", line)
		}
	}
}

// TestExtentTreeDepths builds trees of every depth in memory and reads them back.
func TestExtentTreeDepths(t *testing.T) {
	for _, n := range []int{0, 1, 4, 5, 84, 4 * 84, 4*84 + 1, 4 * 84 * 84, 4*84*84 + 1, 1000000} {
		o := options(1 << 40)
		o.BlockSize = 1024
		c, err := newConfig(o)
		if err != nil {
			t.Fatal(err)
		}
		var extents []extent
		for i := range n {
			extents = append(extents, extent{uint32(3 * i), 1 + uint32(i%2), uint64(1<<33 + 5*i)})
		}
		blocks := make([]uint64, extentNodeCount(n, c.extentsPerBlock))
		for i := range blocks {
			blocks[i] = uint64(1000 + i)
		}
		in := &diskInode{number: 12, flags: flagExtents, size: 1 << 40, block: make([]byte, 60)}
		nodes := encodeExtents(in.block, extents, blocks, c, inodeChecksumSeed(c.checksumSeed, 12, 0))
		if len(nodes) != len(blocks) {
			t.Fatalf("%d extents: %d nodes, counted %d", n, len(nodes), len(blocks))
		}
		memory := make([]byte, (1000+len(nodes))*1024)
		for _, node := range nodes {
			copy(memory[node.block*1024:], node.data)
		}
		fs := &FS{r: bytes.NewReader(memory), sb: &superblock{FirstDataBlock: 1}, features: c.features, blockSize: 1024, blocks: 1 << 40, checksumSeed: c.checksumSeed}
		file, err := fs.openInode(in)
		if err != nil {
			t.Fatalf("%d extents: %v", n, err)
		}
		if len(file.extents) != n {
			t.Fatalf("%d extents were read as %d", n, len(file.extents))
		}
		for i, e := range file.extents {
			if e != extents[i] {
				t.Fatalf("extent %d: wrote %v, read %v", i, extents[i], e)
			}
		}
		if len(nodes) > 0 {
			memory[nodes[0].block*1024+20] ^= 1
			if _, err := fs.openInode(in); !errors.As(err, new(*CorruptError)) {
				t.Errorf("%d extents: a flipped bit gives %v", n, err)
			}
		}
	}
}

// TestLargeFiles has files of more than one maximal extent, across the copies of the
// superblock.
func TestLargeFiles(t *testing.T) {
	st := openStore(t)
	r := rand.New(rand.NewPCG(3, 4))
	big := randomBytes(r, 1<<20)
	b := newBuilder(t, st)
	b.file("300 MiB", bytes.Repeat(big, 300))
	b.file("deep", holed(r, 100<<20, 40<<10))
	tr := b.tree()
	for _, blockSize := range []int{1024, 4096} {
		t.Run(fmt.Sprint(blockSize), func(t *testing.T) {
			if blockSize != 4096 {
				fullTier(t)
			}
			o := options(640 << 20)
			o.BlockSize = blockSize
			image := write(t, st, tr, o)
			fsck(t, image)
			compareTrees(t, tr, readTree(t, image))
			compareTrees(t, tr, readDebugfs(t, image))
			if out := run(t, "e2fsprogs", "debugfs", "-R", "stat deep", image); !strings.Contains(out, "(ETB1)") {
				t.Errorf("the extent tree has no second level:\n%s", clip([]byte(out)))
			}
		})
	}
}

// TestHolesTakeNoSpace compares the blocks an inode takes with the data it has.
func TestHolesTakeNoSpace(t *testing.T) {
	st := openStore(t)
	r := rand.New(rand.NewPCG(3, 4))
	b := newBuilder(t, st)
	b.file("holes", holed(r, 512<<20, 4<<20))
	b.file("below the threshold", make([]byte, 1<<20))
	tr := b.tree()
	o := options(64 << 20)
	image := write(t, st, tr, o)
	fsck(t, image)
	compareTrees(t, tr, readTree(t, image))
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fs, err := Open(f, o.Size)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]uint64{"holes": 128*8 + 8, "below the threshold": 2048} {
		n, err := fs.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if n.Sectors != want {
			t.Errorf("%s takes %d sectors, want %d", path, n.Sectors, want)
		}
	}
	o.SparseMin = -1
	if _, err := Write(context.Background(), st, tr, o); !errors.As(err, new(*NoSpaceError)) {
		t.Errorf("without holes: %v", err)
	}
}

// TestLargestFileSystems writes file systems of up to 64 TiB with few contents.
func TestLargestFileSystems(t *testing.T) {
	st := openStore(t)
	tr := newBuilder(t, st).dir("d").file("d/f", []byte("contents")).tree()
	for _, test := range []struct {
		size int64
		full bool
	}{{100 << 30, false}, {2 << 40, true}, {16<<40 - 4096, true}, {20 << 40, true}, {64 << 40, true}} {
		t.Run(formatBytes(test.size), func(t *testing.T) {
			if test.full {
				fullTier(t)
			}
			o := options(test.size)
			im, err := Write(context.Background(), st, tr, o)
			if err != nil {
				t.Fatal(err)
			}
			r, err := im.Open(st)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			fs, err := Open(r, im.Size)
			if err != nil {
				t.Fatal(err)
			}
			if err := fs.Verify(context.Background()); err != nil {
				t.Fatal(err)
			}
			info := fs.Info()
			if got := int64(info.Blocks) * 4096; got > test.size || got < test.size-128<<20 {
				t.Errorf("the file system has %d bytes of %d", got, test.size)
			}
			objects := map[store.Digest]int64{}
			for _, e := range im.Extents {
				objects[e.Object] = max(objects[e.Object], e.ObjectOffset+e.Length)
			}
			total := int64(0)
			for _, n := range objects {
				total += n
			}
			if total > test.size/200000+8<<20 {
				t.Errorf("the image's objects have %d bytes", total)
			}
			if test.size > 4<<40 {
				return // the host's file system may not hold files of this size
			}
			image := materialize(t, st, im)
			fsck(t, image)
		})
	}
}
