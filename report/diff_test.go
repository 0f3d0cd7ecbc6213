package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// capNetRaw is the value of security.capability after "setcap cap_net_raw=ep".
var capNetRaw = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// aclUser3 is what "setfacl -m u:3:r" leaves on a file with the mode 0644.
var aclUser3 = []byte{
	2, 0, 0, 0,
	1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff,
	2, 0, 4, 0, 3, 0, 0, 0,
	4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
	0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
	0x20, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
}

const (
	passwd = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/usr/sbin:/usr/sbin/nologin\nadmin:x:1000:1000::/home/admin:/bin/bash\n"
	shadow = "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nadmin:$y$j9T$abc:19000:0:99999:7:::\n"
	group  = "root:x:0:\ndaemon:x:1:\nadm:x:4:admin\nadmin:x:1000:\n"
)

const dpkgStatus = `Package: ping
Status: install ok installed
Architecture: amd64
Version: 1.0-1
Description: asks who is there

Package: tool
Status: install ok installed
Architecture: all
Version: 2.0
Description: does things

`

// baseSystem is a system with a bit of everything.
func baseSystem(t testing.TB, st *store.Store) *tree.Tree {
	file := func(path, contents string) tree.Entry { return stagetest.File(t, st, path, contents) }
	linked, other, third := file("usr/bin/perl", "perl"), file("usr/bin/perl5", "perl"), file("usr/bin/perl5.36", "perl")
	linked.Link, other.Link, third.Link = 1, 1, 1
	ping := stagetest.Mode(file("usr/bin/ping", "ping"), 0o755)
	ping.Xattrs = []tree.Xattr{{Name: "security.capability", Value: capNetRaw}}
	null := tree.Entry{Path: "usr/share/null", Type: tree.CharDevice, Mode: 0o666, Major: 1, Minor: 3}
	return stagetest.Tree(t,
		file("etc/passwd", passwd), stagetest.Mode(file("etc/shadow", shadow), 0o640), file("etc/group", group),
		file("etc/hosts", "127.0.0.1 localhost\n"), file("etc/tool.conf", "a=1\n"),
		ping, stagetest.Mode(file("usr/bin/su", "su"), 0o4755), file("usr/bin/tool", "tool"), linked, other, third,
		file("usr/lib/modules/6.1.0-1/modules.dep", ""), null,
		stagetest.Link("usr/bin/sh", "dash"), stagetest.Dir("srv/empty"), file("opt/app/a", "aaaa"), file("opt/app/b/c", "cc"),
		file("var/lib/dpkg/status", dpkgStatus),
		file("var/lib/dpkg/info/ping.list", "/.\n/usr\n/usr/bin\n/usr/bin/ping\n"),
		file("var/lib/dpkg/info/tool.list", "/.\n/usr\n/usr/bin\n/usr/bin/tool\n/etc\n/etc/tool.conf\n"),
		file("usr/lib/systemd/system/tool.service", "[Service]\nExecStart=/usr/bin/tool\n[Install]\nWantedBy=multi-user.target\n"),
		file("usr/lib/systemd/system/multi-user.target", "[Unit]\n"),
	)
}

// lines writes a difference in a short form, without what says that the database of packages itself changed.
func lines(d *Difference) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, c := range d.Packages {
		version := func(s *PackageState) string {
			if s == nil {
				return "-"
			}
			return s.Version + "/" + s.Arch
		}
		add("package %s %s %s %s", c.Name, c.Change, version(c.Before), version(c.After))
	}
	for _, c := range d.Kernels {
		add("kernel %s %s", c.Release, c.Change)
	}
	for _, c := range d.Privileges {
		add("privileges %s %v %v", c.Path, c.Before, c.After)
	}
	for _, c := range d.Services {
		add("service %s %s %s:%s", c.Name, c.Change, c.Before, c.After)
	}
	for _, c := range d.Accounts {
		add("%s %s %s %v", c.Kind, c.Name, c.Change, c.Attributes)
	}
	for _, c := range d.Files {
		if strings.HasPrefix(c.Path, "/var/lib/dpkg/") {
			continue
		}
		add("file %s %s %v", c.Path, c.Change, c.Attributes)
	}
	for _, c := range d.Outputs {
		add("output %s %s", c.Format, c.Change)
	}
	return out
}

// mutations are ways to change baseSystem, and what is to be listed then.
var mutations = []struct {
	name string
	edit func(t testing.TB, st *store.Store, e *tree.Editor)
	want []string
}{
	{"file added", func(t testing.TB, st *store.Store, e *tree.Editor) {
		e.Put(stagetest.File(t, st, "usr/bin/new", "new"))
	}, []string{"file /usr/bin/new added []"}},
	{"setuid file added", func(t testing.TB, st *store.Store, e *tree.Editor) {
		e.Put(stagetest.Mode(stagetest.File(t, st, "usr/bin/rootkit", "x"), 0o6755))
	}, []string{"privileges /usr/bin/rootkit [] [setuid root setgid root]", "file /usr/bin/rootkit added []"}},
	{"directory removed", func(t testing.TB, st *store.Store, e *tree.Editor) { e.Remove("opt/app") },
		[]string{"file /opt/app removed []", "file /opt/app/a removed []", "file /opt/app/b removed []", "file /opt/app/b/c removed []"}},
	{"contents", func(t testing.TB, st *store.Store, e *tree.Editor) {
		e.Put(stagetest.File(t, st, "etc/hosts", "127.0.0.1 elsewhere\n"))
	}, []string{"file /etc/hosts changed [contents]"}},
	{"mode", change("etc/group", func(e *tree.Entry) { e.Mode = 0o600 }), []string{"file /etc/group changed [mode]"}},
	{"setuid lost", change("usr/bin/su", func(e *tree.Entry) { e.Mode = 0o755 }),
		[]string{"privileges /usr/bin/su [setuid root] []", "file /usr/bin/su changed [mode]"}},
	{"owner of a setuid program", change("usr/bin/su", func(e *tree.Entry) { e.UID = 1 }),
		[]string{"privileges /usr/bin/su [setuid root] [setuid daemon]", "file /usr/bin/su changed [owner]"}},
	{"group", change("etc/hosts", func(e *tree.Entry) { e.GID = 4 }), []string{"file /etc/hosts changed [owner]"}},
	{"capability lost", change("usr/bin/ping", func(e *tree.Entry) { e.Xattrs = nil }),
		[]string{"privileges /usr/bin/ping [capabilities cap_net_raw=ep] []", "file /usr/bin/ping changed [capabilities]"}},
	{"ACL", change("etc/hosts", func(e *tree.Entry) { e.Xattrs = []tree.Xattr{{Name: "system.posix_acl_access", Value: aclUser3}} }),
		[]string{"file /etc/hosts changed [acl]"}},
	{"label", change("etc/hosts", func(e *tree.Entry) {
		e.Xattrs = []tree.Xattr{{Name: "security.selinux", Value: []byte("system_u:object_r:etc_t:s0\x00")}}
	}), []string{"file /etc/hosts changed [label]"}},
	{"attribute", change("etc/hosts", func(e *tree.Entry) { e.Xattrs = []tree.Xattr{{Name: "user.note", Value: []byte("x")}} }),
		[]string{"file /etc/hosts changed [xattrs]"}},
	{"symlink", change("usr/bin/sh", func(e *tree.Entry) { e.Target = "bash" }), []string{"file /usr/bin/sh changed [target]"}},
	{"type", func(t testing.TB, st *store.Store, e *tree.Editor) { e.Put(stagetest.Link("srv/empty", "../mnt")) },
		[]string{"file /srv/empty changed [type]"}},
	{"device", change("usr/share/null", func(e *tree.Entry) { e.Minor = 5 }), []string{"file /usr/share/null changed [device]"}},
	{"time only", change("etc/hosts", func(e *tree.Entry) { e.MTime.Sec++ }), nil},
	{"hard link gone", func(t testing.TB, st *store.Store, e *tree.Editor) { e.Remove("usr/bin/perl5.36") },
		[]string{"file /usr/bin/perl5.36 removed []"}},
	{"hard link broken", change("usr/bin/perl5.36", func(e *tree.Entry) { e.Link = 0 }), []string{"file /usr/bin/perl5.36 changed [links]"}},
	{"group of links before others", func(t testing.TB, st *store.Store, e *tree.Editor) {
		x, y := stagetest.File(t, st, "bin/x", "x"), stagetest.File(t, st, "bin/y", "x")
		x.Link = e.NewLink()
		y.Link = x.Link
		e.Put(stagetest.Dir("bin"))
		e.Put(x)
		e.Put(y)
	}, []string{"file /bin added []", "file /bin/x added []", "file /bin/y added []"}},
	{"kernel", func(t testing.TB, st *store.Store, e *tree.Editor) {
		e.Put(stagetest.Dir("usr/lib/modules/6.1.0-2"))
		e.Put(stagetest.File(t, st, "usr/lib/modules/6.1.0-2/modules.dep", ""))
	}, []string{"kernel 6.1.0-2 added", "file /usr/lib/modules/6.1.0-2 added []", "file /usr/lib/modules/6.1.0-2/modules.dep added []"}},
	{"service enabled", func(t testing.TB, st *store.Store, e *tree.Editor) {
		e.Put(stagetest.Dir("etc/systemd"))
		e.Put(stagetest.Dir("etc/systemd/system"))
		e.Put(stagetest.Dir("etc/systemd/system/multi-user.target.wants"))
		e.Put(stagetest.Link("etc/systemd/system/multi-user.target.wants/tool.service", "/usr/lib/systemd/system/tool.service"))
	}, []string{"service tool.service changed disabled:enabled", "file /etc/systemd added []", "file /etc/systemd/system added []",
		"file /etc/systemd/system/multi-user.target.wants added []", "file /etc/systemd/system/multi-user.target.wants/tool.service added []"}},
	{"service removed", func(t testing.TB, st *store.Store, e *tree.Editor) { e.Remove("usr/lib/systemd/system/tool.service") },
		[]string{"service tool.service removed disabled:", "file /usr/lib/systemd/system/tool.service removed []"}},
	{"user added", replace("etc/passwd", passwd+"eve:x:1001:1001::/home/eve:/bin/sh\n"),
		[]string{"user eve added []", "file /etc/passwd changed [contents]"}},
	{"shell", replace("etc/passwd", strings.Replace(passwd, "/usr/sbin/nologin", "/bin/sh", 1)),
		[]string{"user daemon changed [shell]", "file /etc/passwd changed [contents]"}},
	{"password", replaceMode("etc/shadow", strings.Replace(shadow, "root:*:", "root::", 1), 0o640),
		[]string{"user root changed [password]", "file /etc/shadow changed [contents]"}},
	{"membership", replace("etc/group", strings.Replace(group, "adm:x:4:admin", "adm:x:4:admin,daemon", 1)),
		[]string{"group adm changed [members]", "file /etc/group changed [contents]"}},
	{"package upgraded", replace("var/lib/dpkg/status", strings.Replace(dpkgStatus, "1.0-1", "1.0-10", 1)),
		[]string{"package ping upgraded 1.0-1/amd64 1.0-10/amd64"}},
	{"package downgraded", replace("var/lib/dpkg/status", strings.Replace(dpkgStatus, "2.0", "2.0~rc1", 1)),
		[]string{"package tool downgraded 2.0/all 2.0~rc1/all"}},
	{"package of another architecture", replace("var/lib/dpkg/status", strings.Replace(dpkgStatus, "Architecture: all", "Architecture: amd64", 1)),
		[]string{"package tool changed 2.0/all 2.0/amd64"}},
	{"package removed", func(t testing.TB, st *store.Store, e *tree.Editor) {
		e.Put(stagetest.File(t, st, "var/lib/dpkg/status", dpkgStatus[:strings.Index(dpkgStatus, "Package: tool")]))
		e.Remove("var/lib/dpkg/info/tool.list")
		e.Remove("usr/bin/tool")
		e.Remove("etc/tool.conf")
	}, []string{"package tool removed 2.0/all -", "file /etc/tool.conf removed []", "file /usr/bin/tool removed []"}},
}

func change(path string, edit func(*tree.Entry)) func(testing.TB, *store.Store, *tree.Editor) {
	return func(t testing.TB, st *store.Store, e *tree.Editor) {
		entry, ok := e.Get(path)
		if !ok {
			t.Fatalf("there is no %s", path)
		}
		edit(&entry)
		e.Put(entry)
	}
}

func replace(path, contents string) func(testing.TB, *store.Store, *tree.Editor) {
	return replaceMode(path, contents, 0o644)
}

func replaceMode(path, contents string, mode uint32) func(testing.TB, *store.Store, *tree.Editor) {
	return func(t testing.TB, st *store.Store, e *tree.Editor) {
		e.Put(stagetest.Mode(stagetest.File(t, st, path, contents), mode))
	}
}

func snapshot(t testing.TB, name string, st *store.Store, value *tree.Tree) Snapshot {
	t.Helper()
	s, err := OfTree(name, st, value)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func diff(t testing.TB, a, b Snapshot) *Difference {
	t.Helper()
	d, err := Diff(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestMutations changes a system in many ways; each is listed, and nothing else, in both directions.
func TestMutations(t *testing.T) {
	st := stagetest.Cache(t).Store
	base := baseSystem(t, st)
	a := snapshot(t, "a", st, base)
	if d := diff(t, a, a); !d.Equal || len(lines(d)) != 0 || len(d.Notes) != 0 {
		t.Errorf("a system differs from itself: %q %q", lines(d), d.Notes)
	}
	for _, m := range mutations {
		edit := base.Edit()
		m.edit(t, st, edit)
		changed, err := edit.Tree()
		if err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		b := snapshot(t, "b", st, changed)
		d := diff(t, a, b)
		if got := lines(d); !slices.Equal(got, m.want) {
			t.Errorf("%s:\n%s\nwant:\n%s", m.name, strings.Join(got, "\n"), strings.Join(m.want, "\n"))
		}
		if d.Equal != (len(m.want) == 0) {
			t.Errorf("%s: equal is %v", m.name, d.Equal)
		}
		if back := lines(diff(t, b, a)); len(back) != len(m.want) {
			t.Errorf("%s, backwards: %q", m.name, back)
		}
	}
}

// TestExplained summarises files below their package.
func TestExplained(t *testing.T) {
	st := stagetest.Cache(t).Store
	base := baseSystem(t, st)
	edit := base.Edit()
	replace("var/lib/dpkg/status", strings.Replace(dpkgStatus, "2.0", "2.1", 1))(t, st, edit)
	replace("usr/bin/tool", "tool, but better")(t, st, edit)
	edit.Remove("etc/tool.conf")
	replace("etc/hosts", "x")(t, st, edit)
	replace("var/lib/dpkg/info/tool.list", "/.\n/usr\n/usr/bin\n/usr/bin/tool\n")(t, st, edit)
	changed, err := edit.Tree()
	if err != nil {
		t.Fatal(err)
	}
	d := diff(t, snapshot(t, "old", st, base), snapshot(t, "new", st, changed))
	if got := d.Packages[0].Files; got != (FileCounts{Removed: 1, Changed: 2}) {
		t.Errorf("files of the package: %+v", got)
	}
	var paths []string
	for _, f := range d.Brief().Files {
		paths = append(paths, f.Path)
	}
	if got := strings.Join(paths, " "); got != "/etc/hosts" {
		t.Errorf("files that are not explained: %s", got)
	}
	if len(d.Files) != 5 {
		t.Errorf("all files: %d", len(d.Files))
	}
	text := d.text(t, TextOptions{})
	for _, want := range []string{"↑  tool  +8 B  3 files  2.0 → 2.1", "4 more changes come with the packages above", "~  /etc/hosts", "new differs from old"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text has no %q:\n%s", want, text)
		}
	}
	if text := d.text(t, TextOptions{Files: true}); !strings.Contains(text, "-  /etc/tool.conf") || strings.Contains(text, "more changes") {
		t.Errorf("with all files:\n%s", text)
	}
}

func (d *Difference) text(t testing.TB, o TextOptions) string {
	var b bytes.Buffer
	if err := d.WriteText(&b, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPackages compares lists with several packages of a name.
func TestPackages(t *testing.T) {
	p := func(name, version, arch string) Package { return Package{Name: name, Version: version, Arch: arch} }
	for _, c := range []struct {
		family string
		a, b   []Package
		want   string
	}{
		{"rpm", []Package{p("kernel", "5-1", "x86_64"), p("kernel", "5-2", "x86_64")}, []Package{p("kernel", "5-2", "x86_64"), p("kernel", "5-10", "x86_64")},
			"package kernel removed 5-1/x86_64 - package kernel added - 5-10/x86_64"},
		{"rpm", []Package{p("glibc", "2-9", "i686"), p("glibc", "2-9", "x86_64")}, []Package{p("glibc", "2-10", "i686"), p("glibc", "2-10", "x86_64")},
			"package glibc upgraded 2-9/i686 2-10/i686 package glibc upgraded 2-9/x86_64 2-10/x86_64"},
		{"rpm", []Package{p("a", "1:1-1", "noarch")}, []Package{p("a", "2-1", "noarch")}, "package a downgraded 1:1-1/noarch 2-1/noarch"},
		{"deb", []Package{p("a", "1:1-1", "all")}, []Package{p("a", "2-1", "all")}, "package a downgraded 1:1-1/all 2-1/all"},
		{"", []Package{p("a", "1", "")}, []Package{p("a", "2", "")}, "package a changed 1/ 2/"},
		{"deb", []Package{{Name: "a", Version: "1", SHA256: "aa"}}, []Package{{Name: "a", Version: "1", SHA256: "bb"}}, "package a rebuilt 1/ 1/"},
		{"deb", []Package{{Name: "a", Version: "1", SHA256: "aa"}}, []Package{{Name: "a", Version: "1"}}, ""},
	} {
		d := diff(t, Snapshot{Packages: c.a, Family: c.family}, Snapshot{Packages: c.b, Family: c.family})
		if got := strings.Join(lines(d), " "); got != c.want {
			t.Errorf("%v to %v: %s\nwant %s", c.a, c.b, got, c.want)
		}
	}
}

// TestUnknown compares systems of which something is not known.
func TestUnknown(t *testing.T) {
	st := stagetest.Cache(t).Store
	full := snapshot(t, "image", st, baseSystem(t, st))
	bare := Snapshot{Name: "manifest", Packages: full.Packages, Notes: []string{"none of its images is there"}}
	d := diff(t, bare, full)
	if !d.Equal || len(d.Notes) != 4 || !strings.HasPrefix(d.Notes[0], "manifest: none of its") {
		t.Errorf("notes: %q, %v", d.Notes, lines(d))
	}
	if text := d.text(t, TextOptions{}); !strings.Contains(text, "Files are not compared: manifest does not tell them.") {
		t.Errorf("the text does not say what is missing:\n%s", text)
	}
}

// TestForeignText keeps control characters of names away from terminals, and everything in the JSON document.
func TestForeignText(t *testing.T) {
	st := stagetest.Cache(t).Store
	base := baseSystem(t, st)
	edit := base.Edit()
	const evil = "etc/a\x1b[2Jb\nc\u202ed\xff"
	edit.Put(stagetest.File(t, st, evil, ""))
	changed, err := edit.Tree()
	if err != nil {
		t.Fatal(err)
	}
	d := diff(t, snapshot(t, "a", st, base), snapshot(t, "b\x1b[2J", st, changed))
	text := d.text(t, TextOptions{})
	if !strings.Contains(text, `/etc/a\x1b[2Jb\nc\u202ed\xff`) || strings.ContainsAny(text, "\x1b\u202e") {
		t.Errorf("the text: %q", text)
	}
	data, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var back Difference
	if err := json.Unmarshal(data, &back); err != nil || len(back.Files) != 1 || back.Schema != DifferenceSchema {
		t.Errorf("the document: %v, %s", err, data)
	}
}

// TestNarrow writes for narrow terminals: nothing is cut off, and no line that could be shorter is too long.
func TestNarrow(t *testing.T) {
	st := stagetest.Cache(t).Store
	base := baseSystem(t, st)
	edit := base.Edit()
	for _, m := range mutations {
		if m.name != "hard link gone" {
			m.edit(t, st, edit)
		}
	}
	changed, err := edit.Tree()
	if err != nil {
		t.Fatal(err)
	}
	d := diff(t, snapshot(t, "a", st, base), snapshot(t, "b", st, changed))
	wide := d.text(t, TextOptions{})
	if testing.Verbose() {
		t.Logf("\n%s\n%s", wide, d.text(t, TextOptions{Width: 50}))
	}
	for _, width := range []int{40, 60, 80} {
		narrow := d.text(t, TextOptions{Width: width, Files: true})
		for line := range strings.Lines(narrow) {
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > width && strings.Count(strings.TrimSpace(line), "  ") > 1 {
				t.Errorf("width %d: %d columns: %s", width, n, line)
			}
		}
		for _, f := range d.Brief().Files {
			if !strings.Contains(narrow, f.Path) {
				t.Errorf("width %d: no %s", width, f.Path)
			}
		}
	}
	colored := d.text(t, TextOptions{Color: true})
	if !strings.Contains(colored, "\x1b[") || stripColors(colored) != wide {
		t.Errorf("colors change more than colors:\n%s\n%s", colored, wide)
	}
}

func stripColors(s string) string {
	for _, code := range []string{bold, red, green, yellow, faint, "0"} {
		s = strings.ReplaceAll(s, "\x1b["+code+"m", "")
	}
	return s
}

// TestOutputs compares the sizes of what builds left.
func TestOutputs(t *testing.T) {
	a := Snapshot{Name: "a", Outputs: []Output{{"raw", "a-1.raw", 100, 1000}, {"qcow2", "a-1.qcow2", 50, 1000}, {"iso", "a-1.iso", 70, 0}}}
	b := Snapshot{Name: "b", Outputs: []Output{{"raw", "a-2.raw", 100, 1000}, {"qcow2", "a-2.qcow2", 5_000_050, 1000}, {"vhd", "a-2.vhd", 70, 0}}}
	d := diff(t, a, b)
	if got := strings.Join(lines(d), " "); got != "output iso removed output qcow2 changed output vhd added" {
		t.Error(got)
	}
	if text := d.text(t, TextOptions{}); !strings.Contains(text, "+5.0 MB") {
		t.Error(text)
	}
}
