package emit_test

import (
	"encoding/binary"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/disk/disktest"
	"github.com/imagefactory/imagefactory/stages/emit"
)

// BenchmarkRaw writes 430 MB of data in 20,000 extents, on disks of 1 and of 20 GiB: what the second takes longer is the
// SHA-256 of its zeros.
func BenchmarkRaw(b *testing.B) {
	const files, fileSize = 20_000, 21_500
	st := disktest.Store(b)
	batch, err := st.NewBatch()
	if err != nil {
		b.Fatal(err)
	}
	defer batch.Abort()
	im := disk.Image{}
	random := rand.New(rand.NewPCG(1, 1))
	data := make([]byte, fileSize+8)
	for i := range int64(files) {
		for j := 0; j < fileSize; j += 8 {
			binary.LittleEndian.PutUint64(data[j:], random.Uint64())
		}
		d, err := batch.AddBytes(data[:fileSize])
		if err != nil {
			b.Fatal(err)
		}
		im.Extents = append(im.Extents, disk.Extent{Offset: i * 24 << 10, Length: fileSize, Object: d})
	}
	if err := batch.Commit(); err != nil {
		b.Fatal(err)
	}
	for name, size := range map[string]int64{"1GiB": 1 << 30, "20GiB": 20 << 30} {
		b.Run(name, func(b *testing.B) {
			im.Size = size
			b.SetBytes(files * fileSize)
			path := filepath.Join(b.TempDir(), "disk.raw")
			for b.Loop() {
				if _, err := emit.Raw(b.Context(), st, im, path, emit.Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
