package pipeline

import (
	"context"
	"path/filepath"

	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/importer"
	"github.com/imagefactory/imagefactory/stages/provenance"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/store"
)

// resolveImage finds out which container image the recipe's reference means now.
func (env *Environment) resolveImage(ctx context.Context, r *recipes.Recipe) (*recipes.LockedImage, error) {
	pinned, err := importer.ResolveImage(ctx, env.imageOptions(r))
	if err != nil {
		return nil, err
	}
	return &recipes.LockedImage{Reference: r.Rootfs.ImageReference, Digest: pinned.Digest.String()}, nil
}

func (env *Environment) imageOptions(r *recipes.Recipe) importer.ImageOptions {
	return importer.ImageOptions{Reference: r.Rootfs.Image, Arch: r.Arch, Offline: env.Options.Offline}
}

// imported records that the root came whole.
func (b *builder) imported(root *stages.Handle[rootfs.Root]) *stages.Handle[rootfs.Root] {
	name := b.recipe.Rootfs.ImageReference
	if b.recipe.Rootfs.Installer == recipes.InstallerArchive {
		name = filepath.Base(b.recipe.Rootfs.Archive)
	}
	b.step(provenance.Import, name, root)
	return root
}

// importArchive adds the stage that makes the root of a tar archive.
func (b *builder) importArchive() *stages.Handle[rootfs.Root] {
	digest, err := store.ParseDigest(b.recipe.Rootfs.ArchiveDigest)
	if err != nil {
		panic("pipeline: a validated recipe has the archive digest " + b.recipe.Rootfs.ArchiveDigest)
	}
	return stages.Add(b.graph.Graph, stages.Stage{
		Name: recipes.StageRootfs, Kind: "archive", Version: importer.ArchiveVersion,
		Inputs: []stages.Input{{Name: "archive", Value: digest.Hex()}},
	}, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return importer.Archive(ctx, run, b.recipe.Rootfs.Archive, digest)
	})
}

// importImage adds the stage that makes the root of a container image.
func (b *builder) importImage() *stages.Handle[rootfs.Root] {
	digest, err := store.ParseDigest(b.lock.Image.Digest)
	if err != nil {
		panic("pipeline: a checked lock has the image digest " + b.lock.Image.Digest)
	}
	return stages.Add(b.graph.Graph, stages.Stage{
		Name: recipes.StageRootfs, Kind: "image", Version: importer.ImageVersion,
		Inputs: []stages.Input{{Name: "image", Value: digest.Hex()}},
	}, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return importer.Image(ctx, run, b.env.imageOptions(b.recipe), digest, b.env.Cache.Downloads())
	})
}
