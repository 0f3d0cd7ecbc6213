package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/e2e/rpmdistro"
	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// vendor is what is known of a distribution of RPM packages apart from this program's
// definition of it: the layout of its repositories, and what its packages are called.
type vendor struct {
	distro  string
	tag     string   // ends the release of every package
	release string   // the package that provides system-release
	kernel  string   // version of the kernel, as the vendor counts
	shim    []string // package of the shim, for x86_64 and aarch64
	// Directories below the host, by the name the definition gives the repository. The
	// first has the base, the second the rest, the last later versions.
	repositories []vendorRepository
}

type vendorRepository struct{ name, path string }

var vendors = []vendor{
	{"openeuler-22.03", "oe2203", "openEuler-release", "5.10.0", []string{"shim", "shim"}, []vendorRepository{
		{"os", "/openEuler-22.03-LTS/OS/$basearch"}, {"everything", "/openEuler-22.03-LTS/everything/$basearch"}, {"update", "/openEuler-22.03-LTS/update/$basearch"}}},
	{"openeuler-24.03", "oe2403", "openEuler-release", "6.6.0", []string{"shim", "shim"}, []vendorRepository{
		{"os", "/openEuler-24.03-LTS/OS/$basearch"}, {"everything", "/openEuler-24.03-LTS/everything/$basearch"}, {"update", "/openEuler-24.03-LTS/update/$basearch"}}},
	{"centos-stream-9", "el9", "centos-stream-release", "5.14.0", []string{"shim-x64", "shim-aa64"}, []vendorRepository{
		{"baseos", "/9-stream/BaseOS/$basearch/os"}, {"appstream", "/9-stream/AppStream/$basearch/os"}}},
	{"centos-stream-10", "el10", "centos-stream-release", "6.12.0", []string{"shim-x64", "shim-aa64"}, []vendorRepository{
		{"baseos", "/10-stream/BaseOS/$basearch/os"}, {"appstream", "/10-stream/AppStream/$basearch/os"}}},
	{"rocky-9", "el9_4", "rocky-release", "5.14.0", []string{"shim-x64", "shim-aa64"}, []vendorRepository{
		{"baseos", "/pub/rocky/9/BaseOS/$basearch/os"}, {"appstream", "/pub/rocky/9/AppStream/$basearch/os"}}},
	{"bclinux-euler-21.10", "oe1.bclinux", "bclinux-release", "4.19.90", []string{"shim", "shim"}, []vendorRepository{
		{"os", "/bclinux/oe21.10/OS/$basearch"}, {"everything", "/bclinux/oe21.10/everything/$basearch"},
		{"update", "/bclinux/oe21.10/update/$basearch"}, {"extras", "/bclinux/oe21.10/extras/$basearch"}}},
	{"bclinux-euler-22.10", "oe2203.bclinux", "bclinux-release", "5.10.0", []string{"shim", "shim"}, []vendorRepository{
		{"os", "/bclinux/oe22.10/OS/$basearch"}, {"everything", "/bclinux/oe22.10/everything/$basearch"},
		{"update", "/bclinux/oe22.10/update/$basearch"}, {"extras", "/bclinux/oe22.10/extras/$basearch"}}},
	{"kylin-v10-sp3", "ky10", "kylin-release", "4.19.90", []string{"shim", "shim"}, []vendorRepository{
		{"base", "/NS/V10/V10SP3/os/adv/lic/base/$basearch"}, {"updates", "/NS/V10/V10SP3/os/adv/lic/updates/$basearch"}}},
}

// TestVendors plans and locks the starter recipe and the example of every RPM
// distribution against a mirror with the layout of its vendor. The packages are empty but
// for their names, versions and dependencies: nothing is said here of what the vendor's
// contain.
func TestVendors(t *testing.T) {
	for _, name := range distros.Names() {
		d, err := distros.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if d.Family == distros.FamilyRPM && !slices.ContainsFunc(vendors, func(v vendor) bool { return v.distro == name }) {
			t.Errorf("nothing is known here of the vendor of %s", name)
		}
	}
	b := newBuilder(t)
	b.env = append(b.env, vendorKey)
	for _, v := range vendors {
		t.Run(v.distro, func(t *testing.T) { b.testVendor(t, v) })
	}
}

func (b *builder) testVendor(t *testing.T, v vendor) {
	var definition distros.Distro
	if err := json.Unmarshal([]byte(b.must(t, t.Context(), "distros", "--output", "json", v.distro)), &definition); err != nil {
		t.Fatal(err)
	}
	v.checkRepositories(t, &definition)
	key, err := rpmdistro.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(b.Home, v.distro)
	b.mkdir(t, dir)
	public, err := rpmdistro.PublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	b.write(t, filepath.Join(dir, "key.asc"), string(public))
	root := t.TempDir()
	server := httptest.NewServer(http.FileServer(http.Dir(root)))
	t.Cleanup(server.Close)
	mirrors := v.mirrorArguments(server.URL)
	example, problems := recipes.Load(filepath.Join(checkout, "examples", v.distro+".hcl"), recipes.Options{Environ: []string{vendorKey}})
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	for i, arch := range []string{"x86_64", "aarch64"} {
		v.publish(t, root, &definition, append(definition.Host.Packages, example.Rootfs.Packages...), arch, v.shim[i], key)
		starter := filepath.Join(dir, "starter-"+arch+".hcl")
		b.must(t, t.Context(), "init", "--distro", v.distro, starter)
		recipe := b.vendorRecipe(t, dir, v, arch, starter)
		at := strings.NewReplacer("$basearch", arch)
		args := func(command string, more ...string) []string {
			args := append([]string{command, "--output", "json", recipe}, more...)
			for _, m := range mirrors {
				args = append(args, "--mirror", at.Replace(m))
			}
			return args
		}
		checkPlan(t, b.must(t, t.Context(), args("plan")...))
		lock, err := recipes.ParseLock("lock", []byte(b.must(t, t.Context(), args("lock")...)))
		if err != nil {
			t.Fatal(err)
		}
		v.checkLock(t, root, server.URL, lock, v.shim[i])
		checkPlan(t, b.must(t, t.Context(), args("plan", "--locked")...))
		recipe = b.vendorRecipe(t, dir, v, arch, filepath.Join(b.Home, "examples", v.distro+".hcl"))
		checkPlan(t, b.must(t, t.Context(), args("plan")...))
	}
	v.refusesForeignSignature(t, b, dir, root, mirrors)
}

// checkRepositories compares the definition with the vendor's layout.
func (v vendor) checkRepositories(t *testing.T, d *distros.Distro) {
	t.Helper()
	var got []vendorRepository
	for _, r := range d.Repositories {
		r = r.Expand("$basearch", d.Version)
		_, rest, _ := strings.Cut(r.URL, "://")
		got = append(got, vendorRepository{r.Name, rest[strings.Index(rest, "/"):]})
	}
	if !slices.Equal(got, v.repositories) {
		t.Errorf("the definition has the repositories %v, the vendor %v", got, v.repositories)
	}
}

// mirrorArguments are where the repositories are, for --mirror.
func (v vendor) mirrorArguments(host string) []string {
	var list []string
	for _, r := range v.repositories {
		list = append(list, r.name+"="+host+r.path)
	}
	return list
}

// vendorRecipe gives a recipe the architecture and the key of the mirror.
func (b *builder) vendorRecipe(t *testing.T, dir string, v vendor, arch, original string) string {
	t.Helper()
	text := fmt.Sprintf("include = [%q]\nname = \"node\"\narch = %q\nrootfs {\n", original, arch)
	for _, r := range v.repositories {
		text += fmt.Sprintf("  repository %q {\n    gpg_key = \"key.asc\"\n  }\n", r.name)
	}
	if arch == "aarch64" {
		text += "}\nboot {\n  firmware = [\"uefi\"]\n" // it has no BIOS
	}
	recipe := filepath.Join(dir, strings.TrimSuffix(filepath.Base(original), ".hcl")+"-on-"+arch+".hcl")
	b.write(t, recipe, text+"}\n")
	return recipe
}

// helper is a path that only the complete list of files has.
const helper = "/opt/vendor/helper"

// publish makes the repositories of one architecture.
func (v vendor) publish(t *testing.T, root string, d *distros.Distro, asked []string, arch, shim string, key *openpgp.Entity) {
	t.Helper()
	base, rest, later := v.packages(d, asked, arch, shim)
	contents := map[string][]*rpmdistro.Package{}
	last := len(v.repositories) - 1
	for i, packages := range [][]*rpmdistro.Package{base, rest, later} {
		name := v.repositories[min(i, last)].name
		contents[name] = append(contents[name], packages...)
	}
	for _, r := range v.repositories {
		dir := filepath.Join(root, strings.ReplaceAll(r.path, "$basearch", arch))
		if err := rpmdistro.WritePackages(filepath.Join(dir, "Packages"), key, contents[r.name]...); err != nil {
			t.Fatal(err)
		}
		if err := rpmdistro.Index(dir, key, "", ""); err != nil {
			t.Fatal(err)
		}
	}
}

// packages are those the definition and recipes ask for, and what makes solving them
// interesting.
func (v vendor) packages(d *distros.Distro, asked []string, arch, shim string) (base, rest, later []*rpmdistro.Package) {
	a, _ := d.Architecture(arch)
	made := map[string]*rpmdistro.Package{}
	add := func(list *[]*rpmdistro.Package, name, version, release string) *rpmdistro.Package {
		p := &rpmdistro.Package{Name: name, Version: version, Release: release + "." + v.tag, Arch: arch}
		if made[name] == nil {
			made[name] = p
		}
		*list = append(*list, p)
		return p
	}
	add(&base, v.release, "1.0", "1").Provides = []rpmdistro.Dependency{rpmdistro.Equal("system-release", "1.0")}
	names := slices.Concat(d.Base.Packages, a.Kernels, d.Initramfs.Packages, d.SELinux.Packages, d.Grow.Packages, []string{shim})
	for _, p := range []*distros.GrubPlatform{a.BIOS, a.UEFI} {
		if p != nil {
			names = append(names, p.Packages...)
		}
	}
	efi := map[string]string{"x86_64": "grub2-efi-x64", "aarch64": "grub2-efi-aa64"}[arch]
	for _, name := range append(names, efi) {
		if made[name] == nil && name != "system-release" && !strings.HasPrefix(name, "kernel") {
			add(&base, name, "2.0", "3")
		}
	}
	for _, name := range asked {
		if made[name] == nil && !strings.HasPrefix(name, "kernel") {
			add(&rest, name, "3.0", "1")
		}
	}
	for _, k := range []struct {
		list    *[]*rpmdistro.Package
		release string
	}{{&base, "9"}, {&later, "10"}} {
		core := add(k.list, "kernel-core", v.kernel, k.release)
		core.Files = []rpmdistro.File{empty("/usr/lib/modules/" + v.kernel + "-" + core.Release + "." + arch + "/vmlinuz")}
		add(k.list, "kernel", v.kernel, k.release).Requires = []rpmdistro.Dependency{rpmdistro.Equal("kernel-core", v.kernel+"-"+core.Release)}
	}
	add(&rest, "vendor-helper", "1", "1").Files = []rpmdistro.File{empty(helper)}
	made["bash"].Provides = []rpmdistro.Dependency{rpmdistro.Any("/bin/sh")}
	made["systemd"].Requires = []rpmdistro.Dependency{
		rpmdistro.Any("/bin/sh"), rpmdistro.Any("system-release"), rpmdistro.Any(helper), rpmdistro.Any("(vendor-addon if kernel-core)"),
	}
	add(&rest, "vendor-addon", "1", "1")
	// Takes the place of the addon, but where the definition excludes it.
	manager := add(&rest, "bclinux-license-manager", "9", "1")
	manager.Provides, manager.Obsoletes = []rpmdistro.Dependency{rpmdistro.Equal("vendor-addon", "9")}, []rpmdistro.Dependency{rpmdistro.Any("vendor-addon")}
	return base, rest, later
}

func empty(path string) rpmdistro.File {
	return rpmdistro.File{Path: path, Type: tree.Regular, Mode: 0o755, Digest: store.Sum(nil)}
}

func checkPlan(t *testing.T, text string) {
	t.Helper()
	var plan struct {
		Stages []struct {
			Stage string
		}
	}
	if err := json.Unmarshal([]byte(text), &plan); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range plan.Stages {
		names = append(names, s.Stage)
	}
	for _, want := range []string{"packages", "rootfs", "configure", "customize", "initramfs", "grub", "disk", "qcow2"} {
		if !slices.Contains(names, want) {
			t.Errorf("the plan has no stage %s: %v", want, names)
		}
	}
}

// checkLock compares the lock with what the mirror has.
func (v vendor) checkLock(t *testing.T, root, host string, lock *recipes.Lock, shim string) {
	t.Helper()
	arch := lock.Arch
	urls := map[string]string{}
	for i, r := range lock.Repositories {
		want := v.repositories[i]
		if url := host + strings.ReplaceAll(want.path, "$basearch", arch); r.Name != want.name || r.URL != url || r.Suite != "" || len(r.Indexes) == 0 || r.Date == 0 {
			t.Errorf("%s: repository %+v, want %s at %s", arch, r, want.name, url)
		}
		urls[r.Name] = r.URL
	}
	locked := map[string]recipes.LockedPackage{}
	for _, p := range append(slices.Clone(lock.Packages), lock.Tools...) {
		locked[p.Name] = p
		file := filepath.Join(root, strings.TrimPrefix(urls[p.Repository], host), path.Clean(p.Filename))
		data, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if sum := sha256.Sum256(data); p.SHA256 != hex.EncodeToString(sum[:]) || p.Size != int64(len(data)) || p.Arch != arch {
			t.Errorf("%s: %+v is not what lies there", arch, p)
		}
	}
	last := v.repositories[min(2, len(v.repositories)-1)].name
	for _, name := range []string{"kernel", "kernel-core"} {
		if p := locked[name]; p.Version != v.kernel+"-10."+v.tag || p.Repository != last {
			t.Errorf("%s: the kernel is %+v, not the later one", arch, p)
		}
	}
	inImage := func(name string) bool {
		return slices.ContainsFunc(lock.Packages, func(p recipes.LockedPackage) bool { return p.Name == name })
	}
	licensed := strings.HasPrefix(v.distro, "bclinux")
	for name, want := range map[string]bool{
		v.release: true, "vendor-helper": true, "dracut": true, "openssh-server": true, shim: false,
		"bclinux-license-manager": !licensed, "vendor-addon": licensed,
	} {
		if inImage(name) != want {
			t.Errorf("%s: %s in the image: %v, want %v", arch, name, !want, want)
		}
	}
	tools := map[string][]string{"x86_64": {"grub2-tools", "grub2-pc-modules", "grub2-efi-x64"}, "aarch64": {"grub2-efi-aa64"}}[arch]
	for _, name := range append(tools, shim) {
		if !slices.ContainsFunc(lock.Tools, func(p recipes.LockedPackage) bool { return p.Name == name }) {
			t.Errorf("%s: the tools lack %s", arch, name)
		}
	}
}

// refusesForeignSignature signs a repository anew with a key the recipe does not name.
func (v vendor) refusesForeignSignature(t *testing.T, b *builder, dir, root string, mirrors []string) {
	t.Helper()
	stranger, err := rpmdistro.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	first := v.repositories[0]
	repository := filepath.Join(root, strings.ReplaceAll(first.path, "$basearch", "x86_64"))
	if err := rpmdistro.Sign(repository, stranger); err != nil {
		t.Fatal(err)
	}
	// HTTP's times are in seconds: a signature of the same second would be the one that is known.
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(filepath.Join(repository, "repodata/repomd.xml.asc"), later, later); err != nil {
		t.Fatal(err)
	}
	args := []string{"lock", filepath.Join(dir, "starter-x86_64-on-x86_64.hcl")}
	for _, m := range mirrors {
		args = append(args, "--mirror", strings.ReplaceAll(m, "$basearch", "x86_64"))
	}
	if r := b.run(t, t.Context(), args...); r.status != 1 || !strings.Contains(r.stderr, first.name) || !strings.Contains(r.stderr, "sign") {
		t.Errorf("a repository that someone else signed: exit status %d, %s", r.status, r.stderr)
	}
}
