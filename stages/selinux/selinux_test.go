package selinux

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// realPolicy returns the directory with the file contexts of a policy that the host has
// a package of. Nothing is in force, it is only there to be read.
func realPolicy(t testing.TB) string {
	t.Helper()
	found, err := filepath.Glob("/etc/selinux/*/contexts/files/file_contexts")
	if err != nil || len(found) == 0 {
		t.Fatal("there is no /etc/selinux/*/contexts/files/file_contexts: make test installs selinux-policy-default (Debian) or selinux-policy-targeted")
	}
	return filepath.Dir(found[0])
}

// copyPolicy copies the text files of a policy, without the compiled ones that
// libselinux would prefer, and returns the path of file_contexts.
func copyPolicy(t testing.TB, dir string, local string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{"file_contexts", "file_contexts.homedirs", "file_contexts.local", "file_contexts.subs", "file_contexts.subs_dist"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if name == "file_contexts.local" {
			data, err = append(data, local...), nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := errors.Join(err, os.WriteFile(filepath.Join(to, name), data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(to, "file_contexts")
}

// policyRoot returns a tree that has the policy with the given file_contexts and the
// files beside it, and the entries.
func policyRoot(t testing.TB, st *store.Store, config, contexts string, entries ...tree.Entry) *tree.Tree {
	t.Helper()
	const dir = "etc/selinux/mine/contexts/files/"
	found, err := filepath.Glob(contexts + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, stagetest.File(t, st, dir+filepath.Base(path), string(data)))
	}
	return stagetest.Tree(t, append(entries, stagetest.File(t, st, "etc/selinux/config", config), stagetest.File(t, st, "etc/selinux/mine/policy/policy.33", "binary"))...)
}

// names are the types of files for matchpathcon -m.
var names = map[tree.Type]string{
	tree.Regular: "file", tree.Directory: "dir", tree.Symlink: "lnk_file", tree.CharDevice: "chr_file",
	tree.BlockDevice: "blk_file", tree.FIFO: "pipe", tree.Socket: "sock_file",
}

// question is a path whose label is wanted.
type question struct {
	path string
	kind tree.Type
}

// ask returns what libselinux says; "<<none>>" for no label.
func ask(t testing.TB, contexts string, questions []question) []string {
	t.Helper()
	program := "matchpathcon"
	if _, err := exec.LookPath(program); err != nil {
		program = "/usr/sbin/matchpathcon"
	}
	answers := make([]string, len(questions))
	for kind, name := range names {
		var indexes []int
		for i, q := range questions {
			if q.kind == kind {
				indexes = append(indexes, i)
			}
		}
		for part := range slices.Chunk(indexes, 2000) {
			args := []string{"-n", "-f", contexts, "-m", name}
			for _, i := range part {
				args = append(args, questions[i].path)
			}
			cmd := exec.Command(program, args...)
			cmd.Env = append(os.Environ(), "LC_ALL=C")
			out, err := cmd.CombinedOutput()
			lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
			if len(lines) != len(part) {
				t.Fatalf("matchpathcon (make test installs what the tests need): %v\n%s", err, out)
			}
			for n, i := range part {
				answers[i] = lines[n]
				if strings.HasPrefix(lines[n], "matchpathcon: ") {
					answers[i] = none
				}
			}
		}
	}
	return answers
}

// load reads contexts as Label does.
func load(t testing.TB, contextsPath string) *contexts {
	t.Helper()
	st := stagetest.Cache(t).Store
	c, err := loadContexts(files{st: st, t: policyRoot(t, st, "", contextsPath)}, "mine", Enforcing)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// compare asks libselinux and our code the same questions.
func compare(t *testing.T, contextsPath string, questions []question) {
	t.Helper()
	c := load(t, contextsPath)
	labelled := 0
	differences := 0
	for i, want := range ask(t, contextsPath, questions) {
		got, ok := c.lookup(questions[i].path, questions[i].kind)
		if !ok {
			got = none
		} else {
			labelled++
		}
		if got != want {
			if differences++; differences <= 20 {
				t.Errorf("%s %q: %s, libselinux says %s", questions[i].kind, questions[i].path, got, want)
			}
		}
	}
	t.Logf("%d paths, %d of them with a label, %d expressions, %d differences", len(questions), labelled, len(c.specs), differences)
}

// hostPaths returns up to most paths of this host.
func hostPaths(t testing.TB, most int) []question {
	t.Helper()
	var questions []question
	for _, dir := range []string{"/etc", "/bin", "/sbin", "/lib", "/lib64", "/var/lib", "/var/log", "/var/cache", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/share", "/root", "/home", "/opt", "/boot", "/dev", "/run", "/srv", "/tmp"} {
		count := 0
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { //nolint:errcheck // what cannot be read is left out
			if err != nil {
				return nil
			}
			if count++; count > most/8 {
				return filepath.SkipAll
			}
			questions = append(questions, question{path, typeOf(d.Type())})
			return nil
		})
	}
	return questions[:min(len(questions), most)]
}

func typeOf(mode fs.FileMode) tree.Type {
	switch {
	case mode.IsDir():
		return tree.Directory
	case mode&fs.ModeSymlink != 0:
		return tree.Symlink
	case mode&fs.ModeNamedPipe != 0:
		return tree.FIFO
	case mode&fs.ModeSocket != 0:
		return tree.Socket
	case mode&fs.ModeCharDevice != 0:
		return tree.CharDevice
	case mode&fs.ModeDevice != 0:
		return tree.BlockDevice
	}
	return tree.Regular
}

// A path of this host has the label libselinux gives it.
func TestHostPaths(t *testing.T) {
	compare(t, copyPolicy(t, realPolicy(t), ""), hostPaths(t, 30_000))
}

// Every expression of the policy is tried: with paths it matches, and with such that only
// begin so.
func TestEveryExpression(t *testing.T) {
	contextsPath := copyPolicy(t, realPolicy(t), "")
	random := rand.New(rand.NewPCG(1, 2))
	kinds := []tree.Type{tree.Regular, tree.Directory, tree.Symlink, tree.CharDevice, tree.BlockDevice, tree.FIFO, tree.Socket}
	var questions []question
	for _, s := range load(t, contextsPath).specs {
		expression, err := syntax.Parse(s.expression, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			kind := s.kind
			if kind == 0 || random.IntN(8) == 0 {
				kind = kinds[random.IntN(len(kinds))]
			}
			path := sample(random, expression)
			switch random.IntN(5) {
			case 0:
				path += "x"
			case 1:
				path += "/deeper.so"
			}
			if path = strings.TrimRight(path, "/"); path == "" || path[0] != '/' || strings.Contains(path, "//") {
				continue // no path of a tree
			}
			questions = append(questions, question{path, kind})
		}
	}
	compare(t, contextsPath, questions)
}

// sample returns a text that the expression matches.
func sample(random *rand.Rand, e *syntax.Regexp) string {
	repeat := func(least, most int) string {
		if most < 0 || most > least+3 {
			most = least + 3
		}
		var b strings.Builder
		for range least + random.IntN(most-least+1) {
			b.WriteString(sample(random, e.Sub[0]))
		}
		return b.String()
	}
	switch e.Op {
	case syntax.OpLiteral:
		return string(e.Rune)
	case syntax.OpCharClass:
		for range 100 {
			pair := 2 * random.IntN(len(e.Rune)/2)
			r := e.Rune[pair] + random.Int32N(min(e.Rune[pair+1], e.Rune[pair]+90)-e.Rune[pair]+1)
			if '!' <= r && r <= '~' && r != '/' {
				return string(r)
			}
		}
		return "a"
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return string("abcdefgh.-_0123456789/"[random.IntN(22)])
	case syntax.OpStar:
		return repeat(0, -1)
	case syntax.OpPlus:
		return repeat(1, -1)
	case syntax.OpQuest:
		return repeat(0, 1)
	case syntax.OpRepeat:
		return repeat(e.Min, e.Max)
	case syntax.OpCapture:
		return sample(random, e.Sub[0])
	case syntax.OpAlternate:
		return sample(random, e.Sub[random.IntN(len(e.Sub))])
	case syntax.OpConcat:
		var b strings.Builder
		for _, s := range e.Sub {
			b.WriteString(sample(random, s))
		}
		return b.String()
	}
	return ""
}

// Corners of the rules, which policies hardly touch.
func TestRules(t *testing.T) {
	const contextsText = `
# comment
  	# indented comment
/.*                         system_u:object_r:default_t:s0
/                     -d    system_u:object_r:root_t:s0
/usr(/.*)?                  system_u:object_r:usr_t:s0
/usr/lib/.*\.so(\.[^/]*)*   --    system_u:object_r:lib_t:s0
/usr/bin/.*                 system_u:object_r:bin_t:s0
/usr/bin/exact              system_u:object_r:exact_t:s0
/usr/bin/ex.*               system_u:object_r:late_t:s0
/usr/bin/dup                system_u:object_r:first_t:s0
/usr/bin/dup          -l    system_u:object_r:second_t:s0
/usr/bin/dup                --   system_u:object_r:third_t:s0 and more is ignored
/usr/bin/\[                 system_u:object_r:bracket_t:s0
/usr/bin/a\+b               system_u:object_r:plus_t:s0
/usr/bin/[[:digit:]]+       system_u:object_r:number_t:s0
/proc/.*                    <<none>>
/sys                  -d    <<none>>
/tmp/a|/tmp/b               system_u:object_r:either_t:s0
/var/(a|b)/[^/]+            system_u:object_r:var_t:s0
/var/three/...              system_u:object_r:three_t:s0
/var/colou?r                system_u:object_r:colour_t:s0
/var/x{2}                   system_u:object_r:twice_t:s0
/v\x61r/escape              system_u:object_r:escape_t:s0
/opt/es\x63ape              system_u:object_r:escape_t:s0
/opt/we\-ird/.*             system_u:object_r:weird_t:s0
/we\-ird/x                  system_u:object_r:weird_t:s0
/dev/.*               -c    system_u:object_r:char_t:s0
/dev/.*               -b    system_u:object_r:block_t:s0
/dev/.*               -p    system_u:object_r:pipe_t:s0
/dev/.*               -s    system_u:object_r:socket_t:s0
`
	dir := t.TempDir()
	for name, text := range map[string]string{
		"file_contexts":           contextsText,
		"file_contexts.homedirs":  "/home/[^/]+/.+  user_u:object_r:home_t:s0\n",
		"file_contexts.local":     "/home/[^/]+/special  user_u:object_r:local_t:s0\n/usr/bin/local.*  user_u:object_r:local_t:s0",
		"file_contexts.subs_dist": "# comment\n/bin /usr/bin\n/lib /usr/lib\n/lib /nowhere\n/lib64 /usr/lib\n/run/lock /var/lock\n",
		"file_contexts.subs":      "/mirror /bin\n/all /\nshort\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var questions []question
	for _, path := range []string{
		"/", "/x", "/usr", "/usr/", "/usr/lib", "/usr/lib/libc.so.6", "/usr/lib/x/libm.so", "/usr/libx", "/usr/bin/exact", "/usr/bin/exactly", "/usr/bin/dup",
		"/usr/bin/[", "/usr/bin/a+b", "/usr/bin/aab", "/usr/bin/12", "/usr/bin/1a", "/bin", "/bin/exact", "/binary", "/lib/libc.so", "/lib64/libc.so", "/mirror/exact", "/all/usr/bin/exact", "/all",
		"/proc", "/proc/1", "/proc/1/maps", "/sys", "/sys/x", "/tmp", "/tmp/a", "/tmp/ab", "/tmp/b", "/tmp/x/tmp/b", "/tmp/x/b", "/var/a/x", "/var/a/x/y", "/var/c/x",
		"/var/three/abc", "/var/three/abcd", "/var/three/äb", "/var/three/äö", "/var/three/\xff\xfe\xfd", "/var/color", "/var/colour", "/var/colouur", "/var/x", "/var/xx", "/var/xxx",
		"/var/escape", "/opt/escape", "/opt/es\\x63ape", "/opt/we-ird/x", "/we-ird/x", "/we\\-ird/x", "/dev/a", "/dev/äöü", "/home/me/file", "/home/me", "/home/me/special", "/home/me/special/x", "/usr/bin/locals", "/run/lock", "/run/lock/x", "/run/locked",
	} {
		for kind := range names {
			questions = append(questions, question{path, kind})
		}
	}
	slices.SortFunc(questions, func(a, b question) int { return strings.Compare(a.path, b.path) })
	compare(t, filepath.Join(dir, "file_contexts"), questions)
}

func TestParseErrors(t *testing.T) {
	for line, want := range map[string]string{
		"/x":             "line 1: /x has no context",
		"/x -y ctx":      "line 1: -y is no type of file",
		"/x(?=y) -- ctx": "line 1: expression /x(?=y): error parsing regexp",
		"\n\n/a/(b c":    "line 3: expression /a/(b: error parsing regexp: missing closing )",
		"/ä ctx":         "line 1: field 1 is not ASCII",
		`/a(.)\1 ctx`:    "line 1: expression",
	} {
		err := (&contexts{}).parse("file_contexts", []byte(line))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", line, err, want)
		}
	}
}

const simple = "/.*  u:o:default:s0\n/usr/bin/.*  --  u:o:bin:s0\n/usr/bin/b  --  u:o:b:s0\n/proc/.*  <<none>>\n"

// simplePolicy writes a file_contexts of few lines.
func simplePolicy(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file_contexts")
	if err := os.WriteFile(path, []byte(simple), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// label returns an entry's label as text, with its NUL.
func label(t testing.TB, value *tree.Tree, path string) string {
	t.Helper()
	e, ok := value.Lookup(path)
	if !ok {
		t.Fatalf("%s is missing", path)
	}
	for _, x := range e.Xattrs {
		if x.Name == xattr {
			return string(x.Value)
		}
	}
	return ""
}

func TestLabel(t *testing.T) {
	st := stagetest.Cache(t).Store
	hard := func(path string) tree.Entry {
		e := stagetest.File(t, st, path, "same")
		e.Link = 7
		return e
	}
	caps := stagetest.File(t, st, "usr/bin/capable", "x")
	caps.Xattrs = []tree.Xattr{{Name: "security.capability", Value: []byte("c")}, {Name: xattr, Value: []byte("old\x00")}, {Name: "user.x", Value: []byte("u")}}
	root := policyRoot(t, st, "SELINUX=enforcing\nSELINUXTYPE=mine\n", simplePolicy(t), caps,
		hard("usr/bin/b"), hard("usr/bin/a"), hard("proc/0"), stagetest.Link("usr/bin/l", "a"), stagetest.File(t, st, "proc/1", "x"), stagetest.File(t, st, ".autorelabel", ""))
	labelled, err := Label(st, root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		tree.Root: "u:o:default:s0\x00", "usr/bin/capable": "u:o:bin:s0\x00", "usr/bin/l": "u:o:default:s0\x00", "proc/1": "",
		// Of the three names, /proc/0 has none and /usr/bin/a comes before /usr/bin/b.
		"proc/0": "u:o:bin:s0\x00", "usr/bin/a": "u:o:bin:s0\x00", "usr/bin/b": "u:o:bin:s0\x00",
	} {
		if got := label(t, labelled, path); got != want {
			t.Errorf("%s: label %q, want %q", path, got, want)
		}
	}
	e, _ := labelled.Lookup("usr/bin/capable")
	if got := fmt.Sprint(e.Xattrs); got != fmt.Sprint([]tree.Xattr{caps.Xattrs[0], {Name: xattr, Value: []byte("u:o:bin:s0\x00")}, caps.Xattrs[2]}) {
		t.Errorf("attributes %s", got)
	}
	if _, there := labelled.Lookup(".autorelabel"); there {
		t.Error("/.autorelabel is still there")
	}
	if got := label(t, root, "usr/bin/capable"); got != "old\x00" {
		t.Errorf("the tree that was given has the label %q now", got)
	}
	again, err := Label(st, labelled, Options{Mode: Enforcing, Epoch: 5})
	if err != nil || stagetest.Save(t, st, again) != stagetest.Save(t, st, labelled) {
		t.Errorf("labelling again changes the tree (%v)", err)
	}
}

func TestMode(t *testing.T) {
	st := stagetest.Cache(t).Store
	contextsPath := simplePolicy(t)
	for _, c := range []struct{ name, before, mode, after, label string }{
		{"as it is", "SELINUX=permissive\nSELINUXTYPE=mine\n", "", "SELINUX=permissive\nSELINUXTYPE=mine\n", "u:o:default:s0\x00"},
		{"as it is, disabled", "SELINUX=disabled\nSELINUXTYPE=mine\n", "", "SELINUX=disabled\nSELINUXTYPE=mine\n", ""},
		{"changed", "# SELINUX= is\nSELINUX=enforcing\nSELINUXTYPE=mine \nSELINUX=enforcing\n", "permissive", "# SELINUX= is\nSELINUX=permissive\nSELINUXTYPE=mine \n", "u:o:default:s0\x00"},
		{"turned on", "SELINUX=disabled\nSELINUXTYPE=mine", "enforcing", "SELINUX=enforcing\nSELINUXTYPE=mine", "u:o:default:s0\x00"},
		{"turned off", "SELINUXTYPE=missing\nSELINUX=Enforcing\n", "disabled", "SELINUXTYPE=missing\nSELINUX=disabled\n", ""},
		{"added", "selinuxtype=mine", "enforcing", "selinuxtype=mine\nSELINUX=enforcing\n", "u:o:default:s0\x00"},
		{"none at all", "SELINUXTYPE=mine\n", "", "SELINUXTYPE=mine\n", "u:o:default:s0\x00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			labelled, err := Label(st, policyRoot(t, st, c.before, contextsPath), Options{Mode: c.mode, Epoch: 5})
			if err != nil {
				t.Fatal(err)
			}
			e, _ := labelled.Lookup("etc/selinux/config")
			if got := stagetest.Contents(t, st, e); got != c.after {
				t.Errorf("configuration %q, want %q", got, c.after)
			}
			if want := map[bool]int64{true: stagetest.Epoch, false: 5}[c.before == c.after]; e.MTime.Sec != want {
				t.Errorf("time %d, want %d", e.MTime.Sec, want)
			}
			if got := label(t, labelled, "etc"); got != c.label {
				t.Errorf("label %q, want %q", got, c.label)
			}
		})
	}
}

// The configuration may be a link to elsewhere.
func TestConfigLink(t *testing.T) {
	st := stagetest.Cache(t).Store
	root := stagetest.Tree(t, stagetest.Link("etc/selinux/config", "../sysconfig/selinux"), stagetest.File(t, st, "etc/sysconfig/selinux", "SELINUX=enforcing\n"))
	changed, err := Label(st, root, Options{Mode: Disabled})
	if err != nil {
		t.Fatal(err)
	}
	e, _ := changed.Lookup("etc/sysconfig/selinux")
	if got := stagetest.Contents(t, st, e); got != "SELINUX=disabled\n" {
		t.Errorf("configuration %q", got)
	}
}

func TestNoPolicy(t *testing.T) {
	st := stagetest.Cache(t).Store
	plain := stagetest.Tree(t, stagetest.Dir("etc"))
	for _, mode := range []string{"", Disabled} {
		if got, err := Label(st, plain, Options{Mode: mode}); err != nil || got != plain {
			t.Errorf("mode %q: error %v, or another tree", mode, err)
		}
	}
	config := func(text string) tree.Entry { return stagetest.File(t, st, "etc/selinux/config", text) }
	binary := stagetest.File(t, st, "etc/selinux/mls/policy/policy.31", "binary")
	for _, c := range []struct {
		root *tree.Tree
		mode string
		want PolicyError
	}{
		{plain, Enforcing, PolicyError{Enforcing, "/etc/selinux/config", "selinux-policy-targeted"}},
		{stagetest.Tree(t, config("SELINUX=enforcing\n")), "", PolicyError{Enforcing, "/etc/selinux/targeted/policy/policy.*", "selinux-policy-targeted"}},
		{stagetest.Tree(t, config("SELINUXTYPE=mls\n"), binary), Permissive, PolicyError{Permissive, "/etc/selinux/mls/contexts/files/file_contexts", "selinux-policy-mls"}},
	} {
		_, err := Label(st, c.root, Options{Mode: c.mode})
		var policy *PolicyError
		if !errors.As(err, &policy) || *policy != c.want || policy.ExitStatus() != 2 {
			t.Errorf("error %v, want %v", err, &c.want)
		}
	}
	if _, err := Label(st, plain, Options{Mode: "on"}); err == nil || !strings.Contains(err.Error(), `"on" is no mode of SELinux`) {
		t.Errorf("error %v", err)
	}
	empty := stagetest.Tree(t, config("SELINUX=enforcing\nSELINUXTYPE=mls\n"), binary, stagetest.File(t, st, "etc/selinux/mls/contexts/files/file_contexts", "# nothing\n"))
	if _, err := Label(st, empty, Options{}); err == nil || !strings.Contains(err.Error(), "file_contexts: it has no line") {
		t.Errorf("error %v", err)
	}
}

// A system that enforces its policy can use nothing that the policy does not know.
func TestUnlabelled(t *testing.T) {
	st := stagetest.Cache(t).Store
	contextsPath := filepath.Join(t.TempDir(), "file_contexts")
	if err := os.WriteFile(contextsPath, []byte("/  u:o:r:s0\n/etc(/.*)?  u:o:r:s0\n/proc(/.*)?  <<none>>\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	root := policyRoot(t, st, "SELINUX=enforcing\nSELINUXTYPE=mine\n", contextsPath, stagetest.Dir("proc/1"), stagetest.Dir("usr/bin"))
	_, err := Label(st, root, Options{})
	var unlabelled *UnlabelledError
	if !errors.As(err, &unlabelled) || !slices.Equal(unlabelled.Paths, []string{"/usr", "/usr/bin"}) || unlabelled.ExitStatus() != 2 || !strings.Contains(err.Error(), "how to label /usr and 1 more;") {
		t.Errorf("error %v", err)
	}
	if _, err := Label(st, root, Options{Mode: Permissive}); err != nil {
		t.Error(err)
	}
}

// Any policy is read or refused, and never matches beyond a path.
func FuzzContexts(f *testing.F) {
	f.Add([]byte(simple), "/usr/bin/b")
	f.Add([]byte("/a|/b c\n/x(/.*)? -d d\n/[a-z]+\\.d/.{2,3} e"), "/xy/z.d/ab")
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		c := &contexts{subs: parseSubs(data)}
		if err := c.parse("file_contexts", data); err != nil {
			return
		}
		c.sort()
		for _, s := range c.specs {
			// The short cuts say what the whole expression says.
			whole := s
			whole.literal, whole.tail = "", byExpression
			whole.regexp = mustCompile(t, s.expression)
			if got, want := s.matches(path), whole.matches(path); got != want {
				t.Errorf("%q matches %q: %v, the expression says %v", s.expression, path, got, want)
			}
		}
		c.lookup(path, tree.Regular)
	})
}

// BenchmarkLabel labels 20,000 entries by a real policy.
func BenchmarkLabel(b *testing.B) {
	st := stagetest.Cache(b).Store
	edit := policyRoot(b, st, "SELINUX=enforcing\nSELINUXTYPE=mine\n", copyPolicy(b, realPolicy(b), "")).Edit()
	for _, q := range hostPaths(b, 20_000) {
		e := tree.Entry{Path: strings.TrimPrefix(q.path, "/"), Type: q.kind, Mode: 0o644}
		switch q.kind {
		case tree.Symlink:
			e.Target = "x"
		case tree.Regular:
			e.Digest = store.Sum(nil)
		}
		if err := edit.MkdirAll(tree.Parent(e.Path), stagetest.Dir("")); err != nil || strings.HasPrefix(e.Path, "etc/selinux") {
			continue // below a symbolic link of this host, or not to be replaced
		}
		edit.Put(e)
	}
	root, err := edit.Tree()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Label(st, root, Options{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(root.Len()), "entries")
}

func mustCompile(t *testing.T, expression string) *regexp.Regexp {
	t.Helper()
	compiled, err := regexp.Compile("(?s)^" + expression + "$")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// TestDirectories is about directories that the file system would make itself.
func TestDirectories(t *testing.T) {
	st := stagetest.Cache(t).Store
	contexts := filepath.Join(t.TempDir(), "file_contexts")
	if err := os.WriteFile(contexts, []byte("/.* system_u:object_r:default_t:s0\n/lost\\+found -d system_u:object_r:lost_found_t:s0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	root := policyRoot(t, st, "SELINUX=permissive\nSELINUXTYPE=mine\n", contexts)
	labelled, err := Label(st, root, Options{Directories: []string{"/lost+found"}, Epoch: stagetest.Epoch})
	if err != nil {
		t.Fatal(err)
	}
	e, ok := labelled.Lookup("lost+found")
	want := tree.Entry{
		Path: "lost+found", Type: tree.Directory, Mode: 0o700, MTime: tree.Time{Sec: stagetest.Epoch},
		Xattrs: []tree.Xattr{{Name: "security.selinux", Value: []byte("system_u:object_r:lost_found_t:s0\x00")}},
	}
	if !ok || fmt.Sprint(e) != fmt.Sprint(want) {
		t.Errorf("it is %+v\nwant  %+v", e, want)
	}
}
