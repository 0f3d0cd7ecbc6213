package installed

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// record is a header with the number under which a database has it.
type record struct {
	number uint32
	blob   []byte
}

// headersOf parses records in the order of their numbers, which is that of installation.
func headersOf(records []record) ([]*header.Header, error) {
	slices.SortFunc(records, func(a, b record) int { return cmp.Compare(a.number, b.number) })
	headers := make([]*header.Header, len(records))
	for i, r := range records {
		var err error
		if headers[i], err = header.Parse(r.blob); err != nil {
			return nil, fmt.Errorf("package %d: %w", r.number, err)
		}
	}
	return headers, nil
}

// decodeNDB returns the headers in the contents of Packages.db, rpm's own format
// (rpm's lib/backend/ndb/rpmpkg.c). All integers are little-endian. The first pages, of 4096
// bytes each, have slots of 16 bytes; the first two slots are the header of the file:
//
//	0  "RpmP"     4  version, 0     8  generation    12  number of slot pages
//
// and the others "Slot", number of the package, where its blob is and how long that is, both in
// blocks of 16 bytes. A package of number 0 is a free slot. A blob begins with "BlbS", the number,
// the generation and the length of the header that follows, in bytes.
func decodeNDB(p []byte) ([]*header.Header, error) {
	const page, block, slot = 4096, 16, 16
	le := binary.LittleEndian
	if len(p) < page || string(p[:4]) != "RpmP" {
		return nil, errors.New("it is no package database in the ndb format")
	}
	if v := le.Uint32(p[4:]); v != 0 {
		return nil, fmt.Errorf("it has version %d of the ndb format, and only 0 is known", v)
	}
	end := int64(le.Uint32(p[12:])) * page
	if end > int64(len(p)) {
		return nil, errors.New("its slots reach beyond its end: it is damaged")
	}
	var records []record
	for at := int64(2 * slot); at < end; at += slot {
		s := p[at:]
		if string(s[:4]) != "Slot" {
			return nil, fmt.Errorf("there is no slot at byte %d: it is damaged", at)
		}
		number := le.Uint32(s[4:])
		if number == 0 {
			continue
		}
		from := int64(le.Uint32(s[8:])) * block
		if from+16 > int64(len(p)) || string(p[from:from+4]) != "BlbS" || le.Uint32(p[from+4:]) != number {
			return nil, fmt.Errorf("package %d is not at byte %d: it is damaged", number, from)
		}
		length := int64(le.Uint32(p[from+12:]))
		if from+16+length > int64(len(p)) {
			return nil, fmt.Errorf("package %d reaches beyond the end: it is damaged", number)
		}
		records = append(records, record{number, p[from+16 : from+16+length]})
	}
	return headersOf(records)
}

// decodeBDB returns the headers in the contents of Packages, a hash table of Berkeley DB
// (its src/dbinc/db_page.h) in the byte order of the machine that wrote it. Page 0 describes the
// table:
//
//	12  u32  magic 0x061561      20  u32  bytes of a page      32  u32  number of the last page
//
// and every other page begins with
//
//	8  u32  its number    16  u32  the next page    20  u16  number of items
//	22  u16  on overflow pages, bytes of data    25  u8  type
//	26  u16  where items are, for each one
//
// Pages of types 2 and 13 have keys and values in turn; a value begins with its kind: 1 is followed by
// the value itself, which reaches to where the item before it begins, and 3, at 4 and 8, by
// the first of the overflow pages (type 7) that have it and its length. A key is the number of a
// package, and 0 that of the last one.
func decodeBDB(p []byte) ([]*header.Header, error) {
	const magic, headerSize = 0x061561, 26
	if len(p) < 512 {
		return nil, errors.New("it is no hash table of Berkeley DB")
	}
	var order binary.ByteOrder = binary.LittleEndian
	if order.Uint32(p[12:]) != magic {
		order = binary.BigEndian
	}
	if order.Uint32(p[12:]) != magic {
		return nil, errors.New("it is no hash table of Berkeley DB")
	}
	size := int64(order.Uint32(p[20:]))
	if size < 512 || size > 65536 || size&(size-1) != 0 {
		return nil, fmt.Errorf("its pages would have %d bytes: it is damaged", size)
	}
	page := func(n int64) ([]byte, error) {
		if n <= 0 || (n+1)*size > int64(len(p)) {
			return nil, fmt.Errorf("page %d does not exist: it is damaged", n)
		}
		return p[n*size : (n+1)*size], nil
	}
	overflow := func(n int64, length uint32) ([]byte, error) {
		if int64(length) > int64(len(p)) {
			return nil, fmt.Errorf("a value on page %d is longer than the file: it is damaged", n)
		}
		value := make([]byte, 0, length)
		for n != 0 {
			b, err := page(n)
			if err != nil {
				return nil, err
			}
			used := int64(order.Uint16(b[22:]))
			if b[25] != 7 || used == 0 || headerSize+used > size || len(value)+int(used) > int(length) {
				return nil, fmt.Errorf("page %d does not continue a value: it is damaged", n)
			}
			value = append(value, b[headerSize:headerSize+used]...)
			n = int64(order.Uint32(b[16:]))
		}
		if len(value) != int(length) {
			return nil, fmt.Errorf("a value has %d bytes instead of %d: it is damaged", len(value), length)
		}
		return value, nil
	}
	var records []record
	for n := int64(1); n <= int64(order.Uint32(p[32:])); n++ {
		b, err := page(n)
		if err != nil {
			return nil, err
		}
		if b[25] != 2 && b[25] != 13 {
			continue
		}
		items := int64(order.Uint16(b[20:]))
		if headerSize+2*items > size {
			return nil, fmt.Errorf("page %d has %d items: it is damaged", n, items)
		}
		end := size
		item := func(i int64) ([]byte, error) { // the items lie from the end of the page backwards
			from := int64(order.Uint16(b[headerSize+2*i:]))
			if from < headerSize+2*items || from >= end {
				return nil, fmt.Errorf("item %d of page %d is outside of it: it is damaged", i, n)
			}
			v := b[from:end]
			end = from
			return v, nil
		}
		for i := int64(0); i+1 < items; i += 2 {
			key, err := item(i)
			if err != nil {
				return nil, err
			}
			value, err := item(i + 1)
			if err != nil {
				return nil, err
			}
			if len(key) != 5 || key[0] != 1 {
				return nil, fmt.Errorf("item %d of page %d is not the number of a package: it is damaged", i, n)
			}
			number := order.Uint32(key[1:])
			if number == 0 {
				continue
			}
			switch {
			case value[0] == 1:
				value = value[1:]
			case value[0] == 3 && len(value) >= 12:
				if value, err = overflow(int64(order.Uint32(value[4:])), order.Uint32(value[8:])); err != nil {
					return nil, err
				}
			default:
				return nil, fmt.Errorf("package %d is kept in an unknown way", number)
			}
			records = append(records, record{number, value})
		}
	}
	return headersOf(records)
}
