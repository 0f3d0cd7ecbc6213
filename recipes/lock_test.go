package recipes

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const sum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func sampleLock() *Lock {
	pkg := func(name, arch string) LockedPackage {
		return LockedPackage{Name: name, Version: "1:2.0-1+b1", Arch: arch, SHA256: sum, Size: 1234, Repository: "debian", Filename: "pool/main/" + name + "_2.0-1_" + arch + ".deb"}
	}
	return &Lock{
		Version: LockVersion, Distro: "debian-12", Arch: "x86_64", Epoch: 1763700000, Request: Request{
			Distro: "debian-12", Arch: "x86_64", Packages: []string{"openssh-server", "systemd-sysv"}, Tools: []string{"grub-common"}, Exclude: []string{}, Priorities: []string{"required"}, Essential: true,
			Repositories: []RepositoryAsked{{Name: "debian", URL: "https://mirror.example.com/debian", Suites: []string{"bookworm"}, Components: []string{"main"}, Key: sum, GPGCheck: true}},
		},
		Repositories: []LockedRepository{{Name: "debian", URL: "https://mirror.example.com/debian", Suite: "bookworm", Components: []string{"main"}, Release: sum, Date: 1763700000,
			Indexes: []LockedIndex{{Path: "main/binary-amd64/Packages.xz", SHA256: sum, Size: 99}}}},
		Packages: []LockedPackage{pkg("bash", "amd64"), pkg("libc6", "amd64"), pkg("libc6", "i386"), pkg("zstd<>&", "all")},
		Tools:    []LockedPackage{pkg("grub-common", "amd64")},
	}
}

func TestLockRoundTrip(t *testing.T) {
	want := sampleLock()
	path := filepath.Join(t.TempDir(), "node.hcl.lock")
	shuffled := *want
	shuffled.Packages = []LockedPackage{want.Packages[3], want.Packages[1], want.Packages[0], want.Packages[2]}
	if err := shuffled.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/lock.golden", string(src))
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	// The field names are a promise to scripts which read "lock --output json".
	var loose struct{ Packages []map[string]any }
	if err := json.Unmarshal(src, &loose); err != nil || loose.Packages[0]["name"] != "bash" || loose.Packages[0]["sha256"] != sum {
		t.Errorf("%v, %v", loose, err)
	}
	if err := want.Write(filepath.Join(t.TempDir(), "none", "x.lock")); err == nil {
		t.Error("a missing directory was not reported")
	}
	if _, err := ReadLock(path + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing lock gives %v", err)
	}
}

// lockWithContainers is a lock with pinned container images.
func lockWithContainers() *Lock {
	l := sampleLock()
	l.Request.Containers = []string{"docker://registry.example.com/dns:1", "oci:images/pause:1"}
	l.Containers = []LockedContainer{
		{Reference: "docker://registry.example.com/dns:1", Digest: "sha256:" + sum, Manifest: "sha256:" + strings.Repeat("1", 64)},
		{Reference: "oci:images/pause:1", Digest: "sha256:" + strings.Repeat("0", 64), Manifest: "sha256:" + strings.Repeat("0", 64)},
	}
	return l
}

func TestLockedContainers(t *testing.T) {
	want := lockWithContainers()
	shuffled := *want
	shuffled.Containers = []LockedContainer{want.Containers[1], want.Containers[0]}
	src := shuffled.Encode()
	if got, err := ParseLock("x.lock", src); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	zeros := "sha256:" + strings.Repeat("0", 64)
	line := `    {"reference":"oci:images/pause:1","digest":"` + zeros + `","manifest":"` + zeros + `"}`
	if !strings.Contains(string(src), "\n"+line+"\n") {
		t.Errorf("an image has no line of its own:\n%s", src)
	}
	same(t, "pinned", []LockedContainer{want.Container("oci:images/pause:1"), want.Container("oci:images/pause:2")}, []LockedContainer{want.Containers[1], {}})
	good := string(src)
	for _, c := range []struct{ name, old, new, want string }{
		{"digest", `"digest":"sha256:` + sum, `"digest":"` + sum, `containers[0] (docker://registry.example.com/dns:1): digest and manifest must be "sha256:" and a SHA-256`},
		{"manifest", `,"manifest":"` + zeros + `"`, ``, `containers[1] (oci:images/pause:1): digest and manifest must be`},
		{"reference", `"reference":"oci:images/pause:1"`, `"reference":""`, "containers[1] needs a reference"},
		{"order", `"reference":"oci:images/pause:1"`, `"reference":"docker://a.example.com/dns:1"`, "containers[1] (docker://a.example.com/dns:1) is a duplicate or out of order"},
		{"one nobody asked for", `"reference":"oci:images/pause:1"`, `"reference":"oci:images/pause:2"`, `does not fit request.containers: "oci:images/pause:2" was added`},
		{"one too few", ",\n" + line, "", `does not fit request.containers: "oci:images/pause:1" was removed`},
	} {
		_, err := ParseLock("x.lock", []byte(strings.Replace(good, c.old, c.new, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestLockMistakes(t *testing.T) {
	good := string(sampleLock().Encode())
	for _, c := range []struct{ name, old, new, want string }{
		{"truncated", good[len(good)/2:], "", "x.lock:51: it ends too early"},
		{"syntax", `"epoch": 1763700000`, `"epoch": 17637oo`, "x.lock:5: it is not valid JSON"},
		{"type", `"epoch": 1763700000`, `"epoch": "now"`, "x.lock:5: the field epoch cannot be a string"},
		{"unknown field", `"arch": "x86_64",`, `"arch": "x86_64", "extra": 1,`, `unknown field "extra"`},
		{"later version", `"version": 1`, `"version": 2`, "it has version 2, this imagefactory reads version 1"},
		{"no version", `"version": 1,`, ``, "the field version is missing"},
		{"epoch", `"epoch": 1763700000`, `"epoch": 0`, "the field epoch must be a time after 1970"},
		{"digest", `"sha256":"` + sum, `"sha256":"abc` + sum, "packages[0] (bash): sha256 is not a SHA-256"},
		{"upper case digest", `"sha256":"` + sum, `"sha256":"` + strings.ToUpper(sum), "packages[0] (bash): sha256 is not a SHA-256"},
		{"size", `"size":1234`, `"size":0`, "packages[0] (bash): size must be positive"},
		{"outside", `"pool/main/bash`, `"../main/bash`, "packages[0] (bash): filename must be a relative path"},
		{"repository", `"repository":"debian"`, `"repository":"other"`, `there is no repository "other"`},
		{"order", `"name":"bash"`, `"name":"zz"`, "packages[1] (libc6) is a duplicate or out of order"},
		{"tail", "]\n}\n", "]\n}\n{}", "there is something behind the end"},
		{"empty", good, "", "x.lock:1: it ends too early"},
	} {
		bad := strings.Replace(good, c.old, c.new, 1)
		if c.name == "tail" {
			bad = good + "{}"
		}
		_, err := ParseLock("x.lock", []byte(bad))
		var lockErr *LockError
		if !errors.As(err, &lockErr) || lockErr.ExitStatus() != 2 || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestRequestDifference(t *testing.T) {
	load := func(old, new string) Request {
		t.Helper()
		r, p := loadText(t, strings.Replace(base, old, new, 1), Options{})
		if p.Err() != nil {
			t.Fatal(p)
		}
		return r.Request()
	}
	locked := load("", "")
	for _, c := range []struct{ old, new, want string }{
		{`"hello"`, `"other"`, ""},
		{`"systemd-sysv", "openssh-server"`, `"openssh-server", "systemd-sysv"`, ""},
		{`"openssh-server"]`, `"openssh-server", "curl"]`, `packages: "curl" was added`},
		{`, "openssh-server"]`, `]`, `packages: "openssh-server" was removed`},
		{`"openssh-server"]`, "\"openssh-server\"]\n  exclude = [\"vim\"]", `exclude: "vim" was added`},
		{`"openssh-server"]`, "\"openssh-server\"]\n  recommends = true", `recommends: false became true`},
		{`"debian-12"`, `"debian-13"`, `distro: debian-12 became debian-13`},
		{`["bios", "uefi"]`, `["bios"]`, `tools: "grub-efi-amd64-signed" was removed`},
		{`"openssh-server"]`, "\"openssh-server\"]\n  repository \"debian\" {\n    url = \"https://example.com/debian\"\n  }", `repository "debian": url changed`},
		{`"openssh-server"]`, "\"openssh-server\"]\n  repository \"debian\" {\n    suites = [\"bookworm\"]\n  }", `repository "debian": suites: "bookworm-updates" was removed`},
		{`"openssh-server"]`, "\"openssh-server\"]\n  repository \"debian\" {\n    gpg_key = \"key.gpg\"\n  }", `repository "debian": gpg_key changed`},
		{`output "raw" {}`, container("registry.example.com/pause:1", `runtime = "podman"`) + "\noutput \"raw\" {}", `containers: "docker://registry.example.com/pause:1" was added`},
		{`output "raw" {}`, "trim {}\nharden {\n  profile = \"baseline\"\n}\noutput \"raw\" {}", ""},
	} {
		if got := load(c.old, c.new).Difference(locked); got != c.want {
			t.Errorf("%s: %q, want %q", c.new, got, c.want)
		}
	}
}

func FuzzParseLock(f *testing.F) {
	good := sampleLock().Encode()
	f.Add(good)
	f.Add(lockWithContainers().Encode())
	f.Add([]byte(`{"version": 1}`))
	f.Fuzz(func(t *testing.T, src []byte) {
		l, err := ParseLock("x.lock", src)
		if err != nil {
			return
		}
		again, err := ParseLock("x.lock", l.Encode())
		if err != nil || !reflect.DeepEqual(again.Packages, l.Packages) || !reflect.DeepEqual(again.Containers, l.Containers) {
			t.Fatalf("%v\n%s", err, l.Encode())
		}
	})
}
