package sandbox

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/imagefactory/imagefactory/stages/sandbox/usertest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// newPool makes a pool in the fixture's store.
func (f *fixture) newPool(m Mode) *Pool {
	f.Helper()
	p, err := NewPool(f.st, filepath.Join(f.TempDir(), "pool"), Options{Mode: m})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := p.Clean(0); err != nil {
			f.Error(err)
		}
		if left, err := os.ReadDir(p.dir); err != nil || len(left) > 0 {
			f.Errorf("left behind: %v, %v", left, err)
		}
	})
	return p
}

// acquire gets a root for t and checks t out.
func (f *fixture) acquire(p *Pool, t *tree.Tree) (*Root, func()) {
	f.Helper()
	r, release, err := p.Acquire(f.Context(), t)
	if err != nil {
		f.Fatal(err)
	}
	if err := r.Checkout(f.Context(), t); err != nil {
		f.Fatal(err)
	}
	return r, release
}

// Acquire prefers the root that differs least, and never gives out one in use.
func TestSandboxPool(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		p := f.newPool(m)
		a := f.tree(f.file("a", "1", 0o644), f.file("b", "2", 0o644))
		b := f.tree(f.file("x", "1", 0o644), f.file("y", "2", 0o644), f.file("z", "3", 0o644))
		c := f.tree(f.file("a", "1", 0o644), f.file("b", "other", 0o644))
		ra, releaseA := f.acquire(p, a)
		rb, releaseB := f.acquire(p, b)
		dirA, dirB := ra.dir, rb.dir
		if dirA == dirB {
			t.Fatal("two users of one directory")
		}
		if _, err := NewRoot(t.Context(), f.st, dirA, Options{Mode: m}); !errors.Is(err, errLocked) {
			t.Errorf("a locked directory: %v", err)
		}
		releaseA()
		releaseB()
		for _, x := range []struct {
			want    *tree.Tree
			dir     string
			written int
		}{{b, dirB, 0}, {a, dirA, 0}, {c, dirA, 1}, {b, dirB, 0}} {
			r, release := f.acquire(p, x.want)
			if r.dir != x.dir || r.Stats().Written != x.written {
				t.Errorf("%s instead of %s, %+v", r.dir, x.dir, r.Stats())
			}
			release()
		}
		if err := p.Clean(1); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dirA); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the older root was not removed: %v", err)
		}
		if _, err := os.Stat(dirB); err != nil {
			t.Error(err)
		}
		// One in use is not removed.
		_, release := f.acquire(p, b)
		if err := p.Clean(0); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dirB); err != nil {
			t.Error(err)
		}
		release()
	})
}

// Many users of a pool at the same time each see their own tree.
func TestSandboxPoolConcurrent(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		p := f.newPool(m)
		var users sync.WaitGroup
		for _, name := range []string{"a", "b", "c"} {
			want := f.tree(f.file("only/"+name, name, 0o644))
			users.Go(func() {
				for range 3 {
					r, release, err := p.Acquire(t.Context(), want)
					if err != nil {
						t.Error(err)
						return
					}
					var out strings.Builder
					if err := r.Checkout(t.Context(), want); err != nil {
						t.Error(err)
					} else if err := r.Run(t.Context(), Command{Args: []string{"tool", "ls", "/only"}, Stdout: &out}); err != nil {
						t.Error(err)
					} else if got, err := r.Capture(t.Context()); err != nil {
						t.Error(err)
					} else if d := diff(want, got); d != "" || out.String() != name+"\n" {
						t.Error(d, out.String())
					}
					release()
				}
			})
		}
		users.Wait()
	})
}

// A helper that dies gives an error and a root that the next Checkout puts right.
func TestSandboxHelperKilled(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		if m == Plain {
			return // as its Limits say: what the command started would live on
		}
		f := newFixture(t, m)
		want := f.tree(f.file("a", "1", 0o644))
		f.checkout(want)
		killed := writerFunc(func(p []byte) (int, error) {
			return len(p), f.root.helper.cmd.Process.Kill()
		})
		err := f.root.Run(t.Context(), Command{Args: []string{"tool", "breed", ".."}, Stdout: killed})
		if err == nil || !strings.Contains(err.Error(), "helper ended") {
			t.Errorf("error %v", err)
		}
		if _, err := f.root.Capture(t.Context()); !errors.Is(err, errNotCurrent) {
			t.Errorf("Capture: %v", err)
		}
		f.checkout(want)
		if d := diff(want, f.capture()); d != "" {
			t.Error(d)
		}
	})
}

// RemoveAll removes what ordinary removal cannot.
func TestSandboxRemoveAll(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		d := filepath.Join(t.TempDir(), "root")
		r, err := NewRoot(t.Context(), f.st, d, Options{Mode: m})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Checkout(t.Context(), f.everything()); err != nil {
			t.Fatal(err)
		}
		if err := RemoveAll(t.Context(), d, Options{Mode: m}); !errors.Is(err, errLocked) {
			t.Errorf("a root in use: %v", err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if m == Range && os.RemoveAll(d) == nil {
			t.Error("os.RemoveAll would do")
		}
		for range 2 { // the second finds nothing
			if err := RemoveAll(t.Context(), d, Options{Mode: m}); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(d); !errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
		}
		if err := r.Checkout(t.Context(), f.tree()); err == nil {
			t.Error("Checkout after Close")
		}
		if err := r.Remove(); err != nil {
			t.Error("Remove after Close: ", err)
		}
	})
}

// Others cannot reach the set-user-id programs in a root.
func TestSandboxClosedToOthers(t *testing.T) {
	f := newFixture(t, modes()[0])
	info, err := os.Stat(f.root.dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestSandboxDetect(t *testing.T) {
	m, reason, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	want, words := Range, "subordinate"
	if os.Geteuid() == 0 {
		want, words = Chroot, "root"
	}
	if m != want || !strings.Contains(reason, words) {
		t.Errorf("%s because %q", m, reason)
	}
	t.Setenv(ModeVariable, string(Single))
	if m, reason, err = Detect(); err != nil || m != Single || !strings.Contains(reason, ModeVariable) {
		t.Errorf("%s because %q, %v", m, reason, err)
	}
	t.Setenv(ModeVariable, "magic")
	if _, _, err = Detect(); status(err) != 3 || !strings.Contains(err.Error(), "magic") {
		t.Errorf("error %v", err)
	}
}

// status is the exit status of an error.
func status(err error) int {
	var s interface{ ExitStatus() int }
	if errors.As(err, &s) {
		return s.ExitStatus()
	}
	return -1
}

func TestSandboxMissingMapTools(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root needs none")
	}
	defer func(old []string) { mapToolDirs = old }(mapToolDirs)
	mapToolDirs = nil
	t.Setenv("PATH", t.TempDir())
	_, err := NewRoot(t.Context(), nil, t.TempDir(), Options{})
	if status(err) != 3 || !strings.Contains(err.Error(), "newuidmap and newgidmap not found") || !strings.Contains(err.Error(), "install") {
		t.Errorf("error %v", err)
	}
	// One that may not write maps.
	d := t.TempDir()
	for _, name := range []string{"newuidmap", "newgidmap"} {
		if err := os.WriteFile(filepath.Join(d, name), []byte("#!/bin/sh\necho no way >&2\nexit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", d)
	_, err = NewRoot(t.Context(), nil, t.TempDir(), Options{})
	if status(err) != 3 || !strings.Contains(err.Error(), "no way") {
		t.Errorf("error %v", err)
	}
}

// TestWithoutRange runs what follows as a user without subordinate ids.
func TestWithoutRange(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can create a user")
	}
	usertest.New(t, usertest.WithoutRange).Run(t, "^TestRangeLacking$", "IMAGEFACTORY_TEST_WITHOUT_RANGE=1")
}

func TestRangeLacking(t *testing.T) {
	if os.Getenv("IMAGEFACTORY_TEST_WITHOUT_RANGE") == "" {
		t.Skip("TestWithoutRange runs it")
	}
	d := filepath.Join(t.TempDir(), "root")
	_, err := NewRoot(t.Context(), nil, d, Options{})
	if status(err) != 3 || !strings.Contains(err.Error(), "/etc/subuid gives user iftest") || !strings.Contains(err.Error(), "usermod --add-subuids") {
		t.Errorf("error %v", err)
	}
	r, err := NewRoot(t.Context(), nil, d, Options{AllowSingle: true})
	if err != nil {
		t.Fatal(err)
	}
	if r.Mode() != Single {
		t.Errorf("mode %s", r.Mode())
	}
	if err := r.Remove(); err != nil {
		t.Error(err)
	}
	m, reason, err := Detect()
	if err != nil || m != Single || !strings.Contains(reason, "usermod") {
		t.Errorf("%s because %q, %v", m, reason, err)
	}
	if _, err := NewRoot(t.Context(), nil, d, Options{Mode: Chroot}); status(err) != 3 {
		t.Errorf("chroot as an ordinary user: %v", err)
	}
}

// A root user who may not create namespaces gets Plain.
func TestRootWithoutNamespaces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	h, err := startHelper(context.Background(), plan{mode: Chroot}, setup{Dir: t.TempDir()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.stop()
	if h.mode != Chroot {
		t.Errorf("mode %s", h.mode)
	}
}
