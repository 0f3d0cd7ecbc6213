package sbom

import (
	"compress/gzip"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
	"github.com/imagefactory/imagefactory/distros/rpm/rpmdb"
	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/provenance"
	"github.com/imagefactory/imagefactory/stages/sbom/sbomtest"
	"github.com/imagefactory/imagefactory/stages/stagetest"
)

func TestParseTag(t *testing.T) {
	for tag, want := range map[string]string{
		"":    "",
		"MIT": "MIT",
		"GPL-2.0-or-later WITH GCC-exception-2.0 AND MIT":   "GPL-2.0-or-later WITH GCC-exception-2.0 AND MIT",
		"(GPL-2.0-only OR BSD-3-Clause) AND Zlib":           "(GPL-2.0-only OR BSD-3-Clause) AND Zlib",
		"GPLv2+ and LGPLv2+ with exceptions":                "GPL-2.0-or-later AND LicenseRef-rpm-LGPLv2-or-later-with-exceptions",
		"GPLv3+ and GPLv2+ and LGPLv2+":                     "GPL-3.0-or-later AND GPL-2.0-or-later AND LGPL-2.0-or-later",
		"BSD and (GPL+ or Artistic)":                        "LicenseRef-rpm-BSD AND (GPL-1.0-or-later OR Artistic-1.0-Perl)",
		"Redistributable, no modification permitted or MIT": "LicenseRef-rpm-Redistributable--no-modification-permitted OR MIT",
		"ASL 2.0":                                "Apache-2.0",
		"MIT and MIT and mit":                    "MIT",
		"MPLv2.0 or (LGPLv3 and ISC)":            "MPL-2.0 OR LGPL-3.0-only AND ISC",
		"Public Domain":                          "LicenseRef-rpm-Public-Domain",
		"GPLv2 with exceptions":                  "LicenseRef-rpm-GPLv2-with-exceptions",
		"LicenseRef-Fedora-Public-Domain OR MIT": "LicenseRef-rpm-LicenseRef-Fedora-Public-Domain OR MIT",
		"GPL-2.0":                                "GPL-2.0-only",
		"GPL-2.0+":                               "GPL-2.0-or-later",
		"GPL-3.0-with-GCC-exception":             "GPL-3.0-only WITH GCC-exception-3.1",
		"AGPLv3+":                                "AGPL-3.0-or-later",
		"GPLv2 or later":                         "GPL-2.0-only OR LicenseRef-rpm-later", // no distribution writes it so
		"MIT and":                                "",
		"(MIT":                                   "",
		"MIT)":                                   "",
		"and":                                    "",
		"(GPLv2 or MIT) with exceptions":         "",
		"GPL-1.0-or-later OR Artistic-1.0-Perl":  "GPL-1.0-or-later OR Artistic-1.0-Perl",
		"Apache-2.0 WITH LLVM-exception OR NCSA": "Apache-2.0 WITH LLVM-exception OR NCSA",
		"GPL-2.0-only WITH Linux-syscall-note":   "GPL-2.0-only WITH Linux-syscall-note",
		"GPL-2.0-only WITH Linux-syscall-note AND (MIT OR Apache-2.0)": "GPL-2.0-only WITH Linux-syscall-note AND (MIT OR Apache-2.0)",
		"Bitstream Vera and Public Domain":                             "Bitstream-Vera AND LicenseRef-rpm-Public-Domain",
		"\xff\xfe":                                                     "LicenseRef-rpm---",
	} {
		l := parseTag(tag)
		if l.Expression != want {
			t.Errorf("%q is %q, want %q", tag, l.Expression, want)
		}
		if tag != l.Expression && !strings.Contains(l.Comment, strings.ToValidUTF8(tag, "�")) {
			t.Errorf("%q: the comment %q does not have the tag", tag, l.Comment)
		}
		checkLicense(t, tag, l)
	}
}

func TestParseCopyright(t *testing.T) {
	const format = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
	for name, c := range map[string]struct{ text, want, comment string }{
		"choices":           {format + "\nFiles: *\nLicense: GPL-1+ or Artistic, and BSD-3-clause\n", "(GPL-1.0-or-later OR Artistic-1.0) AND BSD-3-Clause", ""},
		"and binds more":    {format + "\nFiles: *\nLicense: Expat or GPL-2 and Zlib\n", "MIT OR GPL-2.0-only AND Zlib", ""},
		"comma and or":      {format + "\nFiles: *\nLicense: Expat and Zlib, or GPL-2\n", "MIT AND Zlib OR GPL-2.0-only", ""},
		"exceptions":        {format + "\nFiles: *\nLicense: GPL-3+ with Autoconf exception\n\nFiles: b\nLicense: GPL-2+-with-Bison-exception\n\nFiles: c\nLicense: LGPL-2.1+ with wxWindows exception", "GPL-3.0-or-later WITH Autoconf-exception-3.0 AND GPL-2.0-or-later WITH Bison-exception-2.2 AND LGPL-2.1-or-later WITH WxWindows-exception-3.1", ""},
		"no such":           {format + "\nFiles: *\nLicense: GPL-2+ with OpenSSL exception\n", "LicenseRef-deb-GPL-2-or-later-with-OpenSSL-exception", ""},
		"header alone":      {format + "License: ISC\n", "ISC", ""},
		"several files":     {format + "\nFiles: *\nLicense: Expat\n text\n\nFiles: x\nLicense: Expat\n\nFiles: y\nLicense: LGPL-2.1\n", "MIT AND LGPL-2.1-only", ""},
		"not an expression": {format + "\nFiles: *\nLicense: Expat\n\nFiles: x\nLicense: GPL-2 and\n", "MIT", "The package's copyright file also names what is no expression: GPL-2 and"},
		"for people":        {"This package is under the GPL, see /usr/share/common-licenses/GPL-2, or /usr/share/common-licenses/Artistic.\n", "", "The package's copyright file is not machine-readable. It refers to these common licences: Artistic, GPL-2."},
		"another format":    {"Format: x\n\nFiles: *\nLicense: GPL-2\n", "", "The package's copyright file is not machine-readable."},
		"no licences":       {format + "\nFiles: *\nCopyright: me\n", "", "The package's copyright file is not machine-readable."},
		"no UTF-8":          {format + "Upstream-Name: \xe9\n\nFiles: *\nLicense: GPL-2\n", "GPL-2.0-only", ""},
		"nothing":           {"", "", "The package's copyright file is not machine-readable."},
	} {
		l := parseCopyright([]byte(c.text))
		if l.Expression != c.want || l.Comment != c.comment {
			t.Errorf("%s: %q, %q; want %q, %q", name, l.Expression, l.Comment, c.want, c.comment)
		}
		checkLicense(t, name, l)
	}

	own := parseCopyright([]byte(format + "\nFiles: *\nLicense: public-domain\n Nobody owns it.\n .\n  Indented.\n\nFiles: y\nLicense: own\n\nLicense: Own\n Text.\n"))
	if len(own.Texts) != 2 || own.Texts[0].Text != "Text." || own.Texts[1].Text != "Nobody owns it.\n\n Indented." || own.Texts[1].Name != "public-domain" {
		t.Errorf("texts: %q", own.Texts)
	}
	other := parseCopyright([]byte(format + "\nFiles: *\nLicense: public-domain\n Other words.\n"))
	if other.Texts[0].ID == own.Texts[1].ID {
		t.Error("two texts have one identifier")
	}
}

// checkLicense makes sure that an expression is one, of the SPDX list and of its own texts.
func checkLicense(t *testing.T, what string, l License) {
	t.Helper()
	if l.Expression == "" {
		return
	}
	ids := strings.Split(licenseList, "\n")
	end := slices.Index(ids, "")
	licenses, exceptions := ids[:end], ids[end+1:]
	depth, operand := 0, false
	words := strings.Fields(strings.NewReplacer("(", " ( ", ")", " ) ").Replace(l.Expression))
	for i, w := range words {
		switch {
		case w == "(":
			depth++
			if operand {
				t.Errorf("%s: %s: ( after a licence", what, l.Expression)
			}
		case w == ")":
			depth--
			if !operand {
				t.Errorf("%s: %s: ) after no licence", what, l.Expression)
			}
		case w == "AND" || w == "OR" || w == "WITH":
			if !operand {
				t.Errorf("%s: %s: %s after no licence", what, l.Expression, w)
			}
			operand = false
		default:
			known := slices.Contains(licenses, w) || slices.ContainsFunc(l.Texts, func(t LicenseText) bool { return t.ID == w })
			if i > 0 && words[i-1] == "WITH" {
				known = slices.Contains(exceptions, w)
			}
			if operand || !known || !identifierPattern.MatchString(w) {
				t.Errorf("%s: %s: %s is no licence here", what, l.Expression, w)
			}
			operand = true
		}
	}
	if depth != 0 || !operand {
		t.Errorf("%s: %s ends in the middle", what, l.Expression)
	}
	for _, text := range l.Texts {
		if !strings.Contains(l.Expression, text.ID) || text.Text == "" || text.Name == "" {
			t.Errorf("%s: the text %+v is of nothing", what, text)
		}
	}
}

var identifierPattern = regexp.MustCompile(`^[A-Za-z0-9.-]+$`)

// TestCopyrightFiles reads every copyright file of this machine.
func TestCopyrightFiles(t *testing.T) {
	files, err := filepath.Glob("/usr/share/doc/*/copyright")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("this machine has no copyright files: it is not of the Debian family, or keeps no documentation")
	}
	readable, understood := 0, 0
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue // a link to a package without documentation
		}
		l := parseCopyright(data)
		checkLicense(t, f, l)
		if strings.HasPrefix(string(data), "Format: http") {
			readable++
			if l.Expression != "" {
				understood++
			} else {
				t.Logf("%s: %s", f, l.Comment)
			}
		}
	}
	t.Logf("%d files, %d machine-readable, %d understood", len(files), readable, understood)
	if understood*100 < readable*95 {
		t.Errorf("of %d machine-readable copyright files %d are understood", readable, understood)
	}
}

// TestTags reads the licence tags of a whole distribution.
func TestTags(t *testing.T) {
	files, err := filepath.Glob("/work/shared/realdata/images-cs9-baseos-2022/repodata/*-primary.xml.gz")
	if err != nil || len(files) == 0 {
		t.Skip("the metadata of a real repository is not here")
	}
	f, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(plain)
	all, own := map[string]bool{}, 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "license" {
			var tag string
			if err := d.DecodeElement(&tag, &e); err != nil {
				t.Fatal(err)
			}
			if all[tag] {
				continue
			}
			all[tag] = true
			l := parseTag(tag)
			checkLicense(t, tag, l)
			if l.Expression == "" {
				t.Errorf("%q is not understood: %s", tag, l.Comment)
			}
			if len(l.Texts) > 0 {
				own++
			}
		}
	}
	t.Logf("%d tags, %d name licences that the SPDX list does not have", len(all), own)
	if len(all) < 100 {
		t.Errorf("there are only %d tags", len(all))
	}
}

// TestLicensesOfRPM takes licences, sources and suppliers from an rpm database.
func TestLicensesOfRPM(t *testing.T) {
	cache := stagetest.Cache(t)
	record := func(name, tag, source string) rpmdb.Package {
		blob, err := header.Build([]header.Entry{
			header.StringEntry(header.TagName, name), header.StringEntry(header.TagVersion, "5.1"), header.StringEntry(header.TagRelease, "2.el9"),
			header.StringEntry(header.TagArch, "x86_64"), header.StringEntry(header.TagLicense, tag), header.StringEntry(header.TagSourceRPM, source),
			header.StringEntry(header.TagVendor, "Some Vendor"), header.Uint32sEntry(header.TagEpoch, 3),
		}, header.TagHeaderImmutable)
		if err != nil {
			t.Fatal(err)
		}
		h, err := header.Parse(blob)
		if err != nil {
			t.Fatal(err)
		}
		return rpmdb.Package{Header: h, InstallTime: 1, TransactionID: 1}
	}
	data, err := rpmdb.Write([]rpmdb.Package{record("bash", "GPLv3+", "bash-5.1-2.el9.src.rpm"), record("odd", "BSD", "nothing")})
	if err != nil {
		t.Fatal(err)
	}
	root := stagetest.Tree(t, stagetest.File(t, cache.Store, "var/lib/rpm/"+rpmdb.FileName, string(data)), stagetest.File(t, cache.Store, "etc/os-release", "ID=rocky\nVERSION_ID=9\nNAME='Rocky Linux'\n"))
	db, err := installed.Read(cache.Store, root)
	if err != nil {
		t.Fatal(err)
	}
	licenses, err := Licenses(t.Context(), cache.Store, root, db)
	if err != nil {
		t.Fatal(err)
	}
	in := build(t, cache)
	in.Installed, in.Licenses, in.Mounts = db, licenses, nil
	in.Root = stagetest.Save(t, cache.Store, root)
	if in.Attribution, err = provenance.Attribute(t.Context(), cache.Store, []provenance.Step{{Stage: "rootfs", Kind: provenance.Import, Name: "x", Tree: in.Root}}); err != nil {
		t.Fatal(err)
	}
	d, err := New(t.Context(), cache, in)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Packages) != 2 {
		t.Fatalf("the packages are %+v", d.Packages)
	}
	bash, odd := d.Packages[0], d.Packages[1]
	if bash.PURL != "pkg:rpm/rocky/bash@5.1-2.el9?arch=x86_64&distro=rocky-9&epoch=3" || bash.License.Expression != "GPL-3.0-or-later" || bash.Supplier != "Some Vendor" ||
		bash.Source != (Source{"bash", "5.1-2.el9", "pkg:rpm/rocky/bash@5.1-2.el9?arch=src&distro=rocky-9"}) {
		t.Errorf("bash is %+v", bash)
	}
	if odd.Source.Name != "nothing" || odd.License.Expression != "LicenseRef-rpm-BSD" {
		t.Errorf("odd is %+v", odd)
	}
	spdx, cyclonedx := write(t, d)
	validate(t, sbomtest.SPDX, spdx)
	validate(t, sbomtest.CycloneDX, cyclonedx)
}

func TestReadSystem(t *testing.T) {
	cache := stagetest.Cache(t)
	s, err := ReadSystem(cache.Store, stagetest.Tree(t, stagetest.File(t, cache.Store, "usr/lib/os-release", "# comment\nID=\"openEuler\"\nNAME='a \"b\"'\nPRETTY_NAME=\"x \\\"y\\\" \\$z\"\nbroken\n")))
	if err != nil || s != (System{ID: "openeuler", Name: `a "b"`, Title: `x "y" $z`}) {
		t.Errorf("%+v, %v", s, err)
	}
	if s := parseSystem(""); s != (System{ID: "linux", Name: "Linux", Title: "Linux"}) {
		t.Errorf("an empty one is %+v", s)
	}
	if _, err := ReadSystem(cache.Store, stagetest.Tree(t, stagetest.Link("etc/os-release", "nowhere"))); !errors.Is(err, ErrNoSystem) {
		t.Errorf("a dangling link: %v", err)
	}
}

// TestThisSystem reads this machine's own os-release.
func TestThisSystem(t *testing.T) {
	data, err := os.ReadFile("/etc/os-release")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("this machine has no /etc/os-release")
	}
	if s := parseSystem(string(data)); err != nil || s.ID == "" || s.Name == "" || s.Title == "" {
		t.Errorf("%+v, %v", s, err)
	}
}

func FuzzParseCopyright(f *testing.F) {
	f.Add(copyright)
	f.Add("Format: dep5\nFiles: a\nLicense: Expat\n\nFiles: b\nLicense: own (\n")
	f.Add("Format: dep5\nLicense: (a and/or b), or c with d exception\n x\n")
	f.Fuzz(func(t *testing.T, text string) { checkLicense(t, text, parseCopyright([]byte(text))) })
}

func FuzzParseTag(f *testing.F) {
	f.Add("GPLv2+ and (LGPLv3 or MIT with exceptions)")
	f.Fuzz(func(t *testing.T, tag string) { checkLicense(t, tag, parseTag(tag)) })
}

func FuzzParseSystem(f *testing.F) {
	f.Add(osRelease)
	f.Fuzz(func(t *testing.T, text string) {
		if s := parseSystem(text); s.ID == "" || s.Name == "" {
			t.Errorf("%+v", s)
		}
	})
}
