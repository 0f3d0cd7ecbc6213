package rootfs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// fixture makes members for merging.
type fixture struct {
	*testing.T
	st *store.Store
}

func newFixture(t *testing.T) fixture { return fixture{t, stagetest.Cache(t).Store} }

func (f fixture) file(path, contents string) tree.Entry {
	return stagetest.File(f, f.st, path, contents)
}

func (f fixture) member(name string, entries ...tree.Entry) Member {
	return Member{Name: name, Tree: stagetest.Tree(f, entries...)}
}

// links are those of merged /usr.
var links = map[string]string{"/bin": "usr/bin", "/lib": "usr/lib"}

// replaces returns a TakesOver by the members' names, "a>b" for a replaces b.
func replaces(members []Member, pairs ...string) func(by, of int) bool {
	return func(by, of int) bool { return slices.Contains(pairs, members[by].Name+">"+members[of].Name) }
}

// merge merges members and returns the tree as text.
func (f fixture) merge(o MergeOptions, members ...Member) (string, *Result) {
	f.Helper()
	if o.Time == (tree.Time{}) {
		o.Time = tree.Time{Sec: stagetest.Epoch}
	}
	r, err := Merge(members, o)
	if err != nil {
		f.Fatal(err)
	}
	return stagetest.Text(f, f.st, r.Tree), r
}

func check(t *testing.T, what, got, want string) {
	t.Helper()
	want = strings.TrimPrefix(want, "\n")
	if got != want {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

func TestMergeFollowsLinksOfMergedUsr(t *testing.T) {
	f := newFixture(t)
	old := f.member("old", f.file("bin/sh", "shell"), f.file("lib/modules/list", "x"))
	shell := f.member("tools", f.file("usr/bin/ls", "list"))
	want := `
bin -> usr/bin
lib -> usr/lib
usr/
usr/bin/
usr/bin/ls "list"
usr/bin/sh "shell"
usr/lib/
usr/lib/modules/
usr/lib/modules/list "x"
`
	got, _ := f.merge(MergeOptions{Links: links}, old, shell)
	check(t, "links of the options", got, want)

	base := f.member("base", stagetest.Link("bin", "usr/bin"), stagetest.Link("lib", "/usr/lib"), stagetest.Dir("usr/bin"), stagetest.Dir("usr/lib"))
	got, _ = f.merge(MergeOptions{}, old, shell, base)
	check(t, "links of a package", got, strings.Replace(want, "lib -> usr/lib", "lib -> /usr/lib", 1))
}

func TestMergeFollowsChains(t *testing.T) {
	f := newFixture(t)
	got, _ := f.merge(MergeOptions{Links: map[string]string{"/a": "b", "/b": "/c/d", "/c": "e"}},
		f.member("p", f.file("a/x", "1"), f.file("b/y", "2"), f.file("c/d/z", "3"), f.file("e/w", "4")),
		// A link below a link, to its parent's neighbour.
		f.member("q", f.file("c/f/deep", "5")), f.member("r", stagetest.Dir("e/d"), stagetest.Link("c/f", "../e/d")))
	check(t, "tree", got, `
a -> b
b -> /c/d
c -> e
e/
e/d/
e/d/deep "5"
e/d/x "1"
e/d/y "2"
e/d/z "3"
e/f -> ../e/d
e/w "4"
`)
}

func TestMergeRefusesLoops(t *testing.T) {
	f := newFixture(t)
	for _, test := range []struct {
		links   map[string]string
		members []Member
		want    string
	}{
		{map[string]string{"/a": "b", "/b": "a"}, nil, "link /a: /b: too many levels of symbolic links"},
		{map[string]string{"/a": "a/b"}, nil, "link /a: /a: too many levels of symbolic links"},
		{map[string]string{"/../a": "b"}, nil, `link /../a: the path has an element ".."`},
		{nil, []Member{
			f.member("p", f.file("x/file", "")), f.member("q", stagetest.Link("x", "y"), stagetest.Link("y", "x")),
			f.member("r", stagetest.Dir("y")),
		}, "package p: /y: too many levels of symbolic links"},
	} {
		_, err := Merge(test.members, MergeOptions{Links: test.links})
		if err == nil || err.Error() != test.want {
			t.Errorf("%v: %v; want %s", test.links, err, test.want)
		}
	}
	if _, err := Merge(nil, MergeOptions{}); err == nil || err.Error() != "there are no packages to make a root file system of" {
		t.Errorf("nothing to merge: %v", err)
	}
}

func TestMergeTakesMeantModesOfDirectories(t *testing.T) {
	f := newFixture(t)
	a := f.member("a", stagetest.Dir("tmp"), stagetest.Dir("mail"))
	b := f.member("b", stagetest.Mode(stagetest.Dir("tmp"), 0o1777), stagetest.Owner(stagetest.Mode(stagetest.Dir("mail"), 0o2775), 0, 8))
	c := f.member("c", stagetest.Dir("tmp"), f.file("mail/box", ""))
	for _, members := range [][]Member{{a, b, c}, {c, b, a}, {b, a, c}} {
		got, _ := f.merge(MergeOptions{}, members...)
		check(t, "directories", got, "mail/ 2775 0:8\nmail/box \"\"\ntmp/ 1777\n")
	}
	// A link's target is made before any package, and takes the mode of one that ships it.
	got, _ := f.merge(MergeOptions{Links: map[string]string{"/var/run": "/run"}}, f.member("a", stagetest.Mode(stagetest.Dir("run"), 0o700)))
	check(t, "target of a link", got, "run/ 0700\nvar/\nvar/run -> /run\n")
}

func TestMergeConflicts(t *testing.T) {
	f := newFixture(t)
	const packages = ", and neither declares that it replaces the other; exclude one of them (packages that resolve such a conflict with a diversion in their preinst script are not supported)"
	for _, test := range []struct {
		name  string
		a, b  []tree.Entry
		links map[string]string
		want  string
	}{
		{"contents", []tree.Entry{f.file("etc/x", "1")}, []tree.Entry{f.file("etc/x", "2")}, nil,
			"the packages a and b both ship /etc/x, with different contents"},
		{"mode", []tree.Entry{f.file("x", "1")}, []tree.Entry{stagetest.Mode(f.file("x", "1"), 0o4755)}, nil,
			"the packages a and b both ship /x, with different modes or owners"},
		{"owner", []tree.Entry{f.file("x", "1")}, []tree.Entry{stagetest.Owner(f.file("x", "1"), 0, 5)}, nil,
			"the packages a and b both ship /x, with different modes or owners"},
		{"attributes", []tree.Entry{f.file("x", "1")}, []tree.Entry{capable(f.file("x", "1"))}, nil,
			"the packages a and b both ship /x, with different extended attributes"},
		{"type", []tree.Entry{f.file("x", "1")}, []tree.Entry{stagetest.Link("x", "y")}, nil,
			"the packages a and b both ship /x, one as a file and one as a symlink"},
		{"file and directory", []tree.Entry{f.file("x", "1")}, []tree.Entry{f.file("x/y", "1")}, nil,
			"the packages a and b both ship /x, one as a file and one as a directory"},
		{"target", []tree.Entry{stagetest.Link("x", "y")}, []tree.Entry{stagetest.Link("x", "z")}, nil,
			"the packages a and b both ship /x, pointing to y and to z"},
		{"through a link", []tree.Entry{f.file("bin/x", "1")}, []tree.Entry{f.file("usr/bin/x", "2")}, links,
			"the packages a and b both ship /usr/bin/x, with different contents"},
		{"with a link of the options", []tree.Entry{f.file("bin", "1")}, nil, links,
			"the distribution's own links and the package a both have /bin, one as a symlink and one as a file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			end := packages
			if test.links != nil && test.b == nil {
				end = "; correct the links of the distribution's architecture, or exclude the package"
			}
			members := []Member{f.member("b", test.b...), f.member("a", test.a...)}
			for range 2 {
				_, err := Merge(members, MergeOptions{Links: test.links})
				var conflict *ConflictError
				if !errors.As(err, &conflict) || err.Error() != test.want+end {
					t.Errorf("%v\nwant %s", err, test.want+end)
				}
				slices.Reverse(members)
			}
		})
	}
}

// capable returns e with a file capability.
func capable(e tree.Entry) tree.Entry {
	e.Xattrs = []tree.Xattr{{Name: "security.capability", Value: []byte{1}}}
	return e
}

func TestMergeTakesOver(t *testing.T) {
	f := newFixture(t)
	members := []Member{
		f.member("new", f.file("usr/bin/tool", "new")),
		f.member("old", f.file("bin/tool", "old"), f.file("bin/other", "old")),
	}
	want := "bin -> usr/bin\nlib -> usr/lib\nusr/\nusr/bin/\nusr/bin/other \"old\"\nusr/bin/tool \"new\"\nusr/lib/\n"
	for range 2 {
		got, r := f.merge(MergeOptions{Links: links, TakesOver: replaces(members, "new>old")}, members...)
		check(t, "tree", got, want)
		// As the package ships it, which is how its .list has it.
		for i, m := range members {
			var lost []string
			if m.Name == "old" {
				lost = []string{"/bin/tool"}
			}
			if !slices.Equal(r.Lost[i], lost) {
				t.Errorf("%s lost %q", m.Name, r.Lost[i])
			}
		}
		slices.Reverse(members)
	}
	// The other way round it is an error, not a guess.
	if _, err := Merge(members, MergeOptions{Links: links}); err == nil {
		t.Error("files were taken over though nobody may")
	}
}

func TestMergeKeepsHardLinks(t *testing.T) {
	f := newFixture(t)
	linked := func(contents string, paths ...string) []tree.Entry {
		var entries []tree.Entry
		for _, p := range paths {
			e := f.file(p, contents)
			e.Link = 1
			entries = append(entries, e)
		}
		return entries
	}
	members := []Member{
		f.member("a", linked("A", "bin/a1", "usr/bin/a2", "usr/bin/a3")...),
		f.member("b", linked("B", "bin/b1", "bin/b2")...),
		f.member("c", f.file("usr/bin/a3", "C"), f.file("usr/bin/b2", "C")),
	}
	got, _ := f.merge(MergeOptions{Links: links, TakesOver: replaces(members, "c>a", "c>b")}, members...)
	check(t, "tree", got, `
bin -> usr/bin
lib -> usr/lib
usr/
usr/bin/
usr/bin/a1 link1 "A"
usr/bin/a2 link1 "A"
usr/bin/a3 "C"
usr/bin/b1 "B"
usr/bin/b2 "C"
usr/lib/
`)
}

// TestMergeSharesIdenticalFiles is about packages of one source which may be
// installed for several architectures.
func TestMergeSharesIdenticalFiles(t *testing.T) {
	f := newFixture(t)
	a, b := f.member("lib:amd64", f.file("usr/share/doc/lib", "text")), f.member("lib:i386", f.file("usr/share/doc/lib", "text"))
	got, r := f.merge(MergeOptions{}, a, b)
	check(t, "tree", got, "usr/\nusr/share/\nusr/share/doc/\nusr/share/doc/lib \"text\"\n")
	if len(r.Lost) != 0 {
		t.Errorf("lost: %v", r.Lost)
	}
}

// TestMergeOrder merges random packages in random orders: the tree, what is lost, and
// the error, must be the same.
func TestMergeOrder(t *testing.T) {
	f := newFixture(t)
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	conflicts := 0
	for round := range 200 {
		var members []Member
		for i := range 2 + random.IntN(5) {
			edit := tree.Empty(tree.Time{Sec: stagetest.Epoch}).Edit()
			for range random.IntN(8) {
				dir := pick("bin", "usr/bin", "lib", "usr/lib", "etc", "etc/d", "opt")
				if edit.MkdirAll(dir, stagetest.Mode(stagetest.Dir(""), []uint32{0o755, 0o755, 0o700, 0o1777}[random.IntN(4)])) != nil {
					continue
				}
				e := f.file(tree.Join(dir, pick("a", "b", "c", "d")), pick("same", "same", "same", "other"))
				if e.Link = uint32(random.IntN(3)); e.Link != 0 {
					e.Digest, e.Size = store.Sum([]byte("same")), 4
				}
				edit.Put(e)
			}
			if random.IntN(6) == 0 {
				edit.Put(stagetest.Link("opt", pick("usr", "etc/d", "srv")))
			}
			tr, err := edit.Tree()
			if err != nil {
				t.Fatal(err)
			}
			members = append(members, Member{Name: fmt.Sprint("p", i), Tree: tr})
		}
		var pairs []string
		for range random.IntN(6) {
			pairs = append(pairs, fmt.Sprintf("p%d>p%d", random.IntN(len(members)), random.IntN(len(members))))
		}
		result := func() string {
			r, err := Merge(members, MergeOptions{Links: links, TakesOver: replaces(members, pairs...)})
			if err != nil {
				return err.Error()
			}
			var lost []string
			for i, paths := range r.Lost {
				lost = append(lost, fmt.Sprint(members[i].Name, paths))
			}
			slices.Sort(lost)
			return stagetest.Text(t, f.st, r.Tree) + strings.Join(lost, "\n")
		}
		first := result()
		if strings.Contains(first, "both ship") {
			conflicts++
		}
		for range 4 {
			random.Shuffle(len(members), func(a, b int) { members[a], members[b] = members[b], members[a] })
			if again := result(); again != first {
				t.Fatalf("round %d: another order gives\n%s\ninstead of\n%s", round, again, first)
			}
		}
	}
	if conflicts < 10 || conflicts > 190 {
		t.Errorf("%d of 200 rounds are conflicts: the test is not about much", conflicts)
	}
}
