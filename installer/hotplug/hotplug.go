// Package hotplug tells which devices a machine has and which come and go: it reads their modaliases in sysfs, and the
// kernel's uevents from the netlink socket (Documentation/core-api/kobject.rst of the kernel).
package hotplug

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Aliases returns the modaliases of all devices below sys/devices, each once, in the order of the directories.
func Aliases(sys string) ([]string, error) {
	var aliases []string
	seen := map[string]bool{}
	err := filepath.WalkDir(filepath.Join(sys, "devices"), func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			// Devices vanish while we look.
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
				return nil
			}
			return err
		}
		if entry.Name() != "modalias" || entry.IsDir() {
			return nil
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return nil // vanished
		}
		if alias := strings.TrimSpace(string(data)); alias != "" && !seen[alias] {
			seen[alias] = true
			aliases = append(aliases, alias)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for devices: %w", err)
	}
	return aliases, nil
}

// Event is one uevent.
type Event struct {
	Action    string // add, remove, change, bind, …
	DevPath   string // below /sys
	Subsystem string // block, net, usb, …
	ModAlias  string // empty for what needs no driver
}

// Parse reads a message of the kernel: "ACTION@DEVPATH", then KEY=VALUE, each ended by a zero byte.
func Parse(message []byte) (Event, bool) {
	var e Event
	head, rest, ok := bytes.Cut(message, []byte{0})
	action, path, at := bytes.Cut(head, []byte("@"))
	if !ok || !at {
		return e, false // udev's own messages begin with "libudev"
	}
	e.Action, e.DevPath = string(action), string(path)
	for pair := range bytes.SplitSeq(rest, []byte{0}) {
		key, value, _ := bytes.Cut(pair, []byte("="))
		switch string(key) {
		case "SUBSYSTEM":
			e.Subsystem = string(value)
		case "MODALIAS":
			e.ModAlias = string(value)
		}
	}
	return e, true
}

// Monitor receives uevents and loads modules for the devices they announce.
type Monitor struct {
	sys     string
	load    func(alias string)
	fd      int
	changes chan struct{}
	aliases chan string
}

// lost stands for aliases that were not heard: all devices have to be looked at.
const lost = ""

// Listen starts to receive events; those of devices that were there before are not repeated, so Aliases has to be asked
// afterwards. load is called from one goroutine.
func Listen(sys string, load func(alias string)) (*Monitor, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("the kernel's device events: %w", err)
	}
	// A big buffer, for a controller with a hundred disks reports them at once.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("the kernel's device events: %w", err)
	}
	m := &Monitor{sys: sys, load: load, fd: fd, changes: make(chan struct{}, 1), aliases: make(chan string, 1024)}
	go m.receive()
	go m.serve()
	return m, nil
}

// receive ends with the process.
func (m *Monitor) receive() {
	buffer := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(m.fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.ENOBUFS) {
			m.announce(lost)
			m.changed()
			continue
		}
		if err != nil {
			return
		}
		e, ok := Parse(buffer[:n])
		if !ok {
			continue
		}
		if e.Action == "add" && e.ModAlias != "" {
			m.announce(e.ModAlias)
		}
		// A driver that binds is news, too: its disks follow.
		m.changed()
	}
}

// announce queues an alias. When the queue is full, the oldest makes place for the order to look at all devices.
func (m *Monitor) announce(alias string) {
	select {
	case m.aliases <- alias:
		return
	default:
	}
	select {
	case <-m.aliases:
	default:
	}
	select {
	case m.aliases <- lost:
	default:
	}
}

func (m *Monitor) serve() {
	for alias := range m.aliases {
		if alias != lost {
			m.load(alias)
			continue
		}
		all, err := Aliases(m.sys)
		if err != nil {
			continue // sysfs itself fails; nothing can be learnt from it
		}
		for _, alias := range all {
			m.load(alias)
		}
	}
}

func (m *Monitor) changed() {
	select {
	case m.changes <- struct{}{}:
	default:
	}
}

// Changes receives a value after something came, went or changed since the last one was taken.
func (m *Monitor) Changes() <-chan struct{} { return m.changes }

// Settle waits until nothing changed for the time quiet, but no longer than most. It returns whether it became quiet.
func Settle(ctx context.Context, changes <-chan struct{}, quiet, most time.Duration) bool {
	end := time.NewTimer(most)
	defer end.Stop()
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-changes:
			timer.Reset(quiet)
		case <-end.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}
