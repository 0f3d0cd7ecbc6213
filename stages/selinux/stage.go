package selinux

import (
	"context"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
)

// Version is the version of this stage's code; see stages.Stage.
const Version = 2

// Run labels root. See Label.
func Run(ctx context.Context, run *stages.Run, root rootfs.Root, o Options) (rootfs.Root, error) {
	st := run.Cache.Store
	t, err := root.Load(st)
	if err != nil {
		return rootfs.Root{}, err
	}
	labelled, err := Label(st, t, o)
	if err != nil {
		return rootfs.Root{}, err
	}
	if err := context.Cause(ctx); err != nil {
		return rootfs.Root{}, err
	}
	return rootfs.Save(st, labelled)
}
