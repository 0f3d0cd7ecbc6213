package rpmdistro

import (
	"fmt"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// A Package is one package to be made.
type Package struct {
	Name             string
	Epoch            uint32
	Version, Release string
	Arch             string // "x86_64" or "noarch"
	Summary          string
	Module           string // MODULARITYLABEL: "name:stream:version:context"; usually empty

	Provides, Requires, Conflicts, Obsoletes []Dependency
	Recommends, Supplements                  []Dependency

	Scripts  []Script
	Triggers []Trigger
	Files    []File // in any order
}

func (p *Package) evr() string {
	s := p.Version + "-" + p.Release
	if p.Epoch != 0 {
		s = fmt.Sprintf("%d:%s", p.Epoch, s)
	}
	return s
}

// nevra is the name of the package's file without ".rpm".
func (p *Package) nevra() string { return p.Name + "-" + p.Version + "-" + p.Release + "." + p.Arch }

// A Dependency is one capability with the bits of RPMSENSE (rpmds.h). A rich one is
// wholly in Name.
type Dependency struct {
	Name    string
	Flags   uint32
	Version string
}

// The bits of RPMSENSE that are used here.
const (
	senseLess        = 1 << 1
	senseGreater     = 1 << 2
	senseEqual       = 1 << 3
	sensePosttrans   = 1 << 5
	sensePretrans    = 1 << 7
	senseInterpreter = 1 << 8
	sensePre         = 1 << 9
	sensePost        = 1 << 10
	sensePreun       = 1 << 11
	sensePostun      = 1 << 12
	senseTriggerIn   = 1 << 16
	senseRPMLib      = 1 << 24
)

// Any is a capability in any version.
func Any(name string) Dependency { return Dependency{Name: name} }

// Equal is a capability in exactly this version.
func Equal(name, version string) Dependency { return Dependency{name, senseEqual, version} }

// AtLeast is a capability in this version or a later one.
func AtLeast(name, version string) Dependency {
	return Dependency{name, senseGreater | senseEqual, version}
}

// Pre is a capability that the package's %pre needs.
func Pre(name string) Dependency { return Dependency{Name: name, Flags: sensePre} }

// Shell and Lua are what scriptlets are run by.
const (
	Shell = "/bin/sh"
	Lua   = "<lua>"
)

// A Script is a scriptlet.
type Script struct {
	When        string // "pretrans", "pre", "post", "preun", "postun", "posttrans"
	Body        string
	Interpreter string // "": Shell
}

func (s Script) program() string {
	if s.Interpreter == "" {
		return Shell
	}
	return s.Interpreter
}

var scriptTags = map[string]struct{ body, program, sense uint32 }{
	"pretrans": {1151, 1153, sensePretrans}, "pre": {1023, 1085, sensePre}, "post": {1024, 1086, sensePost},
	"preun": {1025, 1087, sensePreun}, "postun": {1026, 1088, sensePostun}, "posttrans": {1152, 1154, sensePosttrans},
}

// A Trigger is a scriptlet that the installation of other packages or of their files
// causes to run.
type Trigger struct {
	Kind string // "triggerin", "filetriggerin" or "transfiletriggerin"
	On   []Dependency
	Script
	Priority uint32 // of file triggers; 0: 1000000
}

// OnFiles are the paths that a file trigger is about.
func OnFiles(prefixes ...string) []Dependency {
	var on []Dependency
	for _, p := range prefixes {
		on = append(on, Any(p))
	}
	return on
}

// triggerTagSet are the tags of one kind of triggers.
type triggerTagSet struct {
	bodies, programs, scriptFlags, names, index, versions, flags uint32
	priorities                                                   uint32 // 0: there is none
}

var triggerTags = map[string]triggerTagSet{
	"triggerin":          {1065, 1092, 5027, 1066, 1069, 1067, 1068, 0},
	"filetriggerin":      {5066, 5067, 5068, 5069, 5070, 5071, 5072, 5084},
	"transfiletriggerin": {5076, 5077, 5078, 5079, 5080, 5081, 5082, 5085},
}

// Flags of files (RPMFILE_*, rpmfiles.h).
const (
	FlagConfig    = 1 << 0
	FlagDoc       = 1 << 1
	FlagNoReplace = 1 << 4
	FlagGhost     = 1 << 6
	FlagLicense   = 1 << 7
)

// A File is one path of a package.
type File struct {
	Path        string // absolute
	Type        tree.Type
	Mode        uint32 // permission bits
	User, Group string // "": root
	Target      string // of a symlink
	Digest      store.Digest
	Size        int64
	Link        uint32 // non-zero and equal for names of one inode of the package
	Flags       uint32
	Lang        string // %lang
	Caps        string // as cap_to_text(3) writes it: "cap_net_raw=ep"

	text string // contents, for files that are in no store
}

func (f *File) mode() uint32 {
	kind := map[tree.Type]uint32{tree.Regular: 0o100000, tree.Directory: 0o40000, tree.Symlink: 0o120000}[f.Type]
	return kind | f.Mode
}

func (f *File) size() uint32 {
	switch {
	case f.Flags&FlagGhost != 0:
		return 0
	case f.Type == tree.Symlink:
		return uint32(len(f.Target))
	case f.Type == tree.Directory:
		return 4096
	}
	return uint32(f.Size)
}

// inode numbers the file, which is the i-th of its package.
func (f *File) inode(i int) uint32 {
	if f.Link != 0 {
		return f.Link
	}
	return 1<<16 + uint32(i)
}

// Text returns a file with these contents; programs have mode 0755.
func Text(path, contents string) File {
	f := File{Path: path, Type: tree.Regular, Mode: 0o644, Digest: store.Sum([]byte(contents)), Size: int64(len(contents)), text: contents}
	if strings.Contains(path, "/bin/") || strings.Contains(path, "/sbin/") || strings.HasPrefix(contents, "#!") {
		f.Mode = 0o755
	}
	return f
}

// Config returns a configuration file.
func Config(path, contents string) File {
	f := Text(path, contents)
	f.Flags = FlagConfig | FlagNoReplace
	return f
}

// Directory returns a directory.
func Directory(path string, mode uint32) File {
	return File{Path: path, Type: tree.Directory, Mode: mode}
}

// Symlink returns a symbolic link.
func Symlink(path, target string) File {
	return File{Path: path, Type: tree.Symlink, Mode: 0o777, Target: target}
}

// Ghost returns a file that the package owns and does not contain.
func Ghost(path string, mode uint32) File {
	return File{Path: path, Type: tree.Regular, Mode: mode, Flags: FlagGhost}
}
