package rootfs

import (
	"context"
	"strings"

	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Version is the version of this stage's code; see stages.Stage.
const Version = 2

// Options is what Run needs besides the packages.
type Options struct {
	Arch     string            `json:"arch"`               // the package manager's name of the architecture
	Links    map[string]string `json:"links,omitempty"`    // symbolic links that come before any package
	Epoch    int64             `json:"epoch"`              // time of what no package ships, in seconds since 1970
	Database bool              `json:"database,omitempty"` // write the package database; tools trees have none
}

// Root is the root file system as it is after a stage.
type Root struct {
	Tree store.Digest `json:"tree"`
}

// Load returns the root's tree.
func (r Root) Load(st *store.Store) (*tree.Tree, error) { return tree.Load(st, r.Tree) }

// Save puts t into st and returns the root it is.
func Save(st *store.Store, t *tree.Tree) (Root, error) {
	digest, err := tree.Save(st, t)
	return Root{Tree: digest}, err
}

// Run merges unpacked packages into a root and writes the package database that
// knows them as unpacked.
func Run(ctx context.Context, run *stages.Run, pkgs []packages.Package, o Options) (Root, error) {
	st := run.Cache.Store
	installed, err := packages.LoadDeb(ctx, st, pkgs)
	if err != nil {
		return Root{}, err
	}
	members := make([]Member, len(installed))
	for i, p := range installed {
		members[i] = Member{Name: p.Name() + ":" + p.Arch(), Tree: p.Tree}
	}
	var relationErr error
	merged, err := Merge(members, MergeOptions{
		Links: o.Links,
		Time:  tree.Time{Sec: o.Epoch},
		TakesOver: func(by, of int) bool {
			ok, err := installed[by].Replaces(installed[of])
			if err != nil {
				relationErr = err
			}
			return ok
		},
	})
	if relationErr != nil {
		return Root{}, relationErr
	}
	if err != nil {
		return Root{}, err
	}
	result := merged.Tree
	if o.Database {
		for i, lost := range merged.Lost {
			installed[i].Lost = lost
		}
		if result, err = addDatabase(st, result, installed, o); err != nil {
			return Root{}, err
		}
	}
	return Save(st, result)
}

// addDatabase adds the package database to the merged root.
func addDatabase(st *store.Store, t *tree.Tree, installed []*deb.Installed, o Options) (*tree.Tree, error) {
	files, err := deb.Database(o.Arch, installed, func(e tree.Entry) ([]byte, error) { return st.ReadAll(e.Digest) })
	if err != nil {
		return nil, err
	}
	if _, ok := t.Lookup("var/lib/apt"); ok {
		files = append(files, deb.ExtendedStates(installed))
	}
	batch, err := st.NewBatch()
	if err != nil {
		return nil, err
	}
	defer batch.Abort()
	edit := t.Edit()
	template := tree.Entry{Mode: 0o755, MTime: tree.Time{Sec: o.Epoch}}
	for _, dir := range deb.DatabaseDirs() {
		if err := edit.MkdirAll(strings.TrimPrefix(dir, "/"), template); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		digest, err := batch.AddBytes(f.Content)
		if err != nil {
			return nil, err
		}
		edit.Put(tree.Entry{
			Path: strings.TrimPrefix(f.Path, "/"), Type: tree.Regular, Mode: f.Mode, MTime: template.MTime,
			Digest: digest, Size: int64(len(f.Content)),
		})
	}
	if err := batch.Commit(); err != nil {
		return nil, err
	}
	return edit.Tree()
}
