package importer

import (
	"context"
	"errors"
	"fmt"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/importer/images"
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
	// "oci:DIR:TAG", "oci-archive:FILE", "docker-archive:FILE" or "dir:DIR".
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
	found, err := images.Resolve(ctx, o.Reference, o.options(), func(r images.Resolved) store.Digest { return r.Manifest.Digest })
	if err != nil {
		return PinnedImage{}, imageError(o, err)
	}
	return PinnedImage{Reference: o.Reference, Digest: found.Manifest.Digest}, nil
}

func (o ImageOptions) options() images.Options {
	return images.Options{Arch: o.Arch, Offline: o.Offline, Form: func(reference string) string { return fmt.Sprintf("image = %q", reference) }}
}

// Image makes a root of the layers of the image whose manifest has the digest that was
// pinned. What comes from a registry is kept below downloads, the directory of package
// fetch; layers that were applied once, to the same layers before, are remembered.
//
// Manifests, configurations and layers are verified by their digests, layers also by
// that of what they decompress to.
func Image(ctx context.Context, run *stages.Run, o ImageOptions, pinned store.Digest, downloads string) (rootfs.Root, error) {
	fail := func(err error) (rootfs.Root, error) { return rootfs.Root{}, imageError(o, err) }
	s, err := images.Open(ctx, o.Reference, o.options(), pinned, downloads)
	if err != nil {
		return fail(err)
	}
	defer s.Close()
	top, err := s.Top(ctx)
	if err != nil {
		return fail(err)
	}
	m, err := s.Choose(ctx, top)
	if err != nil {
		return fail(err)
	}
	if m.Digest != pinned {
		return fail(images.ChangedError(m.Digest, pinned))
	}
	contents, err := s.Contents(ctx, m)
	if err != nil {
		return fail(err)
	}
	layers := contents.Layers
	st := run.Cache.Store
	base := tree.Empty(tree.Time{})
	below, err := tree.Save(st, base)
	if err != nil {
		return rootfs.Root{}, err
	}
	for i, l := range layers {
		key := stages.Key("layer", layerVersion, []string{below.Hex(), l.Plain.Hex()})
		result, _, err := stages.Memo(ctx, run.Cache, key, "layer "+l.Plain.Hex()[:12], func(ctx context.Context) (rootfs.Root, error) {
			return applyLayer(ctx, run, s, below, l, fmt.Sprintf("layer %d of %d", i+1, len(layers)))
		})
		if err != nil {
			return fail(fmt.Errorf("layer %d (%s): %w", i+1, l.Blob.Digest, err))
		}
		below = result.Tree
	}
	return rootfs.Root{Tree: below}, nil
}

// imageError names the image, unless the error does so itself.
func imageError(o ImageOptions, err error) error {
	var reference *images.ReferenceError
	if errors.As(err, &reference) {
		return err
	}
	return fmt.Errorf("container image %s: %w", o.Reference, err)
}

// applyLayer puts a layer over the tree below.
func applyLayer(ctx context.Context, run *stages.Run, s *images.Source, below store.Digest, l images.Layer, item string) (rootfs.Root, error) {
	st := run.Cache.Store
	base, err := tree.Load(st, below)
	if err != nil {
		return rootfs.Root{}, err
	}
	want, err := store.ParseDigest(l.Blob.Digest.String())
	if err != nil {
		return rootfs.Root{}, err
	}
	r, err := s.Blob(ctx, run, l.Blob, item)
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
	case sum.plain != l.Plain:
		return rootfs.Root{}, fmt.Errorf("it decompresses to what has the digest %s, and the image's configuration says %s", sum.plain, l.Plain)
	}
	return rootfs.Save(st, t)
}
