package repodata

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/imagefactory/imagefactory/distros/rpm"
	"github.com/imagefactory/imagefactory/stages/store"
)

// A Primary is the packages of one repository.
type Primary struct {
	Packages []*rpm.Package // in the order of the file
	byID     map[string]*rpm.Package
}

// ParsePrimary reads a primary.xml document. Packages get the repository's name.
// Of the packages, those of the architecture (rpm's name: "x86_64") and those of none
// ("noarch") are kept; of all architectures, but no source packages, when arch is
// empty. A package without a name, version or location, or with one that cannot be
// right, is an error with its line.
func ParsePrimary(r io.Reader, repository, arch string) (*Primary, error) {
	p := primaryParser{
		scanner: newScanner(r), repository: repository, arch: arch,
		result: &Primary{byID: make(map[string]*rpm.Package)},
		shared: make(map[string]string),
	}
	if err := p.parse(); err != nil {
		return nil, err
	}
	return p.result, nil
}

// A primaryParser reads one package at a time. Texts exist once however often they are
// repeated, and packages and dependencies come in slabs: allocating each would take longer
// than reading.
type primaryParser struct {
	*scanner
	repository, arch string
	result           *Primary
	shared           map[string]string

	packages     []rpm.Package    // free ones
	dependencies []rpm.Dependency // free ones
	list         []rpm.Dependency // of the element being read
	paths        []string         // of the package being read
}

func (p *primaryParser) parse() error {
	if err := p.expectRoot("metadata"); err != nil {
		return err
	}
	for {
		kind, err := p.token()
		if err != nil {
			return err
		}
		switch {
		case kind == endOfFile:
			return nil
		case kind == startTag && string(p.name) == "package" && string(p.attr("type")) == "rpm":
			if err := p.readPackage(); err != nil {
				return err
			}
		case kind == startTag:
			if err := p.skip(); err != nil {
				return err
			}
		}
	}
}

// expectRoot reads the start tag of the root element.
func (s *scanner) expectRoot(name string) error {
	if _, err := s.token(); err != nil { // the first token can be nothing but a start tag
		return err
	}
	if string(s.name) != name {
		return s.fail(fmt.Errorf("the document is <%s>, not <%s>", excerpt(s.name), name))
	}
	return nil
}

func (p *primaryParser) readPackage() error {
	if len(p.packages) == 0 {
		p.packages = make([]rpm.Package, 256)
	}
	pkg := &p.packages[0]
	*pkg = rpm.Package{Repository: p.repository}
	p.paths = nil
	var id string
	for {
		kind, err := p.token()
		if err != nil {
			return err
		}
		if kind == text {
			continue
		}
		if kind == endTag {
			break
		}
		switch string(p.name) {
		case "name":
			pkg.Name, err = p.sharedContent()
		case "arch":
			if pkg.Arch, err = p.sharedContent(); err == nil && !wantedArch(pkg.Arch, p.arch) {
				return p.skip() // the rest of the package
			}
		case "version":
			if pkg.EVR, err = p.evr(); err != nil {
				return p.fail(fmt.Errorf("package %s: %w", excerpt([]byte(pkg.Name)), err))
			}
			err = p.skip()
		case "checksum":
			id, err = p.checksum(pkg)
		case "summary":
			var content []byte
			content, err = p.content()
			pkg.Summary = string(content)
		case "time":
			if pkg.BuildTime, err = p.number("build"); err == nil {
				err = p.skip()
			}
		case "size":
			if pkg.Size, err = p.number("package"); err == nil {
				pkg.InstalledSize, err = p.number("installed")
			}
			if err == nil {
				err = p.skip()
			}
		case "location":
			pkg.Location, pkg.Base = string(p.attr("href")), p.share(p.attr("base"))
			err = p.skip()
		case "format":
			err = p.readFormat(pkg)
		default:
			err = p.skip()
		}
		if err != nil {
			return err
		}
	}
	if err := check(pkg); err != nil {
		return p.fail(err)
	}
	pkg.Files = p.paths
	p.packages = p.packages[1:]
	p.result.Packages = append(p.result.Packages, pkg)
	if id != "" {
		p.result.byID[id] = pkg
	}
	return nil
}

// wantedArch reports whether packages of an architecture are kept by somebody who
// wants those of another, or of all when that is empty.
func wantedArch(arch, wanted string) bool {
	if wanted == "" {
		return arch != "src" && arch != "nosrc"
	}
	return arch == wanted || arch == "noarch"
}

// check reports what makes a package unusable. Names and versions become parts of file
// names and of lines, so they hold nothing that ends one.
func check(pkg *rpm.Package) error {
	switch {
	case !isWord(pkg.Name):
		return fmt.Errorf("%q is not the name of a package", excerpt([]byte(pkg.Name)))
	case !isWord(pkg.Arch):
		return fmt.Errorf("package %s: %q is not an architecture", pkg.Name, excerpt([]byte(pkg.Arch)))
	case !isWord(pkg.EVR.Version), !isWord(pkg.EVR.Release), bytes.ContainsRune([]byte(pkg.EVR.Version+pkg.EVR.Release), '-'):
		return fmt.Errorf("package %s: %q is not its version and release", pkg.Name, excerpt([]byte(pkg.EVR.String())))
	case pkg.Location == "":
		return fmt.Errorf("package %s has no location", pkg)
	}
	return nil
}

// isWord reports whether s is not empty and has no white space, control character or
// slash.
func isWord(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == '/' || s[i] == 0x7f {
			return false
		}
	}
	return s != ""
}

// checksum reads the digest of the package file, and returns the digits, by which
// other documents name the package.
func (p *primaryParser) checksum(pkg *rpm.Package) (id string, err error) {
	isSHA256 := string(p.attr("type")) == "sha256"
	content, err := p.content()
	if err != nil {
		return "", err
	}
	content = bytes.TrimSpace(content)
	if isSHA256 {
		if len(content) != 2*len(store.Digest{}) {
			return "", p.fail(fmt.Errorf("package %s: the SHA-256 digest %q has not %d digits", pkg.Name, excerpt(content), 2*len(store.Digest{})))
		}
		if _, err := hex.Decode(pkg.SHA256[:], content); err != nil {
			return "", p.fail(fmt.Errorf("package %s: the SHA-256 digest %q: %w", pkg.Name, excerpt(content), err))
		}
	}
	return string(content), nil
}

// number returns the tag's attribute, 0 when it has none.
func (p *primaryParser) number(name string) (int64, error) {
	value := p.attr(name)
	if len(value) == 0 {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < 0 {
		return 0, p.fail(fmt.Errorf("the attribute %s=%q is not a number", name, excerpt(value)))
	}
	return n, nil
}

// readFormat reads what a package says of itself.
func (p *primaryParser) readFormat(pkg *rpm.Package) error {
	for {
		kind, err := p.token()
		switch {
		case err != nil:
			return err
		case kind == endTag:
			return nil
		case kind == text:
			continue
		}
		switch string(p.name) {
		case "license":
			pkg.License, err = p.sharedContent()
		case "sourcerpm":
			pkg.SourceRPM, err = p.sharedContent()
		case "provides":
			pkg.Provides, err = p.readEntries()
		case "requires":
			pkg.Requires, err = p.readEntries()
		case "conflicts":
			pkg.Conflicts, err = p.readEntries()
		case "obsoletes":
			pkg.Obsoletes, err = p.readEntries()
		case "recommends":
			pkg.Recommends, err = p.readEntries()
		case "suggests":
			pkg.Suggests, err = p.readEntries()
		case "supplements":
			pkg.Supplements, err = p.readEntries()
		case "enhances":
			pkg.Enhances, err = p.readEntries()
		case "file":
			err = p.readFile()
		default:
			err = p.skip()
		}
		if err != nil {
			return err
		}
	}
}

func (p *primaryParser) readFile() error {
	path, err := p.content()
	if err == nil && len(path) > 0 && path[0] == '/' {
		// Directories that many packages have make sharing worth it.
		p.paths = append(p.paths, p.share(path))
	}
	return err
}

// readEntries reads a list of dependencies.
func (p *primaryParser) readEntries() ([]rpm.Dependency, error) {
	p.list = p.list[:0]
	for {
		kind, err := p.token()
		switch {
		case err != nil:
			return nil, err
		case kind == endTag:
			return p.keep(p.list), nil
		case kind == text:
			continue
		}
		if string(p.name) == "entry" {
			d, err := p.entry()
			if err != nil {
				return nil, p.fail(err)
			}
			p.list = append(p.list, d)
		}
		if err := p.skip(); err != nil {
			return nil, err
		}
	}
}

// keep returns a copy that is not written to again.
func (p *primaryParser) keep(list []rpm.Dependency) []rpm.Dependency {
	if len(list) == 0 {
		return nil
	}
	if len(p.dependencies) < len(list) {
		p.dependencies = make([]rpm.Dependency, max(4096, len(list)))
	}
	kept := p.dependencies[:len(list):len(list)]
	p.dependencies = p.dependencies[len(list):]
	copy(kept, list)
	return kept
}

// entry returns the dependency that the tag describes.
func (p *primaryParser) entry() (d rpm.Dependency, err error) {
	d.Name = p.share(p.attr("name"))
	if d.Name == "" {
		return d, errors.New("a dependency without a name")
	}
	if pre := p.attr("pre"); len(pre) > 0 {
		d.Pre = string(pre) == "1" || string(pre) == "true"
	}
	flags := p.attr("flags")
	if len(flags) == 0 || d.IsRich() {
		return d, nil
	}
	switch string(flags) {
	case "EQ":
		d.Sense = rpm.Equal
	case "LT":
		d.Sense = rpm.Less
	case "LE":
		d.Sense = rpm.Less | rpm.Equal
	case "GT":
		d.Sense = rpm.Greater
	case "GE":
		d.Sense = rpm.Greater | rpm.Equal
	default:
		return d, fmt.Errorf("the dependency on %s has the comparison %q, which is none of EQ, LT, LE, GT, GE", excerpt([]byte(d.Name)), excerpt(flags))
	}
	if d.EVR, err = p.evr(); err != nil {
		return d, fmt.Errorf("the dependency on %s: %w", excerpt([]byte(d.Name)), err)
	}
	return d, nil
}

// evr returns the version that the attributes of a tag are.
func (p *primaryParser) evr() (e rpm.EVR, err error) {
	e.Version, e.Release = p.share(p.attr("ver")), p.share(p.attr("rel"))
	if epoch := p.attr("epoch"); len(epoch) > 0 && string(epoch) != "0" {
		n, err := strconv.ParseUint(string(epoch), 10, 32)
		if err != nil {
			return e, fmt.Errorf("%q is not an epoch", excerpt(epoch))
		}
		e.Epoch = uint32(n)
	}
	return e, nil
}

func (p *primaryParser) sharedContent() (string, error) {
	content, err := p.content()
	return p.share(content), err
}

// share returns the text as a string that exists once per repository.
func (p *primaryParser) share(value []byte) string {
	s, ok := p.shared[string(value)]
	if !ok {
		s = string(value)
		p.shared[s] = s
	}
	return s
}
