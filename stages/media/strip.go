package media

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
)

// Offsets of fields in the header of a 64-bit ELF file (System V ABI, "ELF Header"): where its section headers are, how many, and
// which of them has the names.
const (
	sectionHeaders     = 0x28 // 8 bytes
	sectionHeaderCount = 0x3c // 2 bytes
	sectionNames       = 0x3e // 2 bytes
)

// strip returns a program without what only debuggers read: the sections that no segment loads, and the table of all sections.
// That is a third of a Go program, which every machine would read from its medium and unpack into its memory. Go's own traces need
// none of it.
func strip(program []byte) ([]byte, error) {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return nil, err
	}
	if f.Class != elf.ELFCLASS64 {
		return nil, fmt.Errorf("it is a program of %s, not of 64 bits", f.Class)
	}
	var end uint64
	for _, segment := range f.Progs {
		if segment.Off+segment.Filesz < segment.Off || segment.Off+segment.Filesz > uint64(len(program)) {
			return nil, errors.New("it ends before its segments do")
		}
		end = max(end, segment.Off+segment.Filesz)
	}
	if end <= sectionNames+2 {
		return nil, errors.New("it has no segments to load")
	}
	out := bytes.Clone(program[:end])
	f.ByteOrder.PutUint64(out[sectionHeaders:], 0)
	f.ByteOrder.PutUint16(out[sectionHeaderCount:], 0)
	f.ByteOrder.PutUint16(out[sectionNames:], 0)
	return out, nil
}
