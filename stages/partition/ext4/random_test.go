package ext4

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// randomTree grows a tree of up to n entries at random: any bytes in names, any depth,
// sizes around block boundaries, holes, attributes, links.
func randomTree(t *testing.T, st *store.Store, r *rand.Rand, n int) *tree.Tree {
	t.Helper()
	b := newBuilder(t, st)
	dirs := []string{tree.Root}
	taken := map[string]bool{lostFound: true}
	var links []tree.Entry
	for range n {
		parent := dirs[r.IntN(len(dirs))]
		if r.IntN(3) == 0 {
			parent = dirs[len(dirs)-1] // deep
		}
		if r.IntN(3) == 0 {
			parent = dirs[0] // wide
		}
		path := tree.Join(parent, randomName(r))
		if taken[path] || len(path) > 3000 {
			continue
		}
		taken[path] = true
		e := tree.Entry{
			Path: path, Mode: r.Uint32N(0o10000), UID: randomID(r), GID: randomID(r),
			MTime:  tree.Time{Sec: -1<<31 + r.Int64N(3<<32), Nsec: r.Uint32N(1e9)}, // to 2310: see doc.go
			Xattrs: randomXattrs(r),
		}
		switch kind := r.IntN(20); {
		case kind < 4:
			e.Type = tree.Directory
			dirs = append(dirs, path)
		case kind < 6:
			e.Type, e.Target = tree.Symlink, string(randomBytes(r, 1+r.IntN(1+r.IntN(200))))
		case kind < 7:
			e.Type, e.Major, e.Minor = tree.CharDevice, r.Uint32N(1<<r.Uint32N(13)), r.Uint32N(1<<r.Uint32N(21))
		case kind < 8:
			e.Type = []tree.Type{tree.FIFO, tree.Socket}[r.IntN(2)]
		case kind < 9 && len(links) > 0:
			e = links[r.IntN(len(links))]
			e.Path = path
		case kind < 10:
			b.contents(e, randomHoles(r))
			continue
		default:
			b.contents(e, randomBytes(r, r.IntN(1<<r.IntN(18))))
			continue
		}
		if e.Type != tree.Directory { // Linux has no user attributes of anything but files and directories
			e.Xattrs = slices.DeleteFunc(slices.Clone(e.Xattrs), func(x tree.Xattr) bool { return strings.HasPrefix(x.Name, "user.") })
		}
		if e.Type != tree.Directory && e.Link == 0 && r.IntN(3) == 0 {
			e.Link = uint32(len(links) + 1)
			links = append(links, e)
		}
		b.add(e)
	}
	return b.tree()
}

func randomName(r *rand.Rand) string {
	n := 1 + r.IntN(1+r.IntN(255))
	name := randomBytes(r, n)
	for i := range name {
		if r.IntN(2) == 0 {
			name[i] = 'a' + name[i]%26
		}
		if name[i] == '/' {
			name[i] = '\n'
		}
	}
	if s := string(name); s != "." && s != ".." {
		return s
	}
	return "dots"
}

func randomID(r *rand.Rand) uint32 {
	if r.IntN(2) == 0 {
		return 0
	}
	return uint32(r.Int64N(1<<r.IntN(33)) % (1<<32 - 1)) // the kernel has no id of all ones
}

func randomXattrs(r *rand.Rand) []tree.Xattr {
	var list []tree.Xattr
	names := map[string]bool{}
	for range r.IntN(5) * r.IntN(2) {
		name := []string{"user.", "trusted.", "security."}[r.IntN(3)] + strings.Repeat(string(rune('a'+r.IntN(26))), 1+r.IntN(30))
		if names[name] {
			continue
		}
		names[name] = true
		list = append(list, tree.Xattr{Name: name, Value: randomBytes(r, r.IntN(1<<r.IntN(8)))})
	}
	sortXattrs(list)
	return list
}

// randomHoles returns contents of zeros and data in runs around the units of holes.
func randomHoles(r *rand.Rand) []byte {
	var p []byte
	for range r.IntN(12) {
		p = append(p, make([]byte, r.IntN(3*minHole))...)
		p = append(p, randomBytes(r, 1+r.IntN(10000))...)
	}
	return append(p, make([]byte, r.IntN(2)*r.IntN(100000))...)
}

// TestRandomTrees writes random trees with random options.
func TestRandomTrees(t *testing.T) {
	rounds := 8
	if os.Getenv("IMAGEFACTORY_TEST") == "full" {
		rounds = 150
	}
	for seed := range rounds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			st := openStore(t)
			r := rand.New(rand.NewPCG(uint64(seed), 99))
			tr := randomTree(t, st, r, 1<<r.IntN(12))
			o := options(0)
			o.BlockSize = 1024 << r.IntN(3)
			o.SparseMin = []int64{-1, 1, 100000}[r.IntN(3)]
			o.Features = [][]string{nil, nil, without("metadata_csum"), without("flex_bg"), without("64bit metadata_csum", "uninit_bg"), without("resize_inode has_journal")}[r.IntN(6)]
			copy(o.UUID[:], randomBytes(r, 16))
			minSize, err := MinSize(tr, o)
			if err != nil {
				t.Fatal(err)
			}
			o.Size = minSize + r.Int64N(1+r.Int64N(300<<20))
			image := write(t, st, tr, o)
			fsck(t, image)
			compareTrees(t, tr, readTree(t, image))
			if seed%4 == 0 {
				t.Run("debugfs", func(t *testing.T) { compareTrees(t, tr, readDebugfs(t, image)) })
			}
			t.Run("kernel", func(t *testing.T) {
				root, _ := loopMount(t, image)
				compareTrees(t, tr, readMount(t, root))
			})
		})
	}
}

// TestDataRuns compares the runs found in random contents with the contents.
func TestDataRuns(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 300 {
		p := randomHoles(r)
		runs, err := dataRuns(context.Background(), bytes.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		covered := make([]bool, len(p))
		end := uint64(0)
		for i, run := range runs {
			if run.start%holeUnit != 0 || run.length == 0 || run.end() > uint64(len(p)) || i > 0 && run.start < end+minHole {
				t.Fatalf("run %d of %d bytes is %+v, behind one that ends at %d", i, len(p), run, end)
			}
			end = run.end()
			for j := run.start; j < run.end(); j++ {
				covered[j] = true
			}
		}
		zeros := 0
		for i := range p {
			if p[i] != 0 && !covered[i] {
				t.Fatalf("byte %d of %d is lost", i, len(p))
			}
			if zeros++; p[i] != 0 || !covered[i] {
				zeros = 0
			}
			if zeros > minHole+2*holeUnit {
				t.Fatalf("byte %d of %d lies in a hole not found", i, len(p))
			}
		}
	}
}
