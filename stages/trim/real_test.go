package trim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/installed/installedtest"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// host are packages of a small machine, what is essential among them.
var host = []string{
	"apt", "base-files", "bash", "coreutils", "dash", "dbus", "dpkg", "findutils", "grep", "gzip", "hostname", "iproute2", "kmod", "libc-bin", "login", "mawk", "mount",
	"openssh-server", "perl-base", "sed", "systemd", "systemd-sysv", "tar", "udev", "util-linux", "vim-tiny",
}

// requested are those of them that a recipe would name.
var requested = []string{"dbus", "iproute2", "kmod", "openssh-server", "systemd", "systemd-sysv", "udev"}

// listUnits returns how many unit files systemctl finds.
func listUnits(t testing.TB, dir string) int {
	t.Helper()
	return strings.Count(installedtest.Command(t, "systemctl", "--root="+dir, "list-unit-files", "--no-legend", "--no-pager"), "\n")
}

// TestDebian trims real packages, and has the real programs look at what is left.
func TestDebian(t *testing.T) {
	if os.Getenv("IMAGEFACTORY_TEST") != "full" {
		t.Skip("it takes a while; IMAGEFACTORY_TEST=full runs it, and package installed tests real packages, too")
	}
	cache := stagetest.Cache(t)
	st := cache.Store
	root := installedtest.Debian(t, cache, host...)
	database, err := installed.Read(st, root)
	if err != nil {
		t.Fatal(err)
	}
	trim := func(o Options) (string, *tree.Tree, Report) {
		t.Helper()
		after, r, err := Trim(context.Background(), st, root, o, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		dir := installedtest.Extract(t, st, after)
		if n := listUnits(t, dir); n != r.After.Services {
			t.Errorf("profile %s: systemctl finds %d unit files, and the report has %d", o.Profile, n, r.After.Services)
		}
		t.Logf("%s: %+v, then %+v", o.Profile, r.Before, r.After)
		return dir, after, r
	}

	if after, _, err := Trim(context.Background(), st, root, Options{Profile: "none"}, nil); err != nil || after.Digest() != root.Digest() {
		t.Errorf("trimming nothing changed the tree (%v)", err)
	}

	dir, _, r := trim(Options{Profile: "minimal", Requested: requested})
	if out := installedtest.Command(t, "dpkg", "--root="+dir, "--audit"); out != "" {
		t.Errorf("dpkg --audit: %s", out)
	}
	if out := installedtest.Command(t, "dpkg", "--root="+dir, "--verify"); out != "" {
		t.Errorf("dpkg --verify: %.2000s", out)
	}
	installedtest.Command(t, "apt-get", "check", "-q", "-o", "Dir="+dir, "-o", "Dir::State::status="+dir+"/var/lib/dpkg/status", "-o", "Dir::Cache="+t.TempDir(), "-o", "Debug::NoLocking=1")
	if p := r.Package("vim-tiny"); p == nil || p.Kept || r.Database != "kept" || r.After.Packages != strings.Count(installedtest.Command(t, "dpkg-query", "--root="+dir, "-W"), "\n") {
		t.Errorf("the database is %s, with %d packages, and vim-tiny: %+v", r.Database, r.After.Packages, p)
	}

	var after *tree.Tree
	dir, after, r = trim(Options{Profile: "container-host", Requested: requested})
	if _, err := installed.Read(st, after); r.Database != "dropped" || !errors.Is(err, installed.ErrNoDatabase) {
		t.Errorf("the database is %s, and reading it gives %v", r.Database, err)
	}
	for _, path := range []string{"usr/bin/apt-get", "usr/bin/dpkg", "usr/bin/perl", "var/lib/dpkg", "var/lib/apt", "usr/share/man/man1", "usr/share/locale/de", "etc/init.d/ssh"} {
		if _, ok := after.Lookup(path); ok {
			t.Errorf("/%s is left", path)
		}
	}
	for _, path := range []string{"usr/sbin/sshd", "usr/lib/systemd/systemd", "usr/sbin/ip", "usr/bin/bash", "etc/ssh/ssh_config", "usr/share/doc/systemd/copyright"} {
		if _, ok := after.Lookup(path); !ok {
			t.Errorf("/%s is gone", path)
		}
	}
	if r.After.Services > 143 || r.After.Services < 80 {
		t.Errorf("%d unit files are left", r.After.Services)
	}
	checkPrograms(t, dir)
	checkClosed(t, r)
	checkWhy(t, Explainer{Report: r, Database: database, Tree: after}, root)

	// What keeps the package manager keeps its database, and the needs of maintainer scripts.
	withApt, r, err := Trim(context.Background(), st, root, Options{Profile: "container-host", Requested: requested, Keep: []string{"apt"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Database != "kept" || !r.Package("perl-base").Kept || !r.Package("adduser").Kept {
		t.Errorf("with apt the database is %s, perl-base: %+v", r.Database, r.Package("perl-base"))
	}
	if out := installedtest.Command(t, "dpkg", "--root="+installedtest.Extract(t, st, withApt), "--verify"); out != "" {
		t.Errorf("dpkg --verify: %.2000s", out)
	}
	// One of apt's packages alone takes all it needs along, and what needs it is told.
	_, _, err = Trim(context.Background(), st, root, Options{Profile: "container-host", Requested: requested, Remove: []string{"libkmod2"}}, nil)
	var failed *GuardError
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), "libkmod.so.2") || !strings.Contains(err.Error(), `keep = ["libkmod2"]`) {
		t.Errorf("a library that programs need: %v", err)
	}
}

// checkPrograms has the dynamic linker of a root look at all of its programs.
func checkPrograms(t *testing.T, dir string) {
	t.Helper()
	checked := 0
	for _, pattern := range []string{"/usr/bin/*", "/usr/sbin/*", "/usr/lib/systemd/systemd*", "/usr/lib/systemd/*.so", "/usr/lib/openssh/*"} {
		found, err := filepath.Glob(dir + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range found {
			head := make([]byte, 4)
			f, err := os.Open(at)
			if err != nil {
				continue // links in the root that lead out of it
			}
			_, _ = f.Read(head)
			f.Close()
			if string(head) != "\x7fELF" {
				continue
			}
			out, err := exec.Command("chroot", dir, "/lib64/ld-linux-x86-64.so.2", "--list", strings.TrimPrefix(at, dir)).CombinedOutput()
			if strings.Contains(string(out), "statically linked") {
				continue
			}
			if err != nil || strings.Contains(string(out), "not found") {
				t.Errorf("%s: %v: %s", strings.TrimPrefix(at, dir), err, out)
			}
			checked++
		}
	}
	if checked < 200 {
		t.Errorf("only %d programs were looked at", checked)
	}
}

// checkClosed checks that every kept package leads back to a root, and that the chain says so.
func checkClosed(t *testing.T, r Report) {
	t.Helper()
	for _, p := range r.Packages {
		if !p.Kept {
			continue
		}
		at, steps := &p, 0
		for ; at.By != "" && steps < 50; steps++ {
			by := r.Package(at.By)
			if by == nil || !by.Kept {
				t.Fatalf("%s is kept by %s, which is not", at.ID, at.By)
			}
			at = by
		}
		if len(p.Chain) != steps+1 || !strings.Contains(p.Chain[0], "recipe") && !strings.Contains(p.Chain[0], "profile") {
			t.Errorf("%s: %q", p.ID, p.Chain)
		}
	}
}

// checkWhy asks about every package, service and path that there ever was.
func checkWhy(t *testing.T, x Explainer, before *tree.Tree) {
	t.Helper()
	ask := func(what, kind string, kept bool) {
		t.Helper()
		e, err := x.Why(what)
		if err != nil || e.Kind != kind || e.Kept != kept || len(e.Lines) == 0 || slices.Contains(e.Lines, "") {
			t.Errorf("%s %s, which is kept: %v: %v %+v", kind, what, kept, err, e)
		}
	}
	for _, p := range x.Report.Packages {
		ask(p.Name, "package", p.Kept)
	}
	for _, s := range x.Report.Services {
		ask(s.Name, "service", s.After != "")
	}
	for i, e := range before.Entries() {
		if i%41 == 0 || e.Type == tree.Symlink { // of thousands
			_, kept := x.Tree.Lookup(e.Path)
			ask("/"+e.Path, "path", kept)
		}
	}
}

// TestRPM trims packages of rpmbuild, and has rpm look at what is left.
func TestRPM(t *testing.T) {
	cache := stagetest.Cache(t)
	st := cache.Store
	root := installedtest.RPM(t, cache,
		installedtest.Spec{
			Name: "app", Preamble: "Requires: lib\nRequires(post): helper", Install: "mkdir -p %{buildroot}/usr/bin %{buildroot}/usr/share/doc/app\ncd %{buildroot}\necho a >usr/bin/app; echo d >usr/share/doc/app/README",
			Files: "/usr/bin/app\n/usr/share/doc/app/README\n",
		},
		installedtest.Spec{Name: "lib", Install: "mkdir -p %{buildroot}/usr/lib\necho l >%{buildroot}/usr/lib/lib", Files: "/usr/lib/lib\n"},
		installedtest.Spec{Name: "helper", Install: "mkdir -p %{buildroot}/usr/lib\necho l >%{buildroot}/usr/lib/helper", Files: "/usr/lib/helper\n"},
		installedtest.Spec{Name: "rpm", Install: "mkdir -p %{buildroot}/usr/bin\necho l >%{buildroot}/usr/bin/rpm", Files: "/usr/bin/rpm\n"},
		installedtest.Spec{Name: "other", Install: "mkdir -p %{buildroot}/usr/lib\necho l >%{buildroot}/usr/lib/other", Files: "/usr/lib/other\n"},
	)
	after, r, err := Trim(context.Background(), st, root, Options{Profile: "minimal", Requested: []string{"app"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if kept(r) != "app helper lib rpm" || r.Database != "kept" {
		t.Errorf("minimal keeps %s, and the database is %s", kept(r), r.Database)
	}
	dir := installedtest.Extract(t, st, after)
	for _, command := range [][]string{{"rpm", "-Va"}, {"rpmdb", "--verifydb"}} {
		if out, err := installedtest.RPMCommand(t, command[0], dir, command[1:]...); err != nil || out != "" {
			t.Errorf("%s: %v: %s", strings.Join(command, " "), err, out)
		}
	}
	after, r, err = Trim(context.Background(), st, root, Options{Profile: "container-host", Requested: []string{"app"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if kept(r) != "app lib" || r.Database != "dropped" || files(after) != "usr/bin/app usr/lib/lib" {
		t.Errorf("container-host keeps %s, files %s, and the database is %s", kept(r), files(after), r.Database)
	}
}

// BenchmarkTrim trims a root of 20,000 entries: real packages, and made-up ones that nothing needs.
func BenchmarkTrim(b *testing.B) {
	cache := stagetest.Cache(b)
	root := installedtest.Debian(b, cache, host...)
	root = grow(b, cache, root, 20_000)
	o := Options{Profile: "container-host", Requested: requested}
	var before, after unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
	for b.Loop() {
		if _, _, err := Trim(context.Background(), cache.Store, root, o, nil); err != nil {
			b.Fatal(err)
		}
	}
	_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
	used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(used)/1e9/float64(b.N), "cpu-s/op")
	b.ReportMetric(float64(root.Len()), "entries")
}

// grow adds packages to a root until it has the number of entries.
func grow(t testing.TB, c *stages.Cache, root *tree.Tree, entries int) *tree.Tree {
	t.Helper()
	e, _ := root.Lookup("var/lib/dpkg/status")
	var status strings.Builder
	status.WriteString(stagetest.Contents(t, c.Store, e))
	edit := root.Edit()
	const each = 50
	one := stagetest.File(t, c.Store, "x", "contents")
	for i := 0; root.Len()+i*(each+1) < entries; i++ {
		name := fmt.Sprintf("extra%d", i)
		fmt.Fprintf(&status, "Package: %s\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nDepends: libc6\n\n", name)
		list := "/.\n/usr\n/usr/share\n/usr/share/extra\n"
		for n := range each {
			one.Path = fmt.Sprintf("usr/share/extra/%s-%d", name, n)
			list += "/" + one.Path + "\n"
			if err := edit.MkdirAll("usr/share/extra", stagetest.Dir("")); err != nil {
				t.Fatal(err)
			}
			edit.Put(one)
		}
		edit.Put(stagetest.File(t, c.Store, "var/lib/dpkg/info/"+name+".list", list))
	}
	edit.Put(stagetest.File(t, c.Store, e.Path, status.String()))
	grown, err := edit.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return grown
}
