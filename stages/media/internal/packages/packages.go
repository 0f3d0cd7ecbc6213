// Package packages gives tests what real packages of a distribution hold: the usual kernel with all its modules, GRUB,
// signed boot programs. They are fetched once with apt, unpacked, and kept in the user's cache.
package packages

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Unpacked returns a directory that holds the files of a package.
func Unpacked(t testing.TB, name string) string {
	t.Helper()
	return cached(t, name, func(work, root string) error {
		if _, err := run(work, "apt-get", "download", "-q", name); err != nil {
			return err
		}
		debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
		if err != nil || len(debs) != 1 {
			return fmt.Errorf("apt downloaded %v (%v)", debs, err)
		}
		_, err = run(work, "dpkg-deb", "-x", debs[0], root)
		return err
	})
}

// Kernel is an unpacked kernel with its modules, indexed by depmod.
type Kernel struct {
	Dir     string // has boot/ and lib/modules/
	Release string
}

// Newest returns the newest of the usual kernels.
func Newest(t testing.TB) Kernel {
	t.Helper()
	const latest = "linux-image-amd64"
	out, err := run(".", "apt-cache", "depends", "--no-recommends", "--no-suggests", latest)
	if err != nil {
		t.Fatalf("this test needs apt: %v", err)
	}
	_, pkg, found := strings.Cut(out, "Depends: ")
	if !found {
		t.Fatalf("apt knows no %s: %s", latest, out)
	}
	pkg, _, _ = strings.Cut(pkg, "\n")
	dir := Unpacked(t, pkg)
	k := Kernel{Dir: dir, Release: strings.TrimPrefix(pkg, "linux-image-")}
	if _, err := os.Stat(filepath.Join(dir, "lib/modules", k.Release, "modules.dep")); err != nil {
		if _, err := run(".", "depmod", "-b", dir, k.Release); err != nil {
			t.Fatalf("this test needs depmod (package kmod): %v", err)
		}
	}
	return k
}

// cached returns the directory name of the cache, which fill fills when it is not there.
func cached(t testing.TB, name string, fill func(work, root string) error) string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(base, "imagefactory-test-packages")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(cache, "lock")) // tests of several packages may come at the same time
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, name)
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	work, err := os.MkdirTemp(cache, "new-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	root := filepath.Join(work, "root")
	if err := fill(work, root); err != nil {
		t.Fatalf("the package %s, which this test needs: %v", name, err)
	}
	if err := os.Rename(root, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func run(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, stderr.Bytes())
	}
	return string(out), nil
}

// Entries returns the kernel and its modules as a root with merged /usr has them.
func (k Kernel) Entries(t testing.TB, st *store.Store) []tree.Entry {
	t.Helper()
	modules := "lib/modules/" + k.Release
	entries := append(Entries(t, st, k.Dir, "boot", "boot"), Entries(t, st, k.Dir, modules, "usr/"+modules)...)
	return append(entries, stagetest.Link("lib", "usr/lib"))
}

// Entries returns the regular files below the directory from of dir, as files below to.
func Entries(t testing.TB, st *store.Store, dir, from, to string) []tree.Entry {
	t.Helper()
	batch, err := st.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	defer batch.Abort()
	var entries []tree.Entry
	above := filepath.Join(dir, from)
	err = filepath.WalkDir(above, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		digest, size, err := batch.Add(f)
		if err != nil {
			return err
		}
		below, err := filepath.Rel(above, p)
		entries = append(entries, tree.Entry{
			Path: filepath.ToSlash(filepath.Join(to, below)), Type: tree.Regular, Mode: 0o644,
			MTime: tree.Time{Sec: stagetest.Epoch}, Digest: digest, Size: size,
		})
		return err
	})
	if err == nil {
		err = batch.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	return entries
}
