package disk

import (
	"fmt"
	"iter"
	"math"

	"github.com/imagefactory/imagefactory/stages/store"
)

// Extent says that Length bytes of an image, from Offset on, are those of Object from ObjectOffset on. All are bytes.
type Extent struct {
	Offset       int64
	Length       int64
	Object       store.Digest
	ObjectOffset int64
}

// End is the offset of the first byte behind the extent.
func (e Extent) End() int64 { return e.Offset + e.Length }

// continues reports whether e goes on, in the image and in its object, where prev ends.
func (e Extent) continues(prev Extent) bool {
	return prev.End() == e.Offset && prev.Object == e.Object && prev.ObjectOffset+prev.Length == e.ObjectOffset
}

// Image is a disk, or a part of one, of Size bytes. Extents are sorted by offset and do not overlap; what they leave
// out reads as zero. An Image is a value: share it freely and change a copy.
type Image struct {
	Size    int64
	Extents []Extent
}

// Validate checks every invariant of an image; the error names the first extent that breaks one.
func (im Image) Validate() error {
	if im.Size < 0 {
		return fmt.Errorf("disk image has the negative size %d", im.Size)
	}
	end := int64(0)
	for i, e := range im.Extents {
		switch {
		case e.Length <= 0:
			return fmt.Errorf("extent %d of the disk image has length %d, which is not positive", i, e.Length)
		case e.Offset < end:
			return fmt.Errorf("extent %d of the disk image starts at byte %d, before the end of its predecessor at %d", i, e.Offset, end)
		case e.Length > im.Size-e.Offset:
			return fmt.Errorf("extent %d of the disk image covers %d bytes from %d, beyond the image's end at %d", i, e.Length, e.Offset, im.Size)
		case e.Object.IsZero():
			return fmt.Errorf("extent %d of the disk image names no object", i)
		case e.ObjectOffset < 0 || e.ObjectOffset > math.MaxInt64-e.Length:
			return fmt.Errorf("extent %d of the disk image reads %d bytes of its object from the impossible offset %d", i, e.Length, e.ObjectOffset)
		}
		end = e.End()
	}
	return nil
}

// Data yields the ranges (offset, length) that extents cover, in order, with touching extents joined: the ranges a
// sparse output must write. Covered ranges may hold zeros.
func (im Image) Data() iter.Seq2[int64, int64] {
	return func(yield func(int64, int64) bool) {
		for i := 0; i < len(im.Extents); {
			start, end := im.Extents[i].Offset, im.Extents[i].End()
			for i++; i < len(im.Extents) && im.Extents[i].Offset == end; i++ {
				end = im.Extents[i].End()
			}
			if !yield(start, end-start) {
				return
			}
		}
	}
}

// DataSize is the number of bytes that extents cover.
func (im Image) DataSize() int64 {
	var n int64
	for _, e := range im.Extents {
		n += e.Length
	}
	return n
}

// Save puts the encoding of im into the store and returns its digest. The objects that im refers to must be there
// already.
func Save(st *store.Store, im Image) (store.Digest, error) {
	if err := im.Validate(); err != nil {
		return store.Digest{}, err
	}
	return st.Put(im.Encode())
}

// Load reads the image whose encoding is the object d of the store.
func Load(st *store.Store, d store.Digest) (Image, error) {
	encoded, err := st.ReadAll(d)
	if err != nil {
		return Image{}, fmt.Errorf("load disk image: %w", err)
	}
	im, err := Decode(encoded)
	if err != nil {
		return Image{}, fmt.Errorf("load disk image %s: %w", d, err)
	}
	return im, nil
}
