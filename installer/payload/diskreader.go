package payload

import (
	"fmt"
	"io"
	"sort"
	"sync"
)

// Disk returns a reader of the disk's bytes, as they will be on the device. It decompresses a chunk at a time and
// keeps the last: it is for looking at a superblock, not for copying. It is safe for use by several goroutines.
func (p *Payload) Disk() io.ReaderAt { return &diskReader{p: p, have: -1} }

type diskReader struct {
	p    *Payload
	mu   sync.Mutex
	have int // index of the chunk in raw; -1 for none
	raw  []byte
}

// ReadAt implements [io.ReaderAt].
func (d *diskReader) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read the disk of %s: negative offset %d", d.p.source, off)
	}
	if off >= d.p.DiskSize() {
		return 0, io.EOF
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	chunks, done := d.p.index.Chunks, 0
	for done < len(b) && off < d.p.DiskSize() {
		i := sort.Search(len(chunks), func(i int) bool { return chunks[i].End() > off })
		hole := d.p.DiskSize()
		if i < len(chunks) {
			hole = chunks[i].Offset
		}
		var n int
		if off < hole {
			n = int(min(int64(len(b)-done), hole-off))
			clear(b[done : done+n])
		} else {
			if err := d.load(i); err != nil {
				return done, err
			}
			n = copy(b[done:], d.raw[off-chunks[i].Offset:])
		}
		done, off = done+n, off+int64(n)
	}
	if done < len(b) {
		return done, io.EOF
	}
	return done, nil
}

// load decompresses chunk i unless it is the one at hand.
func (d *diskReader) load(i int) error {
	if d.have == i {
		return nil
	}
	c := d.p.index.Chunks[i]
	frame := make([]byte, c.StoredLength)
	if err := d.p.frame(c, frame); err != nil {
		return err
	}
	dec, err := newDecoder()
	if err != nil {
		return err
	}
	defer dec.Close()
	d.have, d.raw = -1, make([]byte, c.Length)
	if err := d.p.decode(dec, c, frame, d.raw); err != nil {
		return err
	}
	d.have = i
	return nil
}
