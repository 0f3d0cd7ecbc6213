package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// Info describes a file system.
type Info struct {
	Bits        int    // of the table: 12, 16 or 32
	Label       string // empty for none
	VolumeID    uint32
	Size        int64 // bytes
	ClusterSize int64 // bytes
	Clusters    int64
}

// FS reads a file system, of this package or any other. It is safe for use by several goroutines when its reader is. What it
// allocates is bounded by the size of the file system, whatever its tables say.
type FS struct {
	r    io.ReaderAt
	g    geometry
	root item
	info Info
}

// errDamaged says that a table, a directory or the boot sector contradicts itself.
var errDamaged = errors.New("the FAT file system is damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(format, args...))
}

// Open reads the boot sector and the root directory of a file system of at most size bytes.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	var b [sectorSize]byte
	if n, err := r.ReadAt(b[:], 0); n < len(b) {
		return nil, fmt.Errorf("read the boot sector: %w", err)
	}
	le := binary.LittleEndian
	sector, perCluster, tables := int64(le.Uint16(b[11:])), int64(b[13]), int64(b[16])
	sectors, tableSectors := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if sectors == 0 {
		sectors = int64(le.Uint32(b[32:]))
	}
	extended, is32 := b[36:], tableSectors == 0
	if is32 {
		tableSectors, extended = int64(le.Uint32(b[36:])), b[64:]
	}
	if b[510] != 0x55 || b[511] != 0xaa || sector < 512 || sector > 4096 || sector&(sector-1) != 0 || perCluster&(perCluster-1) != 0 ||
		perCluster == 0 || tables == 0 || tableSectors == 0 || sectors > size/sector {
		return nil, damaged("the boot sector makes no sense")
	}
	f := &FS{r: r, g: geometry{
		size: sectors * sector, clusterSize: perCluster * sector,
		tableOffset: int64(le.Uint16(b[14:])) * sector, tableSize: tableSectors * sector,
	}}
	rootSize := int64(le.Uint16(b[17:])) * entrySize
	f.g.rootOffset = f.g.tableOffset + tables*f.g.tableSize
	f.g.dataOffset = f.g.rootOffset + (rootSize+sector-1)/sector*sector
	f.g.clusterCount = (f.g.size - f.g.dataOffset) / f.g.clusterSize
	switch {
	case is32:
		f.g.bits = 32
	case f.g.clusterCount < 4085:
		f.g.bits = 12
	default:
		f.g.bits = 16
	}
	if f.g.tableOffset == 0 || f.g.clusterCount <= 0 || (f.g.clusterCount+firstCluster)*int64(f.g.bits) > f.g.tableSize*8 {
		return nil, damaged("the boot sector makes no sense")
	}
	f.root = item{entry: tree.Entry{Path: tree.Root, Type: tree.Directory, Mode: dirMode}, size: rootSize}
	if is32 {
		f.root.cluster = int64(le.Uint32(b[44:]))
	}
	f.info = Info{
		Bits: f.g.bits, VolumeID: le.Uint32(extended[3:]), Size: f.g.size, ClusterSize: f.g.clusterSize, Clusters: f.g.clusterCount,
	}
	var err error
	_, f.info.Label, err = f.list(f.root)
	return f, err
}

// Info describes the file system.
func (f *FS) Info() Info { return f.info }

const (
	dirMode  = 0o755 // FAT has no modes; these are what it is usually mounted with
	fileMode = 0o644
)

// item is a directory entry with where its contents begin.
type item struct {
	entry   tree.Entry
	cluster int64 // first of the contents; 0 for none, or for a root directory outside of the clusters
	size    int64 // of such a root directory in bytes
}

// Stat returns the entry at path, whatever its case; fs.ErrNotExist when there is none. Digests are not computed.
func (f *FS) Stat(path string) (tree.Entry, error) {
	it, err := f.find(path)
	return it.entry, err
}

// ReadDir returns the entries in a directory, sorted by path.
func (f *FS) ReadDir(path string) ([]tree.Entry, error) {
	dir, err := f.find(path)
	if err != nil {
		return nil, err
	}
	if dir.entry.Type != tree.Directory {
		return nil, fmt.Errorf("%s is a file, not a directory", path)
	}
	items, _, err := f.list(dir)
	if err != nil {
		return nil, err
	}
	entries := make([]tree.Entry, len(items))
	for i, it := range items {
		entries[i] = it.entry
	}
	slices.SortFunc(entries, func(a, b tree.Entry) int { return tree.Compare(a.Path, b.Path) })
	return entries, nil
}

// Open returns the contents of a file.
func (f *FS) Open(path string) (*io.SectionReader, error) {
	it, err := f.find(path)
	if err != nil {
		return nil, err
	}
	if it.entry.Type != tree.Regular {
		return nil, fmt.Errorf("%s is a directory, not a file", path)
	}
	c := contents{fs: f}
	if n := f.g.clustersFor(it.entry.Size); n > 0 {
		if c.clusters, err = f.chain(it.cluster, n); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if int64(len(c.clusters)) < n {
			return nil, fmt.Errorf("%s: %w", path, damaged("it has %d bytes but only %d clusters", it.entry.Size, len(c.clusters)))
		}
	}
	return io.NewSectionReader(c, 0, it.entry.Size), nil
}

// find walks to path. A directory that is its own ancestor would have no end.
func (f *FS) find(path string) (item, error) {
	at := f.root
	if path == tree.Root || path == "" {
		return at, nil
	}
	seen := map[int64]bool{at.cluster: true}
	for _, name := range strings.Split(path, "/") {
		if at.entry.Type != tree.Directory {
			return item{}, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		}
		items, _, err := f.list(at)
		if err != nil {
			return item{}, err
		}
		i := slices.IndexFunc(items, func(it item) bool { return strings.EqualFold(it.entry.Name(), name) })
		if i < 0 {
			return item{}, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		}
		if at = items[i]; at.entry.Type == tree.Directory {
			if seen[at.cluster] {
				return item{}, damaged("directory %s contains itself", at.entry.Path)
			}
			seen[at.cluster] = true
		}
	}
	return at, nil
}

// list reads a directory, and the label if it is the root.
func (f *FS) list(dir item) (items []item, label string, err error) {
	data, err := f.readDirectory(dir)
	if err != nil {
		return nil, "", fmt.Errorf("directory %s: %w", dir.entry.Path, err)
	}
	var long longName
	for ; len(data) >= entrySize && data[0] != 0; data = data[entrySize:] {
		e := data[:entrySize]
		attr := e[11]
		switch {
		case e[0] == 0xe5: // deleted
			long = longName{}
			continue
		case attr&0x3f == attrLongName:
			long.add(e)
			continue
		case attr&attrLabel != 0:
			if dir.entry.Path == tree.Root {
				label = strings.TrimRight(string(e[:11]), " ")
			}
			long = longName{}
			continue
		}
		name, ok := long.name(shortName(e[:11]))
		long = longName{}
		if !ok {
			name = shortText(e)
		}
		if name == "." || name == ".." {
			continue
		}
		path := tree.Join(dir.entry.Path, name)
		if name == "" || strings.ContainsAny(name, "/\x00") || tree.CheckPath(path) != nil {
			return nil, "", damaged("directory %s has the impossible name %q", dir.entry.Path, name)
		}
		le := binary.LittleEndian
		it := item{
			entry:   tree.Entry{Path: path, Type: tree.Regular, Mode: fileMode, MTime: unixTime(le.Uint16(e[24:]), le.Uint16(e[22:])), Size: int64(le.Uint32(e[28:]))},
			cluster: int64(le.Uint16(e[26:])),
		}
		if f.g.bits == 32 {
			it.cluster |= int64(le.Uint16(e[20:])) << 16
		}
		if attr&attrDirectory != 0 {
			it.entry.Type, it.entry.Mode, it.entry.Size = tree.Directory, dirMode, 0
		}
		items = append(items, it)
	}
	return items, label, nil
}

// readDirectory returns the bytes of a directory.
func (f *FS) readDirectory(dir item) ([]byte, error) {
	if dir.entry.Path == tree.Root && f.g.bits != 32 {
		data := make([]byte, dir.size)
		return data, f.readFull(data, f.g.rootOffset)
	}
	clusters, err := f.chain(dir.cluster, f.g.clustersFor(maxDirectory)+1)
	if err != nil {
		return nil, err
	}
	if int64(len(clusters)) > f.g.clustersFor(maxDirectory) {
		return nil, damaged("it is larger than a directory can be")
	}
	data := make([]byte, int64(len(clusters))*f.g.clusterSize)
	c := contents{f, clusters}
	_, err = c.ReadAt(data, 0)
	return data, err
}

// chain returns at most limit clusters from first on.
func (f *FS) chain(first, limit int64) ([]uint32, error) {
	var clusters []uint32
	for c := first; int64(len(clusters)) < limit; {
		if c < firstCluster || c >= f.g.clusterCount+firstCluster || int64(len(clusters)) == f.g.clusterCount {
			return nil, damaged("its chain of clusters leads to %d, which is none", c)
		}
		clusters = append(clusters, uint32(c))
		next, end, err := f.next(c)
		if err != nil {
			return nil, err
		}
		if end {
			break
		}
		c = next
	}
	return clusters, nil
}

// next reads the table's entry of a cluster, and whether it ends a chain.
func (f *FS) next(c int64) (next int64, end bool, err error) {
	var b [4]byte
	switch f.g.bits {
	case 12:
		err = f.readFull(b[:2], f.g.tableOffset+c*3/2)
		next = int64(binary.LittleEndian.Uint16(b[:])) >> (c % 2 * 4) & 0xfff
		return next, next >= 0xff8, err
	case 16:
		err = f.readFull(b[:2], f.g.tableOffset+c*2)
		next = int64(binary.LittleEndian.Uint16(b[:]))
		return next, next >= 0xfff8, err
	}
	err = f.readFull(b[:], f.g.tableOffset+c*4)
	next = int64(binary.LittleEndian.Uint32(b[:])) & 0x0fffffff
	return next, next >= 0x0ffffff8, err
}

func (f *FS) readFull(p []byte, off int64) error {
	n, err := f.r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(p), off, err)
}

// contents reads through a chain of clusters.
type contents struct {
	fs       *FS
	clusters []uint32
}

func (c contents) ReadAt(p []byte, off int64) (int, error) {
	size := c.fs.g.clusterSize
	done := 0
	for done < len(p) {
		i := (off + int64(done)) / size
		if i >= int64(len(c.clusters)) {
			return done, io.EOF
		}
		within := (off + int64(done)) % size
		part := p[done:min(len(p), done+int(size-within))]
		if err := c.fs.readFull(part, c.fs.g.clusterOffset(int64(c.clusters[i]))+within); err != nil {
			return done, err
		}
		done += len(part)
	}
	return done, nil
}

// longName gathers the entries of a long name, last part first.
type longName struct {
	units    []uint16
	checksum byte
	expected int // number of the next entry; 0 when the name is complete or there is none
	valid    bool
}

func (l *longName) add(e []byte) {
	number := int(e[0] &^ lastLongEntry)
	if e[0]&lastLongEntry != 0 {
		*l = longName{checksum: e[13], expected: number, valid: number > 0}
	}
	if number != l.expected || e[13] != l.checksum || number == 0 {
		*l = longName{}
		return
	}
	l.expected--
	var part []uint16
	for _, field := range [][]byte{e[1:11], e[14:26], e[28:32]} {
		for ; len(field) > 0; field = field[2:] {
			part = append(part, binary.LittleEndian.Uint16(field))
		}
	}
	l.units = append(part, l.units...)
}

// name returns the long name if it is whole and belongs to the short one.
func (l *longName) name(short shortName) (string, bool) {
	if !l.valid || l.expected != 0 || l.checksum != short.checksum() {
		return "", false
	}
	units := l.units
	if i := slices.Index(units, 0); i >= 0 {
		units = units[:i]
	}
	return string(utf16.Decode(units)), true
}

// shortText returns the short name of a directory entry; the two bits that Windows NT added say which part of it is lower
// case. Letters of the unknown code page become "_".
func shortText(e []byte) string {
	clean := func(p []byte, lower bool) string {
		var b strings.Builder
		for i, c := range p {
			switch {
			case i == 0 && c == 0x05: // stands for 0xe5, which would mean deleted
				c = '_'
			case c < ' ' || c >= 0x7f || c == '/':
				c = '_'
			}
			b.WriteByte(c)
		}
		s := strings.TrimRight(b.String(), " ")
		if lower {
			s = strings.ToLower(s)
		}
		return s
	}
	base, ext := clean(e[:8], e[12]&0x08 != 0), clean(e[8:11], e[12]&0x10 != 0)
	if ext != "" {
		return base + "." + ext
	}
	return base
}

// unixTime reverses dosTime.
func unixTime(date, clock uint16) tree.Time {
	t := time.Date(1980+int(date>>9), time.Month(date>>5&0xf), int(date&0x1f), int(clock>>11), int(clock>>5&0x3f), int(clock&0x1f)*2, 0, time.UTC)
	return tree.Time{Sec: t.Unix()}
}
