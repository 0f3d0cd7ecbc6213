package sandbox

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// distribution puts a tree like that of a small distribution into st: 20,000
// entries in 2,000 directories, 340 MB.
func distribution(b *testing.B, st *store.Store) *tree.Tree {
	b.Helper()
	batch, err := st.NewBatch()
	if err != nil {
		b.Fatal(err)
	}
	defer batch.Abort()
	entries := []tree.Entry{{Path: ".", Type: tree.Directory, Mode: 0o755}}
	noise := make([]byte, 1<<20)
	state := uint64(1)
	for i := 0; i < len(noise); i += 8 {
		state = state*6364136223846793005 + 1442695040888963407
		binary.LittleEndian.PutUint64(noise[i:], state)
	}
	for d := range 2000 {
		dir := fmt.Sprintf("dir%d", d)
		entries = append(entries, tree.Entry{Path: dir, Type: tree.Directory, Mode: 0o755})
		for i := range 9 {
			n := d*9 + i
			size := 2000 + n%7*1500
			if n%25 == 0 {
				size = 300000 + n%11*10000
			}
			binary.LittleEndian.PutUint64(noise, uint64(n))
			digest, err := batch.AddBytes(noise[:size])
			if err != nil {
				b.Fatal(err)
			}
			entries = append(entries, tree.Entry{Path: fmt.Sprintf("%s/file%d", dir, i), Type: tree.Regular, Mode: 0o644, UID: uint32(n % 3), MTime: tree.Time{Sec: 1e9}, Digest: digest, Size: int64(size)})
		}
	}
	if err := batch.Commit(); err != nil {
		b.Fatal(err)
	}
	t, err := tree.New(entries)
	if err != nil {
		b.Fatal(err)
	}
	return t
}

// BenchmarkRoot measures filling a directory, checking out what it holds already,
// and capturing it unchanged.
func BenchmarkRoot(b *testing.B) {
	st, err := store.Open(filepath.Join(b.TempDir(), "store"))
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	t := distribution(b, st)
	m := modes()[0]
	open := func(b *testing.B) *Root {
		r, err := NewRoot(b.Context(), st, filepath.Join(b.TempDir(), "root"), Options{Mode: m})
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	checkout := func(b *testing.B, r *Root) {
		if err := r.Checkout(b.Context(), t); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			r := open(b)
			b.StopTimer()
			r.Remove()
			b.StartTimer()
		}
	})
	b.Run("fill", func(b *testing.B) {
		b.SetBytes(t.Bytes())
		for b.Loop() {
			b.StopTimer()
			r := open(b)
			b.StartTimer()
			checkout(b, r)
			b.StopTimer()
			r.Remove()
			b.StartTimer()
		}
	})
	r := open(b)
	defer r.Remove()
	checkout(b, r)
	b.Run("checkout-same", func(b *testing.B) {
		for b.Loop() {
			checkout(b, r)
		}
	})
	b.Run("capture-same", func(b *testing.B) {
		for b.Loop() {
			if _, err := r.Capture(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
