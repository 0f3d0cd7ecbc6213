package sqlite

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// maxPages keeps files below the page that SQLite uses for locks (1 GiB), which must
// never hold data.
const maxPages = 1<<30/pageSize - 1

// writer collects the pages of a file. Page n is at (n-1)*pageSize.
type writer struct {
	pages []byte
}

// Encode returns the database file that has tables. It is not in WAL mode, in which SQLite
// could not open it on a file system that is read-only. The statements in SQL are not
// looked at; they have to agree with the rows.
func Encode(tables []Table) ([]byte, error) {
	w := &writer{}
	w.allocate() // page 1, the schema's root
	var schema []Row
	add := func(kind, name, table, sql string, root uint32) {
		schema = append(schema, Row{ID: int64(len(schema) + 1), Values: []any{kind, name, table, int64(root), sql}})
	}
	for _, t := range tables {
		cells, err := tableCells(w, t)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", t.Name, err)
		}
		add("table", t.Name, t.Name, t.SQL, w.table(cells, 0))
		for _, x := range t.Indexes {
			cells, err := indexCells(w, t, x)
			if err != nil {
				return nil, fmt.Errorf("index %s: %w", x.Name, err)
			}
			add("index", x.Name, t.Name, x.SQL, w.index(cells))
		}
	}
	cells, err := tableCells(w, Table{Rows: schema})
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	w.table(cells, 1)
	if n := len(w.pages) / pageSize; n > maxPages {
		return nil, fmt.Errorf("the database has %d MiB; this writer goes to 1024", len(w.pages)>>20)
	}
	w.header(uint32(len(schema)))
	return w.pages, nil
}

// header writes the file header (section 1.3).
func (w *writer) header(cookie uint32) {
	h := w.pages[:fileHeader]
	copy(h, magic)
	binary.BigEndian.PutUint16(h[16:], pageSize)
	h[18], h[19] = 1, 1              // write and read version: rollback journal
	h[21], h[22], h[23] = 64, 32, 32 // payload fractions, fixed
	const changes = 1                // number of transactions that wrote the file
	const library = 3_040_001        // SQLite whose output this is equal to, not that wrote it
	for offset, v := range map[int]uint32{
		24: changes,
		28: uint32(len(w.pages) / pageSize),
		40: cookie,
		44: 4, // schema format
		56: 1, // UTF-8
		92: changes,
		96: library,
	} {
		binary.BigEndian.PutUint32(h[offset:], v)
	}
}

// allocate adds an empty page and returns its number.
func (w *writer) allocate() uint32 {
	w.pages = append(w.pages, make([]byte, pageSize)...)
	return uint32(len(w.pages) / pageSize)
}

func (w *writer) page(n uint32) []byte { return w.pages[(n-1)*pageSize:][:pageSize] }

// cell is a b-tree cell without the page number of the child to its left.
type cell struct {
	key  int64 // rowid, in tables
	body []byte
}

// tableCells returns the leaf cells of a table.
func tableCells(w *writer, t Table) ([]cell, error) {
	cells := make([]cell, len(t.Rows))
	for i, r := range t.Rows {
		if i > 0 && t.Rows[i-1].ID >= r.ID {
			return nil, fmt.Errorf("row %d comes after row %d", r.ID, t.Rows[i-1].ID)
		}
		record, err := encodeRecord(r.Values)
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", r.ID, err)
		}
		body := appendVarint(nil, uint64(len(record)))
		body = appendVarint(body, uint64(r.ID))
		cells[i] = cell{key: r.ID, body: w.payload(leafTable, body, record)}
	}
	return cells, nil
}

// indexCells returns the cells of an index, sorted.
func indexCells(w *writer, t Table, x Index) ([]cell, error) {
	order := make([]int, len(t.Rows))
	for i, r := range t.Rows {
		if x.Column >= len(r.Values) {
			return nil, fmt.Errorf("row %d has no column %d", r.ID, x.Column)
		}
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(compareValues(t.Rows[a].Values[x.Column], t.Rows[b].Values[x.Column]), cmp.Compare(a, b))
	})
	cells := make([]cell, len(order))
	for i, n := range order {
		record, err := encodeRecord([]any{t.Rows[n].Values[x.Column], t.Rows[n].ID})
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", t.Rows[n].ID, err)
		}
		cells[i] = cell{body: w.payload(leafIndex, appendVarint(nil, uint64(len(record))), record)}
	}
	return cells, nil
}

// compareValues orders as SQLite does: NULL, integers, text, blobs.
func compareValues(a, b any) int {
	rank := func(v any) int {
		switch v.(type) {
		case nil:
			return 0
		case int64:
			return 1
		case string:
			return 2
		}
		return 3
	}
	if c := cmp.Compare(rank(a), rank(b)); c != 0 || a == nil {
		return c
	}
	switch a := a.(type) {
	case int64:
		return cmp.Compare(a, b.(int64))
	case string:
		return cmp.Compare(a, b.(string))
	}
	x, _ := a.([]byte)
	y, _ := b.([]byte)
	return bytes.Compare(x, y)
}

// payload appends record to the beginning of a cell, and puts what is too long into
// overflow pages: each the number of the next one, and bytes.
func (w *writer) payload(kind byte, body, record []byte) []byte {
	local := localSize(kind, pageSize, len(record))
	body = append(body, record[:local]...)
	rest := record[local:]
	if len(rest) == 0 {
		return body
	}
	next := w.allocate()
	body = binary.BigEndian.AppendUint32(body, next)
	for {
		n := copy(w.page(next)[4:], rest)
		if rest = rest[n:]; len(rest) == 0 {
			return body
		}
		following := w.allocate()
		binary.BigEndian.PutUint32(w.page(next), following)
		next = following
	}
}

// capacity is what cells and their 2-byte pointers may take of a page of the kind, in
// the b-tree whose root is page root.
func capacity(kind byte, root uint32) int {
	n := pageSize - 8
	if kind == interiorIndex || kind == interiorTable {
		n -= 4
	}
	if root == 1 { // kept free in all pages, so that any of them can be the root
		n -= fileHeader
	}
	return n
}

// table writes the b-tree of a table into new pages and returns its root's; root is 1
// for the schema and otherwise 0.
func (w *writer) table(cells []cell, root uint32) uint32 {
	room := capacity(leafTable, root)
	var groups [][]cell
	start, used := 0, 0
	for i, c := range cells {
		need := len(c.body) + 2
		if used+need > room {
			groups = append(groups, cells[start:i])
			start, used = i, 0
		}
		used += need
	}
	groups = append(groups, cells[start:])
	// Between two pages, the parent has the largest rowid of the left one.
	var separators []cell
	for _, g := range groups[:len(groups)-1] {
		last := g[len(g)-1].key
		separators = append(separators, cell{key: last, body: appendVarint(nil, uint64(last))})
	}
	return w.tree(leafTable, interiorTable, groups, separators, root)
}

// index writes the b-tree of an index into new pages and returns its root's.
func (w *writer) index(cells []cell) uint32 {
	// Between two pages, the parent has an entry of its own.
	groups, separators := split(cells, 0, capacity(leafIndex, 0))
	return w.tree(leafIndex, interiorIndex, groups, separators, 0)
}

// split distributes cells over pages with the given room. Between two pages one cell is
// left over, for the parent. A cell takes extra bytes besides its body and pointer.
func split(cells []cell, extra, room int) (groups [][]cell, separators []cell) {
	for {
		n, used := 0, 0
		for n < len(cells) {
			used += len(cells[n].body) + extra + 2
			if used > room {
				break
			}
			n++
		}
		if n == len(cells) {
			return append(groups, cells), separators
		}
		if n == len(cells)-1 {
			n-- // or the last page would have no cell; at least four fit into one
		}
		groups, separators = append(groups, cells[:n]), append(separators, cells[n])
		cells = cells[n+1:]
	}
}

// tree writes a level of leaves and what is needed above it, and returns the root's
// page.
func (w *writer) tree(leaf, interior byte, groups [][]cell, separators []cell, root uint32) uint32 {
	if len(groups) == 1 {
		return w.write(leaf, groups[0], nil, root)
	}
	var children []uint32
	for _, g := range groups {
		children = append(children, w.write(leaf, g, nil, 0))
	}
	for {
		groups, above := split(separators, 4, capacity(interior, root))
		if len(groups) == 1 {
			return w.write(interior, separators, children, root)
		}
		var parents []uint32
		for _, g := range groups {
			parents = append(parents, w.write(interior, g, children[:len(g)+1], 0))
			children = children[len(g)+1:]
		}
		children, separators = parents, above
	}
}

// write fills a page: number page, or a new one when that is 0. An interior page has one
// child more than cells.
func (w *writer) write(kind byte, cells []cell, children []uint32, page uint32) uint32 {
	start := 0
	switch page {
	case 0:
		page = w.allocate()
	case 1:
		start = fileHeader
	}
	p := w.page(page)
	h := p[start:]
	pointers := h[8:]
	if len(children) > 0 {
		binary.BigEndian.PutUint32(h[8:], children[len(cells)])
		pointers = h[12:]
	}
	end := len(p)
	for i, c := range cells {
		end -= copy(p[end-len(c.body):end], c.body)
		if len(children) > 0 {
			end -= 4
			binary.BigEndian.PutUint32(p[end:], children[i])
		}
		binary.BigEndian.PutUint16(pointers[2*i:], uint16(end))
	}
	h[0] = kind
	binary.BigEndian.PutUint16(h[3:], uint16(len(cells)))
	binary.BigEndian.PutUint16(h[5:], uint16(end))
	return page
}

// encodeRecord returns values in the record format (section 2.1).
func encodeRecord(values []any) ([]byte, error) {
	var types, body []byte
	for _, v := range values {
		var kind uint64
		switch v := v.(type) {
		case nil:
		case int64:
			var size int
			kind, size = integerType(v)
			for i := size - 1; i >= 0; i-- {
				body = append(body, byte(v>>(8*i)))
			}
		case string:
			kind = 13 + 2*uint64(len(v))
			body = append(body, v...)
		case []byte:
			kind = 12 + 2*uint64(len(v))
			body = append(body, v...)
		default:
			return nil, fmt.Errorf("a value is a %T, which a database cannot hold", v)
		}
		types = appendVarint(types, kind)
	}
	// The header's length counts itself.
	size := len(types) + 1
	if size > 127 {
		size++
	}
	record := appendVarint(make([]byte, 0, size+len(body)), uint64(size))
	return append(append(record, types...), body...), nil
}

// integerType returns the serial type of an integer, and its bytes.
func integerType(v int64) (kind uint64, size int) {
	switch {
	case v == 0:
		return 8, 0
	case v == 1:
		return 9, 0
	case int64(int8(v)) == v:
		return 1, 1
	case int64(int16(v)) == v:
		return 2, 2
	case v<<40>>40 == v:
		return 3, 3
	case int64(int32(v)) == v:
		return 4, 4
	case v<<16>>16 == v:
		return 5, 6
	}
	return 6, 8
}

// appendVarint appends v in groups of seven bits, most significant first; the ninth byte
// has eight.
func appendVarint(p []byte, v uint64) []byte {
	if v >= 1<<56 {
		for shift := 57; shift >= 8; shift -= 7 {
			p = append(p, byte(v>>shift)|0x80)
		}
		return append(p, byte(v))
	}
	shift := 49
	for shift > 0 && v>>shift == 0 {
		shift -= 7
	}
	for ; shift > 0; shift -= 7 {
		p = append(p, byte(v>>shift)|0x80)
	}
	return append(p, byte(v)&0x7f)
}
