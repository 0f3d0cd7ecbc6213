package packages

import (
	"context"
	"errors"
	"fmt"

	"github.com/imagefactory/imagefactory/distros/openpgp"
	"github.com/imagefactory/imagefactory/distros/rpm/header"
	"github.com/imagefactory/imagefactory/distros/rpm/rpmfile"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// RPM is the format of .rpm files, which are signed each.
type RPM struct {
	// Keyrings has, by Source.Keys, the keys of which one must have signed a package.
	Keyrings map[string]openpgp.Keyring
	// AllowLegacy accepts signatures of distributions so old that they have no better.
	AllowLegacy bool
}

// The parts of an RPM's metadata.
const (
	headerPart    = "header"
	signaturePart = "signature"
)

func (f RPM) unpack(ctx context.Context, st *store.Store, path string, s Source) (store.Digest, map[string][]byte, error) {
	var keys openpgp.Keyring
	if s.Keys != "" {
		if keys = f.Keyrings[s.Keys]; len(keys) == 0 {
			return store.Digest{}, nil, errors.New("there is no key to verify it with")
		}
	}
	file, err := rpmfile.Open(path)
	if err != nil {
		return store.Digest{}, nil, err
	}
	defer file.Close()
	if _, err := file.Verify(ctx, keys, openpgp.Options{AllowLegacy: f.AllowLegacy}); err != nil {
		return store.Digest{}, nil, err
	}
	t, err := file.Unpack(ctx, st)
	if err != nil {
		return store.Digest{}, nil, err
	}
	return t, map[string][]byte{headerPart: file.Header.Blob(), signaturePart: file.Signature.Blob()}, nil
}

// UnpackedRPM is an unpacked package of an .rpm file.
type UnpackedRPM struct {
	Header, Signature *header.Header
	Tree              *tree.Tree // owned by root; who owns its files is in the header, by name
}

// LoadRPM reads the trees and metadata of packages of .rpm files.
func LoadRPM(ctx context.Context, st *store.Store, pkgs []Package) ([]*UnpackedRPM, error) {
	unpacked := make([]*UnpackedRPM, len(pkgs))
	for i, p := range pkgs {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		u, err := p.loadRPM(st)
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", p.Name, err)
		}
		unpacked[i] = u
	}
	return unpacked, nil
}

func (p *Package) loadRPM(st *store.Store) (*UnpackedRPM, error) {
	parts, err := p.LoadControl(st)
	if err != nil {
		return nil, err
	}
	u := &UnpackedRPM{}
	if u.Header, err = header.Parse(parts[headerPart]); err != nil {
		return nil, err
	}
	if u.Signature, err = header.ParseSignature(parts[signaturePart]); err != nil {
		return nil, err
	}
	u.Tree, err = tree.Load(st, p.Tree)
	return u, err
}
