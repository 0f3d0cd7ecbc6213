package main

import (
	"embed"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

//go:embed completions
var completions embed.FS

func newCompletionCommand(s streams) *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print what makes a shell complete this program's commands and options",
		ArgsUsage: strings.Join(completionShells, "|"),
		Description: "For bash, add to ~/.bashrc:  source <(imagefactory completion bash)\n" +
			"For zsh, add to ~/.zshrc:    source <(imagefactory completion zsh)\n" +
			"For fish:  imagefactory completion fish > ~/.config/fish/completions/imagefactory.fish",
		Action: func(c *cli.Context) error {
			shell, err := oneArgument(c, "shell ("+strings.Join(completionShells, ", ")+")")
			if err != nil {
				return err
			}
			text, err := runCompletion(c.App, shell)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(s.out, text)
			return err
		},
	}
}

var completionShells = []string{"bash", "zsh", "fish"}

func runCompletion(app *cli.App, shell string) (string, error) {
	switch shell {
	case "fish":
		return app.ToFishCompletion()
	case "bash", "zsh":
		text, err := completions.ReadFile("completions/" + shell)
		return string(text), err
	}
	return "", usageErrorf("there is no completion for %q: choose one of %s", shell, strings.Join(completionShells, ", "))
}
