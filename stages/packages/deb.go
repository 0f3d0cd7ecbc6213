package packages

import (
	"context"
	"fmt"

	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Deb is the format of .deb files. Nothing signs them: the index that has their
// digest is signed.
type Deb struct{}

func (Deb) unpack(ctx context.Context, st *store.Store, path string, _ Source) (store.Digest, map[string][]byte, error) {
	u, err := deb.Unpack(ctx, st, path)
	if err != nil {
		return store.Digest{}, nil, err
	}
	return u.Tree, u.Control, nil
}

// LoadDeb reads the trees and metadata of packages of .deb files.
func LoadDeb(ctx context.Context, st *store.Store, pkgs []Package) ([]*deb.Installed, error) {
	installed := make([]*deb.Installed, len(pkgs))
	for i, p := range pkgs {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		control, err := p.LoadControl(st)
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", p.Name, err)
		}
		t, err := tree.Load(st, p.Tree)
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", p.Name, err)
		}
		installed[i] = &deb.Installed{Control: control, Tree: t, Auto: p.Auto}
		if err := installed[i].Parse(); err != nil {
			return nil, fmt.Errorf("package %s: %w", p.Name, err)
		}
	}
	return installed, nil
}
