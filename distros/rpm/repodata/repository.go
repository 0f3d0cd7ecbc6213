package repodata

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/distros/compress"
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

// Forms of the metadata that are read, the preferred one first.
var (
	primaryForms   = []string{"primary"}
	filelistsForms = []string{"filelists"}
	groupForms     = []string{"group_gz", "group", "group_zst", "group_xz", "group_bz2"}
	modulesForms   = []string{"modules"}
)

// Find finds the repository among its URLs and mirrors and verifies its repomd.xml,
// which has the digests of everything else; Packages are not read yet.
//
// URLs that cannot be reached, hold something else (no repomd.xml, a key that is not
// trusted, no signature where one is required), are out of date by what a metalink says or lack
// files that their repomd.xml lists, are passed over. A URL whose signature by a
// trusted key is wrong is an error, because something is amiss there.
func Find(ctx context.Context, client *fetch.Client, config Config) (*Repository, error) {
	if len(config.URLs) == 0 && config.MirrorList == "" && config.Metalink == "" {
		return nil, fmt.Errorf("repository %s has no URL", config.Name)
	}
	if len(config.Keyring) == 0 && !config.Unverified {
		return nil, fmt.Errorf("repository %s has no key to verify its packages with: name one with gpg_key, or turn verification off with gpg_check = false", config.Name)
	}
	f := &finder{client: client, config: config}
	for _, source := range []func(context.Context) error{f.tryURLs, f.tryMirrorList, f.tryMetalink} {
		err := source(ctx)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("repository %s: %w", config.Name, err)
		}
		if f.found != nil {
			return f.found, nil
		}
	}
	return nil, fmt.Errorf("repository %s: %w", config.Name, errors.Join(f.passedOver...))
}

// A finder looks for one repository.
type finder struct {
	client *fetch.Client
	config Config

	found      *Repository
	passedOver []error
}

// An unusableError says that a URL has something that cannot be used; another URL of
// the repository may have better.
type unusableError struct{ err error }

func (e *unusableError) Error() string { return e.err.Error() }
func (e *unusableError) Unwrap() error { return e.err }

func unusable(format string, args ...any) error {
	return &unusableError{fmt.Errorf(format, args...)}
}

// passOver notes why a URL is not used. What concerns more than the URL is returned.
func (f *finder) passOver(err error) error {
	var (
		unusable  *unusableError
		signature *openpgp.NoSignatureError
		download  *fetch.Error
		offline   *fetch.OfflineError
	)
	switch {
	case errors.As(err, &unusable), errors.As(err, &download), errors.As(err, &offline), errors.Is(err, fetch.ErrNotFound):
	case errors.As(err, &signature) && signature.UnknownKeys():
	default:
		return err
	}
	f.passedOver = append(f.passedOver, err)
	return nil
}

func (f *finder) tryURLs(ctx context.Context) error {
	bases := make([]string, len(f.config.URLs))
	for i, u := range f.config.URLs {
		bases[i] = cleanBase(u)
	}
	return f.try(ctx, bases, nil)
}

// cleanBase returns a base URL to which "/" and a path can be appended.
func cleanBase(u string) string {
	u = strings.TrimRight(u, "/")
	if strings.HasPrefix(u, "iso:") && !strings.Contains(u, "!/") && !strings.HasSuffix(u, "!") {
		u += "!" // the root of the image
	}
	return u
}

func (f *finder) tryMirrorList(ctx context.Context) error {
	return f.tryList(ctx, f.config.MirrorList, "list of mirrors", func(p []byte, local bool) ([]string, *metalink, error) {
		if isMetalink(p) { // yum, too, takes one there
			link, err := parseMetalink(p, local)
			if err != nil {
				return nil, nil, err
			}
			return link.bases, link, nil
		}
		bases, err := parseMirrorList(p, local)
		return bases, nil, err
	})
}

func (f *finder) tryMetalink(ctx context.Context) error {
	return f.tryList(ctx, f.config.Metalink, "metalink", func(p []byte, local bool) ([]string, *metalink, error) {
		link, err := parseMetalink(p, local)
		if err != nil {
			return nil, nil, err
		}
		return link.bases, link, nil
	})
}

// tryList fetches a document that names mirrors and tries those.
func (f *finder) tryList(ctx context.Context, url, kind string, parse func(p []byte, local bool) ([]string, *metalink, error)) error {
	if url == "" {
		return nil
	}
	var bases []string
	var link *metalink
	_, err := f.client.Fresh(ctx, url, func(p []byte) (err error) {
		if bases, link, err = parse(p, fetch.IsLocal(url)); err != nil {
			return unusable("%s is no %s that can be used: %w", url, kind, err)
		}
		return nil
	})
	if err != nil {
		return f.passOver(err)
	}
	return f.try(ctx, bases, link)
}

// maxMirrors is how many further mirrors a file is looked for on.
const maxMirrors = 5

// try looks at mirrors of one repository until one has what is wanted.
func (f *finder) try(ctx context.Context, bases []string, link *metalink) error {
	var older *Repository // found with a repomd.xml that the metalink calls an older one
	for i, base := range bases {
		r := &Repository{Name: f.config.Name, URL: base, config: f.config}
		for k := 1; k < len(bases) && k <= maxMirrors; k++ {
			r.Mirrors = append(r.Mirrors, bases[(i+k)%len(bases)])
		}
		version, err := f.look(ctx, r, link)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			if err := f.passOver(err); err != nil {
				return err
			}
		case version == 0:
			f.found = r
			return nil
		case older == nil:
			older = r
		}
	}
	f.found = older
	return nil
}

// look reads what identifies the repository at r.URL. version is that of the metalink,
// 0 when there is none.
func (f *finder) look(ctx context.Context, r *Repository, link *metalink) (version int, err error) {
	version, err = r.fetchRepomd(ctx, f.client, link)
	if errors.Is(err, fetch.ErrNotFound) && fetch.IsLocal(r.URL) {
		return 0, r.scan(ctx, f.client)
	}
	if err != nil {
		return 0, err
	}
	return version, r.chooseFiles(ctx, f.client)
}

// fetchRepomd fetches and verifies repomd.xml.
func (r *Repository) fetchRepomd(ctx context.Context, client *fetch.Client, link *metalink) (version int, err error) {
	for attempt := range 2 {
		version, err = r.fetchRepomdOnce(ctx, client, link)
		var signature *openpgp.NoSignatureError
		if attempt == 0 && errors.As(err, &signature) && !signature.UnknownKeys() {
			// A mirror that is being updated has the new one of the two files
			// and not yet the other.
			continue
		}
		break
	}
	return version, err
}

func (r *Repository) fetchRepomdOnce(ctx context.Context, client *fetch.Client, link *metalink) (version int, err error) {
	url := r.URL + repomdPath
	signature, err := r.fetchSignature(ctx, client, url+".asc")
	if err != nil {
		return 0, err
	}
	p, err := client.Fresh(ctx, url, func(p []byte) (err error) {
		r.SignedBy = ""
		if signature != nil {
			if r.SignedBy, err = r.config.Keyring.VerifyDetached(bytes.NewReader(p), signature, openpgp.Options{Now: r.config.Now, AtSigning: true}); err != nil {
				return fmt.Errorf("%s.asc: %w", url, err)
			}
		}
		if r.repomd, err = parseRepomd(p); err != nil {
			return unusable("%s is no repomd.xml that can be used: %w", url, err)
		}
		if link != nil {
			version, err = r.checkVersion(p, link)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	r.Digest = store.Sum(p)
	r.Date = r.repomd.date()
	return version, nil
}

// checkVersion compares repomd.xml with what the metalink says.
func (r *Repository) checkVersion(p []byte, link *metalink) (version int, err error) {
	version, err = link.version(p)
	if err == nil {
		return version, nil
	}
	url, current := r.URL+repomdPath, link.versions[0]
	if date := r.repomd.date(); date > 0 && date < current.timestamp {
		return 0, unusable("%s is out of date: it was made on %s, and the metalink names one of %s", url, dateText(date), dateText(current.timestamp))
	}
	return 0, unusable("%s is not what the metalink names: %w", url, err)
}

func dateText(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC1123) }

// fetchSignature fetches repomd.xml.asc. It returns nil when the repository has none
// and needs none.
func (r *Repository) fetchSignature(ctx context.Context, client *fetch.Client, url string) ([]byte, error) {
	if r.config.Unverified {
		return nil, nil
	}
	p, err := client.Fresh(ctx, url, func(p []byte) error {
		signatures, err := openpgp.ParseSignatures(p)
		if err != nil {
			return unusable("%s is no signature: %w", url, err)
		}
		if !slices.ContainsFunc(signatures, func(s *openpgp.Signature) bool { return s.KeyID != 0 }) {
			return unusable("%s holds no signature that names its key", url) // a web page, perhaps
		}
		return nil
	})
	var offline *fetch.OfflineError
	missing := errors.Is(err, fetch.ErrNotFound) || errors.Is(err, fetch.ErrForbidden) ||
		errors.As(err, &offline) // there was none when repomd.xml was fetched
	switch {
	case err == nil:
		return p, nil
	case !missing:
		return nil, err
	case r.config.RequireSignature:
		return nil, unusable("%s%s is not signed, and this repository must be: %w", r.URL, repomdPath, err)
	}
	return nil, nil
}

// chooseFiles decides which files of the metadata are read, and makes sure that the
// packages are there: a mirror that is being updated may have nothing but the
// new repomd.xml.
func (r *Repository) chooseFiles(ctx context.Context, client *fetch.Client) error {
	primary := r.repomd.record(primaryForms...)
	if primary == nil {
		what := "no list of packages (primary)"
		if r.repomd.records["primary_zck"] != nil {
			what = "its packages as zchunk (primary_zck) alone, which is not supported: make the metadata with createrepo_c without --zck-only"
		}
		return unusable("%s%s has %s", r.URL, repomdPath, what)
	}
	records := []*record{primary}
	for _, forms := range [][]string{filelistsForms, groupForms, modulesForms} {
		if rec := r.repomd.record(forms...); rec != nil {
			records = append(records, rec)
		}
	}
	for _, rec := range records {
		if err := rec.check(r.config.Unverified); err != nil {
			return unusable("%s%s: %w", r.URL, repomdPath, err)
		}
		file := IndexFile{Path: rec.href, Size: rec.size}
		var known bool
		if file.Digest, known = rec.checksum.sha256(); !known || rec == primary {
			content, err := r.content(ctx, client, rec)
			var offline *fetch.OfflineError
			if errors.As(err, &offline) && known {
				// Load will say so, if it comes to that.
				r.Files = append(r.Files, file)
				continue
			}
			if err != nil {
				return err
			}
			if !known {
				var p []byte
				p, err = io.ReadAll(content)
				file.Digest = store.Sum(p)
			}
			content.Close()
			if err != nil {
				return err
			}
		}
		r.Files = append(r.Files, file)
	}
	return nil
}

// content opens a file of the metadata, which is downloaded and verified.
func (r *Repository) content(ctx context.Context, client *fetch.Client, rec *record) (io.ReadCloser, error) {
	urls := r.metadataURLs(rec)
	if digest, ok := rec.checksum.sha256(); ok {
		name, err := client.Get(ctx, fetch.Request{Name: r.Name + "/" + path.Base(rec.href), URLs: urls, Size: rec.size, Digest: digest})
		if err != nil {
			return nil, err
		}
		return os.Open(name)
	}
	// The cache of downloads knows SHA-256 alone.
	var err error
	for _, url := range urls {
		var p []byte
		p, err = client.Fresh(ctx, url, func(p []byte) error {
			if err := rec.checksum.verify(p); err != nil {
				return unusable("%s: %w", url, err)
			}
			return nil
		})
		if err == nil {
			return io.NopCloser(bytes.NewReader(p)), nil
		}
	}
	return nil, err
}

// maxMetadataBytes bounds a decompressed file; the largest file lists have 1 GB.
const maxMetadataBytes = 2 << 30

// read calls parse with the decompressed contents of a file of the metadata.
func (r *Repository) read(ctx context.Context, client *fetch.Client, rec *record, parse func(io.Reader) error) error {
	fail := func(err error) error { return fmt.Errorf("repository %s: %w", r.Name, err) }
	content, err := r.content(ctx, client, rec)
	if err != nil {
		return fail(err)
	}
	defer content.Close()
	suffix := path.Ext(rec.href)
	if suffix == ".xml" || suffix == ".yaml" {
		suffix = ""
	}
	plain, release, err := compress.NewReader(suffix, content)
	if err != nil {
		return fail(fmt.Errorf("%s: %w", path.Base(rec.href), err))
	}
	defer release()
	ahead, stop := compress.ReadAhead(&boundedReader{ctx: ctx, r: plain, left: maxMetadataBytes})
	defer stop()
	if err := parse(ahead); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fail(fmt.Errorf("%s: %w", path.Base(rec.href), err))
	}
	return nil
}

// A boundedReader fails when there is more to read than metadata has, or when its
// context ends.
type boundedReader struct {
	ctx  context.Context
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("it decompresses to more than %d bytes", int64(maxMetadataBytes))
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("the compressed data is damaged or cut short: %w", err)
	}
	return n, err
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
