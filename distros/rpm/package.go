package rpm

import (
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
)

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

	// Priority is the repository's; of several repositories that have a package of one
	// name, those with a higher number are not looked at. 99 is usual.
	Priority int
	// Modular says that the package belongs to an enabled module stream.
	Modular bool
}

// String returns the name, the version and the architecture: "bash-5.1.8-9.el9.x86_64",
// with "5:" before a version whose epoch is 5.
func (p *Package) String() string { return p.Name + "-" + p.EVR.String() + "." + p.Arch }

// Sense says how the version of a capability is bounded. It has rpm's values of the
// lowest bits of RPMSENSE (rpmds.h).
type Sense uint8

// The bits of a Sense.
const (
	Less    Sense = 1 << 1
	Greater Sense = 1 << 2
	Equal   Sense = 1 << 3
)

// A Dependency is one capability that a package provides or relates to, in the form
// metadata and headers have it.
type Dependency struct {
	// Name is the capability: a package name, "libc.so.6()(64bit)", a path. When it
	// begins with "(" it is a whole rich dependency and the other fields are empty.
	Name  string
	Sense Sense // 0: any version
	EVR   EVR
	Pre   bool // required by scriptlets: decides the order of installation
}

// IsRich reports whether the dependency is a boolean expression.
func (d Dependency) IsRich() bool { return strings.HasPrefix(d.Name, "(") }
