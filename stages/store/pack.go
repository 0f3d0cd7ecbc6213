package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

const (
	packHeader  = "IFPACK1\n"
	packTrailer = "IFPACKE\n"
	recordSize  = sha256.Size + 16
	footerSize  = 16 + sha256.Size + len(packTrailer)
	packSuffix  = ".pack"

	// maxOpenPacks bounds the file descriptors a store holds: the usual limit of a
	// login session is 1024, and a distribution's packages alone can be more packs.
	maxOpenPacks = 256
)

// record is one line of a pack's index.
type record struct {
	digest       Digest
	offset, size int64
}

// pack is one immutable pack file. Its descriptor is opened on the first read and
// may be closed again by the store when too many are open.
type pack struct {
	path    string
	records []record            // sorted by digest
	damaged map[Digest]struct{} // objects found to be so; guarded by Store.mu

	mu   sync.RWMutex
	file *os.File
}

// encodeIndex returns index and footer for records, which it sorts, and the name
// of the pack file they belong in.
func encodeIndex(records []record, indexOffset int64) (p []byte, name string) {
	slices.SortFunc(records, func(a, b record) int { return bytes.Compare(a.digest[:], b.digest[:]) })
	p = make([]byte, 0, len(records)*recordSize+footerSize)
	for _, r := range records {
		p = append(p, r.digest[:]...)
		p = binary.LittleEndian.AppendUint64(p, uint64(r.offset))
		p = binary.LittleEndian.AppendUint64(p, uint64(r.size))
	}
	sum := sha256.Sum256(p)
	p = binary.LittleEndian.AppendUint64(p, uint64(indexOffset))
	p = binary.LittleEndian.AppendUint64(p, uint64(len(records)))
	p = append(p, sum[:]...)
	p = append(p, packTrailer...)
	return p, hex.EncodeToString(sum[:]) + packSuffix
}

// errDamagedPack says that a file in packs/ is no whole pack.
var errDamagedPack = errors.New("damaged pack")

// openPack reads the index of the pack file at path.
func openPack(path string) (*pack, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	records, err := readIndex(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &pack{path: path, records: records}, nil
}

// readIndex reads and checks header, footer and index of a pack of the given size.
func readIndex(r io.ReaderAt, size int64) ([]record, error) {
	if size < int64(len(packHeader)+footerSize) {
		return nil, fmt.Errorf("%w: only %d bytes long", errDamagedPack, size)
	}
	header := make([]byte, len(packHeader))
	footer := make([]byte, footerSize)
	if _, err := r.ReadAt(header, 0); err != nil {
		return nil, err
	}
	if _, err := r.ReadAt(footer, size-int64(footerSize)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if string(header) != packHeader || string(footer[footerSize-len(packTrailer):]) != packTrailer {
		return nil, fmt.Errorf("%w: no magic number at its start and end", errDamagedPack)
	}
	offset := binary.LittleEndian.Uint64(footer)
	count := binary.LittleEndian.Uint64(footer[8:])
	end := uint64(size) - uint64(footerSize)
	if offset < uint64(len(packHeader)) || offset > end || count != (end-offset)/recordSize || (end-offset)%recordSize != 0 {
		return nil, fmt.Errorf("%w: the footer does not fit the file", errDamagedPack)
	}
	index := make([]byte, end-offset)
	if _, err := r.ReadAt(index, int64(offset)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if sum := sha256.Sum256(index); !bytes.Equal(sum[:], footer[16:16+sha256.Size]) {
		return nil, fmt.Errorf("%w: the index does not match its digest", errDamagedPack)
	}
	records := make([]record, count)
	for i := range records {
		p := index[i*recordSize:]
		copy(records[i].digest[:], p)
		start := binary.LittleEndian.Uint64(p[sha256.Size:])
		length := binary.LittleEndian.Uint64(p[sha256.Size+8:])
		if start < uint64(len(packHeader)) || start > offset || length > offset-start {
			return nil, fmt.Errorf("%w: object %s lies outside of the file", errDamagedPack, records[i].digest)
		}
		if i > 0 && bytes.Compare(records[i-1].digest[:], records[i].digest[:]) >= 0 {
			return nil, fmt.Errorf("%w: the index is not sorted at object %s", errDamagedPack, records[i].digest)
		}
		records[i].offset, records[i].size = int64(start), int64(length)
	}
	return records, nil
}

// find returns the record of the object of digest d.
func (p *pack) find(d Digest) (record, bool) {
	i, ok := slices.BinarySearchFunc(p.records, d, func(r record, d Digest) int { return bytes.Compare(r.digest[:], d[:]) })
	if !ok {
		return record{}, false
	}
	return p.records[i], true
}

// readAt reads from the pack file, opening it when it is not open; opened is
// called when it had to be.
func (p *pack) readAt(b []byte, off int64, opened func(*pack)) (int, error) {
	for {
		p.mu.RLock()
		if p.file != nil {
			n, err := p.file.ReadAt(b, off)
			p.mu.RUnlock()
			return n, err
		}
		p.mu.RUnlock()
		p.mu.Lock()
		if p.file == nil {
			f, err := os.Open(p.path)
			if err != nil {
				p.mu.Unlock()
				return 0, err
			}
			p.file = f
		}
		p.mu.Unlock()
		opened(p)
	}
}

// close closes the pack's descriptor; a later read opens it again.
func (p *pack) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file != nil {
		p.file.Close()
		p.file = nil
	}
}

// packPaths lists the pack files below dir.
func packPaths(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), packSuffix) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}
