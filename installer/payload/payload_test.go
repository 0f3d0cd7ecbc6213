package payload_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/installer/payload"
)

func TestEveryDamagedByteIsNoticed(t *testing.T) {
	b := example(t)
	random := rand.New(rand.NewPCG(1, 1))
	for range 60 {
		at := random.IntN(len(b.bytes))
		damaged := bytes.Clone(b.bytes)
		damaged[at] ^= byte(1 + random.IntN(255))
		p, err := payload.Open(bytes.NewReader(damaged), int64(len(damaged)), b.digest)
		if err == nil {
			err = p.VerifyAll(t.Context(), nil)
		}
		var corrupt *payload.CorruptError
		if !errors.As(err, &corrupt) {
			t.Fatalf("with byte %d of %d changed the error is %v, not a CorruptError", at, len(b.bytes), err)
		}
	}
}

func TestEveryTruncationIsNoticed(t *testing.T) {
	b := example(t)
	for _, n := range []int{0, 1, 7, 8, 100, len(b.bytes) / 2, len(b.bytes) - 56, len(b.bytes) - 1} {
		var corrupt *payload.CorruptError
		if _, err := payload.Open(bytes.NewReader(b.bytes[:n]), int64(n), b.digest); !errors.As(err, &corrupt) {
			t.Errorf("%d of %d bytes give the error %v", n, len(b.bytes), err)
		}
		// The size is the document's; the file is shorter.
		if _, err := payload.Open(bytes.NewReader(b.bytes[:n]), int64(len(b.bytes)), b.digest); !errors.As(err, &corrupt) {
			t.Errorf("%d of %d promised bytes give the error %v", n, len(b.bytes), err)
		}
	}
}

func TestOpenRefusesAnotherMediumsPayload(t *testing.T) {
	b := example(t)
	other := build(t, mib, payload.Range{Length: 4096})
	_, err := payload.Open(bytes.NewReader(b.bytes), int64(len(b.bytes)), other.digest)
	if err == nil || !strings.Contains(err.Error(), "belongs to another medium") {
		t.Errorf("the error is %v", err)
	}
	if _, err := payload.Open(bytes.NewReader(b.bytes), int64(len(b.bytes)), "abc"); err == nil || !strings.Contains(err.Error(), "no SHA-256 digest") {
		t.Errorf("a digest that is none gives %v", err)
	}
}

func TestVerifyAllTellsProgressAndStops(t *testing.T) {
	p := example(t).open(t)
	var last, of int64
	err := p.VerifyAll(t.Context(), func(phase payload.Phase, done, total int64) {
		if phase != payload.Verify || done < last || done > total {
			t.Errorf("%s goes from %d to %d of %d", phase, last, done, total)
		}
		last, of = done, total
	})
	if err != nil || last != of || of == 0 {
		t.Errorf("verified %d of %d bytes, error %v", last, of, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.VerifyAll(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled, it gives %v", err)
	}
}

func TestDiskReadsAsRestored(t *testing.T) {
	b := example(t)
	r := b.open(t).Disk()
	random := rand.New(rand.NewPCG(2, 2))
	for range 200 {
		off := random.IntN(len(b.disk))
		n := random.IntN(100_000)
		got := bytes.Repeat([]byte{0xee}, n)
		read, err := r.ReadAt(got, int64(off))
		want := b.disk[off:min(off+n, len(b.disk))]
		if !bytes.Equal(got[:read], want) || (err == io.EOF) != (off+n > len(b.disk)) {
			t.Fatalf("ReadAt(%d bytes, %d) gives %d bytes, error %v", n, off, read, err)
		}
	}
}

func TestIndexRefuses(t *testing.T) {
	good := func() payload.Index { return example(t).index }
	for name, change := range map[string]func(x *payload.Index){
		"a chunk across 1 MiB":           func(x *payload.Index) { x.Chunks[0].Length = mib + 4096 },
		"a chunk across 4 MiB":           func(x *payload.Index) { x.Chunks[1].Length += 4096 },
		"an odd offset":                  func(x *payload.Index) { x.Chunks[3].Offset += 512 },
		"half a block":                   func(x *payload.Index) { x.Chunks[3].Length = 2048 },
		"an empty chunk":                 func(x *payload.Index) { x.Chunks[3].Length = 0 },
		"chunks out of order":            func(x *payload.Index) { x.Chunks[3].Offset = 0 },
		"a chunk behind the disk":        func(x *payload.Index) { x.Chunks[6].Offset += mib },
		"a chunk beyond the disk's end":  func(x *payload.Index) { x.Chunks[6].Length += 4096 },
		"an empty frame":                 func(x *payload.Index) { x.Chunks[3].StoredLength = 0 },
		"a frame larger than any":        func(x *payload.Index) { x.Chunks[3].StoredLength = 5 * mib },
		"a gap between frames":           func(x *payload.Index) { x.Chunks[3].Stored++ },
		"a disk of no size":              func(x *payload.Index) { x.DiskSize, x.Chunks = 0, nil },
		"a disk larger than any":         func(x *payload.Index) { x.DiskSize = payload.MaxDiskSize + 512 },
		"a disk that ends in mid-sector": func(x *payload.Index) { x.DiskSize++ },
	} {
		x := good()
		change(&x)
		if err := x.Validate(); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func FuzzDecodeIndex(f *testing.F) {
	b := example(f)
	encoded, _ := b.index.Encode()
	f.Add(encoded[:len(encoded)-56])
	empty, _ := payload.Index{DiskSize: 512}.Encode()
	f.Add(empty[:len(empty)-56])
	f.Fuzz(func(t *testing.T, encoded []byte) {
		x, err := payload.DecodeIndex(encoded)
		if err != nil {
			return
		}
		if err := x.Validate(); err != nil {
			t.Errorf("an invalid index was decoded: %v", err)
		}
		again, _ := x.Encode()
		if !bytes.Equal(again[:len(again)-56], encoded) {
			t.Error("two encodings of one index")
		}
	})
}

// FuzzOpen opens foreign bytes with the digest they claim, as if the document had been forged too, and reads everything.
func FuzzOpen(f *testing.F) {
	small := build(f, mib, payload.Range{Length: 8192})
	f.Add(small.bytes)
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) < 32 {
			return
		}
		const hexDigits = "0123456789abcdef"
		var digest strings.Builder
		for _, c := range p[len(p)-32:] {
			digest.WriteByte(hexDigits[c>>4])
			digest.WriteByte(hexDigits[c&15])
		}
		open, err := payload.Open(bytes.NewReader(p), int64(len(p)), digest.String())
		if err != nil {
			return
		}
		if open.VerifyAll(t.Context(), nil) != nil {
			return
		}
		if _, err := io.Copy(io.Discard, io.NewSectionReader(open.Disk(), 0, min(open.DiskSize(), 8*mib))); err != nil {
			var corrupt *payload.CorruptError
			if !errors.As(err, &corrupt) {
				t.Errorf("reading gives %v", err)
			}
		}
	})
}
