package sandbox

import (
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// File descriptors of init.
const (
	initSpec = 3 + iota
	initReport
)

// initMain is process 1 of the sandbox's pid namespace. It builds the file systems,
// starts the command, reaps what that leaves behind, and reports how it ended. When
// process 1 ends, the kernel kills all others of its namespace.
func initMain() error {
	if err := closeOnExec(); err != nil {
		return err
	}
	var spec runSpec
	in := os.NewFile(initSpec, "spec")
	if err := gob.NewDecoder(in).Decode(&spec); err != nil {
		return fmt.Errorf("the helper has gone: %w", err)
	}
	in.Close()
	// Process 1 must not die of a signal that a command sends to everyone, and its
	// children must not inherit that it ignores them.
	signal.Notify(make(chan os.Signal, 1))
	if err := defaultRealTimeSignals(); err != nil {
		return err
	}

	var result initResult
	pid, err := start(&spec)
	if err != nil {
		var host *HostError
		result.OnHost = errors.As(err, &host)
		result.Problem = err.Error()
	} else if result.Status, err = reap(pid); err != nil {
		return err
	}
	out := os.NewFile(initReport, "result")
	return gob.NewEncoder(out).Encode(result)
}

// defaultRealTimeSignals gives signals 32 to 34, which Go's runtime leaves as they
// were, their default action: GNU make has its children ignore some of them.
func defaultRealTimeSignals() error {
	const first, last = 32, 34
	// struct sigaction of the kernel: handler (0 is SIG_DFL), flags, restorer, mask.
	var action [4]uint64
	for s := uintptr(first); s <= last; s++ {
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, s, uintptr(unsafe.Pointer(&action)), 0, unsafe.Sizeof(action[3]), 0, 0)
		if errno != 0 {
			return fmt.Errorf("resetting signal %d: %w", s, errno)
		}
	}
	return nil
}

// start does all that has to be done before the command runs, and starts it.
func start(spec *runSpec) (pid int, err error) {
	if spec.Mode == Plain {
		err = enterPlain(spec)
	} else {
		err = enterRoot(spec)
	}
	if err != nil {
		return 0, err
	}
	unix.Umask(0o022)
	if err := setLimits(); err != nil {
		return 0, err
	}
	if spec.Mode != Plain {
		if err := ignoreSync(); err != nil {
			return 0, err
		}
	}
	// An anonymous session keyring instead of the caller's. Containers may forbid
	// keyrings altogether, which is as good.
	_, _ = unix.KeyctlJoinSessionKeyring("")
	if err := dropCapabilities(spec.Mode); err != nil {
		return 0, err
	}
	program, err := lookPath(spec.Args[0], spec.Dir, spec.Env)
	if err != nil {
		return 0, err
	}
	if err := unix.Chdir(spec.Dir); err != nil {
		return 0, fmt.Errorf("the working directory %s in the root file system: %w", spec.Dir, err)
	}
	pid, err = syscall.ForkExec(program, spec.Args, &syscall.ProcAttr{
		Dir:   spec.Dir,
		Env:   spec.Env,
		Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{
			Setsid: true,
			// No supplementary groups, where that can be had.
			Credential: &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: spec.Mode == Single},
		},
	})
	if err != nil {
		return 0, fmt.Errorf("execute %s in the root file system: %w%s", program, err, execHint(err))
	}
	// Readers of the command's output see its end even if init lives on.
	for fd := range 3 {
		unix.Close(fd)
	}
	return pid, nil
}

// execHint explains the two errors of execve that mislead people.
func execHint(err error) string {
	switch {
	case errors.Is(err, unix.ENOENT):
		return " (the file is there, but its interpreter or dynamic loader is not)"
	case errors.Is(err, unix.ENOEXEC):
		return " (it is neither a program for this machine nor a script with a #! line)"
	}
	return ""
}

// lookPath finds the program in the root that init has entered.
func lookPath(name, dir string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		full := name
		if !path.IsAbs(full) {
			full = path.Join(dir, full)
		}
		if _, err := os.Stat(full); err != nil {
			return "", fmt.Errorf("the command %s in the root file system: %w", name, err)
		}
		return name, nil
	}
	var search string
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			search = value
		}
	}
	for _, d := range strings.Split(search, ":") {
		candidate := path.Join("/", d, name)
		if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("the command %s is not in the root file system (PATH %s)", name, search)
}

// reap waits for pid, and for all the orphans that end before it.
func reap(pid int) (uint32, error) {
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for the command: %w", err)
		case got == pid && (status.Exited() || status.Signaled()):
			return uint32(status), nil
		}
	}
}

// setLimits gives the command resource limits that do not depend on the caller's,
// as far as the caller's hard limits allow.
func setLimits() error {
	for _, l := range []struct {
		resource   int
		soft, hard uint64
	}{
		// As of a login on a system with systemd. Programs that close every possible
		// descriptor take minutes when the limit is a container's 2^30.
		{unix.RLIMIT_NOFILE, 1024, 524288},
		{unix.RLIMIT_CORE, 0, 0},
		{unix.RLIMIT_STACK, 8 << 20, unix.RLIM_INFINITY},
	} {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(l.resource, &now); err != nil {
			return err
		}
		hard := min(l.hard, now.Max)
		if err := syscall.Setrlimit(l.resource, &syscall.Rlimit{Cur: min(l.soft, hard), Max: hard}); err != nil {
			return fmt.Errorf("set resource limit %d: %w", l.resource, err)
		}
	}
	return nil
}

// keptCapabilities are those that commands have: what installing software takes.
// They are the same in every mode, so that a script does the same in each: CAP_MKNOD
// and CAP_SYS_ADMIN would work for root on the host but not in a user namespace.
var keptCapabilities = []uintptr{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID,
	unix.CAP_KILL, unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE,
	unix.CAP_NET_RAW, unix.CAP_SYS_CHROOT, unix.CAP_AUDIT_WRITE, unix.CAP_SETFCAP,
}

// dropCapabilities takes all others out of the bounding set of this thread, from
// which the command is started: execve then cannot give them.
func dropCapabilities(m Mode) error {
	keep := map[uintptr]bool{}
	for _, c := range keptCapabilities {
		keep[c] = true
	}
	for c := uintptr(0); c < 64; c++ {
		if keep[c] {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // beyond the kernel's last capability
		}
		if errors.Is(err, unix.EPERM) && m == Plain {
			break // a container without CAP_SETPCAP; it has few others then
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	// Inherited and ambient capabilities would survive execve by another way.
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("drop inheritable capabilities: %w", err)
	}
	return nil
}
