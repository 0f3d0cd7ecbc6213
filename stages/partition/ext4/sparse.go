package ext4

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

const (
	holeUnit = 4096 // a hole consists of whole, aligned units of zeros

	// minHole is the shortest hole worth an extent of its own, in bytes. Any hole
	// frees more blocks than the extents around it can cost.
	minHole = 32 << 10
)

// sparseMap says, for the contents found to have holes, which parts hold data: runs
// of bytes, each starting at a multiple of holeUnit.
type sparseMap map[store.Digest][]span

// findHoles reads the files of at least c.SparseMin bytes and looks for zeros.
func findHoles(ctx context.Context, st *store.Store, t *tree.Tree, c *config) (sparseMap, error) {
	found := sparseMap{}
	if c.SparseMin < 0 {
		return found, nil
	}
	var candidates []*tree.Entry
	entries := t.Entries()
	for i := range entries {
		e := &entries[i]
		if e.Type != tree.Regular || e.Size < max(c.SparseMin, minHole) {
			continue
		}
		if _, seen := found[e.Digest]; !seen {
			found[e.Digest] = nil
			candidates = append(candidates, e)
		}
	}
	results := make([][]span, len(candidates))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, e := range candidates {
		group.Go(func() error {
			object, err := st.Object(e.Digest)
			if err == nil {
				results[i], err = dataRuns(ctx, object.NewReader())
			}
			if err != nil {
				return fmt.Errorf("look for holes in /%s: %w", e.Path, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i, e := range candidates {
		found[e.Digest] = results[i]
	}
	return found, nil
}

var zeroUnit [holeUnit]byte

// dataRuns returns the runs of r that are not holes.
func dataRuns(ctx context.Context, r io.Reader) ([]span, error) {
	runs := []span{}
	buf := make([]byte, 64*holeUnit)
	var zeros, offset uint64 // zeros: bytes since the last unit that is not zero
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := io.ReadFull(r, buf)
		for p := buf[:n]; len(p) > 0; {
			unit := p[:min(holeUnit, len(p))]
			p = p[len(unit):]
			if bytes.Equal(unit, zeroUnit[:len(unit)]) {
				zeros += uint64(len(unit))
			} else {
				if last := len(runs) - 1; last >= 0 && zeros < minHole {
					runs[last].length = offset + uint64(len(unit)) - runs[last].start
				} else {
					start := offset
					if zeros < minHole { // zeros at the start of the file, too few for a hole
						start = 0
					}
					runs = append(runs, span{start, offset + uint64(len(unit)) - start})
				}
				zeros = 0
			}
			offset += uint64(len(unit))
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			if last := len(runs) - 1; zeros > 0 && zeros < minHole && last >= 0 {
				runs[last].length += zeros
			}
			return runs, nil
		default:
			return nil, err
		}
	}
}
