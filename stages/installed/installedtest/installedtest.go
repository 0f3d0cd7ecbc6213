// Package installedtest gives tests real roots with their package databases: of Debian's packages as the host's apt has
// them, and of RPM packages that rpmbuild makes; and it writes trees to disk for the real package managers to look at.
package installedtest

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Debian returns the root of the packages in names and of all that they need, as the host's apt chooses them; what is
// essential must be named. No maintainer script has run, but the database calls the packages installed. The archives are kept in
// the user's cache.
func Debian(t testing.TB, c *stages.Cache, names ...string) *tree.Tree {
	t.Helper()
	root := merge(t, c, packages.Deb{}, download(t, names), func(ctx context.Context, run *stages.Run, out packages.Output) (rootfs.Root, error) {
		return rootfs.Run(ctx, run, out.Packages, rootfs.Options{
			Arch: "amd64", Links: map[string]string{"/bin": "usr/bin", "/sbin": "usr/sbin", "/lib": "usr/lib", "/lib64": "usr/lib64"},
			Epoch: stagetest.Epoch, Database: true,
		})
	})
	e, _ := root.Lookup("var/lib/dpkg/status")
	status := stagetest.File(t, c.Store, e.Path, strings.ReplaceAll(stagetest.Contents(t, c.Store, e), "Status: install ok unpacked\n", "Status: install ok installed\n"))
	edit := root.Edit()
	edit.Put(status)
	root, err := edit.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// download returns the archives of packages.
func download(t testing.TB, names []string) []string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "imagefactory-test-packages", "archives")
	if err := os.MkdirAll(filepath.Join(dir, "partial"), 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(dir, "test-lock")) // tests of several packages may come at the same time
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	// What apt chose once does for later runs, too.
	chosen := filepath.Join(dir, "set-"+store.Sum([]byte(strings.Join(names, " "))).Hex()[:16])
	if list, err := os.ReadFile(chosen); err == nil {
		debs := strings.Fields(string(list))
		if !slices.ContainsFunc(debs, func(path string) bool { _, err := os.Stat(path); return err != nil }) {
			return debs
		}
	}
	status := filepath.Join(dir, "no-status")
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	args := func(more ...string) []string {
		return slices.Concat([]string{
			"-q", "-y", "--no-install-recommends", "-o", "Dir::State::status=" + status, "-o", "Dir::Cache::archives=" + dir, "-o", "Debug::NoLocking=1",
		}, more, []string{"install"}, names)
	}
	Command(t, "apt-get", args("--download-only")...)
	var debs []string
	for line := range strings.Lines(Command(t, "apt-get", args("--simulate")...)) {
		words := strings.Fields(line) // Inst NAME (VERSION REPOSITORY [ARCH])
		if len(words) < 4 || words[0] != "Inst" {
			continue
		}
		version := strings.ReplaceAll(strings.TrimPrefix(words[2], "("), ":", "%3a")
		found, err := filepath.Glob(filepath.Join(dir, words[1]+"_"+version+"_*.deb"))
		if err != nil || len(found) != 1 {
			t.Fatalf("apt downloaded %v of %s (%v)", found, line, err)
		}
		debs = append(debs, found[0])
	}
	if len(debs) == 0 {
		t.Fatal("apt chose no packages")
	}
	if err := os.WriteFile(chosen, []byte(strings.Join(debs, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return debs
}

// Spec is an RPM package to build.
type Spec struct {
	Name     string
	Version  string // "1" when empty
	Preamble string // lines like "Requires: x"
	Install  string // commands that make files below %{buildroot}
	Files    string // lines of %files
	Scripts  string // sections of scriptlets
}

// RPM returns the root of packages that rpmbuild makes of specs.
func RPM(t testing.TB, c *stages.Cache, specs ...Spec) *tree.Tree {
	t.Helper()
	dir := t.TempDir()
	args := []string{
		"-bb", "--quiet", "--nodeps", "--define", "_topdir " + dir, "--define", "_build_id_links none", "--define", "__os_install_post %{nil}",
		"--define", "_rpmfilename %%{NAME}-%%{VERSION}.rpm", "--define", "_binary_payload w1.gzdio",
	}
	var files []string
	for _, s := range specs {
		if s.Version == "" {
			s.Version = "1"
		}
		text := fmt.Sprintf("Name: %s\nVersion: %s\nRelease: 1\nSummary: test\nLicense: MIT\nVendor: Test\nBuildArch: noarch\nAutoReqProv: no\n%s\n%%description\ntest\n%%prep\n%%build\n%%install\n%s\n%s\n%%files\n%s",
			s.Name, s.Version, s.Preamble, s.Install, s.Scripts, s.Files)
		path := filepath.Join(dir, s.Name+"-"+s.Version+".spec")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
		files = append(files, filepath.Join(dir, "RPMS", s.Name+"-"+s.Version+".rpm"))
	}
	Command(t, "rpmbuild", args...)
	return merge(t, c, packages.RPM{}, files, func(ctx context.Context, run *stages.Run, out packages.Output) (rootfs.Root, error) {
		return rootfs.RunRPM(ctx, run, out.Packages, rootfs.RPMOptions{Epoch: stagetest.Epoch, Docs: true, Database: "/var/lib/rpm"})
	})
}

// merge unpacks archives and makes a root of them.
func merge(t testing.TB, c *stages.Cache, format packages.Format, files []string, run func(context.Context, *stages.Run, packages.Output) (rootfs.Root, error)) *tree.Tree {
	t.Helper()
	client, err := fetch.New(fetch.Options{Dir: c.Downloads()})
	if err != nil {
		t.Fatal(err)
	}
	var sources []packages.Source
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, packages.Source{Name: filepath.Base(path), Digest: store.Sum(data), Size: int64(len(data)), URLs: []string{(&url.URL{Scheme: "file", Path: path}).String()}})
	}
	root, log, err := stagetest.Run(t, c, func(ctx context.Context, r *stages.Run) (rootfs.Root, error) {
		out, err := packages.Run(ctx, r, client, format, sources)
		if err != nil {
			return rootfs.Root{}, err
		}
		return run(ctx, r, out)
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	return stagetest.Load(t, c.Store, root.Tree)
}

// Extract writes a tree, devices left out, into a new directory and returns its path.
func Extract(t testing.TB, st *store.Store, root *tree.Tree) string {
	t.Helper()
	dir := t.TempDir()
	links := map[uint32]string{}
	for _, e := range root.Entries() {
		at := filepath.Join(dir, e.Path)
		var err error
		switch first := links[e.Link]; {
		case e.Link != 0 && first != "":
			if err := os.Link(first, at); err != nil {
				t.Fatal(err)
			}
			continue
		case e.Type == tree.Directory:
			err = os.MkdirAll(at, 0o755)
		case e.Type == tree.Symlink:
			err = os.Symlink(e.Target, at)
		case e.Type == tree.Regular:
			var p []byte
			if p, err = st.ReadAll(e.Digest); err == nil {
				err = os.WriteFile(at, p, 0o600)
			}
		default:
			continue
		}
		if err == nil {
			err = os.Lchown(at, int(e.UID), int(e.GID))
		}
		if err == nil && e.Type != tree.Symlink {
			err = unix.Chmod(at, e.Mode)
		}
		if err != nil {
			t.Fatalf("this test runs as root: %v", err)
		}
		links[e.Link] = at
		for _, x := range e.Xattrs {
			if err := unix.Lsetxattr(at, x.Name, x.Value, 0); err != nil {
				t.Fatal(err)
			}
		}
		if e.Type != tree.Directory {
			when := unix.NsecToTimespec(e.MTime.Sec*1e9 + int64(e.MTime.Nsec))
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, at, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// Command runs a program that the test needs and returns what it wrote; a failure ends the test.
func Command(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "HOME="+t.TempDir())
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v (make test installs what the tests need)\n%s%s", name, strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String()
}

// RPMCommand runs one of rpm's programs on a root whose database is in SQLite's format.
func RPMCommand(t testing.TB, name, root string, args ...string) (string, error) {
	t.Helper()
	args = append([]string{"--root=" + root, "--define=_dbpath /var/lib/rpm", "--define=_db_backend sqlite"}, args...)
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	return string(out), err
}
