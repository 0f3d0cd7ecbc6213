package pipeline

import (
	"context"

	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/harden"
	"github.com/imagefactory/imagefactory/stages/provenance"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/store"
)

// harden adds the stage that hardens root, where the recipe wants it, and returns the last.
func (b *builder) harden(root *stages.Handle[rootfs.Root]) (*stages.Handle[rootfs.Root], error) {
	if b.recipe.Harden == nil {
		return root, nil
	}
	o := hardenOptions(b.recipe, b.epoch)
	rules, err := o.Rules()
	if err != nil {
		return nil, &RecipeError{err}
	}
	hardened := stages.Add(b.graph.Graph, stages.Stage{
		Name: recipes.StageHarden, Kind: "harden", Version: harden.Version,
		Inputs: []stages.Input{{Name: "harden", Value: o}, {Name: "rules", Value: rules}},
		Needs:  []stages.Node{root},
	}, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return harden.Run(ctx, run, root.Result(), o)
	})
	b.step(provenance.Block, recipes.StageHarden, hardened).claims = func(ctx context.Context, st *store.Store) ([]provenance.Claim, error) {
		t, err := root.Result().Load(st)
		if err != nil {
			return nil, err
		}
		_, changes, err := harden.Apply(ctx, st, t, rules, b.epoch)
		return provenance.Hardened(changes), err
	}
	return hardened, nil
}

// hardenOptions returns what the recipe says about hardening.
func hardenOptions(r *recipes.Recipe, epoch int64) harden.Options {
	return harden.Options{Profile: r.Harden.Profile, Skip: r.Harden.Skip, Set: r.Harden.Set, Epoch: epoch}
}
