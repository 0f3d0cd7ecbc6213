package repodata

import (
	"io"
	"slices"
)

// AddFiles reads the filelists.xml document that belongs to the packages and adds to
// Files of each package the wanted paths that it holds. Paths a package has in Files
// already are not repeated.
func (p *Primary) AddFiles(r io.Reader, wanted map[string]bool) error {
	s := newScanner(r)
	if err := s.expectRoot("filelists"); err != nil {
		return err
	}
	for {
		kind, err := s.token()
		if err == nil && kind == endOfFile {
			return nil
		}
		if err == nil && kind == startTag {
			err = p.addPackageFiles(s, wanted)
		}
		if err != nil {
			return err
		}
	}
}

// addPackageFiles reads the element whose start tag was read last.
func (p *Primary) addPackageFiles(s *scanner, wanted map[string]bool) error {
	pkg := p.byID[string(s.attr("pkgid"))]
	if pkg == nil || string(s.name) != "package" {
		return s.skip()
	}
	for {
		kind, err := s.token()
		if err != nil {
			return err
		}
		switch {
		case kind == endTag:
			return nil
		case kind == startTag && string(s.name) == "file":
			path, err := s.content()
			if err != nil {
				return err
			}
			if wanted[string(path)] && !slices.Contains(pkg.Files, string(path)) {
				pkg.Files = append(slices.Clip(pkg.Files), string(path))
			}
		case kind == startTag:
			if err := s.skip(); err != nil {
				return err
			}
		}
	}
}
