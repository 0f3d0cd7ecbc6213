package guard

import (
	"context"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// without returns a tree with paths taken out.
func without(t testing.TB, root *tree.Tree, paths ...string) *tree.Tree {
	t.Helper()
	e := root.Edit()
	for _, p := range paths {
		if _, ok := e.Get(p); !ok {
			t.Fatalf("there is no /%s to take out", p)
		}
		e.Remove(p)
	}
	after, err := e.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return after
}

// with returns a tree with entries put in.
func with(t testing.TB, root *tree.Tree, entries ...tree.Entry) *tree.Tree {
	t.Helper()
	e := root.Edit()
	for _, n := range entries {
		if err := e.MkdirAll(tree.Parent(n.Path), stagetest.Dir("x")); err != nil {
			t.Fatal(err)
		}
		e.Put(n)
	}
	after, err := e.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return after
}

// owners says that the package of a path is "pkg-" and its last element.
func owners(path string) []string {
	return []string{"pkg-" + path[strings.LastIndexByte(path, '/')+1:]}
}

// check returns what Check finds, a line each.
func check(t testing.TB, st *store.Store, before, after *tree.Tree, exceptions ...Exception) []string {
	t.Helper()
	found, err := Check(context.Background(), st, before, after, owners, exceptions)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range found {
		lines = append(lines, f.Kind+": "+f.String())
	}
	return lines
}

func want(t testing.TB, got []string, lines ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(lines, "\n") {
		t.Errorf("found\n  %s\nand not\n  %s", strings.Join(got, "\n  "), strings.Join(lines, "\n  "))
	}
}

func executable(e tree.Entry) tree.Entry { return stagetest.Mode(e, 0o755) }

// elfFile returns an ELF file of a tree.
func elfFile(t testing.TB, st *store.Store, path string, o object) tree.Entry {
	t.Helper()
	return executable(stagetest.File(t, st, path, string(o.bytes())))
}

const (
	linker = "/lib64/ld-linux-x86-64.so.2"
	multi  = "usr/lib/x86_64-linux-gnu/"
)

// linked is a root with libraries and programs.
func linked(t testing.TB, st *store.Store, more ...tree.Entry) *tree.Tree {
	lib := func(name string, o object) tree.Entry {
		o.soname = name
		return elfFile(t, st, multi+name, o)
	}
	return stagetest.Tree(t, append([]tree.Entry{
		stagetest.Link("bin", "usr/bin"), stagetest.Link("lib", "usr/lib"), stagetest.Link("lib64", "usr/lib64"), stagetest.Link("sbin", "usr/sbin"),
		stagetest.Link("usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
		// What glibc leaves in a dynamic linker.
		executable(stagetest.File(t, st, multi+"ld-linux-x86-64.so.2",
			string(object{soname: "ld-linux-x86-64.so.2"}.bytes())+"\x00/lib/x86_64-linux-gnu/\x00/usr/lib/x86_64-linux-gnu/\x00/lib/\x00/usr/lib/\x00\x00")),
		lib("libc.so.6", object{defines: []string{"GLIBC_2.2.5", "GLIBC_2.34"}}),
		elfFile(t, st, multi+"libcrypt.so.1.1.0", object{soname: "libcrypt.so.1", needed: []string{"libc.so.6"}}),
		stagetest.Link(multi+"libcrypt.so.1", "libcrypt.so.1.1.0"),
		elfFile(t, st, "usr/sbin/sshd", object{interp: linker, needed: []string{"libcrypt.so.1", "libc.so.6"}, wants: map[string][]string{"libc.so.6": {"GLIBC_2.34"}}}),
		executable(stagetest.File(t, st, "usr/bin/dash", string(object{interp: linker, needed: []string{"libc.so.6"}}.bytes()))),
		stagetest.Link("usr/bin/sh", "dash"),
	}, more...)...)
}

func TestNothingChanged(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := linked(t, st)
	want(t, check(t, st, root, root))
	want(t, check(t, st, root, with(t, root, stagetest.File(t, st, "etc/motd", "hello"))))
}

func TestLibraries(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := linked(t, st)

	// The file behind the link, the link alone, and both.
	want(t, check(t, st, root, without(t, root, multi+"libcrypt.so.1.1.0", multi+"libcrypt.so.1")),
		"library: /usr/sbin/sshd (pkg-sshd) needs libcrypt.so.1, which /usr/lib/x86_64-linux-gnu/libcrypt.so.1.1.0 of the package pkg-libcrypt.so.1.1.0 provided")
	want(t, check(t, st, root, without(t, root, multi+"libcrypt.so.1")),
		"library: /usr/sbin/sshd (pkg-sshd) needs libcrypt.so.1, which /usr/lib/x86_64-linux-gnu/libcrypt.so.1.1.0 of the package pkg-libcrypt.so.1.1.0 provided")
	want(t, check(t, st, root, without(t, root, multi+"libcrypt.so.1.1.0")),
		"library: /usr/sbin/sshd (pkg-sshd) needs libcrypt.so.1, which /usr/lib/x86_64-linux-gnu/libcrypt.so.1.1.0 of the package pkg-libcrypt.so.1.1.0 provided",
		"symlink: /usr/lib/x86_64-linux-gnu/libcrypt.so.1 (pkg-libcrypt.so.1) needs /usr/lib/x86_64-linux-gnu/libcrypt.so.1.1.0, which /usr/lib/x86_64-linux-gnu/libcrypt.so.1.1.0 of the package pkg-libcrypt.so.1.1.0 provided")
	// Whoever needs it may go with it.
	want(t, check(t, st, root, without(t, root, multi+"libcrypt.so.1.1.0", multi+"libcrypt.so.1", "usr/sbin/sshd")))
	// A library that was missing before is no news.
	broken := without(t, root, multi+"libcrypt.so.1.1.0", multi+"libcrypt.so.1")
	want(t, check(t, st, broken, without(t, broken, "usr/bin/sh")))
	// A file of another architecture in its place is not it.
	arm := with(t, root, elfFile(t, st, multi+"libcrypt.so.1.1.0", object{soname: "libcrypt.so.1", machine: 183}))
	want(t, check(t, st, root, arm),
		"library: /usr/sbin/sshd (pkg-sshd) needs libcrypt.so.1, which /usr/lib/x86_64-linux-gnu/libcrypt.so.1.1.0 of the package pkg-libcrypt.so.1.1.0 provided")
	// An older one in its place lacks versions.
	old := with(t, root, elfFile(t, st, multi+"libc.so.6", object{soname: "libc.so.6", defines: []string{"GLIBC_2.2.5"}}))
	want(t, check(t, st, root, old),
		"library: /usr/sbin/sshd (pkg-sshd) needs libc.so.6 (GLIBC_2.34), which /usr/lib/x86_64-linux-gnu/libc.so.6 of the package pkg-libc.so.6 provided")
	// A new program without its library.
	want(t, check(t, st, root, with(t, root, elfFile(t, st, "usr/bin/new", object{interp: linker, needed: []string{"libnone.so.3"}}))),
		"library: /usr/bin/new (pkg-new) needs libnone.so.3, which nothing provides")
}

func TestLibraryPaths(t *testing.T) {
	st := stagetest.Cache(t).Store
	private := func(path string) tree.Entry { return elfFile(t, st, path, object{soname: "libpriv.so.1"}) }
	program := func(o object) tree.Entry {
		o.interp, o.needed = linker, []string{"libpriv.so.1"}
		return elfFile(t, st, "opt/app/bin/app", o)
	}
	const lost = "library: /opt/app/bin/app (pkg-app) needs libpriv.so.1, which /%s of the package pkg-libpriv.so.1 provided"
	for name, c := range map[string]struct {
		o    object
		lib  string
		more []tree.Entry
	}{
		"$ORIGIN in RUNPATH": {object{runpath: "$ORIGIN/../lib"}, "opt/app/lib/libpriv.so.1", nil},
		"${ORIGIN} in RPATH": {object{rpath: "${ORIGIN}/../lib"}, "opt/app/lib/libpriv.so.1", nil},
		"$LIB":               {object{runpath: "/opt/$LIB"}, "opt/lib/x86_64-linux-gnu/libpriv.so.1", nil},
		"$PLATFORM":          {object{runpath: "/opt/$PLATFORM"}, "opt/x86_64/libpriv.so.1", nil},
		"ld.so.conf": {object{}, "opt/conf/libpriv.so.1", []tree.Entry{
			stagetest.File(t, st, "etc/ld.so.conf", "# comment\ninclude /etc/ld.so.conf.d/*.conf\n"), stagetest.File(t, st, "etc/ld.so.conf.d/app.conf", "/opt/conf # here\n")}},
		"relative include": {object{}, "opt/conf/libpriv.so.1", []tree.Entry{
			stagetest.File(t, st, "etc/ld.so.conf", "include ld.so.conf.d/*.conf"), stagetest.File(t, st, "etc/ld.so.conf.d/app.conf", "/opt/conf")}},
		"hardware capabilities": {object{}, multi + "glibc-hwcaps/x86-64-v3/libpriv.so.1", nil},
		"default":               {object{}, "usr/lib/libpriv.so.1", nil},
	} {
		t.Run(name, func(t *testing.T) {
			root := linked(t, st, append(c.more, program(c.o), private(c.lib))...)
			want(t, check(t, st, root, without(t, root, c.lib)), strings.Replace(lost, "%s", c.lib, 1))
		})
	}
	// DF_1_NODEFLIB: not in the default directories. It was missing before; then it is found by its name only.
	root := linked(t, st, program(object{noDefault: true, runpath: "/opt/none"}), private("usr/lib/libpriv.so.1"), private("opt/other/libpriv.so.1"))
	want(t, check(t, st, root, without(t, root, "usr/lib/libpriv.so.1")))

	// RPATH of the program is for the libraries of its libraries; RUNPATH is not.
	chain := func(o object) *tree.Tree {
		o.interp, o.needed = linker, []string{"libouter.so.1"}
		return linked(t, st, elfFile(t, st, "opt/app/bin/app", o),
			elfFile(t, st, "opt/app/lib/libouter.so.1", object{soname: "libouter.so.1", needed: []string{"libinner.so.1"}}),
			elfFile(t, st, "opt/app/lib/libinner.so.1", object{soname: "libinner.so.1"}),
			elfFile(t, st, "opt/other/libinner.so.1", object{soname: "libinner.so.1"}))
	}
	root = chain(object{rpath: "/opt/app/lib"})
	want(t, check(t, st, root, without(t, root, "opt/app/lib/libinner.so.1")),
		"library: /opt/app/lib/libouter.so.1 (pkg-libouter.so.1) needs libinner.so.1, which /opt/app/lib/libinner.so.1 of the package pkg-libinner.so.1 provided")
	root = chain(object{runpath: "/opt/app/lib"})
	want(t, check(t, st, root, without(t, root, "opt/app/lib/libinner.so.1"))) // it was not found before

	// A plugin whose library its program loads first, by a path that only the program knows.
	root = linked(t, st, elfFile(t, st, multi+"app/plugin.so", object{needed: []string{"libapp.so.1"}}), elfFile(t, st, "opt/app/libapp.so.1", object{soname: "libapp.so.1"}))
	want(t, check(t, st, root, without(t, root, "opt/app/libapp.so.1")),
		"library: /usr/lib/x86_64-linux-gnu/app/plugin.so (pkg-plugin.so) needs libapp.so.1, which /opt/app/libapp.so.1 of the package pkg-libapp.so.1 provided")
}

func TestInterpreters(t *testing.T) {
	st := stagetest.Cache(t).Store
	script := func(path, line string) tree.Entry { return executable(stagetest.File(t, st, path, line+"\necho\n")) }
	root := linked(t, st,
		executable(stagetest.File(t, st, "usr/bin/perl", "program")),
		executable(stagetest.File(t, st, "usr/bin/python3.11", "program")), stagetest.Link("usr/bin/python3", "python3.11"),
		executable(stagetest.File(t, st, "usr/bin/env", "program")),
		script("usr/bin/tool", "#!/usr/bin/perl -w"), script("usr/bin/snake", "#! /usr/bin/env -S PYTHONPATH=/x python3 -I"),
		script("usr/bin/shell", "#!/bin/sh"), script("usr/bin/nowhere", "#!/usr/bin/tcl"),
		stagetest.File(t, st, "usr/share/x.pl", "#!/usr/bin/perl\n"), // is not executed
	)
	want(t, check(t, st, root, without(t, root, "usr/bin/perl")),
		"interpreter: /usr/bin/tool (pkg-tool) needs /usr/bin/perl, which /usr/bin/perl of the package pkg-perl provided")
	want(t, check(t, st, root, without(t, root, "usr/bin/python3.11", "usr/bin/python3")),
		"interpreter: /usr/bin/snake (pkg-snake) needs python3, which /usr/bin/python3.11 of the package pkg-python3.11 provided")
	want(t, check(t, st, root, without(t, root, "usr/bin/env")),
		"interpreter: /usr/bin/snake (pkg-snake) needs /usr/bin/env, which /usr/bin/env of the package pkg-env provided")
	want(t, check(t, st, root, without(t, root, "usr/bin/sh")),
		"interpreter: /usr/bin/shell (pkg-shell) needs /bin/sh, which /usr/bin/dash of the package pkg-dash provided")
	want(t, check(t, st, root, without(t, root, "usr/lib64/ld-linux-x86-64.so.2", multi+"ld-linux-x86-64.so.2")),
		"interpreter: /usr/bin/dash (pkg-dash) needs /lib64/ld-linux-x86-64.so.2, which /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 of the package pkg-ld-linux-x86-64.so.2 provided",
		"interpreter: /usr/sbin/sshd (pkg-sshd) needs /lib64/ld-linux-x86-64.so.2, which /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 of the package pkg-ld-linux-x86-64.so.2 provided")
}

func TestUnits(t *testing.T) {
	st := stagetest.Cache(t).Store
	const dir = "usr/lib/systemd/system/"
	unit := func(name, text string) tree.Entry { return stagetest.File(t, st, dir+name, text) }
	program := func(name string) tree.Entry { return executable(stagetest.File(t, st, "usr/sbin/"+name, "program")) }
	root := linked(t, st,
		program("chronyd"), program("helper"), program("cond"), program("early"), program("second"), program("reload"),
		unit("chrony.service", "[Unit]\nRequires=sock.socket\n[Service]\nUser=root\nExecStart=!/usr/sbin/chronyd $OPTS\n"),
		unit("prefix.service", "[Service]\nExecStartPre=-/usr/sbin/reload\nExecStart=-@+/usr/sbin/helper helper\nExecReload=/bin/kill $MAINPID\n"),
		unit("cond.service", "[Unit]\nConditionFileIsExecutable=/usr/sbin/cond\n[Service]\nExecStart=/usr/sbin/cond\n"),
		unit("several.service", "[Service]\nType=oneshot\nExecStart=/usr/sbin/early -x ; /usr/sbin/second\n"),
		unit("reset.service", "[Service]\nExecStart=/usr/sbin/early\n"),
		stagetest.File(t, st, "etc/systemd/system/reset.service.d/x.conf", "[Service]\nExecStart=\nExecStart=/usr/bin/sh -c true\n"),
		unit("bare.service", "[Service]\nExecStart=reload\n"),
		unit("spec@.service", "[Service]\nExecStart=/usr/sbin/%p-%i\n"),
		unit("job.timer", "[Timer]\nOnCalendar=daily\n"), unit("job.service", "[Service]\nExecStart=/usr/bin/sh\n"),
		unit("sock.socket", "[Socket]\nAccept=yes\nListenStream=/run/x\n"), unit("sock@.service", "[Service]\nExecStart=/usr/bin/sh\n"),
		unit("off.service", "[Service]\nExecStart=/usr/sbin/early\n"), stagetest.Link("etc/systemd/system/off.service", "/dev/null"),
		stagetest.File(t, st, "usr/lib/systemd/user/session.service", "[Service]\nExecStart=/usr/sbin/chronyd\n"),
	)
	want(t, check(t, st, root, without(t, root, "usr/sbin/chronyd")),
		"unit: /usr/lib/systemd/system/chrony.service (pkg-chrony.service) needs /usr/sbin/chronyd, which /usr/sbin/chronyd of the package pkg-chronyd provided",
		"unit: /usr/lib/systemd/user/session.service (pkg-session.service) needs /usr/sbin/chronyd, which /usr/sbin/chronyd of the package pkg-chronyd provided")
	want(t, check(t, st, root, without(t, root, "usr/sbin/helper")),
		"unit: /usr/lib/systemd/system/prefix.service (pkg-prefix.service) needs /usr/sbin/helper, which /usr/sbin/helper of the package pkg-helper provided")
	want(t, check(t, st, root, without(t, root, "usr/sbin/cond")))
	want(t, check(t, st, root, without(t, root, "usr/sbin/reload")), // what "-" allows, and what only has a name
		"unit: /usr/lib/systemd/system/bare.service (pkg-bare.service) needs reload, which /usr/sbin/reload of the package pkg-reload provided")
	want(t, check(t, st, root, without(t, root, "usr/sbin/early", "usr/sbin/second")), // neither the masked one nor the one reset
		"unit: /usr/lib/systemd/system/several.service (pkg-several.service) needs /usr/sbin/early, which /usr/sbin/early of the package pkg-early provided",
		"unit: /usr/lib/systemd/system/several.service (pkg-several.service) needs /usr/sbin/second, which /usr/sbin/second of the package pkg-second provided")
	want(t, check(t, st, root, without(t, root, dir+"job.service")),
		"unit: /usr/lib/systemd/system/job.timer (pkg-job.timer) needs job.service, which /usr/lib/systemd/system/job.service of the package pkg-job.service provided")
	want(t, check(t, st, root, without(t, root, dir+"sock@.service", dir+"sock.socket")),
		"unit: /usr/lib/systemd/system/chrony.service (pkg-chrony.service) needs sock.socket, which /usr/lib/systemd/system/sock.socket of the package pkg-sock.socket provided")
	want(t, check(t, st, root, without(t, root, dir+"sock@.service")),
		"unit: /usr/lib/systemd/system/sock.socket (pkg-sock.socket) needs sock@.service, which /usr/lib/systemd/system/sock@.service of the package pkg-sock@.service provided")
}

func TestSymlinks(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := linked(t, st,
		stagetest.File(t, st, "usr/share/a/file", "x"), stagetest.Link("etc/a", "../usr/share/a/file"), stagetest.Link("etc/dir", "/usr/share/a"),
		stagetest.Link("etc/through", "dir/file"), stagetest.Link("etc/dangling", "/nowhere"), stagetest.Link("etc/mtab", "../proc/self/mounts"),
		stagetest.Link("etc/resolv.conf", "/run/systemd/resolve/stub-resolv.conf"),
	)
	want(t, check(t, st, root, without(t, root, "usr/share/a/file")),
		"symlink: /etc/a (pkg-a) needs /usr/share/a/file, which /usr/share/a/file of the package pkg-file provided",
		"symlink: /etc/through (pkg-through) needs /usr/share/a/file, which /usr/share/a/file of the package pkg-file provided")
	want(t, check(t, st, root, with(t, root, stagetest.Link("etc/new", "gone"), stagetest.Link("etc/null", "/dev/null"))),
		"symlink: /etc/new (pkg-new) needs /etc/gone, which nothing provides")
	want(t, check(t, st, root, with(t, root, stagetest.Link("etc/loop", "loop"))),
		"symlink: /etc/loop (pkg-loop) needs /etc/loop, which nothing provides")
}

func TestModules(t *testing.T) {
	st := stagetest.Cache(t).Store
	const dir = "usr/lib/modules/6.1.0/"
	root := linked(t, st,
		stagetest.File(t, st, dir+"kernel/fs/ext4/ext4.ko", "a"), stagetest.File(t, st, dir+"kernel/fs/jbd2/jbd2.ko", "b"), stagetest.File(t, st, dir+"kernel/lib/crc-x.ko.xz", "c"),
		stagetest.File(t, st, dir+"modules.dep", "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko\nkernel/fs/jbd2/jbd2.ko:\nkernel/lib/crc-x.ko.xz:\n"),
		stagetest.File(t, st, dir+"modules.softdep", "# x\nsoftdep jbd2 pre: crc-x\n"),
	)
	want(t, check(t, st, root, without(t, root, dir+"kernel/fs/jbd2/jbd2.ko")),
		"module: /usr/lib/modules/6.1.0/kernel/fs/ext4/ext4.ko (pkg-ext4.ko) needs jbd2, which /usr/lib/modules/6.1.0/kernel/fs/jbd2/jbd2.ko of the package pkg-jbd2.ko provided")
	want(t, check(t, st, root, without(t, root, dir+"kernel/lib/crc-x.ko.xz")),
		"module: /usr/lib/modules/6.1.0/kernel/fs/jbd2/jbd2.ko (pkg-jbd2.ko) needs crc_x, which /usr/lib/modules/6.1.0/kernel/lib/crc-x.ko.xz of the package pkg-crc-x.ko.xz provided")
	want(t, check(t, st, root, with(t, root, stagetest.File(t, st, dir+"modules.dep", "kernel/fs/jbd2/jbd2.ko:\nkernel/lib/crc-x.ko.xz:\n"))),
		"module: /usr/lib/modules/6.1.0/kernel/fs/ext4/ext4.ko (pkg-ext4.ko) needs its line in modules.dep, which /usr/lib/modules/6.1.0/modules.dep of the package pkg-modules.dep provided")
	want(t, check(t, st, root, without(t, root, dir+"kernel/fs/jbd2", dir+"kernel/fs/ext4")))
}

func TestAccounts(t *testing.T) {
	st := stagetest.Cache(t).Store
	passwd := func(lines ...string) tree.Entry {
		return stagetest.File(t, st, "etc/passwd", strings.Join(lines, "\n")+"\n")
	}
	group := func(lines ...string) tree.Entry {
		return stagetest.File(t, st, "etc/group", strings.Join(lines, "\n")+"\n")
	}
	root := linked(t, st,
		passwd("root:x:0:0::/root:/bin/sh", "chrony:x:101:102::/:/bin/false"), group("root:x:0:", "chrony:x:102:", "tty:x:5:"),
		stagetest.Owner(stagetest.Dir("var/lib/chrony"), 101, 102), stagetest.Owner(stagetest.File(t, st, "var/lib/chrony/drift", "1"), 101, 102),
		stagetest.Owner(stagetest.File(t, st, "srv/foreign", "1"), 4711, 4711), // never had a name
		stagetest.File(t, st, "usr/lib/systemd/system/chrony.service", "[Service]\nUser=chrony\nExecStart=/usr/bin/sh\n"),
		stagetest.File(t, st, "usr/lib/tmpfiles.d/chrony.conf", "# x\nd /run/chrony 0750 chrony :chrony - -\n"),
		stagetest.File(t, st, "usr/share/dbus-1/system.d/chrony.conf", "<policy user=\"chrony\"/>\n"),
		stagetest.File(t, st, "usr/lib/udev/rules.d/50.rules", "KERNEL==\"tty*\", GROUP=\"tty\"\n"),
	)
	after := with(t, root, passwd("root:x:0:0::/root:/bin/sh"), group("root:x:0:"))
	user := "which /etc/passwd of the package pkg-passwd provided"
	of := "which /etc/group of the package pkg-group provided"
	want(t, check(t, st, root, after),
		"account: /usr/lib/systemd/system/chrony.service (pkg-chrony.service) needs user chrony, "+user,
		"account: /usr/lib/tmpfiles.d/chrony.conf (pkg-chrony.conf) needs group chrony, "+of,
		"account: /usr/lib/tmpfiles.d/chrony.conf (pkg-chrony.conf) needs user chrony, "+user,
		"account: /usr/lib/udev/rules.d/50.rules (pkg-50.rules) needs group tty, "+of,
		"account: /usr/share/dbus-1/system.d/chrony.conf (pkg-chrony.conf) needs user chrony, "+user,
		"account: /var/lib/chrony (pkg-chrony) needs group chrony (102), "+of,
		"account: /var/lib/chrony (pkg-chrony) needs user chrony (101), "+user)
	// systemd-sysusers makes the account when the system starts.
	described := with(t, after, stagetest.File(t, st, "usr/lib/sysusers.d/chrony.conf", "u chrony 101:102 - /\ng tty 5\n"))
	if got := check(t, st, root, described); len(got) == 0 {
		t.Error("without systemd-sysusers, sysusers.d makes no account")
	}
	described = with(t, described, executable(stagetest.File(t, st, "usr/bin/systemd-sysusers", "x")))
	want(t, check(t, st, root, described),
		"account: /var/lib/chrony (pkg-chrony) needs group chrony (102), "+of, // ids may come out differently
		"account: /var/lib/chrony (pkg-chrony) needs user chrony (101), "+user)
}

func TestLogins(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := linked(t, st,
		elfFile(t, st, multi+"security/pam_unix.so", object{}), elfFile(t, st, multi+"security/pam_opt.so", object{}), elfFile(t, st, "usr/lib64/security/pam_cap.so", object{}),
		elfFile(t, st, multi+"libnss_systemd.so.2", object{soname: "libnss_systemd.so.2"}),
		stagetest.File(t, st, "etc/pam.d/login", "# auth required pam_cap.so\nauth [success=1 default=ignore] pam_unix.so nullok\n-session optional pam_opt.so\n@include common\naccount required pam_cap.so\n"),
		stagetest.File(t, st, "etc/nsswitch.conf", "passwd: files systemd\nhosts: files [!UNAVAIL=return] dns\n"),
	)
	want(t, check(t, st, root, without(t, root, multi+"security/pam_unix.so", multi+"security/pam_opt.so", "usr/lib64/security/pam_cap.so")),
		"library: /etc/pam.d/login (pkg-login) needs pam_cap.so, which /usr/lib64/security/pam_cap.so of the package pkg-pam_cap.so provided",
		"library: /etc/pam.d/login (pkg-login) needs pam_unix.so, which /usr/lib/x86_64-linux-gnu/security/pam_unix.so of the package pkg-pam_unix.so provided")
	want(t, check(t, st, root, without(t, root, multi+"libnss_systemd.so.2")),
		"library: /etc/nsswitch.conf (pkg-nsswitch.conf) needs libnss_systemd.so.2, which /usr/lib/x86_64-linux-gnu/libnss_systemd.so.2 of the package pkg-libnss_systemd.so.2 provided")
}

func TestExceptions(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := linked(t, st)
	after := without(t, root, multi+"libcrypt.so.1.1.0", multi+"libcrypt.so.1")
	for _, x := range []Exception{
		{Kind: Library, Path: "/usr/sbin/sshd", Need: "libcrypt.so.1"}, {Kind: Library}, {Path: "/usr/sbin/*"}, {Path: "/usr/**"}, {Need: "libcrypt.so.*"},
	} {
		if got := check(t, st, root, after, x); len(got) != 0 {
			t.Errorf("%+v leaves %q", x, got)
		}
	}
	for _, x := range []Exception{{Kind: Unit}, {Path: "/usr/sbin"}, {Path: "/usr/bin/**"}, {Need: "libcrypt"}} {
		if got := check(t, st, root, after, x); len(got) != 1 {
			t.Errorf("%+v leaves %q", x, got)
		}
	}
	for _, x := range []Exception{{Kind: "lib"}, {Path: "["}} {
		if _, err := Check(context.Background(), st, root, after, nil, []Exception{x}); err == nil {
			t.Errorf("%+v is taken", x)
		}
	}
}
