package e2e

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/imagefactory/imagefactory/qemu"
)

// testFaults breaks what an installation needs, one thing at a time: each time a
// message names it, an event tells it, and what was asked for follows.
func testFaults(t *testing.T, m *medium) {
	const size = 224 << 20
	t.Run("damaged payload", func(t *testing.T) {
		target := named(blank(t, size), "TARGET", qemu.VirtIO)
		same := unchanged(t, target)
		damaged := m.damaged(t)
		// Restarting is what a machine without anybody near it does; it leaves the time to read why.
		i := install(t, m.installer("imagefactory.on_failure=reboot", target, qemu.Disk{Path: damaged, Format: "raw", CD: true}))
		i.fails("/imagefactory/payload", "Nothing was written to any disk.")
		i.ends()
		same()
	})
	t.Run("damaged while reading", func(t *testing.T) {
		target := named(blank(t, size), "TARGET", qemu.VirtIO)
		same := unchanged(t, target)
		cd := m.cd()
		cd.Faults = []qemu.Fault{{Operation: "read", Offset: m.payloadAt(t) + m.document.Payload.Size/2}}
		i := install(t, m.installer("", target, cd))
		i.fails("/imagefactory/payload", "/dev/sr0", "Nothing was written to any disk.")
		i.prompt()
		i.vm.Quit()
		same()
	})
	for _, c := range []struct {
		name   string
		medium qemu.Disk
	}{
		{"CD taken out", m.cd()},
		{"stick pulled out", qemu.Disk{Path: m.iso, Format: "raw", Interface: qemu.USB, Removable: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := named(blank(t, size), "TARGET", qemu.VirtIO)
			same := unchanged(t, target)
			i := install(t, m.installer("", target, c.medium))
			// Later, all of the small payload is in memory.
			i.until("verify")
			if err := i.vm.TakeOut(i.ctx, 1); err != nil {
				t.Fatal(err)
			}
			i.fails("/imagefactory/payload", "Nothing was written to any disk.")
			same()
			i.prompt()
		})
	}
	for _, c := range []struct {
		name  string
		fault qemu.Fault
		says  string
	}{
		{"target that cannot be written", qemu.Fault{Operation: "write", Offset: 100 << 20}, "/dev/vda"},
		{"target that cannot be read back", qemu.Fault{Operation: "read", Offset: 100 << 20}, "/dev/vda"},
		{"target that cannot be flushed", qemu.Fault{Operation: "flush", Offset: -1}, "/dev/vda"},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := named(blank(t, size), "TARGET", qemu.VirtIO)
			other := named(filled(t, size, "mke2fs", "-q", "-F"), "OTHER", qemu.VirtIO)
			same := unchanged(t, other)
			target.Faults = []qemu.Fault{c.fault}
			i := install(t, m.installer("", target, other, m.cd()))
			i.fails(c.says, "input/output error", "No other disk was written to.")
			i.prompt()
			// The prompt is one to work with.
			if err := i.vm.Console.Send("disks\n"); err != nil {
				t.Fatal(err)
			}
			if _, err := i.vm.Console.Expect(i.ctx, regexp.MustCompile(`(?s)/dev/vda.*/dev/vdb`)); err != nil {
				t.Error(err)
			}
			i.vm.Quit()
			same()
		})
	}
	t.Run("no medium", func(t *testing.T) {
		target := named(blank(t, size), "TARGET", qemu.VirtIO)
		same := unchanged(t, target)
		i := install(t, m.installer("imagefactory.wait=5 imagefactory.events=ttyS0", target))
		if failed := i.fails("no medium with the id", "Nothing was written"); failed.Stage != "medium" {
			t.Errorf("it failed at %q", failed.Stage)
		}
		i.prompt()
		i.vm.Quit()
		same()
	})
	t.Run("misspelt argument", func(t *testing.T) {
		target := named(blank(t, size), "TARGET", qemu.VirtIO)
		same := unchanged(t, target)
		i := install(t, m.installer("imagefactory.dryrun", target, m.cd()))
		if _, err := i.vm.Console.Expect(i.ctx, regexp.MustCompile(`FAILED \(command line\)[^\n]*imagefactory\.dryrun`)); err != nil {
			t.Error(err)
		}
		i.prompt()
		i.vm.Quit()
		same()
	})
}

// payloadAt returns where the payload begins in the ISO, by isoinfo.
func (m *medium) payloadAt(t *testing.T) int64 {
	t.Helper()
	iso, err := os.Open(m.iso)
	if err != nil {
		t.Fatal(err)
	}
	defer iso.Close()
	listing := command(t, "isoinfo", "-R", "-l", "-i", m.iso)
	match := regexp.MustCompile(`\[ *(\d+) \d+\] +payload`).FindStringSubmatch(listing)
	if match == nil {
		t.Fatalf("isoinfo does not list the payload:\n%s", listing)
	}
	return atoi(t, match[1]) * 2048
}

// damaged returns a copy of the ISO with one wrong byte in the middle of the payload.
func (m *medium) damaged(t *testing.T) string {
	t.Helper()
	damaged := filepath.Join(t.TempDir(), "damaged.iso")
	command(t, "cp", "--sparse=always", m.iso, damaged)
	at := m.payloadAt(t) + m.document.Payload.Size/2
	f, err := os.OpenFile(damaged, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	return damaged
}

// testNetwork installs from a web server, a good one and bad ones.
func testNetwork(t *testing.T, m *medium) {
	const size = 224 << 20
	files := http.FileServer(http.Dir(m.pxe))
	payload := filepath.Join(m.pxe, "payload")
	half := m.document.Payload.Size / 2
	for _, c := range []struct {
		name      string
		arguments string
		serve     func(interrupted *atomic.Int64) http.HandlerFunc
		says      []string // of the failure; none when it succeeds
	}{
		{name: "in one go", serve: func(*atomic.Int64) http.HandlerFunc { return files.ServeHTTP }},
		{
			name: "fixed address", arguments: " ip=10.0.2.77::10.0.2.2:255.255.255.0:node:eth0:off",
			serve: func(*atomic.Int64) http.HandlerFunc { return files.ServeHTTP },
		},
		{name: "interrupted", serve: func(interrupted *atomic.Int64) http.HandlerFunc {
			// Every answer ends after 8 MiB, which the client asks to go on from.
			return func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/payload" {
					w = &cut{w, 8 << 20, interrupted}
				}
				files.ServeHTTP(w, r)
			}
		}},
		{name: "stalls", serve: func(interrupted *atomic.Int64) http.HandlerFunc {
			// The first answer stops in the middle and keeps the connection; later ones are good.
			return func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/payload" && interrupted.Load() == 0 {
					w = &stall{w, r, half, interrupted}
				}
				files.ServeHTTP(w, r)
			}
		}},
		{name: "truncated payload", says: []string{"payload", "not of one build", "Nothing was written to any disk."}, serve: func(*atomic.Int64) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/payload" {
					files.ServeHTTP(w, r)
					return
				}
				f, err := os.Open(payload)
				if err != nil {
					panic(err)
				}
				defer f.Close()
				info, err := f.Stat()
				if err != nil {
					panic(err)
				}
				http.ServeContent(w, r, "payload", info.ModTime(), io.NewSectionReader(f, 0, half))
			}
		}},
		{name: "gone in the middle", says: []string{"/payload", "404", "was overwritten in part"}, serve: func(interrupted *atomic.Int64) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path != "/payload":
					files.ServeHTTP(w, r)
				case interrupted.Load() > 0:
					http.NotFound(w, r)
				default:
					files.ServeHTTP(&cut{w, half, interrupted}, r)
				}
			}
		}},
		{name: "no such directory", says: []string{"install.json", "404", "Nothing was written to any disk."}, serve: func(*atomic.Int64) http.HandlerFunc { return http.NotFound }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var interrupted atomic.Int64
			target := named(blank(t, size), "TARGET", qemu.VirtIO)
			url := m.serve(t, c.serve(&interrupted))
			i := install(t, m.netInstaller("imagefactory.url="+url+" imagefactory.events=ttyS0 imagefactory.after=poweroff"+c.arguments, target))
			if c.says == nil {
				i.succeeds()
				m.checkInstalled(t, target.Path)
				if strings.HasPrefix(c.name, "interrupted") || strings.HasPrefix(c.name, "stalls") {
					if interrupted.Load() == 0 {
						t.Error("nothing was interrupted")
					}
				}
				if c.arguments != "" && !strings.Contains(string(i.vm.Console.Transcript()), "10.0.2.77") {
					t.Error("the console does not tell the address")
				}
				return
			}
			i.fails(c.says...)
			i.prompt()
		})
	}
	t.Run("events", func(t *testing.T) {
		heard := make(chan event, 100)
		mux := http.NewServeMux()
		mux.Handle("/", files)
		mux.HandleFunc("POST /events", func(_ http.ResponseWriter, r *http.Request) {
			var e event
			if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
				t.Error(err)
			}
			heard <- e
		})
		target := named(blank(t, size), "TARGET", qemu.VirtIO)
		url := m.serve(t, mux)
		i := install(t, m.netInstaller("imagefactory.url="+url+" imagefactory.events="+url+"/events imagefactory.dry_run imagefactory.after=poweroff", target))
		i.ends()
		close(heard)
		var names []string
		for e := range heard {
			names = append(names, e.Event)
		}
		if want := []string{"started", "medium", "disks", "decision", "done"}; !slices.Equal(names, want) {
			t.Errorf("the events %q arrived, not %q", names, want)
		}
	})
}

// serve starts a web server for the time of the test and returns its address in the network of machines, where this host
// is 10.0.2.2.
func (m *medium) serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections) // runs first: a stalled answer would never end
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "http://10.0.2.2:" + port
}

// netInstaller returns a machine that starts the installer as a boot loader from the network would.
func (m *medium) netInstaller(arguments string, disks ...qemu.Disk) qemu.Machine {
	machine := m.installer("", disks...)
	machine.Kernel, machine.Initrd = filepath.Join(m.pxe, "kernel"), filepath.Join(m.pxe, "initramfs")
	machine.Cmdline = kernelArguments + arguments
	return machine
}

// cut is an answer that ends after left bytes, and with it the connection.
type cut struct {
	http.ResponseWriter
	left        int64
	interrupted *atomic.Int64 // how many were
}

func (c *cut) Write(b []byte) (int, error) {
	if int64(len(b)) > c.left {
		c.interrupted.Add(1)
		panic(http.ErrAbortHandler)
	}
	c.left -= int64(len(b))
	return c.ResponseWriter.Write(b)
}

// stall is an answer of which nothing comes after left bytes, until the client gives
// it up.
type stall struct {
	http.ResponseWriter
	request     *http.Request
	left        int64
	interrupted *atomic.Int64
}

func (s *stall) Write(b []byte) (int, error) {
	if int64(len(b)) > s.left {
		s.interrupted.Add(1)
		<-s.request.Context().Done()
		panic(http.ErrAbortHandler)
	}
	s.left -= int64(len(b))
	return s.ResponseWriter.Write(b)
}
