package hosttool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/sandbox"
)

func TestCheck(t *testing.T) {
	need(t, "dnf", "dnf")
	need(t, "apt-get", "apt")
	for installer, want := range map[string]string{DNF: "4.", Apt: "apt "} {
		if version, err := Check(t.Context(), installer); err != nil || !strings.HasPrefix(version, want) {
			t.Errorf("%s: %q, %v", installer, version, err)
		}
	}
	if _, err := Check(t.Context(), "pacman"); err == nil || !strings.Contains(err.Error(), "there are dnf, yum, apt") {
		t.Errorf("another one: %v", err)
	}
}

// A host that has none of the programs is told what to install.
func TestCheckWithoutPrograms(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	was := programDirs
	programDirs = nil
	defer func() { programDirs = was }()
	for installer, want := range map[string]string{
		DNF: "needs the host's dnf and rpm and rpmkeys, which it lacks; install the package dnf and rpm, or use installer = \"native\"",
		Yum: "needs the host's yum and rpm", Apt: "install the package apt and dpkg",
	} {
		_, err := Check(t.Context(), installer)
		var host *sandbox.HostError
		if !errors.As(err, &host) || host.ExitStatus() != 3 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", installer, err, want)
		}
	}
}

// Programs that lie where the sandbox does not see them do not count.
func TestLookPathBelowUsr(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "some-tool"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin")
	if path, err := lookPath("some-tool"); err == nil {
		t.Errorf("found at %s", path)
	}
	if path, err := lookPath("sh"); err != nil || path != "/usr/bin/sh" {
		t.Errorf("sh: %s, %v", path, err)
	}
}

func TestCheckDNFVersion(t *testing.T) {
	for version, want := range map[string]string{
		"4.14.0": "", "4.7.0": "", "3.4.3": "the old one", "dnf5 version 5.2.6.0": "whose output imagefactory does not know", "": "only dnf 4 is known to work",
	} {
		err := checkDNFVersion(Yum, version)
		var host *sandbox.HostError
		if (err == nil) != (want == "") || err != nil && (!errors.As(err, &host) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v; want %s", version, err, want)
		}
	}
}
