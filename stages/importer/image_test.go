package importer

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/importer/images"
	"github.com/imagefactory/imagefactory/stages/importer/images/imagetest"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
)

// pull resolves an image and makes a root of it. It returns the paths in it.
func pull(t testing.TB, c *stages.Cache, o ImageOptions) (string, error) {
	t.Helper()
	pinned, err := ResolveImage(t.Context(), o)
	if err != nil {
		return "", err
	}
	return pullPinned(t, c, o, pinned.Digest)
}

func pullPinned(t testing.TB, c *stages.Cache, o ImageOptions, digest store.Digest) (string, error) {
	t.Helper()
	root, _, err := stagetest.Run(t, c, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return Image(ctx, run, o, digest, c.Downloads())
	})
	if err != nil {
		return "", err
	}
	var names []string
	for _, e := range stagetest.Load(t, c.Store, root.Tree).Entries()[1:] {
		name := e.Path
		if e.Type.String() == "directory" {
			name += "/"
		}
		names = append(names, name)
	}
	return strings.Join(names, " "), nil
}

func TestImageOfLayout(t *testing.T) {
	imagetest.Policy(t, imagetest.Anything)
	c := stagetest.Cache(t)
	l := imagetest.NewLayout(t)
	layers, want := imagetest.Three(t)
	o := ImageOptions{Reference: l.Tag(l.Image("amd64", layers...)), Arch: "x86_64"}
	if got, err := pull(t, c, o); err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	// A list: one image per architecture.
	o.Reference = l.Tag(l.List(map[string]imagetest.Descriptor{"amd64": l.Image("amd64", layers...), "arm64": l.Image("arm64", imagetest.Members(t, "arm"))}))
	if got, err := pull(t, c, o); err != nil || got != want {
		t.Errorf("of a list: %s, %v; want %s", got, err, want)
	}
	o.Arch = "aarch64"
	if got, err := pull(t, c, o); err != nil || got != "arm" {
		t.Errorf("of a list, for aarch64: %s, %v", got, err)
	}
	o.Reference = l.Tag(l.List(map[string]imagetest.Descriptor{"amd64": l.Image("amd64", layers...)}))
	if _, err := pull(t, c, o); err == nil || !strings.Contains(err.Error(), "it has none for the architecture arm64") {
		t.Errorf("of a list without the architecture: %v", err)
	}
}

func TestImageRefuses(t *testing.T) {
	imagetest.Policy(t, imagetest.Anything)
	c := stagetest.Cache(t)
	l := imagetest.NewLayout(t)
	layer := imagetest.Members(t, "a")
	config := func(v map[string]any) imagetest.Descriptor { return l.JSON(imagetest.OCIPrefix+"config.v1+json", v) }
	plain := l.Blob(imagetest.OCIPrefix+"layer.v1.tar", layer)
	good := map[string]any{"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": []string{store.Sum(layer).String()}}}
	with := func(key string, value any) map[string]any {
		m := map[string]any{}
		for k, v := range good {
			m[k] = v
		}
		m[key] = value
		return m
	}
	damaged := imagetest.NewLayout(t)
	broken := damaged.Image("amd64", layer)
	imagetest.Shell(t, damaged.Dir, `printf X | dd of="blobs/sha256/$1" bs=1 seek=20 conv=notrunc status=none`, store.Sum(layer).Hex())
	check := func(name, reference, want string) {
		t.Helper()
		if _, err := pull(t, c, ImageOptions{Reference: reference, Arch: "x86_64"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", name, err, want)
		}
	}
	check("another architecture", l.Tag(l.Image("arm64", layer)), "it is for linux on arm64, not for linux on amd64")
	check("another system", l.Tag(l.Manifest(config(with("os", "windows")), []imagetest.Descriptor{plain})), "it is for windows")
	check("another layer", l.Tag(l.Manifest(config(with("rootfs", map[string]any{"type": "layers", "diff_ids": []string{store.Sum(nil).String()}})), []imagetest.Descriptor{plain})),
		"and the image's configuration says sha256:"+store.Sum(nil).Hex())
	check("layers missing", l.Tag(l.Manifest(config(good), []imagetest.Descriptor{plain, plain})), "its manifest has 2 layers and its configuration 1")
	check("no layers", l.Tag(l.Manifest(config(with("rootfs", map[string]any{"type": "layers"})), nil)), "it has no layers")
	check("an artifact", l.Tag(l.Manifest(l.JSON("application/x", 1), []imagetest.Descriptor{plain})), "")
	check("damaged", damaged.Tag(broken), "its digest is")
	check("hostile", l.Tag(l.Image("amd64", imagetest.Members(t, "../x"))), `has the element ".."`)
	check("no such tag", strings.TrimSuffix(l.Tag(l.Image("amd64", layer)), "it")+"other", "other")

	reference := l.Tag(l.Image("amd64", layer))
	pinned, err := ResolveImage(t.Context(), ImageOptions{Reference: reference, Arch: "x86_64"})
	if err != nil {
		t.Fatal(err)
	}
	l.Tag(l.Image("amd64", imagetest.Members(t, "b")))
	if _, err := pullPinned(t, c, ImageOptions{Reference: reference, Arch: "x86_64"}, pinned.Digest); err == nil || !strings.Contains(err.Error(), "it has changed since it was locked") {
		t.Errorf("a layout that has changed: %v", err)
	}
	var wrong *images.ReferenceError
	for _, reference := range []string{"", "x", "containers-storage:x", "docker:x", "docker://", "dir:", "docker://UPPER", "oci:"} {
		if err := images.Check(reference); !errors.As(err, &wrong) || wrong.ExitStatus() != 2 {
			t.Errorf("%q: %v", reference, err)
		}
	}
}

// TestImageOfSkopeo reads what skopeo makes of a layout.
func TestImageOfSkopeo(t *testing.T) {
	imagetest.Need(t, "skopeo", "skopeo")
	imagetest.Policy(t, imagetest.Anything)
	c := stagetest.Cache(t)
	l := imagetest.NewLayout(t)
	layers, all := imagetest.Three(t)
	dir := t.TempDir()
	for to, n := range map[string]int{"oci-archive:" + dir + "/oci.tar:it": 3, "docker-archive:" + dir + "/docker.tar:example.org/it:1": 2} {
		want := all
		if n == 2 { // there is no zstd in Docker's format
			want = "bin etc/ etc/b opaque/ opaque/new usr/ usr/bin/ usr/bin/sh"
		}
		imagetest.Shell(t, dir, `skopeo --insecure-policy copy "$1" "$2"`, l.Tag(l.Image("amd64", layers[:n]...)), to)
		if got, err := pull(t, c, ImageOptions{Reference: to, Arch: "x86_64"}); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", to, got, err, want)
		}
	}
}

func TestImageOfRegistry(t *testing.T) {
	imagetest.Policy(t, imagetest.Anything)
	c, s, l := stagetest.Cache(t), imagetest.Serve(t), imagetest.NewLayout(t)
	layers, want := imagetest.Three(t)
	image := l.Image("amd64", layers...)
	tagged := s.Push(t, l.Tag(l.List(map[string]imagetest.Descriptor{"amd64": image, "arm64": l.Image("arm64", imagetest.Members(t, "arm"))})), "base/it:1")
	o := ImageOptions{Reference: tagged, Arch: "x86_64"}
	pinned, err := ResolveImage(t.Context(), o)
	if err != nil || pinned.Digest.String() != image.Digest {
		t.Fatalf("%+v, %v; want %s", pinned, err, image.Digest)
	}
	s.Breaks.Store(2)
	if got, err := pullPinned(t, c, o, pinned.Digest); err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	// The tag means another image by now; the pinned one is still there.
	s.Push(t, l.Tag(l.Image("amd64", imagetest.Members(t, "new"))), "base/it:1")
	if got, err := pullPinned(t, stagetest.Cache(t), o, pinned.Digest); err != nil || got != want {
		t.Errorf("after the tag has moved: %s, %v", got, err)
	}
	// Everything is in the cache now, and the network is not used.
	s.Blobs.Store(0)
	s.Manifests.Store(0)
	o.Offline = true
	fresh := stagetest.Cache(t)
	imagetest.Shell(t, "/", `mkdir -p "$2"; cp -r "$1/objects" "$2/"`, c.Downloads(), fresh.Downloads())
	if got, err := pullPinned(t, fresh, o, pinned.Digest); err != nil || got != want {
		t.Errorf("offline: %s, %v", got, err)
	}
	if s.Blobs.Load()+s.Manifests.Load() != 0 {
		t.Errorf("%d blobs and %d manifests were asked for", s.Blobs.Load(), s.Manifests.Load())
	}
	if _, err := pullPinned(t, stagetest.Cache(t), o, pinned.Digest); err == nil || !strings.Contains(err.Error(), "may not use the network") {
		t.Errorf("offline, nothing in the cache: %v", err)
	}
	if _, err := ResolveImage(t.Context(), o); err == nil || !strings.Contains(err.Error(), "may not use the network") {
		t.Errorf("resolving offline: %v", err)
	}
	o.Offline = false

	s.Lies.Store(true)
	if _, err := pullPinned(t, stagetest.Cache(t), o, pinned.Digest); err == nil {
		t.Error("wrong blobs are taken")
	}
	s.Lies.Store(false)
	if _, err := pullPinned(t, c, o, store.Sum(nil)); err == nil {
		t.Error("a manifest that is not there")
	}
	t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(t.TempDir(), "none.json"))
	if _, err := ResolveImage(t.Context(), o); err == nil {
		t.Error("without a password")
	}
}
