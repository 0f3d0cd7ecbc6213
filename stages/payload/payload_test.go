package payload_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	reading "github.com/imagefactory/imagefactory/installer/payload"
	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/payload"
	"github.com/imagefactory/imagefactory/stages/store"
)

const mib = 1 << 20

// randomImage returns an image with data of many kinds and sizes, and the bytes it reads as.
func randomImage(t testing.TB, st *store.Store, seed uint64, size int64) (disk.Image, []byte) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 4))
	flat := make([]byte, size)
	b := disk.NewBuilder(st, size)
	for off := random.Int64N(mib); off < size; {
		n := min(1+random.Int64N(1<<uint(4+random.IntN(20))), size-off)
		data := flat[off : off+n]
		switch random.IntN(3) {
		case 0: // does not compress
			for i := range data {
				data[i] = byte(random.Uint32())
			}
		case 1: // compresses
			for i := range data {
				data[i] = byte(random.Uint32N(3))
			}
		default: // zeros that an extent covers
			data[0] = 1
		}
		d, err := st.Put(data)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.AddObject(off, d, 0, n); err != nil {
			t.Fatal(err)
		}
		off += n + random.Int64N(1<<uint(1+random.IntN(22)))
	}
	im, err := b.Image()
	if err != nil {
		t.Fatal(err)
	}
	return im, flat
}

// write writes an image as a payload and returns its bytes.
func write(t testing.TB, st *store.Store, im disk.Image, o payload.Options) ([]byte, payload.Info) {
	t.Helper()
	r, err := im.Open(st)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out bytes.Buffer
	info, err := payload.Write(t.Context(), r, &out, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), info
}

// restore puts a payload onto a file full of other bytes and returns what the file holds afterwards.
func restore(t testing.TB, p []byte, info payload.Info, size int64) []byte {
	t.Helper()
	open, err := reading.Open(bytes.NewReader(p), int64(len(p)), info.IndexSHA256)
	if err != nil {
		t.Fatal(err)
	}
	if err := open.VerifyAll(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xa5}, int(size)), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := reading.OpenDevice(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := open.Restore(t.Context(), d, reading.Plan{}, nil); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestRestoredDiskIsTheComposedOne(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			st := disktest.Store(t)
			size := int64(20*mib + 512*int64(seed)*3)
			im, flat := randomImage(t, st, seed, size)
			p, info := write(t, st, im, payload.Options{})
			if int64(len(p)) != info.Size || info.DiskSize != size {
				t.Errorf("the payload has %d bytes for a disk of %d, and Info says %+v", len(p), size, info)
			}
			got := restore(t, p, info, size+3*mib)
			if !bytes.Equal(got[:size], flat) {
				t.Error("the restored disk has other bytes than the composed one")
			}
			if len(bytes.Trim(got[size+2*mib:], "\x00")) != 0 {
				t.Error("the last MiB of the device, where an old backup table may lie, is not cleared")
			}
			if len(bytes.Trim(got[size:size+2*mib], "\xa5")) != 0 {
				t.Error("the device was written between the end of the disk and its own last MiB")
			}
		})
	}
}

// TestOneDiskHasOnePayload holds that the bytes of the disk alone decide: neither the workers nor the extents.
func TestOneDiskHasOnePayload(t *testing.T) {
	st := disktest.Store(t)
	im, flat := randomImage(t, st, 1, 16*mib)
	want, _ := write(t, st, im, payload.Options{Workers: 1})
	for _, workers := range []int{2, 5} {
		if got, _ := write(t, st, im, payload.Options{Workers: workers}); !bytes.Equal(got, want) {
			t.Errorf("%d workers write another payload than one", workers)
		}
	}
	whole, err := st.Put(flat)
	if err != nil {
		t.Fatal(err)
	}
	one := disk.Image{Size: im.Size, Extents: []disk.Extent{{Length: im.Size, Object: whole}}}
	if got, _ := write(t, st, one, payload.Options{}); !bytes.Equal(got, want) {
		t.Error("the same bytes as one extent give another payload")
	}
}

// TestFramesAsZstdSeesThem has the reference implementation read what was written.
func TestFramesAsZstdSeesThem(t *testing.T) {
	st := disktest.Store(t)
	im, flat := randomImage(t, st, 2, 12*mib)
	p, info := write(t, st, im, payload.Options{})
	open, err := reading.Open(bytes.NewReader(p), int64(len(p)), info.IndexSHA256)
	if err != nil {
		t.Fatal(err)
	}
	// Frames follow one another without gaps, so that zstd takes them for one file.
	var want []byte
	chunks := open.Chunks()
	for _, c := range chunks {
		want = append(want, flat[c.Offset:c.End()]...)
	}
	last := chunks[len(chunks)-1]
	dir := t.TempDir()
	frames := filepath.Join(dir, "frames.zst")
	if err := os.WriteFile(frames, p[chunks[0].Stored:last.Stored+int64(last.StoredLength)], 0o600); err != nil {
		t.Fatal(err)
	}
	disktest.Run(t, "zstd", "-q", "-d", frames, "-o", filepath.Join(dir, "frames"))
	got, err := os.ReadFile(filepath.Join(dir, "frames"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("zstd reads other bytes from the frames than the disk has there")
	}
}

func TestEmptyDisk(t *testing.T) {
	st := disktest.Store(t)
	p, info := write(t, st, disk.Image{Size: 3 * mib}, payload.Options{})
	if info.Chunks != 0 || info.DataSize != 0 {
		t.Errorf("a disk of zeros has %d chunks of %d bytes", info.Chunks, info.DataSize)
	}
	if got := restore(t, p, info, 3*mib); len(bytes.Trim(got, "\x00")) != 0 {
		t.Error("a disk of zeros was restored to something else")
	}
}

func TestStoreTakesWhatWasWritten(t *testing.T) {
	st := disktest.Store(t)
	im, _ := randomImage(t, st, 3, 9*mib)
	want, wantInfo := write(t, st, im, payload.Options{})
	var told int64
	result, err := payload.Store(t.Context(), st, im, payload.Options{}, func(done, total int64) {
		if done < told || done > total {
			t.Errorf("progress goes from %d to %d of %d", told, done, total)
		}
		told = done
	})
	if err != nil {
		t.Fatal(err)
	}
	if result.Info != wantInfo {
		t.Errorf("the stage says %+v of what Write said %+v", result.Info, wantInfo)
	}
	o, err := st.Object(result.Object)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(o.NewReader())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the store has another payload than was written")
	}
}

func TestWriteRefuses(t *testing.T) {
	st := disktest.Store(t)
	for name, test := range map[string]struct {
		image disk.Image
		o     payload.Options
	}{
		"a level there is none of":  {disk.Image{Size: mib}, payload.Options{Level: 20}},
		"a disk of half a sector":   {disk.Image{Size: 256}, payload.Options{}},
		"an object that is missing": {disk.Image{Size: mib, Extents: []disk.Extent{{Length: 5, Object: store.Sum([]byte("never stored"))}}}, payload.Options{}},
	} {
		if _, err := payload.Store(t.Context(), st, test.image, test.o, nil); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
