package scan

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/imagefactory/imagefactory/baselines"
	"github.com/imagefactory/imagefactory/scan/accounts"
	"github.com/imagefactory/imagefactory/scan/extract"
	"github.com/imagefactory/imagefactory/scan/files"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

func openStore(t testing.TB) *store.Store {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// rules returns the baseline's rules.
func rules(t testing.TB) []baselines.Rule {
	t.Helper()
	p, err := baselines.Load("baseline")
	if err != nil {
		t.Fatal(err)
	}
	return p.Rules
}

const (
	passwd = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\nann:x:1000:1000::/home/ann:/bin/bash\n"
	shadow = "root:*:19000::::::\ndaemon:!:19000::::::\nann:$y$j9T$salt$hash:19000::::::\n"
	group  = "root:x:0:\ndaemon:x:1:\nshadow:x:42:\nann:x:1000:\n"
)

// Each kind of rule finds what is wrong, where it stands, and what would be right; and
// passes where all is well.
func TestRules(t *testing.T) {
	st := openStore(t)
	file := func(path, text string) tree.Entry { return stagetest.File(t, st, path, text) }
	mode, owner, link, dir := stagetest.Mode, stagetest.Owner, stagetest.Link, stagetest.Dir
	type entries []tree.Entry
	accounts := entries{file("etc/passwd", passwd), file("etc/shadow", shadow), file("etc/group", group)}
	sshd := file("usr/sbin/sshd", "x")
	dsa, rsa1024, rsa3072 := key(t, "dsa", 1024), key(t, "rsa", 1024), key(t, "rsa", 3072)
	private := key(t, "ed25519-private", 256)
	for _, test := range []struct {
		rule     string
		tree     entries
		status   Status
		evidence string // in it, or in the explanation
	}{
		{"sysctl-sysrq", nil, Fail, "nothing sets kernel.sysrq (wanted: 0 or 16)"},
		{"sysctl-sysrq", entries{file("etc/sysctl.d/a.conf", "\nkernel.sysrq=1")}, Fail, "/etc/sysctl.d/a.conf:2: kernel.sysrq = 1 (wanted: 0 or 16)"},
		{"sysctl-sysrq", entries{file("etc/sysctl.d/a.conf", "kernel.sysrq=16")}, Pass, "/etc/sysctl.d/a.conf:1"},
		{"sysctl-perf-event-paranoid", entries{file("usr/lib/sysctl.d/a.conf", "kernel.perf_event_paranoid = 3")}, Pass, "= 3"},
		{"sysctl-perf-event-paranoid", entries{file("usr/lib/sysctl.d/a.conf", "kernel.perf_event_paranoid = 1")}, Fail, "at least 2"},

		{"sshd-root-login", nil, NotApplicable, "there is no /usr/sbin/sshd"},
		{"sshd-root-login", entries{sshd}, NotApplicable, "sshd does not start"},
		{"sshd-root-login", entries{sshd, file("etc/ssh/sshd_config", "")}, Pass, "by default"},
		{"sshd-passwords", entries{sshd, file("etc/ssh/sshd_config", "")}, Fail, "PasswordAuthentication is not set, and yes by default (wanted: no)"},
		{"sshd-root-login", entries{sshd, file("etc/ssh/sshd_config", "PermitRootLogin without-password")}, Pass, ""},
		{"sshd-root-login", entries{sshd, file("etc/ssh/sshd_config", "#\nPermitRootLogin yes")}, Fail, "/etc/ssh/sshd_config:2: PermitRootLogin yes"},
		{"sshd-root-login", entries{sshd, file("etc/ssh/sshd_config", "PermitRootLogin no\nMatch Address 10.0.0.0/8\nPermitRootLogin yes")}, Fail, "for Match Address 10.0.0.0/8"},
		{"sshd-passwords", entries{sshd, file("etc/ssh/sshd_config", "PasswordAuthentication yes\nMatch all\nPasswordAuthentication no")}, Pass, ":3"},
		{"sshd-login-grace-time", entries{sshd, file("etc/ssh/sshd_config", "LoginGraceTime 1m")}, Pass, ""},
		{"sshd-login-grace-time", entries{sshd, file("etc/ssh/sshd_config", "LoginGraceTime 0")}, Fail, "LoginGraceTime 0"}, // no limit
		{"sshd-root-login", entries{sshd, file("etc/ssh/sshd_config", "Banner \"x")}, Fail, "line 1: a quote is not closed"},

		{"login-umask", nil, NotApplicable, ""},
		{"login-umask", entries{file("etc/login.defs", "UMASK 022")}, Fail, "/etc/login.defs:1: UMASK 022"},
		{"login-umask", entries{file("etc/login.defs", "UMASK 077")}, Pass, ""},
		{"login-encrypt-method", entries{file("etc/login.defs", "")}, Fail, "it is not set"},

		{"coredump-storage", nil, NotApplicable, "systemd-coredump"},
		{"coredump-storage", entries{file("usr/lib/systemd/systemd-coredump", ""), file("etc/systemd/coredump.conf", "[Coredump]\nStorage=external")}, Fail, ":2: Storage=external (wanted: none)"},
		{"coredump-storage", entries{file("usr/lib/systemd/systemd-coredump", ""), file("etc/systemd/coredump.conf.d/x.conf", "[Coredump]\nStorage=none")}, Pass, ""},
		{"coredump-limit", entries{file("etc/security/limits.conf", "* hard core unlimited")}, Fail, "* hard core unlimited (wanted: 0)"},
		{"coredump-limit", entries{file("etc/security/limits.conf", "* - core 0")}, Pass, ""},

		{"mount-tmp", nil, NotApplicable, "/tmp is no mount of its own"},
		{"mount-tmp", entries{file("etc/fstab", "tmpfs /tmp tmpfs nosuid 0 0")}, Fail, "/etc/fstab:1: /tmp has the options nosuid (wanted: also nodev)"},
		{"mount-tmp", entries{file("etc/fstab", "tmpfs /tmp tmpfs nosuid,nodev 0 0")}, Pass, ""},
		{"mount-dev-shm", entries{file("usr/lib/systemd/systemd", "")}, Fail, "there is no line for /dev/shm"},

		{"permissions-shadow", nil, NotApplicable, ""},
		{"permissions-shadow", entries{mode(file("etc/shadow", ""), 0o644)}, Fail, "/etc/shadow: mode 0644 (wanted: at most 0640)"},
		{"permissions-shadow", append(entries{owner(mode(file("etc/shadow", ""), 0o640), 0, 42)}, accounts[2]), Pass, "root:shadow"},
		{"permissions-shadow", append(entries{owner(mode(file("etc/shadow", ""), 0o600), 1000, 1000)}, accounts[0], accounts[2]), Fail, "owner ann, group ann (wanted: owner root, group root or shadow)"},
		{"permissions-sudoers", entries{mode(file("etc/sudoers.d/x", ""), 0o640)}, Fail, "/etc/sudoers.d/x: mode 0640"},
		{"permissions-sudoers", entries{mode(link("etc/sudoers.d/x", "y"), 0o777), mode(file("etc/sudoers", ""), 0o440)}, Pass, ""},

		{"debug-shell", nil, NotApplicable, "no unit"},
		{"debug-shell", entries{file("usr/lib/systemd/system/debug-shell.service", "")}, Fail, "can be started"},
		{"debug-shell", entries{file("usr/lib/systemd/system/debug-shell.service", ""), link("etc/systemd/system/debug-shell.service", "/dev/null")}, Pass, "masked"},
		{"ctrl-alt-del", entries{link("lib", "usr/lib"), link("usr/lib/systemd/system/ctrl-alt-del.target", "reboot.target"), file("usr/lib/systemd/system/reboot.target", "")}, Fail, "can be started"},

		{"modules-network", nil, NotApplicable, "none of these kernel modules"},
		{"modules-network", entries{file("lib/modules/6.1/kernel/dccp.ko.xz", "")}, Fail, "/lib/modules/6.1/kernel/dccp.ko.xz: modprobe loads dccp (wanted: install dccp /bin/false)"},
		{"modules-network", entries{file("lib/modules/6.1/kernel/dccp.ko", ""), file("etc/modprobe.d/x.conf", "blacklist dccp")}, Fail, "loads dccp"},
		{"modules-network", entries{file("lib/modules/6.1/kernel/dccp.ko", ""), file("etc/modprobe.d/x.conf", "install dccp /bin/true")}, Pass, ""},

		{"cmdline-init-on-alloc", nil, NotApplicable, "boot loader"},
		{"cmdline-init-on-alloc", entries{file("etc/kernel/cmdline", "quiet init_on_alloc=0")}, Fail, "init_on_alloc=0 (wanted: init_on_alloc=1)"},
		{"cmdline-init-on-alloc", entries{file("etc/kernel/cmdline", "init_on_alloc=1")}, Pass, ""},
		{"cmdline-mitigations", entries{file("etc/kernel/cmdline", "quiet")}, Pass, "by default"},
		{"cmdline-mitigations", entries{file("etc/kernel/cmdline", "mitigations=off")}, Fail, "mitigations=off"},
		{"cmdline-slab-nomerge", entries{file("etc/kernel/cmdline", "slab_nomerge")}, Pass, ""},

		{"cron-allow", nil, NotApplicable, ""},
		{"cron-allow", entries{file("usr/bin/crontab", "")}, Fail, "there is no such file"},
		{"cron-allow", entries{file("usr/bin/crontab", ""), file("etc/cron.allow", "root\nann\n")}, Fail, "/etc/cron.allow:2: ann is allowed"},
		{"cron-allow", entries{file("usr/bin/crontab", ""), file("etc/cron.allow", "root\n")}, Pass, ""},

		{"ssh-host-keys", nil, Pass, ""},
		{"ssh-host-keys", entries{file("etc/ssh/ssh_host_rsa_key", "")}, Fail, "/etc/ssh/ssh_host_rsa_key: it is in the image"},
		{"credentials", entries{file("home/ann/.aws/credentials", ""), file("root/.config/gcloud/a/b", "")}, Fail, "/home/ann/.aws/credentials"},
		{"machine-id", nil, Pass, ""},
		{"machine-id", entries{file("etc/machine-id", "uninitialized\n"), link("var/lib/dbus/machine-id", "/etc/machine-id")}, Pass, ""},
		{"machine-id", entries{file("etc/machine-id", "0123456789abcdef0123456789abcdef\n")}, Fail, "/etc/machine-id:1: 0123456789abcdef"},
		{"machine-id", entries{file("var/lib/dbus/machine-id", "0123\n")}, Fail, "/var/lib/dbus/machine-id"},

		{"setuid", entries{mode(file("usr/bin/su", ""), 0o4755)}, Pass, "/usr/bin/su"},
		{"setuid", entries{mode(file("opt/x", ""), 0o4755)}, Fail, "/opt/x: mode 4755"},
		{"setuid", entries{mode(file("opt/x", ""), 0o2755)}, Fail, "/opt/x: mode 2755"},
		{"setuid", entries{mode(file("opt/x", ""), 0o2644), mode(dir("srv"), 0o2775)}, Pass, ""},
		{"world-writable", entries{mode(file("opt/x", ""), 0o666)}, Fail, "/opt/x: file of mode 0666"},
		{"world-writable", entries{mode(dir("opt"), 0o777)}, Fail, "/opt: directory of mode 0777 (wanted: the sticky bit)"},
		{"world-writable", entries{mode(dir("tmp"), 0o1777), link("x", "y"), {Path: "dev/null", Type: tree.CharDevice, Mode: 0o666, Major: 1, Minor: 3}}, Pass, ""},
		{"unowned", entries{file("x", "")}, NotApplicable, ""},
		{"unowned", append(entries{owner(file("x", ""), 1000, 1000)}, accounts...), Pass, ""},
		{"unowned", append(entries{owner(file("x", ""), 1234, 0)}, accounts...), Fail, "/x: 1234:root"},

		{"empty-passwords", accounts, Pass, ""},
		{"empty-passwords", entries{accounts[0], file("etc/shadow", "root:*:\nann::19000:\n")}, Fail, "/etc/shadow:2: ann has an empty password"},
		{"empty-passwords", entries{file("etc/passwd", "ann::1000:1000:::/bin/sh\n")}, Fail, "/etc/passwd:1: ann"},
		{"root-password", accounts, Pass, ""},
		{"root-password", entries{accounts[0], file("etc/shadow", "root:$6$a$b:1\n")}, Fail, "root has a password ($6$)"},
		{"root-password", entries{accounts[0], file("etc/shadow", "root:!$6$a$b:1\n")}, Pass, ""},
		{"root-password", entries{accounts[0], file("etc/shadow", "root::1\n")}, Fail, "empty"},
		{"password-hashes", accounts, Pass, "ann is hashed with y"},
		{"password-hashes", entries{file("etc/shadow", "ann:$1$a$b:1\nbob:!abJnggxhB/yWI:1\n")}, Fail, "ann is hashed with 1"},
		{"password-hashes", entries{file("etc/shadow", "bob:!abJnggxhB/yWI:1\n")}, Fail, "bob is hashed with des"},
		{"password-hashes", entries{file("etc/passwd", "bob:$5$a$b:1000:1000:::/bin/sh\n")}, Fail, "/etc/passwd:1: the password of bob is hashed with 5"},
		{"system-shells", accounts, Pass, ""},
		{"system-shells", entries{file("etc/passwd", "x:x:100:1:::/bin/bash\nsync:x:4:1:::/bin/sync\ny:x:101:1:::\n")}, Fail, "/etc/passwd:1: x has /bin/bash"},
		{"system-shells", entries{file("etc/passwd", "x:x:600:1:::/bin/bash\n"), file("etc/login.defs", "UID_MIN 500\n")}, Pass, ""},
		{"unique-ids", accounts, Pass, ""},
		{"unique-ids", entries{file("etc/passwd", passwd+"toor:x:0:0:::/bin/sh\n")}, Fail, "toor has the number 0, as root has"},
		{"unique-ids", entries{file("etc/passwd", passwd+"ann:x:1001:0:::/bin/sh\n")}, Fail, "/etc/passwd:4: ann is there twice"},
		{"unique-ids", entries{file("etc/group", "a:x:5:\nb:x:5:\n")}, Fail, "/etc/group:2: b has the number 5, as a has"},
		{"homes", accounts, NotApplicable, ""},
		{"homes", append(entries{owner(mode(dir("home/ann"), 0o755), 1000, 1000)}, accounts...), Fail, "/home/ann: mode 0755, ann (wanted: at most 0750, owner ann)"},
		{"homes", append(entries{owner(mode(dir("home/ann"), 0o700), 1, 1000)}, accounts...), Fail, "0700, daemon"},
		{"homes", append(entries{owner(mode(dir("home/ann"), 0o700), 1000, 1000)}, accounts...), Pass, ""},

		{"private-keys", entries{file("etc/x.key", private)}, Fail, "/etc/x.key:1: OPENSSH PRIVATE KEY"},
		{"private-keys", entries{file("usr/share/doc/x/x.key", private), file("usr/bin/grep", "-----BEGIN RSA PRIVATE KEY-----\nnot a key\n-----END RSA PRIVATE KEY-----\n")}, Pass, ""},
		{"weak-keys", nil, NotApplicable, ""},
		{"weak-keys", entries{file("root/.ssh/authorized_keys", "# x\n"+dsa)}, Fail, "/root/.ssh/authorized_keys:2: ssh-dss of 1024 bits"},
		{"weak-keys", entries{file("etc/ssh/ssh_host_rsa_key.pub", rsa1024)}, Fail, "ssh-rsa of 1024 bits"},
		{"weak-keys", entries{file("srv/git/.ssh/authorized_keys", "from=\"10.0.0.1\" "+rsa3072)}, Pass, "of 3072 bits"},
		{"known-keys", entries{file("home/vagrant/.ssh/authorized_keys", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN1YdxBpNlzxDqfJyw/QKow1F+wvG9hXGoqiysfJOn5Y vagrant\n")}, Fail, "whose private half is published"},
		{"known-keys", entries{file("root/.ssh/authorized_keys", rsa3072)}, Pass, ""},
	} {
		all := rules(t)
		i := slices.IndexFunc(all, func(r baselines.Rule) bool { return r.ID == test.rule })
		if i < 0 {
			t.Fatalf("there is no rule %s", test.rule)
		}
		results, err := Evaluate(t.Context(), st, stagetest.Tree(t, test.tree...), all[i:i+1], Options{})
		if err != nil {
			t.Errorf("%s: %v", test.rule, err)
			continue
		}
		r := results[0]
		var said []string
		for _, e := range r.Evidence {
			said = append(said, e.String())
			if r.Status == Fail && e.Wanted == "" {
				t.Errorf("%s: the evidence %q does not say what is wanted", test.rule, e)
			}
		}
		text := strings.Join(append(said, r.Explanation), "\n")
		if r.Status != test.status || !strings.Contains(text, test.evidence) {
			t.Errorf("%s: %s, want %s and %q:\n%s", test.rule, r.Status, test.status, test.evidence, text)
		}
		if r.Status == Fail && len(r.Evidence) == 0 {
			t.Errorf("%s fails without evidence", test.rule)
		}
	}
}

// Every kind of the data has a test above, one that passes and one that fails.
func TestEveryKindIsTested(t *testing.T) {
	source, err := os.ReadFile("scan_test.go")
	if err != nil {
		t.Fatal(err)
	}
	passes, fails := map[baselines.Kind]bool{}, map[baselines.Kind]bool{}
	for _, r := range rules(t) {
		for line := range strings.Lines(string(source)) {
			if strings.Contains(line, "{\""+r.ID+"\", ") {
				passes[r.Kind] = passes[r.Kind] || strings.Contains(line, ", Pass, ")
				fails[r.Kind] = fails[r.Kind] || strings.Contains(line, ", Fail, ")
			}
		}
	}
	for _, kind := range baselines.Kinds() {
		if !passes[baselines.Kind(kind)] || !fails[baselines.Kind(kind)] {
			t.Errorf("%s: a test that passes: %v, one that fails: %v", kind, passes[baselines.Kind(kind)], fails[baselines.Kind(kind)])
		}
	}
}

// key makes an SSH key with ssh-keygen: the public half, or the private one.
func key(t testing.TB, kind string, bits int) string {
	t.Helper()
	kind, private := strings.CutSuffix(kind, "-private")
	path := filepath.Join(t.TempDir(), "key")
	if kind == "dsa" {
		return dsaKey(t)
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-t", kind, "-b", fmt.Sprint(bits), "-N", "", "-C", "test", "-f", path).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	if !private {
		path += ".pub"
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The inventory is what find(1), getcap(8) and ssh-keygen see in the tree's directory.
func TestInventoryAsFind(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to write files of other owners")
	}
	st := openStore(t)
	file := func(path, text string) tree.Entry { return stagetest.File(t, st, path, text) }
	mode, owner := stagetest.Mode, stagetest.Owner
	capable := file("usr/bin/ping", "x")
	capable.Xattrs = []tree.Xattr{{Name: "security.capability", Value: []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")}}
	other := file("usr/bin/other", "x")
	other.Xattrs = []tree.Xattr{{Name: "security.capability", Value: []byte("\x00\x00\x00\x02\x01\x04\x00\x00\x01\x10\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00")}}
	rsa := key(t, "rsa", 1024)
	value := stagetest.Tree(t,
		file("etc/passwd", passwd), file("etc/shadow", "root::1\n"), file("etc/group", group), capable, other,
		mode(file("usr/bin/su", ""), 0o4755), mode(file("usr/bin/wall", ""), 0o2755), mode(file("usr/bin/both", ""), 0o6711), mode(file("usr/bin/locked", ""), 0o2644),
		mode(stagetest.Dir("tmp"), 0o1777), mode(stagetest.Dir("open"), 0o777), mode(stagetest.Dir("group"), 0o2775), mode(file("open/file", ""), 0o606),
		tree.Entry{Path: "open/pipe", Type: tree.FIFO, Mode: 0o622}, stagetest.Link("open/link", "nowhere"),
		owner(file("home/nobody", ""), 4242, 0), owner(stagetest.Dir("home/group"), 1000, 4243), owner(stagetest.Link("home/link", "x"), 3_000_000_000, 0),
		file("root/.ssh/authorized_keys", rsa), file("root/key", key(t, "ed25519-private", 256)),
	)
	r, err := Tree(t.Context(), st, value, rules(t), Options{Owners: func(path string) []string {
		if path == "/usr/bin/su" {
			return []string{"util-linux"}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "root")
	if err := extract.To(t.Context(), st, value, dir); err != nil {
		t.Fatal(err)
	}
	find := func(args ...string) []string {
		t.Helper()
		out, err := exec.Command("find", append([]string{dir, "-mindepth", "1"}, append(args, "-printf", "/%P\\n")...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("find: %v\n%s", err, out)
		}
		return slices.Sorted(strings.SplitSeq(strings.TrimSpace(string(out)), "\n"))
	}
	same := func(what string, got []File, want []string) {
		t.Helper()
		var paths []string
		for _, f := range got {
			paths = append(paths, f.Path)
		}
		if slices.Sort(paths); !slices.Equal(paths, want) || len(want) == 0 {
			t.Errorf("%s: %v, find says %v", what, paths, want)
		}
	}
	v := r.Inventory
	same("set-id", v.SetID, find("-type", "f", "(", "-perm", "-4000", "-o", "-perm", "-2010", ")"))
	same("world-writable", v.WorldWritable, find("(", "-type", "f", "-o", "-type", "p", "-o", "-type", "d", "!", "-perm", "-1000", ")", "-perm", "-0002"))
	// find asks the host for accounts, so the numbers are compared.
	known := []string{"!", "(", "-uid", "0", "-o", "-uid", "1", "-o", "-uid", "1000", ")", "-o", "!", "(", "-gid", "0", "-o", "-gid", "1", "-o", "-gid", "42", "-o", "-gid", "1000", ")"}
	same("without account", v.NoAccount, find(append(append([]string{"("}, known...), ")")...))
	same("of no package", v.NoPackage, find("-path", dir+"/usr/*", "(", "-type", "f", "-o", "-type", "l", ")", "!", "-name", "su"))
	if su := v.SetID[slices.IndexFunc(v.SetID, func(f File) bool { return f.Path == "/usr/bin/su" })]; !slices.Equal(su.Packages, []string{"util-linux"}) || su.Mode != "4755" || su.Owner != "root" {
		t.Errorf("%+v", su)
	}
	out, err := exec.Command("getcap", "-r", dir).CombinedOutput()
	if err != nil {
		out, err = exec.Command("/usr/sbin/getcap", "-r", dir).CombinedOutput()
	}
	if err != nil {
		t.Fatalf("getcap: %v\n%s", err, out)
	}
	var caps []string
	for _, f := range v.Capabilities {
		caps = append(caps, dir+f.Path+" "+f.Capabilities)
	}
	// The same sets; getcap adds to those before ("+"), and has an order of its own.
	normal := func(lines []string) string {
		for i, line := range lines {
			words := strings.Fields(strings.ReplaceAll(line, "+", "="))
			slices.Sort(words)
			lines[i] = strings.Join(words, " ")
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	if got, want := normal(caps), normal(strings.Split(strings.TrimSpace(string(out)), "\n")); got != want {
		t.Errorf("capabilities:\n%s\ngetcap says\n%s", got, want)
	}
	if len(v.EmptyPasswords) != 1 || v.EmptyPasswords[0] != (Account{"root", "/etc/shadow", 1}) {
		t.Errorf("%+v", v.EmptyPasswords)
	}
	out, err = exec.Command("ssh-keygen", "-l", "-f", filepath.Join(dir, "root/.ssh/authorized_keys")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if k := v.WeakKeys; len(k) != 1 || fmt.Sprintf("%d %s %s (RSA)", k[0].Bits, k[0].Fingerprint, k[0].Comment) != strings.TrimSpace(string(out)) {
		t.Errorf("%+v, ssh-keygen says %s", k, out)
	}
	if k := v.PrivateKeys; len(k) != 1 || k[0].Path != "/root/key" || k[0].Encrypted {
		t.Errorf("%+v", k)
	}
}

// What is skipped or given on the command line shows.
func TestOptions(t *testing.T) {
	st := openStore(t)
	p, err := baselines.Load("baseline")
	if err != nil {
		t.Fatal(err)
	}
	selected, err := p.Select([]string{"homes"}, map[string]string{"sysctl-sysrq": "4"})
	if err != nil {
		t.Fatal(err)
	}
	value := stagetest.Tree(t, stagetest.File(t, st, "etc/sysctl.d/x.conf", "kernel.sysrq=4\n"), stagetest.File(t, st, "etc/kernel/cmdline", "mitigations=off\n"))
	r, err := Tree(t.Context(), st, value, selected, Options{Name: "x", Profile: "baseline", Cmdline: []string{"slab_nomerge"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range r.Rules {
		want := map[string]Status{"homes": Skipped, "sysctl-sysrq": Pass, "cmdline-slab-nomerge": Pass, "cmdline-mitigations": Pass, "cmdline-vsyscall": Fail, "sysctl-panic": Fail}[rule.ID]
		if want != "" && rule.Status != want {
			t.Errorf("%s: %s, want %s", rule.ID, rule.Status, want)
		}
	}
	if c := r.Counts; c.Skipped != 1 || c.Pass+c.Fail+c.NotApplicable+c.Skipped != len(selected) {
		t.Errorf("%+v of %d", c, len(selected))
	}
	err = r.Err(baselines.High)
	var failed *FailedError
	if !errors.As(err, &failed) || failed.ExitStatus() != 4 || !strings.Contains(err.Error(), "sysctl-randomize-va-space") || strings.Contains(err.Error(), "sysctl-panic") {
		t.Errorf("%v", err)
	}
	if err := r.Err(baselines.Low); !strings.Contains(err.Error(), "sysctl-panic") {
		t.Errorf("%v", err)
	}
}

// junitSchema is JUnit's XML as Ant and Maven's Surefire write it and GitLab reads it,
// strictly: what it does not have, somebody may not understand.
const junitSchema = `<?xml version="1.0"?>
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
  <xs:complexType name="outcome" mixed="true">
    <xs:attribute name="message" type="xs:string"/>
    <xs:attribute name="type" type="xs:string"/>
  </xs:complexType>
  <xs:element name="testsuites">
    <xs:complexType>
      <xs:sequence>
        <xs:element name="testsuite" maxOccurs="unbounded">
          <xs:complexType>
            <xs:sequence>
              <xs:element name="testcase" minOccurs="0" maxOccurs="unbounded">
                <xs:complexType>
                  <xs:choice minOccurs="0">
                    <xs:element name="skipped" type="outcome"/>
                    <xs:element name="error" type="outcome"/>
                    <xs:element name="failure" type="outcome"/>
                  </xs:choice>
                  <xs:attribute name="name" type="xs:string" use="required"/>
                  <xs:attribute name="classname" type="xs:string" use="required"/>
                  <xs:attribute name="time" type="xs:decimal"/>
                </xs:complexType>
                <xs:unique name="nothing"><xs:selector xpath="."/><xs:field xpath="@name"/></xs:unique>
              </xs:element>
            </xs:sequence>
            <xs:attribute name="name" type="xs:string" use="required"/>
            <xs:attribute name="tests" type="xs:nonNegativeInteger" use="required"/>
            <xs:attribute name="failures" type="xs:nonNegativeInteger" use="required"/>
            <xs:attribute name="errors" type="xs:nonNegativeInteger" use="required"/>
            <xs:attribute name="skipped" type="xs:nonNegativeInteger"/>
            <xs:attribute name="time" type="xs:decimal"/>
          </xs:complexType>
          <xs:unique name="cases"><xs:selector xpath="testcase"/><xs:field xpath="@name"/></xs:unique>
        </xs:element>
      </xs:sequence>
      <xs:attribute name="name" type="xs:string"/>
      <xs:attribute name="tests" type="xs:nonNegativeInteger"/>
      <xs:attribute name="failures" type="xs:nonNegativeInteger"/>
      <xs:attribute name="errors" type="xs:nonNegativeInteger"/>
      <xs:attribute name="time" type="xs:decimal"/>
    </xs:complexType>
  </xs:element>
</xs:schema>
`

// nasty is a result whose texts have what formats stumble over.
func nasty(t testing.TB) *Result {
	t.Helper()
	st := openStore(t)
	p, err := baselines.Load("baseline")
	if err != nil {
		t.Fatal(err)
	}
	selected, err := p.Select([]string{"machine-id"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	value := stagetest.Tree(t,
		stagetest.Mode(stagetest.File(t, st, "opt/a\x1b[31m<b>&\"'\xff\n ]]> ä", ""), 0o4777),
		stagetest.File(t, st, "etc/sysctl.d/x.conf", "kernel.sysrq = <&\x01]]>\nkernel.panic = "+strings.Repeat("9", 300)+"\n"),
	)
	r, err := Tree(t.Context(), st, value, selected, Options{Name: `<the "image">`, Profile: "baseline"})
	if err != nil {
		t.Fatal(err)
	}
	r.OpenSCAP = &OpenSCAP{Version: "1", Content: "x", Profile: "standard", Results: []OpenSCAPResult{{"a", "A <b>", "high", "fail"}, {"b", "B", "low", "pass"}, {"c", "C", "low", "notapplicable"}}}
	return r
}

func TestJUnit(t *testing.T) {
	r := nasty(t)
	dir := t.TempDir()
	schema, report := filepath.Join(dir, "junit.xsd"), filepath.Join(dir, "junit.xml")
	f, err := os.Create(report)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(schema, []byte(junitSchema), 0o644), r.WriteJUnit(f), f.Close()); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("xmllint", "--noout", "--schema", schema, report).CombinedOutput(); err != nil {
		t.Errorf("xmllint (of the package libxml2-utils): %v\n%s", err, out)
	}
	count := func(path string) string {
		out, err := exec.Command("xmllint", "--xpath", "count("+path+")", report).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	for path, want := range map[string]int{
		"//testsuite[1]/testcase":         len(r.Rules),
		"//testsuite[1]/testcase/failure": r.Counts.Fail,
		"//testsuite[1]/testcase/skipped": r.Counts.Skipped + r.Counts.NotApplicable,
		"//testsuite[2]/testcase/failure": 1,
		"//testsuite[2]/testcase/skipped": 1,
		fmt.Sprintf("//testsuites[@tests=%d][@failures=%d]", len(r.Rules)+3, r.Counts.Fail+1):                         1,
		"//testcase[starts-with(@name,'setuid:')]/failure[contains(., 'mode 4777')][@type='high']":                    1,
		"//testcase[starts-with(@name,'credentials')]":                                                                1,
		"//testcase[starts-with(@name,'sysctl-sysrq')]/failure[contains(@message, '/etc/sysctl.d/x.conf:1: kernel')]": 1,
	} {
		if got := count(path); got != fmt.Sprint(want) {
			t.Errorf("%s: %s, want %d", path, got, want)
		}
	}
}

func TestJSON(t *testing.T) {
	r := nasty(t)
	var b, again strings.Builder
	if err := errors.Join(r.WriteJSON(&b), r.WriteJSON(&again)); err != nil {
		t.Fatal(err)
	}
	if b.String() != again.String() {
		t.Error("twice is not the same")
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(b.String()), &v); err != nil {
		t.Fatal(err)
	}
	if v["format"] != 1.0 || v["profile"] != "baseline" || len(v["rules"].([]any)) != len(r.Rules) {
		t.Errorf("%.300s", b.String())
	}
	documented, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, list := range v["inventory"].(map[string]any) {
		if _, ok := list.([]any); !ok && name != "packages_known" {
			t.Errorf("%s is %v", name, list)
		}
		if !strings.Contains(string(documented), name) {
			t.Errorf("%s is not documented", name)
		}
	}
	for name := range v["rules"].([]any)[0].(map[string]any) {
		if !strings.Contains(string(documented), name) {
			t.Errorf("%s is not documented", name)
		}
	}
	var back Result
	if err := json.Unmarshal([]byte(b.String()), &back); err != nil || back.Counts != r.Counts {
		t.Errorf("%v %+v", err, back.Counts)
	}
}

func TestTable(t *testing.T) {
	r := nasty(t)
	for _, width := range []int{0, 60, 100, 160} {
		for _, all := range []bool{false, true} {
			var b strings.Builder
			if err := r.WriteTable(&b, width, all); err != nil {
				t.Fatal(err)
			}
			text := b.String()
			widest := 0
			for line := range strings.Lines(text) {
				widest = max(widest, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")))
			}
			if width >= 100 && widest > width {
				t.Errorf("width %d: a line has %d columns", width, widest)
			}
			if strings.ContainsAny(text, "\x1b\x01") || !utf8.ValidString(text) {
				t.Errorf("width %d: control characters reach the terminal", width)
			}
			if got := strings.Contains(text, "ssh-host-keys"); got != all {
				t.Errorf("width %d, all %v: rules that pass are shown: %v", width, all, got)
			}
			for _, want := range []string{"sysctl-sysrq", fmt.Sprintf("%d failed", r.Counts.Fail), "machine-id", "set-user-ID"} {
				if !strings.Contains(text, want) {
					t.Errorf("width %d: %q is missing", width, want)
				}
			}
		}
	}
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\n"))
	f.Add([]byte("-----BEGIN -----BEGIN X PRIVATE KEY----------END X PRIVATE KEY-----"))
	f.Add([]byte("no-pty ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQ== x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines := strings.Count(string(data), "\n") + 1
		for _, k := range FindPrivateKeys(data) {
			if k.Line < 1 || k.Line > lines || k.Kind == "" {
				t.Fatalf("%+v", k)
			}
		}
		for _, k := range ParsePublicKeys(data) {
			if k.Line < 1 || k.Line > lines || !strings.HasPrefix(k.Fingerprint, "SHA256:") {
				t.Fatalf("%+v", k)
			}
		}
	})
}

// Accounts of any form are no reason to stop.
func FuzzAccounts(f *testing.F) {
	f.Add([]byte(passwd), []byte(shadow), []byte(group))
	f.Add([]byte("::::::\nroot:x:99999999999:0:::"), []byte("a:$\nb:_x\n:"), []byte("+\n-x:\n"))
	st := openStore(f)
	all := rules(f)
	e := &evaluator{root: files.Root{Store: st, Tree: stagetest.Tree(f)}}
	f.Fuzz(func(t *testing.T, passwd, shadow, group []byte) {
		e.accounts = accounts.New(passwd, shadow, group)
		if format := accounts.Format(accounts.Parse(passwd)); strings.TrimSuffix(string(format), "\n") != strings.TrimSuffix(string(passwd), "\n") {
			t.Fatalf("%q became %q", passwd, format)
		}
		for i := range all {
			switch all[i].Kind {
			case baselines.EmptyPasswords, baselines.RootPassword, baselines.PasswordHash, baselines.SystemShells, baselines.UniqueIDs, baselines.Homes, baselines.Unowned:
				if _, err := e.rule(t.Context(), &all[i]); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func FuzzCapabilities(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, value []byte) {
		if Capabilities(value) == "" {
			t.Fatal("nothing is said")
		}
	})
}
