package repodata

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/distros/rpm"
	"github.com/imagefactory/imagefactory/distros/rpm/header"
	"github.com/imagefactory/imagefactory/distros/rpm/rpmfile"
	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages/store"
)

// scan makes a repository of the packages in the directory at r.URL and below it,
// sorted by path. Digest is that of a text with a line for each package file: its
// digest ("sha256:…"), a space, its path. Date is when the newest package was built.
//
// The packages are read for their headers and digests alone: their signatures are
// verified when they are installed, like those of any repository.
func (r *Repository) scan(ctx context.Context, client *fetch.Client) error {
	files, err := client.List(ctx, r.URL)
	if err != nil {
		return err
	}
	if r.config.RequireSignature {
		return unusable("%s has no repodata/repomd.xml that could be signed, and this repository must be", r.URL)
	}
	files = onlyPackages(files)
	if len(files) == 0 {
		return unusable("%s has neither repodata/repomd.xml nor packages (*.rpm)", r.URL)
	}
	packages := make([]*rpm.Package, len(files)) // nil: not wanted
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, file := range files {
		group.Go(func() (err error) {
			packages[i], err = r.scanPackage(groupCtx, client, file)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	r.primary = &Primary{}
	var list strings.Builder
	seen := make(map[store.Digest]bool)
	for _, p := range packages {
		if p == nil || seen[p.SHA256] {
			continue
		}
		seen[p.SHA256] = true
		r.primary.Packages = append(r.primary.Packages, p)
		r.Date = max(r.Date, p.BuildTime)
		fmt.Fprintf(&list, "%s %s\n", p.SHA256, p.Location)
	}
	r.Digest = store.Sum([]byte(list.String()))
	return nil
}

// onlyPackages returns the files that are packages by their name.
func onlyPackages(files []fetch.LocalFile) []fetch.LocalFile {
	var packages []fetch.LocalFile
	for _, f := range files {
		if strings.HasSuffix(f.Path, ".rpm") && !strings.HasSuffix(f.Path, ".src.rpm") {
			packages = append(packages, f)
		}
	}
	return packages
}

// scanPackage reads one package; nil is one of another architecture.
func (r *Repository) scanPackage(ctx context.Context, client *fetch.Client, file fetch.LocalFile) (*rpm.Package, error) {
	f, err := client.Open(ctx, file.URL)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.URL, err)
	}
	defer f.Close()
	pkg, err := rpmfile.Read(f, file.Size, file.Path)
	if err != nil {
		return nil, err
	}
	h := pkg.Header
	if h.IsSource() || !wantedArch(h.Arch(), r.config.Arch) {
		return nil, nil
	}
	digest := sha256.New()
	if err := hashAll(ctx, digest, f); err != nil {
		return nil, fmt.Errorf("%s: %w", file.URL, err)
	}
	p := newPackage(h)
	p.Repository = r.Name
	p.Location = strings.TrimPrefix(file.URL, r.URL+"/")
	p.Size = file.Size
	p.SHA256 = store.Digest(digest.Sum(nil))
	if err := check(p); err != nil {
		return nil, fmt.Errorf("%s: %w", file.URL, err)
	}
	return p, nil
}

// hashAll hashes all that r has, unless the context ends.
func hashAll(ctx context.Context, h hash.Hash, r io.Reader) error {
	for {
		_, err := io.CopyN(h, r, 4<<20)
		switch {
		case err == io.EOF:
			return nil
		case err == nil:
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// newPackage describes a package as createrepo_c does in primary.xml, but for Files,
// which are complete.
func newPackage(h *header.Header) *rpm.Package {
	p := &rpm.Package{
		Name: h.Name(), EVR: h.EVR(), Arch: h.Arch(),
		SourceRPM:   h.String(header.TagSourceRPM),
		Summary:     h.String(header.TagSummary),
		License:     h.String(header.TagLicense),
		Provides:    dependencies(h, header.Provides),
		Requires:    dependencies(h, header.Requires),
		Conflicts:   dependencies(h, header.Conflicts),
		Obsoletes:   dependencies(h, header.Obsoletes),
		Recommends:  dependencies(h, header.Recommends),
		Suggests:    dependencies(h, header.Suggests),
		Supplements: dependencies(h, header.Supplements),
		Enhances:    dependencies(h, header.Enhances),
	}
	if built, ok := h.Uint32(header.TagBuildTime); ok {
		p.BuildTime = int64(built)
	}
	if long := h.Uint64s(header.TagLongSize); len(long) > 0 {
		p.InstalledSize = int64(min(long[0], 1<<62))
	} else if size, ok := h.Uint32(header.TagSize); ok {
		p.InstalledSize = int64(size)
	}
	for _, f := range h.Files() {
		p.Files = append(p.Files, f.Path)
	}
	p.Requires = withoutOwn(p)
	return p
}

// withoutOwn returns what a package requires and does not have itself.
func withoutOwn(p *rpm.Package) []rpm.Dependency {
	own := make(map[rpm.Dependency]bool)
	for _, d := range p.Provides {
		own[d] = true
	}
	for _, path := range p.Files {
		own[rpm.Dependency{Name: path}] = true
	}
	return slices.DeleteFunc(p.Requires, func(d rpm.Dependency) bool {
		d.Pre = false
		return own[d]
	})
}

// dependencies returns those of a kind, without features of rpm itself and without
// repetitions, which metadata does not have either.
func dependencies(h *header.Header, kind header.Kind) []rpm.Dependency {
	var list []rpm.Dependency
	index := make(map[rpm.Dependency]int) // by the dependency without Pre
	for _, d := range h.Dependencies(kind) {
		if d.Flags&header.SenseRPMLib != 0 || strings.HasPrefix(d.Name, "rpmlib(") {
			continue
		}
		key := d.Dependency
		key.Pre = false
		if i, known := index[key]; known {
			list[i].Pre = list[i].Pre || d.Pre
			continue
		}
		index[key] = len(list)
		list = append(list, d.Dependency)
	}
	return list
}
