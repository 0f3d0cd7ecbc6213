package deb

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/store"
)

const oneStanza = `Package: hello
Source: hello-src (1.0-1)
Version: 1:2.10-3
Installed-Size: 277
Maintainer: A B <a@example.org>
Architecture: amd64
Replaces: old
Provides: greeter (= 2)
Depends: libc6 (>= 2.34), x | y:any
Pre-Depends: pre
Conflicts: c
Breaks: b (<< 1)
Recommends: r
Suggests: s
Description: example
 folded text
Essential: yes
Important: yes
Multi-Arch: foreign
Section: devel
Priority: optional
Filename: pool/main/h/hello_2.10-3_amd64.deb
Size: 53080
MD5sum: 00
SHA256: 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
`

func TestParseIndex(t *testing.T) {
	index, err := ParseIndex(strings.NewReader(oneStanza+"\nPackage: z\nVersion: 1\nArchitecture: all\n"), "main")
	if err != nil {
		t.Fatal(err)
	}
	var digest store.Digest
	for i := range digest {
		digest[i] = byte(i)
	}
	want := []*Package{{
		Name: "hello", Version: "1:2.10-3", Arch: "amd64", Source: "hello-src", Repository: "main",
		Filename: "pool/main/h/hello_2.10-3_amd64.deb", Size: 53080, SHA256: digest,
		InstalledSize: 277 * 1024, Priority: "optional", Section: "devel", Maintainer: "A B <a@example.org>",
		Description: "example", Essential: true, Protected: true, MultiArch: MultiArchForeign,
		PreDepends: "pre", Depends: "libc6 (>= 2.34), x | y:any", Recommends: "r",
		Conflicts: "c", Breaks: "b (<< 1)", Provides: "greeter (= 2)",
	}, {Name: "z", Version: "1", Arch: "all", Source: "z", Repository: "main"}}
	if !reflect.DeepEqual(index.Packages, want) {
		t.Errorf("got %+v, want %+v", index.Packages, want)
	}
	// The order of first mention is that of apt: relations in its order, not
	// in that of the file, and "y:any" is not "y".
	mentioned := make([]string, len(index.mentioned))
	for name, place := range index.mentioned {
		mentioned[place] = name
	}
	if got, want := strings.Join(mentioned, " "), "hello pre libc6 x c b r s old greeter z"; got != want {
		t.Errorf("mentioned: got %q, want %q", got, want)
	}
}

func TestParseIndexErrors(t *testing.T) {
	const good = "Package: a\nVersion: 1\nArchitecture: all\n"
	for _, c := range []struct{ text, want string }{
		{good + "\nPackage: b\nArchitecture: all\n", "repository main: Packages: line 5: a package without the field Version"},
		{"Package: ../b\nVersion: 1\nArchitecture: all\n", `repository main: Packages: line 1: "../b" is not a package name`},
		{good + "Size: -1\n", `repository main: Packages: line 1: package a: Size "-1" is not a size`},
		{good + "Size: 99999999999999999999\n", `repository main: Packages: line 1: package a: Size "99999999999999999999" is not a size`},
		{good + "SHA256: 00\n", `repository main: Packages: line 1: package a: SHA256 "00" has not 64 digits`},
		{good + "SHA256: " + strings.Repeat("x", 64) + "\n", "repository main: Packages: line 1: package a: SHA256: encoding/hex: invalid byte: U+0078 'x'"},
		{good + "version: 2\n", "repository main: Packages: line 4: field Version is given twice"},
		{"<html>\n", `repository main: Packages: line 1: expected a field, "Name: value", found "<html>"`},
	} {
		if _, err := ParseIndex(strings.NewReader(c.text), "main"); err == nil || err.Error() != c.want {
			t.Errorf("%q: got %v, want %s", c.text, err, c.want)
		}
	}
	if index, err := ParseIndex(strings.NewReader(""), "main"); err != nil || len(index.Packages) != 0 {
		t.Errorf("an empty index: got %v, %v", index, err)
	}
}

// FuzzIndex checks that the reader of indexes agrees with ParseStanzas and
// that a universe can be made of what it accepts.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(oneStanza))
	f.Add([]byte("Package: a\nVersion: 1\nArchitecture: all\nProvides: b, c (= 2), d (>= 1)\nDepends: a (>= 1) | b:any (\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		index, err := ParseIndex(bytes.NewReader(text), "fuzz")
		if err != nil {
			return
		}
		i := 0
		err = ParseStanzas(bytes.NewReader(text), func(s Stanza) error {
			p := index.Packages[i]
			i++
			if p.Name != s.Get("Package") || p.Version != s.Get("Version") || p.Depends != s.Get("Depends") {
				t.Errorf("got %+v from %q", p, s.String())
			}
			return nil
		})
		if err == nil && i != len(index.Packages) {
			t.Errorf("got %d packages from %d stanzas", len(index.Packages), i)
		}
		u, err := NewUniverse("amd64", nil, index)
		if err != nil || len(index.Packages) == 0 {
			return
		}
		_, _ = u.Solve(Request{Packages: []Item{{Name: index.Packages[0].Name}}, Recommends: true})
	})
}
