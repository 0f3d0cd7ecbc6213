package stages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
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

// hoursAgo returns the time n hours ago.
func hoursAgo(n int) time.Time { return time.Now().Add(-time.Duration(n) * time.Hour) }

// setUsed sets when a file was used last.
func setUsed(t testing.TB, path string, used time.Time) {
	t.Helper()
	if err := os.Chtimes(path, used, used); err != nil {
		t.Fatal(err)
	}
}

// addResult stores the result of a stage that refers to objects.
func addResult(t testing.TB, c *Cache, stage string, used time.Time, objects ...[]byte) store.Digest {
	t.Helper()
	key := Key("test", 1, stage)
	_, _, err := Memo(t.Context(), c, key, stage, func(context.Context) ([]store.Digest, error) {
		var refs []store.Digest
		for _, p := range objects {
			d, err := c.Store.Put(p)
			if err != nil {
				return nil, err
			}
			refs = append(refs, d)
		}
		return refs, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	setUsed(t, c.resultPath(key), used)
	return key
}

// addFile writes a file of the cache directory.
func addFile(t testing.TB, c *Cache, path string, size int, used time.Time) string {
	t.Helper()
	path = filepath.Join(c.Dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, blob(byte(size), size), 0o644); err != nil {
		t.Fatal(err)
	}
	setUsed(t, path, used)
	return path
}

func blob(fill byte, n int) []byte { return slices.Repeat([]byte{fill}, n) }

// removeRoot removes a sandbox root of these tests, whose files are the user's own.
func removeRoot(_ context.Context, dir string) error { return os.RemoveAll(dir) }

func collect(t testing.TB, c *Cache, maxSize int64) Summary {
	t.Helper()
	s, err := c.Collect(t.Context(), maxSize, removeRoot)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// names lists the entries of the cache.
func names(t testing.TB, c *Cache) string {
	t.Helper()
	entries, err := c.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var s []string
	for _, e := range entries {
		s = append(s, e.Name)
	}
	return strings.Join(s, " ")
}

func TestList(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	shared := blob(1, 1000)
	old := addResult(t, c, "old", hoursAgo(5), shared, blob(2, 200))
	tr, err := tree.New([]tree.Entry{{Path: tree.Root, Type: tree.Directory}, {Path: "f", Type: tree.Regular, Digest: store.Sum(shared), Size: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	recent := addResult(t, c, "recent", hoursAgo(1), tr.Encode())
	addFile(t, c, "downloads/objects/abc", 300, hoursAgo(3))
	addFile(t, c, "roots/0/index", 100, hoursAgo(2))
	addFile(t, c, "roots/0/tree/etc/far-future", 100, time.Now().Add(1e6*time.Hour)) // has the time of a tree
	setUsed(t, filepath.Join(c.Dir, "roots/0/tree"), time.Now().Add(1e6*time.Hour))
	setUsed(t, filepath.Join(c.Dir, "roots/0"), hoursAgo(4))
	addFile(t, c, "results/README", 10, hoursAgo(0)) // none of ours

	entries, err := c.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	size := func(path string) int64 { return fileSize(t, path) }
	encoded := int64(len(tr.Encode()))
	want := []Entry{
		{ResultEntry, "recent", recent, hoursAgo(1), size(c.resultPath(recent)) + encoded + 1000, size(c.resultPath(recent)) + encoded},
		{RootEntry, "0", store.Digest{}, hoursAgo(2), 0, 0},
		{DownloadEntry, "objects/abc", store.Digest{}, hoursAgo(3), 300, 300},
		{ResultEntry, "old", old, hoursAgo(5), size(c.resultPath(old)) + 1200, size(c.resultPath(old)) + 200},
	}
	if len(entries) != len(want) {
		t.Fatalf("List: %+v", entries)
	}
	for i, e := range entries {
		if d := e.Used.Sub(want[i].Used).Abs(); d > time.Minute {
			t.Errorf("%s was used %v, want %v", e.Name, e.Used, want[i].Used)
		}
		if e.Kind == RootEntry { // as many blocks as the file system takes
			if e.Bytes < 200 || e.Own != e.Bytes {
				t.Errorf("%+v", e)
			}
			want[i].Bytes, want[i].Own = e.Bytes, e.Own
		}
		want[i].Used = e.Used
		if e != want[i] {
			t.Errorf("got  %+v\nwant %+v", e, want[i])
		}
	}
}

func TestCollectDropsLeastRecentlyUsed(t *testing.T) {
	fill := func(t *testing.T) *Cache {
		c := openTestCache(t, t.TempDir())
		addResult(t, c, "image", hoursAgo(1), blob(1, 100_000))
		addFile(t, c, "downloads/objects/deb", 50_000, hoursAgo(2))
		addResult(t, c, "rootfs", hoursAgo(3), blob(1, 100_000), blob(2, 70_000)) // shares with image
		addFile(t, c, "roots/0/tree/file", 40_000, hoursAgo(4))
		setUsed(t, filepath.Join(c.Dir, "roots/0"), hoursAgo(4))
		addResult(t, c, "package", hoursAgo(5), blob(2, 70_000)) // costs nothing where rootfs is kept
		addResult(t, c, "text", hoursAgo(6))                     // refers to nothing
		addFile(t, c, "downloads/fresh/index", 1_000, hoursAgo(7))
		return c
	}
	for _, c := range []struct {
		maxSize int64 // where negative, so much less than everything takes
		kept    string
		objects int64 // bytes of objects that stay
		summary Summary
	}{
		{1 << 40, "image objects/deb rootfs 0 package text fresh/index", 170_000, Summary{}},
		{-500, "image objects/deb rootfs package text fresh/index", 170_000, Summary{Roots: 1}},
		{221_500, "image objects/deb rootfs package text", 170_000, Summary{Downloads: 1, Roots: 1}},
		{200_000, "image objects/deb", 100_000, Summary{Results: 3, Downloads: 1, Roots: 1}},
		{120_000, "image", 100_000, Summary{Results: 3, Downloads: 2, Roots: 1}},
		{99_999, "", 0, Summary{Results: 4, Downloads: 2, Roots: 1}},
		{0, "", 0, Summary{Results: 4, Downloads: 2, Roots: 1}},
	} {
		t.Run(fmt.Sprint(c.maxSize), func(t *testing.T) {
			cache := fill(t)
			before := usage(t, cache.Dir)
			if c.maxSize < 0 {
				c.maxSize += cost(t, cache)
			}
			s := collect(t, cache, c.maxSize)
			if got := names(t, cache); got != c.kept {
				t.Errorf("kept %s, want %s", got, c.kept)
			}
			// Directories and blocks make the two differ a little.
			if freed := before - usage(t, cache.Dir); s.Freed < freed-32_000 || s.Freed > freed+32_000 {
				t.Errorf("it says it freed %d bytes, it freed %d", s.Freed, freed)
			}
			if s.Kept > c.maxSize {
				t.Errorf("it says it kept %d bytes of at most %d", s.Kept, c.maxSize)
			}
			s.Freed, s.Kept = 0, 0
			if s != c.summary {
				t.Errorf("summary %+v, want %+v", s, c.summary)
			}
			if size, err := cache.Store.Size(); err != nil || size < c.objects || size > c.objects+c.objects/8+500 {
				t.Errorf("the store takes %d bytes, %v, want about %d", size, err, c.objects)
			}
			if damage, err := cache.Verify(t.Context(), false); err != nil || len(damage) != 0 {
				t.Errorf("Verify: %+v, %v", damage, err)
			}
			if again := collect(t, cache, c.maxSize); again.Freed != 0 || again.Results+again.Downloads+again.Roots != 0 {
				t.Errorf("collecting again: %+v", again)
			}
		})
	}
}

// cost returns the bytes of all entries and what they refer to.
func cost(t testing.TB, c *Cache) int64 {
	t.Helper()
	return collect(t, c, 1<<62).Kept
}

// usage returns the bytes of all files below dir.
func usage(t testing.TB, dir string) int64 {
	t.Helper()
	var n int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			n += fileSize(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestBuildAfterCollect(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	ran := 0
	build := func() {
		g := NewGraph(c)
		a := Add(g, Stage{Name: "a", Kind: "a", Version: 1}, func(ctx context.Context, r *Run) (store.Digest, error) {
			ran++
			return r.Cache.Store.Put([]byte("of a"))
		})
		mustRun(t, g, nil, a)
		if p, err := c.Store.ReadAll(a.Result()); string(p) != "of a" || err != nil {
			t.Errorf("the result: %q, %v", p, err)
		}
	}
	build()
	collect(t, c, 1<<30)
	build()
	if ran != 1 {
		t.Error("a result that was kept is not used")
	}
	collect(t, c, 0)
	build() // by the same process: it knows that the object is gone
	if ran != 2 {
		t.Error("a result that was dropped is used")
	}
}

func TestCollectRemovesLeftovers(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	addResult(t, c, "good", hoursAgo(1), []byte("x"))
	gone := []string{
		addFile(t, c, probePrefix+"1", 1, hoursAgo(0)),
		addFile(t, c, "results/"+newPrefix+"1", 1, hoursAgo(0)),
		addFile(t, c, "results/"+strings.Repeat("0", 64)+".json", 1, hoursAgo(0)), // no result
		addFile(t, c, "last/"+newPrefix+"1", 1, hoursAgo(0)),
		addFile(t, c, "last/old.json", 1, hoursAgo(24*91)),
		addFile(t, c, "store/tmp/batch-1", 1, hoursAgo(0)),
		addFile(t, c, "locks/"+strings.Repeat("0", 64), 1, hoursAgo(0)),
	}
	scratch, err := c.Scratch()
	if err != nil {
		t.Fatal(err)
	}
	addFile(t, c, filepath.Base(scratch)+"/cache/x", 1, hoursAgo(0))
	gone = append(gone, scratch)
	lost := addResult(t, c, "lost its object", hoursAgo(0), []byte("y"))
	gone = append(gone, c.resultPath(lost))
	if _, err := c.Store.Sweep(map[store.Digest]struct{}{store.Sum([]byte("x")): {}}); err != nil {
		t.Fatal(err)
	}
	kept := []string{
		addFile(t, c, "last/new.json", 1, hoursAgo(24*89)),
		addFile(t, c, "results/README", 1, hoursAgo(0)),
		addFile(t, c, "unknown", 1, hoursAgo(0)),
	}
	if s := collect(t, c, 1<<30); s.Results != 2 {
		t.Errorf("summary: %+v", s)
	}
	for _, path := range gone {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there", path)
		}
	}
	for _, path := range kept {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	if got := names(t, c); got != "good" {
		t.Errorf("results: %s", got)
	}
}

func TestCollectWhileInUse(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	key := addResult(t, c, "a", hoursAgo(1), []byte("x"))
	damageByte(t, c.resultPath(addResult(t, c, "damaged", hoursAgo(1))), 0)
	release := holdOpen(t, c.Dir)
	before := usage(t, c.Dir)
	if s, err := c.Collect(t.Context(), 0, removeRoot); !errors.Is(err, store.ErrInUse) || s != (Summary{}) {
		t.Errorf("Collect: %+v, %v", s, err)
	}
	if _, err := c.Verify(t.Context(), true); !errors.Is(err, store.ErrInUse) {
		t.Errorf("Verify with repair: %v", err)
	}
	if damage, err := c.Verify(t.Context(), false); err != nil || len(damage) != 1 {
		t.Errorf("Verify: %+v, %v", damage, err)
	}
	if usage(t, c.Dir) != before {
		t.Error("something was removed")
	}
	if _, ok := c.load(key); !ok {
		t.Error("the result cannot be used")
	}
	release()
	if s := collect(t, c, 0); s.Results != 2 {
		t.Errorf("afterwards: %+v", s)
	}
}

func TestCollectStops(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	addResult(t, c, "new", hoursAgo(1), blob(1, 1000))
	addResult(t, c, "old", hoursAgo(3), blob(2, 1000))
	addFile(t, c, "roots/0/tree/x", 1, hoursAgo(0))
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	s, err := c.Collect(ctx, 0, func(ctx context.Context, dir string) error {
		cancel(enough)
		return os.RemoveAll(dir)
	})
	if !errors.Is(err, enough) || s.Results != 0 || s.Roots != 1 {
		t.Errorf("Collect: %+v, %v", s, err)
	}
	if got := names(t, c); got != "new old" {
		t.Errorf("left: %s", got)
	}
	if _, err := c.Collect(ctx, 0, removeRoot); !errors.Is(err, enough) {
		t.Errorf("Collect: %v", err)
	}
	if _, err := c.List(ctx); !errors.Is(err, enough) {
		t.Errorf("List: %v", err)
	}
	if _, err := c.Verify(ctx, true); !errors.Is(err, enough) {
		t.Errorf("Verify: %v", err)
	}
	broken := errors.New("busy")
	addFile(t, c, "roots/1/x", 1, hoursAgo(2))
	_, err = c.Collect(t.Context(), 0, func(context.Context, string) error { return broken })
	if want := "the root 1 cannot be removed from the cache: busy"; err == nil || err.Error() != want {
		t.Errorf("Collect: %v, want %s", err, want)
	}
	if s := collect(t, c, 0); s.Results != 2 || s.Roots != 1 {
		t.Errorf("Collect: %+v", s)
	}
}

func TestVerify(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	good := addResult(t, c, "good", hoursAgo(1), []byte("good"))
	bad := addResult(t, c, "bad", hoursAgo(1), []byte("good"), []byte("bad"))
	unreadable := addResult(t, c, "unreadable", hoursAgo(1))
	swapped := addResult(t, c, "swapped", hoursAgo(1))
	if damage, err := c.Verify(t.Context(), true); err != nil || len(damage) != 0 {
		t.Errorf("nothing is damaged, but: %+v, %v", damage, err)
	}
	var pack string
	packs, err := filepath.Glob(filepath.Join(c.Dir, "store/packs/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range packs {
		if p, err := os.ReadFile(path); err == nil && string(p[8:11]) == "bad" {
			pack = path
		}
	}
	damageByte(t, pack, 8)
	damageByte(t, c.resultPath(unreadable), 0)
	p, err := os.ReadFile(c.resultPath(good))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.resultPath(swapped), p, 0o644); err != nil {
		t.Fatal(err)
	}
	want := []Damage{
		{Path: c.resultPath(swapped), Problem: "it is the result of another key, " + good.String()},
		{Path: c.resultPath(unreadable), Problem: "not a result: invalid character 'z' looking for beginning of value"},
		{Path: pack, Digest: store.Sum([]byte("bad")), Problem: "the object's bytes do not have its digest"},
	}
	byPath := func(a, b Damage) int { return strings.Compare(a.Path, b.Path) }
	slices.SortFunc(want, byPath)
	for _, repair := range []bool{false, true} {
		damage, err := c.Verify(t.Context(), repair)
		slices.SortFunc(damage, byPath)
		if err != nil || !slices.Equal(damage, want) {
			t.Errorf("repair %v:\n got %+v, %v\nwant %+v", repair, damage, err, want)
		}
	}
	if damage, err := c.Verify(t.Context(), false); err != nil || len(damage) != 0 {
		t.Errorf("after the repair: %+v, %v", damage, err)
	}
	if _, ok := c.load(good); !ok {
		t.Error("a good result is gone")
	}
	for _, key := range []store.Digest{bad, unreadable, swapped} {
		if _, err := os.Stat(c.resultPath(key)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a damaged result is still there: %v", err)
		}
	}
	addResult(t, c, "bad", hoursAgo(1), []byte("good"), []byte("bad")) // the stage runs again
	if p, err := c.Store.ReadAll(store.Sum([]byte("bad"))); string(p) != "bad" || err != nil {
		t.Errorf("the object that was repaired: %q, %v", p, err)
	}
	truncated := filepath.Join(c.Dir, "store/packs", strings.Repeat("0", 64)+".pack")
	if err := os.WriteFile(truncated, []byte("IFPACK1\n"), 0o444); err != nil {
		t.Fatal(err)
	}
	damage, err := c.Verify(t.Context(), true)
	if want := []Damage{{Path: truncated, Problem: "the pack's header, index or footer is damaged"}}; err != nil || !slices.Equal(damage, want) {
		t.Errorf("a pack that is cut off: %+v, %v", damage, err)
	}
}
