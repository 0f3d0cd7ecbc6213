package report

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/emit"
	"github.com/imagefactory/imagefactory/stages/partition/ext4"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// writeImage writes a tree as a file system to a file.
func writeImage(t *testing.T, st *store.Store, value *tree.Tree, path string) int64 {
	t.Helper()
	im, err := ext4.Write(context.Background(), st, value, ext4.Options{Size: 16 << 20, UUID: [16]byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := im.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, io.NewSectionReader(r, 0, im.Size)); err != nil {
		t.Fatal(err)
	}
	return im.Size
}

func openSnapshot(t *testing.T, path string) Snapshot {
	t.Helper()
	s, err := Open(context.Background(), stagetest.Cache(t).Store, path) // a store of its own: everything comes from the image
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOpenImage compares a system with the image that was written of it, and with that of another one.
func TestOpenImage(t *testing.T) {
	st := stagetest.Cache(t).Store
	base := baseSystem(t, st)
	dir := t.TempDir()
	writeImage(t, st, base, filepath.Join(dir, "a.raw"))
	a := snapshot(t, "recipe", st, base)
	if d := diff(t, a, openSnapshot(t, filepath.Join(dir, "a.raw"))); !d.Equal || len(d.Notes) != 0 {
		t.Errorf("an image differs from what it was made of: %q %q", lines(d), d.Notes)
	}
	for _, m := range mutations {
		if m.name != "shell" && m.name != "capability lost" && m.name != "package upgraded" && m.name != "hard link broken" {
			continue
		}
		edit := base.Edit()
		m.edit(t, st, edit)
		changed, err := edit.Tree()
		if err != nil {
			t.Fatal(err)
		}
		writeImage(t, st, changed, filepath.Join(dir, "b.raw"))
		d := diff(t, a, openSnapshot(t, filepath.Join(dir, "b.raw")))
		if got := strings.Join(lines(d), "\n"); got != strings.Join(m.want, "\n") {
			t.Errorf("%s:\n%s", m.name, got)
		}
	}
}

// TestOpenBuild reads what builds leave.
func TestOpenBuild(t *testing.T) {
	st := stagetest.Cache(t).Store
	base := baseSystem(t, st)
	build := func(value *tree.Tree, change func(*emit.Manifest)) string {
		dir := t.TempDir()
		size := writeImage(t, st, value, filepath.Join(dir, "node-1.raw"))
		m := emit.Manifest{
			Name: "node", Version: "1", Arch: "x86_64",
			Packages: []emit.ManifestPackage{
				{Name: "ping", Version: "1.0-1", Arch: "amd64", SHA256: emit.SHA256{1}}, {Name: "tool", Version: "2.0", Arch: "all", SHA256: emit.SHA256{2}},
			},
			Outputs: []emit.ManifestOutput{{File: "node-1.qcow2", Format: "qcow2", Size: 5}, {File: "node-1.raw", Format: "raw", Size: size, VirtualSize: size}},
		}
		change(&m)
		if err := emit.WriteManifest(filepath.Join(dir, emit.ManifestName), m); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dir := build(base, func(*emit.Manifest) {})
	a := openSnapshot(t, dir)
	if a.Version != "1" || a.Tree == nil || a.Tree.Digest() != base.Digest() || a.Family != "deb" || len(a.Packages) != 2 || a.Packages[0].SHA256[:2] != "01" ||
		len(a.Packages[0].Files) == 0 || len(a.Outputs) != 2 || len(a.Notes) != 0 {
		t.Errorf("%+v", a)
	}
	rebuilt := openSnapshot(t, build(base, func(m *emit.Manifest) { m.Packages[1].SHA256 = emit.SHA256{3}; m.Outputs[0].Size = 7 }))
	if got := strings.Join(lines(diff(t, a, rebuilt)), "; "); got != "package tool rebuilt 2.0/all 2.0/all; output qcow2 changed" {
		t.Error(got)
	}

	// A system without a database of packages has those of its manifest.
	edit := base.Edit()
	edit.Remove("var/lib/dpkg")
	bare, err := edit.Tree()
	if err != nil {
		t.Fatal(err)
	}
	b := openSnapshot(t, build(bare, func(m *emit.Manifest) { m.Packages = m.Packages[:1] }))
	if len(b.Packages) != 1 || b.Family != "deb" || len(b.Notes) != 0 {
		t.Errorf("%+v", b)
	}
	if got := strings.Join(lines(diff(t, a, b)), "; "); got != "package tool removed 2.0/all -; file /var/lib/dpkg removed []" {
		t.Error(got)
	}
	b = openSnapshot(t, filepath.Join(build(bare, func(*emit.Manifest) {}), "node-1.raw"))
	if b.Packages != nil || len(b.Notes) != 1 || !strings.Contains(b.Notes[0], "no database of packages") {
		t.Errorf("an image alone: %+v", b)
	}

	// The manifest alone.
	manifest := filepath.Join(dir, emit.ManifestName)
	if err := os.Remove(filepath.Join(dir, "node-1.raw")); err != nil {
		t.Fatal(err)
	}
	b = openSnapshot(t, manifest)
	if b.Tree != nil || b.Services != nil || len(b.Packages) != 2 || len(b.Notes) != 1 {
		t.Errorf("a manifest: %+v", b)
	}
	if d := diff(t, a, b); !d.Equal || len(d.Notes) < 3 {
		t.Errorf("%q, %q", lines(d), d.Notes)
	}

	wrong := build(base, func(m *emit.Manifest) { m.Outputs[1].Size++ })
	for path, says := range map[string]string{
		wrong:                         "its manifest says",
		t.TempDir():                   "has no manifest.json",
		filepath.Join(dir, "missing"): "no such file",
	} {
		if _, err := Open(context.Background(), st, path); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
