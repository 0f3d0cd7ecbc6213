package finish

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"github.com/imagefactory/imagefactory/stages/partition"
)

// Disk is what a partition table lies on: *os.File is one.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	// Name is the path for error messages.
	Name() string
	// Sync returns when everything written is where a power cut leaves it.
	Sync() error
}

const (
	sectorSize = partition.SectorSize
	alignment  = partition.Alignment

	headerLBA      = 1
	signature      = "EFI PART"
	headerMin      = 92
	entryMin       = 128
	maxEntries     = 1 << 20 // bytes
	leastEntries   = 16 << 10
	offHeaderSum   = 16
	offMyLBA       = 24
	offOtherLBA    = 32
	offFirstUsable = 40
	offLastUsable  = 48
	offGUID        = 56
	offEntriesLBA  = 72
	offCount       = 80
	offStride      = 84
	offEntriesSum  = 88
)

// table is a GUID partition table in the form of the disk, so that whatever it holds that is not understood here stays.
type table struct {
	header  [sectorSize]byte
	entries []byte // all, padded to whole sectors
}

func (t *table) u32(off int) uint32      { return binary.LittleEndian.Uint32(t.header[off:]) }
func (t *table) u64(off int) uint64      { return binary.LittleEndian.Uint64(t.header[off:]) }
func (t *table) put32(off int, v uint32) { binary.LittleEndian.PutUint32(t.header[off:], v) }
func (t *table) put64(off int, v uint64) { binary.LittleEndian.PutUint64(t.header[off:], v) }
func (t *table) stride() int             { return int(t.u32(offStride)) }
func (t *table) count() int              { return int(t.u32(offCount)) }
func (t *table) entry(number int) []byte { return t.entries[(number-1)*t.stride():][:t.stride()] }
func (t *table) used(number int) bool    { return !allZero(t.entry(number)[:16]) }
func (t *table) start(number int) uint64 { return binary.LittleEndian.Uint64(t.entry(number)[32:]) }
func (t *table) last(number int) uint64  { return binary.LittleEndian.Uint64(t.entry(number)[40:]) }
func (t *table) setLast(n int, v uint64) { binary.LittleEndian.PutUint64(t.entry(n)[40:], v) }
func (t *table) entrySectors() uint64    { return uint64(len(t.entries)) / sectorSize }
func (t *table) numbers() (used []int)   { return slices.Collect(t.eachUsed) }
func (t *table) eachUsed(yield func(int) bool) {
	for n := 1; n <= t.count(); n++ {
		if t.used(n) && !yield(n) {
			return
		}
	}
}

// readTable reads the table whose header is at sector lba of a disk with so many sectors, and checks it as UEFI 2.10
// section 5.3.2 tells to.
func readTable(r io.ReaderAt, sectors, lba uint64) (*table, error) {
	t := &table{}
	if err := readFull(r, t.header[:], int64(lba*sectorSize)); err != nil {
		return nil, err
	}
	if string(t.header[:len(signature)]) != signature {
		return nil, partition.ErrNoTable
	}
	headerSize := t.u32(12)
	if headerSize < headerMin || headerSize > sectorSize {
		return nil, fmt.Errorf("its header has the impossible size %d", headerSize)
	}
	if t.headerSum() != t.u32(offHeaderSum) {
		return nil, errors.New("the checksum of its header is wrong")
	}
	if t.u64(offMyLBA) != lba {
		return nil, fmt.Errorf("its header says that it is at sector %d, but is at %d", t.u64(offMyLBA), lba)
	}
	size := uint64(t.u32(offCount)) * uint64(t.u32(offStride))
	at := t.u64(offEntriesLBA)
	if t.u32(offStride) < entryMin || t.u32(offStride)%8 != 0 || size == 0 || size > maxEntries || at >= sectors || at < 2 {
		return nil, errors.New("its header has values out of range")
	}
	t.entries = make([]byte, (size+sectorSize-1)/sectorSize*sectorSize)
	if err := readFull(r, t.entries, int64(at*sectorSize)); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(t.entries[:size]) != t.u32(offEntriesSum) {
		return nil, errors.New("the checksum of its entries is wrong")
	}
	clear(t.entries[size:])
	for _, n := range t.numbers() {
		if start, last := t.start(n), t.last(n); start < 2 || last < start || last >= sectors {
			return nil, fmt.Errorf("partition %d covers sectors %d to %d of %d", n, start, last, sectors)
		}
	}
	return t, nil
}

func (t *table) headerSum() uint32 {
	h := slices.Clone(t.header[:min(t.u32(12), sectorSize)])
	clear(h[offHeaderSum : offHeaderSum+4])
	return crc32.ChecksumIEEE(h)
}

// lastUsable is the last sector for partitions on a disk of so many: behind it are as many entries as UEFI demands at
// least, and a header.
func (t *table) lastUsable(sectors uint64) uint64 {
	return sectors - 1 - max(t.entrySectors(), leastEntries/sectorSize) - 1
}

// write writes the table for a disk of so many sectors, in the order of the package comment.
func (t *table) write(d Disk, sectors uint64) error {
	t.put32(offEntriesSum, crc32.ChecksumIEEE(t.entries[:t.count()*t.stride()]))
	t.put64(offLastUsable, t.lastUsable(sectors))
	backup := *t
	backup.put64(offMyLBA, sectors-1)
	backup.put64(offOtherLBA, headerLBA)
	backup.put64(offEntriesLBA, t.lastUsable(sectors)+1)
	t.put64(offMyLBA, headerLBA)
	t.put64(offOtherLBA, sectors-1)
	for _, copied := range []*table{&backup, t} {
		copied.put32(offHeaderSum, copied.headerSum())
		if err := writeFull(d, copied.entries, int64(copied.u64(offEntriesLBA)*sectorSize)); err != nil {
			return err
		}
		if err := writeFull(d, copied.header[:], int64(copied.u64(offMyLBA)*sectorSize)); err != nil {
			return err
		}
		if err := d.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// protect gives the protective MBR the size of the disk and leaves the boot code before it (UEFI 2.10 section 5.2.3).
func protect(d Disk, sectors uint64) error {
	var mbr [sectorSize]byte
	if err := readFull(d, mbr[:], 0); err != nil {
		return err
	}
	for entry := mbr[446:510]; len(entry) > 0; entry = entry[16:] {
		if entry[4] == 0xee {
			binary.LittleEndian.PutUint32(entry[12:], uint32(min(sectors-1, math.MaxUint32)))
			if err := writeFull(d, mbr[:], 0); err != nil {
				return err
			}
			return d.Sync()
		}
	}
	return errors.New("it has no protective MBR")
}

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at byte %d: %w", len(p), off, err)
}

func writeFull(d Disk, p []byte, off int64) error {
	if _, err := d.WriteAt(p, off); err != nil {
		return fmt.Errorf("write %d bytes at byte %d: %w", len(p), off, err)
	}
	return nil
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
