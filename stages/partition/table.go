package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"unicode/utf16"

	"github.com/diskfs/go-diskfs/partition/gpt"
)

const (
	gptSignature   = "EFI PART"
	gptRevision    = 0x00010000
	gptHeaderSize  = 92
	maxEntriesSize = 1 << 20 // bytes of entries ReadTable is willing to read; UEFI's minimum is 16 KiB
)

// piece is bytes at an offset of the disk.
type piece struct {
	offset int64
	data   []byte
}

// tablePieces returns the sectors of the primary and the backup table.
func tablePieces(l Layout) ([]piece, error) {
	t := &gpt.Table{LogicalSectorSize: SectorSize, PhysicalSectorSize: SectorSize, GUID: l.GUID.String()}
	for _, p := range l.Partitions {
		t.Partitions = append(t.Partitions, &gpt.Partition{
			Index: p.Number, Start: uint64(p.Start / SectorSize), End: uint64(p.End()/SectorSize) - 1,
			Type: gpt.Type(p.Type.String()), Name: p.Label, GUID: p.GUID.String(), Attributes: p.Attributes,
		})
	}
	var rec recorder
	if err := t.Write(&rec, l.Size); err != nil {
		return nil, fmt.Errorf("write the partition table: %w", err)
	}
	return rec.pieces, nil
}

// recorder is the disk that go-diskfs writes a table to. It remembers the writes.
type recorder struct{ pieces []piece }

func (r *recorder) WriteAt(p []byte, off int64) (int, error) {
	r.pieces = append(r.pieces, piece{off, append([]byte(nil), p...)})
	return len(p), nil
}

var errWriteOnly = errors.New("this disk can only be written")

func (*recorder) Stat() (fs.FileInfo, error)        { return nil, errWriteOnly }
func (*recorder) Read([]byte) (int, error)          { return 0, errWriteOnly }
func (*recorder) ReadAt([]byte, int64) (int, error) { return 0, errWriteOnly }
func (*recorder) Seek(int64, int) (int64, error)    { return 0, errWriteOnly }
func (*recorder) Close() error                      { return nil }

// protectiveMBR returns the sector of UEFI 2.10 section 5.2.3 with boot code in front. go-diskfs' own lets the sector
// count of disks beyond 2 TiB wrap around instead of saturating, and leaves the CHS fields zero.
func protectiveMBR(diskSize int64, bootCode []byte) []byte {
	b := make([]byte, SectorSize)
	copy(b[:bootCodeSize], bootCode)
	entry := b[446:462]
	copy(entry, []byte{
		0x00,             // not bootable
		0x00, 0x02, 0x00, // CHS of LBA 1
		0xee,             // GPT protective
		0xff, 0xff, 0xff, // CHS beyond what it can express
	})
	binary.LittleEndian.PutUint32(entry[8:], 1)
	binary.LittleEndian.PutUint32(entry[12:], uint32(min(diskSize/SectorSize-1, math.MaxUint32)))
	b[510], b[511] = 0x55, 0xaa
	return b
}

// ErrNoTable says that a disk has no GUID partition table.
var ErrNoTable = errors.New("no GUID partition table")

// ReadTable reads the partition table of a disk of size bytes. When the primary table is damaged it reads the backup; when
// neither is whole, the error says what is wrong with each. The partitions come in the order of their numbers.
func ReadTable(r io.ReaderAt, size int64) (Layout, error) {
	sectors := size / SectorSize
	if sectors < 1+2*2 {
		return Layout{}, fmt.Errorf("a disk of %d bytes has %w", size, ErrNoTable)
	}
	l, err := readTable(r, sectors, 1)
	if err == nil {
		return l, nil
	}
	l, backupErr := readTable(r, sectors, sectors-1)
	if backupErr == nil {
		return l, nil
	}
	if errors.Is(err, ErrNoTable) && errors.Is(backupErr, ErrNoTable) {
		return Layout{}, ErrNoTable
	}
	return Layout{}, fmt.Errorf("the partition table cannot be read: primary: %w; backup: %w", err, backupErr)
}

// readTable reads the header at lba and its entries, and checks them as UEFI 2.10 section 5.3.2 tells to.
func readTable(r io.ReaderAt, sectors, lba int64) (Layout, error) {
	var h [SectorSize]byte
	if err := readFull(r, h[:], lba*SectorSize); err != nil {
		return Layout{}, err
	}
	if string(h[:8]) != gptSignature {
		return Layout{}, ErrNoTable
	}
	if rev := binary.LittleEndian.Uint32(h[8:]); rev != gptRevision {
		return Layout{}, fmt.Errorf("unknown revision %#x", rev)
	}
	headerSize := binary.LittleEndian.Uint32(h[12:])
	if headerSize < gptHeaderSize || headerSize > SectorSize {
		return Layout{}, fmt.Errorf("impossible header size %d", headerSize)
	}
	sum := binary.LittleEndian.Uint32(h[16:])
	clear(h[16:20])
	if crc32.ChecksumIEEE(h[:headerSize]) != sum {
		return Layout{}, errors.New("the header's checksum is wrong")
	}
	if own := binary.LittleEndian.Uint64(h[24:]); own != uint64(lba) {
		return Layout{}, fmt.Errorf("the header says it is at sector %d, but is at %d", own, lba)
	}
	first, last := binary.LittleEndian.Uint64(h[40:]), binary.LittleEndian.Uint64(h[48:])
	entriesLBA, count, stride := binary.LittleEndian.Uint64(h[72:]), binary.LittleEndian.Uint32(h[80:]), binary.LittleEndian.Uint32(h[84:])
	if first > last || last >= uint64(sectors) || entriesLBA >= uint64(sectors) ||
		stride < entrySize || stride%8 != 0 || uint64(count)*uint64(stride) > maxEntriesSize {
		return Layout{}, errors.New("the header's fields are out of range")
	}
	entries := make([]byte, count*stride)
	if err := readFull(r, entries, int64(entriesLBA)*SectorSize); err != nil {
		return Layout{}, err
	}
	if crc32.ChecksumIEEE(entries) != binary.LittleEndian.Uint32(h[88:]) {
		return Layout{}, errors.New("the entries' checksum is wrong")
	}
	l := Layout{Size: sectors * SectorSize, GUID: GUID(h[56:72]).swapped()}
	for i := range int(count) {
		e := entries[i*int(stride):][:entrySize]
		typ := GUID(e[:16]).swapped()
		if typ.IsZero() {
			continue
		}
		start, end := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
		if start < first || end < start || end > last {
			return Layout{}, fmt.Errorf("partition %d covers sectors %d to %d, not within %d to %d", i+1, start, end, first, last)
		}
		l.Partitions = append(l.Partitions, Placed{
			Number: i + 1, Label: decodeLabel(e[56:128]), Type: typ, GUID: GUID(e[16:32]).swapped(),
			Start: int64(start) * SectorSize, Size: int64(end-start+1) * SectorSize, Attributes: binary.LittleEndian.Uint64(e[48:]),
		})
	}
	return l, nil
}

func decodeLabel(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// readFull reads all of p, telling a disk that ends too early from one that cannot be read.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(p), off, err)
}
