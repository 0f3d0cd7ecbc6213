package pipeline

import (
	"context"
	"slices"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/distros/rpm/rpmdb"
	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/configure"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/provenance"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/store"
)

// root adds the stages that make the configured system which the recipe's scripts and
// files go on from, and returns the last.
func (b *builder) root() *stages.Handle[rootfs.Root] {
	switch installer := b.recipe.Rootfs.Installer; {
	case installer == recipes.InstallerArchive:
		return b.imported(b.importArchive())
	case installer == recipes.InstallerImage:
		return b.imported(b.importImage())
	case isHostTool(installer):
		root := b.installByTool()
		b.step(provenance.MaintainerScript, "", root, b.installClaims()...)
		return root
	}
	b.graph.packages = b.unpack("packages", b.lock.Packages, nil)
	merged := b.merge("rootfs", b.graph.packages, true)
	b.step(provenance.Generated, "merge", merged, slices.Concat(provenance.Links(b.arch.Links), provenance.PackageDatabase())...).packages = b.graph.packages
	var configured *stages.Handle[rootfs.Root]
	if b.recipe.Distro.Family == distros.FamilyRPM {
		configured = b.configureRPM(b.graph.packages, merged)
	} else {
		configured = b.configureDeb(b.graph.packages, merged)
	}
	b.step(provenance.MaintainerScript, "", configured, b.installClaims()...)
	return configured
}

// installClaims says what stages that install packages make themselves.
func (b *builder) installClaims() []provenance.Claim {
	return slices.Concat(provenance.PackageDatabase(), provenance.Cleaned(b.session().Clean))
}

// unpack adds the stage that fetches and unpacks locked packages, once the stages after
// have run.
func (b *builder) unpack(name string, locked []recipes.LockedPackage, after []stages.Node) *stages.Handle[packages.Output] {
	sources := b.sources(locked)
	var format packages.Format = packages.Deb{}
	if b.recipe.Distro.Family == distros.FamilyRPM {
		format = packages.RPM{Keys: b.keys.keys}
	}
	return stages.Add(b.graph.Graph, stages.Stage{
		Name: name, Kind: "packages", Version: packages.Version,
		Inputs: []stages.Input{{Name: "packages", Value: sources}},
		After:  after,
	}, func(ctx context.Context, run *stages.Run) (packages.Output, error) {
		return packages.Run(ctx, run, b.env.client, format, sources)
	})
}

// sources returns locked packages as what is to be fetched.
func (b *builder) sources(locked []recipes.LockedPackage) []packages.Source {
	sources := make([]packages.Source, len(locked))
	for i, p := range locked {
		digest, err := store.ParseHex(p.SHA256)
		if err != nil {
			panic("pipeline: a checked lock has the digest " + p.SHA256)
		}
		sources[i] = packages.Source{
			Name: p.Name, Version: p.Version, Arch: p.Arch, Digest: digest, Size: p.Size, Auto: p.Auto,
			URLs: b.env.packageURLs(b.recipe, b.lock, p), Keys: b.keys.names[p.Repository],
		}
	}
	return sources
}

// merge adds a stage that merges packages into a root.
func (b *builder) merge(name string, pkgs *stages.Handle[packages.Output], database bool) *stages.Handle[rootfs.Root] {
	if b.recipe.Distro.Family == distros.FamilyRPM {
		return b.mergeRPM(name, pkgs, database)
	}
	options := rootfs.Options{Arch: b.arch.PackageArch, Links: b.arch.Links, Epoch: b.epoch, Database: database}
	return stages.Add(b.graph.Graph, stages.Stage{
		Name: name, Kind: "rootfs", Version: rootfs.Version,
		Inputs: []stages.Input{{Name: "options", Value: options}},
		Needs:  []stages.Node{pkgs},
	}, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return rootfs.Run(ctx, run, pkgs.Result().Packages, options)
	})
}

// mergeRPM is merge for packages of the rpm family.
func (b *builder) mergeRPM(name string, pkgs *stages.Handle[packages.Output], database bool) *stages.Handle[rootfs.Root] {
	options := b.rpmOptions()
	if !database || b.recipe.Distro.RPM.Backend != distros.RPMSQLite {
		options.Database = ""
	}
	return stages.Add(b.graph.Graph, stages.Stage{
		Name: name, Kind: "rootfs", Version: rootfs.Version,
		Inputs: []stages.Input{{Name: "options", Value: options}},
		Needs:  []stages.Node{pkgs},
	}, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return rootfs.RunRPM(ctx, run, pkgs.Result().Packages, options)
	})
}

// rpmOptions returns how packages of the rpm family become the root.
func (b *builder) rpmOptions() rootfs.RPMOptions {
	r := b.recipe
	return rootfs.RPMOptions{
		Links: b.arch.Links, Epoch: b.epoch, Docs: r.Rootfs.Docs, Languages: r.Rootfs.Languages, Database: r.Distro.RPM.Database,
	}
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

// configureDeb adds the stage that runs the maintainer scripts of a merged root.
func (b *builder) configureDeb(pkgs *stages.Handle[packages.Output], merged *stages.Handle[rootfs.Root]) *stages.Handle[rootfs.Root] {
	options := b.session()
	return stages.Add(b.graph.Graph, stages.Stage{
		Name: recipes.StageConfigure, Kind: "configure", Version: configure.Version,
		Inputs: []stages.Input{{Name: "scripts", Value: options}, {Name: "sandbox", Value: b.env.SandboxMode}},
		Needs:  []stages.Node{pkgs, merged},
	}, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return configure.Run(ctx, run, b.env.Pool, merged.Result(), pkgs.Result().Packages, b.arch.PackageArch, options)
	})
}

// configureRPM adds the stage that runs the scriptlets of a merged root.
func (b *builder) configureRPM(pkgs *stages.Handle[packages.Output], merged *stages.Handle[rootfs.Root]) *stages.Handle[rootfs.Root] {
	options := configure.RPMOptions{Session: b.session()}
	imported := b.recipe.Distro.RPM.Backend == distros.RPMImport
	return stages.Add(b.graph.Graph, stages.Stage{
		Name: recipes.StageConfigure, Kind: "configure", Version: configure.Version,
		Inputs: []stages.Input{{Name: "scripts", Value: options}, {Name: "sandbox", Value: b.env.SandboxMode}, {Name: "import", Value: imported}},
		Needs:  []stages.Node{pkgs, merged},
	}, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		o := options
		if imported {
			var err error
			if o.Import, err = b.records(ctx, run.Cache.Store, pkgs.Result().Packages); err != nil {
				return rootfs.Root{}, err
			}
		}
		root, err := configure.RunRPM(ctx, run, b.env.Pool, merged.Result(), pkgs.Result().Packages, o)
		if err != nil {
			return rootfs.Root{}, err
		}
		return rootfs.SettleRPM(run.Cache.Store, root, b.recipe.Distro.RPM.Database)
	})
}

// records returns packages in the form that rpmdb --importdb reads.
func (b *builder) records(ctx context.Context, st *store.Store, pkgs []packages.Package) ([]byte, error) {
	unpacked, err := packages.LoadRPM(ctx, st, pkgs)
	if err != nil {
		return nil, err
	}
	records, err := b.rpmOptions().Records(unpacked)
	if err != nil {
		return nil, err
	}
	return rpmdb.ExportList(records)
}
