package importer

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"

	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
	"github.com/imagefactory/imagefactory/stages/tree/tarball"
)

// ImageVersion is the version of Image's code; see stages.Stage.
const ImageVersion = 1

// layerVersion is the version of the code that applies one layer.
const layerVersion = 1

// ImageOptions says which container image is meant.
type ImageOptions struct {
	// Reference is the image with its transport: "docker://registry.example.com/base:1",
	// "oci:DIR:TAG", "oci-archive:FILE" or "docker-archive:FILE".
	Reference string
	Arch      string // canonical: "x86_64" or "aarch64"
	Offline   bool   // registries are not asked; what they gave before is in the cache
}

// PinnedImage is what an image's reference means at one time.
type PinnedImage struct {
	Reference string       // as it was given
	Digest    store.Digest // of the manifest for the architecture
}

// ResolveImage returns what the image is now. Only an image that the host's signature
// policy accepts can be pinned; without a policy that is one in local files, or one whose
// reference has a digest. The error tells the digest otherwise.
func ResolveImage(ctx context.Context, o ImageOptions) (PinnedImage, error) {
	fail := func(err error) (PinnedImage, error) { return PinnedImage{}, imageError(o, err) }
	ref, err := parseReference(o.Reference)
	if err != nil {
		return PinnedImage{}, err
	}
	decision, err := loadPolicy(ref)
	if err != nil {
		return fail(err)
	}
	if err := decision.check(ref); err != nil {
		return fail(err)
	}
	if o.Offline && isRemote(ref) {
		return fail(fmt.Errorf("what it is now has to be asked for, and this build may not use the network; lock it before"))
	}
	s, err := openSource(ctx, ref, o, "")
	if err != nil {
		return fail(err)
	}
	defer s.close()
	m, err := s.choose(ctx)
	if err != nil {
		return fail(err)
	}
	if err := decision.checkUnpinned(ref, m.digest); err != nil {
		return fail(err)
	}
	return PinnedImage{Reference: o.Reference, Digest: m.digest}, nil
}

// Image makes a root of the layers of the image whose manifest has the digest that was
// pinned. What comes from a registry is kept below downloads, the directory of package
// fetch; layers that were applied once, to the same layers before, are remembered.
//
// Manifests, configurations and layers are verified by their digests, layers also by
// that of what they decompress to.
func Image(ctx context.Context, run *stages.Run, o ImageOptions, pinned store.Digest, downloads string) (rootfs.Root, error) {
	fail := func(err error) (rootfs.Root, error) { return rootfs.Root{}, imageError(o, err) }
	ref, err := parseReference(o.Reference)
	if err != nil {
		return rootfs.Root{}, err
	}
	decision, err := loadPolicy(ref)
	if err != nil {
		return fail(err)
	}
	if err := decision.check(ref); err != nil {
		return fail(err)
	}
	if ref, err = atDigest(ref, pinned); err != nil {
		return fail(err)
	}
	s, err := openSource(ctx, ref, o, downloads)
	if err != nil {
		return fail(err)
	}
	defer s.close()
	m, err := s.pinned(ctx, pinned)
	if err != nil {
		return fail(err)
	}
	layers, err := s.layers(ctx, m, o.Arch)
	if err != nil {
		return fail(err)
	}
	st := run.Cache.Store
	base := tree.Empty(tree.Time{})
	below, err := tree.Save(st, base)
	if err != nil {
		return rootfs.Root{}, err
	}
	for i, l := range layers {
		key := stages.Key("layer", layerVersion, []string{below.Hex(), l.plain.Hex()})
		result, _, err := stages.Memo(ctx, run.Cache, key, "layer "+l.plain.Hex()[:12], func(ctx context.Context) (rootfs.Root, error) {
			return s.apply(ctx, run, below, l, fmt.Sprintf("layer %d of %d", i+1, len(layers)))
		})
		if err != nil {
			return fail(fmt.Errorf("layer %d (%s): %w", i+1, l.blob.Digest, err))
		}
		below = result.Tree
	}
	return rootfs.Root{Tree: below}, nil
}

func imageError(o ImageOptions, err error) error {
	return fmt.Errorf("container image %s: %w", o.Reference, err)
}

// architectures are the names that images have for canonical ones.
var architectures = map[string]string{"x86_64": "amd64", "aarch64": "arm64"}

// chosen is the manifest of one architecture.
type chosen struct {
	raw    []byte
	kind   string // media type
	digest store.Digest
}

// layer is one layer of an image.
type layer struct {
	blob  types.BlobInfo
	plain store.Digest // of the tar archive: "diffID"
}

// choose returns the manifest for the architecture, of a list of them or the only one.
func (s *source) choose(ctx context.Context) (*chosen, error) {
	raw, kind, err := s.manifest(ctx, nil)
	if err != nil {
		return nil, err
	}
	if !manifest.MIMETypeIsMultiImage(kind) {
		return newChosen(raw, kind)
	}
	list, err := manifest.ListFromBlob(raw, kind)
	if err != nil {
		return nil, fmt.Errorf("its list of manifests: %w", err)
	}
	instance, err := list.ChooseInstance(s.system)
	if err != nil {
		return nil, fmt.Errorf("it has none for the architecture %s: %w", s.system.ArchitectureChoice, err)
	}
	if raw, kind, err = s.manifest(ctx, &instance); err != nil {
		return nil, err
	}
	return newChosen(raw, kind)
}

func newChosen(raw []byte, kind string) (*chosen, error) {
	d, err := manifest.Digest(raw)
	if err != nil {
		return nil, err
	}
	pinned, err := store.ParseDigest(d.String())
	return &chosen{raw, kind, pinned}, err
}

// pinned returns the manifest with the digest.
func (s *source) pinned(ctx context.Context, want store.Digest) (*chosen, error) {
	m, err := s.choose(ctx)
	if err != nil {
		return nil, err
	}
	if m.digest != want {
		return nil, fmt.Errorf("it has changed since it was locked: its manifest is %s and was %s; run imagefactory lock", m.digest, want)
	}
	return m, nil
}

// layers reads the image's manifest and configuration.
func (s *source) layers(ctx context.Context, m *chosen, arch string) ([]layer, error) {
	if m.kind != manifest.DockerV2Schema2MediaType && m.kind != ociManifest {
		return nil, fmt.Errorf("its manifest has the type %q, which is not that of an image in the formats of OCI or Docker (version 2, schema 2)", m.kind)
	}
	parsed, err := manifest.FromBlob(m.raw, m.kind)
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
	if config.OS != "linux" || config.Architecture != architectures[arch] {
		return nil, fmt.Errorf("it is for %s on %s, not for linux on %s", config.OS, config.Architecture, architectures[arch])
	}
	infos := parsed.LayerInfos()
	if config.RootFS.Type != "layers" || len(infos) != len(config.RootFS.DiffIDs) {
		return nil, fmt.Errorf("its manifest has %d layers and its configuration %d", len(infos), len(config.RootFS.DiffIDs))
	}
	if len(infos) == 0 {
		return nil, fmt.Errorf("it has no layers")
	}
	layers := make([]layer, len(infos))
	for i, info := range infos {
		if info.EmptyLayer || len(info.URLs) > 0 {
			return nil, fmt.Errorf("its layer %s is not in the registry: images with foreign layers are not supported", info.Digest)
		}
		layers[i].blob = info.BlobInfo
		if layers[i].plain, err = store.ParseDigest(config.RootFS.DiffIDs[i].String()); err != nil {
			return nil, fmt.Errorf("its layer %d: %w", i+1, err)
		}
	}
	return layers, nil
}

// apply puts a layer over the tree below.
func (s *source) apply(ctx context.Context, run *stages.Run, below store.Digest, l layer, item string) (rootfs.Root, error) {
	st := run.Cache.Store
	base, err := tree.Load(st, below)
	if err != nil {
		return rootfs.Root{}, err
	}
	want, err := store.ParseDigest(l.blob.Digest.String())
	if err != nil {
		return rootfs.Root{}, err
	}
	r, err := s.blob(ctx, run, l.blob, item)
	if err != nil {
		return rootfs.Root{}, err
	}
	defer r.Close()
	t, sum, err := apply(ctx, st, base, r, tarball.Options{Limits: tarball.DefaultLimits, Layer: true})
	switch {
	case sum.raw != want && !sum.raw.IsZero():
		return rootfs.Root{}, fmt.Errorf("it is damaged: its digest is %s", sum.raw)
	case err != nil:
		return rootfs.Root{}, err
	case sum.plain != l.plain:
		return rootfs.Root{}, fmt.Errorf("it decompresses to what has the digest %s, and the image's configuration says %s", sum.plain, l.plain)
	}
	return rootfs.Save(st, t)
}

// systemContext returns what the library has to know of the host and the build.
func systemContext(o ImageOptions) (*types.SystemContext, error) {
	arch, ok := architectures[o.Arch]
	if !ok {
		return nil, fmt.Errorf("container images have no name for the architecture %q", o.Arch)
	}
	return &types.SystemContext{
		ArchitectureChoice: arch,
		OSChoice:           "linux",
		// The variables are those of podman and skopeo; without them, the usual files count.
		AuthFilePath:             os.Getenv("REGISTRY_AUTH_FILE"),
		SystemRegistriesConfPath: os.Getenv("CONTAINERS_REGISTRIES_CONF"),
		DockerRegistryUserAgent:  "imagefactory (" + runtime.GOOS + ")",
	}, nil
}
