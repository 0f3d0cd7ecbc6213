package fat

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

const (
	sectorSize = 512
	mib        = 1 << 20
	maxFile    = math.MaxUint32 // bytes
)

// Options says what a file system is like.
type Options struct {
	Size     int64     // bytes, a multiple of 512
	Label    string    // at most 11 ASCII characters, upper-cased as FAT demands; empty for none
	VolumeID uint32    // what blkid shows as UUID, XXXX-XXXX
	Time     tree.Time // of the label; files and directories have the tree's times
}

// NoSpaceError says that a tree does not fit a file system.
type NoSpaceError struct {
	Need, Have int64 // bytes of the file system
}

func (e *NoSpaceError) Error() string {
	missing := (e.Need - e.Have + mib - 1) / mib
	return fmt.Sprintf("the FAT file system is %d MiB too small: it has %d bytes and its files need %d; enlarge it", missing, e.Have, e.Need)
}

// MinSize returns the smallest multiple of 1 MiB that holds t.
func MinSize(t *tree.Tree) (int64, error) {
	root, err := build(t)
	if err != nil {
		return 0, err
	}
	return root.minSize()
}

func (root *node) minSize() (int64, error) {
	// Cluster sizes change with the size, so that a larger file system may hold less: try them one by one.
	for size := max(mib, root.bytes()/mib*mib); ; size += mib {
		g, err := geometryFor(size)
		if err != nil {
			return 0, err
		}
		if root.clusters(g) <= g.clusterCount {
			return size, nil
		}
	}
}

// Write returns a file system that holds t. When it does not fit, the error is a *NoSpaceError.
func Write(ctx context.Context, st *store.Store, t *tree.Tree, o Options) (disk.Image, error) {
	label, err := checkLabel(o.Label)
	if err != nil {
		return disk.Image{}, err
	}
	g, err := geometryFor(o.Size)
	if err != nil {
		return disk.Image{}, err
	}
	root, err := build(t)
	if err != nil {
		return disk.Image{}, err
	}
	if g.bits != 32 && root.slots(true) > rootEntries {
		return disk.Image{}, fmt.Errorf("the root directory of a FAT%d file system has room for %d entries and its names need %d; move files into a directory",
			g.bits, rootEntries, root.slots(true))
	}
	if used := root.clusters(g); used > g.clusterCount {
		need, err := root.minSize()
		if err != nil {
			return disk.Image{}, err
		}
		// A file system just below a change of cluster size can hold less than a smaller one.
		return disk.Image{}, &NoSpaceError{Need: max(need, o.Size+(used-g.clusterCount)*g.clusterSize), Have: o.Size}
	}
	w := writer{geometry: g, disk: disk.NewBuilder(st, o.Size), label: label, options: o, table: newTable(g)}
	if err := w.allocate(root); err != nil {
		return disk.Image{}, err
	}
	if err := w.writeNodes(ctx, root); err != nil {
		return disk.Image{}, err
	}
	if err := w.writeTables(); err != nil {
		return disk.Image{}, err
	}
	return w.disk.Image()
}

// checkLabel returns the 11 bytes of a label as stored.
func checkLabel(label string) (string, error) {
	label = strings.ToUpper(label)
	if len(label) > 11 {
		return "", fmt.Errorf("the label %q is longer than the 11 characters FAT has room for", label)
	}
	for _, c := range []byte(label) {
		if c < ' ' || c > '~' || strings.IndexByte(`"*+,./:;<=>?[\]|`, c) >= 0 {
			return "", fmt.Errorf("the label %q contains %q; FAT takes letters, digits, spaces and some signs such as - and _", label, c)
		}
	}
	if strings.HasPrefix(label, " ") {
		return "", fmt.Errorf("the label %q starts with a space", label)
	}
	return fmt.Sprintf("%-11s", label), nil
}

// writer is one file system being written.
type writer struct {
	geometry
	disk    *disk.Builder
	table   table
	label   string // padded to 11 bytes; spaces for none
	options Options
}

// allocate gives every node its clusters, a directory before what it holds.
func (w *writer) allocate(n *node) error {
	if !n.fixedRoot(w.geometry) {
		n.first = w.table.allocate(n.ownClusters(w.geometry))
	}
	for _, child := range n.children {
		if err := w.allocate(child); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) writeNodes(ctx context.Context, n *node) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !n.isDir() {
		if err := w.disk.AddObject(w.clusterOffset(n.first), n.entry.Digest, 0, n.entry.Size); err != nil {
			return fmt.Errorf("file %s: %w", n.entry.Path, err)
		}
		return nil
	}
	at := w.clusterOffset(n.first)
	if n.fixedRoot(w.geometry) {
		at = w.rootOffset
	}
	if err := w.disk.WriteAt(n.directory(w.label, w.options.Time), at); err != nil {
		return fmt.Errorf("directory %s: %w", n.entry.Path, err)
	}
	for _, child := range n.children {
		if err := w.writeNodes(ctx, child); err != nil {
			return err
		}
	}
	return nil
}

// writeTables writes what stands before the data: boot sector, FSInfo, and the two tables.
func (w *writer) writeTables() error {
	boot := w.bootSector()
	if err := w.disk.WriteAt(boot, 0); err != nil {
		return err
	}
	if w.bits == 32 {
		info := w.infoSector()
		for _, p := range []struct {
			sector int64
			data   []byte
		}{{infoSector, info}, {backupSector, boot}, {backupSector + infoSector, info}} {
			if err := w.disk.WriteAt(p.data, p.sector*sectorSize); err != nil {
				return err
			}
		}
	}
	for i := range int64(tableCount) {
		if err := w.disk.WriteAt(w.table.bytes, w.tableOffset+i*w.tableSize); err != nil {
			return err
		}
	}
	return nil
}

// bootSector returns the first sector: BIOS parameter block, and code that hands back to the BIOS.
func (w *writer) bootSector() []byte {
	b := make([]byte, sectorSize)
	le := binary.LittleEndian
	copy(b[3:], "MSWIN4.1") // what the specification recommends, because some readers look at it
	le.PutUint16(b[11:], sectorSize)
	b[13] = byte(w.clusterSize / sectorSize)
	le.PutUint16(b[14:], uint16(w.tableOffset/sectorSize)) // reserved sectors
	b[16] = tableCount
	b[21] = mediaDescriptor
	le.PutUint16(b[24:], 63)  // sectors per track: of no meaning since LBA, but never 0
	le.PutUint16(b[26:], 255) // heads
	sectors := w.size / sectorSize
	if w.bits != 32 && sectors <= math.MaxUint16 {
		le.PutUint16(b[19:], uint16(sectors))
	} else {
		le.PutUint32(b[32:], uint32(sectors))
	}
	extended := b[36:]
	if w.bits == 32 {
		le.PutUint32(b[36:], uint32(w.tableSize/sectorSize))
		le.PutUint32(b[44:], firstCluster) // the root directory is allocated first
		le.PutUint16(b[48:], infoSector)
		le.PutUint16(b[50:], backupSector)
		extended = b[64:]
	} else {
		le.PutUint16(b[17:], rootEntries)
		le.PutUint16(b[22:], uint16(w.tableSize/sectorSize))
	}
	extended[0] = 0x80 // BIOS drive
	extended[2] = 0x29 // the next three fields are valid
	le.PutUint32(extended[3:], w.options.VolumeID)
	label := w.label
	if strings.TrimSpace(label) == "" {
		label = "NO NAME    "
	}
	copy(extended[7:], label)
	copy(extended[18:], fmt.Sprintf("FAT%d   ", w.bits))
	code := len(b) - len(extended) + 26
	copy(b, []byte{0xeb, byte(code - 2), 0x90})    // jmp code; nop
	copy(b[code:], []byte{0xcd, 0x18, 0xeb, 0xfe}) // int 18h: nothing to boot here; then wait
	b[510], b[511] = 0x55, 0xaa
	return b
}

// infoSector returns FAT32's FSInfo sector.
func (w *writer) infoSector() []byte {
	b := make([]byte, sectorSize)
	le := binary.LittleEndian
	copy(b, "RRaA")
	copy(b[484:], "rrAa")
	le.PutUint32(b[488:], uint32(w.clusterCount-(w.table.next-firstCluster)))
	le.PutUint32(b[492:], uint32(w.table.next-1)) // the last cluster allocated
	b[510], b[511] = 0x55, 0xaa
	return b
}
