package e2e

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/qemu"
)

// patience is the safety net of everything that is done with one guest. Guests
// are waited for by what they print, not by the clock.
const patience = 15 * time.Minute

// guest is a booted image, with a root shell on its console.
type guest struct {
	t   *testing.T
	vm  *qemu.VM
	ctx context.Context
}

// boot boots an image and logs in as the example's administrator. One guest
// runs at a time, whoever tests.
func boot(t *testing.T, firmware qemu.Firmware, disk qemu.Disk) *guest {
	t.Helper()
	return bootMachine(t, qemu.Machine{Firmware: firmware, Disks: []qemu.Disk{disk}})
}

// bootMachine is boot for other machines.
func bootMachine(t *testing.T, m qemu.Machine) *guest {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	alone(t)
	began := time.Now()
	vm, err := m.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		vm.Quit()
		if t.Failed() {
			path := filepath.Join(os.TempDir(), "imagefactory-e2e-console-"+strings.ReplaceAll(t.Name(), "/", "-")+".log")
			if err := os.WriteFile(path, vm.Console.Transcript(), 0o644); err != nil {
				t.Error(err)
			}
			t.Logf("the guest's console is in %s", path)
		}
	})
	g := &guest{t, vm, ctx}
	if err := vm.Console.Login(ctx, "admin", "imagefactory"); err != nil {
		t.Fatal(err)
	}
	g.becomeRoot("imagefactory")
	t.Logf("from power on to a root shell: %s with %s", time.Since(began).Round(time.Second), vm.Accel())
	return g
}

// alone waits until no other test of this host runs a guest.
func alone(t *testing.T) {
	t.Helper()
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "imagefactory-e2e-qemu.lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
}

var (
	sudoPrompt = regexp.MustCompile(`sudo password: `)
	rootPrompt = regexp.MustCompile(`# $`)
)

// becomeRoot turns the administrator's shell into root's.
func (g *guest) becomeRoot(password string) {
	g.t.Helper()
	console := g.vm.Console
	for _, step := range []struct {
		send   string
		expect *regexp.Regexp
	}{
		{"exec sudo -p 'sudo password: ' env PS1='# ' sh\n", sudoPrompt},
		{password + "\n", rootPrompt},
	} {
		if err := console.Send(step.send); err != nil {
			g.t.Fatal(err)
		}
		if _, err := console.Expect(g.ctx, step.expect); err != nil {
			g.t.Fatal(err)
		}
	}
	if err := console.Shell(g.ctx); err != nil {
		g.t.Fatal(err)
	}
}

// run runs a command as root in the guest.
func (g *guest) run(command string) (stdout string, status int) {
	g.t.Helper()
	stdout, status, err := g.vm.Console.Run(g.ctx, command)
	if err != nil {
		g.t.Fatal(err)
	}
	return stdout, status
}

// must runs a command that has to succeed.
func (g *guest) must(command string) string {
	g.t.Helper()
	stdout, status := g.run(command)
	if status != 0 {
		g.t.Fatalf("%s: exit status %d: %s", command, status, stdout)
	}
	return stdout
}

// empty checks that a command prints nothing.
func (g *guest) empty(command string) {
	g.t.Helper()
	if stdout, _ := g.run(command); stdout != "" {
		g.t.Errorf("%s printed:\n%s", command, stdout)
	}
}

// powerOff shuts the guest down, as its user would.
func (g *guest) powerOff() {
	g.t.Helper()
	if err := g.vm.Powerdown(g.ctx); err != nil {
		g.t.Error(err)
	}
}
