package ext4

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// readDirectory returns the names in a directory, sorted, without "." and "..".
// Hash tree directories are read like lists: the blocks of their index look like
// blocks without names.
func (f *FS) readDirectory(in *diskInode) ([]directoryEntry, error) {
	if in.kind != tree.Directory {
		return nil, fmt.Errorf("%s is no directory", in.where())
	}
	file, err := f.openInode(in)
	if err != nil {
		return nil, err
	}
	var entries []directoryEntry
	for _, e := range file.extents {
		for i := range uint64(e.length) {
			logical := uint64(e.logical) + i
			if logical*f.blockSize >= in.size {
				break
			}
			block, err := f.readBlock(e.physical+i, in.where())
			if err != nil {
				return nil, err
			}
			if err := f.checkDirectoryBlock(in, block, logical); err != nil {
				return nil, err
			}
			if entries, err = f.parseDirectoryBlock(in, block, entries); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(entries, func(a, b directoryEntry) int { return cmp.Compare(a.name, b.name) })
	for i := range entries[min(1, len(entries)):] {
		if entries[i].name == entries[i+1].name {
			return nil, corrupt(in.where(), "the directory has the name %q twice", entries[i].name)
		}
	}
	return entries, nil
}

// checkDirectoryBlock verifies the checksum of a block of a directory: of an index
// block or of a list of names.
func (f *FS) checkDirectoryBlock(in *diskInode, p []byte, logical uint64) error {
	if !f.features.metadataChecksums() {
		return nil
	}
	le := binary.LittleEndian
	offset := 0
	if in.flags&flagIndex != 0 {
		switch {
		case logical == 0:
			offset = 24 + int(p[29]) // "." and "..", then information of this length
		case le.Uint32(p[0:]) == 0 && f.recordLength(p) == len(p):
			offset = indexNodeEntries
		}
	}
	if offset == 0 {
		tail := p[len(p)-directoryTailSize:]
		if le.Uint32(tail[0:]) != 0 || le.Uint16(tail[4:]) != directoryTailSize || tail[6] != 0 || tail[7] != directoryTailType {
			return corrupt(in.where(), "block %d of the directory has no checksum", logical)
		}
		if have, want := le.Uint32(tail[8:]), crc32c(in.seed(f), p[:len(p)-directoryTailSize]); have != want {
			return corrupt(in.where(), "block %d of the directory has the checksum %#x instead of %#x", logical, have, want)
		}
		return nil
	}
	if offset+4 > len(p) {
		return corrupt(in.where(), "block %d of the directory is no index", logical)
	}
	limit, count := int(le.Uint16(p[offset:])), int(le.Uint16(p[offset+2:]))
	tail := offset + limit*indexEntrySize
	if count > limit || tail+indexTailSize > len(p) {
		return corrupt(in.where(), "block %d of the directory has %d index entries and room for %d", logical, count, limit)
	}
	if have, want := le.Uint32(p[tail+4:]), indexChecksum(p, offset, count, limit, in.seed(f)); have != want {
		return corrupt(in.where(), "block %d of the directory has the checksum %#x instead of %#x", logical, have, want)
	}
	return nil
}

// recordLength decodes the length of the entry p starts with: blocks of 64 KiB need
// its two lowest bits.
func (f *FS) recordLength(p []byte) int {
	n := int(binary.LittleEndian.Uint16(p[4:]))
	if f.blockSize < 1<<16 {
		return n
	}
	if n == 0 || n == 0xffff {
		return 1 << 16
	}
	return n&^3 | n&3<<16
}

// parseDirectoryBlock appends the names in a block to entries.
func (f *FS) parseDirectoryBlock(in *diskInode, p []byte, entries []directoryEntry) ([]directoryEntry, error) {
	for len(p) > 0 {
		if len(p) < directoryEntrySize {
			return nil, corrupt(in.where(), "an entry of the directory is cut short")
		}
		number, length, nameLen := binary.LittleEndian.Uint32(p), f.recordLength(p), int(p[6])
		if length%4 != 0 || length < directoryEntrySize || length > len(p) || number != 0 && nameLen > length-directoryEntrySize {
			return nil, corrupt(in.where(), "an entry of the directory has the length %d with a name of %d bytes", length, nameLen)
		}
		if number != 0 {
			e := directoryEntry{name: string(p[directoryEntrySize : directoryEntrySize+nameLen]), number: number}
			if f.features.has(incompat, incompatFiletype) {
				e.kind = tree.Type(max(0, slices.Index(fileTypeOf[:], p[7])))
			}
			switch {
			case e.name == "." || e.name == "..":
			case e.name == "" || strings.ContainsAny(e.name, "/\x00"):
				return nil, corrupt(in.where(), "the name %q of the directory cannot be", e.name)
			default:
				entries = append(entries, e)
			}
		}
		p = p[length:]
	}
	return entries, nil
}
