package deb

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// aptRoot writes a root directory with files below etc/apt.
func aptRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, "etc/apt", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestReadAptSources(t *testing.T) {
	root := aptRoot(t, map[string]string{
		"sources.list": `# the old format
deb http://mirror.example.com/debian bookworm main contrib # comment
deb-src http://mirror.example.com/debian bookworm main

	deb [ arch=amd64,arm64 signed-by=/usr/share/keyrings/a.gpg,/usr/share/keyrings/b.gpg trusted=yes check-valid-until=no lang=en ]	https://example.com/a%20b stable main
deb [signed-by=0123456789ABCDEF] cdrom:[Debian GNU/Linux 12 #1]/ bookworm main
deb http://flat.example.com/ ./
`,
		"sources.list.d/b.sources": `# the new format
Types: deb deb-src
URIs: http://one.example.com/debian
 http://two.example.com/debian
Suites: bookworm bookworm-updates
Components: main non-free-firmware
Architectures: amd64
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
Check-Valid-Until: no

Types: deb
URIs: http://off.example.com
Suites: x
Components: main
Enabled: no

Types: deb-src
URIs: http://src.example.com
Suites: x
Components: main

Types: deb
URIs: https://key.example.com
Suites: stable
Components: main
Trusted: yes
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEYCQjIxYJKwYBBAHaRw8BAQdAD/P5Nvvnvk66SxBBHDbhRml9ORg1WV5CvzKY
 =CuIE
 -----END PGP PUBLIC KEY BLOCK-----
`,
		"sources.list.d/a.list":          "deb http://a.example.com/debian trixie main\n",
		"sources.list.d/off.list.backup": "deb http://backup.example.com/debian trixie main\n",
		"sources.list.d/.hidden.list":    "deb http://hidden.example.com/debian trixie main\n",
		"sources.list.d/odd name.list":   "deb http://odd.example.com/debian trixie main\n",
	})
	got, err := ReadAptSources(root)
	if err != nil {
		t.Fatal(err)
	}
	b := func(uri, suite string) AptSource {
		return AptSource{URI: uri, Suite: suite, Components: []string{"main", "non-free-firmware"}, Architectures: []string{"amd64"},
			SignedBy: []string{"/usr/share/keyrings/debian-archive-keyring.gpg"}, AllowExpired: true, File: "/etc/apt/sources.list.d/b.sources", Line: 2}
	}
	want := []AptSource{
		{URI: "http://mirror.example.com/debian", Suite: "bookworm", Components: []string{"main", "contrib"}, File: "/etc/apt/sources.list", Line: 2},
		{URI: "https://example.com/a%20b", Suite: "stable", Components: []string{"main"}, Architectures: []string{"amd64", "arm64"},
			SignedBy: []string{"/usr/share/keyrings/a.gpg", "/usr/share/keyrings/b.gpg"}, Trusted: true, AllowExpired: true, File: "/etc/apt/sources.list", Line: 5},
		{URI: "cdrom:[Debian GNU/Linux 12 #1]/", Suite: "bookworm", Components: []string{"main"}, SignedBy: []string{"0123456789ABCDEF"}, File: "/etc/apt/sources.list", Line: 6},
		{URI: "http://flat.example.com/", Suite: "./", File: "/etc/apt/sources.list", Line: 7},
		{URI: "http://a.example.com/debian", Suite: "trixie", Components: []string{"main"}, File: "/etc/apt/sources.list.d/a.list", Line: 1},
		b("http://one.example.com/debian", "bookworm"), b("http://one.example.com/debian", "bookworm-updates"),
		b("http://two.example.com/debian", "bookworm"), b("http://two.example.com/debian", "bookworm-updates"),
		{URI: "https://key.example.com", Suite: "stable", Components: []string{"main"}, Trusted: true, File: "/etc/apt/sources.list.d/b.sources", Line: 22,
			SignedByKey: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEYCQjIxYJKwYBBAHaRw8BAQdAD/P5Nvvnvk66SxBBHDbhRml9ORg1WV5CvzKY\n=CuIE\n-----END PGP PUBLIC KEY BLOCK-----\n"},
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing %+v", want[i])
		case i >= len(want):
			t.Errorf("unexpected %+v", got[i])
		case !sameSource(got[i], want[i]):
			t.Errorf("%d: %+v\nwant %+v", i, got[i], want[i])
		}
	}
}

// sameSource compares without telling nil from empty lists.
func sameSource(a, b AptSource) bool {
	for _, s := range []*AptSource{&a, &b} {
		s.Components = append([]string{}, s.Components...)
		s.Architectures = append([]string{}, s.Architectures...)
		s.SignedBy = append([]string{}, s.SignedBy...)
	}
	return reflect.DeepEqual(a, b)
}

// Malformed entries are reported with file and line and do not hide the others.
func TestReadAptSourcesMalformed(t *testing.T) {
	root := aptRoot(t, map[string]string{
		"sources.list": `rpm http://example.com stable main
deb http://example.com
deb
deb [arch=amd64 http://example.com stable main
deb [arch] http://example.com stable main
deb example.com stable main
deb http://example.com stable
deb http://example.com ./ main
deb "" stable main
deb http://good.example.com stable main
`,
		"sources.list.d/a.sources": `Types: deb
Suites: stable
Components: main

Types: rpm
URIs: http://example.com
Suites: stable
Components: main

URIs: http://example.com

Types: deb
URIs: http://good.example.com
Suites: stable
Components: main
`,
		"sources.list.d/b.sources": "Types: deb\nTypes: deb\n",
	})
	if err := os.Mkdir(filepath.Join(root, "etc/apt/sources.list.d/dir.list"), 0o755); err != nil {
		t.Fatal(err)
	}
	sources, err := ReadAptSources(root)
	if len(sources) != 2 {
		t.Errorf("%d sources are fine, want 2", len(sources))
	}
	want := []string{
		`/etc/apt/sources.list:1: "rpm" is neither deb nor deb-src`,
		`/etc/apt/sources.list:2: the URI or the suite is missing`,
		`/etc/apt/sources.list:3: the URI or the suite is missing`,
		`/etc/apt/sources.list:4: "[" is not closed`,
		`/etc/apt/sources.list:5: the option "arch" has no value`,
		`/etc/apt/sources.list:6: "example.com" is not a URI`,
		`/etc/apt/sources.list:7: the suite "stable" needs components`,
		`/etc/apt/sources.list:8: the suite "./" is a path, so there can be no components`,
		`/etc/apt/sources.list:9: there is an empty word in quotes`,
		`/etc/apt/sources.list.d/a.sources:1: the field URIs or Suites is missing`,
		`/etc/apt/sources.list.d/a.sources:5: the type "rpm" is neither deb nor deb-src`,
		`/etc/apt/sources.list.d/a.sources:10: the field Types is missing`,
		`/etc/apt/sources.list.d/b.sources:2: field Types was given before, in line 1`,
		filepath.Join(root, "etc/apt/sources.list.d/dir.list") + ` is not a list of apt sources`,
	}
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("error:\n%v\nwant:\n%s", err, strings.Join(want, "\n"))
	}
}

func TestReadAptSourcesNone(t *testing.T) {
	if sources, err := ReadAptSources(t.TempDir()); err != nil || len(sources) != 0 {
		t.Errorf("%v, %v", sources, err)
	}
}

func TestAptMirrors(t *testing.T) {
	root := aptRoot(t, map[string]string{"sources.list": `
deb [signed-by=/usr/share/keyrings/vendor.gpg] https://vendor.example.com/linux bookworm main
deb [signed-by=/etc/apt/keyrings/debian-archive-keyring.pgp] http://mirror.example.com/debian/ bookworm main
deb http://mirror.example.com/debian bookworm-updates main
deb http://mirror.example.com/debian-security bookworm-security main
deb https://other.example.com/docker bookworm stable
deb [arch=arm64] http://arm.example.com/debian bookworm main
deb http://$(ARCH).example.com/debian bookworm main
deb [signed-by=0123456789ABCDEF] http://fingerprint.example.com/debian sid main
deb cdrom:[Debian]/ bookworm main
deb mirror+http://list.example.com/ bookworm main
deb http://flat.example.com/ ./
`})
	sources, err := ReadAptSources(root)
	if err != nil {
		t.Fatal(err)
	}
	keyrings := []string{"/usr/share/keyrings/debian-archive-keyring.gpg"}
	for suite, want := range map[string][]string{
		"bookworm": {"http://mirror.example.com/debian", "http://amd64.example.com/debian",
			"http://mirror.example.com/debian-security", "http://fingerprint.example.com/debian"},
		"bookworm-security": {"http://mirror.example.com/debian-security", "http://mirror.example.com/debian",
			"http://amd64.example.com/debian", "http://fingerprint.example.com/debian"},
		// Another release than the machine's: the same mirrors.
		"trixie": {"http://mirror.example.com/debian", "http://mirror.example.com/debian-security",
			"http://amd64.example.com/debian", "http://fingerprint.example.com/debian"},
	} {
		if got := AptMirrors(sources, suite, []string{"main"}, "amd64", keyrings); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q\nwant %q", suite, got, want)
		}
	}
	if got := AptMirrors(nil, "bookworm", []string{"main"}, "amd64", keyrings); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

func FuzzAptSources(f *testing.F) {
	f.Add("deb [arch=amd64 signed-by=/a] http://example.com/ stable main # x\n", false)
	f.Add("Types: deb\nURIs: http://example.com\nSuites: a b/\nComponents: main\nSigned-By:\n -----BEGIN PGP\n .\n x\n", true)
	f.Add("deb \"http://a b\" [x] ./\n", false)
	f.Fuzz(func(t *testing.T, text string, stanzas bool) {
		name := "/etc/apt/sources.list"
		if stanzas {
			name = "/etc/apt/sources.list.d/x.sources"
		}
		sources, _ := parseAptSources([]byte(text), name)
		for _, s := range sources {
			if s.URI == "" || s.Suite == "" || s.Line < 1 || s.File != name {
				t.Errorf("%+v", s)
			}
		}
		AptMirrors(sources, "stable", []string{"main"}, "amd64", nil)
	})
}
