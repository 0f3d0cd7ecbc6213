package configure

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/sandbox/usertest"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// noting is a scriptlet section that appends to /log that it ran, with what arguments
// and standard input.
func noting(section, name string) string {
	word := strings.Fields(section)[0][1:]
	return fmt.Sprintf("%s\necho \"%s %s $# $*\" >>/log\nsed 's/^/  /' >>/log\n", section, name, word)
}

// everyKind returns all kinds of scriptlets that an installation runs, each noting.
func everyKind(name string, triggers ...string) string {
	sections := append([]string{"%pretrans", "%pre", "%post", "%posttrans"}, triggers...)
	var b strings.Builder
	for i, s := range sections {
		b.WriteString(noting(s, fmt.Sprintf("%s#%d", name, i)))
	}
	return b.String()
}

// hostRPM returns the version of the host's rpm.
func hostRPM(t testing.TB) string {
	t.Helper()
	out, err := exec.Command(need(t, "rpm"), "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "RPM version ")
}

// TestRPMScriptlets compares with rpm: the same scriptlets, in the same order, with the
// same arguments and input.
func TestRPMScriptlets(t *testing.T) {
	paths := build(t,
		spec{name: "rpm", version: hostRPM(t)},
		spec{name: "base", install: "mkdir -p %{buildroot}/usr/share/base; touch %{buildroot}/usr/share/base/a %{buildroot}/usr/share/base/b", files: "/usr/share/base\n",
			scripts: everyKind("base",
				"%triggerprein -- lib, app", "%triggerin -- lib >= 2, base", "%triggerin -- app < 2", "%triggerun -- app", "%triggerpostun -- app",
				"%filetriggerin -- /usr/share", "%filetriggerin -P 9999 -- /usr/share/app", "%filetriggerin -P 10000 -- /usr/share/lib /usr/share",
				"%transfiletriggerin -- /usr/share", "%transfiletriggerin -P 5 -- /usr/share/app", "%transfiletriggerin -P 200000 -- /usr/share/lib", "%transfiletriggerin -- /opt", "%transfiletriggerun -- /usr/share")},
		spec{name: "lib", version: "3", preamble: "Requires: base\nProvides: lib = 1\n", install: "mkdir -p %{buildroot}/usr/share/lib; touch %{buildroot}/usr/share/lib/x %{buildroot}/usr/share/lib/y; ln -s x %{buildroot}/usr/share/lib/z", files: "%ghost /usr/share/lib/y\n/usr/share/lib/x\n/usr/share/lib/z\n",
			scripts: everyKind("lib", "%triggerprein -- base", "%triggerin -- base = 1, app", "%filetriggerin -P 20000 -- /usr/share/base", "%filetriggerin -P 200 -- /usr/share/lib", "%transfiletriggerin -P 1 -- /usr/share/lib/x", "%transfiletriggerin -P 999 -- /usr")},
		spec{name: "app", version: "2", preamble: "Requires: lib\n", install: "mkdir -p %{buildroot}/usr/share/app; touch %{buildroot}/usr/share/app/1 %{buildroot}/usr/share/apple", files: "/usr/share/app\n/usr/share/apple\n",
			scripts: everyKind("app", "%triggerprein -- app", "%triggerin -- lib", "%triggerin -- nothing", "%filetriggerin -- /usr/share/app", "%filetriggerin -P 7 -- /usr/share/app /usr/share/lib", "%transfiletriggerin -- /usr/share/base /usr/share/app")},
	)
	root, output := real(t, paths, nil)
	want, err := os.ReadFile(filepath.Join(root, "log"))
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	r, err := native(t, paths, epoch, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.contents(t, "log"); got != string(want) {
		t.Errorf("scriptlets ran as\n%swith rpm as\n%s%s", got, want, output)
	}
}

// TestRPMRandomScriptlets compares with rpm over packages with random triggers and
// dependencies, circles among them.
func TestRPMRandomScriptlets(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 2))
			n := 3 + random.IntN(5)
			name := func() string { return fmt.Sprintf("p%d", random.IntN(n+1)) }
			directories := []string{"/usr", "/usr/share", "/usr/share/a", "/usr/share/b", "/usr/share/b/c", "/usr/share/b/c/f1", "/usr/sh", "/opt", "/"}
			specs := []spec{{name: "rpm", version: hostRPM(t)}}
			for i := range n {
				s := spec{name: fmt.Sprintf("p%d", i), version: fmt.Sprint(1 + random.IntN(3))}
				for range random.IntN(3) {
					s.preamble += fmt.Sprintf("%s: %s\n", []string{"Requires", "Requires(post)", "Requires(pre)"}[random.IntN(3)], name())
				}
				for f := range random.IntN(4) {
					dir := directories[2+random.IntN(3)]
					file := fmt.Sprintf("%s/f%d%d", dir, i, f)
					s.install += fmt.Sprintf("mkdir -p %%{buildroot}%s; touch %%{buildroot}%s\n", dir, file)
					s.files += file + "\n"
				}
				var triggers []string
				taken := map[string]bool{} // rpmbuild wants a package named once for each kind
				for range random.IntN(5) {
					kind := []string{"%triggerin", "%triggerin", "%triggerprein", "%triggerun", "%triggerpostun"}[random.IntN(5)]
					var conditions []string
					for range 1 + random.IntN(2) {
						if p := name(); !taken[p] {
							taken[p] = true
							conditions = append(conditions, p+[]string{"", "", " > 1", " = 2", " <= 2"}[random.IntN(5)])
						}
					}
					if len(conditions) > 0 {
						triggers = append(triggers, kind+" -- "+strings.Join(conditions, ", "))
					}
				}
				for range random.IntN(4) {
					kind := []string{"%filetriggerin", "%transfiletriggerin", "%filetriggerun", "%transfiletriggerpostun"}[random.IntN(4)]
					priority := []string{"", " -P 9999", " -P 10000", " -P 100000", " -P 200001", " -P 1"}[random.IntN(6)]
					prefixes := directories[random.IntN(len(directories))]
					if random.IntN(2) == 0 {
						prefixes += " " + directories[random.IntN(len(directories))]
					}
					triggers = append(triggers, kind+priority+" -- "+prefixes)
				}
				s.scripts = everyKind(s.name, triggers...)
				specs = append(specs, s)
			}
			paths := build(t, specs...)
			root, output := real(t, paths, nil)
			want, err := os.ReadFile(filepath.Join(root, "log"))
			if err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			r, err := native(t, paths, epoch, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.contents(t, "log"); got != string(want) {
				t.Errorf("scriptlets ran as\n%swith rpm as\n%s%s%+v", got, want, output, specs)
			}
		})
	}
}

// TestRPMInterpreters compares with rpm what scripts get that are not for the shell, or
// have no body, or are expanded first.
func TestRPMInterpreters(t *testing.T) {
	paths := build(t,
		spec{name: "rpm", version: hostRPM(t)},
		spec{name: "a", preamble: "Prefix: /opt/a\nPrefix: /srv\n", install: "mkdir -p %{buildroot}/opt/a; touch %{buildroot}/opt/a/f %{buildroot}/opt/a/g", files: "/opt/a\n", scripts: `
%pre
echo "$# $1 $RPM_INSTALL_PREFIX $RPM_INSTALL_PREFIX0 $RPM_INSTALL_PREFIX1 $PATH $PWD" >>/log
%post -p /tool
%posttrans -p <lua>
local log = io.open("/log", "a")
log:write(#arg, " ", arg[1], " ", arg[2] + 1, " ", tostring(arg[3]), " ", RPM_INSTALL_PREFIX[1], " ", #RPM_INSTALL_PREFIX, " ", posix.getcwd(), "\n")
log:close()
%transfiletriggerin -p <lua> -- /opt
local log = io.open("/log", "a")
local file = rpm.next_file()
while file do log:write("next ", file, "\n"); file = rpm.next_file() end
log:write(type(arg[2]), arg[2], "\n")
log:close()
`},
		spec{name: "b", scripts: `
%post -p /usr/bin/sed -e
s/./&/w /log2
%posttrans -e
echo "%%{_sysconfdir} 100%%%%" >>/log
%pre -q
echo "%%{NAME} %%{version}-%%{RELEASE}.%%{ARCH}" >>/log
`},
		spec{name: "c", scripts: "%pre -p /bin/cat\n%triggerin -p /bin/sh -- a\nexec >>/log; echo trigger $#\n%triggerin -p <lua> -- b\nlocal log = io.open('/log', 'a')\nlog:write(#arg, arg[2], arg[3], '\\n')\nlog:close()\n"},
	)
	tool := map[string]string{"tool": "#!/bin/sh\necho \"tool $# $*\" >>/log\n"}
	root, output := real(t, paths, tool)
	want, err := os.ReadFile(filepath.Join(root, "log"))
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	r, err := native(t, paths, epoch, tool)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.contents(t, "log"); got != string(want) {
		t.Errorf("scriptlets ran as\n%swith rpm as\n%s%s", got, want, output)
	}
}

func TestRPMFailures(t *testing.T) {
	const loud = "echo what went wrong >&2; exit 9\n"
	for section, want := range map[string]string{
		"%pretrans":                   "%pretrans(bad-1-1.noarch): /bin/sh failed with exit status 9; it printed last:\nwhat went wrong",
		"%pre":                        "%pre(bad-1-1.noarch): /bin/sh failed with exit status 9; it printed last:\nwhat went wrong",
		"%post":                       "",
		"%posttrans":                  "",
		"%triggerin -- good":          "",
		"%triggerprein -- late":       "",
		"%filetriggerin -- /etc":      "",
		"%transfiletriggerin -- /etc": "",
	} {
		t.Run(section, func(t *testing.T) {
			paths := build(t, spec{name: "good", install: "mkdir -p %{buildroot}/etc; touch %{buildroot}/etc/good", files: "/etc/good\n"},
				spec{name: "bad", preamble: "Requires: good\n", scripts: section + "\n" + loud},
				spec{name: "late", preamble: "Requires: bad\n", scripts: noting("%posttrans", "late")})
			_, output := real(t, paths, nil)
			r, err := native(t, paths, epoch, nil)
			if want != "" {
				var failed *session.CommandError
				if !errors.As(err, &failed) || err.Error() != want {
					t.Errorf("error %v\nwant  %s", err, want)
				}
				if !strings.Contains(output, "error: ") {
					t.Errorf("but rpm says\n%s", output)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.contents(t, "log") != "late#0 posttrans 1 1\n" && r.contents(t, "log") != "late posttrans 1 1\n" {
				t.Errorf("nothing ran afterwards: %s", r.contents(t, "log"))
			}
			kind := strings.Fields(section)[0]
			warning := ": " + kind + "(bad-1-1.noarch): /bin/sh failed with exit status 9; it printed last:\nwhat went wrong\n"
			if !strings.Contains(r.log, warning) || !strings.Contains(r.log, kind+"(bad-1-1.noarch): what went wrong\n") {
				t.Errorf("the log is\n%s", r.log)
			}
			if !strings.Contains(output, "warning: "+kind+"(bad-1-1.noarch) scriptlet failed, exit status 9") {
				t.Errorf("but rpm says\n%s", output)
			}
		})
	}
}

func TestRPMFailuresToStart(t *testing.T) {
	for script, want := range map[string]string{
		"%pre -p /no/such/thing\nx\n":     "%pre(bad-1-1.noarch): its interpreter cannot be run: fork/exec /no/such/thing: no such file or directory",
		"%pre\nkill -9 $$\n":              "%pre(bad-1-1.noarch): it was killed by signal 9 (killed)",
		"%pre -p <lua>\nerror('too bad')": "%pre(bad-1-1.noarch): the Lua script failed; it printed last:\nerror: %pre(bad-1-1.noarch):1: too bad",
		"%pre -p <lua>\nposix.exec('/x')": "%pre(bad-1-1.noarch): the Lua script failed; it printed last:\nerror: %pre(bad-1-1.noarch):1: exec not permitted in this context",
		"%pre\nsleep 1000 & exit 1\n":     "%pre(bad-1-1.noarch): /bin/sh failed with exit status 1",
		"%pre -p <lua>\nlocal x = 7 // 2": "%pre(bad-1-1.noarch): the Lua script failed; it printed last:\nerror: the script is not Lua 5.1: %pre(bad-1-1.noarch) line:1(column:14) near '/':   syntax error",
	} {
		paths := build(t, spec{name: "bad", scripts: script})
		_, err := native(t, paths, epoch, nil)
		if err == nil || strings.TrimSpace(err.Error()) != want {
			t.Errorf("%q: error %v\nwant %s", script, err, want)
		}
	}
}

// owned is a package whose files belong to users that its own and another's scripts make.
func owned(t testing.TB) []string {
	return build(t,
		spec{name: "base", scripts: "%pre\necho 'root:x:0:0::/:/bin/sh' >/etc/passwd; printf 'root:x:0:\\nwheel:x:10:\\n' >/etc/group\n", install: "mkdir -p %{buildroot}/etc; touch %{buildroot}/etc/base", files: "/etc/base\n"},
		spec{name: "owned", preamble: "Requires(pre): base\n",
			install: `mkdir -p %{buildroot}/srv/d %{buildroot}/srv/e; touch %{buildroot}/srv/f %{buildroot}/srv/s %{buildroot}/srv/c %{buildroot}/srv/n %{buildroot}/srv/g; ln -s f %{buildroot}/srv/l`,
			files: `%attr(1750,svc,wheel) %dir /srv/d
%attr(-,svc,svc) /srv/f
%attr(6755,svc,wheel) /srv/s
%attr(0755,root,svc) %caps(cap_net_raw=ep) /srv/c
%attr(6755,nobody,nogroup) /srv/n
%attr(-,svc,svc) /srv/l
%attr(-,svc,svc) %ghost /srv/g
%dir /srv/e
`,
			scripts: "%pre\necho 'svc:x:990:991::/:/bin/sh' >>/etc/passwd; echo 'svc:x:991:' >>/etc/group\n%post\nstat -c '%%a %%u %%g %%n' /srv/* >/log\n"})
}

// TestRPMOwners compares the owners and modes that %post sees with those of rpm. It runs
// once as root and once as an ordinary user.
func TestRPMOwners(t *testing.T) {
	const want = `755 0 991 /srv/c
1750 990 10 /srv/d
755 0 0 /srv/e
644 990 991 /srv/f
777 990 991 /srv/l
755 0 0 /srv/n
6755 990 10 /srv/s
`
	check := func(t *testing.T) {
		r, err := native(t, owned(t), epoch, map[string]string{"srv/.keep": ""})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.contents(t, "log"); got != want {
			t.Errorf("owners are\n%swant\n%s", got, want)
		}
		for _, missing := range []string{"user nobody does not exist - using root", "group nogroup does not exist - using root"} {
			if strings.Count(r.log, ": owners(owned-1-1.noarch): "+missing+"\n") != 1 {
				t.Errorf("no warning that %s:\n%s", missing, r.log)
			}
		}
		for path, owner := range map[string][2]uint32{"srv/d": {990, 10}, "srv/l": {990, 991}, "srv/n": {0, 0}} {
			if e, ok := r.tree.Lookup(path); !ok || e.UID != owner[0] || e.GID != owner[1] {
				t.Errorf("/%s is %+v", path, e)
			}
		}
		for _, left := range []string{"run/imagefactory", "var/tmp", "srv/g"} {
			if _, ok := r.tree.Lookup(left); ok {
				t.Errorf("/%s is in the image", left)
			}
		}
	}
	if os.Geteuid() != 0 {
		check(t)
		return
	}
	root, output := real(t, owned(t), map[string]string{"srv/.keep": "", "etc/passwd": "root:x:0:0::/:/bin/sh\n", "etc/group": "root:x:0:\nwheel:x:10:\n"})
	if got, err := os.ReadFile(filepath.Join(root, "log")); err != nil || string(got) != want {
		t.Fatalf("rpm's owners are\n%swant\n%s%v\n%s", got, want, err, output)
	}
	for _, mode := range []sandbox.Mode{sandbox.Chroot, sandbox.Plain} {
		t.Run(string(mode), func(t *testing.T) {
			t.Setenv(sandbox.ModeVariable, string(mode))
			check(t)
		})
	}
	t.Run("range", func(t *testing.T) { usertest.New(t).Run(t, "^TestRPMOwners$") })
}

// TestRPMModes runs scripts of every kind in every mode of the sandbox.
func TestRPMModes(t *testing.T) {
	check := func(t *testing.T) {
		paths := build(t, spec{name: "a", install: "mkdir -p %{buildroot}/srv; touch %{buildroot}/srv/f", files: "%attr(-,root,wheel) /srv/f\n", scripts: `
%pretrans -p <lua>
posix.mkdir("/made")
posix.symlink("made", "/link")
local pid = posix.fork()
if pid == 0 then
  assert(posix.exec("/bin/sh", "-c", "echo forked >>/log"))
elseif pid > 0 then
  posix.wait(pid)
end
%post
echo post $1 >>/log
%transfiletriggerin -- /srv
cat >>/log
`})
		r, err := native(t, paths, epoch, map[string]string{"etc/group": "wheel:x:10:\n"})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := r.contents(t, "log"), "forked\npost 1\n/srv/f\n"; got != want {
			t.Errorf("the log is %q, want %q", got, want)
		}
		if _, ok := r.tree.Lookup("made"); !ok {
			t.Error("/made is missing")
		}
		if e, ok := r.tree.Lookup("link"); !ok || e.Target != "made" {
			t.Errorf("/link is %+v", e)
		}
		f, _ := r.tree.Lookup("srv/f")
		cannot := ": owners(a-1-1.noarch): files cannot be given to root:wheel: the sandbox has no such ids\n"
		if single := os.Getenv(sandbox.ModeVariable) == string(sandbox.Single); single == (f.GID == 10) || single != strings.Contains(r.log, cannot) {
			t.Errorf("/srv/f is %+v, the log\n%s", f, r.log)
		}
	}
	if os.Geteuid() != 0 {
		check(t)
		return
	}
	for _, mode := range []sandbox.Mode{sandbox.Chroot, sandbox.Plain} {
		t.Run(string(mode), func(t *testing.T) {
			t.Setenv(sandbox.ModeVariable, string(mode))
			check(t)
		})
	}
	t.Run("range", func(t *testing.T) { usertest.New(t).Run(t, "^TestRPMModes$") })
	t.Run("single", func(t *testing.T) {
		usertest.New(t).Run(t, "^TestRPMModes$", sandbox.ModeVariable+"="+string(sandbox.Single))
	})
}

// TestRPMCapabilities is about capabilities of files, which a change of owner takes away.
// It runs once as root and once as an ordinary user.
func TestRPMCapabilities(t *testing.T) {
	paths := build(t, spec{name: "owned", install: "mkdir -p %{buildroot}/srv; touch %{buildroot}/srv/c", files: "%attr(0755,root,wheel) %caps(cap_net_raw=ep) /srv/c\n"})
	capability := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // version 2, effective, bit 13
	r, err := nativeWith(t, paths, epoch, map[string]string{"etc/group": "wheel:x:10:\n"}, func(e *tree.Entry) {
		if e.Path == "srv/c" {
			e.Xattrs = []tree.Xattr{{Name: "security.capability", Value: capability}}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	e, _ := r.tree.Lookup("srv/c")
	if e.GID != 10 || len(e.Xattrs) != 1 || !bytes.Equal(e.Xattrs[0].Value, capability) {
		t.Errorf("/srv/c is %+v", e)
	}
	if os.Geteuid() == 0 {
		t.Run("range", func(t *testing.T) { usertest.New(t).Run(t, "^TestRPMCapabilities$") })
	}
}

// TestRPMSysusers is about users that a package declares and already owns files by.
func TestRPMSysusers(t *testing.T) {
	line := base64.StdEncoding.EncodeToString([]byte("u svc - \"A service\"\x00\x00"))
	if strings.Contains(line, "=") {
		t.Fatalf("%s is padded", line)
	}
	paths := build(t, spec{name: "svc", preamble: "Provides: user(svc) = " + line + "\nProvides: group(svc)\n",
		install: "mkdir -p %{buildroot}/srv; touch %{buildroot}/srv/f", files: "%attr(-,svc,svc) /srv/f\n", scripts: "%pre\nsed -n /svc/p /etc/passwd >>/log\n"})
	r, err := native(t, paths, epoch, map[string]string{"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/group": "root:x:0:\n"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.contents(t, "log"), "svc:x:999:999:A service:/:/usr/sbin/nologin\n"; got != want {
		t.Errorf("%%pre sees %q, want %q", got, want)
	}
	if e, _ := r.tree.Lookup("srv/f"); e.UID != 999 || e.GID != 999 {
		t.Errorf("/srv/f is %+v", e)
	}

	// Where the root has systemd, that is what makes users.
	r, err = native(t, paths, epoch, map[string]string{"usr/bin/systemd-sysusers": "#!/bin/sh\necho \"$@\" >>/log; cat >>/log\n", "etc/passwd": ""})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.contents(t, "log"), "-\nu svc - \"A service\"\n"; got != want {
		t.Errorf("systemd-sysusers got %q, want %q", got, want)
	}
	_, err = native(t, paths, epoch, map[string]string{"usr/bin/systemd-sysusers": "#!/bin/sh\necho no >&2; exit 1\n"})
	if want := "%sysusers(svc-1-1.noarch): /usr/bin/systemd-sysusers failed with exit status 1; it printed last:\nno"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestRPMImport is about databases that only the image's own rpmdb can write.
func TestRPMImport(t *testing.T) {
	paths := build(t, spec{name: "a", scripts: "%posttrans\necho last >>/log\n"})
	o := RPMOptions{Session: session.Options{Epoch: stagetest.Epoch}, Import: []byte("headers\n")}
	r, err := native(t, paths, o, map[string]string{"usr/bin/rpmdb": "#!/bin/sh\necho \"$@\" >>/log; cat >>/log\n"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.contents(t, "log"), "last\n--importdb\nheaders\n"; got != want {
		t.Errorf("the log is %q, want %q", got, want)
	}
	o.Import = []byte("x")
	if _, err := native(t, paths, o, map[string]string{"usr/bin/rpmdb": "#!/bin/sh\nexit 3\n"}); err == nil || !strings.HasPrefix(err.Error(), "rpmdb --importdb: rpmdb failed with exit status 3") {
		t.Errorf("error %v", err)
	}
}

// BenchmarkRunRPM configures 200 packages with a scriptlet each, and by comparison has
// rpm install them.
func BenchmarkRunRPM(b *testing.B) {
	var specs []spec
	for i := range 200 {
		specs = append(specs, spec{name: fmt.Sprintf("p%03d", i), scripts: "%post\n:\n%transfiletriggerin -p <lua> -- /nowhere\n"})
	}
	paths := build(b, specs...)
	b.Run("native", func(b *testing.B) {
		for b.Loop() {
			if _, err := native(b, paths, epoch, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("rpm", func(b *testing.B) {
		for b.Loop() {
			real(b, paths, nil)
		}
	})
}
