package provenance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Step is a stage of a build: the tree as it was after it, and who is to name for what it
// changed. See the package's doc for what decides.
type Step struct {
	Stage  string       // name of the stage, as the build's graph has it
	Kind   Kind         // of what nothing else says
	Name   string       // of that; see Origin.Name
	Tree   store.Digest // of the root after the stage
	Claims []Claim      // whose is which path; the first that fits counts
	// Packages are those that the stage unpacked.
	Packages []packages.Package
	// Sources are packages that the stage took single files of, to put them elsewhere.
	Sources []packages.Package
	// Installed is the database of a root that was installed by a program or came whole.
	Installed *installed.Database
}

// Claim says who made a path, if the stage made it.
type Claim struct {
	// Path is absolute. * and ? match within one element, and a last element ** matches
	// everything below. Links in the directories of a path without such characters are
	// followed.
	Path   string
	Origin Origin // Stage is filled in
}

// Attribute says where every path of the last step's tree comes from, given the trees after
// each stage that made them, in order; before the first there is nothing. An error names
// the tree or package that cannot be read.
func Attribute(ctx context.Context, st *store.Store, steps []Step) (*Attribution, error) {
	if len(steps) == 0 {
		return nil, errors.New("there are no stages to attribute paths to")
	}
	a := attributor{store: st, before: tree.Empty(tree.Time{})}
	a.state = make([]int32, a.before.Len())
	a.records = []record{{origin: nobody}} // of the root directory, which the first step makes
	for i := range steps {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if i > 0 && steps[i].Tree == steps[i-1].Tree {
			continue
		}
		if err := a.step(&steps[i]); err != nil {
			return nil, fmt.Errorf("stage %s: %w", steps[i].Stage, err)
		}
	}
	return a.attribution(), nil
}

// record is what is known of a path. Records are shared by the states of several steps, and
// never change.
type record struct {
	origin          int
	shared, earlier []int
	changes         []Change
	from, evidence  string
}

const nobody = -1

// attributor goes through the steps. state has for each entry of before its record.
type attributor struct {
	store   *store.Store
	in      interner
	records []record
	before  *tree.Tree
	state   []int32
	scripts []scriptText // of all packages so far, to tell whose script made what
}

// keep adds a record.
func (a *attributor) keep(r record) int32 {
	a.records = append(a.records, r)
	return int32(len(a.records) - 1)
}

// at returns what is known of a path of the tree before.
func (a *attributor) at(path string) (record, bool) {
	i, ok := index(a.before, path)
	if !ok {
		return record{}, false
	}
	return a.records[a.state[i]], true
}

// index returns the place of path among the entries of t.
func index(t *tree.Tree, path string) (int, bool) {
	return slices.BinarySearchFunc(t.Entries(), path, func(e tree.Entry, p string) int { return tree.Compare(e.Path, p) })
}

// step goes from the tree before to that of s.
func (a *attributor) step(s *Step) error {
	after, err := tree.Load(a.store, s.Tree)
	if err != nil {
		return err
	}
	w := walk{attributor: a, step: s, after: after, next: make([]int32, after.Len())}
	if err := w.prepare(); err != nil {
		return err
	}
	w.compare()
	w.moves()
	// What packages ship first: the rest is told by it.
	w.created = slices.DeleteFunc(w.created, w.owned)
	for _, i := range w.created {
		w.create(i)
	}
	w.adopt()
	a.before, a.state = after, w.next
	return nil
}

// walk is the comparison of one step.
type walk struct {
	*attributor
	step  *Step
	after *tree.Tree
	next  []int32 // records of after's entries; undecided where they are not known yet

	created []int // entries of after whose contents are new at their path
	removed []int // entries of before that are gone
	weak    []int // directories with the step's own origin

	claims  claims
	shipped map[string][]shipment       // by path of the merged tree
	content map[store.Digest][]shipment // files of the step's sources by contents
	blame   *blamer
	copies  map[store.Digest]string // first path of before with a file's contents; nil until asked for
	groups  map[uint32][]int        // entries of after by hard link group; nil until asked for
}

const undecided = -1

// prepare reads what the step names.
func (w *walk) prepare() error {
	w.claims = newClaims(w.after, w.step.Stage, w.step.Claims)
	if err := w.unpacked(); err != nil {
		return err
	}
	return w.sources()
}

// compare finds what the step created, removed and changed.
func (w *walk) compare() {
	old, new := w.before.Entries(), w.after.Entries()
	for i, j := 0, 0; i < len(old) || j < len(new); {
		var c int
		switch {
		case i == len(old):
			c = 1
		case j == len(new):
			c = -1
		default:
			c = tree.Compare(old[i].Path, new[j].Path)
		}
		switch {
		case c < 0:
			w.removed = append(w.removed, i)
			i++
		case c > 0:
			w.next[j] = undecided
			w.created = append(w.created, j)
			j++
		default:
			w.same(i, j)
			i++
			j++
		}
	}
}

// same decides on entry j of the tree after, which was there as entry i.
func (w *walk) same(i, j int) {
	old, new := &w.before.Entries()[i], &w.after.Entries()[j]
	state := w.state[i]
	if !sameContents(old, new) || w.records[state].origin == nobody {
		w.next[j] = undecided
		w.created = append(w.created, j)
		return
	}
	if what := metadata(old, new); what != "" {
		r := w.records[state]
		r.changes = append(slices.Clip(r.changes), Change{Origin: w.in.index(w.changer(new)), What: what})
		state = w.keep(r)
	}
	w.next[j] = state
}

// changer returns who changed the metadata of an entry.
func (w *walk) changer(e *tree.Entry) Origin {
	if o, ok := w.claims.find(e.Path); ok {
		return o
	}
	return w.own()
}

// own returns the origin of the step.
func (w *walk) own() Origin {
	return Origin{Kind: w.step.Kind, Name: w.step.Name, Stage: w.step.Stage}
}

// sameContents reports whether two entries are the same thing, whoever may use it.
func sameContents(a, b *tree.Entry) bool {
	return a.Type == b.Type && a.Digest == b.Digest && a.Target == b.Target && a.Major == b.Major && a.Minor == b.Minor
}

// metadata says how two entries of the same contents differ.
func metadata(a, b *tree.Entry) string {
	var what []string
	if a.Mode != b.Mode && a.Type != tree.Symlink {
		what = append(what, "mode")
	}
	if a.UID != b.UID || a.GID != b.GID {
		what = append(what, "owner")
	}
	if len(a.Xattrs)+len(b.Xattrs) > 0 && !slices.EqualFunc(unlabelled(a.Xattrs), unlabelled(b.Xattrs), func(x, y tree.Xattr) bool {
		return x.Name == y.Name && string(x.Value) == string(y.Value)
	}) {
		what = append(what, "attributes")
	}
	return strings.Join(what, ", ")
}

// unlabelled returns attributes without the label of SELinux.
func unlabelled(list []tree.Xattr) []tree.Xattr {
	i := slices.IndexFunc(list, func(x tree.Xattr) bool { return x.Name == "security.selinux" })
	if i < 0 {
		return list
	}
	return slices.Delete(slices.Clone(list), i, i+1)
}

// moves finds files that were renamed, and further names of files that were there. What it
// decides is no longer among the created.
func (w *walk) moves() {
	new := w.after.Entries()
	var gone map[store.Digest][]int // entries of before
	if len(w.removed) > 0 {
		gone = map[store.Digest][]int{}
		for _, i := range w.removed {
			if e := &w.before.Entries()[i]; e.Type == tree.Regular && e.Size > 0 {
				gone[e.Digest] = append(gone[e.Digest], i)
			}
		}
	}
	w.created = slices.DeleteFunc(w.created, func(j int) bool {
		e := &new[j]
		if e.Type != tree.Regular {
			return false
		}
		if e.Link != 0 {
			if i, ok := w.linked(j); ok {
				w.inherit(j, i, "linked to ")
				return true
			}
		}
		if _, shipped := w.shipped[e.Path]; shipped {
			return false
		}
		if list := gone[e.Digest]; e.Size > 0 && len(list) > 0 {
			// The one that kept its name, or else the first.
			k := slices.IndexFunc(list, func(i int) bool { return w.before.Entries()[i].Name() == e.Name() })
			if k < 0 && e.Size < shortest {
				return false
			}
			k = max(0, k)
			w.inherit(j, list[k], "renamed from ")
			gone[e.Digest] = slices.Delete(slices.Clone(list), k, k+1)
			return true
		}
		return false
	})
}

// linked returns the entry of before which is another name of entry j of after, and had the
// same contents.
func (w *walk) linked(j int) (int, bool) {
	new := w.after.Entries()
	if w.groups == nil {
		w.groups = map[uint32][]int{}
		for i := range new {
			if l := new[i].Link; l != 0 {
				w.groups[l] = append(w.groups[l], i)
			}
		}
	}
	for _, k := range w.groups[new[j].Link] {
		if i, ok := index(w.before, new[k].Path); ok && k != j && w.before.Entries()[i].Type == tree.Regular &&
			w.before.Entries()[i].Digest == new[j].Digest && w.records[w.state[i]].origin != nobody {
			return i, true
		}
	}
	return 0, false
}

// inherit gives entry j of after the origin of entry i of before.
func (w *walk) inherit(j, i int, how string) {
	r := w.records[w.state[i]]
	by := w.changer(&w.after.Entries()[j])
	r.changes = append(slices.Clip(r.changes), Change{Origin: w.in.index(by), What: how + absolute(w.before.Entries()[i].Path)})
	w.next[j] = w.keep(r)
}

// replaced returns a record for an entry of after whose contents the step made, with what the path
// had before.
func (w *walk) replaced(e *tree.Entry) (r, old record, was bool) {
	if old, was = w.at(e.Path); was && old.origin != nobody {
		r.earlier = append(slices.Clip(old.earlier), old.origin)
	}
	return r, old, was
}

// owned decides on entry j of after, if a package ships it.
func (w *walk) owned(j int) bool {
	e := &w.after.Entries()[j]
	r, _, _ := w.replaced(e)
	if !w.byShipment(e, &r) && !w.byDatabase(e, &r) {
		return false
	}
	w.next[j] = w.keep(r)
	return true
}

// create decides on entry j of after, whose contents the step made and no package ships.
func (w *walk) create(j int) {
	e := &w.after.Entries()[j]
	r, old, was := w.replaced(e)
	if !w.byClaim(e, &r) && !w.byContents(e, &r) && !w.byScripts(e, old, was, &r) {
		r.origin, r.from = w.in.index(w.own()), w.copyOf(e)
		if e.Type == tree.Directory {
			w.weak = append(w.weak, j)
		}
	}
	w.next[j] = w.keep(r)
}

// byClaim attributes e to who claims it.
func (w *walk) byClaim(e *tree.Entry, r *record) bool {
	o, ok := w.claims.find(e.Path)
	if ok {
		r.origin, r.from = w.in.index(o), w.copyOf(e)
	}
	return ok
}

// byScripts attributes e to the package whose maintainer scripts made it.
func (w *walk) byScripts(e *tree.Entry, old record, was bool, r *record) bool {
	if w.step.Kind != MaintainerScript {
		return false
	}
	if w.blame == nil {
		w.blame = newBlamer(w)
	}
	name, evidence := w.blame.tell(e, old, was)
	if name != "" {
		r.origin, r.evidence, r.from = w.in.index(w.blame.origin(name)), evidence, w.copyOf(e)
	}
	return name != ""
}

// shortest is the size in bytes of the shortest file that its contents tell from all others.
const shortest = 256

// copyOf returns the path of the tree before which has the contents of e.
func (w *walk) copyOf(e *tree.Entry) string {
	if e.Type != tree.Regular || e.Size < shortest {
		return ""
	}
	if w.copies == nil {
		w.copies = map[store.Digest]string{}
		for i := range w.before.Entries() {
			if b := &w.before.Entries()[i]; b.Type == tree.Regular && b.Size >= shortest {
				if _, ok := w.copies[b.Digest]; !ok {
					w.copies[b.Digest] = absolute(b.Path)
				}
			}
		}
	}
	return w.copies[e.Digest]
}

// adopt gives directories that the step made, and nothing says why, the origin of the first
// path in them that it made for a reason.
func (w *walk) adopt() {
	own := w.in.index(w.own())
	entries := w.after.Entries()
	for _, j := range slices.Backward(w.weak) {
		prefix := entries[j].Path + "/"
		for k := j + 1; k < len(entries) && strings.HasPrefix(entries[k].Path, prefix); k++ {
			r := w.records[w.next[k]]
			if o := w.in.list[r.origin]; r.origin != own && o.Stage == w.step.Stage && len(r.earlier) == 0 {
				d := w.records[w.next[j]]
				d.origin, d.evidence = r.origin, r.evidence
				w.next[j] = w.keep(d)
				break
			}
		}
	}
}

// attribution returns what is known in the end.
func (a *attributor) attribution() *Attribution {
	out := &Attribution{Origins: a.in.list, Paths: make([]Path, a.before.Len())}
	for i := range out.Paths {
		r := &a.records[a.state[i]]
		out.Paths[i] = Path{
			Path: absolute(a.before.Entries()[i].Path), Origin: r.origin, Shared: r.shared, Earlier: r.earlier,
			Changes: r.changes, From: r.from, Evidence: r.evidence,
		}
	}
	return out.compact()
}

// shipment is an entry that a package ships.
type shipment struct {
	origin int // the package's
	entry  *tree.Entry
}

// unpacked indexes what the packages ship that the step unpacked, by path, and keeps their scripts.
func (w *walk) unpacked() error {
	if len(w.step.Packages) == 0 {
		return nil
	}
	w.shipped = make(map[string][]shipment, w.after.Len())
	places := placer{tree: w.after, real: map[string]string{}}
	return w.ship(w.step.Packages, func(p *packages.Package, s shipment) {
		at := places.place(s.entry)
		w.shipped[at] = append(w.shipped[at], s)
	}, func(p *packages.Package) error {
		scripts, err := readScripts(w.store, p)
		w.scripts = append(w.scripts, scripts)
		return err
	})
}

// sources indexes the files of the packages that the step took files of, by contents.
func (w *walk) sources() error {
	w.content = map[store.Digest][]shipment{}
	return w.ship(w.step.Sources, func(p *packages.Package, s shipment) {
		if s.entry.Type == tree.Regular && s.entry.Size > 0 {
			w.content[s.entry.Digest] = append(w.content[s.entry.Digest], s)
		}
	}, nil)
}

// ship calls entry for everything that packages ship, by name of the package, and end after each
// package.
func (w *walk) ship(pkgs []packages.Package, entry func(*packages.Package, shipment), end func(*packages.Package) error) error {
	pkgs = slices.Clone(pkgs)
	slices.SortStableFunc(pkgs, func(a, b packages.Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Version, b.Version))
	})
	for i := range pkgs {
		p := &pkgs[i]
		t, err := tree.Load(w.store, p.Tree)
		if err == nil {
			origin := w.in.index(Origin{Kind: Package, Name: p.Name, Version: p.Version, Arch: p.Arch, Stage: w.step.Stage})
			entries := t.Entries()
			for k := range entries {
				entry(p, shipment{origin, &entries[k]})
			}
			if end != nil {
				err = end(p)
			}
		}
		if err != nil {
			return fmt.Errorf("package %s %s: %w", p.Name, p.Version, err)
		}
	}
	return nil
}

// placer finds where in a tree is what packages ship, as links of directories go.
type placer struct {
	tree *tree.Tree
	real map[string]string // directory as shipped to where it is
}

// place returns where e is.
func (p *placer) place(e *tree.Entry) string {
	if e.Type == tree.Directory {
		return p.directory(e.Path)
	}
	return tree.Join(p.directory(tree.Parent(e.Path)), e.Name())
}

// directory returns where the directory at path is. What cannot be followed is where it says.
func (p *placer) directory(path string) string {
	if real, ok := p.real[path]; ok {
		return real
	}
	real, err := p.tree.Resolve(path)
	if err != nil {
		real = path
	}
	p.real[path] = real
	return real
}

// byShipment attributes e to the packages that ship it at its path.
func (w *walk) byShipment(e *tree.Entry, r *record) bool {
	var who []int
	meant := nobody // the first package that asks for a directory as it is
	for _, s := range w.shipped[e.Path] {
		if !sameContents(s.entry, e) {
			continue
		}
		if e.Type == tree.Directory && meant == nobody && s.entry.Mode == e.Mode && s.entry.UID == e.UID && s.entry.GID == e.GID {
			meant = s.origin
		}
		if !slices.Contains(who, s.origin) {
			who = append(who, s.origin)
		}
	}
	if len(who) == 0 {
		return false
	}
	if r.origin = who[0]; meant != nobody {
		r.origin = meant
	}
	if who = slices.DeleteFunc(who, func(o int) bool { return o == r.origin }); len(who) > 0 {
		r.shared = who
	}
	return true
}

// byContents attributes e to the source that has a file of its contents.
func (w *walk) byContents(e *tree.Entry, r *record) bool {
	if e.Type != tree.Regular || e.Size == 0 {
		return false
	}
	list := w.content[e.Digest]
	if len(list) == 0 {
		return false
	}
	// One of the same name before any other.
	k := slices.IndexFunc(list, func(s shipment) bool { return s.entry.Name() == e.Name() })
	if k < 0 && e.Size < shortest {
		return false
	}
	k = max(0, k)
	r.origin = list[k].origin
	r.from = absolute(list[k].entry.Path)
	return true
}

// byDatabase attributes e to the packages that own it according to the database.
func (w *walk) byDatabase(e *tree.Entry, r *record) bool {
	db := w.step.Installed
	if db == nil {
		return false
	}
	owners := db.Owners(absolute(e.Path))
	for i, id := range owners {
		p := db.Package(id)
		o := w.in.index(Origin{Kind: Package, Name: p.Name, Version: p.Version, Arch: p.Arch, Stage: w.step.Stage})
		if i == 0 {
			r.origin = o
		} else {
			r.shared = append(r.shared, o)
		}
	}
	return len(owners) > 0
}
