package configure

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// noarch is what specifications of test packages begin with.
const noarch = `Name: %s
Version: %s
Release: 1
Summary: test
License: none
BuildArch: noarch
AutoReqProv: no
%%description
test
%%prep
%%build
%%install
`

// A spec is a package to build.
type spec struct {
	name, version string
	preamble      string // lines like "Requires: x"
	install       string // commands that make files below %{buildroot}
	files         string // %files list
	scripts       string // scriptlet sections
}

// build builds packages with rpmbuild and returns their files in the order of specs.
func build(t testing.TB, specs ...spec) []string {
	t.Helper()
	dir := t.TempDir()
	args := []string{
		"-bb", "--quiet", "--nodeps",
		"--define", "_topdir " + dir, "--define", "_build_id_links none", "--define", "__os_install_post %{nil}",
		"--define", "_rpmfilename %%{NAME}.rpm", "--define", "_binary_payload w1.gzdio",
	}
	var built []string
	for _, s := range specs {
		if s.version == "" {
			s.version = "1"
		}
		head := strings.Replace(fmt.Sprintf(noarch, s.name, s.version), "AutoReqProv: no\n", "AutoReqProv: no\n"+s.preamble, 1)
		path := filepath.Join(dir, s.name+".spec")
		if err := os.WriteFile(path, []byte(head+s.install+"\n"+s.scripts+"\n%files\n"+s.files), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
		built = append(built, filepath.Join(dir, "RPMS", s.name+".rpm"))
	}
	cmd := exec.Command(need(t, "rpmbuild"), args...)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("rpmbuild: %v\n%s", err, out)
	}
	return built
}

// need returns the path of a program that a test cannot do without.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%v: make test installs what the tests need", err)
	}
	return path
}

// readHeader returns the header of a package file as the database keeps it.
func readHeader(t testing.TB, path string) []byte {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const lead, magic = 96, 8
	size := func(p []byte) int {
		return 8 + 16*int(binary.BigEndian.Uint32(p)) + int(binary.BigEndian.Uint32(p[4:]))
	}
	p = p[lead:]
	signature := size(p[magic:])
	p = p[magic+(signature+7)/8*8:]
	return p[magic : magic+size(p[magic:])]
}

// programs are what scriptlets of tests use.
var programs = []string{"sh", "cat", "sed", "stat", "sleep"}

// native configures packages with RunRPM in a root that holds programs, other files
// by path, and what the headers say of the packages' files, which are empty.
func native(t testing.TB, paths []string, o RPMOptions, others map[string]string) (result, error) {
	t.Helper()
	return nativeWith(t, paths, o, others, func(*tree.Entry) {})
}

// nativeWith is native with entries of packages changed.
func nativeWith(t testing.TB, paths []string, o RPMOptions, others map[string]string, change func(*tree.Entry)) (result, error) {
	t.Helper()
	cache := stagetest.Cache(t)
	pool := stagetest.Pool(t, cache)
	var pkgs []packages.Package
	edit := stagetest.Tree(t).Edit()
	put := func(e tree.Entry) {
		if err := edit.MkdirAll(tree.Parent(e.Path), stagetest.Dir("")); err != nil {
			t.Fatal(err)
		}
		if old, there := edit.Get(e.Path); !there || old.Type != tree.Directory {
			edit.Put(e)
		}
	}
	for _, e := range stagetest.Programs(t, cache.Store, programs...) {
		put(e)
	}
	for path, content := range others {
		put(stagetest.Mode(stagetest.File(t, cache.Store, path, content), 0o755))
	}
	for _, path := range paths {
		blob := readHeader(t, path)
		h, err := header.Parse(blob)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range h.Files() {
			e := stagetest.File(t, cache.Store, strings.TrimPrefix(f.Path, "/"), "")
			switch {
			case f.IsGhost():
				continue
			case f.IsDir():
				e = stagetest.Dir(e.Path)
			case !f.IsRegular():
				e = stagetest.Link(e.Path, f.Link)
			}
			if e.Type != tree.Symlink {
				e.Mode = uint32(f.Mode) & 0o7777
			}
			change(&e)
			put(e)
		}
		control, err := json.Marshal(map[string][]byte{"header": blob})
		if err != nil {
			t.Fatal(err)
		}
		digest, err := cache.Store.Put(control)
		if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, packages.Package{Name: h.Name(), Version: h.EVR().String(), Arch: h.Arch(), Control: digest})
	}
	whole, err := edit.Tree()
	if err != nil {
		t.Fatal(err)
	}
	if o.Session.Epoch == 0 {
		o.Session.Epoch = stagetest.Epoch
	}
	r := result{cache: cache}
	var root rootfs.Root
	root, r.log, err = stagetest.Run(t, cache, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return RunRPM(ctx, run, pool, rootfs.Root{Tree: stagetest.Save(t, cache.Store, whole)}, pkgs, o)
	})
	if err == nil {
		r.tree = stagetest.Load(t, cache.Store, root.Tree)
	}
	return r, err
}

// real installs packages, in the order of their names, with the host's rpm into a root that
// holds the same programs. It returns the root and what rpm printed.
func real(t testing.TB, paths []string, others map[string]string) (root, output string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("rpm changes its root to install packages: run this test as root")
	}
	root = t.TempDir()
	cache := stagetest.Cache(t)
	write := func(e tree.Entry) {
		path := filepath.Join(root, e.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch e.Type {
		case tree.Symlink:
			err = os.Symlink(e.Target, path)
		case tree.Regular:
			err = os.WriteFile(path, []byte(stagetest.Contents(t, cache.Store, e)), os.FileMode(e.Mode))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range stagetest.Programs(t, cache.Store, programs...) {
		write(e)
	}
	for path, content := range others {
		write(stagetest.Mode(stagetest.File(t, cache.Store, path, content), 0o755))
	}
	home := t.TempDir()
	sortedPaths := slices.Clone(paths)
	slices.SortFunc(sortedPaths, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	cmd := exec.Command(need(t, "rpm"), append([]string{
		"--root", root, "--dbpath", "/var/lib/rpm", "--define", "_db_backend sqlite", "--define", "_install_script_path /sbin:/bin:/usr/sbin:/usr/bin",
		"-i", "-v", "--nosignature", "--nodigest", "--nodeps",
	}, sortedPaths...)...)
	cmd.Env = append(os.Environ(), "HOME="+home)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err := cmd.Run()
	output = b.String()
	if err != nil {
		output += err.Error() + "\n"
	}
	return root, output
}

// epoch is the options that most tests use.
var epoch = RPMOptions{Session: session.Options{Epoch: stagetest.Epoch}}
