package stages

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Cache is a cache directory in use. Any number of processes may use one.
type Cache struct {
	Dir   string
	Store *store.Store

	whole sync.Map // digests of objects known to be there with all they refer to
}

// Prefixes of the names of files that are there for a moment only.
const (
	probePrefix   = ".write-probe-"
	newPrefix     = ".new-"
	scratchPrefix = "scratch-"
)

// CacheError says that the cache directory cannot be used.
type CacheError struct {
	Dir string
	Err error
}

func (e *CacheError) Error() string {
	return fmt.Sprintf("the cache directory %s cannot be used: %v; choose another with --cache or IMAGEFACTORY_CACHE", e.Dir, e.Err)
}

// Unwrap returns the cause.
func (e *CacheError) Unwrap() error { return e.Err }

// ExitStatus is 3: the host lacks something.
func (e *CacheError) ExitStatus() int { return 3 }

// OpenCache opens the cache in dir and creates what is missing of it. The error is
// a *CacheError.
func OpenCache(dir string) (*Cache, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, &CacheError{dir, err}
	}
	for _, sub := range []string{"results", "locks", "last", "downloads", "roots"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, &CacheError{dir, err}
		}
	}
	probe, err := os.CreateTemp(dir, probePrefix)
	if err != nil {
		return nil, &CacheError{dir, err}
	}
	probe.Close()
	os.Remove(probe.Name())
	st, err := store.Open(filepath.Join(dir, "store"))
	if err != nil {
		return nil, &CacheError{dir, err}
	}
	return &Cache{Dir: dir, Store: st}, nil
}

// Close releases the cache.
func (c *Cache) Close() error { return c.Store.Close() }

// Downloads returns the directory for package fetch.
func (c *Cache) Downloads() string { return filepath.Join(c.Dir, "downloads") }

// Roots returns the directory for package sandbox.
func (c *Cache) Roots() string { return filepath.Join(c.Dir, "roots") }

// Scratch makes a directory for one build's own use. The caller removes it; Collect
// removes what a crashed build left.
func (c *Cache) Scratch() (string, error) {
	dir, err := os.MkdirTemp(c.Dir, scratchPrefix)
	if err != nil {
		return "", &CacheError{c.Dir, err}
	}
	return dir, nil
}

// result is the document of a result file.
type result struct {
	Key   store.Digest    `json:"key"`
	Stage string          `json:"stage"`
	Value json.RawMessage `json:"value"`
}

func (c *Cache) resultPath(key store.Digest) string {
	return filepath.Join(c.Dir, "results", key.Hex()+".json")
}

// readResult reads a result file. The error says what is wrong with it.
func readResult(path string, key store.Digest) (result, error) {
	p, err := os.ReadFile(path)
	if err != nil {
		return result{}, err
	}
	var r result
	if err := json.Unmarshal(p, &r); err != nil {
		return result{}, fmt.Errorf("not a result: %w", err)
	}
	if r.Key != key {
		return result{}, fmt.Errorf("it is the result of another key, %s", r.Key)
	}
	return r, nil
}

// load returns the value of the result with the given key, and false when there is
// none whose objects are all in the store. A result that cannot be read counts as
// none: the stage runs again and writes it anew.
func (c *Cache) load(key store.Digest) (json.RawMessage, bool) {
	path := c.resultPath(key)
	r, err := readResult(path, key)
	if err != nil || c.missing(r.Value) != nil {
		return nil, false
	}
	now := time.Now()
	// Only the order of collection depends on it.
	_ = os.Chtimes(path, now, now)
	return r.Value, true
}

// missing returns nil when every object that value refers to is in the store, also
// through trees and images, and else says which is not.
func (c *Cache) missing(value json.RawMessage) error {
	for _, d := range references(value) {
		if err := c.missingBelow(d); err != nil {
			return err
		}
	}
	return nil
}

// missingBelow is missing for one object. What was found whole stays so: nobody
// takes objects out of the store while this process has it open.
func (c *Cache) missingBelow(d store.Digest) error {
	if _, whole := c.whole.Load(d); whole {
		return nil
	}
	inner, err := c.inner(d)
	if err != nil {
		return err
	}
	if !c.Store.HasAll(inner) {
		for _, d := range inner {
			if _, err := c.Store.Stat(d); err != nil {
				return err
			}
		}
	}
	c.whole.Store(d, struct{}{})
	return nil
}

// inner returns the objects that object d refers to when it is a tree or an image.
// The error is that of store.Store.Object.
func (c *Cache) inner(d store.Digest) ([]store.Digest, error) {
	// Every format of ours begins with these two bytes; results refer to large
	// files too, which are not read.
	const common = "IF"
	magic, err := c.Store.Peek(d, len(common))
	if err != nil || string(magic) != common {
		return nil, err
	}
	p, err := c.Store.ReadAll(d)
	if err != nil {
		return nil, err
	}
	if refs, ok := tree.References(p); ok {
		return refs, nil
	}
	refs, _ := disk.References(p)
	return refs, nil
}

// references returns the digests among the strings of a JSON document that
// encoding/json wrote. It looks at the bytes alone: builds look at all their results
// each time.
func references(value json.RawMessage) []store.Digest {
	const start = `"sha256:`
	const size = len(start) + 2*len(store.Digest{}) + 1 // with the closing quote
	var refs []store.Digest
	for {
		i := bytes.Index(value, []byte(start))
		if i < 0 || len(value)-i < size {
			return refs
		}
		value = value[i:]
		// A quote within a string is escaped, so what is found is a whole string.
		if d, err := store.ParseDigest(string(value[1 : size-1])); err == nil && value[size-1] == '"' {
			refs = append(refs, d)
		}
		value = value[len(start):]
	}
}

// save writes a result.
func (c *Cache) save(key store.Digest, stage string, value json.RawMessage) error {
	p, err := json.Marshal(result{Key: key, Stage: stage, Value: value})
	if err != nil {
		return err
	}
	return writeAtomic(c.resultPath(key), append(p, '\n'))
}

// writeAtomic writes a file so that readers see the old or the new contents whole.
func writeAtomic(path string, p []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), newPrefix)
	if err != nil {
		return err
	}
	_, err = f.Write(p)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// lock waits until no other goroutine or process computes key. The caller calls
// the returned function when it is done.
func (c *Cache) lock(ctx context.Context, key store.Digest) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.Dir, "locks", key.Hex()), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, &CacheError{c.Dir, err}
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, &CacheError{c.Dir, err}
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Memo returns the value that run gave for key, in this or an earlier build, and
// whether it was there already. Of concurrent builds one computes it and the
// others wait. T must survive encoding/json; digests in it, as store.Digest,
// keep the objects they name in the store. An error is not remembered.
func Memo[T any](ctx context.Context, c *Cache, key store.Digest, stage string, run func(context.Context) (T, error)) (value T, cached bool, err error) {
	p, cached, err := c.memo(ctx, key, stage, func(ctx context.Context) (any, error) { return run(ctx) }, nil)
	if err != nil {
		return value, false, err
	}
	return value, cached, json.Unmarshal(p, &value)
}

// memo is Memo without types. A result for which valid returns false is not used.
func (c *Cache) memo(ctx context.Context, key store.Digest, stage string, run func(context.Context) (any, error), valid func(json.RawMessage) bool) (json.RawMessage, bool, error) {
	usable := func() (json.RawMessage, bool) {
		p, ok := c.load(key)
		return p, ok && (valid == nil || valid(p))
	}
	if p, ok := usable(); ok {
		return p, true, nil
	}
	unlock, err := c.lock(ctx, key)
	if err != nil {
		return nil, false, err
	}
	defer unlock()
	if p, ok := usable(); ok {
		return p, true, nil
	}
	value, err := run(ctx)
	if err != nil {
		return nil, false, err
	}
	p, err := json.Marshal(value)
	if err != nil {
		return nil, false, fmt.Errorf("the result cannot be stored: %w", err)
	}
	if err := c.missing(p); err != nil {
		// It would never count as cached.
		return nil, false, fmt.Errorf("the result refers to what the store does not have: %w", err)
	}
	if err := c.save(key, stage, p); err != nil {
		return nil, false, &CacheError{c.Dir, err}
	}
	return p, false, nil
}
