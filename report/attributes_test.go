package report

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// run runs a program and returns what it prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = filepath.Join("/usr/sbin", name) // administrators' programs are not in everybody's path
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v (make deps-test installs it)\n%s", name, args, err, out)
	}
	return string(out)
}

// attribute returns an extended attribute of a file.
func attribute(t *testing.T, path, name string) []byte {
	t.Helper()
	value := make([]byte, 4096)
	n, err := unix.Lgetxattr(path, name, value)
	if err != nil {
		t.Fatal(err)
	}
	return value[:n]
}

// TestCapabilitiesText writes capabilities as getcap does.
func TestCapabilitiesText(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"cap_net_raw=ep", "cap_net_admin,cap_net_raw=p", "cap_chown=eip", "cap_sys_admin,cap_bpf,cap_checkpoint_restore=ei"} {
		run(t, "setcap", text, path)
		got := capabilitiesText(attribute(t, path, "security.capability"))
		if want := strings.TrimSpace(strings.TrimPrefix(run(t, "getcap", path), path)); got != want {
			t.Errorf("%s: %q, getcap says %q", text, got, want)
		}
	}
	for value, want := range map[string]string{
		// Of several clauses getcap writes what is added to the first.
		"\x00\x00\x00\x02\x80\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00": "cap_setuid=p cap_setgid=i",
		"": "0x", "\x01\x00\x00\x02": "0x01000002",
		"\x01\x00\x00\x03\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xe8\x03\x00\x00": "cap_net_raw=ep [rootid=1000]",
		"\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x00\x00\x00\x00":                 "63=p",
	} {
		if got := capabilitiesText([]byte(value)); got != want {
			t.Errorf("%x: %q, want %q", value, got, want)
		}
	}
}

// TestACLText writes ACLs as getfacl does.
func TestACLText(t *testing.T) {
	dir := t.TempDir()
	run(t, "setfacl", "-m", "u:3:rw,g:4:x,d:u:5:rwx", dir)
	got := joinACL(aclText(attribute(t, dir, "system.posix_acl_access")), "default:"+strings.ReplaceAll(aclText(attribute(t, dir, "system.posix_acl_default")), ",", ",default:"))
	want := strings.Join(strings.Fields(run(t, "getfacl", "--omit-header", "--numeric", "--absolute-names", "--no-effective", dir)), ",")
	if got != want {
		t.Errorf("%q, getfacl says %q", got, want)
	}
	for _, value := range []string{"", "\x01\x00\x00\x00", "\x02\x00\x00\x00\x01", "\x02\x00\x00\x00\x03\x00\x07\x00\xff\xff\xff\xff", "\x02\x00\x00\x00\x01\x00\x08\x00\xff\xff\xff\xff"} {
		if got := aclText([]byte(value)); !strings.HasPrefix(got, "0x") {
			t.Errorf("%x: %q", value, got)
		}
	}
}

// FuzzAttributes gives foreign bytes to everything that reads them: text for terminals is always fit for one.
func FuzzAttributes(f *testing.F) {
	f.Add(capNetRaw, "root:x:0:0:root:/root:/bin/sh\n")
	f.Add(aclUser3, "a:\nb::::::\n::::::::\n")
	st := stagetest.Cache(f).Store
	f.Fuzz(func(t *testing.T, value []byte, text string) {
		for _, s := range []string{capabilitiesText(value), aclText(value), printable(text), valid(text)} {
			if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
				t.Errorf("%q", s)
			}
		}
		value1 := stagetest.Tree(t, stagetest.File(t, st, "etc/passwd", text), stagetest.File(t, st, "etc/shadow", text), stagetest.File(t, st, "etc/group", text))
		value2 := stagetest.Tree(t, tree.Entry{Path: "etc/passwd", Type: tree.Symlink, Mode: 0o777, Target: "group"}, stagetest.File(t, st, "etc/group", string(value)))
		d, err := Diff(Snapshot{Tree: value1, Store: st}, Snapshot{Tree: value2, Store: st})
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(d.text(t, TextOptions{Width: 60})) {
			if line = strings.TrimSuffix(line, "\n"); !utf8.ValidString(line) || strings.ContainsFunc(line, unicode.IsControl) {
				t.Errorf("%q", line)
			}
		}
	})
}
