package modules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// index writes the indexes about the modules that are left.
func (k *kernel) index(write map[string][]byte) error {
	if !slices.ContainsFunc(k.modules, func(m *module) bool { return !m.kept }) {
		return nil
	}
	var left []*module
	for _, m := range k.modules {
		if m.kept {
			m.index = len(left)
			left = append(left, m)
		}
	}
	if err := sortTopologically(left); err != nil {
		return fmt.Errorf("/%s: %w", k.dir, err)
	}
	lines := make([]string, len(left))
	for i, m := range left {
		needs := slices.Clone(m.deps)
		slices.SortFunc(needs, func(a, b *module) int { return a.sorted - b.sorted })
		lines[i] = m.file + ":"
		for _, d := range needs {
			lines[i] += " " + d.file
		}
	}
	put := func(name string, contents []byte) {
		if e, ok := k.t.Lookup(k.dir + "/" + name); ok && e.Type == tree.Regular {
			write[k.dir+"/"+name] = contents
		}
	}
	var dep strings.Builder
	depBin := &node{}
	for i, m := range left {
		dep.WriteString(lines[i] + "\n")
		depBin.insert(m.name, value{uint32(i), lines[i]})
	}
	put("modules.dep", []byte(dep.String()))
	oldDep, err := k.readFile("modules.dep.bin")
	if err != nil {
		return err
	}
	put("modules.dep.bin", depBin.encode([]byte(oldDep)))

	// What these say of a module does not depend on others, and the order is that of the modules, or of hashes of
	// symbols: lines go with their modules.
	for _, l := range []struct {
		name string
		of   func(fields []string) string
	}{
		{"modules.alias", last},
		{"modules.symbols", last},
		{"modules.softdep", second},
		{"modules.weakdep", second},
		{"modules.devname", first},
	} {
		text, err := k.readFile(l.name)
		if err != nil {
			return err
		}
		put(l.name, []byte(k.filter(text, l.of)))
	}
	order, err := k.readFile("modules.order")
	if err != nil {
		return err
	}
	var kept strings.Builder
	for line := range strings.Lines(order) {
		if m := k.byName[moduleName(strings.TrimSpace(line))]; m == nil || m.kept {
			kept.WriteString(line)
		}
	}
	put("modules.order", []byte(kept.String()))

	for _, name := range []string{"modules.alias.bin", "modules.symbols.bin"} {
		e, ok := k.t.Lookup(k.dir + "/" + name)
		if !ok || e.Type != tree.Regular {
			continue
		}
		p, err := k.st.ReadAll(e.Digest)
		if err != nil {
			return fmt.Errorf("/%s: %w", e.Path, err)
		}
		all, err := decodeIndex(p)
		if err != nil {
			return fmt.Errorf("/%s: %w; run depmod %s in a script", e.Path, err, k.release)
		}
		some := &node{}
		for _, entry := range all {
			for _, v := range k.left(entry.values) {
				some.append(entry.key, v)
			}
		}
		put(name, some.encode(p))
	}
	return nil
}

func first(fields []string) string { return fields[0] }

func last(fields []string) string { return fields[len(fields)-1] }

func second(fields []string) string {
	if len(fields) < 2 {
		return ""
	}
	return fields[1]
}

// filter returns the lines about modules that are left. A file without any has no comment either when depmod writes none.
func (k *kernel) filter(text string, of func([]string) string) string {
	var b strings.Builder
	some := false
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) > 0 && fields[0][0] != '#' {
			if m := k.byName[moduleName(of(fields))]; m != nil && !m.kept {
				continue
			}
			some = true
		}
		b.WriteString(line)
	}
	if !some && strings.HasPrefix(text, "# Device nodes") {
		return ""
	}
	return b.String()
}

// left returns the values of an index that are about modules which are left, with their new numbers. Checksums of symbols,
// which newer versions of depmod add, come after the module and go with it.
func (k *kernel) left(values []value) []value {
	const checksum = 1<<32 - 1
	var kept []value
	modules := 0
	for _, v := range values {
		if v.priority == checksum {
			if modules > 0 {
				kept = append(kept, v)
			}
			continue
		}
		if m := k.byName[moduleName(v.text)]; m != nil && m.kept {
			kept = append(kept, value{uint32(m.index), v.text})
			modules++
		}
	}
	return kept
}

// sortTopologically numbers modules so that each comes before those it depends on, in depmod's order: of those that
// nothing uses any more, always the one found last.
func sortTopologically(modules []*module) error {
	users := make([]int, len(modules))
	for _, m := range modules {
		for _, d := range m.direct {
			users[d.index]++
		}
	}
	var free []*module
	for i, m := range modules {
		if users[i] == 0 {
			free = append(free, m)
		}
	}
	number := 0
	for ; len(free) > 0; number++ {
		m := free[len(free)-1]
		free = free[:len(free)-1]
		m.sorted = number
		for _, d := range m.direct {
			if users[d.index]--; users[d.index] == 0 {
				free = append(free, d)
			}
		}
	}
	if number < len(modules) {
		return errors.New("modules depend on each other in a circle")
	}
	return nil
}

// The format of binary indexes (libkmod-index.c of kmod, version 2.1), integers are big endian:
//
//	magic 0xB007F457, version 0x00020001, offset of the root node
//
// An offset has flags in its highest bits: prefix 0x80000000, values 0x40000000, children 0x20000000. A node has, as far as
// its flags say: the prefix that its keys share, with a NUL; the first and the last character of its children as bytes and
// an offset for each in between, 0 where there is none; the number of its values, and for each its priority and its text
// with a NUL. Versions of depmod up to 33 write a node after its children, later ones before them.
const (
	indexMagic   = 0xB007F457
	indexVersion = 0x00020001

	hasPrefix   = 0x80000000
	hasValues   = 0x40000000
	hasChildren = 0x20000000
	offsetMask  = 0x0FFFFFFF
)

// value is what an index has for a key.
type value struct {
	priority uint32
	text     string
}

// node is a node of an index: a tree of characters in which nodes with one way on are joined.
type node struct {
	prefix   string
	values   []value
	children [128]*node
	some     bool // it has children
	size     int  // in bytes, by itself
	total    int  // with all below it
}

// insert adds a value for a key, in order of priority; of equal ones the last comes first, as depmod puts them.
func (n *node) insert(key string, v value) {
	at := n.find(key)
	i := slices.IndexFunc(at.values, func(o value) bool { return o.priority >= v.priority })
	if i < 0 {
		i = len(at.values)
	}
	at.values = slices.Insert(at.values, i, v)
}

// append adds a value for a key after the others.
func (n *node) append(key string, v value) {
	at := n.find(key)
	at.values = append(at.values, v)
}

// find returns the node of a key, making it.
func (n *node) find(key string) *node {
	for {
		shared := 0
		for shared < len(n.prefix) && shared < len(key) && n.prefix[shared] == key[shared] {
			shared++
		}
		if shared < len(n.prefix) { // split
			below := *n
			below.prefix = n.prefix[shared+1:]
			c := n.prefix[shared]
			*n = node{prefix: n.prefix[:shared], some: true}
			n.children[c] = &below
		}
		key = key[shared:]
		if key == "" {
			return n
		}
		c := key[0]
		if n.children[c] == nil {
			n.some = true
			n.children[c] = &node{prefix: key[1:]}
			return n.children[c]
		}
		n, key = n.children[c], key[1:]
	}
}

// bounds returns the first and last characters of children.
func (n *node) bounds() (first, last int) {
	first = slices.IndexFunc(n.children[:], func(c *node) bool { return c != nil })
	for last = 127; n.children[last] == nil; last-- {
	}
	return first, last
}

func (n *node) flags() uint32 {
	var f uint32
	if n.some {
		f |= hasChildren
	}
	if n.prefix != "" {
		f |= hasPrefix
	}
	if len(n.values) > 0 {
		f |= hasValues
	}
	return f
}

func (n *node) measure() int {
	n.size, n.total = 0, 0
	if n.some {
		first, last := n.bounds()
		n.size += 2 + 4*(last-first+1)
		for _, c := range n.children[first : last+1] {
			if c != nil {
				n.total += c.measure()
			}
		}
	}
	if n.prefix != "" {
		n.size += len(n.prefix) + 1
	}
	if len(n.values) > 0 {
		n.size += 4
		for _, v := range n.values {
			n.size += 4 + len(v.text) + 1
		}
	}
	n.total += n.size
	return n.total
}

// encode returns the index as a file, with nodes in the order of old, which is another index of the same depmod.
func (n *node) encode(old []byte) []byte {
	n.measure()
	p := make([]byte, 12, 12+n.total)
	binary.BigEndian.PutUint32(p, indexMagic)
	binary.BigEndian.PutUint32(p[4:], indexVersion)
	if len(old) >= 12 && binary.BigEndian.Uint32(old[8:])&offsetMask == 12 {
		binary.BigEndian.PutUint32(p[8:], 12|n.flags())
		return n.write(p)
	}
	p, root := n.writeLast(p)
	binary.BigEndian.PutUint32(p[8:], root)
	return p
}

// writeLast writes a node after its children, and returns where it is.
func (n *node) writeLast(p []byte) ([]byte, uint32) {
	var first, last int
	var offsets []uint32
	if n.some {
		first, last = n.bounds()
		offsets = make([]uint32, last-first+1)
		for i, c := range n.children[first : last+1] {
			if c != nil {
				p, offsets[i] = c.writeLast(p)
			}
		}
	}
	at := uint32(len(p)) | n.flags()
	if n.prefix != "" {
		p = append(append(p, n.prefix...), 0)
	}
	if n.some {
		p = append(p, byte(first), byte(last))
		for _, o := range offsets {
			p = binary.BigEndian.AppendUint32(p, o)
		}
	}
	return n.writeValues(p), at
}

func (n *node) writeValues(p []byte) []byte {
	if len(n.values) == 0 {
		return p
	}
	p = binary.BigEndian.AppendUint32(p, uint32(len(n.values)))
	for _, v := range n.values {
		p = binary.BigEndian.AppendUint32(p, v.priority)
		p = append(append(p, v.text...), 0)
	}
	return p
}

// write writes a node before its children.

func (n *node) write(p []byte) []byte {
	offset := len(p) + n.size
	if n.prefix != "" {
		p = append(append(p, n.prefix...), 0)
	}
	var first, last int
	if n.some {
		first, last = n.bounds()
		p = append(p, byte(first), byte(last))
		for _, c := range n.children[first : last+1] {
			if c == nil {
				p = binary.BigEndian.AppendUint32(p, 0)
				continue
			}
			p = binary.BigEndian.AppendUint32(p, uint32(offset)|c.flags())
			offset += c.total
		}
	}
	p = n.writeValues(p)
	if n.some {
		for _, c := range n.children[first : last+1] {
			if c != nil {
				p = c.write(p)
			}
		}
	}
	return p
}

// keyed is a key of an index and its values.
type keyed struct {
	key    string
	values []value
}

var errIndex = errors.New("it is no index of kernel modules of version 2.1")

// decodeIndex reads an index. It trusts nothing: each node is read once, so there is no circle, and keys are bounded.
func decodeIndex(p []byte) ([]keyed, error) {
	if len(p) < 12 || binary.BigEndian.Uint32(p) != indexMagic || binary.BigEndian.Uint32(p[4:]) != indexVersion {
		return nil, errIndex
	}
	d := &indexDecoder{p: p, seen: map[int]bool{}}
	if err := d.node(binary.BigEndian.Uint32(p[8:]), ""); err != nil {
		return nil, err
	}
	return d.found, nil
}

type indexDecoder struct {
	p     []byte
	seen  map[int]bool // where nodes are that have been read
	keys  int          // bytes of all keys
	found []keyed
}

// Bounds on keys in bytes: of one, and of all together. Those of a kernel with all drivers have 4 MB.
const (
	maxKey  = 4096
	maxKeys = 128 << 20
)

func (d *indexDecoder) node(offset uint32, key string) error {
	at := int(offset & offsetMask)
	if d.keys += len(key); at < 12 || at > len(d.p) || d.seen[at] || len(key) > maxKey || d.keys > maxKeys {
		return errIndex
	}
	d.seen[at] = true
	text := func() (string, error) {
		end := slices.Index(d.p[at:], 0)
		if end < 0 {
			return "", errIndex
		}
		s := string(d.p[at : at+end])
		at += end + 1
		return s, nil
	}
	number := func() (uint32, error) {
		if len(d.p)-at < 4 {
			return 0, errIndex
		}
		n := binary.BigEndian.Uint32(d.p[at:])
		at += 4
		return n, nil
	}
	if offset&hasPrefix != 0 {
		prefix, err := text()
		if err != nil {
			return err
		}
		key += prefix
	}
	var first byte
	var children []uint32
	if offset&hasChildren != 0 {
		if len(d.p)-at < 2 || d.p[at] > d.p[at+1] || d.p[at+1] > 127 {
			return errIndex
		}
		first = d.p[at]
		count := int(d.p[at+1]-first) + 1
		at += 2
		for range count {
			n, err := number()
			if err != nil {
				return err
			}
			children = append(children, n)
		}
	}
	if offset&hasValues != 0 {
		count, err := number()
		if err != nil {
			return err
		}
		var values []value
		for range count {
			priority, err := number()
			if err != nil {
				return err
			}
			s, err := text()
			if err != nil {
				return err
			}
			values = append(values, value{priority, s})
		}
		d.found = append(d.found, keyed{key, values})
	}
	for i, c := range children {
		if c == 0 {
			continue
		}
		if err := d.node(c, key+string(rune(first)+rune(i))); err != nil {
			return err
		}
	}
	return nil
}
