package hosttool

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

	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/sandbox/usertest"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	status := m.Run()
	if tinyDir != "" {
		os.RemoveAll(tinyDir)
	}
	os.Exit(status)
}

// asUser says that a test runs once more, as an ordinary user.
const asUser = "IMAGEFACTORY_TEST_AS_USER"

// TestAsUser runs the tests of tools as a user with subordinate ids.
func TestAsUser(t *testing.T) {
	if os.Getenv(asUser) != "" {
		t.Skip("this is the user")
	}
	usertest.New(t).Run(t, "^(TestDNF|TestApt)", asUser+"=1")
}

// fixture is a cache with a pool and a client.
type fixture struct {
	*testing.T
	cache  *stages.Cache
	pool   *sandbox.Pool
	client *fetch.Client
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{T: t, cache: stagetest.Cache(t)}
	f.pool = stagetest.Pool(t, f.cache)
	var err error
	if f.client, err = fetch.New(fetch.Options{Dir: f.cache.Downloads()}); err != nil {
		t.Fatal(err)
	}
	return f
}

// tinyOptions are those of a target of tiny packages.
func tinyOptions() RPMOptions {
	return RPMOptions{
		Tool: DNF, Arch: "x86_64", Release: "1", Database: "/usr/lib/sysimage/rpm", Backend: "sqlite", Docs: true,
		Session: session.Options{Epoch: stagetest.Epoch},
	}
}

func (f *fixture) resolve(repos []RPMRepository, request RPMRequest, o RPMOptions) ([]Chosen, error) {
	f.Helper()
	chosen, _, err := stagetest.Run(f, f.cache, func(ctx context.Context, run *stages.Run) ([]Chosen, error) {
		return ResolveRPM(ctx, run, f.pool, repos, request, o)
	})
	return chosen, err
}

func (f *fixture) install(list []Source, keys map[string][]byte, o RPMOptions) (*tree.Tree, error) {
	f.Helper()
	root, _, err := stagetest.Run(f, f.cache, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return RunRPM(ctx, run, f.pool, f.client, list, keys, o)
	})
	if err != nil {
		return nil, err
	}
	return stagetest.Load(f, f.cache.Store, root.Tree), nil
}

// names shows chosen packages: dependencies in brackets.
func names(chosen []Chosen) string {
	var list []string
	for _, c := range chosen {
		name := c.Package.String()
		if c.Auto {
			name = "(" + name + ")"
		}
		list = append(list, name)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

const longMember = "tiny-member-with-a-name-that-is-longer-than-any-column-of-dnf-would-be"

func TestDNFResolves(t *testing.T) {
	need(t, "dnf", "dnf")
	f, tiny := newFixture(t), newTiny(t)
	repo := readRepository(t, "tiny", tiny.dir)
	const base = "(tiny-filesystem-1-1.noarch) (tiny-lib-1-1.noarch) (tiny-shell-3:2.5-1.noarch)"
	for _, test := range []struct {
		what    string
		request RPMRequest
		want    string
	}{
		{"dependencies, rich ones too", RPMRequest{Packages: []string{"tiny-tool", "tiny-shell"}}, "(tiny-filesystem-1-1.noarch) (tiny-lib-1-1.noarch) tiny-shell-3:2.5-1.noarch tiny-tool-1-1.noarch"},
		{"weak dependencies", RPMRequest{Packages: []string{"tiny-tool"}, Recommends: true}, "(tiny-extra-1-1.noarch) " + base + " tiny-tool-1-1.noarch"},
		{"excluded", RPMRequest{Packages: []string{"tiny-tool"}, Exclude: []string{"tiny-ext*"}, Recommends: true}, base + " tiny-tool-1-1.noarch"},
		{"a group", RPMRequest{Packages: []string{"@members"}}, longMember + "-1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18-1.noarch"},
	} {
		chosen, err := f.resolve([]RPMRepository{repo}, test.request, tinyOptions())
		if got := names(chosen); err != nil || got != test.want {
			t.Errorf("%s: %s, %v; want %s", test.what, got, err, test.want)
		}
	}
	for what, test := range map[string]struct {
		request RPMRequest
		change  func(*RPMRepository)
		want    string
	}{
		"no such package":     {RPMRequest{Packages: []string{"tiny-nothing"}}, nil, "tiny-nothing"},
		"missing dependency":  {RPMRequest{Packages: []string{"tiny-broken"}}, nil, "nothing provides nothing-has-this"},
		"excluded by request": {RPMRequest{Packages: []string{"tiny-tool"}, Exclude: []string{"tiny-lib"}}, nil, "tiny-lib"},
		"excluded in a repository": {RPMRequest{Packages: []string{"tiny-tool"}}, func(r *RPMRepository) {
			r.Exclude = []string{"tiny-shell"}
		}, "tiny-tool"},
		"no metadata": {RPMRequest{Packages: []string{"tiny-tool"}}, func(r *RPMRepository) { r.Metadata = nil }, "createrepo_c"},
		"not in the metadata": {RPMRequest{Packages: []string{"tiny-tool"}}, func(r *RPMRepository) { r.Packages = nil },
			"whose metadata does not have it"},
	} {
		changed := repo
		if test.change != nil {
			test.change(&changed)
		}
		_, err := f.resolve([]RPMRepository{changed}, test.request, tinyOptions())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want %s", what, err, test.want)
		}
	}
}

func TestDNFModules(t *testing.T) {
	need(t, "dnf", "dnf")
	f, tiny := newFixture(t), newTiny(t)
	repos := []RPMRepository{readRepository(t, "tiny", tiny.dir)}
	o := tinyOptions()
	o.ModulePlatform = "platform:tiny"
	for want, modules := range map[string][]string{"tiny-modular-1-1.noarch": nil, "tiny-modular-2-1.noarch": {"tiny-module:2"}} {
		o.Modules = modules
		chosen, err := f.resolve(repos, RPMRequest{Packages: []string{"tiny-modular"}}, o)
		if got := names(chosen); err != nil || got != want {
			t.Errorf("with %q: %s, %v; want %s", modules, got, err, want)
			continue
		}
		root, err := f.install(sources(chosen, tiny.dir, "tiny"), map[string][]byte{"tiny": tiny.key}, o)
		if err != nil {
			t.Errorf("with %q: %v", modules, err)
			continue
		}
		e, ok := root.Lookup("etc/dnf/modules.d/tiny-module.module")
		if ok != (modules != nil) {
			t.Errorf("with %q: the file of enabled modules is there: %t", modules, ok)
		}
		if ok {
			if got, want := stagetest.Contents(t, f.cache.Store, e), "[tiny-module]\nname=tiny-module\nstream=2\nprofiles=\nstate=enabled\n"; got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
	o.Modules = []string{"tiny-module:3"}
	if _, err := f.resolve(repos, RPMRequest{Packages: []string{"tiny-modular"}}, o); err == nil || !strings.Contains(err.Error(), "tiny-module:3") {
		t.Errorf("a stream that there is not: %v", err)
	}
}

func TestDNFInstalls(t *testing.T) {
	need(t, "dnf", "dnf")
	f, tiny := newFixture(t), newTiny(t)
	repo := readRepository(t, "tiny", tiny.dir)
	o := tinyOptions()
	o.Session.Files = []session.File{
		{Path: "/usr/bin/generate", Content: "#!/bin/sh\necho kept from it\n", Mode: 0o755},
		{Path: "/usr/sbin/nobodys", Content: "#!/bin/sh\n", Mode: 0o755},
	}
	chosen, err := f.resolve([]RPMRepository{repo}, RPMRequest{Packages: []string{"tiny-tool", "@members"}}, o)
	if err != nil {
		t.Fatal(err)
	}
	list, keys := sources(chosen, tiny.dir, "tiny"), map[string][]byte{"tiny": tiny.key}
	root, err := f.install(list, keys, o)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"usr/bin/tool":       "4755 0:0",
		"etc/lib.conf":       "644 977:966",
		"tmp":                "1777 0:0",
		"root":               "700 0:0",
		"dev":                "755 0:0",
		"proc":               "555 0:0",
		"usr/share/doc/tool": "755 0:0",
	} {
		e, ok := root.Lookup(path)
		if got := fmt.Sprintf("%o %d:%d", e.Mode, e.UID, e.GID); !ok || got != want {
			t.Errorf("/%s: %s, want %s", path, got, want)
		}
	}
	tool, _ := root.Lookup("usr/bin/tool")
	if link, ok := root.Lookup("usr/bin/tool-link"); !ok || link.Link == 0 || link.Link != tool.Link {
		t.Errorf("hard link: %+v", link)
	}
	if len(tool.Xattrs) != 1 || tool.Xattrs[0].Name != "security.capability" {
		t.Errorf("capability: %v", tool.Xattrs)
	}
	scripts, _ := root.Lookup("etc/scripts")
	if got, want := stagetest.Contents(t, f.cache.Store, scripts), "lib $1=1 dir=/\ntool after lib: conf\nkept from it\n"; got != want {
		t.Errorf("scripts wrote %q, want %q", got, want)
	}
	generate, _ := root.Lookup("usr/bin/generate")
	if got, want := stagetest.Contents(t, f.cache.Store, generate), "#!/bin/sh\necho generated\n"; got != want || generate.Mode != 0o755 {
		t.Errorf("the package's file is %q, want %q", got, want)
	}
	for _, path := range []string{"usr/sbin", "var/cache", "var/log"} {
		if _, ok := root.Lookup(path); ok {
			t.Errorf("/%s is there, which no package has", path)
		}
	}
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp"} {
		for _, e := range root.Children(dir) {
			t.Errorf("/%s is left", e.Path)
		}
	}
	// The target's database, as rpm of the host sees it.
	db := t.TempDir()
	for _, e := range root.Children("usr/lib/sysimage/rpm") {
		if e.Type == tree.Regular {
			if err := os.WriteFile(filepath.Join(db, e.Name()), []byte(stagetest.Contents(t, f.cache.Store, e)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	rpmdb := func(args ...string) string {
		out, err := exec.Command("rpm", append([]string{"--dbpath", db, "--define", "_db_backend sqlite"}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("rpm %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	installed := strings.Fields(rpmdb("-qa", "--qf", "%{NAME}\n"))
	slices.Sort(installed)
	if want := []string{"gpg-pubkey", "tiny-filesystem", "tiny-lib", longMember, "tiny-shell", "tiny-tool"}; !slices.Equal(installed, want) {
		t.Errorf("installed are %q, want %q", installed, want)
	}
	if out := rpmdb("-q", "--qf", "%{SIGPGP:pgpsig}%{RSAHEADER:pgpsig}", "tiny-tool"); !strings.Contains(out, "RSA/SHA") {
		t.Errorf("signature in the database: %s", out)
	}

	// Documentation and languages.
	o.Docs, o.Languages = false, []string{"de"}
	if root, err = f.install(list, keys, o); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"usr/share/doc/tool/README": false, "usr/share/locale/fr/tool.mo": false, "usr/share/locale/de/tool.mo": true, "etc/tool.conf": true,
	} {
		if _, ok := root.Lookup(path); ok != want {
			t.Errorf("without documentation, in German: /%s is there: %t, want %t", path, ok, want)
		}
	}
}

func TestDNFRefuses(t *testing.T) {
	need(t, "dnf", "dnf")
	f, tiny := newFixture(t), newTiny(t)
	o := tinyOptions()
	chosen, err := f.resolve([]RPMRepository{readRepository(t, "tiny", tiny.dir)}, RPMRequest{Packages: []string{"tiny-tool"}}, o)
	if err != nil {
		t.Fatal(err)
	}
	signed := sources(chosen, tiny.dir, "tiny")
	chosen, err = f.resolve([]RPMRepository{readRepository(t, "tiny", tiny.unsigned)}, RPMRequest{Packages: []string{"tiny-tool"}}, o)
	if err != nil {
		t.Fatal(err)
	}
	unsigned := sources(chosen, tiny.unsigned, "tiny")
	without := func(name string) []Source {
		return slices.DeleteFunc(slices.Clone(signed), func(s Source) bool { return s.Name == name })
	}
	renamed := slices.Clone(signed)
	renamed[0].Version = "9-9"
	keys, other := map[string][]byte{"tiny": tiny.key}, map[string][]byte{"tiny": tiny.otherKey}
	for what, test := range map[string]struct {
		list []Source
		keys map[string][]byte
		want string
	}{
		"not signed":                    {unsigned, keys, "sign"},
		"signed by somebody else":       {signed, other, "key"},
		"no keys":                       {signed, nil, "no keys"},
		"a dependency is missing":       {without("tiny-lib"), keys, "tiny-lib"},
		"the database has another name": {renamed, keys, "is installed and is not locked"},
	} {
		_, err := f.install(test.list, test.keys, o)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want %s", what, err, test.want)
		}
	}
	// Without verification unsigned ones are as good, also beside signed ones.
	for i := range unsigned {
		if i%2 == 0 {
			unsigned[i] = signed[slices.IndexFunc(signed, func(s Source) bool { return s.Name == unsigned[i].Name })]
		} else {
			unsigned[i].Repository = ""
		}
	}
	if _, err := f.install(unsigned, keys, o); err != nil {
		t.Errorf("a repository that is not verified: %v", err)
	}
	o.Backend = "bdb"
	_, err = f.install(signed, keys, o)
	var host *sandbox.HostError
	if !errors.As(err, &host) {
		t.Errorf("another database: %v", err)
	}
}

// rpm's own verification, which comes after ours, refuses as well.
func TestDNFVerifiesItself(t *testing.T) {
	need(t, "dnf", "dnf")
	f, tiny := newFixture(t), newTiny(t)
	dir := t.TempDir()
	shell(t, `cp "$1"/noarch/tiny-filesystem*.rpm "$2"/a.rpm`, tiny.unsigned, dir)
	o := tinyOptions()
	_, _, err := stagetest.Run(t, f.cache, func(ctx context.Context, run *stages.Run) (*tree.Tree, error) {
		h := &host{run: run, pool: f.pool, tool: DNF, dirs: dnfDirs, files: append(o.config(true), file{"key.asc", string(tiny.key)})}
		h.binds = []sandbox.Bind{{Source: dir, Target: packagesDir}}
		target, err := empty(o.Session.Epoch)
		if err != nil {
			return nil, err
		}
		return h.do(ctx, target, o.Session, func(ctx context.Context, tools *tools) error {
			return tools.run(ctx, session.Command{Name: "dnf", Args: append(o.args("dnf"), "--assumeyes", "install", packagesDir+"/a.rpm")})
		})
	})
	if err == nil || !strings.Contains(err.Error(), "is not signed") {
		t.Errorf("dnf with an unsigned package: %v", err)
	}
}

// Modes of the sandbox in which tools cannot work are refused, for root and for users.
func TestDNFModes(t *testing.T) {
	mode := sandbox.Plain
	if os.Geteuid() != 0 {
		mode = sandbox.Single
	}
	cache := stagetest.Cache(t)
	pool, err := sandbox.NewPool(cache.Store, cache.Roots(), sandbox.Options{Mode: mode})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = stagetest.Run(t, cache, func(ctx context.Context, run *stages.Run) (*tree.Tree, error) {
		h := &host{run: run, pool: pool, tool: DNF}
		return h.do(ctx, tree.Empty(tree.Time{}), session.Options{}, func(context.Context, *tools) error { return nil })
	})
	var host *sandbox.HostError
	if !errors.As(err, &host) || host.ExitStatus() != 3 || !strings.Contains(err.Error(), `does not work in the sandbox's mode "`+string(mode)) {
		t.Errorf("%s: %v", mode, err)
	}
}
