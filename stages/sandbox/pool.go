package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Pool is a directory of roots that builds share: each uses one that nobody else
// is using, preferably one that already holds most of what it needs.
type Pool struct {
	st   *store.Store
	dir  string
	plan plan
}

// NewPool returns the pool in dir, which is made if need be. The error is a
// *HostError when the host lacks what a sandbox needs. Nothing is started yet.
func NewPool(st *store.Store, dir string, o Options) (*Pool, error) {
	p, err := choose(o)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the sandbox's directory cannot be made: %w", err)
	}
	return &Pool{st: st, dir: dir, plan: p}, nil
}

// Mode returns how commands run, and a sentence why.
func (p *Pool) Mode() (Mode, string) { return p.plan.mode, p.plan.reason }

// Acquire returns a root for a Checkout of want: of those that no process uses, the
// one whose tree differs least, or a new one. The caller calls release when it is
// done with it; the directory stays for others.
func (p *Pool) Acquire(ctx context.Context, want *tree.Tree) (r *Root, release func(), err error) {
	free, err := p.free()
	if err != nil {
		return nil, nil, err
	}
	digest := want.Digest()
	least := -1
	for _, candidate := range free {
		d := candidate.distance(want, digest)
		if r == nil || d < least {
			r, least = candidate, d
		}
	}
	for _, candidate := range free {
		if candidate != r {
			candidate.Close()
		}
	}
	for r == nil {
		if r, err = p.create(); err != nil {
			return nil, nil, err
		}
	}
	r.mu.Lock()
	err = r.start(ctx)
	r.mu.Unlock()
	if err != nil {
		r.Close()
		return nil, nil, err
	}
	return r, func() { r.Close() }, nil
}

// prefix begins the names of the roots that this user can use: root's and others'
// owners on disk differ.
func (p *Pool) prefix() string { return fmt.Sprintf("%s-%d-", p.plan.mode, os.Geteuid()) }

// free locks all roots that nobody uses. Roots of processes that have died are
// among them: the kernel has released their locks.
func (p *Pool) free() ([]*Root, error) {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return nil, fmt.Errorf("the sandbox's directory cannot be read: %w", err)
	}
	var roots []*Root
	for _, e := range entries {
		number, mine := strings.CutPrefix(e.Name(), p.prefix())
		if _, err := strconv.ParseUint(number, 10, 32); err != nil || !mine {
			continue
		}
		r, err := openRoot(p.st, filepath.Join(p.dir, e.Name()), p.plan)
		if errors.Is(err, errLocked) {
			continue
		}
		if err != nil {
			for _, r := range roots {
				r.Close()
			}
			return nil, err
		}
		roots = append(roots, r)
	}
	return roots, nil
}

// create makes a new root. It returns nil when another process was faster with the
// name.
func (p *Pool) create() (*Root, error) {
	for n := 1; ; n++ {
		dir := filepath.Join(p.dir, p.prefix()+strconv.Itoa(n))
		err := os.Mkdir(dir, 0o700)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("the sandbox's directory cannot be written: %w", err)
		}
		r, err := openRoot(p.st, dir, p.plan)
		if errors.Is(err, errLocked) || errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		return r, err
	}
}

// distance is how many entries Checkout of want would have to change, about. A
// root that would be filled from nothing has the distance of all entries of want.
func (r *Root) distance(want *tree.Tree, digest store.Digest) int {
	p, err := os.ReadFile(filepath.Join(r.dir, indexName))
	if err != nil {
		return want.Len()
	}
	h, _, err := decodeHeader(p)
	if err != nil || h.boot != bootID() {
		return want.Len()
	}
	if h.digest == digest {
		return 0
	}
	have, err := tree.Decode(h.tree)
	if err != nil {
		return want.Len()
	}
	return len(tree.Diff(have, want))
}

// Clean removes the roots that nobody uses, but the keep most recently used.
func (p *Pool) Clean(keep int) error {
	free, err := p.free()
	if err != nil {
		return err
	}
	slices.SortFunc(free, func(a, b *Root) int { return b.used().Compare(a.used()) })
	var errs []error
	for i, r := range free {
		if i < keep {
			errs = append(errs, r.Close())
		} else {
			errs = append(errs, r.Remove())
		}
	}
	return errors.Join(errs...)
}

// used returns when the root was last filled or captured; the zero time if it holds
// nothing that can be relied on.
func (r *Root) used() time.Time {
	info, err := os.Stat(filepath.Join(r.dir, indexName))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
