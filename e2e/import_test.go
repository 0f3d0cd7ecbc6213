package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/inspect"
)

// tinyRoot unpacks the packages of the tiny system and returns them as a tar archive.
func tinyRoot(t *testing.T, r *repository) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, data := range r.files {
		if !strings.HasSuffix(path, ".deb") || strings.Contains(path, "hang") {
			continue
		}
		archive := filepath.Join(t.TempDir(), "package.deb")
		if err := os.WriteFile(archive, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("dpkg-deb", "-x", archive, dir).CombinedOutput(); err != nil {
			t.Fatalf("dpkg-deb -x: %v\n%s", err, out)
		}
	}
	out, err := exec.Command("tar", "-C", dir, "--owner=0", "--group=0", "-c", ".").Output()
	if err != nil {
		t.Fatalf("tar: %v", err)
	}
	return out
}

// dockerArchive returns a container image with one layer, as `docker save` writes it.
func dockerArchive(t *testing.T, layer []byte) []byte {
	t.Helper()
	config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%x"]}}`, sha256.Sum256(layer))
	configName := fmt.Sprintf("%x.json", sha256.Sum256([]byte(config)))
	manifest := fmt.Sprintf(`[{"Config":%q,"RepoTags":["tiny:1"],"Layers":["layer.tar"]}]`, configName)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct {
		name string
		data []byte
	}{{configName, []byte(config)}, {"layer.tar", layer}, {"manifest.json", []byte(manifest)}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestWholeRoots builds images whose root comes from an archive and from a container
// image: it is the same as that of packages, apart from the package database.
func TestWholeRoots(t *testing.T) {
	b := newBuilder(t)
	r := newRepository(t)
	root := tinyRoot(t, r)
	b.write(t, filepath.Join(b.Home, "root.tar"), string(root))
	b.write(t, filepath.Join(b.Home, "image.tar"), string(dockerArchive(t, root)))
	b.writeTiny(t, r, tinyRecipe{})
	recipe := filepath.Join(b.Home, "tiny.hcl")
	packages, err := os.ReadFile(recipe)
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{
		"installer = \"archive\"\n  archive = \"root.tar\"",
		"installer = \"image\"\n  image = \"docker-archive:image.tar\"",
	} {
		b.write(t, recipe, strings.Replace(string(packages), `packages = ["tiny-kernel"]`, source, 1))
		b.must(t, t.Context(), "lock", "tiny.hcl")
		b.must(t, t.Context(), "build", "--locked", "--verify", "tiny.hcl")
		im, err := inspect.Open(filepath.Join(b.Home, "out/tiny-1-x86_64.qcow2"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/usr/bin/mkinitramfs", "/boot/grub/grub.cfg", "/etc/hostname"} {
			if _, err := im.File(path); err != nil {
				t.Errorf("%s: %v", source, err)
			}
		}
		if err := im.Close(); err != nil {
			t.Error(err)
		}
		// What the lock pinned is what is taken, or nothing. A new cache does not know it.
		changed := strings.Replace(string(root), "vmlinuz", "vmlinux", -1)
		b.write(t, filepath.Join(b.Home, "root.tar"), changed)
		b.write(t, filepath.Join(b.Home, "image.tar"), string(dockerArchive(t, []byte(changed))))
		got := b.run(t, t.Context(), "build", "--locked", "--cache", filepath.Join(b.Home, "other"), "tiny.hcl")
		if got.status == 0 || !strings.Contains(got.stderr, "lock") {
			t.Errorf("%s: another root than the locked one was taken, or refused with:\n%s", source, got.stderr)
		}
		b.write(t, filepath.Join(b.Home, "root.tar"), string(root))
		b.write(t, filepath.Join(b.Home, "image.tar"), string(dockerArchive(t, root)))
		if err := os.Remove(recipe + ".lock"); err != nil {
			t.Fatal(err)
		}
	}
}
