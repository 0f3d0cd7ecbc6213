package configure

import (
	"context"
	"strings"

	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Run configures the packages of a merged root of the deb family in the sandbox. arch is the package
// manager's name of the architecture.
func Run(ctx context.Context, run *stages.Run, pool *sandbox.Pool, root rootfs.Root, pkgs []packages.Package, arch string, o session.Options) (rootfs.Root, error) {
	st := run.Cache.Store
	t, err := root.Load(st)
	if err != nil {
		return rootfs.Root{}, err
	}
	installed, err := packages.LoadDeb(ctx, st, pkgs)
	if err != nil {
		return rootfs.Root{}, err
	}
	if installed, err = deb.OrderInstalled(arch, installed); err != nil {
		return rootfs.Root{}, err
	}
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
	if after, err = divert(st, after, installed); err != nil {
		return rootfs.Root{}, err
	}
	return rootfs.Save(st, after)
}

// divert adds the directories that diversions made while configuring call for.
func divert(st *store.Store, t *tree.Tree, installed []*deb.Installed) (*tree.Tree, error) {
	file, ok := t.Lookup(strings.TrimPrefix(deb.DiversionsFile, "/"))
	if !ok || file.Type != tree.Regular {
		return t, nil
	}
	diversions, err := st.ReadAll(file.Digest)
	if err != nil {
		return nil, err
	}
	dirs, err := deb.DivertedDirectories(diversions, installed)
	if err != nil || len(dirs) == 0 {
		return t, err
	}
	edit := t.Edit()
	for _, dir := range dirs {
		if _, there := edit.Get(dir.Path); !there {
			edit.Put(dir)
		}
	}
	return edit.Tree()
}
