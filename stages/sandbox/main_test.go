package sandbox

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// The tests run in roots whose only program is the test binary itself, as
// /bin/tool. What it does there is one of the functions in toolFuncs, by name.

// toolFuncs are what /bin/tool can do; files with tests add to it.
var toolFuncs = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	Init()
	if len(os.Args) > 1 && filepath.Base(os.Args[0]) == "tool" {
		f := toolFuncs[os.Args[1]]
		if f == nil {
			fmt.Fprintf(os.Stderr, "no tool %q\n", os.Args[1])
			os.Exit(99)
		}
		if err := f(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fixture is a root with a store.
type fixture struct {
	*testing.T
	st   *store.Store
	root *Root
	// tools are the test binary as /bin/tool and the libraries it needs.
	tools []tree.Entry
}

// modes are the modes that can be tried as the user who runs the test.
func modes() []Mode {
	if os.Geteuid() == 0 {
		return []Mode{Chroot, Plain}
	}
	return []Mode{Range, Single}
}

// eachMode runs test in every mode there is for this user.
func eachMode(t *testing.T, test func(t *testing.T, m Mode)) {
	for _, m := range modes() {
		t.Run(string(m), func(t *testing.T) { test(t, m) })
	}
}

// newFixture makes a root of mode m.
func newFixture(t *testing.T, m Mode) *fixture {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	root, err := NewRoot(t.Context(), st, filepath.Join(t.TempDir(), "root"), Options{Mode: m})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Remove(); err != nil {
			t.Error(err)
		}
	})
	if root.Mode() != m {
		t.Fatalf("mode %s instead of %s", root.Mode(), m)
	}
	f := &fixture{T: t, st: st, root: root}
	b, err := st.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Abort()
	add := func(source, path string) {
		in, err := os.Open(source)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		e := tree.Entry{Path: path, Type: tree.Regular, Mode: 0o755}
		if e.Digest, e.Size, err = b.Add(in); err != nil {
			t.Fatal(err)
		}
		f.tools = append(f.tools, e)
	}
	add("/proc/self/exe", "bin/tool")
	for _, lib := range libraries(t, "/proc/self/exe", map[string]bool{}) {
		add(lib, strings.TrimPrefix(lib, "/"))
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	return f
}

// libraries returns the paths of the dynamic loader and the shared libraries that a
// program needs: none when the test was built with CGO_ENABLED=0.
func libraries(t *testing.T, program string, seen map[string]bool) []string {
	t.Helper()
	exe, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	var found []string
	for _, p := range exe.Progs {
		if p.Type == elf.PT_INTERP {
			name, err := io.ReadAll(p.Open())
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, strings.TrimRight(string(name), "\x00"))
		}
	}
	names, err := exe.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		for _, dir := range []string{"/lib64", "/usr/lib64", "/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu"} {
			path := filepath.Join(dir, name)
			if _, err := os.Stat(path); err == nil && !slices.Contains(found, path) {
				found = append(found, path)
				for _, lib := range libraries(t, path, seen) {
					if !slices.Contains(found, lib) {
						found = append(found, lib)
					}
				}
				break
			}
		}
	}
	return found
}

// file returns an entry for a regular file.
func (f *fixture) file(path, contents string, mode uint32) tree.Entry {
	f.Helper()
	d, err := f.st.Put([]byte(contents))
	if err != nil {
		f.Fatal(err)
	}
	return tree.Entry{Path: path, Type: tree.Regular, Mode: mode, Digest: d, Size: int64(len(contents)), MTime: tree.Time{Sec: 1e9}}
}

// dir returns an entry for a directory.
func dir(path string, mode uint32) tree.Entry {
	return tree.Entry{Path: path, Type: tree.Directory, Mode: mode, MTime: tree.Time{Sec: 1e9, Nsec: 5}}
}

// tree returns the tree of entries, a root directory, /bin and /bin/tool, and what
// directories are missing.
func (f *fixture) tree(entries ...tree.Entry) *tree.Tree {
	f.Helper()
	e := tree.Empty(tree.Time{Sec: 7, Nsec: 7}).Edit()
	all := append([]tree.Entry{dir("bin", 0o755)}, f.tools...)
	all = append(all, entries...)
	for _, x := range all {
		if err := e.MkdirAll(tree.Parent(x.Path), dir("", 0o755)); err != nil {
			f.Fatal(err)
		}
		e.Put(x)
	}
	t, err := e.Tree()
	if err != nil {
		f.Fatal(err)
	}
	return t
}

// checkout checks t out.
func (f *fixture) checkout(t *tree.Tree) {
	f.Helper()
	if err := f.root.Checkout(f.Context(), t); err != nil {
		f.Fatal(err)
	}
}

// capture captures the tree.
func (f *fixture) capture() *tree.Tree {
	f.Helper()
	t, err := f.root.Capture(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	return t
}

// run runs a tool and returns its output; it must succeed.
func (f *fixture) run(args ...string) string {
	f.Helper()
	out, err := f.try(Command{}, args...)
	if err != nil {
		f.Fatalf("%q: %v\n%s", args, err, out)
	}
	return out
}

// try runs a tool and returns its output.
func (f *fixture) try(c Command, args ...string) (string, error) {
	f.Helper()
	var out bytes.Buffer
	c.Args = append([]string{"/bin/tool"}, args...)
	c.Stdout, c.Stderr = &out, &out
	err := f.root.Run(f.Context(), c)
	return out.String(), err
}

// diff describes how trees differ, or returns nothing.
func diff(want, got *tree.Tree) string {
	var b strings.Builder
	for _, c := range tree.Diff(want, got) {
		fmt.Fprintf(&b, "%q:\n", c.Path)
		if c.Before != nil {
			fmt.Fprintf(&b, "  want %+v\n", *c.Before)
		}
		if c.After != nil {
			fmt.Fprintf(&b, "  got  %+v\n", *c.After)
		}
	}
	return b.String()
}

// notifyAll catches every signal that can be caught.
func notifyAll(c chan os.Signal) { signal.Notify(c) }
