package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/grub"
	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/provenance"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/sbom"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/trim"
)

// bills are the bills of materials of an image.
type bills struct {
	SPDX      store.Digest `json:"spdx"`
	CycloneDX store.Digest `json:"cyclonedx"`
}

// describe adds the stage that writes the bills of materials of the finished root.
func (b *builder) describe(finished *stages.Handle[grub.Installed]) error {
	b.graph.finished = finished
	// Names of blocks and scripts are in the bills.
	recipe, err := b.recipe.Digest()
	if err != nil {
		return err
	}
	recipe = strings.TrimPrefix(recipe, "sha256:")
	esp := ""
	for _, p := range b.graph.partitions {
		if p.ESP {
			esp = cmp.Or(p.Mount, "/["+p.Label+"]") // as paths of a partition that is mounted nowhere are written
		}
	}
	tool := sbom.Tool{Name: "imagefactory", Version: b.env.Options.Tool}
	b.graph.bills = stages.Add(b.graph.Graph, stages.Stage{
		Name: "sbom", Kind: "sbom", Version: sbom.Version + describeVersion<<8,
		Inputs: []stages.Input{
			{Name: "recipe", Value: []string{filepath.Base(b.recipe.Path), recipe}}, {Name: "tool", Value: tool},
			{Name: "packages", Value: b.lock.Packages}, {Name: "esp", Value: esp}, {Name: "epoch", Value: b.epoch},
		},
		Needs: b.graph.stepNodes(),
	}, func(ctx context.Context, run *stages.Run) (bills, error) {
		in, err := b.billInput(ctx, run.Cache.Store, finished.Result(), recipe, esp)
		if err != nil {
			return bills{}, err
		}
		in.Tool = tool
		document, err := sbom.New(ctx, run.Cache, in)
		if err != nil {
			return bills{}, err
		}
		var out bills
		for _, f := range []struct {
			write func(*sbom.Document) ([]byte, error)
			to    *store.Digest
		}{{sbom.SPDX, &out.SPDX}, {sbom.CycloneDX, &out.CycloneDX}} {
			data, err := f.write(document)
			if err != nil {
				return bills{}, err
			}
			if *f.to, err = run.Cache.Store.Put(data); err != nil {
				return bills{}, err
			}
		}
		return out, nil
	})
	return nil
}

// describeVersion is the version of billInput's code; see stages.Stage.
const describeVersion = 2

// billInput collects what the bills of materials say.
func (b *builder) billInput(ctx context.Context, st *store.Store, finished grub.Installed, recipe, esp string) (sbom.Input, error) {
	r := b.recipe
	in := sbom.Input{
		Name: r.Name, Version: r.Version, Arch: r.Arch, Epoch: b.epoch, Root: finished.Root.Tree, Recipe: sbom.Recipe{Name: filepath.Base(r.Path), SHA256: recipe},
		System: sbom.System{ID: r.Distro.Name, Name: r.Distro.Title, Title: r.Distro.Title},
		Key:    stages.Key("bill of materials", 1, []any{b.seed, finished.Root.Tree.Hex(), finished.ESP.Hex()}),
	}
	for _, p := range b.lock.Packages {
		in.Archives = append(in.Archives, sbom.Archive{Name: p.Name, Version: p.Version, Arch: p.Arch, SHA256: p.SHA256, FileName: path.Base(p.Filename)})
	}
	for i, h := range b.graph.containers {
		im, c := h.Result(), r.Containers[i]
		in.Containers = append(in.Containers, sbom.Container{
			Reference: containerName(c), Digest: im.Top.Digest, Runtime: im.Runtime, Arch: im.Arch, Block: containerBlock(c),
		})
	}
	var err error
	if in.Attribution, err = b.attribute(ctx, st); err != nil {
		return in, err
	}
	if !finished.ESP.IsZero() && esp != "" {
		part, err := b.attributeESP(ctx, st, finished.ESP)
		if err != nil {
			return in, err
		}
		in.Mounts = []sbom.Mount{{At: esp, Tree: finished.ESP}}
		in.Attribution = in.Attribution.Join(esp, part)
	}
	full, err := b.graph.untrimmed.Result().Load(st)
	if err != nil {
		return in, err
	}
	if in.Before, err = readDatabase(st, b.graph.untrimmed.Result()); err != nil || in.Before == nil {
		return in, err
	}
	if in.Installed, err = b.graph.installed(st, in.Before); err != nil {
		return in, err
	}
	in.Licenses, err = sbom.Licenses(ctx, st, full, in.Before)
	return in, err
}

// attributeESP says where the files of the EFI system partition come from.
func (b *builder) attributeESP(ctx context.Context, st *store.Store, esp store.Digest) (*provenance.Attribution, error) {
	step := provenance.Step{Stage: "boot", Kind: provenance.Generated, Name: "boot loader", Tree: esp}
	for _, s := range b.graph.steps {
		for _, h := range []*stages.Handle[packages.Output]{s.packages, s.sources} {
			if h != nil {
				step.Sources = append(step.Sources, h.Result().Packages...)
			}
		}
	}
	return provenance.Attribute(ctx, st, []provenance.Step{step})
}

// installed returns the packages of the finished root; nil where there is no database of
// them. full are those before trimming: a database that trimming dropped still tells what
// stayed.
func (g *graph) installed(st *store.Store, full *installed.Database) (*installed.Database, error) {
	if full == nil || g.trimmed == nil {
		return full, nil
	}
	after, err := readDatabase(st, g.trimmed.Result().Root)
	if err != nil || after != nil {
		return after, err
	}
	report, err := trim.LoadReport(st, g.trimmed.Result().Report)
	if err != nil {
		return nil, err
	}
	return full.Subset(func(p *installed.Package) bool {
		fate := report.Package(p.ID)
		return fate != nil && fate.Kept
	}), nil
}

// readDatabase returns the database of installed packages of a root; nil when it has none.
func readDatabase(st *store.Store, root rootfs.Root) (*installed.Database, error) {
	t, err := root.Load(st)
	if err != nil {
		return nil, err
	}
	database, err := installed.Read(st, t)
	if errors.Is(err, installed.ErrNoDatabase) {
		return nil, nil
	}
	return database, err
}

// containerName is how messages call a container image of the recipe.
func containerName(c recipes.Container) string {
	if c.Name != "" {
		return c.Name
	}
	return c.SourceReference
}

// containerBlock is the block of a container image, as provenance names blocks.
func containerBlock(c recipes.Container) string { return fmt.Sprintf("container %q", containerName(c)) }
