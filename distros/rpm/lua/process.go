package lua

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	lua "github.com/yuin/gopher-lua"
	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/distros/rpm/accounts"
)

// fork starts a child as the package's documentation says.
func (i *interpreter) fork(L *lua.LState) int {
	if i.replaying() {
		return i.replay(L, "posix.fork")
	}
	pid, err := i.startChild()
	if err != nil {
		i.note(answer{Function: "posix.fork", Values: []value{{}, {Kind: isString, S: err.Error()}}})
		return i.fail(L, err, "")
	}
	i.note(answer{Function: "posix.fork", Values: []value{{Kind: isNumber, N: float64(pid)}}})
	L.Push(lua.LNumber(pid))
	return 1
}

// startChild starts the interpreter that replays the script up to this fork.
func (i *interpreter) startChild() (pid int, err error) {
	returnsZero := answer{Function: "posix.fork", Values: []value{{Kind: isNumber}}}
	b := beginnings{Script: i.script, Forked: true, Log: append(slices.Clone(i.log), returnsZero)}
	file, err := b.file()
	if err != nil {
		return 0, err
	}
	defer file.Close()
	return syscall.ForkExec(i.script.Executable, []string{processName}, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2, file.Fd()},
	})
}

// exec replaces the child by a program, found in PATH.
func (i *interpreter) exec(L *lua.LState) int {
	path := L.CheckString(1)
	argv := []string{path}
	for n := 2; n <= L.GetTop(); n++ {
		argv = append(argv, L.CheckString(n))
	}
	if !i.forked {
		L.RaiseError("exec not permitted in this context")
	}
	program, err := exec.LookPath(path)
	if err == nil {
		err = unix.Exec(program, argv, os.Environ())
	} else if errors.Is(err, exec.ErrNotFound) {
		err = unix.ENOENT
	}
	return i.fail(L, err, path)
}

func (i *interpreter) wait(L *lua.LState) int {
	pid := L.OptInt(1, -1)
	for {
		got, err := syscall.Wait4(pid, nil, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return i.fail(L, err, "")
		}
		L.Push(lua.LNumber(got))
		return 1
	}
}

func (i *interpreter) kill(L *lua.LState) int {
	return i.result(L, unix.Kill(L.CheckInt(1), syscall.Signal(L.OptInt(2, int(unix.SIGTERM)))), "")
}

func (i *interpreter) sleep(L *lua.LState) int {
	time.Sleep(time.Duration(L.CheckInt(1)) * time.Second)
	L.Push(lua.LNumber(0))
	return 1
}

func (i *interpreter) getErrno(L *lua.LState) int {
	text := "Success"
	if i.errno != 0 {
		text = strerror(i.errno)
	}
	L.Push(lua.LString(text))
	L.Push(lua.LNumber(i.errno))
	return 2
}

func (i *interpreter) getenv(L *lua.LState) int {
	if L.GetTop() == 0 {
		t := L.NewTable()
		for _, v := range os.Environ() {
			name, text, _ := strings.Cut(v, "=")
			t.RawSetString(name, lua.LString(text))
		}
		L.Push(t)
		return 1
	}
	if v, ok := os.LookupEnv(L.CheckString(1)); ok {
		L.Push(lua.LString(v))
	} else {
		L.Push(lua.LNil)
	}
	return 1
}

func (i *interpreter) setenv(L *lua.LState) int {
	name, text := L.CheckString(1), L.CheckString(2)
	_, there := os.LookupEnv(name)
	if there && L.Get(3) != lua.LNil && lua.LVIsFalse(L.Get(3)) {
		return i.result(L, nil, "")
	}
	return i.result(L, os.Setenv(name, text), name)
}

func (i *interpreter) unsetenv(L *lua.LState) int {
	os.Unsetenv(L.CheckString(1))
	return 0
}

// putenv sets "NAME=text", and removes "NAME", as the C library does.
func (i *interpreter) putenv(L *lua.LState) int {
	whole := L.CheckString(1)
	name, text, sets := strings.Cut(whole, "=")
	if !sets {
		return i.result(L, os.Unsetenv(name), whole)
	}
	return i.result(L, os.Setenv(name, text), whole)
}

func (i *interpreter) getprocessid(L *lua.LState) int {
	return selection(L, 1, []field{
		{"egid", lua.LNumber(unix.Getegid())}, {"euid", lua.LNumber(unix.Geteuid())},
		{"gid", lua.LNumber(unix.Getgid())}, {"uid", lua.LNumber(unix.Getuid())},
		{"pgrp", lua.LNumber(unix.Getpgrp())}, {"pid", lua.LNumber(unix.Getpid())}, {"ppid", lua.LNumber(unix.Getppid())},
	})
}

// account returns what argument n names by name or number, from the root's files.
func account[T any](L *lua.LState, n int, byName func(*accounts.Database, string) (T, bool), byID func(*accounts.Database, uint32) (T, bool)) (T, bool) {
	var none T
	d, err := accounts.Read("")
	if err != nil {
		return none, false
	}
	switch v := L.Get(n).(type) {
	case lua.LNumber:
		return byID(d, uint32(v))
	case lua.LString:
		if isNumeral(string(v)) {
			return byID(d, uint32(lua.LVAsNumber(v)))
		}
		return byName(d, string(v))
	}
	L.TypeError(n, lua.LTString)
	return none, false
}

func (i *interpreter) getpasswd(L *lua.LState) int {
	if L.Get(1) == lua.LNil {
		if L.GetTop() == 0 {
			L.Push(lua.LNumber(unix.Geteuid()))
		} else {
			L.Replace(1, lua.LNumber(unix.Geteuid()))
		}
	}
	u, ok := account(L, 1, (*accounts.Database).User, (*accounts.Database).UserID)
	if !ok {
		L.Push(lua.LNil)
		return 1
	}
	return selection(L, 2, []field{
		{"name", lua.LString(u.Name)}, {"uid", lua.LNumber(u.UID)}, {"gid", lua.LNumber(u.GID)}, {"dir", lua.LString(u.Home)},
		{"shell", lua.LString(u.Shell)}, {"gecos", lua.LString(u.Comment)}, {"passwd", lua.LString(u.Password)},
	})
}

func (i *interpreter) getgroup(L *lua.LState) int {
	g, ok := account(L, 1, (*accounts.Database).Group, (*accounts.Database).GroupID)
	if !ok {
		L.Push(lua.LNil)
		return 1
	}
	t := L.NewTable()
	t.RawSetString("name", lua.LString(g.Name))
	t.RawSetString("gid", lua.LNumber(g.GID))
	for _, m := range g.Members {
		t.Append(lua.LString(m))
	}
	L.Push(t)
	return 1
}

// getlogin finds nobody: scriptlets have no terminal.
func (i *interpreter) getlogin(L *lua.LState) int {
	L.Push(lua.LNil)
	return 1
}

func (i *interpreter) setuid(L *lua.LState) int {
	return i.result(L, syscall.Setuid(ownerID(L, 1, userID)), "")
}

func (i *interpreter) setgid(L *lua.LState) int {
	return i.result(L, syscall.Setgid(ownerID(L, 1, groupID)), "")
}

func (i *interpreter) ctermid(L *lua.LState) int {
	L.Push(lua.LString("/dev/tty"))
	return 1
}

// ttyname finds nothing: scriptlets have no terminal.
func (i *interpreter) ttyname(L *lua.LState) int {
	L.OptInt(1, 0)
	L.Push(lua.LNil)
	return 1
}

// clocksPerSecond is the unit rpm divides times by (CLOCKS_PER_SEC), though the
// kernel counts in ticks of 1/100 s.
const clocksPerSecond = 1_000_000

func (i *interpreter) times(L *lua.LState) int {
	var t unix.Tms
	elapsed, err := unix.Times(&t)
	if err != nil {
		return i.fail(L, err, "")
	}
	return selection(L, 1, []field{
		{"utime", lua.LNumber(float64(t.Utime) / clocksPerSecond)}, {"stime", lua.LNumber(float64(t.Stime) / clocksPerSecond)},
		{"cutime", lua.LNumber(float64(t.Cutime) / clocksPerSecond)}, {"cstime", lua.LNumber(float64(t.Cstime) / clocksPerSecond)},
		{"elapsed", lua.LNumber(float64(elapsed) / clocksPerSecond)},
	})
}

func (i *interpreter) uname(L *lua.LState) int {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return i.fail(L, err, "")
	}
	format := L.OptString(1, "%s %n %r %v %m")
	var b strings.Builder
	for n := 0; n < len(format); n++ {
		if format[n] != '%' || n+1 == len(format) {
			b.WriteByte(format[n])
			continue
		}
		n++
		switch format[n] {
		case '%':
			b.WriteByte('%')
		case 'm':
			b.WriteString(unix.ByteSliceToString(u.Machine[:]))
		case 'n':
			b.WriteString(unix.ByteSliceToString(u.Nodename[:]))
		case 'r':
			b.WriteString(unix.ByteSliceToString(u.Release[:]))
		case 's':
			b.WriteString(unix.ByteSliceToString(u.Sysname[:]))
		case 'v':
			b.WriteString(unix.ByteSliceToString(u.Version[:]))
		default:
			L.ArgError(1, "unknown format option '"+string(format[n])+"'")
		}
	}
	L.Push(lua.LString(b.String()))
	return 1
}

// sysconf returns limits as the GNU C library does on Linux.
func (i *interpreter) sysconf(L *lua.LState) int {
	limit := func(resource int) lua.LNumber {
		var l unix.Rlimit
		if unix.Getrlimit(resource, &l) != nil || l.Cur == unix.RLIM_INFINITY {
			return -1
		}
		return lua.LNumber(l.Cur)
	}
	arguments := lua.LNumber(2 << 20) // a quarter of the stack
	if stack := limit(unix.RLIMIT_STACK); stack > 0 {
		arguments = max(stack/4, 131072)
	}
	return selection(L, 1, []field{
		{"arg_max", arguments}, {"child_max", limit(unix.RLIMIT_NPROC)}, {"clk_tck", lua.LNumber(100)},
		{"ngroups_max", lua.LNumber(65536)}, {"stream_max", lua.LNumber(16)}, {"tzname_max", lua.LNumber(-1)},
		{"open_max", limit(unix.RLIMIT_NOFILE)}, {"job_control", lua.LNumber(1)}, {"saved_ids", lua.LNumber(1)},
		{"version", lua.LNumber(200809)},
	})
}

// redirectToNull makes a file descriptor that of /dev/null, in a child.
func (i *interpreter) redirectToNull(L *lua.LState) int {
	target := L.CheckInt(1)
	if !i.forked {
		L.RaiseError("silly or unsafe fd redirection")
	}
	fd, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return i.fail(L, err, "")
	}
	defer unix.Close(fd)
	return i.result(L, unix.Dup3(fd, target, 0), "")
}

// randomName returns six characters for the name of a temporary file.
func randomName() string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	name := make([]byte, 6)
	for n := range name {
		name[n] = letters[rand.IntN(len(letters))]
	}
	return string(name)
}
