package rpm

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// A group is packages of which an item asks for one.
type group struct {
	packages []int32 // in their order
	name     string  // what the packages are called, when the item asked by name
}

// pick returns what the spec of an item asks for: one group, or one for each name that
// a pattern matches. It tries the forms of a spec in the order in which dnf does. Whoever asks
// by name only gets a package that obsoletes the name, too. Excluded packages are left
// out; was tells whether there are any.
func (s *search) pick(spec string) (groups []group, was []int32) {
	u := s.universe
	spec = strings.TrimSpace(spec)
	found, byName := u.specified(spec)
	available := slices.DeleteFunc(slices.Clone(found), func(i int32) bool { return s.excluded[i] })
	if len(available) == 0 {
		return nil, found
	}
	if !isGlob(spec) || isPathSpec(spec) {
		g := group{packages: available}
		if byName {
			g.name = spec
			g.packages = s.withObsoleting(available)
		}
		return []group{g}, nil
	}
	at := make(map[string]int)
	for _, i := range available {
		name := u.packages[i].Name
		n, known := at[name]
		if !known {
			n = len(groups)
			at[name] = n
			groups = append(groups, group{name: name})
		}
		groups[n].packages = append(groups[n].packages, i)
	}
	if byName {
		for n := range groups {
			groups[n].packages = s.withObsoleting(groups[n].packages)
		}
	}
	return groups, nil
}

// withObsoleting adds the packages that obsolete one of some packages.
func (s *search) withObsoleting(packages []int32) []int32 {
	u := s.universe
	all := slices.Clone(packages)
	for _, i := range packages {
		for _, j := range u.obsoletes[u.packages[i].Name] {
			if s.excluded[j] || j == i {
				continue
			}
			if slices.ContainsFunc(u.packages[j].Obsoletes, func(d Dependency) bool { return d.Names(u.packages[i]) }) {
				all = append(all, j)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// specified returns the packages that a spec stands for, and whether it gives nothing but
// their name.
func (u *Universe) specified(spec string) (found []int32, byName bool) {
	if found, byName = u.specifiedByName(spec); len(found) > 0 {
		return found, byName
	}
	if found := u.providingSpec(spec); len(found) > 0 {
		return found, false
	}
	switch {
	case !isPathSpec(spec):
		return nil, false
	case isGlob(spec):
		return u.filter(func(p *Package) bool {
			return slices.ContainsFunc(p.Files, func(f string) bool { return globMatch(spec, f) })
		}), false
	}
	return u.holding(spec), false
}

// specifiedByName is specified for specs that say what packages are called, in which version
// and for which architecture. Only so are packages excluded.
func (u *Universe) specifiedByName(spec string) (found []int32, byName bool) {
	for _, form := range nevraForms {
		pattern, ok := form(spec)
		if !ok {
			continue
		}
		if found := u.matchingPattern(pattern); len(found) > 0 {
			return found, pattern == nevraPattern{name: pattern.name}
		}
	}
	if isGlob(spec) {
		return u.filter(func(p *Package) bool { return globMatch(spec, p.String()) }), false
	}
	return nil, false
}

// providingSpec returns the packages that provide what a spec says.
func (u *Universe) providingSpec(spec string) []int32 {
	if isGlob(spec) && !strings.HasPrefix(spec, "(") {
		return u.filter(func(p *Package) bool {
			return globMatch(spec, p.Name) || slices.ContainsFunc(p.Provides, func(d Dependency) bool { return globMatch(spec, d.Name) })
		})
	}
	d, err := ParseDependency(spec)
	if err != nil || d.IsRich() {
		return nil // a rich dependency is no set of packages; ask knows it
	}
	return u.providing(d)
}

func (u *Universe) filter(keep func(*Package) bool) []int32 {
	var found []int32
	for i, p := range u.packages {
		if keep(p) {
			found = append(found, int32(i))
		}
	}
	return found
}

// A nevraPattern is a spec taken apart; parts that are empty match everything.
type nevraPattern struct{ name, epoch, version, release, arch string }

// nevraForms take a spec apart in each form that it can have, most specific first.
var nevraForms = []func(spec string) (nevraPattern, bool){
	func(spec string) (nevraPattern, bool) { // name-[epoch:]version-release.arch
		rest, arch, ok := cutLast(spec, '.')
		p, okEVR := nevr(rest)
		p.arch = arch
		return p, ok && okEVR && isPart(arch, "-:.(/=<> ")
	},
	func(spec string) (nevraPattern, bool) { // name.arch
		name, arch, ok := cutLast(spec, '.')
		return nevraPattern{name: name, arch: arch}, ok && isName(name) && isPart(arch, "-:.(/=<> ")
	},
	func(spec string) (nevraPattern, bool) { return nevraPattern{name: spec}, isName(spec) },
	nevr,
	nev,
}

func nevr(spec string) (nevraPattern, bool) {
	rest, release, ok := cutLast(spec, '-')
	p, okEV := nev(rest)
	p.release = release
	return p, ok && okEV && isPart(release, "-(/=<> ")
}

func nev(spec string) (nevraPattern, bool) {
	name, version, ok := cutLast(spec, '-')
	p := nevraPattern{name: name, version: version}
	if epoch, after, found := strings.Cut(version, ":"); found {
		if _, err := strconv.ParseUint(epoch, 10, 32); err != nil {
			return p, false
		}
		p.epoch, p.version = epoch, after
	}
	return p, ok && isName(name) && isPart(p.version, "-:(/=<> ")
}

func cutLast(s string, separator byte) (before, after string, found bool) {
	i := strings.LastIndexByte(s, separator)
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

func isName(s string) bool { return isPart(s, ":(/=<> ") }

func isPart(s, without string) bool { return s != "" && !strings.ContainsAny(s, without) }

func (u *Universe) matchingPattern(pattern nevraPattern) []int32 {
	matches := func(p *Package) bool {
		return (pattern.epoch == "" || pattern.epoch == strconv.FormatUint(uint64(p.EVR.Epoch), 10)) &&
			(pattern.version == "" || globMatch(pattern.version, p.EVR.Version)) &&
			(pattern.release == "" || globMatch(pattern.release, p.EVR.Release)) &&
			(pattern.arch == "" || globMatch(pattern.arch, p.Arch))
	}
	if isGlob(pattern.name) {
		return u.filter(func(p *Package) bool { return globMatch(pattern.name, p.Name) && matches(p) })
	}
	var found []int32
	for _, i := range u.named[pattern.name] {
		if matches(u.packages[i]) {
			found = append(found, i)
		}
	}
	return found
}

func isGlob(spec string) bool { return strings.ContainsAny(spec, "*?[") }

// isPathSpec reports whether a spec can be a path.
func isPathSpec(spec string) bool {
	return strings.HasPrefix(spec, "/") || strings.HasPrefix(spec, "*/")
}

// globMatch matches as fnmatch without flags does: the wildcards match slashes, too.
func globMatch(pattern, name string) bool {
	if !isGlob(pattern) {
		return pattern == name
	}
	// path.Match keeps wildcards from matching "/"; no name contains this instead.
	const slash = "\x00"
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", slash), strings.ReplaceAll(name, "/", slash))
	return err == nil && ok
}
