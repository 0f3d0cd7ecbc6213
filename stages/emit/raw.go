package emit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/store"
)

const (
	pieceSize   = 1 << 20
	piecesAhead = 8
	blockSize   = 4096 // zeros within data become holes of this granularity
)

// piece is a part of a disk on its way to the file and to its digest: data, or a run of zeros.
type piece struct {
	off    int64
	length int64
	data   []byte       // nil for zeros
	users  atomic.Int32 // of data
}

// Raw writes a disk as a sparse file at path, with its .sha256.
func Raw(ctx context.Context, st *store.Store, im disk.Image, path string, o Options) (Output, error) {
	return writeImage(ctx, st, im, path, o, false)
}

// ISO writes a medium, such as iso.Compose returns, at path, with its .sha256. Its zeros are written like everything else:
// what burns, uploads and serves media knows nothing of holes, and a file without any never needs more room later. They
// count as data for o.Progress.
func ISO(ctx context.Context, st *store.Store, im disk.Image, path string, o Options) (Output, error) {
	return writeImage(ctx, st, im, path, o, true)
}

// writeImage writes the bytes of im as they are: all of them when dense is set, else with holes for zeros.
func writeImage(ctx context.Context, st *store.Store, im disk.Image, path string, o Options, dense bool) (Output, error) {
	r, err := im.Open(st)
	if err != nil {
		return Output{}, err
	}
	defer r.Close()
	out, err := create(path)
	if err != nil {
		return Output{}, err
	}
	defer out.abort()
	if err := out.Truncate(im.Size); err != nil {
		return Output{}, explain(path, err)
	}
	sum := sha256.New()
	if err := writePieces(ctx, out, sum, r, o, dense); err != nil {
		return Output{}, err
	}
	result := Output{Path: path, Size: im.Size, VirtualSize: im.Size, Digest: store.Digest(sum.Sum(nil))}
	if err := o.accept(result.Size); err != nil {
		return Output{}, err
	}
	return result, out.commitImage(result.Digest)
}

// writePieces reads the disk once and lets two goroutines at what was read: one writes it and syncs the file, the other
// hashes everything.
func writePieces(ctx context.Context, out *output, sum hash.Hash, r *disk.Reader, o Options, dense bool) error {
	toFile, toHash := make(chan *piece, piecesAhead), make(chan *piece, piecesAhead)
	free := make(chan []byte, piecesAhead)
	for range piecesAhead {
		free <- make([]byte, pieceSize)
	}
	release := func(p *piece) {
		if p.data != nil && p.users.Add(-1) == 0 {
			free <- p.data[:pieceSize]
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(toFile)
		defer close(toHash)
		return readPieces(ctx, r, free, func(p *piece) error {
			for _, c := range []chan *piece{toFile, toHash} {
				select {
				case c <- p:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	})
	group.Go(func() error {
		total, done := r.Image().DataSize(), int64(0)
		write := writeSparse
		if dense {
			total, write = r.Size(), writeDense
		}
		ahead := writeback{file: out.File}
		for p := range toFile {
			if p.data != nil || dense {
				if err := write(ctx, out, p); err != nil {
					return explain(out.path, err)
				}
				ahead.wrote(p.off + p.length)
				if done += p.length; o.Progress != nil {
					o.Progress(done, total)
				}
			}
			release(p)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := out.sync(ctx); err != nil {
			return explain(out.path, err)
		}
		return nil
	})
	group.Go(func() error {
		for p := range toHash {
			if p.data != nil {
				sum.Write(p.data)
				release(p)
				continue
			}
			for n := p.length; n > 0; n -= min(n, pieceSize) {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				sum.Write(zeroPiece[:min(n, pieceSize)])
			}
		}
		return nil
	})
	return group.Wait()
}

// readPieces passes the whole disk on, in order.
func readPieces(ctx context.Context, r *disk.Reader, free <-chan []byte, pass func(*piece) error) error {
	at := int64(0)
	for off, n := range r.Data() {
		if off > at {
			if err := pass(&piece{off: at, length: off - at}); err != nil {
				return err
			}
		}
		for at = off + n; off < at; {
			var buf []byte
			select {
			case buf = <-free:
			case <-ctx.Done():
				return ctx.Err()
			}
			p := &piece{off: off, length: min(at-off, pieceSize)}
			p.data = buf[:p.length]
			p.users.Store(2)
			if _, err := r.ReadAt(p.data, off); err != nil && err != io.EOF {
				return err
			}
			if err := pass(p); err != nil {
				return err
			}
			off += p.length
		}
	}
	if at < r.Size() {
		return pass(&piece{off: at, length: r.Size() - at})
	}
	return nil
}

var (
	zeroBlock [blockSize]byte
	zeroPiece [pieceSize]byte
)

// writeDense writes all of p.
func writeDense(ctx context.Context, w io.WriterAt, p *piece) error {
	if p.data != nil {
		_, err := w.WriteAt(p.data, p.off)
		return err
	}
	for n := int64(0); n < p.length; n += pieceSize {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := w.WriteAt(zeroPiece[:min(p.length-n, pieceSize)], p.off+n); err != nil {
			return err
		}
	}
	return nil
}

// writeSparse writes the data of p but for the blocks that are zero, which the file reads as anyway.
func writeSparse(_ context.Context, w io.WriterAt, piece *piece) error {
	p, off := piece.data, piece.off
	isZero := func(i int) (length int, zero bool) {
		// Blocks are those of the file, so the first and the last may be shorter.
		length = min(blockSize-int((off+int64(i))%blockSize), len(p)-i)
		return length, bytes.Equal(p[i:i+length], zeroBlock[:length])
	}
	for i := 0; i < len(p); {
		start := i
		for i < len(p) {
			n, zero := isZero(i)
			if zero {
				break
			}
			i += n
		}
		if i > start {
			if _, err := w.WriteAt(p[start:i], off+int64(start)); err != nil {
				return err
			}
			continue
		}
		n, _ := isZero(i)
		i += n
	}
	return nil
}
