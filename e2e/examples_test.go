package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/qemu"
)

// TestExamples builds what people copy. TestDebian12 does so with the example of
// the README; the others are validated, and built and booted when all tests are
// asked for, where the definition of their distribution says that this was done
// before. TestVendors plans and locks the rest. Recipes that write media are
// built and started by the tests of media.
func TestExamples(t *testing.T) {
	b := newBuilder(t)
	b.env = append(b.env, vendorKey)
	if full() {
		b.shareDownloads(t)
	}
	recipes, err := filepath.Glob(filepath.Join(checkout, "examples/*.hcl"))
	if err != nil || len(recipes) == 0 {
		t.Fatalf("there are no examples: %v", err)
	}
	for _, path := range recipes {
		recipe := filepath.Join("examples", filepath.Base(path))
		t.Run(filepath.Base(path), func(t *testing.T) {
			var valid struct {
				Name, Version, Arch, Distro string
				Outputs                     []string
			}
			text := b.must(t, t.Context(), "validate", "--output", "json", recipe)
			if err := json.Unmarshal([]byte(text), &valid); err != nil {
				t.Fatal(err)
			}
			b.must(t, t.Context(), "fmt", "--check", recipe)
			if !full() || recipe == debianRecipe || !slices.Contains(valid.Outputs, "qcow2") || !b.wasBooted(t, valid.Distro) {
				return
			}
			b.must(t, t.Context(), append([]string{"build", "--only", "qcow2", recipe}, mirrorArguments(valid.Distro)...)...)
			image := filepath.Join(b.Home, "out", strings.Join([]string{valid.Name, valid.Version, valid.Arch}, "-")+".qcow2")
			g := boot(t, qemu.UEFISecure, qemu.Disk{Path: image, Format: "qcow2"})
			checkSystem(t, g, knownComplaints[valid.Distro]...)
			checkFirmware(t, g, qemu.UEFISecure)
			g.powerOff()
		})
	}
}

// vendorKey names any file for the keys of vendors that examples leave to whoever
// builds them: nothing is downloaded.
const vendorKey = "IMAGEFACTORY_VAR_vendor_key=keys/ubuntu-archive-keyring.gpg"

// wasBooted reports whether images of a distribution are known to boot.
func (b *builder) wasBooted(t *testing.T, distro string) bool {
	t.Helper()
	var definition struct{ Verified map[string]string }
	text := b.must(t, t.Context(), "distros", "--output", "json", distro)
	if err := json.Unmarshal([]byte(text), &definition); err != nil {
		t.Fatal(err)
	}
	return definition.Verified["boot"] != ""
}

// knownComplaints are errors in the journal that a distribution's own packages cause.
var knownComplaints = map[string][]string{
	"ubuntu-24.04": {"pam_lastlog.so"}, // login names a module that libpam-modules no longer has
}

// mirrorArguments returns the arguments that make a build take an example's packages
// from the mirror the tests were told of: IMAGEFACTORY_E2E_MIRRORS holds
// DISTRIBUTION=URL pairs, separated by spaces. Without one for it, the distribution's
// own mirrors are used.
func mirrorArguments(distro string) []string {
	for _, pair := range strings.Fields(os.Getenv("IMAGEFACTORY_E2E_MIRRORS")) {
		if name, url, ok := strings.Cut(pair, "="); ok && name == distro {
			return []string{"--mirror", url}
		}
	}
	return nil
}
