package transaction

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// fake makes a member of entries.
func fake(t testing.TB, name, version string, entries ...header.Entry) *Member {
	t.Helper()
	entries = append(entries, header.StringEntry(header.TagName, name), header.StringEntry(header.TagVersion, version), header.StringEntry(header.TagRelease, "1"),
		header.StringEntry(header.TagArch, "noarch"), header.StringsEntry(header.TagProvideName, name), header.StringsEntry(header.TagProvideVersion, version+"-1"), header.Uint32sEntry(header.TagProvideFlags, header.SenseEqual))
	// What was given comes before what is usual.
	seen := map[header.Tag]bool{}
	entries = slices.DeleteFunc(entries, func(e header.Entry) bool {
		again := seen[e.Tag]
		seen[e.Tag] = true
		return again
	})
	blob, err := header.Build(entries, header.TagHeaderImmutable)
	if err != nil {
		t.Fatal(err)
	}
	h, err := header.Parse(blob)
	if err != nil {
		t.Fatal(err)
	}
	return &Member{Header: h}
}

// files returns entries for files of one directory, which ends in a slash.
func files(directory string, names ...string) []header.Entry {
	n := len(names)
	users := slices.Repeat([]string{"root"}, n)
	return []header.Entry{
		header.StringsEntry(header.TagDirNames, directory), header.StringsEntry(header.TagBaseNames, names...),
		header.Uint32sEntry(header.TagDirIndexes, make([]uint32, n)...), header.Uint16sEntry(header.TagFileModes, slices.Repeat([]uint16{0o100644}, n)...),
		header.StringsEntry(header.TagFileUserName, users...), header.StringsEntry(header.TagFileGroupName, users...),
		header.Uint32sEntry(header.TagFileFlags, make([]uint32, n)...), header.Uint32sEntry(header.TagFileSizes, make([]uint32, n)...),
	}
}

// text shows steps, one a line.
func text(steps []Step) string {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "%s %v %q %v %q\n", s.Name(), s.Interpreter, s.Script, s.Args, s.Input)
	}
	return b.String()
}

// TestStepsCounts is about the arguments of file triggers, which depend on the version
// of rpm in the image.
func TestStepsCounts(t *testing.T) {
	trigger := []header.Entry{
		header.StringsEntry(header.TagFileTriggerScripts, "each"), header.StringsEntry(header.TagFileTriggerScriptProg, "/bin/sh"),
		header.StringsEntry(header.TagFileTriggerName, "/etc"), header.StringsEntry(header.TagFileTriggerVersion, ""), header.Uint32sEntry(header.TagFileTriggerFlags, header.SenseTriggerIn), header.Uint32sEntry(header.TagFileTriggerIndex, 0),
		header.StringsEntry(header.TagTransFileTriggerScripts, "after"), header.StringsEntry(header.TagTransFileTriggerScriptProg, "<lua>"),
		header.StringsEntry(header.TagTransFileTriggerName, "/etc"), header.StringsEntry(header.TagTransFileTriggerVersion, ""), header.Uint32sEntry(header.TagTransFileTriggerFlags, header.SenseTriggerIn), header.Uint32sEntry(header.TagTransFileTriggerIndex, 0),
	}
	for version, want := range map[string]string{
		"4.14.2": "%filetriggerin(a-1-1.noarch) [/bin/sh] \"each\" [0] [\"/etc/k\"]\n%filetriggerin(a-1-1.noarch) [/bin/sh] \"each\" [0] [\"/etc/k\"]\n%transfiletriggerin(a-1-1.noarch) [<lua>] \"after\" [0] [\"/etc/k\" \"/etc/k\"]\n",
		"4.20.0": "%filetriggerin(a-1-1.noarch) [/bin/sh] \"each\" [1 1] [\"/etc/k\"]\n%filetriggerin(a-1-1.noarch) [/bin/sh] \"each\" [1 2] [\"/etc/k\"]\n%transfiletriggerin(a-1-1.noarch) [<lua>] \"after\" [1] [\"/etc/k\" \"/etc/k\"]\n",
		"":       "%filetriggerin(a-1-1.noarch) [/bin/sh] \"each\" [1 1] [\"/etc/k\"]\n%filetriggerin(a-1-1.noarch) [/bin/sh] \"each\" [1 2] [\"/etc/k\"]\n%transfiletriggerin(a-1-1.noarch) [<lua>] \"after\" [1] [\"/etc/k\" \"/etc/k\"]\n",
	} {
		members := []*Member{fake(t, "a", "1", trigger...), fake(t, "kernel", "1", files("/etc/", "k")...), fake(t, "kernel", "2", files("/etc/", "k")...)}
		if version != "" {
			members = append(members, fake(t, "rpm", version))
		}
		steps, err := Steps(members)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(steps); got != want {
			t.Errorf("with rpm %q:\n%swant\n%s", version, got, want)
		}
	}
}

// TestStepsOfSeveralVersions is about packages like kernels, of which several are
// installed at once.
func TestStepsOfSeveralVersions(t *testing.T) {
	scripts := []header.Entry{
		header.StringEntry(header.TagPreTrans, "1"), header.StringEntry(header.TagPreTransProg, "<lua>"),
		header.StringEntry(header.TagPreIn, "2"), header.StringEntry(header.TagPostIn, "3"), header.StringEntry(header.TagPostTrans, "4"),
	}
	steps, err := Steps([]*Member{fake(t, "k", "1", scripts...), fake(t, "k", "2", scripts...)})
	if err != nil {
		t.Fatal(err)
	}
	const want = `%pretrans(k-1-1.noarch) [<lua>] "1" [1] []
%pretrans(k-2-1.noarch) [<lua>] "1" [1] []
%pre(k-1-1.noarch) [/bin/sh] "2" [1] []
%post(k-1-1.noarch) [/bin/sh] "3" [1] []
%pre(k-2-1.noarch) [/bin/sh] "2" [2] []
%post(k-2-1.noarch) [/bin/sh] "3" [2] []
%posttrans(k-1-1.noarch) [/bin/sh] "4" [2] []
%posttrans(k-2-1.noarch) [/bin/sh] "4" [2] []
`
	if got := text(steps); got != want {
		t.Errorf("steps\n%swant\n%s", got, want)
	}
}

// padded returns a line as rpm puts it into a version: base64 without its own padding.
func padded(line string) string {
	for len(line)%3 != 0 {
		line += "\x00"
	}
	return base64.StdEncoding.EncodeToString([]byte(line))
}

func TestStepsSysusers(t *testing.T) {
	entries := append(files("/usr/lib/sysusers.d/", "a.conf", "b.conf"),
		header.StringsEntry(header.TagProvideName, "group(one)", "user(one)", "user(two)", "groupmember(one/two)", "config(a)"),
		header.StringsEntry(header.TagProvideVersion, "", padded("u one - \"The one\""), padded("u two 5"), padded("m one two"), "1"),
		header.Uint32sEntry(header.TagProvideFlags, 0, header.SenseEqual, header.SenseEqual, header.SenseEqual, header.SenseEqual|header.SenseConfig),
		header.Uint32sEntry(header.TagFileDependsX, 0, 2), header.Uint32sEntry(header.TagFileDependsN, 2, 1),
		header.Uint32sEntry(header.TagDependsDict, 'P'<<24, 'P'<<24|1, 'P'<<24|2),
		header.StringEntry(header.TagPreIn, "pre"))
	steps, err := Steps([]*Member{fake(t, "a", "1", entries...)})
	if err != nil {
		t.Fatal(err)
	}
	const want = `%sysusers(a-1-1.noarch) [] "" [] ["u one - \"The one\""]
%sysusers(a-1-1.noarch) [] "" [] ["u two 5"]
%sysusers(a-1-1.noarch) [] "" [] ["m one two"]
%pre(a-1-1.noarch) [/bin/sh] "pre" [1] []
`
	if got := text(steps); got != want {
		t.Errorf("steps\n%swant\n%s", got, want)
	}
	for i, replace := range []string{"/usr/lib/sysusers.d/a.conf", "/usr/lib/sysusers.d/b.conf", ""} {
		if steps[i].Replace != replace || !steps[i].Critical {
			t.Errorf("step %d is %+v", i, steps[i])
		}
	}
	_, err = Steps([]*Member{fake(t, "a", "1", header.StringsEntry(header.TagProvideName, "user(x)"), header.StringsEntry(header.TagProvideVersion, "!"), header.Uint32sEntry(header.TagProvideFlags, header.SenseEqual))})
	if want := "package a-1-1.noarch, %sysusers: what the package provides as user(x) = ! is not base64: "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v", err)
	}
}

func TestStepsExpandScripts(t *testing.T) {
	for _, test := range []struct {
		flags        uint32
		script, want string
		problem      string
	}{
		{0, "%{name} %%", "%{name} %%", ""},
		{expandsMacros, "%{_bindir}/x %_sysconfdir 100%% 5 % 3", "/usr/bin/x /etc 100% 5 % 3", ""},
		{expandsMacros, "%{?nothing:x}%{!?nothing:y}%{?_bindir}", "y/usr/bin", ""},
		{expandsMacros, "%{name}", "", "the macro %{name} is not known here; only rpm's standard directories and what the script defines are"},
		{expandsMacros, "%(date)", "", "%(…) runs a shell command, which is not possible when macros of a scriptlet are expanded"},
		{expandsMacros, "%{lua:x}", "", "the macro %{lua:x} is not known here; only rpm's standard directories and what the script defines are"},
		{expandsMacros, "%{_bindir", "", "%{_bindir: the closing brace is missing"},
		{isQueryFormat, `%{NAME} %{version}-%{RPMTAG_RELEASE} %{epoch} %% \n\[\\`, "a 1-1 (none) % \n[\\", ""},
		{isQueryFormat, "%{BASENAMES}", "", "its query format asks for %{BASENAMES}, which is not supported"},
		{isQueryFormat, "[%{NAME}]", "", "its query format has a '[', which is not supported; write \\[ where it is meant as it stands"},
		{isQueryFormat, "%name", "", "its query format has a % that begins no %{TAG}"},
		{isQueryFormat, `x\`, "", "its query format ends in a backslash"},
		{isQueryFormat | expandsMacros, "%%{NAME} %_bindir", "a /usr/bin", ""},
	} {
		steps, err := Steps([]*Member{fake(t, "a", "1", header.StringEntry(header.TagPostIn, test.script), header.Uint32sEntry(header.TagPostInFlags, test.flags))})
		switch {
		case test.problem != "":
			if want := "package a-1-1.noarch, %post: " + test.problem; err == nil || err.Error() != want {
				t.Errorf("%q: error %v, want %s", test.script, err, want)
			}
		case err != nil:
			t.Errorf("%q: %v", test.script, err)
		case steps[0].Script != test.want:
			t.Errorf("%q becomes %q, want %q", test.script, steps[0].Script, test.want)
		}
	}
}

// TestStepsOfBrokenTriggers is about headers whose arrays do not fit together.
func TestStepsOfBrokenTriggers(t *testing.T) {
	name, version, flags := header.StringsEntry(header.TagTriggerName, "x"), header.StringsEntry(header.TagTriggerVersion, ""), header.Uint32sEntry(header.TagTriggerFlags, header.SenseTriggerIn)
	scripts, index := header.StringsEntry(header.TagTriggerScripts, "s"), header.Uint32sEntry(header.TagTriggerIndex, 0)
	for want, entries := range map[string][]header.Entry{
		"the header has 1 conditions with 0 versions, 0 flags and 0 indexes": {name},
		"the header has 1 conditions with 1 versions, 1 flags and 0 indexes": {name, version, flags, scripts},
		"the condition x: version \"a b\" contains":                          {name, header.StringsEntry(header.TagTriggerVersion, "a b"), header.Uint32sEntry(header.TagTriggerFlags, header.SenseTriggerIn|header.SenseEqual), scripts, index},
	} {
		_, err := Steps([]*Member{fake(t, "a", "1", entries...)})
		if want := "package a-1-1.noarch, %triggerin: " + want; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	steps, err := Steps([]*Member{fake(t, "x", "1"), fake(t, "a", "1", name, version, flags, scripts, index)})
	if got, want := text(steps), "%triggerin(a-1-1.noarch) [/bin/sh] \"s\" [1 1] []\n"; err != nil || got != want {
		t.Errorf("%s%v, want %s", got, err, want)
	}
}

func TestRichOperands(t *testing.T) {
	for rich, want := range map[string]string{
		"(a and b)":                                  "a, b",
		"(a or b or (c and d >= 2:1-1))":             "a, b, c, d >= 2:1-1",
		"(a if b else c)":                            "a",
		"((a and b) unless c)":                       "a, b",
		"(a with b with c)":                          "a",
		"(libc.so.6(GLIBC_2.2)(64bit) and b(x) < 3)": "libc.so.6(GLIBC_2.2)(64bit), b(x) < 3",
		"( a  and  b )":                              "a, b",
		"(a)":                                        "a",
	} {
		operands, err := richOperands(rich)
		var names []string
		for _, o := range operands {
			names = append(names, o.String())
		}
		if got := strings.Join(names, ", "); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", rich, got, err, want)
		}
	}
	for _, bad := range []string{"(a", "(a b)", "()", "(a and)", "(a and b) c", "(a >= )", "(", strings.Repeat("(", 100)} {
		if operands, err := richOperands(bad); err == nil || !strings.HasPrefix(err.Error(), "the rich dependency "+bad+": ") {
			t.Errorf("%s: %v, %v", bad, operands, err)
		}
	}
}

func FuzzRichOperands(f *testing.F) {
	for _, seed := range []string{"(a and b)", "(a if (b or c) else d)", "(x()(64bit) >= 1:2-3 with y)", "((((", "(a unless b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !strings.HasPrefix(text, "(") {
			return
		}
		operands, err := richOperands(text)
		if err == nil && len(operands) == 0 {
			t.Errorf("%q has no operands and no error", text)
		}
	})
}

// FuzzSteps makes headers with triggers of arbitrary numbers.
func FuzzSteps(f *testing.F) {
	f.Add("x\x00y", "1\x00", []byte{0, 1, 0, 0}, []byte{0, 1}, "s\x00t", "%{_bindir}", uint32(3))
	f.Add("/etc", "", []byte{0, 1, 0, 0}, []byte{0}, "s", "x", uint32(0))
	f.Fuzz(func(t *testing.T, names, versions string, flags, indexes []byte, scripts, script string, scriptFlags uint32) {
		split := func(s string) []string { return strings.Split(s, "\x00") }
		numbers := func(p []byte, scale uint32) []uint32 {
			n := []uint32{}
			for _, b := range p {
				n = append(n, uint32(b)*scale)
			}
			return n
		}
		if len(flags) == 0 || len(indexes) == 0 || strings.Contains(script, "\x00") {
			return
		}
		var entries []header.Entry
		for _, tags := range []triggerTags{packageTags, fileTags, transFileTags} {
			entries = append(entries, header.StringsEntry(tags.name, split(names)...), header.StringsEntry(tags.version, split(versions)...),
				header.Uint32sEntry(tags.flags, numbers(flags, 1<<16|8)...), header.Uint32sEntry(tags.index, numbers(indexes, 1)...), header.StringsEntry(tags.scripts, split(scripts)...))
			if tags.priorities != 0 {
				entries = append(entries, header.Uint32sEntry(tags.priorities, numbers(indexes, 7000)...))
			}
		}
		entries = append(entries, header.StringEntry(header.TagPostIn, script), header.Uint32sEntry(header.TagPostInFlags, scriptFlags))
		blob, err := header.Build(append(entries, header.StringEntry(header.TagName, "a")), header.TagHeaderImmutable)
		if err != nil {
			return
		}
		h, err := header.Parse(blob)
		if err != nil {
			return
		}
		other := fake(t, "x", "1", files("/etc/", "f")...)
		if _, err := Steps([]*Member{other, {Header: h}, other}); err != nil && !strings.HasPrefix(err.Error(), "package a-") {
			t.Errorf("error %v", err)
		}
	})
}
