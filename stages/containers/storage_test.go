package containers

import (
	"archive/tar"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/importer/images/imagetest"
	"github.com/imagefactory/imagefactory/stages/stagetest"
)

// TestStorage has podman read the store that was made, and run what is in it.
func TestStorage(t *testing.T) {
	imagetest.Need(t, "podman", "podman")
	imagetest.Need(t, "skopeo", "skopeo")
	imagetest.Policy(t, imagetest.Anything)
	c, s, l := stagetest.Cache(t), imagetest.Serve(t), imagetest.NewLayout(t)
	dir := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir} }
	file := func(name, text string) tar.Header { return tar.Header{Name: name, Linkname: text, Mode: 0o644} }
	layers := [][]byte{
		layerOf(t, tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o750}, tar.Header{Name: "hello", Linkname: string(program(t))}, dir("etc/"), file("etc/message", "bad"), file("etc/gone", "x"), dir("opaque/"), file("opaque/x", "x"), dir("dir/"), file("dir/x", "x")),
		layerOf(t, dir("etc/"), file("etc/.wh.gone", ""), dir("opaque/"), file("opaque/.wh..wh..opq", ""), file("opaque/new", "new"), tar.Header{Name: "opaque/hard", Typeflag: tar.TypeLink, Linkname: "opaque/new"}, file(".wh.dir", ""), file(".wh..wh.plnk", "")),
		layerOf(t, dir("etc/"), tar.Header{Name: "etc/message", Linkname: "good morning", Mode: 0o644, Uid: 7, Gid: 9, PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}}),
	}
	config := map[string]any{"Entrypoint": []string{"/hello", "a", "b"}}
	one := l.ImageOf("amd64", config, layers...)
	list := l.List(map[string]imagetest.Descriptor{"amd64": one, "arm64": l.Image("arm64", imagetest.Members(t, "arm"))})
	name := strings.TrimPrefix(s.Push(t, l.Tag(list), "base/hello:1"), "docker://")
	two := l.ImageOf("amd64", config, layers[0])
	s.Push(t, l.Tag(two), "base/plain:2")
	plain := s.Host + "/base/plain@" + two.Digest

	placed, err := place(t, c, rooted(t, c, "usr/bin/podman", "usr/bin/crio"), pull(t, c,
		Source{Reference: name, Arch: arch, Runtime: Podman},
		Source{Reference: name, Arch: arch, Runtime: CRIO},
		Source{Reference: plain, Arch: arch, Runtime: CRIO}))
	if err != nil {
		t.Fatal(err)
	}
	s.Close() // no network
	root := t.TempDir()
	extract(t, c.Store, placed, "usr/lib/containers", root)
	store := filepath.Join(root, "usr/lib/containers/storage")
	podman := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("podman", append([]string{"--root", filepath.Join(root, "own"), "--runroot", filepath.Join(root, "run"), "--storage-driver", "overlay", "--storage-opt", "additionalimagestore=" + store}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("podman %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	listed := podman("images", "--digests", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}} {{.ID}} {{.ReadOnly}}")
	t.Log(listed)
	for _, reference := range []string{name, s.Host + "/base/hello@" + list.Digest, s.Host + "/base/hello@" + one.Digest, plain} {
		t.Log(podman("image", "inspect", "--format", "{{.Id}} {{.Digest}} {{.RepoTags}} {{.RepoDigests}} {{.RootFS.Layers}}", reference))
	}
	_ = fmt.Sprint()
	t.Log(podman("run", "--rm", "--cgroups=disabled", "--network=none", name))
	out, err := exec.Command("find", store).CombinedOutput()
	t.Log(string(out), err)
	_ = os.Getenv
}
