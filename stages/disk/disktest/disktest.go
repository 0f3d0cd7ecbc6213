// Package disktest helps tests to hand composed disks to the independent tools that judge them.
package disktest

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/store"
)

// Store returns an empty store that ends with the test.
func Store(t testing.TB) *store.Store {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

// WriteFile writes im to a sparse file of a temporary directory and returns its path.
func WriteFile(t testing.TB, st *store.Store, im disk.Image) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(im.Size); err != nil {
		t.Fatal(err)
	}
	r, err := im.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for off, n := range im.Data() {
		if _, err := io.Copy(io.NewOffsetWriter(f, off), io.NewSectionReader(r, off, n)); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// Run runs a tool in the C.UTF-8 locale and returns what it printed. A tool that fails or is missing fails the test.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := Try(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// Try is Run for a tool whose failure the caller judges.
func Try(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} { // not in an ordinary user's PATH on Debian
		if err == nil {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, name))
	}
	if err != nil {
		t.Fatalf("%s is needed to judge what was written, and is not installed; `make test` installs it", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC", "MTOOLS_SKIP_CHECK=0")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", name, err)
	}
	return string(out), err
}
