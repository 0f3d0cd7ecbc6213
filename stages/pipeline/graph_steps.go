package pipeline

import (
	"context"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/containers"
	"github.com/imagefactory/imagefactory/stages/grub"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/provenance"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/store"
)

// step is a stage that changed the root.
type step struct {
	stage    string
	node     stages.Node
	kind     provenance.Kind
	name     string
	root     func() rootfs.Root
	claims   func(context.Context, *store.Store) ([]provenance.Claim, error)
	packages *stages.Handle[packages.Output] // which it unpacked; nil: none
	sources  *stages.Handle[packages.Output] // which it took single files from; nil: none
}

// step records that a stage made the root what it is after it.
func (b *builder) step(kind provenance.Kind, name string, h *stages.Handle[rootfs.Root], claims ...provenance.Claim) *step {
	return b.record(step{stage: h.Name(), node: h, kind: kind, name: name, root: h.Result, claims: always(claims)})
}

// always returns claims that are known before the build runs.
func always(claims []provenance.Claim) func(context.Context, *store.Store) ([]provenance.Claim, error) {
	return func(context.Context, *store.Store) ([]provenance.Claim, error) { return claims, nil }
}

func (b *builder) record(s step) *step {
	b.graph.steps = append(b.graph.steps, s)
	return &b.graph.steps[len(b.graph.steps)-1]
}

// bootStep records a stage whose result is the root and more.
func (b *builder) bootStep(name string, h *stages.Handle[grub.Installed], sources *stages.Handle[packages.Output]) {
	b.record(step{
		stage: h.Name(), node: h, kind: provenance.Generated, name: name, sources: sources,
		root: func() rootfs.Root { return h.Result().Root }, claims: always(nil),
	})
}

// containerClaims says which of the recipe's container images the blobs of containerd's
// content store belong to.
func (b *builder) containerClaims(context.Context, *store.Store) ([]provenance.Claim, error) {
	var claims []provenance.Claim
	for i, h := range b.graph.containers {
		im := h.Result()
		if im.Runtime != containers.Containerd {
			continue
		}
		origin := provenance.Origin{Kind: provenance.Block, Name: containerBlock(b.recipe.Containers[i])}
		blobs := []containers.Blob{im.Top, im.Manifest, im.Config}
		for _, l := range im.Layers {
			blobs = append(blobs, l.Blob)
		}
		for _, blob := range blobs {
			claims = append(claims, provenance.Claim{Path: containers.BlobPath(blob.Digest), Origin: origin})
		}
	}
	return claims, nil
}

// stepNodes returns the stages that changed the root, and those whose packages they took.
func (g *graph) stepNodes() []stages.Node {
	var nodes []stages.Node
	seen := map[stages.Node]bool{}
	add := func(n stages.Node) {
		if !seen[n] {
			seen[n] = true
			nodes = append(nodes, n)
		}
	}
	for _, s := range g.steps {
		add(s.node)
		if s.packages != nil {
			add(s.packages)
		}
		if s.sources != nil {
			add(s.sources)
		}
	}
	for _, c := range g.containers {
		add(c)
	}
	return nodes
}

// attribute says where every path of the finished root comes from. All stages have run.
func (b *builder) attribute(ctx context.Context, st *store.Store) (*provenance.Attribution, error) {
	var list []provenance.Step
	for _, s := range b.graph.steps {
		claims, err := s.claims(ctx, st)
		if err != nil {
			return nil, err
		}
		p := provenance.Step{Stage: s.stage, Kind: s.kind, Name: s.name, Tree: s.root().Tree, Claims: claims}
		if s.packages != nil {
			p.Packages = s.packages.Result().Packages
		}
		if s.sources != nil {
			p.Sources = s.sources.Result().Packages
		}
		if b.graph.packages == nil && len(list) == 0 { // a program installed them, or the root came whole
			database, err := readDatabase(st, s.root())
			if err != nil {
				return nil, err
			}
			p.Installed = database
		}
		list = append(list, p)
	}
	return provenance.Attribute(ctx, st, list)
}
