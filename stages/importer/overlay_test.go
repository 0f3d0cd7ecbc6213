package importer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/tree"
	"github.com/imagefactory/imagefactory/stages/tree/tarball"
)

// overlayLayer writes a random layer as an archive and, for the kernel's overlayfs, as a
// directory.
type overlayLayer struct {
	t         *testing.T
	random    *rand.Rand
	lower     map[string]string // path → type of what is there already
	dir       string
	names     []string // of the archive
	whiteouts []string // of the archive
}

// fill puts random things at and below a directory of the layer.
func (l *overlayLayer) fill(at string, depth int) {
	for _, name := range []string{"a", "b", "c"} {
		path := strings.TrimPrefix(at+"/"+name, "/")
		on := filepath.Join(l.dir, path)
		var err error
		below, n := l.lower[path], l.random.IntN(10)
		switch {
		case n < 2:
			l.names = append(l.names, path)
			err = os.WriteFile(on, nil, 0o644)
		case n < 6 && depth < 3:
			l.names = append(l.names, path+"/")
			err = os.Mkdir(on, 0o755)
			if below == "d" && l.random.IntN(3) == 0 {
				l.whiteouts = append(l.whiteouts, path+"/.wh..wh..opq")
				err = errors.Join(err, unix.Setxattr(on, "trusted.overlay.opaque", []byte("y"), 0))
				// overlayfs shows whiteouts below, where it has nothing to merge.
				maps.DeleteFunc(l.lower, func(p, _ string) bool { return strings.HasPrefix(p, path+"/") })
			}
			l.fill(path, depth+1)
		case n < 8 && below != "":
			l.whiteouts = append(l.whiteouts, strings.TrimPrefix(at+"/.wh."+name, "/"))
			err = unix.Mknod(on, unix.S_IFCHR, 0)
		}
		if err != nil {
			l.t.Fatal(err)
		}
	}
}

// archive returns the layer as an archive, with its whiteouts before, after and among
// the rest.
func (l *overlayLayer) archive() []byte {
	names := slices.Clone(l.names)
	for _, w := range l.whiteouts {
		names = slices.Insert(names, l.random.IntN(len(names)+1), w)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		h := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			l.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		l.t.Fatal(err)
	}
	return b.Bytes()
}

// TestLayersAsOverlayfs compares random layers with what the kernel shows of them.
func TestLayersAsOverlayfs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts file systems: run it as root")
	}
	st := stagetest.Cache(t).Store
	for seed := range uint64(25) {
		// Not below the test's own directory, which may lie on an overlayfs itself.
		base, err := os.MkdirTemp("", "overlay-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(base)
		random := rand.New(rand.NewPCG(seed, 1))
		got, lower := tree.Empty(tree.Time{}), map[string]string{}
		var dirs []string
		for n := range 5 {
			l := &overlayLayer{t: t, random: random, lower: lower, dir: filepath.Join(base, fmt.Sprint(n))}
			if err := os.Mkdir(l.dir, 0o755); err != nil {
				t.Fatal(err)
			}
			l.fill("", 0)
			dirs = append([]string{l.dir}, dirs...)
			if got, _, err = apply(context.Background(), st, got, bytes.NewReader(l.archive()), tarball.Options{Limits: tarball.DefaultLimits, Layer: true}); err != nil {
				t.Fatalf("seed %d, layer %d: %v", seed, n, err)
			}
			lower = l.mounted(dirs)
			if have := kinds(got); !maps.Equal(have, lower) {
				t.Fatalf("seed %d, layer %d with %q and %q:\n%v\noverlayfs has\n%v", seed, n, l.names, l.whiteouts, have, lower)
			}
		}
	}
}

// mounted returns what the kernel shows of directories, the uppermost first.
func (l *overlayLayer) mounted(dirs []string) map[string]string {
	point := l.t.TempDir()
	if len(dirs) == 1 {
		dirs = append(dirs, l.t.TempDir()) // overlayfs wants two
	}
	if err := unix.Mount("overlay", point, "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(dirs, ":")); err != nil {
		l.t.Fatalf("mount an overlayfs: %v", err)
	}
	defer unix.Unmount(point, unix.MNT_DETACH)
	facts := map[string]string{}
	for path, fact := range factsOfDirectory(l.t, point) {
		if path != "" {
			facts[path] = fact[:1]
		}
	}
	return facts
}

func kinds(t *tree.Tree) map[string]string {
	facts := map[string]string{}
	for _, e := range t.Entries()[1:] {
		facts[e.Path] = map[tree.Type]string{tree.Regular: "f", tree.Directory: "d"}[e.Type]
	}
	return facts
}
