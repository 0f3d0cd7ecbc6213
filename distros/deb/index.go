package deb

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
)

// An Index is the packages of one repository, as its Packages file lists
// them.
type Index struct {
	Repository string     // what messages call it
	Packages   []*Package // in the order of the file
	// mentioned numbers all package names in the order in which the file
	// mentions them first, as a package or in any relation. apt, when nothing
	// else makes a difference between two providers, takes the one that was
	// mentioned later.
	mentioned map[string]uint32
}

// ParseIndex reads a Packages file. The name of the repository is for
// messages. A stanza without a name, version or architecture, or one with a
// malformed size or digest, is an error; malformed relations are reported
// when the package is looked at, because nothing else suffers from them.
func ParseIndex(r io.Reader, repository string) (*Index, error) {
	p := indexParser{
		index:  &Index{Repository: repository, mentioned: make(map[string]uint32)},
		fields: make(map[string]indexField),
		shared: make(map[string]string),
	}
	fields := newFieldReader(r)
	for {
		err := fields.next()
		switch {
		case err == errEndOfStanza || err == io.EOF:
			if p.line > 0 {
				if err := p.endStanza(); err != nil {
					return nil, fmt.Errorf("repository %s: Packages: %w", repository, err)
				}
			}
			if err == io.EOF {
				return p.index, nil
			}
		case err != nil:
			return nil, fmt.Errorf("repository %s: Packages: %w", repository, err)
		default:
			if p.line == 0 {
				p.line = fields.fieldLine
			}
			if err := p.add(fields); err != nil {
				return nil, fmt.Errorf("repository %s: Packages: %w", repository, err)
			}
		}
	}
}

// indexField is a field of a Packages file that is kept or looked at.
type indexField uint8

const (
	fieldNone indexField = iota // of no interest
	fieldPackage
	// Relations come in the order in which apt reads them: mentioned depends
	// on it.
	fieldPreDepends
	fieldDepends
	fieldConflicts
	fieldBreaks
	fieldRecommends
	fieldSuggests
	fieldReplaces
	fieldEnhances
	fieldProvides
	fieldVersion
	fieldArchitecture
	fieldSource
	fieldFilename
	fieldSize
	fieldSHA256
	fieldInstalledSize
	fieldPriority
	fieldSection
	fieldMaintainer
	fieldDescription
	fieldEssential
	fieldProtected
	fieldImportant
	fieldMultiArch
	fieldCount
)

var indexFieldNames = [fieldCount]string{
	fieldPackage:       "Package",
	fieldPreDepends:    "Pre-Depends",
	fieldDepends:       "Depends",
	fieldConflicts:     "Conflicts",
	fieldBreaks:        "Breaks",
	fieldRecommends:    "Recommends",
	fieldSuggests:      "Suggests",
	fieldReplaces:      "Replaces",
	fieldEnhances:      "Enhances",
	fieldProvides:      "Provides",
	fieldVersion:       "Version",
	fieldArchitecture:  "Architecture",
	fieldSource:        "Source",
	fieldFilename:      "Filename",
	fieldSize:          "Size",
	fieldSHA256:        "SHA256",
	fieldInstalledSize: "Installed-Size",
	fieldPriority:      "Priority",
	fieldSection:       "Section",
	fieldMaintainer:    "Maintainer",
	fieldDescription:   "Description",
	fieldEssential:     "Essential",
	fieldProtected:     "Protected",
	fieldImportant:     "Important",
	fieldMultiArch:     "Multi-Arch",
}

// An indexParser collects one stanza at a time. Allocation is what reading an
// index costs: so the texts of a package are substrings of one string, texts
// that many packages share exist once, and Packages come in slabs.
type indexParser struct {
	index  *Index
	fields map[string]indexField // every spelling of a field name seen so far
	shared map[string]string
	slab   []Package

	line int // first line of the stanza; 0 between stanzas
	text []byte
	span [fieldCount]struct{ start, end int }
	seen [fieldCount]bool
}

// maxSpellings bounds the memory that a hostile index with ever new field
// names can make the parser use.
const maxSpellings = 4096

func (p *indexParser) add(f *fieldReader) error {
	id, known := p.fields[string(f.name)]
	if !known {
		for i, name := range indexFieldNames {
			if name != "" && strings.EqualFold(name, string(f.name)) {
				id = indexField(i)
			}
		}
		if len(p.fields) < maxSpellings {
			p.fields[string(f.name)] = id
		}
	}
	if id == fieldNone {
		return nil
	}
	if p.seen[id] {
		return &SyntaxError{f.fieldLine, fmt.Sprintf("field %s is given twice", indexFieldNames[id])}
	}
	value := f.value
	if id == fieldDescription {
		value, _, _ = bytes.Cut(value, []byte("\n"))
	}
	p.seen[id] = true
	p.span[id].start = len(p.text)
	p.text = append(p.text, value...)
	p.span[id].end = len(p.text)
	return nil
}

// bytes returns the value of a field of the current stanza.
func (p *indexParser) bytes(id indexField) []byte {
	if !p.seen[id] {
		return nil
	}
	return p.text[p.span[id].start:p.span[id].end]
}

// keptFields are those whose value goes into the Package as a string of its
// own. Their order is that in which they lie in memory.
var keptFields = [...]indexField{
	fieldPackage, fieldVersion, fieldFilename, fieldDescription,
	fieldPreDepends, fieldDepends, fieldRecommends, fieldConflicts, fieldBreaks, fieldProvides,
}

func (p *indexParser) endStanza() error {
	pkg, err := p.newPackage()
	if err != nil {
		return &SyntaxError{p.line, err.Error()}
	}
	p.index.Packages = append(p.index.Packages, pkg)
	p.mention(pkg.Name)
	for id := fieldPreDepends; id <= fieldProvides; id++ {
		p.mentionAll(p.bytes(id))
	}
	p.line, p.text, p.seen = 0, p.text[:0], [fieldCount]bool{}
	return nil
}

func (p *indexParser) newPackage() (*Package, error) {
	for _, id := range [...]indexField{fieldPackage, fieldVersion, fieldArchitecture} {
		if len(p.bytes(id)) == 0 {
			return nil, fmt.Errorf("a package without the field %s", indexFieldNames[id])
		}
	}
	if !isPackageName(string(p.bytes(fieldPackage))) {
		return nil, fmt.Errorf("%q is not a package name", p.bytes(fieldPackage))
	}
	if len(p.slab) == 0 {
		p.slab = make([]Package, 512)
	}
	pkg := &p.slab[0]
	p.slab = p.slab[1:]

	var kept [fieldCount]string
	p.keep(&kept)
	*pkg = Package{
		Name: kept[fieldPackage], Version: kept[fieldVersion],
		Arch:       p.share(p.bytes(fieldArchitecture)),
		Repository: p.index.Repository,
		Filename:   kept[fieldFilename], Description: kept[fieldDescription],
		Priority:   p.share(p.bytes(fieldPriority)),
		Section:    p.share(p.bytes(fieldSection)),
		Maintainer: p.share(p.bytes(fieldMaintainer)),
		Essential:  bytes.EqualFold(p.bytes(fieldEssential), []byte("yes")),
		Protected: bytes.EqualFold(p.bytes(fieldProtected), []byte("yes")) ||
			bytes.EqualFold(p.bytes(fieldImportant), []byte("yes")),
		PreDepends: kept[fieldPreDepends], Depends: kept[fieldDepends], Recommends: kept[fieldRecommends],
		Conflicts: kept[fieldConflicts], Breaks: kept[fieldBreaks], Provides: kept[fieldProvides],
	}
	if p.seen[fieldMultiArch] {
		pkg.MultiArch = parseMultiArch(string(p.bytes(fieldMultiArch)))
	}
	pkg.Source = pkg.Name
	if p.seen[fieldSource] {
		// "name (version)" when the versions differ
		name, _, _ := bytes.Cut(p.bytes(fieldSource), []byte(" "))
		pkg.Source = p.share(name)
	}
	var err error
	if pkg.Size, err = p.number(fieldSize); err != nil {
		return nil, err
	}
	if pkg.InstalledSize, err = p.number(fieldInstalledSize); err != nil {
		return nil, err
	}
	pkg.InstalledSize *= 1024
	if digits := p.bytes(fieldSHA256); len(digits) > 0 {
		if len(digits) != 2*len(store.Digest{}) {
			return nil, fmt.Errorf("package %s: SHA256 %q has not %d digits", pkg.Name, excerpt(digits), 2*len(store.Digest{}))
		}
		if _, err := hex.Decode(pkg.SHA256[:], digits); err != nil {
			return nil, fmt.Errorf("package %s: SHA256: %w", pkg.Name, err)
		}
	}
	return pkg, nil
}

// keep copies the kept fields of the stanza into one string.
func (p *indexParser) keep(kept *[fieldCount]string) {
	var b strings.Builder
	size := 0
	for _, id := range keptFields {
		size += len(p.bytes(id))
	}
	b.Grow(size)
	for _, id := range keptFields {
		b.Write(p.bytes(id))
	}
	all := b.String()
	for _, id := range keptFields {
		n := len(p.bytes(id))
		kept[id], all = all[:n], all[n:]
	}
}

// share returns value as a string that exists once per index.
func (p *indexParser) share(value []byte) string {
	s, ok := p.shared[string(value)]
	if !ok {
		s = string(value)
		p.shared[s] = s
	}
	return s
}

// maxSize keeps the conversion of Installed-Size from KiB to bytes
// from overflowing.
const maxSize = 1 << 52

func (p *indexParser) number(id indexField) (int64, error) {
	if !p.seen[id] {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(p.bytes(id)), 10, 64)
	if err != nil || n < 0 || n > maxSize {
		return 0, fmt.Errorf("package %s: %s %q is not a size", p.bytes(fieldPackage), indexFieldNames[id], excerpt(p.bytes(id)))
	}
	return n, nil
}

// mentionAll numbers the names in the value of a relation.
func (p *indexParser) mentionAll(value []byte) {
	for i := 0; i < len(value); {
		c := value[i]
		if c == '(' { // passes over the version
			for i < len(value) && value[i] != ')' {
				i++
			}
			continue
		}
		if !isNameByte(c) {
			i++
			continue
		}
		start := i
		for i < len(value) && isNameByte(value[i]) {
			i++
		}
		name := value[start:i]
		rest := value[i:]
		for i < len(value) && value[i] != ',' && value[i] != '|' && value[i] != '(' {
			i++
		}
		if bytes.HasPrefix(rest, []byte(":any")) {
			continue // to apt "name:any" is a package of that name
		}
		if _, known := p.index.mentioned[string(name)]; !known {
			p.mention(string(name))
		}
	}
}

func (p *indexParser) mention(name string) {
	if _, known := p.index.mentioned[name]; !known {
		p.index.mentioned[name] = uint32(len(p.index.mentioned))
	}
}

func isNameByte(c byte) bool {
	return isDigit(c) || isLetter(c) || c == '-' || c == '.' || c == '+' || c == '_' || c == '~'
}
