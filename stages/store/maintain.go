package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// ErrInUse says that other processes have the store open.
var ErrInUse = errors.New("the cache is in use by another build; try again when it has ended")

// Exclusive runs f while no other process has the store open; those that open it
// wait. It fails with ErrInUse, and does not run f, when one has it open already:
// it may be about to refer to any object. Sweep and Verify may be called from f.
func (s *Store) Exclusive(f func() error) (err error) {
	if err := flock(s.lock, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("lock the store %s: %w", s.dir, err)
		}
		// The failed attempt may have dropped the shared lock (flock(2)), and then
		// somebody else may have swept.
		if err := flock(s.lock, syscall.LOCK_SH); err != nil {
			return fmt.Errorf("lock the store %s: %w", s.dir, err)
		}
		return errors.Join(ErrInUse, s.reload())
	}
	s.setSole(true)
	defer func() {
		s.setSole(false)
		err = errors.Join(err, flock(s.lock, syscall.LOCK_SH))
	}()
	return f()
}

func (s *Store) setSole(sole bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sole = sole
}

// exclusively is Exclusive for those who may already be within it. Afterwards the
// store knows which packs there are now.
func (s *Store) exclusively(f func() error) error {
	s.mu.Lock()
	sole := s.sole
	s.mu.Unlock()
	change := func() error { return errors.Join(f(), s.reload()) }
	if sole {
		return change()
	}
	return s.Exclusive(change)
}

// Damage is one thing Verify found wrong.
type Damage struct {
	Path   string // the pack file
	Digest Digest // the object, or zero when the whole pack is unreadable
}

// Verify hashes every object of the store and returns what is damaged. With
// repair, damaged objects are taken out of the store, so that the stages which
// made them run again; that fails with ErrInUse while another process has the
// store open, and objects handed out before must not be read afterwards. Verify
// stops early when ctx is cancelled.
func (s *Store) Verify(ctx context.Context, repair bool) ([]Damage, error) {
	if !repair {
		return s.verify(ctx, nil)
	}
	var damage []Damage
	err := s.exclusively(func() (err error) {
		damage, err = s.verify(ctx, s.rewrite)
		return err
	})
	return damage, err
}

// verify calls mend, unless it is nil, for packs with damaged objects, with the
// records of those that are whole.
func (s *Store) verify(ctx context.Context, mend func(*pack, []record) error) ([]Damage, error) {
	paths, err := s.packPaths()
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
			if mend != nil {
				if err := os.Remove(path); err != nil {
					return damage, err
				}
			}
			continue
		}
		if err != nil {
			return damage, err
		}
		good, err := s.goodRecords(ctx, p)
		if err != nil {
			return damage, err
		}
		if len(good) == len(p.records) {
			continue
		}
		for _, r := range p.records {
			if !slices.Contains(good, r) {
				damage = append(damage, Damage{Path: path, Digest: r.digest})
			}
		}
		if mend != nil {
			if err := mend(p, good); err != nil {
				return damage, err
			}
		}
	}
	return damage, nil
}

// goodRecords hashes the objects of p and returns the records of those that are
// what they should be.
func (s *Store) goodRecords(ctx context.Context, p *pack) ([]record, error) {
	defer p.close()
	records := slices.Clone(p.records)
	slices.SortFunc(records, byOffset)
	var good []record
	for _, r := range records {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		ok, err := s.objectOf(p, r).matches(r.digest)
		if err != nil {
			return nil, err
		}
		if ok {
			good = append(good, r)
		}
	}
	return good, nil
}

// byOffset puts records in the order in which the objects lie in the pack, for
// sequential reads.
func byOffset(a, b record) int { return cmp.Compare(a.offset, b.offset) }

// objectOf returns the object of p that r describes.
func (s *Store) objectOf(p *pack, r record) *Object {
	return &Object{store: s, loc: location{pack: p, offset: r.offset, size: r.size}}
}

// Sweep removes every object that live does not hold, and returns how many bytes
// that freed. A pack of which at most an eighth is dead stays as it is. Sweep fails
// with ErrInUse while another process has the store open. Objects handed out
// before must not be read afterwards.
func (s *Store) Sweep(live map[Digest]struct{}) (freed int64, err error) {
	err = s.exclusively(func() error {
		before, err := s.Size()
		if err != nil {
			return err
		}
		if err := s.sweep(live); err != nil {
			return err
		}
		after, err := s.Size()
		freed = before - after
		return err
	})
	return freed, err
}

// sweep is Sweep without locks. What is wholly dead goes first: rewriting the
// rest takes space.
func (s *Store) sweep(live map[Digest]struct{}) error {
	if err := s.removeLeftovers(); err != nil {
		return err
	}
	paths, err := s.packPaths()
	if err != nil {
		return err
	}
	type rewriting struct {
		pack *pack
		keep []record
	}
	var partly []rewriting
	kept := map[Digest]struct{}{} // concurrent builds can store an object twice
	for _, path := range paths {
		p, err := openPack(path)
		if err != nil && !errors.Is(err, errDamagedPack) {
			return err
		}
		var keep []record
		if err == nil {
			keep = p.live(live, kept)
		}
		switch {
		case len(keep) == 0:
			if err := os.Remove(path); err != nil {
				return err
			}
		case total(p.records)-total(keep) > total(p.records)/8:
			partly = append(partly, rewriting{p, keep})
		}
	}
	for _, r := range partly {
		if err := s.rewrite(r.pack, r.keep); err != nil {
			return err
		}
	}
	return nil
}

// live returns the records of objects that live holds and kept does not yet, and
// adds them to kept.
func (p *pack) live(live, kept map[Digest]struct{}) []record {
	var keep []record
	for _, r := range p.records {
		if _, ok := live[r.digest]; !ok {
			continue
		}
		if _, twice := kept[r.digest]; twice {
			continue
		}
		kept[r.digest] = struct{}{}
		keep = append(keep, r)
	}
	return keep
}

// total returns the bytes of the objects of records.
func total(records []record) int64 {
	var n int64
	for _, r := range records {
		n += r.size
	}
	return n
}

// rewrite replaces pack p by one that holds only the objects of keep, without
// those that are damaged, or by nothing.
func (s *Store) rewrite(p *pack, keep []record) error {
	b, err := s.NewBatch()
	if err != nil {
		return err
	}
	defer b.Abort()
	b.always = true
	keep = slices.Clone(keep)
	slices.SortFunc(keep, byOffset)
	for _, r := range keep {
		if err := b.addChecked(s.objectOf(p, r).NewReader(), r.digest); err != nil {
			return err
		}
	}
	p.close()
	path, err := b.commit()
	if err != nil || path == p.path {
		return err
	}
	return os.Remove(p.path)
}

func (s *Store) packPaths() ([]string, error) {
	return packPaths(filepath.Join(s.dir, "packs"))
}
