package rpmfile

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/openpgp"
)

// Of every real package, and of each with one byte of its payload changed, rpmkeys says
// the same as Verify.
func TestVerifyAsRPMDoes(t *testing.T) {
	tool(t, "rpmkeys", "rpm")
	home, db := t.TempDir(), t.TempDir()
	rpmkeys := func(args ...string) (string, error) {
		cmd := exec.Command("rpmkeys", append([]string{"--dbpath", db}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+home, "LC_ALL=C")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	var keys openpgp.Keyring
	// rpm 4.18 takes none of the other keys.
	for _, name := range []string{"cavaliergopher-rpm/RPM-GPG-KEY-CentOS-6", "cavaliergopher-rpm/RPM-GPG-KEY-CentOS-7", "rpm-tests/keys/rpm.org-rsa-2048-test.pub"} {
		if out, err := rpmkeys("--import", realFiles(t, name)[0]); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		keys = openpgp.Merge(keys, realKeys(t, name))
	}
	packages := append(realFiles(t, "cavaliergopher-rpm/*.rpm"), realFiles(t, "rpm-tests/RPMS/*.rpm*")...)
	packages = append(packages, realFiles(t, "go-rpmutils/*.rpm")...)
	good := 0
	for _, path := range packages {
		p, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := append([]byte{}, p...)
		changed[len(changed)-5] ^= 1
		for what, p := range map[string][]byte{"": p, " changed": changed} {
			file := writePackage(t, p)
			f, err := Open(file)
			if err == nil {
				_, err = f.Verify(context.Background(), keys, openpgp.Options{Now: testNow, AllowLegacy: true})
				f.Close()
			}
			out, rpmErr := rpmkeys("--checksig", file)
			// What is not signed is good to rpmkeys unless it is told otherwise.
			rpmGood := rpmErr == nil && strings.Contains(out, "signatures OK")
			if (err == nil) != rpmGood {
				t.Errorf("%s%s: %v; rpmkeys: %v, %s", filepath.Base(path), what, err, rpmErr, out)
			}
			if err == nil {
				good++
			}
		}
	}
	if good < 9 {
		t.Errorf("only %d packages are good", good)
	}
}
