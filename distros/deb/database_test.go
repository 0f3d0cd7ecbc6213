package deb

import (
	"crypto/md5"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// buildPackage makes a package with dpkg-deb: files by path, those of its metadata
// below DEBIAN. A path that ends in "/" is a directory, contents "-> X" are a symbolic
// link. It returns the path of the .deb.
func buildPackage(t testing.TB, control string, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	all := maps.Clone(files)
	if all == nil {
		all = map[string]string{}
	}
	all["DEBIAN/control"] = control
	for name, contents := range all {
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		target, link := strings.CutPrefix(contents, "-> ")
		switch {
		case err != nil:
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case link:
			err = os.Symlink(target, path)
		default:
			mode := os.FileMode(0o644)
			if strings.HasPrefix(contents, "#!") {
				mode = 0o755
			}
			err = os.WriteFile(path, []byte(contents), mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	output := root + ".deb"
	command(t, "dpkg-deb", "--root-owner-group", "--build", root, output)
	return output
}

// command runs a program of the host, which has to succeed, and returns its output.
func command(t testing.TB, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(args[0])
	if err != nil {
		t.Fatalf("%v: make test installs what the tests need", err)
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}

// databasePackages are packages whose metadata has everything that the database keeps.
func databasePackages(t testing.TB) []string {
	const common = "Architecture: amd64\nMaintainer: Nobody <nobody@example.org>\nInstalled-Size: 10\nSection: libs\nPriority: optional\n"
	return []string{
		buildPackage(t, "Package: libalpha\nVersion: 1:1.0-1\nSource: alpha (1.0)\nMulti-Arch: same\n"+common+
			"Depends: beta (>= 0), virtual\nHomepage: https://example.org/\nDescription: a library\n It has a long\n .\n description.\n",
			map[string]string{
				"etc/alpha.conf": "alpha\n", "etc/alpha.d/": "", "usr/lib/libalpha.so.1": "-> libalpha.so.1.0", "usr/lib/libalpha.so.1.0": "elf",
				"DEBIAN/conffiles": "/etc/alpha.conf\nremove-on-upgrade /etc/gone.conf\n",
				"DEBIAN/triggers":  "# interest /not/this\ninterest-noawait /usr/share/x\n  interest   named\ninterest-noawait other\nactivate-noawait unknown\n",
				"DEBIAN/md5sums":   "8e65efc3e2ef3b2e6b0d8a0a3c0a2a0b  usr/lib/libalpha.so.1.0\n",
			}),
		buildPackage(t, "Package: beta\nVersion: 2.0\nEssential: no\n"+common+"Provides: virtual\nX-Unknown: kept\nDescription: a program\n",
			map[string]string{
				"etc/beta.conf": "beta\n", "etc/default/beta": "more\n", "usr/share/x/b": "b\n", "usr/share/x/taken": "old\n",
				"DEBIAN/conffiles": "/etc/beta.conf\n/etc/default/beta\n",
				"DEBIAN/triggers":  "interest-await /usr/share/x\ninterest named\n",
				"DEBIAN/templates": "Template: beta/question\nType: boolean\nDescription: why?\n",
			}),
		buildPackage(t, "Package: gamma\nVersion: 1~rc1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nReplaces: other, beta (<< 3)\nDepends: beta\nDescription: takes a file of beta\n",
			map[string]string{"usr/share/x/taken": "new\n", "usr/share/x/g": "g\n"}),
		buildPackage(t, "Package: meta\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: ships nothing\n", nil),
	}
}

// unpackInstalled unpacks a package as the packages stage does.
func unpackInstalled(t testing.TB, st *store.Store, path string) *Installed {
	t.Helper()
	u, err := Unpack(t.Context(), st, path)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := tree.Load(st, u.Tree)
	if err != nil {
		t.Fatal(err)
	}
	p := &Installed{Control: u.Control, Tree: tr}
	if err := p.Parse(); err != nil {
		t.Fatal(err)
	}
	return p
}

// contentOf returns what Database reads files with.
func contentOf(st *store.Store) func(tree.Entry) ([]byte, error) {
	return func(e tree.Entry) ([]byte, error) { return st.ReadAll(e.Digest) }
}

// databaseRoot writes the files of packages, later ones over earlier ones, and the
// database that knows them as unpacked.
func databaseRoot(t testing.TB, st *store.Store, packages []*Installed) string {
	t.Helper()
	root := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range packages {
		for _, e := range p.Tree.Entries() {
			path := filepath.Join(root, e.Path)
			switch e.Type {
			case tree.Directory:
				must(os.MkdirAll(path, os.FileMode(e.Mode)))
			case tree.Symlink:
				must(os.Symlink(e.Target, path))
			case tree.Regular:
				data, err := st.ReadAll(e.Digest)
				must(err)
				must(os.WriteFile(path, data, os.FileMode(e.Mode)))
			default:
				t.Fatalf("%s is a %s", e.Path, e.Type)
			}
		}
	}
	files, err := Database("amd64", packages, contentOf(st))
	must(err)
	for _, dir := range DatabaseDirs() {
		must(os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	for _, f := range files {
		must(os.WriteFile(filepath.Join(root, f.Path), f.Content, os.FileMode(f.Mode)))
	}
	return root
}

// dpkgIn runs the host's dpkg on a root.
func dpkgIn(t testing.TB, root string, args ...string) string {
	t.Helper()
	// No script runs, so nothing needs root, and nothing in root runs.
	return command(t, append([]string{"dpkg", "--root=" + root, "--force-not-root", "--force-bad-path", "--force-script-chrootless"}, args...)...)
}

// adminFiles returns the files of a root's database by path, apart from those which
// only tell what was done before.
func adminFiles(t testing.TB, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	dir := filepath.Join(root, adminDir)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if strings.HasSuffix(name, "-old") || strings.HasPrefix(name, "lock") || name == "arch" {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.HasSuffix(name, ".list") || strings.HasSuffix(name, ".md5sums") {
			// Order does not matter in them, and archives have any.
			lines := strings.Split(string(data), "\n")
			slices.Sort(lines)
			data = []byte(strings.Join(lines, "\n"))
		}
		if len(data) > 0 { // an empty file is as good as none
			found[name] = fmt.Sprintf("%o %s", info.Mode().Perm(), data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestDatabaseLikeDpkg has dpkg configure packages which it has unpacked itself, and
// the same packages in a root with our database. The databases must then be the same,
// byte for byte, and dpkg must find nothing wrong.
func TestDatabaseLikeDpkg(t *testing.T) {
	st, _ := newStore(t)
	archives := databasePackages(t)

	theirs := t.TempDir()
	for _, dir := range DatabaseDirs() {
		if err := os.MkdirAll(filepath.Join(theirs, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"status", "available"} {
		if err := os.WriteFile(filepath.Join(theirs, adminDir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dpkgIn(t, theirs, append([]string{"--unpack"}, archives...)...)

	var packages []*Installed
	for _, path := range archives {
		packages = append(packages, unpackInstalled(t, st, path))
	}
	packages[1].Lost = []string{"/usr/share/x/taken"}
	ours := databaseRoot(t, st, packages)

	if before := dpkgIn(t, ours, "--audit"); strings.Count(before, "\n ") != len(packages) || !strings.Contains(before, "unpacked but not yet configured") {
		t.Errorf("before configuration dpkg --audit must know %d unpacked packages:\n%s", len(packages), before)
	}
	triggers := func(root string) map[string]string {
		found := adminFiles(t, root)
		maps.DeleteFunc(found, func(name, _ string) bool { return !strings.HasPrefix(name, "triggers/") })
		for name, lines := range found { // the order is that of unpacking
			sorted := strings.Split(lines, "\n")
			slices.Sort(sorted[1:])
			found[name] = fmt.Sprint(len(sorted), strings.Fields(lines)[0])
			for _, word := range slices.Sorted(slices.Values(strings.Fields(lines))) {
				found[name] += " " + word
			}
		}
		return found
	}
	compareFiles(t, "unpacked", triggers(ours), triggers(theirs))

	for _, root := range []string{theirs, ours} {
		dpkgIn(t, root, "--configure", "-a")
	}
	a, b := adminFiles(t, ours), adminFiles(t, theirs)
	delete(a, "triggers/File")
	delete(b, "triggers/File") // compared above: another order
	for _, name := range []string{"triggers/named", "triggers/other"} {
		delete(a, name)
		delete(b, name)
	}
	compareFiles(t, "configured", a, b)

	for _, args := range [][]string{
		{"--audit"}, {"--verify"}, {"--list"}, {"--listfiles", "libalpha"}, {"--listfiles", "libalpha:amd64"}, {"--listfiles", "beta"}, {"--listfiles", "meta"},
		{"--search", "/etc/*"}, {"--search", "/usr/share/x/taken"}, {"--search", "/usr/lib/libalpha.so.1"}, {"--status", "libalpha"},
	} {
		got, want := dpkgIn(t, ours, args...), dpkgIn(t, theirs, args...)
		if sortLines(got) != sortLines(want) {
			t.Errorf("dpkg %q says of ours\n%s\nand of its own\n%s", args, got, want)
		}
	}
	if out := dpkgIn(t, ours, "--audit"); out != "" {
		t.Errorf("dpkg --audit: %s", out)
	}
	if out := dpkgIn(t, ours, "--search", "/usr/share/x/taken"); out != "gamma: /usr/share/x/taken\n" {
		t.Errorf("the file that gamma took over: %s", out)
	}
	out := command(t, "dpkg-query", "--admindir="+filepath.Join(ours, adminDir), "--show",
		"--showformat=${binary:Package} ${Version} ${db:Status-Status}\n${Conffiles}\n", "beta")
	want := fmt.Sprintf("beta 2.0 installed\n /etc/beta.conf %x\n /etc/default/beta %x\n", md5.Sum([]byte("beta\n")), md5.Sum([]byte("more\n")))
	if out != want {
		t.Errorf("dpkg-query --show: %q, want %q", out, want)
	}
}

// sortLines returns text with its lines sorted: dpkg lists in the order of its hash tables.
func sortLines(text string) string {
	return strings.Join(slices.Sorted(strings.Lines(text)), "")
}

func compareFiles(t *testing.T, when string, got, want map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s: %s is\n%s\nand dpkg's is\n%s", when, name, got[name], want[name])
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: dpkg has no %s; we have %s", when, name, got[name])
		}
	}
}

// TestDatabaseModifiedConffile makes sure that dpkg knows the configuration files as
// the packages ship them, so that it asks before it overwrites a changed one.
func TestDatabaseModifiedConffile(t *testing.T) {
	st, _ := newStore(t)
	const control = "Package: beta\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: a program\n"
	conffiles := map[string]string{"etc/beta.conf": "one\n", "DEBIAN/conffiles": "/etc/beta.conf\n"}
	root := databaseRoot(t, st, []*Installed{unpackInstalled(t, st, buildPackage(t, control+"Version: 1\n", conffiles))})
	dpkgIn(t, root, "--configure", "-a")
	path := filepath.Join(root, "etc/beta.conf")
	if err := os.WriteFile(path, []byte("local change\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	conffiles["etc/beta.conf"] = "two\n"
	dpkgIn(t, root, "--force-confdef", "--force-confold", "--install", buildPackage(t, control+"Version: 2\n", conffiles))
	for name, want := range map[string]string{path: "local change\n", path + ".dpkg-dist": "two\n"} {
		if data, err := os.ReadFile(name); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v; want %q", name, data, err, want)
		}
	}
}

func TestDatabaseErrors(t *testing.T) {
	st, _ := newStore(t)
	const control = "Package: beta\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: a program\n"
	p := unpackInstalled(t, st, buildPackage(t, control, map[string]string{"etc/x/": ""}))
	for _, test := range []struct{ conffiles, want string }{
		{"/etc/none\n", "package beta: conffiles names /etc/none, which the package does not ship as a file"},
		{"/etc/x\n", "package beta: conffiles names /etc/x, which the package does not ship as a file"},
		{"keep /etc/x\n", `package beta: conffiles has an unknown flag "keep"`},
	} {
		p.Control["conffiles"] = []byte(test.conffiles)
		if _, err := Database("amd64", []*Installed{p}, contentOf(st)); err == nil || err.Error() != test.want {
			t.Errorf("conffiles %q: %v; want %s", test.conffiles, err, test.want)
		}
	}
	p.Control["conffiles"] = nil
	for _, name := range []string{"../../../../etc/x", "a/b", "File", "Lock", "Unincorp", "."} {
		p.Control["triggers"] = []byte("activate " + name + "\ninterest " + name + "\n")
		want := fmt.Sprintf("package beta: triggers has %q, which is no name of a trigger", name)
		if _, err := Database("amd64", []*Installed{p}, contentOf(st)); err == nil || err.Error() != want {
			t.Errorf("trigger %q: %v; want %s", name, err, want)
		}
	}
	for _, test := range []struct{ control, want string }{
		{"", "control file: it has no stanza"},
		{control + "\n" + control, "control file: it has 2 stanzas, and a package has one"},
		{"Package: ../x\nVersion: 1\nArchitecture: all\n", `control file: "../x" is not a package name`},
		{"Version: 1\nArchitecture: all\n", `control file: "" is not a package name`},
		{"Package: x\nVersion: 1\n", `control file: "" is not an architecture`},
		{"Package: x\nVersion: 1\nArchitecture: a/b\n", `control file: "a/b" is not an architecture`},
		{"Package x\n", `control file: line 1: expected a field, "Name: value", found "Package x"`},
	} {
		err := (&Installed{Control: map[string][]byte{"control": []byte(test.control)}}).Parse()
		if err == nil || err.Error() != test.want {
			t.Errorf("control %q: %v; want %s", test.control, err, test.want)
		}
	}
}

func TestReplaces(t *testing.T) {
	parse := func(control string) *Installed {
		p := &Installed{Control: map[string][]byte{"control": []byte("Architecture: all\n" + control)}}
		if err := p.Parse(); err != nil {
			t.Fatal(err)
		}
		return p
	}
	other := parse("Package: other\nVersion: 1:2.0\nProvides: virtual\n")
	for field, want := range map[string]bool{
		"": false, "other": true, "x, other (<< 1:2.1)": true, "other (<< 1:2.0)": false, "other (= 1:2.0)": true,
		"virtual": false, // dpkg replaces files of real packages only
	} {
		if got, err := parse("Package: p\nVersion: 1\nReplaces: " + field + "\n").Replaces(other); got != want || err != nil {
			t.Errorf("Replaces: %s: %v, %v", field, got, err)
		}
	}
	_, err := parse("Package: p\nVersion: 1\nReplaces: a | b\n").Replaces(other)
	if want := `package p, Replaces: "a | b": alternatives are not allowed here`; err == nil || err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
}

func TestExtendedStates(t *testing.T) {
	st, _ := newStore(t)
	var packages []*Installed
	for _, path := range databasePackages(t) {
		packages = append(packages, unpackInstalled(t, st, path))
	}
	packages[0].Auto, packages[2].Auto = true, true
	root := databaseRoot(t, st, packages)
	dpkgIn(t, root, "--configure", "-a")
	f := ExtendedStates(packages)
	path := filepath.Join(root, f.Path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, f.Content, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("apt-mark"); err != nil {
		t.Skip("no apt on this host: it is what reads the file")
	}
	mark := func(which string) string {
		for _, dir := range []string{"sources.list.d", "preferences.d", "apt.conf.d"} {
			if err := os.MkdirAll(filepath.Join(root, "etc/apt", dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(root, "etc/apt/sources.list"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		return command(t, "apt-mark", "-o", "Dir="+root, "-o", "Dir::State::status="+filepath.Join(root, adminDir, "status"),
			"-o", "APT::Architecture=amd64", which)
	}
	if auto, manual := mark("showauto"), mark("showmanual"); auto != "gamma\nlibalpha\n" || manual != "beta\nmeta\n" {
		t.Errorf("automatic:\n%s\nby hand:\n%s", auto, manual)
	}
}
