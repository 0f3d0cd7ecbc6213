package iso

// Flags of directory records (ECMA-119 9.1.6).
const (
	flagDirectory = 1 << 1
	flagContinues = 1 << 7 // a further section of the file follows in the next record
)

const (
	recordHeader = 33  // bytes of a directory record before the identifier
	maxRecord    = 254 // its length is one byte, and even

	// Identifiers of a directory itself and of the one above it (ECMA-119 6.8.2.2).
	idSelf, idParent = "\x00", "\x01"
)

// directory returns the blocks of d: its records and behind them the continuation areas of their system use fields. It
// sets d.records.
func (m *medium) directory(d *node) []byte {
	w := directoryWriter{stamp: m.stamp, areas: continuation{block: d.block + uint32(d.records/blockSize)}}
	w.add(idSelf, d, describe(d, m.stamp, d == m.root))
	w.add(idParent, d.parent, describe(d.parent, m.stamp, false))
	for _, c := range d.children {
		w.add(c.id.String(), c, append(describe(c, m.stamp, false), describeName(c)...))
	}
	w.records = padToBlock(w.records)
	d.records = int64(len(w.records))
	return append(w.records, padToBlock(w.areas.data)...)
}

// directoryWriter collects the records of one directory.
type directoryWriter struct {
	stamp   [7]byte
	records []byte
	areas   continuation
}

// add appends the record of n, or several when its contents do not fit one section.
func (w *directoryWriter) add(id string, n *node, use []useEntry) {
	if n.isDir() {
		w.addSection(id, n.block, uint32(n.records), flagDirectory, use)
		return
	}
	block, left := n.block, n.size
	for left > maxSection {
		w.addSection(id, block, maxSection, flagContinues, use)
		block, left = block+maxSection/blockSize, left-maxSection
	}
	w.addSection(id, block, uint32(left), 0, use)
}

// addSection appends one record (ECMA-119 9.1). None of them crosses the end of a block.
func (w *directoryWriter) addSection(id string, block, size uint32, flags byte, use []useEntry) {
	r := appendRecordHeader(make([]byte, 0, maxRecord), id, block, size, flags, w.stamp)
	r = w.areas.appendUse(r, maxRecord, use)
	if len(r)%2 != 0 {
		r = append(r, 0)
	}
	r[0] = byte(len(r))
	if len(w.records)%blockSize+len(r) > blockSize {
		w.records = padToBlock(w.records)
	}
	w.records = append(w.records, r...)
}

// appendRecordHeader appends a record without system use field, whose length is right if it stays so.
func appendRecordHeader(b []byte, id string, block, size uint32, flags byte, stamp [7]byte) []byte {
	start := len(b)
	b = append(b, 0, 0) // length, to come; no extended attributes
	b = appendBoth32(b, block)
	b = appendBoth32(b, size)
	b = append(b, stamp[:]...)
	b = append(b, flags, 0, 0) // not interleaved
	b = appendBoth16(b, 1)     // volume
	b = append(b, byte(len(id)))
	b = append(b, id...)
	if len(id)%2 == 0 {
		b = append(b, 0)
	}
	b[start] = byte(len(b) - start)
	return b
}

// padToBlock fills the last block of b with zeros.
func padToBlock(b []byte) []byte {
	return append(b, make([]byte, blocks(int64(len(b)))*blockSize-int64(len(b)))...)
}
