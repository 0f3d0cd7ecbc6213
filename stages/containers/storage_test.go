package containers

import (
	"archive/tar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/imagefactory/imagefactory/stages/importer/images/imagetest"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// TestStorage has podman read the store that was made, and run what is in it.
func TestStorage(t *testing.T) {
	imagetest.Need(t, "podman", "podman")
	hello := program(t) // before HOME is another one, and Go's cache with it
	imagetest.Policy(t, imagetest.Anything)
	c, s, l := stagetest.Cache(t), imagetest.Serve(t), imagetest.NewLayout(t)
	dir := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir} }
	file := func(name, text string) tar.Header { return tar.Header{Name: name, Linkname: text, Mode: 0o644} }
	owned := file("etc/message", "good morning")
	owned.Uid, owned.Gid, owned.PAXRecords = 7, 9, map[string]string{"SCHILY.xattr.user.x": "y"}
	layers := [][]byte{
		layerOf(t, tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o750}, tar.Header{Name: "hello", Linkname: string(hello)}, dir("etc/"), file("etc/message", "bad"), file("etc/gone", "x"), dir("opaque/"), file("opaque/x", "x"), dir("dir/"), file("dir/x", "x")),
		layerOf(t, dir("etc/"), file("etc/.wh.gone", ""), dir("opaque/"), file("opaque/.wh..wh..opq", ""), file("opaque/new", "new"), tar.Header{Name: "opaque/hard", Typeflag: tar.TypeLink, Linkname: "opaque/new"}, file(".wh.dir", ""), file(".wh..wh.plnk", "")),
		layerOf(t, dir("etc/"), owned),
	}
	config := map[string]any{"Entrypoint": []string{"/hello", "a", "b"}}
	one := l.ImageOf("amd64", config, layers...)
	list := l.List(map[string]imagetest.Descriptor{"amd64": one, "arm64": l.Image("arm64", imagetest.Members(t, "arm"))})
	name := strings.TrimPrefix(s.Push(t, l.Tag(list), "base/hello:1"), "docker://")
	two := l.ImageOf("amd64", config, layers[0])
	s.Push(t, l.Tag(two), "base/plain:2")
	plain := s.Host + "/base/plain@" + two.Digest

	edit := stagetest.Load(t, c.Store, rooted(t, c, "usr/bin/podman", "usr/bin/crio").Tree).Edit()
	for _, e := range []tree.Entry{ // as packages bring them
		stagetest.Dir("usr/lib"), stagetest.Dir("usr/lib/containers"), stagetest.Dir("usr/lib/containers/storage"),
		stagetest.Mode(stagetest.Dir("usr/lib/containers/storage/overlay-images"), 0o700),
		stagetest.Mode(stagetest.File(t, c.Store, "usr/lib/containers/storage/overlay-images/images.lock", ""), 0o600),
	} {
		edit.Put(e)
	}
	base, err := edit.Tree()
	if err != nil {
		t.Fatal(err)
	}
	placed, err := place(t, c, rootfs.Root{Tree: stagetest.Save(t, c.Store, base)}, pull(t, c,
		Source{Reference: name, Arch: arch, Runtime: Podman},
		Source{Reference: name, Arch: arch, Runtime: CRIO},
		Source{Reference: plain, Arch: arch, Runtime: CRIO}))
	if err != nil {
		t.Fatal(err)
	}
	s.Close() // no network
	root := t.TempDir()
	extract(t, c.Store, placed, "usr/lib/containers", root)
	// The configuration that was written, with the directories of this test.
	e, _ := placed.Lookup("etc/containers/storage.conf")
	conf := filepath.Join(root, "storage.conf")
	text := strings.NewReplacer(storageRoot, root+storageRoot, "/run/containers", root+"/run", "/var/lib/containers", root+"/var").Replace(stagetest.Contents(t, c.Store, e))
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	// podman makes the directory of its own store a mount, which stays.
	t.Cleanup(func() { exec.Command("umount", "--recursive", filepath.Join(root, "var/storage/overlay")).Run() })
	podman := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("podman", args...)
		cmd.Env = append(os.Environ(), "CONTAINERS_STORAGE_CONF="+conf)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("podman %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	// Images are found by tag, and by the digests of the list and of its manifest.
	inspected := strings.Fields(podman("image", "inspect", "--format", "{{.Id}}", name, s.Host+"/base/hello@"+list.Digest, s.Host+"/base/hello@"+one.Digest, plain))
	if len(inspected) != 4 || inspected[0] != inspected[1] || inspected[0] != inspected[2] || inspected[0] == inspected[3] {
		t.Errorf("podman image inspect: %q", inspected)
	}
	if out := podman("--runtime=runc", "--cgroup-manager=cgroupfs", "run", "--rm", "--network=none", "--ulimit=nofile=256:256", "--ulimit=nproc=256:256", name); !strings.Contains(out, "good morning 3") {
		t.Errorf("%q", out)
	}
	if os.Getenv("IMAGEFACTORY_TEST") != "full" {
		return
	}
	listed := podman("images", "--format", "{{.Repository}}:{{.Tag}} {{.ReadOnly}}")
	if listed != name+" true\n"+s.Host+"/base/plain:<none> true\n" {
		t.Errorf("podman images:\n%s", listed)
	}
	// What a container would see: whiteouts, hard links, owners, attributes.
	id := strings.TrimSpace(podman("create", "--network=none", name))
	mounted := strings.TrimSpace(podman("mount", id))
	defer podman("rm", "--force", id)
	seen := imagetest.Shell(t, mounted, `find . -printf '%P %m %U:%G %n %y\n' | sort; cat etc/message opaque/hard; getfattr --only-values -n user.x etc/message`)
	want := " 750 0:0 1 d\netc 755 0:0 1 d\netc/message 644 7:9 1 f\nhello 755 0:0 1 f\nopaque 755 0:0 1 d\nopaque/hard 644 0:0 2 f\nopaque/new 644 0:0 2 f\ngood morningnewy"
	if got := linkCount.ReplaceAllString(seen, "$1 1 d"); got != want {
		t.Errorf("the image has\n%s\nwant\n%s", got, want)
	}
	// Layers can be made anew, byte by byte: that is what tar-split's records are for.
	archive := filepath.Join(root, "saved.tar")
	podman("save", "--quiet", "--format=oci-archive", "--output", archive, name)
	saved := pull(t, stagetest.Cache(t), Source{Reference: "oci-archive:" + archive, Name: name, Arch: arch, Runtime: Podman})
	for i, layer := range layers {
		if got := saved[0].Layers[i].Plain; got != store.Sum(layer).Hex() {
			t.Errorf("layer %d was saved as %s", i+1, got)
		}
	}
}

// linkCount is the number of a directory's names, which is the file system's affair.
var linkCount = regexp.MustCompile(`(?m)(\d+:\d+) \d+ d$`)

func TestAddStore(t *testing.T) {
	for _, text := range []string{
		"", freshStorageConfig,
		"[storage]\ndriver = \"overlay\"\n",
		"[storage]\n[storage.options]\n# comment\n# additionalimagestores = [\n#]\nsize = \"1G\"\n[storage.options.overlay]\nmountopt = \"nodev\"\n",
		"[storage.options] # here\nadditionalimagestores = [\n  # \"/no\",\n  \"/a\", \"/b\",\n]\n",
		"[storage.options]\nadditionalimagestores = []\n",
		"[storage.options]\nadditionalimagestores = [ \"/usr/lib/containers/storage\" ]\n",
		"[storage.options.overlay]\nmountopt = \"nodev\"\n[storage]\ndriver = \"overlay\"\n",
	} {
		var before, after storageConfiguration
		got, err := addStore(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if _, err := toml.Decode(text, &before); err != nil {
			t.Fatal(err)
		}
		if _, err := toml.Decode(got, &after); err != nil {
			t.Errorf("%q: %v", got, err)
		}
		stores := after.Storage.Options.Stores
		if len(stores) == 0 || stores[0] != storageRoot || strings.Count(got, storageRoot) != 1 || after.Storage.Driver != before.Storage.Driver {
			t.Errorf("%q: %q", text, got)
		}
		if again, err := addStore(got); err != nil || again != got {
			t.Errorf("again: %q, %v", again, err)
		}
	}
	for text, want := range map[string]string{
		"[storage]\ndriver = \"vfs\"\n": `sets the driver "vfs"`,
		"[storage\n":                    "expected",
		"storage = { options = { additionalimagestores = [ \"/a\" ] } }": "add it in a file block",
	} {
		if got, err := addStore(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
