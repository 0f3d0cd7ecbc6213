package provenance

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// Kind says what sort of origin something has.
type Kind string

// The kinds of origins.
const (
	Package          Kind = "package"
	Block            Kind = "recipe block"
	Script           Kind = "script"
	MaintainerScript Kind = "maintainer script" // of the distribution's packages
	Generated        Kind = "generated"         // by a stage of imagefactory
	Import           Kind = "import"            // the root came whole, from an archive or container image
)

// Origin is who made something.
type Origin struct {
	Kind Kind `json:"kind"`
	// Name is that of the package or script, the block as the recipe has it without its
	// body (`file "/etc/motd"`), or what was generated ("initramfs"). Empty for maintainer
	// scripts of nobody knows which package.
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"` // of a package
	Arch    string `json:"arch,omitempty"`    // of a package
	Stage   string `json:"stage"`             // in which it happened, as the build's graph names it
}

// String says it for people: "package bash 5.2.15-2+b7 (amd64)".
func (o Origin) String() string {
	switch o.Kind {
	case Package:
		text := "package " + o.Name
		if o.Version != "" {
			text += " " + o.Version
		}
		if o.Arch != "" {
			text += " (" + o.Arch + ")"
		}
		return text
	case MaintainerScript:
		if o.Name == "" {
			return "maintainer scripts"
		}
		return "maintainer scripts of " + o.Name
	case Generated:
		return fmt.Sprintf("imagefactory, stage %s: %s", o.Stage, o.Name)
	}
	return fmt.Sprintf("%s %s", o.Kind, o.Name)
}

// Change is what a stage changed of something without changing its contents.
type Change struct {
	Origin int    `json:"origin"` // index into Attribution.Origins
	What   string `json:"what"`   // "mode", "owner", "attributes", joined with ", "; "renamed from /x"; "linked to /x"
}

// Path is where one path comes from. Origins are indexes into Attribution.Origins.
type Path struct {
	Path     string   `json:"path"` // absolute
	Origin   int      `json:"origin"`
	Shared   []int    `json:"shared,omitempty"`   // further packages that ship the same
	Earlier  []int    `json:"earlier,omitempty"`  // of contents that were replaced, the first first
	Changes  []Change `json:"changes,omitempty"`  // in the order of stages
	From     string   `json:"from,omitempty"`     // absolute path where the same contents were; in a package or the root
	Evidence string   `json:"evidence,omitempty"` // how the package of a maintainer script was told
}

// Attribution says of every path of a tree where it comes from.
type Attribution struct {
	Origins []Origin `json:"origins"` // each once, in the order of their first use
	Paths   []Path   `json:"paths"`   // in the order of the tree's entries (tree.Compare)
}

// Lookup returns where the absolute path comes from.
func (a *Attribution) Lookup(path string) (Path, bool) {
	key := relative(path)
	i := sort.Search(len(a.Paths), func(i int) bool { return tree.Compare(relative(a.Paths[i].Path), key) >= 0 })
	if i == len(a.Paths) || relative(a.Paths[i].Path) != key {
		return Path{}, false
	}
	return a.Paths[i], true
}

// Origin returns the origin of the absolute path.
func (a *Attribution) Origin(path string) (Origin, bool) {
	p, ok := a.Lookup(path)
	if !ok {
		return Origin{}, false
	}
	return a.Origins[p.Origin], true
}

// Join returns a with the paths of b below the absolute path at, where another file system
// is mounted. The directory at itself stays as a has it, if it does.
func (a *Attribution) Join(at string, b *Attribution) *Attribution {
	var in interner
	joined := &Attribution{}
	add := func(from *Attribution, prefix string) {
		for _, p := range from.Paths {
			if prefix != "" {
				if p.Path == "/" {
					if _, ok := a.Lookup(prefix); ok {
						continue
					}
					p.Path = prefix
				} else {
					p.Path = prefix + p.Path
				}
			}
			joined.Paths = append(joined.Paths, p.mapped(func(i int) int { return in.index(from.Origins[i]) }))
		}
	}
	add(a, "")
	add(b, "/"+relative(at))
	slices.SortStableFunc(joined.Paths, func(x, y Path) int { return tree.Compare(relative(x.Path), relative(y.Path)) })
	joined.Origins = in.list
	return joined.compact()
}

// compact puts the origins in the order of their first use and leaves out the others.
func (a *Attribution) compact() *Attribution {
	var in interner
	for i, p := range a.Paths {
		a.Paths[i] = p.mapped(func(i int) int { return in.index(a.Origins[i]) })
	}
	a.Origins = in.list
	return a
}

// mapped returns p with other indexes of origins.
func (p Path) mapped(index func(int) int) Path {
	each := func(list []int) []int {
		var out []int
		for _, i := range list {
			out = append(out, index(i))
		}
		return out
	}
	p.Origin = index(p.Origin)
	p.Shared, p.Earlier = each(p.Shared), each(p.Earlier)
	changes := slices.Clone(p.Changes)
	for i := range changes {
		changes[i].Origin = index(changes[i].Origin)
	}
	p.Changes = changes
	return p
}

// interner numbers origins.
type interner struct {
	list  []Origin
	known map[Origin]int
}

func (in *interner) index(o Origin) int {
	i, ok := in.known[o]
	if !ok {
		if in.known == nil {
			in.known = map[Origin]int{}
		}
		i = len(in.list)
		in.list = append(in.list, o)
		in.known[o] = i
	}
	return i
}

// relative returns an absolute path as trees have it.
func relative(path string) string {
	if path = strings.Trim(path, "/"); path == "" {
		return tree.Root
	}
	return path
}

// absolute returns a tree's path as people know it.
func absolute(path string) string {
	if path == tree.Root {
		return "/"
	}
	return "/" + path
}
