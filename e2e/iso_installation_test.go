package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/qemu"
)

// installation is a machine that runs the installer, followed by the events on its
// serial console.
type installation struct {
	t     *testing.T
	ctx   context.Context
	vm    *qemu.VM
	began time.Time
	seen  []string // events, each name once, with the time since the machine was switched on
}

// event is what the tests look at of an event of the installer.
type event struct {
	Event                           string
	Stage, Device, Message, Written string // failed
	Done, Total                     int64  // verify, write, read-back
	Partition                       int    // grow
	Label                           string // grow
	Name                            string // script
	Decision                        struct {
		Problem    string
		Disk       struct{ Serial string }
		Candidates []struct {
			Disk    struct{ Serial string }
			Taken   bool
			Reasons []string
		}
	}
}

// install starts a machine, which ends with the test. The test must be alone.
func install(t *testing.T, m qemu.Machine) *installation {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	vm, err := m.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	i := &installation{t: t, ctx: ctx, vm: vm, began: time.Now()}
	t.Cleanup(func() {
		vm.Quit()
		t.Logf("%s with %s", strings.Join(append(i.seen, "end "+i.since()), ", "), vm.Accel())
		if t.Failed() {
			path := filepath.Join(os.TempDir(), "imagefactory-e2e-console-"+strings.ReplaceAll(t.Name(), "/", "-")+".log")
			if err := os.WriteFile(path, vm.Console.Transcript(), 0o644); err != nil {
				t.Error(err)
			}
			t.Logf("the installer's console is in %s", path)
		}
	})
	return i
}

// eventLine is an event on the console, which ends lines with carriage returns.
var eventLine = regexp.MustCompile(`(?m)(\{"event":[^\n]*\})\r?\n`)

// next waits for the next event.
func (i *installation) next() event {
	i.t.Helper()
	match, err := i.vm.Console.Expect(i.ctx, eventLine)
	if err != nil {
		i.t.Fatal(err)
	}
	var e event
	if err := json.Unmarshal([]byte(match[1]), &e); err != nil {
		i.t.Fatalf("the event %s: %v", match[1], err)
	}
	if !slices.ContainsFunc(i.seen, func(s string) bool { return strings.HasPrefix(s, e.Event+" ") }) {
		i.seen = append(i.seen, e.Event+" "+i.since())
	}
	return e
}

// since is the time since the machine was switched on.
func (i *installation) since() string { return time.Since(i.began).Round(time.Second).String() }

// until waits for an event; an installation that fails before it fails the test.
func (i *installation) until(name string) event {
	i.t.Helper()
	for {
		switch e := i.next(); e.Event {
		case name:
			return e
		case "failed":
			i.t.Fatalf("waiting for the event %s, the installation failed: %+v", name, e)
		}
	}
}

// fails waits for the failure of the installation, which must say all of texts, on
// the console too.
func (i *installation) fails(texts ...string) event {
	i.t.Helper()
	for {
		switch e := i.next(); e.Event {
		case "failed":
			// What follows on the console for people.
			if _, err := i.vm.Console.Expect(i.ctx, regexp.MustCompile(`FAILED \([^\n]*`)); err != nil {
				i.t.Fatal(err)
			}
			if e.Stage == "" || e.Written == "" {
				i.t.Errorf("the failure says too little: %+v", e)
			}
			for _, text := range texts {
				if !strings.Contains(e.Message+" "+e.Device+" "+e.Written, text) {
					i.t.Errorf("the failure does not say %q: %+v", text, e)
				}
			}
			return e
		case "done":
			i.t.Fatal("the installation did not fail")
		}
	}
}

// prompt waits for the installer's prompt.
func (i *installation) prompt() {
	i.t.Helper()
	if _, err := i.vm.Console.Expect(i.ctx, regexp.MustCompile(`imagefactory> `)); err != nil {
		i.t.Fatal(err)
	}
}

// ends waits until the machine has switched itself off, or wants to restart.
func (i *installation) ends() {
	i.t.Helper()
	select {
	case <-i.vm.Done():
		if err := i.vm.Wait(); err != nil {
			i.t.Error(err)
		}
	case <-i.ctx.Done():
		i.t.Fatalf("the machine still runs: %v", context.Cause(i.ctx))
	}
}

// succeeds follows an installation to its end.
func (i *installation) succeeds() {
	i.t.Helper()
	i.until("decision")
	i.succeedsFrom("write")
}

// succeedsFrom is succeeds from an event on.
func (i *installation) succeedsFrom(event string) {
	i.t.Helper()
	i.until(event)
	i.until("done")
	i.ends()
}

// types sends a line and waits for what the console must say then.
func (i *installation) types(line, answer string) {
	i.t.Helper()
	if err := i.vm.Console.Send(line + "\n"); err != nil {
		i.t.Fatal(err)
	}
	if _, err := i.vm.Console.Expect(i.ctx, regexp.MustCompile(answer)); err != nil {
		i.t.Fatalf("after %q: %v", line, err)
	}
}
