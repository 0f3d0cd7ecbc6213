package lua

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"
	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/distros/rpm/accounts"
)

// openPosix makes the library posix.
func (i *interpreter) openPosix(L *lua.LState) {
	functions := map[string]lua.LGFunction{
		"access": i.access, "chdir": i.onPath(unix.Chdir), "chmod": i.chmod, "chown": i.chown, "dir": i.dir,
		"files": i.listFiles, "getcwd": i.getcwd, "link": i.onPaths(unix.Link), "symlink": i.onPaths(unix.Symlink),
		"mkdir":  i.onPath(func(p string) error { return unix.Mkdir(p, 0o777) }),
		"mkfifo": i.onPath(func(p string) error { return unix.Mkfifo(p, 0o777) }),
		"rmdir":  i.onPath(unix.Rmdir), "unlink": i.onPath(unix.Unlink), "readlink": i.readlink, "stat": i.stat,
		"umask": i.umask, "utime": i.utime, "mkstemp": i.mkstemp, "pathconf": i.pathconf,

		"errno": i.getErrno, "exec": i.exec, "fork": i.fork, "wait": i.wait, "kill": i.kill, "sleep": i.sleep,
		"getenv": i.getenv, "setenv": i.setenv, "unsetenv": i.unsetenv, "putenv": i.putenv,
		"getprocessid": i.getprocessid, "getgroup": i.getgroup, "getpasswd": i.getpasswd, "getlogin": i.getlogin,
		"setuid": i.setuid, "setgid": i.setgid, "ctermid": i.ctermid, "ttyname": i.ttyname, "times": i.times,
		"uname": i.uname, "sysconf": i.sysconf, "redirect2null": i.redirectToNull,
	}
	module := L.NewTable()
	for _, name := range sortedNames(functions) {
		module.RawSetString(name, L.NewFunction(functions[name]))
	}
	module.RawSetString("version", lua.LString("posix library of imagefactory"))
	L.SetGlobal("posix", module)
}

// sortedNames makes the order in which pairs goes through a library the same in every
// process.
func sortedNames(functions map[string]lua.LGFunction) []string {
	names := make([]string, 0, len(functions))
	for name := range functions {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// strerror returns the C library's text of an error, which begins with a capital.
func strerror(errno unix.Errno) string {
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// fail returns what functions return after an error: nil, its text, its number.
func (i *interpreter) fail(L *lua.LState, err error, info string) int {
	errno := unix.EIO
	errors.As(err, &errno)
	i.errno = errno
	text := strerror(errno)
	if info != "" {
		text = info + ": " + text
	}
	L.Push(lua.LNil)
	L.Push(lua.LString(text))
	L.Push(lua.LNumber(errno))
	return 3
}

// result returns 0, or an error as fail does.
func (i *interpreter) result(L *lua.LState, err error, info string) int {
	if err != nil {
		return i.fail(L, err, info)
	}
	L.Push(lua.LNumber(0))
	return 1
}

// onPath is a function of one path.
func (i *interpreter) onPath(do func(string) error) lua.LGFunction {
	return func(L *lua.LState) int {
		path := L.CheckString(1)
		return i.result(L, do(path), path)
	}
}

// onPaths is a function of two paths.
func (i *interpreter) onPaths(do func(string, string) error) lua.LGFunction {
	return func(L *lua.LState) int {
		return i.result(L, do(L.CheckString(1), L.CheckString(2)), "")
	}
}

// A field is what a selector names: selecting without one gives all of them.
type field struct {
	name  string
	value lua.LValue
}

// selection returns the field that argument n names, or a table of all.
func selection(L *lua.LState, n int, fields []field) int {
	if L.GetTop() < n {
		t := L.NewTable()
		for _, f := range fields {
			t.RawSetString(f.name, f.value)
		}
		L.Push(t)
		return 1
	}
	name := L.CheckString(n)
	for _, f := range fields {
		if f.name == name {
			L.Push(f.value)
			return 1
		}
	}
	L.ArgError(n, "invalid option '"+name+"'")
	return 0
}

func (i *interpreter) access(L *lua.LState) int {
	path, mode := L.CheckString(1), uint32(unix.F_OK)
	for _, c := range L.OptString(2, "f") {
		switch c {
		case 'r':
			mode |= unix.R_OK
		case 'w':
			mode |= unix.W_OK
		case 'x':
			mode |= unix.X_OK
		case 'f', ' ':
		default:
			L.ArgError(2, "unknown mode option '"+string(c)+"'")
		}
	}
	return i.result(L, unix.Access(path, mode), path)
}

func (i *interpreter) chmod(L *lua.LState) int {
	path, text := L.CheckString(1), L.CheckString(2)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return i.fail(L, err, path)
	}
	mode, ok := changeMode(st.Mode&0o7777, text)
	if !ok {
		L.ArgError(2, "bad mode")
	}
	return i.result(L, unix.Chmod(path, mode), path)
}

// ownerID returns the number that argument n is or names; -1, which changes nothing,
// when there is no argument or no such name.
func ownerID(L *lua.LState, n int, find func(*accounts.Database, string) (uint32, bool)) int {
	switch v := L.Get(n).(type) {
	case *lua.LNilType:
		if L.GetTop() < n {
			return -1
		}
	case lua.LNumber:
		return int(v)
	case lua.LString:
		if number := lua.LVAsNumber(v); lua.LVCanConvToString(v) && isNumeral(string(v)) {
			return int(number)
		}
		if d, err := accounts.Read(""); err == nil {
			if id, ok := find(d, string(v)); ok {
				return int(id)
			}
		}
		return -1
	}
	L.TypeError(n, lua.LTString)
	return -1
}

func isNumeral(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func userID(d *accounts.Database, name string) (uint32, bool) {
	u, ok := d.User(name)
	return u.UID, ok
}

func groupID(d *accounts.Database, name string) (uint32, bool) {
	g, ok := d.Group(name)
	return g.GID, ok
}

func (i *interpreter) chown(L *lua.LState) int {
	path := L.CheckString(1)
	uid, gid := ownerID(L, 2, userID), ownerID(L, 3, groupID)
	return i.result(L, unix.Chown(path, uid, gid), path)
}

// names returns what is in a directory, sorted, which readdir(3) leaves open.
func names(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	list := []string{".", ".."}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list, nil
}

func (i *interpreter) dir(L *lua.LState) int {
	path := L.OptString(1, ".")
	list, err := names(path)
	if err != nil {
		return i.fail(L, err, path)
	}
	t := L.NewTable()
	for _, name := range list {
		t.Append(lua.LString(name))
	}
	L.Push(t)
	return 1
}

func (i *interpreter) listFiles(L *lua.LState) int {
	path := L.OptString(1, ".")
	list, err := names(path)
	if err != nil {
		return i.fail(L, err, path)
	}
	L.Push(L.NewFunction(func(L *lua.LState) int {
		if len(list) == 0 {
			L.Push(lua.LNil)
			return 1
		}
		L.Push(lua.LString(list[0]))
		list = list[1:]
		return 1
	}))
	return 1
}

func (i *interpreter) getcwd(L *lua.LState) int {
	dir, err := unix.Getwd()
	if err != nil {
		return i.fail(L, err, ".")
	}
	L.Push(lua.LString(dir))
	return 1
}

func (i *interpreter) readlink(L *lua.LState) int {
	path := L.CheckString(1)
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlink(path, buffer)
	if err != nil {
		return i.fail(L, err, path)
	}
	L.Push(lua.LString(buffer[:n]))
	return 1
}

// fileTypes are the names of posix.stat.
var fileTypes = map[uint32]string{
	unix.S_IFREG: "regular", unix.S_IFLNK: "link", unix.S_IFDIR: "directory", unix.S_IFCHR: "character device",
	unix.S_IFBLK: "block device", unix.S_IFIFO: "fifo", unix.S_IFSOCK: "socket",
}

func (i *interpreter) stat(L *lua.LState) int {
	path := L.CheckString(1)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return i.fail(L, err, path)
	}
	return selection(L, 2, []field{
		{"mode", lua.LString(modeString(st.Mode))},
		{"ino", lua.LNumber(st.Ino)}, {"dev", lua.LNumber(st.Dev)}, {"nlink", lua.LNumber(st.Nlink)},
		{"uid", lua.LNumber(st.Uid)}, {"gid", lua.LNumber(st.Gid)}, {"size", lua.LNumber(st.Size)},
		{"atime", lua.LNumber(st.Atim.Sec)}, {"mtime", lua.LNumber(st.Mtim.Sec)}, {"ctime", lua.LNumber(st.Ctim.Sec)},
		{"type", lua.LString(fileTypes[st.Mode&unix.S_IFMT])}, {"_mode", lua.LNumber(st.Mode)},
	})
}

func (i *interpreter) umask(L *lua.LState) int {
	old := unix.Umask(0)
	unix.Umask(old)
	mode := uint32(^old) & 0o777
	if L.GetTop() >= 1 {
		changed, ok := changeMode(mode, L.CheckString(1))
		if !ok {
			L.Push(lua.LNil)
			return 1
		}
		mode = changed & 0o777
		unix.Umask(int(^mode & 0o777))
	}
	L.Push(lua.LString(modeString(mode)))
	return 1
}

func (i *interpreter) utime(L *lua.LState) int {
	now := lua.LNumber(time.Now().Unix())
	path, mtime, atime := L.CheckString(1), L.OptNumber(2, now), L.OptNumber(3, now)
	times := []unix.Timeval{unix.NsecToTimeval(int64(atime) * 1e9), unix.NsecToTimeval(int64(mtime) * 1e9)}
	return i.result(L, unix.Utimes(path, times), path)
}

// mkstemp makes a file with a name of its own and opens it for appending.
func (i *interpreter) mkstemp(L *lua.LState) int {
	template := L.CheckString(1)
	prefix, ok := strings.CutSuffix(template, "XXXXXX")
	if !ok {
		return i.fail(L, unix.EINVAL, template)
	}
	for n := 0; ; n++ {
		path := prefix + randomName()
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) && n < 100 {
			continue
		}
		if err != nil {
			return i.fail(L, err, template)
		}
		file.Close()
		open := L.GetField(L.GetGlobal("io"), "open")
		L.Push(open)
		L.Push(lua.LString(path))
		L.Push(lua.LString("a+"))
		L.Call(2, 1)
		handle := L.Get(-1)
		L.Pop(1)
		L.Push(handle)
		L.Push(lua.LString(path))
		return 2
	}
}

// The limits of Linux's common file systems; rpm asks pathconf(3), which has most of
// them as constants.
func (i *interpreter) pathconf(L *lua.LState) int {
	path := L.CheckString(1)
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return i.fail(L, err, path)
	}
	return selection(L, 2, []field{
		{"link_max", lua.LNumber(127)}, {"max_canon", lua.LNumber(255)}, {"max_input", lua.LNumber(255)},
		{"name_max", lua.LNumber(st.Namelen)}, {"path_max", lua.LNumber(unix.PathMax)}, {"pipe_buf", lua.LNumber(4096)},
		{"chown_restricted", lua.LNumber(1)}, {"no_trunc", lua.LNumber(1)}, {"vdisable", lua.LNumber(0)},
	})
}
