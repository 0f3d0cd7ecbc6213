package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/imagefactory/imagefactory/cmd/imagefactory/internal/gitlab"
	"github.com/imagefactory/imagefactory/recipes"
)

func newCICommand(s streams) *cli.Command {
	return &cli.Command{
		Name:        "ci",
		Usage:       "write pipelines that build recipes",
		Subcommands: []*cli.Command{newCIGitLabCommand(s)},
	}
}

func newCIGitLabCommand(s streams) *cli.Command {
	var opts ciOptions
	return &cli.Command{
		Name:      "gitlab",
		Usage:     "write a .gitlab-ci.yml for recipes",
		ArgsUsage: "[RECIPE]...",
		Description: "Run it in the project's directory; the recipes are those *.hcl there unless some are\n" +
			"named. Every recipe is checked. The jobs need no privileges and share their caches.",
		Flags: append(opts.recipe.flags(),
			&cli.PathFlag{Name: "o", Usage: "write to `FILE` instead of the standard output", Destination: &opts.file, TakesFile: true},
			&cli.StringFlag{Name: "image", Usage: "run the jobs in this container `IMAGE`", Value: "registry.example.com/imagefactory:latest", Destination: &opts.image},
			&cli.StringFlag{Name: "user", Usage: "run the jobs as `UID:GID`", Value: "1000:1000", Destination: &opts.user},
		),
		Action: func(c *cli.Context) error {
			opts.recipes = c.Args().Slice()
			text, err := runCIGitLab(opts, s)
			if err != nil {
				return err
			}
			return writeFileOr(s.out, opts.file, text)
		},
	}
}

type ciOptions struct {
	recipe  recipeOptions
	recipes []string
	file    string
	image   string
	user    string
}

func runCIGitLab(opts ciOptions, s streams) ([]byte, error) {
	paths := opts.recipes
	if len(paths) == 0 {
		var err error
		if paths, err = filepath.Glob("*.hcl"); err != nil {
			return nil, err
		}
		if len(paths) == 0 {
			return nil, usageErrorf("there is no *.hcl in this directory: name the recipes to build")
		}
	}
	var jobs []gitlab.Job
	for _, path := range paths {
		job, err := opts.job(path, s)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, job)
	}
	return gitlab.Pipeline(jobs, gitlab.Options{Image: opts.image, User: opts.user}), nil
}

// job reads one recipe.
func (o ciOptions) job(path string, s streams) (gitlab.Job, error) {
	if !gitlab.Local(filepath.ToSlash(path)) {
		return gitlab.Job{}, usageErrorf("%s is not below this directory, and a pipeline has nothing else: run the command in the project's directory", path)
	}
	one := o.recipe
	one.path = path
	recipe, err := one.load(s)
	if err != nil {
		return gitlab.Job{}, err
	}
	job := gitlab.Job{Recipe: filepath.ToSlash(filepath.Clean(path)), Distro: recipe.Distro.Name, Arch: recipe.Arch}
	for _, output := range recipe.Outputs {
		job.Outputs = append(job.Outputs, output.Type)
	}
	_, err = os.Stat(recipes.LockPath(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return gitlab.Job{}, err
	}
	job.Locked = err == nil
	return job, nil
}

// writeFileOr writes the text to the file, or to w when there is no name.
func writeFileOr(w io.Writer, file string, text []byte) error {
	if file == "" {
		_, err := w.Write(text)
		return err
	}
	if err := os.WriteFile(file, text, 0o666); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "wrote %s\n", file)
	return err
}
