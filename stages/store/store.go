package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// ErrNotFound says that the store has no object of a digest.
var ErrNotFound = errors.New("not in the store")

// CorruptError says that an object's bytes on disk no longer have its digest.
type CorruptError struct {
	Digest Digest
	Path   string // the pack file
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("object %s in %s is damaged on disk; run `imagefactory cache verify --repair` and build again", e.Digest, e.Path)
}

// location is where an object lies.
type location struct {
	pack         *pack
	offset, size int64
	verified     bool
}

// Store is an open store. It may be used by any number of goroutines, and any
// number of processes may have the same directory open.
type Store struct {
	dir  string
	lock *os.File

	mu      sync.Mutex
	packs   map[string]*pack // by path; nil for a file that is no whole pack
	objects map[Digest]location
	corrupt map[Digest]*CorruptError // objects of which no good copy was found
	open    []*pack                  // packs with an open descriptor, oldest first
	sole    bool                     // within Exclusive
}

// Open opens the store in dir and creates it if there is none. It waits for a
// Sweep of another process to end, and removes what crashed processes left when
// nobody else has the store open.
func Open(dir string) (*Store, error) {
	for _, sub := range []string{"packs", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("the store cannot be created: %w", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("the store cannot be opened: %w", err)
	}
	s := &Store{dir: dir, lock: lock}
	if flock(lock, syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		if err := s.removeLeftovers(); err != nil {
			lock.Close()
			return nil, s.writeError(err)
		}
	}
	if err := flock(lock, syscall.LOCK_SH); err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock the store %s: %w", dir, err)
	}
	if err := s.reload(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// removeLeftovers removes batches that were neither committed nor aborted. The
// caller holds the lock exclusively.
func (s *Store) removeLeftovers() error {
	dir := filepath.Join(s.dir, "tmp")
	leftovers, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range leftovers {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// flock retries what a signal interrupted.
func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// Dir returns the directory the store lies in.
func (s *Store) Dir() string { return s.dir }

// Close releases the store's lock and descriptors. Objects handed out before must
// not be read afterwards.
func (s *Store) Close() error {
	s.mu.Lock()
	open := s.open
	s.open = nil
	s.mu.Unlock()
	for _, p := range open {
		p.close()
	}
	return s.lock.Close()
}

// reload forgets everything and reads the indexes of all packs.
func (s *Store) reload() error {
	s.mu.Lock()
	open := s.open
	s.open = nil
	s.packs = map[string]*pack{}
	s.objects = map[Digest]location{}
	s.corrupt = map[Digest]*CorruptError{}
	s.mu.Unlock()
	for _, p := range open {
		p.close()
	}
	return s.refresh()
}

// refresh reads the indexes of packs that appeared since the last time.
func (s *Store) refresh() error {
	paths, err := s.packPaths()
	if err != nil {
		return fmt.Errorf("the store cannot be read: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, path := range paths {
		if _, known := s.packs[path]; known {
			continue
		}
		p, err := openPack(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if errors.Is(err, errDamagedPack) {
			s.packs[path] = nil // as good as absent; Verify reports it
			continue
		}
		if err != nil {
			return fmt.Errorf("the store cannot be read: %w", err)
		}
		s.add(p, false)
	}
	return nil
}

// add makes a pack's objects known. The caller holds s.mu.
func (s *Store) add(p *pack, verified bool) {
	s.packs[p.path] = p
	for _, r := range p.records {
		if l, ok := s.objects[r.digest]; ok && (l.verified || !verified) {
			continue
		}
		s.objects[r.digest] = location{pack: p, offset: r.offset, size: r.size, verified: verified}
	}
}

// knows reports whether s has seen an object of digest d. What another process stored
// since s looked last is stored again by those who only ask this: that is harmless,
// and cheaper than to look each time.
func (s *Store) knows(d Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.objects[d]
	return ok
}

// find returns where d lies, looking at the disk again when it is not known: another
// process may have stored it meanwhile. The error is ErrNotFound, the *CorruptError
// of an object that was found damaged before, or what reading the store gave.
func (s *Store) find(d Digest) (location, error) {
	s.mu.Lock()
	l, ok := s.objects[d]
	s.mu.Unlock()
	if ok {
		return l, nil
	}
	if err := s.refresh(); err != nil {
		return location{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok = s.objects[d]; ok {
		return l, nil
	}
	if err := s.corrupt[d]; err != nil {
		return location{}, err
	}
	return location{}, fmt.Errorf("object %s: %w", d, ErrNotFound)
}

// distrust takes the damaged copy of d in p out of use, in favour of one that
// another pack may have. Without one the store no longer has d, so that the stage
// which made it can store it anew.
func (s *Store) distrust(d Digest, p *pack) error {
	err := &CorruptError{Digest: d, Path: p.path}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.damaged == nil {
		p.damaged = map[Digest]struct{}{}
	}
	p.damaged[d] = struct{}{}
	if l, ok := s.objects[d]; ok && l.pack != p {
		return nil // somebody else was here first
	}
	delete(s.objects, d)
	for _, other := range s.packs {
		if other == nil {
			continue
		}
		if _, bad := other.damaged[d]; bad {
			continue
		}
		if r, ok := other.find(d); ok {
			s.objects[d] = location{pack: other, offset: r.offset, size: r.size}
			return nil
		}
	}
	s.corrupt[d] = err
	return err
}

var emptyDigest = Sum(nil)

// Has reports whether the store holds an object of digest d, as far as it can be
// told without reading it.
func (s *Store) Has(d Digest) bool {
	_, err := s.Stat(d)
	return err == nil
}

// HasAll reports whether the store holds all of digests. It is Has for many.
func (s *Store) HasAll(digests []Digest) bool {
	var unknown []Digest
	s.mu.Lock()
	for _, d := range digests {
		if _, ok := s.objects[d]; !ok && d != emptyDigest {
			unknown = append(unknown, d)
		}
	}
	s.mu.Unlock()
	for _, d := range unknown {
		if !s.Has(d) {
			return false
		}
	}
	return true
}

// Stat returns the size in bytes of the object of digest d without reading it.
// Errors as of Object.
func (s *Store) Stat(d Digest) (int64, error) {
	if d == emptyDigest {
		return 0, nil
	}
	l, err := s.find(d)
	return l.size, err
}

// Object is the contents of one object.
type Object struct {
	store *Store
	loc   location
}

// Size returns the object's length in bytes.
func (o *Object) Size() int64 { return o.loc.size }

// ReadAt reads the object's bytes as io.ReaderAt demands.
func (o *Object) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at the negative offset %d", off)
	}
	if off >= o.loc.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > o.loc.size-off
	if short {
		p = p[:o.loc.size-off]
	}
	n, err := o.loc.pack.readAt(p, o.loc.offset+off, o.store.opened)
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// NewReader returns a reader over the whole object.
func (o *Object) NewReader() *io.SectionReader { return io.NewSectionReader(o, 0, o.loc.size) }

// Object returns the object of digest d. Its bytes have been verified by this
// process. The error is ErrNotFound, a *CorruptError, or what reading gave.
func (s *Store) Object(d Digest) (*Object, error) {
	if d == emptyDigest {
		return &Object{store: s}, nil
	}
	for {
		l, err := s.find(d)
		if err != nil {
			return nil, err
		}
		o := &Object{store: s, loc: l}
		if l.verified {
			return o, nil
		}
		ok, err := o.matches(d)
		if err != nil {
			return nil, err
		}
		if ok {
			s.trust(d, l)
			return o, nil
		}
		if err := s.distrust(d, l.pack); err != nil {
			return nil, err
		}
	}
}

// trust notes that the copy of d at l has been verified.
func (s *Store) trust(d Digest, l location) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, ok := s.objects[d]; ok && now.pack == l.pack {
		now.verified = true
		s.objects[d] = now
	}
}

// matches hashes the object and reports whether its digest is d.
func (o *Object) matches(d Digest) (bool, error) {
	h := sha256.New()
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	n, err := io.CopyBuffer(h, onlyReader{o.NewReader()}, *buf)
	if err != nil {
		return false, fmt.Errorf("read object %s: %w", d, err)
	}
	// A pack that was cut off after it was opened gives fewer bytes and no error.
	return n == o.loc.size && bytes.Equal(h.Sum(nil), d[:]), nil
}

// onlyReader hides WriterTo and the like, which would make io.CopyBuffer ignore the buffer.
type onlyReader struct{ io.Reader }

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// ReadAll returns the whole object of digest d in memory; for trees and other
// metadata. Errors as of Object.
func (s *Store) ReadAll(d Digest) ([]byte, error) {
	o, err := s.Object(d)
	if err != nil {
		return nil, err
	}
	p := make([]byte, o.Size())
	if _, err := io.ReadFull(o.NewReader(), p); err != nil {
		return nil, fmt.Errorf("read object %s: %w", d, err)
	}
	return p, nil
}

// opened notes that p's descriptor was opened and closes the oldest when there are
// too many.
func (s *Store) opened(p *pack) {
	s.mu.Lock()
	s.open = append(s.open, p)
	var victim *pack
	if len(s.open) > maxOpenPacks {
		victim, s.open = s.open[0], s.open[1:]
	}
	s.mu.Unlock()
	if victim != nil {
		victim.close()
	}
}

// Put stores one small object and commits it at once. Use a Batch for many.
func (s *Store) Put(p []byte) (Digest, error) {
	d := Sum(p)
	if d == emptyDigest || s.knows(d) {
		return d, nil
	}
	b, err := s.NewBatch()
	if err != nil {
		return Digest{}, err
	}
	defer b.Abort()
	if _, err := b.AddBytes(p); err != nil {
		return Digest{}, err
	}
	return d, b.Commit()
}

// Peek returns the first n bytes of an object, or fewer when it is shorter, without
// verifying it: enough to tell what kind of object it is.
func (s *Store) Peek(d Digest, n int) ([]byte, error) {
	if d == emptyDigest {
		return nil, nil
	}
	l, err := s.find(d)
	if err != nil {
		return nil, err
	}
	o := &Object{store: s, loc: l}
	p := make([]byte, min(int64(n), o.Size()))
	if _, err := o.ReadAt(p, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return p, nil
}

// Size returns the bytes that the store's packs take on disk.
func (s *Store) Size() (int64, error) {
	paths, err := s.packPaths()
	if err != nil {
		return 0, err
	}
	var total int64
	for _, path := range paths {
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		total += info.Size()
	}
	return total, nil
}
