package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/imagefactory/imagefactory/distros"
)

func newDistrosCommand(s streams) *cli.Command {
	var opts distrosOptions
	return &cli.Command{
		Name:      "distros",
		Usage:     "list the distributions, or show one",
		ArgsUsage: "[NAME]",
		Description: "Without a name, lists the distributions that recipes can name. With a name, prints\n" +
			"its definition, which a recipe can copy into a distro block and change.",
		Flags: []cli.Flag{outputFlag(&opts.format)},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				result, err := runDistros()
				if err != nil {
					return err
				}
				return printResult(s.out, opts.format, result)
			}
			name, err := oneArgument(c, "name")
			if err != nil {
				return err
			}
			result, err := runDistro(name)
			if err != nil {
				return err
			}
			return printResult(s.out, opts.format, result)
		},
	}
}

type distrosOptions struct{ format choice }

// distrosResult lists distributions.
type distrosResult struct {
	Distros []distroLine `json:"distros"`
}

type distroLine struct {
	Name          string   `json:"name"`
	Title         string   `json:"title"`
	Architectures []string `json:"architectures"`
	Verified      string   `json:"verified"` // how far its facts were checked here
}

func runDistros() (distrosResult, error) {
	var r distrosResult
	for _, name := range distros.Names() {
		d, err := distros.Load(name)
		if err != nil {
			return r, err
		}
		line := distroLine{Name: d.Name, Title: d.Title, Verified: d.Verification()}
		for _, arch := range d.Architectures {
			line.Architectures = append(line.Architectures, arch.Name)
		}
		r.Distros = append(r.Distros, line)
	}
	return r, nil
}

func (r distrosResult) writeText(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, d := range r.Distros {
		fmt.Fprintf(table, "%s\t%s\t%s\n", d.Name, d.Title, strings.Join(d.Architectures, ", "))
	}
	return table.Flush()
}

// distroResult is one distribution and the text that defines it.
type distroResult struct {
	*distros.Distro
	source []byte
}

func runDistro(name string) (distroResult, error) {
	d, err := distros.Load(name)
	if err != nil {
		return distroResult{}, err
	}
	source, err := distros.Source(name)
	return distroResult{d, source}, err
}

func (r distroResult) writeText(w io.Writer) error {
	_, err := w.Write(r.source)
	return err
}
