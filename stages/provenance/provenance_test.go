package provenance

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
	"github.com/imagefactory/imagefactory/stages/customize"
	"github.com/imagefactory/imagefactory/stages/harden"
	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// fixture makes trees, packages and steps.
type fixture struct {
	testing.TB
	st *store.Store
}

func newFixture(t testing.TB) fixture { return fixture{t, stagetest.Cache(t).Store} }

func (f fixture) file(path, contents string) tree.Entry {
	return stagetest.File(f, f.st, path, contents)
}

func (f fixture) save(entries ...tree.Entry) store.Digest {
	return stagetest.Save(f, f.st, stagetest.Tree(f, entries...))
}

// control stores the metadata of a package.
func (f fixture) control(files map[string]string) store.Digest {
	f.Helper()
	control := map[string][]byte{}
	for name, text := range files {
		control[name] = []byte(text)
	}
	data, err := json.Marshal(control)
	if err != nil {
		f.Fatal(err)
	}
	digest, err := f.st.Put(data)
	if err != nil {
		f.Fatal(err)
	}
	return digest
}

// deb returns an unpacked package of version 1 with a postinst script.
func (f fixture) deb(name, postinst string, entries ...tree.Entry) packages.Package {
	f.Helper()
	control := f.control(map[string]string{"control": "Package: " + name + "\n", "postinst": postinst})
	return packages.Package{Name: name, Version: "1", Arch: "amd64", Tree: f.save(entries...), Control: control}
}

// change returns the tree of before after some changes: entries to put and paths to remove.
func (f fixture) change(before store.Digest, remove string, put ...tree.Entry) store.Digest {
	f.Helper()
	edit := stagetest.Load(f, f.st, before).Edit()
	for _, p := range strings.Fields(remove) {
		edit.Remove(p)
	}
	for _, e := range put {
		if err := edit.MkdirAll(tree.Parent(e.Path), stagetest.Dir("")); err != nil {
			f.Fatal(err)
		}
		edit.Put(e)
	}
	after, err := edit.Tree()
	if err != nil {
		f.Fatal(err)
	}
	return stagetest.Save(f, f.st, after)
}

// attribute attributes the last of steps.
func (f fixture) attribute(steps ...Step) *Attribution {
	f.Helper()
	a, err := Attribute(f.Context(), f.st, steps)
	if err != nil {
		f.Fatal(err)
	}
	f.whole(a, steps[len(steps)-1].Tree)
	return a
}

// whole makes sure that an attribution has every path of a tree once, in order.
func (f fixture) whole(a *Attribution, digest store.Digest) {
	f.Helper()
	t := stagetest.Load(f, f.st, digest)
	if len(a.Paths) != t.Len() {
		f.Fatalf("%d paths are attributed of %d", len(a.Paths), t.Len())
	}
	used := make([]bool, len(a.Origins))
	for i, e := range t.Entries() {
		if a.Paths[i].Path != absolute(e.Path) {
			f.Fatalf("path %d is %s, want /%s", i, a.Paths[i].Path, e.Path)
		}
		p := a.Paths[i]
		for _, o := range append(append([]int{p.Origin}, p.Shared...), p.Earlier...) {
			used[o] = true
		}
		for _, c := range p.Changes {
			used[c.Origin] = true
		}
	}
	for i, o := range a.Origins {
		if !used[i] {
			f.Errorf("the origin %s is of nothing", o)
		}
		if o.Stage == "" || o.Kind == "" {
			f.Errorf("the origin %+v has no stage or kind", o)
		}
	}
}

// text shows where paths come from, one a line.
func text(a *Attribution, paths ...string) string {
	var b strings.Builder
	for _, path := range paths {
		p, ok := a.Lookup(path)
		if !ok {
			fmt.Fprintf(&b, "%s is not there\n", path)
			continue
		}
		fmt.Fprintf(&b, "%s: %s", path, a.Origins[p.Origin])
		for _, o := range p.Shared {
			fmt.Fprintf(&b, ", also %s", a.Origins[o])
		}
		for _, o := range p.Earlier {
			fmt.Fprintf(&b, ", before %s", a.Origins[o])
		}
		for _, c := range p.Changes {
			fmt.Fprintf(&b, ", %s by %s", c.What, a.Origins[c.Origin])
		}
		if p.From != "" {
			fmt.Fprintf(&b, ", from %s", p.From)
		}
		if p.Evidence != "" {
			fmt.Fprintf(&b, " (%s)", p.Evidence)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (f fixture) check(a *Attribution, want string) {
	f.Helper()
	want = strings.TrimPrefix(want, "\n")
	var paths []string
	for line := range strings.Lines(want) {
		path, _, _ := strings.Cut(line, ": ")
		paths = append(paths, path)
	}
	if got := text(a, paths...); got != want {
		f.Errorf("attribution:\n%s\nwant:\n%s", got, want)
	}
}

var mergedUsr = map[string]string{"/bin": "usr/bin", "/lib": "usr/lib"}

// TestPackages maps paths through links, and tells whose of several packages a path is.
func TestPackages(t *testing.T) {
	f := newFixture(t)
	sh, doc := f.file("bin/sh", "shell"), f.file("usr/share/doc/common", "the same")
	state := stagetest.Mode(stagetest.Dir("var/state"), 0o2775)
	pkgs := []packages.Package{
		f.deb("b", "", f.file("bin/tool", "new"), doc, stagetest.Dir("var/state")),
		f.deb("a", "", sh, f.file("usr/bin/tool", "old"), doc, stagetest.Dir("var/state")),
		f.deb("c", "", state, f.file("usr/lib/x/file", "x")),
	}
	root := f.save(
		stagetest.Link("bin", "usr/bin"), stagetest.Link("lib", "usr/lib"), f.file("usr/bin/sh", "shell"), f.file("usr/bin/tool", "new"), doc, state,
		f.file("usr/lib/x/file", "x"), f.file("var/lib/dpkg/status", "installed"), f.file("var/lib/dpkg/info/format", "1\n"),
	)
	step := Step{Stage: "rootfs", Kind: Generated, Name: "root", Tree: root, Packages: pkgs, Claims: append(PackageDatabase(), Links(mergedUsr)...)}
	f.check(f.attribute(step), `
/usr/bin/sh: package a 1 (amd64)
/usr/bin/tool: package b 1 (amd64)
/usr/share/doc/common: package a 1 (amd64), also package b 1 (amd64)
/var/state: package c 1 (amd64), also package a 1 (amd64), also package b 1 (amd64)
/usr/lib/x: package c 1 (amd64)
/usr/lib/x/file: package c 1 (amd64)
/bin: imagefactory, stage rootfs: links of the distribution's data
/var/lib/dpkg/status: imagefactory, stage rootfs: package database
/var/lib/dpkg/info/format: imagefactory, stage rootfs: package database
/var/lib/dpkg: imagefactory, stage rootfs: package database
/var/lib: imagefactory, stage rootfs: package database
`)
}

// TestStages is about what stages after the first do to a path.
func TestStages(t *testing.T) {
	f := newFixture(t)
	long := strings.Repeat("long enough to be no accident. ", 20)
	kernel := f.file("usr/lib/modules/6.1/vmlinuz", long)
	setuid := f.file("usr/bin/su", "su")
	label := func(e tree.Entry) tree.Entry {
		e.Xattrs = append(e.Xattrs, tree.Xattr{Name: "security.selinux", Value: []byte("label")})
		return e
	}
	capable := f.file("usr/bin/ping", "ping")
	one := f.save(
		kernel, setuid, capable, f.file("etc/config", "shipped"), f.file("etc/old", "old\n"), f.file("usr/bin/big", long+"big"), f.file("usr/bin/moved", long+"moved"),
		stagetest.Link("etc/link", "a"), f.file("etc/twice", "1"), stagetest.Dir("srv"),
	)
	linked := f.file("usr/bin/big", long+"big")
	linked.Link = 1
	name := linked
	name.Path = "usr/bin/big2"
	private := stagetest.Owner(stagetest.Mode(setuid, 0o4755), 0, 5)
	capable.Xattrs = []tree.Xattr{{Name: "security.capability", Value: []byte("x")}}
	two := f.change(one, "usr/bin/moved etc/old", private, capable, f.file("etc/config", "edited"), f.file("etc/new", "old\n"), f.file("usr/sbin/elsewhere", long+"moved"),
		linked, name, stagetest.Link("etc/link", "b"), f.file("etc/twice", "2"), f.file("opt/own/deep/file", "mine"), f.file("etc/nodir", ""))
	vmlinuz := kernel
	vmlinuz.Path = "boot/vmlinuz-6.1"
	three := f.change(two, "", vmlinuz, f.file("etc/twice", "3"), f.file("boot/initrd.img-6.1", "initrd"))
	var labelled []tree.Entry
	for _, e := range stagetest.Load(t, f.st, three).Entries() {
		labelled = append(labelled, label(e))
	}
	four := f.save(labelled[1:]...)

	a := f.attribute(
		Step{Stage: "import", Kind: Import, Name: "archive root.tar", Tree: one},
		Step{Stage: "script tune", Kind: Script, Name: "tune", Tree: two},
		Step{Stage: "nothing", Kind: Script, Name: "nothing", Tree: two},
		Step{Stage: "initramfs", Kind: Generated, Name: "initramfs", Tree: three},
		Step{Stage: "label", Kind: Generated, Name: "labels", Tree: four, Claims: []Claim{{Path: "/etc/twice", Origin: Origin{Kind: Block, Name: "never"}}}},
	)
	f.check(a, `
/usr/lib/modules/6.1/vmlinuz: import archive root.tar
/usr/bin/su: import archive root.tar, mode, owner by script tune
/usr/bin/ping: import archive root.tar, attributes by script tune
/etc/config: script tune, before import archive root.tar
/etc/new: script tune
/etc/link: script tune, before import archive root.tar
/etc/nodir: script tune
/usr/sbin/elsewhere: import archive root.tar, renamed from /usr/bin/moved by script tune
/usr/bin/big: import archive root.tar
/usr/bin/big2: import archive root.tar, linked to /usr/bin/big by script tune
/etc/twice: imagefactory, stage initramfs: initramfs, before import archive root.tar, before script tune
/opt/own/deep: script tune
/srv: import archive root.tar
/boot/vmlinuz-6.1: imagefactory, stage initramfs: initramfs, from /usr/lib/modules/6.1/vmlinuz
/boot/initrd.img-6.1: imagefactory, stage initramfs: initramfs
/: import archive root.tar
`)
	if o, ok := a.Origin("/etc/config/"); !ok || o != (Origin{Kind: Script, Name: "tune", Stage: "script tune"}) {
		t.Errorf("origin: %+v, %v", o, ok)
	}
	if _, ok := a.Origin("/usr/bin/moved"); ok {
		t.Error("a path that is gone has an origin")
	}

	var read Attribution
	if data, err := json.Marshal(a); err != nil {
		t.Error(err)
	} else if err := json.Unmarshal(data, &read); err != nil || !reflect.DeepEqual(&read, a) {
		t.Errorf("JSON does not keep the attribution: %v", err)
	}
}

// TestClaims names the recipe's blocks.
func TestClaims(t *testing.T) {
	f := newFixture(t)
	before := f.save(f.file("etc/passwd", "root"), f.file("etc/shadow", "root"), f.file("etc/hosts", "h"), stagetest.Dir("data"), stagetest.Link("etc/conf", "/data"), f.file("etc/machine-id", "1"), f.file("etc/ssh", "x"))
	after := f.change(before, "", f.file("etc/passwd", "root admin bob"), f.file("etc/hostname", "node"), f.file("data/app.conf", "app"), f.file("opt/tool/bin/run", "run"),
		stagetest.Dir("home/admin"), f.file("home/admin/.profile", "p"), f.file("home/admin/.ssh/authorized_keys", "key"), f.file("etc/fstab", "/"),
		stagetest.Dir("boot/efi"), f.file("etc/machine-id", ""), f.file("etc/systemd/system/grow.service", "u"), stagetest.Link("etc/systemd/system/multi-user.target.wants/grow.service", "../grow.service"),
		f.file("etc/apt/sources.list.d/x.sources", "s"), f.file("etc/motd", "hello"), stagetest.Mode(f.file("etc/ssh", "x"), 0o600), f.file("else/where", "?"))
	o := customize.Options{
		Hostname: "node",
		Users:    []customize.User{{Name: "admin", Home: "/home/admin", SSHAuthorizedKeys: []string{"key"}}, {Name: "bob", Home: "/home/bob"}},
		Files:    []customize.File{{Path: "/etc/conf/app.conf"}, {Path: "/opt/tool/bin/run"}, {Path: "/etc/motd"}, {Path: "/etc/ssh"}},
		Defaults: []customize.File{{Path: "/etc/apt/sources.list.d/x.sources"}},
		Units:    []customize.Unit{{Name: "grow.service", WantedBy: "multi-user.target"}},
		Mounts:   []customize.Mount{{Path: "/"}, {Path: "/boot/efi"}},
		Clean:    session.Rules{Truncate: []string{"/etc/machine-id"}},
	}
	a := f.attribute(Step{Stage: "import", Kind: Import, Name: "image x", Tree: before},
		Step{Stage: "customize", Kind: Generated, Name: "customize", Tree: after, Claims: Customized(o)})
	f.check(a, `
/etc/passwd: recipe block user "admin", user "bob", before import image x
/etc/shadow: import image x
/etc/hosts: import image x
/etc/hostname: recipe block hostname
/data/app.conf: recipe block file "/etc/conf/app.conf"
/data: import image x
/opt: recipe block file "/opt/tool/bin/run"
/opt/tool/bin/run: recipe block file "/opt/tool/bin/run"
/home: recipe block user "admin"
/home/admin: recipe block user "admin"
/home/admin/.profile: recipe block user "admin"
/home/admin/.ssh/authorized_keys: recipe block user "admin"
/etc/fstab: recipe block disk
/boot/efi: recipe block disk
/etc/machine-id: imagefactory, stage customize: cleaning by the distribution's data, before import image x
/etc/systemd/system/multi-user.target.wants/grow.service: imagefactory, stage customize: unit of the distribution's data
/etc/apt/sources.list.d: imagefactory, stage customize: default of the distribution's data
/etc/motd: recipe block file "/etc/motd"
/etc/ssh: import image x, mode by recipe block file "/etc/ssh"
/else/where: imagefactory, stage customize: customize
/else: imagefactory, stage customize: customize
`)
}

// TestHardened names the rules.
func TestHardened(t *testing.T) {
	f := newFixture(t)
	before := f.save(f.file("etc/login.defs", "shipped"), f.file("etc/shadow", "x"))
	after := f.change(before, "", f.file("etc/login.defs", "changed"), stagetest.Mode(f.file("etc/shadow", "x"), 0o600), f.file("etc/sysctl.d/99.conf", "a"))
	changes := []harden.Change{{Rule: "b", Path: "/etc/sysctl.d/99.conf"}, {Rule: "a", Path: "/etc/sysctl.d/99.conf"}, {Rule: "b", Path: "/etc/sysctl.d/99.conf"}, {Rule: "c", Path: "/etc/login.defs"}, {Rule: "d", Path: "/etc/shadow"}}
	f.check(f.attribute(Step{Stage: "import", Kind: Import, Name: "x", Tree: before}, Step{Stage: "harden", Kind: Block, Name: "harden", Tree: after, Claims: Hardened(changes)}), `
/etc/sysctl.d/99.conf: recipe block harden, b, a
/etc/sysctl.d: recipe block harden, b, a
/etc/login.defs: recipe block harden, c, before import x
/etc/shadow: import x, mode by recipe block harden, d
`)
}

func TestPatterns(t *testing.T) {
	c := newClaims(stagetest.Tree(t), "s", []Claim{
		{"/a/*/x?", Origin{Name: "1"}}, {"/a/b/xy", Origin{Name: "2"}}, {"/a/**", Origin{Name: "3"}}, {"/c/[x]*", Origin{Name: "4"}}, {"/a", Origin{Name: "5"}}, {"/a/b/xy/z", Origin{Name: "6"}},
	})
	for path, want := range map[string]string{
		"a": "5", "a/b": "3", "a/b/xy": "1", "a/b/xyz": "3", "a/b/c/d": "3", "c/[x]1": "4", "c/x1": "", "c": "", "b/a": "", "a/b/xy/z": "3",
	} {
		if o, ok := c.find(path); o.Name != want || ok != (want != "") {
			t.Errorf("/%s is claimed by %q, %v; want %q", path, o.Name, ok, want)
		}
	}
	all := newClaims(stagetest.Tree(t), "s", []Claim{{"/**", Origin{Name: "all"}}})
	if o, _ := all.find("x/y"); o.Name != "all" || o.Stage != "s" {
		t.Errorf("everything is claimed by %+v", o)
	}
}

// TestMaintainerScripts tells whose script made what by what it left.
func TestMaintainerScripts(t *testing.T) {
	f := newFixture(t)
	vim := f.deb("vim", "update-alternatives --install /usr/bin/vi vi /usr/bin/vim.basic 50\n", f.file("usr/bin/vim.basic", "vim"))
	pkgs := []packages.Package{
		vim,
		f.deb("libc-bin", "", f.file("sbin/ldconfig", "elf"), f.file("etc/nsswitch.conf", "shipped")),
		f.deb("ca", "", f.file("usr/share/ca/a.crt", "cert"), f.file("usr/sbin/update-ca-certificates", "#!/bin/sh")),
		f.deb("ssh", "touch /etc/ssh/seen\nmkdir -p /var/empty/sshd\n", f.file("lib/systemd/system/ssh.service", "unit")),
		f.deb("python", "", f.file("usr/lib/python3/os.py", "import sys")),
		f.deb("db", "", stagetest.Dir("var/lib/db")),
		f.deb("x", "echo >/etc/both; echo /etc/both2\n"), f.deb("y", "echo >>/etc/both\n"),
		f.deb("nginx", "mkdir /var/lib/nginx"), f.deb("nginx2", "mkdir /var/lib/nginx"),
	}
	merged := f.save(stagetest.Link("bin", "usr/bin"), stagetest.Link("lib", "usr/lib"), stagetest.Link("sbin", "usr/sbin"),
		f.file("usr/bin/vim.basic", "vim"), f.file("usr/sbin/ldconfig", "elf"), f.file("etc/nsswitch.conf", "shipped"), f.file("usr/share/ca/a.crt", "cert"),
		f.file("usr/sbin/update-ca-certificates", "#!/bin/sh"), f.file("usr/lib/systemd/system/ssh.service", "unit"), f.file("usr/lib/python3/os.py", "import sys"),
		stagetest.Dir("var/lib/db"), f.file("var/lib/dpkg/status", "unpacked"))
	configured := f.change(merged, "",
		stagetest.Link("usr/bin/vi", "/etc/alternatives/vi"), stagetest.Link("etc/alternatives/vi", "/usr/bin/vim.basic"), f.file("var/lib/dpkg/alternatives/vi", "auto"),
		f.file("etc/ld.so.cache", "cache"), f.file("etc/nsswitch.conf", "changed"), stagetest.Link("etc/ssl/certs/a.pem", "/usr/share/ca/a.crt"),
		stagetest.Link("etc/ssl/certs/0.0", "a.pem"), f.file("etc/ssl/certs/all.crt", "bundle"), f.file("etc/ssh/seen", ""), stagetest.Dir("var/empty/sshd"),
		stagetest.Link("etc/systemd/system/multi-user.target.wants/ssh.service", "/lib/systemd/system/ssh.service"), f.file("var/lib/systemd/deb-systemd-helper-enabled/ssh.service.dsh-also", "x"),
		f.file("usr/lib/python3/__pycache__/os.cpython-311.pyc", "pyc"), f.file("var/lib/db/state", "s"), f.file("etc/both", "2"), f.file("var/lib/nginx/body", ""),
		f.file("etc/passwd", "root"), f.file("var/lib/dpkg/status", "installed"), f.file("etc/both20", ""), stagetest.Link("etc/dangling", "/nowhere"))
	steps := []Step{
		{Stage: "rootfs", Kind: Generated, Name: "root", Tree: merged, Packages: pkgs, Claims: append(PackageDatabase(), Links(map[string]string{"/bin": "", "/lib": "", "/sbin": ""})...)},
		{Stage: "configure", Kind: MaintainerScript, Tree: configured, Claims: PackageDatabase()},
	}
	f.check(f.attribute(steps...), `
/usr/bin/vi: maintainer scripts of vim (it leads to /usr/bin/vim.basic)
/etc/alternatives/vi: maintainer scripts of vim (it leads to /usr/bin/vim.basic)
/var/lib/dpkg/alternatives/vi: maintainer scripts of vim (it leads to /usr/bin/vim.basic)
/etc/ld.so.cache: maintainer scripts of libc-bin (its /usr/sbin/ldconfig makes it)
/etc/nsswitch.conf: maintainer scripts of libc-bin, before package libc-bin 1 (amd64) (it ships the path)
/etc/ssl/certs/a.pem: maintainer scripts of ca (it leads to /usr/share/ca/a.crt)
/etc/ssl/certs/0.0: maintainer scripts of ca (it leads to /usr/share/ca/a.crt)
/etc/ssl/certs/all.crt: maintainer scripts of ca (its /usr/sbin/update-ca-certificates makes it)
/etc/ssl/certs: maintainer scripts of ca (it leads to /usr/share/ca/a.crt)
/etc/ssh/seen: maintainer scripts of ssh (its scripts name /etc/ssh/seen)
/var/empty/sshd: maintainer scripts of ssh (its scripts name /var/empty/sshd)
/etc/systemd/system/multi-user.target.wants/ssh.service: maintainer scripts of ssh (it leads to /usr/lib/systemd/system/ssh.service)
/var/lib/systemd/deb-systemd-helper-enabled/ssh.service.dsh-also: maintainer scripts of ssh (it is about its ssh.service)
/usr/lib/python3/__pycache__/os.cpython-311.pyc: maintainer scripts of python (it is compiled from /usr/lib/python3/os.py)
/usr/lib/python3/__pycache__: maintainer scripts of python (it is compiled from /usr/lib/python3/os.py)
/var/lib/db/state: maintainer scripts of db (its directory /var/lib/db)
/var/lib/nginx/body: maintainer scripts of nginx (named after it: /var/lib/nginx)
/etc/both: maintainer scripts
/etc/both20: maintainer scripts
/etc/dangling: maintainer scripts
/etc/passwd: maintainer scripts
/var/lib/dpkg/status: imagefactory, stage configure: package database, before imagefactory, stage rootfs: package database
`)
	if o, _ := f.attribute(steps...).Origin("/etc/ld.so.cache"); o != (Origin{Kind: MaintainerScript, Name: "libc-bin", Version: "1", Arch: "amd64", Stage: "configure"}) {
		t.Errorf("origin: %+v", o)
	}
}

// TestScriptlets reads the scripts of a package of the rpm family.
func TestScriptlets(t *testing.T) {
	f := newFixture(t)
	blob, err := header.Build([]header.Entry{
		header.StringEntry(header.TagName, "demo"), header.StringEntry(header.TagVersion, "1"), header.StringEntry(header.TagRelease, "1"), header.StringEntry(header.TagArch, "noarch"),
		header.StringEntry(header.TagPostIn, "echo yes >/etc/demo.enabled"),
	}, header.TagHeaderImmutable)
	if err != nil {
		t.Fatal(err)
	}
	pkg := packages.Package{Name: "demo", Version: "1-1", Arch: "noarch", Tree: f.save(f.file("usr/bin/demo", "x")), Control: f.control(map[string]string{"header": string(blob)})}
	merged := f.save(f.file("usr/bin/demo", "x"))
	configured := f.change(merged, "", f.file("etc/demo.enabled", "yes"), f.file("usr/lib/sysimage/rpm/rpmdb.sqlite", "db"))
	f.check(f.attribute(Step{Stage: "rootfs", Kind: Generated, Name: "root", Tree: merged, Packages: []packages.Package{pkg}},
		Step{Stage: "configure", Kind: MaintainerScript, Tree: configured, Claims: PackageDatabase()}), `
/usr/bin/demo: package demo 1-1 (noarch)
/etc/demo.enabled: maintainer scripts of demo (its scripts name /etc/demo.enabled)
/usr/lib/sysimage/rpm: imagefactory, stage configure: package database
`)
	broken := pkg
	broken.Control = f.control(map[string]string{"header": "no header"})
	if _, err := Attribute(t.Context(), f.st, []Step{{Stage: "rootfs", Tree: merged, Packages: []packages.Package{broken}}}); err == nil || !strings.HasPrefix(err.Error(), "stage rootfs: package demo 1-1: ") {
		t.Errorf("a broken header: %v", err)
	}
}

// TestInstalled is about roots that a program of the host installed.
func TestInstalled(t *testing.T) {
	f := newFixture(t)
	status := "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2\nMaintainer: x <x@example.org>\nDescription: shell\n\n" +
		"Package: base\nStatus: install ok installed\nArchitecture: all\nVersion: 12\nMaintainer: x <x@example.org>\nDescription: base\n"
	root := f.save(f.file("usr/bin/bash", "elf"), f.file("etc/hostname", "built"), f.file("var/lib/dpkg/status", status), stagetest.Link("bin", "usr/bin"),
		f.file("etc/ld.so.cache", "cache"), stagetest.Link("etc/alternatives/rsh", "/bin/bash"), f.file("usr/sbin/ldconfig", "elf"),
		f.file("var/lib/dpkg/info/bash.list", "/.\n/bin\n/bin/bash\n/usr\n/usr/sbin/ldconfig\n"), f.file("var/lib/dpkg/info/base.list", "/.\n/usr\n/usr/bin\n"))
	db, err := installed.Read(f.st, stagetest.Load(t, f.st, root))
	if err != nil {
		t.Fatal(err)
	}
	f.check(f.attribute(Step{Stage: "install", Kind: MaintainerScript, Tree: root, Installed: db, Claims: PackageDatabase()}), `
/usr/bin/bash: package bash 5.2 (amd64)
/usr: package base 12 (all), also package bash 5.2 (amd64)
/var/lib/dpkg/status: imagefactory, stage install: package database
/etc/hostname: maintainer scripts
/etc/ld.so.cache: maintainer scripts of bash (its /usr/sbin/ldconfig makes it)
/etc/alternatives/rsh: maintainer scripts of bash (it leads to /usr/bin/bash)
`)
}

// TestSources attributes boot programs to the packages they were copied from.
func TestSources(t *testing.T) {
	f := newFixture(t)
	shim := strings.Repeat("signed ", 100)
	tools := []packages.Package{f.deb("shim-signed", "", f.file("usr/lib/shim/shimx64.efi.signed", shim), f.file("usr/lib/shim/small.csv", "csv"), f.file("usr/lib/shim/tiny", "t"))}
	esp := f.save(f.file("EFI/BOOT/BOOTX64.EFI", shim), f.file("EFI/debian/grub.cfg", "search"), f.file("EFI/BOOT/small.csv", "csv"), f.file("EFI/BOOT/other", "t"))
	boot := f.attribute(Step{Stage: "boot", Kind: Generated, Name: "EFI system partition", Tree: esp, Sources: tools})
	root := f.attribute(Step{Stage: "import", Kind: Import, Name: "x", Tree: f.save(stagetest.Dir("boot/efi"), f.file("etc/x", ""), f.file("zoo", ""))})
	a := root.Join("/boot/efi/", boot)
	f.check(a, `
/boot/efi: import x
/boot/efi/EFI: package shim-signed 1 (amd64)
/boot/efi/EFI/BOOT/BOOTX64.EFI: package shim-signed 1 (amd64), from /usr/lib/shim/shimx64.efi.signed
/boot/efi/EFI/BOOT/small.csv: package shim-signed 1 (amd64), from /usr/lib/shim/small.csv
/boot/efi/EFI/BOOT/other: imagefactory, stage boot: EFI system partition
/boot/efi/EFI/debian/grub.cfg: imagefactory, stage boot: EFI system partition
/zoo: import x
`)
	for i := 1; i < len(a.Paths); i++ {
		if tree.Compare(relative(a.Paths[i-1].Path), relative(a.Paths[i].Path)) >= 0 {
			t.Errorf("%s comes before %s", a.Paths[i-1].Path, a.Paths[i].Path)
		}
	}
	if alone := (&Attribution{}).Join("/boot", boot); alone.Paths[0].Path != "/boot" {
		t.Errorf("the mount point is %s", alone.Paths[0].Path)
	}
}

func TestAttributeErrors(t *testing.T) {
	f := newFixture(t)
	if _, err := Attribute(t.Context(), f.st, nil); err == nil {
		t.Error("no steps are fine")
	}
	if _, err := Attribute(t.Context(), f.st, []Step{{Stage: "rootfs", Tree: store.Sum([]byte("missing"))}}); err == nil || !strings.HasPrefix(err.Error(), "stage rootfs: ") {
		t.Errorf("a missing tree: %v", err)
	}
	missing := packages.Package{Name: "p", Version: "2", Tree: store.Sum([]byte("missing"))}
	if _, err := Attribute(t.Context(), f.st, []Step{{Stage: "rootfs", Tree: f.save(), Packages: []packages.Package{missing}}}); err == nil || !strings.HasPrefix(err.Error(), "stage rootfs: package p 2: ") {
		t.Errorf("a missing package: %v", err)
	}
}

// BenchmarkAttribute attributes 20,000 entries of 300 packages after 12 stages, of which each changes
// some and one all.
func BenchmarkAttribute(b *testing.B) {
	f := newFixture(b)
	var pkgs []packages.Package
	var all []tree.Entry
	data := make([]store.Digest, 0, 20000)
	batch, err := f.st.NewBatch()
	if err != nil {
		b.Fatal(err)
	}
	for i := range 19000 {
		d, err := batch.AddBytes(fmt.Appendf(nil, "contents of a file that is long enough to be like others %300d", i))
		if err != nil {
			b.Fatal(err)
		}
		data = append(data, d)
	}
	if err := batch.Commit(); err != nil {
		b.Fatal(err)
	}
	for i := range 300 {
		var entries []tree.Entry
		for k := range 63 {
			n := i*63 + k
			entries = append(entries, tree.Entry{Path: fmt.Sprintf("usr/share/package%d/file%d", i, k), Type: tree.Regular, Mode: 0o644, Digest: data[n], Size: 360})
		}
		pkgs = append(pkgs, f.deb(fmt.Sprintf("package%d", i), strings.Repeat("echo configuring /var/lib/something\n", 40), entries...))
		all = append(all, entries...)
	}
	root := f.save(all...)
	steps := []Step{{Stage: "rootfs", Kind: Generated, Name: "root", Tree: root, Packages: pkgs, Claims: PackageDatabase()}}
	for i := range 11 {
		var put []tree.Entry
		for k := range 100 {
			put = append(put, tree.Entry{Path: fmt.Sprintf("var/lib/stage%d/file%d", i, k), Type: tree.Regular, Mode: 0o644, Digest: data[18900+(i+k)%100], Size: 360})
		}
		if i == 10 {
			for _, e := range stagetest.Load(b, f.st, root).Entries()[1:] {
				e.Xattrs = []tree.Xattr{{Name: "security.selinux", Value: []byte("system_u:object_r:usr_t:s0")}}
				put = append(put, e)
			}
		}
		root = f.change(root, "", put...)
		step := Step{Stage: fmt.Sprint("script ", i), Kind: Script, Name: fmt.Sprint(i), Tree: root}
		if i == 0 {
			step = Step{Stage: "configure", Kind: MaintainerScript, Tree: root}
		}
		steps = append(steps, step)
	}
	b.ResetTimer()
	for b.Loop() {
		a, err := Attribute(b.Context(), f.st, steps)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(a.Paths)), "paths")
	}
}
