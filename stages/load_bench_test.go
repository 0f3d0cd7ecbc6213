package stages

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// BenchmarkNoChange is what the engine does for a build with nothing changed, of
// 300 packages with 20,000 files: it opens the cache and looks up all results,
// among them six trees and an image of the whole root file system.
func BenchmarkNoChange(b *testing.B) {
	dir := b.TempDir()
	keys := fillCache(b, dir, 300, 66)
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			openTestCache(b, dir).Close()
		}
	})
	b.Run("open+load", func(b *testing.B) {
		for b.Loop() {
			c := openTestCache(b, dir)
			for _, key := range keys {
				if _, ok := c.load(key); !ok {
					b.Fatal("a result is missing")
				}
			}
			c.Close()
		}
	})
}

// fillCache makes the cache of a build of a number of packages and returns the keys
// of its results.
func fillCache(tb testing.TB, dir string, packages, files int) []store.Digest {
	tb.Helper()
	c := openTestCache(tb, dir)
	defer c.Close()
	var keys []store.Digest
	memo := func(name string, value any) {
		key := Key("bench", 1, name)
		if _, _, err := Memo(tb.Context(), c, key, name, func(context.Context) (any, error) { return value, nil }); err != nil {
			tb.Fatal(err)
		}
		keys = append(keys, key)
	}
	fail := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	root := tree.Entry{Path: tree.Root, Type: tree.Directory, Mode: 0o755}
	all := []tree.Entry{root}
	var contents []byte
	for p := range packages {
		b, err := c.Store.NewBatch()
		fail(err)
		name := fmt.Sprintf("package-%03d", p)
		own := []tree.Entry{{Path: name, Type: tree.Directory, Mode: 0o755}}
		for f := range files {
			contents = binary.LittleEndian.AppendUint64(contents[:0], uint64(p*files+f))
			d, err := b.AddBytes(contents)
			fail(err)
			own = append(own, tree.Entry{Path: fmt.Sprintf("%s/file-%03d.conf", name, f), Type: tree.Regular, Mode: 0o644, Digest: d, Size: 8})
		}
		fail(b.Commit())
		t, err := tree.New(append([]tree.Entry{root}, own...))
		fail(err)
		d, err := tree.Save(c.Store, t)
		fail(err)
		memo(name, map[string]any{"tree": d, "control": map[string][]byte{"control": make([]byte, 1000), "md5sums": make([]byte, 4000)}})
		all = append(all, own...)
	}
	t, err := tree.New(all)
	fail(err)
	for stage := range 6 {
		e := t.Edit()
		e.Put(tree.Entry{Path: "stage", Type: tree.Directory, Mode: uint32(stage)})
		t, err := e.Tree()
		fail(err)
		d, err := tree.Save(c.Store, t)
		fail(err)
		memo(fmt.Sprintf("stage-%d", stage), d)
	}
	im := disk.Image{Size: 1 << 32}
	for _, e := range t.Entries() {
		if e.Type == tree.Regular {
			im.Extents = append(im.Extents, disk.Extent{Offset: int64(len(im.Extents)) * 4096, Length: e.Size, Object: e.Digest})
		}
	}
	d, err := c.Store.Put(im.Encode())
	fail(err)
	memo("disk", d)
	return keys
}
