package rpmdb

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/rpm/rpmfile"
)

// system is a root with a package database for the programs of rpm, apart from the host's.
type system struct {
	root string // of the installed system
	home string // with .rpmmacros
}

// databaseDir is where the system's database lies in its root.
const databaseDir = "/var/lib/rpm"

// newSystem returns an empty system whose rpm uses the backend.
func newSystem(t testing.TB, backend string) *system {
	t.Helper()
	gpg, err := exec.LookPath("gpg")
	if err != nil {
		t.Fatalf("%v: make test installs what the tests need", err)
	}
	s := &system{root: t.TempDir(), home: t.TempDir()}
	macros := "%_dbpath " + databaseDir + "\n%_db_backend " + backend + "\n%_topdir " + s.home + "/build\n%_buildhost localhost\n%_gpg_name Tester\n%__gpg " + gpg + "\n" +
		"%_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm\n%_binary_payload w1.gzdio\n"
	if err := os.WriteFile(filepath.Join(s.home, ".rpmmacros"), []byte(macros), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(s.root+databaseDir, 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs a program for the system and returns what it prints and its error.
func (s *system) run(stdin []byte, args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "HOME="+s.home, "SOURCE_DATE_EPOCH=1000000000")
	cmd.Stdin = bytes.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var kept strings.Builder
	for line := range strings.Lines(out.String()) {
		// Debian's rpm always says so.
		if !strings.HasPrefix(line, "rpm: RPM should not be used directly") && !strings.HasPrefix(line, "rpm: However assuming you know") {
			kept.WriteString(line)
		}
	}
	return kept.String(), err
}

// must runs a program that has to succeed.
func (s *system) must(t testing.TB, args ...string) string {
	t.Helper()
	out, err := s.run(nil, args...)
	if err != nil {
		t.Fatalf("%q (make test installs what the tests need): %v\n%s", args, err, out)
	}
	return out
}

// rpm runs rpm on the system's root.
func (s *system) rpm(t testing.TB, args ...string) string {
	t.Helper()
	return s.must(t, append([]string{"rpm", "--root", s.root}, args...)...)
}

// path is that of the system's database.
func (s *system) path() string { return filepath.Join(s.root, databaseDir, FileName) }

// write puts a database of ours in the place of the system's.
func (s *system) write(t testing.TB, db []byte) {
	t.Helper()
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(s.path() + suffix); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(s.path(), db, 0o644); err != nil {
		t.Fatal(err)
	}
}

// build builds the packages of spec files and returns their paths.
func build(t testing.TB, s *system, specs ...string) []string {
	t.Helper()
	dir := t.TempDir()
	for i, text := range specs {
		spec := filepath.Join(dir, fmt.Sprintf("%d.spec", i))
		if err := os.WriteFile(spec, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		s.must(t, "rpmbuild", "-bb", "--define", "_rpmdir "+dir, spec)
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.rpm"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("rpmbuild made nothing (%v)", err)
	}
	return paths
}

// sign signs package files with a new key of the kind.
func sign(t testing.TB, s *system, kind string, paths ...string) {
	t.Helper()
	dir := filepath.Join(s.home, ".gnupg") // there is no agent for long path names
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.run(nil, "gpgconf", "--kill", "gpg-agent") }) //nolint:errcheck // it ends by itself, later
	s.must(t, "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", "Tester", kind, "sign", "never")
	s.must(t, append([]string{"rpmsign", "--addsign"}, paths...)...)
}

// open reads the headers of a package file.
func open(t testing.TB, path string) Package {
	t.Helper()
	f, err := rpmfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return Package{Header: f.Header, Signature: f.Signature}
}

// query asks SQLite's own program.
func query(t testing.TB, path string, statements ...string) string {
	t.Helper()
	out, err := exec.Command("sqlite3", append([]string{"-batch", path}, statements...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3 (make test installs what the tests need): %v\n%s", err, out)
	}
	return string(out)
}

// tables returns the rows of every index as text, in the order they lie in.
func tables(t testing.TB, path string) map[string]string {
	t.Helper()
	rows := map[string]string{}
	for _, x := range indexes {
		rows[x.name] = query(t, path, "select quote(key), hnum, idx, typeof(key) from '"+x.name+"' order by rowid")
	}
	return rows
}

// schema returns the tables and indexes that a database has, but for the statistics that
// SQLite keeps for itself.
func schema(t testing.TB, path string) string {
	t.Helper()
	return query(t, path, "select type, name, tbl_name, sql from sqlite_schema where name not like 'sqlite_stat%' order by type desc, name", "select * from sqlite_sequence")
}
