// Package packages is the stage that turns locked packages into trees: it fetches
// each archive, verifies its digest and unpacks it, once per digest ever.
package packages

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/store"
)

// Version is the version of this stage's code; see stages.Stage.
const Version = 1

// Source is a package to fetch and unpack.
type Source struct {
	Name    string       `json:"name"`
	Version string       `json:"version"`
	Arch    string       `json:"arch"`
	Digest  store.Digest `json:"digest"` // of the archive
	Size    int64        `json:"-"`      // of the archive in bytes
	URLs    []string     `json:"-"`      // where to get it; not part of what it is
	Auto    bool         `json:"auto,omitempty"`
	// Keys names the keys that must have signed the archive, for formats whose archives
	// are signed. Empty: none need have.
	Keys string `json:"keys,omitempty"`
}

// A Format reads the archives of one package family.
type Format interface {
	// unpack verifies and unpacks the archive at path.
	unpack(ctx context.Context, st *store.Store, path string, s Source) (t store.Digest, control map[string][]byte, err error)
}

// Package is an unpacked package.
type Package struct {
	Name    string       `json:"name"`
	Version string       `json:"version"`
	Arch    string       `json:"arch"`
	Archive string       `json:"archive"` // hexadecimal SHA-256 of the archive; not an object of the store
	Auto    bool         `json:"auto,omitempty"`
	Tree    store.Digest `json:"tree"`
	Control store.Digest `json:"control"` // object: the files of the package's metadata by name, as JSON
}

// Output is what the stage gives: the packages in the order of the sources.
type Output struct {
	Packages []Package `json:"packages"`
}

// LoadControl returns the metadata files of p by name.
func (p *Package) LoadControl(st *store.Store) (map[string][]byte, error) {
	data, err := st.ReadAll(p.Control)
	if err != nil {
		return nil, err
	}
	var control map[string][]byte
	return control, json.Unmarshal(data, &control)
}

// unpacked is what is remembered of a package's archive.
type unpacked struct {
	Tree    store.Digest `json:"tree"`
	Control store.Digest `json:"control"`
}

// Run fetches and unpacks sources. Packages unpack while others still download, the
// largest first.
func Run(ctx context.Context, run *stages.Run, client *fetch.Client, format Format, sources []Source) (Output, error) {
	out := Output{Packages: make([]Package, len(sources))}
	order := make([]int, len(sources))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(sources[b].Size, sources[a].Size) })

	var done atomic.Int64
	progress := func() {
		run.Emit(stages.Event{Kind: stages.Progress, Item: "unpack", Done: done.Add(1), Total: int64(len(sources)), Unit: stages.Packages})
	}
	processors := make(chan struct{}, runtime.GOMAXPROCS(0))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2*cap(processors) + 6) // more than unpack at a time, so that downloads go on meanwhile
	for _, i := range order {
		s := sources[i]
		group.Go(func() error {
			key := stages.Key("unpack", Version, s.Digest)
			if s.Keys != "" {
				key = stages.Key("unpack", Version, []any{s.Digest, s.Keys})
			}
			u, _, err := stages.Memo(ctx, run.Cache, key, "unpack "+s.Name, func(ctx context.Context) (unpacked, error) {
				path, err := client.Get(ctx, fetch.Request{Name: s.Name + " " + s.Version, URLs: s.URLs, Size: s.Size, Digest: s.Digest})
				if err != nil {
					return unpacked{}, err
				}
				select {
				case processors <- struct{}{}:
					defer func() { <-processors }()
				case <-ctx.Done():
					return unpacked{}, context.Cause(ctx)
				}
				return unpack(ctx, run.Cache.Store, format, path, s)
			})
			if err != nil {
				return fmt.Errorf("package %s %s: %w", s.Name, s.Version, err)
			}
			out.Packages[i] = Package{
				Name: s.Name, Version: s.Version, Arch: s.Arch, Archive: s.Digest.Hex(), Auto: s.Auto,
				Tree: u.Tree, Control: u.Control,
			}
			progress()
			return nil
		})
	}
	return out, group.Wait()
}

// unpack unpacks one archive.
func unpack(ctx context.Context, st *store.Store, format Format, path string, s Source) (unpacked, error) {
	t, control, err := format.unpack(ctx, st, path, s)
	if err != nil {
		return unpacked{}, err
	}
	encoded, err := json.Marshal(control)
	if err != nil {
		return unpacked{}, err
	}
	digest, err := st.Put(encoded)
	return unpacked{Tree: t, Control: digest}, err
}
