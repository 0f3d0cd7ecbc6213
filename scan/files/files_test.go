package files

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

func root(t testing.TB, entries ...tree.Entry) Root {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	for i, e := range entries {
		if e.Type == tree.Regular {
			entries[i] = stagetest.File(t, st, e.Path, "contents of "+e.Path)
		}
	}
	return Root{Store: st, Tree: stagetest.Tree(t, entries...)}
}

func file(p string) tree.Entry { return tree.Entry{Path: p, Type: tree.Regular} }

// Patterns match what the shell's do, and a last ** everything below.
func TestGlob(t *testing.T) {
	entries := []tree.Entry{
		file("etc/a.conf"), file("etc/b.conf"), file("etc/c.txt"), file("etc/d/e.conf"), file("etc/d/f/g"), stagetest.Link("etc/l", "d"), stagetest.Link("abs", "/etc/d"),
		stagetest.Link("dangling", "nowhere"), stagetest.Link("loop", "loop"), file("home/x/.ssh/k"), file("home/y/.ssh/k"),
	}
	r := root(t, entries...)
	dir := t.TempDir()
	for _, e := range r.Tree.Entries() {
		p := filepath.Join(dir, e.Path)
		var err error
		switch {
		case e.Path == tree.Root:
		case e.Type == tree.Directory:
			err = os.Mkdir(p, 0o755)
		case e.Type == tree.Symlink:
			target := e.Target
			if path.IsAbs(target) {
				target = dir + target
			}
			err = os.Symlink(target, p)
		default:
			err = os.WriteFile(p, nil, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, pattern := range []string{"/etc/*.conf", "/etc/?.conf", "/etc/[ab].conf", "/*/d/e.conf", "/home/*/.ssh/k", "/etc/d", "/nothing/*", "/dangling/*", "/loop/*", "/etc/c.txt/*", "/*"} {
		want, err := filepath.Glob(dir + pattern)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range r.Glob([]string{pattern}, nil) {
			got = append(got, dir+"/"+e.Path)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", pattern, got, want)
		}
	}
	paths := func(entries []tree.Entry) string {
		var names []string
		for _, e := range entries {
			names = append(names, e.Path)
		}
		return strings.Join(names, " ")
	}
	for _, test := range []struct {
		patterns, except []string
		want             string
	}{
		{[]string{"/etc/d/**"}, nil, "etc/d/e.conf etc/d/f etc/d/f/g"},
		{[]string{"/etc/l/*", "/abs/e.conf"}, nil, "etc/d/e.conf etc/d/f"}, // through links, each once
		{[]string{"/etc/**"}, []string{"/etc/d/**", "/etc/*.conf"}, "etc/c.txt etc/d etc/l"},
		{[]string{"/**"}, []string{"/etc", "/etc/**", "/home/**"}, "abs dangling home loop"},
	} {
		if got := paths(r.Glob(test.patterns, test.except)); got != test.want {
			t.Errorf("%v without %v: %s, want %s", test.patterns, test.except, got, test.want)
		}
	}
}

func TestRead(t *testing.T) {
	r := root(t, file("usr/lib/os-release"), stagetest.Link("etc/os-release", "../usr/lib/os-release"), stagetest.Link("etc/null", "/dev/null"), stagetest.Dir("etc/dir"))
	f, ok, err := r.Read("/etc/os-release")
	if err != nil || !ok || f.Real != "/usr/lib/os-release" || string(f.Data) != "contents of usr/lib/os-release" {
		t.Errorf("%+v %v %v", f, ok, err)
	}
	for _, p := range []string{"/etc/null", "/etc/dir", "/etc/none", "/none/none"} {
		if _, ok, err := r.Read(p); ok || err != nil {
			t.Errorf("%s: %v %v", p, ok, err)
		}
	}
	big := tree.Entry{Path: "big", Type: tree.Regular, Mode: 0o644, Size: MaxSize + 1, Digest: store.Sum(nil)}
	if _, _, err := (Root{Store: r.Store, Tree: stagetest.Tree(t, big)}).Read("/big"); err == nil || !strings.Contains(err.Error(), "/big has 16777217 bytes") {
		t.Error(err)
	}
}

// Whatever is matched by walking down is matched by looking at the whole path.
func FuzzMatch(f *testing.F) {
	f.Add("/etc/*/x/**", "etc/a/x/b")
	f.Add("/[", "[")
	f.Add("/a//b/../c", "c")
	f.Fuzz(func(t *testing.T, pattern, p string) {
		if tree.CheckPath(p) != nil || p == tree.Root || len(p) > 200 || pattern == "/" || path.Clean("/"+pattern) != pattern {
			return
		}
		edit := tree.Empty(tree.Time{}).Edit()
		if edit.MkdirAll(p, tree.Entry{Mode: 0o755}) != nil {
			return
		}
		value, err := edit.Tree()
		if err != nil {
			return
		}
		r := Root{Tree: value}
		for _, e := range r.Glob([]string{pattern}, nil) {
			if !Match([]string{pattern}, "/"+e.Path) {
				t.Fatalf("%q is found by %q and does not match", e.Path, pattern)
			}
		}
	})
}
