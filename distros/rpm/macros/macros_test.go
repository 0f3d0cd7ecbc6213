package macros

import (
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	table := Standard()
	for _, definition := range []string{"foo bar", "two  %{foo} %foo ", "loop1 %loop2", "loop2 %loop1", "lines a\nb"} {
		if err := table.Define(definition); err != nil {
			t.Errorf("%q: %v", definition, err)
		}
	}
	for text, want := range map[string]string{
		"":                                  "",
		"100% of 5% % %":                    "100% of 5% % %",
		"%%foo %%{foo}":                     "%foo %{foo}",
		"%foo-%{foo}%foo":                   "bar-barbar",
		"%two":                              "bar bar",
		"%lines":                            "a\nb",
		"%{?foo}%{?none}%?none%?foo.":       "barbar.",
		"%{!?none:a}%{!?foo:b}%{?foo:c}":    "ac",
		"%{?foo:%{foo}{}}%{!?foo}":          "bar{}",
		"%{_mandir} %{_unitdir} %{_libdir}": "/usr/share/man /usr/lib/systemd/system /usr/lib64",
		"%{nil}x":                           "x",
	} {
		if got, err := table.Expand(text); err != nil || got != want {
			t.Errorf("%q becomes %q, %v; want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"%none":        "the macro %{none} is not known here; ",
		"%{none}":      "the macro %{none} is not known here; ",
		"%{foo:x}":     "the macro %{foo:x} is not known here; ",
		"%{none":       "%{none: the closing brace is missing",
		"%(id)":        "%(…) runs a shell command, ",
		"%{expand:%x}": "the macro %{expand:%x} is not known here; ",
		"%{foo bar}":   "%{foo bar} is not a macro that scriptlets can use here",
		"%loop1":       "macros refer to each other without end",
	} {
		if got, err := table.Expand(text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q becomes %q, %v; want %s", text, got, err, want)
		}
	}
	for definition, want := range map[string]string{
		"foo":        `"foo" is not the definition of a macro: `,
		"ab c":       `"ab c" is not the definition of a macro: `,
		"1abc d":     `"1abc d" is not the definition of a macro: `,
		"foo(x) bar": "the macro %foo has parameters, which scriptlets cannot use here",
		"":           `"" is not the definition of a macro: `,
	} {
		if err := table.Define(definition); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v; want %s", definition, err, want)
		}
	}
	if _, ok := Standard()["foo"]; ok {
		t.Error("a definition reached the standard macros")
	}
}

func FuzzExpand(f *testing.F) {
	for _, seed := range []string{"%foo %{foo} %{?foo:%{foo}} %% %(x)", "%{!?!foo:}", "%{{}}", "%loop", "%{?a:%{?b:%{?c:"} {
		f.Add(seed)
	}
	table := Standard()
	table["foo"], table["loop"] = "%{?_bindir:x}", "%loop%loop"
	f.Fuzz(func(t *testing.T, text string) {
		expanded, err := table.Expand(text)
		if err == nil && !strings.Contains(text, "%") && expanded != text {
			t.Errorf("%q becomes %q", text, expanded)
		}
	})
}
