package installed

import (
	"encoding/binary"
	"testing"
)

// bdb returns a hash table of Berkeley DB with one package, whose header is given, on an overflow page.
func bdb(blob []byte) []byte {
	const size = 512
	le := binary.LittleEndian
	p := make([]byte, 3*size)
	le.PutUint32(p[12:], 0x061561)
	le.PutUint32(p[20:], size)
	le.PutUint32(p[32:], 2)
	hash := p[size : 2*size]
	le.PutUint16(hash[20:], 2)
	hash[25] = 13
	le.PutUint16(hash[26:], size-5)
	le.PutUint16(hash[28:], size-17)
	hash[size-5] = 1
	le.PutUint32(hash[size-4:], 1)
	hash[size-17] = 3
	le.PutUint32(hash[size-13:], 2)
	le.PutUint32(hash[size-9:], uint32(len(blob)))
	over := p[2*size:]
	le.PutUint16(over[22:], uint16(len(blob)))
	over[25] = 7
	copy(over[26:], blob)
	return p
}

func FuzzFormats(f *testing.F) {
	f.Add(bdb([]byte("\x00\x00\x00\x00\x00\x00\x00\x00")))
	ndb := make([]byte, 8192)
	copy(ndb, "RpmP")
	ndb[12] = 1
	f.Add(ndb)
	f.Fuzz(func(_ *testing.T, p []byte) {
		_, _ = decodeBDB(p)
		_, _ = decodeNDB(p)
		_, _ = parseAlternative("x", p)
	})
}
