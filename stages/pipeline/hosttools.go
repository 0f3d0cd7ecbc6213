package pipeline

import (
	"context"
	"fmt"
	"slices"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/distros/rpm"
	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/hosttool"
	"github.com/imagefactory/imagefactory/stages/rootfs"
)

// isHostTool reports whether an installer is a package manager of the host.
func isHostTool(installer string) bool { return slices.Contains(hosttool.Installers, installer) }

// chooseByTool has the host's dnf choose the packages of the image.
func (a *rpmArchive) chooseByTool(ctx context.Context) ([]chosen[*rpm.Package], error) {
	r := a.recipe
	repositories := make([]hosttool.RPMRepository, len(a.repositories))
	for i, repository := range a.repositories {
		repo := r.Rootfs.Repositories[i]
		files, err := repository.Metadata(ctx, a.env.client)
		if err != nil {
			return nil, err
		}
		repositories[i] = hosttool.RPMRepository{Name: repo.Name, Packages: repository.Packages, Priority: repo.Priority, Exclude: repo.Exclude}
		for _, f := range files {
			repositories[i].Metadata = append(repositories[i].Metadata, hosttool.RPMMetadata(f))
		}
	}
	request := hosttool.RPMRequest{Packages: r.ImagePackages(), Exclude: r.Rootfs.Exclude, Recommends: r.Rootfs.Recommends}
	run := stages.NewRun(a.env.Cache, "lock", a.env.Options.Sink)
	set, err := hosttool.ResolveRPM(ctx, run, a.env.Pool, repositories, request, rpmToolOptions(r, a.arch))
	if err != nil {
		return nil, err
	}
	list := make([]chosen[*rpm.Package], len(set))
	for i, c := range set {
		list[i] = chosen[*rpm.Package]{c.Package, c.Auto}
	}
	return list, nil
}

// rpmToolOptions returns what the host's dnf has to know of the target.
func rpmToolOptions(r *recipes.Recipe, arch distros.Architecture) hosttool.RPMOptions {
	d := r.Distro
	return hosttool.RPMOptions{
		Tool: r.Rootfs.Installer, Arch: arch.PackageArch, Release: d.Version, ModulePlatform: d.RPM.ModulePlatform,
		Modules:  slices.Concat(d.RPM.Modules, r.Rootfs.Modules),
		Database: d.RPM.Database, Backend: d.RPM.Backend, Docs: r.Rootfs.Docs, Languages: r.Rootfs.Languages,
	}
}

// chooseByTool has the host's apt choose the packages of the image.
func (a *debArchive) chooseByTool(ctx context.Context) ([]chosen[*deb.Package], error) {
	r := a.recipe
	arch, _ := r.Distro.Architecture(r.Arch)
	suites := make([]hosttool.DebSuite, len(a.suites))
	for i, s := range a.suites {
		suites[i] = hosttool.DebSuite{Name: s.config.Name, Suite: s.config.Suite, Components: s.config.Components, Release: s.release.Release}
		for j, f := range s.release.Files {
			path, err := s.release.Fetch(ctx, a.env.client, s.config, f)
			if err != nil {
				return nil, err
			}
			suites[i].Indexes = append(suites[i].Indexes, hosttool.DebIndex{Name: f.Path, Path: path, Digest: f.Digest, Size: f.Size})
			suites[i].Packages = append(suites[i].Packages, s.release.Indexes[j].Packages...)
		}
	}
	request := hosttool.DebRequest{Packages: r.ImagePackages(), Exclude: r.Rootfs.Exclude, Recommends: r.Rootfs.Recommends}
	// What apt would never leave out it does not ask for either.
	for _, s := range suites {
		for _, p := range s.Packages {
			wanted := r.Distro.Base.Essential && p.Essential || slices.Contains(r.Distro.Base.Priorities, p.Priority)
			if wanted && !slices.Contains(request.Packages, p.Name) && !slices.Contains(request.Exclude, p.Name) {
				request.Packages = append(request.Packages, p.Name)
			}
		}
	}
	run := stages.NewRun(a.env.Cache, "lock", a.env.Options.Sink)
	set, err := hosttool.ResolveDeb(ctx, run, a.env.Pool, suites, request, hosttool.DebOptions{Arch: arch.PackageArch, Links: arch.Links})
	if err != nil {
		return nil, err
	}
	list := make([]chosen[*deb.Package], len(set))
	for i, c := range set {
		list[i] = chosen[*deb.Package]{c.Package, c.Auto}
	}
	return list, nil
}

// toolVersion returns the version of the host's package manager, on which its choice
// depends; empty where none is used.
func toolVersion(ctx context.Context, r *recipes.Recipe) (string, error) {
	if !isHostTool(r.Rootfs.Installer) {
		return "", nil
	}
	version, err := hosttool.Check(ctx, r.Rootfs.Installer)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %s", r.Rootfs.Installer, version), nil
}

// installByTool adds the stage that has the host's package manager install the image's
// packages.
func (b *builder) installByTool() *stages.Handle[rootfs.Root] {
	sources := make([]hosttool.Source, len(b.lock.Packages))
	for i, s := range b.sources(b.lock.Packages) {
		sources[i] = hosttool.Source{
			Name: s.Name, Version: s.Version, Arch: s.Arch, Digest: s.Digest, Size: s.Size, URLs: s.URLs, Auto: s.Auto, Repository: s.Keys,
		}
	}
	r := b.recipe
	stage := stages.Stage{
		Name: recipes.StageConfigure, Kind: "hosttool", Version: hosttool.Version,
		Inputs: []stages.Input{{Name: "packages", Value: sources}, {Name: "sandbox", Value: b.env.SandboxMode}},
	}
	if r.Distro.Family == distros.FamilyRPM {
		o := rpmToolOptions(r, b.arch)
		o.Session = b.session()
		stage.Inputs = append(stage.Inputs, stages.Input{Name: "options", Value: o})
		return stages.Add(b.graph.Graph, stage, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
			keys, err := b.keys.encoded()
			if err != nil {
				return rootfs.Root{}, err
			}
			root, err := hosttool.RunRPM(ctx, run, b.env.Pool, b.env.client, sources, keys, o)
			if err != nil {
				return rootfs.Root{}, err
			}
			return rootfs.SettleRPM(run.Cache.Store, root, o.Database)
		})
	}
	o := hosttool.DebOptions{Arch: b.arch.PackageArch, Links: b.arch.Links, Session: b.session()}
	stage.Inputs = append(stage.Inputs, stages.Input{Name: "options", Value: o})
	return stages.Add(b.graph.Graph, stage, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return hosttool.RunDeb(ctx, run, b.env.Pool, b.env.client, sources, o)
	})
}
