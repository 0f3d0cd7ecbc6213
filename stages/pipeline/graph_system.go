package pipeline

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/customize"
	"github.com/imagefactory/imagefactory/stages/filesystems"
	"github.com/imagefactory/imagefactory/stages/initramfs"
	"github.com/imagefactory/imagefactory/stages/provenance"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/script"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/store"
)

// system adds the stages that make of the configured root what the recipe describes,
// up to the initramfs, and returns the last.
func (b *builder) system(root *stages.Handle[rootfs.Root]) (*stages.Handle[rootfs.Root], error) {
	options := b.session()
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
	root = b.containers(root)
	for _, s := range customized {
		if root, err = b.script(s, root, options); err != nil {
			return nil, err
		}
	}

	if root, err = b.harden(root); err != nil {
		return nil, err
	}
	b.graph.untrimmed = root
	return b.initramfs(root)
}

// initramfs adds the stages that trim the system and generate its initial RAM file
// systems, and returns the last.
func (b *builder) initramfs(full *stages.Handle[rootfs.Root]) (*stages.Handle[rootfs.Root], error) {
	d := b.recipe.Distro
	generator := initramfs.Options{Kernel: d.Kernel.Image, Source: d.Kernel.Source, Image: d.Initramfs.Image, Command: d.Initramfs.Command, Env: d.Initramfs.Env}
	rootPart, _ := b.holder("/")
	// While packages' scripts run the generator may be replaced by something quicker.
	options := b.session()
	options.Files = slices.DeleteFunc(options.Files, func(f session.File) bool {
		return len(d.Initramfs.Command) > 0 && f.Path == d.Initramfs.Command[0]
	})
	for _, f := range d.Initramfs.Files {
		content := strings.ReplaceAll(f.Content, "{filesystem}", rootPart.Filesystem)
		options.Files = append(options.Files, session.File{Path: f.Path, Content: content, Mode: f.Mode})
	}
	generate := func(root *stages.Handle[rootfs.Root]) *stages.Handle[rootfs.Root] {
		return stages.Add(b.graph.Graph, stages.Stage{
			Name: recipes.StageInitramfs, Kind: "initramfs", Version: initramfs.Version,
			Inputs: []stages.Input{{Name: "generator", Value: generator}, {Name: "scripts", Value: options}, {Name: "sandbox", Value: b.env.SandboxMode}},
			Needs:  []stages.Node{root},
		}, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
			return initramfs.Run(ctx, run, b.env.Pool, root.Result(), generator, options)
		})
	}
	if b.recipe.Trim == nil {
		made := generate(full)
		b.step(provenance.Generated, recipes.StageInitramfs, made)
		return made, nil
	}
	return b.trimmed(full, generator, generate)
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
	done := stages.Add(b.graph.Graph, stages.Stage{
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
	})
	b.step(provenance.Script, s.Name, done, provenance.Cleaned(options.Clean)...)
	return done, nil
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
	customized := stages.Add(b.graph.Graph, stages.Stage{
		Name: recipes.StageCustomize, Kind: "customize", Version: customize.Version,
		Inputs: []stages.Input{
			{Name: "hostname", Value: o.Hostname}, {Name: "timezone", Value: o.Timezone}, {Name: "locale", Value: o.Locale},
			{Name: "users", Value: o.Users}, {Name: "files", Value: o.Files}, {Name: "mounts", Value: o.Mounts},
			{Name: "distribution", Value: []any{o.Defaults, o.Units, o.Clean}}, {Name: "epoch", Value: o.Epoch},
		},
		Needs: []stages.Node{root},
	}, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return customize.Run(ctx, run, root.Result(), o)
	})
	b.step(provenance.Block, "recipe", customized, provenance.Customized(o)...)
	return customized, nil
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
