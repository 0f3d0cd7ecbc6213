// Package testkernel gives tests a real kernel with its modules: that of a distribution's package, fetched once with apt and kept.
package testkernel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// pkg is a package that always depends on the newest small kernel there is, with drivers for virtual machines only.
const pkg = "linux-image-cloud-amd64"

// Kernel is an unpacked kernel.
type Kernel struct {
	Dir     string // has /boot and /lib/modules
	Release string
}

// Image is the path of the kernel itself.
func (k Kernel) Image() string { return filepath.Join(k.Dir, "boot", "vmlinuz-"+k.Release) }

// Modules is the directory of the modules, with the indexes that depmod makes.
func (k Kernel) Modules() string { return filepath.Join(k.Dir, "lib/modules", k.Release) }

// Get returns the kernel, from the user's cache if it is there.
func Get(t testing.TB) Kernel {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	k, err := get(filepath.Join(base, "imagefactory-test-kernel"))
	if err != nil {
		t.Fatalf("a kernel for this test: %v", err)
	}
	return k
}

func get(cache string) (Kernel, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Kernel{}, err
	}
	// Tests of several packages may come at the same time.
	lock, err := os.Create(filepath.Join(cache, "lock"))
	if err != nil {
		return Kernel{}, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return Kernel{}, err
	}
	dir := filepath.Join(cache, "root")
	if k, err := unpacked(dir); err == nil {
		return k, nil
	}
	work, err := os.MkdirTemp(cache, "new-")
	if err != nil {
		return Kernel{}, err
	}
	defer os.RemoveAll(work)
	depends, err := run(work, "apt-cache", "depends", "--no-recommends", "--no-suggests", pkg)
	if err != nil {
		return Kernel{}, err
	}
	_, name, found := strings.Cut(string(depends), "Depends: ")
	if !found {
		return Kernel{}, fmt.Errorf("apt knows no %s: %s", pkg, depends)
	}
	name, _, _ = strings.Cut(name, "\n")
	if _, err := run(work, "apt-get", "download", "-q", name); err != nil {
		return Kernel{}, err
	}
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(debs) != 1 {
		return Kernel{}, fmt.Errorf("apt downloaded %v (%v)", debs, err)
	}
	root := filepath.Join(work, "root")
	if _, err := run(work, "dpkg-deb", "-x", debs[0], root); err != nil {
		return Kernel{}, err
	}
	k, err := unpacked(root)
	if k.Release == "" {
		return Kernel{}, err
	}
	if _, err := run(work, "depmod", "-b", root, k.Release); err != nil {
		return Kernel{}, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return Kernel{}, err
	}
	if err := os.Rename(root, dir); err != nil {
		return Kernel{}, err
	}
	return unpacked(dir)
}

// unpacked returns the kernel in a directory. Without depmod's indexes, it and an error.
func unpacked(dir string) (Kernel, error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return Kernel{}, errors.New("there is no kernel")
	}
	k := Kernel{Dir: dir, Release: strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")}
	_, err = os.Stat(filepath.Join(k.Modules(), "modules.dep"))
	return k, err
}

func run(dir, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, stderr.Bytes())
	}
	return out, nil
}
