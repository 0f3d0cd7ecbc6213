package containers

import (
	"archive/tar"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/importer/images/imagetest"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
)

// TestDocker has skopeo read the archive, and systemctl the unit that loads it.
func TestDocker(t *testing.T) {
	hello := program(t) // before HOME is another one, and Go's cache with it
	imagetest.Policy(t, imagetest.Anything)
	c, s, l := stagetest.Cache(t), imagetest.Serve(t), imagetest.NewLayout(t)
	layers := [][]byte{
		layerOf(t, tar.Header{Name: "etc/", Typeflag: tar.TypeDir}, tar.Header{Name: "etc/message", Linkname: "bad", Mode: 0o644}),
		layerOf(t, tar.Header{Name: "hello", Linkname: string(hello)}),
		layerOf(t, tar.Header{Name: "etc/", Typeflag: tar.TypeDir}, tar.Header{Name: "etc/message", Linkname: "good morning", Mode: 0o644}),
	}
	one := l.ImageOf("amd64", map[string]any{"Entrypoint": []string{"/hello"}}, layers...)
	name := strings.TrimPrefix(s.Push(t, l.Tag(one), "base/hello:1"), "docker://")
	two := l.ImageOf("amd64", nil, layers[:2]...)
	s.Push(t, l.Tag(two), "base/plain:2")
	plain := s.Host + "/base/plain:2@" + two.Digest
	sources := []Source{
		{Reference: name, Arch: arch, Runtime: Docker},
		{Reference: name, Name: "example.org/other:name", Arch: arch, Runtime: Docker},
		{Reference: plain, Arch: arch, Runtime: Docker},
	}
	root := rooted(t, c, "usr/bin/docker", "usr/sbin/dockerd", "usr/bin/touch")
	placed, err := place(t, c, root, pull(t, c, sources...))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	extract(t, c.Store, placed, "usr", dir)
	extract(t, c.Store, placed, "etc", dir)
	if got := imagetest.Shell(t, "/", `systemctl --root="$1" is-enabled imagefactory-docker-load.service`, dir); got != "enabled\n" {
		t.Errorf("the unit is %q", got)
	}
	archive := filepath.Join(dir, dockerDir, dockerArchive)
	if keep := os.Getenv("KEEP_DOCKER_ARCHIVE"); keep != "" {
		imagetest.Shell(t, "/", `cp "$1" "$2"`, archive, keep)
	}
	for from, want := range map[string]int{name: 3, "example.org/other:name": 3, s.Host + "/base/plain:2": 2} {
		reference := "docker-archive:" + archive + ":" + from
		got := pull(t, stagetest.Cache(t), Source{Reference: reference, Arch: arch, Runtime: Podman})[0]
		var plain []string
		for _, layer := range got.Layers {
			plain = append(plain, layer.Plain)
		}
		var all []string
		for _, layer := range layers[:want] {
			all = append(all, store.Sum(layer).Hex())
		}
		if !slices.Equal(plain, all) || got.Tagged != from {
			t.Errorf("%s has the layers %q", from, plain)
		}
		imagetest.Shell(t, "/", `skopeo --insecure-policy inspect "$1"`, reference)
	}
	// Two of the layers are there once, and so is the manifest.
	if names := imagetest.Shell(t, "/", `tar -tf "$1" | sort | uniq -d; tar -tf "$1" | wc -l`, archive); strings.TrimSpace(names) != "6" {
		t.Errorf("the archive has %s", names)
	}
}
