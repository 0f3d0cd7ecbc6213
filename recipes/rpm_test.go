package recipes

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/imagefactory/imagefactory/distros"
)

// rpmRecipe uses what only RPM distributions have.
const rpmRecipe = `name    = "node"
version = "1"
distro  = "mine"
arch    = "amd64"
selinux = "permissive"

distro "mine" {
  inherits = "centos-stream-9"
  version  = "9.9"
  repository "appstream" {
    metalink = "https://example.com/metalink?repo=appstream-$${releasever}&arch=$basearch"
    exclude  = ["vim-enhanced", "nano*"]
    priority = 50
  }
  rpm {
    modules = ["perl:5.32"]
  }
}

rootfs {
  installer  = "native"
  packages   = ["@core", "@^minimal-environment", "@Container Management", "NetworkManager", "perl(Encode)", "/usr/sbin/ip", "kernel-5.14*"]
  exclude    = ["*-doc", "audit"]
  modules    = ["nodejs:18"]
  docs       = false
  languages  = ["de", "pt_BR"]
  recommends = true

  repository "baseos" {
    url            = "iso:dvd/disc1.iso!/BaseOS"
    gpg_key        = ["key.gpg", "motd"]
    repo_gpg_check = true
  }

  repository "extra" {
    mirrorlist       = "https://example.com/$basearch/mirrors"
    key_url          = "https://example.com/$releasever.asc"
    key_fingerprints = ["99db 70fa e1d7 ce22 7fb6  4882 05b5 55b3 8483 c65d"]
  }

  repository "local" {
    url     = "file:///srv/rpms/"
    gpg_key = "key.gpg"
  }
}

disk {
  layout = "single"
  size   = "4GiB"
}

output "raw" {}
`

func loadRPM(t *testing.T, replacements ...string) *Recipe {
	t.Helper()
	r, p := loadText(t, strings.NewReplacer(replacements...).Replace(rpmRecipe), Options{})
	if len(p.Diagnostics) > 0 {
		t.Fatal(p.Error())
	}
	r.Path = "/work/node.hcl"
	return r
}

func TestLoadRPM(t *testing.T) {
	r := loadRPM(t)
	same(t, "SELinux", r.SELinux, "permissive")
	same(t, "family", []string{r.Distro.Family, r.Distro.RPM.Database, r.Distro.RPM.Backend, r.Distro.RPM.ModulePlatform}, []string{"rpm", "/var/lib/rpm", "sqlite", "platform:el9"})
	same(t, "modules", r.Rootfs.Modules, []string{"perl:5.32", "nodejs:18"})
	same(t, "docs and languages", []any{r.Rootfs.Docs, r.Rootfs.Languages}, []any{false, []string{"de", "pt_BR"}})
	same(t, "packages", r.Rootfs.Packages, []string{"@core", "@^minimal-environment", "@Container Management", "NetworkManager", "perl(Encode)", "/usr/sbin/ip", "kernel-5.14*"})
	keyrings := []string{"/etc/pki/rpm-gpg/RPM-GPG-KEY-centosofficial", "/usr/share/distribution-gpg-keys/centos/RPM-GPG-KEY-CentOS-Official"}
	fingerprints := []string{"99DB70FAE1D7CE227FB6488205B555B38483C65D"}
	centos := distros.Repository{GPGCheck: true, Priority: 99, Keyrings: keyrings, KeyringPackage: "distribution-gpg-keys", KeyURL: "https://www.centos.org/keys/RPM-GPG-KEY-CentOS-Official", KeyFingerprints: fingerprints}
	baseos, appstream := centos, centos
	baseos.Name, baseos.URL, baseos.RepoGPGCheck = "baseos", "iso:/work/dvd/disc1.iso!/BaseOS", true
	baseos.KeyFiles, baseos.KeyDigest = []string{"/work/key.gpg", "/work/motd"}, "sha256:"+sha256Hex([]byte("keywelcome\n"))
	appstream.Name, appstream.URL = "appstream", "https://mirror.stream.centos.org/9.9-stream/AppStream/x86_64/os"
	appstream.Metalink = "https://example.com/metalink?repo=appstream-9.9&arch=x86_64"
	appstream.Exclude, appstream.Priority = []string{"vim-enhanced", "nano*"}, 50
	same(t, "repositories", r.Rootfs.Repositories, []distros.Repository{
		baseos, appstream,
		{Name: "extra", MirrorList: "https://example.com/x86_64/mirrors", GPGCheck: true, Priority: 99, KeyURL: "https://example.com/9.9.asc", KeyFingerprints: fingerprints},
		{Name: "local", URL: "file:///srv/rpms", GPGCheck: true, Priority: 99, KeyFiles: []string{"/work/key.gpg"}, KeyDigest: "sha256:" + sha256Hex([]byte("key"))},
	})
	packages := r.ImagePackages()
	for _, name := range []string{"system-release", "@core", "dracut-config-generic", "selinux-policy-targeted"} {
		if !strings.Contains(" "+strings.Join(packages, " ")+" ", " "+name+" ") {
			t.Errorf("the image lacks %s: %v", name, packages)
		}
	}
	same(t, "tools", r.ToolPackages(), []string{"grub2-tools", "grub2-pc-modules"})
	same(t, "signed", r.SignedPackages(), []string{"shim-x64", "grub2-efi-x64"})

	without := loadRPM(t, `selinux = "permissive"`, `selinux = "disabled"`)
	if strings.Contains(strings.Join(without.ImagePackages(), " "), "selinux") {
		t.Errorf("a policy without SELinux: %v", without.ImagePackages())
	}
}

// TestRequestRPM checks that a lock belongs to the request and not to the place of the recipe.
func TestRequestRPM(t *testing.T) {
	q := loadRPM(t).Request()
	same(t, "iso", q.Repositories[0].URL, "iso:dvd/disc1.iso!/BaseOS")
	same(t, "fingerprints beside a key of the recipe", q.Repositories[0].Fingerprints, []string(nil))
	text, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	for _, unwanted := range []string{"suites", "components", "installer", "docs", "/work"} {
		if strings.Contains(string(text), unwanted) {
			t.Errorf("the request has %q: %s", unwanted, text)
		}
	}
	var again Request
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(again, q) {
		t.Errorf("%v: %+v, want %+v", err, again, q)
	}
	for _, c := range []struct{ old, new, want string }{
		{`docs       = false`, `docs = true`, ""},
		{`["de", "pt_BR"]`, `[]`, ""},
		{`"@core", `, ``, `packages: "@core" was removed`},
		{`["nodejs:18"]`, `["nodejs:20"]`, `modules: "nodejs:20" was added`},
		{`"native"`, `"dnf"`, `installer: native became dnf`},
		{`"centos-stream-9"`, `"rocky-9"`, `repository "appstream": url changed`},
		{`priority = 50`, `priority = 51`, `repository "appstream": priority changed`},
		{`["vim-enhanced", "nano*"]`, `["vim-enhanced"]`, `repository "appstream": exclude: "nano*" was removed`},
		{`repo=appstream`, `repo=other`, `repository "appstream": metalink changed`},
		{`/mirrors"`, `/others"`, `repository "extra": mirrorlist changed`},
		{`disc1`, `disc2`, `repository "baseos": url changed`},
		{`["key.gpg", "motd"]`, `["motd", "key.gpg"]`, `repository "baseos": gpg_key changed`},
		{`repo_gpg_check = true`, `repo_gpg_check = false`, `repository "baseos": repo_gpg_check changed`},
		{`8483 c65d`, `8483 c65e`, `repository "extra": key_fingerprints: "99DB70FAE1D7CE227FB6488205B555B38483C65E" was added`},
	} {
		if got := loadRPM(t, c.old, c.new).Request().Difference(q); got != c.want {
			t.Errorf("%s: %q, want %q", c.new, got, c.want)
		}
	}
}

func TestWholeRoots(t *testing.T) {
	rootfs := `packages = ["systemd-sysv", "openssh-server"]`
	with := func(text string) *Recipe {
		t.Helper()
		r, p := loadText(t, strings.Replace(base, rootfs, text, 1), Options{})
		if len(p.Diagnostics) > 0 {
			t.Fatal(p.Error())
		}
		return r
	}
	archive := with("installer = \"archive\"\n  archive = \"binary\"")
	same(t, "archive", []any{archive.Rootfs.Archive, archive.Rootfs.ArchiveDigest, archive.Rootfs.TakesPackages()}, []any{"/work/binary", "sha256:" + sha256Hex([]byte("\xff\xfe\x00")), false})
	same(t, "its packages", archive.ImagePackages(), []string(nil))
	if len(archive.ToolPackages()) == 0 {
		t.Error("nothing makes GRUB's image")
	}
	same(t, "another archive", with("installer = \"archive\"\n  archive = \"motd\"").Request().Difference(archive.Request()), "archive: its contents changed")

	digest := strings.Repeat("0123456789abcdef", 4)
	for reference, want := range map[string]string{
		"docker://registry.example.com:5000/a/node:1.0":       "docker://registry.example.com:5000/a/node:1.0",
		"docker://registry.example.com/node@sha256:" + digest: "docker://registry.example.com/node@sha256:" + digest,
		"oci:inputs:latest":              "oci:/work/inputs:latest",
		"oci:inputs":                     "oci:/work/inputs",
		"oci-archive:/work/binary:a/b":   "oci-archive:/work/binary:a/b",
		"docker-archive:binary:node:1.0": "docker-archive:/work/binary:node:1.0",
	} {
		r := with("installer = \"image\"\n  image = \"" + reference + "\"")
		same(t, reference, []string{r.Rootfs.Image, r.Rootfs.ImageReference, r.Request().Image}, []string{want, reference, reference})
	}
	image := with("installer = \"image\"\n  image = \"oci:inputs:latest\"")
	same(t, "image", image.Request().Difference(with(rootfs).Request()), `installer: native became image`)
}

func TestLockRPM(t *testing.T) {
	l := sampleLock()
	l.Repositories[0].Suite, l.Repositories[0].Components = "", nil
	l.Request.Repositories[0].Suites, l.Request.Repositories[0].Components = nil, nil
	got, err := ParseLock("x.lock", l.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(l.Encode()), `"suite`) || got.Repositories[0].Suite != "" {
		t.Errorf("an empty suite was written:\n%s", l.Encode())
	}

	l.Packages, l.Request.Installer, l.Request.Image = nil, InstallerImage, "docker://registry.example.com/node:1"
	l.Image = &LockedImage{Reference: l.Request.Image, Digest: "sha256:" + sum}
	if got, err = ParseLock("x.lock", l.Encode()); err != nil || *got.Image != *l.Image {
		t.Fatalf("%v, %+v", err, got)
	}
	for _, c := range []struct{ old, new, want string }{
		{`"sha256:`, `"sha512:`, "image.digest is not"},
		{`"reference":"docker://registry.example.com/node:1"`, `"reference":""`, "the field image is missing"},
		{`"installer": "image"`, `"installer": "native"`, "the field packages is empty"},
	} {
		if _, err := ParseLock("x.lock", []byte(strings.Replace(string(l.Encode()), c.old, c.new, 1))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.new, err, c.want)
		}
	}
}

// TestISOIsPortable checks that a recipe beside its ISO image is the same recipe everywhere.
func TestISOIsPortable(t *testing.T) {
	digest := func(dir string) string {
		t.Helper()
		fsys := fstest.MapFS{}
		for name, file := range files() {
			fsys[dir+strings.TrimPrefix(name, "work")] = file
		}
		fsys[dir+"/node.hcl"] = &fstest.MapFile{Data: []byte(rpmRecipe), Mode: 0o644}
		r, p := load(fsys, "/"+dir, "/"+dir+"/node.hcl", Options{})
		if p.Err() != nil {
			t.Fatal(p)
		}
		d, err := r.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	same(t, "digest", digest("srv/recipes"), digest("work"))
}
