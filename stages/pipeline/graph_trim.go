package pipeline

import (
	"context"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/profiles"
	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/containers"
	"github.com/imagefactory/imagefactory/stages/guard"
	"github.com/imagefactory/imagefactory/stages/initramfs"
	"github.com/imagefactory/imagefactory/stages/provenance"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/services"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
	"github.com/imagefactory/imagefactory/stages/trim"
)

// trimmed adds the stages that trim the root full and give it the initial RAM file systems
// which generate adds a stage for.
func (b *builder) trimmed(full *stages.Handle[rootfs.Root], o initramfs.Options, generate func(*stages.Handle[rootfs.Root]) *stages.Handle[rootfs.Root]) (*stages.Handle[rootfs.Root], error) {
	options := b.trimOptions()
	profile, err := profiles.Load(options.Profile)
	if err != nil {
		return nil, &RecipeError{err}
	}
	trimmed := stages.Add(b.graph.Graph, stages.Stage{
		Name: recipes.StageTrim, Kind: "trim", Version: trim.Version,
		Inputs: []stages.Input{{Name: "trim", Value: options}, {Name: "profile", Value: profile}},
		Needs:  []stages.Node{full},
	}, func(ctx context.Context, run *stages.Run) (trim.Result, error) {
		return trim.Run(ctx, run, full.Result(), options)
	})
	b.graph.trimmed = trimmed
	b.record(step{
		stage: trimmed.Name(), node: trimmed, kind: provenance.Block, name: recipes.StageTrim,
		root: func() rootfs.Root { return trimmed.Result().Root }, claims: always(provenance.PackageDatabase()),
	})

	// Apart from trimming, so that the generator runs again only when drivers change. What is
	// over budget is said before it runs: it takes longer than all the rest.
	budget := b.budget()
	prepared := stages.Add(b.graph.Graph, stages.Stage{
		Name: "drivers", Kind: "drivers", Version: trimmedVersion,
		Inputs: []stages.Input{{Name: "budget", Value: budget}},
		Needs:  []stages.Node{full, trimmed},
	}, func(_ context.Context, run *stages.Run) (rootfs.Root, error) {
		report, err := trim.LoadReport(run.Cache.Store, trimmed.Result().Report)
		if err != nil {
			return rootfs.Root{}, err
		}
		if err := budget.Check(report, 0); err != nil {
			return rootfs.Root{}, err
		}
		return combine(run.Cache.Store, full.Result(), trimmed.Result().Root, initramfs.WithDrivers)
	})
	made := generate(prepared)

	done := stages.Add(b.graph.Graph, stages.Stage{
		Name: "trimmed", Kind: "trimmed", Version: trimmedVersion,
		Inputs: []stages.Input{{Name: "generator", Value: []string{o.Kernel, o.Image}}},
		Needs:  []stages.Node{trimmed, made},
	}, func(_ context.Context, run *stages.Run) (rootfs.Root, error) {
		return combine(run.Cache.Store, made.Result(), trimmed.Result().Root, func(made, trimmed *tree.Tree) (*tree.Tree, error) {
			return initramfs.Transfer(made, trimmed, o)
		})
	})
	b.step(provenance.Generated, recipes.StageInitramfs, done)
	return done, nil
}

// combine saves what make makes of two roots.
func combine(st *store.Store, a, b rootfs.Root, make func(a, b *tree.Tree) (*tree.Tree, error)) (rootfs.Root, error) {
	x, err := a.Load(st)
	if err != nil {
		return rootfs.Root{}, err
	}
	y, err := b.Load(st)
	if err != nil {
		return rootfs.Root{}, err
	}
	t, err := make(x, y)
	if err != nil {
		return rootfs.Root{}, err
	}
	return rootfs.Save(st, t)
}

// trimmedVersion is the version of the code of the stage that puts the trimmed root together.
const trimmedVersion = 1

// trimOptions returns what the recipe says about trimming.
func (b *builder) trimOptions() trim.Options {
	t := b.recipe.Trim
	o := trim.Options{
		Profile: t.Profile, Keep: t.Keep, Remove: t.Remove, Paths: t.Paths, Requested: b.requested(),
		Services: services.Changes{Enable: t.Services.Enable, Disable: t.Services.Disable, Mask: t.Services.Mask, Remove: t.Services.Remove},
		Modules:  t.Modules, Epoch: b.epoch,
	}
	for _, e := range t.Exceptions {
		o.Exceptions = append(o.Exceptions, guard.Exception{Kind: e.Kind, Path: e.Path, Need: e.Need, Reason: e.Reason})
	}
	if len(b.recipe.Containers) > 0 {
		for _, dir := range containers.Stores() {
			o.Exceptions = append(o.Exceptions, guard.Exception{Path: dir + "/**", Reason: "what container images hold runs with their own files"})
		}
	}
	return o
}

// requested returns the packages that the recipe names. A group of packages stands for
// those it led to that nothing else needs.
func (b *builder) requested() []string {
	var names []string
	groups := false
	for _, name := range b.recipe.Rootfs.Packages {
		if strings.HasPrefix(name, "@") {
			groups = true
			continue
		}
		names = append(names, name)
	}
	for _, p := range b.lock.Packages {
		if groups && !p.Auto && !slices.Contains(names, p.Name) {
			names = append(names, p.Name)
		}
	}
	return names
}

// budget returns the recipe's bounds of the image.
func (b *builder) budget() trim.Budget {
	if b.recipe.Trim == nil {
		return trim.Budget{}
	}
	return trim.Budget(b.recipe.Trim.Budget)
}
