package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

const (
	minClusterBits = 9
	maxClusterBits = 21
	maxL1Size      = 32 << 20 // bytes, as in QEMU
	cacheSize      = 8 << 20  // bytes of decompressed clusters kept, and as many of L2 tables
)

// ErrNotQcow2 says that a file does not start with the format's magic number.
var ErrNotQcow2 = errors.New("not a qcow2 image")

// Reader serves the bytes of the disk in an image. It is safe for use by several goroutines.
type Reader struct {
	file            io.ReaderAt
	fileSize        int64
	size            int64
	bits            int // log2 of the cluster size
	compressionType byte
	l1              []byte

	mu     sync.Mutex
	tables cache // L2 tables by offset
	data   cache // decompressed clusters by L2 entry
	zstd   *zstd.Decoder
}

// Detect reports whether the file starts as an image does.
func Detect(file io.ReaderAt) bool {
	var b [len(magic)]byte
	n, _ := file.ReadAt(b[:], 0)
	return n == len(b) && string(b[:]) == magic
}

// Open reads the tables of an image of fileSize bytes. It refuses images with a backing or external data file, encryption
// or features it does not know.
func Open(file io.ReaderAt, fileSize int64) (*Reader, error) {
	if !Detect(file) {
		return nil, ErrNotQcow2
	}
	r := &Reader{file: file, fileSize: fileSize}
	if err := r.readHeader(); err != nil {
		return nil, fmt.Errorf("qcow2 image: %w", err)
	}
	limit := max(1, cacheSize>>r.bits)
	r.tables.limit, r.data.limit = limit, limit
	return r, nil
}

// Size is the size of the disk in bytes.
func (r *Reader) Size() int64 { return r.size }

// ClusterSize is the size of a cluster in bytes.
func (r *Reader) ClusterSize() int64 { return 1 << r.bits }

func (r *Reader) readHeader() error {
	h := make([]byte, headerLength)
	n, err := r.file.ReadAt(h, 0)
	if n < 72 {
		return fmt.Errorf("the header is cut off: %w", eof(err))
	}
	clear(h[n:])
	be := binary.BigEndian
	switch v := be.Uint32(h[4:]); v {
	case 2:
		clear(h[72:]) // what version 3 added
	case 3:
		if n < 104 {
			return fmt.Errorf("the header is cut off: %w", eof(err))
		}
		if be.Uint32(h[100:]) <= 104 {
			h[104] = typeDeflate // the field is not there
		}
	default:
		return fmt.Errorf("version %d is unknown; convert it with qemu-img", v)
	}
	switch features := be.Uint64(h[72:]); {
	case be.Uint64(h[8:]) != 0:
		return errors.New("it has a backing file; flatten it with `qemu-img convert`")
	case be.Uint32(h[32:]) != 0:
		return errors.New("it is encrypted; decrypt it with `qemu-img convert`")
	case features&featureCorrupt != 0:
		return errors.New("it is marked as corrupt; repair it with `qemu-img check -r all`")
	case features&featureExternalData != 0:
		return errors.New("its data is in another file; gather it with `qemu-img convert`")
	case features&featureExtendedL2 != 0:
		return errors.New("it has subclusters, which are not supported; convert it with `qemu-img convert`")
	case features&^(featureDirty|featureCompressionType) != 0:
		return fmt.Errorf("it needs features that are not supported (bits %#x); convert it with `qemu-img convert`", features)
	case features&featureCompressionType == 0:
		h[104] = typeDeflate
	case h[104] != typeDeflate && h[104] != typeZstd:
		return fmt.Errorf("its compression type %d is unknown; convert it with `qemu-img convert`", h[104])
	}
	r.compressionType = h[104]
	bits, size := be.Uint32(h[20:]), be.Uint64(h[24:])
	if bits < minClusterBits || bits > maxClusterBits {
		return fmt.Errorf("clusters of 2^%d bytes cannot be", bits)
	}
	r.bits, r.size = int(bits), int64(size)
	l1Size, l1Offset := int64(be.Uint32(h[36:]))*8, be.Uint64(h[40:])
	perTable := uint64(1) << (2*r.bits - 3) // bytes of the disk that one L2 table maps
	if size > 1<<62 || (size+perTable-1)/perTable > uint64(l1Size/8) || l1Size > maxL1Size {
		return fmt.Errorf("a disk of %d bytes does not go with %d entries in the L1 table", size, l1Size/8)
	}
	if l1Offset > uint64(r.fileSize) || l1Size > r.fileSize-int64(l1Offset) {
		return errors.New("the L1 table lies beyond the end of the file; the image is damaged or cut off")
	}
	r.l1 = make([]byte, l1Size)
	if n, err := r.file.ReadAt(r.l1, int64(l1Offset)); n < len(r.l1) {
		return fmt.Errorf("read the L1 table: %w", eof(err))
	}
	return nil
}

// ReadAt implements [io.ReaderAt].
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read qcow2 image: negative offset %d", off)
	}
	if off >= r.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > r.size-off
	if short {
		p = p[:r.size-off]
	}
	total := len(p)
	for len(p) > 0 {
		within := off & (r.ClusterSize() - 1)
		n := min(int64(len(p)), r.ClusterSize()-within)
		if err := r.readCluster(p[:n], off>>r.bits, within); err != nil {
			return total - len(p), fmt.Errorf("read qcow2 image at byte %d: %w", off, err)
		}
		p, off = p[n:], off+n
	}
	if short {
		return total, io.EOF
	}
	return total, nil
}

// readCluster fills p with what stands in a cluster from byte within on.
func (r *Reader) readCluster(p []byte, cluster, within int64) error {
	entry, err := r.entry(cluster)
	if err != nil {
		return err
	}
	switch offset := int64(entry & offsetMask); {
	case entry&flagCompressed != 0:
		return r.readCompressed(p, entry, within)
	case entry&flagZero != 0 || offset == 0:
		clear(p)
		return nil
	case offset&(r.ClusterSize()-1) != 0:
		return fmt.Errorf("L2 entry %#x is not aligned to a cluster", entry)
	default:
		return r.readFile(p, offset+within)
	}
}

// entry returns the L2 entry of a cluster, 0 for none.
func (r *Reader) entry(cluster int64) (uint64, error) {
	perTable := r.ClusterSize() / 8
	table := binary.BigEndian.Uint64(r.l1[cluster/perTable*8:]) & offsetMask
	if table == 0 {
		return 0, nil
	}
	if table&uint64(r.ClusterSize()-1) != 0 {
		return 0, fmt.Errorf("L1 entry %#x is not aligned to a cluster", table)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	entries, ok := r.tables.get(table)
	if !ok {
		entries = r.tables.buffer(r.ClusterSize())
		if err := r.readFile(entries, int64(table)); err != nil {
			return 0, fmt.Errorf("L2 table: %w", err)
		}
		r.tables.put(table, entries)
	}
	return binary.BigEndian.Uint64(entries[cluster%perTable*8:]), nil
}

// readFile fills p from the file.
func (r *Reader) readFile(p []byte, off int64) error {
	if off > r.fileSize || int64(len(p)) > r.fileSize-off {
		return fmt.Errorf("it lies at byte %d of the file, which has only %d; the image is damaged or cut off", off, r.fileSize)
	}
	if n, err := r.file.ReadAt(p, off); n < len(p) {
		return eof(err)
	}
	return nil
}

func (r *Reader) readCompressed(p []byte, entry uint64, within int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	data, ok := r.data.get(entry)
	if !ok {
		data = r.data.buffer(r.ClusterSize())
		if err := r.decompress(data, entry); err != nil {
			return fmt.Errorf("compressed cluster: %w", err)
		}
		r.data.put(entry, data)
	}
	copy(p, data[within:])
	return nil
}

// decompress fills data from the compressed cluster of an L2 entry. Its length is known to the sector only, so that other
// data may follow.
func (r *Reader) decompress(data []byte, entry uint64) error {
	shift := 62 - (r.bits - 8)
	offset := int64(entry & (1<<shift - 1))
	sectors := int64(entry&(flagCompressed-1)) >> shift
	length := (sectors+1)*compressedSector - offset%compressedSector
	if offset >= r.fileSize {
		return fmt.Errorf("it lies at byte %d of the file, which has only %d; the image is damaged or cut off", offset, r.fileSize)
	}
	in := make([]byte, min(length, r.fileSize-offset)) // the last sector may be cut off
	if err := r.readFile(in, offset); err != nil {
		return err
	}
	if r.compressionType == typeDeflate {
		if _, err := io.ReadFull(flate.NewReader(bytes.NewReader(in)), data); err != nil {
			return fmt.Errorf("deflate: %w", eof(err))
		}
		return nil
	}
	if r.zstd == nil {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return err
		}
		r.zstd = dec
	}
	if err := r.zstd.Reset(bytes.NewReader(in)); err != nil {
		return fmt.Errorf("zstd: %w", eof(err))
	}
	if _, err := io.ReadFull(r.zstd, data); err != nil {
		return fmt.Errorf("zstd: %w", eof(err))
	}
	return nil
}

// eof turns an end of file where none may be into an unexpected one.
func eof(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// cache keeps the buffers that were put last.
type cache struct {
	limit   int
	buffers map[uint64][]byte
	order   []uint64 // keys, oldest first
}

func (c *cache) get(key uint64) ([]byte, bool) {
	b, ok := c.buffers[key]
	return b, ok
}

// buffer returns memory for the next put, evicting the oldest buffer when the cache is full.
func (c *cache) buffer(size int64) []byte {
	if len(c.order) == c.limit {
		oldest := c.order[0]
		b := c.buffers[oldest]
		delete(c.buffers, oldest)
		c.order = c.order[1:]
		return b
	}
	return make([]byte, size)
}

func (c *cache) put(key uint64, b []byte) {
	if c.buffers == nil {
		c.buffers = map[uint64][]byte{}
	}
	c.buffers[key] = b
	c.order = append(c.order, key)
}
