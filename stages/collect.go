package stages

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/imagefactory/imagefactory/stages/store"
)

// EntryKind says what an Entry of the cache is.
type EntryKind string

// The kinds of entries.
const (
	ResultEntry   EntryKind = "result"   // what a stage gave
	DownloadEntry EntryKind = "download" // a file of package fetch
	RootEntry     EntryKind = "root"     // a sandbox's root directory
)

// Entry is one thing that the cache keeps and that Collect can drop.
type Entry struct {
	Kind  EntryKind    `json:"kind"`
	Name  string       `json:"name"`         // of the stage, or the path below downloads/ or roots/
	Key   store.Digest `json:"key,omitzero"` // of the result
	Used  time.Time    `json:"used"`         // when it was last used
	Bytes int64        `json:"bytes"`        // it and all it refers to
	Own   int64        `json:"own"`          // of these, what no other entry refers to
}

// item is an entry as Collect works with it.
type item struct {
	Entry
	path string
	file int64                  // bytes of the entry without what it refers to
	refs map[store.Digest]int64 // the objects it refers to, and their sizes
}

// List returns what the cache keeps, what was used last first. Results that no build
// would use, because they or their objects are damaged or gone, are left out. The
// size of a sandbox's root is that of the files the user may see.
func (c *Cache) List(ctx context.Context) ([]Entry, error) {
	items, _, err := c.inventory(ctx)
	if err != nil {
		return nil, err
	}
	users := map[store.Digest]int{}
	for _, it := range items {
		for d := range it.refs {
			users[d]++
		}
	}
	entries := make([]Entry, len(items))
	for i, it := range items {
		it.Own = it.file
		for d, size := range it.refs {
			if users[d] == 1 {
				it.Own += size
			}
		}
		entries[i] = it.Entry
	}
	return entries, nil
}

// Summary is what Collect did.
type Summary struct {
	Results   int   `json:"results"`   // dropped
	Downloads int   `json:"downloads"` // dropped
	Roots     int   `json:"roots"`     // dropped
	Freed     int64 `json:"freed"`     // bytes on disk
	Kept      int64 `json:"kept"`      // bytes of what remains
}

// keepLast is for how long the inputs of a recipe's last build are remembered.
const keepLast = 90 * 24 * time.Hour

// Collect drops sandbox roots, which any build makes again in seconds, and then
// results of stages and downloads, what was used least recently first, until the
// remaining entries and all they refer to take at most maxSize bytes. Then it drops
// every object that nothing refers to any more.
// Results that refer only to what others keep alive cost nothing and stay. On disk the cache can be an eighth larger: packs of objects are rewritten only
// when that pays. removeRoot removes a directory below roots/, whose files may
// belong to subordinate ids.
//
// Collect fails with store.ErrInUse, having done nothing, while another process
// has the cache open. What it did before another error, or before ctx ended,
// leaves a cache that is whole.
func (c *Cache) Collect(ctx context.Context, maxSize int64, removeRoot func(ctx context.Context, dir string) error) (Summary, error) {
	var s Summary
	err := c.Store.Exclusive(func() error {
		defer c.whole.Clear()
		items, broken, err := c.inventory(ctx)
		if err != nil {
			return err
		}
		isRoot := func(it item) int {
			if it.Kind == RootEntry {
				return 1
			}
			return 0
		}
		slices.SortStableFunc(items, func(a, b item) int { return cmp.Compare(isRoot(a), isRoot(b)) })
		live, dropped := s.choose(items, maxSize)
		// What is missed least goes first, should this be interrupted.
		for _, it := range slices.Backward(dropped) {
			if err := s.drop(ctx, it, removeRoot); err != nil {
				return err
			}
		}
		for _, it := range broken {
			if err := s.drop(ctx, it, removeRoot); err != nil {
				return err
			}
		}
		if err := c.removeLeftovers(ctx, removeRoot); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		freed, err := c.Store.Sweep(live)
		s.Freed += freed
		return err
	})
	return s, err
}

// choose keeps of items, beginning with the first, as many as fit in maxSize bytes. It
// returns the objects that stay and the items that do not.
func (s *Summary) choose(items []item, maxSize int64) (live map[store.Digest]struct{}, dropped []item) {
	live = map[store.Digest]struct{}{}
	for _, it := range items {
		more, refersOnlyToLive := it.file, len(it.refs) > 0
		for d, size := range it.refs {
			if _, ok := live[d]; !ok {
				more += size
				refersOnlyToLive = false
			}
		}
		// After the first that does not fit, only those that cost nothing are kept:
		// the result of unpacking a package is used once, but its files live on in
		// results that are used daily.
		if s.Kept+more > maxSize || len(dropped) > 0 && !refersOnlyToLive {
			dropped = append(dropped, it)
			continue
		}
		s.Kept += more
		for d := range it.refs {
			live[d] = struct{}{}
		}
	}
	return live, dropped
}

// drop removes one entry and counts it.
func (s *Summary) drop(ctx context.Context, it item, removeRoot func(context.Context, string) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	remove := os.Remove
	count := &s.Results
	switch it.Kind {
	case DownloadEntry:
		count = &s.Downloads
	case RootEntry:
		count = &s.Roots
		remove = func(path string) error { return removeRoot(ctx, path) }
	}
	if err := remove(it.path); err != nil {
		return fmt.Errorf("the %s %s cannot be removed from the cache: %w", it.Kind, it.Name, err)
	}
	*count++
	s.Freed += it.file
	return nil
}

// removeLeftovers removes what crashed processes left, locks, and what belongs to
// recipes that have not been built for long. Nobody else may have the cache open.
func (c *Cache) removeLeftovers(ctx context.Context, removeRoot func(context.Context, string) error) error {
	now := time.Now()
	named := func(prefix string) func(fs.FileInfo) bool {
		return func(f fs.FileInfo) bool { return strings.HasPrefix(f.Name(), prefix) }
	}
	for _, sub := range []struct {
		dir   string
		stale func(fs.FileInfo) bool
	}{
		{".", named(probePrefix)},
		{".", named(scratchPrefix)},
		{"results", named(newPrefix)},
		{"locks", func(fs.FileInfo) bool { return true }},
		{"last", named(newPrefix)},
		{"last", func(f fs.FileInfo) bool { return now.Sub(f.ModTime()) > keepLast }},
	} {
		files, err := os.ReadDir(filepath.Join(c.Dir, sub.dir))
		if err != nil {
			return err
		}
		for _, f := range files {
			info, err := f.Info()
			if err != nil {
				return err
			}
			if !sub.stale(info) {
				continue
			}
			path := filepath.Join(c.Dir, sub.dir, f.Name())
			if info.IsDir() {
				err = removeRoot(ctx, path)
			} else {
				err = os.Remove(path)
			}
			if err != nil {
				return fmt.Errorf("%s cannot be removed from the cache: %w", path, err)
			}
		}
	}
	return nil
}

// inventory returns everything in the cache, what was used last first, and apart
// from it the results that no build would use.
func (c *Cache) inventory(ctx context.Context) (items, broken []item, err error) {
	files, err := os.ReadDir(filepath.Join(c.Dir, "results"))
	if err != nil {
		return nil, nil, err
	}
	inner := map[store.Digest][]store.Digest{} // of trees and images: many results refer to the same
	for _, f := range files {
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		it, err := c.resultItem(f, inner)
		switch {
		case errors.Is(err, errNotAResult):
		case err != nil:
			broken = append(broken, it)
		default:
			items = append(items, it)
		}
	}
	downloads, err := c.downloadItems(ctx)
	if err != nil {
		return nil, nil, err
	}
	roots, err := c.rootItems(ctx)
	if err != nil {
		return nil, nil, err
	}
	items = slices.Concat(items, downloads, roots)
	slices.SortStableFunc(items, func(a, b item) int { return b.Used.Compare(a.Used) })
	return items, broken, nil
}

// errNotAResult says that a file in results/ is not named like one.
var errNotAResult = errors.New("not a result")

// resultItem describes the result in a file of results/. The error says why no build
// would use it.
func (c *Cache) resultItem(f fs.DirEntry, inner map[store.Digest][]store.Digest) (item, error) {
	digits, ok := strings.CutSuffix(f.Name(), ".json")
	var key store.Digest
	if n, err := hex.Decode(key[:], []byte(digits)); !ok || err != nil || n != len(key) || len(digits) != 2*n {
		return item{}, errNotAResult
	}
	info, err := f.Info()
	if err != nil {
		return item{}, errNotAResult // removed since
	}
	it := item{
		Entry: Entry{Kind: ResultEntry, Name: f.Name(), Key: key, Used: info.ModTime(), Bytes: info.Size()},
		path:  c.resultPath(key),
		file:  info.Size(),
		refs:  map[store.Digest]int64{},
	}
	r, err := readResult(it.path, key)
	if err != nil {
		return it, err
	}
	it.Name = r.Stage
	for _, d := range references(r.Value) {
		below, known := inner[d]
		if !known {
			if below, err = c.inner(d); err != nil {
				return it, err
			}
			inner[d] = below
		}
		for _, d := range append([]store.Digest{d}, below...) {
			if _, known := it.refs[d]; known {
				continue
			}
			size, err := c.Store.Stat(d)
			if err != nil {
				return it, err
			}
			it.refs[d] = size
			it.Bytes += size
		}
	}
	return it, nil
}

// downloadItems describes the files below downloads/.
func (c *Cache) downloadItems(ctx context.Context) ([]item, error) {
	var items []item
	err := filepath.WalkDir(c.Downloads(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(c.Downloads(), path)
		if err != nil {
			return err
		}
		items = append(items, item{
			Entry: Entry{Kind: DownloadEntry, Name: name, Used: lastUse(info), Bytes: info.Size()},
			path:  path,
			file:  info.Size(),
		})
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return items, nil // a build has just finished a download
	}
	return items, err
}

// lastUse returns when a file was read or written last, as far as the file system
// keeps it (mount option relatime: to a day).
func lastUse(info fs.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		if read := time.Unix(st.Atim.Unix()); read.After(info.ModTime()) {
			return read
		}
	}
	return info.ModTime()
}

// rootItems describes the directories below roots/.
func (c *Cache) rootItems(ctx context.Context) ([]item, error) {
	roots, err := os.ReadDir(c.Roots())
	if err != nil {
		return nil, err
	}
	var items []item
	for _, root := range roots {
		it := item{Entry: Entry{Kind: RootEntry, Name: root.Name()}, path: filepath.Join(c.Roots(), root.Name())}
		err := filepath.WalkDir(it.path, func(path string, d fs.DirEntry, err error) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				return nil // of a subordinate id, or in use and changing: not counted
			}
			info, err := d.Info()
			if err != nil {
				return nil
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				it.file += st.Blocks * 512
			}
			// The files of the tree have its times; the directory itself and the files
			// which the sandbox keeps beside the tree have those of the last use.
			beside := info.Mode().IsRegular() && filepath.Dir(path) == it.path
			if (path == it.path || beside) && info.ModTime().After(it.Used) {
				it.Used = info.ModTime()
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		it.Bytes = it.file
		items = append(items, it)
	}
	return items, nil
}

// Damage is something that Verify found wrong.
type Damage struct {
	Path    string       `json:"path"`            // the file of the cache
	Digest  store.Digest `json:"digest,omitzero"` // the object, when it is one
	Problem string       `json:"problem"`
}

// Verify checks every object and every result of the cache and returns what is
// damaged. Downloads are not looked at: package fetch verifies them whenever they
// are used. With repair, what is damaged is taken out, so that the next build makes
// it anew; that fails with store.ErrInUse while another process has the cache
// open.
func (c *Cache) Verify(ctx context.Context, repair bool) ([]Damage, error) {
	if !repair {
		return c.verify(ctx, false)
	}
	var damage []Damage
	err := c.Store.Exclusive(func() (err error) {
		defer c.whole.Clear()
		damage, err = c.verify(ctx, true)
		return err
	})
	return damage, err
}

func (c *Cache) verify(ctx context.Context, repair bool) ([]Damage, error) {
	var damage []Damage
	_, broken, err := c.inventory(ctx)
	if err != nil {
		return nil, err
	}
	for _, it := range broken {
		_, err := readResult(it.path, it.Key)
		if err == nil {
			err = errors.New("it refers to objects that are not in the store")
		}
		damage = append(damage, Damage{Path: it.path, Problem: err.Error()})
	}
	objects, err := c.Store.Verify(ctx, repair)
	for _, o := range objects {
		d := Damage{Path: o.Path, Digest: o.Digest, Problem: "the object's bytes do not have its digest"}
		if o.Digest.IsZero() {
			d.Problem = "the pack's header, index or footer is damaged"
		}
		damage = append(damage, d)
	}
	if err != nil || !repair {
		return damage, err
	}
	// Now also those that refer to what was damaged.
	if _, broken, err = c.inventory(ctx); err != nil {
		return damage, err
	}
	for _, it := range broken {
		if err := os.Remove(it.path); err != nil {
			return damage, err
		}
	}
	return damage, nil
}
