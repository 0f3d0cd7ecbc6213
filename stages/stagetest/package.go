package stagetest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Package makes a package with dpkg-deb: files by path, those of its metadata below
// DEBIAN. Scripts and programs can be executed. It returns the path of the .deb.
func Package(t testing.TB, control string, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	write := func(name, contents string) {
		t.Helper()
		mode := os.FileMode(0o644)
		if strings.HasPrefix(contents, "#!") || strings.HasPrefix(contents, "\x7fELF") {
			mode = 0o755
		}
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(contents), mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	write("DEBIAN/control", control)
	for name, contents := range files {
		write(name, contents)
	}
	cmd := exec.Command("dpkg-deb", "--root-owner-group", "-Znone", "--build", root, root+".deb")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	return root + ".deb"
}
