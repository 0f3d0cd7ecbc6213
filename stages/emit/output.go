package emit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/imagefactory/imagefactory/stages/store"
)

// Options are common to all formats.
type Options struct {
	// Progress is called with bytes of the disk's data, never by two goroutines at once; may be nil.
	Progress func(done, total int64)
	// Accept is asked whether the output may have its size in bytes before it takes the place of what was there; its
	// error is that of the whole. May be nil.
	Accept func(size int64) error
}

func (o Options) accept(size int64) error {
	if o.Accept == nil {
		return nil
	}
	return o.Accept(size)
}

// Output is an image that was written.
type Output struct {
	Path        string       // of the file
	Size        int64        // of the file in bytes, holes included
	VirtualSize int64        // of the disk in bytes
	Digest      store.Digest // of the file
}

// output is a file that has only a temporary name yet.
type output struct {
	*os.File
	path string // the name it will have
}

// create begins the file that shall be path, making its directory when there is none.
func create(path string) (*output, error) {
	dir, base := filepath.Split(path)
	if err := os.MkdirAll(filepath.Clean(dir), 0o777); err != nil {
		return nil, explain(path, err)
	}
	// Not os.CreateTemp: its mode of 0600 would override the umask's word.
	f, err := os.OpenFile(filepath.Join(dir, "."+base+"."+rand.Text()[:8]+".part"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, explain(path, err)
	}
	return &output{f, path}, nil
}

// abort removes the file. After commit it does nothing.
func (o *output) abort() {
	if o.File != nil {
		o.Close()
		os.Remove(o.Name())
		o.File = nil
	}
}

// sync waits until the file is on the disk, or ctx ends: a full page cache can take longer to write than a person who
// pressed Ctrl-C wants to wait.
func (o *output) sync(ctx context.Context) error {
	done := make(chan error, 1)
	f := o.File
	go func() { done <- f.Sync() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// commit gives the file its name. The caller has synced it.
func (o *output) commit() error {
	if err := o.Close(); err != nil {
		return explain(o.path, err)
	}
	if err := os.Rename(o.Name(), o.path); err != nil {
		return explain(o.path, err)
	}
	o.File = nil
	return nil
}

// commitImage gives an image its name and writes the .sha256 beside it.
func (o *output) commitImage(digest store.Digest) error {
	sums := o.path + ".sha256"
	if err := os.Remove(sums); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return explain(sums, err)
	}
	if err := o.commit(); err != nil {
		return err
	}
	return WriteFile(sums, fmt.Appendf(nil, "%s  %s\n", digest.Hex(), filepath.Base(o.path)))
}

// WriteFile writes a small file, whole or not at all.
func WriteFile(path string, data []byte) error {
	out, err := create(path)
	if err != nil {
		return err
	}
	defer out.abort()
	if _, err := out.Write(data); err != nil {
		return explain(path, err)
	}
	if err := out.Sync(); err != nil {
		return explain(path, err)
	}
	return out.commit()
}

// WriteError says that the place for outputs cannot take them, and what to do. The host lacks something: exit status 3.
type WriteError struct {
	Path   string // of the file that could not be written
	Remedy string // a sentence without its end
	Err    error
}

func (e *WriteError) Error() string { return fmt.Sprintf("write %s: %s: %v", e.Path, e.Remedy, e.Err) }

// Unwrap returns the cause.
func (e *WriteError) Unwrap() error { return e.Err }

// ExitStatus is 3: the host lacks something.
func (e *WriteError) ExitStatus() int { return 3 }

// explain adds to an error of writing path what to do about it.
func explain(path string, err error) error {
	dir := filepath.Dir(path)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &WriteError{path, fmt.Sprintf("the file system or quota of %s is full; free some space there or choose another output directory with -o", dir), err}
	case errors.Is(err, syscall.EFBIG):
		return &WriteError{path, fmt.Sprintf("the file system of %s cannot hold a file that large; choose another output directory with -o", dir), err}
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return &WriteError{path, fmt.Sprintf("the directory %s cannot be written; change its permissions or choose another output directory with -o", dir), err}
	}
	return fmt.Errorf("write %s: %w", path, err)
}
