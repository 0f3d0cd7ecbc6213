package sbom

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// License is what a package says of its licences.
type License struct {
	Expression string        // an SPDX expression (SPDX 2.3, annex D); empty: not known
	Texts      []LicenseText // of every LicenseRef- in Expression
	Comment    string        // what there is to say when Expression does not say it all
}

// LicenseText is a licence that the SPDX list does not have.
type LicenseText struct {
	ID   string // "LicenseRef-…"
	Name string // as the package has it
	Text string
}

// Licenses returns the licences of packages, by ID. Those of rpm are in the database; those of deb
// are in /usr/share/doc, so t is the tree before documentation is removed from it. Copyright files
// that are not machine-readable (copyright-format 1.0) give no expression, only a comment.
func Licenses(ctx context.Context, st *store.Store, t *tree.Tree, db *installed.Database) (map[string]License, error) {
	licenses := make(map[string]License, len(db.Packages))
	parsed := map[store.Digest]License{} // many packages of one source have one file
	for i := range db.Packages {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		p := &db.Packages[i]
		if db.Family == installed.RPM {
			licenses[p.ID] = parseTag(p.License)
			continue
		}
		at, err := t.Resolve("/usr/share/doc/" + p.Name + "/copyright")
		if err != nil {
			continue // no documentation, as of packages that were unpacked without
		}
		e, ok := t.Lookup(at)
		if !ok || e.Type != tree.Regular {
			continue
		}
		license, ok := parsed[e.Digest]
		if !ok {
			data, err := st.ReadAll(e.Digest)
			if err != nil {
				return nil, fmt.Errorf("/%s: %w", at, err)
			}
			license = parseCopyright(data)
			parsed[e.Digest] = license
		}
		licenses[p.ID] = license
	}
	return licenses, nil
}

// What is in the identifiers of licences that the SPDX list does not have.
const (
	originDeb = "deb"
	originRPM = "rpm"
)

// collector translates names of licences and remembers those that the SPDX list does not have.
type collector struct {
	origin string            // originDeb or originRPM
	texts  map[string]string // by name in lower case
	found  map[string]LicenseText
}

// leaf returns the licence that a distribution calls name.
func (c *collector) leaf(name string) *node {
	if c.origin == originRPM && strings.EqualFold(name, "Artistic") {
		return &node{leaf: "Artistic-1.0-Perl"} // what Fedora meant, where Debian means the first version
	}
	if id := translate(name); id != "" {
		return &node{leaf: id}
	}
	text, ok := c.texts[strings.ToLower(name)]
	if !ok {
		text = "The package names this licence and has no text of it: " + name
	}
	id := "LicenseRef-" + c.origin + "-" + sanitized(name)
	if ok {
		// Texts of one name differ from package to package.
		sum := sha256.Sum256([]byte(text))
		id += "-" + hex.EncodeToString(sum[:4])
	}
	c.found[id] = LicenseText{ID: id, Name: name, Text: text}
	return &node{leaf: id}
}

// license returns an expression with what was collected for it.
func (c *collector) license(n *node, comment string) License {
	l := License{Expression: n.String(), Comment: comment}
	for _, leaf := range n.leaves(nil) {
		if t, ok := c.found[leaf]; ok && !slices.Contains(l.Texts, t) {
			l.Texts = append(l.Texts, t)
		}
	}
	slices.SortFunc(l.Texts, func(a, b LicenseText) int { return strings.Compare(a.ID, b.ID) })
	return l
}

// sanitized returns name with nothing but what identifiers may have.
func sanitized(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '.' || c == '-':
			b.WriteByte(c)
		case c == '+':
			b.WriteString("-or-later")
		default:
			b.WriteByte('-')
		}
	}
	return b.String()
}

// aliases are names that distributions have for licences of the SPDX list, in lower case. Those of
// which nobody can tell which licence they mean ("BSD", "GPL") are not here.
var aliases = map[string]string{
	// Debian's copyright-format 1.0.
	"expat": "MIT", "artistic": "Artistic-1.0", "mit/x11": "MIT", "mit/expat": "MIT", "expat/mit": "MIT", "apache-2": "Apache-2.0",
	"mpl-1": "MPL-1.0", "mpl-2": "MPL-2.0", "cc0": "CC0-1.0", "cc0-1": "CC0-1.0", "python-2": "Python-2.0", "psf-2": "PSF-2.0",
	"boost-1.0": "BSL-1.0", "bsl-1": "BSL-1.0", "bsd-3-clauses": "BSD-3-Clause", "bsd-2-clauses": "BSD-2-Clause", "bsd-4-clauses": "BSD-4-Clause",
	"bsd3": "BSD-3-Clause", "bsd2": "BSD-2-Clause", "bsd-3": "BSD-3-Clause", "bsd-2": "BSD-2-Clause", "0bsd": "0BSD",
	"cc-by-sa-3": "CC-BY-SA-3.0", "cc-by-sa-4": "CC-BY-SA-4.0",
	"gfdl-niv-1.2+": "GFDL-1.2-no-invariants-or-later", "gfdl-niv-1.3+": "GFDL-1.3-no-invariants-or-later", "gfdl-niv-1.1+": "GFDL-1.1-no-invariants-or-later",
	"gfdl-niv-1.2": "GFDL-1.2-no-invariants-only", "gfdl-niv-1.3": "GFDL-1.3-no-invariants-only",
	// Fedora's names before it took those of SPDX, which its descendants still have.
	"gpl+": "GPL-1.0-or-later", "lgpl+": "LGPL-2.0-or-later", "asl 2.0": "Apache-2.0", "asl 1.1": "Apache-1.1", "asl 1.0": "Apache-1.0",
	"mplv1.0": "MPL-1.0", "mplv1.1": "MPL-1.1", "mplv2.0": "MPL-2.0", "artistic 2.0": "Artistic-2.0", "artistic clarified": "ClArtistic",
	"boost": "BSL-1.0", "cddl": "CDDL-1.0", "epl": "EPL-1.0", "ofl": "OFL-1.1", "php": "PHP-3.01", "zplv2.1": "ZPL-2.1", "zplv2.0": "ZPL-2.0",
	"eupl 1.1": "EUPL-1.1", "ecl 2.0": "ECL-2.0", "unlicense": "Unlicense", "wtfpl": "WTFPL", "bsd with advertising": "BSD-4-Clause",
	"qpl": "QPL-1.0", "ibm": "IPL-1.0", "cpl": "CPL-1.0", "nosl": "NOSL", "bitstream vera": "Bitstream-Vera",
}

// gnu matches names of the GNU licences: "GPL-2+", "GPLv2+", "LGPL-2.1", "AGPLv3", "GFDL-1.3+", "GPL (>= 2)".
var gnu = regexp.MustCompile(`^(a?gpl|lgpl|gfdl)(?:-|v| v| |-v)?([0-9](?:\.[0-9])?)(?:\.0)?(\+| or later|-or-later| or newer|-or-newer)?$`)

// exceptions are words of names of exceptions, and the exceptions of the SPDX list that they mean;
// the first that a name has counts.
var exceptions = []struct{ words, id, version3 string }{
	{"linux-syscall", "Linux-syscall-note", ""},
	{"classpath", "Classpath-exception-2.0", ""},
	{"autoconf", "Autoconf-exception-2.0", "Autoconf-exception-3.0"},
	{"bison", "Bison-exception-2.2", ""},
	{"libtool", "Libtool-exception", ""},
	{"font", "Font-exception-2.0", ""},
	{"gcc", "GCC-exception-2.0", "GCC-exception-3.1"},
	{"llvm", "LLVM-exception", ""},
	{"texinfo", "Texinfo-exception", ""},
	{"wxwindows", "WxWindows-exception-3.1", ""},
	{"u-boot", "u-boot-exception-2.0", ""},
	{"cryptsetup", "cryptsetup-OpenSSL-exception", ""},
}

// translate returns the identifier of the SPDX list for what a distribution calls name, or "" where
// there is none, or nobody can tell which.
func translate(name string) string {
	lower := strings.ToLower(strings.TrimSpace(name))
	for _, separator := range []string{" with ", "-with-", "-with ", " with-"} {
		base, exception, ok := strings.Cut(lower, separator)
		if !ok {
			continue
		}
		if id, ok := aliases[lower]; ok {
			return id
		}
		id := translate(base)
		if id == "" {
			return ""
		}
		if found, ok := known().exceptions[strings.ReplaceAll(exception, " ", "-")]; ok {
			return id + " WITH " + found
		}
		for _, e := range exceptions {
			if !strings.Contains(exception, e.words) {
				continue
			}
			if e.version3 != "" && strings.Contains(id, "-3.0-") {
				return id + " WITH " + e.version3
			}
			return id + " WITH " + e.id
		}
		return ""
	}
	if id, ok := aliases[lower]; ok {
		return id
	}
	if m := gnu.FindStringSubmatch(lower); m != nil {
		version := m[2]
		if !strings.Contains(version, ".") {
			version += ".0"
		}
		suffix := ""
		if m[3] != "" {
			suffix = "+"
		}
		if id, ok := listed(m[1] + "-" + version + suffix); ok {
			return id
		}
		return ""
	}
	if id, ok := listed(lower); ok {
		return id
	}
	return ""
}

// parseTag reads an rpm's licence tag: an SPDX expression, or what distributions had before.
func parseTag(tag string) License {
	tag = strings.TrimSpace(tag)
	if tag == "" {
		return License{}
	}
	c := collector{origin: originRPM, found: map[string]LicenseText{}}
	n := parse(tag, false, c.leaf)
	if n == nil {
		return License{Comment: "The package's licence tag is no expression: " + strings.ToValidUTF8(tag, "�")}
	}
	comment := ""
	if n.String() != tag {
		comment = "The package's licence tag: " + strings.ToValidUTF8(tag, "�")
	}
	return c.license(n, comment)
}

// commonLicense finds where copyright files refer to texts that every system has.
var commonLicense = regexp.MustCompile(`/usr/share/common-licenses/([A-Za-z0-9.+-]*[A-Za-z0-9+])`)

// parseCopyright reads a Debian copyright file.
func parseCopyright(data []byte) License {
	if !utf8.Valid(data) {
		data = bytes.ToValidUTF8(data, []byte("�"))
	}
	var stanzas []deb.Stanza
	err := deb.ParseStanzas(bytes.NewReader(data), func(s deb.Stanza) error {
		stanzas = append(stanzas, s)
		return nil
	})
	if err != nil || len(stanzas) == 0 || !strings.Contains(stanzas[0].Get("Format"), "copyright-format") && !strings.Contains(stanzas[0].Get("Format"), "dep5") {
		return unreadable(data)
	}
	c := collector{origin: originDeb, texts: map[string]string{}, found: map[string]LicenseText{}}
	var named []string
	for _, s := range stanzas {
		f, ok := s.Lookup("License")
		if !ok {
			continue
		}
		name, text, _ := strings.Cut(f.Value, "\n")
		name = strings.Join(strings.Fields(name), " ")
		if text = plainText(text); text != "" {
			if _, there := c.texts[strings.ToLower(name)]; !there {
				c.texts[strings.ToLower(name)] = text
			}
		}
		if _, files := s.Lookup("Files"); files && name != "" && !slices.Contains(named, name) {
			named = append(named, name)
		}
	}
	if len(named) == 0 {
		// Only a header: its licence is that of everything.
		if name, _, _ := strings.Cut(stanzas[0].Get("License"), "\n"); name != "" {
			named = append(named, name)
		}
	}
	var nodes []*node
	var wrong []string
	for _, name := range named {
		// A name with a text of its own is one licence, whatever words it has.
		n := parse(name, true, c.leaf)
		if n == nil {
			wrong = append(wrong, name)
			continue
		}
		nodes = append(nodes, n)
	}
	all := join("AND", nodes...)
	if all == nil {
		return unreadable(data)
	}
	comment := ""
	if len(wrong) > 0 {
		comment = "The package's copyright file also names what is no expression: " + strings.Join(wrong, "; ")
	}
	return c.license(all, comment)
}

// unreadable returns what can be said of a copyright file that is for people only.
func unreadable(data []byte) License {
	var names []string
	for _, m := range commonLicense.FindAllSubmatch(data, -1) {
		if name := path.Base(string(m[1])); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	comment := "The package's copyright file is not machine-readable."
	if len(names) > 0 {
		comment += " It refers to these common licences: " + strings.Join(names, ", ") + "."
	}
	return License{Comment: comment}
}

// plainText returns the text of a formatted field: lines begin with a space, and a dot stands for an
// empty one.
func plainText(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		line = strings.TrimRight(strings.TrimPrefix(line, " "), " \t\r")
		if line == "." {
			line = ""
		}
		b.WriteString(line + "\n")
	}
	return strings.Trim(b.String(), "\n")
}

// licenseTexts returns the licences of a document that the SPDX list does not have, sorted.
func licenseTexts(d *Document) []LicenseText {
	byID := map[string]LicenseText{}
	for _, p := range d.Packages {
		for _, t := range p.License.Texts {
			byID[t.ID] = t
		}
	}
	var list []LicenseText
	for _, t := range byID {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b LicenseText) int { return strings.Compare(a.ID, b.ID) })
	return list
}
