package rpmdb

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// Encode returns the database of headers as Decode gives them, which are in the order of their
// installation: a database without some of its packages, or with other states of
// files. Equal headers give equal bytes.
func Encode(headers []*header.Header) ([]byte, error) { return encode(headers) }

// WithStates returns a header of a database with other states of its files (FileNormal …), one for
// each file in the header's order. Nothing else of it changes, so what is signed stays as it
// is.
func WithStates(h *header.Header, states []byte) (*header.Header, error) {
	old := h.Bytes(header.TagFileStates)
	if len(old) != len(states) || len(old) == 0 {
		return nil, fmt.Errorf("there are states for %d files, and the header has %d", len(states), len(old))
	}
	// An index entry is tag, type, offset and count; two lengths come before the index
	// (see package header).
	const intro, entry = 8, 16
	blob := append([]byte(nil), h.Blob()...)
	count := int(binary.BigEndian.Uint32(blob))
	for i := range count {
		e := blob[intro+entry*i:]
		if header.Tag(binary.BigEndian.Uint32(e)) == header.TagFileStates {
			copy(blob[intro+entry*count+int(binary.BigEndian.Uint32(e[8:])):], states)
			return header.Parse(blob)
		}
	}
	return nil, errors.New("the header has no states of files")
}
