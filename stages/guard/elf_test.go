package guard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"testing"
)

// byteOrder is what both orders of encoding/binary can do.
type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// object is an ELF file to make.
type object struct {
	order          byteOrder // little endian when nil
	narrow         bool      // 32 bit
	machine        uint16    // x86-64 when 0
	interp, soname string
	needed         []string
	rpath, runpath string
	noDefault      bool
	wants          map[string][]string // versions by library
	defines        []string            // versions
	size           int                 // padded to
}

// bytes returns the file: a header, program headers, strings, tables of versions and the dynamic section, in one segment
// whose addresses are offsets plus 0x1000.
func (o object) bytes() []byte {
	const base = 0x1000
	var order byteOrder = binary.LittleEndian
	if o.order != nil {
		order = o.order
	}
	machine := o.machine
	if machine == 0 {
		machine = 62
	}
	head, phsize, word := 64, 56, 8
	if o.narrow {
		head, phsize, word = 52, 32, 4
	}
	count := 2
	if o.interp != "" {
		count = 3
	}
	body := make([]byte, head+count*phsize)
	put := func(p []byte) int { at := len(body); body = append(body, p...); return at }
	table := []byte{0}
	text := func(s string) uint64 {
		if i := bytes.Index(table, append([]byte{0}, append([]byte(s), 0)...)); i >= 0 {
			return uint64(i + 1)
		}
		at := len(table)
		table = append(append(table, s...), 0)
		return uint64(at)
	}
	type entry struct{ tag, value uint64 }
	var dynamic []entry
	for _, n := range o.needed {
		dynamic = append(dynamic, entry{dtNeeded, text(n)})
	}
	if o.soname != "" {
		dynamic = append(dynamic, entry{dtSoname, text(o.soname)})
	}
	if o.rpath != "" {
		dynamic = append(dynamic, entry{dtRpath, text(o.rpath)})
	}
	if o.runpath != "" {
		dynamic = append(dynamic, entry{dtRunpath, text(o.runpath)})
	}
	if o.noDefault {
		dynamic = append(dynamic, entry{dtFlags1, flagNoDefaultLib})
	}
	if len(o.wants) > 0 {
		var p []byte
		names := sortedKeys(o.wants)
		for i, lib := range names {
			versions := o.wants[lib]
			next := uint32(16 + 16*len(versions))
			if i == len(names)-1 {
				next = 0
			}
			p = order.AppendUint16(p, 1)
			p = order.AppendUint16(p, uint16(len(versions)))
			p = order.AppendUint32(p, uint32(text(lib)))
			p = order.AppendUint32(p, 16)
			p = order.AppendUint32(p, next)
			for j, v := range versions {
				next := uint32(16)
				if j == len(versions)-1 {
					next = 0
				}
				p = order.AppendUint32(p, 0)
				p = order.AppendUint16(p, 0)
				p = order.AppendUint16(p, uint16(j+2))
				p = order.AppendUint32(p, uint32(text(v)))
				p = order.AppendUint32(p, next)
			}
		}
		dynamic = append(dynamic, entry{dtVerneed, uint64(put(p) + base)}, entry{dtVerneednum, uint64(len(names))})
	}
	if len(o.defines) > 0 {
		var p []byte
		all := append([]string{o.soname}, o.defines...)
		for i, v := range all {
			flags, next := uint16(0), uint32(28)
			if i == 0 {
				flags = versionBase
			}
			if i == len(all)-1 {
				next = 0
			}
			p = order.AppendUint16(p, 1)
			p = order.AppendUint16(p, flags)
			p = order.AppendUint16(p, uint16(i+1))
			p = order.AppendUint16(p, 1)
			p = order.AppendUint32(p, 0)
			p = order.AppendUint32(p, 20)
			p = order.AppendUint32(p, next)
			p = order.AppendUint32(p, uint32(text(v)))
			p = order.AppendUint32(p, 0)
		}
		dynamic = append(dynamic, entry{dtVerdef, uint64(put(p) + base)}, entry{dtVerdefnum, uint64(len(all))})
	}
	dynamic = append(dynamic, entry{dtStrtab, uint64(put(table) + base)}, entry{dtStrsz, uint64(len(table))}, entry{})
	var section []byte
	number := func(v uint64) {
		if word == 8 {
			section = order.AppendUint64(section, v)
		} else {
			section = order.AppendUint32(section, uint32(v))
		}
	}
	for _, e := range dynamic {
		number(e.tag)
		number(e.value)
	}
	dynamicAt := put(section)
	interpAt := 0
	if o.interp != "" {
		interpAt = put(append([]byte(o.interp), 0))
	}
	if len(body) < o.size {
		body = append(body, make([]byte, o.size-len(body))...)
	}

	copy(body, "\x7fELF")
	body[4], body[5], body[6] = 2, 1, 1
	if o.narrow {
		body[4] = 1
	}
	if order == binary.BigEndian {
		body[5] = 2
	}
	order.PutUint16(body[16:], elfDyn)
	order.PutUint16(body[18:], machine)
	order.PutUint32(body[20:], 1)
	if o.narrow {
		order.PutUint32(body[28:], uint32(head))
		order.PutUint16(body[40:], uint16(head))
		order.PutUint16(body[42:], uint16(phsize))
		order.PutUint16(body[44:], uint16(count))
	} else {
		order.PutUint64(body[32:], uint64(head))
		order.PutUint16(body[52:], uint16(head))
		order.PutUint16(body[54:], uint16(phsize))
		order.PutUint16(body[56:], uint16(count))
	}
	header := func(i int, kind uint32, at, size int) {
		p := body[head+i*phsize:]
		order.PutUint32(p, kind)
		if o.narrow {
			order.PutUint32(p[4:], uint32(at))
			order.PutUint32(p[8:], uint32(at+base))
			order.PutUint32(p[16:], uint32(size))
			order.PutUint32(p[20:], uint32(size))
		} else {
			order.PutUint64(p[8:], uint64(at))
			order.PutUint64(p[16:], uint64(at+base))
			order.PutUint64(p[32:], uint64(size))
			order.PutUint64(p[40:], uint64(size))
		}
	}
	header(0, 1, 0, len(body))
	header(1, 2, dynamicAt, len(section))
	if o.interp != "" {
		header(2, 3, interpAt, len(o.interp)+1)
	}
	return body
}

func TestFacts(t *testing.T) {
	for name, o := range map[string]object{
		"64 bit":            {},
		"32 bit":            {narrow: true, machine: 3},
		"big endian":        {order: binary.BigEndian, machine: 22},
		"32 bit big endian": {order: binary.BigEndian, narrow: true, machine: 8},
	} {
		t.Run(name, func(t *testing.T) {
			o.interp, o.soname = "/lib/ld.so.1", "libx.so.1"
			o.needed = []string{"liba.so.1", "libb.so.2"}
			o.rpath, o.runpath = "/a:/b", "$ORIGIN/../c"
			o.noDefault = true
			o.wants = map[string][]string{"liba.so.1": {"A_1", "A_2"}, "libb.so.2": {"B_1"}}
			o.defines = []string{"X_1", "X_2"}
			p := o.bytes()
			f, err := readFacts(bytes.NewReader(p), int64(len(p)))
			if err != nil {
				t.Fatal(err)
			}
			if f.interp != o.interp || f.soname != o.soname || !slices.Equal(f.needed, o.needed) || !f.noDefault || !f.dynamic {
				t.Errorf("read %+v", f)
			}
			if !slices.Equal(f.rpath, []string{"/a", "/b"}) || !slices.Equal(f.runpath, []string{"$ORIGIN/../c"}) {
				t.Errorf("paths %q, %q", f.rpath, f.runpath)
			}
			want := []wanted{{"liba.so.1", "A_1", false}, {"liba.so.1", "A_2", false}, {"libb.so.2", "B_1", false}}
			if !slices.Equal(f.wants, want) {
				t.Errorf("wants %v", f.wants)
			}
			if len(f.versions) != 2 || !f.versions["X_1"] || !f.versions["X_2"] {
				t.Errorf("defines %v", f.versions)
			}
		})
	}
}

// TestFactsOfForeignFiles is about what is none of an ELF file's business.
func TestFactsOfForeignFiles(t *testing.T) {
	for _, text := range []string{"", "#!/bin/sh\n", "\x7fELF", "\x7fELF\x02\x01\x01" + string(make([]byte, 57))} {
		if _, err := readFacts(bytes.NewReader([]byte(text)), int64(len(text))); !errors.Is(err, errNotELF) {
			t.Errorf("%q: %v", text, err)
		}
	}
	whole := object{needed: []string{"liba.so.1"}, soname: "x", interp: "/lib/ld.so"}.bytes()
	for n := 64; n < len(whole); n++ { // a file cut off is understood whole or not at all
		f, err := readFacts(bytes.NewReader(whole[:n]), int64(n))
		if err == nil && (f.interp != "/lib/ld.so" || f.soname != "x" || !slices.Equal(f.needed, []string{"liba.so.1"})) {
			t.Errorf("%d bytes of %d are understood as %+v", n, len(whole), f)
		}
	}
}

func FuzzELF(f *testing.F) {
	f.Add(object{}.bytes())
	f.Add(object{narrow: true, machine: 3, needed: []string{"liba.so.1"}, wants: map[string][]string{"liba.so.1": {"A"}}}.bytes())
	f.Add(object{order: binary.BigEndian, soname: "libx.so", defines: []string{"X"}, interp: "/lib/ld.so", rpath: "/x:$LIB"}.bytes())
	if p, err := os.ReadFile("/bin/true"); err == nil {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		facts, err := readFacts(bytes.NewReader(p), int64(len(p)))
		if err != nil {
			return
		}
		if len(facts.needed) > maxDynamic || len(facts.wants) > maxVersions || len(facts.versions) > maxVersions || len(facts.interp) > maxString {
			t.Errorf("the bounds do not hold: %d %d %d", len(facts.needed), len(facts.wants), len(facts.versions))
		}
	})
}
