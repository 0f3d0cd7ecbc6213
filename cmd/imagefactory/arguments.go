package main

import (
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/urfave/cli/v2"
)

// flagsFirst moves options in front of the other arguments of their command,
// where package flag expects them: people write "build recipe.hcl -o out".
// Everything behind "--" stays where it is.
func flagsFirst(app *cli.App, args []string) ([]string, error) {
	if len(args) == 0 {
		return args, nil
	}
	sorted := args[:1:1]
	rest := args[1:]
	// Walk down to the command the arguments belong to.
	var command *cli.Command
	for commands := app.Commands; len(rest) > 0; commands = command.Subcommands {
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(rest[0]) })
		if i < 0 {
			break
		}
		command = commands[i]
		sorted, rest = append(sorted, rest[0]), rest[1:]
	}
	if command == nil {
		return args, nil
	}

	var options, others []string
	for len(rest) > 0 {
		arg := rest[0]
		rest = rest[1:]
		if arg == "--" {
			others = append(others, rest...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			others = append(others, arg)
			continue
		}
		options = append(options, arg)
		name := strings.TrimLeft(arg, "-")
		if strings.Contains(name, "=") || !takesValue(command, name) {
			continue
		}
		if len(rest) == 0 {
			return nil, usageErrorf("the option %s of %s needs a value", arg, command.Name)
		}
		options, rest = append(options, rest[0]), rest[1:]
	}
	sorted = append(sorted, options...)
	if slices.ContainsFunc(others, func(a string) bool { return strings.HasPrefix(a, "-") && a != "-" }) {
		sorted = append(sorted, "--")
	}
	return append(sorted, others...), nil
}

// takesValue reports whether the command's option of that name is followed by
// a value. Of an option that does not exist it is not known; saying so is left
// to the parser.
func takesValue(command *cli.Command, name string) bool {
	for _, f := range command.Flags {
		if doc, ok := f.(cli.DocGenerationFlag); ok && slices.Contains(f.Names(), name) {
			return doc.TakesValue()
		}
	}
	return false
}

// nearest returns the candidate most like name, if any is like it at all.
func nearest(name string, candidates []string) (string, bool) {
	const alike = 0.5 // of 1; "biuld" and "build" have 0.6
	best, similarity := "", alike
	for _, c := range candidates {
		if s := levenshtein.Similarity(name, c, nil); s > similarity {
			best, similarity = c, s
		}
	}
	return best, best != ""
}

// oneArgument returns the command's only argument.
func oneArgument(c *cli.Context, what string) (string, error) {
	switch c.NArg() {
	case 0:
		return "", usageErrorf("%s needs a %s; see \"imagefactory %s --help\"", c.Command.Name, what, c.Command.Name)
	case 1:
		return c.Args().First(), nil
	}
	return "", usageErrorf("%s takes one %s, not also %q", c.Command.Name, what, c.Args().Get(1))
}

// noArguments checks that the command got no arguments.
func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return usageErrorf("%s takes no argument, but got %q", c.Command.Name, c.Args().First())
	}
	return nil
}
