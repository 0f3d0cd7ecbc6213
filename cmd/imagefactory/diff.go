package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/imagefactory/imagefactory/report"
	"github.com/imagefactory/imagefactory/stages/store"
)

func newDiffCommand(s streams) *cli.Command {
	var opts diffOptions
	return &cli.Command{
		Name:      "diff",
		Usage:     "tell how two systems differ",
		ArgsUsage: "A B",
		Description: "A and B are recipes (*.hcl), directories that builds left, or image files, the older first.\n" +
			"Compares packages, kernels, services, accounts, privileged programs, every file with its\n" +
			"owner, mode and attributes, and the sizes of what was built. A recipe is built as far as\n" +
			"its root file system; options such as -var hold for every recipe.",
		Flags: append(append(opts.systemFlags(), outputFlag(&opts.format)),
			&cli.BoolFlag{Name: "files", Usage: "list every file, those too that packages which differ account for", Destination: &opts.files},
			&cli.BoolFlag{Name: "check", Usage: "fail if there is a difference", Destination: &opts.check},
		),
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usageErrorf("diff needs two systems: recipes, directories that builds left, or image files")
			}
			opts.sides = [2]string{c.Args().Get(0), c.Args().Get(1)}
			result, err := runDiff(c.Context, opts, s)
			if err != nil {
				return err
			}
			if err := printResult(s.out, opts.format, result); err != nil {
				return err
			}
			return result.err()
		},
	}
}

type diffOptions struct {
	pipelineOptions
	sides [2]string
	files bool
	check bool
}

// diffResult is what differs; text says how a person sees it.
type diffResult struct {
	*report.Difference
	text  report.TextOptions
	check bool
}

func runDiff(ctx context.Context, opts diffOptions, s streams) (diffResult, error) {
	// What has to be looked into in image files is of no use to later builds.
	dir, err := os.MkdirTemp("", "imagefactory-diff-")
	if err != nil {
		return diffResult{}, err
	}
	defer os.RemoveAll(dir)
	st, err := store.Open(dir)
	if err != nil {
		return diffResult{}, err
	}
	var snapshots [2]report.Snapshot
	for i, side := range opts.sides {
		if isRecipe(side) {
			var closeSystem func()
			snapshots[i], closeSystem, err = opts.snapshot(ctx, side, s)
			defer closeSystem()
		} else {
			snapshots[i], err = report.Open(ctx, st, side)
		}
		if err != nil {
			return diffResult{}, err
		}
	}
	difference, err := report.Diff(snapshots[0], snapshots[1])
	text := report.TextOptions{Width: terminalWidth(s.out), Color: isTerminal(s.out), Files: opts.files}
	return diffResult{difference, text, opts.check}, err
}

// isRecipe tells recipes from images and directories, by what they are called.
func isRecipe(path string) bool { return strings.HasSuffix(path, ".hcl") }

// snapshot builds the recipe as far as its root file system, and reads that. The function
// it returns is for when the snapshot is not looked at any more.
func (o diffOptions) snapshot(ctx context.Context, path string, s streams) (report.Snapshot, func(), error) {
	o.recipe.path = path
	system, closeSystem, err := o.system(ctx, s)
	if err != nil {
		return report.Snapshot{}, func() {}, err
	}
	snapshot, err := system.Snapshot(path)
	return snapshot, closeSystem, err
}

func (r diffResult) writeText(w io.Writer) error { return r.WriteText(w, r.text) }

// err says that there is a difference, where there must be none.
func (r diffResult) err() error {
	if !r.check || r.Equal {
		return nil
	}
	return &statusError{exitCheck, fmt.Errorf("%s differs from %s", r.B.Name, r.A.Name)}
}
