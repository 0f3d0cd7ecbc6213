package sandbox

import (
	"os"
	"os/exec"
	"testing"

	"github.com/imagefactory/imagefactory/stages/sandbox/usertest"
)

// TestOrdinaryUser runs the tests that need no root as a user who is created for
// that.
func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the tests run as an ordinary user already")
	}
	usertest.New(t).Run(t, "^TestSandbox")
}

// In a container, parts of /proc and /sys are covered, and the kernel then refuses
// new mounts of them to user namespaces.
func TestMaskedProc(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to cover parts of /proc")
	}
	const inside = "IMAGEFACTORY_TEST_MASKED"
	if os.Getenv(inside) != "" {
		usertest.New(t).Run(t, "^TestSandbox(Provided|Network|Surroundings|Orphans)$")
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--mount", "sh", "-c",
		`mount -t tmpfs none /proc/sys/kernel && mount -t tmpfs none /sys/kernel && exec "$@"`,
		"sh", exe, "-test.run=^TestMaskedProc$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v (the package util-linux has unshare)\n%s", err, out)
	}
}
