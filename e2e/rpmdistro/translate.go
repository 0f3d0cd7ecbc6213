package rpmdistro

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// A source makes packages from the donor's.
type source struct {
	store   *store.Store
	donated map[string]*donated
	known   map[string]bool // names that something donated has or provides
}

func newSource(st *store.Store, all map[string]*donated) (*source, error) {
	s := &source{st, all, map[string]bool{}}
	for name, d := range all {
		s.known[name] = true
		provides, err := deb.ParseRelations(d.Provides)
		if err != nil {
			return nil, err
		}
		for _, p := range provides {
			s.known[p.Name] = true
		}
	}
	return s, nil
}

// translate makes one package from donated ones; the first gives it its version.
// Unless only is empty, it has the files below these directories, and those.
func (s *source) translate(name string, from []string, only ...string) (*Package, error) {
	var p *Package
	have := map[string]bool{}
	links := uint32(0)
	for _, donor := range from {
		d, ok := s.donated[donor]
		if !ok {
			return nil, fmt.Errorf("package %s: nobody donated %s", name, donor)
		}
		epoch, version, release, err := splitVersion(d.Version)
		if err != nil {
			return nil, err
		}
		if p == nil {
			p = &Package{Name: name, Epoch: epoch, Version: version, Release: release, Arch: "x86_64", Summary: d.Description}
		}
		if donor != name {
			p.Provides = append(p.Provides, Equal(donor, evr(d.Version)))
		}
		if err := s.addRelations(p, d); err != nil {
			return nil, fmt.Errorf("package %s: %w", donor, err)
		}
		for _, e := range d.files.Entries() {
			f, ok := translateFile(e, d.conffiles["/"+e.Path])
			if !ok || have[f.Path] || len(only) > 0 && !slices.ContainsFunc(only, func(o string) bool { return f.Path == o || strings.HasPrefix(f.Path, o+"/") }) {
				continue
			}
			if f.Link != 0 {
				f.Link += links
			}
			have[f.Path] = true
			p.Files = append(p.Files, f)
		}
		links += 1 << 10
	}
	return p, s.scan(p)
}

// translateFile returns the file as it is packaged here, or false: what only the
// donor has a use for, and directories that the package filesystem has.
func translateFile(e tree.Entry, isConfig bool) (File, bool) {
	f := File{
		Path: "/" + e.Path, Type: e.Type, Mode: e.Mode, Target: e.Target, Digest: e.Digest, Size: e.Size, Link: e.Link,
		Group: groups[e.GID],
	}
	// The donor still ships files outside of /usr.
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib64"} {
		if f.Path == dir {
			return f, false
		}
		if strings.HasPrefix(f.Path, dir+"/") {
			f.Path = "/usr" + f.Path
		}
	}
	if e.Path == tree.Root || slices.Contains(baseDirectories, f.Path) {
		return f, false
	}
	for _, dir := range []string{
		"/usr/share/lintian", "/usr/share/bug", "/usr/share/doc-base", "/usr/share/initramfs-tools", "/usr/share/apport", "/etc/init.d", "/etc/sv", "/etc/ufw",
		"/etc/cron.d", "/etc/cron.daily", "/etc/cron.weekly", "/usr/share/man", "/usr/share/info", "/usr/lib/x86_64-linux-gnu/tc",
	} {
		if f.Path == dir || strings.HasPrefix(f.Path, dir+"/") {
			return f, false
		}
	}
	if strings.HasPrefix(f.Path, "/usr/share/doc/") && f.Type != tree.Directory {
		f.Flags |= FlagDoc
		if path.Base(f.Path) == "copyright" {
			f.Flags = FlagLicense
		}
	}
	if rest, ok := strings.CutPrefix(f.Path, "/usr/share/locale/"); ok && f.Type != tree.Directory {
		f.Lang, _, _ = strings.Cut(rest, "/")
	}
	if isConfig && f.Type == tree.Regular {
		f.Flags |= FlagConfig | FlagNoReplace
	}
	return f, true
}

// groups are the donor's numeric groups that own files.
var groups = map[uint32]string{0: "root", 42: "shadow"}

// addRelations adds the donor's dependencies in this format's terms.
//
// A bound of ">>" becomes ">=", because the donor's counts revisions: 2.36-9 is
// later than 2.36, which ">" denies here. Upper bounds and conflicts tell releases of
// the donor apart that are never mixed here.
func (s *source) addRelations(p *Package, d *donated) error {
	provides, err := deb.ParseRelations(d.Provides)
	if err != nil {
		return err
	}
	for _, r := range provides {
		if r.Op == deb.AnyVersion {
			p.Provides = append(p.Provides, Any(r.Name))
		} else {
			p.Provides = append(p.Provides, Equal(r.Name, evr(r.Version)))
		}
	}
	for _, value := range []string{d.PreDepends, d.Depends} {
		all, err := deb.ParseDependencies(value)
		if err != nil {
			return err
		}
		for _, alternatives := range all {
			if dependency, ok := s.require(alternatives); ok {
				p.Requires = append(p.Requires, dependency)
			}
		}
	}
	return nil
}

// require translates one dependency; several alternatives make it a rich one. It is
// left out when nothing donated satisfies it: then only the donor's tools do.
func (s *source) require(alternatives deb.Alternatives) (Dependency, bool) {
	if !slices.ContainsFunc(alternatives, func(r deb.Relation) bool { return s.known[r.Name] }) {
		return Dependency{}, false
	}
	all := make([]Dependency, len(alternatives))
	names := make([]string, len(alternatives))
	for i, r := range alternatives {
		switch r.Op {
		case deb.LaterEqual, deb.Later:
			all[i], names[i] = AtLeast(r.Name, evr(r.Version)), r.Name+" >= "+evr(r.Version)
		case deb.Equal:
			all[i], names[i] = Equal(r.Name, evr(r.Version)), r.Name+" = "+evr(r.Version)
		default:
			all[i], names[i] = Any(r.Name), r.Name
		}
	}
	if len(all) == 1 {
		return all[0], true
	}
	return Any("(" + strings.Join(names, " or ") + ")"), true
}

// splitVersion takes a version of the donor's apart. A version has no '-' here.
func splitVersion(s string) (epoch uint32, version, release string, err error) {
	if e, rest, ok := strings.Cut(s, ":"); ok {
		n, err := strconv.ParseUint(e, 10, 32)
		if err != nil {
			return 0, "", "", err
		}
		epoch, s = uint32(n), rest
	}
	release = "0"
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		s, release = s[:i], s[i+1:]
	}
	return epoch, strings.ReplaceAll(s, "-", "."), release, nil
}

// evr returns a version of the donor's as one is written here.
func evr(s string) string {
	epoch, version, release, err := splitVersion(s)
	if err != nil {
		return s
	}
	if release != "0" {
		version += "-" + release
	}
	if epoch != 0 {
		return fmt.Sprintf("%d:%s", epoch, version)
	}
	return version
}

// scan adds the dependencies that follow from the files: of ELF files and of
// scripts.
func (s *source) scan(p *Package) error {
	provides, requires := map[string]bool{}, map[string]bool{}
	for _, f := range p.Files {
		if f.Type != tree.Regular || f.Size == 0 || f.text != "" || strings.HasPrefix(f.Path, "/usr/lib/modules/") || strings.HasPrefix(f.Path, "/usr/share/") || strings.HasPrefix(f.Path, "/boot/") {
			continue
		}
		data, err := s.store.ReadAll(f.Digest)
		if err != nil {
			return err
		}
		gives, needs, err := elfDependencies(data)
		if err != nil {
			return fmt.Errorf("package %s: %s: %w", p.Name, f.Path, err)
		}
		for _, name := range gives {
			provides[name] = true
		}
		for _, name := range needs {
			requires[name] = true
		}
		line, _, _ := bytes.Cut(data[:min(len(data), 128)], []byte("\n"))
		if program, ok := bytes.CutPrefix(line, []byte("#!")); ok && f.Mode&0o111 != 0 {
			words := fields(program)
			// Those of the donor's that are in perl stay without it.
			if len(words) > 0 && !strings.Contains(words[0], "perl") && !strings.HasSuffix(words[0], "/env") {
				requires[words[0]] = true
			}
		}
	}
	for _, name := range sorted(provides) {
		p.Provides = append(p.Provides, Any(name))
	}
	for _, name := range sorted(requires) {
		if !provides[name] {
			p.Requires = append(p.Requires, Any(name))
		}
	}
	return nil
}

func fields(p []byte) []string { return strings.Fields(string(p)) }

func sorted(set map[string]bool) []string {
	var all []string
	for name := range set {
		all = append(all, name)
	}
	slices.SortFunc(all, cmp.Compare)
	return all
}
