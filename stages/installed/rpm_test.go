package installed_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/installed/installedtest"
	"github.com/imagefactory/imagefactory/stages/stagetest"
)

// specs are packages with all kinds of needs.
var specs = []installedtest.Spec{
	{Name: "filesystem", Install: "mkdir -p %{buildroot}/usr/lib\nln -s usr/lib %{buildroot}/lib", Files: "/lib\n/usr/lib\n"},
	{Name: "lib", Version: "2", Preamble: "Provides: cap(x) = 2", Install: "mkdir -p %{buildroot}/usr/lib\necho l >%{buildroot}/usr/lib/l", Files: "/usr/lib/l\n"},
	{Name: "other", Install: "mkdir -p %{buildroot}/usr/bin\necho o >%{buildroot}/usr/bin/o", Files: "/usr/bin/o\n"},
	{Name: "lang", Install: "mkdir -p %{buildroot}/usr/share\necho o >%{buildroot}/usr/share/lang", Files: "/usr/share/lang\n"},
	{
		Name: "app", Preamble: "Requires: cap(x) >= 1\nRequires: /usr/bin/o\nRequires(post): lang\nRequires: (lib and other)\nRequires: (lang if other)\nRequires: (nothing or lib)\nRecommends: other",
		Install: "mkdir -p %{buildroot}/usr/bin %{buildroot}/etc %{buildroot}/usr/share/doc/app\ncd %{buildroot}\necho a >usr/bin/a; echo c >etc/a.conf; echo d >usr/share/doc/app/README; echo g >etc/ghost",
		Files:   "/usr/bin/a\n%config(noreplace) /etc/a.conf\n%doc /usr/share/doc/app/README\n%ghost /etc/ghost\n", Scripts: "%post -p <lua>\nprint('x')\n",
	},
}

// TestRPMAsRPM compares what is read with what rpm says, and has rpm verify what is left when packages and files went.
func TestRPMAsRPM(t *testing.T) {
	cache := stagetest.Cache(t)
	st := cache.Store
	root := installedtest.RPM(t, cache, specs...)
	d := read(t, st, root)
	dir := installedtest.Extract(t, st, root)
	rpm := func(dir string, args ...string) string {
		t.Helper()
		out, err := installedtest.RPMCommand(t, "rpm", dir, args...)
		if err != nil {
			t.Fatalf("rpm %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	var got []string
	for _, p := range d.Packages {
		got = append(got, strings.Join([]string{p.Name, p.Version, p.Arch, p.Source, p.License, p.Vendor, p.Summary}, "|"))
	}
	want := strings.Fields(strings.ReplaceAll(rpm(dir, "-qa", "--queryformat", "%{NAME}|%{EVR}|%{ARCH}|%{SOURCERPM}|%{LICENSE}|%{VENDOR}|%{SUMMARY}\n"), "(none)", ""))
	if slices.Sort(want); d.Family != installed.RPM || !slices.Equal(got, want) {
		t.Errorf("the packages are %q, and to rpm %q", got, want)
	}
	app := d.Package("app")
	if want := []string{"/etc/a.conf", "/usr/bin/a", "/usr/share/doc/app/README"}; !slices.Equal(app.Files, want) || !slices.Equal(app.Config, want[:1]) {
		t.Errorf("app has %q, for configuration %q", app.Files, app.Config)
	}
	needs := map[string]bool{}
	for _, n := range app.Needs {
		needs[n.Kind.String()+" "+n.Text+" -> "+strings.Join(n.Providers, " ")+" when "+strings.Join(n.When, " ")] = true
	}
	for _, want := range []string{
		"requires cap(x) >= 1 -> lib when ", "requires /usr/bin/o -> other when ", "scripts lang -> lang when ", "requires (lib and other) -> lib when ",
		"requires (lib and other) -> other when ", "requires (lang if other) -> lang when other", "requires (nothing or lib) -> lib when ", "recommends other -> other when ",
	} {
		if !needs[want] {
			t.Errorf("there is no need %q", want)
		}
		delete(needs, want)
	}
	for n := range needs {
		t.Errorf("there is a need %q", n)
	}

	gone := []string{"lang"}
	after, err := d.Remove(st, without(t, root, "usr/share/lang", "usr/share/doc", "etc/a.conf"), gone)
	if err != nil {
		t.Fatal(err)
	}
	dir = installedtest.Extract(t, st, after)
	if out, err := installedtest.RPMCommand(t, "rpmdb", dir, "--verifydb"); err != nil {
		t.Errorf("rpmdb --verifydb: %v: %s", err, out)
	}
	if out, err := installedtest.RPMCommand(t, "rpm", dir, "-Va", "--nodeps"); out != "" {
		t.Errorf("rpm -Va (%v): %s", err, out)
	}
	if out := rpm(dir, "-qa", "--queryformat", "%{NAME} "); len(strings.Fields(out)) != len(specs)-1 || strings.Contains(out, "lang") {
		t.Errorf("rpm has %s", out)
	}
	if out := rpm(dir, "-q", "--state", "app"); !strings.Contains(out, "not installed /usr/share/doc/app/README") {
		t.Errorf("the states of app's files: %s", out)
	}
	if again := read(t, st, after); again.Package("lang") != nil || len(again.Package("app").Files) != 1 {
		t.Errorf("what is read then: %+v", again.Package("app"))
	}
	if same, err := d.Remove(st, root, nil); err != nil || same.Digest() != root.Digest() {
		t.Errorf("removing nothing changed the tree (%v)", err)
	}
}

// TestTwoOfOneName reads two versions of a package, as there are of kernels.
func TestTwoOfOneName(t *testing.T) {
	cache := stagetest.Cache(t)
	kernel := func(version string) installedtest.Spec {
		return installedtest.Spec{
			Name: "kernel", Version: version, Install: "mkdir -p %{buildroot}/boot\necho >%{buildroot}/boot/vmlinuz-" + version, Files: "/boot/vmlinuz-" + version + "\n",
		}
	}
	root := installedtest.RPM(t, cache, kernel("1"), kernel("2"))
	d := read(t, cache.Store, root)
	if len(d.Packages) != 2 || d.Package("kernel") != nil {
		t.Fatalf("the packages are %+v", d.Packages)
	}
	if owners := d.Owners("/boot/vmlinuz-2"); !slices.Equal(owners, []string{"kernel-2-1.noarch"}) {
		t.Errorf("the second kernel belongs to %q", owners)
	}
	after, err := d.Remove(cache.Store, without(t, root, "boot/vmlinuz-1"), []string{"kernel-1-1.noarch"})
	if err != nil {
		t.Fatal(err)
	}
	if left := read(t, cache.Store, after).Packages; len(left) != 1 || left[0].Version != "2-1" {
		t.Errorf("what is left: %+v", left)
	}
}
