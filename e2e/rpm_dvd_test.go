package e2e

import (
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
)

// TestRPMFromDVD locks what an install DVD has, without mounting it: the same packages
// as the repository that the DVD is made of.
func TestRPMFromDVD(t *testing.T) {
	site := newRPMSite(t)
	b := newBuilder(t)
	recipe := b.writeRPM(t, site, rpmRecipe{file: "rpm-host", packages: rpmPackages, modules: []string{"greet:2"}})
	b.must(t, t.Context(), "lock", recipe)
	want := lockedPackages(t, b, recipe)

	dvd := filepath.Join(b.Home, "dvd.iso")
	out, err := exec.Command("xorriso", "-as", "mkisofs", "-quiet", "-R", "-V", "RPMTEST", "-o", dvd, "-graft-points", "/BaseOS="+site.Repository).CombinedOutput()
	if err != nil {
		t.Fatalf("xorriso, which make test installs: %v\n%s", err, out)
	}
	b.Chown(t, dvd)
	b.must(t, t.Context(), "lock", "--cache", filepath.Join(b.Home, "other"), "--mirror", "iso:"+dvd+"!/BaseOS", recipe)
	if got := lockedPackages(t, b, recipe); len(got) == 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("the DVD gives %v\nwant %v", got, want)
	}
}
