package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/imagefactory/imagefactory/baselines"
	"github.com/imagefactory/imagefactory/inspect"
	"github.com/imagefactory/imagefactory/scan"
	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/pipeline"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Forms of a scan's result besides JSON.
const (
	formatTable = "table"
	formatJUnit = "junit"
)

func newScanCommand(s streams) *cli.Command {
	var opts scanOptions
	opts.format = choice{value: formatTable, allowed: []string{formatTable, formatJSON, formatJUnit}}
	opts.severity = choice{value: string(baselines.Low), allowed: baselines.Severities}
	return &cli.Command{
		Name:      "scan",
		Usage:     "check a system by the rules of a baseline",
		ArgsUsage: "RECIPE|IMAGE",
		Description: "Tells of every rule whether it holds, with what was found, and lists what deserves a look:\n" +
			"set-user-ID programs, files that everybody can write or nobody owns, empty passwords, weak\n" +
			"and private keys. A recipe (*.hcl) is built as far as its root file system, and its harden\n" +
			"block says which rules; an image is checked by the baseline. Nothing of the system runs.",
		Flags: append(opts.systemFlags(),
			&cli.GenericFlag{Name: "format", Aliases: []string{"output"}, Usage: "how to print the result: table, json or junit", Value: &opts.format},
			&cli.StringFlag{Name: "profile", Usage: "check by the rules of the baseline `NAME`", Destination: &opts.profile},
			&cli.StringSliceFlag{Name: "skip", Usage: "of an image, leave out the rule `ID`; may be repeated", Destination: &opts.skip},
			&cli.GenericFlag{Name: "severity", Usage: "fail for rules of at least this severity: low, medium or high", Value: &opts.severity},
			&cli.BoolFlag{Name: "all", Usage: "list rules that hold or do not apply as well", Destination: &opts.all},
			&cli.BoolFlag{Name: "openscap", Usage: "also run oscap over the files, where it is installed", Destination: &opts.openSCAP},
			&cli.PathFlag{Name: "openscap-content", Usage: "take its rules from the data stream `FILE`", Destination: &opts.content, TakesFile: true},
			&cli.StringFlag{Name: "openscap-profile", Usage: "take the profile `ID` of its rules", Destination: &opts.contentProfile},
		),
		Action: func(c *cli.Context) error {
			target, err := oneArgument(c, "recipe or image")
			if err != nil {
				return err
			}
			opts.target = target
			if err := opts.check(); err != nil {
				return err
			}
			result, err := runScan(c.Context, opts, s)
			if err != nil {
				return err
			}
			if err := result.print(s.out, opts.format); err != nil {
				return err
			}
			return result.Err(baselines.Severity(opts.severity.value))
		},
	}
}

type scanOptions struct {
	pipelineOptions
	target         string
	profile        string
	skip           cli.StringSlice
	severity       choice
	all            bool
	openSCAP       bool
	content        string
	contentProfile string
}

func (o *scanOptions) check() error {
	switch {
	case isRecipe(o.target) && len(o.skip.Value()) > 0:
		return usageErrorf("--skip is for images: a recipe says in its harden block which rules are skipped")
	case !o.openSCAP && (o.content != "" || o.contentProfile != ""):
		return usageErrorf("--openscap-content and --openscap-profile need --openscap")
	}
	return nil
}

// scanResult is what was found; width and all say how a person sees it.
type scanResult struct {
	*scan.Result
	width int
	all   bool
}

func runScan(ctx context.Context, opts scanOptions, s streams) (scanResult, error) {
	run := opts.scanImage
	if isRecipe(opts.target) {
		opts.recipe.path = opts.target
		run = func(ctx context.Context) (*scan.Result, error) { return opts.scanRecipe(ctx, s) }
	}
	result, err := run(ctx)
	return scanResult{result, terminalWidth(s.out), opts.all}, err
}

// scanRecipe checks what the recipe builds.
func (o *scanOptions) scanRecipe(ctx context.Context, s streams) (*scan.Result, error) {
	system, closeSystem, err := o.system(ctx, s)
	if err != nil {
		return nil, err
	}
	defer closeSystem()
	result, err := system.Scan(ctx, o.profile)
	if err != nil || !o.openSCAP {
		return result, err
	}
	return o.addOpenSCAP(ctx, result, system.Store, system.Tree)
}

// scanImage checks the system in an image file.
func (o *scanOptions) scanImage(ctx context.Context) (*scan.Result, error) {
	profile, err := baselines.Load(cmp.Or(o.profile, pipeline.DefaultBaseline))
	if err != nil {
		return nil, err
	}
	rules, err := profile.Select(o.skip.Value(), nil)
	if err != nil {
		return nil, err
	}
	image, err := inspect.Open(o.target)
	if err != nil {
		return nil, err
	}
	defer image.Close()
	// The image's files are of no use to later builds.
	dir, err := os.MkdirTemp("", "imagefactory-scan-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	st, err := store.Open(dir)
	if err != nil {
		return nil, err
	}
	system, err := image.System(ctx, inspect.SystemOptions{Store: st, Contents: func(tree.Entry) bool { return true }})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.target, err)
	}
	options := scan.Options{Name: o.target, Profile: profile.Name}
	switch db, err := installed.Read(st, system.Tree); {
	case err == nil:
		options.Owners = db.Owners
	case !errors.Is(err, installed.ErrNoDatabase):
		return nil, fmt.Errorf("%s: %w", o.target, err)
	}
	result, err := scan.Tree(ctx, st, system.Tree, rules, options)
	if err != nil || !o.openSCAP {
		return result, err
	}
	return o.addOpenSCAP(ctx, result, st, system.Tree)
}

func (o *scanOptions) addOpenSCAP(ctx context.Context, result *scan.Result, st *store.Store, t *tree.Tree) (*scan.Result, error) {
	var err error
	result.OpenSCAP, err = scan.RunOpenSCAP(ctx, st, t, scan.OpenSCAPOptions{Content: o.content, Profile: o.contentProfile})
	return result, err
}

func (r scanResult) print(w io.Writer, format choice) error {
	switch format.value {
	case formatJSON:
		return r.WriteJSON(w)
	case formatJUnit:
		return r.WriteJUnit(w)
	}
	return r.WriteTable(w, r.width, r.all)
}
