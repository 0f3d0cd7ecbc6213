package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/tree"
)

func init() {
	toolFuncs["exit"] = func(args []string) error {
		var n int
		if _, err := fmt.Sscan(args[0], &n); err != nil {
			return err
		}
		os.Exit(n)
		return nil
	}
	toolFuncs["raise"] = func([]string) error {
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return err
		}
		select {}
	}
	toolFuncs["cat"] = func(args []string) error {
		for _, path := range args {
			p, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if _, err := os.Stdout.Write(p); err != nil {
				return err
			}
		}
		return nil
	}
	// chrooted looks at what /dev, /proc and /sys have after changing the root.
	toolFuncs["chrooted"] = func(dirs []string) error {
		host, err := os.Open("/")
		if err != nil {
			return err
		}
		defer host.Close()
		for _, dir := range dirs {
			if err := syscall.Chroot(dir); err != nil {
				return err
			}
			if err := os.WriteFile("/dev/null", []byte("gone"), 0o644); err != nil {
				return err
			}
			if st, err := os.Stat("/dev/null"); err != nil || st.Mode()&fs.ModeCharDevice == 0 {
				return fmt.Errorf("/dev/null is no device: %v", err)
			}
			if _, err := os.Stat("/dev/kept"); err == nil {
				return errors.New("/dev is what the tree has")
			}
			for _, path := range []string{"/proc/self/status", "/sys/kernel"} {
				if _, err := os.Stat(path); err != nil {
					return err
				}
			}
			if err := host.Chdir(); err != nil {
				return err
			}
			if err := syscall.Chroot("."); err != nil {
				return err
			}
		}
		return nil
	}
	toolFuncs["stdin"] = func([]string) error {
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	}
	toolFuncs["both"] = func([]string) error {
		for i := range 100 {
			fmt.Fprintln([]io.Writer{os.Stdout, os.Stderr}[i%2], i)
		}
		return nil
	}
	// surroundings prints what could leak from the host.
	toolFuncs["surroundings"] = func([]string) error {
		for _, v := range os.Environ() {
			fmt.Println("env", v)
		}
		hostname, err := os.Hostname()
		if err != nil {
			return err
		}
		fmt.Println("hostname", hostname)
		wd, err := os.Getwd()
		if err != nil {
			return err
		}
		fmt.Println("dir", wd)
		groups, err := os.Getgroups()
		if err != nil {
			return err
		}
		fmt.Println("ids", os.Getuid(), os.Getgid(), groups)
		fmt.Printf("umask %#o\n", syscall.Umask(0))
		sid, err := unix.Getsid(0)
		if err != nil {
			return err
		}
		fmt.Println("session leader", sid == os.Getpid())
		var limit unix.Rlimit
		if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
			return err
		}
		fmt.Println("files", limit.Max <= 524288)
		if _, err := os.OpenFile("/dev/tty", os.O_RDWR, 0); err == nil {
			fmt.Println("there is a terminal")
		}
		return nil
	}
	// fds prints the open descriptors above 2 that are not the Go runtime's.
	toolFuncs["fds"] = func([]string) error {
		for fd := 3; fd < 100; fd++ {
			target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
			if err == nil && !strings.HasPrefix(target, "anon_inode:[event") {
				fmt.Println(fd, target)
			}
		}
		return nil
	}
	toolFuncs["status"] = func([]string) error {
		p, err := os.ReadFile("/proc/self/status")
		_, _ = os.Stdout.Write(p)
		return err
	}
	toolFuncs["sync"] = func([]string) error {
		// With a bad descriptor: only if nobody looks at it is that no error.
		for name, err := range map[string]error{
			"fsync": syscall.Fsync(-1), "fdatasync": syscall.Fdatasync(-1),
			"syncfs": unix.Syncfs(-1), "sync_file_range": unix.SyncFileRange(-1, 0, 0, 0),
		} {
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}
	toolFuncs["devices"] = func([]string) error {
		if err := os.WriteFile("/dev/null", []byte("x"), 0); err != nil {
			return err
		}
		for _, name := range []string{"zero", "full", "random", "urandom"} {
			g, err := os.Open("/dev/" + name)
			if err != nil {
				return err
			}
			if _, err := io.ReadFull(g, make([]byte, 8)); err != nil {
				return err
			}
			g.Close()
		}
		if err := os.WriteFile("/dev/full", []byte("x"), 0); !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("writing to /dev/full: %v", err)
		}
		for _, name := range []string{"/dev/shm/x", "/run/x", "/tmp/x"} {
			if err := os.WriteFile(name, nil, 0o600); err != nil {
				return err
			}
		}
		return nil
	}
	toolFuncs["terminal"] = func([]string) error {
		g, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
		if err != nil {
			return err
		}
		n, err := unix.IoctlGetInt(int(g.Fd()), unix.TIOCGPTN)
		if err != nil {
			return err
		}
		_, err = os.Stat(fmt.Sprintf("/dev/pts/%d", n))
		return err
	}
	toolFuncs["ls"] = func(args []string) error {
		for _, path := range args {
			entries, err := os.ReadDir(path)
			if err != nil {
				return err
			}
			for _, e := range entries {
				fmt.Println(e.Name())
			}
		}
		return nil
	}
	toolFuncs["dial"] = func(args []string) error {
		c, err := net.Dial("tcp", args[0])
		if err != nil {
			return err
		}
		p, err := io.ReadAll(c)
		fmt.Printf("%s", p)
		return err
	}
	toolFuncs["interfaces"] = func([]string) error {
		all, err := net.Interfaces()
		for _, i := range all {
			fmt.Println(i.Name, i.Flags&net.FlagUp != 0)
		}
		return err
	}
	toolFuncs["write"] = func(args []string) error { return os.WriteFile(args[0], []byte(args[1]), 0o644) }
	// orphans leaves processes of its own sessions behind.
	toolFuncs["orphans"] = func([]string) error {
		for range 5 {
			cmd := exec.Command("/bin/tool", "orphan")
			cmd.Args[0] = "/bin/tool"
			cmd.Stdout = os.Stdout
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := cmd.Start(); err != nil {
				return err
			}
		}
		return nil
	}
	toolFuncs["orphan"] = func([]string) error { return exec.Command("/bin/tool", "sleep").Run() }
	toolFuncs["sleep"] = func([]string) error { select {} }
	// breed starts processes that start processes, deaf to all signals.
	toolFuncs["breed"] = func(args []string) error {
		signals := make(chan os.Signal, 1)
		notifyAll(signals)
		if args[0] == "" {
			fmt.Println("bred")
			select {}
		}
		for range 3 {
			cmd := exec.Command("/bin/tool", "breed", args[0][1:])
			cmd.Stdout = os.Stdout
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := cmd.Start(); err != nil {
				return err
			}
		}
		select {}
	}
}

func TestSandboxExitStatus(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		f.checkout(f.tree(f.file("etc/text", "no program", 0o755), f.file("etc/broken", "#!/no/interpreter\n", 0o755)))
		for _, n := range []int{1, 3, 127, 255} {
			_, err := f.try(Command{}, "exit", fmt.Sprint(n))
			var exit *ExitError
			if !errors.As(err, &exit) || exit.Status != n || exit.Signal != 0 {
				t.Errorf("exit %d: %v", n, err)
			}
		}
		_, err := f.try(Command{}, "raise")
		var exit *ExitError
		if !errors.As(err, &exit) || exit.Status != 137 || exit.Signal != 9 {
			t.Errorf("SIGKILL: %#v", err)
		}
		for _, c := range []struct {
			args []string
			dir  string
			text string
		}{
			{[]string{"no-such-program"}, "", "is not in the root file system"},
			{[]string{"/no/such/program"}, "", "/no/such/program"},
			{[]string{"/etc/text"}, "", "neither a program"},
			{[]string{"/etc/broken"}, "", "interpreter"},
			{[]string{"/etc"}, "", "/etc"},
			{[]string{"/bin/tool", "exit", "0"}, "/no/dir", "/no/dir"},
			{[]string{"tool", "a\x00b"}, "", "NUL"},
			{nil, "", "no command"},
		} {
			err := f.root.Run(t.Context(), Command{Args: c.args, Dir: c.dir})
			if err == nil || errors.As(err, &exit) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%q in %q: %v", c.args, c.dir, err)
			}
		}
		if err := f.root.Run(t.Context(), Command{Args: []string{"tool", "exit", "0"}}); err != nil {
			t.Error(err)
		}
	})
}

func TestSandboxStreams(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		f.checkout(f.tree())
		large := strings.Repeat("0123456789", 50000)
		if out, err := f.try(Command{Stdin: strings.NewReader(large)}, "stdin"); err != nil || out != large {
			t.Errorf("%d bytes of %d came back: %v", len(out), len(large), err)
		}
		if out, err := f.try(Command{}, "stdin"); err != nil || out != "" {
			t.Errorf("without stdin: %q, %v", out, err)
		}
		if out, err := f.try(Command{Stdin: strings.NewReader(large)}, "exit", "0"); err != nil || out != "" {
			t.Errorf("unread stdin: %q, %v", out, err)
		}
		var want strings.Builder
		for i := range 100 {
			fmt.Fprintln(&want, i)
		}
		if out := f.run("both"); out != want.String() {
			t.Errorf("order of stdout and stderr:\n%s", out)
		}
	})
}

// Nothing of the caller is visible.
func TestSandboxSurroundings(t *testing.T) {
	t.Setenv("LEAK", "environment")
	leak, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer leak.Close()
	inherited, err := unix.FcntlInt(leak.Fd(), unix.F_DUPFD, 50) // without close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	defer syscall.Umask(syscall.Umask(0o077))
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		f.checkout(f.tree(dir("srv", 0o755)))
		want := `env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
env HOME=/root
env LANG=C.UTF-8
env TERM=dumb
hostname localhost
dir /
ids 0 0 []
umask 022
session leader true
files true
`
		if m == Plain {
			hostname, err := os.Hostname()
			if err != nil {
				t.Fatal(err)
			}
			want = strings.Replace(want, "hostname localhost", "hostname "+hostname, 1)
		}
		got := f.run("surroundings")
		if m == Single {
			got = singleGroups(got)
		}
		if got != want {
			t.Errorf("got\n%s", got)
		}
		got, err := f.try(Command{Dir: "/srv", Hostname: "builder", Env: []string{"HOME=/srv", "A=1", "A=2"}}, "surroundings")
		if err != nil {
			t.Error(err)
		}
		want = strings.Replace(want, "HOME=/root", "HOME=/srv", 1)
		want = strings.Replace(want, "TERM=dumb", "TERM=dumb\nenv A=2", 1)
		want = strings.Replace(want, "hostname localhost", "hostname builder", 1)
		want = strings.Replace(want, "dir /", "dir /srv", 1)
		if m == Single {
			got = singleGroups(got)
		}
		if got != want {
			t.Errorf("got\n%s", got)
		}
		if m != Plain { // which has no /proc
			if got := f.run("fds"); got != "" {
				t.Errorf("open descriptors:\n%s", got)
			}
		}
	})
}

// singleGroups removes the groups that Single cannot drop.
func singleGroups(s string) string {
	before, after, _ := strings.Cut(s, "ids 0 0 [")
	_, after, _ = strings.Cut(after, "]")
	return before + "ids 0 0 []" + after
}

func TestSandboxCapabilities(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		if m == Plain {
			return // no /proc to read them from
		}
		f := newFixture(t, m)
		f.checkout(f.tree())
		var bits uint64
		for _, c := range keptCapabilities {
			bits |= 1 << c
		}
		status := f.run("status")
		for _, want := range []string{
			fmt.Sprintf("CapPrm:\t%016x", bits), fmt.Sprintf("CapEff:\t%016x", bits), fmt.Sprintf("CapBnd:\t%016x", bits),
			fmt.Sprintf("CapInh:\t%016x", 0), fmt.Sprintf("CapAmb:\t%016x", 0),
			"NoNewPrivs:\t0", "Seccomp:\t2", fmt.Sprintf("SigIgn:\t%016x", 0), "Seccomp_filters:\t1",
		} {
			if !strings.Contains(status, want+"\n") {
				t.Errorf("no %q in\n%s", want, status)
			}
		}
	})
}

func TestSandboxSync(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		f.checkout(f.tree())
		_, err := f.try(Command{}, "sync")
		if m == Plain {
			if err == nil {
				t.Error("fsync is turned off in Plain mode, which Limits denies")
			}
		} else if err != nil {
			t.Error(err)
		}
	})
}

// What the sandbox provides works, is empty at the beginning of each command, and
// is never captured.
func TestSandboxProvided(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		lock := f.file("run/lock/file", "kept", 0o644)
		null := tree.Entry{Path: "dev/null", Type: tree.CharDevice, Mode: 0o666, Major: 1, Minor: 3}
		for _, want := range []*tree.Tree{
			f.tree(),
			f.tree(dir("dev", 0o755), dir("proc", 0o555), dir("sys", 0o555), dir("run", 0o755), dir("tmp", 0o1777)),
			f.tree(null, f.file("proc/x", "x", 0o600), f.file("sys/x", "x", 0o600), lock, f.file("tmp/x", "x", 0o600)),
		} {
			f.checkout(want)
			for range 2 {
				f.run("devices")
				if m != Plain {
					f.run("terminal")
				}
				if out := f.run("ls", "/tmp", "/run"); out != "" {
					t.Errorf("not empty at the beginning: %s", out)
				}
				if d := diff(want, f.capture()); d != "" {
					t.Error(d)
				}
			}
			f.checkout(want)
			f.run("exit", "0")
			if d := diff(want, f.capture()); d != "" {
				t.Error(d)
			}
		}
		if m == Plain {
			return
		}
		if out := f.run("cat", "/proc/cmdline"); out != "" {
			t.Errorf("the host's kernel command line %q", out)
		}
		if out := f.run("cat", "/proc/1/comm"); out == "" {
			t.Error("no process 1")
		}
		if _, err := f.try(Command{}, "write", "/proc/sys/kernel/core_pattern", "x"); err == nil {
			t.Error("/proc/sys can be written")
		}
		if _, err := f.try(Command{}, "ls", "/proc/1/root/"); err == nil {
			t.Error("process 1 is open to commands")
		}
		if err := f.root.Run(t.Context(), Command{Args: []string{"/bin/tool", "write", "/sys/x", ""}}); err == nil {
			t.Error("/sys can be written")
		}
		if out, err := f.try(Command{}, "ls", "/sys/firmware"); err != nil && !strings.Contains(out, "no such file") || err == nil && out != "" {
			t.Errorf("firmware of the host: %s", out)
		}
	})
}

// Roots that are hostile to the sandbox's mount points give an error, and do not
// lead it elsewhere.
func TestSandboxHostileMountPoints(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		outside := t.TempDir()
		for _, d := range freshDirs {
			for _, target := range []string{"/", outside, "../../../../../../../../" + outside, "."} {
				link := tree.Entry{Path: d, Type: tree.Symlink, Mode: 0o777, Target: target}
				f.checkout(f.tree(link))
				_, err := f.try(Command{}, "exit", "0")
				if err == nil || !strings.Contains(err.Error(), "/"+d+" must be a directory") {
					t.Errorf("%s -> %s: %v", d, target, err)
				}
			}
			f.checkout(f.tree(f.file(d, "file", 0o644)))
			if _, err := f.try(Command{}, "exit", "0"); err == nil || !strings.Contains(err.Error(), "/"+d+" must be a directory") {
				t.Errorf("file %s: %v", d, err)
			}
		}
		entries, err := os.ReadDir(outside)
		if err != nil || len(entries) > 0 {
			t.Errorf("%v outside of the root: %v", entries, err)
		}
	})
}

// Symbolic links that commands make never lead Checkout or Capture out of the root.
func TestSandboxHostileLinks(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		outside := t.TempDir()
		canary := filepath.Join(outside, "passwd")
		if err := os.WriteFile(canary, []byte("canary"), 0o600); err != nil {
			t.Fatal(err)
		}
		want := f.tree(f.file("etc/passwd", "root", 0o644), f.file("var/lib/x/y", "y", 0o644))
		f.checkout(want)
		f.run("swap", "/etc", outside)
		f.run("swap", "/var/lib", "/")
		got := f.capture()
		if e, ok := got.Lookup("etc"); !ok || e.Type != tree.Symlink || e.Target != outside {
			t.Errorf("%+v", e)
		}
		f.checkout(want)
		if d := diff(want, f.capture()); d != "" {
			t.Error(d)
		}
		p, err := os.ReadFile(canary)
		if err != nil || string(p) != "canary" {
			t.Errorf("%q, %v", p, err)
		}
	})
}

func init() {
	// swap moves a directory away and leaves a symbolic link in its place.
	toolFuncs["swap"] = func(args []string) error {
		if err := os.Rename(args[0], args[0]+".old"); err != nil {
			return err
		}
		return os.Symlink(args[1], args[0])
	}
	// dismantle removes or closes whatever it can.
	toolFuncs["dismantle"] = func([]string) error {
		for _, path := range []string{"/proc", "/dev", "/sys", "/run", "/tmp"} {
			if err := os.Remove(path); err == nil {
				return fmt.Errorf("%s could be removed", path)
			}
			if err := os.Rename(path, path+".old"); err == nil {
				return fmt.Errorf("%s could be renamed", path)
			}
		}
		return within(func(path string, info fs.FileInfo, st *syscall.Stat_t) error {
			if info.Mode()&fs.ModeSymlink != 0 {
				return nil
			}
			return os.Chmod(path, 0)
		})
	}
	// dig nests directories deeper than a path can name.
	toolFuncs["dig"] = func(args []string) error {
		for range 3000 {
			if err := os.Mkdir("d", 0o700); err != nil {
				return err
			}
			if err := os.Chdir("d"); err != nil {
				return err
			}
		}
		return nil
	}
	toolFuncs["mknod"] = func([]string) error {
		if err := syscall.Mknod("/device", syscall.S_IFCHR|0o666, 1<<8|3); !errors.Is(err, syscall.EPERM) {
			return fmt.Errorf("mknod of a device: %v", err)
		}
		return syscall.Mknod("/fifo", syscall.S_IFIFO|0o644, 0)
	}
	toolFuncs["signal-init"] = func([]string) error {
		for n := syscall.Signal(1); n < 32; n++ {
			if err := syscall.Kill(1, n); err != nil && !errors.Is(err, syscall.EPERM) {
				return err
			}
		}
		fmt.Println("alive")
		return nil
	}
}

func TestSandboxHostileCommands(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		want := f.everything()
		f.checkout(want)
		if m != Plain {
			f.run("dismantle")
			f.capture()
			f.checkout(want)
			if d := diff(want, f.capture()); d != "" {
				t.Error(d)
			}
			// Not as root of the host: there, process 1 would be the host's.
			if out := f.run("signal-init"); out != "alive\n" {
				t.Error(out)
			}
		}
		f.run("mknod")
		if e, ok := f.capture().Lookup("fifo"); !ok || e.Type != tree.FIFO || e.Mode != 0o644 {
			t.Errorf("%+v", e)
		}
		f.run("dig")
		if _, err := f.root.Capture(t.Context()); err == nil || !strings.Contains(err.Error(), "nested") || len(err.Error()) > 1000 {
			t.Errorf("nested directories: %v", err)
		}
		f.checkout(want)
		if d := diff(want, f.capture()); d != "" {
			t.Error(d)
		}
		f.run("dig") // for Remove
	})
}

// Processes that a command leaves behind are gone when Run returns: had one of them
// kept stdout open, Run would wait for ever.
func TestSandboxOrphans(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		f.checkout(f.tree())
		f.run("orphans")
	})
}

// Cancelling ends a tree of processes that ignores signals.
func TestSandboxCancel(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		f.checkout(f.tree())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		out := writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
		err := f.root.Run(ctx, Command{Args: []string{"/bin/tool", "breed", "..."}, Stdout: out})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		f.run("exit", "0") // the sandbox can still be used
		f.capture()
		// A context that is done before anything starts.
		if err := f.root.Run(ctx, Command{Args: []string{"/bin/tool", "exit", "0"}}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A writer that fails is an error of Run and does not block the command.
func TestSandboxWriterFails(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		f.checkout(f.tree())
		broken := errors.New("disk full")
		out := writerFunc(func(p []byte) (int, error) { return 0, broken })
		err := f.root.Run(t.Context(), Command{Args: []string{"/bin/tool", "stdin"}, Stdin: bytes.NewReader(make([]byte, 1<<20)), Stdout: out})
		if !errors.Is(err, broken) {
			t.Error(err)
		}
	})
}

func TestSandboxNetwork(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello from the host")
			c.Close()
		}
	}()
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		want := f.tree(dir("etc", 0o755), f.file("lib/systemd/resolv.conf", "old", 0o600))
		f.checkout(want)
		if m != Plain { // as its Limits say
			if out := f.run("interfaces"); out != "lo true\n" {
				t.Errorf("interfaces: %s", out)
			}
			if out, err := f.try(Command{}, "dial", l.Addr().String()); err == nil {
				t.Errorf("the host answers: %s", out)
			}
		}
		out, err := f.try(Command{Network: true}, "dial", l.Addr().String())
		if err != nil || out != "hello from the host" {
			t.Errorf("%q, %v", out, err)
		}
		host, err := os.ReadFile("/etc/resolv.conf")
		if err != nil {
			t.Fatal(err)
		}
		symlink := func(target string) tree.Entry {
			return tree.Entry{Path: "etc/resolv.conf", Type: tree.Symlink, Mode: 0o777, Target: target}
		}
		for _, resolv := range []tree.Entry{
			f.file("etc/resolv.conf", "target's own", 0o644),
			symlink("../run/systemd/resolve/stub-resolv.conf"),
			symlink("/lib/systemd/resolv.conf"),
			symlink("/lib/missing/dir/resolv.conf"),
			symlink("../../../../lib/systemd/../systemd/resolv.conf"),
			dir("etc", 0o755), // none
		} {
			e := want.Edit()
			e.Put(resolv)
			with, err := e.Tree()
			if err != nil {
				t.Fatal(err)
			}
			f.checkout(with)
			out, err := f.try(Command{Network: true}, "cat", "/etc/resolv.conf")
			if err != nil || out != string(host) {
				t.Errorf("%s: %q, %v", resolv.Target, out, err)
			}
			if d := diff(with, f.capture()); d != "" {
				t.Errorf("%s: %s", resolv.Target, d)
			}
		}
		f.checkout(f.tree(symlink("resolv.conf")))
		if _, err := f.try(Command{Network: true}, "exit", "0"); !errors.Is(err, unix.ELOOP) && (err == nil || !strings.Contains(err.Error(), "too many levels")) {
			t.Errorf("a symlink to itself: %v", err)
		}
	})
}

func TestSandboxBinds(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		src := t.TempDir()
		if err := os.MkdirAll(filepath.Join(src, "dir/sub"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"file", "dir/a", "dir/sub/b"} {
			if err := os.WriteFile(filepath.Join(src, name), []byte(name), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		link := tree.Entry{Path: "lib", Type: tree.Symlink, Mode: 0o777, Target: "usr/lib"}
		entries := []tree.Entry{f.file("usr/lib/x", "x", 0o644), dir("opt/have", 0o700), f.file("opt/file", "covered", 0o600)}
		if len(f.tools) == 1 { // else the libraries are in /lib
			entries = append(entries, link)
		} else {
			entries = append(entries, f.file("lib/x", "x", 0o644))
		}
		want := f.tree(entries...)
		f.checkout(want)
		binds := []Bind{
			{Source: filepath.Join(src, "dir"), Target: "/run/imagefactory/inputs"},
			{Source: filepath.Join(src, "dir"), Target: "/opt/have"},
			{Source: filepath.Join(src, "dir"), Target: "/lib/new/deep"},
			{Source: filepath.Join(src, "file"), Target: "/opt/file"},
			{Source: filepath.Join(src, "file"), Target: "lib/new/file"},
			{Source: filepath.Join(src, "file"), Target: "/tmp/a/b/../file"},
		}
		out, err := f.try(Command{Binds: binds}, "cat", "/run/imagefactory/inputs/sub/b", "/opt/have/a", "/lib/new/deep/a", "/opt/file", "/lib/new/file", "/tmp/a/file")
		if err != nil || out != "dir/sub/bdir/adir/afilefilefile" {
			t.Errorf("%q, %v", out, err)
		}
		if d := diff(want, f.capture()); d != "" {
			t.Error(d)
		}
		if m == Plain {
			_, err := f.try(Command{Binds: []Bind{{Source: src, Target: "/srv", Writable: true}}}, "exit", "0")
			var host *HostError
			if !errors.As(err, &host) {
				t.Errorf("a writable bind: %v", err)
			}
			return
		}
		for _, path := range []string{"/run/imagefactory/inputs/new", "/opt/have/a", "/lib/new/deep/sub/b", "/opt/file"} {
			if out, err := f.try(Command{Binds: binds}, "write", path, "changed"); err == nil || !strings.Contains(out, "read-only") {
				t.Errorf("%s can be written: %s", path, out)
			}
		}
		for i := range binds {
			binds[i].Writable = true
		}
		for _, path := range []string{"/run/imagefactory/inputs/new", "/opt/file"} {
			if out, err := f.try(Command{Binds: binds}, "write", path, "changed"); err != nil {
				t.Errorf("%s: %s", path, out)
			}
		}
		for _, name := range []string{"dir/new", "file"} {
			if p, err := os.ReadFile(filepath.Join(src, name)); err != nil || string(p) != "changed" {
				t.Errorf("%s: %q, %v", name, p, err)
			}
		}
		if d := diff(want, f.capture()); d != "" {
			t.Error(d)
		}
		for target, text := range map[string]string{
			"/": "root directory", "/proc": "own", "/proc/x": "own", "/dev": "own", "/opt/file/x": "not a directory", "/opt/have/../file": "must be a file",
		} {
			bind := Bind{Source: filepath.Join(src, "dir"), Target: target}
			if target == "/opt/have/../file" {
				bind.Target = "/opt/have"
				bind.Source = filepath.Join(src, "file")
			}
			if _, err := f.try(Command{Binds: []Bind{bind}}, "exit", "0"); err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v", target, err)
			}
		}
		if _, err := f.try(Command{Binds: []Bind{{Source: filepath.Join(src, "missing"), Target: "/srv"}}}, "exit", "0"); !strings.Contains(fmt.Sprint(err), "missing") {
			t.Errorf("a missing source: %v", err)
		}
		if d := diff(want, f.capture()); d != "" {
			t.Error(d)
		}
	})
}

// A directory that the command makes its root has the devices and processes of the
// sandbox, and nothing of them is captured.
func TestSandboxChroots(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		want := f.tree(dir("sysroot", 0o755), dir("sysroot/dev", 0o700), f.file("sysroot/dev/kept", "kept", 0o600), dir("empty", 0o755))
		f.checkout(want)
		out, err := f.try(Command{Chroots: []string{"sysroot", "empty/below"}}, "chrooted", "/sysroot", "/empty/below")
		if m == Plain {
			var host *HostError
			if !errors.As(err, &host) || host.ExitStatus() != 3 {
				t.Errorf("plain mode: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if d := diff(want, f.capture()); d != "" {
			t.Error(d)
		}
		for _, dir := range []string{"../x", "/abs", "a//b"} {
			if _, err := f.try(Command{Chroots: []string{dir}}, "exit", "0"); err == nil {
				t.Errorf("%s: no error", dir)
			}
		}
	})
}

// A directory that commands used below one of our mount points stays.
func TestSandboxBindParentUsed(t *testing.T) {
	for _, m := range modes() {
		if m == Plain {
			continue
		}
		f := newFixture(t, m)
		f.checkout(f.tree())
		if _, err := f.try(Command{Binds: []Bind{{Source: t.TempDir(), Target: "/srv/data"}}}, "write", "/srv/own", "x"); err != nil {
			t.Fatal(err)
		}
		got := f.capture()
		if _, ok := got.Lookup("srv/own"); !ok {
			t.Error("/srv/own is gone")
		}
		if _, ok := got.Lookup("srv/data"); ok {
			t.Error("/srv/data was captured")
		}
	}
}

func init() {
	// act does one thing to a tree; see TestSandboxCapture.
	toolFuncs["act"] = func(args []string) error {
		switch args[0] {
		case "chown":
			return os.Lchown("/owner/shadow", 12345, 54321)
		case "setuid":
			return syscall.Chmod("/owner/home/.profile", 0o4751)
		case "setcap":
			return unix.Setxattr("/mode/wall", "security.capability", capability(), 0)
		case "acl":
			return unix.Setxattr("/mode/sticky", "system.posix_acl_default", acl(7), 0)
		case "link":
			return os.Link("/owner/shadow", "/a-link")
		case "unlink":
			return os.Remove("/link/a")
		case "rename":
			return os.Rename("/name/ ", "/name/moved")
		case "replace":
			if err := os.RemoveAll("/time"); err != nil {
				return err
			}
			return os.WriteFile("/time", []byte("a file now"), 0o640)
		case "same":
			// Same size, same mtime.
			var st syscall.Stat_t
			if err := syscall.Stat("/time/ns", &st); err != nil {
				return err
			}
			if err := os.WriteFile("/time/ns", []byte("y"), 0); err != nil {
				return err
			}
			return unix.UtimesNanoAt(unix.AT_FDCWD, "/time/ns", []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: st.Mtim.Sec, Nsec: st.Mtim.Nsec}}, 0)
		case "device-rm":
			return os.Remove("/node/null")
		case "device-mv":
			return os.Rename("/node/null", "/node/nil")
		case "device-replace":
			if err := os.Remove("/node/null"); err != nil {
				return err
			}
			return os.WriteFile("/node/null", nil, 0o660)
		case "device-chmod":
			if err := os.Chmod("/node/null", 0o600); err != nil {
				return err
			}
			return os.Chown("/node/null", 0, 9)
		case "far-rewrite":
			return os.WriteFile("/owner/id-3000000000", []byte("rewritten"), 0)
		case "far-replace":
			if err := os.Remove("/owner/id-3000000000"); err != nil {
				return err
			}
			return os.WriteFile("/owner/id-3000000000", []byte("replaced"), 0o600)
		case "relabel":
			return os.WriteFile("/xattr/labelled", []byte("in place"), 0)
		case "device-link":
			return os.Link("/node/null", "/node/also")
		}
		return fmt.Errorf("no act %q", args[0])
	}
}

// Every change that a command makes is captured, and nothing else is read.
func TestSandboxCapture(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		before := f.everything()
		virtual := m == Range || m == Single
		for _, c := range []struct {
			act    string
			hashed int
			single bool // works in Single too
			want   func(e *tree.Editor)
		}{
			{"chown", 1, false, func(e *tree.Editor) {
				x, _ := e.Get("owner/shadow")
				x.UID, x.GID = 12345, 54321
				e.Put(x)
			}},
			{"setuid", 1, true, func(e *tree.Editor) {
				x, _ := e.Get("owner/home/.profile")
				x.Mode = 0o4751
				e.Put(x)
			}},
			{"setcap", 1, true, func(e *tree.Editor) {
				x, _ := e.Get("mode/wall")
				x.Xattrs = []tree.Xattr{{Name: "security.capability", Value: capability()}}
				e.Put(x)
			}},
			{"acl", 0, false, func(e *tree.Editor) {
				x, _ := e.Get("mode/sticky")
				x.Xattrs = []tree.Xattr{{Name: "system.posix_acl_default", Value: acl(7)}}
				e.Put(x)
			}},
			{"link", 1, true, func(e *tree.Editor) {
				x, _ := e.Get("owner/shadow")
				x.Link = e.NewLink()
				e.Put(x)
				x.Path = "a-link"
				e.Put(x)
			}},
			{"unlink", 1, true, func(e *tree.Editor) { e.Remove("link/a") }},
			{"rename", 1, true, func(e *tree.Editor) {
				x, _ := e.Get("name/ ")
				e.Remove("name/ ")
				x.Path = "name/moved"
				e.Put(x)
			}},
			{"replace", 1, true, func(e *tree.Editor) { e.Remove("time"); e.Put(f.file("time", "a file now", 0o640)) }},
			{"same", 1, true, func(e *tree.Editor) {
				x, _ := e.Get("time/ns")
				x.Digest = f.file("", "y", 0).Digest
				e.Put(x)
			}},
			{"device-rm", 0, true, func(e *tree.Editor) { e.Remove("node/null") }},
			{"device-mv", 0, true, func(e *tree.Editor) {
				x, _ := e.Get("node/null")
				e.Remove("node/null")
				x.Path = "node/nil"
				e.Put(x)
			}},
			{"device-replace", 1, true, func(e *tree.Editor) { e.Put(f.file("node/null", "", 0o660&^0o022)) }},
			{"device-chmod", 0, false, func(e *tree.Editor) {
				x, _ := e.Get("node/null")
				x.Mode, x.GID = 0o600, 9
				e.Put(x)
			}},
			{"device-link", 0, true, func(e *tree.Editor) {
				x, _ := e.Get("node/null")
				x.Link = e.NewLink()
				e.Put(x)
				x.Path = "node/also"
				e.Put(x)
			}},
			{"far-rewrite", 1, true, func(e *tree.Editor) {
				x, _ := e.Get("owner/id-3000000000")
				y := f.file("", "rewritten", 0)
				x.Digest, x.Size = y.Digest, y.Size
				e.Put(x)
			}},
			{"far-replace", 1, true, func(e *tree.Editor) { e.Put(f.file("owner/id-3000000000", "replaced", 0o600)) }},
			{"relabel", 1, true, func(e *tree.Editor) {
				x, _ := e.Get("xattr/labelled")
				y := f.file("", "in place", 0)
				x.Digest, x.Size = y.Digest, y.Size
				e.Put(x)
			}},
		} {
			if m == Single && !c.single {
				continue
			}
			f.checkout(before)
			f.run("act", c.act)
			got := f.capture()
			hashed := f.root.Stats().Hashed
			if hashed != c.hashed {
				t.Errorf("%s: %d files were read instead of %d", c.act, hashed, c.hashed)
			}
			e := before.Edit()
			c.want(e)
			want, err := e.Tree()
			if err != nil {
				t.Fatal(err)
			}
			if d := diff(withTimes(t, want, got), got); d != "" {
				t.Errorf("%s (virtual %v): %s", c.act, virtual, d)
			}
			// The store has what the tree refers to.
			for _, e := range got.Entries() {
				if e.Type == tree.Regular {
					if _, err := f.st.Object(e.Digest); err != nil {
						t.Fatalf("%s: %s: %v", c.act, e.Path, err)
					}
				}
			}
			// And what was captured is what is there.
			f.run("touch")
			if d := diff(got, f.capture()); d != "" {
				t.Errorf("%s, captured again: %s", c.act, d)
			}
		}
	})
}

// withTimes gives entries of want the mtime that they have in got when that is of
// this run of the test.
func withTimes(t *testing.T, want, got *tree.Tree) *tree.Tree {
	t.Helper()
	e := want.Edit()
	for _, x := range got.Entries() {
		y, ok := want.Lookup(x.Path)
		if ok && x.MTime.Sec > 1.7e9 && x.MTime.Sec < 1.99e9 {
			y.MTime = x.MTime
			e.Put(y)
		}
	}
	r, err := e.Tree()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func init() {
	toolFuncs["owners"] = func([]string) error {
		if err := os.Chown("/etc/a", 5, 5); err == nil {
			return errors.New("chown to another user works")
		}
		if err := os.WriteFile("/etc/a", []byte("in place"), 0); err != nil {
			return err
		}
		if err := os.WriteFile("/etc/b.new", []byte("replaced"), 0o600); err != nil {
			return err
		}
		if err := os.Rename("/etc/b.new", "/etc/b"); err != nil {
			return err
		}
		return os.Rename("/etc/c", "/etc/c.old")
	}
}

// In Single mode, owners stay with what is changed in place, and only with that.
func TestSandboxSingle(t *testing.T) {
	if !slices.Contains(modes(), Single) {
		t.Skip("only as an ordinary user: TestOrdinaryUser runs it")
	}
	f := newFixture(t, Single)
	var entries []tree.Entry
	for _, name := range []string{"a", "b", "c", "d"} {
		e := f.file("etc/"+name, name, 0o600)
		e.UID, e.GID = 5, 6
		entries = append(entries, e)
	}
	f.checkout(f.tree(entries...))
	f.run("owners")
	got := f.capture()
	for name, uid := range map[string]uint32{"a": 5, "b": 0, "c.old": 5, "d": 5} {
		if e, ok := got.Lookup("etc/" + name); !ok || e.UID != uid {
			t.Errorf("%s: %+v, expected owner %d", name, e, uid)
		}
	}
	if len(Single.Limits()) == 0 || len(Range.Limits()) != 0 {
		t.Error("Limits")
	}
}
