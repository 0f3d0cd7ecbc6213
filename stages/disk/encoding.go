package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/imagefactory/imagefactory/stages/store"
)

// magic begins every encoded image; its last byte is the version of the encoding.
const magic = "IFdisk\x00\x01"

const (
	headerSize    = len(magic) + 8 + 4 + 4
	minExtentSize = 4 // four uvarints of one byte each
)

// Encode returns the canonical encoding of im, which must be valid; see the package comment for the format.
func (im Image) Encode() []byte {
	index := make(map[store.Digest]uint64)
	var digests []store.Digest
	for _, e := range im.Extents {
		if _, seen := index[e.Object]; !seen {
			index[e.Object] = uint64(len(digests))
			digests = append(digests, e.Object)
		}
	}
	b := make([]byte, 0, headerSize+len(digests)*len(store.Digest{})+len(im.Extents)*12)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint64(b, uint64(im.Size))
	b = binary.BigEndian.AppendUint32(b, uint32(len(digests)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(im.Extents)))
	for _, d := range digests {
		b = append(b, d[:]...)
	}
	end := int64(0)
	for _, e := range im.Extents {
		b = binary.AppendUvarint(b, uint64(e.Offset-end))
		b = binary.AppendUvarint(b, uint64(e.Length))
		b = binary.AppendUvarint(b, index[e.Object])
		b = binary.AppendUvarint(b, uint64(e.ObjectOffset))
		end = e.End()
	}
	return b
}

// Decode reads an encoding made by [Image.Encode] and refuses anything else.
func Decode(encoded []byte) (Image, error) {
	size, digests, count, rest, err := decodeHeader(encoded)
	if err != nil {
		return Image{}, err
	}
	im := Image{Size: size}
	if count > 0 {
		im.Extents = make([]Extent, 0, count)
	}
	var (
		end  int64
		used int // objects named so far: each must be named first in the order of the table
	)
	for i := range count {
		var fields [4]int64
		for f := range fields {
			v, n := binary.Uvarint(rest)
			if n <= 0 || v > math.MaxInt64 || (n > 1 && rest[n-1] == 0) {
				return Image{}, fmt.Errorf("encoded disk image: extent %d is damaged", i)
			}
			fields[f], rest = int64(v), rest[n:]
		}
		gap, length, object, objectOffset := fields[0], fields[1], fields[2], fields[3]
		if gap > math.MaxInt64-end || object > int64(used) || object >= int64(len(digests)) {
			return Image{}, fmt.Errorf("encoded disk image: extent %d is out of range", i)
		}
		if object == int64(used) {
			used++
		}
		e := Extent{Offset: end + gap, Length: length, Object: digests[object], ObjectOffset: objectOffset}
		if e.Length > math.MaxInt64-e.Offset {
			return Image{}, fmt.Errorf("encoded disk image: extent %d is out of range", i)
		}
		im.Extents = append(im.Extents, e)
		end = e.End()
	}
	if len(rest) != 0 {
		return Image{}, fmt.Errorf("encoded disk image: %d bytes follow the last extent", len(rest))
	}
	if used != len(digests) {
		return Image{}, errors.New("encoded disk image: it lists an object that no extent uses")
	}
	if err := im.Validate(); err != nil {
		return Image{}, err
	}
	return im, nil
}

// References returns the digests of the objects an encoded image refers to, and whether encoded is the encoding of an
// image at all. The cache's garbage collector follows them; the error of a damaged image is Decode's to tell.
func References(encoded []byte) ([]store.Digest, bool) {
	if _, err := Decode(encoded); err != nil {
		return nil, false
	}
	_, digests, _, _, err := decodeHeader(encoded)
	return digests, err == nil
}

// decodeHeader reads everything before the extents. The counts are checked against the bytes there are, so that
// what is allocated for them is bounded by the input.
func decodeHeader(encoded []byte) (size int64, digests []store.Digest, extents int, rest []byte, err error) {
	if !bytes.HasPrefix(encoded, []byte(magic)) {
		return 0, nil, 0, nil, errors.New("not an encoded disk image: the magic number is missing")
	}
	if len(encoded) < headerSize {
		return 0, nil, 0, nil, errors.New("encoded disk image: it ends within its header")
	}
	b := encoded[len(magic):]
	imageSize, objects, count := binary.BigEndian.Uint64(b), int64(binary.BigEndian.Uint32(b[8:])), int64(binary.BigEndian.Uint32(b[12:]))
	b = encoded[headerSize:]
	const digestSize = int64(len(store.Digest{}))
	if imageSize > math.MaxInt64 || objects > count || objects*digestSize+count*minExtentSize > int64(len(b)) {
		return 0, nil, 0, nil, errors.New("encoded disk image: its header promises more than follows")
	}
	seen := make(map[store.Digest]bool, objects)
	for range objects {
		d := store.Digest(b[:digestSize])
		if seen[d] {
			return 0, nil, 0, nil, fmt.Errorf("encoded disk image: object %s is listed twice", d)
		}
		seen[d] = true
		digests, b = append(digests, d), b[digestSize:]
	}
	return int64(imageSize), digests, int(count), b, nil
}
