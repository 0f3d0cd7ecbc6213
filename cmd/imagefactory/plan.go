package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/imagefactory/imagefactory/stages"
)

func newPlanCommand(s streams) *cli.Command {
	var opts buildOptions
	return &cli.Command{
		Name:        "plan",
		Usage:       "tell which stages a build would run, and why",
		ArgsUsage:   "RECIPE",
		Description: "Takes the options of build, and builds nothing.",
		Flags:       opts.flags(),
		Action: func(c *cli.Context) error {
			path, err := oneArgument(c, "recipe")
			if err != nil {
				return err
			}
			opts.recipe.path = path
			result, err := runPlan(c.Context, opts, s)
			if err != nil {
				return err
			}
			return printResult(s.out, opts.format, result)
		},
	}
}

// planResult is what a build would do.
type planResult struct {
	Stages []stages.PlannedStage `json:"stages"`
}

func runPlan(ctx context.Context, opts buildOptions, s streams) (planResult, error) {
	recipe, err := opts.recipe.load(s)
	if err != nil {
		return planResult{}, err
	}
	env, closeEnv, err := opts.open(viewFor(s), opts.only.Value())
	if err != nil {
		return planResult{}, err
	}
	defer closeEnv()
	planned, err := env.Plan(ctx, recipe)
	return planResult{planned}, err
}

func (r planResult) writeText(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range r.Stages {
		what := "run"
		if p.Cached {
			what = "cached"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", what, p.Stage, p.Reason)
	}
	return table.Flush()
}
