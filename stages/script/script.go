// Package script is the stage that runs one script of the recipe in the root.
package script

import (
	"context"
	"errors"
	"maps"
	"os"
	"path"
	"path/filepath"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/session"
)

// Version is the version of this stage's code; see stages.Stage.
const Version = 1

// InputsDir is where a script finds its inputs.
const InputsDir = "/run/imagefactory/inputs"

// scriptPath is where a script that is a file of its own lies while it runs.
const scriptPath = "/run/imagefactory/script"

// Script is the script to run.
type Script struct {
	Name    string
	Content []byte // the program
	Inline  bool   // Content is text for /bin/sh -e; otherwise a program that says itself how it is run
	Env     map[string]string
	Network bool
	Inputs  []Input
}

// Input is a file or directory of the host that a script may read.
type Input struct {
	Path string // on the host
	Name string // below InputsDir
}

// Run runs s in root.
func Run(ctx context.Context, run *stages.Run, pool *sandbox.Pool, root rootfs.Root, s Script, o session.Options) (rootfs.Root, error) {
	t, err := root.Load(run.Cache.Store)
	if err != nil {
		return rootfs.Root{}, err
	}
	command := session.Command{Name: "script " + s.Name, Env: maps.Clone(s.Env), Network: s.Network}
	for _, in := range s.Inputs {
		command.Binds = append(command.Binds, sandbox.Bind{Source: in.Path, Target: path.Join(InputsDir, in.Name)})
	}
	if s.Inline {
		command.Args = []string{"/bin/sh", "-e", "-c", string(s.Content)}
	} else {
		// In the cache and not in /tmp, which may forbid execution.
		dir, err := run.Cache.Scratch()
		if err != nil {
			return rootfs.Root{}, err
		}
		defer os.RemoveAll(dir)
		program := filepath.Join(dir, "script")
		// 0755 whatever the umask, and whatever the mode of the file it came from.
		if err := errors.Join(os.WriteFile(program, s.Content, 0o700), os.Chmod(program, 0o755)); err != nil {
			return rootfs.Root{}, err
		}
		command.Binds = append(command.Binds, sandbox.Bind{Source: program, Target: scriptPath})
		command.Args = []string{scriptPath}
	}
	after, err := session.Run(ctx, run, pool, t, o, func(ctx context.Context, in *session.Session) error {
		return in.Run(ctx, command)
	})
	if err != nil {
		return rootfs.Root{}, err
	}
	return rootfs.Save(run.Cache.Store, after)
}
