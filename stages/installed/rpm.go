package installed

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm"
	"github.com/imagefactory/imagefactory/distros/rpm/header"
	"github.com/imagefactory/imagefactory/distros/rpm/rpmdb"
)

// rpmDatabaseDirs are where the database may be: the usual place, and where systems have it whose
// /var is not part of the image.
var rpmDatabaseDirs = []string{"/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm"}

// rpmDirs are what goes with the database.
var rpmDirs = append(slices.Clone(rpmDatabaseDirs), "/var/lib/dnf", "/var/lib/yum", "/var/cache/dnf", "/var/cache/yum", "/usr/lib/sysimage/libdnf5")

// keyPackage is the name under which rpm keeps keys that were imported.
const keyPackage = "gpg-pubkey"

// rpmDatabase is what is needed to write the database again.
type rpmDatabase struct {
	path    string // of the file in the tree
	headers []*header.Header
	index   []int // of Database.Packages in headers
}

func readRPM(r *reader) (*Database, error) {
	for _, dir := range rpmDatabaseDirs {
		for _, format := range []struct {
			file   string
			decode func([]byte) ([]*header.Header, error)
		}{
			{rpmdb.FileName, rpmdb.Decode},
			{"Packages.db", decodeNDB},
			{"Packages", decodeBDB},
		} {
			file := path.Join(dir, format.file)
			p, err := r.file(file)
			if errors.Is(err, errAbsent) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if wal, err := r.file(file + "-wal"); err == nil && len(wal) > 0 {
				return nil, fmt.Errorf("%s-wal has changes that are not in the database yet: run rpm -qa in the root, which ends in good order and writes them", file)
			}
			headers, err := format.decode(p)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			d := &rpmDatabase{path: file, headers: headers}
			return d.database(r)
		}
	}
	return nil, ErrNoDatabase
}

// database makes the Database of the headers.
func (d *rpmDatabase) database(r *reader) (*Database, error) {
	var packages []Package
	for i, h := range d.headers {
		if h.Name() == keyPackage {
			continue
		}
		p := Package{
			Name: h.Name(), Version: h.EVR().String(), Arch: h.Arch(), Source: h.String(header.TagSourceRPM),
			Summary: h.String(header.TagSummary), License: h.String(header.TagLicense), Vendor: h.String(header.TagVendor),
			Homepage: h.String(header.TagURL), Section: h.String(header.TagGroup),
		}
		states := h.Bytes(header.TagFileStates)
		for n, f := range h.Files() {
			if n < len(states) && states[n] != rpmdb.FileNormal && states[n] != rpmdb.FileNetShared {
				continue
			}
			at, ok := r.locate(f.Path)
			if f.IsDir() {
				if at, ok = r.directory(relative(path.Clean(f.Path))); ok {
					at = absolute(at)
				}
			}
			if !ok {
				continue
			}
			p.Files = append(p.Files, at)
			if f.Flags&header.FileConfig != 0 {
				p.Config = append(p.Config, at)
			}
		}
		// What the header is comes along to survive sorting.
		p.ID = fmt.Sprint(i)
		packages = append(packages, p)
	}
	slices.SortStableFunc(packages, func(a, b Package) int {
		return strings.Compare(a.Name+"\x00"+a.Arch+"\x00"+a.Version, b.Name+"\x00"+b.Arch+"\x00"+b.Version)
	})
	for _, p := range packages {
		var i int
		if _, err := fmt.Sscan(p.ID, &i); err != nil {
			return nil, err
		}
		d.index = append(d.index, i)
	}
	setIDs(packages, func(p Package) string { return p.Name + "-" + p.Version + "." + p.Arch })
	c := d.readNeeds(packages)
	providing := func(name string) []string { return c.providers(rpm.Dependency{Name: name}) }
	return &Database{Family: RPM, Packages: packages, providing: providing, rpm: d}, nil
}

// capabilities knows which packages meet dependencies.
type capabilities struct {
	packages []Package
	provides map[string][]capability
	files    map[string][]string // IDs by path, as the packages name it
}

type capability struct {
	rpm.Dependency
	id string
}

// readNeeds fills in what the packages need, and returns what they provide.
func (d *rpmDatabase) readNeeds(packages []Package) *capabilities {
	c := &capabilities{packages: packages, provides: map[string][]capability{}, files: map[string][]string{}}
	for i, p := range packages {
		h := d.headers[d.index[i]]
		own := false
		for _, v := range h.Dependencies(header.Provides) {
			own = own || v.Name == p.Name
			c.provides[v.Name] = append(c.provides[v.Name], capability{v.Dependency, p.ID})
		}
		if !own { // every package provides its name, even one that does not say so
			c.provides[p.Name] = append(c.provides[p.Name], capability{rpm.Dependency{Name: p.Name, Sense: rpm.Equal, EVR: h.EVR()}, p.ID})
		}
		for _, f := range h.Files() {
			c.files[f.Path] = append(c.files[f.Path], p.ID)
		}
	}
	for i := range packages {
		h := d.headers[d.index[i]]
		for _, v := range h.Dependencies(header.Requires) {
			if v.Flags&header.SenseRPMLib != 0 || strings.HasPrefix(v.Name, "rpmlib(") {
				continue // of the package manager, not of a package
			}
			kind := Requires
			if v.Flags&scriptSenses != 0 {
				kind = Scripts
			}
			packages[i].Needs = append(packages[i].Needs, c.needs(v.Dependency, kind)...)
		}
		for _, v := range h.Dependencies(header.Recommends) {
			packages[i].Needs = append(packages[i].Needs, c.needs(v.Dependency, Recommends)...)
		}
		for _, v := range h.Dependencies(header.Suggests) {
			packages[i].Needs = append(packages[i].Needs, c.needs(v.Dependency, Suggests)...)
		}
	}
	return c
}

// scriptSenses are set in requirements of scriptlets.
const scriptSenses = header.SensePrereq | header.SensePreTrans | header.SensePostTrans | header.SenseScriptPre | header.SenseScriptPost |
	header.SenseScriptPreUn | header.SenseScriptPostUn | header.SenseScriptVerify | header.SensePreUnTrans | header.SensePostUnTrans

// needs returns a dependency as needs all of which must be met.
func (c *capabilities) needs(d rpm.Dependency, kind NeedKind) []Need {
	if !d.IsRich() {
		return []Need{{Text: d.String(), Kind: kind, Providers: c.providers(d)}}
	}
	e, err := rpm.ParseRich(d.Name)
	if err != nil { // rpm would not have installed it
		return []Need{{Text: d.Name, Kind: kind}}
	}
	needs := c.clauses(e)
	for i := range needs {
		needs[i].Text, needs[i].Kind = d.Name, kind
	}
	return needs
}

// providers returns the packages that meet a dependency which is not rich.
func (c *capabilities) providers(d rpm.Dependency) []string {
	var ids []string
	for _, v := range c.provides[d.Name] {
		if d.SatisfiedBy(v.Dependency) {
			ids = append(ids, v.id)
		}
	}
	if strings.HasPrefix(d.Name, "/") {
		ids = append(ids, c.files[d.Name]...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// clauses returns an expression in conjunctive normal form. A condition counts as soon as any of the
// packages in it is there, which asks for more than the expression where that has "and" in its
// condition, and never for less.
func (c *capabilities) clauses(e *rpm.Expression) []Need {
	switch e.Op {
	case rpm.Single:
		return []Need{{Providers: c.providers(e.Dependency)}}
	case rpm.And:
		var all []Need
		for _, operand := range e.Operands {
			all = append(all, c.clauses(operand)...)
		}
		return all
	case rpm.Or:
		any := c.clauses(e.Operands[0])
		for _, operand := range e.Operands[1:] {
			any = either(any, c.clauses(operand))
		}
		return any
	case rpm.If:
		when := c.mentioned(e.Operands[1])
		var all []Need
		if len(when) > 0 {
			for _, n := range c.clauses(e.Operands[0]) {
				n.When = when
				all = append(all, n)
			}
		}
		if len(e.Operands) == 3 {
			all = append(all, either([]Need{{Providers: when}}, c.clauses(e.Operands[2]))...)
		}
		return all
	case rpm.Unless:
		unless := c.mentioned(e.Operands[1])
		all := c.clauses(e.Operands[0])
		if len(unless) > 0 {
			all = either(all, []Need{{Providers: unless}})
		}
		if len(e.Operands) == 3 && len(unless) > 0 {
			for _, n := range c.clauses(e.Operands[2]) {
				n.When = unless
				all = append(all, n)
			}
		}
		return all
	case rpm.With:
		ids := c.mentioned(e.Operands[0])
		for _, operand := range e.Operands[1:] {
			other := c.mentioned(operand)
			ids = slices.DeleteFunc(ids, func(id string) bool { return !slices.Contains(other, id) })
		}
		return []Need{{Providers: ids}}
	default: // Without
		ids, other := c.mentioned(e.Operands[0]), c.mentioned(e.Operands[1])
		return []Need{{Providers: slices.DeleteFunc(ids, func(id string) bool { return slices.Contains(other, id) })}}
	}
}

// either returns the clauses of "a or b". Where both have conditions the first's counts for the
// pair, which asks for more, and never for less.
func either(a, b []Need) []Need {
	var all []Need
	for _, x := range a {
		for _, y := range b {
			n := Need{Providers: unique(slices.Concat(x.Providers, y.Providers)), When: x.When}
			if n.When == nil {
				n.When = y.When
			}
			all = append(all, n)
		}
	}
	return all
}

// mentioned returns the packages that meet any capability of an expression.
func (c *capabilities) mentioned(e *rpm.Expression) []string {
	var ids []string
	e.Capabilities(func(d rpm.Dependency) { ids = append(ids, c.providers(d)...) })
	slices.Sort(ids)
	return slices.Compact(ids)
}

// removeRPM writes the database anew, where anything of it changes.
func (d *Database) removeRPM(w *writer, gone map[string]struct{}) error {
	going := map[int]struct{}{}
	for i, p := range d.Packages {
		if _, ok := gone[p.ID]; ok {
			going[d.rpm.index[i]] = struct{}{}
		}
	}
	changed := len(going) > 0
	var kept []*header.Header
	for i, h := range d.rpm.headers {
		if _, ok := going[i]; ok {
			continue
		}
		settled, err := w.settleStates(h)
		if err != nil {
			return fmt.Errorf("%s: package %s: %w", d.rpm.path, h.NEVRA(), err)
		}
		changed = changed || settled != h
		kept = append(kept, settled)
	}
	switch {
	case !changed:
		return nil
	case path.Base(d.rpm.path) != rpmdb.FileName:
		return fmt.Errorf("%s is in a format that only rpm itself writes, so neither packages nor files of packages can be taken out of it; trim with a profile that removes the package manager, and with it the database", d.rpm.path)
	}
	data, err := rpmdb.Encode(kept)
	if err != nil {
		return err
	}
	return w.replace(d.rpm.path, data)
}

// settleStates returns a header in whose file states "not installed" stands for what the tree no longer
// has, ghosts excepted: those come and go.
func (w *writer) settleStates(h *header.Header) (*header.Header, error) {
	states := h.Bytes(header.TagFileStates)
	if len(states) == 0 {
		return h, nil
	}
	var changed []byte
	for n, f := range h.Files() {
		if n >= len(states) || states[n] != rpmdb.FileNormal || f.IsGhost() {
			continue
		}
		_, ok := w.locate(f.Path)
		if f.IsDir() {
			_, ok = w.directory(relative(path.Clean(f.Path)))
		}
		if ok {
			continue
		}
		if changed == nil {
			changed = slices.Clone(states)
		}
		changed[n] = rpmdb.FileNotInstalled
	}
	if changed == nil {
		return h, nil
	}
	return rpmdb.WithStates(h, changed)
}
