package images

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/docker"
	dockerarchive "github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	ociarchive "github.com/containers/image/v5/oci/archive"
	ocilayout "github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/store"
)

const ociManifest = imgspec.MediaTypeImageManifest

// transports are the places that images are read from.
var transports = []types.ImageTransport{docker.Transport, ocilayout.Transport, ociarchive.Transport, dockerarchive.Transport, directory.Transport}

// The library writes to the standard error, which is the command's. What it says below
// a warning (that it connects anew, for instance) is of no use to people.
func init() { logrus.SetLevel(logrus.WarnLevel) }

// ReferenceError says what is wrong with a reference: exit status 2.
type ReferenceError struct {
	Reference string
	Err       error
}

func (e *ReferenceError) Error() string {
	return fmt.Sprintf("container image %q: %v", e.Reference, e.Err)
}

// Unwrap returns the cause.
func (e *ReferenceError) Unwrap() error { return e.Err }

// ExitStatus is 2: the recipe is wrong.
func (e *ReferenceError) ExitStatus() int { return 2 }

// Check reports what is wrong with a reference, which has the image's transport. The
// error is a *ReferenceError.
func Check(text string) error {
	_, err := parseReference(text)
	return err
}

func parseReference(text string) (types.ImageReference, error) {
	transport, rest, ok := strings.Cut(text, ":")
	for _, t := range transports {
		if ok && t.Name() == transport && rest != "" {
			ref, err := t.ParseReference(rest)
			if err != nil {
				return nil, &ReferenceError{text, err}
			}
			return ref, nil
		}
	}
	return nil, &ReferenceError{text, errors.New("it is not docker://NAME, oci:DIR, oci-archive:FILE, docker-archive:FILE or dir:DIR")}
}

// isRemote reports whether an image is in a registry.
func isRemote(ref types.ImageReference) bool { return ref.Transport() == docker.Transport }

// digestOf returns the digest that a reference has.
func digestOf(ref types.ImageReference) (digest.Digest, bool) {
	if canonical, ok := ref.DockerReference().(reference.Canonical); ok && isRemote(ref) {
		return canonical.Digest(), true
	}
	return "", false
}

// atDigest returns the reference of a registry's image by its manifest's digest alone,
// so that it is found also when the tag means another one by now.
func atDigest(ref types.ImageReference, d store.Digest) (types.ImageReference, error) {
	if !isRemote(ref) {
		return ref, nil
	}
	canonical, err := reference.WithDigest(reference.TrimNamed(ref.DockerReference()), digest.Digest(d.String()))
	if err != nil {
		return nil, err
	}
	return docker.NewReference(canonical)
}

// maxSmallBytes bounds manifests and configurations.
const maxSmallBytes = 16 << 20

// Source is an image that is open. Of registries' images it keeps manifests and
// configurations, and layers that are read with Blob, in the directory downloads.
type Source struct {
	ref     types.ImageReference
	image   types.ImageSource // nil: not open yet
	system  *types.SystemContext
	keep    string // directory of files named by their SHA-256; empty: none
	arch    string // as images name it
	offline bool
}

// Open opens an image that the host's signature policy accepts. With a digest that was
// pinned, the image of a registry is the one that has it, whatever its tag means today.
// One in a registry is only asked for when something is not in downloads, the directory
// of package fetch; that may be empty.
func Open(ctx context.Context, reference string, o Options, pinned store.Digest, downloads string) (*Source, error) {
	ref, err := parseReference(reference)
	if err != nil {
		return nil, err
	}
	decision, err := loadPolicy(ref)
	if err != nil {
		return nil, err
	}
	if err := decision.check(ref); err != nil {
		return nil, err
	}
	if !pinned.IsZero() {
		if ref, err = atDigest(ref, pinned); err != nil {
			return nil, err
		}
	}
	system, err := systemContext(o)
	if err != nil {
		return nil, err
	}
	s := &Source{ref: ref, system: system, arch: o.Arch, offline: o.Offline}
	if isRemote(ref) {
		if downloads != "" {
			s.keep = filepath.Join(downloads, "objects")
		}
		return s, nil
	}
	return s, s.open(ctx)
}

func (s *Source) open(ctx context.Context) error {
	switch {
	case s.image != nil:
		return nil
	case s.offline && isRemote(s.ref):
		return errors.New("some of it is not in the cache, and this build may not use the network")
	}
	image, err := s.ref.NewImageSource(ctx, s.system)
	if err != nil {
		return err
	}
	s.image = image
	return nil
}

// Close releases the image.
func (s *Source) Close() {
	if s.image != nil {
		s.image.Close() // nothing was written
	}
}

// manifest returns the manifest that the reference means, or the one of a list's
// instance, with its media type.
func (s *Source) manifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	want := instance
	if d, ok := digestOf(s.ref); ok && instance == nil {
		want = &d
	}
	if want != nil {
		if p, ok := s.kept(*want); ok {
			return p, manifest.GuessMIMEType(p), nil
		}
	}
	if err := s.open(ctx); err != nil {
		return nil, "", err
	}
	var raw []byte
	var kind string
	err := retry(ctx, func() (err error) {
		raw, kind, err = s.image.GetManifest(ctx, instance)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("its manifest: %w", err)
	}
	// A registry's header is not part of what the digest vouches for.
	if guessed := manifest.GuessMIMEType(raw); guessed != "" {
		kind = guessed
	}
	if want != nil {
		ok, err := manifest.MatchesDigest(raw, *want)
		if err != nil {
			return nil, "", err
		}
		if !ok {
			return nil, "", fmt.Errorf("the registry gave another manifest than %s", *want)
		}
	}
	return raw, kind, s.put(raw)
}

// small returns a blob that fits in memory.
func (s *Source) small(ctx context.Context, info types.BlobInfo) ([]byte, error) {
	if p, ok := s.kept(info.Digest); ok {
		return p, nil
	}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	var p []byte
	err := retry(ctx, func() error {
		r, _, err := s.image.GetBlob(ctx, info, none.NoCache)
		if err != nil {
			return err
		}
		defer r.Close()
		p, err = io.ReadAll(io.LimitReader(r, maxSmallBytes))
		return err
	})
	if err != nil {
		return nil, err
	}
	if got := "sha256:" + store.Sum(p).Hex(); got != info.Digest.String() {
		return nil, fmt.Errorf("its digest is %s instead of %s", got, info.Digest)
	}
	return p, s.put(p)
}

// kept returns a small document of the cache.
func (s *Source) kept(d digest.Digest) ([]byte, bool) {
	path, ok := s.keptPath(d)
	if !ok {
		return nil, false
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxSmallBytes {
		return nil, false
	}
	p, err := os.ReadFile(path)
	return p, err == nil && "sha256:"+store.Sum(p).Hex() == d.String()
}

// keptPath returns where the cache has, or would have, what has the digest.
func (s *Source) keptPath(d digest.Digest) (string, bool) {
	parsed, err := store.ParseDigest(d.String())
	if s.keep == "" || err != nil {
		return "", false
	}
	return filepath.Join(s.keep, parsed.Hex()), true
}

// put keeps a small document.
func (s *Source) put(p []byte) error {
	path, ok := s.keptPath(digest.Digest(store.Sum(p).String()))
	if !ok {
		return nil
	}
	return s.write(path, func(w io.Writer) error {
		_, err := w.Write(p)
		return err
	})
}

// write makes a file of the cache, all of it or nothing.
func (s *Source) write(path string, write func(io.Writer) error) error {
	if err := os.MkdirAll(s.keep, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(s.keep), "image-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing to remove
	err = write(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// Blob returns the contents of a layer, which the caller verifies. Layers of registries
// are downloaded first. item names it in Progress events.
func (s *Source) Blob(ctx context.Context, run *stages.Run, info types.BlobInfo, item string) (io.ReadCloser, error) {
	path, keep := s.keptPath(info.Digest)
	if !keep {
		if err := s.open(ctx); err != nil {
			return nil, err
		}
		r, _, err := s.image.GetBlob(ctx, info, none.NoCache)
		return r, err
	}
	if !intact(path, info.Digest) {
		if err := s.open(ctx); err != nil {
			return nil, err
		}
		err := retry(ctx, func() error {
			return s.write(path, func(w io.Writer) error { return s.download(ctx, run, w, info, item) })
		})
		if err != nil {
			return nil, err
		}
	}
	return os.Open(path)
}

// download copies a blob of a registry to w, and verifies it.
func (s *Source) download(ctx context.Context, run *stages.Run, w io.Writer, info types.BlobInfo, item string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(stall, func() { cancel(fmt.Errorf("nothing has come for %s", stall)) })
	defer watch.Stop()
	r, size, err := s.image.GetBlob(ctx, info, none.NoCache)
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	defer r.Close()
	h := sha256.New()
	alive := &watched{r: &ProgressReader{R: r, Run: run, Item: item, Total: max(size, 0)}, watch: watch}
	if _, err := io.Copy(io.MultiWriter(w, h), alive); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	if got := fmt.Sprintf("sha256:%x", h.Sum(nil)); got != info.Digest.String() {
		return fmt.Errorf("it is damaged: what came has the digest %s", got)
	}
	return nil
}

// stall is how long a download may give nothing.
const stall = time.Minute

// watched puts a timer off with each read.
type watched struct {
	r     io.Reader
	watch *time.Timer
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.watch.Reset(stall)
	return n, err
}

// intact reports whether the file at path has the digest.
func intact(path string, want digest.Digest) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return err == nil && fmt.Sprintf("sha256:%x", h.Sum(nil)) == want.String()
}

// retry does something with the network up to attempts times.
func retry(ctx context.Context, do func() error) error {
	const attempts = 4
	wait := 500 * time.Millisecond
	for i := 1; ; i++ {
		err := do()
		if err == nil || i == attempts || ctx.Err() != nil || final(err) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		wait *= 2
	}
}

// final reports whether trying again is of no use: the registry has answered, or the
// trouble is on this side.
func final(err error) bool {
	var unauthorized docker.ErrUnauthorizedForCredentials
	var path *os.PathError
	text := err.Error()
	return errors.As(err, &unauthorized) || errors.As(err, &path) ||
		errors.Is(err, docker.ErrV1NotSupported) ||
		strings.Contains(text, "manifest unknown") || strings.Contains(text, "unauthorized") || strings.Contains(text, "denied")
}
