package containers

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Version is the version of Run's code; see stages.Stage.
const Version = 1

// Options say how Run writes.
type Options struct {
	Epoch int64 `json:"epoch"` // seconds since 1970; the time of everything written
}

// Run puts images that Pull gave into root, each for its runtime, which has to be there.
// The result depends on nothing else.
func Run(ctx context.Context, run *stages.Run, root rootfs.Root, placed []Image, o Options) (rootfs.Root, error) {
	if len(placed) == 0 {
		return root, nil
	}
	st := run.Cache.Store
	t, err := root.Load(st)
	if err != nil {
		return rootfs.Root{}, err
	}
	batch, err := st.NewBatch()
	if err != nil {
		return rootfs.Root{}, err
	}
	defer batch.Abort()
	p := &placer{run: run, st: st, batch: batch, edit: t.Edit(), epoch: o.Epoch}
	if err := p.place(ctx, placed); err != nil {
		return rootfs.Root{}, err
	}
	if err := batch.Commit(); err != nil {
		return rootfs.Root{}, err
	}
	if t, err = p.edit.Tree(); err != nil {
		return rootfs.Root{}, err
	}
	return rootfs.Save(st, t)
}

// Stores returns the directories, as absolute paths, in which Run puts images. What lies
// there is data for a runtime: programs in it are no programs of the system, and files no
// files of its packages.
func Stores() []string { return []string{defaultContainerdRoot, storageRoot, dockerDir} }

// BlobPath returns where a blob of an image for containerd is: an absolute path. A root
// whose configuration moves containerd's directory has it elsewhere.
func BlobPath(d store.Digest) string {
	return path.Join(defaultContainerdRoot, contentDir, d.Hex())
}

// placer puts images into a root.
type placer struct {
	run   *stages.Run
	st    *store.Store
	batch *store.Batch
	edit  *tree.Editor
	epoch int64
}

func (p *placer) place(ctx context.Context, placed []Image) error {
	if err := checkNames(placed); err != nil {
		return err
	}
	of := func(runtimes ...string) (found []Image) {
		for _, i := range placed {
			if slices.Contains(runtimes, i.Runtime) && !slices.ContainsFunc(found, i.same) {
				found = append(found, i)
			}
		}
		return found
	}
	for _, i := range placed {
		if err := p.checkRuntime(i); err != nil {
			return err
		}
	}
	for _, kind := range []struct {
		images []Image
		place  func(context.Context, []Image) error
	}{
		{of(Containerd), p.containerd},
		{of(Podman, CRIO), p.storage},
		{of(Docker), p.docker},
	} {
		if len(kind.images) == 0 {
			continue
		}
		if err := kind.place(ctx, kind.images); err != nil {
			return err
		}
	}
	return nil
}

// same reports whether two images are one for their runtimes.
func (i Image) same(j Image) bool {
	return i.family() == j.family() && i.Namespace == j.Namespace && i.Name == j.Name && i.Tagged == j.Tagged && i.Top.Digest == j.Top.Digest && i.Manifest.Digest == j.Manifest.Digest
}

// family names the place of an image: podman and CRI-O share theirs.
func (i Image) family() string {
	if i.Runtime == CRIO {
		return Podman
	}
	return i.Runtime
}

// checkNames refuses two images with one name.
func checkNames(placed []Image) error {
	type key struct{ family, namespace, tagged string }
	names := map[key]Image{}
	for _, i := range placed {
		if i.Tagged == "" {
			continue
		}
		k := key{i.family(), i.Namespace, i.Tagged}
		if other, ok := names[k]; ok && !other.same(i) {
			return &SourceError{i.display(), fmt.Errorf("%s can have one image of that name only, and there are two: %s and %s; give one another tag, or name it by digest alone", i.Runtime, other.Top.Digest, i.Top.Digest)}
		}
		names[k] = i
	}
	return nil
}

// programs of the runtimes, and how the packages that hold them are usually called.
var programs = map[string]struct {
	names    []string // all are needed
	packages string
}{
	Containerd: {[]string{"containerd"}, "containerd or containerd.io"},
	Podman:     {[]string{"podman"}, "podman"},
	CRIO:       {[]string{"crio"}, "cri-o"},
	Docker:     {[]string{"dockerd", "docker"}, "docker.io, docker-ce with docker-ce-cli, or docker-engine"},
}

// programDirs are where programs are.
var programDirs = []string{"usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin", "bin", "sbin", "opt/bin"}

// program returns the absolute path of a program in the root.
func (p *placer) program(name string) (string, bool) {
	for _, dir := range programDirs {
		resolved, err := p.edit.Resolve(tree.Join(dir, name))
		if err != nil {
			continue
		}
		if e, ok := p.edit.Get(resolved); ok && e.Type == tree.Regular {
			return "/" + tree.Join(dir, name), true
		}
	}
	return "", false
}

// checkRuntime refuses an image whose runtime is not in the root.
func (p *placer) checkRuntime(i Image) error {
	for _, name := range programs[i.Runtime].names {
		if _, ok := p.program(name); !ok {
			return &SourceError{i.display(), fmt.Errorf("its runtime %s is not installed: the image has no program %s; add the package (%s) to the recipe's packages", i.Runtime, name, programs[i.Runtime].packages)}
		}
	}
	return nil
}

// now is the time of everything that is written.
func (p *placer) now() tree.Time { return tree.Time{Sec: p.epoch} }

// resolve returns where the absolute path name of the root really is, following symbolic
// links; what is missing of it has none.
func (p *placer) resolve(name string) (string, error) {
	current := tree.Root
	elements := strings.Split(strings.Trim(path.Clean(name), "/"), "/")
	for i, element := range elements {
		next, err := p.edit.Resolve(tree.Join(current, element))
		if err != nil {
			return "", fmt.Errorf("/%s: %w", tree.Join(current, element), err)
		}
		if _, ok := p.edit.Get(next); !ok {
			return path.Join(append([]string{next}, elements[i+1:]...)...), nil
		}
		current = next
	}
	return current, nil
}

// mkdir makes a directory of root's, with what is missing above, and returns where it
// really is.
func (p *placer) mkdir(name string, mode uint32) (string, error) {
	real, err := p.resolve(name)
	if err != nil {
		return "", err
	}
	return real, p.edit.MkdirAll(real, tree.Entry{Mode: mode, MTime: p.now()})
}

// exists returns the entry at an absolute path.
func (p *placer) exists(name string) (tree.Entry, bool) {
	real, err := p.resolve(name)
	if err != nil {
		return tree.Entry{}, false
	}
	return p.edit.Get(real)
}

// read returns the file at an absolute path, and whether there is one.
func (p *placer) read(name string) ([]byte, bool, error) {
	e, ok := p.exists(name)
	if !ok {
		return nil, false, nil
	}
	if e.Type != tree.Regular {
		return nil, false, fmt.Errorf("%s is a %s, not a file", name, e.Type)
	}
	// What was written in this run is not in the store yet.
	data, err := p.st.ReadAll(e.Digest)
	return data, err == nil, err
}

// write writes a file of root's. dir is where its directory really is.
func (p *placer) write(dir, name string, content []byte, mode uint32) error {
	digest, err := p.batch.AddBytes(content)
	if err != nil {
		return err
	}
	p.put(dir, name, mode, digest, int64(len(content)))
	return nil
}

// put makes a file of root's of an object.
func (p *placer) put(dir, name string, mode uint32, digest store.Digest, size int64) {
	p.edit.Put(tree.Entry{Path: tree.Join(dir, name), Type: tree.Regular, Mode: mode, MTime: p.now(), Digest: digest, Size: size})
}

// blob makes a file of a blob.
func (p *placer) blob(dir string, b Blob, mode uint32) {
	p.put(dir, b.Digest.Hex(), mode, b.Digest, b.Size)
}

// errAlready says that a store is in the root which Run did not make.
var errAlready = errors.New("the root has one already, made by another program, and imagefactory does not write into it")
