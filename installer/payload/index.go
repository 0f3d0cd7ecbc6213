package payload

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Limits of the format, in bytes unless said otherwise. A reader refuses what is beyond them.
const (
	// BlockSize is what chunks are aligned to.
	BlockSize = 4096
	// ChunkSize is the most that a chunk covers; none crosses a multiple of it.
	ChunkSize = 4 << 20
	// TableSize is where the first chunk ends at the latest: partition tables and boot code lie before it.
	TableSize = 1 << 20
	// MaxHole is the longest run of zeros that may be part of a chunk.
	MaxHole = 15 * BlockSize
	// MaxDiskSize is the largest disk: 64 TiB.
	MaxDiskSize = 64 << 40

	maxStored  = ChunkSize + 64<<10
	sectorSize = 512

	magicHeader = "IFpayld\x01"
	magicIndex  = "IFindex\x01"
	magicFooter = "IFpayle\x01"

	headerSize      = int64(len(magicHeader))
	indexHeaderSize = len(magicIndex) + 8 + 4
	entrySize       = 8 + 4 + 4 + 2*sha256.Size
	footerSize      = len(magicFooter) + 8 + 8 + sha256.Size

	// maxIndex bounds what is allocated for an index: that of 3 TiB of data has less than 64 MiB.
	maxIndex = 64 << 20
)

// Chunk is a part of the disk and where it is stored. Offsets and lengths are bytes.
type Chunk struct {
	Offset       int64 // on the disk
	Length       int   // on the disk
	Stored       int64 // offset of the frame in the payload
	StoredLength int   // of the frame
	SHA256       [sha256.Size]byte
	StoredSHA256 [sha256.Size]byte
}

// End is the offset on the disk of the first byte behind the chunk.
func (c Chunk) End() int64 { return c.Offset + int64(c.Length) }

// Index is the table of contents of a payload.
type Index struct {
	DiskSize int64   // bytes
	Chunks   []Chunk // in the order of the disk
}

// Header is what a payload begins with.
func Header() []byte { return []byte(magicHeader) }

// DataSize is the number of bytes of the disk that chunks cover.
func (x Index) DataSize() int64 {
	var n int64
	for _, c := range x.Chunks {
		n += int64(c.Length)
	}
	return n
}

// end is the offset in the payload behind the last frame: that of the index.
func (x Index) end() int64 {
	if n := len(x.Chunks); n > 0 {
		last := x.Chunks[n-1]
		return last.Stored + int64(last.StoredLength)
	}
	return headerSize
}

// Validate checks every invariant of an index; the error names the first chunk that breaks one.
func (x Index) Validate() error {
	if x.DiskSize <= 0 || x.DiskSize > MaxDiskSize || x.DiskSize%sectorSize != 0 {
		return fmt.Errorf("the payload's disk has %d bytes; it must be a multiple of %d up to 64 TiB", x.DiskSize, sectorSize)
	}
	end, stored := int64(0), headerSize
	for i, c := range x.Chunks {
		switch {
		case c.Offset < end || c.Offset%BlockSize != 0 || c.Offset >= x.DiskSize:
			return fmt.Errorf("chunk %d of the payload is at byte %d of the disk, where it cannot be", i, c.Offset)
		case c.Length <= 0 || int64(c.Length) > x.DiskSize-c.Offset || int64(c.Length) > boundary(c.Offset)-c.Offset:
			return fmt.Errorf("chunk %d of the payload has %d bytes at byte %d of the disk, which cannot be", i, c.Length, c.Offset)
		case c.Length%BlockSize != 0 && c.End() != x.DiskSize:
			return fmt.Errorf("chunk %d of the payload has %d bytes, which are no whole blocks", i, c.Length)
		case c.StoredLength <= 0 || c.StoredLength > maxStored:
			return fmt.Errorf("chunk %d of the payload takes %d bytes, which cannot be", i, c.StoredLength)
		case c.Stored != stored:
			return fmt.Errorf("chunk %d of the payload does not follow the one before", i)
		}
		end, stored = c.End(), stored+int64(c.StoredLength)
	}
	return nil
}

// boundary is the offset that a chunk at off must not cross.
func boundary(off int64) int64 {
	if off < TableSize {
		return TableSize
	}
	return (off/ChunkSize + 1) * ChunkSize
}

// Cells yields the ranges of a disk that no chunk may cross the bounds of, in order: [0, TableSize), the rest of the
// first ChunkSize, and then every ChunkSize.
func Cells(diskSize int64) func(yield func(off, n int64) bool) {
	return func(yield func(off, n int64) bool) {
		for off := int64(0); off < diskSize; {
			end := min(boundary(off), diskSize)
			if !yield(off, end-off) {
				return
			}
			off = end
		}
	}
}

// Encode returns the index and the footer as they stand behind the chunks, and the digest of the index. The index must
// be valid.
func (x Index) Encode() (encoded []byte, digest [sha256.Size]byte) {
	b := make([]byte, 0, indexHeaderSize+len(x.Chunks)*entrySize+footerSize)
	b = append(b, magicIndex...)
	b = binary.BigEndian.AppendUint64(b, uint64(x.DiskSize))
	b = binary.BigEndian.AppendUint32(b, uint32(len(x.Chunks)))
	for _, c := range x.Chunks {
		b = binary.BigEndian.AppendUint64(b, uint64(c.Offset))
		b = binary.BigEndian.AppendUint32(b, uint32(c.Length))
		b = binary.BigEndian.AppendUint32(b, uint32(c.StoredLength))
		b = append(b, c.SHA256[:]...)
		b = append(b, c.StoredSHA256[:]...)
	}
	digest = sha256.Sum256(b)
	n := len(b)
	b = append(b, magicFooter...)
	b = binary.BigEndian.AppendUint64(b, uint64(x.end()))
	b = binary.BigEndian.AppendUint64(b, uint64(n))
	return append(b, digest[:]...), digest
}

// DecodeIndex reads an index without its footer and refuses what is not valid.
func DecodeIndex(b []byte) (Index, error) {
	if len(b) < indexHeaderSize || string(b[:len(magicIndex)]) != magicIndex {
		return Index{}, errors.New("the payload's index has no magic number")
	}
	size, count := binary.BigEndian.Uint64(b[len(magicIndex):]), binary.BigEndian.Uint32(b[len(magicIndex)+8:])
	b = b[indexHeaderSize:]
	if size > math.MaxInt64 || uint64(len(b)) != uint64(count)*uint64(entrySize) {
		return Index{}, fmt.Errorf("the payload's index promises %d chunks in %d bytes", count, len(b))
	}
	x := Index{DiskSize: int64(size), Chunks: make([]Chunk, count)}
	stored := headerSize
	for i := range x.Chunks {
		off := binary.BigEndian.Uint64(b)
		if off > math.MaxInt64 {
			return Index{}, fmt.Errorf("chunk %d of the payload is at byte %d of the disk, where it cannot be", i, off)
		}
		c := Chunk{
			Offset: int64(off), Length: int(binary.BigEndian.Uint32(b[8:])),
			Stored: stored, StoredLength: int(binary.BigEndian.Uint32(b[12:])),
		}
		copy(c.SHA256[:], b[16:])
		copy(c.StoredSHA256[:], b[16+sha256.Size:])
		x.Chunks[i], b = c, b[entrySize:]
		stored += int64(c.StoredLength)
	}
	return x, x.Validate()
}
