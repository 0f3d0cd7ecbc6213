package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/imagefactory/imagefactory/doctor"
)

func newDoctorCommand(s streams) *cli.Command {
	var opts doctorOptions
	return &cli.Command{
		Name:  "doctor",
		Usage: "tell what this host can and cannot do, and how to mend it",
		Flags: []cli.Flag{
			opts.cache.flag(),
			&cli.BoolFlag{Name: "mirrors", Usage: "also try whether the distributions' mirrors answer", Destination: &opts.mirrors},
			outputFlag(&opts.format),
		},
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			result, err := runDoctor(c.Context, opts)
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

type doctorOptions struct {
	cache   cacheOptions
	mirrors bool
	format  choice
}

// doctorResult is what was found out about the host.
type doctorResult struct {
	Verdict  doctor.Verdict   `json:"verdict"` // the worst
	Findings []doctor.Finding `json:"findings"`
}

func runDoctor(ctx context.Context, opts doctorOptions) (doctorResult, error) {
	dir, err := opts.cache.directory()
	if err != nil {
		return doctorResult{}, err
	}
	findings := doctor.Examine(ctx, doctor.Options{Cache: dir, Mirror: opts.mirrors})
	return doctorResult{doctor.Worst(findings), findings}, nil
}

func (r doctorResult) writeText(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range r.Findings {
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.Verdict, f.About, f.Found)
		if f.Remedy != "" {
			fmt.Fprintf(table, "\t\t→ %s\n", f.Remedy)
		}
	}
	return table.Flush()
}

// err says that no build is possible.
func (r doctorResult) err() error {
	if r.Verdict == doctor.Blocking {
		return &statusError{exitHost, errors.New("this host cannot build images: mend what is marked blocking")}
	}
	return nil
}
