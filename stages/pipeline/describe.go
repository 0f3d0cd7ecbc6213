package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/report"
	"github.com/imagefactory/imagefactory/scan"
	"github.com/imagefactory/imagefactory/stages/emit"
	"github.com/imagefactory/imagefactory/stages/harden"
	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/services"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
	"github.com/imagefactory/imagefactory/stages/trim"
)

// writeBills writes the bills of materials into the output directory and returns their
// paths.
func (env *Environment) writeBills(r *recipes.Recipe, g *graph) ([]string, error) {
	var paths []string
	for _, f := range []struct {
		extension string
		digest    store.Digest
	}{{"spdx.json", g.bills.Result().SPDX}, {"cdx.json", g.bills.Result().CycloneDX}} {
		data, err := env.Cache.Store.ReadAll(f.digest)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(env.Options.OutputDir, fmt.Sprintf("%s-%s-%s.%s", r.Name, r.Version, r.Arch, f.extension))
		if err := emit.WriteFile(path, data); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// kept tells which of the lock's packages are in the finished root, and writes into the
// manifest what trimming did.
func (env *Environment) kept(g *graph, m *emit.Manifest) (func(recipes.LockedPackage) bool, error) {
	if g.trimmed == nil {
		return func(recipes.LockedPackage) bool { return true }, nil
	}
	report, err := trim.LoadReport(env.Cache.Store, g.trimmed.Result().Report)
	if err != nil {
		return nil, err
	}
	counts := func(c trim.Counts) emit.ManifestCounts {
		return emit.ManifestCounts{Packages: c.Packages, Services: c.Services, Files: c.Files, Bytes: c.Bytes, Modules: c.Modules}
	}
	m.Trim = &emit.ManifestTrim{Profile: report.Profile, Before: counts(report.Before), After: counts(report.After)}
	kept := map[[2]string]bool{}
	for _, p := range report.Packages {
		kept[[2]string{p.Name, p.Arch}] = p.Kept
	}
	return func(p recipes.LockedPackage) bool {
		stays, known := kept[[2]string{p.Name, p.Arch}]
		return stays || !known
	}, nil
}

// System is what a recipe's finished root is made of, and where it comes from.
type System struct {
	Name, Version, Arch string // of the image
	Store               *store.Store
	Tree                *tree.Tree // the finished root
	Before              *tree.Tree // before it was trimmed; nil when the recipe does not trim
	// Installed are the packages before trimming, or those of a root that is not trimmed; nil
	// where there never was a database of packages.
	Installed *installed.Database
	// Kept are the packages of the finished root.
	Kept    *installed.Database
	Report  *trim.Report    // nil when the recipe does not trim
	Budget  *trim.Budget    // nil likewise
	Outputs []report.Output // of an earlier build, where its manifest is that of this recipe
	Cmdline []string        // of the kernel
	Harden  *harden.Options // of the recipe; nil when it does not harden

	builder *builder
	stages  []report.Stage // nil until they are counted
}

// System builds a recipe up to its finished root, without any output.
func (env *Environment) System(ctx context.Context, r *recipes.Recipe) (*System, error) {
	p, err := env.prepare(ctx, r)
	if err != nil {
		return nil, err
	}
	if _, err := p.Run(ctx, p.name, env.Options.Sink, append(p.stepNodes(), p.finished)...); err != nil {
		return nil, err
	}
	return p.graph.builder.finishedSystem()
}

// finishedSystem collects what there is to say about a root that was built.
func (b *builder) finishedSystem() (*System, error) {
	r, g, st := b.recipe, b.graph, b.env.Cache.Store
	s := &System{Name: r.Name, Version: r.Version, Arch: r.Arch, Store: st, Cmdline: g.cmdline, builder: b}
	if r.Harden != nil {
		o := hardenOptions(r, b.epoch)
		s.Harden = &o
	}
	var err error
	if s.Tree, err = g.finished.Result().Root.Load(st); err != nil {
		return nil, err
	}
	if s.Installed, err = readDatabase(st, g.untrimmed.Result()); err != nil {
		return nil, err
	}
	if s.Kept, err = g.installed(st, s.Installed); err != nil {
		return nil, err
	}
	if g.trimmed != nil {
		if s.Before, err = g.untrimmed.Result().Load(st); err != nil {
			return nil, err
		}
		rep, err := trim.LoadReport(st, g.trimmed.Result().Report)
		if err != nil {
			return nil, err
		}
		budget := b.budget()
		s.Report, s.Budget = &rep, &budget
	}
	s.Outputs = b.env.outputs(r)
	return s, nil
}

// outputs returns what an earlier build of the recipe left in the output directory.
func (env *Environment) outputs(r *recipes.Recipe) []report.Output {
	m, err := emit.ReadManifest(filepath.Join(env.Options.OutputDir, emit.ManifestName))
	if err != nil || m.Name != r.Name || m.Version != r.Version || m.Arch != r.Arch {
		return nil
	}
	digest, err := r.Digest()
	if err != nil || digest != m.Recipe.String() {
		return nil
	}
	var list []report.Output
	for _, o := range m.Outputs {
		list = append(list, report.Output{Format: o.Format, File: o.File, Size: o.Size, VirtualSize: o.VirtualSize})
	}
	return list
}

// countStages counts what the root had after each stage, once.
func (s *System) countStages() ([]report.Stage, error) {
	if s.stages != nil {
		return s.stages, nil
	}
	var list []report.Stage
	for _, step := range s.builder.graph.steps {
		t, err := step.root().Load(s.Store)
		if err != nil {
			return nil, err
		}
		counts, err := trim.Count(s.Store, t)
		if err != nil {
			return nil, fmt.Errorf("after %s: %w", step.stage, err)
		}
		if counts.Packages == 0 && s.Kept != nil {
			counts.Packages = len(s.Kept.Packages) // the database is gone, they are not
		}
		list = append(list, report.Stage{Name: step.stage, Counts: counts})
	}
	s.stages = list
	return list, nil
}

// origins returns what says for people where an absolute path comes from; "" when it is not
// known.
func (s *System) origins(ctx context.Context) (func(path string) string, error) {
	attribution, err := s.builder.attribute(ctx, s.Store)
	if err != nil {
		return nil, err
	}
	return func(path string) string {
		o, ok := attribution.Origin(path)
		if !ok {
			return ""
		}
		return o.String()
	}, nil
}

// Trimming returns what trimming did. The error says that the recipe does not trim.
func (s *System) Trimming() (*report.Trimming, error) {
	if s.Report == nil {
		return nil, &RecipeError{fmt.Errorf("the recipe has no trim block, so nothing is trimmed; write: trim { profile = %q }", "container-host")}
	}
	stages, err := s.countStages()
	if err != nil {
		return nil, err
	}
	return &report.Trimming{Schema: report.TrimSchema, Name: s.Name, Stages: stages, Report: *s.Report}, nil
}

// Page returns what the page about the image shows. A recipe that hardens has the findings
// of a scan on it.
func (s *System) Page(ctx context.Context, tool string) (report.Page, error) {
	page := report.Page{
		Name: s.Name, Version: s.Version, Arch: s.Arch, Tool: tool, After: s.Tree, Database: s.Installed, Before: s.Before,
		Report: s.Report, Outputs: s.Outputs, Budget: s.Budget,
	}
	var err error
	if page.Stages, err = s.countStages(); err != nil {
		return page, err
	}
	if page.Origin, err = s.origins(ctx); err != nil {
		return page, err
	}
	if s.Harden == nil {
		return page, nil
	}
	result, err := s.Scan(ctx, "")
	if err != nil {
		return page, err
	}
	for _, rule := range result.Rules {
		var evidence []string
		for _, e := range rule.Evidence {
			evidence = append(evidence, e.String())
		}
		page.Checks = append(page.Checks, report.Check{
			ID: rule.ID, Title: rule.Title, Severity: string(rule.Severity), Result: string(rule.Status),
			Evidence: cmp.Or(strings.Join(evidence, "\n"), rule.Explanation),
		})
	}
	return page, nil
}

// Why says why a package, an absolute path or a unit is in the image, or why it is not.
func (s *System) Why(ctx context.Context, what string) (trim.Explanation, error) {
	origin, err := s.origins(ctx)
	if err != nil {
		return trim.Explanation{}, err
	}
	rep := trim.Report{}
	if s.Report != nil {
		rep = *s.Report
	}
	return trim.Explainer{Report: rep, Database: s.Installed, Tree: s.Tree, Origin: origin}.Why(what)
}

// Snapshot returns the system as it is compared with others. name is for people.
func (s *System) Snapshot(name string) (report.Snapshot, error) {
	snapshot := report.Snapshot{
		Name: name, Version: s.Version, Arch: s.Arch, Tree: s.Tree, Store: s.Store, Kernels: report.Kernels(s.Tree), Outputs: s.Outputs,
	}
	if s.Kept != nil {
		snapshot.Family, snapshot.Packages = s.Kept.Family, report.PackagesOf(s.Kept)
	}
	units, err := services.List(s.Store, s.Tree)
	if err != nil {
		return snapshot, err
	}
	snapshot.Services = report.ServicesOf(units)
	return snapshot, nil
}

// DefaultBaseline is the profile of package baselines by which an image is scanned when
// nothing names one.
const DefaultBaseline = "baseline"

// Scan checks the finished root by the rules of the recipe's harden block, or of a profile
// of package baselines when it has none or one is named.
func (s *System) Scan(ctx context.Context, profile string) (*scan.Result, error) {
	o := harden.Options{Profile: cmp.Or(profile, DefaultBaseline)}
	if profile == "" && s.Harden != nil {
		o = *s.Harden
	}
	rules, err := o.Rules()
	if err != nil {
		return nil, &RecipeError{err}
	}
	options := scan.Options{Name: s.Name, Profile: o.Profile, Cmdline: s.Cmdline}
	if s.Kept != nil {
		options.Owners = s.Kept.Owners
	}
	return scan.Tree(ctx, s.Store, s.Tree, rules, options)
}
