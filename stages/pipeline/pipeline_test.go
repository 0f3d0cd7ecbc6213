package pipeline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/customize"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/stagetest"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

// recipe is the text of a recipe with replacements.
func recipeText(replace ...string) string {
	return strings.NewReplacer(replace...).Replace(`
name    = "node"
version = "1.0"
distro  = "debian-12"
arch    = "x86_64"
rootfs {
  packages = ["linux-image-amd64"]
}
script "one" { inline = "true" }
disk {
  size = "4GiB"
  partition "BIOS" {
    role = "bios"
    size = "1MiB"
  }
  partition "ESP" {
    role          = "esp"
    size          = "64MiB"
    filesystem    = "vfat"
    mount         = "/boot/efi"
    mount_options = "umask=0077"
  }
  partition "BOOT" {
    role       = "boot"
    size       = "512MiB"
    filesystem = "ext4"
    mount      = "/boot"
  }
  partition "ROOT" {
    role       = "root"
    size       = "rest"
    filesystem = "ext4"
    mount      = "/"
  }
}
output "raw" {}
output "qcow2" {}
`)
}

// load loads a recipe from a file of its own.
func load(t *testing.T, text string) *recipes.Recipe {
	t.Helper()
	path := filepath.Join(t.TempDir(), "recipe.hcl")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r, problems := recipes.Load(path, recipes.Options{})
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	return r
}

// lockFor returns a lock that fits r, of one package.
func lockFor(r *recipes.Recipe) *recipes.Lock {
	hash := strings.Repeat("ab", 32)
	lock := &recipes.Lock{
		Version: recipes.LockVersion, Distro: r.Distro.Name, Arch: r.Arch, Epoch: 1_700_000_000, Request: r.Request(),
		Packages: []recipes.LockedPackage{{Name: "pkg", Version: "1", Arch: "all", SHA256: hash, Size: 7, Repository: "debian", Filename: "pool/pkg_1_all.deb"}},
		Tools:    []recipes.LockedPackage{},
	}
	for _, repo := range r.Rootfs.Repositories {
		lock.Repositories = append(lock.Repositories, recipes.LockedRepository{
			Name: repo.Name, URL: "http://mirror.example.org/" + repo.Name, Suite: repo.Suites[0], Components: repo.Components, Release: hash, Date: 1_700_000_000, Indexes: []recipes.LockedIndex{},
		})
	}
	return lock
}

// environment returns one that has only what the graph's making needs.
func environment(t *testing.T, o Options) *Environment {
	t.Helper()
	o.Sink = stages.Serial(o.Sink)
	return &Environment{Options: o, Cache: stagetest.Cache(t)}
}

// status returns the exit status an error asks for.
func status(err error) int {
	var s interface{ ExitStatus() int }
	if errors.As(err, &s) {
		return s.ExitStatus()
	}
	return 1
}

// fails makes sure that err has exactly this text and exit status.
func fails(t *testing.T, err error, wantStatus int, want string) {
	t.Helper()
	if err == nil || err.Error() != want || status(err) != wantStatus {
		t.Errorf("error %v (exit status %d)\nwant  %s (%d)", err, status(err), want, wantStatus)
	}
}

func TestParseMirror(t *testing.T) {
	for _, test := range []struct{ text, repository, address string }{
		{"http://deb.example.org/debian/", "", "http://deb.example.org/debian"},
		{"https://deb.example.org", "", "https://deb.example.org"},
		{"file:///srv/mirror//", "", "file:///srv/mirror"},
		{"security=http://deb.example.org/s", "security", "http://deb.example.org/s"},
		{"https://deb.example.org/?a=b", "", "https://deb.example.org/?a=b"},
		{"my repo=file:///srv", "my repo", "file:///srv"},
		{"BaseOS=iso:/srv/dvd.iso!/BaseOS", "BaseOS", "iso:/srv/dvd.iso!/BaseOS"},
	} {
		repository, address, err := parseMirror(test.text)
		if err != nil || repository != test.repository || address != test.address {
			t.Errorf("%s: %q, %q, %v", test.text, repository, address, err)
		}
	}
	for _, text := range []string{"", "deb.example.org/debian", "ftp://deb.example.org", "http:///debian", "security=", "security=/srv", "http://a b/%zz", "=http://x", "iso:dvd.iso"} {
		_, _, err := parseMirror(text)
		fails(t, err, 1, fmt.Sprintf("the mirror %q is not [REPOSITORY=]URL with an http, https or file URL, or iso:FILE[!/DIRECTORY] with an absolute path", text))
	}
}

func TestMirrors(t *testing.T) {
	r := load(t, recipeText("rootfs {", "rootfs {\n repository \"own\" {\n url = \"http://own.example.org/\"\n suites = [\"s\"]\n components = [\"main\"]\n gpg_check = false\n }\n"))
	apt := []deb.AptSource{
		{URI: "http://security.example.org", Suite: "bookworm-security", Components: []string{"main"}},
		{URI: "http://apt.example.org/debian", Suite: "bookworm", Components: []string{"main"}},
		{URI: "http://apt.example.org/arm", Suite: "bookworm", Components: []string{"main"}, Architectures: []string{"arm64"}},
	}
	const fallback, security, own = "http://ftp.debian.org/debian", "http://ftp.debian.org/debian-security", "http://own.example.org"
	const aptMain, aptSecurity = "http://apt.example.org/debian", "http://security.example.org"
	for _, test := range []struct {
		mirrors []string
		want    [3][]string // of debian, debian-security and own
	}{
		{nil, [3][]string{{aptMain, aptSecurity, fallback}, {aptSecurity, aptMain, security}, {own}}},
		{[]string{"http://m/x/"}, [3][]string{{"http://m/x"}, {"http://m/x", aptSecurity, aptMain, security}, {"http://m/x", own}}},
		{[]string{"http://m/1", "http://m/2"}, [3][]string{{"http://m/1", "http://m/2"}, {"http://m/1", "http://m/2", aptSecurity, aptMain, security}, {"http://m/1", "http://m/2", own}}},
		{[]string{"debian-security=file:///s"}, [3][]string{{aptMain, aptSecurity, fallback}, {"file:///s"}, {own}}},
		{[]string{"http://m", "own=http://o", "debian=http://d"}, [3][]string{{"http://d"}, {"http://m", aptSecurity, aptMain, security}, {"http://o"}}},
	} {
		env := &Environment{Options: Options{Mirrors: test.mirrors}, aptSources: apt}
		if err := env.checkMirrors(r); err != nil {
			t.Error(err)
		}
		for i, suite := range []string{"bookworm", "bookworm-security", "s"} {
			got := env.mirrors(r, i, suite)
			for j := range got {
				got[j] = strings.TrimRight(got[j], "/")
			}
			if !reflect.DeepEqual(got, test.want[i]) {
				t.Errorf("--mirror %q, %s: %q\nwant %q", test.mirrors, r.Rootfs.Repositories[i].Name, got, test.want[i])
			}
		}
	}
	env := environment(t, Options{Mirrors: []string{"debain=http://d"}})
	const want = `--mirror debain=http://d: the recipe has no repository "debain"; it has debian, debian-security, own`
	_, _, err := env.Lock(t.Context(), r)
	fails(t, err, 2, want)
	_, err = env.Resolve(t.Context(), r)
	fails(t, err, 2, want)
}

func TestPackageURLs(t *testing.T) {
	r := load(t, recipeText())
	env := &Environment{Options: Options{Mirrors: []string{"debian=http://given/", "debian-security=http://mirror.example.org/debian-security"}}}
	lock := lockFor(r)
	p := lock.Packages[0]
	for repository, want := range map[string][]string{
		"debian":          {"http://mirror.example.org/debian/pool/pkg_1_all.deb", "http://given/pool/pkg_1_all.deb"},
		"debian-security": {"http://mirror.example.org/debian-security/pool/pkg_1_all.deb"},
	} {
		p.Repository = repository
		if got := env.packageURLs(r, lock, p); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", repository, got, want)
		}
	}
}

func TestEpoch(t *testing.T) {
	lock := &recipes.Lock{Epoch: 1234}
	for text, want := range map[string]int64{"": 1234, "0": 0, "99": 99} {
		t.Setenv("SOURCE_DATE_EPOCH", text)
		if got := (&Environment{}).epoch(lock); got != want {
			t.Errorf("SOURCE_DATE_EPOCH=%s: %d, want %d", text, got, want)
		}
	}
	for _, text := range []string{"yesterday", "-1", "1.5"} {
		t.Setenv("SOURCE_DATE_EPOCH", text)
		_, err := Open(Options{Cache: t.TempDir()})
		fails(t, err, 2, fmt.Sprintf("SOURCE_DATE_EPOCH is %q, not a number of seconds since 1970", text))
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	_, err := Open(Options{Cache: t.TempDir(), Mirrors: []string{"nonsense"}})
	fails(t, err, 2, `the mirror "nonsense" is not [REPOSITORY=]URL with an http, https or file URL, or iso:FILE[!/DIRECTORY] with an absolute path`)
}

func TestLock(t *testing.T) {
	r := load(t, recipeText())
	path := recipes.LockPath(r.Path)
	env := environment(t, Options{Locked: true})
	_, _, err := env.Lock(t.Context(), r)
	fails(t, err, 2, fmt.Sprintf("--locked needs %s, and there is none; run `imagefactory lock %s` first", path, r.Path))

	if err := lockFor(r).Write(path); err != nil {
		t.Fatal(err)
	}
	for _, locked := range []bool{true, false} {
		env.Options.Locked = locked
		if lock, found, err := env.Lock(t.Context(), r); err != nil || !found || lock.Packages[0].Name != "pkg" {
			t.Errorf("locked %v: %+v, %v, %v", locked, lock, found, err)
		}
	}

	// A lock of another recipe is refused, with and without --locked.
	r.Rootfs.Packages = append(r.Rootfs.Packages, "curl")
	for _, locked := range []bool{true, false} {
		env.Options.Locked = locked
		_, _, err = env.Lock(t.Context(), r)
		fails(t, err, 2, path+`: the recipe has changed since the lock was made: packages: "curl" was added; run imagefactory lock to make it anew`)
	}
	if err := os.WriteFile(path, []byte("{\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, err = env.Lock(t.Context(), r)
	fails(t, err, 2, path+":2: it ends too early; run imagefactory lock to make it anew")
}

func TestKeyring(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.gpg")
	if err := os.WriteFile(broken, []byte("no key"), 0o644); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none.gpg")
	repo := distros.Repository{Name: "debian", Keyrings: []string{none}, KeyringPackage: "debian-archive-keyring"}
	_, err := keyring(repo)
	fails(t, err, 3, "repository debian: no keyring to verify it with (looked for "+none+"); install the package debian-archive-keyring, or set gpg_key in its repository block")
	repo.KeyringPackage = ""
	_, err = keyring(repo)
	fails(t, err, 3, "repository debian: no keyring to verify it with (looked for "+none+"); set gpg_key in its repository block")
	repo.Keyrings = []string{none, broken}
	if _, err = keyring(repo); err == nil || status(err) != 3 || !strings.HasPrefix(err.Error(), "repository debian: keyring "+broken+": ") {
		t.Errorf("broken: %v", err)
	}
	repo.KeyFiles = []string{none} // what the recipe names is the only one
	if _, err = keyring(repo); err == nil || status(err) != 3 || !strings.Contains(err.Error(), none) {
		t.Errorf("a key of the recipe's: %v", err)
	}
}

func TestTargets(t *testing.T) {
	r := load(t, recipeText())
	for only, want := range map[string]string{"": "raw qcow2", "raw": "raw", "qcow2": "qcow2", "qcow2 raw": "raw qcow2"} {
		env := environment(t, Options{Only: strings.Fields(only)})
		g, err := newGraph(env, r, lockFor(r), keyrings{}, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		targets, err := env.targets(r, g)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range g.outputs {
			for _, target := range targets {
				if target == stages.Node(h) {
					got = append(got, h.Name())
				}
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("--only %s: %s, want %s", only, got, want)
		}
	}
	env := environment(t, Options{Only: []string{"raw", "iso"}})
	_, err := env.targets(r, &graph{outputs: make([]*stages.Handle[written], 2)})
	fails(t, err, 2, "--only iso: the recipe has no such output; it has raw, qcow2")
}

// TestIdentifiers says which changes of a recipe give file systems and partitions new
// identifiers: those that make it another image, and no others.
func TestIdentifiers(t *testing.T) {
	identifiers := func(r *recipes.Recipe, lock *recipes.Lock) string {
		g, err := newGraph(environment(t, Options{}), r, lock, keyrings{}, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, p := range g.partitions {
			all = append(all, p.Label+" "+p.UUID.String())
		}
		return strings.Join(all, "\n")
	}
	r := load(t, recipeText())
	first := identifiers(r, lockFor(r))
	if lines := strings.Split(first, "\n"); len(lines) != 4 || lines[1][4:] == lines[2][5:] {
		t.Errorf("identifiers:\n%s", first)
	}
	for change, same := range map[string]bool{
		recipeText():                          true,
		recipeText("true", "false"):           true, // the script
		recipeText("4GiB", "5GiB"):            true,
		recipeText("512MiB", "600MiB"):        true,
		recipeText("output \"qcow2\" {}", ""): true,
		recipeText(`"1.0"`, `"1.1"`):          false,
		recipeText(`"node"`, `"edge"`):        false,
		recipeText("debian-12", "debian-13"):  false,
	} {
		r := load(t, change)
		if got := identifiers(r, lockFor(load(t, recipeText()))); (got == first) != same {
			t.Errorf("the same identifiers: %v, want %v, after\n%s", !same, same, change)
		}
	}
	lock := lockFor(r)
	lock.Packages[0].SHA256 = strings.Repeat("cd", 32)
	if identifiers(r, lock) == first {
		t.Error("another package gives the same identifiers")
	}
}

func TestPartitions(t *testing.T) {
	r := load(t, recipeText())
	env := environment(t, Options{})
	g, err := newGraph(env, r, lockFor(r), keyrings{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &builder{env: env, recipe: r, graph: g}
	b.arch, _ = r.Distro.Architecture(r.Arch)
	const mebibyte = 1 << 20
	for i, want := range []int64{1 * mebibyte, 64 * mebibyte, 512 * mebibyte, (4096 - 1 - 1 - 64 - 512 - 1) * mebibyte} {
		if got := g.partitions[i].Size; got != want {
			t.Errorf("partition %d has %d MiB, want %d", i+1, got/mebibyte, want/mebibyte)
		}
	}
	for p, want := range map[string]string{
		"/boot/grub": "BOOT /grub", "/boot": "BOOT /", "/bootx": "ROOT /bootx", "/": "ROOT /", "/etc/x": "ROOT /etc/x", "/boot/efi/EFI": "ESP /EFI",
	} {
		part, rest := b.holder(p)
		if got := part.Label + " " + rest; got != want {
			t.Errorf("%s is at %s, want %s", p, got, want)
		}
	}
	uuid := func(i int) string { return strings.ToLower(g.partitions[i].UUID.String()) }
	want := []customize.Mount{
		{Device: "UUID=" + uuid(3), Path: "/", Type: "ext4", Options: "defaults,x-systemd.growfs", Pass: 1},
		{Device: "UUID=" + uuid(2), Path: "/boot", Type: "ext4", Options: "defaults", Pass: 2},
		{Device: "UUID=" + strings.ToUpper(uuid(1)[:4]+"-"+uuid(1)[4:8]), Path: "/boot/efi", Type: "vfat", Options: "umask=0077", Pass: 2},
	}
	if got := b.mounts(); !reflect.DeepEqual(got, want) {
		t.Errorf("mounts %+v\nwant   %+v", got, want)
	}
	for i, want := range []partition.GUID{partition.TypeBIOSBoot, partition.TypeESP, partition.TypeLinuxBoot, partition.TypeLinuxRootX86_64} {
		if got := typeOf(r.Disk.Partitions[i], "x86_64"); got != want {
			t.Errorf("partition %d has the type %s, want %s", i+1, got, want)
		}
	}
	own := recipes.Partition{Role: recipes.RoleData, TypeGUID: "933ac7e1-2eb4-4f13-b844-0e14e2aef915"}
	if got := strings.ToLower(typeOf(own, "x86_64").String()); got != own.TypeGUID {
		t.Errorf("a type of the recipe's own: %s", got)
	}
	if got := typeOf(r.Disk.Partitions[3], "aarch64"); got != partition.TypeLinuxRootARM64 {
		t.Errorf("root on aarch64: %s", got)
	}

	// What does not fit is known before anything runs.
	_, err = newGraph(env, load(t, recipeText("512MiB", "3GiB", "4GiB", "3200MiB")), lockFor(r), keyrings{}, t.TempDir())
	if err != nil {
		t.Errorf("a small root: %v", err)
	}
}

// TestStages holds the graph: names and order of the stages.
func TestStages(t *testing.T) {
	r := load(t, recipeText("script \"one\" {", "script \"early\" {\n after = \"configure\"\n before = \"customize\"\n inline = \"true\"\n}\nscript \"one\" {"))
	path := recipes.LockPath(r.Path)
	if err := lockFor(r).Write(path); err != nil {
		t.Fatal(err)
	}
	env := environment(t, Options{Only: []string{"raw"}, OutputDir: t.TempDir()})
	plan, err := env.Plan(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range plan {
		names = append(names, p.Stage)
		if p.Cached {
			t.Errorf("%s is cached in an empty cache", p.Stage)
		}
	}
	want := "packages, rootfs, configure, script early, customize, script one, initramfs, tools-packages, tools, grub, boot, filesystems, disk, raw, sbom"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("stages %s\nwant   %s", got, want)
	}
}
