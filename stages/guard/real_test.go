package guard

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// full says that the long tests run, too.
func full() bool { return os.Getenv("IMAGEFACTORY_TEST") == "full" }

// machine returns the programs, libraries and configuration of the machine the test runs on as a tree, up to a number of
// entries, without files larger than a number of bytes.
func machine(t testing.TB, st *store.Store, most int, largest int64, dirs ...string) *tree.Tree {
	t.Helper()
	batch, err := st.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	defer batch.Abort()
	e := tree.Empty(tree.Time{Sec: stagetest.Epoch}).Edit()
	count := 0
	for _, name := range []string{"bin", "sbin", "lib", "lib64", "lib32", "libx32"} {
		if target, err := os.Readlink("/" + name); err == nil {
			e.Put(stagetest.Link(name, target))
		}
	}
	for _, dir := range dirs {
		err := filepath.WalkDir("/"+dir, func(p string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
				return nil
			}
			if err != nil || count >= most {
				return err
			}
			name := p[1:]
			if err := e.MkdirAll(tree.Parent(name), stagetest.Dir("")); err != nil {
				return err
			}
			switch {
			case d.IsDir():
				e.Put(stagetest.Dir(name))
			case d.Type()&fs.ModeSymlink != 0:
				target, err := os.Readlink(p)
				if err != nil {
					return err
				}
				e.Put(stagetest.Link(name, target))
			case d.Type().IsRegular():
				info, err := d.Info()
				if err != nil || info.Size() > largest {
					return err
				}
				f, err := os.Open(p)
				if err != nil {
					return err
				}
				defer f.Close()
				entry := tree.Entry{Path: name, Type: tree.Regular, Mode: uint32(info.Mode().Perm()), MTime: tree.Time{Sec: stagetest.Epoch}}
				if entry.Digest, entry.Size, err = batch.Add(f); err != nil {
					return err
				}
				e.Put(entry)
			}
			count++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Commit(); err != nil {
		t.Fatal(err)
	}
	root, err := e.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// programsOf returns the ELF files of a tree that have a dynamic section.
func programsOf(t testing.TB, s *side) []program {
	t.Helper()
	var list []program
	for _, e := range s.t.Entries() {
		if e.Type != tree.Regular || isModule(e.Path) {
			continue
		}
		f, err := s.elf(e)
		if err != nil {
			t.Fatal(err)
		}
		if f != nil && f.dynamic {
			list = append(list, program{e, f})
		}
	}
	return list
}

// TestResolutionIsLdds compares the libraries found for real files with those that ldd finds, which asks ld.so itself.
func TestResolutionIsLdds(t *testing.T) {
	if _, err := exec.LookPath("ldd"); err != nil {
		t.Fatal("this test needs ldd (package libc-bin)")
	}
	st := stagetest.Cache(t).Store
	dirs := []string{"etc/ld.so.conf", "etc/ld.so.conf.d", "usr/lib/x86_64-linux-gnu", "usr/lib/systemd", "usr/bin", "usr/lib64"}
	most, step, largest := 6000, 9, int64(1<<20)
	if full() {
		dirs = append(dirs, "usr/sbin", "usr/libexec", "usr/lib/ssl", "usr/local/lib", "usr/lib/git-core", "usr/lib/python3", "usr/lib/gcc")
		most, step, largest = 1<<30, 1, 64<<20
	}
	root := machine(t, st, most, largest, dirs...)
	s := newChecker(context.Background(), st, root, root, nil).after
	all := programsOf(t, s)
	interpreters := map[string]platform{}
	for _, p := range all {
		if p.facts.interp != "" {
			interpreters[p.facts.interp] = platform{p.facts.class, p.facts.machine}
		}
	}
	if err := s.prepare(interpreters); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files with dynamic sections; interpreters %v; directories %v, %v", len(all), interpreters, s.libraries.configured, s.libraries.system)
	var chosen []program
	for i, p := range all {
		// ldd runs files without an interpreter by the dynamic linker, which asks for the same architecture.
		if i%step == 0 && p.facts.machine == 62 && p.facts.class == 2 && !strings.HasPrefix(p.Name(), "ld-linux") {
			chosen = append(chosen, p)
		}
	}
	compared, missing := 0, 0
	for len(chosen) > 0 {
		n := min(100, len(chosen))
		args := []string{}
		for _, p := range chosen[:n] {
			args = append(args, "/"+p.Path)
		}
		ldd := exec.Command("ldd", args...)
		ldd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
		out, _ := ldd.Output() // it fails when a file has no libraries
		byFile := map[string]map[string]string{}
		var current map[string]string
		scanner := bufio.NewScanner(strings.NewReader(string(out)))
		for scanner.Scan() {
			line := scanner.Text()
			if file, ok := strings.CutSuffix(line, ":"); ok && strings.HasPrefix(file, "/") {
				current = map[string]string{}
				byFile[file] = current
				continue
			}
			if current == nil && n == 1 {
				current = map[string]string{}
				byFile[args[0]] = current
			}
			name, rest, ok := strings.Cut(strings.TrimSpace(line), " => ")
			if !ok || current == nil {
				continue
			}
			path, _, _ := strings.Cut(rest, " (")
			if path == "not found" {
				path = ""
			}
			current[name] = path
		}
		for _, p := range chosen[:n] {
			want, ok := byFile["/"+p.Path]
			if !ok {
				continue
			}
			for _, name := range p.facts.needed {
				theirs, ok := want[name]
				if !ok { // ld.so itself
					continue
				}
				ours, err := s.resolve(p.Path, p.facts, name, s.expandDirs(p.Path, p.facts, nil))
				if err != nil {
					t.Fatal(err)
				}
				compared++
				if theirs == "" {
					missing++
				}
				if ours != "" {
					ours = "/" + ours
				}
				if !sameFile(ours, theirs) && !(ours == "" && loadedBefore(s, p, name, want)) {
					if _, ok := s.file(theirs); theirs != "" && !ok {
						continue // in a directory that the tree does not have
					}
					t.Errorf("/%s needs %s: we find %q, ldd finds %q", p.Path, name, ours, theirs)
				}
			}
		}
		chosen = chosen[n:]
	}
	t.Logf("%d needs compared, %d of them not found by either", compared, missing)
	if compared < 200 {
		t.Errorf("only %d needs were compared", compared)
	}
}

// loadedBefore reports whether ld.so found a library only because another of the file's libraries had loaded it.
func loadedBefore(s *side, p program, name string, found map[string]string) bool {
	for _, file := range found {
		if f, e, err := s.factsAt(file); err == nil && f != nil && slices.Contains(f.needed, name) && e.Path != p.Path {
			return true
		}
	}
	return false
}

// sameFile reports whether two paths of the machine lead to one file.
func sameFile(a, b string) bool {
	if a == b {
		return true
	}
	x, err := filepath.EvalSymlinks(a)
	if err != nil {
		return false
	}
	y, err := filepath.EvalSymlinks(b)
	return err == nil && x == y
}

// TestNothingIsNewsOfAMachine removes a file that nobody needs from a real tree: everything is looked at, and all is well.
func TestNothingIsNewsOfAMachine(t *testing.T) {
	st := stagetest.Cache(t).Store
	most, largest := 8000, int64(1<<19)
	if full() {
		most, largest = 1<<30, 64<<20
	}
	root := machine(t, st, most, largest, "etc", "usr/lib/systemd", "usr/sbin", "usr/lib/x86_64-linux-gnu", "usr/bin")
	before := with(t, root, elfFile(t, st, "usr/lib/libunused.so.1", object{soname: "libunused.so.1"}), executable(stagetest.File(t, st, "usr/bin/unused", "x")))
	want(t, check(t, st, before, root))
}

// BenchmarkCheck compares trees of 20,000 entries of which a library, a program, units and documents were removed.
func BenchmarkCheck(b *testing.B) {
	dir := b.TempDir()
	st, err := store.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	root := machine(b, st, 20000, 2<<20, "etc", "usr/share/doc", "usr/sbin", "usr/lib/systemd", "usr/bin", "usr/lib/x86_64-linux-gnu", "usr/share/man", "usr/share/zoneinfo", "usr/lib/python3", "usr/include")
	before := with(b, root, elfFile(b, st, "usr/lib/libunused.so.1", object{soname: "libunused.so.1"}), executable(stagetest.File(b, st, "usr/bin/unused", "x")))
	after := without(b, root, "usr/share/doc")
	st.Close()
	b.Logf("%d entries, %d MB", before.Len(), before.Bytes()/1e6)
	run := func(b *testing.B, reopen bool, before, after *tree.Tree) {
		st, err := store.Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		began := processorTime(b)
		for b.Loop() {
			if reopen {
				st.Close()
				if st, err = store.Open(dir); err != nil {
					b.Fatal(err)
				}
			}
			if found, err := Check(context.Background(), st, before, after, nil, nil); err != nil || len(found) > 0 {
				b.Fatal(found, err)
			}
		}
		b.ReportMetric((processorTime(b)-began)/float64(b.N), "cpu-s/op")
		st.Close()
	}
	b.Run("first in a process", func(b *testing.B) { run(b, true, before, after) })
	b.Run("again", func(b *testing.B) { run(b, false, before, after) })
	b.Run("documents only", func(b *testing.B) { run(b, false, root, after) })
	b.Run("nothing", func(b *testing.B) { run(b, false, root, root) })
}

// processorTime returns the seconds of processor time that the test has used, which other programs do not disturb.
func processorTime(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
