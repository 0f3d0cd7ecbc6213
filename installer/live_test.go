package installer

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Links are followed as a process inside the root would see them.
func TestResolveIn(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"usr/lib/systemd", "run", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"sbin": "usr/sbin", "usr/sbin": "lib", "usr/lib/init": "/lib/systemd/systemd", "lib": "usr/lib",
		"etc/resolv.conf": "../run/resolve/stub.conf", "etc/out": "../../../../../etc/passwd", "etc/loop": "loop", "var": "/../../etc",
	} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "usr/lib/systemd/systemd"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, c := range map[string]struct {
		want  string
		found bool
	}{
		"/sbin/init":       {"usr/lib/systemd/systemd", true},
		"/":                {"", true},
		"/var":             {"etc", true},
		"/etc/resolv.conf": {"run/resolve/stub.conf", false},
		"/etc/out":         {"etc/passwd", false},
		"/none/deep":       {"none/deep", false},
	} {
		got, err := resolveIn(root, path)
		if got != filepath.Join(root, c.want) || (err == nil) != c.found || err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %s, %v", path, got, err)
		}
	}
	if _, err := resolveIn(root, "/etc/loop"); err == nil {
		t.Error("a loop of links has an end")
	}
}

func TestModuleRequest(t *testing.T) {
	if alias, ok := moduleRequest([]string{"/init", "-q", "--", "fs-xfs"}); !ok || alias != "fs-xfs" {
		t.Errorf("%q %v", alias, ok)
	}
	for _, args := range [][]string{{"/init"}, {"/init", "build", "--", "x"}, {"/init", "-q", "--", "a", "b"}} {
		if _, ok := moduleRequest(args); ok {
			t.Errorf("%q is no request", args)
		}
	}
}

func TestUnescape(t *testing.T) {
	if got := unescape(`/a\040b\011c\134d`); got != "/a b\tc\\d" {
		t.Errorf("%q", got)
	}
}
