package guard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds on what is read of an ELF file. Real ones stay far below: the largest dynamic sections have some hundred
// entries, the most needed versions a library has are some dozen.
const (
	maxProgramHeaders = 512
	maxDynamic        = 4096 // entries
	maxString         = 4096 // bytes
	maxVersions       = 4096 // entries of one table
)

// ELF types, machine-independent (System V ABI, chapter 4).
const (
	elfExec = 2 // ET_EXEC
	elfDyn  = 3 // ET_DYN
)

// facts are what the dynamic linker asks of an ELF file.
type facts struct {
	class   uint8 // 1: 32 bit, 2: 64 bit
	machine uint16
	kind    uint16 // elfExec, elfDyn

	dynamic   bool // it has a dynamic section
	interp    string
	soname    string
	needed    []string
	rpath     []string // unexpanded
	runpath   []string
	noDefault bool // DF_1_NODEFLIB

	wants    []wanted        // versions of symbols, by the library they must come from
	versions map[string]bool // versions that this library defines
}

// wanted is an entry of DT_VERNEED.
type wanted struct {
	library, version string
	weak             bool
}

var errNotELF = errors.New("it is no ELF file for programs")

// Tags and flags of dynamic sections (System V ABI, chapter 5, and glibc's elf.h).
const (
	dtNeeded     = 1
	dtStrtab     = 5
	dtStrsz      = 10
	dtSoname     = 14
	dtRpath      = 15
	dtRunpath    = 29
	dtFlags1     = 0x6ffffffb
	dtVerdef     = 0x6ffffffc
	dtVerdefnum  = 0x6ffffffd
	dtVerneed    = 0x6ffffffe
	dtVerneednum = 0x6fffffff

	flagNoDefaultLib = 0x800
	versionWeak      = 2
	versionBase      = 1
)

// segment is a PT_LOAD program header.
type segment struct{ address, offset, size uint64 }

// elfReader reads numbers and strings of an ELF file, all of it untrusted.
type elfReader struct {
	r        io.ReaderAt
	size     int64
	order    binary.ByteOrder
	wide     bool // 64 bit
	segments []segment
}

// readFacts reads what the dynamic linker reads of a file: the header, the program headers, the dynamic section and the
// strings it names. Section headers, which strip(1) may remove, are not needed. The error is errNotELF for anything that
// is not an executable or a shared object.
func readFacts(r io.ReaderAt, size int64) (*facts, error) {
	var ident [64]byte
	if n, err := r.ReadAt(ident[:], 0); n < 52 {
		if err == nil || errors.Is(err, io.EOF) {
			err = errNotELF
		}
		return nil, err
	}
	if string(ident[:4]) != "\x7fELF" {
		return nil, errNotELF
	}
	e := &elfReader{r: r, size: size}
	switch ident[5] {
	case 1:
		e.order = binary.LittleEndian
	case 2:
		e.order = binary.BigEndian
	default:
		return nil, errNotELF
	}
	f := &facts{class: ident[4], kind: e.order.Uint16(ident[16:]), machine: e.order.Uint16(ident[18:])}
	if f.kind != elfExec && f.kind != elfDyn {
		return nil, errNotELF
	}
	var phoff uint64
	var phentsize, phnum int
	switch f.class {
	case 1:
		phoff = uint64(e.order.Uint32(ident[28:]))
		phentsize, phnum = int(e.order.Uint16(ident[42:])), int(e.order.Uint16(ident[44:]))
	case 2:
		e.wide = true
		phoff = e.order.Uint64(ident[32:])
		phentsize, phnum = int(e.order.Uint16(ident[54:])), int(e.order.Uint16(ident[56:]))
	default:
		return nil, errNotELF
	}
	least := 32
	if e.wide {
		least = 56
	}
	if phnum > 0 && phentsize != least {
		return nil, fmt.Errorf("its program headers have %d bytes each, not %d", phentsize, least)
	}
	if phnum > maxProgramHeaders {
		return nil, fmt.Errorf("it has %d program headers, %d are the most", phnum, maxProgramHeaders)
	}
	headers, err := e.bytes(phoff, uint64(phnum*phentsize))
	if err != nil {
		return nil, fmt.Errorf("its program headers: %w", err)
	}
	var dynamic, interp segment
	for i := range phnum {
		h := headers[i*phentsize:]
		kind := e.order.Uint32(h)
		var s segment
		if e.wide {
			s = segment{e.order.Uint64(h[16:]), e.order.Uint64(h[8:]), e.order.Uint64(h[32:])}
		} else {
			s = segment{uint64(e.order.Uint32(h[8:])), uint64(e.order.Uint32(h[4:])), uint64(e.order.Uint32(h[16:]))}
		}
		switch kind {
		case 1: // PT_LOAD
			e.segments = append(e.segments, s)
		case 2: // PT_DYNAMIC
			dynamic = s
		case 3: // PT_INTERP
			interp = s
		}
	}
	if interp.size > 0 {
		if f.interp, err = e.cstring(interp.offset); err != nil {
			return nil, fmt.Errorf("the path of its interpreter: %w", err)
		}
	}
	if dynamic.size == 0 {
		return f, nil // linked statically, or debugging information alone
	}
	f.dynamic = true
	if err := e.dynamic(f, dynamic); err != nil {
		return nil, err
	}
	return f, nil
}

// bytes reads n bytes at an offset of the file.
func (e *elfReader) bytes(offset, n uint64) ([]byte, error) {
	if offset > uint64(e.size) || n > uint64(e.size)-offset {
		return nil, io.ErrUnexpectedEOF
	}
	p := make([]byte, n)
	if _, err := e.r.ReadAt(p, int64(offset)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return p, nil
}

// cstring reads a string that ends in a NUL.
func (e *elfReader) cstring(offset uint64) (string, error) {
	if offset >= uint64(e.size) {
		return "", io.ErrUnexpectedEOF
	}
	// Nearly all strings are short: a small read first.
	for _, n := range []uint64{96, maxString} {
		p, err := e.bytes(offset, min(n, uint64(e.size)-offset))
		if err != nil {
			return "", err
		}
		if i := bytes.IndexByte(p, 0); i >= 0 {
			return string(p[:i]), nil
		}
	}
	return "", fmt.Errorf("a string has no end within %d bytes", maxString)
}

// offset returns where in the file a virtual address is.
func (e *elfReader) offset(address uint64) (uint64, error) {
	for _, s := range e.segments {
		if address >= s.address && address-s.address < s.size {
			return s.offset + (address - s.address), nil
		}
	}
	return 0, fmt.Errorf("the address %#x is in no segment of the file", address)
}

// dynamic reads the dynamic section.
func (e *elfReader) dynamic(f *facts, s segment) error {
	width := uint64(8)
	if e.wide {
		width = 16
	}
	section, err := e.bytes(s.offset, min(s.size, maxDynamic*width))
	if err != nil {
		return fmt.Errorf("its dynamic section: %w", err)
	}
	var strtab, verneed, verdef, flags uint64
	verneednum, verdefnum := uint64(0), uint64(0)
	var needed []uint64
	var soname, rpath, runpath uint64
	const none = ^uint64(0)
	soname, rpath, runpath = none, none, none
	for ; uint64(len(section)) >= width; section = section[width:] {
		var tag, value uint64
		if e.wide {
			tag, value = e.order.Uint64(section), e.order.Uint64(section[8:])
		} else {
			tag, value = uint64(e.order.Uint32(section)), uint64(e.order.Uint32(section[4:]))
		}
		if tag == 0 {
			break
		}
		switch tag {
		case dtNeeded:
			needed = append(needed, value)
		case dtStrtab:
			strtab = value
		case dtSoname:
			soname = value
		case dtRpath:
			rpath = value
		case dtRunpath:
			runpath = value
		case dtFlags1:
			flags = value
		case dtVerneed:
			verneed = value
		case dtVerneednum:
			verneednum = value
		case dtVerdef:
			verdef = value
		case dtVerdefnum:
			verdefnum = value
		}
	}
	f.noDefault = flags&flagNoDefaultLib != 0
	if strtab == 0 {
		return nil
	}
	strings0, err := e.offset(strtab)
	if err != nil {
		return fmt.Errorf("its table of strings: %w", err)
	}
	text := func(at uint64) (string, error) {
		if at > uint64(e.size) {
			return "", io.ErrUnexpectedEOF
		}
		return e.cstring(strings0 + at)
	}
	for _, at := range needed {
		name, err := text(at)
		if err != nil {
			return fmt.Errorf("the name of a library it needs: %w", err)
		}
		f.needed = append(f.needed, name)
	}
	for _, l := range []struct {
		at   uint64
		name *string
		list *[]string
	}{{soname, &f.soname, nil}, {rpath, nil, &f.rpath}, {runpath, nil, &f.runpath}} {
		if l.at == none {
			continue
		}
		value, err := text(l.at)
		if err != nil {
			return fmt.Errorf("its name or its path of libraries: %w", err)
		}
		if l.name != nil {
			*l.name = value
		} else if value != "" {
			*l.list = strings.Split(value, ":")
		}
	}
	if verneed != 0 {
		if err := e.needVersions(f, verneed, verneednum, text); err != nil {
			return fmt.Errorf("the versions it needs: %w", err)
		}
	}
	if verdef != 0 {
		if err := e.defineVersions(f, verdef, verdefnum, text); err != nil {
			return fmt.Errorf("the versions it defines: %w", err)
		}
	}
	return nil
}

// needVersions reads the table DT_VERNEED.
func (e *elfReader) needVersions(f *facts, address, count uint64, text func(uint64) (string, error)) error {
	at, err := e.offset(address)
	if err != nil {
		return err
	}
	for n := uint64(0); n < count && len(f.wants) < maxVersions; n++ {
		h, err := e.bytes(at, 16)
		if err != nil {
			return err
		}
		library, err := text(uint64(e.order.Uint32(h[4:])))
		if err != nil {
			return err
		}
		aux := at + uint64(e.order.Uint32(h[8:]))
		for range e.order.Uint16(h[2:]) {
			if len(f.wants) == maxVersions {
				return fmt.Errorf("there are more than %d", maxVersions)
			}
			a, err := e.bytes(aux, 16)
			if err != nil {
				return err
			}
			version, err := text(uint64(e.order.Uint32(a[8:])))
			if err != nil {
				return err
			}
			f.wants = append(f.wants, wanted{library, version, e.order.Uint16(a[4:])&versionWeak != 0})
			next := e.order.Uint32(a[12:])
			if next == 0 {
				break
			}
			aux += uint64(next)
		}
		next := e.order.Uint32(h[12:])
		if next == 0 {
			break
		}
		at += uint64(next)
	}
	return nil
}

// defineVersions reads the table DT_VERDEF.
func (e *elfReader) defineVersions(f *facts, address, count uint64, text func(uint64) (string, error)) error {
	at, err := e.offset(address)
	if err != nil {
		return err
	}
	f.versions = map[string]bool{}
	for n := uint64(0); n < min(count, maxVersions); n++ {
		h, err := e.bytes(at, 20)
		if err != nil {
			return err
		}
		if flags := e.order.Uint16(h[2:]); flags&versionBase == 0 {
			a, err := e.bytes(at+uint64(e.order.Uint32(h[12:])), 8)
			if err != nil {
				return err
			}
			version, err := text(uint64(e.order.Uint32(a)))
			if err != nil {
				return err
			}
			f.versions[version] = true
		}
		next := e.order.Uint32(h[16:])
		if next == 0 {
			break
		}
		at += uint64(next)
	}
	return nil
}
