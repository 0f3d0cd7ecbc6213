package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/imagefactory/imagefactory/recipes"
)

// streams are the command's standard input, output and error.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// terminalWidth returns the width of the terminal that w is, or 0.
func terminalWidth(w io.Writer) int {
	if file, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil {
			return width
		}
	}
	return 0
}

// Exit statuses, as the help of every command states them.
const (
	exitDone   = 0
	exitFailed = 1 // the build failed, or was interrupted
	exitUsage  = 2 // the recipe or the command line is wrong
	exitHost   = 3 // the host lacks something
	exitCheck  = 4 // a check or a budget failed
)

// statusError is an error with an exit status of its own.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string   { return e.err.Error() }
func (e *statusError) Unwrap() error   { return e.err }
func (e *statusError) ExitStatus() int { return e.status }

// usageErrorf makes an error for a wrong command line.
func usageErrorf(format string, args ...any) error {
	return &statusError{exitUsage, fmt.Errorf(format, args...)}
}

// run is the whole program but for its process; it returns the exit status.
func run(ctx context.Context, args []string, s streams) int {
	app := newApp(s)
	args, err := flagsFirst(app, args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	if err == nil {
		return exitDone
	}
	return complain(ctx, err, s)
}

// complain prints an error, once, and returns the exit status it asks for.
func complain(ctx context.Context, err error, s streams) int {
	if ctx.Err() != nil {
		fmt.Fprintln(s.err, "imagefactory: interrupted")
		return exitFailed
	}
	var problems *recipes.Problems
	if errors.As(err, &problems) {
		problems.Write(s.err, terminalWidth(s.err), isTerminal(s.err))
	} else if text := err.Error(); text != "" {
		fmt.Fprintf(s.err, "imagefactory: %s\n", text)
	}
	var status interface{ ExitStatus() int }
	if errors.As(err, &status) {
		return status.ExitStatus()
	}
	if help := cli.ExitCoder(nil); errors.As(err, &help) { // of the library's own command help
		return exitUsage
	}
	return exitFailed
}

// newApp declares the program: its commands, in the order in which a newcomer
// needs them.
func newApp(s streams) *cli.App {
	app := &cli.App{
		Name:      "imagefactory",
		Usage:     "build operating system images from recipes, without root",
		UsageText: "imagefactory COMMAND [OPTION]... [ARGUMENT]...",
		Description: "Start with \"imagefactory init\", which writes a commented recipe, and\n" +
			"\"imagefactory doctor\", which tells what this host can and cannot do.\n\n" + exitHelp,
		Commands: []*cli.Command{
			newInitCommand(s),
			newValidateCommand(s),
			newFmtCommand(s),
			newLockCommand(s),
			newPlanCommand(s),
			newBuildCommand(s),
			newTrimCommand(s),
			newWhyCommand(s),
			newDiffCommand(s),
			newScanCommand(s),
			newInspectCommand(s),
			newBootCommand(s),
			newDistrosCommand(s),
			newCacheCommand(s),
			newCICommand(s),
			newDoctorCommand(s),
			newCompletionCommand(s),
			newVersionCommand(s),
		},
		Action: func(c *cli.Context) error {
			if name := c.Args().First(); name != "" {
				return unknownCommand(c.App.Commands, name)
			}
			return cli.ShowAppHelp(c)
		},
		Reader: s.in, Writer: s.out, ErrWriter: s.err,
		// complain prints errors and decides the exit status.
		ExitErrHandler:       func(*cli.Context, error) {},
		Version:              runVersion().Version,
		EnableBashCompletion: true,
		// A value such as -var list=a,b is one value.
		DisableSliceFlagSeparator: true,
	}
	declare(app.Commands)
	app.OnUsageError = wrongFlag
	return app
}

// exitHelp is part of every command's help.
const exitHelp = `Exit status: 0 done; 1 it failed; 2 the recipe or the command line is wrong;
3 the host lacks something; 4 a check or a budget failed.`

// declare adds what all commands have in common.
func declare(commands []*cli.Command) {
	for _, c := range commands {
		c.OnUsageError = wrongFlag
		c.HideHelpCommand = true
		if len(c.Subcommands) > 0 {
			c.Action = func(ctx *cli.Context) error {
				if name := ctx.Args().First(); name != "" {
					return unknownCommand(ctx.Command.Subcommands, name)
				}
				return usageErrorf("%s needs one of: %s", ctx.Command.FullName(), strings.Join(commandNames(ctx.Command.Subcommands), ", "))
			}
			declare(c.Subcommands)
			continue
		}
		c.Description = strings.TrimSpace(c.Description + "\n\n" + exitHelp)
	}
}

func commandNames(commands []*cli.Command) []string {
	var names []string
	for _, c := range commands {
		names = append(names, c.Name)
	}
	return names
}

// unknownCommand is the error for a command that does not exist.
func unknownCommand(commands []*cli.Command, name string) error {
	if near, ok := nearest(name, commandNames(commands)); ok {
		return usageErrorf("there is no command %q; did you mean %q?", name, near)
	}
	return usageErrorf("there is no command %q; the commands are %s", name, strings.Join(commandNames(commands), ", "))
}

// wrongFlag turns what package flag says about the command line into a
// sentence; a flag that does not exist gets the nearest one that does.
func wrongFlag(c *cli.Context, err error, _ bool) error {
	name, found := strings.CutPrefix(err.Error(), "flag provided but not defined: ")
	if !found {
		return usageErrorf("%w; see \"%s --help\"", err, c.Command.HelpName)
	}
	return unknownFlag(c.Command, name)
}

// unknownFlag is the error for an option that command does not have.
func unknownFlag(command *cli.Command, name string) error {
	var flags []string
	for _, f := range command.VisibleFlags() {
		flags = append(flags, f.Names()...)
	}
	name = strings.TrimLeft(name, "-")
	if near, ok := nearest(name, flags); ok {
		return usageErrorf("%s has no option %s; did you mean %s?", command.Name, dashed(name), dashed(near))
	}
	return usageErrorf("%s has no option %s; see \"%s --help\"", command.Name, dashed(name), command.HelpName)
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
