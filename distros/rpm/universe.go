package rpm

import (
	"fmt"
	"slices"
	"strings"
)

// A Universe is the packages of all repositories of an image, prepared for looking up.
// Once all its files are known it does not change and can be used by several
// goroutines.
type Universe struct {
	arch     string
	packages []*Package // in the order given, which decides between equals

	named     map[string][]int32     // packages by name
	provides  map[string][]provision // by capability; without the names of packages, which named has
	obsoletes map[string][]int32     // packages that obsolete something of a name
	rich      map[string]*Expression // rich dependencies by their text; nil where it is malformed

	paths map[string]bool    // absolute paths that some package asks for, or AddFiles knows
	files map[string][]int32 // packages that hold a path, for those of paths, in order
}

// A provision is one capability that a package provides.
type provision struct {
	pkg int32 // index into Universe.packages
	*Dependency
}

// NewUniverse returns the universe of those packages that are of architecture arch, "x86_64",
// or "noarch". Others are left out. Packages of the same name, version and
// architecture are used from the repository with the best priority, or the first.
//
// The order of packages is that in which a package manager reads the repositories. It decides
// between packages that are equally good.
func NewUniverse(arch string, packages []*Package) (*Universe, error) {
	if arch == "" || arch == noarch {
		return nil, fmt.Errorf("architecture %q is not one that a system can have", arch)
	}
	u := &Universe{
		arch:      arch,
		packages:  make([]*Package, 0, len(packages)),
		named:     make(map[string][]int32, len(packages)),
		provides:  make(map[string][]provision, 4*len(packages)),
		obsoletes: make(map[string][]int32),
		rich:      make(map[string]*Expression),
		paths:     make(map[string]bool),
		files:     make(map[string][]int32),
	}
	for _, p := range packages {
		if p.Arch != arch && p.Arch != noarch {
			continue
		}
		if p.Name == "" || p.EVR.Version == "" {
			return nil, fmt.Errorf("repository %s: a package has the name %q and the version %q", p.Repository, p.Name, p.EVR)
		}
		u.add(p)
	}
	for i, p := range u.packages {
		for _, path := range p.Files {
			u.addFile(int32(i), path)
		}
	}
	return u, nil
}

const noarch = "noarch"

func (u *Universe) add(p *Package) {
	i := int32(len(u.packages))
	u.packages = append(u.packages, p)
	u.named[p.Name] = append(u.named[p.Name], i)
	for j := range p.Provides {
		if d := &p.Provides[j]; d.Name != p.Name || *d != p.self() {
			u.provides[d.Name] = append(u.provides[d.Name], provision{i, d})
		}
	}
	for _, d := range p.Obsoletes {
		if known := u.obsoletes[d.Name]; len(known) == 0 || known[len(known)-1] != i {
			u.obsoletes[d.Name] = append(known, i)
		}
	}
	for _, list := range [][]Dependency{p.Requires, p.Conflicts, p.Recommends, p.Suggests, p.Supplements, p.Enhances} {
		for _, d := range list {
			u.notePaths(d)
		}
	}
}

// notePaths remembers the paths that a dependency asks for.
func (u *Universe) notePaths(d Dependency) {
	if !d.IsRich() {
		if strings.HasPrefix(d.Name, "/") {
			u.paths[d.Name] = true
		}
		return
	}
	if e := u.expression(d); e != nil {
		e.Capabilities(u.notePaths)
	}
}

// expression returns a rich dependency parsed, or nil when it is malformed.
func (u *Universe) expression(d Dependency) *Expression {
	e, known := u.rich[d.Name]
	if !known {
		e, _ = ParseRich(d.Name)
		u.rich[d.Name] = e
	}
	return e
}

func (u *Universe) addFile(i int32, path string) {
	if !u.paths[path] {
		return
	}
	held := u.files[path]
	if at, found := slices.BinarySearch(held, i); !found {
		u.files[path] = slices.Insert(held, at, i)
	}
}

// UnresolvedPaths returns the absolute paths, sorted, that packages or items ask for and
// of which the files known so far do not tell who holds them: nobody does, and it may be that
// only the complete lists of files have them, as the primary metadata lists the
// files below directories called bin and /etc only.
func (u *Universe) UnresolvedPaths(items ...Item) []string {
	var unresolved []string
	unknown := func(path string) bool {
		return len(u.files[path]) == 0 && (len(u.provides[path]) == 0 || !inPrimary(path))
	}
	for path := range u.paths {
		if unknown(path) {
			unresolved = append(unresolved, path)
		}
	}
	for _, item := range items {
		path := strings.TrimSpace(item.Spec)
		if strings.HasPrefix(path, "/") && !u.paths[path] && !isGlob(path) && len(u.holding(path)) == 0 {
			unresolved = append(unresolved, path)
		}
	}
	slices.Sort(unresolved)
	return slices.Compact(unresolved)
}

// inPrimary reports whether createrepo writes a path into the primary metadata.
func inPrimary(path string) bool {
	return strings.HasPrefix(path, "/etc/") || strings.Contains(path, "bin/") || path == "/usr/lib/sendmail"
}

// AddFiles adds paths that the complete list of files has to those known of package p.
// It must not be called while the universe is used otherwise.
func (u *Universe) AddFiles(p *Package, paths []string) {
	for _, i := range u.named[p.Name] {
		if u.packages[i] != p {
			continue
		}
		for _, path := range paths {
			if !u.paths[path] {
				u.files[path] = u.holding(path)
				u.paths[path] = true
			}
			u.addFile(i, path)
		}
	}
}

// holding returns the packages that hold a path, including one that no package asks for.
func (u *Universe) holding(path string) []int32 {
	if u.paths[path] {
		return u.files[path]
	}
	var held []int32
	for i, p := range u.packages {
		if slices.Contains(p.Files, path) {
			held = append(held, int32(i))
		}
	}
	return held
}

// providing returns the packages that are or provide what a dependency, which is not
// rich, asks for, in their order.
func (u *Universe) providing(d Dependency) []int32 {
	var found []int32
	for _, i := range u.named[d.Name] {
		if d.SatisfiedBy(u.packages[i].self()) {
			found = append(found, i)
		}
	}
	direct := len(found)
	for _, v := range u.provides[d.Name] {
		if d.SatisfiedBy(*v.Dependency) {
			found = append(found, v.pkg)
		}
	}
	if strings.HasPrefix(d.Name, "/") && d.Sense == 0 {
		found = append(found, u.holding(d.Name)...)
	}
	if len(found) > direct {
		slices.Sort(found)
		found = slices.Compact(found)
	}
	return found
}

// matching returns the packages that are what an obsoletes dependency names.
func (u *Universe) matching(d Dependency) []int32 {
	var found []int32
	for _, i := range u.named[d.Name] {
		if d.Names(u.packages[i]) {
			found = append(found, i)
		}
	}
	return found
}
