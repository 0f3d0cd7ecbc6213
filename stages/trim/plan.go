package trim

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/profiles"
	"github.com/imagefactory/imagefactory/stages/installed"
)

// reason is why a package is kept.
type reason struct {
	text string // a clause
	by   string // ID of the package that needs it
	need string
}

// plan is which packages stay, and why the others go.
type plan struct {
	db      *installed.Database
	profile *profiles.Profile
	kept    map[string]reason
	removed map[string]string // reasons of those that go although something needs them
	// hasDatabase says that a package manager stays, which runs maintainer scripts.
	hasDatabase bool

	queue    []string
	open     []openNeed // needs that are not settled: alternatives, and those with conditions
	followed map[string]bool
}

// openNeed is a need of a kept package.
type openNeed struct {
	of   string
	need installed.Need
}

// makePlan decides about packages. services are the packages that own units which keep names, by the
// name of the unit.
func makePlan(db *installed.Database, profile *profiles.Profile, o Options, services map[string][]string, warn func(string, ...any)) (*plan, error) {
	p := &plan{db: db, profile: profile, kept: map[string]reason{}, removed: map[string]string{}, followed: map[string]bool{}}
	remove, keep := namesIn(o.Remove), namesIn(o.Keep)
	if err := p.checkNames("remove", remove); err != nil {
		warn("%v", err) // what is not there need not go
	}
	if err := p.checkNames("keep", keep); err != nil {
		return nil, err
	}
	for _, pkg := range db.Packages {
		if glob, ok := matchName(remove, pkg.Name); ok {
			p.removed[pkg.ID] = fmt.Sprintf("remove of the recipe has %q", glob)
		}
	}
	// What the recipe keeps comes first and with all that it needs, even from the package manager.
	for _, pkg := range db.Packages {
		if glob, ok := matchName(keep, pkg.Name); ok {
			p.root(pkg.ID, fmt.Sprintf("keep of the recipe has %q", glob))
		}
	}
	for _, unit := range o.Keep {
		for _, id := range services[unit] {
			p.root(id, fmt.Sprintf("keep of the recipe has %q, whose unit file it owns", unit))
		}
	}
	p.follow()
	for id := range p.kept {
		if _, ok := matchName(profile.Manager.Packages, db.Package(id).Name); ok {
			p.hasDatabase = true
		}
	}
	if len(profile.Manager.Packages) == 0 {
		p.hasDatabase = true
	}
	if p.hasDatabase {
		// What was followed without the needs of scripts is followed again.
		p.followed = map[string]bool{}
		p.queue = append(p.queue, p.sortedKept()...)
		p.follow()
	} else {
		for _, pkg := range db.Packages {
			if _, kept := p.kept[pkg.ID]; kept {
				continue
			}
			if glob, ok := matchName(profile.Manager.Packages, pkg.Name); ok && p.removed[pkg.ID] == "" {
				p.removed[pkg.ID] = fmt.Sprintf("profile %s removes the package manager (%s): %s", profile.Name, glob, profile.Manager.Reason)
			}
		}
	}
	for _, name := range o.Requested {
		for _, id := range db.Providing(name) {
			text := "the recipe installs it"
			if db.Package(id).Name != name {
				text = fmt.Sprintf("the recipe installs %s", name)
			}
			p.root(id, text)
		}
	}
	for _, role := range profile.Roles {
		for _, pkg := range db.Packages {
			if _, ok := matchName(role.Packages, pkg.Name); ok {
				p.root(pkg.ID, fmt.Sprintf("profile %s, role %s: %s", profile.Name, role.Name, role.Reason))
			}
		}
	}
	for _, pkg := range db.Packages {
		switch {
		case profile.Essential && pkg.Essential:
			p.root(pkg.ID, "it is essential")
		case !profile.Reachable:
			p.root(pkg.ID, fmt.Sprintf("profile %s keeps what is not named", profile.Name))
		}
	}
	p.follow()
	return p, nil
}

// namesIn returns the names of packages, and globs of them, in a list of keep or remove.
func namesIn(list []string) []string {
	var names []string
	for _, x := range list {
		if !strings.HasPrefix(x, "/") && !isUnit(x) {
			names = append(names, x)
		}
	}
	return names
}

// pathsIn returns the globs of paths in a list.
func pathsIn(list []string) []string {
	var paths []string
	for _, x := range list {
		if strings.HasPrefix(x, "/") {
			paths = append(paths, x)
		}
	}
	return paths
}

var unitTypes = []string{".service", ".socket", ".device", ".mount", ".automount", ".swap", ".target", ".path", ".timer", ".slice", ".scope"}

// isUnit reports whether an element of keep or remove names a unit, or units by a glob.
func isUnit(x string) bool {
	return !strings.HasPrefix(x, "/") && slices.Contains(unitTypes, path.Ext(x))
}

// NotFoundError says that an element of keep or remove means nothing: most likely a slip of the pen.
type NotFoundError struct {
	List, Element string
	Near          string // what may be meant, a sentence; or ""
}

func (e *NotFoundError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%s of the trim block has %q, but nothing of that name is in the root. Remove it from the list, or write what is meant. %s", e.List, e.Element, e.Near))
}

// ExitStatus tells the command that the recipe is wrong.
func (e *NotFoundError) ExitStatus() int { return 2 }

// checkNames makes sure that every element of a list means something.
func (p *plan) checkNames(list string, names []string) error {
	for _, name := range names {
		if !slices.ContainsFunc(p.db.Packages, func(pkg installed.Package) bool { ok, _ := path.Match(name, pkg.Name); return ok }) {
			all := make([]string, len(p.db.Packages))
			for i, pkg := range p.db.Packages {
				all[i] = pkg.Name
			}
			return &NotFoundError{list, name, near(name, all)}
		}
	}
	return nil
}

// root keeps a package for a reason of its own, unless the recipe or the profile removes it.
func (p *plan) root(id, text string) { p.keep(id, reason{text: text}) }

func (p *plan) keep(id string, r reason) {
	if _, ok := p.kept[id]; ok {
		return
	}
	if _, ok := p.removed[id]; ok {
		return
	}
	p.kept[id] = r
	p.queue = append(p.queue, id)
}

// follow keeps all that kept packages need.
func (p *plan) follow() {
	for {
		for len(p.queue) > 0 {
			id := p.queue[0]
			p.queue = p.queue[1:]
			if p.followed[id] {
				continue
			}
			p.followed[id] = true
			for _, n := range p.needs(p.db.Package(id)) {
				p.settle(openNeed{id, n})
			}
		}
		if !p.settleOpen() {
			return
		}
	}
}

// needs returns the needs of a package that count.
func (p *plan) needs(pkg *installed.Package) []installed.Need {
	var needs []installed.Need
	for _, n := range pkg.Needs {
		if n.Kind > installed.Scripts || len(n.Providers) == 0 {
			continue
		}
		if !p.hasDatabase && p.isForScripts(n) {
			continue
		}
		for _, rule := range p.profile.Needs {
			if _, of := matchName(rule.Of, pkg.Name); !of || !rule.Drop {
				continue
			}
			n.Providers = slices.DeleteFunc(slices.Clone(n.Providers), func(id string) bool {
				_, on := matchName(rule.On, p.db.Package(id).Name)
				return on
			})
		}
		if len(n.Providers) > 0 {
			needs = append(needs, n)
		}
	}
	for _, rule := range p.profile.Needs {
		if _, of := matchName(rule.Of, pkg.Name); !of || rule.Drop {
			continue
		}
		for _, other := range p.db.Packages {
			if _, on := matchName(rule.On, other.Name); on && other.ID != pkg.ID {
				needs = append(needs, installed.Need{Text: fmt.Sprintf("%s (profile %s: %s)", other.Name, p.profile.Name, rule.Reason), Providers: []string{other.ID}})
			}
		}
	}
	return needs
}

// isForScripts reports whether only maintainer scripts have a need: its kind says so, or the profile of
// all who meet it.
func (p *plan) isForScripts(n installed.Need) bool {
	if n.Kind == installed.Scripts {
		return true
	}
	return !slices.ContainsFunc(n.Providers, func(id string) bool {
		_, ok := matchName(p.profile.Scripts, p.db.Package(id).Name)
		return !ok
	})
}

// settle keeps the package that a need asks for, or leaves the need open where there is a choice or a
// condition.
func (p *plan) settle(n openNeed) {
	available := p.available(n.need)
	switch {
	case p.isMet(n.need) || len(available) == 0:
	case len(available) == 1 && p.counts(n.need):
		p.keep(available[0], reason{by: n.of, need: n.need.Text})
	default:
		p.open = append(p.open, n)
	}
}

// available returns the providers of a need that do not go anyway.
func (p *plan) available(n installed.Need) []string {
	var ids []string
	for _, id := range n.Providers {
		if _, ok := p.removed[id]; !ok {
			ids = append(ids, id)
		}
	}
	return ids
}

func (p *plan) isMet(n installed.Need) bool {
	return slices.ContainsFunc(n.Providers, func(id string) bool { _, ok := p.kept[id]; return ok })
}

// counts reports whether the condition of a need holds.
func (p *plan) counts(n installed.Need) bool {
	return len(n.When) == 0 || slices.ContainsFunc(n.When, func(id string) bool { _, ok := p.kept[id]; return ok })
}

// settleOpen settles the first open need that counts and that nothing kept so far meets, by its first
// provider; it returns false when there is none. One at a time: what is kept for it may meet the next.
func (p *plan) settleOpen() bool {
	for i, n := range p.open {
		if p.counts(n.need) && !p.isMet(n.need) {
			p.open = slices.Delete(p.open, i, i+1)
			p.keep(p.available(n.need)[0], reason{by: n.of, need: n.need.Text})
			return true
		}
	}
	return false
}

func (p *plan) sortedKept() []string {
	var ids []string
	for _, pkg := range p.db.Packages {
		if _, ok := p.kept[pkg.ID]; ok {
			ids = append(ids, pkg.ID)
		}
	}
	return ids
}

// gone returns the IDs of the packages that go, sorted by name.
func (p *plan) gone() []string {
	var ids []string
	for _, pkg := range p.db.Packages {
		if _, ok := p.kept[pkg.ID]; !ok {
			ids = append(ids, pkg.ID)
		}
	}
	return ids
}

// chain returns the steps from a root to a kept package.
func (p *plan) chain(id string) []string {
	var steps []string
	for at := id; ; {
		r := p.kept[at]
		if r.by == "" {
			steps = append(steps, fmt.Sprintf("%s: %s", at, r.text))
			break
		}
		steps = append(steps, step(r.by, r.need, at))
		at = r.by
	}
	slices.Reverse(steps)
	return steps
}

// step says that one package needs another one.
func step(by, need, id string) string {
	name, _, _ := strings.Cut(need, " ")
	if name == id {
		return fmt.Sprintf("%s needs %s", by, need)
	}
	return fmt.Sprintf("%s needs %s: %s", by, need, id)
}

// why returns the reason of a package as a clause.
func (p *plan) why(id string) string {
	r, kept := p.kept[id]
	switch {
	case kept && r.by != "":
		return fmt.Sprintf("%s needs %s", r.by, r.need)
	case kept:
		return r.text
	case p.removed[id] != "":
		return p.removed[id]
	}
	return "nothing that is kept needs it"
}

// dependents returns, by package, the kept packages that need it and for which nothing else does: of packages that are
// gone, and of those in lost, all files of which went.
func (p *plan) dependents(lost map[string]bool) map[string][]string {
	works := func(id string) bool {
		_, kept := p.kept[id]
		return kept && !lost[id]
	}
	of := map[string][]string{}
	for _, pkg := range p.db.Packages {
		if _, ok := p.kept[pkg.ID]; !ok {
			continue
		}
		for _, n := range p.needs(&pkg) {
			if !p.counts(n) || slices.ContainsFunc(n.Providers, works) {
				continue
			}
			for _, id := range n.Providers {
				if !slices.Contains(of[id], pkg.ID) {
					of[id] = append(of[id], pkg.ID)
				}
			}
		}
	}
	return of
}
