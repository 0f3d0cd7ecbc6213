package store

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
)

// Batch collects objects that become part of the store together, or not at all.
// A Batch is used by one goroutine.
type Batch struct {
	store   *Store
	file    *os.File
	w       *bufio.Writer
	end     int64 // where the next object begins
	records []record
	seen    map[Digest]struct{}
	hash    hash.Hash
	always  bool // write objects even if the store has them: for rewriting packs
	done    bool
}

// NewBatch begins a batch. The caller ends it with Commit or Abort.
func (s *Store) NewBatch() (*Batch, error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), "batch-")
	if err != nil {
		return nil, fmt.Errorf("the store cannot be written: %w", err)
	}
	b := &Batch{store: s, file: f, w: bufio.NewWriterSize(f, 256<<10), seen: map[Digest]struct{}{}, hash: sha256.New()}
	b.w.WriteString(packHeader) // errors stick to the writer and come out of Flush
	b.end = int64(len(packHeader))
	return b, nil
}

// Add stores what r gives and returns its digest and length in bytes.
func (b *Batch) Add(r io.Reader) (Digest, int64, error) {
	b.hash.Reset()
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	n, err := io.CopyBuffer(onlyWriter{io.MultiWriter(b.hash, b.w)}, onlyReader{r}, *buf)
	if err != nil {
		// Keep the file in step with end, so that the batch stays usable.
		if rewindErr := b.rewind(); rewindErr != nil {
			return Digest{}, 0, rewindErr
		}
		return Digest{}, 0, err
	}
	var d Digest
	b.hash.Sum(d[:0])
	if !b.wanted(d) {
		return d, n, b.rewind()
	}
	b.append(d, n)
	return d, n, nil
}

// onlyWriter hides ReaderFrom, which would make io.CopyBuffer ignore the buffer.
type onlyWriter struct{ io.Writer }

// AddBytes stores p.
func (b *Batch) AddBytes(p []byte) (Digest, error) {
	d := Sum(p)
	if !b.wanted(d) {
		return d, nil
	}
	if _, err := b.w.Write(p); err != nil {
		return Digest{}, fmt.Errorf("the store cannot be written: %w", err)
	}
	b.append(d, int64(len(p)))
	return d, nil
}

// wanted reports whether d is in neither the store nor the batch.
func (b *Batch) wanted(d Digest) bool {
	if d == emptyDigest {
		return false
	}
	if _, ok := b.seen[d]; ok {
		return false
	}
	if b.always {
		return true
	}
	b.store.mu.Lock()
	_, ok := b.store.objects[d]
	b.store.mu.Unlock()
	return !ok
}

func (b *Batch) append(d Digest, size int64) {
	b.records = append(b.records, record{digest: d, offset: b.end, size: size})
	b.seen[d] = struct{}{}
	b.end += size
}

// rewind drops what was written after end.
func (b *Batch) rewind() error {
	if err := b.w.Flush(); err != nil {
		return fmt.Errorf("the store cannot be written: %w", err)
	}
	if _, err := b.file.Seek(b.end, io.SeekStart); err != nil {
		return err
	}
	return b.file.Truncate(b.end)
}

// Commit makes the batch's objects part of the store.
func (b *Batch) Commit() error {
	if b.done {
		return fmt.Errorf("the batch has already ended")
	}
	if len(b.records) == 0 {
		b.Abort()
		return nil
	}
	index, name := encodeIndex(b.records, b.end)
	path := filepath.Join(b.store.dir, "packs", name)
	if _, err := io.Copy(b.w, bytes.NewReader(index)); err != nil {
		return fmt.Errorf("the store cannot be written: %w", err)
	}
	if err := b.w.Flush(); err != nil {
		return fmt.Errorf("the store cannot be written: %w", err)
	}
	// Readable by others who share the cache, whatever the umask, and never writable.
	if err := b.file.Chmod(0o444); err != nil {
		return fmt.Errorf("the store cannot be written: %w", err)
	}
	if err := b.file.Close(); err != nil {
		return fmt.Errorf("the store cannot be written: %w", err)
	}
	if err := os.Rename(b.file.Name(), path); err != nil {
		return fmt.Errorf("the store cannot be written: %w", err)
	}
	b.done = true
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	b.store.add(&pack{path: path, records: b.records}, true)
	return nil
}

// Abort throws the batch away. After Commit it does nothing.
func (b *Batch) Abort() {
	if b.done {
		return
	}
	b.done = true
	b.file.Close()
	os.Remove(b.file.Name())
}
