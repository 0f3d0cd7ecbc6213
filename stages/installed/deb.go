package installed

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// dpkg's and apt's files.
const (
	dpkgDir        = "/var/lib/dpkg"
	dpkgStatus     = dpkgDir + "/status"
	dpkgStatusDir  = dpkgDir + "/status.d" // a file for each package, in images made without dpkg
	dpkgInfo       = dpkgDir + "/info"
	extendedStates = "/var/lib/apt/extended_states"
)

// debDirs are what goes with the database.
var debDirs = []string{dpkgDir, "/var/lib/apt", "/var/cache/apt"}

// debDatabase is what is needed to write the database again.
type debDatabase struct {
	packages   []debPackage // in the order of Database.Packages
	native     string       // architecture of the root
	diversions []diversion
	providing  func(string) []string
}

// debPackage is what only this family has of a package.
type debPackage struct {
	stanza   deb.Stanza
	file     string // in status.d, where that has it; otherwise it is in status
	info     string // its name in the names of files in info
	provides []deb.Relation
	multi    string // the field Multi-Arch
}

// diversion is a path that all packages but owner have elsewhere (dpkg-divert(1)).
type diversion struct {
	from, to string
	owner    string // a package; ":" for one that no package may have there
}

func readDeb(r *reader) (*Database, error) {
	d := &debDatabase{}
	status, err := r.file(dpkgStatus)
	single := r.children(dpkgStatusDir)
	if errors.Is(err, errAbsent) && len(single) == 0 {
		return nil, ErrNoDatabase
	}
	if err != nil && !errors.Is(err, errAbsent) {
		return nil, err
	}
	var found []debPackage
	add := func(file string, p []byte) error {
		err := deb.ParseStanzas(bytes.NewReader(p), func(s deb.Stanza) error {
			if isInstalled(s) || file != dpkgStatus {
				found = append(found, debPackage{stanza: s, file: file})
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		return nil
	}
	if err := add(dpkgStatus, status); err != nil {
		return nil, err
	}
	for _, e := range single {
		if e.Type != tree.Regular || strings.HasSuffix(e.Path, ".md5sums") || strings.HasSuffix(e.Path, ".list") {
			continue
		}
		p, err := r.contents(e)
		if err != nil {
			return nil, err
		}
		if err := add("/"+e.Path, p); err != nil {
			return nil, err
		}
	}
	if arch, err := r.file(dpkgDir + "/arch"); err == nil {
		d.native, _, _ = strings.Cut(string(arch), "\n")
	} else if !errors.Is(err, errAbsent) {
		return nil, err
	}
	auto, err := readExtendedStates(r)
	if err != nil {
		return nil, err
	}
	if d.diversions, err = readDiversions(r); err != nil {
		return nil, err
	}
	return d.database(r, found, auto)
}

// database makes the Database of the stanzas found. auto has "name:arch" of packages that were
// installed for others.
func (d *debDatabase) database(r *reader, found []debPackage, auto map[string]bool) (*Database, error) {
	packages := make([]Package, len(found))
	index := map[string]int{} // in found, by name and architecture
	for i, f := range found {
		s := f.stanza
		name, arch := s.Get("Package"), s.Get("Architecture")
		if name == "" || s.Get("Version") == "" {
			return nil, fmt.Errorf("%s, line %d: a package without name or version", f.file, s.Line)
		}
		if _, ok := index[name+":"+arch]; ok {
			return nil, fmt.Errorf("%s, line %d: the package %s is there twice for %s", f.file, s.Line, name, arch)
		}
		index[name+":"+arch] = i
		p := Package{
			Name: name, Version: s.Get("Version"), Arch: arch, Source: name, Vendor: s.Get("Maintainer"),
			Homepage: s.Get("Homepage"), Section: s.Get("Section"),
			Essential: strings.EqualFold(s.Get("Essential"), "yes"), Auto: auto[name+":"+arch],
		}
		p.Summary, _, _ = strings.Cut(s.Get("Description"), "\n")
		if source, version, ok := strings.Cut(s.Get("Source"), " ("); ok {
			p.Source, p.SourceVersion = source, strings.TrimSuffix(version, ")")
		} else if source != "" {
			p.Source = source
		}
		packages[i] = p
	}
	if d.native == "" {
		d.native = mostCommonArch(packages)
	}
	setIDs(packages, func(p Package) string { return p.Name + ":" + p.Arch })
	lists := make([][]string, len(packages))
	dirs := map[string]bool{} // paths below which any package has something
	for i := range packages {
		p := &packages[i]
		f := &found[index[p.Name+":"+p.Arch]]
		var err error
		if lists[i], err = d.readList(r, p, f); err != nil {
			return nil, err
		}
		for _, name := range lists[i] {
			for dir := path.Dir(name); !dirs[dir] && dir != "/" && dir != "."; dir = path.Dir(dir) {
				dirs[dir] = true
			}
		}
	}
	for i := range packages {
		p := &packages[i]
		f := found[index[p.Name+":"+p.Arch]]
		f.multi = f.stanza.Get("Multi-Arch")
		var err error
		if f.provides, err = deb.ParseRelations(f.stanza.Get("Provides")); err != nil {
			return nil, fmt.Errorf("%s: package %s, Provides: %w", f.file, p.Name, err)
		}
		d.readFiles(r, p, &f, lists[i], dirs)
		d.packages = append(d.packages, f)
	}
	if err := d.readNeeds(packages); err != nil {
		return nil, err
	}
	return &Database{Family: Deb, Packages: packages, providing: d.providing, deb: d}, nil
}

// isInstalled reports whether a stanza of status is about a package whose files are there.
func isInstalled(s deb.Stanza) bool {
	words := strings.Fields(s.Get("Status"))
	return len(words) == 3 && words[2] != "not-installed" && words[2] != "config-files"
}

// mostCommonArch is the architecture of most packages: dpkg writes the file that has the native one only
// where there are others.
func mostCommonArch(packages []Package) string {
	count := map[string]int{}
	best := ""
	for _, p := range packages {
		if p.Arch == "all" {
			continue
		}
		count[p.Arch]++
		if n := count[p.Arch] - count[best]; best == "" || n > 0 || n == 0 && p.Arch < best {
			best = p.Arch
		}
	}
	return best
}

// readFiles notes which files a package has, by its list. dirs has the paths below which any package has something: the
// list does not say what is a directory, and where one is a link in the tree, that is not the package's.
func (d *debDatabase) readFiles(r *reader, p *Package, f *debPackage, list []string, dirs map[string]bool) {
	diverted := map[string]string{}
	for _, v := range d.diversions {
		if v.owner != p.Name {
			diverted[v.from] = v.to
		}
	}
	for _, name := range list {
		name = path.Clean(name)
		if to, ok := diverted[name]; ok {
			name = to
		}
		if dirs[name] {
			if at, ok := r.directory(relative(name)); ok {
				p.Files = append(p.Files, absolute(at))
			}
			continue
		}
		if at, ok := r.locate(name); ok {
			p.Files = append(p.Files, at)
		}
	}
	for line := range strings.Lines(f.stanza.Get("Conffiles")) {
		words := strings.Fields(line)
		if len(words) < 2 || words[len(words)-1] == "obsolete" || words[len(words)-1] == "remove-on-upgrade" {
			continue
		}
		if at, ok := r.locate(words[0]); ok {
			p.Config = append(p.Config, at)
		}
	}
}

func absolute(path string) string {
	if path == tree.Root {
		return "/"
	}
	return "/" + path
}

// readList returns the paths of a package as it names them.
func (d *debDatabase) readList(r *reader, p *Package, f *debPackage) ([]string, error) {
	if f.file != dpkgStatus {
		list, err := r.file(f.file + ".list")
		if err == nil {
			return lines(list), nil
		}
		sums, sumsErr := r.file(f.file + ".md5sums")
		if errors.Is(sumsErr, errAbsent) {
			return nil, nil // nothing says what it holds
		}
		var paths []string
		for _, line := range lines(sums) {
			if _, name, ok := strings.Cut(line, "  "); ok {
				paths = append(paths, "/"+name)
			}
		}
		return paths, sumsErr
	}
	f.info = p.Name
	if f.stanza.Get("Multi-Arch") == "same" {
		f.info = p.Name + ":" + p.Arch
	}
	list, err := r.file(dpkgInfo + "/" + f.info + ".list")
	if errors.Is(err, errAbsent) {
		// dpkg qualified names later than it allowed several architectures, and keeps what was there.
		for _, other := range []string{p.Name, p.Name + ":" + p.Arch} {
			if list, err = r.file(dpkgInfo + "/" + other + ".list"); err == nil {
				f.info = other
				break
			}
		}
	}
	if errors.Is(err, errAbsent) {
		return nil, fmt.Errorf("%s/%s.list is missing: %s has the package %s as installed. The database is incomplete; install the package again", dpkgInfo, f.info, dpkgStatus, p.Name)
	}
	return lines(list), err
}

// readExtendedStates returns "name:arch" of the packages that apt installed for others.
func readExtendedStates(r *reader) (map[string]bool, error) {
	p, err := r.file(extendedStates)
	if errors.Is(err, errAbsent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	auto := map[string]bool{}
	err = deb.ParseStanzas(bytes.NewReader(p), func(s deb.Stanza) error {
		if s.Get("Auto-Installed") == "1" {
			auto[s.Get("Package")+":"+s.Get("Architecture")] = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", extendedStates, err)
	}
	// Packages of all architectures are there under the native one.
	for id := range auto {
		name, _, _ := strings.Cut(id, ":")
		auto[name+":all"] = true
	}
	return auto, nil
}

func readDiversions(r *reader) ([]diversion, error) {
	p, err := r.file(deb.DiversionsFile)
	if errors.Is(err, errAbsent) || len(p) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := lines(p)
	if len(all)%3 != 0 {
		return nil, fmt.Errorf("%s has %d lines, not three for each diversion", deb.DiversionsFile, len(all))
	}
	var diversions []diversion
	for v := range slices.Chunk(all, 3) {
		diversions = append(diversions, diversion{from: v[0], to: v[1], owner: v[2]})
	}
	return diversions, nil
}

// readNeeds fills in what the packages need.
func (d *debDatabase) readNeeds(packages []Package) error {
	names := map[string][]int{}     // packages by name
	providing := map[string][]int{} // packages by what they provide
	for i := range packages {
		names[packages[i].Name] = append(names[packages[i].Name], i)
		for _, v := range d.packages[i].provides {
			if !slices.Contains(providing[v.Name], i) {
				providing[v.Name] = append(providing[v.Name], i)
			}
		}
	}
	d.providing = func(name string) []string {
		var ids []string
		for _, i := range providing[name] {
			ids = append(ids, packages[i].ID)
		}
		return ids
	}
	fields := []struct {
		name string
		kind NeedKind
	}{{"Pre-Depends", Requires}, {"Depends", Requires}, {"Recommends", Recommends}, {"Suggests", Suggests}}
	for i := range packages {
		p := &packages[i]
		for _, field := range fields {
			needs, err := deb.ParseDependencies(d.packages[i].stanza.Get(field.name))
			if err != nil {
				return fmt.Errorf("%s: package %s, %s: %w", d.packages[i].file, p.Name, field.name, err)
			}
			for _, alternatives := range needs {
				n := Need{Text: alternatives.String(), Kind: field.kind}
				for _, relation := range alternatives {
					for _, j := range names[relation.Name] {
						if d.satisfies(packages, i, j, relation, packages[j].Version) {
							n.Providers = append(n.Providers, packages[j].ID)
						}
					}
					for _, j := range providing[relation.Name] {
						if slices.ContainsFunc(d.packages[j].provides, func(v deb.Relation) bool {
							return v.Name == relation.Name && (relation.Op == deb.AnyVersion || v.Version != "") &&
								d.satisfies(packages, i, j, relation, v.Version)
						}) {
							n.Providers = append(n.Providers, packages[j].ID)
						}
					}
				}
				n.Providers = unique(n.Providers)
				p.Needs = append(p.Needs, n)
			}
		}
	}
	return nil
}

// satisfies reports whether package j, in the version given, is what package i asks for by
// relation (Debian policy 7.1, and https://wiki.debian.org/MultiArch for architectures).
func (d *debDatabase) satisfies(packages []Package, i, j int, relation deb.Relation, version string) bool {
	if !relation.Op.Holds(version, relation.Version) {
		return false
	}
	arch := func(i int) string {
		if packages[i].Arch == "all" {
			return d.native
		}
		return packages[i].Arch
	}
	switch multi := d.packages[j].multi; {
	case relation.Arch == "any":
		return multi == "allowed" || multi == "foreign" || arch(i) == arch(j)
	case relation.Arch != "" && relation.Arch != "native":
		return arch(j) == relation.Arch
	default:
		return multi == "foreign" || arch(i) == arch(j)
	}
}

// unique returns the strings without those that came before, in their order.
func unique(s []string) []string {
	var out []string
	for _, v := range s {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}
