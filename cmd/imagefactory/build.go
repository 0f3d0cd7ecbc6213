package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/urfave/cli/v2"

	"github.com/imagefactory/imagefactory/cmd/imagefactory/internal/progress"
	"github.com/imagefactory/imagefactory/report"
	"github.com/imagefactory/imagefactory/stages/pipeline"
)

func newBuildCommand(s streams) *cli.Command {
	var opts buildOptions
	return &cli.Command{
		Name:      "build",
		Usage:     "build the images of a recipe",
		ArgsUsage: "RECIPE",
		Description: "Writes DIR/NAME-VERSION-ARCH.raw and .qcow2, a .sha256 beside each, and manifest.json.\n" +
			"Uses RECIPE.lock when there is one. Stages that were built before are taken from the\n" +
			"cache; \"imagefactory plan\" tells which.",
		Flags: append(opts.flags(),
			&cli.BoolFlag{Name: "verify", Usage: "build once more without the cache, and name the first difference if there is one", Destination: &opts.verify},
		),
		Action: func(c *cli.Context) error {
			path, err := oneArgument(c, "recipe")
			if err != nil {
				return err
			}
			opts.recipe.path = path
			result, err := runBuild(c.Context, opts, s)
			if err != nil {
				return err
			}
			return result.print(s.out, opts.format)
		},
	}
}

type buildOptions struct {
	pipelineOptions
	only   cli.StringSlice
	verify bool
}

// flags are the options that build and plan have in common.
func (o *buildOptions) flags() []cli.Flag {
	return append(o.pipelineOptions.flags(),
		&cli.StringSliceFlag{Name: "only", Usage: "make only the output of this `TYPE`; may be repeated", Destination: &o.only},
	)
}

// buildResult is what a build did. As JSON it is one line, the last one after
// those of the events.
type buildResult struct {
	Event    string `json:"event"`              // "summary"
	Verified bool   `json:"verified,omitempty"` // built a second time, with the same result
	*pipeline.Summary
}

func runBuild(ctx context.Context, opts buildOptions, s streams) (buildResult, error) {
	recipe, err := opts.recipe.load(s)
	if err != nil {
		return buildResult{}, err
	}
	view := viewFor(s)
	if opts.format.value == formatJSON {
		view = progress.JSON(s.out)
	}
	env, closeEnv, err := opts.open(view, opts.only.Value())
	if err != nil {
		return buildResult{}, err
	}
	defer closeEnv()
	summary, err := env.Build(ctx, recipe)
	if err == nil && opts.verify {
		err = env.Verify(ctx, recipe)
	}
	return buildResult{Event: "summary", Verified: opts.verify && err == nil, Summary: summary}, err
}

func (r buildResult) print(w io.Writer, format choice) error {
	if format.value == formatJSON {
		return json.NewEncoder(w).Encode(r)
	}
	for _, o := range r.Outputs {
		fmt.Fprintf(w, "%s (%s, disk of %s) %s\n", o.Path, report.Bytes(o.Size), report.Bytes(o.VirtualSize), o.Digest)
	}
	if r.Verified {
		fmt.Fprintln(w, "built twice, with the same result in every stage")
	}
	_, err := fmt.Fprintln(w, r.Manifest)
	return err
}

// pipelineOptions are the options of the commands that work on a recipe's
// stages.
type pipelineOptions struct {
	recipe      recipeOptions
	cache       cacheOptions
	dir         string
	mirrors     cli.StringSlice
	offline     bool
	locked      bool
	allowSingle bool
	jobs        int
	format      choice
}

func (o *pipelineOptions) flags() []cli.Flag {
	return append(o.stageFlags("put the images into `DIR`"), outputFlag(&o.format))
}

// systemFlags are the options of commands that look at what a recipe builds.
func (o *pipelineOptions) systemFlags() []cli.Flag {
	return o.stageFlags("look for the images of an earlier build in `DIR`")
}

// stageFlags are the options that are not about the result; dir says what -o is for.
func (o *pipelineOptions) stageFlags(dir string) []cli.Flag {
	return append(o.recipe.flags(),
		&cli.PathFlag{Name: "o", Usage: dir, Value: defaultOutputDir, Destination: &o.dir},
		o.cache.flag(),
		&cli.StringSliceFlag{Name: "mirror", Usage: "take packages from `[REPOSITORY=]URL`; may be repeated", Destination: &o.mirrors},
		&cli.BoolFlag{Name: "locked", Usage: "refuse to resolve packages: there must be a lock that fits", Destination: &o.locked},
		&cli.BoolFlag{Name: "offline", Usage: "refuse the network", Destination: &o.offline},
		&cli.BoolFlag{Name: "allow-single-id", Usage: "build without subordinate ids, though packages with users of their own then fail", Destination: &o.allowSingle},
		&cli.IntFlag{Name: "jobs", Usage: "use at most `N` processors (default: all)", Destination: &o.jobs},
	)
}

// system builds the recipe as far as its root file system. The function it returns is for
// when nothing of the system is looked at any more.
func (o *pipelineOptions) system(ctx context.Context, s streams) (*pipeline.System, func(), error) {
	recipe, err := o.recipe.load(s)
	if err != nil {
		return nil, nil, err
	}
	env, closeEnv, err := o.open(viewFor(s), nil)
	if err != nil {
		return nil, nil, err
	}
	system, err := env.System(ctx, recipe)
	if err != nil {
		closeEnv()
		return nil, nil, err
	}
	return system, closeEnv, nil
}

// open prepares the work, whose events view shows; the function it returns ends
// it.
func (o *pipelineOptions) open(view progress.View, only []string) (*pipeline.Environment, func(), error) {
	if o.jobs < 0 {
		return nil, nil, usageErrorf("--jobs %d: use at least one processor", o.jobs)
	}
	if o.jobs > 0 {
		runtime.GOMAXPROCS(o.jobs)
	}
	cache, err := o.cache.directory()
	if err != nil {
		return nil, nil, err
	}
	env, err := pipeline.Open(pipeline.Options{
		Cache: cache, OutputDir: o.dir, Mirrors: o.mirrors.Value(), Offline: o.offline, Locked: o.locked,
		AllowSingle: o.allowSingle, Only: only, Sink: view.Show, Tool: runVersion().Version,
	})
	if err != nil {
		view.Close()
		return nil, nil, err
	}
	return env, func() {
		view.Close()
		env.Close()
	}, nil
}

// viewFor chooses how a person sees events: on the standard error, which leaves
// the standard output to results.
func viewFor(s streams) progress.View {
	switch {
	case os.Getenv("GITLAB_CI") != "":
		return progress.GitLab(s.err)
	case isTerminal(s.err):
		return progress.Bars(s.err)
	}
	return progress.Lines(s.err)
}
