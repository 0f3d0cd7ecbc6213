package lua

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	Init()
	os.Exit(m.Run())
}

// prelude defines show, which writes values with their types in a form that does not
// depend on the version of Lua.
const prelude = `
local function text(v)
  if type(v) == 'number' then return string.format('%.14g', v) end
  if type(v) ~= 'table' then return type(v) == 'function' and 'function' or tostring(v) end
  local keys = {}
  for k in pairs(v) do keys[#keys + 1] = k end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  local s = ''
  for _, k in ipairs(keys) do s = s .. text(k) .. '=' .. text(v[k]) .. ' ' end
  return '{' .. s .. '}'
end
function show(...)
  for i = 1, select('#', ...) do
    local v = select(i, ...)
    io.write(type(v), ' ', text(v), '\n')
  end
end
function try(f, ...)
  local r = {pcall(f, ...)}
  if r[1] then show(select(2, unpack and unpack(r) or table.unpack(r))) else io.write('error\n') end
end
`

// interpretScript runs a script in a process of its own and returns what it printed.
func interpretScript(t testing.TB, s Script) (string, error) {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.Executable = executable
	if s.Name == "" {
		s.Name = "test"
	}
	cmd, file, err := Command(s)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C"}
	err = cmd.Run()
	return out.String(), err
}

// interpretByRPM does the same with the Lua inside the host's rpm.
func interpretByRPM(t testing.TB, body string) string {
	t.Helper()
	path, err := exec.LookPath("rpm")
	if err != nil {
		t.Fatalf("%v: make test installs what the tests need", err)
	}
	cmd := exec.Command(path, "--eval", "%{lua:"+body+"}")
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C"}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", body, err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// TestFunctionsLikeRPM compares functions of the libraries with rpm's, one by one. D is a
// directory with some files.
func TestFunctionsLikeRPM(t *testing.T) {
	for _, body := range []string{
		`show(posix.access('D/file'), posix.access('D/file', 'rw'), posix.access('D/none'))`,
		`show(posix.access('D/none', 'x'))`,
		`try(posix.access, 'D/file', 'q')`,
		`show(posix.access('D/dir', 'x'), posix.access('D/dangling', 'f'))`,
		`show(posix.mkdir('D/new'), posix.stat('D/new', 'type'), posix.stat('D/new', 'mode'))`,
		`show(posix.mkdir('D/dir'))`,
		`show(posix.mkdir('D/none/x'))`,
		`show(posix.rmdir('D/dir'))`,
		`show(posix.rmdir('D/empty'), posix.access('D/empty'))`,
		`show(posix.unlink('D/file'), posix.unlink('D/file'))`,
		`show(posix.unlink('D/dir'))`,
		`show(posix.symlink('target', 'D/new'), posix.readlink('D/new'))`,
		`show(posix.symlink('target', 'D/file'))`,
		`show(posix.readlink('D/file'))`,
		`show(posix.link('D/file', 'D/new'), posix.stat('D/new', 'nlink'))`,
		`show(posix.link('D/none', 'D/new'))`,
		`show(posix.mkfifo('D/fifo'), posix.stat('D/fifo', 'type'), posix.stat('D/fifo', 'mode'))`,
		`show(posix.chdir('D/dir'), posix.getcwd())`,
		`show(posix.chdir('D/none'))`,
		`show(posix.chmod('D/file', 600), posix.stat('D/file', 'mode'))`,
		`show(posix.chmod('D/file', '4755'), posix.stat('D/file', 'mode'), posix.stat('D/file', '_mode'))`,
		`show(posix.chmod('D/file', 'rwxr-x--x'), posix.stat('D/file', 'mode'))`,
		`show(posix.chmod('D/file', 'rwsr-s--x'), posix.stat('D/file', 'mode'))`,
		`show(posix.chmod('D/file', 'u+x,go-r'), posix.stat('D/file', 'mode'))`,
		`show(posix.chmod('D/file', 'a=r'), posix.stat('D/file', 'mode'))`,
		`show(posix.chmod('D/file', '+x'), posix.stat('D/file', 'mode'))`,
		`show(posix.chmod('D/file', 'u+s'), posix.stat('D/file', 'mode'))`,
		`show(posix.chmod('D/file', 'u=rwx,g=rx'), posix.stat('D/file', 'mode'))`,
		`try(posix.chmod, 'D/file', 'nonsense')`,
		`try(posix.chmod, 'D/file', '9')`,
		`show(posix.chmod('D/none', '644'))`,
		`show(posix.chown('D/file', 1, 2), posix.stat('D/file', 'uid'), posix.stat('D/file', 'gid'))`,
		`show(posix.chown('D/file', 'daemon', 'bin'), posix.stat('D/file', 'uid'), posix.stat('D/file', 'gid'))`,
		`show(posix.chown('D/file', 'daemon'), posix.stat('D/file', 'uid'), posix.stat('D/file', 'gid'))`,
		`show(posix.chown('D/file', 'no-such-user', 'no-such-group'), posix.stat('D/file', 'uid'))`,
		`show(posix.chown('D/none', 0, 0))`,
		`local l = posix.dir('D'); table.sort(l); show(l)`,
		`show(posix.dir('D/none'))`,
		`local l = {}; for f in posix.files('D') do l[#l + 1] = f end; table.sort(l); show(l)`,
		`show(posix.files('D/none'))`,
		`show(posix.stat('D/link', 'type'), posix.stat('D/dir', 'type'), posix.stat('/dev/null', 'type'), posix.stat('D/file', 'size'))`,
		`local s = posix.stat('D/file'); local l = {}; for k in pairs(s) do l[#l + 1] = k end; table.sort(l); show(l, s.size, s.mode, s.type, s.nlink)`,
		`show(posix.stat('D/none'))`,
		`try(posix.stat, 'D/file', 'nonsense')`,
		`show(posix.utime('D/file', 1000, 2000), posix.stat('D/file', 'mtime'), posix.stat('D/file', 'atime'))`,
		`show(posix.utime('D/none', 1))`,
		`show(posix.umask()); show(posix.umask('rwxr-x---')); show(posix.umask(22)); show(posix.umask('g-w')); show(posix.umask('nonsense'))`,
		`posix.umask(77); show(posix.mkdir('D/new'), posix.stat('D/new', 'mode'))`,
		`posix.unlink('D/none'); show(posix.errno())`,
		`show(posix.getenv('HOME'), posix.getenv('NONE'), posix.getenv().HOME)`,
		`show(posix.setenv('A', 'b'), posix.getenv('A'), posix.setenv('A', 'c', false), posix.getenv('A'), posix.setenv('A', 'd', true), posix.getenv('A')); show(posix.unsetenv('A')); show(posix.getenv('A'))`,
		`show(posix.putenv('A=b'), posix.getenv('A'))`,
		`show(posix.setenv('A', 'b')); show(os.getenv('A'))`,
		`show(posix.getpasswd('root'), posix.getpasswd(0, 'name'), posix.getpasswd('daemon', 'uid'), posix.getpasswd('no-such-user'), posix.getpasswd().name)`,
		`show(posix.getgroup('root'), posix.getgroup(0), posix.getgroup('no-such-group'))`,
		`try(posix.getgroup)`,
		`try(posix.getpasswd, {})`,
		`show(posix.getprocessid('uid'), posix.getprocessid('euid'), posix.getprocessid('gid'), posix.getprocessid('egid'))`,
		`try(posix.getprocessid, 'nonsense')`,
		`local l = {}; for k in pairs(posix.getprocessid()) do l[#l + 1] = k end; table.sort(l); show(l)`,
		`show(posix.uname('%s %n %r %v %m %%'), posix.uname())`,
		`try(posix.uname, '%q')`,
		`show(posix.ctermid(), posix.sysconf('clk_tck'), posix.sysconf('open_max'), posix.sysconf('job_control'), posix.sysconf('version'))`,
		`show(posix.sysconf())`,
		`show(posix.pathconf('/', 'name_max'), posix.pathconf('/', 'path_max'), posix.pathconf('/', 'pipe_buf'))`,
		`try(posix.sysconf, 'nonsense')`,
		`local l = {}; for k in pairs(posix.times()) do l[#l + 1] = k end; table.sort(l); show(l)`,
		`show(posix.sleep(0))`,
		`show(posix.kill(posix.getprocessid('pid'), 0), posix.wait(-1))`,
		`local l = {}; for k in pairs(posix) do l[#l + 1] = k end; table.sort(l); for _, k in ipairs(l) do if k ~= 'version' and k ~= 'redirect2null' then show(k) end end`,

		`show(rpm.vercmp('1.0', '1.1'), rpm.vercmp('2:1-1', '1:9-9'), rpm.vercmp('1-1', '1-1'), rpm.vercmp('1.0~rc1', '1.0'), rpm.vercmp('1^git', '1'))`,
		`local v = rpm.ver('5:1.0-2'); show(tostring(v), v.e, v.v, v.r); show(rpm.ver('1.0').e, rpm.ver('1.0').r)`,
		`local v = rpm.ver(3, '5a', 1); show(tostring(v))`,
		`show(rpm.ver('1') < rpm.ver('2'), rpm.ver('1-1') == rpm.ver('1-1'), rpm.ver('2') <= rpm.ver('1'))`,
		`show(rpm.b64encode('hello')); show(rpm.b64encode(string.rep('x', 100))); show(rpm.b64encode(string.rep('x', 20), 10)); show(rpm.b64encode(string.rep('x', 20), 0))`,
		`show(rpm.b64decode('aGVsbG8='), rpm.b64decode('aGVs\nbG8='), rpm.b64decode('???'))`,
		`rpm.define('foo 1 2'); show(rpm.expand('%{foo}'), rpm.expand('%foo'), rpm.expand('%{?foo}x%{?nofoo}y%{!?nofoo:z}%{?foo:w}'), rpm.isdefined('foo'), rpm.isdefined('nofoo')); rpm.undefine('foo'); show(rpm.isdefined('foo'))`,
		`show(rpm.expand('%{_sysconfdir} %{_bindir} %{_var} %{_datadir} %{_localstatedir} %{_prefix} %{_libexecdir} %{_tmppath} %{_mandir} %{_infodir} %%'))`,
		`show(macros._sysconfdir, macros.nonsense); macros.foo = 'bar'; show(macros.foo, rpm.expand('%foo')); macros.foo = nil; show(macros.foo)`,
		`show(rpm.execute('true'))`,
		`show(rpm.execute('no-such-program'))`,
		`rpm.execute('sh', '-c', 'echo $0 $1 >D/new', 'a', 'b'); for l in io.lines('D/new') do show(l) end`,
		`local h = rpm.register('myhook', function(a) show(a) end); rpm.call('myhook', 'x', 2); rpm.unregister('myhook', h); rpm.call('myhook', 'y')`,
		`try(posix.exec, '/bin/true')`,
		`try(os.exit, 0)`,
		`try(rpm.redirect2null, 1)`,

		`local pid = posix.fork(); if pid == 0 then posix.exec('/bin/sh', '-c', 'echo child $1 >D/new', 'sh', 'x') elseif pid > 0 then show(posix.wait(pid) == pid) end; for l in io.lines('D/new') do show(l) end`,
		`local pid = posix.fork(); if pid == 0 then show(posix.exec('/no/such/program')); io.stdout:flush(); os.exit(1) end; posix.wait(pid); show('parent')`,
		`posix.chdir('D'); posix.setenv('X', 'y'); posix.umask(77); local pid = posix.fork(); if pid == 0 then posix.exec('/bin/sh', '-c', 'pwd >o; echo $X >>o; umask >>o') end; posix.wait(pid); for l in io.lines('D/o') do show(l) end`,
		`for i = 1, 3 do local pid = posix.fork(); if pid == 0 then posix.exec('/bin/sh', '-c', 'echo ' .. i .. ' >>D/new') end; posix.wait(pid) end; for l in io.lines('D/new') do show(l) end`,
		`local n = 0; for l in io.lines('D/file') do n = n + 1 end; local s = posix.stat('D/file'); local pid = posix.fork(); if pid == 0 then posix.exec('/bin/sh', '-c', string.format('echo %d %d >D/new', n, s.size)) end; posix.wait(pid); for l in io.lines('D/new') do show(l) end`,
		`local pid = posix.fork(); if pid == 0 then local p2 = posix.fork(); if p2 == 0 then posix.exec('/bin/sh', '-c', 'echo inner >>D/new') end; posix.wait(p2); posix.exec('/bin/sh', '-c', 'echo outer >>D/new') end; posix.wait(pid); for l in io.lines('D/new') do show(l) end`,

		`show(require('posix') == posix, require('rpm') == rpm, require('io') == io, require('string') == string)`,
		`local t = table.pack(1, nil, 3); show(t.n, table.unpack({1, 2, 3}))`,
		`show(load('return 1 + 1')(), (load('syntax error here')))`,
		`goto done; show('not here'); ::done:: show('done')`,
		`local f = io.open('D/new', 'w'); f:write('a\n', 'b\n', 3); f:close(); f = io.open('D/new'); show(f:read('*l'), f:read('*a')); f:close()`,
		`show((io.open('D/none')))`,
		`show(os.rename('D/file', 'D/new'), posix.access('D/new'))`,
		`show((os.remove('D/none')))`,
		`show(type(os.time()), os.execute())`,
		`show(os.execute('true')); show(os.execute('exit 3')); show(os.execute('kill -9 $$')); show(os.execute('no-such-program 2>/dev/null'))`,
	} {
		t.Run("", func(t *testing.T) {
			run := func(do func(string) string) string {
				dir := t.TempDir()
				for _, d := range []string{"dir/sub", "empty"} {
					if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
						t.Fatal(err)
					}
				}
				if err := os.WriteFile(filepath.Join(dir, "file"), []byte("one\ntwo\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink("file", filepath.Join(dir, "link")); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink("nowhere", filepath.Join(dir, "dangling")); err != nil {
					t.Fatal(err)
				}
				return strings.ReplaceAll(do(strings.ReplaceAll(prelude+body, "D", dir)), dir, "D")
			}
			got := run(func(body string) string {
				out, err := interpretScript(t, Script{Body: body})
				if err != nil {
					return out + err.Error()
				}
				return out
			})
			want := run(func(body string) string { return interpretByRPM(t, body) + "\n" })
			if strings.TrimSpace(got) != strings.TrimSpace(want) {
				t.Errorf("%s\ngives\n%s\nin rpm\n%s", body, got, want)
			}
		})
	}
}

// TestFunctions is about what the host's rpm does not have yet, or does otherwise on
// purpose.
func TestFunctions(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct{ body, want string }{
		{`rpm.execute('sh', '-c', '>D/f1; >D/f2'); show(rpm.glob('D/f*'), rpm.glob('D/none*'))`, "table {1=D/f1 2=D/f2 }\ntable {}\n"},
		{`show(rpm.glob('D/none*', 'c'))`, "table {1=D/none* }\n"},
		{`show(rpm.execute('sh', '-c', 'exit 3'))`, "nil nil\nstring exit code\nnumber 3\n"},
		{`show(rpm.spawn({'sh', '-c', 'echo out; echo err >&2; kill -9 $$'}, {stdout = 'D/out', stderr = '/dev/null'})); for l in io.lines('D/out') do show(l) end`, "nil nil\nstring exit signal\nnumber 9\nstring out\n"},
		{`show(rpm.spawn({'cat'}, {stdin = 'D/out'}))`, "out\nnumber 0\n"},
		{`try(rpm.spawn, {'true'}, {nonsense = 'x'})`, "error\n"},
		// rpm crashes when it ends after this.
		{`local f, p = posix.mkstemp('D/tmp-XXXXXX'); f:write('text'); f:close(); show(posix.stat(p, 'size'), posix.stat(p, 'mode')); os.remove(p)`, "number 4\nstring rw-------\n"},
		{`local f, p = posix.mkstemp('D/tmp-XXXXXX'); print(setmetatable({}, {__tostring = function() return posix.stat(p, 'mode') end})); local pid = posix.fork(); if pid == 0 then posix.exec('/bin/sh', '-c', 'rm ' .. p) end; posix.wait(pid); show(posix.access(p) == nil)`, "rw-------\nboolean true\n"},
		{`show(posix.mkstemp('D/tmp'))`, "nil nil\nstring D/tmp: Invalid argument\nnumber 22\n"},
		{`print('a', 1, nil, true)`, "a\t1\tnil\ttrue\n"},
		{`show(#arg, arg[1], arg[2], arg[3], RPM_INSTALL_PREFIX, rpm.next_file)`, "number 3\nstring <lua>\nnumber 1\nnumber 2\nnil nil\nnil nil\n"},
		{`local pid = posix.fork(); if pid == 0 then rpm.redirect2null(1); rpm.redirect2null(2); posix.exec('/bin/sh', '-c', 'echo hidden; echo hidden >&2') end; posix.wait(pid); show('seen')`, "string seen\n"},
		{`for f in posix.files('D') do print(f) end; local pid = posix.fork(); if pid == 0 then os.exit(0) end; posix.wait(pid)`, ".\n..\nf1\nf2\nout\n"},
		{`math.randomseed(1); local r = math.random(); local pid = posix.fork(); if pid == 0 then posix.exec('/bin/sh', '-c', 'echo ' .. r .. ' >D/r') end; posix.wait(pid); for l in io.lines('D/r') do show(tonumber(l) == tonumber(tostring(r))) end`, "boolean true\n"},
		{`local c = coroutine.wrap(function() local pid = posix.fork(); if pid == 0 then posix.exec('/bin/sh', '-c', 'echo in a coroutine >D/c') end; coroutine.yield(pid) end); posix.wait(c()); for l in io.lines('D/c') do show(l) end`, "string in a coroutine\n"},
		{`local ok = pcall(posix.access, 'D', 'q'); local pid = posix.fork(); if pid == 0 then os.exit(ok and 1 or 0) end; posix.wait(pid); show(ok)`, "boolean false\n"},
	} {
		out, err := interpretScript(t, Script{Body: strings.ReplaceAll(prelude+test.body, "D", dir), Args: []int{1, 2}})
		if err != nil || strings.ReplaceAll(out, dir, "D") != test.want {
			t.Errorf("%s\ngives\n%s%v\nwant\n%s", test.body, out, err, test.want)
		}
	}
}

func TestFailures(t *testing.T) {
	for body, want := range map[string]string{
		`error('reason')`:           "error: test:1: reason\n",
		`error({})`:                 "error: table: ",
		`local x = = 1`:             "error: the script is not Lua 5.1: test line:1(column:11) near '='",
		`rpm.expand('%{nonsense}')`: "error: test:1: error expanding macro: the macro %{nonsense} is not known here; only rpm's standard directories and what the script defines are\n",
		`rpm.open('/x')`:            "error: test:1: rpm.open is not available to scriptlets in imagefactory\n",
		`os.exit(0)`:                "error: test:1: exit not permitted in this context\n",
		`posix.nonsense()`:          "error: test:1: attempt to call a non-function object\n",
		`local f = io.open('/etc/passwd'); local pid = posix.fork(); if pid == 0 then f:read() end; posix.wait(pid); error('parent')`:                                           "error: test:1: a file opened before posix.fork cannot be used in its child by imagefactory's Lua; open it after the fork\nerror: test:1: parent\n",
		`local i = io.lines('/etc/passwd'); local pid = posix.fork(); if pid == 0 then i() end; posix.wait(pid); error('parent')`:                                               "error: test:1: an iterator made before posix.fork cannot be used in its child by imagefactory's Lua\nerror: test:1: parent\n",
		`local pid = posix.fork(); if pid > 0 then posix.wait(pid); error('parent') end`:                                                                                        "warning: the child of posix.fork reached the end of the script without posix.exec or os.exit\nerror: test:1: parent\n",
		`local t = tostring({}); if t:sub(-1) < '8' then posix.getcwd() else posix.umask() end; local pid = posix.fork(); if pid > 0 then posix.wait(pid); error('parent') end`: "",
	} {
		out, err := interpretScript(t, Script{Body: body})
		if err == nil || !strings.HasPrefix(out, want) {
			t.Errorf("%s\nsays %s%v\nwant %s", body, out, err, want)
		}
	}
}

// TestFiles is about what file triggers read.
func TestFiles(t *testing.T) {
	script := Script{Files: []string{"/a", "/b"}, Body: `
		print(rpm.next_file())
		local pid = posix.fork()
		if pid == 0 then
			print('child', rpm.next_file())
			os.exit(0)
		end
		posix.wait(pid)
		print('parent', rpm.next_file(), rpm.next_file())`}
	out, err := interpretScript(t, script)
	if want := "/a\nchild\t/b\nparent\t/b\tnil\n"; err != nil || out != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
}

// BenchmarkScript is what a script costs: a process of its own.
func BenchmarkScript(b *testing.B) {
	for b.Loop() {
		if out, err := interpretScript(b, Script{Body: "posix.access('/')"}); err != nil {
			b.Fatal(err, out)
		}
	}
}
