package store

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"syscall"
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

// WriteError says that the store's directory cannot be written.
type WriteError struct {
	Dir string
	Err error
}

func (e *WriteError) Error() string {
	text := fmt.Sprintf("the store cannot be written: %v", e.Err)
	if errors.Is(e.Err, syscall.ENOSPC) || errors.Is(e.Err, syscall.EDQUOT) {
		text += fmt.Sprintf("; free some space on the file system of %s (`imagefactory cache gc` can), or choose another with --cache", e.Dir)
	}
	return text
}

// Unwrap returns the cause.
func (e *WriteError) Unwrap() error { return e.Err }

// ExitStatus is 3: the host lacks something.
func (e *WriteError) ExitStatus() int { return 3 }

func (s *Store) writeError(err error) error { return &WriteError{s.dir, err} }

// packWriter is a pack file whose errors can be told from those of a reader.
type packWriter struct {
	store *Store
	file  *os.File
}

func (w packWriter) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	if err != nil {
		return n, w.store.writeError(err)
	}
	return n, nil
}

// NewBatch begins a batch. The caller ends it with Commit or Abort.
func (s *Store) NewBatch() (*Batch, error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), "batch-")
	if err != nil {
		return nil, s.writeError(err)
	}
	b := &Batch{store: s, file: f, w: bufio.NewWriterSize(packWriter{s, f}, 256<<10), seen: map[Digest]struct{}{}, hash: sha256.New()}
	b.w.WriteString(packHeader) // errors stick to the writer and come out of Flush
	b.end = int64(len(packHeader))
	return b, nil
}

// Add stores what r gives and returns its digest and length in bytes. After an
// error of r the batch is as it was before.
func (b *Batch) Add(r io.Reader) (Digest, int64, error) {
	pooled := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(pooled)
	buf := *pooled
	n := 0
	var err error
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	if err == io.EOF {
		// Most files are small: known before a byte of them is written.
		d, err := b.AddBytes(buf[:n])
		return d, int64(n), err
	}
	if err != nil {
		return Digest{}, 0, err
	}
	b.hash.Reset()
	w := onlyWriter{io.MultiWriter(b.hash, b.w)}
	size := int64(n)
	if _, err = w.Write(buf); err == nil {
		var rest int64
		rest, err = io.CopyBuffer(w, onlyReader{r}, buf)
		size += rest
	}
	if err != nil {
		if rewindErr := b.rewind(); rewindErr != nil {
			return Digest{}, 0, rewindErr
		}
		return Digest{}, 0, err
	}
	var d Digest
	b.hash.Sum(d[:0])
	if !b.wanted(d) {
		return d, size, b.rewind()
	}
	b.append(d, size)
	return d, size, nil
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
		return Digest{}, err
	}
	b.append(d, int64(len(p)))
	return d, nil
}

// addChecked stores what r gives unless its digest is not want.
func (b *Batch) addChecked(r io.Reader, want Digest) error {
	d, size, err := b.Add(r)
	if err != nil || d == want {
		return err
	}
	if n := len(b.records); n > 0 && b.records[n-1].digest == d {
		b.records = b.records[:n-1]
		delete(b.seen, d)
		b.end -= size
		return b.rewind()
	}
	return nil
}

// wanted reports whether d is in neither the store nor the batch.
func (b *Batch) wanted(d Digest) bool {
	if d == emptyDigest {
		return false
	}
	if _, ok := b.seen[d]; ok {
		return false
	}
	return b.always || !b.store.knows(d)
}

func (b *Batch) append(d Digest, size int64) {
	b.records = append(b.records, record{digest: d, offset: b.end, size: size})
	b.seen[d] = struct{}{}
	b.end += size
}

// rewind drops what was written after end.
func (b *Batch) rewind() error {
	if err := b.w.Flush(); err != nil {
		return err
	}
	if _, err := b.file.Seek(b.end, io.SeekStart); err != nil {
		return b.store.writeError(err)
	}
	if err := b.file.Truncate(b.end); err != nil {
		return b.store.writeError(err)
	}
	return nil
}

// Commit makes the batch's objects part of the store.
func (b *Batch) Commit() error {
	_, err := b.commit()
	return err
}

// commit is Commit, and returns the path of the pack, which is empty when the batch
// held nothing.
func (b *Batch) commit() (path string, err error) {
	if b.done {
		return "", errors.New("the batch has already ended")
	}
	if len(b.records) == 0 {
		b.Abort()
		return "", nil
	}
	index, name := encodeIndex(b.records, b.end)
	path = filepath.Join(b.store.dir, "packs", name)
	if _, err := b.w.Write(index); err != nil {
		return "", err
	}
	if err := b.w.Flush(); err != nil {
		return "", err
	}
	// Readable by others who share the cache, whatever the umask, and never writable.
	if err := b.file.Chmod(0o444); err != nil {
		return "", b.store.writeError(err)
	}
	if err := b.file.Close(); err != nil {
		return "", b.store.writeError(err)
	}
	if err := os.Rename(b.file.Name(), path); err != nil {
		return "", b.store.writeError(err)
	}
	b.done = true
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	b.store.add(&pack{path: path, records: b.records}, true)
	return path, nil
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
