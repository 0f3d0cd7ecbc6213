package signature

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// block is the unit in which an area is read. Everything the kernel is asked for is a multiple of it, so a signature
// costs no read of its own when another one lies nearby.
const block = 64 << 10

// maxBlocks bounds the memory of one area, 16 MiB. Signatures lie in few places; one that is pointed to from damaged
// metadata costs a read instead.
const maxBlocks = 256

// area is a disk or a partition that is searched for signatures.
type area struct {
	r          io.ReaderAt
	start      int64 // on the disk
	size       int64
	sector     int
	whole      bool        // a disk, not a partition
	partitions []Partition // of a whole disk
	blocks     map[int64][]byte
	err        error // the first failed read; nothing is found after it
}

func newArea(r io.ReaderAt, start, size int64) *area {
	return &area{r: r, start: start, size: size, blocks: map[int64][]byte{}}
}

// at returns n bytes from an offset, or nil when the area does not have them.
func (a *area) at(offset int64, n int) []byte {
	if offset < 0 || n <= 0 || offset > a.size-int64(n) || a.err != nil {
		return nil
	}
	first, last := offset/block, (offset+int64(n)-1)/block
	if first == last {
		data := a.block(first)
		if data == nil {
			return nil
		}
		from := offset - first*block
		return data[from : from+int64(n) : from+int64(n)]
	}
	var out []byte
	for i := first; i <= last; i++ {
		data := a.block(i)
		if data == nil {
			return nil
		}
		from, to := max(offset-i*block, 0), min(offset+int64(n)-i*block, int64(len(data)))
		out = append(out, data[from:to]...)
	}
	return out
}

// block returns the i-th block, which is shorter at the end of the area.
func (a *area) block(i int64) []byte {
	if data, ok := a.blocks[i]; ok {
		return data
	}
	data := make([]byte, min(block, a.size-i*block))
	if n, err := a.r.ReadAt(data, a.start+i*block); n < len(data) {
		if err == nil {
			err = io.ErrNoProgress
		}
		a.err = fmt.Errorf("%d bytes at offset %d cannot be read: %w", len(data), a.start+i*block, err)
		return nil
	}
	if len(a.blocks) >= maxBlocks {
		clear(a.blocks)
	}
	a.blocks[i] = data
	return data
}

// has says whether the bytes at an offset are the magic.
func (a *area) has(offset int64, magic string) bool {
	return string(a.at(offset, len(magic))) == magic
}

// blank says whether the bytes of [from, to) that the area has are all zero, or all 0xff as flash that was erased.
func (a *area) blank(from, to int64) bool {
	from, to = max(from, 0), min(to, a.size)
	var fill byte
	for at := from; at < to; {
		data := a.at(at, int(min(to-at, block-at%block)))
		if data == nil {
			return false
		}
		if at == from {
			fill = data[0]
		}
		if fill != 0 && fill != 0xff || bytes.Count(data, []byte{fill}) != len(data) {
			return false
		}
		at += int64(len(data))
	}
	return true
}

// inPartition says whether [from, to) touches a partition of the disk. What lies there belongs to the partition and is
// found with it: the end of the last partition is often the end of the disk.
func (a *area) inPartition(from, to int64) bool {
	for _, p := range a.partitions {
		if from < p.Start+p.Size && p.Start < to {
			return true
		}
	}
	return false
}

// Numbers at an offset; 0 when the area does not have them.

func (a *area) le16(offset int64) uint16 { return number(a, offset, 2, binary.LittleEndian.Uint16) }
func (a *area) le32(offset int64) uint32 { return number(a, offset, 4, binary.LittleEndian.Uint32) }
func (a *area) le64(offset int64) uint64 { return number(a, offset, 8, binary.LittleEndian.Uint64) }
func (a *area) be16(offset int64) uint16 { return number(a, offset, 2, binary.BigEndian.Uint16) }
func (a *area) be32(offset int64) uint32 { return number(a, offset, 4, binary.BigEndian.Uint32) }
func (a *area) be64(offset int64) uint64 { return number(a, offset, 8, binary.BigEndian.Uint64) }

func number[T uint16 | uint32 | uint64](a *area, offset int64, n int, decode func([]byte) T) T {
	if data := a.at(offset, n); data != nil {
		return decode(data)
	}
	return 0
}
