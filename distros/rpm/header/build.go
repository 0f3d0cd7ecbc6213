package header

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
)

// StringEntry returns an entry of one string.
func StringEntry(t Tag, s string) Entry {
	return Entry{Tag: t, Type: String, Count: 1, Data: append([]byte(s), 0)}
}

// StringsEntry returns an entry of an array of strings.
func StringsEntry(t Tag, v ...string) Entry {
	return Entry{Tag: t, Type: StringArray, Count: uint32(len(v)), Data: []byte(strings.Join(v, "\x00") + "\x00")}
}

// I18NEntry returns an entry of a string for every locale of TagHeaderI18NTable.
func I18NEntry(t Tag, v ...string) Entry {
	e := StringsEntry(t, v...)
	e.Type = I18NString
	return e
}

// BytesEntry returns an entry of bytes.
func BytesEntry(t Tag, p []byte) Entry {
	return Entry{Tag: t, Type: Bin, Count: uint32(len(p)), Data: p}
}

// CharsEntry returns an entry of chars, the type of TagFileStates.
func CharsEntry(t Tag, p []byte) Entry {
	return Entry{Tag: t, Type: Char, Count: uint32(len(p)), Data: p}
}

// Uint16sEntry returns an entry of 16-bit integers.
func Uint16sEntry(t Tag, v ...uint16) Entry {
	e := Entry{Tag: t, Type: Int16, Count: uint32(len(v))}
	for _, n := range v {
		e.Data = binary.BigEndian.AppendUint16(e.Data, n)
	}
	return e
}

// Uint32sEntry returns an entry of 32-bit integers.
func Uint32sEntry(t Tag, v ...uint32) Entry {
	e := Entry{Tag: t, Type: Int32, Count: uint32(len(v))}
	for _, n := range v {
		e.Data = binary.BigEndian.AppendUint32(e.Data, n)
	}
	return e
}

// Uint64sEntry returns an entry of 64-bit integers.
func Uint64sEntry(t Tag, v ...uint64) Entry {
	e := Entry{Tag: t, Type: Int64, Count: uint32(len(v))}
	for _, n := range v {
		e.Data = binary.BigEndian.AppendUint64(e.Data, n)
	}
	return e
}

// Build assembles a header, without the magic, of entries, which it sorts by tag as
// rpm does. All of them belong to the region; a region of 0 makes a header without
// one, as rpm 3 did. What it makes is checked as Parse or ParseSignature would.
func Build(entries []Entry, region Tag) ([]byte, error) {
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b Entry) int { return int(a.Tag) - int(b.Tag) })
	var index, data []byte
	index, data = appendEntries(index, data, entries)
	if region != 0 {
		offset := uint32(len(data))
		length := uint32(len(index) + entryBytes)
		data = appendIndex(data, Entry{Tag: region, Type: Bin, Count: regionCount}, -length)
		index = append(appendIndex(nil, Entry{Tag: region, Type: Bin, Count: regionCount}, offset), index...)
	}
	blob := assemble(index, data)
	var err error
	if region == TagHeaderSignatures {
		_, err = ParseSignature(blob)
	} else {
		_, err = Parse(blob)
	}
	return blob, err
}

// With returns a header with more entries after its region, as the database keeps
// packages. They are sorted by tag; h must have a region, and nothing after it yet.
func (h *Header) With(entries ...Entry) (*Header, error) {
	if h.region == 0 || !h.IsWhole() {
		return nil, errors.New("the header has no region, or entries after it already")
	}
	il := binary.BigEndian.Uint32(h.blob)
	index, data := slices.Clone(h.blob[introBytes:introBytes+entryBytes*il]), slices.Clone(h.blob[introBytes+entryBytes*il:])
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b Entry) int { return int(a.Tag) - int(b.Tag) })
	index, data = appendEntries(index, data, entries)
	return Parse(assemble(index, data))
}

func appendEntries(index, data []byte, entries []Entry) ([]byte, []byte) {
	for _, e := range entries {
		if size := e.Type.size(); size > 1 {
			for len(data)%size != 0 {
				data = append(data, 0)
			}
		}
		index = appendIndex(index, e, uint32(len(data)))
		data = append(data, e.Data...)
	}
	return index, data
}

func appendIndex(index []byte, e Entry, offset uint32) []byte {
	for _, n := range [...]uint32{uint32(e.Tag), uint32(e.Type), offset, e.Count} {
		index = binary.BigEndian.AppendUint32(index, n)
	}
	return index
}

func assemble(index, data []byte) []byte {
	blob := binary.BigEndian.AppendUint32(nil, uint32(len(index)/entryBytes))
	blob = binary.BigEndian.AppendUint32(blob, uint32(len(data)))
	return append(append(blob, index...), data...)
}
