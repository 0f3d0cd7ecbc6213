package deb

import (
	"slices"
	"strings"
	"testing"
)

func TestOrder(t *testing.T) {
	u := testUniverse(t, `
Package: app
Depends: mailer, lib

Package: lib
Depends: base

Package: base
Pre-Depends: core
Depends: outside

Package: core

Package: zmta
Provides: mailer
Depends: ring-a

Package: ring-a
Depends: ring-b

Package: ring-b
Depends: ring-c

Package: ring-c
Pre-Depends: ring-d
Depends: ring-a

Package: ring-d
Depends: ring-b

Package: selfish
Depends: selfish
`)
	set := slices.DeleteFunc(slices.Clone(u.packages), func(p *Package) bool { return p.Name == "outside" })
	slices.Reverse(set)
	groups, err := Order("amd64", set)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, group := range groups {
		var names []string
		for _, p := range group {
			names = append(names, p.Name)
		}
		got = append(got, strings.Join(names, " "))
	}
	want := []string{"core ring-a ring-b ring-d ring-c selfish", "base zmta", "lib", "app"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// testUniverse makes a universe of stanzas of which only the name is needed:
// version 1 and architecture all are added where they are missing.
// "# repository" lines begin another repository; the first is called main.
func testUniverse(tb testing.TB, text string) *Universe {
	tb.Helper()
	var indexes []*Index
	for i, part := range strings.Split("main\n"+text, "# repository ") {
		name, stanzas, _ := strings.Cut(part, "\n")
		var complete strings.Builder
		err := ParseStanzas(strings.NewReader(stanzas), func(s Stanza) error {
			if s.Get("Version") == "" {
				s.Fields = append(s.Fields, Field{Name: "Version", Value: "1"})
			}
			if s.Get("Architecture") == "" {
				s.Fields = append(s.Fields, Field{Name: "Architecture", Value: "all"})
			}
			complete.WriteString(s.String() + "\n")
			return nil
		})
		if err != nil {
			tb.Fatalf("repository %d: %v", i, err)
		}
		index, err := ParseIndex(strings.NewReader(complete.String()), name)
		if err != nil {
			tb.Fatal(err)
		}
		indexes = append(indexes, index)
	}
	u, err := NewUniverse("amd64", []string{"i386"}, indexes...)
	if err != nil {
		tb.Fatal(err)
	}
	return u
}
