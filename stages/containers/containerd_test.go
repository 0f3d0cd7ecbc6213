package containers

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/importer/images/imagetest"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

const arch = "x86_64"

// program compiles a static program that prints words, and what its files say.
func program(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	source := `package main

import ("fmt"; "os")

func main() {
	b, err := os.ReadFile("/etc/message")
	fmt.Println("hello from the container:", string(b), err, len(os.Args))
}
`
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o644), os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module hello\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", "hello", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p, err := os.ReadFile(filepath.Join(dir, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// layerOf makes a layer of files by name.
func layerOf(t testing.TB, files ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range files {
		contents := h.Linkname
		if h.Typeflag == 0 {
			h.Typeflag, h.Linkname, h.Size = tar.TypeReg, "", int64(len(contents))
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		h.ModTime = time.Unix(stagetest.Epoch, 0)
		err := w.WriteHeader(&h)
		if h.Typeflag == tar.TypeReg {
			_, werr := io.WriteString(w, contents)
			err = errors.Join(err, werr)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// rooted returns a root with the programs, which do nothing.
func rooted(t testing.TB, c *stages.Cache, programs ...string) rootfs.Root {
	t.Helper()
	entries := []tree.Entry{stagetest.Link("bin", "usr/bin"), stagetest.Link("sbin", "usr/sbin"), stagetest.Dir("usr/sbin"), stagetest.Dir("etc")}
	for _, p := range programs {
		entries = append(entries, stagetest.Mode(stagetest.File(t, c.Store, p, "#!/bin/sh\n"), 0o755))
	}
	return rootfs.Root{Tree: stagetest.Save(t, c.Store, stagetest.Tree(t, entries...))}
}

// pull resolves sources and pulls them.
func pull(t testing.TB, c *stages.Cache, sources ...Source) []Image {
	t.Helper()
	var found []Image
	for _, s := range sources {
		i, err := pullOne(t, c, s, PullOptions{Downloads: c.Downloads()})
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, i)
	}
	return found
}

func pullOne(t testing.TB, c *stages.Cache, s Source, o PullOptions) (Image, error) {
	t.Helper()
	pinned, err := Resolve(t.Context(), s, false)
	if err != nil {
		return Image{}, err
	}
	i, _, err := stagetest.Run(t, c, func(ctx context.Context, run *stages.Run) (Image, error) {
		return Pull(ctx, run, s, pinned, o)
	})
	return i, err
}

// place runs the stage.
func place(t testing.TB, c *stages.Cache, root rootfs.Root, placed []Image) (*tree.Tree, error) {
	t.Helper()
	got, _, err := stagetest.Run(t, c, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return Run(ctx, run, root, placed, Options{Epoch: stagetest.Epoch})
	})
	if err != nil {
		return nil, err
	}
	return stagetest.Load(t, c.Store, got.Tree), nil
}

// extract writes what is below a path of the tree into dir, as root.
func extract(t testing.TB, st *store.Store, value *tree.Tree, below, dir string) {
	t.Helper()
	writeTree(t, st, value, below, dir)
}
