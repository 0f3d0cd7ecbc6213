package pipeline

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/configure"
	"github.com/imagefactory/imagefactory/stages/customize"
	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/emit"
	"github.com/imagefactory/imagefactory/stages/emit/qcow2"
	"github.com/imagefactory/imagefactory/stages/filesystems"
	"github.com/imagefactory/imagefactory/stages/grub"
	"github.com/imagefactory/imagefactory/stages/initramfs"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/script"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// graph is a build's stages and the handles to their results.
type graph struct {
	*stages.Graph
	packages    *stages.Handle[packages.Output]
	filesystems *stages.Handle[filesystems.Output]
	images      *stages.Handle[grub.Images]
	disk        *stages.Handle[composed]
	outputs     []*stages.Handle[written]

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
	epoch  int64
	seed   store.Digest // of all identifiers
	dir    string       // where outputs go

	graph *graph
}

// seed returns what a build's identifiers derive from: which image it is and what
// it is made of. A rebuild with another script or another size keeps them.
func seed(r *recipes.Recipe, lock *recipes.Lock) store.Digest {
	return stages.Key("identifiers", 1, []any{r.Name, r.Version, r.Arch, r.Distro.Name, lock.Packages})
}

// newGraph adds the stages of a build.
func newGraph(env *Environment, r *recipes.Recipe, lock *recipes.Lock, dir string) (*graph, error) {
	b, err := newBuilder(env, r, lock, dir)
	if err != nil {
		return nil, err
	}
	pkgs := b.unpack("packages", lock.Packages, nil)
	b.graph.packages = pkgs
	root, err := b.system(pkgs)
	if err != nil {
		return nil, err
	}
	installed, images := b.boot(root)
	b.graph.images = images
	b.image(installed, images)
	b.emit()
	return b.graph, nil
}

// newBuilder returns a builder with an empty graph and the partitions laid out.
func newBuilder(env *Environment, r *recipes.Recipe, lock *recipes.Lock, dir string) (*builder, error) {
	arch, ok := r.Distro.Architecture(r.Arch)
	if !ok {
		return nil, fmt.Errorf("%s has no architecture %s", r.Distro.Name, r.Arch)
	}
	b := &builder{
		env: env, recipe: r, arch: arch, lock: lock, epoch: env.epoch(lock), seed: seed(r, lock), dir: dir,
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

// unpack adds the stage that fetches and unpacks locked packages, once the stages after
// have run.
func (b *builder) unpack(name string, locked []recipes.LockedPackage, after []stages.Node) *stages.Handle[packages.Output] {
	sources := make([]packages.Source, len(locked))
	for i, p := range locked {
		digest, err := store.ParseHex(p.SHA256)
		if err != nil {
			panic("pipeline: a checked lock has the digest " + p.SHA256)
		}
		sources[i] = packages.Source{
			Name: p.Name, Version: p.Version, Arch: p.Arch, Digest: digest, Size: p.Size, Auto: p.Auto,
			URLs: b.env.packageURLs(b.recipe, b.lock, p),
		}
	}
	return stages.Add(b.graph.Graph, stages.Stage{
		Name: name, Kind: "packages", Version: packages.Version,
		Inputs: []stages.Input{{Name: "packages", Value: sources}},
		After:  after,
	}, func(ctx context.Context, run *stages.Run) (packages.Output, error) {
		return packages.Run(ctx, run, b.env.client, packages.Deb{}, sources)
	})
}

// merge adds a stage that merges packages into a root.
func (b *builder) merge(name string, pkgs *stages.Handle[packages.Output], database bool) *stages.Handle[rootfs.Root] {
	options := rootfs.Options{Arch: b.arch.PackageArch, Links: b.arch.Links, Epoch: b.epoch, Database: database}
	return stages.Add(b.graph.Graph, stages.Stage{
		Name: name, Kind: "rootfs", Version: rootfs.Version,
		Inputs: []stages.Input{{Name: "options", Value: options}},
		Needs:  []stages.Node{pkgs},
	}, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return rootfs.Run(ctx, run, pkgs.Result().Packages, options)
	})
}

// session returns how target code runs in this build.
func (b *builder) session() session.Options {
	d := b.recipe.Distro
	o := session.Options{
		Env:   d.Scripts.Env,
		Clean: session.Rules{Remove: d.Clean.Remove, Truncate: d.Clean.Truncate},
		Epoch: b.epoch,
	}
	for _, f := range d.Scripts.Files {
		o.Files = append(o.Files, session.File{Path: f.Path, Content: f.Content, Mode: f.Mode})
	}
	return o
}

// system adds the stages from packages to initramfs and returns the last.
func (b *builder) system(pkgs *stages.Handle[packages.Output]) (*stages.Handle[rootfs.Root], error) {
	options := b.session()
	merged := b.merge("rootfs", pkgs, true)
	root := stages.Add(b.graph.Graph, stages.Stage{
		Name: recipes.StageConfigure, Kind: "configure", Version: configure.Version,
		Inputs: []stages.Input{{Name: "scripts", Value: options}, {Name: "sandbox", Value: b.env.SandboxMode}},
		Needs:  []stages.Node{pkgs, merged},
	}, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return configure.Run(ctx, run, b.env.Pool, merged.Result(), pkgs.Result().Packages, b.arch.PackageArch, options)
	})

	configured, customized := b.recipe.ScriptOrder()
	var err error
	for _, s := range configured {
		if root, err = b.script(s, root, options); err != nil {
			return nil, err
		}
	}
	if root, err = b.customize(root); err != nil {
		return nil, err
	}
	for _, s := range customized {
		if root, err = b.script(s, root, options); err != nil {
			return nil, err
		}
	}

	before := root
	d := b.recipe.Distro
	generator := initramfs.Options{Kernel: d.Kernel.Image, Image: d.Initramfs.Image, Command: d.Initramfs.Command, Env: d.Initramfs.Env}
	rootPart, _ := b.holder("/")
	options.Files = slices.Clone(options.Files)
	for _, f := range d.Initramfs.Files {
		content := strings.ReplaceAll(f.Content, "{filesystem}", rootPart.Filesystem)
		options.Files = append(options.Files, session.File{Path: f.Path, Content: content, Mode: f.Mode})
	}
	return stages.Add(b.graph.Graph, stages.Stage{
		Name: recipes.StageInitramfs, Kind: "initramfs", Version: initramfs.Version,
		Inputs: []stages.Input{{Name: "generator", Value: generator}, {Name: "scripts", Value: options}, {Name: "sandbox", Value: b.env.SandboxMode}},
		Needs:  []stages.Node{before},
	}, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return initramfs.Run(ctx, run, b.env.Pool, before.Result(), generator, options)
	}), nil
}

// script adds the stage of one script after root.
func (b *builder) script(s recipes.Script, root *stages.Handle[rootfs.Root], options session.Options) (*stages.Handle[rootfs.Root], error) {
	b.graph.scripts = append(b.graph.scripts, s.Name)
	spec := script.Script{Name: s.Name, Content: s.Content, Inline: s.Inline, Env: s.Env, Network: s.Network}
	inputs := []stages.Input{
		{Name: "script", Value: store.Sum(s.Content).Hex()},
		{Name: "env", Value: s.Env},
		{Name: "network", Value: s.Network},
		{Name: "scripts", Value: options},
		{Name: "sandbox", Value: b.env.SandboxMode},
	}
	var digests []string
	for _, in := range s.Inputs {
		digest, err := in.Digest()
		if err != nil {
			return nil, &RecipeError{fmt.Errorf("script %q: %w", s.Name, err)}
		}
		digests = append(digests, digest)
		inputs = append(inputs, stages.Input{Name: "inputs/" + in.Name, Value: strings.TrimPrefix(digest, "sha256:")})
		spec.Inputs = append(spec.Inputs, script.Input{Path: in.Path, Name: in.Name})
	}
	return stages.Add(b.graph.Graph, stages.Stage{
		Name: "script " + s.Name, Kind: "script", Version: script.Version, Inputs: inputs, Needs: []stages.Node{root},
	}, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		after, err := script.Run(ctx, run, b.env.Pool, root.Result(), spec, options)
		if err != nil {
			return rootfs.Root{}, err
		}
		// The key has the inputs as they were when the build began.
		for i, in := range s.Inputs {
			if digest, err := in.Digest(); err != nil || digest != digests[i] {
				return rootfs.Root{}, fmt.Errorf("the input %s changed while the build ran; build again", in.Path)
			}
		}
		return after, nil
	}), nil
}

// digestFile returns the digest of a file's contents.
func digestFile(path string) (store.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return store.Digest{}, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return store.Digest{}, err
	}
	return store.Digest(h.Sum(nil)), nil
}

// customize adds the stage that puts the recipe's files and accounts in place.
func (b *builder) customize(root *stages.Handle[rootfs.Root]) (*stages.Handle[rootfs.Root], error) {
	r := b.recipe
	o := customize.Options{
		Hostname: r.Hostname, Timezone: r.Timezone, Locale: r.Locale, Mounts: b.mounts(), Epoch: b.epoch,
		Clean: session.Rules{Remove: r.Distro.Clean.Remove, Truncate: r.Distro.Clean.Truncate},
	}
	for _, u := range r.Users {
		o.Users = append(o.Users, customize.User{
			Name: u.Name, UID: u.UID, Group: u.Group, Groups: u.Groups, Home: u.Home, Shell: u.Shell, Comment: u.Comment,
			System: u.System, SSHAuthorizedKeys: u.SSHAuthorizedKeys, PasswordHash: u.PasswordHash,
		})
	}
	for _, f := range r.Files {
		file := customize.File{Path: f.Path, Content: f.Content, Source: f.Source, Mode: f.Mode, Owner: f.Owner, Group: f.Group}
		if f.Source != "" {
			var err error
			if file.Digest, err = digestFile(f.Source); err != nil {
				return nil, &RecipeError{fmt.Errorf("file %q: %w", f.Path, err)}
			}
		}
		o.Files = append(o.Files, file)
	}
	if r.Disk.Grow {
		for _, f := range r.Distro.Grow.Files {
			o.Defaults = append(o.Defaults, rootFile(f.Path, f.Content, f.Mode))
		}
	}
	sources, err := deb.SourcesFiles(r.Distro.Name, r.Rootfs.Repositories)
	if err != nil {
		return nil, &RecipeError{err}
	}
	for _, f := range sources {
		file := rootFile(f.Path, string(f.Content), f.Mode)
		file.When = deb.AptProgram
		o.Defaults = append(o.Defaults, file)
	}
	for _, u := range r.Distro.Units {
		o.Units = append(o.Units, customize.Unit{Name: u.Name, When: u.When, WantedBy: u.WantedBy, Content: u.Content})
	}
	return stages.Add(b.graph.Graph, stages.Stage{
		Name: recipes.StageCustomize, Kind: "customize", Version: customize.Version,
		Inputs: []stages.Input{
			{Name: "hostname", Value: o.Hostname}, {Name: "timezone", Value: o.Timezone}, {Name: "locale", Value: o.Locale},
			{Name: "users", Value: o.Users}, {Name: "files", Value: o.Files}, {Name: "mounts", Value: o.Mounts},
			{Name: "distribution", Value: []any{o.Defaults, o.Units, o.Clean}}, {Name: "epoch", Value: o.Epoch},
		},
		Needs: []stages.Node{root},
	}, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return customize.Run(ctx, run, root.Result(), o)
	}), nil
}

// rootFile returns a file of the distribution's data, owned by root.
func rootFile(p, content string, mode uint32) customize.File {
	return customize.File{Path: p, Content: []byte(content), Mode: mode, Owner: "0", Group: "0"}
}

// mounts returns the lines of fstab.
func (b *builder) mounts() []customize.Mount {
	var mounts []customize.Mount
	for i, p := range b.recipe.Disk.Partitions {
		if p.Mount == "" {
			continue
		}
		m := customize.Mount{
			Device:  "UUID=" + filesystems.UUIDText(p.Filesystem, b.graph.partitions[i].UUID),
			Path:    p.Mount,
			Type:    p.Filesystem,
			Options: p.MountOptions,
			Pass:    2, // fsck after the root
		}
		if p.Mount == "/" {
			m.Pass = 1
			if grow := b.recipe.Distro.Grow.MountOptions; b.recipe.Disk.Grow && grow != "" {
				m.Options += "," + grow
			}
		}
		mounts = append(mounts, m)
	}
	// What is mounted below comes later.
	slices.SortStableFunc(mounts, func(a, b customize.Mount) int { return strings.Compare(a.Path, b.Path) })
	return mounts
}

// holder returns the partition whose file system holds the absolute path p, and p
// as seen from that file system.
func (b *builder) holder(p string) (part filesystems.Partition, rest string) {
	best := ""
	for _, candidate := range b.graph.partitions {
		m := candidate.Mount
		if m == "" || m != "/" && p != m && !strings.HasPrefix(p, m+"/") {
			continue
		}
		if len(m) > len(best) {
			best, part = m, candidate
		}
	}
	return part, path.Join("/", strings.TrimPrefix(p, best))
}

// boot adds the stages that make the system boot.
func (b *builder) boot(root *stages.Handle[rootfs.Root]) (*stages.Handle[grub.Installed], *stages.Handle[grub.Images]) {
	r, d := b.recipe, b.recipe.Distro
	// Unpacking needs all processors; configuring, which waits for the image's packages
	// alone, leaves some to the tools.
	tools := b.merge("tools", b.unpack("tools-packages", b.lock.Tools, []stages.Node{b.graph.packages}), false)

	menuPart, grubDir := b.holder(d.Grub.Dir)
	uuid := filesystems.UUIDText(menuPart.Filesystem, menuPart.UUID)
	signed := r.Boot.Has("uefi") && r.Boot.SecureBoot == "distro" && b.arch.Signed != nil
	io := grub.ImagesOptions{Mkimage: d.Grub.Mkimage, UUID: uuid, Dir: grubDir, Epoch: b.epoch}
	if p := b.arch.BIOS; p != nil && r.Boot.Has("bios") {
		io.BIOS = &grub.Target{Platform: p.Platform, Modules: p.Modules, BootImg: p.BootImg}
	}
	if p := b.arch.UEFI; p != nil && r.Boot.Has("uefi") && !signed {
		io.UEFI = &grub.Target{Platform: p.Platform, Modules: p.Modules}
	}
	images := stages.Add(b.graph.Graph, stages.Stage{
		Name: "grub", Kind: "grub", Version: grub.ImagesVersion,
		Inputs: []stages.Input{{Name: "options", Value: io}},
		Needs:  []stages.Node{tools},
	}, func(ctx context.Context, run *stages.Run) (grub.Images, error) {
		return grub.MakeImages(ctx, run, b.env.Pool, tools.Result(), io)
	})

	rootPart, _ := b.holder("/")
	cmdline := []string{"root=UUID=" + filesystems.UUIDText(rootPart.Filesystem, rootPart.UUID), "ro"}
	for _, console := range r.Boot.Console {
		cmdline = append(cmdline, "console="+console)
	}
	cmdline = append(cmdline, r.Boot.Cmdline...)
	install := grub.InstallOptions{
		Menu:     grub.Menu{UUID: uuid, Timeout: r.Boot.Timeout, Consoles: r.Boot.Console, PasswordPBKDF2: r.Boot.PasswordPBKDF2},
		MenuPath: path.Join(d.Grub.Dir, "grub.cfg"),
		UEFI:     r.Boot.Has("uefi"), Vendor: d.Grub.Vendor, Fallback: b.arch.EFIFallback, EFIName: b.arch.EFIName, Dir: grubDir, Epoch: b.epoch,
	}
	if signed {
		install.Signed = &grub.Signed{Prefix: b.arch.Signed.Prefix}
		for _, f := range b.arch.Signed.Files {
			install.Signed.Files = append(install.Signed.Files, grub.SignedFile{Role: f.Role, Sources: f.Sources, Name: f.Name})
		}
	}
	kernel, image, title := d.Kernel.Image, d.Initramfs.Image, d.Title
	return stages.Add(b.graph.Graph, stages.Stage{
		Name: "boot", Kind: "boot", Version: grub.InstallVersion,
		Inputs: []stages.Input{
			{Name: "boot", Value: install}, {Name: "cmdline", Value: cmdline}, {Name: "distribution", Value: []string{kernel, image, title}},
		},
		Needs: []stages.Node{root, tools, images},
	}, func(ctx context.Context, run *stages.Run) (grub.Installed, error) {
		t, err := root.Result().Load(run.Cache.Store)
		if err != nil {
			return grub.Installed{}, err
		}
		versions, err := initramfs.Kernels(t, kernel)
		if err != nil {
			return grub.Installed{}, err
		}
		o := install
		for _, v := range versions {
			_, k := b.holder("/" + initramfs.At(kernel, v))
			_, i := b.holder("/" + initramfs.At(image, v))
			o.Menu.Entries = append(o.Menu.Entries, grub.Entry{
				ID: "linux-" + v, Title: title + ", Linux " + v, Kernel: k, Initramfs: i, Cmdline: cmdline,
			})
		}
		return grub.Install(run, root.Result(), tools.Result(), images.Result(), o)
	}), images
}

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

// written is a file an output stage left.
type written struct {
	Path        string `json:"path"`
	Format      string `json:"format"`
	Size        int64  `json:"size"`         // of the file, in bytes
	VirtualSize int64  `json:"virtual_size"` // of the disk in it, in bytes
	ModTime     int64  `json:"mtime"`        // of the file, in nanoseconds since 1970
	SHA256      string `json:"sha256"`       // hexadecimal; it is no object of the store
}

// stands reports whether the file is still there as it was left. Its contents are
// not read: that is what the .sha256 beside it is for.
func (w written) stands() bool {
	info, err := os.Stat(w.Path)
	if err != nil || info.Size() != w.Size || info.ModTime().UnixNano() != w.ModTime {
		return false
	}
	_, err = os.Stat(w.Path + ".sha256")
	return err == nil
}

// emit adds a stage for every output.
func (b *builder) emit() {
	r := b.recipe
	for _, o := range r.Outputs {
		file := filepath.Join(b.dir, fmt.Sprintf("%s-%s-%s.%s", r.Name, r.Version, r.Arch, o.Type))
		handle := stages.AddChecked(b.graph.Graph, stages.Stage{
			Name: o.Type, Kind: "emit", Version: emitVersion,
			Inputs: []stages.Input{{Name: "output", Value: o}, {Name: "file", Value: file}},
			Needs:  []stages.Node{b.graph.disk},
		}, written.stands, func(ctx context.Context, run *stages.Run) (written, error) {
			return emitOutput(ctx, run, o, file, b.graph.disk.Result().Image)
		})
		b.graph.outputs = append(b.graph.outputs, handle)
	}
}

// emitVersion is the version of the writers' code; see stages.Stage.
const emitVersion = 1

// emitOutput writes one output.
func emitOutput(ctx context.Context, run *stages.Run, o recipes.Output, file string, image store.Digest) (written, error) {
	st := run.Cache.Store
	im, err := disk.Load(st, image)
	if err != nil {
		return written{}, err
	}
	options := emit.Options{Progress: func(done, total int64) {
		run.Emit(stages.Event{Kind: stages.Progress, Item: filepath.Base(file), Done: done, Total: total, Unit: stages.Bytes})
	}}
	var out emit.Output
	switch o.Type {
	case "raw":
		out, err = emit.Raw(ctx, st, im, file, options)
	case "qcow2":
		var compression qcow2.Compression
		if compression, err = qcow2.ParseCompression(o.Compression); err == nil {
			out, err = emit.Qcow2(ctx, st, im, file, qcow2.Options{Compression: compression, Level: o.Level}, options)
		}
	default:
		err = fmt.Errorf("the output %q cannot be written by this version", o.Type)
	}
	if err != nil {
		return written{}, err
	}
	info, err := os.Stat(out.Path)
	if err != nil {
		return written{}, err
	}
	run.Emit(stages.Event{Kind: stages.OutputWritten, Item: out.Path, Total: out.Size, Digest: out.Digest.String()})
	return written{
		Path: out.Path, Format: o.Type, Size: out.Size, VirtualSize: out.VirtualSize,
		ModTime: info.ModTime().UnixNano(), SHA256: out.Digest.Hex(),
	}, nil
}
