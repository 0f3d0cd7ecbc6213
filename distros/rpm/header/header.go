package header

import (
	"bytes"
	"encoding/binary"

	"fmt"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm"
)

// Magic comes before a header in a package file.
const Magic = "\x8e\xad\xe8\x01\x00\x00\x00\x00"

// Limits of what Parse accepts; they are rpm's.
const (
	MaxEntries          = 0xffff
	MaxData             = 0x0fffffff // bytes
	MaxSignatureEntries = 32
	MaxSignatureData    = 64 << 20 // bytes

	introBytes  = 8
	entryBytes  = 16
	lowestTag   = TagHeaderI18NTable // lower ones are regions
	regionCount = entryBytes
)

// A Type is the type of an entry's data.
type Type uint32

// The types.
const (
	Char Type = 1 + iota
	Int8
	Int16
	Int32
	Int64
	String // exactly one
	Bin
	StringArray
	I18NString // one for each locale; the first is that of the C locale
)

var typeNames = [...]string{Char: "char", Int8: "int8", Int16: "int16", Int32: "int32", Int64: "int64", String: "string", Bin: "bin", StringArray: "string array", I18NString: "i18n string"}

// String returns the name of the type.
func (t Type) String() string {
	if t >= Char && t <= I18NString {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// size returns the bytes of one item, or 0 for strings.
func (t Type) size() int {
	switch t {
	case Int16:
		return 2
	case Int32:
		return 4
	case Int64:
		return 8
	case String, StringArray, I18NString:
		return 0
	}
	return 1
}

// isText reports whether the data is strings.
func (t Type) isText() bool { return t.size() == 0 }

// An Entry is one tag of a header.
type Entry struct {
	Tag   Tag
	Type  Type
	Count uint32 // items: integers, bytes or strings
	Data  []byte // as in the header: big-endian integers, strings ending in NUL
}

// A Header is a parsed header. It is not modified.
type Header struct {
	blob    []byte
	region  Tag // 0: none
	entries []Entry
	index   map[Tag]int
	files   []File
}

// A FormatError says what is wrong with a header.
type FormatError struct{ Reason string }

// Error gives the reason.
func (e *FormatError) Error() string { return "the header is malformed: " + e.Reason }

func malformed(format string, args ...any) error {
	return &FormatError{Reason: fmt.Sprintf(format, args...)}
}

// Parse reads a package's header: its index and data without the magic before them.
// It keeps blob, which must not change afterwards. The error is a *FormatError.
func Parse(blob []byte) (*Header, error) {
	h, err := parse(blob, false)
	if err != nil {
		return nil, err
	}
	if err := h.checkArrays(); err != nil {
		return nil, err
	}
	h.files = h.readFiles()
	return h, nil
}

// ParseSignature reads the header that holds a package file's signatures, in which
// the tags from 1000 on are the SigTag constants. The error is a *FormatError.
func ParseSignature(blob []byte) (*Header, error) {
	return parse(blob, true)
}

// tagType returns the type that a tag's data must have, or 0.
func tagType(t Tag, signature bool) Type {
	if signature && t >= firstPackageTag {
		return signatureTypes[t]
	}
	return tags[t].kind
}

// parse reads a package's or a signature header.
func parse(blob []byte, signature bool) (*Header, error) {
	maxEntries, maxData := uint32(MaxEntries), uint32(MaxData)
	if signature {
		maxEntries, maxData = MaxSignatureEntries, MaxSignatureData
	}
	if len(blob) < introBytes {
		return nil, malformed("it is cut short")
	}
	il, dl := binary.BigEndian.Uint32(blob), binary.BigEndian.Uint32(blob[4:])
	switch {
	case il == 0 || il > maxEntries:
		return nil, malformed("%d entries are none or too many", il)
	case dl > maxData:
		return nil, malformed("%d bytes of data are too many", dl)
	}
	if want := introBytes + entryBytes*int64(il) + int64(dl); int64(len(blob)) != want {
		return nil, malformed("it has %d bytes instead of %d", len(blob), want)
	}
	index, data := blob[introBytes:introBytes+entryBytes*il], blob[introBytes+entryBytes*il:]
	h := &Header{blob: blob, index: make(map[Tag]int, il), entries: make([]Entry, 0, il)}
	regionEntries, regionEnd, err := h.parseRegion(index, data)
	if err != nil {
		return nil, err
	}
	first := 0
	if h.region != 0 {
		if (h.region == TagHeaderSignatures) != signature {
			return nil, malformed("it is a header of another kind: its region is %v", h.region)
		}
		first = 1
	}
	end := uint32(0) // of the data so far
	for i := first; i < int(il); i++ {
		e, offset, err := parseEntry(index[i*entryBytes:], data)
		if err != nil {
			return nil, err
		}
		if offset < end {
			return nil, malformed("the data of tag %v overlaps what comes before", e.Tag)
		}
		end = offset + uint32(len(e.Data))
		inRegion := i < regionEntries
		if inRegion && end > regionEnd-regionCount || !inRegion && offset < regionEnd {
			return nil, malformed("the data of tag %v crosses the end of the region", e.Tag)
		}
		if want := tagType(e.Tag, signature); want != 0 && !compatible(want, e.Type) {
			return nil, malformed("tag %v has the type %v instead of %v", e.Tag, e.Type, want)
		}
		if err := h.add(e, inRegion); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// parseRegion reads the first entry when it is a region and returns the number of
// its entries and where its data ends; without a region both are 0.
func (h *Header) parseRegion(index, data []byte) (entries int, end uint32, err error) {
	tag := Tag(binary.BigEndian.Uint32(index))
	if tag < TagHeaderImage || tag > TagHeaderImmutable {
		return 0, 0, nil
	}
	kind, offset, count := Type(binary.BigEndian.Uint32(index[4:])), binary.BigEndian.Uint32(index[8:]), binary.BigEndian.Uint32(index[12:])
	if kind != Bin || count != regionCount || uint64(offset)+regionCount > uint64(len(data)) {
		return 0, 0, malformed("the region's entry is wrong or its trailer lies outside of the data")
	}
	trailer := data[offset:]
	trailerTag := Tag(binary.BigEndian.Uint32(trailer))
	if tag == TagHeaderSignatures && trailerTag == TagHeaderImage {
		trailerTag = tag // so did rpm 4.0
	}
	length := -int64(int32(binary.BigEndian.Uint32(trailer[8:])))
	switch {
	case trailerTag != tag, Type(binary.BigEndian.Uint32(trailer[4:])) != Bin, binary.BigEndian.Uint32(trailer[12:]) != regionCount:
		return 0, 0, malformed("the region has no trailer")
	case length <= 0, length%entryBytes != 0, length > int64(len(index)):
		return 0, 0, malformed("the region is longer than the header")
	}
	h.region = tag
	return int(length / entryBytes), offset + regionCount, nil
}

// parseEntry reads an index entry and finds its data.
func parseEntry(p, data []byte) (Entry, uint32, error) {
	e := Entry{Tag: Tag(binary.BigEndian.Uint32(p)), Type: Type(binary.BigEndian.Uint32(p[4:])), Count: binary.BigEndian.Uint32(p[12:])}
	offset := binary.BigEndian.Uint32(p[8:])
	switch {
	case e.Tag < lowestTag || int32(e.Tag) < 0:
		return e, 0, malformed("the tag %d is out of range", uint32(e.Tag))
	case e.Type < Char || e.Type > I18NString:
		return e, 0, malformed("tag %v has the unknown type %d", e.Tag, uint32(e.Type))
	case e.Count == 0 || e.Count > MaxData:
		return e, 0, malformed("tag %v has %d items", e.Tag, e.Count)
	case int64(offset) > int64(len(data)):
		return e, 0, malformed("the data of tag %v lies outside of the header", e.Tag)
	}
	rest := data[offset:]
	size := e.Type.size()
	if size > 0 {
		if n := uint64(size) * uint64(e.Count); offset%uint32(size) != 0 || n > uint64(len(rest)) {
			return e, 0, malformed("the data of tag %v is not aligned or longer than the header", e.Tag)
		}
		e.Data = rest[: size*int(e.Count) : size*int(e.Count)]
		return e, offset, nil
	}
	if e.Type == String && e.Count != 1 {
		return e, 0, malformed("tag %v is %d strings instead of one", e.Tag, e.Count)
	}
	n := 0
	for range e.Count {
		i := bytes.IndexByte(rest[n:], 0)
		if i < 0 {
			return e, 0, malformed("the strings of tag %v are longer than the header", e.Tag)
		}
		n += i + 1
	}
	e.Data = rest[:n:n]
	return e, offset, nil
}

// compatible reports whether data of a type can stand for another: rpm itself writes
// one string for an array of one, and calls bytes by three names.
func compatible(want, got Type) bool {
	if want.isText() {
		return got.isText()
	}
	return want == got || want.size() == 1 && got.size() == 1
}

// add takes an entry in. One that the database added replaces one of the region.
func (h *Header) add(e Entry, inRegion bool) error {
	if i, ok := h.index[e.Tag]; ok {
		if inRegion || h.region == 0 {
			return malformed("tag %v is there twice", e.Tag)
		}
		h.entries[i] = e
		return nil
	}
	h.index[e.Tag] = len(h.entries)
	h.entries = append(h.entries, e)
	return nil
}

// Blob returns the header as it was parsed. The caller must not change it.
func (h *Header) Blob() []byte { return h.blob }

// Region returns the tag of the header's region, or 0.
func (h *Header) Region() Tag { return h.region }

// IsWhole reports whether nothing stands outside the region, as in a package file.
// A header without a region, as of rpm 3, is whole.
func (h *Header) IsWhole() bool {
	if h.region == 0 {
		return true
	}
	index := h.blob[introBytes:]
	il, dl := binary.BigEndian.Uint32(h.blob), binary.BigEndian.Uint32(h.blob[4:])
	offset := binary.BigEndian.Uint32(index[8:])
	trailer := index[entryBytes*il+offset:]
	return offset+regionCount == dl && -int64(int32(binary.BigEndian.Uint32(trailer[8:]))) == entryBytes*int64(il)
}

// Entries returns all entries but the region, in the header's order. The caller must
// not change them.
func (h *Header) Entries() []Entry { return h.entries }

// Get returns the entry with a tag.
func (h *Header) Get(t Tag) (Entry, bool) {
	i, ok := h.index[t]
	if !ok {
		return Entry{}, false
	}
	return h.entries[i], true
}

// Has reports whether the header has a tag.
func (h *Header) Has(t Tag) bool { _, ok := h.index[t]; return ok }

// Count returns the number of items of a tag; 0 when it is not there.
func (h *Header) Count(t Tag) int { e, _ := h.Get(t); return int(e.Count) }

// String returns a tag's string, the first of several; "" when there is none.
func (h *Header) String(t Tag) string {
	e, ok := h.Get(t)
	if !ok || !e.Type.isText() {
		return ""
	}
	s, _, _ := bytes.Cut(e.Data, []byte{0})
	return string(s)
}

// Strings returns a tag's strings; nil when there are none.
func (h *Header) Strings(t Tag) []string {
	e, ok := h.Get(t)
	if !ok || !e.Type.isText() {
		return nil
	}
	return strings.Split(string(e.Data[:len(e.Data)-1]), "\x00")
}

// Uint16s returns a tag's 16-bit integers; nil when there are none.
func (h *Header) Uint16s(t Tag) []uint16 {
	e, ok := h.Get(t)
	if !ok || e.Type != Int16 {
		return nil
	}
	v := make([]uint16, e.Count)
	for i := range v {
		v[i] = binary.BigEndian.Uint16(e.Data[2*i:])
	}
	return v
}

// Uint32s returns a tag's 32-bit integers; nil when there are none.
func (h *Header) Uint32s(t Tag) []uint32 {
	e, ok := h.Get(t)
	if !ok || e.Type != Int32 {
		return nil
	}
	v := make([]uint32, e.Count)
	for i := range v {
		v[i] = binary.BigEndian.Uint32(e.Data[4*i:])
	}
	return v
}

// Uint64s returns a tag's 64-bit integers; nil when there are none.
func (h *Header) Uint64s(t Tag) []uint64 {
	e, ok := h.Get(t)
	if !ok || e.Type != Int64 {
		return nil
	}
	v := make([]uint64, e.Count)
	for i := range v {
		v[i] = binary.BigEndian.Uint64(e.Data[8*i:])
	}
	return v
}

// Uint32 returns a tag's first 32-bit integer; ok is false when there is none.
func (h *Header) Uint32(t Tag) (v uint32, ok bool) {
	e, ok := h.Get(t)
	if !ok || e.Type != Int32 {
		return 0, false
	}
	return binary.BigEndian.Uint32(e.Data), true
}

// Bytes returns a tag's data of bytes; nil when there is none. The caller must not
// change it.
func (h *Header) Bytes(t Tag) []byte {
	e, ok := h.Get(t)
	if !ok || e.Type.size() != 1 {
		return nil
	}
	return e.Data
}

// Name returns the name of the package.
func (h *Header) Name() string { return h.String(TagName) }

// Arch returns the architecture of the package: "x86_64", "noarch".
func (h *Header) Arch() string { return h.String(TagArch) }

// EVR returns the epoch, version and release of the package.
func (h *Header) EVR() rpm.EVR {
	epoch, _ := h.Uint32(TagEpoch)
	return rpm.EVR{Epoch: epoch, Version: h.String(TagVersion), Release: h.String(TagRelease)}
}

// NEVRA returns name, version and architecture: "bash-5.1.8-9.el9.x86_64", with "5:"
// before a version whose epoch is 5.
func (h *Header) NEVRA() string { return h.Name() + "-" + h.EVR().String() + "." + h.Arch() }

// IsSource reports whether the package is a source package.
func (h *Header) IsSource() bool { return !h.Has(TagSourceRPM) }
