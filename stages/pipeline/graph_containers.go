package pipeline

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/containers"
	"github.com/imagefactory/imagefactory/stages/provenance"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/store"
)

// containerSource returns a container image of the recipe as package containers takes it.
func containerSource(r *recipes.Recipe, c recipes.Container) containers.Source {
	return containers.Source{
		Reference: c.Source, Name: c.Name, Arch: r.Arch, Runtime: c.Runtime, Namespace: c.Namespace, Insecure: c.Insecure,
	}
}

// resolveContainers finds out what the references of the recipe's container images mean now.
func (env *Environment) resolveContainers(ctx context.Context, r *recipes.Recipe) ([]recipes.LockedContainer, error) {
	var list []recipes.LockedContainer
	for _, c := range r.Containers {
		if slices.ContainsFunc(list, func(l recipes.LockedContainer) bool { return l.Reference == c.SourceReference }) {
			continue // the same image for another runtime
		}
		pinned, err := containers.Resolve(ctx, containerSource(r, c), env.Options.Offline)
		if err != nil {
			return nil, err
		}
		list = append(list, recipes.LockedContainer{Reference: c.SourceReference, Digest: pinned.Digest.String(), Manifest: pinned.Manifest.String()})
	}
	slices.SortFunc(list, func(a, b recipes.LockedContainer) int { return cmp.Compare(a.Reference, b.Reference) })
	return list, nil
}

// containers adds the stages that fetch the recipe's container images and put them in
// place, and returns the last.
func (b *builder) containers(root *stages.Handle[rootfs.Root]) *stages.Handle[rootfs.Root] {
	if len(b.recipe.Containers) == 0 {
		return root
	}
	needs := []stages.Node{root}
	for _, c := range b.recipe.Containers {
		source := containerSource(b.recipe, c)
		pinned := b.pinned(c)
		pulled := stages.Add(b.graph.Graph, stages.Stage{
			Name: strings.Join(slices.DeleteFunc([]string{"container", c.Runtime, c.Namespace, containerName(c)}, func(s string) bool { return s == "" }), " "), Kind: "container", Version: containers.PullVersion,
			// Where the image lies does not matter: the digest says what it is.
			Inputs: []stages.Input{
				{Name: "digests", Value: []string{pinned.Digest.Hex(), pinned.Manifest.Hex()}}, {Name: "name", Value: c.Name}, {Name: "reference", Value: c.SourceReference},
				{Name: "arch", Value: b.recipe.Arch}, {Name: "runtime", Value: []string{c.Runtime, c.Namespace}},
			},
		}, func(ctx context.Context, run *stages.Run) (containers.Image, error) {
			return containers.Pull(ctx, run, source, pinned, containers.PullOptions{Offline: b.env.Options.Offline, Downloads: b.env.Cache.Downloads()})
		})
		b.graph.containers = append(b.graph.containers, pulled)
		needs = append(needs, pulled)
	}
	o := containers.Options{Epoch: b.epoch}
	placed := stages.Add(b.graph.Graph, stages.Stage{
		Name: recipes.StageContainers, Kind: "containers", Version: containers.Version,
		Inputs: []stages.Input{{Name: "options", Value: o}},
		Needs:  needs,
	}, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		images := make([]containers.Image, len(b.graph.containers))
		for i, h := range b.graph.containers {
			images[i] = h.Result()
		}
		return containers.Run(ctx, run, root.Result(), images, o)
	})
	b.step(provenance.Block, "container", placed).claims = b.containerClaims
	return placed
}

// pinned returns what the lock says a container image of the recipe is.
func (b *builder) pinned(c recipes.Container) (p containers.Pinned) {
	locked := b.lock.Container(c.SourceReference)
	var err, err2 error
	p.Digest, err = store.ParseDigest(locked.Digest)
	p.Manifest, err2 = store.ParseDigest(locked.Manifest)
	if err != nil || err2 != nil {
		panic("pipeline: a checked lock does not pin " + c.SourceReference)
	}
	return p
}
