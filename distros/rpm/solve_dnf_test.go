package rpm_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/distros/rpm"
	"github.com/imagefactory/imagefactory/distros/rpm/repodata"
)

// realdata is metadata of real distributions, outside of the repository.
const realdata = "../../../shared/realdata"

// A realRepository is a repository of CentOS Stream 9 as it was at some time.
type realRepository struct {
	name               string
	primary, filelists string // below realdata
}

var (
	baseOS = realRepository{"baseos",
		"images-cs9-baseos-2022/repodata/130494033cb9bffa40828ebc814d016920d9ce5d60041467af283ffcf38adef0-primary.xml.gz",
		"images-cs9-baseos-2022/repodata/7b99933643e8bff43d3d82180e7d678fac89b6a1b9b8f5f88ea93a5c3b9b5dbd-filelists.xml.gz"}
	appStream = realRepository{"appstream",
		"osbuild-cs9/appstream/repodata/c03bb2ebc33bbee3046da091b45d90717273a43d3641a9d84e6eede05637bc8a-primary.xml.gz",
		"osbuild-cs9/appstream/repodata/45124768eff5c16dea32a9f2edbe69bd858f4f9e4dde8f5c9615dd32101b7ef8-filelists.xml.gz"}
)

func openReal(t testing.TB, name string) io.Reader {
	t.Helper()
	if _, err := os.Stat(realdata); err != nil {
		t.Skipf("no real metadata in %s", realdata)
	}
	compressed, err := os.ReadFile(filepath.Join(realdata, name))
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// loadReal reads the packages of repositories, with the files that any of them requires or
// items ask for.
func loadReal(t testing.TB, priorities map[string]int, items []rpm.Item, repositories ...realRepository) []*rpm.Package {
	t.Helper()
	var all []*rpm.Package
	var primaries []*repodata.Primary
	for _, r := range repositories {
		primary, err := repodata.ParsePrimary(openReal(t, r.primary), r.name, "x86_64")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range primary.Packages {
			p.Priority = priorities[r.name]
		}
		primaries = append(primaries, primary)
		all = append(all, primary.Packages...)
	}
	universe, err := rpm.NewUniverse("x86_64", all)
	if err != nil {
		t.Fatal(err)
	}
	wanted := make(map[string]bool)
	for _, path := range universe.UnresolvedPaths(items...) {
		wanted[path] = true
	}
	for i, r := range repositories {
		if err := primaries[i].AddFiles(openReal(t, r.filelists), wanted); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// A packageSet is one request that dnf and we have to answer alike.
type packageSet struct {
	Install []string `json:"install"`
	Exclude []string `json:"exclude"`
	Weak    bool     `json:"weak"`
}

func (s packageSet) String() string {
	text := strings.Join(s.Install, " ")
	for _, e := range s.Exclude {
		text += " -" + e
	}
	if s.Weak {
		text += " with weak dependencies"
	}
	return text
}

func (s packageSet) request() rpm.Request {
	r := rpm.Request{WeakDeps: s.Weak}
	for _, spec := range s.Install {
		r.Install = append(r.Install, rpm.Item{Spec: spec})
	}
	for _, spec := range s.Exclude {
		r.Exclude = append(r.Exclude, rpm.Item{Spec: spec, Optional: true})
	}
	return r
}

// A dnfAnswer is what dnf says to one packageSet.
type dnfAnswer struct {
	Packages []string
	Error    string
	Seconds  float64
}

// A dnf answers package sets from real repositories.
type dnf struct {
	root          string
	repositories  []map[string]any
	architectures []string // of packages that are not excluded
}

// newDnf makes repositories that dnf can read, in a directory that ends with the test.
func newDnf(t testing.TB, priorities map[string]int, repositories ...realRepository) *dnf {
	t.Helper()
	d := &dnf{root: t.TempDir(), architectures: []string{"x86_64", "noarch"}}
	for _, r := range repositories {
		dir := filepath.Join(d.root, r.name, "repodata")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		repomd := `<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>`
		for kind, name := range map[string]string{"primary": r.primary, "filelists": r.filelists} {
			p, err := os.ReadFile(filepath.Join(realdata, name))
			if err != nil {
				t.Skipf("no real metadata: %v", err)
			}
			if err := os.WriteFile(filepath.Join(dir, kind+".xml.gz"), p, 0o644); err != nil {
				t.Fatal(err)
			}
			repomd += fmt.Sprintf(`<data type="%s"><checksum type="sha256">%x</checksum><location href="repodata/%s.xml.gz"/></data>`,
				kind, sha256.Sum256(p), kind)
		}
		if err := os.WriteFile(filepath.Join(dir, "repomd.xml"), []byte(repomd+`</repomd>`), 0o644); err != nil {
			t.Fatal(err)
		}
		d.repositories = append(d.repositories, map[string]any{"name": r.name, "url": "file://" + filepath.Join(d.root, r.name), "priority": priorities[r.name]})
	}
	return d
}

// solve asks dnf for all sets, in one process. It calls answer as the answers come and
// returns the seconds it took dnf to load the repositories.
func (d *dnf) solve(t testing.TB, sets []packageSet, answer func(i int, a dnfAnswer)) (load float64) {
	t.Helper()
	const python = "/usr/bin/python3" // which Debian's python3-dnf is for
	if err := exec.Command(python, "-c", "import dnf").Run(); err != nil {
		t.Fatalf("dnf's Python module is missing; install python3-dnf (%v)", err)
	}
	input, err := json.Marshal(map[string]any{"root": d.root, "repositories": d.repositories, "architectures": d.architectures, "sets": sets})
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(python, "testdata/solve_with_dnf.py")
	command.Stdin = bytes.NewReader(input)
	command.Env = append(os.Environ(), "HOME="+d.root, "LC_ALL=C.UTF-8")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<24)
	n := -1
	for ; lines.Scan(); n++ {
		if n < 0 {
			var first struct{ Load float64 }
			err = json.Unmarshal(lines.Bytes(), &first)
			load = first.Load
		} else {
			var a dnfAnswer
			err = json.Unmarshal(lines.Bytes(), &a)
			answer(n, a)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(lines.Err(), command.Wait()); err != nil || n != len(sets) {
		t.Fatalf("dnf answered %d of %d sets: %v\n%s", n, len(sets), err, &stderr)
	}
	return load
}

// compareWithDnf solves sets and compares the answers.
func compareWithDnf(t *testing.T, priorities map[string]int, sets []packageSet, repositories ...realRepository) {
	t.Helper()
	var items []rpm.Item
	for _, set := range sets {
		items = append(items, set.request().Install...)
	}
	universe, err := rpm.NewUniverse("x86_64", loadReal(t, priorities, items, repositories...))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sets {
		sets[i].Install = slices.Sorted(slices.Values(sets[i].Install)) // our answer is that for this order
	}
	d := newDnf(t, priorities, repositories...)
	agreed, unsolvable := 0, 0
	var ours, theirs float64
	d.solve(t, sets, func(i int, a dnfAnswer) {
		start := time.Now()
		packages, err := universe.Solve(sets[i].request())
		ours += time.Since(start).Seconds()
		theirs += a.Seconds
		var unsatisfiable *rpm.UnsatisfiableError
		if err != nil && !errors.As(err, &unsatisfiable) {
			t.Fatalf("%v: %v", sets[i], err)
		}
		switch {
		case err != nil && a.Error != "":
			unsolvable++
		case err != nil:
			t.Errorf("%v: dnf finds %d packages, we: %v", sets[i], len(a.Packages), err)
			return
		case a.Error != "":
			t.Errorf("%v: we find %d packages, dnf: %s", sets[i], len(packages), a.Error)
			return
		}
		names := nevras(packages)
		if !slices.Equal(names, a.Packages) {
			t.Errorf("%v: %s", sets[i], difference(names, a.Packages))
			return
		}
		agreed++
	})
	t.Logf("%d sets: %d as dnf has them, %d of these have no solution; %.2f s, dnf %.2f s", len(sets), agreed, unsolvable, ours, theirs)
}

// nevras returns the names of packages, sorted.
func nevras(packages []*rpm.Package) []string {
	var names []string
	for _, p := range packages {
		names = append(names, p.String())
	}
	slices.Sort(names)
	return names
}

// difference lists the packages that only one answer has.
func difference(ours, dnfs []string) string {
	only := func(a, b []string) []string {
		return slices.DeleteFunc(slices.Clone(a), func(line string) bool { return slices.Contains(b, line) })
	}
	return fmt.Sprintf("only we: %q; only dnf: %q", only(ours, dnfs), only(dnfs, ours))
}

// randomSets returns sets of packages of the repositories, the same for each seed.
func randomSets(t testing.TB, n int, seed int64, most int, repositories ...realRepository) []packageSet {
	var names []string
	for _, p := range loadReal(t, nil, nil, repositories...) {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	random := rand.New(rand.NewSource(seed))
	var sets []packageSet
	for range n {
		set := packageSet{Weak: random.Intn(3) == 0}
		for range 1 + random.Intn(most) {
			set.Install = append(set.Install, names[random.Intn(len(names))])
		}
		slices.Sort(set.Install)
		set.Install = slices.Compact(set.Install)
		sets = append(sets, set)
	}
	return sets
}

// curatedSets are what people install.
var curatedSets = []packageSet{
	{Install: []string{"bash"}},
	{Install: []string{"kernel", "vim-minimal", "tmux", "zsh"}},
	{Install: []string{"kernel", "vim-minimal", "tmux", "zsh"}, Weak: true},
	{Install: []string{"systemd", "openssh-server", "chrony", "iproute", "iptables-nft", "conntrack-tools", "ethtool", "socat", "tar"}},
	{Install: []string{"containerd"}},
	{Install: []string{"podman", "buildah", "skopeo", "runc"}},
	{Install: []string{"podman", "buildah", "skopeo"}, Weak: true},
	{Install: []string{"dnf", "rpm"}},
	{Install: []string{"dnf", "rpm"}, Weak: true},
	{Install: []string{"NetworkManager", "cloud-init", "rsyslog", "passwd"}},
	{Install: []string{"grub2-pc", "grub2-efi-x64", "shim-x64", "dracut", "kernel-core"}},
	{Install: []string{"httpd", "mod_ssl", "php"}},
	{Install: []string{"/usr/bin/vi"}},
	{Install: []string{"/usr/sbin/httpd", "webserver"}},
	{Install: []string{"libc.so.6()(64bit)"}},
	{Install: []string{"python3 >= 3.9", "glibc-langpack-en"}},
	{Install: []string{"vim*"}},
	{Install: []string{"glibc-langpack-d*"}, Exclude: []string{"glibc-langpack-doi"}},
	{Install: []string{"gcc", "make", "glibc-devel"}},
	{Install: []string{"smtpdaemon", "bash.x86_64"}},
	{Install: []string{"vim-minimal", "tzdata"}, Exclude: []string{"bash"}},
	{Install: []string{"no-such-package-anywhere"}},
	{Install: []string{"bash-5.1.8-2.el9", "zsh-5.8-9.el9.x86_64", "tmux-3.2a"}},
	{Install: []string{"bash-0:5.1.8-2.el9", "openssl-libs-1:3.0.1-5.el9.x86_64"}},
	{Install: []string{"bash-1:5.1.8-2.el9"}},
	{Install: []string{"podman-5.2*"}},
	{Install: []string{"podman-*-1.el9"}},
	{Install: []string{"bash.*", "tzdata.noarch"}},
	{Install: []string{"tzdata.x86_64"}},
	{Install: []string{"py?hon3", "[bz]ash"}},
	{Install: []string{"rtld(GNU_HASH)", "libssl.so.3(*"}},
	{Install: []string{"/usr/lib/systemd/systemd", "/etc/passwd"}},
	{Install: []string{"kernel-core", "kernel-modules-5.14.0-55.el9"}},
	{Install: []string{"bash >= 5", "coreutils < 9", "glibc = 2.34"}},
	{Install: []string{"bash > 5.1.8-2.el9"}},
	{Install: []string{"podman"}, Exclude: []string{"podman-5.3*", "crun"}},
	{Install: []string{"podman"}, Exclude: []string{"conmon"}},
	{Install: []string{"glibc"}, Exclude: []string{"glibc-langpack-*", "glibc-minimal-langpack"}},
}

func TestSolveLikeDnf(t *testing.T) {
	same := map[string]int{"baseos": 99, "appstream": 99}
	if os.Getenv("IMAGEFACTORY_TEST") != "full" {
		compareWithDnf(t, same, slices.Clone(curatedSets[:12]), baseOS, appStream)
		return
	}
	sets := slices.Concat(curatedSets, randomSets(t, 150, 1, 3, baseOS, appStream), randomSets(t, 50, 2, 8, baseOS, appStream))
	compareWithDnf(t, same, sets, baseOS, appStream)
	compareWithDnf(t, same, randomSets(t, 100, 3, 40, baseOS), baseOS)
	// Repositories of different priorities, and in the other order.
	sets = slices.Concat(curatedSets, randomSets(t, 60, 4, 2, baseOS, appStream))
	compareWithDnf(t, map[string]int{"baseos": 10, "appstream": 99}, sets, baseOS, appStream)
	compareWithDnf(t, map[string]int{"baseos": 99, "appstream": 10}, sets, appStream, baseOS)
}

// TestSolveRecorded compares with what another project recorded from dnf on a machine of
// CentOS Stream 9.
func TestSolveRecorded(t *testing.T) {
	universe, err := rpm.NewUniverse("x86_64", loadReal(t, nil, nil, baseOS))
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := os.ReadFile(realdata + "/images-cs9-baseos-2022/expected-kernel_vim-minimal_tmux_zsh-weak.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"bash-5.1.8-2.el9.x86_64"} // which the recorded list has elsewhere
	for line := range strings.Lines(string(recorded)) {
		var p rpm.Package
		if _, err := fmt.Sscanf(line, "Name: %q, Epoch: %d, Version: %q, Release: %q, Arch: %q", &p.Name, &p.EVR.Epoch, &p.EVR.Version, &p.EVR.Release, &p.Arch); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		want = append(want, p.String())
	}
	slices.Sort(want)
	set := packageSet{Install: []string{"kernel", "vim-minimal", "tmux", "zsh"}, Weak: true}
	packages, err := universe.Solve(set.request())
	if err != nil {
		t.Fatal(err)
	}
	names := nevras(packages)
	want = slices.Compact(want)
	if !slices.Equal(names, want) {
		t.Errorf("%v: %s", set, difference(names, want))
	}
}

// TestSolveWithoutMultilib shows the one difference from what dnf does by default: dnf
// also knows the packages for 32 bits of a 64-bit repository, and takes them where
// nothing else satisfies a request.
func TestSolveWithoutMultilib(t *testing.T) {
	if os.Getenv("IMAGEFACTORY_TEST") != "full" {
		t.Skip("set IMAGEFACTORY_TEST=full to compare with dnf and its packages for 32 bits")
	}
	priorities := map[string]int{"baseos": 99, "appstream": 99}
	universe, err := rpm.NewUniverse("x86_64", loadReal(t, priorities, nil, baseOS, appStream))
	if err != nil {
		t.Fatal(err)
	}
	d := newDnf(t, priorities, baseOS, appStream)
	d.architectures = append(d.architectures, "i686")
	sets := slices.Concat(curatedSets[:9], []packageSet{{Install: []string{"glibc.i686"}}, {Install: []string{"libc.so.6"}}})
	for i := range sets {
		sets[i].Install = slices.Sorted(slices.Values(sets[i].Install))
	}
	d.solve(t, sets, func(i int, a dnfAnswer) {
		packages, err := universe.Solve(sets[i].request())
		if i >= 9 {
			if err == nil || a.Error != "" {
				t.Errorf("%v: we find %d packages, dnf %q", sets[i], len(packages), a.Error)
			}
			return
		}
		names := nevras(packages)
		if !slices.Equal(names, a.Packages) {
			t.Errorf("%v: %s", sets[i], difference(names, a.Packages))
		}
	})
}

// containerHost is what BenchmarkSolve solves.
var containerHost = packageSet{Install: []string{"NetworkManager", "chrony", "conntrack-tools", "ethtool", "kernel", "openssh-server", "podman", "rsyslog",
	"socat", "systemd", "vim-minimal"}}

// BenchmarkSolve solves a container host from the packages of BaseOS and AppStream, building the
// universe included, and reports how long dnf takes with what it has loaded already, and
// how long for loading.
func BenchmarkSolve(b *testing.B) {
	priorities := map[string]int{"baseos": 99, "appstream": 99}
	packages := loadReal(b, priorities, nil, baseOS, appStream)
	load, solve := timeDnf(b, priorities)
	b.ReportAllocs()
	for b.Loop() {
		universe, err := rpm.NewUniverse("x86_64", packages)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := universe.Solve(containerHost.request()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(solve*1000, "dnf-solve-ms")
	b.ReportMetric((load+solve)/(b.Elapsed().Seconds()/float64(b.N)), "dnf/ours")
}

// BenchmarkSolveFromMetadata is BenchmarkSolve with reading the compressed metadata, as
// for dnf without a cache.
func BenchmarkSolveFromMetadata(b *testing.B) {
	priorities := map[string]int{"baseos": 99, "appstream": 99}
	load, solve := timeDnf(b, priorities)
	b.ReportAllocs()
	for b.Loop() {
		universe, err := rpm.NewUniverse("x86_64", loadReal(b, priorities, nil, baseOS, appStream))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := universe.Solve(containerHost.request()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((load+solve)*1000, "dnf-ms")
	b.ReportMetric((load+solve)/(b.Elapsed().Seconds()/float64(b.N)), "dnf/ours")
}

// timeDnf returns the seconds that dnf takes to load the metadata and then to solve.
func timeDnf(b *testing.B, priorities map[string]int) (load, solve float64) {
	b.Helper()
	load = newDnf(b, priorities, baseOS, appStream).solve(b, []packageSet{containerHost}, func(_ int, a dnfAnswer) {
		if solve = a.Seconds; a.Error != "" {
			b.Fatal(a.Error)
		}
	})
	return load, solve
}
