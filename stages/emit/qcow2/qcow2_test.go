package qcow2_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/emit/qcow2"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// source is a disk in memory: some ranges of data in a size.
type source struct {
	size   int64
	ranges []span
}

type span struct {
	off  int64
	data []byte
}

func (s source) Size() int64 { return s.size }

func (s source) Data() iter.Seq2[int64, int64] {
	return func(yield func(int64, int64) bool) {
		for _, r := range s.ranges {
			if !yield(r.off, int64(len(r.data))) {
				return
			}
		}
	}
}

func (s source) ReadAt(p []byte, off int64) (int, error) {
	n := min(int64(len(p)), s.size-off)
	clear(p[:n])
	for _, r := range s.ranges {
		end := r.off + int64(len(r.data))
		if r.off < off+n && off < end {
			copy(p[max(0, r.off-off):n], r.data[max(0, off-r.off):])
		}
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// mixed returns n bytes as disks have them: text, random bytes, zeros and single-valued runs.
func mixed(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	p := make([]byte, n)
	for i := 0; i < n; {
		run := p[i:min(n, i+1+r.IntN(200*kib))]
		switch r.IntN(4) {
		case 0:
			for j := range run {
				run[j] = byte(r.Uint32())
			}
		case 1:
			for j := 0; j < len(run); {
				j += copy(run[j:], fmt.Sprintf("line %d of %x\n", r.IntN(1000), r.IntN(1<<20)))
			}
		case 2:
			for j := range run {
				run[j] = 0xff
			}
		}
		i += len(run)
	}
	return p
}

func testSources() map[string]source {
	many := source{size: 700 * mib}
	for i := range int64(40) {
		many.ranges = append(many.ranges, span{i*17*mib + i*4096, mixed(uint64(i), 100*kib+int(i)*1000)})
	}
	return map[string]source{
		"empty":           {size: 10 * mib},
		"smallest":        {size: 512, ranges: []span{{0, []byte("one sector")}}},
		"odd end":         {size: 5*mib + 512, ranges: []span{{0, mixed(1, 3*mib)}, {5*mib + 500, []byte("the last 12")}}},
		"unaligned":       {size: 8 * mib, ranges: []span{{1000, mixed(2, 70*kib)}, {80*kib + 1, mixed(3, 2*mib)}, {4 * mib, mixed(4, 4*mib)}}},
		"several tables":  many,
		"incompressible":  {size: 4 * mib, ranges: []span{{0, randomBytes(4 * mib)}}},
		"highly repeated": {size: 64 * mib, ranges: []span{{0, bytes.Repeat([]byte{0xee}, 64*mib)}}},
		"zeros as data":   {size: 4 * mib, ranges: []span{{64 * kib, make([]byte, mib)}}},
		"end of 20 TiB":   {size: 20 << 40, ranges: []span{{0, mixed(5, mib)}, {20<<40 - mib, mixed(6, mib)}}},
	}
}

func randomBytes(n int) []byte {
	r := rand.New(rand.NewPCG(9, 9))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// write writes src to a new file and returns its path.
func write(t testing.TB, src qcow2.Source, o qcow2.Options) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := qcow2.Write(context.Background(), f, src, o)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != n {
		t.Fatalf("Write says the file has %d bytes, it has %d, %v", n, info.Size(), err)
	}
	return f.Name()
}

// writeRaw writes src to a sparse raw file.
func writeRaw(t testing.TB, src source) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(src.size); err != nil {
		t.Fatal(err)
	}
	for _, r := range src.ranges {
		if _, err := f.WriteAt(r.data, r.off); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestQEMUAgrees(t *testing.T) {
	for name, src := range testSources() {
		for _, compression := range []qcow2.Compression{qcow2.Zstd, qcow2.Deflate, qcow2.None} {
			t.Run(name+"/"+compression.String(), func(t *testing.T) {
				path := write(t, src, qcow2.Options{Compression: compression})
				if src.size <= 1<<40 { // no file system here holds a larger raw file
					if out := disktest.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", writeRaw(t, src), path); !strings.Contains(out, "Images are identical.") {
						t.Errorf("qemu-img compare: %s", out)
					}
				}
				var check struct {
					Errors int `json:"check-errors"`
					Leaks  int `json:"leaks"`
					Bad    int `json:"corruptions"`
				}
				out := disktest.Run(t, "qemu-img", "check", "--output=json", path)
				if err := json.Unmarshal([]byte(out), &check); err != nil || check.Errors+check.Leaks+check.Bad != 0 {
					t.Errorf("qemu-img check: %s", out)
				}
				var info struct {
					Size   int64 `json:"virtual-size"`
					Format struct {
						Data struct {
							Compression string `json:"compression-type"`
							Bits        int    `json:"refcount-bits"`
						} `json:"data"`
					} `json:"format-specific"`
				}
				out = disktest.Run(t, "qemu-img", "info", "--output=json", path)
				want := map[qcow2.Compression]string{qcow2.Zstd: "zstd", qcow2.Deflate: "zlib", qcow2.None: "zlib"}[compression]
				if err := json.Unmarshal([]byte(out), &info); err != nil || info.Size != src.size || info.Format.Data.Compression != want || info.Format.Data.Bits != 16 {
					t.Errorf("qemu-img info: %s", out)
				}
				compareWithReader(t, src, path)
			})
		}
	}
}

// compareWithReader checks that our own reader sees the source.
func compareWithReader(t *testing.T, src source, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := qcow2.Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	if r.Size() != src.size {
		t.Errorf("the reader sees a disk of %d bytes, want %d", r.Size(), src.size)
	}
	check := func(off int64, n int) {
		got, want := make([]byte, n), make([]byte, n)
		gotN, gotErr := r.ReadAt(got, off)
		wantN, wantErr := src.ReadAt(want, off)
		if gotN != wantN || gotErr != wantErr || !bytes.Equal(got[:gotN], want[:wantN]) {
			t.Errorf("%d bytes at %d read as %d, %v, other than they are", n, off, gotN, gotErr)
		}
	}
	for _, s := range src.ranges {
		check(s.off, min(len(s.data), 9*mib)) // within and across clusters
	}
	check(max(0, src.size-1000), 2000)
	var wg sync.WaitGroup
	for seed := range uint64(3) {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, 3))
			for range 100 {
				check(random.Int64N(src.size), random.IntN(200*kib))
			}
		})
	}
	wg.Wait()
}

// TestWorkersDoNotChangeBytes holds that parallelism is not in the image.
func TestWorkersDoNotChangeBytes(t *testing.T) {
	src := testSources()["several tables"]
	for _, compression := range []qcow2.Compression{qcow2.Zstd, qcow2.Deflate, qcow2.None} {
		var want [32]byte
		for i, workers := range []int{1, 2, 4, 7, 2} {
			data, err := os.ReadFile(write(t, src, qcow2.Options{Compression: compression, Workers: workers}))
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				want = sha256.Sum256(data)
			} else if sha256.Sum256(data) != want {
				t.Errorf("%s: %d workers give another file than 1", compression, workers)
			}
		}
	}
}

func TestLevels(t *testing.T) {
	src := source{size: 4 * mib, ranges: []span{{0, mixed(8, 4*mib)}}}
	raw := writeRaw(t, src)
	for compression, levels := range map[qcow2.Compression][]int{qcow2.Zstd: {1, 3, 6, 19}, qcow2.Deflate: {1, 5, 9}} {
		for _, level := range levels {
			path := write(t, src, qcow2.Options{Compression: compression, Level: level})
			disktest.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, path)
		}
	}
	for want, o := range map[string]qcow2.Options{
		"zstd has no level 20; use 1 to 19":   {Level: 20},
		"deflate has no level -1; use 1 to 9": {Compression: qcow2.Deflate, Level: -1},
		"level 3 makes no sense without":      {Compression: qcow2.None, Level: 3},
		"unknown compression 9":               {Compression: 9},
		"-2 workers":                          {Workers: -2},
	} {
		if _, err := qcow2.Write(context.Background(), discard{}, src, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one containing %q", err, want)
		}
	}
	for _, size := range []int64{0, -512, 513, 1 << 60} {
		if _, err := qcow2.Write(context.Background(), discard{}, source{size: size}, qcow2.Options{}); err == nil {
			t.Errorf("a disk of %d bytes is accepted", size)
		}
	}
	for _, name := range []string{"zstd", "deflate", "none"} {
		if c, err := qcow2.ParseCompression(name); err != nil || c.String() != name {
			t.Errorf("ParseCompression(%q) = %s, %v", name, c, err)
		}
	}
	if _, err := qcow2.ParseCompression("lz4"); err == nil {
		t.Error("ParseCompression accepts lz4")
	}
}

type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

var errBroken = errors.New("broken")

type brokenWriter struct{ after int64 }

func (w brokenWriter) WriteAt(p []byte, off int64) (int, error) {
	if off >= w.after {
		return 0, errBroken
	}
	return len(p), nil
}

type brokenSource struct{ source }

func (s brokenSource) ReadAt(p []byte, off int64) (int, error) {
	if off > mib {
		return 0, errBroken
	}
	return s.source.ReadAt(p, off)
}

func TestWriteFails(t *testing.T) {
	src := testSources()["unaligned"]
	size, err := qcow2.Write(context.Background(), discard{}, src, qcow2.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, after := range []int64{0, mib, size - 64*kib} { // header, data, the last table
		if _, err := qcow2.Write(context.Background(), brokenWriter{after}, src, qcow2.Options{}); !errors.Is(err, errBroken) {
			t.Errorf("a file that fails from byte %d on gives the error %v", after, err)
		}
	}
	if _, err := qcow2.Write(context.Background(), discard{}, brokenSource{src}, qcow2.Options{}); !errors.Is(err, errBroken) {
		t.Errorf("a source that fails gives the error %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	last := int64(0)
	o := qcow2.Options{Progress: func(done, total int64) {
		if done <= last || done > total {
			t.Errorf("progress goes from %d to %d of %d", last, done, total)
		}
		last = done
		cancel()
	}}
	if _, err := qcow2.Write(ctx, discard{}, testSources()["highly repeated"], o); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled Write gives %v", err)
	}
}

// TestReadsQEMUsImages reads what qemu-img writes in every way that has no backing file.
func TestReadsQEMUsImages(t *testing.T) {
	src := testSources()["odd end"]
	raw := writeRaw(t, src)
	for _, args := range [][]string{
		{"-c"},
		{"-c", "-o", "compression_type=zstd"},
		{"-c", "-o", "cluster_size=4k"},
		{"-c", "-o", "cluster_size=2M,compression_type=zstd"},
		{"-o", "cluster_size=512"},
		{"-o", "compat=0.10"},
		{"-c", "-o", "compat=0.10"},
		{"-S", "0"},
		{"-o", "preallocation=metadata"},
		{"-o", "refcount_bits=1,lazy_refcounts=on"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "qemu.qcow2")
			disktest.Run(t, "qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), raw, path)...)
			compareWithReader(t, src, path)
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	path := write(t, testSources()["odd end"], qcow2.Options{})
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	be := binary.BigEndian
	for want, change := range map[string]func(b []byte) []byte{
		"not a qcow2 image":               func(b []byte) []byte { b[0] = 'x'; return b },
		"header is cut off":               func(b []byte) []byte { return b[:80] },
		"version 4 is unknown":            func(b []byte) []byte { b[7] = 4; return b },
		"it has a backing file":           func(b []byte) []byte { b[15] = 1; return b },
		"it is encrypted":                 func(b []byte) []byte { b[35] = 1; return b },
		"marked as corrupt":               func(b []byte) []byte { b[79] |= 2; return b },
		"its data is in another file":     func(b []byte) []byte { b[79] |= 4; return b },
		"it has subclusters":              func(b []byte) []byte { b[79] |= 16; return b },
		"features that are not supported": func(b []byte) []byte { b[72] |= 1; return b },
		"compression type 7 is unknown":   func(b []byte) []byte { b[104] = 7; return b },
		"clusters of 2^60 bytes":          func(b []byte) []byte { b[23] = 60; return b },
		"does not go with":                func(b []byte) []byte { be.PutUint64(b[24:], 1<<50); return b },
		"L1 table lies beyond":            func(b []byte) []byte { be.PutUint64(b[40:], 1<<40); return b },
	} {
		b := change(bytes.Clone(good))
		if _, err := qcow2.Open(bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one containing %q", err, want)
		}
	}
}

func FuzzReader(f *testing.F) {
	small := source{size: 300 * kib, ranges: []span{{0, bytes.Repeat([]byte("text "), 20000)}, {130 * kib, randomBytes(1000)}}}
	for _, compression := range []qcow2.Compression{qcow2.Zstd, qcow2.Deflate, qcow2.None} {
		data, err := os.ReadFile(write(f, small, qcow2.Options{Compression: compression}))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := qcow2.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		p := make([]byte, 64*kib)
		for off := int64(0); off < min(r.Size(), mib); off += int64(len(p)) {
			if n, err := r.ReadAt(p, off); n < len(p) && err == nil {
				t.Errorf("ReadAt gives %d of %d bytes and no error", n, len(p))
			}
		}
	})
}
