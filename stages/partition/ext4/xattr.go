package ext4

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

const (
	xattrMagic            = 0xea020000
	xattrInodeHeader      = 4  // the magic number alone
	xattrBlockHeader      = 32 // Documentation/filesystems/ext4, "Extended Attributes"
	xattrEntrySize        = 16 // without the name
	xattrTerminator       = 4  // zeros behind the last entry
	xattrMaxReferences    = 1024
	xattrMaxName          = 255
	indexPosixACLAccess   = 2
	indexPosixACLDefault  = 3
	xattrNameHashShift    = 5
	xattrValueHashShift   = 16
	xattrInodeCapacity    = inodeXattrs - xattrInodeHeader - xattrTerminator
	xattrBlockTailReserve = xattrBlockHeader + xattrTerminator
)

// xattrPrefixes are the name prefixes with an index of their own, longer ones
// first. A name with index 2 or 3 is the whole prefix.
var xattrPrefixes = []struct {
	index  uint8
	prefix string
}{
	{indexPosixACLAccess, "system.posix_acl_access"},
	{indexPosixACLDefault, "system.posix_acl_default"},
	{8, "system.richacl"},
	{1, "user."},
	{4, "trusted."},
	{6, "security."},
	{7, "system."},
}

// xattr is an extended attribute in the form on disk.
type xattr struct {
	index uint8
	name  string // without the prefix
	value []byte
}

// size is the space the attribute needs: its entry and its padded value.
func (x *xattr) size() int { return x.entrySize() + x.valueSize() }

func (x *xattr) entrySize() int { return (xattrEntrySize + len(x.name) + 3) &^ 3 }

func (x *xattr) valueSize() int { return (len(x.value) + 3) &^ 3 }

// hash is what e_hash must be: of the name and the padded value.
func (x *xattr) hash() uint32 {
	var h uint32
	for _, b := range []byte(x.name) {
		h = h<<xattrNameHashShift ^ h>>(32-xattrNameHashShift) ^ uint32(b)
	}
	for p := x.value; len(p) > 0; p = p[min(4, len(p)):] {
		var word [4]byte
		copy(word[:], p)
		h = h<<xattrValueHashShift ^ h>>(32-xattrValueHashShift) ^ binary.LittleEndian.Uint32(word[:])
	}
	return h
}

// newXattr converts an attribute of a tree.
func newXattr(t tree.Xattr) (xattr, error) {
	for _, p := range xattrPrefixes {
		suffix, ok := strings.CutPrefix(t.Name, p.prefix)
		if !ok || (suffix == "") != !strings.HasSuffix(p.prefix, ".") {
			continue
		}
		if len(suffix) > xattrMaxName {
			return xattr{}, fmt.Errorf("the name has %d bytes behind its prefix, %d is the most", len(suffix), xattrMaxName)
		}
		x := xattr{p.index, suffix, t.Value}
		if p.index == indexPosixACLAccess || p.index == indexPosixACLDefault {
			var err error
			if x.value, err = aclToDisk(t.Value); err != nil {
				return xattr{}, err
			}
		}
		return x, nil
	}
	return xattr{}, fmt.Errorf("ext4 cannot hold a name with this prefix")
}

// xattrBlock is an external block of attributes, shared by all inodes with the same
// attributes in it.
type xattrBlock struct {
	block      uint64
	references uint32
	data       []byte
}

// splitXattrs converts the attributes of an entry and divides them between the
// inode and a block. Both parts are in the order blocks need. The inode gets the
// subset that fills it best, so that whatever can fit does.
func splitXattrs(list []tree.Xattr, blockSize int) (inInode, inBlock []xattr, err error) {
	all := make([]xattr, 0, len(list))
	total := 0
	for _, t := range list {
		x, err := newXattr(t)
		if err != nil {
			return nil, nil, fmt.Errorf("extended attribute %q: %w", t.Name, err)
		}
		all = append(all, x)
		total += x.size()
	}
	slices.SortFunc(all, func(a, b xattr) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	if total <= xattrInodeCapacity {
		return all, nil, nil
	}
	chosen := bestFit(all, xattrInodeCapacity)
	for i, x := range all {
		if chosen[i] {
			inInode = append(inInode, x)
			total -= x.size()
		} else {
			inBlock = append(inBlock, x)
		}
	}
	if room := blockSize - xattrBlockTailReserve; total > room {
		return nil, nil, fmt.Errorf("its extended attributes need %d bytes outside the inode, ext4 has room for %d", total, room)
	}
	return inInode, inBlock, nil
}

// bestFit chooses the attributes whose sizes add up to the most within capacity:
// the knapsack problem, small because sizes are multiples of 4.
func bestFit(all []xattr, capacity int) []bool {
	// reached[n] holds which attributes add up to n, in the order they were tried.
	reached := make([][]int, capacity+1)
	reached[0] = []int{}
	for i := range all {
		for n := capacity - all[i].size(); n >= 0; n-- {
			if sum := n + all[i].size(); reached[n] != nil && reached[sum] == nil {
				reached[sum] = append(slices.Clone(reached[n]), i)
			}
		}
	}
	chosen := make([]bool, len(all))
	for n := capacity; n >= 0; n-- {
		if reached[n] != nil {
			for _, i := range reached[n] {
				chosen[i] = true
			}
			break
		}
	}
	return chosen
}

// encodeXattrs writes entries from area's start on and values from its end
// downwards. Value offsets count from base bytes before area.
func encodeXattrs(area []byte, base int, list []xattr) {
	entry, value := 0, len(area)
	for i := range list {
		x := &list[i]
		offset := 0
		if len(x.value) > 0 {
			value -= x.valueSize()
			copy(area[value:], x.value)
			offset = base + value
		}
		p := area[entry:]
		p[0] = uint8(len(x.name))
		p[1] = x.index
		binary.LittleEndian.PutUint16(p[2:], uint16(offset))
		binary.LittleEndian.PutUint32(p[8:], uint32(len(x.value)))
		binary.LittleEndian.PutUint32(p[12:], x.hash())
		copy(p[xattrEntrySize:], x.name)
		entry += x.entrySize()
	}
}

// encodeInodeXattrs returns the bytes behind an inode's extra fields.
func encodeInodeXattrs(list []xattr) []byte {
	if len(list) == 0 {
		return nil
	}
	p := make([]byte, inodeXattrs)
	binary.LittleEndian.PutUint32(p, xattrMagic)
	encodeXattrs(p[xattrInodeHeader:], 0, list)
	return p
}

// encodeXattrBlock returns an external block without reference count and checksum.
func encodeXattrBlock(list []xattr, blockSize int) []byte {
	p := make([]byte, blockSize)
	var hash uint32
	for i := range list {
		hash = hash<<xattrValueHashShift ^ hash>>(32-xattrValueHashShift) ^ list[i].hash()
	}
	binary.LittleEndian.PutUint32(p[0:], xattrMagic)
	binary.LittleEndian.PutUint32(p[8:], 1) // blocks
	binary.LittleEndian.PutUint32(p[12:], hash)
	encodeXattrs(p[xattrBlockHeader:], xattrBlockHeader, list)
	return p
}

// finish adds what depends on the block's place and users.
func (x *xattrBlock) finish(c *config) {
	binary.LittleEndian.PutUint32(x.data[4:], x.references)
	if c.features.metadataChecksums() {
		binary.LittleEndian.PutUint32(x.data[16:], xattrBlockChecksum(x.data, x.block, c.checksumSeed))
	}
}

// xattrBlockChecksum covers the block's number and its bytes, with the checksum in
// them as zero.
func xattrBlockChecksum(p []byte, block uint64, seed uint32) uint32 {
	crc := crc32cUint64(seed, block)
	crc = crc32c(crc, p[:16])
	crc = crc32cUint32(crc, 0)
	return crc32c(crc, p[20:])
}

// decodeXattrs reads the entries that start area. Value offsets count from base
// bytes before area.
func decodeXattrs(area []byte, base int) ([]tree.Xattr, error) {
	le := binary.LittleEndian
	var list []tree.Xattr
	for p := area; len(p) >= xattrTerminator && le.Uint32(p) != 0; {
		if len(p) < xattrEntrySize {
			return nil, fmt.Errorf("an extended attribute's entry is cut short")
		}
		nameLen, index := int(p[0]), p[1]
		offset, inode, size := int(le.Uint16(p[2:])), le.Uint32(p[4:]), le.Uint32(p[8:])
		entrySize := (xattrEntrySize + nameLen + 3) &^ 3
		if entrySize > len(p) {
			return nil, fmt.Errorf("an extended attribute's name is cut short")
		}
		name := string(p[xattrEntrySize : xattrEntrySize+nameLen])
		p = p[entrySize:]
		if inode != 0 {
			return nil, fmt.Errorf("extended attribute %q lies in an inode of its own, which is not supported", name)
		}
		var value []byte
		if size > 0 {
			start := offset - base
			if start < 0 || start > len(area) || size > uint32(len(area)-start) {
				return nil, fmt.Errorf("the value of extended attribute %q lies outside its block", name)
			}
			value = bytes.Clone(area[start : start+int(size)])
		}
		x, err := xattr{index, name, value}.toTree()
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return list, nil
}

// toTree converts an attribute to a tree's form.
func (x xattr) toTree() (tree.Xattr, error) {
	for _, p := range xattrPrefixes {
		if p.index != x.index {
			continue
		}
		t := tree.Xattr{Name: p.prefix + x.name, Value: x.value}
		if p.index == indexPosixACLAccess || p.index == indexPosixACLDefault {
			var err error
			if t.Value, err = aclFromDisk(x.value); err != nil {
				return t, fmt.Errorf("extended attribute %q: %w", t.Name, err)
			}
		}
		return t, nil
	}
	return tree.Xattr{}, fmt.Errorf("extended attribute %q has the unknown name index %d", x.name, x.index)
}
