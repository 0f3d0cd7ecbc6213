package services

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

const (
	etcUnits = "etc/systemd/system"
	nullPath = "dev/null"
)

// searchPath is where systemd looks for system units, in order. The last but one is the first again where /usr is merged.
var searchPath = []string{
	"etc/systemd/system.control",
	"run/systemd/system.control",
	"run/systemd/transient",
	"run/systemd/generator.early",
	etcUnits,
	"etc/systemd/system.attached",
	"run/systemd/system",
	"run/systemd/system.attached",
	"run/systemd/generator",
	"usr/local/lib/systemd/system",
	"usr/lib/systemd/system",
	"lib/systemd/system",
	"run/systemd/generator.late",
}

// maxUnit bounds the size of a unit file in bytes; systemd's own bound on a line is 1 MiB.
const maxUnit = 4 << 20

var (
	errSelf   = errors.New("it is a link to itself")
	errNoUnit = errors.New("there is no such unit file")
	errNoLink = errors.New("it is a link to a unit that is not there")
	errConfig = errors.New("a link in the configuration cannot be enabled; name the unit it leads to")
)

// maxFollow is how many links lead to a unit at most (UNIT_FILE_FOLLOW_SYMLINK_MAX).
const maxFollow = 64

// view is a tree seen as systemd sees its units.
type view struct {
	st   *store.Store
	t    *tree.Tree
	dirs []dir
}

// dir is a directory of units.
type dir struct {
	name  string // as systemd knows it
	real  string // without links
	links []link // symbolic links in it and in its *.wants, *.requires and *.upholds
}

// link is a symbolic link.
type link struct {
	below  string // "multi-user.target.wants"; empty for one in the directory itself
	name   string
	target string // last element of what it points to
}

func newView(st *store.Store, t *tree.Tree) *view {
	v := &view{st: st, t: t}
	for _, name := range searchPath {
		real, err := t.Resolve(name)
		if err != nil || slices.ContainsFunc(v.dirs, func(d dir) bool { return d.real == real }) {
			continue
		}
		if e, ok := t.Lookup(real); !ok || e.Type != tree.Directory {
			continue
		}
		d := dir{name: name, real: real}
		for _, e := range t.Children(real) {
			switch {
			case e.Type == tree.Symlink:
				d.links = append(d.links, link{"", e.Name(), path.Base(e.Target)})
			case e.Type == tree.Directory && dependencyDir(e.Name()):
				for _, c := range t.Children(e.Path) {
					if c.Type == tree.Symlink {
						d.links = append(d.links, link{e.Name(), c.Name(), path.Base(c.Target)})
					}
				}
			}
		}
		v.dirs = append(v.dirs, d)
	}
	return v
}

// dependencyDir reports whether a directory of this name holds links that enable units.
func dependencyDir(name string) bool {
	switch path.Ext(name) {
	case ".wants", ".requires", ".upholds":
		return true
	}
	return false
}

// read returns the contents of the file at a path without links.
func (v *view) read(e tree.Entry) (string, error) {
	if e.Size > maxUnit {
		return "", fmt.Errorf("/%s: it has %d bytes, %d are the most a unit file can have", e.Path, e.Size, maxUnit)
	}
	p, err := v.st.ReadAll(e.Digest)
	if err != nil {
		return "", fmt.Errorf("/%s: %w", e.Path, err)
	}
	return string(p), nil
}

// mode says what the first file of a unit's name is.
type mode uint8

const (
	unknown mode = iota
	regular
	masked
	aliased
	linked // to a file outside of the search path
)

// unit is what is known of a unit by one of its names.
type unit struct {
	name      string
	path      string // in the tree, of its file
	mode      mode
	target    string // of a link, in the tree
	auxiliary bool   // only there because another names it in Also=
	install
}

// install is a section [Install].
type install struct {
	aliases, wantedBy, requiredBy, upheldBy, also []string
	defaultInstance                               string
}

func (i *install) hasRules() bool {
	return len(i.aliases)+len(i.wantedBy)+len(i.requiredBy)+len(i.upheldBy) > 0
}

// search finds a unit's file and reads it, and its drop-ins. A unit whose path is known is read from there.
func (v *view) search(u *unit) error {
	if u.mode != unknown {
		return nil
	}
	if u.path != "" {
		return v.load(u, u.path)
	}
	names := []string{u.name}
	if t := templateOf(u.name); t != "" {
		names = append(names, t)
	}
	for _, name := range names {
		for _, d := range v.dirs {
			file := tree.Join(d.real, name)
			err := v.load(u, file)
			if errors.Is(err, errNoUnit) {
				continue
			}
			if err != nil {
				return err
			}
			u.path = file
			if u.mode == masked {
				return nil
			}
			return v.dropIns(u, names)
		}
	}
	return errNoUnit
}

// load reads the file of a unit.
func (v *view) load(u *unit, file string) error {
	kind := kinds[Kind(u.name)]
	if shapeOf(u.name) != plain && !kind.template {
		return fmt.Errorf("/%s: a %s cannot be a template", file, Kind(u.name))
	}
	e, ok := v.t.Lookup(file)
	if !ok {
		return errNoUnit
	}
	switch e.Type {
	case tree.Symlink:
		return v.follow(u, e)
	case tree.Regular:
	case tree.CharDevice:
		if e.Major == 1 && e.Minor == 3 {
			u.mode = masked
			return nil
		}
		return fmt.Errorf("/%s is a %s", file, e.Type)
	default:
		return fmt.Errorf("/%s is a %s", file, e.Type)
	}
	if e.Size == 0 {
		u.mode = masked
		return nil
	}
	text, err := v.read(e)
	if err != nil {
		return err
	}
	if err := u.install.parse(u.name, text); err != nil {
		return fmt.Errorf("/%s: %w", file, err)
	}
	u.mode = regular
	return nil
}

// follow says what a link is that stands for a unit (unit_file_resolve_symlink).
func (v *view) follow(u *unit, e tree.Entry) error {
	target := path.Clean(strings.TrimPrefix(e.Target, "/"))
	if !strings.HasPrefix(e.Target, "/") {
		target = path.Join(tree.Parent(e.Path), e.Target)
	}
	for strings.HasPrefix(target, "../") {
		target = target[len("../"):]
	}
	// The last element is not followed: it may be a link itself, whose name counts.
	if parent, err := v.t.Resolve(tree.Parent(target)); err == nil {
		target = tree.Join(parent, path.Base(target))
	}
	if target == nullPath {
		u.mode = masked
		return nil
	}
	outside := !slices.ContainsFunc(v.dirs, func(d dir) bool { return strings.HasPrefix(target, d.real+"/") })
	if !outside {
		if err := checkAlias(path.Base(e.Path), path.Base(target)); err != nil && !errors.Is(err, errSelf) {
			return fmt.Errorf("/%s: %w", e.Path, err)
		}
	}
	u.target = target
	u.mode = aliased
	if outside {
		u.mode = linked
	}
	if real, err := v.t.Resolve(target); err == nil {
		if real == nullPath {
			u.mode = masked
		} else if f, ok := v.t.Lookup(real); ok && f.Type == tree.Regular && f.Size == 0 {
			u.mode = masked
		}
	}
	return nil
}

// dropIns adds what the drop-ins of a unit have in [Install]: of one name the first, in order of their names.
func (v *view) dropIns(u *unit, names []string) error {
	files := map[string]string{}
	for _, name := range names {
		for _, d := range v.dirs {
			below, err := v.t.Resolve(tree.Join(d.real, name+".d"))
			if err != nil {
				continue
			}
			for _, e := range v.t.Children(below) {
				if _, ok := files[e.Name()]; !ok && strings.HasSuffix(e.Name(), ".conf") {
					files[e.Name()] = e.Path
				}
			}
		}
	}
	for _, name := range sorted(files) {
		real, err := v.t.Resolve(files[name])
		if err != nil {
			return fmt.Errorf("/%s: %w", files[name], err)
		}
		e, ok := v.t.Lookup(real)
		if real == nullPath || ok && e.Type == tree.CharDevice || ok && e.Size == 0 {
			continue
		}
		if !ok {
			return fmt.Errorf("/%s: %w", files[name], fs.ErrNotExist)
		}
		if e.Type != tree.Regular {
			return fmt.Errorf("/%s is a %s", real, e.Type)
		}
		text, err := v.read(e)
		if err != nil {
			return err
		}
		if err := u.install.parse(u.name, text); err != nil {
			return fmt.Errorf("/%s: %w", real, err)
		}
	}
	return nil
}

// batch is a set of units that are looked at together: one names others by links and in Also=.
type batch struct {
	v     *view
	units map[string]*unit
	order []string // of names, as they came
}

func (v *view) batch() *batch { return &batch{v: v, units: map[string]*unit{}} }

// add returns the unit of a name.
func (b *batch) add(name string, auxiliary bool) *unit {
	u, ok := b.units[name]
	if !ok {
		u = &unit{name: name, auxiliary: auxiliary}
		b.units[name] = u
		b.order = append(b.order, name)
	}
	u.auxiliary = u.auxiliary && auxiliary
	return u
}

// traverse follows links from a unit to the one that they stand for. Without config, aliases in /etc and /run are refused
// (install_info_traverse).
func (b *batch) traverse(u *unit, config bool) (*unit, error) {
	if err := b.search(u); err != nil {
		return nil, err
	}
	for n := 0; u.mode == aliased || u.mode == linked; n++ {
		if n == maxFollow {
			return nil, fmt.Errorf("/%s: more than %d links lead to it", u.path, maxFollow)
		}
		if d := tree.Parent(u.path); !config && u.mode == aliased && (d == etcUnits || d == "run/systemd/system") {
			return nil, fmt.Errorf("/%s: %w", u.path, errConfig)
		}
		base := path.Base(u.target)
		if u.mode == linked || base == u.name {
			u.path, u.mode = u.target, unknown
			if err := b.search(u); err != nil {
				return nil, err
			}
			continue
		}
		if shapeOf(u.name) == instance && shapeOf(base) == template {
			base = withInstance(base, instanceOf(u.name))
			if base == u.name {
				u.path, u.mode = u.target, unknown
				if err := b.search(u); err != nil {
					return nil, err
				}
				continue
			}
		}
		u = b.add(base, false)
		if err := b.search(u); errors.Is(err, errNoUnit) {
			return nil, errNoLink
		} else if err != nil {
			return nil, err
		}
	}
	return u, nil
}

func (b *batch) search(u *unit) error {
	if err := b.v.search(u); err != nil {
		return err
	}
	for _, name := range u.also {
		b.add(name, true)
	}
	return nil
}
