package rpm

import (
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		name, universe string
		request        []string
		want           string
	}{
		{"not there", "bash 1-1\ncoreutils 1-1", []string{"bsah"},
			"there is no package bsah (recipe.hcl:1), and none provides it; did you mean bash?"},
		{"no such version", "a 1-1\na 2-1 in updates", []string{"a-3"},
			"a-3 (recipe.hcl:1): there is no such package, only a-2-1.x86_64 (repository updates) and a-1-1.x86_64 (repository base)"},
		{"no such version of a capability", "a 1-1 provides: x = 1", []string{"x > 1"},
			"x > 1 (recipe.hcl:1): no package provides that; there is a-1-1.x86_64 (repository base)"},
		{"no such file", "a 1-1", []string{"/usr/bin/x"}, "no package holds the file /usr/bin/x (recipe.hcl:1)"},
		{"malformed", "a 1-1", []string{"(a and"},
			`(a and (recipe.hcl:1): rich dependency "(a and": the closing parenthesis is missing`},
		{"asked for and excluded", "a 1-1", []string{"a", "-a"},
			"a (recipe.hcl:1) is asked for, but a-1-1.x86_64 is excluded by a (recipe.hcl:2)"},
		{"exclusion of nothing", "a 1-1\nb 1-1", []string{"a", "-bb"},
			"there is no package bb (recipe.hcl:2), and none provides it; did you mean b?"},
		{"nothing provides", "a 1-1 requires: b\nb 1-1 requires: gone", []string{"a"},
			`the request cannot be satisfied:
  a (recipe.hcl:1): a-1-1.x86_64 requires b
  b-1-1.x86_64 requires gone, which nothing in the repositories provides`},
		{"no file", "a 1-1 requires: /usr/lib/x", []string{"a"},
			"a (recipe.hcl:1): a-1-1.x86_64 requires /usr/lib/x, a file that no package of the repositories holds"},
		{"too old", "a 1-1 requires: b >= 3\nb 1-1\nb 2-1 in updates", []string{"a"},
			"a (recipe.hcl:1): a-1-1.x86_64 requires b >= 3, which nothing provides in that version; there is b-2-1.x86_64 (repository updates) and b-1-1.x86_64 (repository base)"},
		{"excluded dependency", "a 1-1 requires: x\nb 1-1 provides: x", []string{"a", "-b"},
			`the request cannot be satisfied:
  a (recipe.hcl:1): a-1-1.x86_64 requires x (provided by b)
  b-1-1.x86_64 is excluded by b (recipe.hcl:2)`},
		{"conflict", "a 1-1 requires: c\nb 1-1\nc 1-1 conflicts: b < 2", []string{"a", "b"},
			`the request cannot be satisfied:
  a (recipe.hcl:1): a-1-1.x86_64 requires c
  c-1-1.x86_64 conflicts with b < 2, which b-1-1.x86_64 is
  b (recipe.hcl:1): b-1-1.x86_64 is asked for`},
		{"conflict with what is provided", "a 1-1 conflicts: x\nb 1-1 provides: x", []string{"a", "b"},
			`the request cannot be satisfied:
  a (recipe.hcl:1): a-1-1.x86_64 conflicts with x, which b-1-1.x86_64 provides
  b (recipe.hcl:1): b-1-1.x86_64 is asked for`},
		{"obsoleted dependency", "a 1-1 requires: b\nb 1-1\nc 1-1 obsoletes: b < 2", []string{"a", "c"},
			`the request cannot be satisfied:
  a (recipe.hcl:1): a-1-1.x86_64 requires b
  c (recipe.hcl:1): c-1-1.x86_64 obsoletes b < 2, which b-1-1.x86_64 is`},
		{"two versions", "a 1-1 requires: c = 1\nb 1-1 requires: c = 2\nc 1-1\nc 2-1", []string{"a", "b"},
			`the request cannot be satisfied:
  a (recipe.hcl:1): a-1-1.x86_64 requires c = 1
  c-1-1.x86_64 cannot be installed together with c-2-1.x86_64 of the same name
  b (recipe.hcl:1): b-1-1.x86_64 requires c = 2`},
		{"wildcard", "ab 1-1 conflicts: ac\nac 1-1", []string{"a*"},
			`the request cannot be satisfied:
  a* (recipe.hcl:1): ab-1-1.x86_64 conflicts with ac, which ac-1-1.x86_64 is
  a* (recipe.hcl:1): ac-1-1.x86_64 is asked for`},
		{"rich", "a 1-1 requires: (gone with other)", []string{"a"},
			"a (recipe.hcl:1): a-1-1.x86_64 requires (gone with other), which no packages of the repositories can satisfy"},
		{"malformed rich", "a 1-1 requires: (b and)\nb 1-1", []string{"a"},
			`a (recipe.hcl:1): a-1-1.x86_64 requires (b and), which cannot be understood: rich dependency "(b and)": an operand is missing`},
		{"all versions alike", "a 1-1 requires: gone\na 2-1 requires: gone\na 3-1 requires: gone", []string{"a"},
			"a (recipe.hcl:1): a-3-1.x86_64 and 2 other versions require gone, which nothing in the repositories provides"},
		{"many versions", "a 1-1 requires: x = 1\na 2-1 requires: x = 2\na 3-1 requires: x = 3\na 4-1 requires: x = 4", []string{"a"},
			`the request cannot be satisfied:
  a (recipe.hcl:1): a-4-1.x86_64 requires x = 4, which nothing in the repositories provides
  a (recipe.hcl:1): a-3-1.x86_64 requires x = 3, which nothing in the repositories provides
  2 other versions of a cannot be installed either`},
	} {
		_, err := universe(t, c.universe).Solve(ask(c.request...))
		if err == nil {
			t.Errorf("%s: no error", c.name)
		} else if got := err.Error(); got != c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", c.name, got, c.want)
		}
	}
}

// TestExplainSeveral checks that all that is wrong with a request is said at once.
func TestExplainSeveral(t *testing.T) {
	_, err := universe(t, "a 1-1").Solve(ask("gone-1", "missing", "a", "-other"))
	if err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("%v", err)
	}
}
