package repodata

import (
	"context"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/distros/openpgp"
	"github.com/imagefactory/imagefactory/distros/rpm"
	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages/store"
)

// Config says where a repository is, whom to believe and what of it to take.
type Config struct {
	Name string // for messages and as Package.Repository

	// URLs are where it may be, the likeliest first: http, https, file or iso (see
	// package fetch) URLs of directories that hold repodata/. A file or iso URL
	// may also be of a directory with packages alone: then these are the repository.
	URLs       []string
	MirrorList string // URL of a list of such URLs, asked after them; may be empty
	Metalink   string // URL of a metalink, asked last; may be empty

	Keyring          openpgp.Keyring
	Unverified       bool // take it from whoever answers: no signature is looked at, weak digests are accepted
	RequireSignature bool // repomd.xml must be signed

	Arch     string   // rpm's name of the architecture; see ParsePrimary
	Exclude  []string // packages that are passed over, as dnf's option of that name has them
	Priority int      // becomes Package.Priority
	Now      time.Time
}

// A Repository is one whose repomd.xml was found and verified.
type Repository struct {
	Name    string
	URL     string       // where it was found, without a slash at its end
	Mirrors []string     // further base URLs that may have the same files
	Digest  store.Digest // of repomd.xml; of a directory of packages, see scan
	Date    int64        // when its metadata was made, in seconds since 1970
	// SignedBy is the fingerprint of the key that signed repomd.xml; empty when it
	// is not signed or nobody looked.
	SignedBy string
	Files    []IndexFile // the metadata that Load reads

	// What Load reads.
	Packages []*rpm.Package
	Comps    *Comps   // nil when the repository has no groups
	Modules  *Modules // nil when it has no modules

	config  Config
	repomd  *repomd // nil for a directory of packages
	primary *Primary
}

// An IndexFile is one file of a repository's metadata.
type IndexFile struct {
	Path   string       // relative to URL: "repodata/….-primary.xml.gz"
	Digest store.Digest // of the file as it is on the server, compressed
	Size   int64        // bytes; 0 if the repository does not say
}

// Load reads the packages, groups and modules of the repository into r.
func (r *Repository) Load(ctx context.Context, client *fetch.Client) error {
	if r.repomd != nil {
		if err := r.loadMetadata(ctx, client); err != nil {
			return err
		}
	}
	left, err := excluded(r.primary.Packages, r.config.Exclude)
	if err != nil {
		return fmt.Errorf("repository %s: %w", r.Name, err)
	}
	r.Packages = nil
	for _, p := range r.primary.Packages {
		if !left[p] {
			p.Priority = r.config.Priority
			r.Packages = append(r.Packages, p)
		}
	}
	return nil
}

func (r *Repository) loadMetadata(ctx context.Context, client *fetch.Client) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return r.read(ctx, client, r.repomd.record(primaryForms...), func(in io.Reader) (err error) {
			r.primary, err = ParsePrimary(in, r.Name, r.config.Arch)
			return err
		})
	})
	if rec := r.repomd.record(groupForms...); rec != nil {
		group.Go(func() error {
			return r.read(ctx, client, rec, func(in io.Reader) (err error) {
				r.Comps, err = ParseComps(in)
				return err
			})
		})
	}
	if rec := r.repomd.record(modulesForms...); rec != nil {
		group.Go(func() error {
			return r.read(ctx, client, rec, func(in io.Reader) (err error) {
				r.Modules, err = ParseModules(in)
				return err
			})
		})
	}
	return group.Wait()
}

// LoadFiles adds to the packages' Files those of the wanted absolute paths that each
// holds, which takes reading the repository's complete list of files. Load must have
// been called.
func (r *Repository) LoadFiles(ctx context.Context, client *fetch.Client, wanted map[string]bool) error {
	if r.repomd == nil {
		return nil // headers list all files
	}
	rec := r.repomd.record(filelistsForms...)
	if rec == nil {
		return nil // then primary has what there is
	}
	return r.read(ctx, client, rec, func(in io.Reader) error { return r.primary.AddFiles(in, wanted) })
}
