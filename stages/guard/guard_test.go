package guard

import (
	"context"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// without returns a tree with paths taken out.
func without(t testing.TB, root *tree.Tree, paths ...string) *tree.Tree {
	t.Helper()
	e := root.Edit()
	for _, p := range paths {
		if _, ok := e.Get(p); !ok {
			t.Fatalf("there is no /%s to take out", p)
		}
		e.Remove(p)
	}
	after, err := e.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return after
}

// with returns a tree with entries put in.
func with(t testing.TB, root *tree.Tree, entries ...tree.Entry) *tree.Tree {
	t.Helper()
	e := root.Edit()
	for _, n := range entries {
		if err := e.MkdirAll(tree.Parent(n.Path), stagetest.Dir("x")); err != nil {
			t.Fatal(err)
		}
		e.Put(n)
	}
	after, err := e.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return after
}

// owners says that the package of a path is "pkg-" and its last element.
func owners(path string) []string { return []string{"pkg-" + path[strings.LastIndexByte(path, '/')+1:]} }

// check returns what Check finds, a line each.
func check(t testing.TB, st *store.Store, before, after *tree.Tree, exceptions ...Exception) []string {
	t.Helper()
	found, err := Check(context.Background(), st, before, after, owners, exceptions)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range found {
		lines = append(lines, f.Kind+": "+f.String())
	}
	return lines
}

func want(t testing.TB, got []string, lines ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(lines, "\n") {
		t.Errorf("found\n  %s\nand not\n  %s", strings.Join(got, "\n  "), strings.Join(lines, "\n  "))
	}
}

func executable(e tree.Entry) tree.Entry { return stagetest.Mode(e, 0o755) }

// base is a root with programs of the machine the test runs on, and their libraries.
func base(t testing.TB, st *store.Store) *tree.Tree {
	entries := stagetest.Programs(t, st, "grep", "bash")
	return stagetest.Tree(t, append(entries,
		stagetest.Link("bin", "usr/bin"), stagetest.Link("lib", "usr/lib"),
		stagetest.Dir("run"), stagetest.Dir("etc"),
	)...)
}

func TestNothingChanged(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := base(t, st)
	want(t, check(t, st, root, root))
}

func TestBase(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := base(t, st)
	for _, e := range root.Entries() {
		t.Log(e.Path, e.Type, e.Target)
	}
	for _, e := range root.Entries() {
		if strings.Contains(e.Path, "libpcre2") {
			t.Log(check(t, st, root, without(t, root, e.Path)))
		}
	}
}
