package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// pack returns the bytes of a pack of one batch of objects.
func packBytes(objects ...string) []byte {
	p := []byte(packHeader)
	var records []record
	for _, o := range objects {
		records = append(records, record{digest: Sum([]byte(o)), offset: int64(len(p)), size: int64(len(o))})
		p = append(p, o...)
	}
	index, _ := encodeIndex(records, int64(len(p)))
	return append(p, index...)
}

// reseal replaces the index of a pack and gives it the right digest.
func reseal(p, index []byte) []byte {
	offset := binary.LittleEndian.Uint64(p[len(p)-footerSize:])
	sum := Sum(index)
	p = append(p[:offset:offset], index...)
	p = binary.LittleEndian.AppendUint64(p, offset)
	p = binary.LittleEndian.AppendUint64(p, uint64(len(index)/recordSize))
	p = append(p, sum[:]...)
	return append(p, packTrailer...)
}

func TestReadIndexRefuses(t *testing.T) {
	good := packBytes("one", "two")
	index := good[14 : 14+2*recordSize]
	set := func(at int, value uint64) []byte {
		changed := bytes.Clone(index)
		binary.LittleEndian.PutUint64(changed[at:], value)
		return reseal(good, changed)
	}
	swapped := append(bytes.Clone(index[recordSize:]), index[:recordSize]...)
	twice := append(bytes.Clone(index[:recordSize]), index[:recordSize]...)
	if records, err := readIndex(bytes.NewReader(reseal(good, index)), int64(len(good))); err != nil || len(records) != 2 {
		t.Fatalf("a good pack: %v, %v", records, err)
	}
	footer := func(at int, value uint64) []byte {
		p := bytes.Clone(good)
		binary.LittleEndian.PutUint64(p[len(p)-footerSize+at:], value)
		return p
	}
	for _, c := range []struct {
		name string
		pack []byte
		err  string
	}{
		{"an offset beyond the objects", set(32, 15), "lies outside of the file"},
		{"an offset in the header", set(32, 7), "lies outside of the file"},
		{"a length beyond the objects", set(40, 7), "lies outside of the file"},
		{"a negative offset", set(32, 1<<63), "lies outside of the file"},
		{"a length that overflows", set(40, 1<<64-8), "lies outside of the file"},
		{"an unsorted index", reseal(good, swapped), "the index is not sorted"},
		{"an object twice", reseal(good, twice), "the index is not sorted"},
		{"too many records", footer(8, 3), "the footer does not fit the file"},
		{"a count that overflows", footer(8, 1<<63), "the footer does not fit the file"},
		{"an index offset beyond the end", footer(0, 1<<62), "the footer does not fit the file"},
		{"an index offset in the header", footer(0, 0), "the footer does not fit the file"},
		{"nothing", nil, "only 0 bytes long"},
	} {
		_, err := readIndex(bytes.NewReader(c.pack), int64(len(c.pack)))
		if !errors.Is(err, errDamagedPack) || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func FuzzReadIndex(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(packBytes("one"))
	f.Add(packBytes("one", "two", strings.Repeat("x", 300)))
	f.Add(reseal(packBytes("one"), nil))
	f.Fuzz(func(t *testing.T, p []byte) {
		// Without a fitting digest of the index nothing behind that check is reached.
		for _, p := range [][]byte{p, sealed(p)} {
			records, err := readIndex(bytes.NewReader(p), int64(len(p)))
			if err != nil {
				if !errors.Is(err, errDamagedPack) {
					t.Errorf("an error of another kind: %v", err)
				}
				continue
			}
			for _, r := range records {
				if r.offset < int64(len(packHeader)) || r.size < 0 || r.offset+r.size > int64(len(p)-footerSize) {
					t.Errorf("object %s at %d, %d bytes", r.digest, r.offset, r.size)
				}
			}
			if index, _ := encodeIndex(records, int64(len(p)-footerSize-len(records)*recordSize)); !bytes.HasSuffix(p, index) {
				t.Error("the index has two encodings")
			}
		}
	})
}

// sealed returns p with a header, and with a footer that fits when what p ends with
// is an index.
func sealed(p []byte) []byte {
	n := len(p) / 2 / recordSize * recordSize
	offset := uint64(len(packHeader) + len(p) - n)
	sum := Sum(p[len(p)-n:])
	p = append([]byte(packHeader), p...)
	p = binary.LittleEndian.AppendUint64(p, offset)
	p = binary.LittleEndian.AppendUint64(p, uint64(n/recordSize))
	p = append(p, sum[:]...)
	return append(p, packTrailer...)
}

// BenchmarkBatch stores 20,000 files of 2 KiB, about a root file system's median.
func BenchmarkBatch(b *testing.B) {
	contents := make([]byte, 2048)
	for b.Loop() {
		s := openTest(b, b.TempDir())
		batch, err := s.NewBatch()
		if err != nil {
			b.Fatal(err)
		}
		for i := range 20_000 {
			binary.LittleEndian.PutUint64(contents, uint64(i))
			if _, _, err := batch.Add(bytes.NewReader(contents)); err != nil {
				b.Fatal(err)
			}
		}
		if err := batch.Commit(); err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
	b.SetBytes(20_000 * int64(len(contents)))
}

// BenchmarkOpen opens a store of 1000 packs.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s := openTest(b, dir)
	for i := range 1000 {
		put(b, s, binary.LittleEndian.AppendUint64(nil, uint64(i)))
	}
	s.Close()
	for b.Loop() {
		openTest(b, dir).Close()
	}
}
