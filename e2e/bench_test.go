package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"
)

// cost is what a command took: wall and processor time of it and all its children,
// and the largest resident set among them.
type cost struct {
	what      string
	wall, cpu time.Duration
	peak      int64 // bytes
}

// measure runs cmd and returns what it took.
func measure(b *testing.B, what string, cmd *exec.Cmd) cost {
	b.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %v\n%s", what, err, out.Bytes())
	}
	state := cmd.ProcessState
	usage := state.SysUsage().(*syscall.Rusage)
	return cost{what, time.Since(start), state.UserTime() + state.SystemTime(), usage.Maxrss << 10}
}

// BenchmarkBuild compares, in one run and over the same mirror, a build of the Debian
// 12 example from nothing to a raw and a qcow2 image with mmdebstrap making a tar of
// the same packages, and prints what rebuilds take. Both run as an ordinary user.
func BenchmarkBuild(b *testing.B) {
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		b.Fatal("install mmdebstrap (make bench does)")
	}
	for b.Loop() {
		u := newBuilder(b)
		if err := os.RemoveAll(u.cache); err != nil {
			b.Fatal(err)
		}
		recipe := filepath.Join(u.Home, "examples/debian-12.hcl")
		ctx := b.Context()
		build := func(what string, recipe string) cost {
			return measure(b, what, u.command(b, ctx, "build", "-o", filepath.Join(u.Home, "out"), recipe))
		}
		costs := []cost{build("imagefactory, cold, raw and qcow2", recipe)}
		tar := mmdebstrap(b, u, recipe)
		costs = append(costs, tar, build("nothing changed", recipe))
		costs = append(costs, build("size changed", u.edited(b, recipe, "size.hcl", `size   = "2GiB"`, `size   = "3GiB"`)))
		// A change that leaves a trace: one that does not stops at the script.
		costs = append(costs, build("last script changed", u.edited(b, recipe, "script.hcl", "systemctl enable", "echo changed >/etc/changed\n    systemctl enable")))

		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(w, "\nwall s\tCPU s\tpeak MB\twall against mmdebstrap\t")
		for _, c := range costs {
			fmt.Fprintf(w, "%.2f\t%.2f\t%d\t%.2f\t  %s\n", c.wall.Seconds(), c.cpu.Seconds(), c.peak/1e6, c.wall.Seconds()/tar.wall.Seconds(), c.what)
		}
		w.Flush()
		b.ReportMetric(costs[0].wall.Seconds()/tar.wall.Seconds(), "cold/mmdebstrap")
		b.ReportMetric(float64(costs[0].peak)/1e6, "peak-MB")
	}
}

// edited writes a copy of a recipe with one text replaced and returns its path.
func (b *builder) edited(t testing.TB, recipe, name, old, new string) string {
	t.Helper()
	text, err := os.ReadFile(recipe)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s has no %q", recipe, old)
	}
	path := filepath.Join(filepath.Dir(recipe), name)
	b.write(t, path, strings.Replace(string(text), old, new, 1))
	return path
}

// mmdebstrap measures mmdebstrap with the packages and mirrors that the recipe's
// build took.
func mmdebstrap(b *testing.B, u *builder, recipe string) cost {
	b.Helper()
	var lock struct {
		Repositories []struct {
			URL, Suite string
			Components []string
		}
		Packages []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(u.must(b, b.Context(), "lock", "--output", "json", recipe)), &lock); err != nil {
		b.Fatal(err)
	}
	if err := os.Remove(recipe + ".lock"); err != nil {
		b.Fatal(err)
	}
	var names []string
	for _, p := range lock.Packages {
		names = append(names, p.Name)
	}
	tar := filepath.Join(u.Home, "root.tar")
	args := []string{"--mode=unshare", "--variant=essential", "--include=" + strings.Join(names, ","), lock.Repositories[0].Suite, tar}
	for _, r := range lock.Repositories {
		args = append(args, fmt.Sprintf("deb %s %s %s", r.URL, r.Suite, strings.Join(r.Components, " ")))
	}
	return measure(b, "mmdebstrap, the same packages, a tar", u.Command(b.Context(), "mmdebstrap", args...))
}
