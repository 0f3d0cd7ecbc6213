package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
)

// resolveVersion is the version of the solver's code, as of stages.Stage.
const resolveVersion = 3

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

// archive is the repositories of a recipe, found and verified but not yet read: those
// of one package family.
type archive interface {
	// state identifies what the repositories have now. As long as it is the same, so
	// is what solve makes of a request.
	state() []string
	// urls returns where each of the lock's repositories was found.
	urls() []string
	// solve reads the repositories and chooses packages.
	solve(ctx context.Context, request recipes.Request) (*recipes.Lock, error)
}

// find finds the repositories of a recipe.
func (env *Environment) find(ctx context.Context, r *recipes.Recipe) (archive, error) {
	if r.Distro.Family == distros.FamilyRPM {
		return env.findRPM(ctx, r)
	}
	return env.findDeb(ctx, r)
}

func (env *Environment) resolve(ctx context.Context, r *recipes.Recipe) (*recipes.Lock, error) {
	if err := env.checkMirrors(r); err != nil {
		return nil, err
	}
	found, err := env.find(ctx, r)
	if err != nil {
		return nil, err
	}
	tool, err := toolVersion(ctx, r)
	if err != nil {
		return nil, err
	}
	request := r.Request()
	key := stages.Key("resolve", resolveVersion, []any{request, found.state(), tool})
	lock, _, err := stages.Memo(ctx, env.Cache, key, "resolve", func(ctx context.Context) (*recipes.Lock, error) {
		return found.solve(ctx, request)
	})
	if err != nil {
		return nil, err
	}
	// Where the repository was found this time is not part of the key.
	for i, url := range found.urls() {
		lock.Repositories[i].URL = url
	}
	if r.Rootfs.Installer == recipes.InstallerImage {
		if lock.Image, err = env.resolveImage(ctx, r); err != nil {
			return nil, err
		}
	}
	lock.Containers, err = env.resolveContainers(ctx, r)
	return lock, err
}

// chosen is a package of an image or of the tools.
type chosen[P any] struct {
	Package P
	Auto    bool // nobody asked for it
}

// chosenTools returns tools as chosen: all of them were asked for.
func chosenTools[P any](set []P) []chosen[P] {
	list := make([]chosen[P], len(set))
	for i, p := range set {
		list[i].Package = p
	}
	return list
}

// sortLocked puts locked packages into the order of the lock.
func sortLocked(list []recipes.LockedPackage) {
	slices.SortFunc(list, func(a, b recipes.LockedPackage) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Version, b.Version))
	})
}

// origin says, for messages, who asked for a package.
func origin(r *recipes.Recipe, name string) string {
	if slices.Contains(r.Rootfs.Packages, name) {
		return r.Path + ": rootfs.packages"
	}
	return "the distribution's data for " + r.Distro.Name
}
