package pipeline

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/distros/rpm"
	"github.com/imagefactory/imagefactory/distros/rpm/repodata"
	"github.com/imagefactory/imagefactory/recipes"
)

// rpmArchive is the repositories of a recipe of the RPM family.
type rpmArchive struct {
	env          *Environment
	recipe       *recipes.Recipe
	arch         distros.Architecture
	repositories []*repodata.Repository // as the recipe's
}

func (env *Environment) findRPM(ctx context.Context, r *recipes.Recipe) (archive, error) {
	arch, ok := r.Distro.Architecture(r.Arch)
	if !ok {
		return nil, fmt.Errorf("%s has no architecture %s", r.Distro.Name, r.Arch)
	}
	a := &rpmArchive{env: env, recipe: r, arch: arch, repositories: make([]*repodata.Repository, len(r.Rootfs.Repositories))}
	group, ctx := errgroup.WithContext(ctx)
	for i, repo := range r.Rootfs.Repositories {
		config := repodata.Config{
			Name: repo.Name, URLs: env.mirrors(r, i, ""), MirrorList: repo.MirrorList, Metalink: repo.Metalink,
			Unverified: !repo.GPGCheck, RequireSignature: repo.RepoGPGCheck,
			Arch: arch.PackageArch, Exclude: repo.Exclude, Priority: repo.Priority, Now: env.now,
		}
		if env.redirected(r, i) {
			config.MirrorList, config.Metalink = "", ""
		}
		if !repo.GPGCheck {
			env.warn("repository %s is not verified (gpg_check = false): whoever answers at its address decides what is in the image", repo.Name)
		}
		group.Go(func() (err error) {
			if repo.GPGCheck {
				if config.Keyring, err = env.keys(ctx, repo); err != nil {
					return err
				}
			}
			a.repositories[i], err = repodata.Find(ctx, env.client, config)
			return err
		})
	}
	return a, group.Wait()
}

func (a *rpmArchive) state() []string {
	var digests []string
	for i, repository := range a.repositories {
		digests = append(digests, a.recipe.Rootfs.Repositories[i].Name, repository.Digest.Hex())
	}
	return digests
}

func (a *rpmArchive) urls() []string {
	var urls []string
	for _, repository := range a.repositories {
		urls = append(urls, repository.URL)
	}
	return urls
}

// packages reads the repositories and returns what they offer, of modules only the
// streams that count.
func (a *rpmArchive) packages(ctx context.Context) ([]*rpm.Package, error) {
	group, ctx := errgroup.WithContext(ctx)
	for _, repository := range a.repositories {
		group.Go(func() error { return repository.Load(ctx, a.env.client) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var pkgs []*rpm.Package
	var modules []*repodata.Modules
	for _, repository := range a.repositories {
		pkgs = append(pkgs, repository.Packages...)
		if repository.Modules != nil {
			modules = append(modules, repository.Modules)
		}
	}
	d := a.recipe.Distro
	pkgs, _, err := repodata.ApplyModules(modules, pkgs, slices.Concat(d.RPM.Modules, a.recipe.Rootfs.Modules), d.RPM.ModulePlatform)
	return pkgs, err
}

// universe returns what can be installed, with the paths that anything may need.
func (a *rpmArchive) universe(ctx context.Context, pkgs []*rpm.Package, items []rpm.Item) (*rpm.Universe, error) {
	universe, err := rpm.NewUniverse(a.arch.PackageArch, pkgs)
	if err != nil {
		return nil, err
	}
	// Most repositories list few of their files in the metadata that everybody reads.
	wanted := map[string]bool{}
	for _, path := range universe.UnresolvedPaths(items...) {
		wanted[path] = true
	}
	if len(wanted) == 0 {
		return universe, nil
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, repository := range a.repositories {
		group.Go(func() error { return repository.LoadFiles(ctx, a.env.client, maps.Clone(wanted)) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return rpm.NewUniverse(a.arch.PackageArch, pkgs)
}

// items returns names as the solver takes them; groups become their members.
func (a *rpmArchive) items(names []string, origin func(name string) string) ([]rpm.Item, error) {
	var all []*repodata.Comps
	for _, repository := range a.repositories {
		if repository.Comps != nil {
			all = append(all, repository.Comps)
		}
	}
	comps := repodata.MergeComps(all...)
	var items []rpm.Item
	for _, name := range names {
		if !strings.HasPrefix(name, "@") {
			items = append(items, rpm.Item{Spec: name, Origin: origin(name)})
			continue
		}
		members, err := comps.Expand(name)
		if err != nil {
			return nil, &RecipeError{fmt.Errorf("%s: %w", origin(name), err)}
		}
		items = append(items, members...)
	}
	return items, nil
}

func (a *rpmArchive) solve(ctx context.Context, request recipes.Request) (*recipes.Lock, error) {
	r := a.recipe
	pkgs, err := a.packages(ctx)
	if err != nil {
		return nil, err
	}
	lock := &recipes.Lock{Version: recipes.LockVersion, Distro: r.Distro.Name, Arch: r.Arch, Request: request}
	for i, repository := range a.repositories {
		locked := recipes.LockedRepository{
			Name: r.Rootfs.Repositories[i].Name, URL: repository.URL, Release: repository.Digest.Hex(), Date: repository.Date, Indexes: []recipes.LockedIndex{},
		}
		for _, f := range repository.Files {
			locked.Indexes = append(locked.Indexes, recipes.LockedIndex{Path: f.Path, SHA256: f.Digest.Hex(), Size: f.Size})
		}
		lock.Repositories = append(lock.Repositories, locked)
		lock.Epoch = max(lock.Epoch, locked.Date)
	}
	var image rpm.Request
	if r.Rootfs.Installer == recipes.InstallerNative {
		if image, err = a.request(); err != nil {
			return nil, err
		}
	}
	purpose := func(string) string { return "the boot programs of " + r.Distro.Name }
	tools := rpm.Request{}
	if tools.Install, err = a.items(r.ToolPackages(), purpose); err != nil {
		return nil, err
	}
	universe, err := a.universe(ctx, pkgs, slices.Concat(image.Install, tools.Install))
	if err != nil {
		return nil, err
	}
	set, err := a.choose(ctx, universe, image)
	if err != nil {
		return nil, err
	}
	toolSet, err := universe.Solve(tools)
	if err != nil {
		return nil, err
	}
	for _, name := range r.SignedPackages() {
		// Only files are taken out of these; nothing of them runs.
		p, err := universe.Newest(rpm.Item{Spec: name, Origin: purpose(name)})
		if err != nil {
			return nil, err
		}
		if !slices.Contains(toolSet, p) {
			toolSet = append(toolSet, p)
		}
	}
	if lock.Packages, err = lockedRPMs(set); err != nil {
		return nil, err
	}
	lock.Tools, err = lockedRPMs(chosenTools(toolSet))
	return lock, err
}

// request returns what the image is to hold.
func (a *rpmArchive) request() (rpm.Request, error) {
	r := a.recipe
	items, err := a.items(r.ImagePackages(), func(name string) string { return origin(r, name) })
	request := rpm.Request{Install: items, WeakDeps: r.Rootfs.Recommends}
	for _, name := range r.Rootfs.Exclude {
		request.Exclude = append(request.Exclude, rpm.Item{Spec: name, Origin: r.Path + ": rootfs.exclude"})
	}
	return request, err
}

// choose returns the packages of the image; none where its root comes whole.
func (a *rpmArchive) choose(ctx context.Context, universe *rpm.Universe, image rpm.Request) ([]chosen[*rpm.Package], error) {
	switch {
	case !a.recipe.Rootfs.TakesPackages():
		return nil, nil
	case isHostTool(a.recipe.Rootfs.Installer):
		return a.chooseByTool(ctx)
	}
	set, err := universe.Solve(image)
	if err != nil {
		return nil, err
	}
	asked := map[string]bool{}
	for _, item := range image.Install {
		asked[item.Spec] = true
	}
	list := make([]chosen[*rpm.Package], len(set))
	for i, p := range set {
		list[i] = chosen[*rpm.Package]{p, !asked[p.Name]}
	}
	return list, nil
}

// lockedRPMs returns packages as the lock has them.
func lockedRPMs(set []chosen[*rpm.Package]) ([]recipes.LockedPackage, error) {
	list := make([]recipes.LockedPackage, 0, len(set))
	for _, c := range set {
		p := c.Package
		if p.SHA256.IsZero() {
			return nil, fmt.Errorf("package %s: the metadata of repository %s has no SHA-256 of it, so a download could not be verified", p, p.Repository)
		}
		if p.Base != "" {
			return nil, fmt.Errorf("package %s: repository %s keeps it elsewhere, at %s, which is not supported; name that place as a repository of its own", p, p.Repository, p.Base)
		}
		list = append(list, recipes.LockedPackage{
			Name: p.Name, Version: p.EVR.String(), Arch: p.Arch, SHA256: p.SHA256.Hex(), Size: p.Size,
			Repository: p.Repository, Filename: p.Location, Auto: c.Auto,
		})
	}
	sortLocked(list)
	return list, nil
}
