package stages

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/stages/store"
)

func openTestCache(t testing.TB, dir string) *Cache {
	t.Helper()
	c, err := OpenCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// memoObject stores p as the result of a stage and sets when it was last used.
func memoObject(t testing.TB, c *Cache, stage string, p []byte, used time.Time) store.Digest {
	t.Helper()
	key := Key("test", 1, stage)
	if _, _, err := Memo(t.Context(), c, key, stage, func(context.Context) (store.Digest, error) { return c.Store.Put(p) }); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(c.resultPath(key), used, used); err != nil {
		t.Fatal(err)
	}
	return key
}

func TestCollectDropsLeastRecentlyUsed(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	now := time.Now()
	old := memoObject(t, c, "old", make([]byte, 100_000), now.Add(-2*time.Hour))
	recent := memoObject(t, c, "recent", make([]byte, 200_000), now.Add(-time.Hour))
	entries, err := c.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 || entries[0].Name != "recent" || entries[1].Name != "old" {
		t.Fatalf("List: %+v", entries)
	}
	s, err := c.Collect(t.Context(), 250_000, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Results != 1 || s.Freed < 100_000 {
		t.Errorf("Collect: %+v", s)
	}
	if _, ok := c.load(old); ok {
		t.Error("the old result is still there")
	}
	if _, ok := c.load(recent); !ok {
		t.Error("the recent result is gone")
	}
	if packs, err := filepath.Glob(filepath.Join(c.Dir, "store/packs/*")); err != nil || len(packs) != 1 {
		t.Errorf("packs: %v, %v", packs, err)
	}
}
