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
	// Keys has, by Source.Keys, the keys of which one must have signed a package.
	Keys map[string]Keys
}

// Keys are keys that packages are verified with.
type Keys struct {
	openpgp.Keyring
	AllowLegacy bool // accept signatures as weak as distributions once had them; see openpgp.Options
}

// The parts of an RPM's metadata.
const (
	headerPart    = "header"
	signaturePart = "signature"
)

func (f RPM) unpack(ctx context.Context, st *store.Store, path string, s Source) (store.Digest, map[string][]byte, error) {
	var keys Keys
	if s.Keys != "" {
		if keys = f.Keys[s.Keys]; len(keys.Keyring) == 0 {
			return store.Digest{}, nil, errors.New("there is no key to verify it with")
		}
	}
	file, err := rpmfile.Open(path)
	if err != nil {
		return store.Digest{}, nil, unnamed(err)
	}
	defer file.Close()
	if _, err := file.Verify(ctx, keys.Keyring, openpgp.Options{AllowLegacy: keys.AllowLegacy}); err != nil {
		return store.Digest{}, nil, unnamed(err)
	}
	t, err := file.Unpack(ctx, st)
	if err != nil {
		return store.Digest{}, nil, unnamed(err)
	}
	return t, map[string][]byte{headerPart: file.Header.Blob(), signaturePart: file.Signature.Blob()}, nil
}

// unnamed returns err without the name of the file, which downloads are not known by.
func unnamed(err error) error {
	var refused *rpmfile.Error
	if errors.As(err, &refused) {
		refused.File = ""
	}
	return err
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

// LoadHeader reads the header of a package of an .rpm file, which is all that ordering and
// scriptlets need of it.
func (p *Package) LoadHeader(st *store.Store) (*header.Header, error) {
	parts, err := p.LoadControl(st)
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", p.Name, err)
	}
	h, err := header.Parse(parts[headerPart])
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", p.Name, err)
	}
	return h, nil
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
