package sandbox

import (
	"fmt"
	"os"
	"testing"

	"github.com/imagefactory/imagefactory/stages/sandbox/usertest"
)

// TestOrdinaryUser runs the tests of this file that need no root as a user who is
// created for that.
func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the tests run as an ordinary user already")
	}
	usertest.New(t).Run(t, "^TestSandbox")
}

func init() {
	toolFuncs["hello"] = func(args []string) error {
		fmt.Println("hello", os.Getpid(), os.Getuid(), args)
		return os.WriteFile("/new", []byte("new"), 0o644)
	}
}

func TestSandboxHello(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		want := f.tree(f.file("etc/passwd", "x", 0o600), dir("tmp", 0o1777))
		f.checkout(want)
		t.Log(f.root.Stats())
		if d := diff(want, f.capture()); d != "" {
			t.Error(d)
		}
		t.Log(f.run("hello", "world"))
		t.Log(diff(want, f.capture()))
		t.Log(f.root.Stats())
		f.checkout(want)
		t.Log(f.root.Stats())
		if d := diff(want, f.capture()); d != "" {
			t.Error(d)
		}
	})
}
