package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/qemu"
)

// TestExamples builds what people copy. TestDebian12 does so with the example of
// the README; the others are validated, and built and booted when all tests are
// asked for.
func TestExamples(t *testing.T) {
	b := newBuilder(t)
	recipes, err := filepath.Glob(filepath.Join(checkout, "examples/*.hcl"))
	if err != nil || len(recipes) == 0 {
		t.Fatalf("there are no examples: %v", err)
	}
	for _, path := range recipes {
		recipe := filepath.Join("examples", filepath.Base(path))
		t.Run(filepath.Base(path), func(t *testing.T) {
			var valid struct{ Name, Version, Arch, Distro string }
			text := b.must(t, t.Context(), "validate", "--output", "json", recipe)
			if err := json.Unmarshal([]byte(text), &valid); err != nil {
				t.Fatal(err)
			}
			b.must(t, t.Context(), "fmt", "--check", recipe)
			if !full() || recipe == debianRecipe {
				return
			}
			if missing := missingKeys(t, b, valid.Distro); missing != "" {
				t.Skip(missing)
			}
			b.must(t, t.Context(), "build", "--only", "qcow2", recipe)
			image := filepath.Join(b.Home, "out", strings.Join([]string{valid.Name, valid.Version, valid.Arch}, "-")+".qcow2")
			g := boot(t, qemu.UEFISecure, qemu.Disk{Path: image, Format: "qcow2"})
			checkSystem(t, g)
			checkFirmware(t, g, qemu.UEFISecure)
			g.powerOff()
		})
	}
}

// missingKeys says that the host has no keys for a distribution, if so: not
// every distribution packages those of the others.
func missingKeys(t *testing.T, b *builder, distro string) string {
	t.Helper()
	var found struct {
		Findings []struct{ About, Verdict, Found, Remedy string }
	}
	text := b.must(t, t.Context(), "doctor", "--output", "json")
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		t.Fatal(err)
	}
	for _, f := range found.Findings {
		if f.About == "keys of "+distro && f.Verdict != "good" {
			return f.Found + ": " + f.Remedy
		}
	}
	return ""
}
