package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/store"
)

func openStore(t testing.TB) *store.Store {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// randomBytes returns n bytes of which long runs are zero, so that holes appear.
func randomBytes(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := 0; i < n; {
		run := min(1+r.IntN(9000), n-i)
		if r.IntN(2) == 0 {
			for j := range run {
				p[i+j] = byte(1 + r.IntN(255))
			}
		}
		i += run
	}
	return p
}

// compose builds a random image of random pieces in random order, beside the flat bytes it should read as.
func compose(t *testing.T, st *store.Store, r *rand.Rand, size, depth int) (disk.Image, []byte) {
	t.Helper()
	flat := make([]byte, size)
	b := disk.NewBuilder(st, int64(size))
	type piece struct{ off, n int }
	var pieces []piece
	for off := r.IntN(5000); off < size; {
		n := min(1+r.IntN(30000), size-off)
		pieces = append(pieces, piece{off, n})
		off += n
		if r.IntN(3) > 0 {
			off += r.IntN(20000)
		}
	}
	r.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
	for _, p := range pieces {
		var err error
		switch kind := r.IntN(3); {
		case kind == 0 && depth > 0:
			im, data := compose(t, st, r, p.n, depth-1)
			copy(flat[p.off:], data)
			err = b.AddImage(int64(p.off), im)
		case kind == 1:
			data := randomBytes(r, p.n+r.IntN(1000))
			skip := len(data) - p.n
			copy(flat[p.off:], data[skip:])
			d, putErr := st.Put(data)
			if putErr != nil {
				t.Fatal(putErr)
			}
			err = b.AddObject(int64(p.off), d, int64(skip), int64(p.n))
		default:
			data := randomBytes(r, p.n)
			copy(flat[p.off:], data)
			cut := r.IntN(p.n)
			err = errors.Join(b.WriteAt(data[:cut], int64(p.off)), b.WriteAt(data[cut:], int64(p.off+cut)))
			clear(data) // the builder must have copied
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	im, err := b.Image()
	if err != nil {
		t.Fatal(err)
	}
	return im, flat
}

func TestComposedImageReadsAsFlatArray(t *testing.T) {
	st := openStore(t)
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			size := 1 + r.IntN(400_000)
			im, flat := compose(t, st, r, size, 2)

			reader, err := im.Open(st)
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			got, err := io.ReadAll(io.NewSectionReader(reader, 0, reader.Size()))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, flat) {
				t.Fatal("sequential reading gives other bytes than were added")
			}

			var wg sync.WaitGroup
			for g := range uint64(4) {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(seed, g+2))
					for range 200 {
						off := r.IntN(size + 10)
						p := bytes.Repeat([]byte{0xaa}, r.IntN(40000))
						n, err := reader.ReadAt(p, int64(off))
						want := flat[min(off, size):min(off+len(p), size)]
						if !bytes.Equal(p[:n], want) {
							t.Errorf("ReadAt(%d bytes, %d) gives other bytes than were added", len(p), off)
						}
						if wantEOF := off >= size || n < len(p); wantEOF != (err == io.EOF) {
							t.Errorf("ReadAt(%d bytes, %d) of %d = %d, %v", len(p), off, size, n, err)
						}
					}
				})
			}
			wg.Wait()

			// What Data leaves out must be zero, and the ranges sorted and apart.
			rest := bytes.Clone(flat)
			var end, sum int64 = -1, 0
			for off, n := range im.Data() {
				if off <= end {
					t.Errorf("data range at %d touches the one before, which ends at %d", off, end)
				}
				clear(rest[off : off+n])
				end, sum = off+n, sum+n
			}
			if len(bytes.Trim(rest, "\x00")) != 0 {
				t.Error("Data leaves out bytes that are not zero")
			}
			if sum != im.DataSize() {
				t.Errorf("Data yields %d bytes, DataSize says %d", sum, im.DataSize())
			}

			d, err := disk.Save(st, im)
			if err != nil {
				t.Fatal(err)
			}
			again, err := disk.Load(st, d)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(im, again) {
				t.Error("Load gives another image than was saved")
			}
			refs, ok := disk.References(im.Encode())
			if !ok {
				t.Fatal("References does not recognise an encoded image")
			}
			for _, e := range im.Extents {
				if !slices.Contains(refs, e.Object) {
					t.Errorf("References leaves out object %s", e.Object)
				}
			}
		})
	}
}

// TestBuilderOrderDoesNotMatter holds that an image depends on what was added, not on when.
func TestBuilderOrderDoesNotMatter(t *testing.T) {
	st := openStore(t)
	pieces := map[int64]string{0: "first", 5: "second, touching", 100: "third", 9000: "fourth"}
	var want []byte
	for range 10 { // the iteration order of a map is random
		b := disk.NewBuilder(st, 10000)
		for off, s := range pieces {
			if err := b.WriteAt([]byte(s), off); err != nil {
				t.Fatal(err)
			}
		}
		im, err := b.Image()
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = im.Encode()
		}
		if !bytes.Equal(im.Encode(), want) {
			t.Fatal("the order of additions changes the image")
		}
	}
}

func TestZerosBecomeHoles(t *testing.T) {
	st := openStore(t)
	b := disk.NewBuilder(st, 1<<20)
	data := make([]byte, 1<<20)
	data[300_000] = 1
	if err := b.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	im, err := b.Image()
	if err != nil {
		t.Fatal(err)
	}
	if got := im.DataSize(); got != 4096 {
		t.Errorf("one byte among zeros takes %d bytes of data, want one block of 4096", got)
	}
}

func TestBuilderRefuses(t *testing.T) {
	st := openStore(t)
	d, err := st.Put([]byte("some object"))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		add  func(b *disk.Builder) error
		want string
	}{
		"bytes over bytes": {
			func(b *disk.Builder) error {
				return errors.Join(b.WriteAt([]byte("abcd"), 10), b.WriteAt([]byte("x"), 13))
			},
			"metadata at bytes 13 to 14 overlaps metadata at bytes 10 to 14",
		},
		"object in a hole of an image": {
			func(b *disk.Builder) error {
				return errors.Join(b.AddImage(20, disk.Image{Size: 50}), b.AddObject(69, d, 0, 2))
			},
			"an object at bytes 69 to 71 overlaps an image at bytes 20 to 70",
		},
		"beyond the end": {
			func(b *disk.Builder) error { return b.WriteAt([]byte("abcd"), 97) },
			"metadata of 4 bytes at byte 97 does not fit into an image of 100 bytes",
		},
		"before the start": {
			func(b *disk.Builder) error { return b.AddObject(-1, d, 0, 2) },
			"an object of 2 bytes at byte -1 does not fit",
		},
		"negative object offset": {
			func(b *disk.Builder) error { return b.AddObject(1, d, -1, 2) },
			"from offset -1 cannot be",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := disk.NewBuilder(st, 100)
			err := test.add(b)
			if err == nil {
				_, err = b.Image()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one containing %q", err, test.want)
			}
		})
	}
}

func TestReaderNamesWhatIsMissing(t *testing.T) {
	st := openStore(t)
	d, err := st.Put([]byte("short"))
	if err != nil {
		t.Fatal(err)
	}
	absent := store.Sum([]byte("never stored"))
	im := disk.Image{Size: 100, Extents: []disk.Extent{
		{Offset: 10, Length: 6, Object: d},
		{Offset: 50, Length: 1, Object: absent},
	}}
	r, err := im.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.ReadAt(make([]byte, 20), 0); n != 10 || err == nil || !strings.Contains(err.Error(), "which has only 5") {
		t.Errorf("reading behind an object's end gives %d, %v", n, err)
	}
	if n, err := r.ReadAt(make([]byte, 20), 40); n != 10 || !errors.Is(err, store.ErrNotFound) {
		t.Errorf("reading a missing object gives %d, %v", n, err)
	}
	if n, err := r.ReadAt(make([]byte, 20), 20); n != 20 || err != nil {
		t.Errorf("reading between them gives %d, %v", n, err)
	}
}

func FuzzDecode(f *testing.F) {
	a, b := store.Sum([]byte("a")), store.Sum([]byte("b"))
	f.Add(disk.Image{}.Encode())
	f.Add(disk.Image{Size: 1 << 40, Extents: []disk.Extent{
		{Offset: 0, Length: 10, Object: a, ObjectOffset: 300}, {Offset: 10, Length: 5, Object: b}, {Offset: 1 << 39, Length: 1 << 20, Object: a},
	}}.Encode())
	f.Fuzz(func(t *testing.T, encoded []byte) {
		im, err := disk.Decode(encoded)
		if err != nil {
			if _, ok := disk.References(encoded); ok {
				t.Error("References accepts what Decode refuses")
			}
			return
		}
		if err := im.Validate(); err != nil {
			t.Errorf("Decode gives an invalid image: %v", err)
		}
		if !bytes.Equal(im.Encode(), encoded) {
			t.Error("two encodings of one image")
		}
	})
}

func BenchmarkSequentialRead(b *testing.B) {
	st := openStore(b)
	im := disk.Image{Size: 20_000 * 16384}
	data := make([]byte, 16384)
	for i := range int64(20_000) {
		data[0], data[1], data[2] = byte(i), byte(i>>8), 1
		if i%100 == 0 { // few objects, many extents
			d, err := st.Put(data)
			if err != nil {
				b.Fatal(err)
			}
			for j := i; j < i+100; j++ {
				im.Extents = append(im.Extents, disk.Extent{Offset: j * 16384, Length: 12000, Object: d, ObjectOffset: j % 100})
			}
		}
	}
	r, err := im.Open(st)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	b.SetBytes(im.Size)
	for b.Loop() {
		for off := int64(0); off < im.Size; off += int64(len(buf)) {
			if _, err := r.ReadAt(buf, off); err != nil && err != io.EOF {
				b.Fatal(err)
			}
		}
	}
}
