package pipeline

import (
	"fmt"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/containers"
	"github.com/imagefactory/imagefactory/stages/filesystems"
	"github.com/imagefactory/imagefactory/stages/grub"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/trim"
)

// graph is a build's stages and the handles to their results.
type graph struct {
	*stages.Graph
	packages    *stages.Handle[packages.Output] // nil where the root is not made of them
	containers  []*stages.Handle[containers.Image]
	untrimmed   *stages.Handle[rootfs.Root] // the last root before trimming
	trimmed     *stages.Handle[trim.Result] // nil when the recipe does not trim
	steps       []step                      // the roots, in order
	filesystems *stages.Handle[filesystems.Output]
	images      *stages.Handle[grub.Images]
	disk        *stages.Handle[composed]
	media       *mediaParts // nil when the recipe has no installation media
	outputs     []*stages.Handle[written]
	finished    *stages.Handle[grub.Installed] // the root as it is written
	bills       *stages.Handle[bills]
	builder     *builder
	cmdline     []string // of the kernel

	partitions []filesystems.Partition // in the order of the recipe, for the manifest
	scripts    []string                // names of those that run, in order
}

// composed is the result of the disk stage.
type composed struct {
	Image  store.Digest     `json:"image"` // a disk.Image
	Layout partition.Layout `json:"layout"`
}

// builder holds what the stages of one build are made from.
type builder struct {
	env    *Environment
	recipe *recipes.Recipe
	arch   distros.Architecture
	lock   *recipes.Lock
	keys   keyrings // of packages
	epoch  int64
	seed   store.Digest // of all identifiers
	dir    string       // where outputs go

	graph *graph
}

// seed returns what a build's identifiers derive from: which image it is and what
// it is made of. A rebuild with another script or another size keeps them.
func seed(r *recipes.Recipe, lock *recipes.Lock) store.Digest {
	identity := []any{r.Name, r.Version, r.Arch, r.Distro.Name, lock.Packages}
	if !r.Rootfs.TakesPackages() {
		identity = append(identity, r.Rootfs.ArchiveDigest, lock.Image)
	}
	return stages.Key("identifiers", 1, identity)
}

// newGraph adds the stages of a build.
func newGraph(env *Environment, r *recipes.Recipe, lock *recipes.Lock, keys keyrings, dir string) (*graph, error) {
	b, err := newBuilder(env, r, lock, keys, dir)
	if err != nil {
		return nil, err
	}
	root, err := b.system(b.root())
	if err != nil {
		return nil, err
	}
	installed, tools, images := b.boot(root)
	b.graph.images = images
	finished := b.label(installed)
	b.image(finished, images)
	// Installers need drivers that the installed system does not.
	if err := b.mediaStages(b.graph.untrimmed, tools); err != nil {
		return nil, err
	}
	b.emit()
	if err := b.describe(finished); err != nil {
		return nil, err
	}
	b.graph.builder = b
	return b.graph, nil
}

// newBuilder returns a builder with an empty graph and the partitions laid out.
func newBuilder(env *Environment, r *recipes.Recipe, lock *recipes.Lock, keys keyrings, dir string) (*builder, error) {
	arch, ok := r.Distro.Architecture(r.Arch)
	if !ok {
		return nil, fmt.Errorf("%s has no architecture %s", r.Distro.Name, r.Arch)
	}
	b := &builder{
		env: env, recipe: r, arch: arch, lock: lock, keys: keys, epoch: env.epoch(lock), seed: seed(r, lock), dir: dir,
		graph: &graph{Graph: stages.NewGraph(env.Cache)},
	}
	for _, p := range r.Disk.Partitions {
		// That of the partition which takes the rest is 0 until placeRest.
		b.graph.partitions = append(b.graph.partitions, filesystems.Partition{
			Label: p.Label, Filesystem: p.Filesystem, Size: p.Size, Mount: p.Mount, ESP: p.Role == recipes.RoleESP,
			UUID: partition.UUID(b.seed, "filesystem/"+p.Label), Features: r.Distro.Ext4.Features,
		})
	}
	return b, b.placeRest()
}

// placeRest gives the partition that takes the rest of the disk its size.
func (b *builder) placeRest() error {
	if b.recipe.Disk.Size == 0 {
		return nil
	}
	specs := b.specs(nil)
	layout, err := partition.Plan(b.recipe.Disk.Size, partition.GUID{}, specs)
	if err != nil {
		return &RecipeError{err}
	}
	for i, p := range b.recipe.Disk.Partitions {
		if p.Rest {
			b.graph.partitions[i].Size = layout.Partitions[i].Size
		}
	}
	return nil
}

// specs returns the partitions as wanted. sizes, by label, are those of file systems
// without a given size.
func (b *builder) specs(sizes map[string]int64) []partition.Spec {
	specs := make([]partition.Spec, len(b.recipe.Disk.Partitions))
	for i, p := range b.recipe.Disk.Partitions {
		specs[i] = partition.Spec{
			Number: i + 1, Label: p.Label, Type: typeOf(p, b.recipe.Arch), GUID: partition.UUID(b.seed, "partition/"+p.Label),
			Size: p.Size, Rest: p.Rest,
		}
		if p.Size == 0 {
			specs[i].Size = sizes[p.Label]
		}
	}
	return specs
}

// typeOf returns the partition type of p: what the recipe says, or what the role
// means (uapi-group.org's Discoverable Partitions Specification).
func typeOf(p recipes.Partition, arch string) partition.GUID {
	if p.TypeGUID != "" {
		guid, err := partition.ParseGUID(p.TypeGUID)
		if err != nil {
			panic("pipeline: a validated recipe has the type GUID " + p.TypeGUID)
		}
		return guid
	}
	switch p.Role {
	case recipes.RoleESP:
		return partition.TypeESP
	case recipes.RoleBIOS:
		return partition.TypeBIOSBoot
	case recipes.RoleBoot:
		return partition.TypeLinuxBoot
	case recipes.RoleRoot:
		if arch == "aarch64" {
			return partition.TypeLinuxRootARM64
		}
		return partition.TypeLinuxRootX86_64
	default:
		return partition.TypeLinux
	}
}
