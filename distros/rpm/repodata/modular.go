package repodata

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm"
)

// A Stream is a module stream whose packages count.
type Stream struct {
	Name, Stream string
	Version      uint64 // of its newest build
	Context      string
	Default      bool                // nobody chose it
	Profiles     map[string][]string // names of packages, by purpose
}

// String returns "name:stream".
func (s Stream) String() string { return s.Name + ":" + s.Stream }

// A ModuleError says why the chosen module streams cannot be had.
type ModuleError struct{ text string }

// Error names the module and the reason.
func (e *ModuleError) Error() string { return e.text }

// ExitStatus is 2: the recipe is wrong.
func (e *ModuleError) ExitStatus() int { return 2 }

// ApplyModules decides which packages count: it is dnf's modular filtering.
//
// Active are the streams that enabled names ("nodejs:18"; "nodejs" is its default
// stream or the only one), those that active streams depend on, and the default stream of every other
// module as long as what it depends on can be active. Packages of active streams are
// kept and become Modular; packages of all other streams go, and so do packages that are not of a
// module but have the name of a package of an active stream, or provide it.
//
// platform is the module that stands for the distribution, "platform:el9"; when
// it is empty, what modules depend on of it is not looked at. Errors are a *ModuleError.
func ApplyModules(mods []*Modules, pkgs []*rpm.Package, enabled []string, platform string) (kept []*rpm.Package, streams []Stream, err error) {
	c := newModuleChoice(mods, platform)
	if err := c.enable(enabled); err != nil {
		return nil, nil, err
	}
	c.addDefaults()
	f := c.filter()
	for _, p := range pkgs {
		keep, modular := f.keep(p)
		p.Modular = modular
		if keep {
			kept = append(kept, p)
		}
	}
	return kept, c.streams(), nil
}

// A variant is a stream of a module in one of the contexts it was built for, which
// depend on different streams of other modules.
type variant struct {
	newest *moduleVersion
	all    []*moduleVersion
}

const platformModule = "platform"

// A moduleChoice searches which variants are active.
type moduleChoice struct {
	versions []*moduleVersion
	variants map[string][]*variant // by module, the preferred one first
	defaults map[string]string     // streams by module
	platform string                // stream; empty: any

	active map[string]*variant // by module
	chosen map[string]string   // streams that the user wants, by module
	strict bool                // only default streams come in that nobody has chosen
	reason string              // why the last attempt failed
	steps  int
}

func newModuleChoice(mods []*Modules, platform string) *moduleChoice {
	c := &moduleChoice{
		variants: make(map[string][]*variant), defaults: make(map[string]string),
		active: make(map[string]*variant), chosen: make(map[string]string),
		platform: strings.TrimPrefix(platform, platformModule+":"),
	}
	newest := make(map[string]uint64) // modified, by module
	for _, m := range mods {
		if m == nil {
			continue
		}
		c.versions = append(c.versions, m.streams...)
		for _, d := range m.defaults {
			known, seen := c.defaults[d.module]
			switch {
			case !seen || d.modified > newest[d.module]:
				c.defaults[d.module], newest[d.module] = d.stream, d.modified
			case d.modified == newest[d.module] && d.stream != known:
				c.defaults[d.module] = "" // they disagree
			}
		}
	}
	byContext := make(map[[3]string]*variant)
	for _, v := range c.versions {
		key := [3]string{v.name, v.stream, v.context}
		known := byContext[key]
		if known == nil {
			known = &variant{newest: v}
			byContext[key] = known
			c.variants[v.name] = append(c.variants[v.name], known)
		}
		known.all = append(known.all, v)
		if v.version > known.newest.version {
			known.newest = v
		}
	}
	for name, list := range c.variants {
		slices.SortFunc(list, func(a, b *variant) int {
			return cmp.Or(
				-compareBool(a.newest.stream == c.defaults[name], b.newest.stream == c.defaults[name]),
				-cmp.Compare(a.newest.version, b.newest.version),
				cmp.Compare(a.newest.stream, b.newest.stream),
				cmp.Compare(a.newest.context, b.newest.context),
			)
		})
	}
	return c
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// A need is a stream of a module that must be active.
type need struct {
	module  string
	streams []string // see moduleVersion.requires
	by      string   // who needs it; empty: the user
}

// allows reports whether a stream satisfies the need.
func (n need) allows(stream string) bool {
	positive := false
	for _, s := range n.streams {
		if s == "-"+stream {
			return false
		}
		if s == stream {
			return true
		}
		positive = positive || !strings.HasPrefix(s, "-")
	}
	return !positive
}

func (n need) String() string {
	if len(n.streams) == 0 {
		return n.module
	}
	return n.module + ":" + strings.Join(n.streams, ",")
}

// enable makes the streams active that the user wants.
func (c *moduleChoice) enable(specs []string) error {
	var needs []need
	for _, spec := range specs {
		n, err := c.parseSpec(spec)
		if err != nil {
			return err
		}
		if known, twice := c.chosen[n.module]; twice && known != n.streams[0] {
			return &ModuleError{fmt.Sprintf("the module %s has two streams enabled, %s and %s, and can have one", n.module, known, n.streams[0])}
		}
		c.chosen[n.module] = n.streams[0]
		needs = append(needs, n)
	}
	ok, err := c.satisfy(needs)
	if err != nil {
		return err
	}
	if !ok {
		return &ModuleError{fmt.Sprintf("the modules %s cannot be enabled together: %s", strings.Join(specs, ", "), c.reason)}
	}
	return nil
}

// parseSpec reads "name" or "name:stream".
func (c *moduleChoice) parseSpec(spec string) (need, error) {
	name, stream, hasStream := strings.Cut(spec, ":")
	var streams []string
	for _, v := range c.variants[name] {
		streams = union(streams, []string{v.newest.stream})
	}
	slices.Sort(streams)
	switch {
	case len(streams) == 0:
		return need{}, &ModuleError{fmt.Sprintf("no repository has the module %q; there is %s", name, orNone(slices.Sorted(maps.Keys(c.variants))))}
	case hasStream && !slices.Contains(streams, stream):
		return need{}, &ModuleError{fmt.Sprintf("the module %s has no stream %q; it has %s", name, stream, strings.Join(streams, ", "))}
	case !hasStream:
		stream = c.defaults[name]
		if len(streams) == 1 {
			stream = streams[0]
		}
		if stream == "" {
			return need{}, &ModuleError{fmt.Sprintf("the module %s has no default stream: write one of %s:%s", name, name, strings.Join(streams, ", "+name+":"))}
		}
	}
	return need{module: name, streams: []string{stream}}, nil
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none at all"
	}
	return strings.Join(list, ", ")
}

// addDefaults makes default streams active where that is possible.
func (c *moduleChoice) addDefaults() {
	for _, module := range slices.Sorted(maps.Keys(c.defaults)) {
		stream := c.defaults[module]
		if stream == "" || c.active[module] != nil {
			continue
		}
		// One that cannot be is left out, as by dnf.
		_, _ = c.satisfy([]need{{module: module, streams: []string{stream}}})
	}
}

// maxModuleSteps bounds the search. That of all of Enterprise Linux 8 takes some
// hundred.
const maxModuleSteps = 100_000

var errModuleSearch = &ModuleError{"the dependencies between module streams are too entangled to be resolved"}

// satisfy makes further variants active until all needs are met. When that is not
// possible nothing changes.
func (c *moduleChoice) satisfy(needs []need) (bool, error) {
	for _, c.strict = range []bool{true, false} {
		c.steps = 0
		if ok, err := c.search(needs); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func (c *moduleChoice) search(needs []need) (bool, error) {
	if c.steps++; c.steps > maxModuleSteps {
		return false, errModuleSearch
	}
	if len(needs) == 0 {
		return true, nil
	}
	n, rest := needs[0], needs[1:]
	if n.module == platformModule {
		if c.platform != "" && !n.allows(c.platform) {
			c.reason = fmt.Sprintf("%s is for %s, and this distribution is %s:%s", n.by, n, platformModule, c.platform)
			return false, nil
		}
		return c.search(rest)
	}
	if v := c.active[n.module]; v != nil {
		if !n.allows(v.newest.stream) {
			c.reason = fmt.Sprintf("%s needs %s, and %s:%s is active", n.by, n, n.module, v.newest.stream)
			return false, nil
		}
		return c.search(rest)
	}
	candidates := 0
	for _, v := range c.variants[n.module] {
		chosen, isChosen := c.chosen[n.module]
		standard := c.defaults[n.module]
		if !n.allows(v.newest.stream) || isChosen && v.newest.stream != chosen ||
			c.strict && !isChosen && standard != "" && v.newest.stream != standard {
			continue
		}
		candidates++
		c.active[n.module] = v
		if ok, err := c.search(append(v.needs(), rest...)); ok || err != nil {
			return ok, err
		}
		delete(c.active, n.module)
	}
	if candidates == 0 {
		c.reason = fmt.Sprintf("%s needs %s, which no repository has", n.by, n)
		if chosen, ok := c.chosen[n.module]; ok {
			c.reason = fmt.Sprintf("%s needs %s, and %s:%s is enabled", n.by, n, n.module, chosen)
		}
	}
	return false, nil
}

// needs returns what a variant depends on.
func (v *variant) needs() []need {
	var needs []need
	for _, requires := range v.newest.requires {
		for _, module := range slices.Sorted(maps.Keys(requires)) {
			needs = append(needs, need{module, requires[module], v.newest.name + ":" + v.newest.stream})
		}
	}
	return needs
}

// streams returns what is active, sorted by name.
func (c *moduleChoice) streams() []Stream {
	var list []Stream
	for _, module := range slices.Sorted(maps.Keys(c.active)) {
		v := c.active[module].newest
		_, chosen := c.chosen[module]
		list = append(list, Stream{v.name, v.stream, v.version, v.context, !chosen, v.profiles})
	}
	return list
}

// A moduleFilter knows the packages of modules.
type moduleFilter struct {
	active, inactive map[string]bool // as moduleVersion.artifacts
	names            map[string]bool // of packages of active streams
}

func (c *moduleChoice) filter() *moduleFilter {
	f := &moduleFilter{make(map[string]bool), make(map[string]bool), make(map[string]bool)}
	for _, v := range c.versions {
		active := c.active[v.name]
		if active == nil || active.newest.stream != v.stream || active.newest.context != v.context {
			for _, a := range v.artifacts {
				f.inactive[a] = true
			}
			continue
		}
		for _, a := range v.artifacts {
			f.active[a] = true
			if name, ok := artifactName(a); ok {
				f.names[name] = true
			}
		}
	}
	for _, v := range c.active {
		for _, name := range v.newest.demodularized {
			delete(f.names, name)
		}
	}
	return f
}

// artifactName returns the name in "name-epoch:version-release.arch", unless it is of
// a source package.
func artifactName(artifact string) (name string, ok bool) {
	if strings.HasSuffix(artifact, ".src") || strings.HasSuffix(artifact, ".nosrc") {
		return "", false
	}
	for range 2 {
		i := strings.LastIndexByte(artifact, '-')
		if i < 0 {
			return "", false
		}
		artifact = artifact[:i]
	}
	return artifact, true
}

// withEpoch returns the name, version and architecture with an epoch, even of 0, as
// modules list them: "bash-0:5.1.8-9.el9.x86_64".
func withEpoch(p *rpm.Package) string {
	return fmt.Sprintf("%s-%d:%s-%s.%s", p.Name, p.EVR.Epoch, p.EVR.Version, p.EVR.Release, p.Arch)
}

// keep reports whether a package counts, and whether it is one of an active stream.
func (f *moduleFilter) keep(p *rpm.Package) (keep, modular bool) {
	if len(f.active)+len(f.inactive) == 0 {
		return true, false
	}
	artifact := withEpoch(p)
	if f.active[artifact] {
		return true, true
	}
	if f.inactive[artifact] || f.names[p.Name] {
		return false, false
	}
	for _, d := range p.Provides {
		if f.names[d.Name] {
			return false, false
		}
	}
	return true, false
}
