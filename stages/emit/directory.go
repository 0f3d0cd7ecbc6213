package emit

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/imagefactory/imagefactory/stages/store"
)

// SumsName is the name of the file with the digests of a directory's files, as sha256sum -c reads it.
const SumsName = "SHA256SUMS"

// DirectoryFile is a file of an output that is a directory.
type DirectoryFile struct {
	Name   string // slash separated, below the directory
	Digest store.Digest
}

// Directory writes files into a new directory at path, and beside them SumsName. A directory that is there already is
// replaced when the new one is complete. The output's size is that of all files, and its digest that of SumsName.
func Directory(ctx context.Context, st *store.Store, files []DirectoryFile, path string, o Options) (Output, error) {
	parent, base := filepath.Split(path)
	if err := os.MkdirAll(filepath.Clean(parent), 0o777); err != nil {
		return Output{}, explain(path, err)
	}
	temporary := filepath.Join(parent, "."+base+"."+rand.Text()[:8])
	part, old := temporary+".part", temporary+".old"
	defer os.RemoveAll(part)
	var total int64
	var sums bytes.Buffer
	objects := make([]*store.Object, len(files))
	for i, f := range files {
		object, err := st.Object(f.Digest)
		if err != nil {
			return Output{}, fmt.Errorf("%s: %w", f.Name, err)
		}
		objects[i] = object
		total += object.Size()
		fmt.Fprintf(&sums, "%s  %s\n", f.Digest.Hex(), f.Name)
	}
	if err := o.accept(total); err != nil {
		return Output{}, err
	}
	var done int64
	for i, f := range files {
		n, err := copyFile(ctx, filepath.Join(part, filepath.FromSlash(f.Name)), objects[i].NewReader())
		if err != nil {
			return Output{}, explain(filepath.Join(path, f.Name), err)
		}
		if done += n; o.Progress != nil {
			o.Progress(done, total)
		}
	}
	if _, err := copyFile(ctx, filepath.Join(part, SumsName), bytes.NewReader(sums.Bytes())); err != nil {
		return Output{}, explain(path, err)
	}
	// The old one has to go before the new one can take its name. Whoever is interrupted in between has neither, and
	// the next build writes it again.
	if err := os.Rename(path, old); err != nil && !os.IsNotExist(err) {
		return Output{}, explain(path, err)
	}
	if err := os.Rename(part, path); err != nil {
		return Output{}, explain(path, err)
	}
	if err := os.RemoveAll(old); err != nil {
		return Output{}, explain(path, err)
	}
	return Output{Path: path, Size: total, VirtualSize: total, Digest: store.Sum(sums.Bytes())}, nil
}

// copyFile writes a file, with the directories above it, and waits until it is on the disk.
func copyFile(ctx context.Context, path string, r io.Reader) (int64, error) {
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := io.Copy(f, r)
	if err != nil {
		return n, err
	}
	if err := f.Sync(); err != nil {
		return n, err
	}
	return n, f.Close()
}
