package deb

import (
	"reflect"
	"testing"
)

func TestParseDependencies(t *testing.T) {
	got, err := ParseDependencies("a, b:any (>= 1:2~) | c.d+e (<<3) ,\n f:amd64(= 1-1), g (< 1), h (> 1), i:native,")
	if err != nil {
		t.Fatal(err)
	}
	want := []Alternatives{
		{{Name: "a"}},
		{{"b", "any", LaterEqual, "1:2~"}, {Name: "c.d+e", Op: Earlier, Version: "3"}},
		{{"f", "amd64", Equal, "1-1"}},
		{{Name: "g", Op: EarlierEqual, Version: "1"}},
		{{Name: "h", Op: LaterEqual, Version: "1"}},
		{{Name: "i", Arch: "native"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := got[1].String(), "b:any (>= 1:2~) | c.d+e (<< 3)"; got != want {
		t.Errorf("String: got %q, want %q", got, want)
	}
	if got, err := ParseDependencies(" "); err != nil || got != nil {
		t.Errorf("an empty value: got %v, %v", got, err)
	}
}

func TestParseRelationErrors(t *testing.T) {
	for _, c := range []struct{ value, want string }{
		{"a [amd64]", `relation "a [amd64]": architecture restrictions are only allowed in source packages`},
		{"a (>= 1) <!nocheck>", `relation "a (>= 1) <!nocheck>": build profiles are only allowed in source packages`},
		{"a | | b", `relation "": "" is not a package name`},
		{"a b", `relation "a b": unexpected "b"`},
		{"a (>= 1", `relation "a (>= 1": the closing parenthesis is missing`},
		{"a (>=)", `relation "a (>=)": "" is not a version`},
		{"a (1)", `relation "a (1)": unknown comparison ""; the comparisons are <<, <=, =, >= and >>`},
		{"a (=> 1)", `relation "a (=> 1)": unknown comparison "=>"; the comparisons are <<, <=, =, >= and >>`},
		{"a (= 1 2)", `relation "a (= 1 2)": "1 2" is not a version`},
		{"a:", `relation "a:": "" is not an architecture`},
		{"-a", `relation "-a": "-a" is not a package name`},
		{"${misc:Depends}", `relation "${misc:Depends}": "${misc" is not a package name`},
	} {
		if _, err := ParseDependencies(c.value); err == nil || err.Error() != c.want {
			t.Errorf("%q: got %v, want %s", c.value, err, c.want)
		}
	}
	if _, err := ParseRelations("a, b | c"); err == nil || err.Error() != `"b | c": alternatives are not allowed here` {
		t.Errorf("alternatives where there cannot be any: got %v", err)
	}
}

// FuzzRelation checks that whatever is accepted survives being written and
// read again.
func FuzzRelation(f *testing.F) {
	f.Add("a, b:any (>= 1) | c (<< 2~)")
	f.Add("x(=1),,")
	f.Add("a [!amd64] <!nocheck>")
	f.Fuzz(func(t *testing.T, value string) {
		first, err := ParseDependencies(value)
		if err != nil {
			return
		}
		for _, group := range first {
			second, err := ParseDependencies(group.String())
			if err != nil || len(second) != 1 || !reflect.DeepEqual(second[0], group) {
				t.Fatalf("%q was read as %+v, then %q as %+v, %v", value, group, group.String(), second, err)
			}
		}
	})
}
