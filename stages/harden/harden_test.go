package harden

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/baselines"
	"github.com/imagefactory/imagefactory/scan"
	"github.com/imagefactory/imagefactory/scan/extract"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

const epoch = 1_700_000_000

func openStore(t testing.TB) *store.Store {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// selected returns the baseline's rules.
func selected(t testing.TB, skip []string, set map[string]string) []baselines.Rule {
	t.Helper()
	rules, err := Options{Profile: "baseline", Skip: skip, Set: set}.Rules()
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// insecure is a root on which every rule that can be set fails.
func insecure(t testing.TB, st *store.Store) *tree.Tree {
	t.Helper()
	file := func(path, text string) tree.Entry { return stagetest.File(t, st, path, text) }
	mode, owner, dir, link := stagetest.Mode, stagetest.Owner, stagetest.Dir, stagetest.Link
	entries := []tree.Entry{
		link("lib", "usr/lib"), link("sbin", "usr/sbin"), file("usr/sbin/nologin", ""), file("usr/sbin/sshd", ""), file("usr/bin/crontab", ""), file("usr/bin/at", ""),
		file("usr/lib/systemd/systemd", ""), file("usr/lib/systemd/systemd-coredump", ""), file("usr/lib/systemd/system/debug-shell.service", "[Service]\n"),
		link("usr/lib/systemd/system/ctrl-alt-del.target", "reboot.target"), file("usr/lib/systemd/system/reboot.target", ""),
		file("usr/lib/systemd/system/var-tmp.mount", "[Mount]\nWhere=/var/tmp\nOptions=mode=1777\n"), link("usr/lib/systemd/system/local-fs.target.wants/var-tmp.mount", "../var-tmp.mount"),
		file("usr/lib/modules/6.1/kernel/dccp.ko", ""), file("usr/lib/modules/6.1/kernel/cramfs.ko.xz", ""),
		file("usr/lib/sysctl.d/50-default.conf", "kernel.sysrq = 1\nfs.protected_symlinks = 0\nfs.protected_hardlinks = 0\nfs.protected_fifos = 0\nfs.protected_regular = 0\n"),
		file("etc/sysctl.d/90-mine.conf", "kernel.panic = 0\nnet.ipv4.ip_forward = 1\n"),
		file("etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\n"+sshdWeak), dir("etc/ssh/sshd_config.d"),
		file("etc/ssh/ssh_host_rsa_key", "x"), mode(file("etc/ssh/ssh_host_rsa_key.pub", "x"), 0o644),
		file("etc/login.defs", "UMASK\t\t022\nENCRYPT_METHOD MD5\nUID_MIN 1000\n"),
		file("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nsvc:x:100:100::/srv:/bin/bash\nsync:x:4:4::/bin:/bin/sync\nann:x:1000:1000::/home/ann:/bin/bash\nold::1001:1001::/:/bin/sh\n"),
		mode(file("etc/shadow", "root:*:19000::::::\nsvc:!:19000::::::\nann::19000::::::\n"), 0o644),
		file("etc/group", "root:x:0:\nshadow:x:42:\nsvc:x:100:\nann:x:1000:\n"), mode(file("etc/sudoers.d/x", "ann ALL=(ALL) ALL\n"), 0o666), mode(dir("etc/sudoers.d"), 0o775),
		mode(file("etc/passwd-", ""), 0o600), mode(dir("etc/cron.d"), 0o755), mode(dir("root"), 0o755),
		owner(mode(dir("home/ann"), 0o755), 1000, 1000), mode(file("boot/grub/grub.cfg", "linux /vmlinuz slab_nomerge\n"), 0o666), mode(file("boot/grub2/user.cfg", "GRUB2_PASSWORD=x\n"), 0o644), mode(dir("var/log/apt"), 0o755),
		mode(file("var/log/wtmp", ""), 0o664), owner(mode(file("etc/ssl/private/x.key", ""), 0o644), 1000, 1000),
		mode(dir("srv/open"), 0o777), mode(file("srv/open/file", ""), 0o666), mode(file("usr/local/bin/tool", ""), 0o4755),
		file("etc/cron.allow", "root\nann\n"), file("etc/security/limits.conf", "* hard core unlimited\n"),
		file("etc/fstab", "LABEL=ROOT / ext4 defaults 0 1\nLABEL=HOME /home ext4 defaults 0 2\ntmpfs /tmp tmpfs defaults 0 0\nLABEL=LOG /var/log ext4 noatime 0 2\nLABEL=B /boot ext4 defaults 0 2\nLABEL=E /boot/efi vfat umask=0077 0 2\n"),
		file("etc/machine-id", "0123456789abcdef0123456789abcdef\n"), file("var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef\n"),
		file("var/lib/systemd/random-seed", "x"), file("root/.bash_history", "secret\n"), file("etc/hosts.equiv", "+\n"),
		file("etc/systemd/coredump.conf", "[Coredump]\nStorage=external\nProcessSizeMax=2G\n"),
	}
	return stagetest.Tree(t, entries...)
}

// sshdWeak fails every rule about sshd.
const sshdWeak = `PermitRootLogin yes
PasswordAuthentication yes
KbdInteractiveAuthentication yes
PermitEmptyPasswords yes
HostbasedAuthentication yes
IgnoreRhosts no
PermitUserEnvironment yes
StrictModes no
X11Forwarding yes
MaxAuthTries 20
LoginGraceTime 5m
LogLevel QUIET
`

// Every rule that can be set fails before and passes after, and a second time changes
// nothing.
func TestApply(t *testing.T) {
	st := openStore(t)
	before := insecure(t, st)
	rules := selected(t, nil, nil)
	results, err := scan.Evaluate(t.Context(), st, before, rules, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	failing := map[string]bool{}
	for i, r := range results {
		// Permissions of what this root does not have, or has right.
		if rules[i].Settable() && r.Status != scan.Fail && !slices.Contains([]string{"permissions-passwd"}, r.ID) {
			t.Errorf("%s: %s before, so that nothing is tested: %v %s", r.ID, r.Status, r.Evidence, r.Explanation)
		}
		failing[r.ID] = rules[i].Settable() && r.Status == scan.Fail
	}
	after, changes, err := Apply(t.Context(), st, before, rules, epoch)
	if err != nil {
		t.Fatal(err)
	}
	results, err = scan.Evaluate(t.Context(), st, after, rules, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if rules[i].Settable() && r.Status != scan.Pass && r.Status != scan.NotApplicable {
			t.Errorf("%s: %s after: %v", r.ID, r.Status, r.Evidence)
		}
		if failing[r.ID] && !slices.ContainsFunc(changes, func(c Change) bool { return c.Rule == r.ID }) {
			t.Errorf("%s: there is no change", r.ID)
		}
	}
	for _, c := range changes {
		if !failing[c.Rule] || c.Path == "" || c.After == "" {
			t.Errorf("%+v", c)
		}
	}
	// All that differs is in the list of changes, or a directory of a drop-in file.
	for _, d := range tree.Diff(before, after) {
		named := slices.ContainsFunc(changes, func(c Change) bool { return c.Path == "/"+d.Path })
		if !named && !(d.Before == nil && d.After.Type == tree.Directory) {
			t.Errorf("%s changed, and no change says so", d.Path)
		}
	}

	again, more, err := Apply(t.Context(), st, after, rules, epoch+1)
	if err != nil {
		t.Fatal(err)
	}
	if again.Digest() != after.Digest() || len(more) > 0 {
		t.Errorf("a second time changes %v: %v", tree.Diff(after, again), more)
	}
	same, _, err := Apply(t.Context(), st, before, rules, epoch)
	if err != nil || same.Digest() != after.Digest() {
		t.Errorf("two runs differ (%v)", err)
	}

	text := stagetest.Text(t, st, after, "etc", "var/log", "srv", "usr/local")
	for _, want := range []string{
		"etc/machine-id @1700000000.0 \"\"\n",
		"etc/systemd/system/debug-shell.service @1700000000.0 -> /dev/null",
		"etc/shadow 0640", "etc/sudoers.d/\n", "etc/sudoers.d/x 0440", "srv/open/ 1777", "srv/open/file 0664", "usr/local/bin/tool 0755", "var/log/apt/ 0750", "var/log/wtmp 0664",
		`svc:x:100:100::/srv:/usr/sbin/nologin\nsync:x:4:4::/bin:/bin/sync\n`, `old:!:1001`, `ann:!:19000`, `UMASK\t027\nENCRYPT_METHOD\tSHA512\nUID_MIN 1000\n`,
		`etc/cron.allow @1700000000.0 "root\n"`, `* hard core 0\n`, `[Coredump]\n`, `Storage=none\n`,
		`tmpfs /tmp tmpfs defaults,nosuid,nodev 0 0\n`, `LABEL=E /boot/efi vfat umask=0077,nosuid,nodev,noexec 0 2\n`, `tmpfs /dev/shm tmpfs defaults,nosuid,nodev,noexec 0 0\n`,
		`Options=mode=1777,nosuid,nodev\n`, `install dccp /bin/false\n`,
		`etc/sysctl.d/90-mine.conf "kernel.panic = 0\nnet.ipv4.ip_forward = 1\n"`, // the user's own file is left alone
		`# Written by imagefactory's hardening, for the rules\n`,
		`# sysctl-panic: A stopped kernel restarts by itself\nkernel.panic = 10\n`,
		"etc/ssh/sshd_config.d/00-hardening.conf 0600",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	for _, gone := range []string{"etc/ssh/ssh_host_rsa_key", "var/lib/dbus/machine-id", "var/lib/systemd/random-seed", "root/.bash_history", "etc/hosts.equiv"} {
		if _, ok := after.Lookup(gone); ok {
			t.Errorf("%s is still there", gone)
		}
	}
}

// systemd, visudo, modprobe and findmnt understand what was written.
func TestToolsUnderstand(t *testing.T) {
	st := openStore(t)
	after, _, err := Apply(t.Context(), st, insecure(t, st), selected(t, nil, nil), epoch)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "root")
	if err := extract.To(t.Context(), st, after, dir); errors.Is(err, extract.ErrNotRoot) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		want string
		args []string
	}{
		{"masked", []string{"sh", "-c", "systemctl --root=" + dir + " is-enabled debug-shell.service || true"}},
		{"nosuid,nodev", []string{"findmnt", "-n", "-o", "OPTIONS", "-F", filepath.Join(dir, "etc/fstab"), "/tmp"}},
		{"noexec", []string{"findmnt", "-n", "-o", "OPTIONS", "-F", filepath.Join(dir, "etc/fstab"), "/dev/shm"}},
		{"kernel.panic = 10", []string{"systemd-analyze", "--no-pager", "--root=" + dir, "cat-config", "sysctl.d"}},
		{"Storage=none", []string{"systemd-analyze", "--no-pager", "--root=" + dir, "cat-config", "systemd/coredump.conf"}},
		{"CtrlAltDelBurstAction=none", []string{"systemd-analyze", "--no-pager", "--root=" + dir, "cat-config", "systemd/system.conf"}},
		{"install /bin/false", []string{"sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; modprobe -n -v -d " + dir + " -C " + dir + "/etc/modprobe.d -S 6.1 dccp"}},
	} {
		cmd := exec.Command(test.args[0], test.args[1:]...)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), test.want) {
			t.Errorf("%v: %v\n%s\nwant %q", test.args, err, out, test.want)
		}
	}
}

// The drop-in file of sshd counts only where it is read first.
func TestSSHD(t *testing.T) {
	st := openStore(t)
	rules := selected(t, nil, nil)
	for name, test := range map[string]struct {
		config string
		other  string // in sshd_config.d
		block  bool
	}{
		"included":            {"Include /etc/ssh/sshd_config.d/*.conf\n" + sshdWeak, "", false},
		"included after some": {"X11Forwarding yes\nInclude /etc/ssh/sshd_config.d/*.conf\n", "", true},
		"not included":        {sshdWeak + "Match User git\nAllowTcpForwarding no\n", "", true},
		"another is first":    {"Include sshd_config.d/*.conf\n", "PasswordAuthentication yes\n", true},
		"empty":               {"", "", true},
	} {
		entries := []tree.Entry{stagetest.File(t, st, "usr/sbin/sshd", ""), stagetest.Mode(stagetest.File(t, st, "etc/ssh/sshd_config", test.config), 0o600)}
		if test.other != "" {
			entries = append(entries, stagetest.Mode(stagetest.File(t, st, "etc/ssh/sshd_config.d/00-a.conf", test.other), 0o600))
		}
		before := stagetest.Tree(t, entries...)
		after, _, err := Apply(t.Context(), st, before, rules, epoch)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		config, _ := after.Lookup("etc/ssh/sshd_config")
		text := stagetest.Contents(t, st, config)
		_, drop := after.Lookup("etc/ssh/sshd_config.d/00-hardening.conf")
		if block := strings.HasPrefix(text, blockBegin); block != test.block || drop == block || !strings.HasSuffix(text, test.config) {
			t.Errorf("%s: a block: %v, a drop-in file: %v\n%s", name, block, drop, text)
		}
		again, _, err := Apply(t.Context(), st, after, rules, epoch+1)
		if err != nil || again.Digest() != after.Digest() {
			t.Errorf("%s: a second time: %v, %v", name, err, tree.Diff(after, again))
		}
		// Without the rules, what was there before is back.
		var skip []string
		for _, r := range rules {
			if r.Kind == baselines.SSHD {
				skip = append(skip, r.ID)
			}
		}
		back, _, err := Apply(t.Context(), st, after, selected(t, skip, nil), epoch)
		if err != nil {
			t.Fatal(err)
		}
		config, _ = back.Lookup("etc/ssh/sshd_config")
		if got := stagetest.Contents(t, st, config); got != test.config {
			t.Errorf("%s: without the rules: %q", name, got)
		}
	}
}

// What stands against a rule is named, and nothing is built.
func TestConflicts(t *testing.T) {
	st := openStore(t)
	file := func(path, text string) tree.Entry { return stagetest.File(t, st, path, text) }
	for _, test := range []struct {
		entries []tree.Entry
		skip    string
		want    string
	}{
		{[]tree.Entry{file("etc/sysctl.d/zz-mine.conf", "\nkernel.panic = 30\n")}, "sysctl-panic", "sysctl-panic: /etc/sysctl.d/zz-mine.conf:2: kernel.panic = 30 (wanted: 10)"},
		{[]tree.Entry{file("usr/sbin/sshd", ""), file("etc/ssh/sshd_config", "Match User bob\n  PasswordAuthentication yes\n")}, "sshd-passwords",
			"sshd-passwords: /etc/ssh/sshd_config:2"},
		{[]tree.Entry{file("etc/security/limits.d/zz.conf", "* hard core unlimited\n")}, "coredump-limit", "coredump-limit: /etc/security/limits.d/zz.conf:1: * hard core unlimited"},
		{[]tree.Entry{file("lib/modules/6/dccp.ko", ""), file("etc/modprobe.d/00-a.conf", "install dccp /bin/echo\n")}, "modules-network", "/etc/modprobe.d/00-a.conf:1: install dccp /bin/echo"},
		{[]tree.Entry{file("etc/sysctl.d/99-zz-hardening.conf", "kernel.panic = 30\n")}, "", "/etc/sysctl.d/99-zz-hardening.conf is not written by hardening, which needs this name for itself"},
		{[]tree.Entry{file("etc/passwd", "svc:x:100:100::/srv:/bin/bash\n")}, "system-shells", "rule system-shells: the image has none of /usr/sbin/nologin"},
	} {
		value := stagetest.Tree(t, test.entries...)
		_, _, err := Apply(t.Context(), st, value, selected(t, nil, nil), epoch)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v\nwant %s", err, test.want)
		}
		if test.skip == "" {
			continue
		}
		if _, _, err := Apply(t.Context(), st, value, selected(t, []string{test.skip}, nil), epoch); err != nil && !strings.Contains(test.want, "Match") {
			t.Errorf("without %s: %v", test.skip, err)
		}
	}
	_, _, err := Apply(t.Context(), st, stagetest.Tree(t, file("etc/sysctl.d/zz.conf", "kernel.panic=1")), selected(t, nil, nil), epoch)
	var conflict *ConflictError
	if !errors.As(err, &conflict) || conflict.ExitStatus() != 4 {
		t.Errorf("%v", err)
	}
}

func TestSkipAndSet(t *testing.T) {
	st := openStore(t)
	before := insecure(t, st)
	after, changes, err := Apply(t.Context(), st, before, selected(t, []string{"homes", "setuid"}, map[string]string{
		"sysctl-panic": "30", "mount-tmp": "noexec", "cron-allow": "root ann", "permissions-cron": "0750",
	}), epoch)
	if err != nil {
		t.Fatal(err)
	}
	text := stagetest.Text(t, st, after)
	for _, want := range []string{"kernel.panic = 30", "tmpfs /tmp tmpfs defaults,noexec 0 0", `etc/cron.allow "root\nann\n"`, "etc/cron.d/ 0750", "usr/local/bin/tool 4755", "home/ann/ 1000:1000"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	for _, c := range changes {
		if c.Rule == "homes" || c.Rule == "setuid" || c.Rule == "cron-allow" {
			t.Errorf("%+v", c)
		}
	}
	if _, err := (Options{Profile: "baseline", Skip: []string{"home"}}).Rules(); err == nil || !strings.Contains(err.Error(), `Did you mean "homes"?`) {
		t.Error(err)
	}
}

// All names of an inode change together, and access control lists follow the mode.
func TestLinksAndACLs(t *testing.T) {
	st := openStore(t)
	linked := stagetest.Mode(stagetest.File(t, st, "usr/local/bin/one", "x"), 0o4755)
	linked.Link = 1
	other := linked
	other.Path = "usr/local/bin/two"
	acl := func(entries ...[3]uint32) []byte {
		b := binary.LittleEndian.AppendUint32(nil, 2)
		for _, e := range entries {
			b = binary.LittleEndian.AppendUint16(b, uint16(e[0]))
			b = binary.LittleEndian.AppendUint16(b, uint16(e[1]))
			b = binary.LittleEndian.AppendUint32(b, e[2])
		}
		return b
	}
	const none = 0xffffffff
	listed := stagetest.Mode(stagetest.File(t, st, "etc/sudoers", "x"), 0o664)
	listed.Xattrs = []tree.Xattr{{Name: "system.posix_acl_access", Value: acl([3]uint32{1, 6, none}, [3]uint32{2, 7, 1000}, [3]uint32{4, 4, none}, [3]uint32{16, 6, none}, [3]uint32{32, 4, none})}}
	after, _, err := Apply(t.Context(), st, stagetest.Tree(t, linked, other, listed), selected(t, nil, nil), epoch)
	if err != nil {
		t.Fatal(err)
	}
	one, _ := after.Lookup("usr/local/bin/one")
	two, _ := after.Lookup("usr/local/bin/two")
	if one.Mode != 0o755 || two.Mode != 0o755 || one.Link == 0 || one.Link != two.Link {
		t.Errorf("%+v %+v", one, two)
	}
	e, _ := after.Lookup("etc/sudoers")
	want := acl([3]uint32{1, 4, none}, [3]uint32{2, 7, 1000}, [3]uint32{4, 4, none}, [3]uint32{16, 4, none}, [3]uint32{32, 0, none})
	if e.Mode != 0o440 || string(e.Xattrs[0].Value) != string(want) {
		t.Errorf("mode %04o, %x, want %x", e.Mode, e.Xattrs[0].Value, want)
	}
}

func TestRun(t *testing.T) {
	cache := stagetest.Cache(t)
	root, err := rootfs.Save(cache.Store, insecure(t, cache.Store))
	if err != nil {
		t.Fatal(err)
	}
	result, log, err := stagetest.Run(t, cache, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return Run(ctx, run, root, Options{Profile: "baseline", Epoch: epoch})
	})
	if err != nil || result == root {
		t.Fatalf("%v %v", result, err)
	}
	if !strings.Contains(log, "sysctl-sysrq: /etc/sysctl.d/99-zz-hardening.conf: kernel.sysrq = 0 (before: /usr/lib/sysctl.d/50-default.conf:1: kernel.sysrq = 1)") {
		t.Error(log)
	}
	_, _, err = stagetest.Run(t, cache, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return Run(ctx, run, root, Options{Profile: "basline"})
	})
	if err == nil || !strings.Contains(err.Error(), "baseline") {
		t.Error(err)
	}
}

// BenchmarkApply hardens a root of 20,000 entries.
func BenchmarkApply(b *testing.B) {
	st := openStore(b)
	entries := insecure(b, st).Entries()
	file := stagetest.File(b, st, "x", "contents")
	for i := range 200 {
		dir := stagetest.Dir(fmt.Sprintf("usr/share/d%d", i))
		entries = append(entries, dir)
		for j := range 100 {
			file.Path = fmt.Sprintf("%s/f%d", dir.Path, j)
			entries = append(entries, file)
		}
	}
	value := stagetest.Tree(b, entries[1:]...)
	rules := selected(b, nil, nil)
	for b.Loop() {
		if _, _, err := Apply(b.Context(), st, value, rules, epoch); err != nil {
			b.Fatal(err)
		}
	}
}
