package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/inspect"
)

// planned returns the stages that a build would run, and those it would not.
func planned(t *testing.T, b *builder, args ...string) (runs, cached []string) {
	t.Helper()
	var plan struct {
		Stages []struct {
			Stage  string `json:"stage"`
			Cached bool   `json:"cached"`
			Reason string `json:"reason"`
		} `json:"stages"`
	}
	text := b.must(t, t.Context(), append([]string{"plan", "--output", "json"}, args...)...)
	if err := json.Unmarshal([]byte(text), &plan); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	for _, s := range plan.Stages {
		if s.Cached {
			cached = append(cached, s.Stage)
			continue
		}
		runs = append(runs, s.Stage)
		if s.Reason == "" {
			t.Errorf("plan does not say why %s has to run", s.Stage)
		}
	}
	return runs, cached
}

// built builds and returns the stages that ran, and those that did not.
func built(t *testing.T, b *builder, args ...string) (ran, cached []string) {
	t.Helper()
	text := b.must(t, t.Context(), append([]string{"build", "--output", "json"}, args...)...)
	for line := range strings.Lines(text) {
		var event struct {
			Event string `json:"event"`
			Stage string `json:"stage"`
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		switch event.Event {
		case "stage-done":
			ran = append(ran, event.Stage)
		case "stage-cached":
			cached = append(cached, event.Stage)
		}
	}
	return ran, cached
}

// same compares two sets of stages.
func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// checkCache changes the recipe in places that are known, and compares what
// plan says and what build does with what must be.
func checkCache(t *testing.T, b *builder) {
	path := filepath.Join(b.Home, debianRecipe)
	original, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	change := func(old, new string) {
		t.Helper()
		text := strings.Replace(string(original), old, new, 1)
		if text == string(original) {
			t.Fatalf("%s has no %q", debianRecipe, old)
		}
		b.write(t, path, text)
	}
	t.Cleanup(func() { b.write(t, path, string(original)) })

	runs, cached := planned(t, b, debianRecipe)
	same(t, "stages that run with nothing changed", runs)
	if len(cached) < 10 {
		t.Errorf("plan lists only %v", cached)
	}
	ran, _ := built(t, b, debianRecipe)
	same(t, "stages that ran with nothing changed", ran)

	// The bills of materials name the recipe by its digest.
	image := []string{"filesystems", "disk", "raw", "qcow2", "sbom"}
	change(`size   = "2GiB"`, `size   = "3GiB"`)
	runs, _ = planned(t, b, debianRecipe)
	same(t, "stages that run for another size", runs, image...)
	ran, _ = built(t, b, debianRecipe)
	same(t, "stages that ran for another size", ran, image...)

	// A late script has the stages behind it run; nothing is unpacked or
	// configured. What it gives a file is what the image has.
	change("systemctl disable systemd-networkd-wait-online\n", "systemctl disable systemd-networkd-wait-online\n"+capableScript)
	late := append([]string{"script services", "initramfs", "boot"}, image...)
	runs, cached = planned(t, b, debianRecipe)
	same(t, "stages that run for another script", runs, late...)
	for _, stage := range []string{"packages", "rootfs", "configure", "customize", "tools", "grub"} {
		if !slices.Contains(cached, stage) {
			t.Errorf("with another script, %s would run again", stage)
		}
	}
	ran, _ = built(t, b, debianRecipe)
	for _, stage := range ran {
		if !slices.Contains(late, stage) {
			t.Errorf("for another script, %s ran", stage)
		}
	}
	checkCapable(t, filepath.Join(b.Home, "out", debianImage+".raw"))
}

// capableScript gives a file an owner that is no user of the image, set-id bits
// and the capability cap_net_raw+ep (linux/capability.h, vfs_cap_data version
// 2), with perl, as nothing else in a minimal system can.
const capableScript = `
    cp /bin/true /usr/local/bin/capable
    chown 4321:1234 /usr/local/bin/capable
    chmod 2751 /usr/local/bin/capable
    perl -e 'my $v = pack("V5", 0x02000001, 1 << 13, 0, 0, 0); my ($p, $n) = ("/usr/local/bin/capable", "security.capability"); syscall(188, $p, $n, $v, length $v, 0) == 0 or die "setxattr: $!"'
`

// checkCapable looks for what capableScript made, with debugfs.
func checkCapable(t *testing.T, raw string) {
	t.Helper()
	im, err := inspect.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	root := slices.IndexFunc(im.Summary().Partitions, func(p inspect.Partition) bool { return p.Label == "ROOT" })
	device := fmt.Sprintf("%s?offset=%d", raw, im.Summary().Partitions[root].Start)
	const file = "/usr/local/bin/capable"
	for _, check := range []struct{ request, want string }{
		{"stat " + file, "Mode:  02751"},
		{"stat " + file, "User:  4321   Group:  1234"},
		{"ea_get -x " + file + " security.capability", "01 00 00 02 00 20 00 00 00 00 00 00 00 00 00 00 00 00 00 00"},
	} {
		out, err := exec.Command("debugfs", "-R", check.request, device).CombinedOutput()
		if err != nil || !strings.Contains(string(out), check.want) {
			t.Errorf("debugfs %s does not say %q: %v\n%s", check.request, check.want, err, out)
		}
	}
}
