package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

func newVersionCommand(s streams) *cli.Command {
	var opts versionOptions
	return &cli.Command{
		Name:  "version",
		Usage: "print the version of imagefactory",
		Flags: []cli.Flag{outputFlag(&opts.format)},
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			return printResult(s.out, opts.format, runVersion())
		},
	}
}

type versionOptions struct{ format choice }

// version is the release, set by the linker: -X main.version=v0.2.0. Without
// it the version is the module's.
var version string

// versionResult says what this program was built from.
type versionResult struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // there were changes on top of the commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func runVersion() versionResult {
	r := versionResult{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return r
	}
	if r.Version == "" {
		r.Version = info.Main.Version
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			r.Commit = setting.Value
		case "vcs.modified":
			r.Modified = setting.Value == "true"
		}
	}
	return r
}

func (r versionResult) writeText(w io.Writer) error {
	commit := ""
	if r.Commit != "" {
		commit = " commit " + r.Commit
		if r.Modified {
			commit += " with changes"
		}
	}
	_, err := fmt.Fprintf(w, "imagefactory %s%s (%s, %s)\n", r.Version, commit, r.Go, r.Platform)
	return err
}
