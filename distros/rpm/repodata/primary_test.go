package repodata

import (
	"bytes"
	"strings"
	"testing"
)

const testPrimary = `<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="2">
<package type="rpm">
  <name>a</name>
  <arch>x86_64</arch>
  <version epoch="2" ver="1.0" rel="1.el9"/>
  <checksum type="sha256" pkgid="YES">8b9d1ee60c2b2b8a4ff1bbd9ac2b2b0d5d1bb2a77e7a4b7bbe7d4c6a0a8a1bb1</checksum>
  <summary>A &amp; B</summary>
  <time file="2" build="1"/>
  <size package="10" installed="20" archive="30"/>
  <location xml:base="http://host/dir" href="a.rpm"/>
  <format>
    <rpm:license>MIT</rpm:license>
    <rpm:sourcerpm>a-1.0-1.el9.src.rpm</rpm:sourcerpm>
    <rpm:header-range start="1" end="2"/>
    <rpm:provides>
      <rpm:entry name="a" flags="EQ" epoch="2" ver="1.0" rel="1.el9"/>
      <rpm:entry name="libc.so.6()(64bit)"/>
    </rpm:provides>
    <rpm:requires>
      <rpm:entry name="/bin/sh" pre="1"/>
      <rpm:entry name="x" flags="LT" ver="3"/>
      <rpm:entry name="x" flags="GE" epoch="0" ver="1"/>
      <rpm:entry name="y" flags="GT" ver="1"/>
      <rpm:entry name="y" flags="LE" ver="2"/>
      <rpm:entry name="(a if b)"/>
    </rpm:requires>
    <file>/usr/bin/a</file>
    <file type="dir">/etc/a.d</file>
    <file type="ghost">/etc/a.d/b</file>
  </format>
</package>
<package type="other"><name/></package>
<package type="rpm"><name>b</name><arch>noarch</arch><version epoch="0" ver="1" rel="1"/><checksum type="sha">0123456789012345678901234567890123456789</checksum><location href="b.rpm"/></package>
</metadata>
`

const testFilelists = `<filelists packages="2">
<package pkgid="8b9d1ee60c2b2b8a4ff1bbd9ac2b2b0d5d1bb2a77e7a4b7bbe7d4c6a0a8a1bb1" name="a" arch="x86_64"><version epoch="2" ver="1.0" rel="1.el9"/><file>/usr/bin/a</file><file>/usr/share/a</file></package>
<package pkgid="0123456789012345678901234567890123456789" name="b" arch="noarch"><file type="dir">/usr/share/a</file><file>/b&lt;</file></package>
<package pkgid="unknown" name="c" arch="noarch"><file>/b</file></package>
</filelists>
`

func TestParsePrimary(t *testing.T) {
	p, err := ParsePrimary(strings.NewReader(testPrimary), "r", "")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{Name:a EVR:2:1.0-1.el9 Arch:x86_64 Repository:r Location:a.rpm Base:http://host/dir Size:10 SHA256:sha256:8b9d1ee60c2b2b8a4ff1bbd9ac2b2b0d5d1bb2a77e7a4b7bbe7d4c6a0a8a1bb1 InstalledSize:20 BuildTime:1 SourceRPM:a-1.0-1.el9.src.rpm Summary:A & B License:MIT ` +
		`Provides:[a = 2:1.0-1.el9 libc.so.6()(64bit)] Requires:[/bin/sh x < 3 x >= 1 y > 1 y <= 2 (a if b)] Conflicts:[] Obsoletes:[] Recommends:[] Suggests:[] Supplements:[] Enhances:[] Files:[/etc/a.d /etc/a.d/b /usr/bin/a] Priority:0 Modular:false}
{Name:b EVR:1-1 Arch:noarch Repository:r Location:b.rpm Base: Size:0 SHA256:sha256:0000000000000000000000000000000000000000000000000000000000000000 InstalledSize:0 BuildTime:0 SourceRPM: Summary: License: ` +
		`Provides:[] Requires:[] Conflicts:[] Obsoletes:[] Recommends:[] Suggests:[] Supplements:[] Enhances:[] Files:[] Priority:0 Modular:false}
`
	if got := describe(p.Packages, true); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if r := p.Packages[0].Requires; !r[0].Pre || r[1].Pre {
		t.Errorf("%+v", r)
	}
	// The second has another kind of digest, which still names it.
	wanted := map[string]bool{"/usr/bin/a": true, "/usr/share/a": true, "/b": true, "/b<": true}
	for range 2 {
		if err := p.AddFiles(strings.NewReader(testFilelists), wanted); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := strings.Join(p.Packages[0].Files, " "), strings.Join(p.Packages[1].Files, " "); a != "/etc/a.d /etc/a.d/b /usr/bin/a /usr/share/a" || b != "/usr/share/a /b<" {
		t.Errorf("files %s; %s", a, b)
	}
	for arch, want := range map[string]int{"x86_64": 2, "aarch64": 1, "noarch": 1} {
		if p, err := ParsePrimary(strings.NewReader(testPrimary), "r", arch); err != nil || len(p.Packages) != want {
			t.Errorf("%s: %v, %v", arch, p, err)
		}
	}
}

func TestParsePrimaryErrors(t *testing.T) {
	for _, test := range []struct{ old, new, want string }{
		{"<metadata", "<filelists", "line 2: the document is <filelists>, not <metadata>"},
		{"<name>a</name>", "", `line 32: "" is not the name of a package`},
		{"<name>a</name>", "<name>../a</name>", `line 32: "../a" is not the name of a package`},
		{"<name>a</name>", "<name>a\nb</name>", `line 33: "a\nb" is not the name of a package`},
		{"<arch>x86_64</arch>", "", `line 32: package a: "" is not an architecture`},
		{`ver="1.0" rel="1.el9"/>` + "\n  <checksum", `ver="1.0"/>` + "\n  <checksum", `line 32: package a: "2:1.0" is not its version and release`},
		{`ver="1.0" rel="1.el9"/>` + "\n  <checksum", `ver="1-0" rel="1"/>` + "\n  <checksum", `line 32: package a: "2:1-0-1" is not its version and release`},
		{`epoch="2"`, `epoch="x"`, `line 6: package a: "x" is not an epoch`},
		{`epoch="2"`, `epoch="4294967296"`, `line 6: package a: "4294967296" is not an epoch`},
		{`href="a.rpm"`, ``, "line 32: package a-2:1.0-1.el9.x86_64 has no location"},
		{"8b9d1ee6", "8b9d1ee", `line 7: package a: the SHA-256 digest "8b9d1ee0c2b2b8a4ff1bbd9ac2b2b0d5d1bb2a77e7a4b7bbe7d4c6a0a8a1…" has not 64 digits`},
		{"8b9d1ee6", "8b9d1eex", `line 7: package a: the SHA-256 digest "8b9d1eex`},
		{`package="10"`, `package="ten"`, `line 10: the attribute package="ten" is not a number`},
		{`flags="GE"`, `flags="NE"`, `line 23: the dependency on x has the comparison "NE", which is none of EQ, LT, LE, GT, GE`},
		{`name="/bin/sh"`, ``, "line 21: a dependency without a name"},
		{"</metadata>\n", "", "line 34: the file ends too early: <metadata> is not closed"},
	} {
		in := strings.Replace(testPrimary, test.old, test.new, 1)
		if in == testPrimary {
			t.Fatalf("there is no %q", test.old)
		}
		_, err := ParsePrimary(strings.NewReader(in), "r", "")
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%q: error %v\nwant %s", test.new, err, test.want)
		}
	}
	p, err := ParsePrimary(strings.NewReader(testPrimary), "r", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AddFiles(strings.NewReader(testPrimary), nil); err == nil || err.Error() != "line 2: the document is <metadata>, not <filelists>" {
		t.Errorf("error %v", err)
	}
}

func FuzzPrimary(f *testing.F) {
	f.Add([]byte(testPrimary))
	f.Fuzz(func(t *testing.T, p []byte) {
		got, err := ParsePrimary(bytes.NewReader(p), "r", "")
		if err != nil {
			return
		}
		for _, pkg := range got.Packages {
			if err := check(pkg); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzFilelists(f *testing.F) {
	f.Add([]byte(testFilelists))
	f.Fuzz(func(t *testing.T, p []byte) {
		primary, err := ParsePrimary(strings.NewReader(testPrimary), "r", "")
		if err != nil {
			t.Fatal(err)
		}
		_ = primary.AddFiles(bytes.NewReader(p), map[string]bool{"/usr/bin/a": true, "/b": true})
	})
}
