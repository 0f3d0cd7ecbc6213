package services

import (
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// The states of unit files; the package's documentation says what each means.
const (
	Enabled        = "enabled"
	EnabledRuntime = "enabled-runtime"
	Linked         = "linked"
	LinkedRuntime  = "linked-runtime"
	Alias          = "alias"
	Masked         = "masked"
	MaskedRuntime  = "masked-runtime"
	Static         = "static"
	Disabled       = "disabled"
	Indirect       = "indirect"
	Generated      = "generated"
	Transient      = "transient"
	Bad            = "bad"
)

// UnitFile is a unit file of a tree.
type UnitFile struct {
	Name   string `json:"name"`             // "ssh.service"
	State  string `json:"state"`            // one of the constants
	Preset string `json:"preset,omitempty"` // "enabled", "disabled", "ignored"; empty where systemctl prints "-"
	Path   string `json:"path"`             // absolute, of the first file of the name, with links of directories resolved
	Target string `json:"target,omitempty"` // of an alias: the name of the unit it stands for
}

// List returns the unit files of a tree in order of their names. The result is empty for a tree without systemd. Errors
// are those of reading from the store.
func List(st *store.Store, t *tree.Tree) ([]UnitFile, error) {
	v := newView(st, t)
	rules, err := v.presets()
	if err != nil {
		return nil, err
	}
	found := map[string]UnitFile{}
	for _, d := range v.dirs {
		for _, e := range t.Children(d.real) {
			name := e.Name()
			if _, ok := found[name]; ok || shapeOf(name) == invalid || e.Type != tree.Symlink && e.Type != tree.Regular {
				continue
			}
			f := UnitFile{Name: name, Path: "/" + e.Path}
			f.State, f.Target = v.state(name)
			switch f.State {
			case Alias, Static, Generated, Transient:
			default:
				f.Preset = rules.query(name)
			}
			found[name] = f
		}
	}
	var list []UnitFile
	for _, name := range sorted(found) {
		list = append(list, found[name])
	}
	return list, nil
}

// state returns the state of a unit's file, and the name of what an alias stands for.
func (v *view) state(name string) (state, target string) {
	b := v.batch()
	u, err := b.traverse(b.add(name, false), true)
	if err != nil {
		return Bad, ""
	}
	if u.mode == masked {
		if strings.HasPrefix(u.path, "run/") {
			return MaskedRuntime, ""
		}
		return Masked, ""
	}
	if name != path.Base(u.path) && shapeOf(u.name) != instance {
		return Alias, path.Base(u.path)
	}
	switch parent := tree.Parent(u.path); {
	case strings.HasPrefix(parent, "run/systemd/generator"):
		return Generated, ""
	case parent == "run/systemd/transient":
		return Transient, ""
	}
	if s := v.linked(u, true); s != "" {
		return s, ""
	}
	if v.linked(u, false) != "" {
		return Indirect, "" // in use by another name than [Install] says
	}
	switch {
	case u.hasRules():
		return Disabled, ""
	case len(u.also) > 0:
		return Indirect, ""
	}
	return Static, ""
}

// linked returns the state that links give a unit, or "" where there are none. With known, only links count that
// [Install] would make (find_symlinks_in_scope).
func (v *view) linked(u *unit, known bool) string {
	var sameEtc, sameRun, inRun, anywhere, below bool
	for _, d := range v.dirs {
		found, same := v.findLinks(d, u, known, below)
		runtime := strings.HasPrefix(d.name, "run/")
		switch {
		case found && d.name == etcUnits:
			return Enabled
		case found && runtime:
			inRun = true
		case found:
			anywhere = true
		case same && d.name == etcUnits:
			sameEtc = true
		case same && runtime:
			sameRun = true
		}
		// Names in directories that come after the unit's own do not stand for it.
		below = below || strings.HasPrefix(u.path, d.real+"/")
	}
	switch {
	case inRun:
		return EnabledRuntime
	case anywhere && shapeOf(u.name) == instance:
		return Static
	case sameEtc:
		return Linked
	case sameRun:
		return LinkedRuntime
	}
	return ""
}

// findLinks looks for links to a unit in a directory of units and in those of dependencies below it. same says that the
// directory has a link of the unit's own name to it.
func (v *view) findLinks(d dir, u *unit, known, below bool) (found, same bool) {
	for _, l := range d.links {
		var byName, byTarget bool
		if l.below != "" {
			byName = l.name == u.name
			byTarget = !byName && templateOf(l.name) == u.name
		} else {
			byName = !below && l.name == u.name
			byTarget = l.target == u.name
		}
		switch {
		case byName && byTarget:
			same = true
		case (byName || byTarget) && (!known || u.knows(l.name)):
			return true, same
		}
	}
	return false, same
}

// knows reports whether [Install] would make a link of this name.
func (u *unit) knows(name string) bool {
	return name == u.name || slices.Contains(u.aliases, name) ||
		u.defaultInstance != "" && shapeOf(u.name) == template && name == withInstance(u.name, u.defaultInstance)
}
