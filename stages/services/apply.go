package services

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Changes says what becomes of unit files. Names may be written without ".service".
type Changes struct {
	Enable  []string `json:"enable,omitempty"`  // as `systemctl enable`
	Disable []string `json:"disable,omitempty"` // as `systemctl disable`
	Mask    []string `json:"mask,omitempty"`    // as `systemctl mask`
	// Remove takes unit files away for good, with their drop-ins, their aliases, and all links to them.
	Remove []string `json:"remove,omitempty"`
}

// IsZero reports whether c changes nothing.
func (c Changes) IsZero() bool { return len(c.Enable)+len(c.Disable)+len(c.Mask)+len(c.Remove) == 0 }

// Error says which change could not be made to which unit, and why. errors.Is(err, ErrNotFound) tells that the tree has no
// such unit.
type Error struct {
	Verb string // "enable", "disable", "mask", "remove"
	Unit string
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("cannot %s %s: %v", e.Verb, e.Unit, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrNotFound says that the tree has no unit file of a name.
var ErrNotFound = errNoUnit

// Apply returns the tree with the changes made: first what is disabled, then what is removed, masked and enabled. What it
// creates belongs to root and has the time epoch, in seconds since 1970. The error is an *Error.
func Apply(st *store.Store, t *tree.Tree, c Changes, epoch int64) (*tree.Tree, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.IsZero() {
		return t, nil
	}
	before, err := unitsOnly(t)
	if err != nil {
		return nil, err
	}
	after, err := c.apply(st, before, tree.Time{Sec: epoch})
	if err != nil {
		return nil, err
	}
	e := t.Edit()
	for _, change := range tree.Diff(before, after) {
		if change.After == nil {
			e.Remove(change.Path)
		} else {
			e.Put(*change.After) // links, and directories for them: nothing else is made
		}
	}
	return e.Tree()
}

// unitsOnly returns what of a tree has to do with units, which is little: each change makes a tree of its own.
func unitsOnly(t *tree.Tree) (*tree.Tree, error) {
	e := tree.Empty(tree.Time{}).Edit()
	var add func(name string)
	add = func(name string) { // with the directories above, and what links lead to
		entry, ok := t.Lookup(name)
		if _, done := e.Get(name); done || !ok {
			return
		}
		if name != tree.Root {
			add(tree.Parent(name))
		}
		entry.Link = 0
		e.Put(entry)
		if entry.Type == tree.Symlink {
			target := absolute(name, entry.Target)
			for rest := target; rest != "" && rest != tree.Root; rest = tree.Parent(rest) {
				if real, err := t.Resolve(rest); err == nil {
					add(real)
				}
				// Links in the way, too: each is an element of the path as it is written.
				if parent, err := t.Resolve(tree.Parent(rest)); err == nil {
					add(tree.Join(parent, path.Base(rest)))
				}
			}
		}
	}
	root, _ := t.Lookup(tree.Root)
	e.Put(root)
	for _, dir := range searchPath {
		for rest := dir; rest != tree.Root; rest = tree.Parent(rest) {
			add(rest)
		}
		real, err := t.Resolve(dir)
		if err != nil {
			continue
		}
		for _, entry := range t.Subtree(real) {
			add(entry.Path)
		}
	}
	return e.Tree()
}

// apply makes the changes one after the other.
func (c Changes) apply(st *store.Store, t *tree.Tree, now tree.Time) (*tree.Tree, error) {
	for _, step := range []struct {
		verb  string
		names []string
		do    func(*view, string, tree.Time) (*tree.Tree, error)
	}{
		{"disable", c.Disable, (*view).disable},
		{"remove", c.Remove, (*view).remove},
		{"mask", c.Mask, (*view).mask},
		{"enable", c.Enable, (*view).enable},
	} {
		for _, name := range step.names {
			full, err := canonical(name)
			if err == nil {
				var changed *tree.Tree
				if changed, err = step.do(newView(st, t), full, now); err == nil {
					t = changed
					continue
				}
				name = full
			}
			return nil, &Error{step.verb, name, err}
		}
	}
	return t, nil
}

// check refuses changes that contradict each other.
func (c Changes) check() error {
	verbs := map[string]string{}
	for _, l := range []struct {
		verb  string
		names []string
	}{{"enable", c.Enable}, {"mask", c.Mask}, {"remove", c.Remove}} {
		for _, name := range l.names {
			full, err := canonical(name)
			if err != nil {
				return &Error{l.verb, name, err}
			}
			if other, ok := verbs[full]; ok && other != l.verb {
				return &Error{l.verb, full, fmt.Errorf("%s names it too; leave it in one of them", other)}
			}
			verbs[full] = l.verb
		}
	}
	for _, name := range c.Disable {
		if full, err := canonical(name); err == nil && verbs[full] == "enable" {
			return &Error{"disable", full, errors.New("enable names it too; leave it in one of them")}
		}
	}
	return nil
}

// enable makes the links of a unit's [Install] section, and of the units that it names in Also=.
func (v *view) enable(name string, now tree.Time) (*tree.Tree, error) {
	b := v.batch()
	u, err := b.traverse(b.add(name, false), false)
	if err != nil {
		return nil, err
	}
	switch parent := tree.Parent(u.path); {
	case u.mode == masked:
		return nil, fmt.Errorf("it is masked by /%s; remove the mask first", u.path)
	case strings.HasPrefix(parent, "run/systemd/generator"), parent == "run/systemd/transient":
		return nil, fmt.Errorf("/%s is generated at run time", u.path)
	}
	e := &linker{v: v, Editor: v.t.Edit(), now: now}
	rules := 0
	for n := 0; n < len(b.order); n++ { // traverse adds to the list
		u := b.units[b.order[n]]
		if _, err := b.traverse(u, false); err != nil {
			if u.auxiliary {
				continue
			}
			return nil, fmt.Errorf("%s: %w", u.name, err)
		}
		if u.mode == masked {
			rules++ // something would have been enabled
		}
		if u.mode != regular {
			continue
		}
		n, err := e.install(u)
		if err != nil {
			return nil, err
		}
		rules += n
	}
	if rules == 0 {
		return nil, errors.New("its [Install] section says nothing: it is started by other units, or not meant to be enabled")
	}
	return e.Tree()
}

// linker makes links that enable units.
type linker struct {
	v *view
	*tree.Editor
	now tree.Time
}

// install makes the links of one unit and returns how many its [Install] section asks for.
func (e *linker) install(u *unit) (int, error) {
	source := e.v.shown(u.path)
	if !slices.ContainsFunc(e.v.dirs, func(d dir) bool { return tree.Parent(u.path) == d.real }) {
		if err := e.link(source, u.name, false); err != nil {
			return 0, err
		}
	}
	count := len(u.also)
	for _, text := range u.aliases {
		alias, err := u.expand(u.name, text)
		if err != nil {
			return 0, err
		}
		count++
		alias, err = u.verifyAlias(alias)
		if errors.Is(err, errSelf) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("in Alias=%s: %w", text, err)
		}
		// A link that leads nowhere is in nobody's way.
		real, err := e.Resolve(tree.Join(etcUnits, alias))
		broken := err != nil
		if err == nil {
			_, there := e.Get(real)
			broken = !there
		}
		if err := e.link(source, alias, broken); err != nil {
			return 0, err
		}
	}
	for _, l := range []struct {
		key, suffix string
		units       []string
	}{
		{"WantedBy", ".wants", u.wantedBy},
		{"RequiredBy", ".requires", u.requiredBy},
		{"UpheldBy", ".upholds", u.upheldBy},
	} {
		name := u.name
		instances := false
		if shapeOf(name) == template && len(l.units) > 0 {
			if u.defaultInstance != "" {
				name = withInstance(name, u.defaultInstance)
				i := &unit{name: name}
				if err := e.v.search(i); err != nil {
					return 0, fmt.Errorf("%s: %w", name, err)
				}
				if i.mode == masked {
					return 0, fmt.Errorf("%s is masked by /%s; remove the mask first", name, i.path)
				}
			} else {
				instances = true
			}
		}
		for _, text := range l.units {
			by, err := u.expand(u.name, text)
			if err != nil {
				return 0, err
			}
			switch s := shapeOf(by); {
			case s == invalid:
				return 0, fmt.Errorf("in %s=%s: %q is not the name of a unit", l.key, text, by)
			case instances && s == plain:
				return 0, fmt.Errorf("it is a template without DefaultInstance=, and %s can only want an instance; name one, as in %s", by, withInstance(name, "NAME"))
			}
			count++
			if err := e.link(source, by+l.suffix+"/"+name, true); err != nil {
				return 0, err
			}
		}
	}
	return count, nil
}

// verifyAlias checks what Alias= says and gives it the unit's instance where it is a template (unit_file_verify_alias).
func (u *unit) verifyAlias(alias string) (string, error) {
	if dir, base, ok := cutLast(alias, "/"); ok { // the way to be wanted before there was WantedBy=
		by, found := strings.CutSuffix(dir, ".wants")
		if !found {
			by, found = strings.CutSuffix(dir, ".requires")
		}
		if !found || shapeOf(by) == invalid {
			return "", errors.New("a path can only be that of a link in UNIT.wants or UNIT.requires")
		}
		if !compatible(base, u.name, shapeOf(by) == template) {
			return "", fmt.Errorf("%s cannot stand for %s", base, u.name)
		}
		return alias, nil
	}
	if shapeOf(alias) == template && shapeOf(u.name) == instance {
		alias = withInstance(alias, instanceOf(u.name))
	}
	return alias, checkAlias(alias, u.name)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// link makes /etc/systemd/system/name a link. What is there must be the same already, or a link that may be replaced.
func (e *linker) link(target, name string, force bool) error {
	file := tree.Join(etcUnits, name)
	if err := e.MkdirAll(tree.Parent(file), tree.Entry{Mode: 0o755, MTime: e.now}); err != nil {
		return err
	}
	if parent, err := e.Resolve(tree.Parent(file)); err == nil {
		file = tree.Join(parent, path.Base(file))
	}
	if old, ok := e.Get(file); ok {
		switch {
		case old.Type != tree.Symlink:
			return fmt.Errorf("/%s is already there, and is a %s", file, old.Type)
		case e.same(file, old.Target, target):
			return nil
		case !force:
			return fmt.Errorf("/%s is already there, and leads to %s", file, old.Target)
		}
	}
	e.Put(tree.Entry{Path: file, Type: tree.Symlink, Mode: 0o777, MTime: e.now, Target: target})
	return nil
}

// same reports whether two targets of the link file lead to one place.
func (e *linker) same(file, a, b string) bool {
	if a == b {
		return true
	}
	x, err := e.Resolve(absolute(file, a))
	if err != nil {
		return false
	}
	y, err := e.Resolve(absolute(file, b))
	return err == nil && x == y
}

// absolute returns the path in the tree of a link's target.
func absolute(link, target string) string {
	if strings.HasPrefix(target, "/") {
		return strings.TrimPrefix(path.Clean(target), "/")
	}
	return strings.TrimPrefix(path.Clean("/"+tree.Parent(link)+"/"+target), "/")
}

// shown returns the path of a unit as systemd writes it into links: some are built to call their directory
// /lib/systemd/system though /lib is a link. The links of the tree tell.
func (v *view) shown(file string) string {
	const real, short = "usr/lib/systemd/system/", "/lib/systemd/system/"
	if !strings.HasPrefix(file, real) {
		return "/" + file
	}
	count := 0
	for _, e := range v.t.Subtree(etcUnits) {
		switch {
		case e.Type != tree.Symlink:
		case strings.HasPrefix(e.Target, short):
			count++
		case strings.HasPrefix(e.Target, "/"+real):
			count--
		}
	}
	if count > 0 {
		if e, ok := v.t.Lookup("lib"); ok && e.Type == tree.Symlink {
			return short + file[len(real):]
		}
	}
	return "/" + file
}

// mask makes a link to /dev/null of a unit's name.
func (v *view) mask(name string, now tree.Time) (*tree.Tree, error) {
	e := &linker{v: v, Editor: v.t.Edit(), now: now}
	if err := e.link("/dev/null", name, false); err != nil {
		return nil, err
	}
	return e.Tree()
}

// disable removes the links in /etc to a unit and to those that it names in Also=.
func (v *view) disable(name string, _ tree.Time) (*tree.Tree, error) {
	b := v.batch()
	_, missing := b.traverse(b.add(name, false), true)
	if missing != nil && !errors.Is(missing, errNoLink) && !errors.Is(missing, errNoUnit) {
		return nil, missing
	}
	marked := map[string]bool{}
	for n := 0; n < len(b.order); n++ { // traverse adds to the list
		u := b.units[b.order[n]]
		if _, err := b.traverse(u, true); err == nil && u.mode != regular {
			continue // masks and aliases stay what they are; the unit an alias stands for is in the list
		}
		marked[u.name] = true
	}
	e := v.t.Edit()
	if removed := removeLinks(e, v.t, etcUnits, marked); missing != nil && !removed {
		return nil, missing // links to what is not there can be removed, but there is none
	}
	return e.Tree()
}

// removeLinks removes the links in a directory and below that have a marked name, or that of an instance of one, or lead
// to one, then those that led to them, and the directories that are empty then (remove_marked_symlinks). It reports whether there were any.
func removeLinks(e *tree.Editor, t *tree.Tree, dir string, marked map[string]bool) bool {
	emptied := map[string]bool{}
	for again := true; again; {
		again = false
		for _, l := range t.Subtree(dir) {
			if _, there := e.Get(l.Path); !there || l.Type != tree.Symlink || shapeOf(l.Name()) == invalid {
				continue
			}
			found := marked[l.Name()] || marked[templateOf(l.Name())]
			if !found {
				dest := resolveMissing(e, l)
				found = marked["/"+dest] || marked[path.Base(dest)]
			}
			if !found {
				continue
			}
			e.Remove(l.Path)
			emptied[tree.Parent(l.Path)] = true
			if !marked["/"+l.Path] {
				marked["/"+l.Path] = true
				again = true
			}
		}
	}
	for _, d := range slices.Sorted(maps.Keys(emptied)) {
		for d != dir && strings.HasPrefix(d, dir+"/") && isEmpty(e, t, d) {
			e.Remove(d)
			d = tree.Parent(d)
		}
	}
	return len(emptied) > 0
}

// resolveMissing returns where a link leads in the end, though nothing may be there.
func resolveMissing(e *tree.Editor, l tree.Entry) string {
	at := absolute(l.Path, l.Target)
	if real, err := e.Resolve(at); err == nil {
		return real
	}
	return at
}

// isEmpty reports whether nothing is left in a directory of t.
func isEmpty(e *tree.Editor, t *tree.Tree, dir string) bool {
	for _, c := range t.Children(dir) {
		if _, there := e.Get(c.Path); there {
			return false
		}
	}
	return true
}

// remove takes a unit away.
func (v *view) remove(name string, _ tree.Time) (*tree.Tree, error) {
	e := v.t.Edit()
	found := false
	names := []string{name}
	for n := 0; n < len(names); n++ {
		gone := names[n]
		for _, d := range v.dirs {
			file := tree.Join(d.real, gone)
			if _, ok := v.t.Lookup(file); ok {
				e.Remove(file)
				found = true
			}
			for _, suffix := range []string{".d", ".wants", ".requires", ".upholds"} {
				e.Remove(file + suffix)
			}
			for _, l := range d.links { // aliases go with it
				if l.below == "" && l.target == gone && l.name != gone && shapeOf(l.name) != invalid && !slices.Contains(names, l.name) {
					names = append(names, l.name)
				}
			}
		}
	}
	if !found {
		return nil, errNoUnit
	}
	for _, d := range v.dirs {
		marked := map[string]bool{}
		for _, gone := range names {
			marked[gone] = true
		}
		removeLinks(e, v.t, d.real, marked)
	}
	return e.Tree()
}
