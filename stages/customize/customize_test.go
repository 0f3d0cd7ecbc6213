package customize

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// epoch of what the stage writes; what is there before has stagetest.Epoch.
const epoch = stagetest.Epoch + 86400

// now marks what the stage has written in stagetest.Text.
const now = "@1000086400.0"

type fixture struct {
	*testing.T
	cache *stages.Cache
}

func newFixture(t *testing.T) fixture { return fixture{t, stagetest.Cache(t)} }

func (f fixture) file(path, contents string) tree.Entry {
	return stagetest.File(f, f.cache.Store, path, contents)
}

// accounts is a small account database.
func (f fixture) accounts() []tree.Entry {
	return []tree.Entry{
		f.file("etc/passwd", "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\nold:x:1000:1000:Old:/home/old:/bin/sh\n"),
		f.file("etc/group", "root:x:0:\ndaemon:x:1:\nsudo:x:27:old\nadm:x:4:\nold:x:1000:\n"),
		stagetest.Owner(stagetest.Mode(f.file("etc/shadow", "root:*:10000:0:99999:7:::\ndaemon:*:10000:0:99999:7:::\nold:$6$old:10000:0:99999:7:::\n"), 0o640), 0, 42),
		stagetest.Owner(stagetest.Mode(f.file("etc/gshadow", "root:*::\ndaemon:*::\nsudo:*::old\nadm:*::\nold:!::\n"), 0o640), 0, 42),
	}
}

// try runs the stage with o in a root of entries.
func (f fixture) try(o Options, entries ...tree.Entry) (*tree.Tree, error) {
	f.Helper()
	if o.Epoch == 0 {
		o.Epoch = epoch
	}
	if o.Timezone == "" {
		o.Timezone = "Etc/UTC"
	}
	if o.Locale == "" {
		o.Locale = "C.UTF-8"
	}
	root := rootfs.Root{Tree: stagetest.Save(f, f.cache.Store, stagetest.Tree(f, entries...))}
	result, _, err := stagetest.Run(f, f.cache, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return Run(ctx, run, root, o)
	})
	if err != nil {
		return nil, err
	}
	return stagetest.Load(f, f.cache.Store, result.Tree), nil
}

// apply is try, which must succeed; it returns the result, and as text what is below dirs.
func (f fixture) apply(o Options, entries []tree.Entry, dirs ...string) string {
	f.Helper()
	t, err := f.try(o, entries...)
	if err != nil {
		f.Fatal(err)
	}
	return stagetest.Text(f, f.cache.Store, t, dirs...)
}

func (f fixture) check(what, got, want string) {
	f.Helper()
	if got != want {
		f.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

// fails makes sure that o ends with an error of exactly the text want.
func (f fixture) fails(o Options, entries []tree.Entry, want string) {
	f.Helper()
	if _, err := f.try(o, entries...); err == nil || err.Error() != want {
		f.Errorf("error %v\nwant  %s", err, want)
	}
}

func TestSystem(t *testing.T) {
	f := newFixture(t)
	o := Options{Hostname: "node", Timezone: "Asia/Shanghai", Locale: "C.UTF-8"}
	zone := f.file("usr/share/zoneinfo/Asia/Shanghai", "TZif")
	f.check("a root that has nothing", f.apply(o, []tree.Entry{zone}, "etc"),
		"etc/ "+now+"\netc/default/ "+now+"\netc/default/locale "+now+" \"LANG=C.UTF-8\\n\"\n"+
			"etc/fstab "+now+" \"# <device> <mount point> <type> <options> <dump> <pass>\\n\"\n"+
			"etc/hostname "+now+" \"node\\n\"\n"+
			"etc/hosts "+now+" \"127.0.0.1\\tlocalhost\\n127.0.1.1\\tnode\\n\\n::1\\tlocalhost ip6-localhost ip6-loopback\\nff02::1\\tip6-allnodes\\nff02::2\\tip6-allrouters\\n\"\n"+
			"etc/locale.conf "+now+" \"LANG=C.UTF-8\\n\"\n"+
			"etc/localtime "+now+" -> /usr/share/zoneinfo/Asia/Shanghai\n"+
			"etc/timezone "+now+" \"Asia/Shanghai\\n\"\n")
	f.check("hosts that are there stay, a link to a zone is replaced",
		f.apply(o, []tree.Entry{zone, f.file("etc/hosts", "own"), stagetest.Link("etc/localtime", "/usr/share/zoneinfo/Etc/UTC")}, "etc/hosts", "etc/localtime"),
		"etc/hosts \"own\"\netc/localtime "+now+" -> /usr/share/zoneinfo/Asia/Shanghai\n")
	f.check("UTC needs no zones", f.apply(Options{Timezone: "UTC"}, nil, "etc/localtime", "etc/timezone"), "")
	f.fails(o, nil, "the time zone Asia/Shanghai is not in the image: there is no /usr/share/zoneinfo/Asia/Shanghai; add the package tzdata or correct `timezone`")
}

func TestLocale(t *testing.T) {
	f := newFixture(t)
	for _, test := range []struct {
		locale, file string
		missing      bool
	}{
		{"C", "", false},
		{"POSIX", "", false},
		{"C.utf8", "", true},
		{"c.utf-8", "", false},
		{"de_DE.UTF-8", "usr/lib/locale/de_DE.utf8/LC_CTYPE", false},
		{"de_DE.UTF-8", "usr/lib/locale/de_DE.UTF-8/LC_CTYPE", false},
		{"de_DE", "usr/lib/locale/de_DE/LC_CTYPE", false},
		{"de_DE.UTF-8", "usr/lib/locale/locale-archive", false},
		{"de_DE.UTF-8", "usr/lib/locale/fr_FR.utf8/LC_CTYPE", true},
	} {
		var entries []tree.Entry
		if test.file != "" {
			entries = append(entries, f.file(test.file, ""))
		}
		_, err := f.try(Options{Locale: test.locale}, entries...)
		want := "the locale " + test.locale + " is not in the image; add a package that has it (locales-all has every one), or use C.UTF-8"
		if (err != nil) != test.missing || err != nil && err.Error() != want {
			t.Errorf("%s with %s: %v", test.locale, test.file, err)
		}
	}
}

func TestMounts(t *testing.T) {
	f := newFixture(t)
	mounts := []Mount{
		{"UUID=1-2", "/", "ext4", "defaults", 1},
		{"UUID=ABCD-1234", "/boot/efi", "vfat", "umask=0077", 2},
		{"UUID=3-4", "/srv/data", "ext4", "noatime,nofail", 2},
	}
	got := f.apply(Options{Mounts: mounts}, []tree.Entry{stagetest.Mode(stagetest.Dir("boot/efi"), 0o700), stagetest.Link("srv", "var/srv")}, "etc/fstab", "boot", "srv", "var")
	f.check("tree", got, "etc/fstab "+now+" \"# <device> <mount point> <type> <options> <dump> <pass>\\n"+
		"UUID=1-2 / ext4 defaults 0 1\\nUUID=ABCD-1234 /boot/efi vfat umask=0077 0 2\\nUUID=3-4 /srv/data ext4 noatime,nofail 0 2\\n\"\n"+
		"boot/\nboot/efi/ 0700\nsrv -> var/srv\nvar/ "+now+"\nvar/srv/ "+now+"\nvar/srv/data/ "+now+"\n")
	f.fails(Options{Mounts: mounts}, []tree.Entry{f.file("boot", "")}, "mount point /boot/efi: /boot is a file, not a directory")
	f.fails(Options{Mounts: mounts}, []tree.Entry{stagetest.Link("boot/efi", "/efi")}, "mount point /boot/efi: /boot/efi is a symlink, not a directory")
}

func pointer[T any](v T) *T { return &v }

func TestUsers(t *testing.T) {
	f := newFixture(t)
	const day = "11575" // of the epoch
	entries := append(f.accounts(), stagetest.Mode(f.file("etc/skel/.profile", "umask 022\n"), 0o640), stagetest.Link("etc/skel/link", ".profile"), stagetest.Dir("etc/skel/.config"))
	users := []User{
		{Name: "admin", Home: "/home/admin", Shell: "/bin/bash", Comment: "The admin", Groups: []string{"sudo", "adm"}, PasswordHash: pointer("$6$salt$hash"), SSHAuthorizedKeys: []string{"ssh-ed25519 AAAA a", "ssh-rsa BBBB b"}},
		{Name: "agent", System: true, Home: "/nonexistent", Shell: "/usr/sbin/nologin"},
		{Name: "fixed", UID: pointer(uint32(2000)), Group: "adm", Home: "/srv/fixed", Shell: "/bin/sh"},
		{Name: "old", Home: "/home/old", Shell: "/bin/zsh", Comment: "Changed", Groups: []string{"sudo"}, PasswordHash: pointer("*")},
		{Name: "root", Home: "/root", Shell: "/bin/bash", Comment: "root", PasswordHash: pointer("$6$root")},
	}
	f.check("accounts", f.apply(Options{Users: users}, entries, "etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"),
		"etc/passwd "+now+` "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\nold:x:1000:1000:Changed:/home/old:/bin/zsh\n`+
			`admin:x:1001:1001:The admin:/home/admin:/bin/bash\nagent:x:300:300::/nonexistent:/usr/sbin/nologin\nfixed:x:2000:4::/srv/fixed:/bin/sh\n"`+"\n"+
			"etc/group "+now+` "root:x:0:\ndaemon:x:1:\nsudo:x:27:old,admin\nadm:x:4:admin\nold:x:1000:\nadmin:x:1001:\nagent:x:300:\n"`+"\n"+
			"etc/shadow 0640 0:42 "+now+` "root:$6$root:10000:0:99999:7:::\ndaemon:*:10000:0:99999:7:::\nold:*:10000:0:99999:7:::\n`+
			`admin:$6$salt$hash:`+day+`:0:99999:7:::\nagent:!:`+day+`:0:99999:7:::\nfixed:!:`+day+`:0:99999:7:::\n"`+"\n"+
			"etc/gshadow 0640 0:42 "+now+` "root:*::\ndaemon:*::\nsudo:*::old,admin\nadm:*::admin\nold:!::\nadmin:!::\nagent:!::\n"`+"\n")
	f.check("homes", f.apply(Options{Users: users}, entries, "home/admin", "home/old", "nonexistent", "srv"),
		"home/admin/ 0700 1001:1001 "+now+"\nhome/admin/.config/ 1001:1001 "+now+"\nhome/admin/.profile 0640 1001:1001 "+now+" \"umask 022\\n\"\n"+
			"home/admin/.ssh/ 0700 1001:1001 "+now+"\nhome/admin/.ssh/authorized_keys 0600 1001:1001 "+now+" \"ssh-ed25519 AAAA a\\nssh-rsa BBBB b\\n\"\n"+
			"home/admin/link 1001:1001 "+now+" -> .profile\n"+
			"home/old/ 0700 1000:1000 "+now+"\nhome/old/.config/ 1000:1000 "+now+"\nhome/old/.profile 0640 1000:1000 "+now+" \"umask 022\\n\"\nhome/old/link 1000:1000 "+now+" -> .profile\n"+
			"srv/ "+now+"\nsrv/fixed/ 0700 2000:4 "+now+"\nsrv/fixed/.config/ 2000:4 "+now+"\nsrv/fixed/.profile 0640 2000:4 "+now+" \"umask 022\\n\"\nsrv/fixed/link 2000:4 "+now+" -> .profile\n")
	f.check("without users nothing is written", f.apply(Options{}, f.accounts(), "etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"),
		stagetest.Text(t, f.cache.Store, stagetest.Tree(t, f.accounts()...), "etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"))
}

func TestUserIDs(t *testing.T) {
	f := newFixture(t)
	base := []tree.Entry{f.file("etc/passwd", "a:x:1000:5::/:\nb:x:1002:6::/:\n+::::::\n# comment\n"), f.file("etc/group", "x:x:1001:\ny:x:1003:\n")}
	// The group of the user's id is taken: it gets the next that is free.
	f.check("lowest free ids", f.apply(Options{Users: []User{{Name: "new", Home: "/h"}, {Name: "more", Home: "/h"}}}, base, "etc/passwd", "etc/group"),
		"etc/passwd "+now+` "a:x:1000:5::/:\nb:x:1002:6::/:\n+::::::\n# comment\nnew:!:1001:1000::/h:\nmore:!:1003:1002::/h:\n"`+"\n"+
			"etc/group "+now+` "x:x:1001:\ny:x:1003:\nnew:x:1000:\nmore:x:1002:\n"`+"\n")
	// A group of the user's name is used, and a number is as good as a name.
	f.check("groups that are there", f.apply(Options{Users: []User{{Name: "x", Home: "/h"}, {Name: "z", Group: "77", Home: "/h"}}}, base, "etc/passwd"),
		"etc/passwd "+now+` "a:x:1000:5::/:\nb:x:1002:6::/:\n+::::::\n# comment\nx:!:1001:1001::/h:\nz:!:1003:77::/h:\n"`+"\n")

	user := func(u User) Options { u.Name, u.Home = "new", "/h"; return Options{Users: []User{u}} }
	f.fails(user(User{UID: pointer(uint32(1002))}), base, "user new: the id 1002 belongs to b")
	f.fails(user(User{Group: "none"}), base, "user new: group none: there is no such account in the image")
	f.fails(user(User{Groups: []string{"x", "none"}}), base, "user new: group none: there is no such account in the image")
	f.fails(user(User{PasswordHash: pointer("$6$")}), base, "user new: password_hash needs /etc/shadow, which is not in the image; add the package that makes it (passwd)")
	f.fails(Options{Users: []User{{Name: "bad", Home: "/h"}}}, []tree.Entry{f.file("etc/passwd", "bad:x:many:0::/:\n")}, `user bad: bad has the id "many"`)
	f.fails(Options{Users: []User{{Name: "agent", System: true, Home: "/nonexistent", SSHAuthorizedKeys: []string{"k"}}}}, base,
		"user agent: ssh_authorized_keys need a home directory, and /nonexistent is not in the image")
	var full strings.Builder
	for n := firstSystem; n <= lastSystem; n++ {
		full.WriteString("u:x:" + strconv.Itoa(n) + ":0::/:\n")
	}
	f.fails(Options{Users: []User{{Name: "new", System: true, Home: "/"}}}, []tree.Entry{f.file("etc/passwd", full.String())}, "user new: all ids from 300 to 999 are taken")
}

func TestFiles(t *testing.T) {
	f := newFixture(t)
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, []byte("from the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	digest := store.Sum([]byte("from the host"))
	file := func(path, content, owner, group string) File {
		return File{Path: path, Content: []byte(content), Mode: 0o640, Owner: owner, Group: group}
	}
	entries := append(f.accounts(), stagetest.Link("etc/target", "nowhere"), stagetest.Link("var/run", "../run"), stagetest.Dir("run"), f.file("etc/kept", "kept"),
		stagetest.Link("dangling", "var/../gone/./away"))
	o := Options{
		Users: []User{{Name: "admin", Home: "/home/admin"}},
		Files: []File{
			file("/home/admin/own", "1", "admin", "sudo"), file("/opt/a/b/deep", "2", "7", "8"), file("/var/run/x", "3", "root", "root"),
			file("/etc/target", "4", "daemon", "adm"), file("/dangling/x", "5", "0", "0"), {Path: "/opt/source", Source: source, Digest: digest, Mode: 0o4755, Owner: "root", Group: "0"},
		},
		Defaults: []File{
			file("/etc/kept", "default", "0", "0"), file("/etc/made", "default", "0", "0"),
			{Path: "/etc/with", When: "/etc/kept", Owner: "0", Group: "0", Mode: 0o644}, {Path: "/etc/without", When: "/etc/nothing", Owner: "0", Group: "0"},
		},
	}
	f.check("files", f.apply(o, entries, "home/admin/own", "opt", "run", "gone", "etc/target", "etc/kept", "etc/made", "etc/with", "etc/without"),
		"home/admin/own 0640 1001:27 "+now+" \"1\"\nopt/ "+now+"\nopt/a/ "+now+"\nopt/a/b/ "+now+"\nopt/a/b/deep 0640 7:8 "+now+" \"2\"\n"+
			"opt/source 4755 "+now+" \"from the host\"\nrun/\nrun/x 0640 "+now+" \"3\"\ngone/ "+now+"\ngone/away/ "+now+"\ngone/away/x 0640 "+now+" \"5\"\netc/target 0640 1:4 "+now+" \"4\"\n"+
			"etc/kept \"kept\"\netc/made 0640 "+now+" \"default\"\netc/with "+now+" \"\"\n")

	for want, wrong := range map[string]File{
		"file /x: owner: user nobody: there is no such account in the image":            file("/x", "", "nobody", "0"),
		"file /x: group: group none: there is no such account in the image":             file("/x", "", "0", "none"),
		"file /etc/kept/x: /etc/kept is a file, not a directory":                        file("/etc/kept/x", "", "0", "0"),
		"file /run: /run is a directory in the image, and cannot be replaced by a file": file("/run", "", "0", "0"),
		"file /x: open " + source + ".none: no such file or directory":                  {Path: "/x", Source: source + ".none", Owner: "0", Group: "0"},
		"file /x: " + source + " changed while the build ran; build again":              {Path: "/x", Source: source, Digest: store.Sum(nil), Owner: "0", Group: "0"},
		"file /loop/x: /loop: too many levels of symbolic links":                        file("/loop/x", "", "0", "0"),
	} {
		f.fails(Options{Files: []File{wrong}}, append(entries, stagetest.Link("loop", "loop")), want)
	}
}

func TestUnits(t *testing.T) {
	f := newFixture(t)
	o := Options{Units: []Unit{
		{Name: "keys.service", When: "/usr/sbin/sshd", WantedBy: "multi-user.target", Content: "[Unit]\n"},
		{Name: "other.service", When: "/usr/sbin/other", WantedBy: "multi-user.target", Content: "[Unit]\n"},
		{Name: "plain.timer", Content: "[Timer]\n"},
	}}
	f.check("units", f.apply(o, []tree.Entry{f.file("usr/sbin/sshd", ""), stagetest.Dir("etc/systemd/system")}, "etc/systemd"),
		"etc/systemd/\netc/systemd/system/\netc/systemd/system/keys.service "+now+" \"[Unit]\\n\"\n"+
			"etc/systemd/system/multi-user.target.wants/ "+now+"\n"+
			"etc/systemd/system/multi-user.target.wants/keys.service "+now+" -> /etc/systemd/system/keys.service\n"+
			"etc/systemd/system/plain.timer "+now+" \"[Timer]\\n\"\n")
	f.fails(o, []tree.Entry{f.file("usr/sbin/sshd", ""), f.file("etc/systemd", "")}, "unit keys.service: /etc/systemd is a file, not a directory")
}

func TestClean(t *testing.T) {
	f := newFixture(t)
	o := Options{Clean: session.Rules{Remove: []string{"/tmp/**"}, Truncate: []string{"/etc/machine-id"}}, Files: []File{{Path: "/tmp/x", Owner: "0", Group: "0"}}}
	f.check("tree", f.apply(o, []tree.Entry{f.file("etc/machine-id", "id")}, "tmp", "etc/machine-id"), "tmp/ "+now+"\netc/machine-id "+now+" \"\"\n")
}

// TestStops makes sure that an interrupted build leaves no result.
func TestStops(t *testing.T) {
	f := newFixture(t)
	stopped := errors.New("stopped")
	root := rootfs.Root{Tree: stagetest.Save(t, f.cache.Store, stagetest.Tree(t))}
	_, _, err := stagetest.Run(t, f.cache, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		cancel(stopped)
		return Run(ctx, run, root, Options{Locale: "C", Timezone: "UTC"})
	})
	if !errors.Is(err, stopped) {
		t.Error(err)
	}
}
