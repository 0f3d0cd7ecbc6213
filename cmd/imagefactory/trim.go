package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/imagefactory/imagefactory/report"
)

func newTrimCommand(s streams) *cli.Command {
	var opts trimOptions
	return &cli.Command{
		Name:      "trim",
		Usage:     "tell what trimming leaves out of an image, and what stays",
		ArgsUsage: "RECIPE",
		Description: "Builds the recipe as far as its trimmed root file system, and prints packages, services,\n" +
			"files and bytes before and after, stage by stage and package by package. What must not go\n" +
			"together with something that stays, and what is over the recipe's budget, is an error.",
		Flags: append(append(opts.systemFlags(), outputFlag(&opts.format)),
			&cli.PathFlag{Name: "report", Usage: "also write a page for a browser, with a treemap, to `FILE`", Destination: &opts.report, TakesFile: true},
			&cli.BoolFlag{Name: "all", Usage: "list every package and every service", Destination: &opts.all},
		),
		Action: func(c *cli.Context) error {
			path, err := oneArgument(c, "recipe")
			if err != nil {
				return err
			}
			opts.recipe.path = path
			result, err := runTrim(c.Context, opts, s)
			if err != nil {
				return err
			}
			return result.print(s.out, opts.format)
		},
	}
}

type trimOptions struct {
	pipelineOptions
	report string // file; empty: none
	all    bool
}

// trimResult is what trimming did; text says how a person sees it.
type trimResult struct {
	*report.Trimming
	text   report.TextOptions
	report string // file that was written; empty: none
}

func runTrim(ctx context.Context, opts trimOptions, s streams) (trimResult, error) {
	system, closeSystem, err := opts.system(ctx, s)
	if err != nil {
		return trimResult{}, err
	}
	defer closeSystem()
	trimming, err := system.Trimming()
	if err != nil {
		return trimResult{}, err
	}
	if opts.report != "" {
		contents, err := system.Page(ctx, "imagefactory "+runVersion().Version)
		if err != nil {
			return trimResult{}, err
		}
		var page bytes.Buffer
		if err := report.HTML(&page, contents); err != nil {
			return trimResult{}, err
		}
		if err := os.WriteFile(opts.report, page.Bytes(), 0o666); err != nil {
			return trimResult{}, err
		}
	}
	text := report.TextOptions{Width: terminalWidth(s.out), Color: isTerminal(s.out), Files: opts.all}
	return trimResult{trimming, text, opts.report}, nil
}

func (r trimResult) print(w io.Writer, format choice) error {
	if format.value == formatJSON {
		return r.WriteJSON(w)
	}
	if err := r.WriteText(w, r.text); err != nil || r.report == "" {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s shows all of it\n", r.report)
	return err
}
