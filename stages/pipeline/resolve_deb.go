package pipeline

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/recipes"
)

// suite is one suite of one repository.
type suite struct {
	repository string // name
	config     deb.RepositoryConfig
	release    *deb.RepositoryIndexes
}

// debArchive is the repositories of a recipe of the deb family.
type debArchive struct {
	env    *Environment
	recipe *recipes.Recipe
	suites []*suite
}

func (env *Environment) findDeb(ctx context.Context, r *recipes.Recipe) (archive, error) {
	suites, err := env.suites(r)
	if err != nil {
		return nil, err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for i := range suites {
		group.Go(func() (err error) {
			suites[i].release, err = deb.FindRepository(groupCtx, env.client, suites[i].config)
			return err
		})
	}
	return &debArchive{env, r, suites}, group.Wait()
}

func (a *debArchive) state() []string {
	var digests []string
	for _, s := range a.suites {
		digests = append(digests, s.repository, s.release.ReleaseDigest.Hex())
	}
	return digests
}

func (a *debArchive) urls() []string {
	var urls []string
	for _, s := range a.suites {
		urls = append(urls, s.release.URI)
	}
	return urls
}

// suites lists the suites of the recipe's repositories.
func (env *Environment) suites(r *recipes.Recipe) ([]*suite, error) {
	arch, ok := r.Distro.Architecture(r.Arch)
	if !ok {
		return nil, fmt.Errorf("%s has no architecture %s", r.Distro.Name, r.Arch)
	}
	var suites []*suite
	for i, repo := range r.Rootfs.Repositories {
		var keys deb.Keyring
		if repo.GPGCheck {
			var err error
			if keys, err = keyring(repo); err != nil {
				return nil, err
			}
		} else {
			env.warn("repository %s is not verified (gpg_check = false): whoever answers at its address decides what is in the image", repo.Name)
		}
		for _, name := range repo.Suites {
			suites = append(suites, &suite{repository: repo.Name, config: deb.RepositoryConfig{
				Name: repo.Name + " " + name, URIs: env.mirrors(r, i, name), Suite: name, Components: repo.Components,
				Arch: arch.PackageArch, Keyring: keys, Unverified: !repo.GPGCheck, AllowExpired: repo.AllowExpired,
				Origin: repo.AptOrigin, Label: repo.AptLabel, Now: env.now,
			}})
		}
	}
	return suites, nil
}

func (a *debArchive) solve(ctx context.Context, request recipes.Request) (*recipes.Lock, error) {
	r := a.recipe
	arch, _ := r.Distro.Architecture(r.Arch)
	lock := &recipes.Lock{Version: recipes.LockVersion, Distro: r.Distro.Name, Arch: r.Arch, Request: request}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, s := range a.suites {
		group.Go(func() error { return s.release.Load(groupCtx, a.env.client, s.config) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	repositoryOf := map[string]string{} // name given to ParseIndex to name in the recipe
	var indexes []*deb.Index
	for _, s := range a.suites {
		repositoryOf[s.config.Name] = s.repository
		indexes = append(indexes, s.release.Indexes...)
		locked := recipes.LockedRepository{
			Name: s.repository, URL: s.release.URI, Suite: s.config.Suite, Components: s.config.Components,
			Release: s.release.ReleaseDigest.Hex(), Date: s.release.Release.Date.Unix(), Indexes: []recipes.LockedIndex{},
		}
		for _, f := range s.release.Files {
			locked.Indexes = append(locked.Indexes, recipes.LockedIndex{Path: f.Path, SHA256: f.Digest.Hex(), Size: f.Size})
		}
		lock.Repositories = append(lock.Repositories, locked)
		lock.Epoch = max(lock.Epoch, locked.Date)
	}
	universe, err := deb.NewUniverse(arch.PackageArch, nil, indexes...)
	if err != nil {
		return nil, err
	}
	set, err := a.choose(ctx, universe)
	if err != nil {
		return nil, err
	}
	tools := deb.Request{}
	purpose := "the boot programs of " + r.Distro.Name
	for _, name := range r.ToolPackages() {
		tools.Packages = append(tools.Packages, deb.Item{Name: name, Origin: purpose})
	}
	toolSet, err := universe.Solve(tools)
	if err != nil {
		return nil, err
	}
	for _, name := range r.SignedPackages() {
		// Only files are taken out of these; nothing of them runs.
		p, err := universe.Newest(deb.Item{Name: name, Origin: purpose})
		if err != nil {
			return nil, err
		}
		if !slices.Contains(toolSet, p) {
			toolSet = append(toolSet, p)
		}
	}
	if lock.Packages, err = lockedDebs(set, repositoryOf); err != nil {
		return nil, err
	}
	lock.Tools, err = lockedDebs(chosenTools(toolSet), repositoryOf)
	return lock, err
}

// choose returns the packages of the image; none where its root comes whole.
func (a *debArchive) choose(ctx context.Context, universe *deb.Universe) ([]chosen[*deb.Package], error) {
	r := a.recipe
	switch {
	case !r.Rootfs.TakesPackages():
		return nil, nil
	case isHostTool(r.Rootfs.Installer):
		return a.chooseByTool(ctx)
	}
	base := r.Distro.Base
	image := deb.Request{Essential: base.Essential, Priorities: base.Priorities, Recommends: r.Rootfs.Recommends}
	asked := map[string]bool{}
	for _, name := range r.ImagePackages() {
		asked[name] = true
		image.Packages = append(image.Packages, deb.Item{Name: name, Origin: origin(r, name)})
	}
	for _, name := range r.Rootfs.Exclude {
		image.Exclude = append(image.Exclude, deb.Item{Name: name, Origin: r.Path + ": rootfs.exclude"})
	}
	set, err := universe.Solve(image)
	if err != nil {
		return nil, err
	}
	list := make([]chosen[*deb.Package], len(set))
	for i, p := range set {
		auto := !asked[p.Name] && !(base.Essential && p.Essential) && !slices.Contains(base.Priorities, p.Priority)
		list[i] = chosen[*deb.Package]{p, auto}
	}
	return list, nil
}

// lockedDebs returns packages as the lock has them.
func lockedDebs(set []chosen[*deb.Package], repositoryOf map[string]string) ([]recipes.LockedPackage, error) {
	list := make([]recipes.LockedPackage, 0, len(set))
	for _, c := range set {
		p := c.Package
		if p.SHA256.IsZero() {
			return nil, fmt.Errorf("package %s %s: the index of %s has no SHA-256 of it, so a download could not be verified", p.Name, p.Version, p.Repository)
		}
		list = append(list, recipes.LockedPackage{
			Name: p.Name, Version: p.Version, Arch: p.Arch, SHA256: p.SHA256.Hex(), Size: p.Size,
			Repository: repositoryOf[p.Repository], Filename: p.Filename, Auto: c.Auto,
		})
	}
	sortLocked(list)
	return list, nil
}
