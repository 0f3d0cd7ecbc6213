package installed_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/installed/installedtest"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// read reads the database of a tree.
func read(t testing.TB, st *store.Store, root *tree.Tree) *installed.Database {
	t.Helper()
	d, err := installed.Read(st, root)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// without returns the tree without paths, and without what is below them.
func without(t testing.TB, root *tree.Tree, paths ...string) *tree.Tree {
	t.Helper()
	edit := root.Edit()
	for _, p := range paths {
		edit.Remove(strings.TrimPrefix(p, "/"))
	}
	return done(t, edit)
}

func done(t testing.TB, edit *tree.Editor) *tree.Tree {
	t.Helper()
	root, err := edit.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// filesOf returns the files that only the named packages own.
func filesOf(d *installed.Database, names ...string) []string {
	var files []string
	for _, name := range names {
		for _, f := range d.Package(name).Files {
			if owners := d.Owners(f); !slices.ContainsFunc(owners, func(id string) bool { return !slices.Contains(names, id) }) {
				files = append(files, f)
			}
		}
	}
	return files
}

// TestDebianAsDpkg compares what is read of real packages with what dpkg says of them, before and after some went.
func TestDebianAsDpkg(t *testing.T) {
	cache := stagetest.Cache(t)
	st := cache.Store
	root := installedtest.Debian(t, cache, "base-files", "bash", "dpkg", "kmod", "mawk", "openssh-client", "vim-tiny")
	d := read(t, st, root)
	if d.Family != installed.Deb {
		t.Errorf("the family is %s", d.Family)
	}
	dir := installedtest.Extract(t, st, root)
	query := func(dir, format string, args ...string) []string {
		return strings.Split(strings.TrimSuffix(installedtest.Command(t, "dpkg-query", append([]string{"--root=" + dir, "-W", "-f", format + "\n"}, args...)...), "\n"), "\n")
	}
	var got []string
	for _, p := range d.Packages {
		got = append(got, strings.Join([]string{p.Name, p.Version, p.Arch, p.Source, p.Section, p.Summary, p.Vendor}, "\t"))
	}
	want := query(dir, "${Package}\t${Version}\t${Architecture}\t${source:Package}\t${Section}\t${binary:Synopsis}\t${Maintainer}")
	if slices.Sort(want); !slices.Equal(got, want) {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("of %d packages (dpkg has %d) the first that differs is\n%s\nand to dpkg\n%s", len(got), len(want), got[i], want[i])
			}
		}
		t.Fatalf("there are %d packages, and to dpkg %d", len(got), len(want))
	}

	// Files: dpkg -S knows the owner by the path it was shipped with, the tree has all of them below /usr.
	for _, path := range []string{"/usr/bin/bash", "/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/bin/ssh", "/etc/ssh/ssh_config", "/usr/sbin/modprobe"} {
		owners := d.Owners(path)
		if len(owners) != 1 {
			t.Errorf("%s belongs to %q", path, owners)
			continue
		}
		shipped := path
		if list := installedtest.Command(t, "dpkg-query", "--root="+dir, "-L", owners[0]); !strings.Contains(list, "\n"+path+"\n") {
			shipped = strings.TrimPrefix(path, "/usr")
		}
		if said := installedtest.Command(t, "dpkg", "--root="+dir, "-S", shipped); !strings.HasPrefix(said, owners[0]+":") {
			t.Errorf("%s belongs to %s, and to dpkg: %s", path, owners[0], said)
		}
	}
	if owners := d.Owners("/usr/lib"); len(owners) < 20 || len(d.Owners("/lib")) != 0 {
		t.Errorf("/usr/lib belongs to %d packages, and the link to it to %q", len(owners), d.Owners("/lib"))
	}
	var lost []string
	owned := map[string]bool{}
	for _, p := range d.Packages {
		for _, f := range p.Files {
			owned[f] = true
		}
	}
	for _, e := range root.Entries() {
		if e.Type == tree.Regular && !strings.HasPrefix(e.Path, "var/lib/dpkg/") && e.Path != "var/lib/apt/extended_states" && !owned["/"+e.Path] {
			lost = append(lost, e.Path)
		}
	}
	if lost != nil {
		t.Errorf("nobody owns %q", lost)
	}
	if config := d.Package("openssh-client").Config; !slices.Equal(config, []string{"/etc/ssh/ssh_config"}) {
		t.Errorf("configuration files of openssh-client: %q", config)
	}
	if p := d.Package("bash"); !p.Essential || p.Size < 1<<20 {
		t.Errorf("bash: essential %v, %d bytes", p.Essential, p.Size)
	}

	// Needs: every one is met, because apt chose the packages.
	for _, p := range d.Packages {
		for _, n := range p.Needs {
			if n.Kind == installed.Requires && len(n.Providers) == 0 {
				t.Errorf("%s needs %s, and nothing installed is it", p.Name, n.Text)
			}
		}
	}
	i := slices.IndexFunc(d.Package("base-files").Needs, func(n installed.Need) bool { return n.Text == "awk" })
	if i < 0 || !slices.Equal(d.Package("base-files").Needs[i].Providers, []string{"mawk"}) {
		t.Errorf("base-files needs %v", d.Package("base-files").Needs)
	}

	// Two packages go, with documentation and a configuration file of the others.
	gone := []string{"vim-tiny", "kmod"}
	paths := append(filesOf(d, gone...), "/usr/share/doc", "/etc/ssh/ssh_config", "/usr/share/locale")
	after, err := d.Remove(st, without(t, root, paths...), gone)
	if err != nil {
		t.Fatal(err)
	}
	dir = installedtest.Extract(t, st, after)
	if out := installedtest.Command(t, "dpkg", "--root="+dir, "--audit"); out != "" {
		t.Errorf("dpkg --audit: %s", out)
	}
	if out := installedtest.Command(t, "dpkg", "--root="+dir, "--verify"); out != "" {
		t.Errorf("dpkg --verify: %s", out)
	}
	if left := query(dir, "${Package}"); len(left) != len(d.Packages)-2 || slices.Contains(left, "kmod") {
		t.Errorf("dpkg has %d packages, of %d before", len(left), len(d.Packages))
	}
	for _, e := range after.Entries() {
		if strings.HasPrefix(e.Path, "var/lib/dpkg/info/kmod.") || strings.HasPrefix(e.Path, "var/lib/dpkg/info/vim-tiny.") {
			t.Errorf("/%s is left", e.Path)
		}
	}
	if again := read(t, st, after); again.Package("kmod") != nil || again.Package("libkmod2") == nil {
		t.Error("what is read then is not what was left")
	}
	dropped, err := d.Drop(after)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := installed.Read(st, dropped); !errors.Is(err, installed.ErrNoDatabase) {
		t.Errorf("a tree without its database: %v", err)
	}
	if _, err := d.Remove(st, root, []string{"nothing"}); err == nil || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("removing what is not there: %v", err)
	}
	// Nothing that goes changes nothing.
	if same, err := d.Remove(st, root, nil); err != nil || same.Digest() != root.Digest() {
		t.Errorf("removing nothing changed the tree (%v)", err)
	}
}

// text is a Debian root whose files have the given contents.
func text(t testing.TB, st *store.Store, files map[string]string, more ...tree.Entry) *tree.Tree {
	t.Helper()
	entries := more
	for path, contents := range files {
		entries = append(entries, stagetest.File(t, st, path, contents))
	}
	return stagetest.Tree(t, entries...)
}

const statusOfTwo = `Package: a
Status: install ok installed
Version: 1:2-3
Architecture: amd64
Multi-Arch: same
Source: src (1.0)
Provides: virtual (= 2)
Conffiles:
 /etc/a 0123
 /etc/old 0123 obsolete
Description: one
 long

Package: b
Status: install ok installed
Version: 1
Architecture: all
Depends: a (>= 1:2), missing | virtual (<< 3), nothing
Pre-Depends: a:any
Description: two

Package: c
Status: deinstall ok config-files
Version: 1
Architecture: all

`

// TestDebFormats reads and changes the files that real packages above do not have.
func TestDebFormats(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := text(t, st, map[string]string{
		"var/lib/dpkg/status":                statusOfTwo,
		"var/lib/dpkg/info/a:amd64.list":     "/.\n/lib\n/lib/a\n/usr\n/usr/bin\n/usr/bin/tool\n/etc\n/etc/a\n",
		"var/lib/dpkg/info/a:amd64.md5sums":  "x  lib/a\n",
		"var/lib/dpkg/info/b.list":           "/.\n/usr\n/usr/bin\n/usr/bin/tool\n/usr/bin/other\n",
		"var/lib/dpkg/info/b.md5sums":        "x  usr/bin/tool\ny  usr/bin/other\n",
		"var/lib/dpkg/diversions":            "/usr/bin/tool\n/usr/bin/tool.b\na\n",
		"var/lib/dpkg/statoverride":          "root root 755 /lib/a\nroot root 755 /not/yet\n",
		"var/lib/dpkg/triggers/File":         "/etc a:amd64/noawait\n/usr b\n",
		"var/lib/dpkg/triggers/Unincorp":     "x a:amd64 b\ny a:amd64\n",
		"var/lib/dpkg/triggers/x":            "a:amd64\n",
		"var/lib/dpkg/alternatives/editor":   "manual\n/usr/bin/editor\neditor.1\n/usr/share/man/editor.1\n\n/usr/bin/other\n10\n\n/usr/lib/a\n50\n/usr/share/man/a.1\n\n",
		"var/lib/dpkg/alternatives/pager":    "auto\n/usr/bin/pager\n\n/usr/lib/a\n50\n\n",
		"var/lib/apt/extended_states":        "Package: a\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: b\nArchitecture: amd64\nAuto-Installed: 1\n\n",
		"usr/lib/a":                          "a",
		"usr/bin/tool":                       "a",
		"usr/bin/tool.b":                     "b",
		"usr/bin/other":                      "b",
		"usr/share/man/a.1":                  "a",
		"etc/a":                              "a",
		"var/lib/dpkg/status-old":            statusOfTwo,
		"var/lib/dpkg/info/a:amd64.triggers": "",
	}, stagetest.Link("lib", "usr/lib"), stagetest.Link("etc/alternatives/editor", "/usr/lib/a"), stagetest.Link("usr/bin/editor", "/etc/alternatives/editor"),
		stagetest.Link("etc/alternatives/editor.1", "/usr/share/man/a.1"), stagetest.Link("usr/share/man/editor.1", "/etc/alternatives/editor.1"),
		stagetest.Link("etc/alternatives/pager", "/usr/lib/a"), stagetest.Link("usr/bin/pager", "/etc/alternatives/pager"))
	d := read(t, st, root)
	if len(d.Packages) != 2 {
		t.Fatalf("there are %d packages", len(d.Packages))
	}
	a, b := d.Package("a"), d.Package("b")
	if a.Source != "src" || a.SourceVersion != "1.0" || a.Version != "1:2-3" || !a.Auto || !b.Auto || a.Summary != "one" {
		t.Errorf("a is %+v", a)
	}
	if want := []string{"/", "/etc", "/etc/a", "/usr", "/usr/bin", "/usr/bin/tool", "/usr/lib", "/usr/lib/a"}; !slices.Equal(a.Files, want) {
		t.Errorf("a owns %q", a.Files)
	}
	if want := []string{"/", "/usr", "/usr/bin", "/usr/bin/other", "/usr/bin/tool.b"}; !slices.Equal(b.Files, want) {
		t.Errorf("b, which a diverts a file of, owns %q", b.Files)
	}
	var needs []string
	for _, n := range b.Needs {
		needs = append(needs, n.Text+" -> "+strings.Join(n.Providers, " "))
	}
	if want := []string{"a:any -> a", "a (>= 1:2) -> a", "missing | virtual (<< 3) -> a", "nothing -> "}; !slices.Equal(needs, want) {
		t.Errorf("b needs %q", needs)
	}
	if !slices.Equal(a.Config, []string{"/etc/a"}) {
		t.Errorf("configuration files of a: %q", a.Config)
	}

	after, err := d.Remove(st, without(t, root, "usr/lib/a", "usr/bin/tool", "etc/a", "usr/share/man/a.1"), []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	const want = `etc/
etc/alternatives/
etc/alternatives/editor -> /usr/bin/other
lib -> usr/lib
usr/
usr/bin/
usr/bin/editor -> /etc/alternatives/editor
usr/bin/other "b"
usr/bin/tool "b"
usr/lib/
usr/share/
usr/share/man/
var/
var/lib/
var/lib/apt/
var/lib/apt/extended_states "Package: b\nArchitecture: amd64\nAuto-Installed: 1\n\n"
var/lib/dpkg/
var/lib/dpkg/alternatives/
var/lib/dpkg/alternatives/editor "auto\n/usr/bin/editor\neditor.1\n/usr/share/man/editor.1\n\n/usr/bin/other\n10\n\n\n"
var/lib/dpkg/diversions ""
var/lib/dpkg/info/
var/lib/dpkg/info/b.list "/.\n/usr\n/usr/bin\n/usr/bin/tool\n/usr/bin/other\n"
var/lib/dpkg/info/b.md5sums "x  usr/bin/tool\ny  usr/bin/other\n"
var/lib/dpkg/statoverride "root root 755 /not/yet\n"
`
	got := stagetest.Text(t, st, after)
	if !strings.HasPrefix(got, want) {
		t.Errorf("the root then is\n%s\nwant\n%s", got, want)
	}
	if !strings.Contains(got, `triggers/File "/usr b\n"`) || !strings.Contains(got, `triggers/Unincorp "x b\n"`) || strings.Contains(got, "triggers/x ") {
		t.Errorf("triggers then are\n%s", got)
	}
	if strings.Contains(got, "Package: a\\n") || !strings.Contains(got, "Package: c\\n") {
		t.Errorf("the status then is\n%s", got)
	}
}

// TestDebWithoutDpkg reads the database of images that were made without dpkg, which have a file for each package.
func TestDebWithoutDpkg(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := text(t, st, map[string]string{
		"var/lib/dpkg/status.d/base":         "Package: base\nVersion: 1\nArchitecture: amd64\n",
		"var/lib/dpkg/status.d/base.md5sums": "x  usr/bin/base\n",
		"var/lib/dpkg/status.d/tz":           "Package: tz\nVersion: 1\nArchitecture: all\nDepends: base\n",
		"usr/bin/base":                       "",
	})
	d := read(t, st, root)
	if len(d.Packages) != 2 || !slices.Equal(d.Owners("/usr/bin/base"), []string{"base"}) {
		t.Fatalf("the packages are %+v", d.Packages)
	}
	after, err := d.Remove(st, without(t, root, "usr/bin/base"), []string{"base"})
	if err != nil {
		t.Fatal(err)
	}
	if left := read(t, st, after).Packages; len(left) != 1 || left[0].Name != "tz" {
		t.Errorf("what is left is %+v", left)
	}
}

// TestDebDamaged reads databases that are not whole.
func TestDebDamaged(t *testing.T) {
	st := stagetest.Cache(t).Store
	for _, test := range []struct{ name, want string }{
		{"var/lib/dpkg/status", "/var/lib/dpkg/info/a.list is missing"},
		{"var/lib/dpkg/diversions", "not three for each diversion"},
	} {
		files := map[string]string{"var/lib/dpkg/status": "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"}
		if test.name != "var/lib/dpkg/status" {
			files[test.name] = "one line\n"
			files["var/lib/dpkg/info/a.list"] = "/.\n"
		}
		if _, err := installed.Read(st, text(t, st, files)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
	if _, err := installed.Read(st, stagetest.Tree(t)); !errors.Is(err, installed.ErrNoDatabase) {
		t.Errorf("an empty root: %v", err)
	}
}

// TestProviding finds packages by what a recipe may call them.
func TestProviding(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := text(t, st, map[string]string{
		"var/lib/dpkg/status": statusOfTwo, "var/lib/dpkg/info/a:amd64.list": "/.\n/usr\n/usr/tool\n", "var/lib/dpkg/info/b.list": "/.\n", "usr/tool": "",
	})
	d := read(t, st, root)
	for name, want := range map[string]string{
		"a": "a", "a:amd64": "a", "a=1:2-3": "a", "a=2": "", "a:arm64": "", "virtual": "a", "/usr/tool": "a", "nothing": "", "b": "b",
	} {
		if got := strings.Join(d.Providing(name), " "); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}
