package payload

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"iter"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/installer/payload"
	"github.com/imagefactory/imagefactory/stages/disk"
)

// Levels of compression, as zstd's command line counts them; what is written in a level is decided by the compressor's
// library, which has four of them.
const (
	MinLevel      = 1
	MaxLevel      = 19
	StandardLevel = 3
)

// standardWorkers is the number of goroutines that compress unless told. It changes the time, not the bytes.
const standardWorkers = 2

// Options says how to write a payload.
type Options struct {
	// Level is the level of compression; 0 for StandardLevel.
	Level int
	// Workers is the number of goroutines that compress; 0 for 2. The payload does not depend on it.
	Workers int `json:"-"`
}

// Info describes a payload. Digests are in hexadecimal.
type Info struct {
	Size        int64  `json:"size"`         // of the payload in bytes
	SHA256      string `json:"sha256"`       // of the payload
	IndexSHA256 string `json:"index_sha256"` // of its index
	DiskSize    int64  `json:"disk_size"`    // of the disk in bytes
	DataSize    int64  `json:"data_size"`    // of the disk's bytes that are written, holes left out
	Chunks      int    `json:"chunks"`
}

// cell is a part of the disk that no chunk crosses the bounds of, on its way through a worker.
type cell struct {
	payload.Range
	chunks []payload.Chunk // in order, without Stored
	frames []byte          // of the chunks, one behind the other
	err    error
	done   chan struct{}
}

// Write writes the disk that r reads to w, from its beginning to its end. progress is told bytes of the disk's data that
// were read, by one goroutine; it may be nil.
func Write(ctx context.Context, r *disk.Reader, w io.Writer, o Options, progress func(done, total int64)) (Info, error) {
	switch {
	case o.Level == 0:
		o.Level = StandardLevel
	case o.Level < MinLevel || o.Level > MaxLevel:
		return Info{}, fmt.Errorf("write the payload: zstd has no level %d; use %d to %d", o.Level, MinLevel, MaxLevel)
	}
	if o.Workers <= 0 {
		o.Workers = standardWorkers
	}
	index := payload.Index{DiskSize: r.Size()}
	if err := index.Validate(); err != nil {
		return Info{}, fmt.Errorf("write the payload: %w", err)
	}
	out := &writer{w: w, sum: sha256.New()}
	total := r.Image().DataSize()
	if err := out.write(payload.Header()); err != nil {
		return Info{}, err
	}
	var data int64
	for c, err := range compressed(ctx, r, o) {
		if err != nil {
			return Info{}, err
		}
		for _, chunk := range c.chunks {
			chunk.Stored = out.size
			index.Chunks = append(index.Chunks, chunk)
			if err := out.write(c.frames[:chunk.StoredLength]); err != nil {
				return Info{}, err
			}
			c.frames = c.frames[chunk.StoredLength:]
		}
		// Cells round the data up, so that this may run ahead.
		if data = min(data+c.Length, total); progress != nil {
			progress(data, total)
		}
	}
	if err := index.Validate(); err != nil {
		return Info{}, fmt.Errorf("write the payload: %w", err)
	}
	encoded, digest := index.Encode()
	if err := out.write(encoded); err != nil {
		return Info{}, err
	}
	return Info{
		Size: out.size, SHA256: fmt.Sprintf("%x", out.sum.Sum(nil)), IndexSHA256: fmt.Sprintf("%x", digest),
		DiskSize: index.DiskSize, DataSize: index.DataSize(), Chunks: len(index.Chunks),
	}, nil
}

// writer counts and digests what passes.
type writer struct {
	w    io.Writer
	sum  hash.Hash
	size int64
}

func (w *writer) write(p []byte) error {
	w.sum.Write(p)
	w.size += int64(len(p))
	if _, err := w.w.Write(p); err != nil {
		return fmt.Errorf("write the payload: %w", err)
	}
	return nil
}

// compressed yields the cells of a disk that hold data, in order, compressed by several goroutines. After an error it ends.
func compressed(ctx context.Context, r *disk.Reader, o Options) iter.Seq2[*cell, error] {
	return func(yield func(*cell, error) bool) {
		ahead := 2 * o.Workers // cells in flight, so that no worker waits while the output is behind
		ctx, cancel := context.WithCancel(ctx)
		group, ctx := errgroup.WithContext(ctx)
		work, queue := make(chan *cell, ahead), make(chan *cell, ahead)
		group.Go(func() error {
			defer close(work)
			defer close(queue)
			for c := range dataCells(r) {
				for _, to := range []chan *cell{queue, work} {
					select {
					case to <- c:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			}
			return nil
		})
		for range o.Workers {
			group.Go(func() error {
				enc, err := zstd.NewWriter(nil,
					zstd.WithEncoderConcurrency(1),
					zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(o.Level)),
					zstd.WithWindowSize(payload.ChunkSize),
					zstd.WithEncoderCRC(false)) // the index has digests
				if err != nil {
					return fmt.Errorf("write the payload: %w", err)
				}
				buf := make([]byte, payload.ChunkSize)
				for c := range work {
					c.err = c.compress(r, enc, buf)
					close(c.done)
				}
				return nil
			})
		}
		defer func() {
			cancel()
			group.Wait()
		}()
		for c := range queue {
			select {
			case <-c.done:
			case <-ctx.Done():
				yield(nil, context.Cause(ctx))
				return
			}
			if !yield(c, c.err) || c.err != nil {
				return
			}
		}
		if err := group.Wait(); err != nil {
			yield(nil, err)
		}
	}
}

// dataCells yields the cells of a disk that its extents touch.
func dataCells(r *disk.Reader) iter.Seq[*cell] {
	return func(yield func(*cell) bool) {
		next, stop := iter.Pull2(r.Data())
		defer stop()
		off, n, ok := next()
		for start, length := range payload.Cells(r.Size()) {
			for ok && off+n <= start {
				off, n, ok = next()
			}
			if !ok {
				return
			}
			if off >= start+length {
				continue
			}
			if !yield(&cell{Range: payload.Range{Offset: start, Length: length}, done: make(chan struct{})}) {
				return
			}
		}
	}
}

// compress reads a cell and makes its chunks. buf holds a cell.
func (c *cell) compress(r *disk.Reader, enc *zstd.Encoder, buf []byte) error {
	raw := buf[:c.Length]
	if n, err := r.ReadAt(raw, c.Offset); n < len(raw) {
		return fmt.Errorf("write the payload: %w", err)
	}
	for start, end := range runs(raw) {
		data, before := raw[start:end], len(c.frames)
		c.frames = enc.EncodeAll(data, c.frames)
		frame := c.frames[before:]
		c.chunks = append(c.chunks, payload.Chunk{
			Offset: c.Offset + int64(start), Length: len(data), StoredLength: len(frame),
			SHA256: sha256.Sum256(data), StoredSHA256: sha256.Sum256(frame),
		})
	}
	return nil
}

var zeroBlock [payload.BlockSize]byte

// runs yields the start and the end of every run of blocks that are not zero. Runs with no more than payload.MaxHole zeros
// between them are one.
func runs(p []byte) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		start, end := -1, 0
		for at := 0; at < len(p); at += payload.BlockSize {
			block := p[at:min(at+payload.BlockSize, len(p))]
			if bytes.Equal(block, zeroBlock[:len(block)]) {
				continue
			}
			if start >= 0 && at-end > payload.MaxHole {
				if !yield(start, end) {
					return
				}
				start = -1
			}
			if start < 0 {
				start = at
			}
			end = at + len(block)
		}
		if start >= 0 {
			yield(start, end)
		}
	}
}
