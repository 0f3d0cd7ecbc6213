package rootfs

import (
	"context"
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm/rpmdb"
	"github.com/imagefactory/imagefactory/distros/rpm/rpmfile"
	"github.com/imagefactory/imagefactory/distros/rpm/transaction"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// RPMOptions is what RunRPM needs besides the packages.
type RPMOptions struct {
	Links     map[string]string `json:"links,omitempty"`     // symbolic links that come before any package
	Epoch     int64             `json:"epoch"`               // when packages are installed, and time of what none ships, in seconds since 1970
	Docs      bool              `json:"docs"`                // with documentation
	Languages []string          `json:"languages,omitempty"` // of files that are for one language; nil: all
	Database  string            `json:"database,omitempty"`  // directory of the package database the build writes; empty: it writes none
}

// RunRPM merges unpacked packages of the rpm family into a root. Files belong to root
// until scriptlets have made the accounts that own them.
func RunRPM(ctx context.Context, run *stages.Run, pkgs []packages.Package, o RPMOptions) (Root, error) {
	st := run.Cache.Store
	unpacked, err := packages.LoadRPM(ctx, st, pkgs)
	if err != nil {
		return Root{}, err
	}
	members := make([]Member, len(unpacked))
	for i, p := range unpacked {
		t, err := o.chosen(p)
		if err != nil {
			return Root{}, err
		}
		members[i] = Member{Name: p.Header.NEVRA(), Tree: t}
	}
	merged, err := Merge(members, MergeOptions{
		Links:     o.Links,
		Time:      tree.Time{Sec: o.Epoch},
		TakesOver: func(int, int) bool { return false },
	})
	if err != nil {
		return Root{}, err
	}
	result := merged.Tree
	if o.Database != "" {
		if result, err = o.addDatabase(st, result, unpacked); err != nil {
			return Root{}, err
		}
	}
	return Save(st, result)
}

// chosen returns what is installed of a package.
func (o RPMOptions) chosen(p *packages.UnpackedRPM) (*tree.Tree, error) {
	left := rpmfile.LeftOut(p.Header, o.Docs, o.Languages)
	if len(left) == 0 {
		return p.Tree, nil
	}
	edit := p.Tree.Edit()
	for file := range left {
		edit.Remove(strings.TrimPrefix(file, "/"))
	}
	return edit.Tree()
}

// Records returns what the package database has of packages, in the order in which they
// are installed.
func (o RPMOptions) Records(unpacked []*packages.UnpackedRPM) ([]rpmdb.Package, error) {
	members := make([]*transaction.Member, len(unpacked))
	signatures := map[*transaction.Member]*packages.UnpackedRPM{}
	for i, p := range unpacked {
		members[i] = &transaction.Member{Header: p.Header, Tree: p.Tree}
		signatures[members[i]] = p
	}
	members, err := transaction.Order(members)
	if err != nil {
		return nil, err
	}
	records := make([]rpmdb.Package, len(members))
	for i, m := range members {
		records[i] = rpmdb.Package{
			Header: m.Header, Signature: signatures[m].Signature, InstallTime: uint32(o.Epoch), TransactionID: uint32(o.Epoch),
			States: o.states(signatures[m]),
		}
	}
	return records, nil
}

// states returns the states of a package's files, nil when all are normal.
func (o RPMOptions) states(p *packages.UnpackedRPM) []byte {
	left := rpmfile.LeftOut(p.Header, o.Docs, o.Languages)
	if len(left) == 0 {
		return nil
	}
	files := p.Header.Files()
	states := make([]byte, len(files))
	for i, f := range files {
		if left[f.Path] {
			states[i] = rpmdb.FileNotInstalled
		}
	}
	return states
}

// addDatabase adds the package database to the merged root.
func (o RPMOptions) addDatabase(st *store.Store, t *tree.Tree, unpacked []*packages.UnpackedRPM) (*tree.Tree, error) {
	records, err := o.Records(unpacked)
	if err != nil {
		return nil, err
	}
	data, err := rpmdb.Write(records)
	if err != nil {
		return nil, err
	}
	digest, err := st.Put(data)
	if err != nil {
		return nil, err
	}
	// The directory may be reached through a link that a package ships.
	edit := t.Edit()
	now := tree.Time{Sec: o.Epoch}
	dir := strings.TrimPrefix(o.Database, "/")
	if real, err := t.Resolve(dir); err == nil {
		dir = real
	}
	if err := edit.MkdirAll(dir, tree.Entry{Mode: 0o755, MTime: now}); err != nil {
		return nil, err
	}
	edit.Put(tree.Entry{
		Path: path.Join(dir, rpmdb.FileName), Type: tree.Regular, Mode: 0o644, MTime: now, Digest: digest, Size: int64(len(data)),
	})
	return edit.Tree()
}
