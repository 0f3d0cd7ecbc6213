package tree

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/imagefactory/imagefactory/stages/store"
)

const magic = "IFTREE1\n"

// Encode returns the tree's canonical encoding.
func (t *Tree) Encode() []byte {
	p := make([]byte, 0, len(magic)+64*len(t.entries))
	p = append(p, magic...)
	p = binary.AppendUvarint(p, uint64(len(t.entries)))
	previous := ""
	for i := range t.entries {
		e := &t.entries[i]
		shared := sharedPrefix(previous, e.Path)
		previous = e.Path
		p = binary.AppendUvarint(p, uint64(shared))
		p = appendString(p, e.Path[shared:])
		p = append(p, byte(e.Type))
		p = binary.AppendUvarint(p, uint64(e.Mode))
		p = binary.AppendUvarint(p, uint64(e.UID))
		p = binary.AppendUvarint(p, uint64(e.GID))
		p = binary.AppendVarint(p, e.MTime.Sec)
		p = binary.AppendUvarint(p, uint64(e.MTime.Nsec))
		p = binary.AppendUvarint(p, uint64(e.Link))
		p = binary.AppendUvarint(p, uint64(len(e.Xattrs)))
		for _, x := range e.Xattrs {
			p = appendString(p, x.Name)
			p = appendString(p, string(x.Value))
		}
		switch e.Type {
		case Regular:
			p = append(p, e.Digest[:]...)
			p = binary.AppendUvarint(p, uint64(e.Size))
		case Symlink:
			p = appendString(p, e.Target)
		case CharDevice, BlockDevice:
			p = binary.AppendUvarint(p, uint64(e.Major))
			p = binary.AppendUvarint(p, uint64(e.Minor))
		}
	}
	return p
}

func appendString(p []byte, s string) []byte {
	p = binary.AppendUvarint(p, uint64(len(s)))
	return append(p, s...)
}

func sharedPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// Digest returns the tree's identity: the digest of its encoding.
func (t *Tree) Digest() store.Digest { return store.Sum(t.Encode()) }

// Save puts the tree into st and returns its digest.
func Save(st *store.Store, t *Tree) (store.Digest, error) { return st.Put(t.Encode()) }

// Load reads the tree of digest d from st.
func Load(st *store.Store, d store.Digest) (*Tree, error) {
	p, err := st.ReadAll(d)
	if err != nil {
		return nil, err
	}
	t, err := Decode(p)
	if err != nil {
		return nil, fmt.Errorf("tree %s: %w", d, err)
	}
	return t, nil
}

// References returns the digests of the file contents a tree's encoding refers to,
// and false when p is no tree. It is much faster than Decode because it checks no
// invariants: for encodings that Save wrote.
func References(p []byte) ([]store.Digest, bool) {
	d, count, err := newDecoder(p)
	if err != nil {
		return nil, false
	}
	refs := make([]store.Digest, 0, count)
	for range count {
		d.uvarint() // shared prefix
		d.skip()    // path
		t := Type(d.byte())
		for range 6 { // mode, uid, gid, seconds, nanoseconds, link
			d.uvarint()
		}
		for n := d.uvarint(); n > 0 && d.err == nil; n-- {
			d.skip()
			d.skip()
		}
		switch t {
		case Regular:
			if p := d.bytes(uint64(len(store.Digest{}))); p != nil {
				refs = append(refs, store.Digest(p))
			}
			d.uvarint()
		case Symlink:
			d.skip()
		case CharDevice, BlockDevice:
			d.uvarint()
			d.uvarint()
		}
	}
	if d.err != nil || len(d.p) > 0 {
		return nil, false
	}
	return refs, true
}

// newDecoder reads the beginning of an encoding up to the number of entries.
func newDecoder(p []byte) (*decoder, uint64, error) {
	if len(p) < len(magic) || string(p[:len(magic)]) != magic {
		return nil, 0, errors.New("not a tree: no magic number")
	}
	d := &decoder{p: p[len(magic):]}
	count := d.uvarint()
	if d.err != nil {
		return nil, 0, fmt.Errorf("not a tree: %w", d.err)
	}
	const leastEntry = 10 // bytes; keeps a hostile count from allocating much
	if count > uint64(len(d.p))/leastEntry {
		return nil, 0, fmt.Errorf("not a tree: %d entries cannot fit in %d bytes", count, len(p))
	}
	return d, count, nil
}

// Decode reads an encoding. It refuses what is not canonical.
func Decode(p []byte) (*Tree, error) {
	d, count, err := newDecoder(p)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, count)
	var path []byte
	for i := range entries {
		e := &entries[i]
		shared := d.uvarint()
		rest := d.bytes(d.uvarint())
		if d.err == nil && (shared > uint64(len(path)) || shared < uint64(len(path)) && len(rest) > 0 && rest[0] == path[shared]) {
			d.fail("a path's shared prefix is wrong")
		}
		if d.err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, d.err)
		}
		path = append(path[:shared], rest...)
		e.Path = string(path)
		e.Type = Type(d.byte())
		e.Mode = d.uint32()
		e.UID = d.uint32()
		e.GID = d.uint32()
		e.MTime.Sec = d.varint()
		e.MTime.Nsec = d.uint32()
		e.Link = d.uint32()
		if n := d.uvarint(); n > 0 {
			if n > uint64(len(d.p))/2 {
				d.fail("more extended attributes than bytes")
			} else {
				e.Xattrs = make([]Xattr, n)
				for j := range e.Xattrs {
					e.Xattrs[j] = Xattr{Name: d.string(), Value: []byte(d.string())}
				}
			}
		}
		switch e.Type {
		case Regular:
			copy(e.Digest[:], d.bytes(uint64(len(e.Digest))))
			e.Size = int64(d.uvarint())
		case Symlink:
			e.Target = d.string()
		case CharDevice, BlockDevice:
			e.Major = d.uint32()
			e.Minor = d.uint32()
		}
		if d.err != nil {
			return nil, fmt.Errorf("entry %d, /%s: %w", i, e.Path, d.err)
		}
	}
	if len(d.p) > 0 {
		return nil, fmt.Errorf("%d bytes follow the last entry", len(d.p))
	}
	if err := validate(entries); err != nil {
		return nil, err
	}
	return &Tree{entries: entries}, nil
}

// decoder takes values off the front of p. After an error it gives zero values.
type decoder struct {
	p   []byte
	err error
}

func (d *decoder) fail(text string) {
	if d.err == nil {
		d.err = errors.New(text)
	}
	d.p = nil
}

func (d *decoder) uvarint() uint64 {
	if len(d.p) > 0 && d.p[0] < 0x80 { // nearly always
		v := d.p[0]
		d.p = d.p[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(d.p)
	if n <= 0 || n > 1 && d.p[n-1] == 0 {
		d.fail("an integer is cut off, too large or overlong")
		return 0
	}
	d.p = d.p[n:]
	return v
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	v := int64(u >> 1)
	if u&1 != 0 {
		v = ^v
	}
	return v
}

func (d *decoder) uint32() uint32 {
	v := d.uvarint()
	if v > 1<<32-1 {
		d.fail("an integer is larger than 32 bits")
		return 0
	}
	return uint32(v)
}

func (d *decoder) byte() byte {
	p := d.bytes(1)
	if len(p) == 0 {
		return 0
	}
	return p[0]
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.p)) {
		d.fail("the encoding is cut off")
		return nil
	}
	v := d.p[:n]
	d.p = d.p[n:]
	return v
}

// skip passes over a string.
func (d *decoder) skip() { d.bytes(d.uvarint()) }

func (d *decoder) string() string { return string(d.bytes(d.uvarint())) }
