package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/recipes"
)

func newInitCommand(s streams) *cli.Command {
	var opts initOptions
	return &cli.Command{
		Name:        "init",
		Usage:       "write a commented recipe to start from",
		ArgsUsage:   "[FILE]",
		Description: "FILE is recipe.hcl unless it is given; one that exists is never overwritten. Its name\nbecomes that of the image.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "distro", Usage: "build on `NAME`; \"imagefactory distros\" lists them", Value: distros.Default(), Destination: &opts.distro},
			outputFlag(&opts.format),
		},
		Action: func(c *cli.Context) error {
			opts.path = "recipe.hcl"
			if c.NArg() > 0 {
				var err error
				if opts.path, err = oneArgument(c, "file"); err != nil {
					return err
				}
			}
			result, err := runInit(opts)
			if err != nil {
				return err
			}
			return printResult(s.out, opts.format, result)
		},
	}
}

type initOptions struct {
	path   string
	distro string
	format choice
}

// initResult names the file that was written.
type initResult struct {
	Path string `json:"path"`
}

func runInit(opts initOptions) (initResult, error) {
	name := strings.TrimSuffix(filepath.Base(opts.path), ".hcl")
	text, err := recipes.Starter(name, opts.distro)
	if err != nil {
		return initResult{}, &statusError{exitUsage, err}
	}
	file, err := os.OpenFile(opts.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return initResult{}, usageErrorf("%s exists: choose another name, or remove it first", opts.path)
	}
	if err != nil {
		return initResult{}, err
	}
	_, err = file.Write(text)
	return initResult{opts.path}, errors.Join(err, file.Close())
}

func (r initResult) writeText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "wrote %s; build it with \"imagefactory build %s\"\n", r.Path, r.Path)
	return err
}
