// Package stagetest helps the tests of stages: it makes caches and trees, runs code
// as the engine would, and shows trees as text.
package stagetest

import (
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Epoch is the time of what Entry functions make, in seconds since 1970.
const Epoch = 1_000_000_000

// Cache returns an empty cache for the time of the test.
func Cache(t testing.TB) *stages.Cache {
	t.Helper()
	c, err := stages.OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Pool returns a pool of sandboxes for the time of the test. The test's TestMain
// must begin with sandbox.Init.
func Pool(t testing.TB, c *stages.Cache) *sandbox.Pool {
	t.Helper()
	pool, err := sandbox.NewPool(c.Store, c.Roots(), sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Clean(0); err != nil {
			t.Error(err)
		}
	})
	return pool
}

var runs atomic.Int32

// Run runs do as a stage named "test", and returns what it gave and
// the text of its Log, Progress and Warning events, one a line. The error is that of
// do itself.
func Run[T any](t testing.TB, c *stages.Cache, do func(context.Context, *stages.Run) (T, error)) (T, string, error) {
	t.Helper()
	var log strings.Builder
	sink := func(e stages.Event) {
		switch e.Kind {
		case stages.Log, stages.Warning:
			fmt.Fprintf(&log, "%s: %s\n", e.Item, e.Text)
		case stages.Progress:
			fmt.Fprintf(&log, "%s: %d of %d %s\n", e.Item, e.Done, e.Total, e.Unit)
		}
	}
	var value T
	var failure error
	g := stages.NewGraph(c)
	// Another kind each time, so that no run finds the result of one before.
	h := stages.Add(g, stages.Stage{Name: "test", Kind: fmt.Sprint("test-", runs.Add(1))}, func(ctx context.Context, run *stages.Run) (struct{}, error) {
		value, failure = do(ctx, run)
		return struct{}{}, failure
	})
	if _, err := g.Run(t.Context(), t.Name(), sink, h); err != nil && failure == nil {
		t.Fatal(err)
	}
	return value, log.String(), failure
}

// Dir returns a directory of root's with mode 0755.
func Dir(path string) tree.Entry {
	return tree.Entry{Path: path, Type: tree.Directory, Mode: 0o755, MTime: tree.Time{Sec: Epoch}}
}

// Link returns a symbolic link.
func Link(path, target string) tree.Entry {
	return tree.Entry{Path: path, Type: tree.Symlink, Mode: 0o777, Target: target, MTime: tree.Time{Sec: Epoch}}
}

// File returns a file of root's with mode 0644, whose contents it stores.
func File(t testing.TB, st *store.Store, path, contents string) tree.Entry {
	t.Helper()
	digest, err := st.Put([]byte(contents))
	if err != nil {
		t.Fatal(err)
	}
	return tree.Entry{Path: path, Type: tree.Regular, Mode: 0o644, Digest: digest, Size: int64(len(contents)), MTime: tree.Time{Sec: Epoch}}
}

// Mode returns e with another mode.
func Mode(e tree.Entry, mode uint32) tree.Entry { e.Mode = mode; return e }

// Owner returns e with other owners.
func Owner(e tree.Entry, uid, gid uint32) tree.Entry { e.UID, e.GID = uid, gid; return e }

// Tree returns the tree of entries and of the directories they lie in.
func Tree(t testing.TB, entries ...tree.Entry) *tree.Tree {
	t.Helper()
	edit := tree.Empty(tree.Time{Sec: Epoch}).Edit()
	for _, e := range entries {
		if err := edit.MkdirAll(tree.Parent(e.Path), Dir("")); err != nil {
			t.Fatal(err)
		}
		edit.Put(e)
	}
	result, err := edit.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// Save saves a tree and returns its digest.
func Save(t testing.TB, st *store.Store, value *tree.Tree) store.Digest {
	t.Helper()
	digest, err := tree.Save(st, value)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// Load loads a tree.
func Load(t testing.TB, st *store.Store, digest store.Digest) *tree.Tree {
	t.Helper()
	value, err := tree.Load(st, digest)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// Text shows the entries of a tree below the given directories (all of it without
// any), one a line: path, mode and owners where they are not the usual ones, the time
// where it is not Epoch, link group, and the target or the quoted contents.
func Text(t testing.TB, st *store.Store, value *tree.Tree, dirs ...string) string {
	t.Helper()
	if len(dirs) == 0 {
		dirs = []string{tree.Root}
	}
	var b strings.Builder
	for _, dir := range dirs {
		for _, e := range value.Subtree(dir) {
			if e.Path == tree.Root {
				continue
			}
			b.WriteString(line(t, st, e))
		}
	}
	return b.String()
}

// line is one line of Text.
func line(t testing.TB, st *store.Store, e tree.Entry) string {
	t.Helper()
	usual := uint32(0o644)
	words := []string{e.Path}
	switch e.Type {
	case tree.Directory:
		usual = 0o755
		words[0] += "/"
	case tree.Symlink:
		usual = 0o777
	}
	if e.Mode != usual {
		words = append(words, fmt.Sprintf("%04o", e.Mode))
	}
	if e.UID != 0 || e.GID != 0 {
		words = append(words, fmt.Sprintf("%d:%d", e.UID, e.GID))
	}
	if e.MTime != (tree.Time{Sec: Epoch}) {
		words = append(words, fmt.Sprintf("@%d.%d", e.MTime.Sec, e.MTime.Nsec))
	}
	if e.Link != 0 {
		words = append(words, fmt.Sprintf("link%d", e.Link))
	}
	switch e.Type {
	case tree.Regular:
		words = append(words, fmt.Sprintf("%q", Contents(t, st, e)))
	case tree.Symlink:
		words = append(words, "-> "+e.Target)
	case tree.Directory:
	default:
		words = append(words, fmt.Sprintf("%s %d:%d", e.Type, e.Major, e.Minor))
	}
	return strings.Join(words, " ") + "\n"
}

// Contents returns the contents of a file.
func Contents(t testing.TB, st *store.Store, e tree.Entry) string {
	t.Helper()
	data, err := st.ReadAll(e.Digest)
	if err != nil {
		t.Fatalf("/%s: %v", e.Path, err)
	}
	return string(data)
}

// Programs returns entries for programs of the host, found in PATH, at /usr/bin, and
// the libraries they need. They are what a root under test can run.
func Programs(t testing.TB, st *store.Store, names ...string) []tree.Entry {
	t.Helper()
	batch, err := st.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	defer batch.Abort()
	seen := map[string]bool{}
	var entries []tree.Entry
	add := func(source, path string) {
		if seen[path] {
			return
		}
		seen[path] = true
		in, err := os.Open(source)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		e := tree.Entry{Path: path, Type: tree.Regular, Mode: 0o755, MTime: tree.Time{Sec: Epoch}}
		if e.Digest, e.Size, err = batch.Add(in); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	for _, name := range names {
		program, err := exec.LookPath(name)
		if err != nil {
			t.Fatalf("%v: make test installs what the tests need", err)
		}
		add(program, "usr/bin/"+name)
		for _, library := range libraries(t, program) {
			add(library, strings.TrimPrefix(library, "/"))
		}
	}
	if err := batch.Commit(); err != nil {
		t.Fatal(err)
	}
	if seen["usr/bin/sh"] {
		entries = append(entries, Link("bin", "usr/bin"))
	}
	return entries
}

// libraries returns the loader and the shared libraries of a program, as ldd(1) says.
func libraries(t testing.TB, program string) []string {
	t.Helper()
	exe, err := elf.Open(program)
	if err != nil {
		return nil // a script
	}
	defer exe.Close()
	if needed, err := exe.ImportedLibraries(); err != nil || len(needed) == 0 {
		return nil
	}
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		t.Fatalf("ldd %s: %v", program, err)
	}
	var paths []string
	for text := range strings.Lines(string(out)) {
		for _, word := range strings.Fields(text) {
			if strings.HasPrefix(word, "/") && fs.ValidPath(word[1:]) {
				paths = append(paths, word)
			}
		}
	}
	return paths
}
