package payload

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

// workers is the number of goroutines that decompress or compute digests. Two keep up with most disks, and leave the rest of
// a small machine to the kernel.
const workers = 2

// Phase is a part of the work whose progress is told.
type Phase string

// The phases, in the order in which they come.
const (
	Verify   Phase = "verify"    // of VerifyAll, in bytes of the payload
	Write    Phase = "write"     // of Restore, in bytes of the disk's data
	ReadBack Phase = "read-back" // of Restore, in bytes of the disk's data
)

// Progress is told how far a phase is; done and total are bytes. It is called by one goroutine at a time, also when done
// has not grown, and may be nil.
type Progress func(phase Phase, done, total int64)

func (p Progress) tell(phase Phase, done, total int64) {
	if p != nil {
		p(phase, done, total)
	}
}

// CorruptError says that a payload is not what its digests promise.
type CorruptError struct {
	Source string // the file or URL
	Offset int64  // of what is wrong, in bytes from the start of the payload
	What   string // what is wrong
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %s; write or download the medium again", e.Source, e.Offset, e.What)
}

// Payload is an open payload. It is safe for use by several goroutines.
type Payload struct {
	r      io.ReaderAt
	source string
	index  Index
}

// named is a source that can say what it is called, as *os.File and *HTTP can.
type named interface{ Name() string }

// refetcher is a source that keeps bytes it can get anew, when those it gave turned out to be wrong.
type refetcher interface{ Refetch() }

// Open reads the index of a payload of size bytes and checks it against its digest, in hexadecimal. What it allocates is
// bounded by the size. A payload that is not what it should be gives a *CorruptError.
func Open(r io.ReaderAt, size int64, indexSHA256 string) (*Payload, error) {
	p := &Payload{r: r, source: "the payload"}
	if n, ok := r.(named); ok {
		p.source = n.Name()
	}
	var want [sha256.Size]byte
	if n, err := hex.Decode(want[:], []byte(indexSHA256)); len(indexSHA256) != 2*len(want) || n != len(want) || err != nil {
		return nil, fmt.Errorf("open %s: %q is no SHA-256 digest of an index", p.source, indexSHA256)
	}
	smallest := headerSize + int64(indexHeaderSize+footerSize)
	if size < smallest {
		return nil, p.corrupt(0, "it has %d bytes, fewer than the smallest payload", size)
	}
	header, footer := make([]byte, headerSize), make([]byte, footerSize)
	if err := p.read(header, 0); err != nil {
		return nil, err
	}
	if string(header) != magicHeader {
		return nil, p.corrupt(0, "it does not begin like a payload of this version")
	}
	footerOffset := size - int64(footerSize)
	if err := p.read(footer, footerOffset); err != nil {
		return nil, err
	}
	fields := footer[len(magicFooter):]
	offset, length := binary.BigEndian.Uint64(fields), binary.BigEndian.Uint64(fields[8:])
	switch {
	case string(footer[:len(magicFooter)]) != magicFooter:
		return nil, p.corrupt(footerOffset, "it does not end like a payload; it may be cut short")
	case length < uint64(indexHeaderSize) || length > maxIndex || length > uint64(footerOffset) || offset != uint64(footerOffset)-length:
		return nil, p.corrupt(footerOffset, "its index of %d bytes cannot be at byte %d", length, offset)
	case [sha256.Size]byte(fields[16:]) != want:
		return nil, p.corrupt(footerOffset, "it belongs to another medium: its index has the digest %x, not %s", fields[16:], indexSHA256)
	}
	encoded := make([]byte, length)
	if err := p.read(encoded, int64(offset)); err != nil {
		return nil, err
	}
	if sha256.Sum256(encoded) != want {
		return nil, p.corrupt(int64(offset), "its index has another digest than it should")
	}
	index, err := DecodeIndex(encoded)
	if err != nil {
		return nil, p.corrupt(int64(offset), "%v", err)
	}
	if index.end() != int64(offset) {
		return nil, p.corrupt(int64(offset), "its chunks end at byte %d, not where the index begins", index.end())
	}
	p.index = index
	return p, nil
}

// DiskSize is the size in bytes of the disk: the least a device must have.
func (p *Payload) DiskSize() int64 { return p.index.DiskSize }

// DataSize is the number of bytes of the disk that are written; the rest is zero.
func (p *Payload) DataSize() int64 { return p.index.DataSize() }

// Chunks are the chunks in the order of the disk. The caller must not change them.
func (p *Payload) Chunks() []Chunk { return p.index.Chunks }

func (p *Payload) corrupt(off int64, format string, args ...any) error {
	return &CorruptError{Source: p.source, Offset: off, What: fmt.Sprintf(format, args...)}
}

// read fills b from byte off of the payload on.
func (p *Payload) read(b []byte, off int64) error {
	n, err := p.r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return p.corrupt(off+int64(n), "it ends there, too early")
	}
	return fmt.Errorf("read %s at byte %d: %w", p.source, off+int64(n), err)
}

// frame reads the frame of a chunk into b and checks it. A source that can get bytes anew gets another chance.
func (p *Payload) frame(c Chunk, b []byte) error {
	for try := 0; ; try++ {
		if err := p.read(b, c.Stored); err != nil {
			return err
		}
		if sha256.Sum256(b) == c.StoredSHA256 {
			return nil
		}
		again, ok := p.r.(refetcher)
		if !ok || try == 2 {
			return p.corrupt(c.Stored, "the %d bytes for byte %d of the disk do not have their digest", c.StoredLength, c.Offset)
		}
		again.Refetch()
	}
}

// newDecoder returns a decoder for one goroutine that gives at most a chunk.
func newDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(ChunkSize), zstd.WithDecoderMaxWindow(ChunkSize))
}

// decode decompresses the frame of a chunk into b, which has room for it.
func (p *Payload) decode(dec *zstd.Decoder, c Chunk, frame, b []byte) error {
	out, err := dec.DecodeAll(frame, b[:0:c.Length])
	if err != nil {
		return p.corrupt(c.Stored, "%v", err)
	}
	if len(out) != c.Length || sha256.Sum256(out) != c.SHA256 {
		return p.corrupt(c.Stored, "it does not decompress to what byte %d of the disk should be", c.Offset)
	}
	if c.Length > 0 && &out[0] != &b[:1][0] {
		copy(b[:c.Length], out)
	}
	return nil
}

// VerifyAll reads the whole payload and checks the digest of every frame. The first frame that is damaged gives a
// *CorruptError. Nothing is decompressed: the digests of the index vouch for that.
func (p *Payload) VerifyAll(ctx context.Context, progress Progress) error {
	var total, done int64
	for _, c := range p.index.Chunks {
		total += int64(c.StoredLength)
	}
	progress.tell(Verify, 0, total)
	var telling sync.Mutex
	next := make(chan Chunk)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(next)
		for _, c := range p.index.Chunks {
			select {
			case next <- c:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range workers {
		group.Go(func() error {
			buf := make([]byte, maxStored)
			for c := range next {
				if err := p.frame(c, buf[:c.StoredLength]); err != nil {
					return err
				}
				telling.Lock()
				done += int64(c.StoredLength)
				progress.tell(Verify, done, total)
				telling.Unlock()
			}
			return nil
		})
	}
	return group.Wait()
}
