package disk

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/imagefactory/imagefactory/stages/store"
)

// holeSize is the granularity at which a Builder turns zeros that were written into holes: the block size of the file
// systems and half the effort of looking for smaller runs.
const holeSize = 4096

var zeroBlock [holeSize]byte

// Builder composes an [Image] from bytes, objects of the store and other images. Additions may come in any order;
// those that overlap make [Builder.Image] fail. A Builder is used by one goroutine.
type Builder struct {
	st     *store.Store
	size   int64
	claims []claim  // what was added, for finding overlaps
	chunks []chunk  // bytes given to WriteAt
	parts  []Extent // extents of objects and images
}

// claim is a range of the image that one addition owns, even where it turned out to be a hole.
type claim struct {
	offset, length int64
	what           string
}

// maxChunk is the size in bytes from which on a chunk is not appended to: growing large ones would copy them again and
// again.
const maxChunk = 64 << 10

// chunk is a run of written bytes.
type chunk struct {
	offset int64
	data   []byte
}

// NewBuilder returns a Builder of an image of size bytes whose objects are in st.
func NewBuilder(st *store.Store, size int64) *Builder {
	return &Builder{st: st, size: size}
}

// WriteAt adds a copy of p at off. All bytes written become one object of the store when the image is taken; blocks of
// zeros become holes.
func (b *Builder) WriteAt(p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	if err := b.check(off, int64(len(p)), "metadata"); err != nil {
		return err
	}
	if n := len(b.chunks); n > 0 && b.chunks[n-1].offset+int64(len(b.chunks[n-1].data)) == off && len(b.chunks[n-1].data) < maxChunk {
		b.chunks[n-1].data = append(b.chunks[n-1].data, p...)
		return nil
	}
	b.chunks = append(b.chunks, chunk{off, bytes.Clone(p)})
	return nil
}

// AddObject adds n bytes of the object d, from objOff on, at off.
func (b *Builder) AddObject(off int64, d store.Digest, objOff, n int64) error {
	if n == 0 {
		return nil
	}
	if err := b.claim(off, n, "an object"); err != nil {
		return err
	}
	if d.IsZero() || objOff < 0 || objOff > math.MaxInt64-n {
		return fmt.Errorf("compose disk image: %d bytes of object %s from offset %d cannot be", n, d, objOff)
	}
	b.parts = append(b.parts, Extent{Offset: off, Length: n, Object: d, ObjectOffset: objOff})
	return nil
}

// AddImage adds the whole of im at off, holes included: nothing else may be added within them.
func (b *Builder) AddImage(off int64, im Image) error {
	if err := im.Validate(); err != nil {
		return err
	}
	if im.Size == 0 {
		return nil
	}
	if err := b.claim(off, im.Size, "an image"); err != nil {
		return err
	}
	for _, e := range im.Extents {
		e.Offset += off
		b.parts = append(b.parts, e)
	}
	return nil
}

// Image puts the written bytes into the store and returns the composed image. The Builder may be added to
// and asked again.
func (b *Builder) Image() (Image, error) {
	claims := slices.Clone(b.claims)
	for _, c := range b.chunks {
		claims = append(claims, claim{c.offset, int64(len(c.data)), "metadata"})
	}
	slices.SortFunc(claims, func(x, y claim) int { return cmp.Compare(x.offset, y.offset) })
	for i, c := range claims[min(1, len(claims)):] {
		if prev := claims[i]; c.offset < prev.offset+prev.length {
			return Image{}, fmt.Errorf("compose disk image: %s at bytes %d to %d overlaps %s at bytes %d to %d",
				c.what, c.offset, c.offset+c.length, prev.what, prev.offset, prev.offset+prev.length)
		}
	}
	extents, err := b.putChunks()
	if err != nil {
		return Image{}, err
	}
	extents = append(extents, b.parts...)
	slices.SortFunc(extents, func(x, y Extent) int { return cmp.Compare(x.Offset, y.Offset) })
	im := Image{Size: b.size, Extents: joined(extents)}
	return im, im.Validate()
}

// putChunks stores what was written, without its zero blocks, as one object in order of offset.
func (b *Builder) putChunks() ([]Extent, error) {
	chunks := slices.Clone(b.chunks)
	slices.SortFunc(chunks, func(x, y chunk) int { return cmp.Compare(x.offset, y.offset) })
	total := 0
	for _, c := range chunks {
		total += len(c.data)
	}
	var (
		data    = make([]byte, 0, total)
		extents []Extent
	)
	for _, c := range chunks {
		for off, p := c.offset, c.data; len(p) > 0; {
			// Blocks are those of the image, so the first and last piece of a chunk may be shorter.
			n := min(int64(len(p)), holeSize-off%holeSize)
			if piece := p[:n]; !bytes.Equal(piece, zeroBlock[:n]) {
				extents = append(extents, Extent{Offset: off, Length: n, ObjectOffset: int64(len(data))})
				data = append(data, piece...)
			}
			off, p = off+n, p[n:]
		}
	}
	if len(data) == 0 {
		return nil, nil
	}
	d, err := b.st.Put(data)
	if err != nil {
		return nil, fmt.Errorf("compose disk image: %w", err)
	}
	for i := range extents {
		extents[i].Object = d
	}
	return joined(extents), nil
}

// joined returns sorted extents with those joined that continue one another.
func joined(extents []Extent) []Extent {
	var out []Extent
	for _, e := range extents {
		if n := len(out); n > 0 && e.continues(out[n-1]) {
			out[n-1].Length += e.Length
			continue
		}
		out = append(out, e)
	}
	return out
}

func (b *Builder) claim(off, n int64, what string) error {
	if err := b.check(off, n, what); err != nil {
		return err
	}
	b.claims = append(b.claims, claim{off, n, what})
	return nil
}

// check refuses a range that does not lie within the image.
func (b *Builder) check(off, n int64, what string) error {
	if off < 0 || n < 0 || off > b.size || n > b.size-off {
		return fmt.Errorf("compose disk image: %s of %d bytes at byte %d does not fit into an image of %d bytes", what, n, off, b.size)
	}
	return nil
}
