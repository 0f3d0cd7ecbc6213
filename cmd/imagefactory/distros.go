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
			"every fact of its definition, and whether and how it was verified. --source prints the\n" +
			"definition itself, which a recipe can copy into a distro block and change.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "source", Usage: "print the definition as it is written", Destination: &opts.source},
			outputFlag(&opts.format),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 && opts.source {
				return usageErrorf("distros --source needs a name")
			}
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
			if opts.source {
				source, err := distros.Source(name)
				if err != nil {
					return err
				}
				_, err = s.out.Write(source)
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

type distrosOptions struct {
	source bool
	format choice
}

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
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", d.Name, d.Title, strings.Join(d.Architectures, ", "), d.Verified)
	}
	return table.Flush()
}

// distroResult is one distribution, with what is known of the truth of its definition.
type distroResult struct {
	*distros.Distro
	Verification string         `json:"verification"` // how far the definition was checked, one sentence
	Facts        []distros.Fact `json:"facts"`
}

func runDistro(name string) (distroResult, error) {
	d, err := distros.Load(name)
	if err != nil {
		return distroResult{}, err
	}
	return distroResult{d, d.Verification(), d.Facts()}, nil
}

func (r distroResult) writeText(w io.Writer) error {
	b := &strings.Builder{}
	var archs []string
	for _, a := range r.Architectures {
		archs = append(archs, a.Name)
	}
	fmt.Fprintf(b, "%s: %s (%s; %s)\n%s\n", r.Name, r.Title, r.Family, strings.Join(archs, ", "), r.Verification)
	for _, f := range r.Facts {
		state := "not verified"
		if f.Verified != "" {
			state = "verified here: " + f.Verified
		}
		fmt.Fprintf(b, "\n%s, %s\n", f.Kind, state)
		for _, v := range f.Values {
			fmt.Fprintf(b, "  %s\n", v)
		}
	}
	for _, list := range []struct {
		title string
		lines []string
	}{{"to know", r.Notes}, {"not checked", r.Unverified}} {
		if len(list.lines) > 0 {
			fmt.Fprintf(b, "\n%s\n  %s\n", list.title, strings.Join(list.lines, "\n  "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
