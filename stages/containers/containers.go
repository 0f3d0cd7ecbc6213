package containers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/importer/images"
	"github.com/imagefactory/imagefactory/stages/store"
)

// Runtimes are the programs that images can be placed for.
const (
	Containerd = "containerd"
	Podman     = "podman"
	CRIO       = "cri-o"
	Docker     = "docker"
)

// Runtimes returns the names of all runtimes, sorted.
func Runtimes() []string { return []string{Containerd, CRIO, Docker, Podman} }

// DefaultNamespace is the namespace of containerd that Kubernetes uses.
const DefaultNamespace = "k8s.io"

// Source is an image as a recipe names it.
type Source struct {
	// Reference is the image. Without a transport it is that of a registry, by its full
	// name: "registry.example.com/pause:3.9", "…/pause@sha256:…" or "…/pause:3.9@sha256:…";
	// else "docker://NAME", "oci:DIR[:TAG]", "oci-archive:FILE[:TAG]",
	// "docker-archive:FILE[:NAME:TAG]" or "dir:DIR".
	Reference string
	// Name is what the runtime is to call the image: "registry.example.com/pause:3.9". It
	// is needed where the reference does not say, as that of a directory, and takes the
	// place of what it says.
	Name      string
	Arch      string // canonical: "x86_64" or "aarch64"
	Runtime   string // one of Runtimes
	Namespace string // of containerd; empty: DefaultNamespace
	Insecure  bool   // the registry may speak HTTP, or have a certificate that nobody signed
}

// Pinned is what a Source's reference means at one time: an entry of the lock.
type Pinned struct {
	// Digest is that of the document the reference means: a list of manifests for several
	// platforms (OCI calls it index), or the manifest of the only one. It is the digest
	// under which runtimes know the image.
	Digest store.Digest
	// Manifest is the digest of the manifest for the architecture; the same when there is
	// no list.
	Manifest store.Digest
}

// SourceError says what is wrong with a Source: exit status 2.
type SourceError struct {
	Reference string
	Err       error
}

func (e *SourceError) Error() string { return fmt.Sprintf("container %q: %v", e.Reference, e.Err) }

// Unwrap returns the cause.
func (e *SourceError) Unwrap() error { return e.Err }

// ExitStatus is 2: the recipe is wrong.
func (e *SourceError) ExitStatus() int { return 2 }

// Check reports what is wrong with a source, without looking at the image. The error is
// a *SourceError.
func (s Source) Check() error {
	_, err := s.parse()
	return err
}

// parsed is a source that Check accepts.
type parsed struct {
	transport string // reference with its transport, for package images
	tagged    string // name and tag for the runtime: "registry.example.com/pause:3.9"; may be empty
	name      string // name alone; empty: only the image itself can say, see named
	digested  bool   // the reference has a digest
	namespace string
}

// namespacePattern is what containerd takes (containerd/identifiers).
var namespacePattern = regexp.MustCompile(`^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$`)

func (s Source) parse() (*parsed, error) {
	fail := func(format string, args ...any) (*parsed, error) {
		return nil, &SourceError{s.Reference, fmt.Errorf(format, args...)}
	}
	if !slices.Contains(Runtimes(), s.Runtime) {
		return fail("the runtime %q is not known; there are %s", s.Runtime, strings.Join(Runtimes(), ", "))
	}
	p := &parsed{}
	switch {
	case s.Runtime == Containerd:
		p.namespace = s.Namespace
		if p.namespace == "" {
			p.namespace = DefaultNamespace
		}
		if !namespacePattern.MatchString(p.namespace) || len(p.namespace) > 76 {
			return fail("%q is not a namespace of containerd: at most 76 letters and digits, with single . _ - between them", s.Namespace)
		}
	case s.Namespace != "":
		return fail("%s has no namespaces; remove `namespace`, or use containerd", s.Runtime)
	}
	var named reference.Named
	var err error
	text, remote := strings.CutPrefix(s.Reference, "docker://")
	if transport, _, ok := strings.Cut(s.Reference, ":"); remote || !ok || !slices.Contains(localTransports, transport) {
		if named, err = fullName(text); err != nil {
			return nil, &SourceError{s.Reference, err}
		}
		if digested, ok := named.(reference.Digested); ok {
			p.digested = true
			// The library takes either a tag or a digest; the digest says more.
			canonical, err := reference.WithDigest(reference.TrimNamed(named), digested.Digest())
			if err != nil {
				return fail("%v", err)
			}
			p.transport = "docker://" + canonical.String()
		} else {
			p.transport = "docker://" + reference.TagNameOnly(named).String()
		}
	} else {
		p.transport = s.Reference
		if s.Insecure {
			return fail("`insecure` is about registries, and this image is in a file")
		}
		// The name that an image in Docker's archives is chosen by is its name.
		if rest, ok := strings.CutPrefix(s.Reference, "docker-archive:"); ok {
			if _, chosen, ok := strings.Cut(rest, ":"); ok && !strings.HasPrefix(chosen, "@") {
				if named, err = fullName(chosen); err != nil && s.Name == "" {
					return nil, &SourceError{s.Reference, err}
				}
			}
		}
	}
	if err := images.Check(p.transport); err != nil {
		var wrong *images.ReferenceError
		if errors.As(err, &wrong) {
			err = wrong.Err
		}
		return nil, &SourceError{s.Reference, err}
	}
	if s.Name != "" {
		if named, err = fullName(s.Name); err != nil {
			return fail("name: %w", err)
		}
		if _, ok := named.(reference.Digested); ok {
			return fail("the name %q has a digest; the image's own is known, leave it out", s.Name)
		}
	}
	if named == nil {
		return fail("it does not say what the runtime is to call the image; add `name`, as in name = \"registry.example.com/pause:3.9\"")
	}
	p.name = reference.TrimNamed(named).String()
	tagged, ok := named.(reference.Tagged)
	switch {
	case ok:
		p.tagged = p.name + ":" + tagged.Tag()
	case s.Name != "" || !p.digested:
		p.tagged = p.name + ":latest"
	case s.Runtime == Docker:
		return fail("docker cannot load an image under a digest alone; write a tag as well, as in %q", strings.Replace(s.Reference, "@", ":TAG@", 1))
	}
	return p, nil
}

// localTransports are the places of images besides registries.
var localTransports = []string{"oci", "oci-archive", "docker-archive", "dir"}

// fullName reads a name that has its registry.
func fullName(text string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return nil, err
	}
	host, _, ok := strings.Cut(text, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return nil, fmt.Errorf("%q is a short name, which every host completes in its own way; write the registry too: %q, if that is the one", text, named.String())
	}
	return named, nil
}

// PullOptions say how Pull reads images.
type PullOptions struct {
	Offline   bool   // registries are not asked
	Downloads string // directory of package fetch, see stages.Cache.Downloads
}

func (s Source) options(offline bool) images.Options {
	return images.Options{Arch: s.Arch, Offline: offline, Insecure: s.Insecure, Form: s.form}
}

// form returns a registry's reference as the recipe has it: the name of the block, unless
// the image comes from elsewhere than its name says.
func (s Source) form(pinned string) string {
	name, digest, _ := strings.Cut(strings.TrimPrefix(pinned, "docker://"), "@")
	p, err := s.parse()
	switch {
	case err != nil || p.name != name:
		return fmt.Sprintf("source = %q", pinned)
	case p.tagged != "":
		name = p.tagged
	}
	return fmt.Sprintf("container %q", name+"@"+digest)
}

func (s Source) error(err error) error {
	var wrong *SourceError
	if errors.As(err, &wrong) {
		return err
	}
	return fmt.Errorf("container %q: %w", s.Reference, err)
}

// Resolve returns what the source's reference means now. Only an image that the host's
// signature policy accepts can be pinned, as package images says.
func Resolve(ctx context.Context, s Source, offline bool) (Pinned, error) {
	p, err := s.parse()
	if err != nil {
		return Pinned{}, err
	}
	found, err := images.Resolve(ctx, p.transport, s.options(offline), func(r images.Resolved) store.Digest { return r.Top.Digest })
	if err == nil {
		err = checkVariants(found.Top, s.Arch)
	}
	if err != nil {
		return Pinned{}, s.error(err)
	}
	return Pinned{Digest: found.Top.Digest, Manifest: found.Manifest.Digest}, nil
}

// Blob is an object of the store that is part of an image.
type Blob struct {
	Digest    store.Digest `json:"digest"`
	Size      int64        `json:"size"` // bytes
	MediaType string       `json:"mediaType"`
}

// Layer is a layer of an image, as it comes.
type Layer struct {
	Blob
	// Plain is the SHA-256, in hexadecimal, of the tar archive that the blob decompresses
	// to (OCI's "diffID"). The store need not have it.
	Plain string `json:"plain"`
}

// Image is an image in the store, and where it is to go. It is the result of a stage, so
// nothing in it is of the build host, as the path of an image in a file would be.
type Image struct {
	Arch      string  `json:"arch"`
	Runtime   string  `json:"runtime"`
	Namespace string  `json:"namespace,omitempty"`
	Name      string  `json:"name"`          // without tag and digest
	Tagged    string  `json:"tag,omitempty"` // name and tag; empty: it is known by its digest alone
	Top       Blob    `json:"top"`           // what the reference means: Pinned.Digest
	Manifest  Blob    `json:"manifest"`      // Top, or the one of it for Arch
	Config    Blob    `json:"config"`
	Layers    []Layer `json:"layers"` // the lowest first
}

// PullVersion is the version of Pull's code; see stages.Stage.
const PullVersion = 1

// Pull puts the image that was pinned into the store: manifests, configuration and layers
// as they come, each verified by its digest, and none that is there already.
func Pull(ctx context.Context, run *stages.Run, s Source, pinned Pinned, o PullOptions) (Image, error) {
	p, err := s.parse()
	if err != nil {
		return Image{}, err
	}
	fail := func(err error) (Image, error) { return Image{}, s.error(err) }
	source, err := images.Open(ctx, p.transport, s.options(o.Offline), pinned.Digest, o.Downloads)
	if err != nil {
		return fail(err)
	}
	defer source.Close()
	top, err := source.Top(ctx)
	if err != nil {
		return fail(err)
	}
	if top.Digest != pinned.Digest {
		return fail(images.ChangedError(top.Digest, pinned.Digest))
	}
	m, err := source.Choose(ctx, top)
	if err != nil {
		return fail(err)
	}
	if m.Digest != pinned.Manifest {
		return fail(images.ChangedError(m.Digest, pinned.Manifest))
	}
	contents, err := source.Contents(ctx, m)
	if err != nil {
		return fail(err)
	}
	image := Image{Arch: s.Arch, Runtime: s.Runtime, Namespace: p.namespace, Name: p.name, Tagged: p.tagged}
	st := run.Cache.Store
	batch, err := st.NewBatch()
	if err != nil {
		return fail(err)
	}
	defer batch.Abort()
	for _, d := range []struct {
		raw  []byte
		kind string
		blob *Blob
	}{{top.Raw, top.MediaType, &image.Top}, {m.Raw, m.MediaType, &image.Manifest}, {contents.ConfigRaw, contents.Config.MediaType, &image.Config}} {
		digest, err := batch.AddBytes(d.raw)
		if err != nil {
			return fail(err)
		}
		*d.blob = Blob{digest, int64(len(d.raw)), d.kind}
	}
	if err := batch.Commit(); err != nil {
		return fail(err)
	}
	image.Layers = make([]Layer, len(contents.Layers))
	group, ctx := errgroup.WithContext(ctx)
	if group.SetLimit(1); source.IsRemote() {
		group.SetLimit(parallel)
	}
	// An image may have one layer several times.
	first := map[string]int{}
	for i, l := range contents.Layers {
		if _, ok := first[l.Blob.Digest.String()]; ok {
			continue
		}
		first[l.Blob.Digest.String()] = i
		group.Go(func() error {
			item := fmt.Sprintf("%s, layer %d of %d", image.display(), i+1, len(contents.Layers))
			got, err := layer(ctx, run, source, l, item)
			if err != nil {
				return fmt.Errorf("layer %d (%s): %w", i+1, l.Blob.Digest, err)
			}
			image.Layers[i] = got
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return fail(err)
	}
	for i, l := range contents.Layers {
		image.Layers[i] = image.Layers[first[l.Blob.Digest.String()]]
		if image.Layers[i].Plain != l.Plain.Hex() {
			return fail(fmt.Errorf("its configuration says two things of the layer %s", l.Blob.Digest))
		}
	}
	return image, nil
}

// parallel is how many layers are downloaded at a time: as many as containerd and podman do.
const parallel = 3

func layer(ctx context.Context, run *stages.Run, source *images.Source, l images.Layer, item string) (Layer, error) {
	st := run.Cache.Store
	digest, err := source.Store(ctx, run, st, l.Blob, item)
	if err != nil {
		return Layer{}, err
	}
	size, err := st.Stat(digest)
	if err != nil {
		return Layer{}, err
	}
	if l.Blob.Size >= 0 && l.Blob.Size != size {
		return Layer{}, fmt.Errorf("it has %d bytes, and the manifest says %d", size, l.Blob.Size)
	}
	found := Layer{Blob{digest, size, l.Blob.MediaType}, l.Plain.Hex()}
	return found, verify(ctx, run, found, item)
}

// verifyVersion is the version of the code that verifies one layer.
const verifyVersion = 1

// verify decompresses a layer once, so that a damaged one fails the build and not the
// first boot.
func verify(ctx context.Context, run *stages.Run, l Layer, item string) error {
	key := stages.Key("verified-layer", verifyVersion, []string{l.Digest.Hex(), l.Plain})
	_, _, err := stages.Memo(ctx, run.Cache, key, "container layer "+l.Plain[:12], func(ctx context.Context) (Blob, error) {
		archive, err := openLayer(ctx, run, l, item)
		if err != nil {
			return Blob{}, err
		}
		defer archive.Close()
		_, err = io.Copy(io.Discard, archive)
		if err == nil {
			err = archive.check()
		}
		return l.Blob, err
	})
	return err
}

// display is the image's name for people.
func (i Image) display() string {
	if i.Tagged != "" {
		return i.Tagged
	}
	return i.digested()
}

// index is a list of manifests, in the members that OCI and Docker have in common.
type index struct {
	Manifests []struct {
		MediaType string       `json:"mediaType"`
		Digest    store.Digest `json:"digest"`
		Platform  *struct {
			Architecture string `json:"architecture"`
			OS           string `json:"os"`
			Variant      string `json:"variant"`
		} `json:"platform"`
	} `json:"manifests"`
}

// checkVariants refuses a list that has several images for the architecture. Which of
// them a runtime takes depends on the processor it finds itself on.
func checkVariants(top *images.Document, arch string) error {
	if !top.IsList() {
		return nil
	}
	var list index
	if err := json.Unmarshal(top.Raw, &list); err != nil {
		return fmt.Errorf("its list of manifests: %w", err)
	}
	variants := map[string]bool{}
	for _, m := range list.Manifests {
		if m.Platform != nil && m.Platform.OS == "linux" && m.Platform.Architecture == images.Architecture(arch) {
			variants[m.Platform.Variant] = true
		}
	}
	if len(variants) > 1 {
		names := make([]string, 0, len(variants))
		for v := range variants {
			if v == "" {
				v = "without a variant"
			}
			names = append(names, v)
		}
		slices.Sort(names)
		return fmt.Errorf("it has images for several variants of %s (%s), of which the processor would choose; name one of its manifests by digest", images.Architecture(arch), strings.Join(names, ", "))
	}
	return nil
}

// isList reports whether a blob is a list of manifests.
func (b Blob) isList() bool { return manifest.MIMETypeIsMultiImage(b.MediaType) }
