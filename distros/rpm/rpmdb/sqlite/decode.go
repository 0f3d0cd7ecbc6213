package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// reader reads one database file.
type reader struct {
	data     []byte
	pageSize int
	usable   int // bytes of a page that hold data
	// seen are the pages in use, so that damaged files cannot send the reader in circles,
	// or make it return more than the file has.
	seen []bool
}

// Rows returns the rows of a table in a database file, IDs ascending in an intact one. It
// reads the file as it is: changes that lie in a write-ahead log beside it are not there.
// The error is ErrNoTable, or says what is damaged and in which page.
func Rows(db []byte, table string) ([]Row, error) {
	r, err := newReader(db)
	if err != nil {
		return nil, err
	}
	schema, err := r.rows(1)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	for _, row := range schema {
		if len(row.Values) < 4 || row.Values[0] != "table" {
			continue
		}
		name, _ := row.Values[1].(string)
		root, ok := row.Values[3].(int64)
		if !ok || !strings.EqualFold(name, table) {
			continue
		}
		rows, err := r.rows(root)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", table, err)
		}
		return rows, nil
	}
	return nil, fmt.Errorf("%s: %w", table, ErrNoTable)
}

// newReader checks the file header.
func newReader(db []byte) (*reader, error) {
	if len(db) < fileHeader || !bytes.HasPrefix(db, []byte(magic)) {
		return nil, errors.New("this is not an SQLite 3 database")
	}
	size := int(binary.BigEndian.Uint16(db[16:]))
	if size == 1 {
		size = 1 << 16
	}
	if size < 512 || size&(size-1) != 0 {
		return nil, fmt.Errorf("the page size %d is none of SQLite's", size)
	}
	usable := size - int(db[20])
	if usable < 480 {
		return nil, fmt.Errorf("only %d bytes of each page are usable; at least 480 have to be", usable)
	}
	if e := binary.BigEndian.Uint32(db[56:]); e > 1 {
		return nil, fmt.Errorf("the text encoding %d is not UTF-8", e)
	}
	if len(db) < size {
		return nil, fmt.Errorf("the file ends after %d bytes, within the first page", len(db))
	}
	return &reader{data: db, pageSize: size, usable: usable, seen: make([]bool, len(db)/size+1)}, nil
}

// page returns the usable part of page n, once.
func (r *reader) page(n int64) ([]byte, error) {
	if n < 1 || n >= int64(len(r.seen)) {
		return nil, fmt.Errorf("page %d is beyond the end of the file", n)
	}
	if r.seen[n] {
		return nil, fmt.Errorf("page %d is in use twice", n)
	}
	r.seen[n] = true
	return r.data[(n-1)*int64(r.pageSize):][:r.usable], nil
}

// rows returns all rows below a page of a table's b-tree.
func (r *reader) rows(root int64) ([]Row, error) {
	var rows []Row
	for queue := []int64{root}; len(queue) > 0; {
		n := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		found, children, err := r.node(n)
		if err != nil {
			return nil, fmt.Errorf("page %d: %w", n, err)
		}
		rows = append(rows, found...)
		for i := len(children) - 1; i >= 0; i-- { // the leftmost comes next
			queue = append(queue, children[i])
		}
	}
	return rows, nil
}

// node returns the rows of a leaf, or the children of an interior page.
func (r *reader) node(n int64) (rows []Row, children []int64, err error) {
	p, err := r.page(n)
	if err != nil {
		return nil, nil, err
	}
	h := p
	if n == 1 {
		h = p[fileHeader:]
	}
	kind, size := h[0], 8
	if kind == interiorTable {
		size = 12
	} else if kind != leafTable {
		return nil, nil, fmt.Errorf("type %d is none of a table's", kind)
	}
	cells := int(binary.BigEndian.Uint16(h[3:]))
	if size+2*cells > len(h) {
		return nil, nil, fmt.Errorf("%d cells do not fit", cells)
	}
	for i := range cells {
		at := int(binary.BigEndian.Uint16(h[size+2*i:]))
		if at+4 > len(p) {
			return nil, nil, fmt.Errorf("cell %d is outside", i)
		}
		if kind == interiorTable {
			children = append(children, int64(binary.BigEndian.Uint32(p[at:])))
			continue
		}
		row, err := r.row(p[at:])
		if err != nil {
			return nil, nil, fmt.Errorf("cell %d: %w", i, err)
		}
		rows = append(rows, row)
	}
	if kind == interiorTable {
		children = append(children, int64(binary.BigEndian.Uint32(h[8:])))
	}
	return rows, children, nil
}

// row reads a leaf's cell, which begins p.
func (r *reader) row(p []byte) (Row, error) {
	length, p, ok := varint(p)
	if !ok || length > uint64(len(r.data)) {
		return Row{}, errors.New("its length is wrong")
	}
	id, p, ok := varint(p)
	if !ok {
		return Row{}, errors.New("it has no rowid")
	}
	record, err := r.payload(p, int(length))
	if err != nil {
		return Row{}, err
	}
	values, err := decodeRecord(record)
	return Row{ID: int64(id), Values: values}, err
}

// payload returns the payload of length bytes that begins with p.
func (r *reader) payload(p []byte, length int) ([]byte, error) {
	local := localSize(leafTable, r.usable, length)
	if local == length {
		if length > len(p) {
			return nil, errors.New("it runs out of the page")
		}
		return p[:length], nil
	}
	if local+4 > len(p) {
		return nil, errors.New("it runs out of the page")
	}
	payload := append(make([]byte, 0, length), p[:local]...)
	for next := int64(binary.BigEndian.Uint32(p[local:])); len(payload) < length; {
		o, err := r.page(next)
		if err != nil {
			return nil, fmt.Errorf("overflow: %w", err)
		}
		next = int64(binary.BigEndian.Uint32(o))
		payload = append(payload, o[4:][:min(len(o)-4, length-len(payload))]...)
	}
	return payload, nil
}

// decodeRecord returns the values of a record.
func decodeRecord(p []byte) ([]any, error) {
	size, types, ok := varint(p)
	if !ok || size > uint64(len(p)) || int(size) < len(p)-len(types) {
		return nil, errors.New("the record's header is cut off")
	}
	body := p[size:]
	types = types[:int(size)-(len(p)-len(types))]
	var values []any
	for len(types) > 0 {
		var kind uint64
		if kind, types, ok = varint(types); !ok {
			return nil, errors.New("the record's header is cut off")
		}
		size, ok := valueSize(kind)
		if !ok {
			return nil, fmt.Errorf("column %d has the type %d, which this reader does not know", len(values), kind)
		}
		if size > uint64(len(body)) {
			return nil, fmt.Errorf("column %d runs out of the record", len(values))
		}
		values = append(values, decodeValue(kind, body[:size]))
		body = body[size:]
	}
	return values, nil
}

// valueSize returns how many bytes a value of a serial type has. Floating-point numbers
// are not supported.
func valueSize(kind uint64) (uint64, bool) {
	switch {
	case kind <= 4:
		return kind, true
	case kind == 5:
		return 6, true
	case kind == 6:
		return 8, true
	case kind == 8 || kind == 9:
		return 0, true
	case kind >= 12:
		return (kind - 12) / 2, true
	}
	return 0, false
}

// decodeValue returns the value of a serial type in p, which it keeps when it is a blob.
func decodeValue(kind uint64, p []byte) any {
	switch {
	case kind == 0:
		return nil
	case kind == 8 || kind == 9:
		return int64(kind - 8)
	case kind < 12:
		v := int64(int8(p[0]))
		for _, b := range p[1:] {
			v = v<<8 | int64(b)
		}
		return v
	case kind%2 == 0:
		return p
	}
	return string(p)
}

// varint returns the number at the beginning of p, and what follows it.
func varint(p []byte) (v uint64, rest []byte, ok bool) {
	for i, b := range p {
		if i == 8 {
			return v<<8 | uint64(b), p[9:], true
		}
		v = v<<7 | uint64(b&0x7f)
		if b < 0x80 {
			return v, p[i+1:], true
		}
	}
	return 0, nil, false
}
