package hosttool

import (
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/imagefactory/imagefactory/distros/rpm"
	"github.com/imagefactory/imagefactory/stages/store"
)

// need fails the test when the host lacks a program.
func need(t testing.TB, program, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("this test needs %s: install the package %s", program, pkg)
	}
	return path
}

// shell runs a script of the test's own; $1, … are args.
func shell(t testing.TB, script string, args ...string) string {
	t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-eu", "-c", script, "sh"}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "SOURCE_DATE_EPOCH=1000000000")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// specFile describes a very small distribution. tool is what its users ask for.
const specFile = `
Name: tiny
Version: 1
Release: 1
Summary: Packages of a test
License: none
BuildArch: noarch
%global debug_package %{nil}
%description
%{summary}.

%package -n tiny-filesystem
Summary: Directories
%description -n tiny-filesystem
%{summary}.
%files -n tiny-filesystem
%dir /usr
%dir /usr/bin
%dir /etc
%dir /var
%dir %attr(0700,root,root) /root
%dir %attr(1777,root,root) /tmp
%dir /run
%dir /dev
%dir %attr(0555,root,root) /proc
%dir %attr(0555,root,root) /sys
/bin
/etc/passwd
/etc/group

%package -n tiny-shell
Summary: A shell
Version: 2.5
Epoch: 3
Requires: tiny-filesystem
Provides: /bin/sh
%description -n tiny-shell
%{summary}.
%files -n tiny-shell
%attr(0755,root,root) /usr/bin/busybox
/usr/bin/sh

%package -n tiny-lib
Summary: What a tool needs
Requires(post): /bin/sh
%description -n tiny-lib
%{summary}.
%post -n tiny-lib -p /bin/sh
echo lost >/dev/null
test -c /dev/null || exit 1
test -e /proc/self/status || exit 1
echo "lib \$1=$1 dir=$PWD" >>/etc/scripts
%files -n tiny-lib
%attr(0644,svc,svc) /etc/lib.conf
%attr(0755,root,root) /usr/bin/generate

%package -n tiny-tool
Summary: A tool
Requires: (tiny-lib if tiny-shell)
Requires: /bin/sh
Recommends: tiny-extra
%description -n tiny-tool
%{summary}.
%post -n tiny-tool -p /bin/sh
echo "tool after lib: $(busybox cat /etc/lib.conf)" >>/etc/scripts
echo x >/dev/full || true
generate >>/etc/scripts
%files -n tiny-tool
%attr(4755,root,root) %caps(cap_net_raw=ep) /usr/bin/tool
%attr(4755,root,root) %caps(cap_net_raw=ep) /usr/bin/tool-link
%doc %attr(0644,root,root) /usr/share/doc/tool/README
%lang(de) /usr/share/locale/de/tool.mo
%lang(fr) /usr/share/locale/fr/tool.mo
%config(noreplace) /etc/tool.conf

%package -n tiny-extra
Summary: Recommended
%description -n tiny-extra
%{summary}.
%files -n tiny-extra
/etc/extra

%package -n tiny-broken
Summary: Needs what there is not
Requires: nothing-has-this
%description -n tiny-broken
%{summary}.
%files -n tiny-broken

%package -n tiny-member-with-a-name-that-is-longer-than-any-column-of-dnf-would-be
Summary: Member of a group
Version: 1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18
%description -n tiny-member-with-a-name-that-is-longer-than-any-column-of-dnf-would-be
%{summary}.
%files -n tiny-member-with-a-name-that-is-longer-than-any-column-of-dnf-would-be
/etc/member

%install
r=%{buildroot}
mkdir -p $r/usr/bin $r/etc $r/var $r/root $r/tmp $r/run $r/dev $r/proc $r/sys $r/usr/share/doc/tool $r/usr/share/locale/de $r/usr/share/locale/fr
ln -s usr/bin $r/bin
printf 'root:x:0:0::/root:/bin/sh\nsvc:x:977:966::/:/bin/sh\n' >$r/etc/passwd
printf 'root:x:0:\nsvc:x:966:\n' >$r/etc/group
cp %{busybox} $r/usr/bin/busybox
ln -s busybox $r/usr/bin/sh
echo conf >$r/etc/lib.conf
printf '#!/bin/sh\necho generated\n' >$r/usr/bin/generate; chmod 755 $r/usr/bin/generate
echo tool >$r/usr/bin/tool; chmod 755 $r/usr/bin/tool
ln $r/usr/bin/tool $r/usr/bin/tool-link
for f in usr/share/doc/tool/README usr/share/locale/de/tool.mo usr/share/locale/fr/tool.mo etc/tool.conf etc/extra etc/member; do echo $f >$r/$f; done
`

// moduleSpecFile is a package of which each stream of a module has another version.
const moduleSpecFile = `
Name: tiny-modular
Version: %{stream}
Release: 1
Summary: Part of a module
License: none
BuildArch: noarch
ModularityLabel: tiny-module:%{stream}:1:0
%description
%{summary}.
%install
mkdir -p %{buildroot}/etc
echo %{stream} >%{buildroot}/etc/stream
%files
/etc/stream
`

// modulesFile are the module's streams; the first is the default.
const modulesFile = `---
document: modulemd
version: 2
data: {name: tiny-module, stream: "1", version: 1, context: "00000000", arch: noarch, summary: s, description: d, license: {module: [MIT]},
  dependencies: [{requires: {platform: [tiny]}}], artifacts: {rpms: ["tiny-modular-0:1-1.noarch"]}}
...
---
document: modulemd
version: 2
data: {name: tiny-module, stream: "2", version: 1, context: "00000000", arch: noarch, summary: s, description: d, license: {module: [MIT]},
  dependencies: [{requires: {platform: [tiny]}}], artifacts: {rpms: ["tiny-modular-0:2-1.noarch"]}}
...
---
document: modulemd-defaults
version: 1
data: {module: tiny-module, stream: "1"}
...
`

// groupsFile are its groups.
const groupsFile = `<?xml version="1.0" encoding="UTF-8"?>
<comps><group><id>members</id><name>Members</name><description/><default>false</default><uservisible>true</uservisible>
<packagelist><packagereq type="mandatory">tiny-member-with-a-name-that-is-longer-than-any-column-of-dnf-would-be</packagereq></packagelist></group></comps>
`

// tinyRepository is a repository of the packages of specFile, signed; unsigned is
// another one with the same packages as they were before.
type tinyRepository struct {
	dir, unsigned string
	key, otherKey []byte // armored; the other one has signed nothing
}

var (
	tinyOnce sync.Once
	tiny     tinyRepository
	tinyDir  string // removed by TestMain
)

// newTiny builds the repository, once for all tests.
func newTiny(t testing.TB) tinyRepository {
	t.Helper()
	need(t, "rpmbuild", "rpm")
	need(t, "rpmsign", "rpm")
	need(t, "createrepo_c", "createrepo-c")
	need(t, "modifyrepo_c", "createrepo-c")
	need(t, "gpg", "gnupg")
	busybox := need(t, "busybox", "busybox-static")
	tinyOnce.Do(func() {
		var err error
		if tinyDir, err = os.MkdirTemp("", "tiny-"); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"tiny.spec": specFile, "modular.spec": moduleSpecFile, "comps.xml": groupsFile, "modules.yaml": modulesFile} {
			if err := os.WriteFile(filepath.Join(tinyDir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		shell(t, `
			cd "$1"; export HOME=$1 GNUPGHOME=$1/gpg
			mkdir -m 0700 gpg; mkdir signed
			build() {
				rpmbuild -bb --quiet --define "_topdir $PWD/build" --define "_rpmdir $PWD/unsigned" --define "_build_id_links none" \
					--define "_binaries_in_noarch_packages_terminate_build 0" --define "__os_install_post %{nil}" "$@"
			}
			build --define "busybox $2" tiny.spec
			for stream in 1 2; do build --define "stream $stream" modular.spec; done
			cp unsigned/noarch/*.rpm signed/
			for who in signer stranger; do
				gpg --batch --quiet --pinentry-mode loopback --passphrase '' --quick-generate-key $who@example.org rsa2048 sign never
				gpg --batch --armor --export $who@example.org >$who.asc
			done
			rpmsign --define '_gpg_name signer@example.org' --define "__gpg $(command -v gpg)" --addsign signed/*.rpm
			for dir in signed unsigned; do
				createrepo_c --quiet --groupfile "$1/comps.xml" $dir
				modifyrepo_c --mdtype=modules modules.yaml $dir/repodata >/dev/null
			done
			gpgconf --kill all`, tinyDir, busybox)
		tiny = tinyRepository{dir: filepath.Join(tinyDir, "signed"), unsigned: filepath.Join(tinyDir, "unsigned")}
		for name, key := range map[string]*[]byte{"signer.asc": &tiny.key, "stranger.asc": &tiny.otherKey} {
			if *key, err = os.ReadFile(filepath.Join(tinyDir, name)); err != nil {
				t.Fatal(err)
			}
		}
	})
	if tiny.dir == "" {
		t.Fatal("the repository could not be built")
	}
	return tiny
}

// readRepository reads a repository's metadata as createrepo_c wrote it.
func readRepository(t testing.TB, name, dir string) RPMRepository {
	t.Helper()
	r := RPMRepository{Name: name, Priority: 99}
	var doc struct {
		Data []struct {
			Type     string `xml:"type,attr"`
			Location struct {
				Href string `xml:"href,attr"`
			} `xml:"location"`
		} `xml:"data"`
	}
	p, err := os.ReadFile(filepath.Join(dir, "repodata/repomd.xml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(p, &doc); err != nil {
		t.Fatal(err)
	}
	for _, d := range doc.Data {
		if d.Type != "primary" && d.Type != "filelists" && d.Type != "group" && d.Type != "modules" {
			continue
		}
		path := filepath.Join(dir, d.Location.Href)
		digest, size := digestFile(t, path)
		r.Metadata = append(r.Metadata, RPMMetadata{Kind: d.Type, Name: filepath.Base(path), Path: path, Digest: digest, Size: size})
	}
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".rpm" {
			return err
		}
		fields := strings.Fields(shell(t, `rpm -qp --nosignature --qf '%{NAME} %{EPOCHNUM} %{VERSION} %{RELEASE} %{ARCH}' "$1"`, path))
		epoch, err := strconv.ParseUint(fields[1], 10, 32)
		if err != nil {
			return err
		}
		location, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		digest, size := digestFile(t, path)
		r.Packages = append(r.Packages, &rpm.Package{
			Name: fields[0], EVR: rpm.EVR{Epoch: uint32(epoch), Version: fields[2], Release: fields[3]}, Arch: fields[4],
			Repository: name, Location: location, SHA256: digest, Size: size,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func digestFile(t testing.TB, path string) (store.Digest, int64) {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(p), int64(len(p))
}

// sources returns what a lock has of chosen packages.
func sources(chosen []Chosen, dir, repository string) []Source {
	var list []Source
	for _, c := range chosen {
		list = append(list, Source{
			Name: c.Name, Version: c.EVR.String(), Arch: c.Arch, Digest: c.SHA256, Size: c.Size, Auto: c.Auto,
			URLs: []string{fmt.Sprintf("file://%s/%s", dir, c.Location)}, Repository: repository,
		})
	}
	return list
}
