package fat

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/imagefactory/imagefactory/stages/tree"
)

const (
	entrySize    = 32
	unitsPerSlot = 13  // UTF-16 code units of a long name in one entry
	maxName      = 255 // code units
	maxDirectory = 65536 * entrySize

	attrLabel     = 0x08
	attrDirectory = 0x10
	attrArchive   = 0x20
	attrLongName  = 0x0f
	lastLongEntry = 0x40
)

// node is a file or directory with what FAT adds to it.
type node struct {
	entry    tree.Entry
	parent   *node
	children []*node
	short    shortName
	long     []uint16 // nil when the short name says it all
	first    int64    // cluster
}

func (n *node) isDir() bool { return n.entry.Type == tree.Directory }

// fixedRoot reports whether n is a root directory that lies outside of the clusters.
func (n *node) fixedRoot(g geometry) bool { return n.parent == nil && g.bits != 32 }

// build checks what FAT cannot hold and names every node.
func build(t *tree.Tree) (*node, error) {
	nodes := map[string]*node{} // directories
	var dirs []*node
	for _, e := range t.Entries() {
		n := &node{entry: e, parent: nodes[tree.Parent(e.Path)]}
		switch {
		case e.Type != tree.Directory && e.Type != tree.Regular:
			return nil, fmt.Errorf("%s is a %s, which a FAT file system cannot hold", e.Path, e.Type)
		case e.Size > maxFile:
			return nil, fmt.Errorf("%s has %d bytes; a file on FAT has at most %d", e.Path, e.Size, int64(maxFile))
		}
		if e.Path == tree.Root {
			n.parent = nil
		} else {
			n.parent.children = append(n.parent.children, n)
		}
		if n.isDir() {
			nodes[e.Path] = n
			dirs = append(dirs, n)
		}
	}
	for _, n := range dirs {
		if err := n.nameChildren(); err != nil {
			return nil, err
		}
	}
	return nodes[tree.Root], nil
}

// slots is the number of 32-byte entries of a directory's contents. The root's has a label, others have "." and "..".
func (n *node) slots(root bool) int {
	count := 2
	if root {
		count = 1
	}
	for _, c := range n.children {
		count += c.longSlots() + 1
	}
	return count
}

func (n *node) longSlots() int { return (len(n.long) + unitsPerSlot - 1) / unitsPerSlot }

// ownClusters is the number of clusters of the node alone.
func (n *node) ownClusters(g geometry) int64 {
	if n.isDir() {
		return g.clustersFor(int64(n.slots(n.parent == nil)) * entrySize)
	}
	return g.clustersFor(n.entry.Size)
}

// clusters is the number of clusters of the node and all below it.
func (n *node) clusters(g geometry) int64 {
	var count int64
	if !n.fixedRoot(g) {
		count = n.ownClusters(g)
	}
	for _, c := range n.children {
		count += c.clusters(g)
	}
	return count
}

// bytes is the size of all files below the node.
func (n *node) bytes() int64 {
	sum := n.entry.Size
	for _, c := range n.children {
		sum += c.bytes()
	}
	return sum
}

// directory returns the contents of directory n; label is only used for the root.
func (n *node) directory(label string, labelTime tree.Time) []byte {
	var b []byte
	if n.parent == nil {
		if strings.TrimSpace(label) != "" {
			b = appendEntry(b, shortName([]byte(label)), attrLabel, labelTime, 0, 0)
		}
	} else {
		b = appendEntry(b, shortName([]byte(".          ")), attrDirectory, n.entry.MTime, n.first, 0)
		up := n.parent.first
		if n.parent.parent == nil {
			up = 0 // a root directory is always called 0 here, even FAT32's
		}
		b = appendEntry(b, shortName([]byte("..         ")), attrDirectory, n.parent.entry.MTime, up, 0)
	}
	for _, c := range n.children {
		b = c.appendLongName(b)
		attr := byte(attrArchive)
		if c.isDir() {
			attr = attrDirectory
		}
		b = appendEntry(b, c.short, attr, c.entry.MTime, c.first, c.entry.Size)
	}
	return b
}

// appendEntry appends a directory entry.
func appendEntry(b []byte, name shortName, attr byte, t tree.Time, cluster, size int64) []byte {
	le := binary.LittleEndian
	date, clock, tenths := dosTime(t)
	e := make([]byte, entrySize)
	copy(e, name[:])
	e[11] = attr
	if attr != attrLabel { // a label has no other times than that of its writing
		e[13] = tenths
		le.PutUint16(e[14:], clock)
		le.PutUint16(e[16:], date)
		le.PutUint16(e[18:], date)
	}
	le.PutUint16(e[20:], uint16(cluster>>16))
	le.PutUint16(e[22:], clock)
	le.PutUint16(e[24:], date)
	le.PutUint16(e[26:], uint16(cluster))
	le.PutUint32(e[28:], uint32(size))
	return append(b, e...)
}

// appendLongName appends the entries of the node's long name, last part first, as they stand before its own.
func (n *node) appendLongName(b []byte) []byte {
	for slot := n.longSlots(); slot >= 1; slot-- {
		e := make([]byte, entrySize)
		e[0] = byte(slot)
		if slot == n.longSlots() {
			e[0] |= lastLongEntry
		}
		e[11] = attrLongName
		e[13] = n.short.checksum()
		for i := range unitsPerSlot {
			unit := uint16(0xffff) // behind the terminator
			switch at := (slot-1)*unitsPerSlot + i; {
			case at < len(n.long):
				unit = n.long[at]
			case at == len(n.long):
				unit = 0
			}
			// The units stand where an old reader would not look for a name: 5, then 6, then 2 of them.
			offset := 1 + 2*i
			if i >= 5 {
				offset = 14 + 2*(i-5)
			}
			if i >= 11 {
				offset = 28 + 2*(i-11)
			}
			binary.LittleEndian.PutUint16(e[offset:], unit)
		}
		b = append(b, e...)
	}
	return b
}

// dosTime converts to FAT's date, its time of 2 s resolution, and the hundredths of a second above that, in UTC, within
// the years 1980 to 2107 that it can express.
func dosTime(t tree.Time) (date, clock uint16, hundredths byte) {
	first := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	last := time.Date(2107, 12, 31, 23, 59, 59, 990_000_000, time.UTC)
	u := time.Unix(t.Sec, int64(t.Nsec)).UTC()
	if u.Before(first) {
		u = first
	}
	if u.After(last) {
		u = last
	}
	date = uint16(u.Year()-1980)<<9 | uint16(u.Month())<<5 | uint16(u.Day())
	clock = uint16(u.Hour())<<11 | uint16(u.Minute())<<5 | uint16(u.Second()/2)
	return date, clock, byte(u.Second()%2*100 + u.Nanosecond()/10_000_000)
}

// shortName is a name in the 8.3 form, padded with spaces.
type shortName [11]byte

// checksum ties a long name to its short one.
func (s shortName) checksum() byte {
	var sum byte
	for _, c := range s {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// nameChildren gives all children their names. Names that are 8.3 names but for their case keep them; the others get a
// numeric tail, counted in the order of the tree.
func (n *node) nameChildren() error {
	folded := map[string]string{}
	taken := map[shortName]bool{}
	for _, c := range n.children {
		name := c.entry.Name()
		if err := checkName(c.entry.Path, name); err != nil {
			return err
		}
		key := strings.ToUpper(name)
		if other, clash := folded[key]; clash {
			return fmt.Errorf("%s and %s differ in case only, which FAT does not tell apart", other, c.entry.Path)
		}
		folded[key] = c.entry.Path
		short, exact := plainShortName(name)
		if exact {
			c.short, taken[short] = short, true
		}
		if !exact || key != name {
			c.long = utf16.Encode([]rune(name))
		}
	}
	for _, c := range n.children {
		if c.short != (shortName{}) {
			continue
		}
		short, ok := tailedShortName(c.entry.Name(), taken)
		if !ok {
			return fmt.Errorf("%s: its directory has too many names that look alike in 8.3 form", c.entry.Path)
		}
		c.short, taken[short] = short, true
	}
	if size := n.slots(n.parent == nil) * entrySize; size > maxDirectory {
		return fmt.Errorf("the names in directory %s need %d bytes; a directory on FAT has at most %d", n.entry.Path, size, maxDirectory)
	}
	return nil
}

func checkName(path, name string) error {
	if !utf8.ValidString(name) {
		return fmt.Errorf("%q: its name is not UTF-8, which FAT needs", path)
	}
	for _, r := range name {
		if r < ' ' || r == 0x7f || strings.ContainsRune(`"*/:<>?\|`, r) {
			return fmt.Errorf("%q: a name on FAT cannot contain %q", path, r)
		}
	}
	if strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") {
		return fmt.Errorf("%q: a name on FAT cannot end in a dot or a space", path)
	}
	if units := len(utf16.Encode([]rune(name))); units > maxName {
		return fmt.Errorf("%q: its name has %d UTF-16 code units; FAT has room for %d", path, units, maxName)
	}
	return nil
}

// shortRune reports whether r, upper-cased, may stand in a short name.
func shortRune(r rune) bool {
	return r > ' ' && r < 0x7f && !strings.ContainsRune(`"*+,./:;<=>?[\]|`, r)
}

// splitName cuts a name at its last dot; a leading dot does not count.
func splitName(name string) (base, ext string) {
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		return name[:i], name[i+1:]
	}
	return name, ""
}

func makeShortName(base, ext string) (s shortName) {
	copy(s[:], fmt.Sprintf("%-8s%-3s", base, ext))
	return s
}

// plainShortName returns name in 8.3 form, and whether nothing but case is lost by that.
func plainShortName(name string) (shortName, bool) {
	base, ext := splitName(strings.ToUpper(name))
	if len(base) > 8 || len(ext) > 3 {
		return shortName{}, false
	}
	for _, r := range base + ext {
		if !shortRune(r) {
			return shortName{}, false
		}
	}
	return makeShortName(base, ext), true
}

// tailedShortName returns a short name that is not taken: what is left of name in 8.3 form, with ~1, ~2 and so on.
func tailedShortName(name string, taken map[shortName]bool) (shortName, bool) {
	clean := func(s string, limit int) string {
		var b strings.Builder
		for _, r := range strings.ToUpper(s) {
			switch {
			case r == ' ' || r == '.':
				continue
			case !shortRune(r):
				r = '_'
			}
			if b.Len() < limit {
				b.WriteRune(r)
			}
		}
		return b.String()
	}
	base, ext := splitName(strings.TrimLeft(name, ". "))
	base, ext = clean(base, 8), clean(ext, 3)
	for i := 1; i < 1_000_000; i++ {
		tail := fmt.Sprintf("~%d", i)
		if s := makeShortName(base[:min(len(base), 8-len(tail))]+tail, ext); !taken[s] {
			return s, true
		}
	}
	return shortName{}, false
}
