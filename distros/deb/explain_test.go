package deb

import (
	"errors"
	"strings"
	"testing"
)

// TestExplain holds the whole text of every kind of explanation.
func TestExplain(t *testing.T) {
	for _, c := range []struct {
		name     string
		universe string
		request  Request
		ask      string
		want     string
	}{
		{
			name: "too old",
			universe: `
Package: openssh-server
Depends: libfoo (>= 2.0)

Package: libfoo
Version: 1.9
`, ask: "openssh-server",
			want: `openssh-server (recipe:1) requires libfoo (>= 2.0); the newest libfoo is 1.9 (repository main)`,
		},
		{
			name: "a chain that ends in a package that does not exist",
			universe: `
Package: a
Depends: b

Package: b
Pre-Depends: c

Package: c
Depends: d
`, ask: "a",
			want: `a (recipe:1) requires b, which requires c, which requires d; no repository has d`,
		},
		{
			name: "a conflict between two that were asked for",
			universe: `
Package: a
Conflicts: b

Package: b
`, ask: "a b",
			want: `a (recipe:1) conflicts with b (recipe:2)`,
		},
		{
			name: "a conflict between two that were needed",
			universe: `
Package: x
Depends: m

Package: m
Depends: a

Package: y
Depends: b

Package: a
Breaks: b (<< 2)

Package: b
`, ask: "x y",
			want: `
the request cannot be satisfied:
  x (recipe:1) requires m, which requires a, which breaks b (<< 2), and b is 1
  y (recipe:2) requires b`,
		},
		{
			name: "a conflict with something provided",
			universe: `
Package: exim
Conflicts: mta
Provides: mta

Package: postfix
Conflicts: mta
Provides: mta
`, ask: "exim postfix",
			want: `exim (recipe:1) conflicts with mta, which postfix (recipe:2) provides`,
		},
		{
			name: "no alternative left",
			universe: `
Package: a
Depends: x | y (>= 2) | z

Package: b
Conflicts: x

Package: x

Package: y

Package: z
Depends: gone
`, ask: "a b",
			want: `
the request cannot be satisfied:
  a (recipe:1) requires x | y (>= 2) | z; the newest y is 1 (repository main)
  z requires gone; no repository has gone
  b (recipe:2) conflicts with x`,
		},
		{
			name: "providers that are all impossible",
			universe: `
Package: a
Depends: mta

Package: exim
Provides: mta
Depends: gone

Package: postfix
Provides: mta
Breaks: a
`, ask: "a",
			want: `
the request cannot be satisfied:
  a (recipe:1) requires mta (provided by postfix and exim)
  postfix breaks a (recipe:1)
  exim requires gone; no repository has gone`,
		},
		{
			name: "many alternatives that are all impossible",
			universe: `
Package: a
Depends: v
Conflicts: w

Package: p1
Provides: v, w

Package: p2
Provides: v, w

Package: p3
Provides: v, w

Package: p4
Provides: v, w

Package: p5
Provides: v, w

Package: p6
Provides: v, w
`, ask: "a",
			want: `
the request cannot be satisfied:
  a (recipe:1) requires v (provided by p6, p5, p4, p3, p2 and p1)
  a (recipe:1) conflicts with w, which p1, p2, p3, p4, p5 and p6 provide`,
		},
		{
			name: "many alternatives that are all impossible for reasons of their own",
			universe: `
Package: a
Depends: v
Breaks: x, y

Package: p1
Provides: v
Depends: x

Package: p2
Provides: v
Depends: x

Package: p3
Provides: v
Depends: y

Package: p4
Provides: v
Depends: y

Package: p5
Provides: v
Depends: y

Package: p6
Provides: v
Depends: y

Package: x

Package: y
`, ask: "a",
			want: `
the request cannot be satisfied:
  a (recipe:1) requires v (provided by p6, p5, p4, p3, p2 and p1)
  p6 requires y
  p5 requires y
  p4 requires y
  p3 requires y
  the 2 others that satisfy v are impossible too
  a (recipe:1) breaks x
  a (recipe:1) breaks y`,
		},
		{
			name: "excluded",
			universe: `
Package: a
Depends: b

Package: b
Depends: c

Package: c
`, request: Request{Exclude: []Item{{"c", "recipe:9"}}}, ask: "a",
			want: `a (recipe:1) requires b, which requires c, which is excluded (recipe:9)`,
		},
		{
			name: "asked for and excluded",
			universe: `
Package: a
`, request: Request{Exclude: []Item{{"a", "recipe:9"}}}, ask: "a",
			want: `a (recipe:1) is excluded (recipe:9)`,
		},
		{
			name: "an essential package that cannot be installed",
			universe: `
Package: base
Essential: yes
Depends: gone
`, request: Request{Essential: true}, ask: "",
			want: `base (essential) requires gone; no repository has gone`,
		},
		{
			name: "a name with a typing mistake",
			universe: `
Package: openssh-server

Package: openssh-client

Package: unrelated
`, ask: "opensh-server unrelated",
			want: `there is no package opensh-server (recipe:1); did you mean openssh-server?`,
		},
		{
			name: "a name that only begins others",
			universe: `
Package: linux-image-cloud-amd64

Package: linux-image-amd64
`, ask: "linux-image",
			want: `there is no package linux-image (recipe:1); did you mean linux-image-amd64 or linux-image-cloud-amd64?`,
		},
		{
			name: "nothing like it, twice",
			universe: `
Package: a
`, ask: "completely-different other",
			want: `
the request cannot be satisfied:
  there is no package completely-different (recipe:1)
  there is no package other (recipe:2)`,
		},
		{
			name: "a virtual package",
			universe: `
Package: exim
Provides: mta
Priority: extra

Package: postfix
Provides: mta
Priority: optional
`, ask: "mta",
			want: `mta (recipe:1) is a virtual package; ask for one of those which provide it: postfix or exim`,
		},
		{
			name: "a virtual package with many providers",
			universe: `
Package: p0
Provides: v

Package: p1
Provides: v

Package: p2
Provides: v

Package: p3
Provides: v

Package: p4
Provides: v

Package: p5
Provides: v

Package: p6
Provides: v

Package: p7
Provides: v

Package: p8
Provides: v

Package: p9
Provides: v
`, ask: "v",
			want: `v (recipe:1) is a virtual package; ask for one of those which provide it: p9, p8, p7, p6, p5, p4, p3, p2 and 2 more`,
		},
		{
			name: "a virtual package with one provider",
			universe: `
Package: exim
Provides: default-mta
`, ask: "default-mta",
			want: `default-mta (recipe:1) is a virtual package; ask for exim, which provides it`,
		},
		{
			name: "a version that does not exist",
			universe: `
Package: a
Version: 1

# repository updates
Package: a
Version: 2
`, ask: "a=1.5",
			want: `a=1.5 (recipe:1): there is no such version, only 1 (repository main) and 2 (repository updates)`,
		},
		{
			name: "a version that is none",
			universe: `
Package: a
`, ask: "a=latest",
			want: `a=latest (recipe:1): version "latest" does not begin with a digit`,
		},
		{
			name: "two versions of one package",
			universe: `
Package: a
Version: 1

# repository updates
Package: a
Version: 2
`, ask: "a=1 a=2",
			want: `a=2 (recipe:2) contradicts another request, for a=1`,
		},
		{
			name: "a dependency on a version that is not the newest",
			universe: `
Package: tool
Depends: lib (= 1)

Package: lib
Version: 1

# repository security
Package: lib
Version: 2
`, ask: "tool",
			want: `tool (recipe:1) requires lib (= 1); the newest lib is 2 (repository security), but lib=1 (repository main) would do if asked for`,
		},
		{
			name: "a version that was asked for is too old",
			universe: `
Package: tool
Depends: lib (>= 2)

Package: lib
Version: 1

# repository security
Package: lib
Version: 2
`, ask: "tool lib=1",
			want: `tool (recipe:1) requires lib (>= 2); lib=1 was asked for, but lib=2 (repository security) would do if asked for`,
		},
		{
			name: "only for another architecture",
			universe: `
Package: wine
Depends: wine32
Architecture: amd64

Package: wine32
Architecture: i386
`, ask: "wine",
			want: `wine (recipe:1) requires wine32; wine32 exists only for architecture i386`,
		},
		{
			name: "a request for another architecture",
			universe: `
Package: wine32
Architecture: i386
`, ask: "wine32",
			want: `wine32 (recipe:1) does not exist for architecture amd64, only for i386`,
		},
		{
			name: "architectures that do not go together",
			universe: `
Package: a
Architecture: amd64

Package: a
Architecture: i386
`, ask: "a a:i386",
			want: `a (recipe:1) for amd64 cannot be installed together with a (recipe:2) for i386`,
		},
		{
			name: "not marked for other architectures",
			universe: `
Package: a
Depends: python:any

Package: python
Architecture: amd64
`, ask: "a",
			want: `a (recipe:1) requires python:any; python is not marked Multi-Arch: allowed`,
		},
		{
			name: "provided without the version that is needed",
			universe: `
Package: a
Depends: v (>= 2)

Package: b
Provides: v

Package: c
Provides: v (= 1)
`, ask: "a",
			want: `a (recipe:1) requires v (>= 2); v is only provided, by b without a version and c as 1`,
		},
		{
			name: "a version in an exclusion",
			universe: `
Package: a
`, request: Request{Exclude: []Item{{"a=1", "recipe:9"}}}, ask: "a",
			want: `a=1 (recipe:9): a package is excluded in all versions; write a`,
		},
	} {
		_, err := solveNames(testUniverse(t, c.universe), c.request, strings.Fields(c.ask)...)
		if err == nil || err.Error() != strings.TrimSpace(c.want) {
			t.Errorf("%s:\ngot  %v\nwant %s", c.name, err, c.want)
			continue
		}
		var unsatisfiable *UnsatisfiableError
		if !errors.As(err, &unsatisfiable) || unsatisfiable.ExitStatus() != 2 {
			t.Errorf("%s: the exit status is not 2", c.name)
		}
	}
}
