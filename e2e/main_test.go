package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/imagefactory/imagefactory/stages/sandbox/usertest"
)

// full reports whether the tests that take many minutes are asked for.
func full() bool { return os.Getenv("IMAGEFACTORY_TEST") == "full" }

// checkout is the root of the source tree.
const checkout = ".."

// programPath is where program leaves what it built; a directory that every
// user can read.
var programPath string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "imagefactory-e2e-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	programPath = filepath.Join(dir, "imagefactory")
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// program builds the command once and returns its path.
func program(t testing.TB) string {
	t.Helper()
	if err := buildProgram(); err != nil {
		t.Fatal(err)
	}
	return programPath
}

var buildProgram = sync.OnceValue(func() error {
	return goBuild(programPath, "./cmd/imagefactory")
})

// goBuild compiles a package of this module into a static program.
func goBuild(output, pkg string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", output, pkg)
	cmd.Dir = checkout
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

// builder is an ordinary user with a copy of the examples and a cache of their
// own.
type builder struct {
	*usertest.User
	cache string
	env   []string // added to the environment of every run
}

// newBuilder makes a user for the time of the test.
func newBuilder(t testing.TB, options ...usertest.Option) *builder {
	t.Helper()
	u := usertest.New(t, options...)
	b := &builder{User: u, cache: filepath.Join(u.Home, "cache")}
	b.copyTree(t, filepath.Join(checkout, "examples"), filepath.Join(u.Home, "examples"))
	return b
}

// shareDownloads lets the builder download only what no earlier run of the
// tests has, and keeps it for later ones.
func (b *builder) shareDownloads(t testing.TB) {
	t.Helper()
	shared := downloads(t)
	own := filepath.Join(b.cache, "downloads/objects")
	b.copyTree(t, shared, own)
	t.Cleanup(func() { keepDownloads(t, own, shared) })
}

// downloads returns the directory in which downloaded packages are kept between
// runs of the tests. Nobody has to trust it: every file is named by its digest,
// and checked against it whenever it is used.
func downloads(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("IMAGEFACTORY_E2E_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			base = os.TempDir()
		}
		dir = filepath.Join(base, "imagefactory-e2e")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// keepDownloads copies what is new in own to shared.
func keepDownloads(t testing.TB, own, shared string) {
	names, err := os.ReadDir(own)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Log(err)
	}
	for _, name := range names {
		to := filepath.Join(shared, name.Name())
		if _, err := os.Stat(to); err == nil {
			continue
		}
		data, err := os.ReadFile(filepath.Join(own, name.Name()))
		if err == nil {
			temporary := to + ".new"
			if err = os.WriteFile(temporary, data, 0o644); err == nil {
				err = os.Rename(temporary, to)
			}
		}
		if err != nil {
			t.Log(err)
		}
	}
}

// copyTree copies a directory and gives the copy, and the directories that had
// to be made for it below the user's home, to the user.
func (b *builder) copyTree(t testing.TB, from, to string) {
	t.Helper()
	b.mkdir(t, to)
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rest, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rest)
		if d.IsDir() {
			b.mkdir(t, target)
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b.write(t, target, string(data))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// mkdir makes a directory of the user's, and those above it.
func (b *builder) mkdir(t testing.TB, path string) {
	t.Helper()
	if path == b.Home || path == filepath.Dir(path) {
		return
	}
	b.mkdir(t, filepath.Dir(path))
	switch err := os.Mkdir(path, 0o755); {
	case err == nil:
		b.Chown(t, path)
	case !errors.Is(err, fs.ErrExist):
		t.Fatal(err)
	}
}

// write writes a file of the user's.
func (b *builder) write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	b.Chown(t, path)
}

// result is what a run of the program did.
type result struct {
	stdout, stderr string
	status         int
}

// run runs the program as the user, in the user's home.
func (b *builder) run(t testing.TB, ctx context.Context, args ...string) result {
	t.Helper()
	cmd := b.command(t, ctx, args...)
	return finish(t, cmd)
}

// command returns the program as the user runs it. Ending ctx interrupts it, as
// Ctrl-C would.
func (b *builder) command(t testing.TB, ctx context.Context, args ...string) *exec.Cmd {
	t.Helper()
	cmd := b.Command(ctx, program(t), args...)
	cmd.Env = append(append(cmd.Env, "IMAGEFACTORY_CACHE="+b.cache), b.env...)
	// The terminal sends the signal to everything in its foreground.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	return cmd
}

// must is run for a run that has to succeed; it returns the standard output.
func (b *builder) must(t testing.TB, ctx context.Context, args ...string) string {
	t.Helper()
	r := b.run(t, ctx, args...)
	if r.status != 0 {
		t.Fatalf("imagefactory %q: exit status %d\n%s", args, r.status, r.stderr)
	}
	return r.stdout
}
