package settings

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/scan/files/filestest"
	"github.com/imagefactory/imagefactory/stages/stagetest"
)

// write writes files below dir.
func write(t testing.TB, dir string, contents map[string]string) {
	t.Helper()
	for path, text := range contents {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLoginDefs(t *testing.T) {
	const text = "# UMASK 000\nUMASK\t022\n  ENCRYPT_METHOD  \"SHA512\" \nUMASK 027\nALONE\n"
	for key, want := range map[string]struct {
		value string
		line  int
	}{"UMASK": {"027", 4}, "ENCRYPT_METHOD": {"SHA512", 3}, "ALONE": {"", 0}, "umask": {"", 0}} {
		if value, line := LoginDefs([]byte(text), key); value != want.value || line != want.line {
			t.Errorf("%s: %q in line %d, want %+v", key, value, line, want)
		}
	}
	if got := string(SetLoginDefs([]byte(text), "UMASK", "077")); got != strings.Replace(text, "UMASK 027", "UMASK\t077", 1) {
		t.Errorf("%q", got)
	}
	if got := string(SetLoginDefs([]byte("A 1"), "B", "2")); got != "A 1\nB\t2\n" {
		t.Errorf("%q", got)
	}
}

func TestSystemd(t *testing.T) {
	r := filestest.Root(t, map[string]string{
		"etc/systemd/coredump.conf":               "[Other]\nStorage=x\n[Coredump]\n#Storage=external\n",
		"usr/lib/systemd/coredump.conf":           "[Coredump]\nStorage=of usr, which etc replaces\n",
		"usr/lib/systemd/coredump.conf.d/10.conf": "[Coredump]\nStorage = \\\n# in between\n  journal\n",
		"etc/systemd/coredump.conf.d/20.conf":     "[Coredump]\nMaxUse=1\n",
	})
	s, err := Systemd(r, "coredump.conf", "Coredump", "Storage")
	if err != nil || s != (Setting{"journal", "/usr/lib/systemd/coredump.conf.d/10.conf", 2}) {
		t.Errorf("%+v, %v", s, err)
	}
	if s, _ := Systemd(r, "coredump.conf", "Coredump", "Compress"); s.Line != 0 {
		t.Errorf("%+v", s)
	}
	if s, _ := Systemd(filestest.Root(t, map[string]string{"usr/lib/systemd/coredump.conf": "[Coredump]\nStorage=a\n"}), "coredump.conf", "Coredump", "Storage"); s.Value != "a" {
		t.Errorf("%+v", s)
	}
}

func TestLimit(t *testing.T) {
	r := filestest.Root(t, map[string]string{
		"etc/security/limits.conf":      "#* hard core 1\n* soft core 2\n* hard core 3 # x\nroot hard core 4\n",
		"etc/security/limits.d/10.conf": "*  -  core  0\n",
		"etc/security/limits.d/20.conf": "* hard nofile 5\n* hard core\n",
	})
	if s, err := Limit(r, "*", "hard", "core"); err != nil || s != (Setting{"0", "/etc/security/limits.d/10.conf", 1}) {
		t.Errorf("%+v, %v", s, err)
	}
	if s, _ := Limit(r, "root", "hard", "core"); s.Value != "4" {
		t.Errorf("%+v", s)
	}
}

// modprobe itself runs the install line that we say it obeys.
func TestModprobe(t *testing.T) {
	contents := map[string]string{
		"etc/modprobe.d/00-first.conf": "install dccp /bin/false\n# install rds /bin/false\ninstall hfs-plus /bin/true\ninstall can* /bin/false\n",
		"etc/modprobe.d/50-late.conf":  "install dccp /sbin/modprobe --ignore-install dccp\ninstall tipc \\\n  /bin/false\nblacklist atm\n",
		"etc/modprobe.d/ignored.txt":   "install atm /bin/false\n",
	}
	r := filestest.Root(t, contents)
	m, err := ReadModprobe(r)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	const release = "6.1.0-test"
	write(t, dir, contents)
	modules := filepath.Join(dir, "lib/modules", release)
	names := []string{"dccp", "rds", "hfs_plus", "tipc", "atm"}
	for _, name := range names {
		write(t, modules, map[string]string{"kernel/" + name + ".ko": ""})
	}
	// An index by hand: depmod wants modules that are ELF files.
	var dep strings.Builder
	for _, name := range names {
		dep.WriteString("kernel/" + name + ".ko:\n")
	}
	write(t, modules, map[string]string{"modules.dep": dep.String()})
	for _, name := range names {
		cmd := exec.Command("modprobe", "-n", "-v", "-d", dir, "-C", filepath.Join(dir, "etc/modprobe.d"), "-S", release, name)
		cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
		out, err := cmd.CombinedOutput()
		if err != nil && len(out) == 0 {
			t.Fatalf("%v: %v", cmd.Args, err)
		}
		s, refused := m.Refused(name)
		theirs := strings.Join(strings.Fields(string(out)), " ")
		if refused != (strings.HasPrefix(theirs, "install /bin/")) || refused && !strings.HasPrefix(theirs, "install "+s.Value) {
			t.Errorf("%s: %+v (%v), modprobe: %s", name, s, refused, theirs)
		}
	}
	// Patterns count for modules of the index, which only depmod makes.
	if _, ok := m.Refused("can_raw"); !ok {
		t.Error("can_raw is not refused")
	}
	if s, ok := m.Refused("tipc"); !ok || s.Line != 2 {
		t.Errorf("tipc: %+v", s)
	}
}

func TestModulesOf(t *testing.T) {
	r := filestest.Root(t, map[string]string{"usr/lib/modules/6.1/kernel/a-b.ko.xz": "", "usr/lib/modules/6.1/kernel/c.ko": "", "usr/lib/modules/6.1/kernel/d.ko.txt": "", "usr/lib/modules/6.1/modules.dep": ""},
		stagetest.Link("lib", "usr/lib"))
	if got := ModulesOf(r); len(got) != 2 || got["a_b"] != "/usr/lib/modules/6.1/kernel/a-b.ko.xz" || got["c"] == "" {
		t.Errorf("%v", got)
	}
}

// findmnt reads the same options out of fstab.
func TestFstab(t *testing.T) {
	const fstab = "# a comment\n\nUUID=1 / ext4 defaults 0 1\ntmpfs  /tmp/  tmpfs nosuid,noexec\nLABEL=x /var/log ext4\n/dev/sdb1 /with\\040blank ext4 ro,user 0 0\ntmpfs /tmp tmpfs second\n"
	r := filestest.Root(t, map[string]string{"etc/fstab": fstab})
	dir := t.TempDir()
	write(t, dir, map[string]string{"fstab": fstab})
	for _, point := range []string{"/", "/tmp", "/var/log", "/with blank"} {
		m, err := FindMount(r, point)
		if err != nil || !m.Found || m.Unit != "" {
			t.Fatalf("%s: %+v, %v", point, m, err)
		}
		out, err := exec.Command("findmnt", "-n", "-f", "-o", "OPTIONS", "-F", filepath.Join(dir, "fstab"), "-T", point).CombinedOutput()
		if point == "/tmp" || point == "/with blank" {
			out, err = exec.Command("findmnt", "-n", "-f", "-o", "OPTIONS", "-F", filepath.Join(dir, "fstab"), point).CombinedOutput()
		}
		if want := strings.TrimSpace(string(out)); err != nil || strings.Join(m.Options, ",") != want && !(want == "" && slices.Equal(m.Options, []string{"defaults"})) {
			t.Errorf("%s: %v, findmnt: %q %v", point, m.Options, want, err)
		}
	}
	if m, err := FindMount(r, "/home"); err != nil || m.Found {
		t.Errorf("/home: %+v, %v", m, err)
	}
	changed := string(SetFstab([]byte(fstab), "/tmp", []string{"nodev"}, ""))
	if want := strings.Replace(fstab, "tmpfs  /tmp/  tmpfs nosuid,noexec\n", "tmpfs /tmp/ tmpfs nosuid,noexec,nodev\n", 1); changed != want {
		t.Errorf("%q", changed)
	}
	if got := string(SetFstab([]byte("# x"), "/dev/shm", []string{"nodev", "noexec"}, "tmpfs")); got != "# x\ntmpfs /dev/shm tmpfs defaults,nodev,noexec 0 0\n" {
		t.Errorf("%q", got)
	}
}

func TestMountUnit(t *testing.T) {
	unit := map[string]string{
		"usr/lib/systemd/system/tmp.mount":         "[Mount]\nWhat=tmpfs\nWhere=/tmp\nOptions=mode=1777,nosuid\n",
		"etc/systemd/system/tmp.mount.d/50-a.conf": "[Mount]\nOptions=nosuid,nodev\n",
	}
	wants := stagetest.Link("usr/lib/systemd/system/local-fs.target.wants/tmp.mount", "../tmp.mount")
	m, err := FindMount(filestest.Root(t, unit, wants), "/tmp")
	if err != nil || !m.Found || m.Unit != "tmp.mount" || strings.Join(m.Options, ",") != "nosuid,nodev" || m.Path != "/etc/systemd/system/tmp.mount.d/50-a.conf" {
		t.Errorf("%+v, %v", m, err)
	}
	if m, _ := FindMount(filestest.Root(t, unit), "/tmp"); m.Found {
		t.Error("a unit that nothing wants is mounted")
	}
	if m, _ := FindMount(filestest.Root(t, unit, wants, stagetest.Link("etc/systemd/system/tmp.mount", "/dev/null")), "/tmp"); m.Found {
		t.Error("a masked unit is mounted")
	}
	for point, want := range map[string]string{"/": "-.mount", "/var/tmp": "var-tmp.mount", "/a-b/c": `a\x2db-c.mount`, "/.x": `\x2ex.mount`} {
		if got := UnitName(point); got != want {
			t.Errorf("%s: %s", point, got)
		}
		out, err := exec.Command("systemd-escape", "--path", "--suffix=mount", point).Output()
		if err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("systemd-escape %s: %s %v", point, out, err)
		}
	}
}

func TestMissingOptions(t *testing.T) {
	for _, test := range []struct{ options, wanted, missing string }{
		{"defaults", "nosuid nodev", "nosuid nodev"},
		{"nosuid,nodev", "nosuid nodev", ""},
		{"nosuid,suid", "nosuid", "nosuid"},
		{"suid,nosuid", "nosuid", ""},
		{"user", "nosuid nodev noexec", ""},
		{"user,exec", "nosuid noexec", "noexec"},
		{"owner", "nosuid noexec", "noexec"},
		{"rw,size=1G", "noexec", "noexec"},
	} {
		if got := strings.Join(MissingOptions(strings.Split(test.options, ","), strings.Fields(test.wanted)), " "); got != test.missing {
			t.Errorf("%s lacks %q of %s, want %q", test.options, got, test.wanted, test.missing)
		}
	}
}

func TestCmdline(t *testing.T) {
	for _, test := range []struct {
		contents map[string]string
		want     string
	}{
		{map[string]string{"boot/grub/grub.cfg": "menuentry x {\n  linux /boot/vmlinuz root=LABEL=ROOT quiet\n}\n"}, "root=LABEL=ROOT quiet /boot/grub/grub.cfg 2"},
		{map[string]string{"boot/loader/entries/a.conf": "title x\noptions root=y a=b\n"}, "root=y a=b /boot/loader/entries/a.conf 2"},
		{map[string]string{"etc/kernel/cmdline": "quiet\n"}, "quiet /etc/kernel/cmdline 1"},
	} {
		p, where, line, err := Cmdline(filestest.Root(t, test.contents))
		if got := strings.Join(append(p, where, string(rune('0'+line))), " "); err != nil || got != test.want {
			t.Errorf("%q, %v", got, err)
		}
	}
	if p, _, _, err := Cmdline(filestest.Root(t, map[string]string{"etc/fstab": ""})); p != nil || err != nil {
		t.Errorf("%v %v", p, err)
	}
}

func FuzzAssignments(f *testing.F) {
	for _, seed := range []string{"[A]\nb=c\\\n d\n", "=\n[", "\\", "#\n;", "[A\nb"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, a := range Assignments(data) {
			if a.Line < 1 || a.Line > strings.Count(string(data), "\n")+1 {
				t.Fatalf("%+v", a)
			}
		}
	})
}

func FuzzSetFstab(f *testing.F) {
	f.Add([]byte("a /tmp tmpfs x\n"))
	f.Add([]byte("tmpfs /tmp"))
	f.Fuzz(func(t *testing.T, data []byte) {
		changed := SetFstab(data, "/tmp", []string{"nodev"}, "tmpfs")
		found := false
		for text := range strings.Lines(string(changed)) {
			if fields, ok := fstabLine(text); ok && unescape(fields[1]) == "/tmp" && !found {
				found = true
				if missing := MissingOptions(strings.Split(fields[3], ","), []string{"nodev"}); len(missing) > 0 {
					t.Fatalf("%q", changed)
				}
			}
		}
	})
}

func FuzzLoginDefs(f *testing.F) {
	f.Add([]byte("UMASK 022"))
	f.Add([]byte("  UMASK\t\"022\"x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		changed := SetLoginDefs(data, "UMASK", "077")
		if value, _ := LoginDefs(changed, "UMASK"); value != "077" {
			t.Fatalf("%q", changed)
		}
	})
}
