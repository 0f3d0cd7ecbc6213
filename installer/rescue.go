package installer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/target"
)

// rescueMount is where the prompt mounts what it is told to.
const rescueMount = "/run/imagefactory/rescue"

// command is one of the prompt's.
type command struct {
	name, arguments, help string
	run                   func(m *machine, args []string) error
}

// errRetry leaves the prompt.
var errRetry = errors.New("retry")

// commands are all commands of the prompt. It is filled by init, for help refers to it.
var commands []command

func init() {
	commands = []command{
		{"help", "", "show this list", (*machine).help},
		{"disks", "", "list the disks and what they hold", (*machine).listDisks},
		{"log", "[kernel]", "show what was printed, or the kernel's log", (*machine).showLog},
		{"ls", "[DIR]", "list a directory", (*machine).list},
		{"cat", "FILE", "show a file", (*machine).showFile},
		{"mount", "DEVICE", "mount a file system on " + rescueMount + ", read-only", (*machine).mountDevice},
		{"umount", "", "unmount it", (*machine).unmountDevice},
		{"chroot", "DEVICE [COMMAND]", "mount a system's root, writable, and run a command or a shell in it; exit ends that", (*machine).enter},
		{"retry", "", "begin again with finding the medium", func(*machine, []string) error { return errRetry }},
		{"reboot", "", "restart the machine", func(m *machine, _ []string) error { m.end(config.Reboot); return nil }},
		{"poweroff", "", "switch it off", func(m *machine, _ []string) error { m.end(config.PowerOff); return nil }},
		{"halt", "", "stop it", func(m *machine, _ []string) error { m.end(config.Halt); return nil }},
	}
}

// prompt reads commands from all consoles until one is "retry".
func (m *machine) prompt() {
	m.say("Type a command; help lists them.")
	m.consoles.Discard()
	for {
		m.consoles.Prompt("imagefactory> ")
		line, err := m.consoles.ReadLine(m.life)
		if err != nil {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		i := slices.IndexFunc(commands, func(c command) bool { return c.name == fields[0] })
		if i < 0 {
			m.say("There is no command %s; help lists them.", fields[0])
			continue
		}
		switch err := commands[i].run(m, fields[1:]); {
		case errors.Is(err, errRetry):
			return
		case err != nil:
			m.say("%s: %v", fields[0], err)
		}
	}
}

func (m *machine) help([]string) error {
	for _, c := range commands {
		m.say("  %-28s %s", strings.TrimSpace(c.name+" "+c.arguments), c.help)
	}
	return nil
}

func (m *machine) listDisks([]string) error {
	all, skipped, contents, err := m.inventory()
	if err != nil {
		return err
	}
	for _, d := range all {
		m.say("%-12s %10d bytes  %s %s %s  %s", d.Path, d.Size, d.Transport, d.Model, d.Serial, describe(contents[d.Name]))
	}
	for _, s := range skipped {
		if !strings.HasPrefix(s.Name, "loop") && !strings.HasPrefix(s.Name, "ram") {
			m.say("%-12s is no disk: %s", s.Name, s.Why)
		}
	}
	return nil
}

func describe(i target.Inspection) string {
	if i.Err != nil {
		return "cannot be read: " + i.Err.Error()
	}
	return i.Contents.String()
}

func (m *machine) showLog(args []string) error {
	if len(args) == 1 && args[0] == "kernel" {
		buffer := make([]byte, 1<<20)
		n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, buffer)
		if err != nil {
			return err
		}
		return m.print(strings.NewReader(string(buffer[:n])))
	}
	for _, line := range m.consoles.Log() {
		m.consoles.Echo(line)
	}
	return nil
}

func (m *machine) list(args []string) error {
	dir := "/"
	if len(args) > 0 {
		dir = args[0]
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue
		}
		link := ""
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			link = " -> " + target
		}
		m.consoles.Echo(fmt.Sprintf("%s %12d  %s%s", info.Mode(), info.Size(), e.Name(), link))
	}
	return nil
}

// mostShown bounds what cat prints: a serial line takes minutes for a MiB.
const mostShown = 256 << 10

func (m *machine) showFile(args []string) error {
	if len(args) != 1 {
		return errors.New("name one file")
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	return m.print(io.LimitReader(f, mostShown))
}

// print shows lines without keeping them in the log.
func (m *machine) print(r io.Reader) error {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, mostShown+1)
	for scanner.Scan() {
		m.consoles.Echo(printable(scanner.Text()))
	}
	return scanner.Err()
}

// printable keeps a file from sending escape sequences to a console.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == '\t' {
			return r
		}
		return '?'
	}, line)
}

// filesystems are tried in this order when nobody says which it is.
var filesystems = []string{"ext4", "xfs", "btrfs", "vfat", "iso9660"}

func (m *machine) mountDevice(args []string) error {
	if len(args) != 1 {
		return errors.New("name one device, such as /dev/sda2")
	}
	_, err := m.mountAny(args[0], rescueMount, unix.MS_RDONLY)
	return err
}

// mountAny mounts a device with the first file system that accepts it.
func (m *machine) mountAny(device, point string, flags uintptr) (string, error) {
	if err := os.MkdirAll(point, 0o755); err != nil {
		return "", err
	}
	var errs []error
	for _, kind := range filesystems {
		m.load("fs-" + kind)
		err := unix.Mount(device, point, kind, flags, "")
		if err == nil {
			m.say("Mounted %s (%s) on %s.", device, kind, point)
			return kind, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", kind, err))
	}
	return "", fmt.Errorf("%s holds no file system that can be mounted: %w", device, errors.Join(errs...))
}

func (m *machine) unmountDevice([]string) error { return unix.Unmount(rescueMount, 0) }

// enter runs a command in a system on a disk. Its input is what is typed on any console.
func (m *machine) enter(args []string) (err error) {
	if len(args) == 0 {
		return errors.New("name the device of a root, such as /dev/sda2")
	}
	kind, err := m.mountAny(args[0], installedRoot, 0)
	if err != nil {
		return err
	}
	if err := unix.Unmount(installedRoot, 0); err != nil {
		return err
	}
	unmount, err := m.mountInstalled(args[0], kind)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	argv := args[1:]
	if len(argv) == 0 {
		argv = []string{"/bin/sh"}
		m.say("A shell in %s; exit ends it.", args[0])
	}
	output, sink := io.Pipe()
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_ = m.print(output)
		_, _ = io.Copy(io.Discard, output)
	}()
	program, err := resolveIn(installedRoot, argv[0])
	if err != nil || !strings.HasPrefix(argv[0], "/") {
		sink.Close()
		return fmt.Errorf("%s is not in %s; give a path, such as /bin/sh", argv[0], args[0])
	}
	// A pipe of the kernel's: to wait for the end of a program is, for another reader, to wait for one more line, too.
	stdin, typed, err := os.Pipe()
	if err != nil {
		sink.Close()
		return err
	}
	ctx, cancel := context.WithCancel(m.life)
	cmd := exec.CommandContext(ctx, strings.TrimPrefix(program, installedRoot), argv[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = "/", stdin, sink, sink
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: installedRoot, Setsid: true}
	cmd.WaitDelay = time.Second
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		defer typed.Close() // the program's input ends with ours
		for {
			line, err := m.consoles.ReadLine(ctx)
			if err != nil {
				return
			}
			if _, err := io.WriteString(typed, line+"\n"); err != nil {
				return
			}
		}
	}()
	err = cmd.Run()
	stdin.Close()
	sink.Close()
	cancel()
	typed.Close()
	<-fed // what is typed from here on is for the prompt
	<-shown
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return err
}
