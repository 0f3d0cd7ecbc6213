package rpm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseDependency(t *testing.T) {
	for s, want := range map[string]Dependency{
		"bash":                      {Name: "bash"},
		" bash  >=  5 ":             {Name: "bash", Sense: Greater | Equal, EVR: EVR{Version: "5"}},
		"a =< 1:2-3":                {Name: "a", Sense: Less | Equal, EVR: EVR{1, "2", "3"}},
		"font(:lang=en)":            {Name: "font(:lang=en)"},
		"/bin/sh":                   {Name: "/bin/sh"},
		"(a if b)":                  {Name: "(a if b)"},
		"libc.so.6(GLIBC_2)(64bit)": {Name: "libc.so.6(GLIBC_2)(64bit)"},
	} {
		got, err := ParseDependency(s)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", s, got, err, want)
		}
		if again, err := ParseDependency(got.String()); err != nil || again != got {
			t.Errorf("%q is written as %q and read as %+v, %v", s, got, again, err)
		}
	}
	for s, text := range map[string]string{
		"":         "is empty",
		"a b":      "neither a name nor of the form",
		"a ~ 1":    `"~" is not one of`,
		"a = x:1":  `epoch "x"`,
		"a = 1 b":  "neither a name",
		"(a and":   "closing parenthesis",
		"(a)(b)":   `"(b)" follows its end`,
		"(a and b": "closing parenthesis is missing",
	} {
		if _, err := ParseDependency(s); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v, want an error with %q", s, err, text)
		}
	}
}

// richDependencies are rich dependencies, right and wrong ones.
var richDependencies = []string{
	"(a)", "(a and b)", "(a and b and c)", "(a or b or c)", "(a with b with c)", "(a if b)", "(a if b else c)", "(a unless b)",
	"(a unless b else c)", "(a without b)", "(a >= 1 and b < 2-3)", "(a and (b or c))", "((a or b) and c)", "(a and b or c)", "(a if b if c)",
	"(a without b without c)", "(a else b)", "(a if b else c else d)", "(a if b and c)", "(a unless b unless c)", "(a and)", "(and a)",
	"()", "(a b)", "(a and b", "(a >= and b)", "(a >=  1 and b)", "(a,b)", "(a and , b)", "((a and b) with c)", "((a or b) with c)", "((a with b) with c)",
	"(a with (b or c))", "(a without (b and c))", "((a without b) with c)", "((a if b) with c)", "((a if b) or c)", "((a if b) and c)", "((a unless b) or c)",
	"((a unless b) and c)", "(a or (b if c))", "(a if (b or (c if d)))", "(a if (b if c))", "(a unless (b unless c))", "((a if b) if c)",
	"((a unless b) if c)", "((a if b) unless c)", "(a if b else (c unless d))", "(a if b else (c if d))", "(((a if b) and c) or d)",
	"(((a unless b) or c) and d)", "(((a if b)) or c)", "(f(x) and b)", "(f((x)) >= 1 or g)", "(a xor b)", "(a = 1:2-3 if b)", "((a) and (b))",
	"(a unless b else c else d)", "(a and (b))", "((a or b) without (c or d))", "((a with b) or c)", "(a with b and c)",
}

// TestRichLikeRPM asks rpm's own parser of spec files which rich dependencies are allowed
// where.
func TestRichLikeRPM(t *testing.T) {
	if _, err := exec.LookPath("rpmspec"); err != nil {
		t.Fatal("the rpmspec program is missing; install rpm-build")
	}
	dir := t.TempDir()
	check := map[string]func(*Expression) error{"Requires": (*Expression).CheckRequires, "Conflicts": (*Expression).CheckConflicts,
		"Recommends": (*Expression).CheckRequires, "Supplements": (*Expression).CheckConflicts}
	for _, tag := range []string{"Requires", "Conflicts", "Recommends", "Supplements"} {
		for i, text := range richDependencies {
			if (tag == "Recommends" || tag == "Supplements") && i%5 != 0 {
				continue // these are like the others
			}
			spec := filepath.Join(dir, "test.spec")
			content := "Name: test\nVersion: 1\nRelease: 1\nSummary: test\nLicense: test\n" + tag + ": " + text + "\n%description\n"
			if err := os.WriteFile(spec, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			command := exec.Command("rpmspec", "-q", spec)
			command.Env = append(os.Environ(), "HOME="+dir)
			out, rpmErr := command.CombinedOutput()
			e, err := ParseRich(text)
			if err == nil {
				err = check[tag](e)
			}
			if text == "(a else b)" {
				continue // rpm takes it, but nothing says what it would mean: it never holds here
			}
			if (err == nil) != (rpmErr == nil) {
				t.Errorf("%s: %s: we say %v, rpm %v %s", tag, text, err, rpmErr, out)
			}
		}
	}
}

func TestRichString(t *testing.T) {
	for text, want := range map[string]string{
		"(a)":                             "a",
		"( a  and b , and c)":             "(a and b and c)",
		"(a if b else c)":                 "(a if b else c)",
		"(a unless (b or c >= 1) else d)": "(a unless (b or c >= 1) else d)",
		"((a = 1) with a < 2)":            "(a = 1 with a < 2)",
		"(f(x y) and g)":                  "",
		strings.Repeat("(", 101) + "a":    "",
		"(a and b = )":                    "",
		"(rpmlib(x) = 1 or y)":            "(rpmlib(x) = 1 or y)",
	} {
		e, err := ParseRich(text)
		if want == "" {
			if err == nil {
				t.Errorf("%s was understood as %s", text, e)
			}
			continue
		}
		if err != nil || e.String() != want {
			t.Errorf("%s: %s, %v; want %s", text, e, err, want)
		}
	}
}

func FuzzParseDependency(f *testing.F) {
	for _, s := range []string{"bash >= 5", "font(:lang=en)", "a = 1:2-3", " x", "(a if b)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDependency(s)
		if err != nil {
			return
		}
		if d.Name == "" {
			t.Fatalf("%q has no name", s)
		}
		if again, err := ParseDependency(d.String()); err != nil || again != d {
			t.Fatalf("%q became %+v, then %+v, %v", s, d, again, err)
		}
		if !d.IsRich() && !d.SatisfiedBy(d) {
			t.Fatalf("%q does not satisfy itself", s)
		}
	})
}

func FuzzRich(f *testing.F) {
	for _, s := range richDependencies {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := ParseRich(s)
		if err != nil {
			return
		}
		text := e.String()
		if e.Op == Single {
			text = "(" + text + ")"
		}
		again, err := ParseRich(text)
		if err != nil || again.String() != e.String() {
			t.Fatalf("%q became %s, then %v, %v", s, e, again, err)
		}
		e.Capabilities(func(d Dependency) {
			if d.Name == "" {
				t.Fatalf("%q has a capability without a name", s)
			}
		})
		if (e.CheckRequires() == nil) != (again.CheckRequires() == nil) || (e.CheckConflicts() == nil) != (again.CheckConflicts() == nil) {
			t.Fatalf("%q and %s are not checked alike", s, again)
		}
	})
}
