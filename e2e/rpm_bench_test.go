package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// BenchmarkRPM compares, in one run and over the same repository, a native build of the
// RPM test distribution with dnf --installroot installing the same packages: first with
// nothing there, then with metadata and packages already downloaded, in a new root. What
// is compared is the time until a root is configured; the whole build, with an
// initramfs and an image, is printed beside it.
func BenchmarkRPM(b *testing.B) {
	site := newRPMSite(b)
	for b.Loop() {
		u := newBuilder(b)
		native := func(what, file string, packages ...string) (root, whole cost) {
			recipe := u.writeRPM(b, site, rpmRecipe{file: file, packages: append(packages, rpmPackages...), outputs: []string{"raw"}})
			cmd := u.command(b, b.Context(), "build", "--output", "json", "-o", filepath.Join(u.Home, "out"), recipe)
			var events bytes.Buffer
			whole = measureTo(b, what+", to an image", cmd, &events)
			root = whole
			root.what, root.wall = what+", to a configured root", untilConfigured(b, events.Bytes())
			return root, whole
		}
		cold, coldWhole := native("imagefactory, cold", "rpm-cold")
		warm, warmWhole := native("imagefactory, one more package", "rpm-warm", "rpmtest-extra")
		d := newDNF(b, site)
		dnfCold := measure(b, "dnf --installroot, cold", d.install(b))
		dnfWarm := measure(b, "dnf --installroot, downloaded, one more package", d.install(b, "rpmtest-extra"))

		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(w, "\nwall s\tCPU s\twall against dnf\t")
		for _, row := range []struct{ cost, dnf cost }{
			{cold, dnfCold}, {coldWhole, dnfCold}, {dnfCold, dnfCold}, {warm, dnfWarm}, {warmWhole, dnfWarm}, {dnfWarm, dnfWarm},
		} {
			cpu := fmt.Sprintf("%.2f", row.cost.cpu.Seconds())
			if strings.HasSuffix(row.cost.what, "root") {
				cpu = "" // of the whole build only
			}
			fmt.Fprintf(w, "%.2f\t%s\t%.2f\t  %s\n", row.cost.wall.Seconds(), cpu, row.cost.wall.Seconds()/row.dnf.wall.Seconds(), row.cost.what)
		}
		w.Flush()
		b.ReportMetric(cold.wall.Seconds()/dnfCold.wall.Seconds(), "cold/dnf")
		b.ReportMetric(warm.wall.Seconds()/dnfWarm.wall.Seconds(), "warm/dnf")
	}
}

// measureTo is measure for a command whose standard output is wanted.
func measureTo(b *testing.B, what string, cmd *exec.Cmd, stdout *bytes.Buffer) cost {
	b.Helper()
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = stdout, &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %v\n%s", what, err, stderr.Bytes())
	}
	return cost{what: what, wall: time.Since(start), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
}

// untilConfigured returns how long the stages took that make a configured root; each needs
// the one before it.
func untilConfigured(b *testing.B, events []byte) time.Duration {
	b.Helper()
	var sum time.Duration
	for line := range bytes.Lines(events) {
		var e struct {
			Event, Stage string
			MS           int64
		}
		if err := json.Unmarshal(line, &e); err != nil {
			b.Fatalf("%v in %s", err, line)
		}
		switch e.Stage {
		case "lock", "packages", "rootfs", "configure":
			if e.Event == "stage-done" {
				sum += time.Duration(e.MS) * time.Millisecond
			}
		}
	}
	return sum
}

// dnf is dnf with a configuration and a home of its own.
type dnf struct {
	dir  string
	root string // the latest
}

func newDNF(b *testing.B, site *rpmSite) *dnf {
	b.Helper()
	d := &dnf{dir: b.TempDir()}
	for name, text := range map[string]string{
		"log/.keep":       "",
		"repos/base.repo": fmt.Sprintf("[base]\nname=base\nbaseurl=%s\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file://%s\n", site.url, site.Key),
		".rpmmacros":      "%_dbpath /var/lib/rpm\n%_db_backend sqlite\n",
	} {
		if err := writeInto(d.dir, name, text); err != nil {
			b.Fatal(err)
		}
	}
	return d
}

// install returns the command that installs the packages into a new root, which has what
// was downloaded into the one before. As in a build, the kernel's scriptlet makes no
// initramfs.
func (d *dnf) install(b *testing.B, more ...string) *exec.Cmd {
	b.Helper()
	const cache = "var/cache/dnf" // where dnf has it below the root
	root, before := b.TempDir(), d.root
	if d.root = root; before != "" {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(cache)), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.Rename(filepath.Join(before, cache), filepath.Join(root, cache)); err != nil {
			b.Fatal(err)
		}
	}
	for _, path := range []string{"etc/kernel/install.d/50-dracut.install", "var/log/.keep", "proc/.keep", "dev/.keep"} {
		if err := writeInto(root, path, ""); err != nil {
			b.Fatal(err)
		}
	}
	args := []string{
		"-y", "--installroot", root, "--releasever", "1", "--forcearch", "x86_64", "--setopt=module_platform_id=platform:rpmtest1", "--setopt=install_weak_deps=0",
		"--setopt=reposdir=" + filepath.Join(d.dir, "repos"), "--setopt=cachedir=/" + cache, "--setopt=keepcache=1",
		"--setopt=logdir=" + filepath.Join(d.dir, "log"), "install",
	}
	for _, p := range append(more, rpmPackages...) {
		args = append(args, strings.Replace(p, "@^", "@", 1))
	}
	// Scriptlets of both sides have /proc and /dev.
	const script = `mount -t proc proc "$0/proc" && mount --bind /dev "$0/dev" && exec dnf "$@"`
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c", script, root}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+d.dir)
	return cmd
}
