package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/imagefactory/imagefactory/recipes"
)

func newValidateCommand(s streams) *cli.Command {
	var opts validateOptions
	return &cli.Command{
		Name:      "validate",
		Usage:     "check a recipe without building it",
		ArgsUsage: "RECIPE",
		Flags:     append(opts.recipe.flags(), outputFlag(&opts.format)),
		Action: func(c *cli.Context) error {
			path, err := oneArgument(c, "recipe")
			if err != nil {
				return err
			}
			opts.recipe.path = path
			result, err := runValidate(opts, s)
			if err != nil {
				return err
			}
			return printResult(s.out, opts.format, result)
		},
	}
}

type validateOptions struct {
	recipe recipeOptions
	format choice
}

// validateResult says what the recipe builds.
type validateResult struct {
	Recipe  string   `json:"recipe"`
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Arch    string   `json:"arch"`
	Distro  string   `json:"distro"`
	Outputs []string `json:"outputs"`
}

func runValidate(opts validateOptions, s streams) (validateResult, error) {
	recipe, err := opts.recipe.load(s)
	if err != nil {
		return validateResult{}, err
	}
	r := validateResult{
		Recipe: recipe.Path, Name: recipe.Name, Version: recipe.Version, Arch: recipe.Arch, Distro: recipe.Distro.Name,
	}
	for _, output := range recipe.Outputs {
		r.Outputs = append(r.Outputs, output.Type)
	}
	return r, nil
}

func (r validateResult) writeText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s is valid: %s %s for %s, %s, gives %s\n",
		r.Recipe, r.Name, r.Version, r.Arch, r.Distro, strings.Join(r.Outputs, ", "))
	return err
}

// recipeOptions are the options of every command that reads a recipe.
type recipeOptions struct {
	path     string
	vars     cli.StringSlice
	varFiles cli.StringSlice
}

func (o *recipeOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "var", Usage: "set a `NAME=VALUE` of the recipe's variables; may be repeated", Destination: &o.vars},
		&cli.StringSliceFlag{Name: "var-file", Usage: "read variables from `FILE`; may be repeated", Destination: &o.varFiles, TakesFile: true},
	}
}

// options translates the flags for package recipes.
func (o *recipeOptions) options() (recipes.Options, error) {
	values := map[string]string{}
	for _, assignment := range o.vars.Value() {
		name, value, ok := strings.Cut(assignment, "=")
		if !ok || name == "" {
			return recipes.Options{}, usageErrorf("-var %q: write NAME=VALUE", assignment)
		}
		values[name] = value
	}
	return recipes.Options{Vars: values, VarFiles: o.varFiles.Value(), Environ: os.Environ()}, nil
}

// load reads the recipe; warnings go to the standard error.
func (o *recipeOptions) load(s streams) (*recipes.Recipe, error) {
	options, err := o.options()
	if err != nil {
		return nil, err
	}
	recipe, problems := recipes.Load(o.path, options)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	if len(problems.Diagnostics) > 0 {
		if err := problems.Write(s.err, terminalWidth(s.err), isTerminal(s.err)); err != nil {
			return nil, err
		}
	}
	return recipe, nil
}
