package trim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/profiles"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/guard"
	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/services"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Version is the version of this stage's code; see stages.Stage. Profiles are not part of it: their
// data is an input of the stage.
const Version = 1

// Options says what to trim.
type Options struct {
	Profile string `json:"profile"` // see package profiles
	// Keep and Remove are names of packages, globs of them, globs of absolute paths, or names of units;
	// they override the profile.
	Keep      []string         `json:"keep,omitempty"`
	Remove    []string         `json:"remove,omitempty"`
	Paths     []string         `json:"paths,omitempty"`     // globs of paths that go
	Requested []string         `json:"requested,omitempty"` // packages that the recipe names
	Services  services.Changes `json:"services"`
	// Modules are classes of kernel modules that stay besides the profile's (see stages/trim/modules).
	Modules []string `json:"modules,omitempty"`
	// Exceptions are what the checks must not report, besides the profile's.
	Exceptions []guard.Exception `json:"exceptions,omitempty"`
	Epoch      int64             `json:"epoch"` // time of what is made, in seconds since 1970
}

// Result is a trimmed root.
type Result struct {
	Root   rootfs.Root  `json:"root"`
	Report store.Digest `json:"report"` // JSON of a Report
}

// LoadReport reads a report that Run stored.
func LoadReport(st *store.Store, d store.Digest) (Report, error) {
	var r Report
	p, err := st.ReadAll(d)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(p, &r); err != nil {
		return r, fmt.Errorf("the report of the trimming: %w", err)
	}
	return r, nil
}

// Run trims a root: see the package's documentation. What must not go together with something that stays is
// an error, a *GuardError; names in Keep that mean nothing are a *NotFoundError.
func Run(ctx context.Context, run *stages.Run, root rootfs.Root, o Options) (Result, error) {
	st := run.Cache.Store
	t, err := root.Load(st)
	if err != nil {
		return Result{}, err
	}
	trimmed, report, err := Trim(ctx, st, t, o, run.Warn)
	if err != nil {
		return Result{}, err
	}
	p, err := json.Marshal(report)
	if err != nil {
		return Result{}, err
	}
	var result Result
	if result.Report, err = st.Put(p); err != nil {
		return Result{}, err
	}
	result.Root, err = rootfs.Save(st, trimmed)
	return result, err
}

// Trim is Run on a tree. warn, unless nil, is told what the options name without effect.
func Trim(ctx context.Context, st *store.Store, t *tree.Tree, o Options, warn func(format string, args ...any)) (*tree.Tree, Report, error) {
	profile, err := profiles.Load(o.Profile)
	if err != nil {
		return nil, Report{}, err
	}
	if warn == nil {
		warn = func(string, ...any) {}
	}
	w := &trimming{ctx: ctx, store: st, before: t, options: o, profile: profile, warn: warn, reasons: map[string]string{}}
	return w.run()
}

// trimming is one run.
type trimming struct {
	ctx      context.Context
	store    *store.Store
	before   *tree.Tree
	options  Options
	profile  *profiles.Profile
	warn     func(string, ...any)
	database *installed.Database // nil where the root has none
	plan     *plan
	units    []services.UnitFile // of before
	reasons  map[string]string   // of changes to units, by name
	report   Report
}

func (w *trimming) run() (*tree.Tree, Report, error) {
	w.report = Report{Profile: w.profile.Name, Database: "none", Keep: pathsIn(w.options.Keep)}
	if err := w.read(); err != nil {
		return nil, Report{}, err
	}
	keep := newGlobs(w.before, pathsIn(w.options.Keep))
	r := newRemoval(w.before)
	r.takePackages(w.database, w.plan, keep)
	rules := pathRules(w.before, w.plan, w.options)
	for _, rule := range rules {
		r.take(rule, w.database, keep)
	}
	t, err := w.trimModules(r, keep)
	if err != nil {
		return nil, Report{}, err
	}
	t, err = r.apply(t, w.plan)
	if err != nil {
		return nil, Report{}, err
	}
	for _, rule := range rules {
		if rule.fate.Files > 0 {
			w.report.Paths = append(w.report.Paths, *rule.fate)
		}
	}
	if err := context.Cause(w.ctx); err != nil {
		return nil, Report{}, err
	}
	if t, err = w.changeServices(t); err != nil {
		return nil, Report{}, err
	}
	if t, err = w.settleDatabase(t); err != nil {
		return nil, Report{}, err
	}
	if t, err = dropLinks(w.before, t, newGlobs(w.before, w.profile.Links)); err != nil {
		return nil, Report{}, err
	}
	if err := w.check(t); err != nil {
		return nil, Report{}, err
	}
	if err := w.describe(t); err != nil {
		return nil, Report{}, err
	}
	return t, w.report, nil
}

// read reads what is installed and decides about it.
func (w *trimming) read() error {
	var err error
	w.database, err = installed.Read(w.store, w.before)
	switch {
	case errors.Is(err, installed.ErrNoDatabase):
		if w.profile.Reachable {
			return fmt.Errorf("%w, so nothing says which packages profile %q could leave out; trim it with profile = \"none\", and name paths", err, w.profile.Name)
		}
		w.database = installed.Empty()
	case err != nil:
		return err
	}
	if w.units, err = services.List(w.store, w.before); err != nil {
		return err
	}
	owners := map[string][]string{}
	for _, x := range w.options.Keep {
		if !isUnit(x) {
			continue
		}
		found := false
		for _, u := range w.units {
			if ok, _ := path.Match(x, u.Name); ok {
				found = true
				owners[x] = append(owners[x], w.database.Owners(u.Path)...)
			}
		}
		if !found {
			return &NotFoundError{"keep", x, near(x, w.unitNames())}
		}
	}
	if err := checkPaths(w.before, w.options.Keep); err != nil {
		return err
	}
	w.plan, err = makePlan(w.database, w.profile, w.options, owners, w.warn)
	return err
}

func (w *trimming) unitNames() []string {
	var names []string
	for _, u := range w.units {
		names = append(names, u.Name)
	}
	return names
}

// changeServices applies the profile's and the recipe's changes to unit files, the profile's where there is
// such a unit and the recipe does not say otherwise.
func (w *trimming) changeServices(t *tree.Tree) (*tree.Tree, error) {
	units, err := services.List(w.store, t)
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	for _, u := range units {
		there[u.Name] = true
	}
	c := services.Changes{
		Enable: slices.Clone(w.options.Services.Enable), Disable: slices.Clone(w.options.Services.Disable),
		Mask: slices.Clone(w.options.Services.Mask), Remove: slices.Clone(w.options.Services.Remove),
	}
	for _, x := range w.options.Remove {
		if !isUnit(x) {
			continue
		}
		found := false
		for _, u := range w.units {
			if ok, _ := path.Match(x, u.Name); ok {
				if found = true; there[u.Name] {
					c.Remove = append(c.Remove, u.Name)
				}
			}
		}
		if !found {
			w.warn("remove of the trim block has %q, and the root has no such unit", x)
		}
	}
	said := map[string]bool{}
	for verb, list := range map[string][]string{"enabled": c.Enable, "disabled": c.Disable, "masked": c.Mask, "removed": c.Remove} {
		for i, name := range list {
			list[i] = fullName(name)
			said[list[i]] = true
			w.reasons[list[i]] = verb + " by the recipe"
		}
	}
	kept := func(name string) bool {
		return slices.ContainsFunc(w.options.Keep, func(x string) bool { ok, _ := path.Match(x, name); return ok })
	}
	for _, block := range w.profile.Services {
		if w.plan.keepsAny(block.Unless) {
			continue
		}
		for _, s := range []struct {
			verb string
			from []string
			to   *[]string
		}{{"enabled", block.Enable, &c.Enable}, {"disabled", block.Disable, &c.Disable}, {"masked", block.Mask, &c.Mask}, {"removed", block.Remove, &c.Remove}} {
			for _, u := range units {
				if _, ok := matchName(s.from, u.Name); ok && !said[u.Name] && !kept(u.Name) {
					said[u.Name] = true
					*s.to = append(*s.to, u.Name)
					w.reasons[u.Name] = fmt.Sprintf("%s by profile %s (%s): %s", s.verb, w.profile.Name, block.Name, block.Reason)
				}
			}
		}
	}
	if c.IsZero() {
		return t, nil
	}
	changed, err := services.Apply(w.store, t, c, w.options.Epoch)
	var failed *services.Error
	if errors.As(err, &failed) && errors.Is(err, services.ErrNotFound) {
		for _, u := range w.units {
			if u.Name != fullName(failed.Unit) {
				continue
			}
			for _, id := range w.database.Owners(u.Path) {
				if _, ok := w.plan.kept[id]; !ok {
					return nil, fmt.Errorf("%w: it was in the package %s, which was trimmed because %s. Write into the trim block: keep = [%q]", err, id, w.plan.why(id), u.Name)
				}
			}
		}
	}
	return changed, err
}

// fullName returns the whole name of a unit: without a suffix a service is meant.
func fullName(name string) string {
	if isUnit(name) {
		return name
	}
	return name + ".service"
}

// settleDatabase lets the database agree with the tree, or drops it.
func (w *trimming) settleDatabase(t *tree.Tree) (*tree.Tree, error) {
	if len(w.database.Packages) == 0 {
		return t, nil
	}
	if w.plan.hasDatabase {
		w.report.Database = "kept"
		return w.database.Remove(w.store, t, w.plan.gone())
	}
	w.report.Database = "dropped"
	t, err := w.database.SettleLinks(w.store, t)
	if err != nil {
		return nil, err
	}
	return w.database.Drop(t)
}

// describe fills in the report: t is what is left.
func (w *trimming) describe(t *tree.Tree) error {
	units, err := services.List(w.store, t)
	if err != nil {
		return err
	}
	w.report.Before = counts(w.before, len(w.database.Packages), w.units)
	w.report.After = counts(t, len(w.plan.kept), units)
	lost := map[string]bool{}
	for _, p := range w.database.Packages {
		f := PackageFate{ID: p.ID, Name: p.Name, Version: p.Version, Arch: p.Arch, Bytes: p.Size}
		r, kept := w.plan.kept[p.ID]
		f.Kept, f.Reason = kept, w.plan.why(p.ID)
		if kept {
			f.By, f.Need, f.Chain = r.by, r.need, w.plan.chain(p.ID)
		}
		f.Files, _ = filesOf(w.before, p.Files)
		f.FilesAfter, f.After = filesOf(t, p.Files)
		lost[p.ID] = f.Files > 0 && f.FilesAfter == 0
		w.report.Packages = append(w.report.Packages, f)
	}
	dependents := w.plan.dependents(lost)
	for i := range w.report.Packages {
		w.report.Packages[i].Dependents = dependents[w.report.Packages[i].ID]
	}
	after := map[string]services.UnitFile{}
	for _, u := range units {
		after[u.Name] = u
	}
	fates := map[string]ServiceFate{}
	for _, u := range w.units {
		fates[u.Name] = ServiceFate{Name: u.Name, Path: u.Path, Package: w.owner(u.Path), Before: u.State}
	}
	for _, u := range units {
		f, ok := fates[u.Name]
		if !ok {
			f = ServiceFate{Name: u.Name, Path: u.Path, Package: w.owner(u.Path)}
		}
		f.After = u.State
		fates[u.Name] = f
	}
	for name, f := range fates {
		if f.Before == f.After {
			f.Reason = ""
		} else if f.Reason = w.reasons[name]; f.Reason == "" && f.After == "" {
			f.Reason = w.whyGone(f)
		}
		w.report.Services = append(w.report.Services, f)
	}
	slices.SortFunc(w.report.Services, func(a, b ServiceFate) int { return strings.Compare(a.Name, b.Name) })
	w.describeUnowned(t)
	return nil
}

// describeUnowned notes what went that no package owned.
func (w *trimming) describeUnowned(t *tree.Tree) {
	var rules globs
	for _, r := range w.report.Paths {
		rules = append(rules, newGlobs(w.before, r.Globs)...)
	}
	database := newGlobs(w.before, w.database.Dirs())
	listed := map[string]bool{}
	for _, m := range w.report.Modules {
		listed[m.Path] = true
	}
	for _, e := range w.before.Entries() {
		if _, ok := t.Lookup(e.Path); ok || listed["/"+e.Path] || len(w.database.Owners("/"+e.Path)) > 0 {
			continue
		}
		if _, ok := rules.below(e.Path); ok {
			continue
		}
		if _, ok := database.below(e.Path); ok {
			continue
		}
		reason := "what made it, or what it was for, went"
		switch {
		case e.Type == tree.Directory:
			reason = "nothing that was in it stays"
		case e.Type == tree.Symlink:
			reason = fmt.Sprintf("%s, where it led, went", e.Target)
			if isUnit(e.Name()) {
				reason = fmt.Sprintf("%s no longer starts by it: it was disabled or went", e.Name())
			}
		}
		w.report.Unowned = append(w.report.Unowned, UnownedFate{"/" + e.Path, reason})
	}
}

// whyGone says why a unit file went that nobody named.
func (w *trimming) whyGone(f ServiceFate) string {
	if f.Package != "" {
		if _, kept := w.plan.kept[f.Package]; !kept {
			return fmt.Sprintf("%s was removed", f.Package)
		}
	}
	return "what it leads to was removed"
}

// owner returns the ID of the package that owns a path, or "".
func (w *trimming) owner(path string) string {
	if owners := w.database.Owners(path); len(owners) > 0 {
		return owners[0]
	}
	return ""
}

// counts counts what a tree has.
func counts(t *tree.Tree, packages int, units []services.UnitFile) Counts {
	c := Counts{Packages: packages, Services: len(units), Bytes: t.Bytes(), States: map[string]int{}}
	for _, e := range t.Entries() {
		if e.Type == tree.Directory {
			continue
		}
		c.Files++
		if _, _, ok := moduleOf(e.Path); ok {
			c.Modules++
		}
	}
	for _, u := range units {
		c.States[u.State]++
	}
	return c
}

// filesOf counts the entries among paths that are no directories, and the bytes of regular files, hard linked ones
// once.
func filesOf(t *tree.Tree, paths []string) (files int, bytes int64) {
	seen := map[uint32]bool{}
	for _, p := range paths {
		e, ok := t.Lookup(relative(p))
		if !ok || e.Type == tree.Directory {
			continue
		}
		files++
		if e.Link == 0 || !seen[e.Link] {
			bytes += e.Size
		}
		seen[e.Link] = true
	}
	return files, bytes
}
