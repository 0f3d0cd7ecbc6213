package payload_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/imagefactory/imagefactory/installer/payload"
)

const mib = 1 << 20

// built is a payload made by the test, apart from the writer: the reader is held to the documented format, not to the
// writer's habits.
type built struct {
	bytes  []byte
	digest string // of the index
	disk   []byte
	index  payload.Index
}

func (b built) open(t testing.TB) *payload.Payload {
	t.Helper()
	p, err := payload.Open(bytes.NewReader(b.bytes), int64(len(b.bytes)), b.digest)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// build makes a payload of a disk of size bytes with data in the given ranges.
func build(t testing.TB, size int64, data ...payload.Range) built {
	t.Helper()
	b, err := assemble(size, data...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func assemble(size int64, data ...payload.Range) (built, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(false))
	if err != nil {
		return built{}, err
	}
	random := rand.New(rand.NewPCG(uint64(size), 9))
	b := built{bytes: payload.Header(), disk: make([]byte, size), index: payload.Index{DiskSize: size}}
	for _, r := range data {
		raw := b.disk[r.Offset:r.End()]
		for i := range raw {
			raw[i] = byte(random.Uint32N(40))
		}
		frame := enc.EncodeAll(raw, nil)
		b.index.Chunks = append(b.index.Chunks, payload.Chunk{
			Offset: r.Offset, Length: len(raw), Stored: int64(len(b.bytes)), StoredLength: len(frame),
			SHA256: sha256.Sum256(raw), StoredSHA256: sha256.Sum256(frame),
		})
		b.bytes = append(b.bytes, frame...)
	}
	if err := b.index.Validate(); err != nil {
		return built{}, err
	}
	encoded, digest := b.index.Encode()
	b.bytes = append(b.bytes, encoded...)
	b.digest = hex.EncodeToString(digest[:])
	return b, nil
}

// example is a payload with everything: a table, a short chunk, full chunks, holes, and a backup table at the end.
func example(t testing.TB) built {
	t.Helper()
	b, err := exampleOnce()
	if err != nil {
		t.Fatal(err)
	}
	b.bytes, b.index.Chunks = slices.Clone(b.bytes), slices.Clone(b.index.Chunks)
	return b
}

var exampleOnce = sync.OnceValues(func() (built, error) {
	return assemble(24*mib,
		payload.Range{Offset: 0, Length: 20480},
		payload.Range{Offset: 1 * mib, Length: 3 * mib},
		payload.Range{Offset: 4 * mib, Length: 4 * mib},
		payload.Range{Offset: 8 * mib, Length: 4096},
		payload.Range{Offset: 9 * mib, Length: 2 * mib},
		payload.Range{Offset: 16 * mib, Length: 4 * mib},
		payload.Range{Offset: 24*mib - 20480, Length: 20480},
	)
})
