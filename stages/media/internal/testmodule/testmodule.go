// Package testmodule makes files that can stand for kernel modules in tests.
package testmodule

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// New returns an ELF file with nothing but a section .modinfo of these lines: as far as readers of that are concerned, a
// kernel module.
func New(modinfo ...string) string {
	info := strings.Join(modinfo, "\x00") + "\x00"
	names := "\x00.modinfo\x00.shstrtab\x00"
	const header, section = 64, 64
	type sectionHeader struct {
		Name, Type                uint32
		Flags, Addr, Offset, Size uint64
		Link, Info                uint32
		Align, EntrySize          uint64
	}
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	for _, field := range []any{
		uint16(1), uint16(62), uint32(1), uint64(0), uint64(0), uint64(header + len(info) + len(names)), uint32(0),
		uint16(header), uint16(0), uint16(0), uint16(section), uint16(3), uint16(2),
		[]byte(info), []byte(names),
		sectionHeader{},
		sectionHeader{Name: 1, Type: 1, Offset: header, Size: uint64(len(info))},
		sectionHeader{Name: 10, Type: 3, Offset: uint64(header + len(info)), Size: uint64(len(names))},
	} {
		if err := binary.Write(&b, binary.LittleEndian, field); err != nil {
			panic(err)
		}
	}
	return b.String()
}
