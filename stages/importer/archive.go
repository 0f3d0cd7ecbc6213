package importer

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/imagefactory/imagefactory/distros/compress"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/importer/images"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
	"github.com/imagefactory/imagefactory/stages/tree/tarball"
)

// ArchiveVersion is the version of Archive's code; see stages.Stage.
const ArchiveVersion = 1

// maxStreamBytes bounds what an archive or layer decompresses to.
const maxStreamBytes = 64 << 30

// Archive makes a root of the tar archive at path, whose contents must have the given
// digest: it is what the stage's key has. The archive may be compressed with gzip, xz,
// zstd or bzip2, which its content tells and not its name. Owners are its numeric ids.
func Archive(ctx context.Context, run *stages.Run, path string, digest store.Digest) (rootfs.Root, error) {
	fail := func(err error) (rootfs.Root, error) {
		return rootfs.Root{}, fmt.Errorf("archive %s: %w", path, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return rootfs.Root{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	progress := &images.ProgressReader{R: f, Run: run, Item: info.Name(), Total: info.Size()}
	st := run.Cache.Store
	t, sum, err := apply(ctx, st, tree.Empty(tree.Time{}), progress, tarball.Options{Limits: tarball.DefaultLimits})
	if sum.raw != digest && !sum.raw.IsZero() {
		return fail(fmt.Errorf("it has changed while the build ran: its SHA-256 was %s and is %s; build again", digest.Hex(), sum.raw.Hex()))
	}
	if err != nil {
		return fail(err)
	}
	if t.Len() == 1 {
		return fail(errors.New("it holds nothing"))
	}
	return rootfs.Save(st, t)
}

// sums are the digests of an archive.
type sums struct {
	raw   store.Digest // as it was read
	plain store.Digest // decompressed
}

// apply puts the archive in r over base, saves the contents of its files, and reads r
// to its end. With an error about the archive comes the digest of what was read, which
// may be the cause of it.
func apply(ctx context.Context, st *store.Store, base *tree.Tree, r io.Reader, o tarball.Options) (*tree.Tree, sums, error) {
	rawHash, plainHash := sha256.New(), sha256.New()
	raw := bufio.NewReaderSize(io.TeeReader(r, rawHash), 64<<10)
	magic, err := raw.Peek(compress.MagicBytes)
	if err != nil && err != io.EOF {
		return nil, sums{}, err
	}
	decompressed, release, err := compress.NewReader(compress.Detect(magic), raw)
	if err != nil {
		return nil, sums{}, err
	}
	defer release()
	plain := &stream{ctx: ctx, r: decompressed, left: maxStreamBytes}
	hashed := io.TeeReader(plain, plainHash)
	batch, err := st.NewBatch()
	if err != nil {
		return nil, sums{}, err
	}
	defer batch.Abort()
	t, err := tarball.Apply(base, hashed, batch, o)
	if err == nil {
		// Over tar's padding: checksums of the compressed formats come at the end.
		_, err = io.Copy(io.Discard, hashed)
	}
	if ctx.Err() != nil {
		return nil, sums{}, context.Cause(ctx)
	}
	if _, rawErr := io.Copy(io.Discard, raw); rawErr != nil {
		return nil, sums{}, errors.Join(err, rawErr)
	}
	if err != nil {
		return nil, sums{raw: store.Digest(rawHash.Sum(nil))}, err
	}
	if err := batch.Commit(); err != nil {
		return nil, sums{}, err
	}
	return t, sums{raw: store.Digest(rawHash.Sum(nil)), plain: store.Digest(plainHash.Sum(nil))}, nil
}

// stream reads decompressed bytes until there are too many or its context is done.
type stream struct {
	ctx  context.Context
	r    io.Reader
	left int64
}

func (s *stream) Read(p []byte) (int, error) {
	if err := context.Cause(s.ctx); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	s.left -= int64(n)
	switch {
	case s.left < 0:
		return 0, fmt.Errorf("it decompresses to more than %d bytes", int64(maxStreamBytes))
	case err != nil && err != io.EOF:
		err = fmt.Errorf("the compressed data is damaged or cut short: %w", err)
	}
	return n, err
}
