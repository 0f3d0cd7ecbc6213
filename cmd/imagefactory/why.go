package main

import (
	"context"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/imagefactory/imagefactory/stages/trim"
)

func newWhyCommand(s streams) *cli.Command {
	var opts whyOptions
	return &cli.Command{
		Name:      "why",
		Usage:     "tell why something is in an image, or is not",
		ArgsUsage: "RECIPE PACKAGE|PATH|SERVICE",
		Description: "Prints the chain from what the recipe or its profile asks for to the package, the absolute\n" +
			"path or the unit; or what took it away. Builds the recipe as far as its root file system.",
		Flags: append(opts.systemFlags(), outputFlag(&opts.format)),
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usageErrorf("why needs a recipe, and a package, a path or a service; see \"imagefactory why --help\"")
			}
			opts.recipe.path, opts.what = c.Args().Get(0), c.Args().Get(1)
			result, err := runWhy(c.Context, opts, s)
			if err != nil {
				return err
			}
			return printResult(s.out, opts.format, result)
		},
	}
}

type whyOptions struct {
	pipelineOptions
	what string
}

// whyResult is the explanation.
type whyResult struct{ trim.Explanation }

func runWhy(ctx context.Context, opts whyOptions, s streams) (whyResult, error) {
	system, closeSystem, err := opts.system(ctx, s)
	if err != nil {
		return whyResult{}, err
	}
	defer closeSystem()
	explanation, err := system.Why(ctx, opts.what)
	return whyResult{explanation}, err
}

func (r whyResult) writeText(w io.Writer) error {
	_, err := io.WriteString(w, r.Explanation.String())
	return err
}
