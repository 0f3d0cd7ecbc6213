package sandbox

import (
	"os"
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
