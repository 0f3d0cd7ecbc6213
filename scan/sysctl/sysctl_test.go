package sysctl

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/scan/files/filestest"
	"github.com/imagefactory/imagefactory/stages/stagetest"
)

func TestEffective(t *testing.T) {
	r := filestest.Root(t, map[string]string{
		"usr/lib/sysctl.d/50-default.conf": "kernel.sysrq = 16\nnet.ipv4.conf.default.rp_filter = 2\nnet.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\n-kernel.maybe = 7\n",
		"usr/lib/sysctl.d/60-masked.conf":  "kernel.masked = 1\n",
		"usr/lib/sysctl.d/70-twice.conf":   "kernel.twice = of usr\n",
		"etc/sysctl.d/70-twice.conf":       "; a comment\n  # another\n\nkernel/twice =  of etc  \r\nno assignment\n",
		"etc/sysctl.conf":                  "kernel.sysrq=1\n",
		"etc/sysctl.d/99-zz.conf":          "net/ipv4/conf/eth0.100/forwarding=1\nnet.ipv4.conf.eth1/200.forwarding=1\n",
		"etc/sysctl.d/.hidden.conf":        "kernel.hidden=1\n",
		"etc/sysctl.d/README":              "kernel.readme=1\n",
		"etc/sysctl.d/80-order.conf":       "net.ipv4.conf.*.log_martians=1\nnet.ipv4.conf.eth*.log_martians=0\n",
	}, stagetest.Link("etc/sysctl.d/99-sysctl.conf", "../sysctl.conf"), stagetest.Link("etc/sysctl.d/60-masked.conf", "/dev/null"))
	c, err := Read(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ key, value, where string }{
		{"kernel.sysrq", "1", "/etc/sysctl.d/99-sysctl.conf"}, // through the link, which comes later
		{"kernel/sysrq", "1", "/etc/sysctl.d/99-sysctl.conf"},
		{"kernel.maybe", "7", "/usr/lib/sysctl.d/50-default.conf"},
		{"kernel.twice", "of etc", "/etc/sysctl.d/70-twice.conf"},
		{"kernel.masked", "", ""},
		{"kernel.hidden", "", ""},
		{"kernel.readme", "", ""},
		{"net.ipv4.conf.default.rp_filter", "2", "/usr/lib/sysctl.d/50-default.conf"},
		{"net.ipv4.conf.eth0.rp_filter", "2", "/usr/lib/sysctl.d/50-default.conf"}, // by the pattern
		{"net.ipv4.conf.all.rp_filter", "", ""},                                    // excluded
		{"net.ipv4.conf.eth0/100.forwarding", "1", "/etc/sysctl.d/99-zz.conf"},
		{"net.ipv4.conf.eth1/200.forwarding", "1", "/etc/sysctl.d/99-zz.conf"},
		{"net.ipv4.conf.eth7.log_martians", "0", "/etc/sysctl.d/80-order.conf"}, // the last pattern
		{"net.ipv4.conf.lo.log_martians", "1", "/etc/sysctl.d/80-order.conf"},
	} {
		s, ok := c.Effective(test.key)
		if ok != (test.where != "") || ok && (s.Value != test.value || s.Path != test.where) {
			t.Errorf("%s: %+v (%v), want %q of %s", test.key, s, ok, test.value, test.where)
		}
	}
}

// The files are read in the order in which systemd-analyze says that systemd reads
// them.
func TestOrderAsSystemd(t *testing.T) {
	contents := map[string]string{
		"etc/sysctl.d/10-a.conf": "a.etc=1\n", "usr/lib/sysctl.d/10-a.conf": "a.usr=1\n", "usr/lib/sysctl.d/20-b.conf": "b.usr=1\n", "run/sysctl.d/15-c.conf": "c.run=1\n",
		"usr/local/lib/sysctl.d/20-b.conf": "b.local=1\n", "etc/sysctl.d/9-z.conf": "z=1\n", "etc/sysctl.d/Z-last.conf": "y=1\n", "usr/lib/sysctl.d/30-masked.conf": "masked=1\n",
		"etc/sysctl.d/_under.conf": "u=1\n", "usr/lib/sysctl.d/99.conf": "n=1\n", "etc/sysctl.d/no.txt": "t=1\n",
	}
	r := filestest.Root(t, contents, stagetest.Link("etc/sysctl.d/30-masked.conf", "/dev/null"))
	dir := t.TempDir()
	for path, text := range contents {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/dev/null", filepath.Join(dir, "etc/sysctl.d/30-masked.conf")); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "--root="+dir, "--no-pager", "cat-config", "sysctl.d").CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze (of the package systemd): %v\n%s", err, out)
	}
	var want []string
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); strings.Contains(line, "=") && !strings.HasPrefix(line, "#") {
			want = append(want, line)
		}
	}
	c, err := Read(r)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range c.settings {
		got = append(got, strings.ReplaceAll(s.Key, "/", ".")+"="+s.Value)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") || len(got) != 7 {
		t.Errorf("we read %v,\nsystemd     %v", got, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"a=b", "-a.b = c\n", "-a\n", "#x\n;y\nnet.ipv4.conf.*.x=1", "=\n", "a/b.c=d\x00", "-=", "[=1\na.[b=2"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &Config{}
		lines := strings.Count(string(data), "\n") + 1
		last := map[string]Setting{}
		for _, s := range Parse("x", data) {
			if s.Line < 1 || s.Line > lines {
				t.Fatalf("line %d of %d", s.Line, lines)
			}
			c.add(s)
			last[s.Key] = s
		}
		for key, want := range last {
			if got, ok := c.Effective(key); Normalize(key) == key && (ok == want.Exclude || ok && got.Value != want.Value) {
				t.Fatalf("%q is %+v (%v), the last line says %+v", key, got, ok, want)
			}
		}
	})
}
