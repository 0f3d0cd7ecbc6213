package pipeline

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/grub"
	"github.com/imagefactory/imagefactory/stages/media"
	"github.com/imagefactory/imagefactory/stages/payload"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/store"
)

// mediaParts are the stages whose results all media of a build share.
type mediaParts struct {
	initramfs *stages.Handle[media.Initramfs]
	loaders   *stages.Handle[media.Loaders]
	payloads  map[int]*stages.Handle[payload.Result] // by the level of compression
}

// hasMedia reports whether the recipe asks for installation media.
func hasMedia(r *recipes.Recipe) bool {
	for _, o := range r.Outputs {
		if o.Media != nil {
			return true
		}
	}
	return false
}

// mediaStages adds the stages that make what installation media hold.
func (b *builder) mediaStages(root, tools *stages.Handle[rootfs.Root]) error {
	if !hasMedia(b.recipe) {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program, err := media.OpenProgram(self, b.recipe.Arch)
	if err != nil {
		return &HostError{err.Error()}
	}
	io := media.InitramfsOptions{Kernel: b.recipe.Distro.Kernel.Image, Init: program, Epoch: b.epoch}
	lo := b.loaders()
	b.graph.media = &mediaParts{
		initramfs: stages.Add(b.graph.Graph, stages.Stage{
			Name: "installer", Kind: "media-initramfs", Version: media.InitramfsVersion,
			Inputs: []stages.Input{{Name: "installer", Value: io}},
			Needs:  []stages.Node{root},
		}, func(ctx context.Context, run *stages.Run) (media.Initramfs, error) {
			return media.MakeInitramfs(ctx, run, root.Result(), io)
		}),
		loaders: stages.Add(b.graph.Graph, stages.Stage{
			Name: "loaders", Kind: "media-loaders", Version: media.LoadersVersion,
			Inputs: []stages.Input{{Name: "loaders", Value: lo}},
			Needs:  []stages.Node{tools},
		}, func(ctx context.Context, run *stages.Run) (media.Loaders, error) {
			return media.MakeLoaders(ctx, run, b.env.Pool, tools.Result(), lo)
		}),
		payloads: map[int]*stages.Handle[payload.Result]{},
	}
	for _, o := range b.recipe.Outputs {
		if o.Media != nil && o.Media.Mode != recipes.MediaLive && b.graph.media.payloads[o.Level] == nil {
			b.graph.media.payloads[o.Level] = b.payload(o.Level)
		}
	}
	return nil
}

// payload adds the stage that compresses the disk for media.
func (b *builder) payload(level int) *stages.Handle[payload.Result] {
	name, o := "payload", payload.Options{Level: level}
	if level != 0 {
		name = fmt.Sprintf("payload at level %d", level)
	}
	return stages.Add(b.graph.Graph, stages.Stage{
		Name: name, Kind: "payload", Version: payload.Version,
		Inputs: []stages.Input{{Name: "payload", Value: o}},
		Needs:  []stages.Node{b.graph.disk},
	}, func(ctx context.Context, run *stages.Run) (payload.Result, error) {
		return payload.Run(ctx, run, b.graph.disk.Result().Image, o)
	})
}

// loaders returns which boot loaders media have: for the firmware the image boots on.
func (b *builder) loaders() media.LoadersOptions {
	signed := b.signed()
	o := media.LoadersOptions{Mkimage: b.recipe.Distro.Grub.Mkimage, Fallback: b.arch.EFIFallback, Epoch: b.epoch}
	o.BIOS, o.UEFI = b.grubTargets(signed)
	if signed != nil {
		o.Signed = &media.Signed{Disk: *signed}
		if m := b.arch.Signed.Medium; m != nil {
			o.Signed.Medium = &media.SignedGrub{Prefix: m.Prefix, Sources: m.Sources, Name: m.Name}
		}
	}
	return o
}

// signed returns the signed boot programs of the image; nil when it has none.
func (b *builder) signed() *grub.Signed {
	r := b.recipe
	if !r.Boot.Has("uefi") || r.Boot.SecureBoot != "distro" || b.arch.Signed == nil {
		return nil
	}
	signed := &grub.Signed{Prefix: b.arch.Signed.Prefix}
	for _, f := range b.arch.Signed.Files {
		signed.Files = append(signed.Files, grub.SignedFile{Role: f.Role, Sources: f.Sources, Name: f.Name})
	}
	return signed
}

// mediaOptions returns what the recipe says about the medium of one output.
func (b *builder) mediaOptions(m *recipes.Media) media.Options {
	r := b.recipe
	o := media.Options{
		Name: r.Name, Version: r.Version, Arch: r.Arch, Mode: m.Mode, Target: target(m.Target), Grow: r.Disk.Grow,
		After: m.After, OnFailure: m.OnFailure, Confirm: m.Confirm, Events: config.Events{Console: m.Events.Console, URL: m.Events.URL},
		Consoles: r.Boot.Console, Cmdline: r.Boot.Cmdline, VolumeID: m.Label, Timeout: max(r.Boot.Timeout, leastMediaTimeout),
		PasswordPBKDF2: r.Boot.PasswordPBKDF2, URL: m.URL, Epoch: b.epoch,
	}
	for _, s := range r.InstallScripts {
		o.Scripts = append(o.Scripts, media.Script{Name: s.Name, Content: s.Content, Inline: s.Inline, Env: s.Env, Network: s.Network})
	}
	loader := b.loaderPath()
	if loader == "" {
		return o
	}
	o.LocalLoaders = []string{loader, path.Join("/EFI/BOOT", b.arch.EFIFallback)}
	for i, p := range r.Disk.Partitions {
		if p.Role == recipes.RoleESP {
			o.EFI = config.EFI{Label: r.Name, Loader: strings.ReplaceAll(loader, "/", `\`), Partition: i + 1}
		}
	}
	return o
}

// leastMediaTimeout is how long the menu of a medium shows at least, in seconds: there are people before it.
const leastMediaTimeout = 5

// target returns the policy of a recipe as the installer takes it.
func target(t recipes.Target) config.Target {
	return config.Target{
		Match: t.Match, ByID: t.ByID, ByPath: t.ByPath, Serial: t.Serial, WWN: t.WWN, Model: t.Model, MinSize: t.MinSize, MaxSize: t.MaxSize,
		Rotational: t.Rotational, Transport: t.Transport, Wipe: t.Wipe, Preserve: t.Preserve,
	}
}

// loaderPath returns the program on the ESP that the firmware's boot entry names; empty for images that do not boot
// under UEFI.
func (b *builder) loaderPath() string {
	if !b.recipe.Boot.Has("uefi") {
		return ""
	}
	fallback := path.Join("/EFI/BOOT", b.arch.EFIFallback)
	signed := b.signed()
	if signed == nil {
		return path.Join(b.recipe.Distro.Grub.Vendor, "grub"+b.arch.EFIName+".efi")
	}
	if strings.Contains(signed.Prefix, "*") {
		return fallback // the directory is found in the packages
	}
	for _, f := range signed.Files {
		if f.Role == "shim" {
			return path.Join(signed.Prefix, f.Name)
		}
	}
	return fallback
}

// contents returns what a medium holds, once the stages of its parts have run.
func (b *builder) contents(o recipes.Output) (media.Contents, error) {
	parts := b.graph.media
	c := media.Contents{Initramfs: parts.initramfs.Result(), Loaders: parts.loaders.Result()}
	if o.Media.Mode == recipes.MediaLive {
		part, _ := b.holder("/")
		for _, im := range b.graph.filesystems.Result().Images {
			if im.Label == part.Label {
				c.Root = media.Root{Image: im.Image, Filesystem: part.Filesystem}
				return c, nil
			}
		}
		return media.Contents{}, fmt.Errorf("there is no file system %s to run live", part.Label)
	}
	c.Payload = parts.payloads[o.Level].Result()
	uses := map[int]media.Use{}
	for i, p := range b.recipe.Disk.Partitions {
		uses[i+1] = media.Use{Filesystem: p.Filesystem, Role: p.Role}
	}
	c.Layout = media.Layout(b.graph.disk.Result().Layout, uses)
	return c, nil
}

// mediaNeeds returns the stages a medium is made of.
func (b *builder) mediaNeeds(o recipes.Output) []stages.Node {
	parts := b.graph.media
	if o.Media.Mode == recipes.MediaLive {
		return []stages.Node{parts.initramfs, parts.loaders, b.graph.filesystems}
	}
	return []stages.Node{parts.initramfs, parts.loaders, parts.payloads[o.Level], b.graph.disk}
}

// medium adds the stage that composes an ISO, and returns the image it results in.
func (b *builder) medium(o recipes.Output, mo media.Options) *stages.Handle[composedMedium] {
	return stages.Add(b.graph.Graph, stages.Stage{
		Name: o.Type + " medium", Kind: "media-iso", Version: media.ISOVersion,
		Inputs: []stages.Input{{Name: "medium", Value: mo}},
		Needs:  b.mediaNeeds(o),
	}, func(ctx context.Context, run *stages.Run) (composedMedium, error) {
		contents, err := b.contents(o)
		if err != nil {
			return composedMedium{}, err
		}
		image, err := media.MakeISO(ctx, run, contents, mo)
		return composedMedium{Image: image}, err
	})
}

// composedMedium is the image of a medium.
type composedMedium struct {
	Image store.Digest `json:"image"` // a disk.Image
}

// served is what a machine that boots from the network is given.
type served struct {
	Files []media.ServedFile `json:"files"`
}

// networkFiles adds the stage that makes the files for network boots.
func (b *builder) networkFiles(o recipes.Output, mo media.Options) *stages.Handle[served] {
	return stages.Add(b.graph.Graph, stages.Stage{
		Name: o.Type + " files", Kind: "media-pxe", Version: media.PXEVersion,
		Inputs: []stages.Input{{Name: "medium", Value: mo}},
		Needs:  b.mediaNeeds(o),
	}, func(_ context.Context, run *stages.Run) (served, error) {
		contents, err := b.contents(o)
		if err != nil {
			return served{}, err
		}
		files, err := media.MakePXE(run, contents, mo)
		return served{files}, err
	})
}
