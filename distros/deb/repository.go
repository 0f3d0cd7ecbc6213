package deb

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/distros/compress"
	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages/store"
)

// RepositoryConfig says where a repository is and whom to believe.
type RepositoryConfig struct {
	Name       string   // for messages
	URIs       []string // where it may be, the likeliest first: the directories that hold dists/
	Suite      string   // directory below dists/: "bookworm", "bookworm-security"
	Components []string // "main"
	Arch       string   // Debian's name of the architecture: "amd64"

	Keyring    Keyring
	Unverified bool // take the repository from whoever answers: no signature is looked at

	// Origin and Label, unless empty, are what the Release file must say. They
	// tell repositories apart that have a suite of the same name and, when
	// they are derived from a common one, even the same signing key.
	Origin, Label string

	AllowExpired bool
	Now          time.Time // must be set
}

// RepositoryIndexes are the verified package indexes of one suite.
type RepositoryIndexes struct {
	URI           string // the one of RepositoryConfig.URIs that has it, without a slash at its end
	Release       *Release
	ReleaseURL    string
	ReleaseDigest store.Digest // of the InRelease file
	Files         []IndexFile
	Indexes       []*Index // in the order of Files
}

// An IndexFile is one Packages file that was read.
type IndexFile struct {
	Path   string       // relative to the suite: "main/binary-amd64/Packages.xz"
	Digest store.Digest // of the file as it is on the server, compressed
	Size   int64        // bytes
}

// LoadIndexes is FindRepository followed by Load.
func LoadIndexes(ctx context.Context, client *fetch.Client, config RepositoryConfig) (*RepositoryIndexes, error) {
	r, err := FindRepository(ctx, client, config)
	if err != nil {
		return nil, err
	}
	return r, r.Load(ctx, client, config)
}

// FindRepository finds the repository among config.URIs and verifies its InRelease
// file, which has the digests of everything else; Indexes are not read yet. URIs
// that cannot be reached or hold something else (not signed, or another key,
// suite, Origin or Label) are passed over; a URI whose signature by a trusted key
// is wrong or which has expired is an error, because something is amiss there.
func FindRepository(ctx context.Context, client *fetch.Client, config RepositoryConfig) (*RepositoryIndexes, error) {
	if len(config.URIs) == 0 {
		return nil, fmt.Errorf("repository %s has no URL", config.Name)
	}
	var passedOver []error
	for _, uri := range config.URIs {
		r, err := fetchRelease(ctx, client, strings.TrimRight(uri, "/"), config)
		if err == nil {
			if r.Files, err = chooseIndexes(r, config); err == nil {
				return r, nil
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		passedOver = append(passedOver, err)
		var wrong *wrongRepositoryError
		var notSigned *NotSignedError
		var signature *SignatureError
		var download *fetch.Error
		var offline *fetch.OfflineError
		switch {
		case errors.As(err, &wrong), errors.As(err, &notSigned), errors.As(err, &download), errors.As(err, &offline):
		case errors.As(err, &signature) && signature.UnknownKeys:
		default:
			return nil, fmt.Errorf("repository %s: %w", config.Name, err)
		}
	}
	return nil, fmt.Errorf("repository %s: %w", config.Name, errors.Join(passedOver...))
}

// Load downloads and reads the package indexes into r.Indexes.
func (r *RepositoryIndexes) Load(ctx context.Context, client *fetch.Client, config RepositoryConfig) error {
	r.Indexes = make([]*Index, len(r.Files))
	group, ctx := errgroup.WithContext(ctx)
	for i, file := range r.Files {
		group.Go(func() (err error) {
			r.Indexes[i], err = r.load(ctx, client, config, file)
			return err
		})
	}
	return group.Wait()
}

// A wrongRepositoryError says that a URI has something else than was wanted.
type wrongRepositoryError struct{ msg string }

func (e *wrongRepositoryError) Error() string { return e.msg }

// fetchRelease fetches and verifies the InRelease file of the suite at one URI.
func fetchRelease(ctx context.Context, client *fetch.Client, uri string, config RepositoryConfig) (*RepositoryIndexes, error) {
	r := &RepositoryIndexes{URI: uri, ReleaseURL: uri + "/dists/" + config.Suite + "/InRelease"}
	options := ReleaseOptions{Name: r.ReleaseURL, Now: config.Now, AllowExpired: config.AllowExpired}
	p, err := client.Fresh(ctx, r.ReleaseURL, func(p []byte) (err error) {
		if config.Unverified {
			r.Release, err = ReadUnsignedRelease(p, options)
		} else {
			r.Release, err = VerifyRelease(p, config.Keyring, options)
		}
		if err != nil {
			return err
		}
		return r.checkIdentity(config)
	})
	if err != nil {
		return nil, err
	}
	r.ReleaseDigest = store.Sum(p)
	return r, nil
}

// checkIdentity compares what the Release file says with what was wanted.
func (r *RepositoryIndexes) checkIdentity(config RepositoryConfig) error {
	wrong := func(format string, args ...any) error {
		return &wrongRepositoryError{r.ReleaseURL + " " + fmt.Sprintf(format, args...)}
	}
	release := r.Release
	if named := release.Suite + release.Codename; named != "" && release.Suite != config.Suite && release.Codename != config.Suite {
		// Validly signed all the same: without this check a mirror could pass
		// off an older release as this one.
		return wrong("is the Release file of suite %q (%s), not of %q", release.Suite, release.Codename, config.Suite)
	}
	if config.Origin != "" && release.Origin != config.Origin || config.Label != "" && release.Label != config.Label {
		return wrong("is of the repository %q labelled %q, not %q labelled %q", release.Origin, release.Label, config.Origin, config.Label)
	}
	return nil
}

// indexSuffixes are the compressions of Packages files that are understood, in the
// order of preference: gzip's files are a third larger than xz's, and read five
// times as fast, which pays from some 30 Mbit/s on.
var indexSuffixes = []string{".zst", ".gz", ".xz", ".bz2", ""}

// chooseIndexes picks a Packages file for every component.
func chooseIndexes(r *RepositoryIndexes, config RepositoryConfig) ([]IndexFile, error) {
	release := r.Release
	arches := []string{config.Arch}
	if release.SeparateAll {
		arches = append(arches, independent)
	}
	var files []IndexFile
	for _, component := range config.Components {
		for _, arch := range arches {
			file, ok := chooseIndex(release, component+"/binary-"+arch+"/Packages")
			if !ok {
				return nil, &wrongRepositoryError{fmt.Sprintf("%s lists no packages of component %q for architecture %q; it has the components %s and the architectures %s",
					r.ReleaseURL, component, arch, strings.Join(release.Components, ", "), strings.Join(release.Architectures, ", "))}
			}
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		return nil, errors.New("no component of it is asked for")
	}
	return files, nil
}

func chooseIndex(release *Release, base string) (IndexFile, bool) {
	for _, suffix := range indexSuffixes {
		if f, ok := release.Files[base+suffix]; ok {
			return IndexFile{Path: base + suffix, Digest: f.SHA256, Size: f.Size}, true
		}
	}
	return IndexFile{}, false
}

// maxIndexBytes bounds a decompressed Packages file; Debian's largest has 50 MB.
const maxIndexBytes = 2 << 30

// Fetch downloads and verifies one of r.Files and returns where it is on this host.
func (r *RepositoryIndexes) Fetch(ctx context.Context, client *fetch.Client, config RepositoryConfig, file IndexFile) (string, error) {
	base := r.URI + "/dists/" + config.Suite + "/"
	urls := []string{base + file.Path}
	if r.Release.AcquireByHash {
		byHash := base + path.Dir(file.Path) + "/by-hash/SHA256/" + hex.EncodeToString(file.Digest[:])
		urls = append([]string{byHash}, urls...)
	}
	name, err := client.Get(ctx, fetch.Request{
		Name:   config.Suite + "/" + file.Path,
		URLs:   urls,
		Size:   file.Size,
		Digest: file.Digest,
	})
	if err != nil {
		return "", fmt.Errorf("repository %s: %w", config.Name, err)
	}
	return name, nil
}

// load downloads and parses one Packages file.
func (r *RepositoryIndexes) load(ctx context.Context, client *fetch.Client, config RepositoryConfig, file IndexFile) (*Index, error) {
	fail := func(err error) error { return fmt.Errorf("repository %s: %w", config.Name, err) }
	name, err := r.Fetch(ctx, client, config, file)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fail(err)
	}
	defer f.Close()
	plain, release, err := compress.NewReader(path.Ext(file.Path), f)
	if err != nil {
		return nil, fail(err)
	}
	defer release()
	ahead, stop := compress.ReadAhead(&memberReader{ctx: ctx, r: plain, left: maxIndexBytes, limit: maxIndexBytes})
	defer stop()
	return ParseIndex(ahead, config.Name) // its errors name the repository
}
