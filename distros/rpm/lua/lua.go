package lua

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/distros/rpm/macros"
)

// Script is a scriptlet to run.
type Script struct {
	Name string // for messages: "%post(bash-5.1.8-9.el9.x86_64)"
	Body string
	// Args are the counts that scriptlets get as $1 and $2: here arg[2] and arg[3].
	Args []int
	// Prefixes of relocatable packages; nil when there are none.
	Prefixes []string
	// Files are what rpm.next_file returns one after the other in file triggers.
	Files []string
	// Executable is the path, in the root in which the script runs, of this program, for
	// posix.fork.
	Executable string
}

// processName is the name under which Executable is started to interpret a script. Init
// knows it again.
const processName = "imagefactory-rpm-lua"

// beginningsFile is the file descriptor from which such a process reads what to do.
const beginningsFile = 3

// beginnings are what a process starts with.
type beginnings struct {
	Script Script
	Forked bool // it is the child of posix.fork
	Log    []answer
}

// Init must be the first thing that main and TestMain of Script.Executable call. In a
// process that interprets a script it does not return.
func Init() {
	if len(os.Args) == 0 || os.Args[0] != processName {
		return
	}
	os.Exit(interpret())
}

// interpret does what the process was started for and returns its exit status.
func interpret() int {
	file := os.NewFile(beginningsFile, "beginnings")
	var b beginnings
	err := gob.NewDecoder(file).Decode(&b)
	file.Close()
	if err == nil && !b.Forked { // a child stays where its parent was
		err = unix.Chdir("/")
	}
	if err == nil {
		err = run(b.Script, &recorder{log: b.Log, forked: b.Forked})
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		return 1
	}
	if b.Forked {
		fmt.Fprintln(os.Stderr, "warning: the child of posix.fork reached the end of the script without posix.exec or os.exit")
	}
	return 0
}

// file returns a file in memory that holds b, at its beginning. The caller closes it.
func (b *beginnings) file() (*os.File, error) {
	fd, err := unix.MemfdCreate("imagefactory-lua", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "beginnings")
	if err = gob.NewEncoder(file).Encode(b); err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// Command returns a command that runs the script from the root directory, with the
// environment of this process and standard streams that the caller sets. It fails with
// exit status 1 when the script does, having printed why to its standard error. The
// caller closes the file when the command has started.
func Command(s Script) (*exec.Cmd, io.Closer, error) {
	b := beginnings{Script: s}
	file, err := b.file()
	if err != nil {
		return nil, nil, err
	}
	return &exec.Cmd{Path: s.Executable, Args: []string{processName}, ExtraFiles: []*os.File{file}}, file, nil
}

// interpreter is the state of one script.
type interpreter struct {
	script Script
	*recorder
	macros macros.Table
	hooks  map[string][]*hook
	errno  unix.Errno // of the last function of posix that failed
	taken  int        // how many of script.Files next_file has given
}

func run(s Script, r *recorder) (err error) {
	L := lua.NewState(lua.Options{SkipOpenLibs: true, IncludeGoStackTrace: false})
	defer L.Close()
	i := &interpreter{script: s, recorder: r, macros: macros.Standard(), hooks: map[string][]*hook{}}
	i.open(L)
	chunk, err := L.Load(strings.NewReader(s.Body), s.Name)
	if err != nil {
		return fmt.Errorf("the script is not Lua 5.1: %s", strings.TrimSpace(message(err)))
	}
	L.Push(chunk)
	if err := L.PCall(0, lua.MultRet, nil); err != nil {
		return errors.New(message(err))
	}
	if r.replaying() {
		return errors.New("the script did not do the same again as its parent before posix.fork; it must not depend on anything but what it asks of the system")
	}
	return nil
}

// message returns an error of the interpreter without its stack trace.
func message(err error) string {
	var api *lua.ApiError
	if errors.As(err, &api) && api.Object != lua.LNil {
		return api.Object.String()
	}
	return err.Error()
}

// open fills the state with libraries and globals.
func (i *interpreter) open(L *lua.LState) {
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.LoadLibName, lua.OpenPackage}, // first, the others enter themselves in it
		{lua.BaseLibName, lua.OpenBase},
		{lua.TabLibName, lua.OpenTable},
		{lua.StringLibName, lua.OpenString},
		{lua.MathLibName, lua.OpenMath},
		{lua.IoLibName, lua.OpenIo},
		{lua.OsLibName, lua.OpenOs},
		{lua.DebugLibName, lua.OpenDebug},
		{lua.CoroutineLibName, lua.OpenCoroutine},
	} {
		L.Push(L.NewFunction(library.open))
		L.Push(lua.LString(library.name))
		L.Call(1, 0)
	}
	if loader, ok := L.GetGlobal("package").(*lua.LTable); ok {
		loader.RawSetString("path", lua.LString("/usr/lib/rpm/lua/?.lua"))
	}
	i.openLater(L)
	i.openPosix(L)
	i.openRPM(L)
	if loaded, ok := L.GetField(L.GetGlobal("package"), "loaded").(*lua.LTable); ok {
		for _, name := range []string{"posix", "rpm"} { // for require
			loaded.RawSetString(name, L.GetGlobal(name))
		}
	}

	system := L.GetGlobal("os").(*lua.LTable)
	system.RawSetString("exit", L.NewFunction(i.exit))
	system.RawSetString("execute", L.NewFunction(i.system))
	L.SetGlobal("print", L.NewFunction(i.print))
	for _, name := range []string{"io", "os", "posix"} {
		i.recordAll(L, name, L.GetGlobal(name).(*lua.LTable))
	}
	i.recordAll(L, "file:", L.GetTypeMetatable("FILE*").(*lua.LTable))
	for _, name := range []string{"execute", "spawn", "glob", "redirect2null"} {
		i.recordOne(L, "rpm", L.GetGlobal("rpm").(*lua.LTable), name)
	}
	for _, name := range []string{"random", "randomseed"} {
		i.recordOne(L, "math", L.GetGlobal("math").(*lua.LTable), name)
	}
	i.recordOne(L, "", L.G.Global, "print")

	// rpm gives its arguments as words and makes numbers of the counts.
	arg := L.NewTable()
	arg.Append(lua.LString("<lua>"))
	for _, n := range i.script.Args {
		arg.Append(lua.LNumber(n))
	}
	L.SetGlobal("arg", arg)
	if i.script.Prefixes != nil {
		prefixes := L.NewTable()
		for _, p := range i.script.Prefixes {
			prefixes.Append(lua.LString(p))
		}
		L.SetGlobal("RPM_INSTALL_PREFIX", prefixes)
	}
}

// openLater adds what versions after 5.1 have and scriptlets use.
func (i *interpreter) openLater(L *lua.LState) {
	tables := L.GetGlobal("table").(*lua.LTable)
	tables.RawSetString("unpack", L.GetGlobal("unpack"))
	tables.RawSetString("pack", L.NewFunction(func(L *lua.LState) int {
		t := L.NewTable()
		for n := 1; n <= L.GetTop(); n++ {
			t.RawSetInt(n, L.Get(n))
		}
		t.RawSetString("n", lua.LNumber(L.GetTop()))
		L.Push(t)
		return 1
	}))
	load := L.GetGlobal("load")
	L.SetGlobal("load", L.NewFunction(func(L *lua.LState) int {
		top := L.GetTop()
		function := load
		if _, ok := L.Get(1).(lua.LString); ok {
			function, top = L.GetGlobal("loadstring"), min(top, 2)
		}
		L.Push(function)
		for n := 1; n <= top; n++ {
			L.Push(L.Get(n))
		}
		L.Call(top, 2)
		return 2
	}))
}

// print writes its arguments as rpm's print does.
func (i *interpreter) print(L *lua.LState) int {
	for n := 1; n <= L.GetTop(); n++ {
		if n > 1 {
			fmt.Fprint(os.Stdout, "\t")
		}
		fmt.Fprint(os.Stdout, L.ToStringMeta(L.Get(n)).String())
	}
	fmt.Fprintln(os.Stdout)
	return 0
}

// exit is os.exit, which rpm allows only in children: it would end rpm itself.
func (i *interpreter) exit(L *lua.LState) int {
	if !i.forked {
		L.RaiseError("exit not permitted in this context")
	}
	status := 0
	switch v := L.Get(1).(type) {
	case lua.LBool:
		if !bool(v) {
			status = 1
		}
	default:
		status = L.OptInt(1, 0)
	}
	L.Close() // flushes files
	os.Exit(status)
	return 0
}
