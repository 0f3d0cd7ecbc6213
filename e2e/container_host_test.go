package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/qemu"
	"github.com/imagefactory/imagefactory/stages/sbom/sbomtest"
)

const (
	containerHostRecipe = "examples/container-host.hcl"
	containerHostImage  = "container-host-1.0.0-x86_64"
)

// TestContainerHost builds the example of a trimmed host, with container images from a
// registry of the test's own, and checks what the example promises.
func TestContainerHost(t *testing.T) {
	ctx := t.Context()
	b := newBuilder(t)
	b.shareDownloads(t)
	registry := newRegistry(t)
	registry.greeting(t, "pause", "3.6")
	registry.greeting(t, "coredns/coredns", "v1.10.1")
	// The example names images by tags, which takes a policy (containers-policy.json(5)).
	b.mkdir(t, filepath.Join(b.Home, ".config/containers"))
	b.write(t, filepath.Join(b.Home, ".config/containers/policy.json"), `{"default": [{"type": "reject"}], "transports": {"docker": {"`+registry.host()+`": [{"type": "insecureAcceptAnything"}]}}}`)
	key := filepath.Join(t.TempDir(), "key")
	if r := finish(t, exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "e2e", "-f", key)); r.status != 0 {
		t.Fatal(r.stderr)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	variables := []string{
		"-var", "registry=" + registry.host(), "-var", "insecure_registry=true",
		"-var", fmt.Sprintf("ssh_keys=[%q]", strings.TrimSpace(string(public))),
	}
	with := func(command string, args ...string) []string {
		return append(append([]string{command}, variables...), append(args, containerHostRecipe)...)
	}
	b.must(t, ctx, with("lock")...)
	b.must(t, ctx, with("build")...)
	out := filepath.Join(b.Home, "out")

	t.Run("size", func(t *testing.T) {
		info, err := os.Stat(filepath.Join(out, containerHostImage+".iso"))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() >= 200_000_000 {
			t.Errorf("the ISO has %d bytes, 200 MB or more", info.Size())
		}
	})
	t.Run("trim", func(t *testing.T) { checkTrimmed(t, b, b.must(t, ctx, with("trim", "--output", "json")...)) })
	t.Run("why", func(t *testing.T) {
		for what, want := range map[string]string{
			"libsystemd0": "systemd", "containerd.service": "containerd", "/usr/bin/runc": "the recipe installs it", "/etc/sysctl.d/90-containers.conf": "file",
		} {
			// The subject follows the recipe.
			text := b.must(t, ctx, append(with("why"), what)...)
			if !strings.Contains(text, want) {
				t.Errorf("why %s says, without %q:\n%s", what, want, text)
			}
		}
	})
	t.Run("scan", func(t *testing.T) { b.must(t, ctx, with("scan")...) })

	t.Run("bills of materials", func(t *testing.T) { checkBills(t, out) })
	if full() {
		t.Run("diff", func(t *testing.T) { checkDiff(t, b, with) })
	}

	boots := []struct {
		name     string
		firmware qemu.Firmware
		disk     qemu.Disk
	}{{"qcow2 under UEFI", qemu.UEFI, qemu.Disk{Path: filepath.Join(out, containerHostImage+".qcow2"), Format: "qcow2"}}}
	if full() {
		boots = append(boots, boots[0])
		boots[1].name, boots[1].firmware = "raw under BIOS", qemu.BIOS
		boots[1].disk = qemu.Disk{Path: filepath.Join(out, containerHostImage+".raw"), Format: "raw"}
	}
	for _, c := range boots {
		t.Run(c.name, func(t *testing.T) {
			port := freePort(t)
			g := bootMachine(t, qemu.Machine{Firmware: c.firmware, Disks: []qemu.Disk{c.disk}, SSHPort: port, Isolated: true})
			checkRunning(t, g)
			checkFirmware(t, g, c.firmware)
			checkMemory(t, g)
			checkPreloaded(t, g)
			checkSSH(t, key, port)
			g.powerOff()
		})
	}
	if full() {
		t.Run("reproducible", func(t *testing.T) { b.must(t, ctx, with("build", "--verify")...) })
	}
}

// checkTrimmed checks what trim says of the example.
func checkTrimmed(t *testing.T, b *builder, document string) {
	type counts struct{ Packages, Services, Files, Bytes int }
	var trimming struct {
		Report struct {
			Before, After counts
			Packages      []struct {
				Name  string
				Kept  bool
				Chain []string
			}
		}
	}
	if err := json.Unmarshal([]byte(document), &trimming); err != nil {
		t.Fatal(err)
	}
	r := trimming.Report
	t.Logf("before %+v, after %+v", r.Before, r.After)
	if r.After.Packages >= r.Before.Packages || r.After.Services > 143 || r.After.Bytes*10 > r.Before.Bytes*7 {
		t.Errorf("trimming left %+v of %+v", r.After, r.Before)
	}
	for _, p := range r.Packages {
		if p.Kept && len(p.Chain) == 0 {
			t.Errorf("nothing says why %s is kept", p.Name)
		}
	}
}

// checkBills checks that both bills of materials of the example are valid and about the same
// files.
func checkBills(t *testing.T, out string) {
	read := func(extension string) []byte {
		data, err := os.ReadFile(filepath.Join(out, containerHostImage+extension))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	spdx, cyclonedx := sbomtest.SPDXFiles(t, read(".spdx.json")), sbomtest.CycloneDXFiles(t, read(".cdx.json"))
	same := func(a, b sbomtest.File) bool { return a.SHA1 == b.SHA1 && a.SHA256 == b.SHA256 }
	if !maps.EqualFunc(spdx, cyclonedx, same) {
		t.Errorf("SPDX has %d files, CycloneDX %d, and not the same", len(spdx), len(cyclonedx))
	}
	for path, origin := range map[string]string{"/usr/sbin/runc": "package runc", "/etc/sysctl.d/90-containers.conf": `file "/etc/sysctl.d/90-containers.conf"`} {
		if f, ok := spdx[path]; !ok || !strings.Contains(f.Origin, origin) {
			t.Errorf("%s comes from %q, not from %s", path, f.Origin, origin)
		}
	}
}

// checkDiff changes one line of the example and compares.
func checkDiff(t *testing.T, b *builder, with func(string, ...string) []string) {
	text, err := os.ReadFile(filepath.Join(b.Home, containerHostRecipe))
	if err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(b.Home, "examples/changed.hcl")
	b.write(t, changed, strings.Replace(string(text), "user_watches = 524288", "user_watches = 1048576", 1))
	var difference struct {
		Packages, Kernels, Privileges, Services, Accounts []any
		Files                                             []struct {
			Path       string
			Attributes []string
		}
	}
	if err := json.Unmarshal([]byte(b.must(t, t.Context(), append(with("diff", "--output", "json"), changed)...)), &difference); err != nil {
		t.Fatal(err)
	}
	others := len(difference.Packages) + len(difference.Kernels) + len(difference.Privileges) + len(difference.Services) + len(difference.Accounts)
	if f := difference.Files; others != 0 || len(f) != 1 || f[0].Path != "/etc/sysctl.d/90-containers.conf" || !slices.Equal(f[0].Attributes, []string{"contents"}) {
		t.Errorf("one line of a file changed, and they differ in %+v", difference)
	}
}

// checkMemory checks how much memory the system needs by itself: what is neither free nor the
// kernel's to take back. free(1) of Debian 12 counts what the kernel holds in reserve, too.
func checkMemory(t *testing.T, g *guest) {
	const most = 150 << 10 // KiB
	value := func(name string) int {
		n, err := strconv.Atoi(g.must("sed -n 's/^" + name + ": *\\([0-9]*\\) kB$/\\1/p' /proc/meminfo"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	used := value("MemTotal")
	for _, name := range []string{"MemFree", "Buffers", "Cached", "SReclaimable"} {
		used -= value(name)
	}
	t.Logf("%d MiB of memory are in use, and %d MiB are not available", used>>10, (value("MemTotal")-value("MemAvailable"))>>10)
	if used >= most {
		t.Errorf("%d KiB of memory are in use, %d or more", used, most)
	}
}

// checkPreloaded runs the container images that the image came with. The guest reaches no
// registry.
func checkPreloaded(t *testing.T, g *guest) {
	for name, greeter := range map[string]string{"registry.k8s.io/pause:3.6": "pause", "registry.k8s.io/coredns/coredns:v1.10.1": "coredns/coredns"} {
		if list := g.must("ctr -n k8s.io images ls -q"); !strings.Contains(list, name) {
			t.Errorf("containerd has the images %q, not %s", list, name)
		}
		id := strings.ReplaceAll(greeter, "/", "-")
		if said, status := g.run("ctr -n k8s.io run --rm " + name + " " + id + " </dev/null"); status != 0 || said != "greetings from "+greeter+" with lo" {
			t.Errorf("%s: exit status %d: %s", name, status, said)
		}
	}
}

// checkSSH logs in as the administrator.
func checkSSH(t *testing.T, key string, port int) {
	cmd := exec.Command("ssh", "-i", key, "-p", strconv.Itoa(port), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "LogLevel=ERROR", "admin@127.0.0.1", "id", "-un")
	r := finish(t, cmd)
	if r.status != 0 || strings.TrimSpace(r.stdout) != "admin" {
		t.Errorf("ssh: exit status %d: %s%s", r.status, r.stdout, r.stderr)
	}
}

// freePort returns a TCP port that nothing listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
