package rpmdb

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// Packages with everything that the database treats in its own way.
const (
	alphaSpec = `
Name: alpha
Epoch: 2
Version: 1.0~rc1
Release: 3
Summary: The first
Summary(de): Das Erste
Group: Applications/First
Group(de): Anwendungen/Erste
License: MIT
BuildArch: noarch
Prefix: /opt
Provides: virtual = 5, other(x), virtual = 6
Requires: beta >= 1
Requires: beta < 9
Requires: /bin/sh
Requires(pre): forpre
Requires(post): forpost
Requires(preun): forpreun
Requires(postun): forpostun
Requires(pretrans): forpretrans
Requires(posttrans): forposttrans
Requires(verify): forverify
Requires(interp): forinterp
Requires(meta): formeta
Requires(pre,preun): forboth
Requires(post,postun): forbothtoo
Requires(pre,meta): forpremeta
Requires(pretrans,meta): forpretransmeta
Requires(pre,verify): forpreverify
Requires(posttrans,interp): forposttransinterp
Requires(pre,post): forprepost
Requires: (beta and gamma)
Requires: (beta >= 1 if (gamma or delta(x)))
Requires: (beta if gamma else (delta or epsilon = 1:2-3))
Requires: ((beta or gamma) if (delta and zeta) else eta)
Requires: (beta with gamma)
Requires: (beta without gamma)
Requires: (beta or beta)
Requires(pre): (beta or onlypre)
Conflicts: old < 1
Conflicts: (rival unless friend)
Conflicts: (rival unless friend else (enemy and foe))
Obsoletes: older < 3
Obsoletes: oldest
Recommends: nice
Recommends: (nicer if beta)
Suggests: suggested, (more or less)
Supplements: (beta and supple)
Supplements: supple
Enhances: enhanced
Enhances: (enhanced or better)
OrderWithRequires: first
%description
All of it.
%description -l de
Alles.
%prep
%install
mkdir -p %{buildroot}/etc/alpha.d %{buildroot}/usr/bin %{buildroot}/usr/share/doc/alpha %{buildroot}/opt/alpha %{buildroot}/var/log %{buildroot}/usr/share/locale/de
echo config > %{buildroot}/etc/alpha.conf
echo keep > %{buildroot}/etc/alpha.d/keep
echo program > %{buildroot}/usr/bin/alpha
ln %{buildroot}/usr/bin/alpha %{buildroot}/usr/bin/alpha-hard
ln -s alpha %{buildroot}/usr/bin/alpha-link
echo doc > %{buildroot}/usr/share/doc/alpha/README
echo opt > %{buildroot}/opt/alpha/file
echo log > %{buildroot}/var/log/alpha.log
echo de > %{buildroot}/usr/share/locale/de/alpha.mo
echo missing > %{buildroot}/etc/alpha.missing
%files
%dir /
%dir %attr(0750,root,root) /etc/alpha.d
%config /etc/alpha.conf
%config(noreplace) /etc/alpha.d/keep
%config(missingok) /etc/alpha.missing
%attr(0755,root,root) %caps(cap_net_raw=ep) /usr/bin/alpha
%attr(0755,root,root) %caps(cap_net_raw=ep) /usr/bin/alpha-hard
/usr/bin/alpha-link
%doc /usr/share/doc/alpha/README
%dir /opt/alpha
/opt/alpha/file
%ghost /var/log/alpha.log
%lang(de) /usr/share/locale/de/alpha.mo
`
	betaSpec = `
Name: beta
Version: 2
Release: 1
Summary: Triggers
License: MIT
BuildArch: noarch
%description
Triggers.
%pre
true
%post -p <lua>
print("x")
%triggerin -- alpha
true
%triggerin -- gamma, delta >= 2
true
%triggerun -- alpha
true
%triggerpostun -- alpha < 1, gamma
true
%triggerprein -- zeta
true
%filetriggerin -- /usr/lib, /usr/share
true
%filetriggerun -P 5 -- /usr/lib
true
%filetriggerpostun -- /etc
true
%transfiletriggerin -P 2000000 -- /usr/bin, /usr/sbin
true
%transfiletriggerun -- /usr/bin
true
%transfiletriggerpostun -- /opt
true
%files
`
	emptySpec = `
Name: empty
Version: 1
Release: 1
Summary: Nothing
License: MIT
BuildArch: noarch
Group: Unspecified
AutoReqProv: no
%description
Nothing.
%files
`
	multiSpec = `
Name: multi
Version: VERSION
Release: 1
Summary: Several of one name
License: MIT
BuildArch: noarch
%description
Several.
%install
mkdir -p %{buildroot}/usr/lib/multi/VERSION
echo VERSION > %{buildroot}/usr/lib/multi/VERSION/file
%files
/usr/lib/multi/VERSION
`
)

// samples builds the test packages and signs some.
func samples(t testing.TB, s *system) []string {
	t.Helper()
	return build(t, s, alphaSpec, betaSpec, emptySpec,
		strings.ReplaceAll(multiSpec, "VERSION", "1"), strings.ReplaceAll(multiSpec, "VERSION", "2"), strings.ReplaceAll(multiSpec, "VERSION", "10"))
}

// installed reads package files, in the order, and with the times, of what rpm installed.
func installed(t testing.TB, s *system, paths []string) []Package {
	t.Helper()
	byName := map[string]Package{}
	for _, path := range paths {
		p := open(t, path)
		byName[p.Header.NEVRA()] = p
	}
	type record struct {
		number int
		p      Package
	}
	var records []record
	for line := range strings.Lines(s.rpm(t, "-qa", "--qf", `%{DBINSTANCE} %{INSTALLTIME} %{INSTALLTID} %{NAME}-%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}.%{ARCH}\n`)) {
		var r record
		var name string
		var when, id uint32
		if _, err := fmt.Sscan(line, &r.number, &when, &id, &name); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		r.p = byName[name]
		if r.p.Header == nil {
			t.Fatalf("rpm installed %s, which was not built", name)
		}
		r.p.InstallTime, r.p.TransactionID = when, id
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b record) int { return a.number - b.number })
	var packages []Package
	for _, r := range records {
		packages = append(packages, r.p)
	}
	return packages
}

// What rpm writes when it installs packages is what we write: the schema, every header to
// the byte, and every row of every index in the same order.
func TestWriteAsRPM(t *testing.T) {
	s := newSystem(t, "sqlite")
	paths := samples(t, s)
	sign(t, s, "rsa2048", paths[0], paths[1])
	install(t, s, paths)
	packages := installed(t, s, paths)
	if len(packages) != len(paths) {
		t.Fatalf("rpm installed %d of %d packages", len(packages), len(paths))
	}
	db, err := Write(packages)
	if err != nil {
		t.Fatal(err)
	}
	ours := newSystem(t, "sqlite")
	ours.write(t, db)
	if got := query(t, ours.path(), "pragma integrity_check"); got != "ok\n" {
		t.Errorf("integrity check: %s", got)
	}
	if got, want := schema(t, ours.path()), schema(t, s.path()); got != want {
		t.Errorf("schema:\n%s\nrpm's:\n%s", got, want)
	}
	got, want := tables(t, ours.path()), tables(t, s.path())
	for _, x := range indexes {
		if got[x.name] != want[x.name] {
			t.Errorf("%s:\n%s\nrpm's:\n%s", x.name, got[x.name], want[x.name])
		}
		if want[x.name] == "" {
			t.Errorf("%s is empty and tests nothing", x.name)
		}
	}
	equalHeaders(t, db, s.path())
	again, err := Write(packages)
	if err != nil || !bytes.Equal(db, again) {
		t.Errorf("writing again gives other bytes (%v)", err)
	}
}

// install installs packages with rpm, without what they run.
func install(t testing.TB, s *system, paths []string, options ...string) {
	t.Helper()
	s.rpm(t, slices.Concat([]string{"-i", "--nodeps", "--noscripts", "--notriggers"}, options, paths)...)
}

// equalHeaders compares the headers of a database of ours and of one of rpm's.
func equalHeaders(t testing.TB, db []byte, path string) {
	t.Helper()
	theirs, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := Decode(db)
	if err != nil {
		t.Fatal(err)
	}
	if len(ours) != len(theirs) {
		t.Fatalf("%d packages, rpm has %d", len(ours), len(theirs))
	}
	for i, h := range theirs {
		if !bytes.Equal(h.Blob(), ours[i].Blob()) {
			t.Errorf("%s: the header differs from rpm's:\n%v\nrpm's:\n%v", h.NEVRA(), appended(ours[i]), appended(h))
		}
	}
}

// appended returns what a header in the database has after its region.
func appended(h *header.Header) []string {
	var list []string
	for _, e := range h.Entries() {
		if e.Tag < header.TagHeaderI18NTable || e.Tag > header.TagHeaderI18NTable && e.Tag < header.TagName || slices.Contains([]header.Tag{header.TagInstallTime, header.TagFileStates,
			header.TagArchiveSize, header.TagInstPrefixes, header.TagInstallColor, header.TagInstallTID}, e.Tag) {
			list = append(list, fmt.Sprintf("%v %v %d %q", e.Tag, e.Type, e.Count, e.Data))
		}
	}
	return list
}

// Files that were left out have the states that rpm gives them.
func TestStatesAsRPM(t *testing.T) {
	s := newSystem(t, "sqlite")
	paths := build(t, s, alphaSpec)
	install(t, s, paths, "--excludedocs", "--define", "_install_langs en")
	packages := installed(t, s, paths)
	states := make([]byte, len(packages[0].Header.Files()))
	for i, f := range packages[0].Header.Files() {
		if f.Flags&header.FileDoc != 0 || f.Langs != "" {
			states[i] = FileNotInstalled
		}
	}
	packages[0].States = states
	db, err := Write(packages)
	if err != nil {
		t.Fatal(err)
	}
	equalHeaders(t, db, s.path())
	s.write(t, db)
	if got := s.rpm(t, "-V", "--nodeps", "alpha"); got != "" {
		t.Errorf("rpm -V:\n%s", got)
	}
	got := s.rpm(t, "-qs", "alpha")
	for _, want := range []string{"not installed /usr/share/doc/alpha/README\n", "not installed /usr/share/locale/de/alpha.mo\n", "normal        /etc/alpha.conf\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("rpm -qs has no %q:\n%s", want, got)
		}
	}
}

// The other kind of key has other tags.
func TestSignaturesAsRPM(t *testing.T) {
	s := newSystem(t, "sqlite")
	paths := build(t, s, emptySpec)
	sign(t, s, "ed25519", paths...)
	install(t, s, paths)
	db, err := Write(installed(t, s, paths))
	if err != nil {
		t.Fatal(err)
	}
	equalHeaders(t, db, s.path())
}

// rpm answers from our database as from its own, and goes on with it.
func TestRPMUses(t *testing.T) {
	s := newSystem(t, "sqlite")
	paths := samples(t, s)
	install(t, s, paths)
	packages := installed(t, s, paths)
	questions := [][]string{
		{"-qa"}, {"-qi", "alpha"}, {"-ql", "alpha", "multi"}, {"-qs", "alpha"}, {"-qc", "alpha"}, {"-qd", "alpha"}, {"-q", "--whatprovides", "virtual"}, {"-q", "--whatprovides", "other(x)"},
		{"-q", "--whatrequires", "beta"}, {"-q", "--whatrequires", "gamma"}, {"-q", "--whatconflicts", "rival"}, {"-q", "--whatobsoletes", "oldest"}, {"-q", "--whatrecommends", "nicer"}, {"-q", "--whatsupplements", "supple"},
		{"-q", "--triggeredby", "alpha"}, {"-qg", "Unspecified"}, {"-qg", "Applications/First"}, {"-qf", "/"}, {"-qf", "/usr/bin/alpha"}, {"-qf", "/usr/lib/multi/10/file"}, {"-q", "multi"}, {"-q", "--filetriggers", "beta"}, {"-q", "--requires", "alpha"},
		{"-qa", "--qf", `%{NAME} %{SIGMD5} %{SHA1HEADER} %{SIZE} %{FILESTATES:fstate} %{INSTALLTID:date} [%{INSTPREFIXES} ]\n`}, {"-Va", "--nodeps"},
	}
	answers := func() []string {
		var list []string
		for _, q := range questions {
			list = append(list, s.rpm(t, q...))
		}
		return list
	}
	want := answers()
	db, err := Write(packages)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, db)
	for i, got := range answers() {
		if got != want[i] {
			t.Errorf("rpm %q:\n%s\nwith its own database:\n%s", questions[i], got, want[i])
		}
	}
	// On a read-only root rpm could make none beside it.
	if files, err := os.ReadDir(filepath.Dir(s.path())); err != nil || len(files) != 2 || files[0].Name() != ".rpm.lock" || files[1].Name() != FileName {
		t.Errorf("after asking, the directory of the database has %v (%v)", files, err)
	}
	if got := want[0]; !strings.Contains(got, "multi-10-1.noarch\n") || !strings.Contains(got, "alpha-1.0~rc1-3.noarch\n") {
		t.Errorf("rpm -qa:\n%s", got)
	}

	changed := filepath.Join(s.root, "etc/alpha.conf")
	if err := errors.Join(os.WriteFile(changed, []byte("something else\n"), 0o644), os.Chtimes(changed, time.Unix(1, 0), time.Unix(1, 0))); err != nil {
		t.Fatal(err)
	}
	if got, err := s.run(nil, "rpm", "--root", s.root, "-V", "--nodeps", "alpha"); err == nil || got != "S.5....T.  c /etc/alpha.conf\n" {
		t.Errorf("rpm -V: %v\n%s", err, got)
	}
	s.must(t, "rpmdb", "--root", s.root, "--verifydb")
	if got, err := s.run(nil, "rpm", "--root", s.root, "-e", "--test", "beta"); err == nil || !strings.Contains(got, "beta >= 1 is needed by (installed) alpha") {
		t.Errorf("rpm -e of what is needed: %v\n%s", err, got)
	}
	s.rpm(t, "-e", "--test", "alpha")
	s.rpm(t, "-e", "--noscripts", "multi-2-1")
	newer := build(t, s, strings.ReplaceAll(betaSpec, "Version: 2", "Version: 3"), strings.ReplaceAll(emptySpec, "Version: 1", "Version: 2"))
	s.rpm(t, append([]string{"-U", "--nodeps", "--noscripts", "--notriggers"}, newer...)...)
	got := strings.Fields(s.rpm(t, "-qa"))
	slices.Sort(got)
	if want := []string{"alpha-1.0~rc1-3.noarch", "beta-3-1.noarch", "empty-2-1.noarch", "multi-1-1.noarch", "multi-10-1.noarch"}; !slices.Equal(got, want) {
		t.Errorf("after erasing and upgrading: %s", got)
	}
	s.must(t, "rpmdb", "--root", s.root, "--rebuilddb")
	if got := query(t, s.path(), "pragma integrity_check", "pragma foreign_key_check"); got != "ok\n" {
		t.Errorf("integrity check: %s", got)
	}
}

// rpmdb imports what ExportList gives, and exports the same. The rpm here writes no other
// kind of database, but does not look at the kind when it reads the list.
func TestExportList(t *testing.T) {
	built := newSystem(t, "sqlite")
	var packages []Package
	for _, path := range samples(t, built) {
		p := open(t, path)
		p.InstallTime, p.TransactionID = 1_700_000_000, 1_700_000_000
		packages = append(packages, p)
	}
	list, err := ExportList(packages)
	if err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, "sqlite")
	if out, err := s.run(list, "rpmdb", "--root", s.root, "--importdb"); err != nil || out != "" {
		t.Fatalf("rpmdb --importdb: %v\n%s", err, out)
	}
	if out, err := s.run(nil, "rpmdb", "--root", s.root, "--exportdb"); err != nil || out != string(list) {
		t.Errorf("rpmdb --exportdb gives %d bytes, %d were imported (%v)", len(out), len(list), err)
	}
	db, err := Write(packages)
	if err != nil {
		t.Fatal(err)
	}
	equalHeaders(t, db, s.path())
}

func TestWriteRefuses(t *testing.T) {
	s := newSystem(t, "sqlite")
	p := open(t, build(t, s, alphaSpec)[0])
	p.States = make([]byte, 2)
	want := "package alpha-2:1.0~rc1-3.noarch: there are states for 2 files, and the package has 13"
	if _, err := Write([]Package{p}); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if _, err := ExportList([]Package{p}); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// realDatabase is a database of CBL-Mariner 2.0, or the test is skipped.
func realDatabase(t testing.TB) string {
	t.Helper()
	path := "../../../../shared/realdata/go-rpmdb/cbl-mariner-2.0/rpmdb.sqlite"
	if _, err := os.Stat(path); err != nil {
		t.Skipf("real data is not here: %v", err)
	}
	return path
}

// A database of another distribution's rpm is read, and the headers in it give the same
// index tables. Packages that were replaced left gaps in its numbers.
func TestRealDatabase(t *testing.T) {
	real := filepath.Join(t.TempDir(), FileName)
	data, err := os.ReadFile(realDatabase(t))
	if err == nil {
		err = os.WriteFile(real, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	headers, err := Read(real)
	if err != nil {
		t.Fatal(err)
	}
	if len(headers) != 129 {
		t.Errorf("%d packages, want 129", len(headers))
	}
	db, err := Rewrite(data)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Rewrite(db); err != nil || !bytes.Equal(again, db) {
		t.Errorf("rewriting again gives other bytes (%v)", err)
	}
	s := newSystem(t, "sqlite")
	s.write(t, db)
	ours := s.path()
	if got := strings.Count(s.rpm(t, "-qa"), "\n"); got != len(headers) {
		t.Errorf("rpm -qa lists %d packages of %d", got, len(headers))
	}
	for _, x := range indexes {
		const number = "(select count(*) from Packages where Packages.hnum <= x.hnum)"
		rows := "select quote(key), " + number + ", idx, typeof(key) from '" + x.name + "' x order by " + number + ", rowid"
		if got, want := query(t, ours, rows), query(t, real, rows); got != want {
			t.Errorf("%s differs: %d rows, the real database has %d", x.name, strings.Count(got, "\n"), strings.Count(want, "\n"))
		}
	}
	if got, want := schema(t, ours), schema(t, real); got[:strings.LastIndexByte(got, '|')] != want[:strings.LastIndexByte(want, '|')] {
		t.Errorf("schema:\n%s\nof the real database:\n%s", got, want)
	}
}

func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	if _, err := Read(path); !os.IsNotExist(err) {
		t.Errorf("missing file: %v", err)
	}
	db, err := Write(nil)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(path, db)
	if headers, err := Read(path); err != nil || len(headers) != 0 {
		t.Errorf("empty database: %d headers, error %v", len(headers), err)
	}
	write(path+"-wal", []byte("x"))
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "-wal has changes that are not in the database yet") {
		t.Errorf("write-ahead log: %v", err)
	}
	write(path+"-wal", nil)
	write(path, db[:5000])
	if _, err := Read(path); err == nil || !strings.HasPrefix(err.Error(), path+": ") {
		t.Errorf("cut off: %v", err)
	}
}

// Whatever a file holds, headers come out or an error.
func FuzzDecode(f *testing.F) {
	main, err := header.Build([]header.Entry{header.StringEntry(header.TagName, "a"), header.StringEntry(header.TagVersion, "1"), header.StringEntry(header.TagRelease, "1"), header.StringEntry(header.TagArch, "noarch")}, header.TagHeaderImmutable)
	if err != nil {
		f.Fatal(err)
	}
	h, err := header.Parse(main)
	if err != nil {
		f.Fatal(err)
	}
	// Small pages make small files, of which the fuzzer can try many.
	path := filepath.Join(f.TempDir(), FileName)
	query(f, path, "pragma page_size=512", "create table Packages (hnum integer primary key, blob blob)", fmt.Sprintf("insert into Packages values (1, x'%x'), (9, x'%x')", h.Blob(), h.Blob()))
	db, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(db)
	f.Fuzz(func(t *testing.T, db []byte) {
		headers, err := Decode(db)
		if err != nil {
			return
		}
		if _, err := encode(headers); err != nil {
			t.Errorf("headers that were read cannot be written: %v", err)
		}
	})
}

// Rich dependencies come from packages.
func FuzzRichNames(f *testing.F) {
	for _, s := range []string{"(a and b)", "(a >= 1:2-3 if (b(x) or c) else d)", "((a) unless b)", "(a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, dependency string) {
		for _, name := range richNames(dependency) {
			if name == "" || !strings.Contains(dependency, strings.TrimPrefix(name, "!")) {
				t.Errorf("%q: name %q", dependency, name)
			}
		}
	})
}

// BenchmarkWrite writes the 129 packages of a real database.
func BenchmarkWrite(b *testing.B) {
	headers, err := Read(realDatabase(b))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := encode(headers); err != nil {
			b.Fatal(err)
		}
	}
}
