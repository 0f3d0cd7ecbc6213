package store

import (
	"bytes"
	"context"
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
	packs   map[string]*pack // by path
	objects map[Digest]location
	open    []*pack // packs with an open descriptor, oldest first
}

// Open opens the store in dir and creates it if there is none. It waits for a
// Sweep of another process to end.
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
	if err := flock(lock, syscall.LOCK_SH); err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock the store %s: %w", dir, err)
	}
	s := &Store{dir: dir, lock: lock, packs: map[string]*pack{}, objects: map[Digest]location{}}
	if err := s.refresh(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
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

// refresh reads the indexes of packs that appeared since the last time.
func (s *Store) refresh() error {
	paths, err := packPaths(filepath.Join(s.dir, "packs"))
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
		if errors.Is(err, errDamagedPack) || errors.Is(err, os.ErrNotExist) {
			continue // as good as absent; Verify reports it
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

// find returns where d lies, looking at the disk again when it is not known: another
// process may have stored it meanwhile.
func (s *Store) find(d Digest) (location, bool) {
	s.mu.Lock()
	l, ok := s.objects[d]
	s.mu.Unlock()
	if ok {
		return l, true
	}
	if err := s.refresh(); err != nil {
		return location{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok = s.objects[d]
	return l, ok
}

var emptyDigest = Sum(nil)

// Has reports whether the store holds an object of digest d. It does not read it.
func (s *Store) Has(d Digest) bool {
	if d == emptyDigest {
		return true
	}
	_, ok := s.find(d)
	return ok
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
	l, ok := s.find(d)
	if !ok {
		return nil, fmt.Errorf("object %s: %w", d, ErrNotFound)
	}
	o := &Object{store: s, loc: l}
	if !l.verified {
		if err := o.verify(d); err != nil {
			return nil, err
		}
		l.verified = true
		s.mu.Lock()
		s.objects[d] = l
		s.mu.Unlock()
	}
	return o, nil
}

// verify hashes the object and compares it with d.
func (o *Object) verify(d Digest) error {
	h := sha256.New()
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	if _, err := io.CopyBuffer(h, onlyReader{o.NewReader()}, *buf); err != nil {
		return fmt.Errorf("read object %s: %w", d, err)
	}
	if !bytes.Equal(h.Sum(nil), d[:]) {
		return &CorruptError{Digest: d, Path: o.loc.pack.path}
	}
	return nil
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
	if s.Has(d) {
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

// Damage is one thing Verify found wrong.
type Damage struct {
	Path   string // the pack file
	Digest Digest // the object, or zero when the whole pack is unreadable
}

// Verify hashes every object of the store and returns what is damaged. With
// repair, damaged objects are taken out of the store, so that the stages which
// made them run again. It stops early when ctx is cancelled.
func (s *Store) Verify(ctx context.Context, repair bool) ([]Damage, error) {
	paths, err := packPaths(filepath.Join(s.dir, "packs"))
	if err != nil {
		return nil, err
	}
	var damage []Damage
	for _, path := range paths {
		p, err := openPack(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if errors.Is(err, errDamagedPack) {
			damage = append(damage, Damage{Path: path})
			if repair {
				if err := os.Remove(path); err != nil {
					return damage, err
				}
			}
			continue
		}
		if err != nil {
			return damage, err
		}
		var good []record
		for _, r := range p.records {
			if err := ctx.Err(); err != nil {
				p.close()
				return damage, err
			}
			o := &Object{store: s, loc: location{pack: p, offset: r.offset, size: r.size}}
			err := o.verify(r.digest)
			var corrupt *CorruptError
			switch {
			case errors.As(err, &corrupt):
				damage = append(damage, Damage{Path: path, Digest: r.digest})
			case err != nil:
				p.close()
				return damage, err
			default:
				good = append(good, r)
			}
		}
		p.close()
		if repair && len(good) < len(p.records) {
			if err := s.replace(p, good); err != nil {
				return damage, err
			}
		}
	}
	return damage, nil
}

// replace rewrites pack p so that it holds only keep, or removes it when that is
// nothing.
func (s *Store) replace(p *pack, keep []record) error {
	if len(keep) > 0 {
		b, err := s.NewBatch()
		if err != nil {
			return err
		}
		defer b.Abort()
		b.always = true
		for _, r := range keep {
			o := &Object{store: s, loc: location{pack: p, offset: r.offset, size: r.size}}
			if _, _, err := b.Add(o.NewReader()); err != nil {
				return err
			}
		}
		if err := b.Commit(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	delete(s.packs, p.path)
	for _, r := range p.records {
		if l, ok := s.objects[r.digest]; ok && l.pack.path == p.path {
			delete(s.objects, r.digest)
		}
	}
	s.mu.Unlock()
	p.close()
	return os.Remove(p.path)
}

// ErrInUse says that other processes have the store open.
var ErrInUse = errors.New("the cache is in use by another build; try again when it has ended")

// Size returns the bytes that the store's packs take on disk.
func (s *Store) Size() (int64, error) {
	paths, err := packPaths(filepath.Join(s.dir, "packs"))
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

// Sweep removes every object that live does not hold, and returns how many bytes
// that freed. A pack of which less than half is live is rewritten; the dead part
// of others stays until then. It fails with ErrInUse while another process has the
// store open, since that may be about to refer to an object that is not live yet.
func (s *Store) Sweep(live map[Digest]struct{}) (freed int64, err error) {
	if err := flock(s.lock, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			// A failed upgrade may have dropped the shared lock (flock(2)).
			if err := flock(s.lock, syscall.LOCK_SH); err != nil {
				return 0, err
			}
			return 0, ErrInUse
		}
		return 0, err
	}
	defer func() { err = errors.Join(err, flock(s.lock, syscall.LOCK_SH)) }()

	before, err := s.Size()
	if err != nil {
		return 0, err
	}
	stale, err := os.ReadDir(filepath.Join(s.dir, "tmp"))
	if err != nil {
		return 0, err
	}
	for _, e := range stale {
		if err := os.RemoveAll(filepath.Join(s.dir, "tmp", e.Name())); err != nil {
			return 0, err
		}
	}
	paths, err := packPaths(filepath.Join(s.dir, "packs"))
	if err != nil {
		return 0, err
	}
	for _, path := range paths {
		p, err := openPack(path)
		if errors.Is(err, errDamagedPack) {
			if err := os.Remove(path); err != nil {
				return 0, err
			}
			continue
		}
		if err != nil {
			return 0, err
		}
		var keep []record
		var liveBytes, allBytes int64
		for _, r := range p.records {
			allBytes += r.size
			if _, ok := live[r.digest]; ok {
				keep = append(keep, r)
				liveBytes += r.size
			}
		}
		if len(keep) == 0 || liveBytes < allBytes/2 {
			if err := s.replace(p, keep); err != nil {
				return 0, err
			}
		}
	}
	after, err := s.Size()
	return before - after, err
}

// Peek returns the first n bytes of an object, or fewer when it is shorter, without
// verifying it: enough to tell what kind of object it is.
func (s *Store) Peek(d Digest, n int) ([]byte, error) {
	if d == emptyDigest {
		return nil, nil
	}
	l, ok := s.find(d)
	if !ok {
		return nil, fmt.Errorf("object %s: %w", d, ErrNotFound)
	}
	o := &Object{store: s, loc: l}
	p := make([]byte, min(int64(n), o.Size()))
	if _, err := o.ReadAt(p, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return p, nil
}
