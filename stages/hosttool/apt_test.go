package hosttool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// debian returns the packages of Debian 12 at the host's mirror.
func debian(t testing.TB, f *fixture) (deb.RepositoryConfig, *deb.RepositoryIndexes, DebSuite) {
	t.Helper()
	const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	p, err := os.ReadFile(keyring)
	if err != nil {
		t.Fatalf("%v; install the package debian-archive-keyring", err)
	}
	keys, err := deb.ParseKeyring(p)
	if err != nil {
		t.Fatal(err)
	}
	config := deb.RepositoryConfig{
		Name: "debian", Suite: "bookworm", Components: []string{"main"}, Arch: "amd64", Keyring: keys, Now: time.Now(),
	}
	apt, err := deb.ReadAptSources("/")
	if err != nil {
		t.Fatal(err)
	}
	config.URIs = append(deb.AptMirrors(apt, config.Suite, config.Components, config.Arch, []string{keyring}), "http://ftp.debian.org/debian")
	r, err := deb.LoadIndexes(t.Context(), f.client, config)
	if err != nil {
		t.Fatal(err)
	}
	suite := DebSuite{Name: config.Name, Suite: config.Suite, Components: config.Components, Release: r.Release}
	for i, file := range r.Files {
		path, err := f.client.Get(t.Context(), fetch.Request{
			URLs: []string{r.URI + "/dists/" + config.Suite + "/" + file.Path}, Digest: file.Digest, Size: file.Size,
		})
		if err != nil {
			t.Fatal(err)
		}
		suite.Indexes = append(suite.Indexes, DebIndex{Name: file.Path, Path: path, Digest: file.Digest, Size: file.Size})
		suite.Packages = append(suite.Packages, r.Indexes[i].Packages...)
	}
	return config, r, suite
}

func debOptions() DebOptions {
	return DebOptions{
		Arch:  "amd64",
		Links: map[string]string{"/bin": "usr/bin", "/sbin": "usr/sbin", "/lib": "usr/lib", "/lib64": "usr/lib64"},
		Session: session.Options{
			Epoch: stagetest.Epoch,
			Env:   map[string]string{"DEBIAN_FRONTEND": "noninteractive", "DEBCONF_NONINTERACTIVE_SEEN": "true"},
			Files: []session.File{
				{Path: "/usr/sbin/policy-rc.d", Content: "#!/bin/sh\nexit 101\n", Mode: 0o755},
				{Path: "/usr/bin/less", Content: "#!/bin/sh\n", Mode: 0o755},          // of a package that apt installs
				{Path: "/usr/bin/lsblk", Content: "#!/bin/sh\necho x\n", Mode: 0o700}, // of an essential one
			},
		},
	}
}

// TestAptDebian resolves and installs a very small Debian.
func TestAptDebian(t *testing.T) {
	need(t, "apt-get", "apt")
	f := newFixture(t)
	_, r, suite := debian(t, f)
	request := DebRequest{Packages: []string{"less"}, Exclude: []string{"file"}}
	for _, p := range suite.Packages {
		if p.Essential {
			request.Packages = append(request.Packages, p.Name)
		}
	}
	o := debOptions()
	chosen, _, err := stagetest.Run(t, f.cache, func(ctx context.Context, run *stages.Run) ([]ChosenDeb, error) {
		return ResolveDeb(ctx, run, f.pool, []DebSuite{suite}, request, o)
	})
	if err != nil {
		t.Fatal(err)
	}
	// Our own solver finds a set of the same names.
	universe, err := deb.NewUniverse("amd64", nil, r.Indexes...)
	if err != nil {
		t.Fatal(err)
	}
	native := deb.Request{Essential: true}
	for _, name := range request.Packages {
		native.Packages = append(native.Packages, deb.Item{Name: name})
	}
	set, err := universe.Solve(native)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, c := range chosen {
		got = append(got, c.Package.String())
	}
	for _, p := range set {
		want = append(want, p.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("apt chose\n%s\nand the native solver\n%s", got, want)
	}

	var list []Source
	for _, c := range chosen {
		list = append(list, Source{
			Name: c.Name, Version: c.Version, Arch: c.Arch, Digest: c.SHA256, Size: c.Size, Auto: c.Auto,
			URLs: []string{r.URI + "/" + c.Filename},
		})
	}
	root, log, err := stagetest.Run(t, f.cache, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return RunDeb(ctx, run, f.pool, f.client, list, o)
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	result := stagetest.Load(t, f.cache.Store, root.Tree)
	for path, want := range map[string]string{
		"etc/passwd": "644 0:0", "usr/bin/less": "755 0:0", "usr/bin/passwd": "", "dev": "755 0:0",
		"usr/bin/su": "4755 0:0", "var/mail": "2775 0:8", "tmp": "1777 0:0",
	} {
		e, ok := result.Lookup(path)
		if got := fmt.Sprintf("%o %d:%d", e.Mode, e.UID, e.GID); ok != (want != "") || ok && got != want {
			t.Errorf("/%s: %t %s, want %s", path, ok, got, want)
		}
	}
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "imagefactory-packages", "var/log/apt"} {
		for _, e := range result.Children(dir) {
			t.Errorf("/%s is left", e.Path)
		}
	}
	for _, path := range []string{"usr/bin/less", "usr/bin/lsblk"} {
		if e, _ := result.Lookup(path); e.Size < 1000 || e.Mode != 0o755 {
			t.Errorf("/%s is not its package's file", path)
		}
		if _, ok := result.Lookup(path + diverted); ok {
			t.Errorf("/%s%s is left", path, diverted)
		}
	}
	if e, ok := result.Lookup("var/lib/dpkg/diversions"); ok && strings.Contains(stagetest.Contents(t, f.cache.Store, e), diverted) {
		t.Errorf("diversions are left: %s", stagetest.Contents(t, f.cache.Store, e))
	}
	for _, path := range []string{"imagefactory-packages", "usr/sbin/policy-rc.d"} {
		if _, ok := result.Lookup(path); ok {
			t.Errorf("/%s is left", path)
		}
	}
	for name, path := range map[string]string{"status": "var/lib/dpkg/status", "extended_states": "var/lib/apt/extended_states"} {
		e, ok := result.Lookup(path)
		if !ok {
			t.Errorf("there is no /%s", path)
			continue
		}
		text := stagetest.Contents(t, f.cache.Store, e)
		if name == "status" && strings.Count(text, "\nStatus: install ok installed\n") != len(list) {
			t.Errorf("not all packages of %s are installed", path)
		}
		if name == "extended_states" && strings.Contains(text, "Package: less\n") {
			t.Errorf("less counts as automatically installed")
		}
	}

	if os.Getenv(asUser) != "" {
		return
	}
	// Without a package that another needs.
	list = slices.DeleteFunc(list, func(s Source) bool { return s.Name == "libtinfo6" })
	_, _, err = stagetest.Run(t, f.cache, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return RunDeb(ctx, run, f.pool, f.client, list, o)
	})
	if err == nil {
		t.Error("an incomplete lock is installed")
	}
}

func TestAptRefuses(t *testing.T) {
	need(t, "apt-get", "apt")
	f := newFixture(t)
	dir := t.TempDir()
	index := filepath.Join(dir, "Packages")
	text := "Package: a\nVersion: 1\nArchitecture: all\nDepends: b (>= 2)\nFilename: a.deb\nSize: 1\nSHA256: " + strings.Repeat("0", 63) + "1\n\n" +
		"Package: b\nVersion: 1\nArchitecture: all\nFilename: b.deb\nSize: 1\nSHA256: " + strings.Repeat("0", 63) + "2\n\n"
	if err := os.WriteFile(index, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	parsed, err := deb.ParseIndex(strings.NewReader(text), "test")
	if err != nil {
		t.Fatal(err)
	}
	digest, size := digestFile(t, index)
	suite := DebSuite{
		Name: "test", Suite: "x", Components: []string{"main"}, Release: &deb.Release{Date: time.Unix(stagetest.Epoch, 0)},
		Indexes:  []DebIndex{{Name: "main/binary-amd64/Packages", Path: index, Digest: digest, Size: size}},
		Packages: parsed.Packages,
	}
	resolve := func(suite DebSuite, request DebRequest) (string, error) {
		chosen, _, err := stagetest.Run(t, f.cache, func(ctx context.Context, run *stages.Run) ([]ChosenDeb, error) {
			return ResolveDeb(ctx, run, f.pool, []DebSuite{suite}, request, debOptions())
		})
		var list []string
		for _, c := range chosen {
			list = append(list, c.Package.String())
		}
		return strings.Join(list, " "), err
	}
	if got, err := resolve(suite, DebRequest{Packages: []string{"b"}}); err != nil || !strings.Contains(got, "b") {
		t.Errorf("b: %q, %v", got, err)
	}
	unknown := suite
	unknown.Packages = nil
	for what, test := range map[string]struct {
		suite   DebSuite
		request DebRequest
		want    string
	}{
		"a dependency of another version": {suite, DebRequest{Packages: []string{"a"}}, "Depends: b (>= 2)"},
		"no such package":                 {suite, DebRequest{Packages: []string{"c"}}, "Unable to locate package c"},
		"excluded":                        {suite, DebRequest{Packages: []string{"b"}, Exclude: []string{"b"}}, "b"},
		"not in the index":                {unknown, DebRequest{Packages: []string{"b"}}, "which no index has"},
	} {
		if got, err := resolve(test.suite, test.request); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %s, %v; want %s", what, got, err, test.want)
		}
	}
}

// What cannot be installed has a reason.
func TestBootstrapNeedsEssentialPackages(t *testing.T) {
	f := newFixture(t)
	file := stagetest.Package(t, "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: m\nDescription: d\n", map[string]string{"etc/x": "x"})
	p, err := unpackDeb(t.Context(), f.cache.Store, file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bootstrap([]*bootstrapPackage{p}); err == nil || !strings.Contains(err.Error(), "none of the 1 packages is essential") {
		t.Errorf("%v", err)
	}
}

func TestSubtree(t *testing.T) {
	st := stagetest.Cache(t).Store
	a, b := stagetest.File(t, st, "d/a", "x"), stagetest.File(t, st, "d/b", "x")
	a.Link, b.Link = 1, 1
	inner := stagetest.Tree(t, a, b, stagetest.Link("l", "d"), stagetest.Mode(stagetest.Dir("e"), 0o700))
	whole, err := below(stagetest.Tree(t, stagetest.Dir("sysroot"), stagetest.File(t, st, "etc/passwd", "")), inner, "sysroot")
	if err != nil {
		t.Fatal(err)
	}
	if got := stagetest.Text(t, st, whole, "sysroot/d"); !strings.Contains(got, "sysroot/d/b link1") {
		t.Errorf("%s", got)
	}
	back, err := subtree(whole, "sysroot")
	if err != nil || back.Digest() != inner.Digest() {
		t.Errorf("%v: %s\nwant\n%s", err, stagetest.Text(t, st, back), stagetest.Text(t, st, inner))
	}
	if _, err := tree.Decode(back.Encode()); err != nil {
		t.Error(err)
	}
}

// FuzzLookUpDebs reads anything that apt could print: what it accepts is of the index.
func FuzzLookUpDebs(f *testing.F) {
	p := &deb.Package{Name: "base-files", Version: "12.4+deb12u5", Arch: "amd64", SHA256: store.Sum(nil)}
	suites := []DebSuite{{Packages: []*deb.Package{p}}}
	const line = "Inst base-files (12.4+deb12u5 Debian:12.5/stable, Debian-Security:12 [amd64]) []\n"
	const summary = "0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.\n"
	f.Add([]byte("Reading package lists...\n" + summary + line + "Conf base-files (12.4+deb12u5 Debian:12.5/stable [amd64])\n"))
	f.Add([]byte(summary + "Inst base-files [12] (12.4+deb12u5 x [amd64])\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		chosen, err := lookUpDebs(out, suites, DebRequest{})
		if err == nil && (len(chosen) == 0 || chosen[0].Package != p) {
			t.Errorf("%v of %q", chosen, out)
		}
	})
}
