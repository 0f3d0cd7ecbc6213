package rpmdb

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
/usr/bin/alpha-hard
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
		var time, id uint32
		if _, err := fmt.Sscan(line, &r.number, &time, &id, &name); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		r.p = byName[name]
		if r.p.Header == nil {
			t.Fatalf("rpm installed %s, which was not built", name)
		}
		r.p.InstallTime, r.p.TransactionID = time, id
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
	s.rpm(t, append([]string{"-i", "--nodeps", "--noscripts", "--notriggers"}, paths...)...)
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
	headers, err := Read(s.path())
	if err != nil {
		t.Fatal(err)
	}
	mine, err := Decode(db)
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range headers {
		if !bytes.Equal(h.Blob(), mine[i].Blob()) {
			t.Errorf("%s: the header differs from rpm's:\n%v\nrpm's:\n%v", h.NEVRA(), appended(mine[i]), appended(h))
		}
	}
	again, err := Write(packages)
	if err != nil || !bytes.Equal(db, again) {
		t.Errorf("writing again gives other bytes (%v)", err)
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

var _ = os.Remove
var _ = filepath.Join
