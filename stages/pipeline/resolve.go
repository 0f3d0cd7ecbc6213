package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
)

// resolveVersion is the version of the solver's code, as of stages.Stage.
const resolveVersion = 2

// Lock returns the packages of the recipe: those of its lock file, where there is
// one that fits, else what the repositories have now. found says which.
func (env *Environment) Lock(ctx context.Context, r *recipes.Recipe) (lock *recipes.Lock, found bool, err error) {
	if err := env.checkMirrors(r); err != nil {
		return nil, false, err
	}
	path := recipes.LockPath(r.Path)
	lock, err = recipes.ReadLock(path)
	switch {
	case err == nil:
		if d := r.Request().Difference(lock.Request); d != "" {
			return nil, false, &recipes.LockError{Path: path, Text: "the recipe has changed since the lock was made: " + d}
		}
		return lock, true, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, false, err
	case env.Options.Locked:
		return nil, false, &RecipeError{fmt.Errorf("--locked needs %s, and there is none; run `imagefactory lock %s` first", path, r.Path)}
	}
	lock, err = env.Resolve(ctx, r)
	return lock, false, err
}

// suite is one suite of one repository.
type suite struct {
	repository string // name
	config     deb.RepositoryConfig
	release    *deb.RepositoryIndexes
}

// Resolve asks the repositories and solves the recipe's packages, whatever a lock
// says. The same repositories and recipe give the same result, which is remembered:
// indexes are read again only when one of them has changed.
func (env *Environment) Resolve(ctx context.Context, r *recipes.Recipe) (*recipes.Lock, error) {
	env.Options.Sink(stages.Event{Kind: stages.StageStarted, Stage: "lock", Text: "asking the repositories"})
	start := time.Now()
	lock, err := env.resolve(ctx, r)
	if err != nil {
		env.Options.Sink(stages.Event{Kind: stages.StageFailed, Stage: "lock", Text: err.Error()})
		return nil, err
	}
	env.Options.Sink(stages.Event{Kind: stages.StageDone, Stage: "lock", Millis: time.Since(start).Milliseconds()})
	return lock, nil
}

func (env *Environment) resolve(ctx context.Context, r *recipes.Recipe) (*recipes.Lock, error) {
	if err := env.checkMirrors(r); err != nil {
		return nil, err
	}
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
	if err := group.Wait(); err != nil {
		return nil, err
	}
	request := r.Request()
	var digests []string
	for _, s := range suites {
		digests = append(digests, s.repository, s.release.ReleaseDigest.Hex())
	}
	key := stages.Key("resolve", resolveVersion, []any{request, digests})
	lock, _, err := stages.Memo(ctx, env.Cache, key, "resolve", func(ctx context.Context) (*recipes.Lock, error) {
		return env.solve(ctx, r, request, suites)
	})
	if err != nil {
		return nil, err
	}
	// Where the repository was found this time is not part of the key.
	for i, s := range suites {
		lock.Repositories[i].URL = s.release.URI
	}
	return lock, nil
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

// solve reads the indexes and solves the request.
func (env *Environment) solve(ctx context.Context, r *recipes.Recipe, request recipes.Request, suites []*suite) (*recipes.Lock, error) {
	arch, _ := r.Distro.Architecture(r.Arch)
	lock := &recipes.Lock{Version: recipes.LockVersion, Distro: r.Distro.Name, Arch: r.Arch, Request: request}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, s := range suites {
		group.Go(func() error { return s.release.Load(groupCtx, env.client, s.config) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	repositoryOf := map[string]string{} // name given to ParseIndex to name in the recipe
	var indexes []*deb.Index
	for _, s := range suites {
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
	base := r.Distro.Base
	image := deb.Request{Essential: base.Essential, Priorities: base.Priorities, Recommends: r.Rootfs.Recommends}
	asked := map[string]bool{}
	for _, name := range r.ImagePackages() {
		item := deb.Item{Name: name, Origin: "the distribution's data for " + r.Distro.Name}
		if slices.Contains(r.Rootfs.Packages, name) {
			item.Origin = r.Path + ": rootfs.packages"
		}
		asked[name] = true
		image.Packages = append(image.Packages, item)
	}
	for _, name := range r.Rootfs.Exclude {
		image.Exclude = append(image.Exclude, deb.Item{Name: name, Origin: r.Path + ": rootfs.exclude"})
	}
	set, err := universe.Solve(image)
	if err != nil {
		return nil, err
	}
	tools := deb.Request{}
	origin := "the boot programs of " + r.Distro.Name
	for _, name := range r.ToolPackages() {
		tools.Packages = append(tools.Packages, deb.Item{Name: name, Origin: origin})
	}
	toolSet, err := universe.Solve(tools)
	if err != nil {
		return nil, err
	}
	for _, name := range r.SignedPackages() {
		// Only files are taken out of these; nothing of them runs.
		p, err := universe.Newest(deb.Item{Name: name, Origin: origin})
		if err != nil {
			return nil, err
		}
		if !slices.Contains(toolSet, p) {
			toolSet = append(toolSet, p)
		}
	}
	auto := func(p *deb.Package) bool {
		return !asked[p.Name] && !(base.Essential && p.Essential) && !slices.Contains(base.Priorities, p.Priority)
	}
	if lock.Packages, err = locked(set, repositoryOf, auto); err != nil {
		return nil, err
	}
	lock.Tools, err = locked(toolSet, repositoryOf, func(*deb.Package) bool { return false })
	return lock, err
}

// locked returns packages as the lock has them.
func locked(set []*deb.Package, repositoryOf map[string]string, auto func(*deb.Package) bool) ([]recipes.LockedPackage, error) {
	list := make([]recipes.LockedPackage, 0, len(set))
	for _, p := range set {
		if p.SHA256.IsZero() {
			return nil, fmt.Errorf("package %s %s: the index of %s has no SHA-256 of it, so a download could not be verified", p.Name, p.Version, p.Repository)
		}
		list = append(list, recipes.LockedPackage{
			Name: p.Name, Version: p.Version, Arch: p.Arch, SHA256: p.SHA256.Hex(), Size: p.Size,
			Repository: repositoryOf[p.Repository], Filename: p.Filename, Auto: auto(p),
		})
	}
	slices.SortFunc(list, func(a, b recipes.LockedPackage) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Version, b.Version))
	})
	return list, nil
}
