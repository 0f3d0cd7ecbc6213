package deb

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// solveNames solves a request for names, each with the origin "recipe:" and
// its place in the list, and returns the set as "name" or, for a package that
// is not native, "name:arch".
func solveNames(u *Universe, r Request, names ...string) ([]string, error) {
	for i, name := range names {
		r.Packages = append(r.Packages, Item{Name: name, Origin: "recipe:" + string(rune('1'+i))})
	}
	set, err := u.Solve(r)
	var got []string
	for _, p := range set {
		if u.archOf(p) == u.arch {
			got = append(got, p.Name)
		} else {
			got = append(got, p.Name+":"+p.Arch)
		}
	}
	return got, err
}

func TestSolve(t *testing.T) {
	for _, c := range []struct {
		name     string
		universe string
		request  Request
		ask      string
		want     string
	}{
		{
			name: "dependencies, pre-dependencies, the first alternative",
			universe: `
Package: a
Pre-Depends: p
Depends: x | y, z

Package: p

Package: x

Package: y

Package: z
`, ask: "a", want: "a p x z",
		},
		{
			name: "an alternative that was asked for",
			universe: `
Package: a
Depends: x | y

Package: x

Package: y
`, ask: "a y", want: "a y",
		},
		{
			name: "an alternative that an earlier dependency chose",
			universe: `
Package: a
Depends: y, x | y

Package: x

Package: y
`, ask: "a", want: "a y",
		},
		{
			name: "a later dependency does not change an earlier choice",
			universe: `
Package: a
Depends: x | y, y

Package: x

Package: y
`, ask: "a", want: "a x y",
		},
		{
			name: "the real package before those that provide it",
			universe: `
Package: a
Depends: mta

Package: exim
Provides: mta
Priority: required

Package: mta
Priority: extra
`, ask: "a", want: "a mta",
		},
		{
			name: "among providers an essential one, then priority, then the last one mentioned",
			universe: `
Package: a
Depends: v1, v2, v3

Package: optional1
Provides: v1, v2, v3
Priority: optional

Package: optional2
Provides: v1, v2, v3
Priority: optional

Package: important1
Provides: v1, v2
Priority: important

Package: essential1
Provides: v1
Essential: yes
Priority: extra
`, ask: "a", want: "a essential1 important1 optional2",
		},
		{
			name: "a versioned dependency needs a versioned provision",
			universe: `
Package: a
Depends: v (>= 2)

Package: none
Provides: v

Package: old
Provides: v (= 1)

Package: new
Provides: v (= 2)
`, ask: "a", want: "a new",
		},
		{
			name: "the newest version of all repositories",
			universe: `
Package: a
Version: 1

# repository updates
Package: a
Version: 2
Depends: new

Package: new
`, ask: "a", want: "a new",
		},
		{
			name: "the version that was asked for",
			universe: `
Package: a
Version: 1:1-1
Depends: old

Package: old

# repository updates
Package: a
Version: 1:2-1
`, ask: "a=1:1-1", want: "a old",
		},
		{
			name: "backtracking out of a conflict that the preferred alternative causes two steps later",
			universe: `
Package: a
Depends: x | y

Package: b
Depends: c

Package: c
Conflicts: z

Package: x
Depends: z

Package: y

Package: z
`, ask: "a b", want: "a b c y",
		},
		{
			name: "a conflict with something that is provided",
			universe: `
Package: a
Depends: x | y

Package: b
Conflicts: mta

Package: x
Provides: mta

Package: y
`, ask: "a b", want: "a b y",
		},
		{
			name: "a package does not conflict with what it provides itself",
			universe: `
Package: a
Provides: mta
Conflicts: mta
Breaks: a (<< 2)
`, ask: "a", want: "a",
		},
		{
			name: "breaks only the versions it names",
			universe: `
Package: a
Depends: b
Breaks: b (<< 1)

Package: b
`, ask: "a", want: "a b",
		},
		{
			name: "recommended packages, as far as nothing speaks against them",
			universe: `
Package: a
Recommends: r1 | r2, r3, r4, absent

Package: r1
Depends: absent

Package: r2

Package: r3
Conflicts: a

Package: r4
Recommends: r5

Package: r5
`, request: Request{Recommends: true}, ask: "a", want: "a r2 r4 r5",
		},
		{
			name: "no recommended packages unless asked for",
			universe: `
Package: a
Recommends: b

Package: b
`, ask: "a", want: "a",
		},
		{
			name: "what is needed wins over what is recommended",
			universe: `
Package: a
Recommends: r

Package: b
Depends: c | d

Package: c
Conflicts: r

Package: d
Conflicts: r

Package: r
`, request: Request{Recommends: true}, ask: "a b", want: "a b c",
		},
		{
			name: "essential packages and priorities, without what is excluded",
			universe: `
Package: e
Essential: yes

Package: r
Priority: required

Package: i
Priority: important

Package: o
Priority: optional

Package: out
Essential: yes
`, request: Request{Essential: true, Priorities: []string{"required", "important"}, Exclude: []Item{{Name: "out"}}}, ask: "", want: "e i r",
		},
		{
			name: "an excluded package is neither alternative nor recommendation",
			universe: `
Package: a
Depends: x | y
Recommends: x

Package: x

Package: y
`, request: Request{Recommends: true, Exclude: []Item{{Name: "x"}}}, ask: "a", want: "a y",
		},
		{
			name: "only the native architecture by default",
			universe: `
Package: a
Depends: b | c
Architecture: amd64

Package: b
Architecture: i386

Package: c
Architecture: amd64
`, ask: "a", want: "a c",
		},
		{
			name: "architecture qualifiers",
			universe: `
Package: a
Architecture: i386
Depends: allowed:any, tool, lib, native:native, exact:i386

Package: allowed
Architecture: amd64
Multi-Arch: allowed

Package: tool
Architecture: amd64
Multi-Arch: foreign

Package: lib
Architecture: i386
Multi-Arch: same

Package: lib
Architecture: amd64
Multi-Arch: same

Package: native
Architecture: amd64

Package: exact
Architecture: i386
`, ask: "a:i386 lib", want: "a:i386 allowed exact:i386 lib lib:i386 native tool",
		},
		{
			name: "architecture qualifiers of conflicts",
			universe: `
Package: a
Architecture: amd64
Conflicts: x:any, y:native, z:i386
Depends: x | x2, y | y2, z | z2

Package: x
Architecture: amd64
Multi-Arch: allowed

Package: x2

Package: y
Architecture: amd64

Package: y2

Package: z
Architecture: amd64

Package: z
Architecture: i386
`, ask: "a", want: "a x2 y2 z",
		},
		{
			name: "a package without a priority before others, an unknown priority last",
			universe: `
Package: a
Depends: v, w

Package: odd
Provides: v, w
Priority: invented

Package: required
Provides: v, w
Priority: required

Package: none
Provides: v

Package: extra
Provides: w
Priority: extra
`, ask: "a", want: "a none required",
		},
		{
			name: "a package that provides what it needs, and a cycle",
			universe: `
Package: a
Depends: v, b
Provides: v

Package: b
Depends: a
`, ask: "a", want: "a b",
		},
	} {
		u := testUniverse(t, c.universe)
		names := strings.Fields(c.ask)
		want := strings.Fields(c.want)
		got, err := solveNames(u, c.request, names...)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", c.name, got, err, want)
		}
		slices.Reverse(names)
		if again, _ := solveNames(u, c.request, names...); !slices.Equal(got, again) {
			t.Errorf("%s: got %v, in the other order %v", c.name, got, again)
		}
	}
}

func TestNewUniverseMalformedProvides(t *testing.T) {
	index, err := ParseIndex(strings.NewReader("Package: a\nVersion: 1\nArchitecture: all\nProvides: b | c\n"), "main")
	if err != nil {
		t.Fatal(err)
	}
	const want = `repository main: package a 1: Provides: "b | c": alternatives are not allowed here`
	if _, err := NewUniverse("amd64", nil, index); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestSolveMalformedRelations(t *testing.T) {
	u := testUniverse(t, `
Package: a
Depends: b (

Package: bystander
Conflicts: c [amd64]
`)
	_, err := solveNames(u, Request{}, "a")
	const want = `repository main: package a 1: Depends: relation "b (": the closing parenthesis is missing`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	var unsatisfiable *UnsatisfiableError
	if errors.As(err, &unsatisfiable) {
		t.Error("a malformed index is reported as a wrong request")
	}
}
