package pipeline

import (
	"context"
	"errors"

	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/filesystems"
	"github.com/imagefactory/imagefactory/stages/grub"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// image adds the stages that write the file systems and compose the disk.
func (b *builder) image(installed *stages.Handle[grub.Installed], images *stages.Handle[grub.Images]) {
	o := filesystems.Options{Epoch: b.epoch}
	for _, p := range b.graph.partitions {
		if p.Filesystem != "" {
			o.Partitions = append(o.Partitions, p)
		}
	}
	b.graph.filesystems = stages.Add(b.graph.Graph, stages.Stage{
		Name: "filesystems", Kind: "filesystems", Version: filesystems.Version,
		Inputs: []stages.Input{{Name: "disk.size", Value: b.recipe.Disk.Size}, {Name: "disk.partitions", Value: o}},
		Needs:  []stages.Node{installed},
	}, func(ctx context.Context, run *stages.Run) (filesystems.Output, error) {
		root, err := installed.Result().Root.Load(run.Cache.Store)
		if err != nil {
			return filesystems.Output{}, err
		}
		var esp *tree.Tree
		if d := installed.Result().ESP; !d.IsZero() {
			if esp, err = tree.Load(run.Cache.Store, d); err != nil {
				return filesystems.Output{}, err
			}
		}
		return filesystems.Run(ctx, run, root, esp, o)
	})

	guid := partition.UUID(b.seed, "disk")
	b.graph.disk = stages.Add(b.graph.Graph, stages.Stage{
		Name: "disk", Kind: "disk", Version: diskVersion,
		Inputs: []stages.Input{{Name: "disk.size", Value: b.recipe.Disk.Size}, {Name: "disk.partitions", Value: b.specs(nil)}, {Name: "guid", Value: guid}},
		Needs:  []stages.Node{b.graph.filesystems, images},
	}, func(ctx context.Context, run *stages.Run) (composed, error) {
		return b.compose(run.Cache.Store, guid, images.Result())
	})
}

// diskVersion is the version of compose's code; see stages.Stage.
const diskVersion = 1

// compose lays out the disk and puts everything in its place.
func (b *builder) compose(st *store.Store, guid partition.GUID, images grub.Images) (composed, error) {
	sizes := map[string]int64{}
	contents := partition.Contents{Partitions: map[int]disk.Image{}}
	for _, im := range b.graph.filesystems.Result().Images {
		image, err := disk.Load(st, im.Image)
		if err != nil {
			return composed{}, err
		}
		sizes[im.Label] = im.Size
		for i, p := range b.recipe.Disk.Partitions {
			if p.Label == im.Label {
				contents.Partitions[i+1] = image
			}
		}
	}
	layout, err := partition.Plan(b.recipe.Disk.Size, guid, b.specs(sizes))
	if err != nil {
		return composed{}, &RecipeError{err}
	}
	if !images.Core.IsZero() {
		if err := b.bootCode(st, layout, images, &contents); err != nil {
			return composed{}, err
		}
	}
	image, err := partition.Compose(st, layout, contents)
	if err != nil {
		return composed{}, err
	}
	digest, err := disk.Save(st, image)
	return composed{Image: digest, Layout: layout}, err
}

// bootCode adds GRUB for BIOS to a disk's contents.
func (b *builder) bootCode(st *store.Store, layout partition.Layout, images grub.Images, contents *partition.Contents) error {
	for i, p := range b.recipe.Disk.Partitions {
		if p.Role != recipes.RoleBIOS {
			continue
		}
		boot, err := st.ReadAll(images.BootImg)
		if err != nil {
			return err
		}
		core, err := st.ReadAll(images.Core)
		if err != nil {
			return err
		}
		placed := layout.Partitions[i]
		if int64(len(core)) > placed.Size {
			return &filesystems.SizeError{Label: p.Label, Need: int64(len(core)), Have: placed.Size}
		}
		if contents.BootCode, core, err = partition.BIOSBoot(boot, core, placed.Start/partition.SectorSize); err != nil {
			return err
		}
		contents.Partitions[i+1], err = partition.BytesImage(st, core, placed.Size)
		return err
	}
	return errors.New("the disk has no BIOS boot partition to put GRUB in")
}
