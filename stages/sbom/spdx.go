package sbom

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/stages/provenance"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// namespace is what the namespaces of SPDX documents begin with. They are names: nothing is
// there to be fetched (SPDX 2.3, 6.5).
const namespace = "https://github.com/imagefactory/imagefactory/spdx/"

// The identifiers of elements that every document has.
const (
	idDocument = "SPDXRef-DOCUMENT"
	idImage    = "SPDXRef-Image"
	idTool     = "SPDXRef-Tool"
	idRecipe   = "SPDXRef-Recipe"
)

const noAssertion = "NOASSERTION"

type spdxCreation struct {
	Created     string   `json:"created"`
	Creators    []string `json:"creators"`
	ListVersion string   `json:"licenseListVersion"`
}

type spdxChecksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type spdxReference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxVerification struct {
	Value string `json:"packageVerificationCodeValue"`
}

type spdxPackage struct {
	ID               string            `json:"SPDXID"`
	Name             string            `json:"name"`
	Version          string            `json:"versionInfo,omitempty"`
	FileName         string            `json:"packageFileName,omitempty"`
	Supplier         string            `json:"supplier,omitempty"`
	DownloadLocation string            `json:"downloadLocation"`
	FilesAnalyzed    bool              `json:"filesAnalyzed"`
	Verification     *spdxVerification `json:"packageVerificationCode,omitempty"`
	Checksums        []spdxChecksum    `json:"checksums,omitempty"`
	Homepage         string            `json:"homepage,omitempty"`
	SourceInfo       string            `json:"sourceInfo,omitempty"`
	LicenseConcluded string            `json:"licenseConcluded"`
	LicenseDeclared  string            `json:"licenseDeclared"`
	LicenseComments  string            `json:"licenseComments,omitempty"`
	Copyright        string            `json:"copyrightText"`
	Summary          string            `json:"summary,omitempty"`
	Comment          string            `json:"comment,omitempty"`
	References       []spdxReference   `json:"externalRefs,omitempty"`
	Purpose          string            `json:"primaryPackagePurpose,omitempty"`
}

type spdxLicense struct {
	ID   string `json:"licenseId"`
	Text string `json:"extractedText"`
	Name string `json:"name"`
}

// SPDX returns the document as SPDX 2.3 in JSON.
func SPDX(d *Document) ([]byte, error) {
	var b bytes.Buffer
	err := WriteSPDX(&b, d)
	return b.Bytes(), err
}

// WriteSPDX writes the document as SPDX 2.3 in JSON
// (https://spdx.github.io/spdx-spec/v2.3/). The error is about the document or what w gave.
func WriteSPDX(w io.Writer, d *Document) error {
	if err := d.check(); err != nil {
		return err
	}
	s := spdxWriter{writer: newWriter(w), Document: d}
	s.name()
	s.open()
	s.field("spdxVersion", "SPDX-2.3")
	s.field("dataLicense", "CC0-1.0")
	s.field("SPDXID", idDocument)
	s.field("name", s.title())
	s.field("documentNamespace", namespace+escape(s.title())+"-"+uuid(d))
	creation := spdxCreation{Created: timestamp(d.Epoch), Creators: []string{"Tool: " + d.Tool.Name + "-" + cmp.Or(d.Tool.Version, "unknown")}, ListVersion: licenseListVersion}
	s.field("creationInfo", creation)
	s.field("comment", spdxComment)
	s.list("packages", s.packages)
	s.list("files", s.files)
	s.list("hasExtractedLicensingInfos", func() {
		for _, t := range licenseTexts(d) {
			s.item(spdxLicense{ID: t.ID, Text: t.Text, Name: t.Name})
		}
	})
	s.list("relationships", s.relationships)
	s.close()
	return s.flush()
}

const spdxComment = "Files are all paths of the image but its directories. The checksums of a symbolic link are those of its target's text, " +
	"those of devices, FIFOs and sockets are those of nothing. Comments of files say where they come from."

// timestamp returns seconds since 1970 as both formats have times.
func timestamp(epoch int64) string { return time.Unix(epoch, 0).UTC().Format(time.RFC3339) }

// uuid returns the version 8 UUID (RFC 9562, section 5.8) of the document: of the build, and of the
// program that describes it.
func uuid(d *Document) string {
	sum := store.Sum([]byte(strings.Join([]string{d.Key.Hex(), d.title(), d.Tool.Name, d.Tool.Version, strconv.Itoa(Version)}, "\n")))
	b := sum[:16]
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// title is the document's name.
func (d *Document) title() string {
	return strings.Join(slices.DeleteFunc([]string{d.Name, d.Version, d.Arch}, func(s string) bool { return s == "" }), "-")
}

// spdxWriter writes one document.
type spdxWriter struct {
	*writer
	*Document
	packageIDs   []string
	sourceIDs    []string // of each package; "" where the source is not known
	containerIDs []string
	imports      []spdxImport
	fileIDs      []string
	byPackage    [][]int        // files that a package ships, also those it shares
	byBlock      map[string]int // container by name of its block
}

// spdxImport is what a root came from that came whole.
type spdxImport struct {
	id, name string
}

// identifier returns the identifier of an element. The sum makes it one of its own whatever
// characters the text has: two with the same 80 bits will not be met.
func identifier(kind, text, unique string) string {
	var b strings.Builder
	b.WriteString("SPDXRef-" + kind + "-")
	for i := range min(len(text), 64) {
		c := text[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '.' || c == '-' {
			b.WriteByte(c)
		} else {
			b.WriteByte('-')
		}
	}
	if text != "" {
		b.WriteByte('-')
	}
	sum := sha256.Sum256([]byte(unique))
	b.WriteString(hex.EncodeToString(sum[:10]))
	return b.String()
}

// name gives the elements their identifiers.
func (s *spdxWriter) name() {
	s.byPackage = make([][]int, len(s.Packages))
	for _, p := range s.Packages {
		s.packageIDs = append(s.packageIDs, identifier("Package", p.Name, p.PURL))
		id := ""
		if p.Source.Name != "" {
			id = identifier("Source", p.Source.Name, p.Source.PURL)
		}
		s.sourceIDs = append(s.sourceIDs, id)
	}
	s.byBlock = map[string]int{}
	for i, c := range s.Containers {
		s.containerIDs = append(s.containerIDs, identifier("Container", "", c.Reference+"\n"+c.Runtime))
		s.byBlock[c.Block] = i
	}
	s.fileIDs = make([]string, len(s.Files))
	var buf []byte
	for i := range s.Files {
		f := &s.Files[i]
		sum := sha256.Sum256([]byte(f.Path))
		buf = append(buf[:0], "SPDXRef-File-"...)
		buf = hex.AppendEncode(buf, sum[:10])
		s.fileIDs[i] = string(buf)
		if f.Package >= 0 {
			s.byPackage[f.Package] = append(s.byPackage[f.Package], i)
		}
		for _, p := range f.Shared {
			if p >= 0 {
				s.byPackage[p] = append(s.byPackage[p], i)
			}
		}
		if f.Origin.Kind == provenance.Import && !slices.ContainsFunc(s.imports, func(im spdxImport) bool { return im.name == f.Origin.Name }) {
			s.imports = append(s.imports, spdxImport{identifier("Import", "", f.Origin.Name), f.Origin.Name})
		}
	}
}

// verification returns the verification code of files (SPDX 2.3, 7.9).
func (s *spdxWriter) verification(files []int) *spdxVerification {
	sums := make([]string, len(files))
	for i, f := range files {
		sums[i] = hex.EncodeToString(s.Files[f].SHA1[:])
	}
	slices.Sort(sums)
	h := sha1.New()
	for _, sum := range sums {
		io.WriteString(h, sum)
	}
	return &spdxVerification{hex.EncodeToString(h.Sum(nil))}
}

// element returns a package of SPDX with what all have in common.
func element(id, name, version, purpose string) spdxPackage {
	return spdxPackage{
		ID: id, Name: name, Version: version, DownloadLocation: noAssertion, LicenseConcluded: noAssertion, LicenseDeclared: noAssertion,
		Copyright: noAssertion, Purpose: purpose,
	}
}

// packages writes the elements that are packages to SPDX.
func (s *spdxWriter) packages() {
	image := element(idImage, s.Name, s.Version, "OPERATING_SYSTEM")
	image.FilesAnalyzed, image.Summary = true, s.System.Title+" for "+s.Arch
	all := make([]int, len(s.Files))
	for i := range all {
		all[i] = i
	}
	image.Verification = s.verification(all)
	s.item(image)

	tool := element(idTool, s.Tool.Name, s.Tool.Version, "APPLICATION")
	tool.Comment = "The program that built the image. It is not part of it."
	s.item(tool)
	recipe := element(idRecipe, cmp.Or(s.Recipe.Name, s.Name), "", "SOURCE")
	recipe.Comment = "The recipe that the image was built by, with its scripts and files."
	if s.Recipe.SHA256 != "" {
		recipe.Checksums = []spdxChecksum{{"SHA256", s.Recipe.SHA256}}
	}
	s.item(recipe)
	for _, im := range s.imports {
		e := element(im.id, im.name, "", "ARCHIVE")
		e.Comment = "What the root file system came from."
		s.item(e)
	}
	for i := range s.Packages {
		s.item(s.spdxPackage(i))
	}
	seen := map[string]bool{}
	for i, p := range s.Packages {
		id := s.sourceIDs[i]
		if id == "" || seen[id] {
			continue
		}
		seen[id] = true
		e := element(id, p.Source.Name, p.Source.Version, "SOURCE")
		e.Supplier = s.supplier(&p)
		e.References = []spdxReference{{"PACKAGE-MANAGER", "purl", p.Source.PURL}}
		s.item(e)
	}
	for i, c := range s.Containers {
		e := element(s.containerIDs[i], c.Reference, c.Digest.String(), "CONTAINER")
		e.Checksums = []spdxChecksum{{"SHA256", c.Digest.Hex()}}
		e.References = []spdxReference{{"PACKAGE-MANAGER", "purl", containerURL(c)}}
		e.Comment = "A container image in the image, for " + c.Runtime + "."
		s.item(e)
	}
}

// spdxPackage returns package i.
func (s *spdxWriter) spdxPackage(i int) spdxPackage {
	p := &s.Packages[i]
	e := element(s.packageIDs[i], p.Name, p.Version, "")
	e.FileName, e.Supplier, e.Homepage, e.Summary, e.Comment = p.FileName, s.supplier(p), webAddress(p.Homepage), p.Summary, p.Comment
	e.References = []spdxReference{{"PACKAGE-MANAGER", "purl", p.PURL}}
	if p.License.Expression != "" {
		e.LicenseDeclared = p.License.Expression
	}
	e.LicenseComments = p.License.Comment
	if p.SHA256 != "" {
		e.Checksums = []spdxChecksum{{"SHA256", p.SHA256}}
	}
	if p.Source.Name != "" {
		e.SourceInfo = strings.TrimSpace("built from the source package " + p.Source.Name + " " + p.Source.Version)
	}
	if files := s.byPackage[i]; len(files) > 0 {
		e.FilesAnalyzed, e.Verification = true, s.verification(files)
	}
	return e
}

// webAddress returns a home page where it is an address, which SPDX asks for.
func webAddress(s string) string {
	if strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") {
		return s
	}
	return ""
}

// supplier returns who supplied a package, as SPDX has it: "Organization: NAME (ADDRESS)".
func (s *spdxWriter) supplier(p *Package) string {
	name, address := p.supplier(s.System)
	if name == "" {
		return noAssertion
	}
	if address != "" {
		return "Organization: " + name + " (" + address + ")"
	}
	return "Organization: " + name
}

// supplier returns who supplied the package.
func (p *Package) supplier(s System) (name, address string) {
	name, rest, ok := strings.Cut(p.Supplier, "<")
	if name = strings.TrimSpace(name); name == "" && !ok {
		return s.Name, ""
	}
	if ok {
		address, _, _ = strings.Cut(rest, ">")
	}
	// Parentheses would end where the address begins.
	return cmp.Or(strings.NewReplacer("(", "[", ")", "]").Replace(name), address), address
}

// files writes the files.
func (s *spdxWriter) files() {
	for i := range s.Files {
		f := &s.Files[i]
		s.appended(func(p []byte) []byte {
			name, encoded := text(f.Path)
			p = append(p, `{"SPDXID":"`...)
			p = append(p, s.fileIDs[i]...)
			p = append(p, `","fileName":`...)
			p = appendString(p, "."+name)
			p = append(p, `,"checksums":[{"algorithm":"SHA1","checksumValue":`...)
			p = appendHex(p, f.SHA1[:])
			p = append(p, `},{"algorithm":"SHA256","checksumValue":`...)
			p = appendHex(p, f.SHA256[:])
			p = append(p, `}],"comment":`...)
			p = appendString(p, f.comment(encoded))
			return append(p, '}')
		})
	}
}

// comment says what a file is and where it comes from.
func (f *File) comment(encoded bool) string {
	var parts []string
	switch f.Type {
	case tree.Regular:
	case tree.Symlink:
		target, _ := text(f.Target)
		parts = append(parts, "symbolic link to "+target)
	default:
		parts = append(parts, f.Type.String())
	}
	parts = append(parts, "from: "+f.Origin.String())
	if f.Note != "" {
		note, _ := text(f.Note)
		parts = append(parts, note)
	}
	if encoded {
		parts = append(parts, "the name is not UTF-8 and percent-encoded")
	}
	return strings.Join(parts, "; ")
}

// relationships writes what belongs to what.
func (s *spdxWriter) relationships() {
	relate := func(a, kind, b string) {
		s.appended(func(p []byte) []byte {
			p = append(p, `{"spdxElementId":"`...)
			p = append(p, a...)
			p = append(p, `","relationshipType":"`...)
			p = append(p, kind...)
			p = append(p, `","relatedSpdxElement":"`...)
			p = append(p, b...)
			return append(p, `"}`...)
		})
	}
	relate(idDocument, "DESCRIBES", idImage)
	relate(idTool, "BUILD_TOOL_OF", idImage)
	relate(idImage, "GENERATED_FROM", idRecipe)
	for _, im := range s.imports {
		relate(idImage, "GENERATED_FROM", im.id)
	}
	for i, p := range s.Packages {
		relate(idImage, "CONTAINS", s.packageIDs[i])
		if id := s.sourceIDs[i]; id != "" {
			relate(s.packageIDs[i], "GENERATED_FROM", id)
		}
		for _, need := range p.Needs {
			relate(s.packageIDs[i], "DEPENDS_ON", s.packageIDs[need])
		}
	}
	for _, id := range s.containerIDs {
		relate(idImage, "CONTAINS", id)
	}
	for i, files := range s.byPackage {
		for _, f := range files {
			relate(s.packageIDs[i], "CONTAINS", s.fileIDs[f])
		}
	}
	byName := map[string]int{}
	for i, p := range s.Packages {
		if _, ok := byName[p.Name+"\n"+p.Version]; !ok {
			byName[p.Name+"\n"+p.Version] = i
		}
	}
	for i := range s.Files {
		f, id := &s.Files[i], s.fileIDs[i]
		if f.Package >= 0 {
			continue
		}
		if c, ok := s.byBlock[f.Origin.Name]; ok && f.Origin.Kind == provenance.Block {
			relate(s.containerIDs[c], "CONTAINS", id)
			continue
		}
		relate(idImage, "CONTAINS", id)
		switch f.Origin.Kind {
		case provenance.Block, provenance.Script:
			relate(id, "GENERATED_FROM", idRecipe)
		case provenance.Import:
			k := slices.IndexFunc(s.imports, func(im spdxImport) bool { return im.name == f.Origin.Name })
			relate(id, "GENERATED_FROM", s.imports[k].id)
		case provenance.MaintainerScript:
			if p, ok := byName[f.Origin.Name+"\n"+f.Origin.Version]; ok {
				relate(id, "GENERATED_FROM", s.packageIDs[p])
			}
		default:
			relate(idTool, "GENERATES", id)
		}
	}
}
