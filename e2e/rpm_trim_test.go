package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/imagefactory/imagefactory/qemu"
	"github.com/imagefactory/imagefactory/stages/emit"
)

// TestRPMTrimmed trims the RPM test distribution by the profile that trims Debian, and
// boots what is left.
func TestRPMTrimmed(t *testing.T) {
	if !full() {
		t.Skip("part of the full tier: set IMAGEFACTORY_TEST=full")
	}
	ctx := t.Context()
	site := newRPMSite(t)
	b := newBuilder(t)
	const image = "rpm-trimmed"
	recipe := b.writeRPM(t, site, rpmRecipe{file: image, packages: rpmPackages, modules: []string{"greet:2"}, outputs: []string{"raw"}})
	path := filepath.Join(b.Home, recipe)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b.write(t, path, string(text)+"\ntrim {\n  profile = \"container-host\"\n}\n")
	b.must(t, ctx, "build", recipe)
	out := filepath.Join(b.Home, "out")
	manifest, err := emit.ReadManifest(filepath.Join(out, emit.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	trim := manifest.Trim
	if trim == nil || trim.After.Packages >= trim.Before.Packages || trim.After.Bytes >= trim.Before.Bytes {
		t.Fatalf("trimming left %+v", trim)
	}
	t.Logf("before %+v, after %+v", trim.Before, trim.After)
	g := bootMachine(t, qemu.Machine{Firmware: qemu.BIOS, Disks: []qemu.Disk{{Path: filepath.Join(out, image+"-1-x86_64.raw"), Format: "raw"}}})
	checkRunning(t, g)
	g.powerOff()
}
