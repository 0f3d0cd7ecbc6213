// Package configure is the stage that makes a configured system of unpacked
// packages: their maintainer scripts run in the sandbox.
package configure

import (
	"context"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Version is the version of this stage's code; see stages.Stage.
const Version = 2

// Run configures the packages of a merged root in the sandbox.
func Run(ctx context.Context, run *stages.Run, pool *sandbox.Pool, root rootfs.Root, pkgs []packages.Package, o session.Options) (rootfs.Root, error) {
	st := run.Cache.Store
	t, err := tree.Load(st, root.Tree)
	if err != nil {
		return rootfs.Root{}, err
	}
	installed, err := packages.Load(ctx, st, pkgs)
	if err != nil {
		return rootfs.Root{}, err
	}
	slices.SortFunc(installed, func(a, b *deb.Installed) int { return strings.Compare(a.Name(), b.Name()) })
	steps, err := deb.ConfigureSteps(installed)
	if err != nil {
		return rootfs.Root{}, err
	}
	after, err := session.Run(ctx, run, pool, t, o, func(ctx context.Context, s *session.Session) error {
		for _, step := range steps {
			if err := s.Run(ctx, session.Command{Name: step.Name, Args: step.Args}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return rootfs.Root{}, err
	}
	digest, err := tree.Save(st, after)
	return rootfs.Root{Tree: digest}, err
}
