package harden_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/baselines"
	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/scan"
	"github.com/imagefactory/imagefactory/scan/extract"
	"github.com/imagefactory/imagefactory/scan/sshd"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/pipeline"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/tree"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

// recipe is a Debian with everything that the rules are about.
const recipe = `
name    = "hardened"
version = "1.0"
distro  = "debian-12"
arch    = "x86_64"
rootfs {
  packages = [
    "linux-image-cloud-amd64", "systemd", "systemd-sysv", "systemd-coredump", "dbus", "udev", "kmod", "procps", "openssh-server", "sudo", "cron", "at",
    "libpam-modules", "e2fsprogs", "iputils-ping", "libcap2-bin",
  ]
}
user "admin" {
  password_hash = "$6$rounds=5000$abcdefgh$0123456789"
  groups        = ["sudo"]
}
disk {
  size = "2GiB"
  partition "BIOS" {
    role = "bios"
    size = "1MiB"
  }
  partition "ROOT" {
    role       = "root"
    size       = "rest"
    filesystem = "ext4"
    mount      = "/"
  }
}
boot {
  firmware = ["bios"]
}
output "raw" {}
`

// system builds the root of a recipe.
func system(t *testing.T, env *pipeline.Environment, text string) *pipeline.System {
	t.Helper()
	path := filepath.Join(t.TempDir(), "recipe.hcl")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r, problems := recipes.Load(path, recipes.Options{})
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	s, err := env.System(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A real Debian is hardened, and its own programs say so.
func TestDebian(t *testing.T) {
	if os.Getenv("IMAGEFACTORY_TEST") != "full" {
		t.Skip("builds a Debian: set IMAGEFACTORY_TEST=full")
	}
	cache := os.Getenv("HARDEN_TEST_CACHE") // to build it only once while working on the rules
	if cache == "" {
		cache = t.TempDir()
	}
	env, err := pipeline.Open(pipeline.Options{Cache: cache, OutputDir: t.TempDir(), Sink: func(e stages.Event) {
		if e.Kind == stages.StageDone {
			t.Logf("%s: %d ms", e.Stage, e.Millis)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer env.Close()
	before := system(t, env, recipe)
	after := system(t, env, recipe+"harden {\n  profile = \"baseline\"\n}\n")

	profile, err := baselines.Load("baseline")
	if err != nil {
		t.Fatal(err)
	}
	examine := func(s *pipeline.System) *scan.Result {
		r, err := scan.Tree(t.Context(), s.Store, s.Tree, profile.Rules, scan.Options{Profile: "baseline", Owners: s.Kept.Owners})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	was, is := examine(before), examine(after)
	t.Logf("before: %+v, after: %+v", was.Counts, is.Counts)
	if was.Counts.Fail < 40 {
		t.Errorf("only %d rules fail before", was.Counts.Fail)
	}
	for _, r := range is.Rules {
		// The command line is the recipe's, which says nothing here.
		if r.Status == scan.Fail && !strings.HasPrefix(r.ID, "cmdline-") {
			t.Errorf("%s fails: %v", r.ID, r.Evidence)
		}
	}

	root := filepath.Join(t.TempDir(), "root")
	if err := extract.To(t.Context(), after.Store, after.Tree, root); err != nil {
		t.Fatal(err)
	}
	// in runs a program of the image in the directory.
	in := func(args ...string) (string, error) {
		cmd := exec.Command("chroot", append([]string{root}, args...)...)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "SYSTEMD_PAGER=cat"}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, dir := range []string{"run/sshd", "dev"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// Programs want it; a device cannot be made everywhere.
	if err := os.WriteFile(filepath.Join(root, "dev/null"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err := in("ssh-keygen", "-A"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	t.Run("sshd", func(t *testing.T) {
		out, err := in("/usr/sbin/sshd", "-T")
		if err != nil {
			t.Fatalf("sshd -T: %v\n%s", err, out)
		}
		values := map[string]string{}
		for line := range strings.Lines(out) {
			keyword, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			values[keyword] = value
		}
		for _, r := range profile.Rules {
			if value := sshd.Normal(r.Key, values[sshd.Canonical(r.Key)]); r.Kind == baselines.SSHD && !r.Passes(value) {
				t.Errorf("%s: %s is %s", r.ID, r.Key, value)
			}
		}
	})
	t.Run("sysctl", func(t *testing.T) {
		out, err := in("/usr/lib/systemd/systemd-sysctl", "--cat-config", "--no-pager")
		if err != nil {
			t.Fatalf("systemd-sysctl: %v\n%s", err, out)
		}
		last := map[string]string{}
		for line := range strings.Lines(out) {
			if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(strings.TrimSpace(line), "#") {
				last[strings.TrimPrefix(strings.TrimSpace(key), "-")] = strings.TrimSpace(value)
			}
		}
		for _, r := range profile.Rules {
			if r.Kind == baselines.Sysctl && !r.Passes(last[r.Key]) {
				t.Errorf("%s: %s is %q", r.ID, r.Key, last[r.Key])
			}
		}
	})
	t.Run("programs", func(t *testing.T) {
		for _, test := range []struct {
			args []string
			want string // in what it prints
		}{
			{[]string{"visudo", "-c"}, "parsed OK"},
			{[]string{"pwck", "-r", "-q"}, ""},
			{[]string{"grpck", "-r"}, ""},
			{[]string{"modprobe", "-n", "-v", "-S", kernel(t, root), "dccp"}, "install /bin/false"},
			{[]string{"systemd-analyze", "cat-config", "systemd/coredump.conf"}, "Storage=none"},
			{[]string{"findmnt", "-n", "-o", "OPTIONS", "-F", "/etc/fstab", "/dev/shm"}, "noexec"},
		} {
			if out, err := in(test.args...); err != nil && test.args[0] != "pwck" || !strings.Contains(out, test.want) {
				t.Errorf("%v: %v\n%s", test.args, err, out)
			}
		}
		for unit, want := range map[string]string{"debug-shell.service": "masked", "ctrl-alt-del.target": "masked", "ssh.service": "enabled"} {
			if out, _ := in("systemctl", "is-enabled", unit); !strings.Contains(out, want) {
				t.Errorf("%s: %s", unit, out)
			}
		}
	})
	t.Run("find", func(t *testing.T) {
		for what, args := range map[string]string{
			"written by everybody": "-type f -perm -0002 -o -type d -perm -0002 ! -perm -1000",
			"of nobody":            "( -nouser -o -nogroup )",
			"cron, open":           "/etc/cron.d /etc/cron.daily /etc/crontab -maxdepth 0 -perm /077",
			"secrets, open":        "/etc/shadow /etc/gshadow -perm /007",
		} {
			where := []string{"find"}
			if !strings.HasPrefix(args, "/") {
				where = append(where, "/", "-xdev")
			}
			if out, err := in(append(where, strings.Fields(args)...)...); err != nil || out != "" {
				t.Errorf("%s: %v\n%s", what, err, out)
			}
		}
		out, err := in("find", "/", "-xdev", "-type", "f", "(", "-perm", "-4000", "-o", "-perm", "-2010", ")")
		found := strings.Fields(out)
		slices.Sort(found)
		var listed []string
		for _, f := range is.Inventory.SetID {
			listed = append(listed, f.Path)
			if len(f.Packages) != 1 {
				t.Errorf("%s belongs to %v", f.Path, f.Packages)
			}
		}
		slices.Sort(listed)
		if err != nil || !slices.Equal(found, listed) || len(listed) < 10 {
			t.Errorf("find: %v\n%v\nscan: %v", err, found, listed)
		}
		caps, err := in("getcap", "-r", "/usr")
		var ours []string
		for _, f := range is.Inventory.Capabilities {
			ours = append(ours, f.Path+" "+f.Capabilities)
		}
		if got := strings.Join(ours, "\n"); err != nil || got != strings.TrimSpace(caps) || got == "" {
			t.Errorf("getcap: %v\n%s\nscan:\n%s", err, caps, got)
		}
	})
	t.Run("changes", func(t *testing.T) {
		// Nothing below /usr but modes changes, and no package loses a file.
		for _, d := range tree.Diff(before.Tree, after.Tree) {
			if d.After == nil {
				t.Errorf("/%s is gone", d.Path)
			} else if strings.HasPrefix(d.Path, "usr/") && (d.Before == nil || d.Before.Digest != d.After.Digest) {
				t.Errorf("/%s changed", d.Path)
			}
		}
	})
}

// kernel returns the release of the kernel in a directory.
func kernel(t *testing.T, root string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "usr/lib/modules/*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v %v", found, err)
	}
	return filepath.Base(found[0])
}

// BenchmarkScan scans a tree: the time per entry is what grows with images.
func BenchmarkScan(b *testing.B) {
	path := os.Getenv("HARDEN_TEST_CACHE")
	if path == "" {
		b.Skip("set HARDEN_TEST_CACHE to a cache in which TestDebian built its root")
	}
	env, err := pipeline.Open(pipeline.Options{Cache: path, OutputDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer env.Close()
	file := filepath.Join(b.TempDir(), "recipe.hcl")
	if err := os.WriteFile(file, []byte(recipe), 0o644); err != nil {
		b.Fatal(err)
	}
	r, problems := recipes.Load(file, recipes.Options{})
	if err := problems.Err(); err != nil {
		b.Fatal(err)
	}
	s, err := env.System(context.Background(), r)
	if err != nil {
		b.Fatal(err)
	}
	p, err := baselines.Load("baseline")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := scan.Tree(context.Background(), s.Store, s.Tree, p.Rules, scan.Options{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(s.Tree.Len()), "µs/entry")
	fmt.Fprintln(os.Stderr, s.Tree.Len(), "entries")
}
