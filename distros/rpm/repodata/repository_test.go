package repodata

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/distros/rpm"
	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages/store"
)

// realdata is where real foreign metadata lies, which is no part of the project.
const realdata = "../../../../shared/realdata"

// realPath returns the absolute path of a file or directory of realdata, or skips the
// test.
func realPath(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(realdata, name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not here: it holds the metadata this test reads", realdata)
	}
	return path
}

// tool returns the path of a program.
func tool(t testing.TB, program, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("this test needs %s: install the package %s", program, pkg)
	}
	return path
}

// run runs a program in a directory, with a home of its own, and returns what it prints.
func run(t testing.TB, dir, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "LC_ALL=C.UTF-8")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String()
}

// testSpec makes packages with everything that metadata describes.
const testSpec = `
Name: sample
Epoch: 2
Version: 1.0~rc1
Release: 1^git3%{?dist}
Summary: A <sample> & more
License: MIT
Requires: sample-libs%{?_isa} = %{epoch}:%{version}-%{release}
Provides: sample(feature)(64bit)
Requires(pre): /usr/sbin/useradd
Requires(post): coreutils >= 8
Requires: (other >= 1 if (that or those < 2))
Conflicts: ancient < 1:2-3
Obsoletes: forerunner <= 4
Recommends: (nice and friendly)
Suggests: maybe
Supplements: (machine unless none)
Enhances: something > 7
%description
Text of the package.

%package libs
Summary: Libraries
Provides: libsample = 3
%description libs
Libraries

%package data
Summary: Data
BuildArch: noarch
Group: Other
%description data
Data

%prep
%build
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/etc/sample.d %{buildroot}/usr/share/sample/"a b" %{buildroot}/opt
touch %{buildroot}/usr/bin/sample %{buildroot}/etc/sample.d/one.conf %{buildroot}/usr/share/sample/"a b"/"c&d" %{buildroot}/opt/libsample

%pre
true
%files
/usr/bin/sample
%config /etc/sample.d/one.conf
%dir /etc/sample.d
%ghost /var/log/sample
%files libs
/opt/libsample
%files data
/usr/share/sample
`

var buildOnce struct {
	sync.Once
	dir string
}

// TestMain removes what tests share.
func TestMain(m *testing.M) {
	status := m.Run()
	if buildOnce.dir != "" {
		os.RemoveAll(buildOnce.dir)
	}
	os.Exit(status)
}

// builtPackages returns a directory with the packages of testSpec, made once.
func builtPackages(t testing.TB) string {
	t.Helper()
	tool(t, "rpmbuild", "rpm")
	buildOnce.Do(func() {
		dir, err := os.MkdirTemp("", "repodata-test-")
		if err != nil {
			t.Fatal(err)
		}
		buildOnce.dir = dir
		spec := filepath.Join(dir, "sample.spec")
		if err := os.WriteFile(spec, []byte(testSpec), 0o644); err != nil {
			t.Fatal(err)
		}
		run(t, dir, "rpmbuild", "-bb", "--quiet", "--target", "x86_64", "--define", "_topdir "+dir, "--define", "debug_package %{nil}",
			"--define", "_build_id_links none", "--define", "source_date_epoch_from_changelog 0", spec)
	})
	packages := filepath.Join(buildOnce.dir, "RPMS")
	if _, err := os.Stat(packages); err != nil {
		t.Fatal("rpmbuild failed in an earlier test")
	}
	return packages
}

// copyPackages copies the built packages into a new directory, below sub.
func copyPackages(t testing.TB, sub string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, sub), os.DirFS(builtPackages(t))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// createrepo makes repository metadata in a directory.
func createrepo(t testing.TB, dir string, args ...string) {
	t.Helper()
	tool(t, "createrepo_c", "createrepo-c")
	run(t, t.TempDir(), "createrepo_c", append(append([]string{"--quiet"}, args...), dir)...)
}

func newClient(t testing.TB) *fetch.Client {
	t.Helper()
	c, err := fetch.New(fetch.Options{Dir: t.TempDir(), Attempts: 2, Backoff: time.Millisecond, Stall: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// load finds and loads a repository.
func load(t testing.TB, client *fetch.Client, config Config) *Repository {
	t.Helper()
	r, err := Find(t.Context(), client, config)
	if err == nil {
		err = r.Load(t.Context(), client)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// unverified is the configuration of a repository that nobody signs.
func unverified(urls ...string) Config {
	return Config{Name: "test", URLs: urls, Unverified: true, Priority: 99}
}

// describe writes down all that is known of packages.
func describe(packages []*rpm.Package, files bool) string {
	var lines []string
	for _, p := range packages {
		q := *p
		q.Location, _ = url.PathUnescape(q.Location)
		slices.Sort(q.Files)
		if !files {
			q.Files = nil
		}
		lines = append(lines, fmt.Sprintf("%+v\n", q))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// dnfQuery asks the real dnf what a repository holds.
func dnfQuery(t testing.TB, base string, args ...string) []string {
	t.Helper()
	tool(t, "dnf", "dnf")
	home := t.TempDir()
	out := run(t, home, "dnf", append([]string{"--quiet", "repoquery", "--repofrompath=test," + base, "--repo=test", "--nogpgcheck",
		"--setopt=reposdir=" + home, "--setopt=cachedir=" + home + "/cache", "--setopt=persistdir=" + home + "/persist", "--setopt=logdir=" + home,
		"--installroot=" + home + "/root", "--releasever=9", "--forcearch=x86_64", "--setopt=module_platform_id=platform:el9"}, args...)...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines)
	return lines
}

// Whatever compression and digests createrepo_c uses, the packages are those that
// dnf sees.
func TestLoadCreaterepo(t *testing.T) {
	client := newClient(t)
	var first string
	for name, args := range map[string][]string{
		"gz":            {"--general-compress-type=gz"},
		"xz":            {"--general-compress-type=xz"},
		"zstd":          {"--general-compress-type=zstd"},
		"bz2":           {"--general-compress-type=bz2"},
		"sha512":        {"--repomd-checksum=sha512"},
		"sha1":          {"--repomd-checksum=sha1"},
		"no databases":  {"--no-database"},
		"simple names":  {"--simple-md-filenames"},
		"all the files": {"--filelists-ext"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyPackages(t, "Packages/s")
			if name == "all the files" && !strings.Contains(run(t, dir, "createrepo_c", "--help"), "--filelists-ext") {
				t.Skip("this createrepo_c is too old for --filelists-ext")
			}
			if name == "zstd" && !strings.Contains(run(t, dir, "createrepo_c", "--help"), "zstd") {
				t.Skip("this createrepo_c is too old for zstd")
			}
			createrepo(t, dir, args...)
			r := load(t, client, unverified("file://"+dir))
			got := describe(r.Packages, true)
			if first == "" {
				first = got
			} else if got != first {
				t.Errorf("other packages:\n%s\nthan\n%s", got, first)
			}
			repomd, err := os.ReadFile(dir + "/repodata/repomd.xml")
			if err != nil {
				t.Fatal(err)
			}
			if r.Digest != store.Sum(repomd) || r.URL != "file://"+dir || r.Comps != nil || r.Modules != nil {
				t.Errorf("repository %+v", r)
			}
			if age := time.Now().Unix() - r.Date; age < 0 || age > 3600 {
				t.Errorf("it was made on %s", dateText(r.Date))
			}
			for _, f := range r.Files {
				p, err := os.ReadFile(filepath.Join(dir, f.Path))
				if err != nil || f.Digest != store.Sum(p) || f.Size != int64(len(p)) {
					t.Errorf("file %+v: %v", f, err)
				}
			}
			if err := r.LoadFiles(t.Context(), client, map[string]bool{"/usr/share/sample/a b/c&d": true, "/usr/bin/sample": true, "/none": true}); err != nil {
				t.Fatal(err)
			}
			for _, p := range r.Packages {
				want := map[string][]string{
					"sample":      {"/etc/sample.d", "/etc/sample.d/one.conf", "/usr/bin/sample"},
					"sample-libs": nil,
					"sample-data": {"/usr/share/sample/a b/c&d"},
				}[p.Name]
				if slices.Sort(p.Files); !slices.Equal(p.Files, want) {
					t.Errorf("files of %s: %q", p.Name, p.Files)
				}
			}
		})
	}
}

// What a package says is what dnf says of it, byte for byte.
func TestPackagesAsDNFReadsThem(t *testing.T) {
	dir := copyPackages(t, "Packages")
	createrepo(t, dir)
	packages := load(t, newClient(t), unverified("file://"+dir)).Packages
	var got []string
	for _, p := range packages {
		got = append(got, fmt.Sprintf("%s|%d|%s|%s|%s|%s|%d|%d|%d|%s|%s|%s|%s", p.Name, p.EVR.Epoch, p.EVR.Version, p.EVR.Release, p.Arch, p.Location,
			p.Size, p.InstalledSize, p.BuildTime, p.SourceRPM, p.Summary, p.License, p.Repository))
	}
	slices.Sort(got)
	want := dnfQuery(t, "file://"+dir, "--queryformat=%{name}|%{epoch}|%{version}|%{release}|%{arch}|%{relativepath}|%{downloadsize}|%{installsize}|%{buildtime}|%{sourcerpm}|%{summary}|%{license}|%{repoid}")
	for i, line := range want { // dnf writes times for people
		fields := strings.Split(line, "|")
		built, err := time.Parse("2006-01-02 15:04", fields[8])
		if err != nil {
			t.Fatal(err)
		}
		fields[8] = fmt.Sprint(packages[0].BuildTime)
		if packages[0].BuildTime/60 != built.Unix()/60 {
			t.Errorf("build time %s, dnf says %s", dateText(packages[0].BuildTime), built)
		}
		want[i] = strings.Join(fields, "|")
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\ndnf says\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for option, list := range map[string]func(*rpm.Package) []rpm.Dependency{
		"--provides":    func(p *rpm.Package) []rpm.Dependency { return p.Provides },
		"--requires":    func(p *rpm.Package) []rpm.Dependency { return p.Requires },
		"--conflicts":   func(p *rpm.Package) []rpm.Dependency { return p.Conflicts },
		"--obsoletes":   func(p *rpm.Package) []rpm.Dependency { return p.Obsoletes },
		"--recommends":  func(p *rpm.Package) []rpm.Dependency { return p.Recommends },
		"--suggests":    func(p *rpm.Package) []rpm.Dependency { return p.Suggests },
		"--supplements": func(p *rpm.Package) []rpm.Dependency { return p.Supplements },
		"--enhances":    func(p *rpm.Package) []rpm.Dependency { return p.Enhances },
	} {
		for _, p := range packages {
			var got []string
			for _, d := range list(p) {
				got = append(got, dependencyText(d))
			}
			slices.Sort(got)
			want := slices.DeleteFunc(dnfQuery(t, "file://"+dir, option, p.Name), func(s string) bool { return s == "" })
			if !slices.Equal(got, slices.Compact(want)) {
				t.Errorf("%s of %s: %q, dnf says %q", option, p.Name, got, want)
			}
		}
	}
	for _, p := range packages {
		for _, d := range p.Requires {
			if want := d.Name == "/usr/sbin/useradd" || d.Name == "coreutils" || d.Name == "/bin/sh"; d.Pre != want {
				t.Errorf("%s requires %s: before installation is %v", p, d.Name, d.Pre)
			}
		}
	}
}

// dependencyText writes a dependency as libsolv does.
func dependencyText(d rpm.Dependency) string {
	if d.Sense == 0 {
		return d.Name
	}
	var sign string
	for _, s := range []struct {
		bit  rpm.Sense
		text string
	}{{rpm.Less, "<"}, {rpm.Greater, ">"}, {rpm.Equal, "="}} {
		if d.Sense&s.bit != 0 {
			sign += s.text
		}
	}
	return d.Name + " " + sign + " " + d.EVR.String()
}

// A directory of packages is the repository that createrepo_c would make of it.
func TestScan(t *testing.T) {
	dir := copyPackages(t, "a b/Packages")
	client := newClient(t)
	config := unverified("file://" + strings.ReplaceAll(dir, " ", "%20") + "/a%20b/")
	scanned := load(t, client, config)
	createrepo(t, dir+"/a b")
	made := load(t, client, config)
	if got, want := describe(scanned.Packages, false), describe(made.Packages, false); got != want {
		t.Errorf("scanned:\n%s\ncreaterepo_c:\n%s", got, want)
	}
	var files []string
	for _, p := range scanned.Packages {
		files = append(files, p.Files...)
	}
	slices.Sort(files)
	if want := []string{"/etc/sample.d", "/etc/sample.d/one.conf", "/opt/libsample", "/usr/bin/sample", "/usr/share/sample", "/usr/share/sample/a b",
		"/usr/share/sample/a b/c&d", "/var/log/sample"}; !slices.Equal(files, want) {
		t.Errorf("files %q", files)
	}
	if scanned.Date != scanned.Packages[0].BuildTime || scanned.Digest.IsZero() || scanned.Digest == made.Digest {
		t.Errorf("date %d, digest %s", scanned.Date, scanned.Digest)
	}
	for _, p := range scanned.Packages {
		name, err := client.Get(t.Context(), fetch.Request{URLs: []string{scanned.URL + "/" + p.Location}, Size: p.Size, Digest: p.SHA256})
		if err != nil {
			t.Fatal(err)
		}
		if got := run(t, t.TempDir(), tool(t, "rpm", "rpm"), "-qp", "--qf", "%{name}", name); got != p.Name {
			t.Errorf("%s holds %s", p.Location, got)
		}
	}
	if err := scanned.LoadFiles(t.Context(), client, map[string]bool{"/a": true}); err != nil {
		t.Error(err)
	}
}

func TestScanIsDeterministic(t *testing.T) {
	a, b := copyPackages(t, "x"), copyPackages(t, "x")
	list := func(dir string) *Repository { return load(t, newClient(t), unverified("file://"+dir)) }
	first := list(a)
	if second := list(b); first.Digest != second.Digest {
		t.Errorf("digests %s and %s", first.Digest, second.Digest)
	}
	packages, err := filepath.Glob(b + "/x/*/sample-data*.rpm")
	if err != nil || len(packages) != 1 {
		t.Fatal(packages, err)
	}
	if err := os.Rename(packages[0], b+"/renamed.rpm"); err != nil {
		t.Fatal(err)
	}
	if renamed := list(b); renamed.Digest == first.Digest || renamed.Packages[0].Location != "renamed.rpm" {
		t.Errorf("%s at %s", renamed.Packages[0], renamed.Packages[0].Location)
	}
}

func TestScanErrors(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		name string
		p    []byte
		want string
	}{
		{"none/readme", nil, "/none has neither repodata/repomd.xml nor packages (*.rpm)"},
		{"text/a.rpm", []byte("text"), "package a.rpm: it is not an RPM package"},
		{"short/s/a.rpm", []byte("\xed\xab\xee\xdb\x03\x00"), "package s/a.rpm: it ends in its first 96 bytes"},
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, test.name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, test.name), test.p, 0o644); err != nil {
			t.Fatal(err)
		}
		top, _, _ := strings.Cut(test.name, "/")
		_, err := Find(t.Context(), newClient(t), unverified("file://"+dir+"/"+top))
		if err == nil || !strings.HasPrefix(err.Error(), "repository test: ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %s", test.name, err, test.want)
		}
	}
	_, err := Find(t.Context(), newClient(t), unverified("file://"+dir+"/absent"))
	if want := "repository test: not found: lstat " + dir + "/absent: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// Repositories on an install DVD, each in a directory of its own.
func TestISO(t *testing.T) {
	tool(t, "genisoimage", "genisoimage")
	dir := t.TempDir()
	for _, sub := range []string{"BaseOS", "Extra"} {
		if err := os.CopyFS(filepath.Join(dir, sub, "Packages"), os.DirFS(builtPackages(t))); err != nil {
			t.Fatal(err)
		}
	}
	createrepo(t, dir+"/BaseOS")
	image := filepath.Join(t.TempDir(), "dvd.iso")
	run(t, dir, "genisoimage", "-quiet", "-R", "-o", image, ".")
	client := newClient(t)
	want := describe(load(t, client, unverified("file://"+dir+"/BaseOS")).Packages, false)
	for _, base := range []string{"iso:" + image + "!/BaseOS/", "iso:" + image + "!/Extra"} {
		r := load(t, client, unverified(base))
		if got := describe(r.Packages, false); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", base, got, want)
		}
		for _, p := range r.Packages {
			if _, err := client.Get(t.Context(), fetch.Request{URLs: []string{r.URL + "/" + p.Location}, Size: p.Size, Digest: p.SHA256}); err != nil {
				t.Error(err)
			}
		}
	}
	// The whole image, where no repository is at the root, is a directory of packages.
	if r := load(t, client, unverified("iso:"+image)); len(r.Packages) != 3 || r.URL != "iso:"+image+"!" || !strings.HasPrefix(r.Packages[0].Location, "BaseOS/Packages/") {
		t.Errorf("%d packages at %s, the first at %s", len(r.Packages), r.URL, r.Packages[0].Location)
	}
	_, err := Find(t.Context(), client, unverified("iso:"+image+"!/AppStream"))
	if want := "repository test: not found: " + image + " has no directory AppStream"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestExcludes(t *testing.T) {
	dir := copyPackages(t, "")
	createrepo(t, dir)
	for pattern, want := range map[string]string{
		"":                               "sample sample-data sample-libs",
		"sample":                         "sample-data sample-libs",
		"sample-*":                       "sample",
		"*.noarch":                       "sample sample-libs",
		"sample-1.0~rc1":                 "sample-data sample-libs",
		"sample-1.0~rc1-1^git3":          "sample-data sample-libs",
		"sample-2:1.0~rc1-1^git3.x86_64": "sample-data sample-libs",
		"sample-[!l]*":                   "sample sample-libs",
		"none":                           "sample sample-data sample-libs",
	} {
		config := unverified("file://" + dir)
		if pattern != "" {
			config.Exclude = []string{pattern}
		}
		var got []string
		for _, p := range load(t, newClient(t), config).Packages {
			got = append(got, p.Name)
		}
		if slices.Sort(got); strings.Join(got, " ") != want {
			t.Errorf("without %q: %q, want %s", pattern, got, want)
		}
		if pattern == "" {
			continue
		}
		var fromDNF []string
		for _, line := range dnfQuery(t, "file://"+dir, "--queryformat=%{name}", "--setopt=excludepkgs="+pattern) {
			if line != "" {
				fromDNF = append(fromDNF, line)
			}
		}
		if slices.Sort(fromDNF); strings.Join(fromDNF, " ") != want {
			t.Errorf("dnf without %q: %q, want %s", pattern, fromDNF, want)
		}
	}
	config := unverified("file://" + dir)
	config.Exclude = []string{"a[b"}
	r, err := Find(t.Context(), newClient(t), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Load(t.Context(), newClient(t)); err == nil || err.Error() != `repository test: the exclude "a[b" is not a pattern: a [ is not closed` {
		t.Errorf("error %v", err)
	}
}

func TestArchitectures(t *testing.T) {
	dir := copyPackages(t, "")
	for range 2 { // of a directory, then of a repository
		for arch, want := range map[string]int{"": 3, "x86_64": 3, "aarch64": 1} {
			config := unverified("file://" + dir)
			config.Arch = arch
			if r := load(t, newClient(t), config); len(r.Packages) != want {
				t.Errorf("%s: %d packages, want %d", arch, len(r.Packages), want)
			}
		}
		createrepo(t, dir)
	}
}
