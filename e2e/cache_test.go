package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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

	image := []string{"filesystems", "disk", "raw", "qcow2"}
	change(`size   = "2GiB"`, `size   = "3GiB"`)
	runs, _ = planned(t, b, debianRecipe)
	same(t, "stages that run for another size", runs, image...)
	ran, _ = built(t, b, debianRecipe)
	same(t, "stages that ran for another size", ran, image...)

	// A late script has the stages behind it run; nothing is unpacked or
	// configured.
	change("systemctl disable systemd-networkd-wait-online", "systemctl disable systemd-networkd-wait-online; touch /etc/late")
	runs, cached = planned(t, b, debianRecipe)
	same(t, "stages that run for another script", runs, append([]string{"script services", "initramfs", "boot"}, image...)...)
	for _, stage := range []string{"packages", "rootfs", "configure", "customize", "tools", "grub"} {
		if !slices.Contains(cached, stage) {
			t.Errorf("with another script, %s would run again", stage)
		}
	}
}
