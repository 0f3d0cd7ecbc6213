package installer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/finish"
	"github.com/imagefactory/imagefactory/installer/report"
)

// installedRoot is where the installed system's root is mounted.
const installedRoot = "/run/imagefactory/installed"

// scriptInRoot is where a script lies inside the root, on a tmpfs that is gone afterwards.
const scriptInRoot = "/run/imagefactory/script"

// rootMounts are mounted below the installed root for scripts.
var rootMounts = []mount{
	{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", false},
	{"sysfs", "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", false},
	{"/dev", "/dev", "", unix.MS_BIND | unix.MS_REC, "", false},
	{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755", false},
	{"tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777", true},
	{efiVariables, efiVariables, "", unix.MS_BIND, "", true},
}

// script is a script with its text, read before anything was written.
type script struct {
	config.Script
	text []byte
}

// readScripts reads all scripts from the source, and brings up the network when one of them needs it: if that fails, it had
// better fail before the disk is touched.
func (m *machine) readScripts(ctx context.Context) ([]script, error) {
	var scripts []script
	for _, s := range m.config.Scripts {
		m.stage = "script " + s.Name
		text, err := m.source.ReadFile(ctx, s.File)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(string(text), "#!") {
			return nil, fmt.Errorf("the script %s does not begin with \"#!\" and the program that runs it", s.Name)
		}
		if s.Network {
			if err := m.connect(ctx); err != nil {
				return nil, fmt.Errorf("the script %s needs the network: %w", s.Name, err)
			}
		}
		scripts = append(scripts, script{s, text})
	}
	return scripts, nil
}

// runScripts runs scripts in the installed root.
func (m *machine) runScripts(ctx context.Context, scripts []script, disk string) (err error) {
	if len(scripts) == 0 {
		return nil
	}
	m.stage = "scripts"
	partition, _ := m.config.Layout.Root() // there is one: the document was checked
	device := finish.PartitionPath(disk, partition.Number)
	unmount, err := m.mountInstalled(device, partition.Filesystem)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	for _, s := range scripts {
		m.stage = "script " + s.Name
		m.say("Running the script %s in the installed system.", s.Name)
		if err := m.runScript(ctx, s, disk); err != nil {
			return fmt.Errorf("the script %s failed: %w", s.Name, err)
		}
		m.report.Send(report.Script{Name: s.Name})
	}
	return nil
}

// mountInstalled mounts the installed root and what programs in it expect. unmount undoes it.
func (m *machine) mountInstalled(device, filesystem string) (unmount func() error, err error) {
	var mounted []string
	unmount = func() error {
		killOthers()
		var errs []error
		for _, point := range slices.Backward(mounted) {
			if err := unmountPatiently(point); err != nil {
				errs = append(errs, fmt.Errorf("unmounting %s: %w", point, err))
			}
		}
		mounted = nil
		return errors.Join(errs...)
	}
	m.load("fs-" + filesystem)
	if err := os.MkdirAll(installedRoot, 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mount(device, installedRoot, filesystem, 0, ""); err != nil {
		return nil, fmt.Errorf("mounting the installed root %s: %w", device, explainMount(err, filesystem))
	}
	mounted = append(mounted, installedRoot)
	for _, point := range rootMounts {
		// A link in the root must not lead the mount out of it.
		inside, err := resolveIn(installedRoot, point.target)
		if err == nil {
			err = unix.Mount(point.source, inside, point.kind, point.flags, point.data)
		}
		if err != nil && !point.optional {
			return nil, errors.Join(fmt.Errorf("mounting %s in the installed root: %w", point.target, err), unmount())
		}
		if err == nil {
			mounted = append(mounted, inside)
		}
	}
	if m.connection != nil {
		if point, err := nameServersInto(installedRoot); err == nil {
			mounted = append(mounted, point)
		} else {
			m.say("Scripts have no name servers: %v.", err)
		}
	}
	return unmount, nil
}

// nameServersInto binds our resolv.conf over the root's, or over what that links to.
func nameServersInto(root string) (string, error) {
	point, err := resolveIn(root, "/etc/resolv.conf")
	if errors.Is(err, os.ErrNotExist) && strings.HasPrefix(point, root+"/run/") {
		// A link into /run, which is ours: make what it leads to.
		if err = os.MkdirAll(filepath.Dir(point), 0o755); err == nil {
			err = os.WriteFile(point, nil, 0o644)
		}
	}
	if err != nil {
		return "", err
	}
	return point, unix.Mount("/etc/resolv.conf", point, "", unix.MS_BIND, "")
}

// runScript runs one script and waits for its end.
func (m *machine) runScript(ctx context.Context, s script, disk string) error {
	path := filepath.Join(installedRoot, scriptInRoot)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, s.text, 0o700); err != nil {
		return err
	}
	defer os.Remove(path)
	cmd := exec.CommandContext(ctx, scriptInRoot)
	cmd.Dir = "/"
	cmd.Env = m.scriptEnvironment(s, disk)
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: installedRoot, Setsid: true}
	// A pipe of our own: programs that the script leaves behind keep its other end, and must not keep us waiting.
	output, input, err := os.Pipe()
	if err != nil {
		return err
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = input, input
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		m.show(s.Name, output)
	}()
	err = cmd.Run()
	input.Close()
	killOthers()
	<-shown
	if errors.Is(err, os.ErrNotExist) {
		line, _, _ := strings.Cut(string(s.text), "\n")
		return fmt.Errorf("its program is not in the installed system: %s", line)
	}
	return err
}

func (m *machine) scriptEnvironment(s script, disk string) []string {
	environment := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8",
		"IMAGEFACTORY_STAGE=install", "IMAGEFACTORY_NAME=" + m.config.Name, "IMAGEFACTORY_VERSION=" + m.config.Version,
		"IMAGEFACTORY_ARCH=" + m.config.Arch, "IMAGEFACTORY_DISK=" + disk,
	}
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		environment = append(environment, name+"="+s.Env[name])
	}
	return environment
}

// show prints what a script says, line by line.
func (m *machine) show(name string, r io.Reader) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		m.say("%s: %s", name, scanner.Text())
	}
	// Lines that are too long end the scanner, but must not block the script.
	_, _ = io.Copy(io.Discard, r)
}

// killOthers ends every other process: on this machine there is none but what scripts left running.
func killOthers() {
	if os.Getpid() != 1 {
		return
	}
	_ = unix.Kill(-1, unix.SIGKILL)
	for {
		var status unix.WaitStatus
		if pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil); pid <= 0 || err != nil {
			return
		}
	}
}

// unmountPatiently unmounts, though the last process that used it may still be ending.
func unmountPatiently(point string) error {
	if point != installedRoot {
		// With what scripts, or the kernel, have mounted on it.
		return unix.Unmount(point, unix.MNT_DETACH)
	}
	for try := 0; ; try++ {
		err := unix.Unmount(point, 0)
		if errors.Is(err, unix.EBUSY) && try < 50 {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		return err
	}
}
