package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/imagefactory/imagefactory/recipes"
)

func newFmtCommand(s streams) *cli.Command {
	var opts fmtOptions
	return &cli.Command{
		Name:        "fmt",
		Usage:       "format recipes",
		ArgsUsage:   "FILE...",
		Description: "Prints the formatted text; \"-\" is the standard input.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "w", Usage: "write the files instead, and list those that changed", Destination: &opts.write},
			&cli.BoolFlag{Name: "check", Usage: "list the files that are not formatted, and fail if there are any", Destination: &opts.check},
		},
		Action: func(c *cli.Context) error {
			opts.paths = c.Args().Slice()
			if err := opts.validate(); err != nil {
				return err
			}
			return runFmt(opts, s)
		},
	}
}

type fmtOptions struct {
	paths []string
	write bool
	check bool
}

func (o fmtOptions) validate() error {
	switch {
	case len(o.paths) == 0:
		return usageErrorf("fmt needs a file, or \"-\" for the standard input")
	case o.write && o.check:
		return usageErrorf("-w changes files and --check does not: choose one")
	}
	return nil
}

func runFmt(opts fmtOptions, s streams) error {
	changed := 0
	for _, path := range opts.paths {
		before, err := readSource(path, s.in)
		if err != nil {
			return err
		}
		after := recipes.Format(before)
		if !opts.write && !opts.check {
			if _, err := s.out.Write(after); err != nil {
				return err
			}
			continue
		}
		if bytes.Equal(before, after) {
			continue
		}
		changed++
		fmt.Fprintln(s.out, path)
		if opts.write {
			// Rewritten in place: a recipe may be a link, or somebody else's.
			if err := os.WriteFile(path, after, 0o666); err != nil {
				return err
			}
		}
	}
	if opts.check && changed > 0 {
		return &statusError{exitCheck, fmt.Errorf("not formatted: %d of %d files; \"imagefactory fmt -w\" formats them", changed, len(opts.paths))}
	}
	return nil
}

// readSource reads a file, or the standard input for "-".
func readSource(path string, stdin io.Reader) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(path)
}
