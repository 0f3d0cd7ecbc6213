package rpm

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// packages reads a universe in a short notation, one package in each line: its name, version and
// release, then its dependencies, each list after its name and a colon:
//
//	a 1-1 requires: b >= 2, /bin/sh; provides: c = 1
//
// "in NAME" before the first list names another repository than base, "for ARCH" another
// architecture than x86_64.
func packages(t testing.TB, text string) []*Package {
	t.Helper()
	var all []*Package
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		words := strings.SplitN(line, " ", 3)
		evr, err := ParseEVR(words[1])
		if err != nil {
			t.Fatal(err)
		}
		p := &Package{Name: words[0], EVR: evr, Arch: "x86_64", Repository: "base", Priority: 99}
		all = append(all, p)
		if len(words) < 3 {
			continue
		}
		rest := words[2]
		for {
			if after, ok := strings.CutPrefix(rest, "in "); ok {
				p.Repository, rest, _ = strings.Cut(after, " ")
				if p.Repository == "first" {
					p.Priority = 10
				}
			} else if after, ok := strings.CutPrefix(rest, "for "); ok {
				p.Arch, rest, _ = strings.Cut(after, " ")
			} else {
				break
			}
		}
		for _, list := range strings.Split(rest, ";") {
			if strings.TrimSpace(list) == "" {
				continue
			}
			name, values, _ := strings.Cut(strings.TrimSpace(list), ":")
			for _, value := range strings.Split(values, ",") {
				if name == "files" {
					p.Files = append(p.Files, strings.TrimSpace(value))
					continue
				}
				d, err := ParseDependency(value)
				if err != nil {
					d = Dependency{Name: strings.TrimSpace(value)} // malformed on purpose
				}
				lists := map[string]*[]Dependency{"requires": &p.Requires, "provides": &p.Provides, "conflicts": &p.Conflicts, "obsoletes": &p.Obsoletes,
					"recommends": &p.Recommends, "suggests": &p.Suggests, "supplements": &p.Supplements, "enhances": &p.Enhances}
				*lists[name] = append(*lists[name], d)
			}
		}
	}
	return all
}

func universe(t testing.TB, text string) *Universe {
	t.Helper()
	u, err := NewUniverse("x86_64", packages(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// ask makes a request of words; those that begin with "-" are excluded.
func ask(specs ...string) Request {
	var r Request
	for _, s := range specs {
		if rest, ok := strings.CutPrefix(s, "-"); ok {
			r.Exclude = append(r.Exclude, Item{Spec: rest, Origin: "recipe.hcl:2"})
		} else {
			r.Install = append(r.Install, Item{Spec: s, Origin: "recipe.hcl:1"})
		}
	}
	return r
}

func nevras(set []*Package) string {
	var names []string
	for _, p := range set {
		names = append(names, strings.TrimSuffix(p.String(), ".x86_64"))
	}
	return strings.Join(names, " ")
}

func TestSolve(t *testing.T) {
	for _, c := range []struct {
		name, universe string
		request        []string
		want           string
	}{
		{"newest version", "a 1-1\na 2-1\na 1-2", []string{"a"}, "a-2-1"},
		{"older version where the newest cannot be", "a 1-1\na 2-1 requires: gone", []string{"a"}, "a-1-1"},
		{"version asked for", "a 1-1\na 2-1\na 1-2", []string{"a-1"}, "a-1-2"},
		{"release asked for", "a 1-1\na 2-1\na 1-2", []string{"a-1-1"}, "a-1-1"},
		{"epoch asked for", "a 1-1\na 1:0.5-1\na 2-1", []string{"a-1:0.5-1.x86_64"}, "a-1:0.5-1"},
		{"architecture asked for", "a 1-1\na 2-1 for noarch", []string{"a.x86_64"}, "a-1-1"},
		{"name with dashes before version", "a-1 1-1\na 1-1", []string{"a-1"}, "a-1-1-1"},
		{"wildcard", "ab 1-1\nac 1-1\nac 2-1\nb 1-1", []string{"a*"}, "ab-1-1 ac-2-1"},
		{"capability", "a 1-1 provides: x = 1\nb 1-1 provides: x = 2", []string{"x < 2"}, "a-1-1"},
		{"path of a package", "a 1-1 files: /usr/bin/a\nb 1-1", []string{"/usr/bin/a"}, "a-1-1"},
		{"path required", "a 1-1 requires: /bin/sh\nb 1-1 files: /bin/sh", []string{"a"}, "a-1-1 b-1-1"},
		{"path provided", "a 1-1 requires: /bin/sh\nb 1-1 provides: /bin/sh", []string{"a"}, "a-1-1 b-1-1"},
		{"range", "a 1-1 requires: b >= 2, b < 3\nb 1-1\nb 2-5\nb 3-1", []string{"a"}, "a-1-1 b-2-5"},
		{"rpmlib", "a 1-1 requires: rpmlib(X) <= 4", []string{"a"}, "a-1-1"},
		{"obsoleting replaces the name", "a 1-1\nb 1-1 obsoletes: a < 2", []string{"a"}, "b-1-1"},
		{"obsoletes are for names", "a 1-1 provides: x\nb 1-1 obsoletes: x", []string{"a", "b"}, "a-1-1 b-1-1"},
		{"obsoletes itself", "a 1-1 obsoletes: a < 2", []string{"a"}, "a-1-1"},
		{"conflicts with what it provides", "a 1-1 provides: x; conflicts: x", []string{"a"}, "a-1-1"},
		{"conflict avoided", "a 1-1 requires: x\nb 1-1 provides: x; conflicts: c\nc 1-1\nd 1-1 provides: x", []string{"a", "c"}, "a-1-1 c-1-1 d-1-1"},
		{"excluded provider", "a 1-1 requires: x\nb 1-1 provides: x\nc 1-1 provides: x", []string{"a", "-b"}, "a-1-1 c-1-1"},
		{"excluded version", "a 1-1\na 2-1", []string{"a", "-a-2"}, "a-1-1"},
		{"better repository", "a 2-1\na 1-1 in first provides: y", []string{"a"}, "a-1-1"},
		{"worse repository where needed", "a 2-1\na 1-1 in first provides: y", []string{"a >= 2"}, "a-2-1"},
		{"other architectures are not there", "a 1-1 for i686 provides: x\nb 1-1 for noarch provides: x", []string{"x"}, "b-1-1.noarch"},
		{"if", "a 1-1 requires: (b if c)\nb 1-1\nc 1-1", []string{"a"}, "a-1-1"},
		{"if, fulfilled", "a 1-1 requires: (b if c)\nb 1-1\nc 1-1", []string{"a", "c"}, "a-1-1 b-1-1 c-1-1"},
		{"if else, where names decide for the condition", "a 1-1 requires: (b if c else d)\nb 1-1\nc 1-1\nd 1-1", []string{"a"}, "a-1-1 b-1-1 c-1-1"},
		{"if else, without the condition", "a 1-1 requires: (b if c else d)\nb 1-1\nd 1-1", []string{"a"}, "a-1-1 d-1-1"},
		{"unless", "a 1-1 requires: (b unless c)\nb 1-1\nc 1-1", []string{"a"}, "a-1-1 b-1-1"},
		{"unless else", "a 1-1 requires: (b unless c else d)\nb 1-1\nc 1-1\nd 1-1", []string{"a", "c"}, "a-1-1 c-1-1 d-1-1"},
		{"with", "a 1-1 requires: (x >= 1 with x < 2)\nb 1-1 provides: x = 1\nc 1-1 provides: x = 2", []string{"a"}, "a-1-1 b-1-1"},
		{"without", "a 1-1 requires: (x without y)\nb 1-1 provides: x, y\nc 1-1 provides: x", []string{"a"}, "a-1-1 c-1-1"},
		{"rich request", "a 1-1\nb 1-1\nc 1-1", []string{"(a and (b or c))"}, "a-1-1 b-1-1"},
		{"recommended among providers", "a 1-1 requires: x; recommends: c\nb 1-1 provides: x\nc 1-1 provides: x", []string{"a"}, "a-1-1 c-1-1"},
		{"suggested among providers", "a 1-1 requires: x; suggests: c\nb 1-1 provides: x\nc 1-1 provides: x", []string{"a"}, "a-1-1 c-1-1"},
	} {
		set, err := universe(t, c.universe).Solve(ask(c.request...))
		if got := nevras(set); err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}

func TestSolveWeakDependencies(t *testing.T) {
	for _, c := range []struct{ name, universe, want string }{
		{"recommended", "a 1-1 recommends: b\nb 1-1 requires: c\nc 1-1", "a-1-1 b-1-1 c-1-1"},
		{"recommended but impossible", "a 1-1 recommends: b\nb 1-1 requires: gone", "a-1-1"},
		{"recommended but conflicting", "a 1-1 recommends: b\nb 1-1 conflicts: a", "a-1-1"},
		{"supplements", "a 1-1\nb 1-1 supplements: a", "a-1-1 b-1-1"},
		{"supplements two", "a 1-1\nb 1-1 supplements: (a and c)\nc 1-1", "a-1-1"},
		{"suggested", "a 1-1 suggests: b\nb 1-1", "a-1-1"},
	} {
		r := ask("a")
		r.WeakDeps = true
		u := universe(t, c.universe)
		set, err := u.Solve(r)
		if got := nevras(set); err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
		if set, err := u.Solve(ask("a")); err != nil || nevras(set) != "a-1-1" {
			t.Errorf("%s: %q, %v without weak dependencies", c.name, nevras(set), err)
		}
	}
}

func TestSolveGroups(t *testing.T) {
	u := universe(t, "a 1-1\nb 1-1\nc 1-1 requires: d\nd 1-1")
	r := Request{Install: []Item{{Spec: "a"}, {Spec: "gone", Optional: true}, {Spec: "b", If: "d"}}}
	if set, err := u.Solve(r); err != nil || nevras(set) != "a-1-1" {
		t.Errorf("without the condition: %q, %v", nevras(set), err)
	}
	r.Install = append(r.Install, Item{Spec: "c"})
	if set, err := u.Solve(r); err != nil || nevras(set) != "a-1-1 b-1-1 c-1-1 d-1-1" {
		t.Errorf("with the condition: %q, %v", nevras(set), err)
	}
	slices.Reverse(r.Install)
	if set, err := u.Solve(r); err != nil || nevras(set) != "a-1-1 b-1-1 c-1-1 d-1-1" {
		t.Errorf("in another order: %q, %v", nevras(set), err)
	}
}

func TestNewest(t *testing.T) {
	u := universe(t, "a 1-1\na 3-1 requires: gone\na 2-1\nb 5-1 in first provides: x\nb 6-1 provides: x\nc 1-1 obsoletes: a < 3")
	for spec, want := range map[string]string{"a": "a-3-1", "a-2": "a-2-1", "b": "b-5-1", "x": "b-5-1", "a < 3": "a-2-1"} {
		p, err := u.Newest(Item{Spec: spec})
		if err != nil || nevras([]*Package{p}) != want {
			t.Errorf("%s: %v, %v; want %s", spec, p, err, want)
		}
	}
	var unsatisfiable *UnsatisfiableError
	if _, err := u.Newest(Item{Spec: "gone"}); !errors.As(err, &unsatisfiable) || unsatisfiable.ExitStatus() != 2 {
		t.Errorf("a package that is not there: %v", err)
	}
}

func TestUnresolvedPaths(t *testing.T) {
	all := packages(t, `a 1-1 requires: /usr/lib/x, /usr/bin/y, (/usr/lib/z if b), /usr/lib/v
b 1-1 conflicts: /usr/share/w; files: /usr/bin/y
c 1-1 provides: /usr/lib/v, /usr/bin/p; requires: /usr/bin/p`)
	u, err := NewUniverse("x86_64", all)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/opt/q", "/usr/lib/v", "/usr/lib/x", "/usr/lib/z", "/usr/share/w"}
	if got := u.UnresolvedPaths(Item{Spec: "/opt/q"}, Item{Spec: "/opt/*"}, Item{Spec: "a"}); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if _, err := u.Solve(ask("a")); err == nil {
		t.Error("a was installed although nothing is known to hold /usr/lib/x")
	}
	u.AddFiles(all[1], []string{"/usr/lib/x", "/opt/q"})
	if got := u.UnresolvedPaths(Item{Spec: "/opt/q"}); !slices.Equal(got, []string{"/usr/lib/v", "/usr/lib/z", "/usr/share/w"}) {
		t.Errorf("after files were added: %v", got)
	}
	if set, err := u.Solve(ask("/opt/q")); err != nil || nevras(set) != "b-1-1" {
		t.Errorf("the file that was added: %q, %v", nevras(set), err)
	}
}

func TestNewUniverseRefuses(t *testing.T) {
	if _, err := NewUniverse("noarch", nil); err == nil {
		t.Error("architecture noarch was accepted")
	}
	if _, err := NewUniverse("x86_64", []*Package{{Name: "a", Arch: "x86_64", Repository: "base"}}); err == nil || !strings.Contains(err.Error(), "repository base") {
		t.Errorf("a package without a version: %v", err)
	}
}
