package sbom

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/store"
)

// shards is how many results the sums of a tree are kept in. A new file costs one shard of
// hashing.
const shards = 64

// sumsVersion is the version of Sums' code; see stages.Key.
const sumsVersion = 1

// Sums returns the SHA-1 sums of objects of the cache's store, which SPDX demands. They are kept
// in the cache, so that a build hashes only what is new, and what shares a shard with it.
func Sums(ctx context.Context, cache *stages.Cache, digests []store.Digest) (map[store.Digest][20]byte, error) {
	list := slices.Clone(digests)
	slices.SortFunc(list, func(a, b store.Digest) int { return slices.Compare(a[:], b[:]) })
	list = slices.Compact(list)
	var parts [shards][]store.Digest
	for _, d := range list {
		i := d[0] % shards
		parts[i] = append(parts[i], d)
	}
	var results [shards][]byte
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, part := range parts {
		if len(part) == 0 {
			continue
		}
		group.Go(func() error {
			names := make([]string, len(part)) // bare: that a file is gone later does not make its sum wrong
			for k, d := range part {
				names[k] = d.Hex()
			}
			text, _, err := stages.Memo(ctx, cache, stages.Key("sha1", sumsVersion, names), "sha1", func(ctx context.Context) (string, error) {
				sums, err := hashAll(ctx, cache.Store, part)
				return base64.StdEncoding.EncodeToString(sums), err
			})
			if err != nil {
				return err
			}
			results[i], err = base64.StdEncoding.DecodeString(text)
			if err == nil && len(results[i]) != len(part)*sha1.Size {
				err = fmt.Errorf("the cache has %d bytes of SHA-1 sums for %d files", len(results[i]), len(part))
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	sums := make(map[store.Digest][20]byte, len(list))
	for i, part := range parts {
		for k, d := range part {
			sums[d] = [20]byte(results[i][k*sha1.Size:])
		}
	}
	return sums, nil
}

// hashAll returns the SHA-1 sums of objects, one after the other.
func hashAll(ctx context.Context, st *store.Store, digests []store.Digest) ([]byte, error) {
	var sums []byte
	h := sha1.New()
	for _, d := range digests {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		object, err := st.Object(d)
		if err != nil {
			return nil, fmt.Errorf("file contents %s: %w", d, err)
		}
		h.Reset()
		if _, err := io.Copy(h, object.NewReader()); err != nil {
			return nil, fmt.Errorf("file contents %s: %w", d, err)
		}
		sums = h.Sum(sums)
	}
	return sums, nil
}
