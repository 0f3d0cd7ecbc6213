package guard

import (
	"context"
	"errors"
	"path"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// checker compares two trees.
type checker struct {
	ctx           context.Context
	before, after *side
	changes       []tree.Change
	changed       map[string]bool // paths of after that are new or other than before
}

// side is one of the trees, with what was found out about it.
type side struct {
	st *store.Store
	t  *tree.Tree
	*contents
	libraries *libraries // of the tree; nil until asked for
	bases     map[string]string
	unitSet   *unitSet
	names     *accounts
}

// contents are what is known of files by their digests, for both trees.
type contents struct {
	mu    sync.Mutex
	facts map[store.Digest]*facts // nil for what is no ELF file
}

func newChecker(ctx context.Context, st *store.Store, before, after *tree.Tree, changes []tree.Change) *checker {
	shared := &contents{facts: map[store.Digest]*facts{}}
	c := &checker{
		ctx:     ctx,
		before:  &side{st: st, t: before, contents: shared},
		after:   &side{st: st, t: after, contents: shared},
		changes: changes,
		changed: map[string]bool{},
	}
	for _, ch := range changes {
		if ch.After != nil {
			c.changed[ch.Path] = true
		}
	}
	return c
}

// file returns the regular file a path leads to.
func (s *side) file(name string) (tree.Entry, bool) {
	real, err := s.t.Resolve(strings.TrimPrefix(name, "/"))
	if err != nil {
		return tree.Entry{}, false
	}
	e, ok := s.t.Lookup(real)
	return e, ok && e.Type == tree.Regular
}

// exists reports whether a path leads to anything.
func (s *side) exists(name string) bool {
	if name = strings.TrimPrefix(path.Clean(name), "/"); name == "" || name == "." {
		return true
	}
	real, err := s.t.Resolve(name)
	if err != nil {
		return false
	}
	_, ok := s.t.Lookup(real)
	return ok
}

// maxText bounds configuration files that are read, in bytes; larger ones have no needs.
const maxText = 4 << 20

// text returns the contents of a configuration file.
func (s *side) text(e tree.Entry) (string, error) {
	if e.Type != tree.Regular || e.Size > maxText {
		return "", nil
	}
	p, err := s.st.ReadAll(e.Digest)
	return string(p), err
}

// elf returns what is known of an ELF file, or nil for any other.
func (s *side) elf(e tree.Entry) (*facts, error) {
	s.mu.Lock()
	f, ok := s.facts[e.Digest]
	s.mu.Unlock()
	if ok {
		return f, nil
	}
	f, err := s.readELF(e)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.facts[e.Digest] = f
	s.mu.Unlock()
	return f, nil
}

// readELF reads an ELF file's facts. Peeking first spares verifying what is no ELF file.
func (s *side) readELF(e tree.Entry) (*facts, error) {
	if e.Size < 52 {
		return nil, nil
	}
	head, err := s.st.Peek(e.Digest, 20)
	if err != nil {
		return nil, err
	}
	if string(head[:4]) != "\x7fELF" {
		return nil, nil
	}
	if kind := head[16] | head[17]; kind != elfExec && kind != elfDyn { // whatever the byte order
		return nil, nil
	}
	o, err := s.st.Object(e.Digest)
	if err != nil {
		return nil, err
	}
	f, err := readFacts(o, o.Size())
	if err != nil {
		if corrupt := (*store.CorruptError)(nil); errors.As(err, &corrupt) {
			return nil, err
		}
		return nil, nil // what ld.so would not load either needs nothing
	}
	return f, nil
}

// each calls do for entries, on all processors.
func (c *checker) each(entries []tree.Entry, do func(tree.Entry) error) error {
	g, ctx := errgroup.WithContext(c.ctx)
	workers := runtime.GOMAXPROCS(0)
	const batch = 64
	next := make(chan []tree.Entry)
	for range workers {
		g.Go(func() error {
			for entries := range next {
				for _, e := range entries {
					if err := do(e); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(next)
		for len(entries) > 0 {
			n := min(batch, len(entries))
			select {
			case next <- entries[:n]:
			case <-ctx.Done():
				return ctx.Err()
			}
			entries = entries[n:]
		}
		return nil
	})
	return g.Wait()
}
