package trim

import (
	"fmt"
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Explanation says why something is in an image, or why it is not.
type Explanation struct {
	What    string   `json:"what"`              // as asked
	Kind    string   `json:"kind"`              // "package", "path" or "service"
	Kept    bool     `json:"kept"`              // whether it is in the image
	Package string   `json:"package,omitempty"` // ID of the package that it is or belongs to
	Path    string   `json:"path,omitempty"`    // absolute, of a path or a unit file, as the tree has it
	State   string   `json:"state,omitempty"`   // of a service
	Lines   []string `json:"lines"`             // from what asked for it to the thing itself, a clause each
}

// String returns the lines as a text.
func (e Explanation) String() string {
	state := "is in the image"
	if !e.Kept {
		state = "is not in the image"
	}
	return fmt.Sprintf("%s %s %s\n  %s\n", e.Kind, e.What, state, strings.Join(e.Lines, "\n  "))
}

// UnknownError says that nothing of a name was ever in the root. Its exit status is 2.
type UnknownError struct {
	What string
	Near string // a sentence, or ""
}

func (e *UnknownError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the root had no package, path or service %q. %s", e.What, e.Near))
}

// ExitStatus tells the command that what was asked for is wrong.
func (e *UnknownError) ExitStatus() int { return 2 }

// Why is Explainer.Why without knowledge of where files without an owner come from.
func Why(report Report, db *installed.Database, t *tree.Tree, what string) (Explanation, error) {
	return Explainer{Report: report, Database: db, Tree: t}.Why(what)
}

// Explainer answers what is in an image and why.
type Explainer struct {
	Report   Report
	Database *installed.Database // of the root before it was trimmed; nil where it has none
	Tree     *tree.Tree          // of the trimmed root
	// Origin, unless nil, says where a path comes from that no package owns: `file "/etc/motd" of the
	// recipe`. It returns "" when it does not know.
	Origin func(path string) string
}

// Why explains a package by name or ID, an absolute path, or a service by the name of its unit, with the
// suffix of units. The error is an *UnknownError.
func (x Explainer) Why(what string) (Explanation, error) {
	switch {
	case strings.HasPrefix(what, "/"):
		return x.path(what)
	case isUnit(what):
		if e, err := x.service(what); err == nil {
			return e, nil
		}
	}
	if p := x.Report.Package(what); p != nil {
		return x.pkg(what, p), nil
	}
	if e, err := x.service(what + ".service"); err == nil {
		e.What = what
		return e, nil
	}
	var names []string
	for _, p := range x.Report.Packages {
		names = append(names, p.Name)
	}
	for _, s := range x.Report.Services {
		names = append(names, s.Name)
	}
	return Explanation{}, &UnknownError{what, near(what, names)}
}

func (x Explainer) pkg(what string, p *PackageFate) Explanation {
	return Explanation{What: what, Kind: "package", Kept: p.Kept, Package: p.ID, Lines: lines(p)}
}

// lines are the clauses about a package.
func lines(p *PackageFate) []string {
	if p.Kept {
		return p.Chain
	}
	l := []string{fmt.Sprintf("%s was removed: %s", p.ID, p.Reason)}
	if len(p.Dependents) > 0 {
		l = append(l, fmt.Sprintf("%s say that they need it", strings.Join(p.Dependents, ", ")))
	}
	return l
}

func (x Explainer) path(what string) (Explanation, error) {
	e := Explanation{What: what, Kind: "path", Path: path.Clean(what)}
	asked := relative(e.Path)
	if dir, err := x.Tree.Resolve(tree.Parent(asked)); err == nil && asked != tree.Root {
		asked = tree.Join(dir, path.Base(asked))
	}
	e.Path = "/" + asked
	entry, kept := x.Tree.Lookup(asked)
	e.Kept = kept
	owners := x.owners(e.Path)
	for _, id := range owners { // directories have many: a kept one says why it is there
		if p := x.Report.Package(id); p != nil && (e.Package == "" || p.Kept && !x.isKept(e.Package)) {
			e.Package = id
		}
	}
	switch p := x.Report.Package(e.Package); {
	case kept && p != nil && p.Kept:
		e.Lines = append(append([]string(nil), p.Chain...), fmt.Sprintf("%s owns %s", p.ID, e.Path))
		if len(owners) > 1 {
			e.Lines = append(e.Lines, fmt.Sprintf("%d packages own it", len(owners)))
		}
	case kept && p != nil: // of a package that is gone
		glob, ok := newGlobs(x.Tree, x.Report.Keep).below(asked)
		if !ok {
			glob = "what is in it"
		}
		e.Lines = append(lines(p), fmt.Sprintf("%s stays because of keep in the recipe: %s", e.Path, glob))
	case kept:
		e.Lines = []string{x.origin(e.Path)}
	case p != nil && !p.Kept:
		e.Lines = append(lines(p), fmt.Sprintf("%s owned %s", p.ID, e.Path))
	default:
		line := x.whyGone(asked)
		if line == "" {
			return Explanation{}, &UnknownError{What: what}
		}
		e.Lines = []string{line}
		if p != nil {
			e.Lines = append(e.Lines, fmt.Sprintf("%s owned it", p.ID))
		}
	}
	if kept && entry.Type == tree.Symlink {
		e.Lines = append(e.Lines, fmt.Sprintf("it is a symbolic link to %s", entry.Target))
	}
	return e, nil
}

// whyGone says what took a path that no package which went took along; "" when nothing is known to have.
func (x Explainer) whyGone(p string) string {
	if rule, glob := x.ruleFor(p); rule != nil {
		return fmt.Sprintf("removed by %s, rule %q: %s", x.whose(rule), glob, rule.Reason)
	}
	for _, m := range x.Report.Modules {
		if m.Path == "/"+p {
			return fmt.Sprintf("removed from the kernel modules and firmware: %s", m.Reason)
		}
	}
	for _, s := range x.Report.Services {
		if s.Path == "/"+p && s.After == "" {
			return s.Reason
		}
	}
	for _, u := range x.Report.Unowned {
		if u.Path == "/"+p {
			return u.Reason
		}
	}
	if x.Database == nil {
		return ""
	}
	if _, ok := newGlobs(x.Tree, x.Database.Dirs()).below(p); ok && x.Report.Database == "dropped" {
		return "the database of packages went with the package manager"
	}
	if len(x.Database.Owners("/"+p)) > 0 {
		return "nothing that was in it stays, or the services it belongs to were changed"
	}
	return ""
}

func (x Explainer) owners(p string) []string {
	if x.Database == nil {
		return nil
	}
	return x.Database.Owners(p)
}

func (x Explainer) isKept(id string) bool {
	p := x.Report.Package(id)
	return p != nil && p.Kept
}

func (x Explainer) origin(p string) string {
	if x.Origin != nil {
		if from := x.Origin(p); from != "" {
			return fmt.Sprintf("%s comes from %s", p, from)
		}
	}
	return fmt.Sprintf("no package owns %s: a maintainer script, or the recipe, made it", p)
}

func (x Explainer) ruleFor(p string) (rule *PathFate, glob string) {
	for i := range x.Report.Paths {
		r := &x.Report.Paths[i]
		if _, ok := newGlobs(x.Tree, r.Except).below(p); ok {
			continue
		}
		if text, ok := newGlobs(x.Tree, r.Globs).below(p); ok {
			return r, text
		}
	}
	return nil, ""
}

func (x Explainer) whose(r *PathFate) string {
	if r.Rule == recipeRule {
		return "the recipe"
	}
	return fmt.Sprintf("profile %s (%s)", x.Report.Profile, r.Rule)
}

// service explains a unit file: whose it is, and what starts it.
func (x Explainer) service(name string) (Explanation, error) {
	for _, s := range x.Report.Services {
		if s.Name != name {
			continue
		}
		e := Explanation{What: name, Kind: "service", Kept: s.After != "", Package: s.Package, Path: s.Path, State: s.After}
		p := x.Report.Package(s.Package)
		switch {
		case p != nil:
			e.Lines = append(append(e.Lines, lines(p)...), fmt.Sprintf("%s owns %s", p.ID, s.Path))
		default:
			e.Lines = append(e.Lines, x.origin(s.Path))
		}
		if s.Reason != "" {
			e.Lines = append(e.Lines, s.Reason)
		}
		if e.Kept {
			e.Lines = append(e.Lines, fmt.Sprintf("its state is %s", s.After))
			e.Lines = append(e.Lines, x.starters(name)...)
		}
		return e, nil
	}
	return Explanation{}, &UnknownError{What: name}
}

// unitDirs are where links lie that let one unit start another.
var unitDirs = []string{"etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}

// starters says which links start a unit.
func (x Explainer) starters(name string) []string {
	var found []string
	seen := map[string]bool{}
	for _, dir := range unitDirs {
		at, err := x.Tree.Resolve(dir)
		if err != nil || seen[at] {
			continue
		}
		seen[at] = true
		for _, d := range x.Tree.Children(at) {
			kind := path.Ext(d.Path)
			if d.Type != tree.Directory || kind != ".wants" && kind != ".requires" {
				continue
			}
			for _, e := range x.Tree.Children(d.Path) {
				if e.Name() == name {
					verb := map[string]string{".wants": "wants", ".requires": "requires"}[kind]
					found = append(found, fmt.Sprintf("%s %s it: /%s", strings.TrimSuffix(d.Name(), kind), verb, e.Path))
				}
			}
		}
	}
	return found
}
