package iso

import (
	"strings"
)

// useEntry is one entry of the System Use Sharing Protocol (SUSP 1.12 section 4.1): two letters, its length, its
// version, its data.
type useEntry []byte

const (
	useHeader     = 4
	maxUseEntry   = 255
	continuedSize = 28 // of a CE entry
)

func newUse(kind string, data ...byte) useEntry {
	return append(useEntry{kind[0], kind[1], byte(useHeader + len(data)), 1}, data...)
}

// extension is what the ER entry says (SUSP 1.12 section 5.5): that the entries are those of the Rock Ridge Interchange
// Protocol. The texts are those that every writer of version 1.10 uses.
var extension = struct{ id, descriptor, source string }{
	"RRIP_1991A",
	"THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS",
	"PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION.",
}

// describe returns the entries that a file has in each of its records. The first record of the root says that there are
// such entries, and which.
func describe(n *node, stamp [7]byte, first bool) []useEntry {
	var use []useEntry
	if first {
		use = append(use, newUse("SP", 0xbe, 0xef, 0))
	}
	// RRIP 4.1.1: mode, links, user and group, both root.
	px := appendBoth32(nil, n.mode)
	px = appendBoth32(px, n.links())
	px = appendBoth32(px, 0)
	px = appendBoth32(px, 0)
	use = append(use, newUse("PX", px...))
	// RRIP 4.1.6: modification, access and attribute change, in the form of directory records.
	const modify, access, attributes = 1 << 1, 1 << 2, 1 << 3
	tf := []byte{modify | access | attributes}
	for range 3 {
		tf = append(tf, stamp[:]...)
	}
	use = append(use, newUse("TF", tf...))
	if first {
		er := []byte{byte(len(extension.id)), byte(len(extension.descriptor)), byte(len(extension.source)), 1}
		use = append(use, newUse("ER", append(er, extension.id+extension.descriptor+extension.source...)...))
	}
	return use
}

// Flags of NM entries (RRIP 4.1.4) and SL entries and their components (RRIP 4.1.3).
const (
	useContinues     = 1 << 0
	componentCurrent = 1 << 1
	componentParent  = 1 << 2
	componentRoot    = 1 << 3
)

// describeName returns the entries with the name of n, and its target.
func describeName(n *node) []useEntry {
	const maxPart = maxUseEntry - useHeader - 1
	var use []useEntry
	name := n.name
	for len(name) > maxPart {
		use = append(use, newUse("NM", append([]byte{useContinues}, name[:maxPart]...)...))
		name = name[maxPart:]
	}
	use = append(use, newUse("NM", append([]byte{0}, name...)...))
	if n.target == "" {
		return use
	}
	sl := []byte{0}
	for _, c := range components(n.target) {
		if useHeader+len(sl)+len(c) > maxUseEntry {
			sl[0] = useContinues
			use, sl = append(use, newUse("SL", sl...)), []byte{0}
		}
		sl = append(sl, c...)
	}
	return append(use, newUse("SL", sl...))
}

// components returns the component records of a target, each with its flags and length in front. Slashes that follow one
// another, or end the target, are separated by components without characters, so that nothing of it is lost.
func components(target string) [][]byte {
	const maxText = maxUseEntry - useHeader - 1 - 2
	if target == "/" {
		return [][]byte{{componentRoot, 0}}
	}
	var list [][]byte
	for i, text := range strings.Split(target, "/") {
		switch {
		case text == "" && i == 0:
			list = append(list, []byte{componentRoot, 0})
		case text == ".":
			list = append(list, []byte{componentCurrent, 0})
		case text == "..":
			list = append(list, []byte{componentParent, 0})
		default:
			for len(text) > maxText {
				list = append(list, append([]byte{useContinues, maxText}, text[:maxText]...))
				text = text[maxText:]
			}
			list = append(list, append([]byte{0, byte(len(text))}, text...))
		}
	}
	return list
}

// continuation collects the areas in which the system use fields of one directory's records go on (SUSP 1.12
// section 5.1). No area crosses the end of a block, which Linux would refuse.
type continuation struct {
	block uint32 // of the first byte of data
	data  []byte
}

// appendUse appends entries to a record, which may grow to limit bytes. Those that do not fit become an area of c.
func (c *continuation) appendUse(record []byte, limit int, use []useEntry) []byte {
	fitting := fit(use, limit-len(record))
	for _, e := range use[:fitting] {
		record = append(record, e...)
	}
	if fitting == len(use) {
		return record
	}
	return append(record, c.add(use[fitting:])...)
}

// add appends an area with entries, or a chain of them, and returns the CE entry that leads to it. That is always the last
// of its field or area, as there are readers that follow it at once.
func (c *continuation) add(use []useEntry) useEntry {
	length := 0
	for _, e := range use {
		length += len(e)
	}
	room := blockSize - len(c.data)%blockSize
	if length > room && (length <= blockSize || room < continuedSize+maxUseEntry) {
		c.data = padToBlock(c.data)
		room = blockSize
	}
	start := len(c.data)
	fitting := fit(use, room)
	for _, e := range use[:fitting] {
		c.data = append(c.data, e...)
	}
	end := len(c.data)
	if rest := use[fitting:]; len(rest) > 0 {
		c.data = append(c.data, make([]byte, continuedSize)...)
		end += continuedSize
		ce := c.add(rest)
		copy(c.data[end-continuedSize:end], ce)
	}
	ce := appendBoth32(nil, c.block+uint32(start/blockSize))
	ce = appendBoth32(ce, uint32(start%blockSize))
	ce = appendBoth32(ce, uint32(end-start))
	return newUse("CE", ce...)
}

// fit returns how many of the entries fit room bytes, with a CE entry behind them unless these are all.
func fit(use []useEntry, room int) int {
	used, withCE := 0, 0
	for i, e := range use {
		if used += len(e); used > room {
			return withCE
		}
		if used+continuedSize <= room {
			withCE = i + 1
		}
	}
	return len(use)
}
