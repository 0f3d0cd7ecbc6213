package rpm

import "github.com/imagefactory/imagefactory/stages/store"

// A Package is one binary package of a repository, as its metadata describes it. It
// is not modified after its repository was read.
type Package struct {
	Name string
	EVR  EVR
	Arch string // "x86_64", "noarch"

	Repository string // name, as the reader of the metadata was told
	Location   string // of the package file, relative to Base or else to the repository's URL
	Base       string // URL that Location is relative to (xml:base); usually empty
	Size       int64  // of the package file, in bytes
	// SHA256 is the digest of the package file; the zero digest when the metadata has
	// another kind of digest, and then nothing can pin the download.
	SHA256        store.Digest
	InstalledSize int64 // bytes
	BuildTime     int64 // seconds since 1970
	SourceRPM     string
	Summary       string
	License       string

	Provides    []Dependency // never rich
	Requires    []Dependency
	Conflicts   []Dependency
	Obsoletes   []Dependency // never rich
	Recommends  []Dependency
	Suggests    []Dependency
	Supplements []Dependency
	Enhances    []Dependency

	// Files are absolute paths of files and directories the package holds: those that
	// the primary metadata lists, and whatever of the complete list was asked for.
	Files []string

	// Priority is the repository's: where there is a choice between packages, those of
	// repositories with the lowest number are chosen, even older ones. 99 is usual.
	Priority int
	// Modular says that the package belongs to an enabled module stream.
	Modular bool
}

// String returns the name, the version and the architecture: "bash-5.1.8-9.el9.x86_64",
// with "5:" before a version whose epoch is 5.
func (p *Package) String() string { return p.Name + "-" + p.EVR.String() + "." + p.Arch }
