package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/store"
)

// Options say which of an image is meant, and how it may be read.
type Options struct {
	Arch     string // canonical: "x86_64" or "aarch64"
	Offline  bool   // registries are not asked; what they gave before is in the cache
	Insecure bool   // registries may speak HTTP, or have certificates that nobody signed
	// Form returns a reference as a recipe has it (image = "…"), for messages that tell a
	// better one.
	Form func(reference string) string
}

// Resolved is what an image's reference means at one time.
type Resolved struct {
	Top      *Document // the list of manifests, or the only one
	Manifest *Document // the one for the architecture
}

// Resolve returns what the image is now. Only an image that the host's signature policy
// accepts can be pinned; without a policy that is one in local files, or one whose
// reference has a digest. The error tells the digest otherwise: that which pin takes.
func Resolve(ctx context.Context, reference string, o Options, pin func(Resolved) store.Digest) (Resolved, error) {
	fail := func(err error) (Resolved, error) { return Resolved{}, err }
	s, err := Open(ctx, reference, Options{Arch: o.Arch, Insecure: o.Insecure, Offline: o.Offline}, store.Digest{}, "")
	if err != nil {
		return fail(err)
	}
	defer s.Close()
	if o.Offline && isRemote(s.ref) {
		return fail(errors.New("what it is now has to be asked for, and this build may not use the network; lock it before"))
	}
	top, err := s.Top(ctx)
	if err != nil {
		return fail(err)
	}
	m, err := s.Choose(ctx, top)
	if err != nil {
		return fail(err)
	}
	// What cannot be used is not pinned.
	if _, err := s.Contents(ctx, m); err != nil {
		return fail(err)
	}
	decision, err := loadPolicy(s.ref)
	if err != nil {
		return fail(err)
	}
	found := Resolved{Top: top, Manifest: m}
	return found, decision.checkUnpinned(s.ref, pin(found), o.Form)
}

// Document is a manifest, or a list of manifests.
type Document struct {
	Raw       []byte
	MediaType string
	Digest    store.Digest
}

// IsList reports whether the document is a list of manifests: an index of OCI, or a
// manifest list of Docker.
func (d *Document) IsList() bool { return manifest.MIMETypeIsMultiImage(d.MediaType) }

func newDocument(raw []byte, kind string) (*Document, error) {
	d, err := manifest.Digest(raw)
	if err != nil {
		return nil, err
	}
	parsed, err := store.ParseDigest(d.String())
	return &Document{raw, kind, parsed}, err
}

// Top returns the document that the image's reference means.
func (s *Source) Top(ctx context.Context) (*Document, error) {
	raw, kind, err := s.manifest(ctx, nil)
	if err != nil {
		return nil, err
	}
	return newDocument(raw, kind)
}

// Choose returns the manifest for the architecture, of a list of them or the only one.
func (s *Source) Choose(ctx context.Context, top *Document) (*Document, error) {
	if !top.IsList() {
		return top, nil
	}
	list, err := manifest.ListFromBlob(top.Raw, top.MediaType)
	if err != nil {
		return nil, fmt.Errorf("its list of manifests: %w", err)
	}
	instance, err := list.ChooseInstance(s.system)
	if err != nil {
		return nil, fmt.Errorf("it has none for the architecture %s: %w", s.system.ArchitectureChoice, err)
	}
	raw, kind, err := s.manifest(ctx, &instance)
	if err != nil {
		return nil, err
	}
	return newDocument(raw, kind)
}

// ChangedError says that an image is another one than was pinned.
func ChangedError(now, was store.Digest) error {
	return fmt.Errorf("it has changed since it was locked: its manifest is %s and was %s; run imagefactory lock", now, was)
}

// Contents is what the manifest of one image refers to.
type Contents struct {
	Config    types.BlobInfo
	ConfigRaw []byte // its configuration
	Layers    []Layer
}

// Layer is one layer of an image.
type Layer struct {
	Blob  types.BlobInfo
	Plain store.Digest // of the tar archive that the blob decompresses to: "diffID"
}

// Contents reads an image's manifest and configuration. It refuses what is no image for
// Linux on the architecture.
func (s *Source) Contents(ctx context.Context, m *Document) (*Contents, error) {
	if m.MediaType != manifest.DockerV2Schema2MediaType && m.MediaType != ociManifest {
		return nil, fmt.Errorf("its manifest has the type %q, which is not that of an image in the formats of OCI or Docker (version 2, schema 2)", m.MediaType)
	}
	parsed, err := manifest.FromBlob(m.Raw, m.MediaType)
	if err != nil {
		return nil, fmt.Errorf("its manifest: %w", err)
	}
	raw, err := s.small(ctx, parsed.ConfigInfo())
	if err != nil {
		return nil, fmt.Errorf("its configuration: %w", err)
	}
	var config struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
		RootFS       struct {
			Type    string          `json:"type"`
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("its configuration: %w", err)
	}
	if arch := architectures[s.arch]; config.OS != "linux" || config.Architecture != arch {
		return nil, fmt.Errorf("it is for %s on %s, not for linux on %s", config.OS, config.Architecture, arch)
	}
	infos := parsed.LayerInfos()
	if config.RootFS.Type != "layers" || len(infos) != len(config.RootFS.DiffIDs) {
		return nil, fmt.Errorf("its manifest has %d layers and its configuration %d", len(infos), len(config.RootFS.DiffIDs))
	}
	if len(infos) == 0 {
		return nil, errors.New("it has no layers")
	}
	layers := make([]Layer, len(infos))
	for i, info := range infos {
		if info.EmptyLayer || len(info.URLs) > 0 {
			return nil, fmt.Errorf("its layer %s is not in the registry: images with foreign layers are not supported", info.Digest)
		}
		layers[i].Blob = info.BlobInfo
		if layers[i].Plain, err = store.ParseDigest(config.RootFS.DiffIDs[i].String()); err != nil {
			return nil, fmt.Errorf("its layer %d: %w", i+1, err)
		}
	}
	return &Contents{Config: parsed.ConfigInfo(), ConfigRaw: raw, Layers: layers}, nil
}

// Store puts a blob into st, unless it is there. Nothing is kept elsewhere. item names
// it in Progress events.
func (s *Source) Store(ctx context.Context, run *stages.Run, st *store.Store, info types.BlobInfo, item string) (store.Digest, error) {
	want, err := store.ParseDigest(info.Digest.String())
	if err != nil {
		return store.Digest{}, err
	}
	if st.Has(want) {
		return want, nil
	}
	path, keep := s.keptPath(info.Digest)
	if keep && intact(path, info.Digest) {
		f, err := os.Open(path)
		if err != nil {
			return store.Digest{}, err
		}
		defer f.Close()
		return want, s.add(st, f, want)
	}
	if err := s.open(ctx); err != nil {
		return store.Digest{}, err
	}
	return want, retry(ctx, func() error {
		r, w := io.Pipe()
		go func() { w.CloseWithError(s.download(ctx, run, w, info, item)) }()
		defer r.Close() // ends a download whose data cannot be stored
		return s.add(st, r, want)
	})
}

// add stores what r gives, whose digest has to be want.
func (s *Source) add(st *store.Store, r io.Reader, want store.Digest) error {
	batch, err := st.NewBatch()
	if err != nil {
		return err
	}
	defer batch.Abort()
	got, _, err := batch.Add(r)
	switch {
	case err != nil:
		return err
	case got != want:
		return fmt.Errorf("its digest is %s instead of %s", got, want)
	}
	return batch.Commit()
}

// IsRemote reports whether the image is in a registry.
func (s *Source) IsRemote() bool { return isRemote(s.ref) }

// architectures are the names that images have for canonical ones.
var architectures = map[string]string{"x86_64": "amd64", "aarch64": "arm64"}

// Architecture returns the name that images have for a canonical architecture; empty if
// they have none.
func Architecture(canonical string) string { return architectures[canonical] }

// systemContext returns what the library has to know of the host and the build.
func systemContext(o Options) (*types.SystemContext, error) {
	arch, ok := architectures[o.Arch]
	if !ok {
		return nil, fmt.Errorf("container images have no name for the architecture %q", o.Arch)
	}
	system := &types.SystemContext{
		ArchitectureChoice: arch,
		OSChoice:           "linux",
		// The variables are those of podman and skopeo; without them, the usual files count.
		AuthFilePath:             os.Getenv("REGISTRY_AUTH_FILE"),
		SystemRegistriesConfPath: os.Getenv("CONTAINERS_REGISTRIES_CONF"),
		DockerRegistryUserAgent:  "imagefactory (" + runtime.GOOS + ")",
	}
	if o.Insecure {
		system.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	}
	return system, nil
}

// ProgressReader reads R, and tells Run how far that is.
type ProgressReader struct {
	R     io.Reader
	Run   *stages.Run
	Item  string // what is read
	Total int64  // bytes; 0: unknown

	done, told int64
}

// progressStep is how many bytes pass between events.
const progressStep = 4 << 20

// Read reads R.
func (p *ProgressReader) Read(b []byte) (int, error) {
	n, err := p.R.Read(b)
	p.done += int64(n)
	if p.done-p.told >= progressStep || err == io.EOF && p.told < p.done {
		p.told = p.done
		p.Run.Emit(stages.Event{Kind: stages.Progress, Item: p.Item, Done: p.done, Total: p.Total, Unit: stages.Bytes})
	}
	return n, err
}
