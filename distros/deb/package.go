package deb

import (
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
)

// A Package is one binary package of a repository: one stanza of a Packages
// index. It is not modified after it was read.
type Package struct {
	Name    string
	Version string
	Arch    string // as in the index: a Debian architecture or "all"
	Source  string // name of the source package

	Repository string // what ParseIndex was told
	Filename   string // relative to the repository's root
	Size       int64  // of the .deb, in bytes
	// SHA256 is the digest of the .deb; the zero digest when the index has
	// none, and then nothing can verify a download.
	SHA256 store.Digest

	InstalledSize int64 // estimate of its maintainer, in bytes
	Priority      string
	Section       string
	Maintainer    string
	Description   string // first line
	Essential     bool
	Protected     bool // dpkg's "Protected: yes", apt's "Important: yes"
	MultiArch     MultiArch

	// Relations as they are written in the index, for ParseDependencies and
	// ParseRelations. They are parsed only for packages that are looked at.
	PreDepends, Depends, Recommends string
	Conflicts, Breaks, Provides     string
}

// MultiArch says which dependencies a package of one architecture satisfies
// for packages of another one.
type MultiArch uint8

// The values of the field Multi-Arch, https://wiki.debian.org/MultiArch.
const (
	MultiArchNo      MultiArch = iota // satisfies its own architecture only
	MultiArchSame                     // same, and can be installed for several at once
	MultiArchForeign                  // satisfies every architecture
	MultiArchAllowed                  // satisfies every architecture that asks for name:any
)

// String returns "name version" and, unless it is "all", the architecture.
func (p *Package) String() string {
	if p.Arch == "all" {
		return p.Name + " " + p.Version
	}
	return p.Name + ":" + p.Arch + " " + p.Version
}

// apt's order of priorities: a package without one comes first, one with an
// unknown one last.
var priorityRank = map[string]int{
	"": 0, "required": 1, "important": 2, "standard": 3, "optional": 4, "extra": 5,
}

func (p *Package) priorityRank() int {
	if rank, ok := priorityRank[p.Priority]; ok {
		return rank
	}
	return priorityRank["extra"]
}

func parseMultiArch(s string) MultiArch {
	switch strings.ToLower(s) {
	case "same":
		return MultiArchSame
	case "foreign":
		return MultiArchForeign
	case "allowed":
		return MultiArchAllowed
	}
	return MultiArchNo
}
