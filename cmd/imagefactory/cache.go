package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/report"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/sandbox"
)

func newCacheCommand(s streams) *cli.Command {
	return &cli.Command{
		Name:  "cache",
		Usage: "list, shrink or check the cache of stages",
		Subcommands: []*cli.Command{
			newCacheListCommand(s),
			newCacheCollectCommand(s),
			newCacheVerifyCommand(s),
		},
	}
}

// cacheOptions are the options of every command that uses the cache.
type cacheOptions struct{ dir string }

func (o *cacheOptions) flag() cli.Flag {
	return &cli.PathFlag{
		Name:        "cache",
		Usage:       "keep stages and downloads in `DIR` (default: imagefactory in the user's cache directory)",
		EnvVars:     []string{"IMAGEFACTORY_CACHE"},
		Destination: &o.dir,
	}
}

// directory returns the cache directory.
func (o *cacheOptions) directory() (string, error) {
	if o.dir != "" {
		return filepath.Abs(o.dir)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", &statusError{exitHost, fmt.Errorf("there is no place for the cache: %w: choose one with --cache", err)}
	}
	return filepath.Join(base, "imagefactory"), nil
}

// open opens the cache.
func (o *cacheOptions) open() (*stages.Cache, error) {
	dir, err := o.directory()
	if err != nil {
		return nil, err
	}
	return stages.OpenCache(dir)
}

func newCacheListCommand(s streams) *cli.Command {
	var opts cacheListOptions
	return &cli.Command{
		Name:  "ls",
		Usage: "list what the cache holds, what was used last first",
		Flags: []cli.Flag{opts.cache.flag(), outputFlag(&opts.format)},
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			result, err := runCacheList(c.Context, opts)
			if err != nil {
				return err
			}
			return printResult(s.out, opts.format, result)
		},
	}
}

type cacheListOptions struct {
	cache  cacheOptions
	format choice
}

// cacheListResult is what a cache holds.
type cacheListResult struct {
	Dir     string         `json:"dir"`
	Entries []stages.Entry `json:"entries"`
}

func runCacheList(ctx context.Context, opts cacheListOptions) (cacheListResult, error) {
	cache, err := opts.cache.open()
	if err != nil {
		return cacheListResult{}, err
	}
	defer cache.Close()
	entries, err := cache.List(ctx)
	return cacheListResult{Dir: cache.Dir, Entries: entries}, err
}

func (r cacheListResult) writeText(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "LAST USED\tSIZE\tOWN\tKIND\tNAME")
	for _, e := range r.Entries {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n",
			e.Used.Local().Format(time.DateTime), report.Bytes(e.Bytes), report.Bytes(e.Own), e.Kind, e.Name)
	}
	return table.Flush()
}

func newCacheCollectCommand(s streams) *cli.Command {
	var opts cacheCollectOptions
	return &cli.Command{
		Name:  "gc",
		Usage: "drop what was used least recently until the cache is small enough",
		Flags: []cli.Flag{
			opts.cache.flag(),
			&cli.StringFlag{Name: "max-size", Usage: "keep at most `SIZE`, such as 10GiB", Destination: &opts.maxSize},
			outputFlag(&opts.format),
		},
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			size, err := opts.check()
			if err != nil {
				return err
			}
			result, err := runCacheCollect(c.Context, opts, size)
			if err != nil {
				return err
			}
			return printResult(s.out, opts.format, result)
		},
	}
}

type cacheCollectOptions struct {
	cache   cacheOptions
	maxSize string
	format  choice
}

// check returns the size in bytes.
func (o cacheCollectOptions) check() (int64, error) {
	if o.maxSize == "" {
		return 0, usageErrorf("cache gc needs --max-size: how much to keep, such as 10GiB")
	}
	if o.maxSize == "0" {
		return 0, nil
	}
	size, err := recipes.ParseSize(o.maxSize)
	if err != nil {
		return 0, usageErrorf("--max-size: %w", err)
	}
	return size, nil
}

// cacheCollectResult is what a collection did.
type cacheCollectResult struct{ stages.Summary }

func runCacheCollect(ctx context.Context, opts cacheCollectOptions, maxSize int64) (cacheCollectResult, error) {
	cache, err := opts.cache.open()
	if err != nil {
		return cacheCollectResult{}, err
	}
	defer cache.Close()
	summary, err := cache.Collect(ctx, maxSize, func(ctx context.Context, dir string) error {
		return sandbox.RemoveAll(ctx, dir, sandbox.Options{AllowSingle: true})
	})
	return cacheCollectResult{summary}, err
}

func (r cacheCollectResult) writeText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "freed %s: %d results, %d downloads, %d sandbox roots; kept %s\n",
		report.Bytes(r.Freed), r.Results, r.Downloads, r.Roots, report.Bytes(r.Kept))
	return err
}

func newCacheVerifyCommand(s streams) *cli.Command {
	var opts cacheVerifyOptions
	return &cli.Command{
		Name:  "verify",
		Usage: "check every object and result of the cache",
		Flags: []cli.Flag{
			opts.cache.flag(),
			&cli.BoolFlag{Name: "repair", Usage: "take out what is damaged, so that the next build makes it anew", Destination: &opts.repair},
			outputFlag(&opts.format),
		},
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			result, err := runCacheVerify(c.Context, opts)
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

type cacheVerifyOptions struct {
	cache  cacheOptions
	repair bool
	format choice
}

// cacheVerifyResult is what is wrong with a cache.
type cacheVerifyResult struct {
	Damage   []stages.Damage `json:"damage"`
	Repaired bool            `json:"repaired"`
}

func runCacheVerify(ctx context.Context, opts cacheVerifyOptions) (cacheVerifyResult, error) {
	cache, err := opts.cache.open()
	if err != nil {
		return cacheVerifyResult{}, err
	}
	defer cache.Close()
	damage, err := cache.Verify(ctx, opts.repair)
	return cacheVerifyResult{Damage: damage, Repaired: opts.repair}, err
}

func (r cacheVerifyResult) writeText(w io.Writer) error {
	for _, d := range r.Damage {
		if _, err := fmt.Fprintf(w, "%s: %s\n", d.Path, d.Problem); err != nil {
			return err
		}
	}
	if len(r.Damage) == 0 {
		_, err := fmt.Fprintln(w, "the cache is sound")
		return err
	}
	return nil
}

// err is the failure of a check that found damage and left it.
func (r cacheVerifyResult) err() error {
	if len(r.Damage) == 0 || r.Repaired {
		return nil
	}
	return &statusError{exitCheck, fmt.Errorf("the cache is damaged in %d places: take them out with \"imagefactory cache verify --repair\"", len(r.Damage))}
}
