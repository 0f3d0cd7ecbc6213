package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/store"
)

// Directories of the cache; doc.go describes them.
const (
	objectsDir = "objects"
	partialDir = "partial"
	freshDir   = "fresh"
)

// lockPoll is how often a lock held by somebody else is tried again: flock(2)
// itself cannot be interrupted when a context ends.
const lockPoll = 50 * time.Millisecond

func hexName(d store.Digest) string { return hex.EncodeToString(d[:]) }

// A localError is a failure of this machine, like a full disk: no other mirror
// and no other attempt helps.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// ExitStatus is 3: the host lacks something.
func (e *localError) ExitStatus() int { return 3 }

func cacheError(err error) error {
	return &localError{fmt.Errorf("the download cache cannot be written: %w", err)}
}

func readError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("the download cache cannot be read: %w", err)
}

// verified reports whether the file path is what r asks for. A damaged file is
// removed.
func verified(ctx context.Context, path string, r Request) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("the download cache cannot be read: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, &contextReader{ctx, f}); err != nil {
		return false, readError(ctx, err)
	}
	if store.Digest(h.Sum(nil)) == r.Digest {
		return true, nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, cacheError(err)
	}
	return false, nil
}

// A contextReader ends with the context's error once the context is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// A partial is the beginning of a file, in the cache, locked against other
// processes.
type partial struct {
	f    *os.File
	hash hash.Hash // of what the file holds
	size int64     // bytes the file holds
	gone bool      // it no longer has its name: what has it now is somebody else's
}

// openPartial waits until nobody else has the partial file and hashes what an
// earlier download left.
func openPartial(ctx context.Context, path string) (*partial, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, cacheError(err)
		}
		if err := lock(ctx, f); err != nil {
			f.Close()
			return nil, err
		}
		if !isStill(f, path) {
			// Its former holder renamed or removed it: the lock is worth nothing.
			f.Close()
			continue
		}
		p := &partial{f: f, hash: sha256.New()}
		if p.size, err = io.Copy(p.hash, &contextReader{ctx, f}); err != nil {
			f.Close()
			return nil, readError(ctx, err)
		}
		return p, nil
	}
}

// lock takes an exclusive flock(2) on f, which ends when f is closed.
func lock(ctx context.Context, f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("the download cache cannot be locked: %w", &fs.PathError{Op: "flock", Path: f.Name(), Err: err})
		default:
			if err := sleep(ctx, lockPoll); err != nil {
				return err
			}
		}
	}
}

// isStill reports whether path names the open file f.
func isStill(f *os.File, path string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(opened, named)
}

// Write appends.
func (p *partial) Write(b []byte) (int, error) {
	n, err := p.f.Write(b)
	p.hash.Write(b[:n])
	p.size += int64(n)
	if err != nil {
		// On a full disk half a file is better gone than kept.
		p.remove()
		return n, cacheError(err)
	}
	return n, nil
}

// restart empties the file.
func (p *partial) restart() error {
	if p.size == 0 {
		return nil
	}
	p.hash.Reset()
	p.size = 0
	if err := p.f.Truncate(0); err != nil {
		return cacheError(err)
	}
	if _, err := p.f.Seek(0, io.SeekStart); err != nil {
		return cacheError(err)
	}
	return nil
}

// check compares the digest of the whole file. If it is wrong the file is
// emptied; the server is to blame unless the download was a continued one.
func (p *partial) check(want store.Digest, continued bool) error {
	got := store.Digest(p.hash.Sum(nil))
	if got == want {
		return nil
	}
	size := p.size
	if err := p.restart(); err != nil {
		return err
	}
	err := fmt.Errorf("it sent %d bytes with the digest %s instead of %s", size, got, want)
	if continued {
		return err
	}
	return &permanentError{err}
}

// commit makes the file an object of the cache.
func (p *partial) commit(object string) error {
	if err := p.f.Chmod(0o444); err != nil {
		return cacheError(err)
	}
	if err := os.Rename(p.f.Name(), object); err != nil {
		return cacheError(err)
	}
	p.gone = true
	return nil
}

// remove deletes the file; the lock is held until close.
func (p *partial) remove() {
	if !p.gone {
		os.Remove(p.f.Name())
		p.gone = true
	}
}

// close gives up the lock. An empty file is of no use to anybody.
func (p *partial) close() {
	if p.size == 0 {
		p.remove()
	}
	p.f.Close()
}

// sleep waits for d or until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
