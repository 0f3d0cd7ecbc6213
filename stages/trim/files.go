package trim

import (
	"strings"

	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// recipeRule is the name of the rule with the paths that the recipe removes.
const recipeRule = "recipe"

// rule is a set of globs of paths that go.
type rule struct {
	fate   *PathFate
	globs  globs
	except globs
	// unowned says that files of packages stay.
	unowned bool
}

// pathRules makes the rules about paths: those of the recipe, then the profile's.
func pathRules(t *tree.Tree, p *plan, o Options) []rule {
	var rules []rule
	add := func(name, reason string, patterns, except []string, unowned bool) {
		if len(patterns) == 0 {
			return
		}
		rules = append(rules, rule{
			fate:  &PathFate{Rule: name, Reason: reason, Globs: patterns, Except: except},
			globs: newGlobs(t, patterns), except: newGlobs(t, except), unowned: unowned,
		})
	}
	add(recipeRule, "the recipe names them", append(pathsIn(o.Remove), o.Paths...), nil, false)
	for _, r := range p.profile.Paths {
		if p.keepsAny(r.Unless) {
			continue
		}
		add(r.Name, r.Reason, r.Globs, r.Except, false)
	}
	for _, r := range p.profile.Leftovers {
		if !p.keepsAny(r.Packages) {
			add(r.Name, "what made them went: "+strings.Join(r.Packages, ", "), r.Paths, nil, true)
		}
	}
	return rules
}

// keepsAny reports whether a package is kept that one of the globs matches.
func (p *plan) keepsAny(names []string) bool {
	for id := range p.kept {
		if _, ok := matchName(names, p.db.Package(id).Name); ok {
			return true
		}
	}
	return false
}

// removal is which entries of a tree go.
type removal struct {
	tree  *tree.Tree
	goes  []bool // by index in Entries
	index map[string]int
}

func newRemoval(t *tree.Tree) *removal {
	r := &removal{tree: t, goes: make([]bool, t.Len()), index: make(map[string]int, t.Len())}
	for i, e := range t.Entries() {
		r.index[e.Path] = i
	}
	return r
}

// takePackages lets everything go that only packages own which are gone, but for what keep matches.
func (r *removal) takePackages(db *installed.Database, p *plan, keep globs) {
	stays := make([]bool, len(r.goes))
	for _, pkg := range db.Packages {
		_, kept := p.kept[pkg.ID]
		for _, f := range pkg.Files {
			i, ok := r.index[relative(f)]
			if !ok {
				continue
			}
			if kept {
				stays[i] = true
			} else {
				r.goes[i] = true
			}
		}
	}
	for i, e := range r.tree.Entries() {
		if !r.goes[i] {
			continue
		}
		if _, ok := keep.below(e.Path); ok || stays[i] || e.Path == tree.Root {
			r.goes[i] = false
		}
	}
}

// take lets go what a rule matches, and counts it.
func (r *removal) take(rule rule, db *installed.Database, keep globs) {
	for i, e := range r.tree.Entries() {
		if r.goes[i] || e.Path == tree.Root {
			continue
		}
		if _, ok := rule.globs.below(e.Path); !ok {
			continue
		}
		if _, ok := rule.except.below(e.Path); ok {
			continue
		}
		if _, ok := keep.below(e.Path); ok {
			continue
		}
		if rule.unowned && len(db.Owners("/"+e.Path)) > 0 {
			continue
		}
		r.goes[i] = true
		if e.Type != tree.Directory {
			rule.fate.Files++
			rule.fate.Bytes += e.Size
		}
	}
}

// apply returns t, which is the removal's tree or was made from it by leaving entries out, without what goes. A
// directory stays while anything in it does; one that belongs to no kept package and that has become empty goes.
func (r *removal) apply(t *tree.Tree, p *plan) (*tree.Tree, error) {
	entries := r.tree.Entries()
	held := make([]int, len(entries)) // entries in a directory that stay
	lost := make([]bool, len(entries))
	for i := len(entries) - 1; i > 0; i-- {
		e := &entries[i]
		parent := r.index[tree.Parent(e.Path)]
		_, there := t.Lookup(e.Path)
		if e.Type == tree.Directory && there {
			switch {
			case held[i] > 0:
				r.goes[i] = false
			case !r.goes[i] && lost[i] && !p.owns(e.Path):
				r.goes[i] = true
			}
		}
		if r.goes[i] || !there {
			lost[parent] = true
		} else {
			held[parent]++
		}
	}
	var left []tree.Entry
	for _, e := range t.Entries() {
		if i, ok := r.index[e.Path]; !ok || !r.goes[i] {
			left = append(left, e)
		}
	}
	return tree.New(left)
}

// owns reports whether a kept package owns a relative path.
func (p *plan) owns(path string) bool {
	for _, id := range p.db.Owners("/" + path) {
		if _, ok := p.kept[id]; ok {
			return true
		}
	}
	return false
}

// dropLinks returns the tree without the symbolic links, in directories that the globs match, which led
// somewhere in before and lead nowhere now; links to such links, too.
func dropLinks(before, t *tree.Tree, dirs globs) (*tree.Tree, error) {
	var links []tree.Entry
	for _, e := range t.Entries() {
		if e.Type != tree.Symlink {
			continue
		}
		if _, ok := dirs.match(tree.Parent(e.Path)); ok && leads(before.Resolve, before.Lookup, e.Path) {
			links = append(links, e)
		}
	}
	edit := t.Edit()
	for {
		again := false
		for _, e := range links {
			if _, ok := edit.Get(e.Path); ok && !leads(edit.Resolve, edit.Get, e.Path) {
				edit.Remove(e.Path)
				again = true
			}
		}
		if !again {
			return edit.Tree()
		}
	}
}

// leads reports whether a link leads to something that is there.
func leads(resolve func(string) (string, error), get func(string) (tree.Entry, bool), link string) bool {
	at, err := resolve(link)
	if err != nil {
		return false
	}
	_, ok := get(at)
	return ok
}

// relative returns an absolute path as one of a tree.
func relative(path string) string {
	if path = strings.Trim(path, "/"); path == "" {
		return tree.Root
	}
	return path
}

// checkPaths makes sure that every path that the recipe keeps is there.
func checkPaths(t *tree.Tree, keep []string) error {
	for _, text := range pathsIn(keep) {
		g := newGlob(t, text)
		found := false
		for _, e := range t.Entries() {
			if g.matches(e.Path) {
				found = true
				break
			}
		}
		if !found {
			return &NotFoundError{List: "keep", Element: text}
		}
	}
	return nil
}
