package disk

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"sort"
	"sync/atomic"

	"github.com/imagefactory/imagefactory/stages/store"
)

// Reader serves the bytes of an image. It is safe for use by several goroutines.
type Reader struct {
	st      *store.Store
	image   Image
	objects []atomic.Pointer[store.Object] // per extent, opened when first read
	cursor  atomic.Int64                   // extent where the last read ended: the start of a sequential reader's next search
}

// Open returns a Reader of im, whose objects are in st. Objects are opened when they are first read, so a missing one
// is an error of that read.
func (im Image) Open(st *store.Store) (*Reader, error) {
	if err := im.Validate(); err != nil {
		return nil, err
	}
	return &Reader{st: st, image: im, objects: make([]atomic.Pointer[store.Object], len(im.Extents))}, nil
}

// Size is the size of the image in bytes.
func (r *Reader) Size() int64 { return r.image.Size }

// Image is the image being read.
func (r *Reader) Image() Image { return r.image }

// Data is [Image.Data] of the image being read.
func (r *Reader) Data() iter.Seq2[int64, int64] { return r.image.Data() }

// Close ends the use of the Reader.
func (r *Reader) Close() error { return nil }

// ReadAt implements [io.ReaderAt].
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read disk image: negative offset %d", off)
	}
	if off >= r.image.Size {
		return 0, io.EOF
	}
	short := int64(len(p)) > r.image.Size-off
	if short {
		p = p[:r.image.Size-off]
	}
	total := len(p)
	i := r.find(off)
	for len(p) > 0 {
		if i == len(r.image.Extents) || off+int64(len(p)) <= r.image.Extents[i].Offset {
			clear(p)
			break
		}
		e := r.image.Extents[i]
		if off < e.Offset {
			n := e.Offset - off
			clear(p[:n])
			p, off = p[n:], e.Offset
		}
		n := min(int64(len(p)), e.End()-off)
		if err := r.readExtent(i, p[:n], off); err != nil {
			return total - len(p), err
		}
		p, off = p[n:], off+n
		if off == e.End() {
			i++
		}
	}
	r.cursor.Store(int64(i))
	if short {
		return total, io.EOF
	}
	return total, nil
}

// find returns the index of the first extent that ends behind off.
func (r *Reader) find(off int64) int {
	extents := r.image.Extents
	fits := func(i int) bool {
		return (i == len(extents) || extents[i].End() > off) && (i == 0 || extents[i-1].End() <= off)
	}
	if i := int(r.cursor.Load()); fits(i) {
		return i
	}
	return sort.Search(len(extents), func(i int) bool { return extents[i].End() > off })
}

// readExtent fills p, which lies within extent i, from byte off of the image on.
func (r *Reader) readExtent(i int, p []byte, off int64) error {
	e := r.image.Extents[i]
	o := r.objects[i].Load()
	if o == nil {
		var err error
		if o, err = r.st.Object(e.Object); err != nil {
			return fmt.Errorf("read disk image at byte %d: %w", off, err)
		}
		if e.ObjectOffset+e.Length > o.Size() {
			return fmt.Errorf("read disk image at byte %d: it refers to bytes %d to %d of object %s, which has only %d",
				off, e.ObjectOffset, e.ObjectOffset+e.Length, e.Object, o.Size())
		}
		r.objects[i].Store(o)
	}
	n, err := o.ReadAt(p, e.ObjectOffset+off-e.Offset)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read disk image at byte %d, object %s: %w", off, e.Object, err)
}
