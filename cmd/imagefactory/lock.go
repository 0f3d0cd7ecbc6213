package main

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/imagefactory/imagefactory/recipes"
)

func newLockCommand(s streams) *cli.Command {
	var opts pipelineOptions
	return &cli.Command{
		Name:      "lock",
		Usage:     "pin every package and container image of a recipe",
		ArgsUsage: "RECIPE",
		Description: "Asks the repositories, whatever an earlier lock says, and writes RECIPE.lock: name,\n" +
			"version, architecture, digest, size and source of every package, the digests of the\n" +
			"indexes, and those of container images. build uses it from then on.",
		Flags: opts.flags(),
		Action: func(c *cli.Context) error {
			path, err := oneArgument(c, "recipe")
			if err != nil {
				return err
			}
			opts.recipe.path = path
			result, err := runLock(c.Context, opts, s)
			if err != nil {
				return err
			}
			return printResult(s.out, opts.format, result)
		},
	}
}

// lockResult is the lock and where it was written.
type lockResult struct {
	*recipes.Lock
	path string
}

func runLock(ctx context.Context, opts pipelineOptions, s streams) (lockResult, error) {
	recipe, err := opts.recipe.load(s)
	if err != nil {
		return lockResult{}, err
	}
	env, closeEnv, err := opts.open(viewFor(s), nil)
	if err != nil {
		return lockResult{}, err
	}
	defer closeEnv()
	lock, err := env.Resolve(ctx, recipe)
	if err != nil {
		return lockResult{}, err
	}
	result := lockResult{lock, recipes.LockPath(recipe.Path)}
	return result, lock.Write(result.path)
}

func (r lockResult) writeText(w io.Writer) error {
	containers := ""
	if len(r.Containers) > 0 {
		containers = fmt.Sprintf(", %d container images", len(r.Containers))
	}
	_, err := fmt.Fprintf(w, "%s: %d packages of the image, %d of its tools%s\n", r.path, len(r.Packages), len(r.Tools), containers)
	return err
}
