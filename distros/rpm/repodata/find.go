package repodata

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/distros/openpgp"
	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages/store"
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
	return f.try(ctx, bases[:min(len(bases), maxTried)], link)
}

const (
	// maxTried is how many mirrors of a list are tried. Lists name a hundred; when the
	// best eight fail, the reason is nearer.
	maxTried = 8
	// maxMirrors is how many further mirrors a file is looked for on.
	maxMirrors = 5
)

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
	if fetch.IsLocal(r.URL) {
		file, err := f.client.Open(ctx, r.URL+repomdPath)
		if errors.Is(err, fetch.ErrNotFound) {
			return 0, r.scan(ctx, f.client)
		}
		if err != nil {
			return 0, err
		}
		file.Close()
	}
	version, err = r.fetchRepomd(ctx, f.client, link)
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
