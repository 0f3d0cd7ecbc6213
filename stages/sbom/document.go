package sbom

import (
	"errors"
	"fmt"

	"github.com/imagefactory/imagefactory/stages/provenance"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Document is what both formats are written from. New makes one; who fills one in
// otherwise keeps to what the fields say.
type Document struct {
	Name, Version, Arch string // of the image
	// Key is what the document's own identifiers derive from, with the tool's version: the key of the
	// build. Documents of two builds with one key are one document.
	Key        store.Digest
	Epoch      int64 // when the document was made, in seconds since 1970
	Tool       Tool
	Recipe     Recipe
	System     System
	Packages   []Package // sorted by name, architecture and version
	Containers []Container
	Files      []File // in the order of tree.Compare
}

// Tool is the program that built the image.
type Tool struct {
	Name, Version string
}

// Recipe is what the image was built by.
type Recipe struct {
	Name   string // of the file, without directories
	SHA256 string // hexadecimal, of the recipe with all it includes; empty: not known
}

// System is the distribution in the image, as os-release(5) has it.
type System struct {
	ID        string // "ID", lower case
	VersionID string // "VERSION_ID"; empty for those without releases
	Name      string // "NAME"
	Title     string // "PRETTY_NAME"
	Homepage  string // "HOME_URL"
}

// Package is an installed package.
type Package struct {
	Family              string // installed.Deb or installed.RPM
	Name, Version, Arch string
	PURL                string // package URL, unique in the document
	Source              Source // where it was built from; no name: not known
	Summary             string
	Supplier            string // vendor or maintainer, "Name <address>"; empty: the system's
	Homepage            string
	License             License
	SHA256              string // of the package's file, hexadecimal; empty: not known
	FileName            string // of the package's file, without directories
	Needs               []int  // indexes of Document.Packages that it depends on, sorted
	Comment             string
}

// Source is a source package.
type Source struct {
	Name, Version string
	PURL          string
}

// Container is a container image that is in the image, ready to be started.
type Container struct {
	Reference string       // as the recipe has it
	Digest    store.Digest // of the manifest or index it is pinned to
	Runtime   string       // who finds it there
	Arch      string       // as container images name it
	Block     string       // name of the recipe's block, as provenance has it: `container "…"`
}

// File is a path of the image that is not a directory.
type File struct {
	Path   string // absolute
	Type   tree.Type
	Size   int64        // of its contents, in bytes
	SHA1   [20]byte     // of its contents; see the package's doc for what these are
	SHA256 store.Digest // likewise
	Target string       // of a symbolic link

	Package int               // index of Document.Packages: who ships it, or -1
	Shared  []int             // further packages that ship the same
	Origin  provenance.Origin // where it comes from
	Note    string            // more about that: what it replaced, what later stages changed
}

// check makes sure of what the formats rely on.
func (d *Document) check() error {
	if d.Name == "" || d.Tool.Name == "" || d.Key.IsZero() {
		return errors.New("a bill of materials needs the image's name, the tool's name and the build's key")
	}
	seen := make(map[string]struct{}, len(d.Packages))
	for _, p := range d.Packages {
		if _, ok := seen[p.PURL]; ok || p.PURL == "" {
			return fmt.Errorf("the package %s %s (%s) has the package URL %q, which is empty or another's too", p.Name, p.Version, p.Arch, p.PURL)
		}
		seen[p.PURL] = struct{}{}
	}
	for i := range d.Files {
		f := &d.Files[i]
		if i > 0 && tree.Compare(d.Files[i-1].Path[1:], f.Path[1:]) >= 0 {
			return fmt.Errorf("the file %s is there twice, or not in its order", f.Path)
		}
		if f.Package >= len(d.Packages) {
			return fmt.Errorf("the file %s is of package %d; there are %d", f.Path, f.Package, len(d.Packages))
		}
	}
	return nil
}
