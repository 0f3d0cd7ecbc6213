package rpmdistro

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/qemu"
)

// made returns the distribution.
func made(t *testing.T) *Distribution {
	t.Helper()
	dir, err := CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	firmware, err := qemu.FindFirmware(qemu.UEFI)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Make(t.Context(), dir, firmware.Vars)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// run runs a program of this machine and returns its output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestPackages has rpm check every package: its header, its payload, its signature,
// and that its payload unpacks to the files its header lists.
func TestPackages(t *testing.T) {
	d := made(t)
	keys := t.TempDir()
	run(t, "rpmkeys", "--dbpath", keys, "--import", d.Key)
	packages, err := filepath.Glob(filepath.Join(d.Repository, "Packages/*.rpm"))
	if err != nil || len(packages) < 120 {
		t.Fatalf("%d packages: %v", len(packages), err)
	}
	for line := range strings.Lines(run(t, "rpmkeys", append([]string{"--dbpath", keys, "--define", "_pkgverify_level all", "--checksig"}, packages...)...)) {
		if !strings.HasSuffix(line, ": digests signatures OK\n") {
			t.Error(line)
		}
	}
	for _, name := range []string{"glibc-2", "kernel-core-", "systemd-2"} {
		i := slices.IndexFunc(packages, func(p string) bool { return strings.HasPrefix(filepath.Base(p), name) })
		if i < 0 {
			t.Errorf("there is no package %s", name)
			continue
		}
		listed := run(t, "rpm", "-qp", "--dbpath", keys, "--qf", "[%{FILEFLAGS:fflags} %{FILENAMES}\\n]", packages[i])
		want := 0
		for line := range strings.Lines(listed) {
			if flags, _, _ := strings.Cut(line, " "); !strings.Contains(flags, "g") {
				want++
			}
		}
		archive := exec.Command("sh", "-c", `rpm2cpio "$1" | cpio --list --quiet`, "sh", packages[i])
		out, err := archive.Output()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := bytes.Count(out, []byte("\n")); got != want {
			t.Errorf("%s has %d files in its payload and %d in its header", name, got, want)
		}
	}
}

// TestELFDependencies compares what this package says of ELF files with what rpm's own
// generator says.
func TestELFDependencies(t *testing.T) {
	const generator = "/usr/lib/rpm/elfdeps"
	for _, name := range []string{"bash", "rpm", "qemu-img", "ldconfig"} {
		path, err := exec.LookPath(name)
		if err != nil {
			path = "/usr/sbin/" + name
		}
		checkELF(t, generator, path)
	}
	libraries, err := filepath.Glob("/usr/lib*/*/libs*.so.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range libraries[:min(len(libraries), 20)] {
		checkELF(t, generator, path)
	}
}
