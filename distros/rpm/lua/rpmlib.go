package lua

import (
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	lua "github.com/yuin/gopher-lua"
	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/distros/rpm"
)

// openRPM makes the library rpm and the table macros.
func (i *interpreter) openRPM(L *lua.LState) {
	functions := map[string]lua.LGFunction{
		"b64encode": i.encode64, "b64decode": i.decode64, "define": i.define, "undefine": i.undefine,
		"expand": i.expand, "isdefined": i.isDefined, "execute": i.execute, "spawn": i.spawn, "glob": i.glob,
		"vercmp": i.compareVersions, "ver": i.newVersion, "register": i.register, "unregister": i.unregister,
		"call": i.callHooks, "redirect2null": i.redirectToNull,
	}
	for _, name := range []string{"open", "load", "interactive"} {
		functions[name] = func(L *lua.LState) int {
			L.RaiseError("rpm.%s is not available to scriptlets in imagefactory", name)
			return 0
		}
	}
	if i.script.Files != nil {
		functions["next_file"], functions["next_line"], functions["input"] = i.nextFile, i.nextFile, i.nextFile
	}
	module := L.NewTable()
	for _, name := range sortedNames(functions) {
		module.RawSetString(name, L.NewFunction(functions[name]))
	}
	L.SetGlobal("rpm", module)

	metatable := L.NewTable()
	metatable.RawSetString("__index", L.NewFunction(func(L *lua.LState) int {
		name := L.CheckString(2)
		if _, ok := i.macros[name]; !ok {
			L.Push(lua.LNil)
			return 1
		}
		return i.pushExpanded(L, "%{"+name+"}")
	}))
	metatable.RawSetString("__newindex", L.NewFunction(func(L *lua.LState) int {
		if name, body := L.CheckString(2), L.Get(3); body == lua.LNil {
			delete(i.macros, name)
		} else if err := i.macros.Define(name + " " + body.String()); err != nil {
			L.RaiseError("%v", err)
		}
		return 0
	}))
	table := L.NewTable()
	L.SetMetatable(table, metatable)
	L.SetGlobal("macros", table)
	i.openVersions(L)
}

func (i *interpreter) encode64(L *lua.LState) int {
	text := base64.StdEncoding.EncodeToString([]byte(L.CheckString(1)))
	width := L.OptInt(2, 64) // rpm's default line length
	width -= width % 4       // whole groups
	if width <= 0 {
		L.Push(lua.LString(text))
		return 1
	}
	var b strings.Builder
	for line := range slices.Chunk([]byte(text), width) {
		b.Write(line)
		b.WriteByte('\n')
	}
	L.Push(lua.LString(b.String()))
	return 1
}

func (i *interpreter) decode64(L *lua.LState) int {
	data, err := base64.StdEncoding.DecodeString(L.CheckString(1)) // which passes over newlines
	if err != nil {
		L.Push(lua.LNil)
		return 1
	}
	L.Push(lua.LString(data))
	return 1
}

func (i *interpreter) define(L *lua.LState) int {
	if err := i.macros.Define(L.CheckString(1)); err != nil {
		L.RaiseError("error defining macro: %v", err)
	}
	return 0
}

func (i *interpreter) undefine(L *lua.LState) int {
	delete(i.macros, L.CheckString(1))
	return 0
}

func (i *interpreter) expand(L *lua.LState) int {
	return i.pushExpanded(L, L.CheckString(1))
}

func (i *interpreter) pushExpanded(L *lua.LState, text string) int {
	expanded, err := i.macros.Expand(text)
	if err != nil {
		L.RaiseError("error expanding macro: %v", err)
	}
	L.Push(lua.LString(expanded))
	return 1
}

func (i *interpreter) isDefined(L *lua.LState) int {
	_, ok := i.macros[L.CheckString(1)]
	L.Push(lua.LBool(ok))
	L.Push(lua.LFalse) // none has parameters
	return 2
}

// nextFile returns the next file that set off a file trigger, and nil after the last.
func (i *interpreter) nextFile(L *lua.LState) int {
	if i.taken == len(i.script.Files) {
		L.Push(lua.LNil)
		return 1
	}
	L.Push(lua.LString(i.script.Files[i.taken]))
	i.taken++
	return 1
}

// spawnAndWait runs argv, found in PATH, with files as its standard streams.
func spawnAndWait(argv []string, files [3]*os.File) (status syscall.WaitStatus, err error) {
	program, err := exec.LookPath(argv[0])
	if errors.Is(err, exec.ErrNotFound) {
		err = unix.ENOENT
	}
	if err != nil {
		return 0, err
	}
	pid, err := syscall.ForkExec(program, argv, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{files[0].Fd(), files[1].Fd(), files[2].Fd()},
	})
	if err != nil {
		return 0, err
	}
	for {
		_, err = syscall.Wait4(pid, &status, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			return status, err
		}
	}
}

// standardStreams are those of this process.
var standardStreams = [3]*os.File{os.Stdin, os.Stdout, os.Stderr}

// system is os.execute as since Lua 5.2: true or nil, "exit" or "signal", its number.
func (i *interpreter) system(L *lua.LState) int {
	if L.GetTop() == 0 { // whether there is a shell
		L.Push(lua.LBool(unix.Access("/bin/sh", unix.X_OK) == nil))
		return 1
	}
	status, err := spawnAndWait([]string{"/bin/sh", "-c", L.CheckString(1)}, standardStreams)
	kind, number := "exit", status.ExitStatus()
	switch {
	case err != nil:
		number = 127
	case status.Signaled():
		kind, number = "signal", int(status.Signal())
	}
	L.Push(lua.LTrue)
	if number != 0 {
		L.Replace(-1, lua.LNil)
	}
	L.Push(lua.LString(kind))
	L.Push(lua.LNumber(number))
	return 3
}

// runProgram is spawnAndWait which pushes 0, or nil, a reason and the exit status or
// signal, as rpm does since 4.20.
func (i *interpreter) runProgram(L *lua.LState, argv []string, files [3]*os.File) int {
	status, err := spawnAndWait(argv, files)
	switch {
	case err != nil:
		return i.fail(L, err, "posix_spawnp")
	case status.ExitStatus() == 0:
		L.Push(lua.LNumber(0))
		return 1
	}
	reason, code := "exit code", status.ExitStatus()
	if status.Signaled() {
		reason, code = "exit signal", int(status.Signal())
	}
	L.Push(lua.LNil)
	L.Push(lua.LString(reason))
	L.Push(lua.LNumber(code))
	return 3
}

func (i *interpreter) execute(L *lua.LState) int {
	var argv []string
	for n := 1; n <= max(L.GetTop(), 1); n++ {
		argv = append(argv, L.CheckString(n))
	}
	return i.runProgram(L, argv, standardStreams)
}

// spawn is execute with arguments in a table and streams redirected to files.
func (i *interpreter) spawn(L *lua.LState) int {
	var argv []string
	command := L.CheckTable(1)
	for n := 1; n <= command.Len(); n++ {
		argv = append(argv, command.RawGetInt(n).String())
	}
	if len(argv) == 0 {
		L.ArgError(1, "command not supplied")
	}
	files := standardStreams
	if actions := L.OptTable(2, nil); actions != nil {
		for key, target := actions.Next(lua.LNil); key != lua.LNil; key, target = actions.Next(key) {
			at := slices.Index([]string{"stdin", "stdout", "stderr"}, key.String())
			if at < 0 {
				L.ArgError(2, "invalid spawn directive: "+key.String())
			}
			flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
			if at == 0 {
				flags = os.O_RDONLY
			}
			file, err := os.OpenFile(target.String(), flags, 0o644)
			if err != nil {
				return i.fail(L, err, target.String())
			}
			defer file.Close()
			files[at] = file
		}
	}
	return i.runProgram(L, argv, files)
}

// glob returns the paths that match; with the flag c, the pattern when none does.
func (i *interpreter) glob(L *lua.LState) int {
	pattern, flags := L.CheckString(1), L.OptString(2, "")
	matched, err := filepath.Glob(pattern)
	if err != nil {
		L.RaiseError("glob %s failed: %v", pattern, err)
	}
	if len(matched) == 0 && strings.Contains(flags, "c") {
		matched = []string{pattern}
	}
	t := L.NewTable()
	for _, path := range matched {
		t.Append(lua.LString(path))
	}
	L.Push(t)
	return 1
}

// A hook is a function that was registered for a name.
type hook struct {
	name     string
	function *lua.LFunction
}

func (i *interpreter) register(L *lua.LState) int {
	h := &hook{L.CheckString(1), L.CheckFunction(2)}
	i.hooks[h.name] = append(i.hooks[h.name], h)
	handle := L.NewUserData()
	handle.Value = h
	L.Push(handle)
	return 1
}

func (i *interpreter) unregister(L *lua.LState) int {
	name := L.CheckString(1)
	h, ok := L.CheckUserData(2).Value.(*hook)
	if !ok {
		L.ArgError(2, "hook information expected")
	}
	i.hooks[name] = slices.DeleteFunc(i.hooks[name], func(other *hook) bool { return other == h })
	return 0
}

func (i *interpreter) callHooks(L *lua.LState) int {
	arguments := L.NewTable()
	for n := 2; n <= L.GetTop(); n++ {
		arguments.Append(L.Get(n))
	}
	for _, h := range slices.Clone(i.hooks[L.CheckString(1)]) {
		L.Push(h.function)
		L.Push(arguments)
		L.Call(1, 0)
	}
	return 0
}

// versionType is the metatable of what rpm.ver returns.
const versionType = "rpm.ver"

func (i *interpreter) compareVersions(L *lua.LState) int {
	L.Push(lua.LNumber(rpm.CompareEVR(checkVersion(L, 1), checkVersion(L, 2))))
	return 1
}

// checkVersion returns argument n, a version or its text.
func checkVersion(L *lua.LState, n int) rpm.EVR {
	if u, ok := L.Get(n).(*lua.LUserData); ok {
		if v, ok := u.Value.(rpm.EVR); ok {
			return v
		}
	}
	v, err := rpm.ParseEVR(L.CheckString(n))
	if err != nil {
		L.ArgError(n, "invalid version: "+err.Error())
	}
	return v
}

func (i *interpreter) newVersion(L *lua.LState) int {
	var v rpm.EVR
	if L.GetTop() <= 1 {
		v = checkVersion(L, 1)
	} else {
		if e := L.Get(1); e != lua.LNil {
			epoch, err := strconv.ParseUint(e.String(), 10, 32)
			if err != nil {
				L.ArgError(1, "invalid epoch number")
			}
			v.Epoch = uint32(epoch)
		}
		v.Version = L.CheckString(2)
		if L.Get(3) != lua.LNil {
			v.Release = L.CheckString(3)
		}
	}
	handle := L.NewUserData()
	handle.Value = v
	L.SetMetatable(handle, L.GetTypeMetatable(versionType))
	L.Push(handle)
	return 1
}

// openVersions makes versions comparable and gives them the fields e, v and r.
func (i *interpreter) openVersions(L *lua.LState) {
	metatable := L.NewTypeMetatable(versionType)
	for name, holds := range map[string]func(int) bool{
		"__eq": func(c int) bool { return c == 0 },
		"__lt": func(c int) bool { return c < 0 },
		"__le": func(c int) bool { return c <= 0 },
	} {
		metatable.RawSetString(name, L.NewFunction(func(L *lua.LState) int {
			L.Push(lua.LBool(holds(rpm.CompareEVR(checkVersion(L, 1), checkVersion(L, 2)))))
			return 1
		}))
	}
	metatable.RawSetString("__tostring", L.NewFunction(func(L *lua.LState) int {
		L.Push(lua.LString(checkVersion(L, 1).String()))
		return 1
	}))
	metatable.RawSetString("__index", L.NewFunction(func(L *lua.LState) int {
		v := checkVersion(L, 1)
		field := lua.LValue(lua.LNil)
		switch L.CheckString(2) {
		case "e":
			if v.Epoch != 0 {
				field = lua.LString(strconv.FormatUint(uint64(v.Epoch), 10))
			}
		case "v":
			field = lua.LString(v.Version)
		case "r":
			if v.Release != "" {
				field = lua.LString(v.Release)
			}
		}
		L.Push(field)
		return 1
	}))
}
