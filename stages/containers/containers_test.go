package containers

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
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

func TestCheck(t *testing.T) {
	digest := "@" + store.Sum(nil).String()
	for _, test := range []struct {
		source Source
		want   string // of the error; otherwise the name for the runtime
	}{
		{Source{Reference: "registry.example.com/a/pause:3.9", Runtime: Containerd}, "registry.example.com/a/pause:3.9"},
		{Source{Reference: "docker://localhost/pause", Runtime: Containerd}, "localhost/pause:latest"},
		{Source{Reference: "registry:5000/pause:1" + digest, Runtime: Docker}, "registry:5000/pause:1"},
		{Source{Reference: "registry:5000/pause" + digest, Runtime: Podman}, "registry:5000/pause, no tag"},
		{Source{Reference: "docker.io/alpine:3", Runtime: Podman}, "docker.io/library/alpine:3"},
		{Source{Reference: "docker://mirror.example/pause" + digest, Name: "registry.example.com/pause:3", Runtime: Docker}, "registry.example.com/pause:3"},
		{Source{Reference: "oci:/d:tag", Name: "registry.example.com/pause:3", Runtime: Docker}, "registry.example.com/pause:3"},
		{Source{Reference: "docker-archive:/f:example.com/x:y", Runtime: CRIO}, "example.com/x:y"},

		{Source{Reference: "alpine:3", Runtime: Podman}, `"alpine:3" is a short name, which every host completes in its own way; write the registry too: "docker.io/library/alpine:3"`},
		{Source{Reference: "docker://library/alpine", Runtime: Podman}, "is a short name"},
		{Source{Reference: "registry.example.com/UPPER", Runtime: Podman}, "lowercase"},
		{Source{Reference: "", Runtime: Podman}, "invalid reference format"},
		{Source{Reference: "registry.example.com/a" + digest, Runtime: Docker}, "docker cannot load an image under a digest alone"},
		{Source{Reference: "registry.example.com/a:1", Runtime: "rkt"}, `the runtime "rkt" is not known; there are containerd, cri-o, docker, podman`},
		{Source{Reference: "registry.example.com/a:1", Runtime: Podman, Namespace: "x"}, "podman has no namespaces"},
		{Source{Reference: "registry.example.com/a:1", Runtime: Containerd, Namespace: "a b"}, "is not a namespace of containerd"},
		{Source{Reference: "oci:/d", Runtime: Podman}, "add `name`"},
		{Source{Reference: "oci:", Name: "example.com/x:y", Runtime: Podman}, "it is not docker://NAME"},
		{Source{Reference: "dir:/d", Name: "x", Runtime: Podman}, "is a short name"},
		{Source{Reference: "dir:/d", Name: "example.com/x" + digest, Runtime: Podman}, "has a digest"},
		{Source{Reference: "dir:/d", Name: "example.com/x", Runtime: Podman, Insecure: true}, "`insecure` is about registries"},
	} {
		p, err := test.source.parse()
		got := ""
		if err == nil {
			if got = p.tagged; got == "" {
				got = p.name + ", no tag"
			}
		}
		var wrong *SourceError
		if err != nil && (!errors.As(err, &wrong) || wrong.ExitStatus() != 2 || !strings.Contains(err.Error(), test.want)) || err == nil && got != test.want {
			t.Errorf("%+v: %q, %v; want %s", test.source, got, err, test.want)
		}
	}
}

func TestForm(t *testing.T) {
	const pinned = "docker://registry.example.com/pause@sha256:12"
	for _, test := range []struct{ reference, name, want string }{
		{"registry.example.com/pause:3", "", `container "registry.example.com/pause:3@sha256:12"`},
		{"docker://registry.example.com/pause:3", "registry.example.com/pause:3", `container "registry.example.com/pause:3@sha256:12"`},
		{"docker://registry.example.com/pause:3", "example.com/other:3", `source = "docker://registry.example.com/pause@sha256:12"`},
	} {
		if got := (Source{Reference: test.reference, Name: test.name, Runtime: Containerd}).form(pinned); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

// small writes an image of two layers.
func small(t testing.TB, l *imagetest.Layout, more ...string) imagetest.Descriptor {
	return l.Image("amd64", layerOf(t, tar.Header{Name: "a", Linkname: "a"}), imagetest.Members(t, append([]string{"b"}, more...)...))
}

func TestPullOfFiles(t *testing.T) {
	imagetest.Need(t, "skopeo", "skopeo")
	imagetest.Policy(t, imagetest.Anything)
	c, l := stagetest.Cache(t), imagetest.NewLayout(t)
	image := small(t, l)
	layout := l.Tag(l.List(map[string]imagetest.Descriptor{"amd64": image, "arm64": l.Image("arm64", imagetest.Members(t, "arm"))}))
	dir := t.TempDir()
	for _, to := range []string{"oci-archive:" + dir + "/oci.tar:it", "docker-archive:" + dir + "/docker.tar:example.com/it:1", "dir:" + dir + "/dir"} {
		imagetest.Shell(t, dir, `skopeo --insecure-policy copy --override-arch amd64 "$1" "$2"`, layout, to)
	}
	var plain []string
	for _, from := range []string{layout, "oci-archive:" + dir + "/oci.tar", "docker-archive:" + dir + "/docker.tar", "dir:" + dir + "/dir"} {
		i := pull(t, c, Source{Reference: from, Name: "example.com/it:1", Arch: arch, Runtime: Containerd})[0]
		if i.Top.isList() != (from == layout) || i.Tagged != "example.com/it:1" || i.Namespace != "k8s.io" {
			t.Errorf("%s: %+v", from, i)
		}
		var layers []string
		for _, l := range i.Layers {
			layers = append(layers, l.Plain)
		}
		if plain == nil {
			plain = layers
		}
		if fmt.Sprint(layers) != fmt.Sprint(plain) || len(layers) != 2 {
			t.Errorf("%s has the layers %q", from, layers)
		}
	}
	// What a file holds now may be another image than the one that was locked.
	source := Source{Reference: layout, Name: "example.com/it:1", Arch: arch, Runtime: Containerd}
	locked, err := Resolve(t.Context(), source, true)
	if err != nil || locked.Manifest.String() != image.Digest || locked.Digest == locked.Manifest {
		t.Fatalf("%+v, %v", locked, err)
	}
	l.Tag(small(t, l, "c"))
	if _, err := pullPinned(t, c, source, locked, PullOptions{}); err == nil || !strings.Contains(err.Error(), "it has changed since it was locked") {
		t.Errorf("another image: %v", err)
	}
	if _, err := Resolve(t.Context(), Source{Reference: layout, Name: "example.com/it:1", Arch: "aarch64", Runtime: Containerd}, true); err == nil || !strings.Contains(err.Error(), "it is for linux on amd64, not for linux on arm64") {
		t.Errorf("another architecture: %v", err)
	}
	variant := l.JSON(imagetest.OCIPrefix+"index.v1+json", map[string]any{"schemaVersion": 2, "mediaType": imagetest.OCIPrefix + "index.v1+json", "manifests": []any{
		map[string]any{"mediaType": image.MediaType, "digest": image.Digest, "size": image.Size, "platform": map[string]string{"os": "linux", "architecture": "amd64"}},
		map[string]any{"mediaType": image.MediaType, "digest": image.Digest, "size": image.Size, "platform": map[string]string{"os": "linux", "architecture": "amd64", "variant": "v3"}},
	}})
	for from, want := range map[string]string{
		l.Tag(l.List(map[string]imagetest.Descriptor{"arm64": image})): "it has none for the architecture amd64",
	} {
		if _, err := Resolve(t.Context(), Source{Reference: from, Name: "example.com/it:1", Arch: arch, Runtime: Containerd}, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
	if _, err := Resolve(t.Context(), Source{Reference: l.Tag(variant), Name: "example.com/it:1", Arch: arch, Runtime: Containerd}, true); err == nil || !strings.Contains(err.Error(), "several variants of amd64 (v3, without a variant)") {
		t.Errorf("variants: %v", err)
	}
}

func pullPinned(t testing.TB, c *stages.Cache, s Source, pinned Pinned, o PullOptions) (Image, error) {
	t.Helper()
	i, _, err := stagetest.Run(t, c, func(ctx context.Context, run *stages.Run) (Image, error) {
		return Pull(ctx, run, s, pinned, o)
	})
	return i, err
}

func TestPullOfRegistry(t *testing.T) {
	imagetest.Policy(t, imagetest.Anything)
	c, s, l := stagetest.Cache(t), imagetest.Serve(t), imagetest.NewLayout(t)
	name := strings.TrimPrefix(s.Push(t, l.Tag(small(t, l)), "base/it:1"), "docker://")
	source := Source{Reference: name, Arch: arch, Runtime: Containerd}
	o := PullOptions{Downloads: c.Downloads()}
	first, err := Resolve(t.Context(), source, false)
	if err != nil {
		t.Fatal(err)
	}
	// Registries that break off are asked again.
	s.Breaks.Store(2)
	if _, err := pullPinned(t, c, source, first, o); err != nil {
		t.Fatal(err)
	}
	// The tag means another image by now; the pinned one is taken, without its blobs,
	// and the layer that the other one has too is not asked for.
	s.Push(t, l.Tag(small(t, l, "c")), "base/it:1")
	s.Blobs.Store(0)
	if i, err := pullPinned(t, c, source, first, o); err != nil || i.Top.Digest != first.Digest || s.Blobs.Load() != 0 {
		t.Errorf("%+v, %v; %d blobs were asked for", i, err, s.Blobs.Load())
	}
	second, err := Resolve(t.Context(), source, false)
	if err != nil || second == first {
		t.Fatalf("%+v, %v", second, err)
	}
	s.Blobs.Store(0)
	if _, err := pullPinned(t, c, source, second, o); err != nil || s.Blobs.Load() != 2 { // configuration and layer
		t.Errorf("%v; %d blobs were asked for", err, s.Blobs.Load())
	}
	// Offline what was pulled is there, and nothing else.
	o.Offline = true
	if _, err := pullPinned(t, c, source, first, o); err != nil {
		t.Errorf("offline: %v", err)
	}
	if _, err := pullPinned(t, stagetest.Cache(t), source, first, PullOptions{Offline: true}); err == nil || !strings.Contains(err.Error(), "may not use the network") {
		t.Errorf("offline, nothing in the cache: %v", err)
	}
	if _, err := Resolve(t.Context(), source, true); err == nil || !strings.Contains(err.Error(), "may not use the network") {
		t.Errorf("resolving offline: %v", err)
	}
	// Lies are found out.
	s.Lies.Store(true)
	fresh := stagetest.Cache(t)
	if _, err := pullPinned(t, fresh, source, first, PullOptions{Downloads: fresh.Downloads()}); err == nil || !strings.Contains(err.Error(), "its digest is") {
		t.Errorf("wrong blobs: %v", err)
	}
	s.Lies.Store(false)
	// Insecure is needed where registries.conf does not say so.
	empty := filepath.Join(t.TempDir(), "registries.conf")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTAINERS_REGISTRIES_CONF", empty)
	if _, err := Resolve(t.Context(), source, false); err == nil || !strings.Contains(err.Error(), "HTTP response to HTTPS client") {
		t.Errorf("without insecure: %v", err)
	}
	source.Insecure = true
	if got, err := Resolve(t.Context(), source, false); err != nil || got != second {
		t.Errorf("insecure: %+v, %v", got, err)
	}
	// The signature policy counts when resolving and when pulling.
	imagetest.Policy(t, `{"default": [{"type": "reject"}]}`)
	var refused *images.PolicyError
	if _, err := Resolve(t.Context(), source, false); !errors.As(err, &refused) || refused.ExitStatus() != 3 {
		t.Errorf("resolving what the policy rejects: %v", err)
	}
	if _, err := pullPinned(t, c, source, second, PullOptions{Downloads: c.Downloads()}); !errors.As(err, &refused) {
		t.Errorf("pulling what the policy rejects: %v", err)
	}
}

// TestDamagedLayer has a layer whose blob is what its digest says, and holds another
// archive than the configuration says: that shows before the first boot.
func TestDamagedLayer(t *testing.T) {
	imagetest.Policy(t, imagetest.Anything)
	c, l := stagetest.Cache(t), imagetest.NewLayout(t)
	config := l.JSON(imagetest.OCIPrefix+"config.v1+json", map[string]any{"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": []string{store.Sum(nil).String()}}})
	from := l.Tag(l.Manifest(config, []imagetest.Descriptor{l.Blob(imagetest.OCIPrefix+"layer.v1.tar", imagetest.Members(t, "a"))}))
	_, err := pullOne(t, c, Source{Reference: from, Name: "example.com/it:1", Arch: arch, Runtime: Containerd}, PullOptions{})
	if err == nil || !strings.Contains(err.Error(), "and the image's configuration says sha256:"+store.Sum(nil).Hex()) {
		t.Error(err)
	}
}

func TestRunRefuses(t *testing.T) {
	imagetest.Policy(t, imagetest.Anything)
	c, l := stagetest.Cache(t), imagetest.NewLayout(t)
	from := l.Tag(small(t, l))
	source := func(runtime, name string) Source {
		return Source{Reference: from, Name: name, Arch: arch, Runtime: runtime}
	}
	const name = "example.com/it:1"
	bare := rooted(t, c)
	for runtime, want := range map[string]string{
		Containerd: "its runtime containerd is not installed: the image has no program containerd; add the package (containerd or containerd.io)",
		Podman:     "no program podman", CRIO: "no program crio", Docker: "no program dockerd",
	} {
		if _, err := place(t, c, bare, pull(t, c, source(runtime, name))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", runtime, err)
		}
	}
	all := rooted(t, c, "usr/bin/containerd", "usr/bin/podman", "usr/sbin/dockerd", "usr/bin/docker")
	if _, err := place(t, c, all, pull(t, c, source(Docker, name))); err == nil || !strings.Contains(err.Error(), "coreutils") {
		t.Errorf("without touch: %v", err)
	}
	placed := pull(t, c, source(Containerd, name), source(Podman, name))
	l.Tag(small(t, l, "c"))
	other := pull(t, c, source(Containerd, name), source(Podman, name))
	for n := range placed {
		if _, err := place(t, c, all, []Image{placed[n], other[n]}); err == nil || !strings.Contains(err.Error(), "one image of that name only") {
			t.Errorf("two images with one name: %v", err)
		}
	}
	// Whoever comes twice finds the store of the first time.
	for n := range placed {
		once, err := place(t, c, all, placed[n:n+1])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := place(t, c, rootfs.Root{Tree: stagetest.Save(t, c.Store, once)}, other[n:n+1]); !errors.Is(err, errAlready) {
			t.Errorf("a root with a store: %v", err)
		}
	}
}

// TestContainerdRoot puts images where the configuration says.
func TestContainerdRoot(t *testing.T) {
	imagetest.Policy(t, imagetest.Anything)
	c, l := stagetest.Cache(t), imagetest.NewLayout(t)
	image := pull(t, c, Source{Reference: l.Tag(small(t, l)), Name: "example.com/it:1", Arch: arch, Runtime: Containerd, Namespace: "default"})
	base := stagetest.Load(t, c.Store, rooted(t, c, "usr/bin/containerd").Tree)
	for _, test := range []struct {
		files map[string]string
		want  string
	}{
		{nil, "var/lib/containerd"},
		{map[string]string{"etc/containerd/config.toml": "version = 2\n"}, "var/lib/containerd"},
		{map[string]string{"etc/containerd/config.toml": "version = 2\nroot = \"/srv/c/\"\n"}, "srv/c"},
		{map[string]string{"etc/containerd/config.toml": "imports = [\"conf.d/*.toml\"]\n", "etc/containerd/conf.d/a.toml": "root = \"/srv/d\"\n"}, "srv/d"},
		{map[string]string{"etc/containerd/config.toml": "root = \"c\"\n"}, `root = "c" is not an absolute path`},
		{map[string]string{"etc/containerd/config.toml": "root = [\n"}, "/etc/containerd/config.toml: containerd's configuration"},
	} {
		edit := base.Edit()
		for path, text := range test.files {
			dir := stagetest.Dir(filepath.Dir(path))
			if err := edit.MkdirAll(dir.Path, dir); err != nil {
				t.Fatal(err)
			}
			edit.Put(stagetest.File(t, c.Store, path, text))
		}
		root, err := edit.Tree()
		if err != nil {
			t.Fatal(err)
		}
		placed, err := place(t, c, rootfs.Root{Tree: stagetest.Save(t, c.Store, root)}, image)
		if err != nil {
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q: %v", test.files, err)
			}
			continue
		}
		if _, ok := placed.Lookup(test.want + "/io.containerd.metadata.v1.bolt/meta.db"); !ok {
			t.Errorf("%q: nothing in %s", test.files, test.want)
		}
	}
}

// TestDeterministic places the same images twice, in caches that share nothing.
func TestDeterministic(t *testing.T) {
	imagetest.Policy(t, imagetest.Anything)
	l := imagetest.NewLayout(t)
	var layouts []string
	for n := range 3 {
		more := imagetest.NewLayout(t)
		layouts = append(layouts, more.Tag(small(t, more, fmt.Sprint("c", n), fmt.Sprint("d/", n))))
	}
	list := l.Tag(l.List(map[string]imagetest.Descriptor{"amd64": small(t, l), "arm64": l.Image("arm64", imagetest.Members(t, "arm"))}))
	run := func() (store.Digest, string) {
		c := stagetest.Cache(t)
		var sources []Source
		for _, runtime := range Runtimes() {
			for n, from := range append(layouts, list) {
				sources = append(sources, Source{Reference: from, Name: fmt.Sprintf("example.com/it:%d", n), Arch: arch, Runtime: runtime})
			}
		}
		sources = append(sources, Source{Reference: list, Name: "example.com/it:other", Arch: arch, Runtime: Containerd, Namespace: "default"})
		placed, err := place(t, c, rooted(t, c, "usr/bin/containerd", "usr/bin/podman", "usr/bin/crio", "usr/sbin/dockerd", "usr/bin/docker", "usr/bin/touch"), pull(t, c, sources...))
		if err != nil {
			t.Fatal(err)
		}
		return placed.Digest(), stagetest.Text(t, c.Store, placed)
	}
	first, text := run()
	for range 3 {
		if again, other := run(); again != first {
			t.Fatalf("two runs differ:\n%s\n%s", text, other)
		}
	}
}

// BenchmarkRun places an image of 100 MB and 2000 files, first for containerd, then for
// podman, whose layers have to be unpacked.
func BenchmarkRun(b *testing.B) {
	home := b.TempDir()
	b.Setenv("HOME", home)
	if err := errors.Join(os.MkdirAll(filepath.Join(home, ".config/containers"), 0o755), os.WriteFile(filepath.Join(home, ".config/containers/policy.json"), []byte(imagetest.Anything), 0o644)); err != nil {
		b.Fatal(err)
	}
	l := imagetest.NewLayout(b)
	var files []tar.Header
	contents := make([]byte, 50_000)
	for n := range 2000 {
		for i := range contents {
			contents[i] = byte((i*7 + n) ^ i>>3)
		}
		files = append(files, tar.Header{Name: fmt.Sprint("f", n), Linkname: string(contents)})
	}
	from := l.Tag(l.Image("amd64", imagetest.Members(b, "first"), layerOf(b, files...)))
	for _, runtime := range []string{Containerd, Podman, Docker} {
		b.Run(runtime, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				c := stagetest.Cache(b)
				root := rooted(b, c, "usr/bin/containerd", "usr/bin/podman", "usr/sbin/dockerd", "usr/bin/docker", "usr/bin/touch")
				b.StartTimer()
				if _, err := place(b, c, root, pull(b, c, Source{Reference: from, Name: "example.com/it:1", Arch: arch, Runtime: runtime})); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzWhiteouts reads any layer: what comes of it is a tree without names of whiteouts.
func FuzzWhiteouts(f *testing.F) {
	for _, names := range [][]string{{"a/", "a/.wh.b", "a/.wh..wh..opq"}, {".wh..wh.x", ".wh.", ".wh...", "x/", "x/.wh.x/", "x/.wh.x/y"}} {
		f.Add(imagetest.Members(f, names...))
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		c := stagetest.Cache(t)
		digest, err := c.Store.Put(archive)
		if err != nil {
			t.Fatal(err)
		}
		layer := Layer{Blob{digest, int64(len(archive)), ""}, digest.Hex()}
		got, _, err := stagetest.Run(t, c, func(ctx context.Context, run *stages.Run) (unpackedLayer, error) {
			return unpack(ctx, run, layer, "it")
		})
		if err != nil {
			return
		}
		for _, e := range stagetest.Load(t, c.Store, got.Tree).Entries() {
			if strings.HasPrefix(e.Name(), whiteout) {
				t.Errorf("%s is left", e.Path)
			}
		}
	})
}
