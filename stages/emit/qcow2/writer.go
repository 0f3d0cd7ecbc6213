package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// Source is a disk to be written. A disk.Reader is one.
type Source interface {
	// ReadAt must be safe for several goroutines.
	io.ReaderAt
	// Size is the size of the disk in bytes, a multiple of 512.
	Size() int64
	// Data yields the ranges (offset, length) outside of which the disk reads as zero, in order and apart.
	Data() iter.Seq2[int64, int64]
}

// Options says how to write.
type Options struct {
	Compression Compression
	Level       int                     // 0 for the default; see [Compression.Levels]
	Workers     int                     // goroutines that compress; 0 for as many as there are processors
	Progress    func(done, total int64) // called by one goroutine at a time with bytes of the source's data; may be nil
}

const (
	jobClusters = 16 // clusters a worker takes at once: 1 MiB
	jobsAhead   = 4  // jobs per worker in flight, so that none waits while the writer is behind

	// A cluster is stored as it is unless compressing saves at least a sixteenth: that little is not worth a reader's
	// time, and a plain cluster can be read in part and overwritten in place.
	worthwhile = clusterSize - clusterSize/16

	l2Entries       = clusterSize / 8
	refcountsPer    = clusterSize / 2 // 16-bit refcounts
	maxVirtualSize  = 1 << 51         // whose L1 table has the 32 MiB that QEMU accepts
	compressedShift = 62 - (clusterBits - 8)
)

// Write writes src as a qcow2 image and returns the size of the file in bytes. What was in w before must be
// nothing or zeros: gaps are not written.
func Write(ctx context.Context, w io.WriterAt, src Source, o Options) (int64, error) {
	if err := o.check(src.Size()); err != nil {
		return 0, err
	}
	if low, _, standard := o.Compression.Levels(); o.Level < low {
		o.Level = standard
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	out := &image{w: w, size: src.Size(), end: clusterSize, compression: o.Compression}
	if err := out.copyData(ctx, src, o); err != nil {
		return 0, err
	}
	return out.finish()
}

func (o Options) check(size int64) error {
	if o.Compression > None {
		return fmt.Errorf("write qcow2: unknown %s", o.Compression)
	}
	if low, high, _ := o.Compression.Levels(); o.Level != 0 && (o.Level < low || o.Level > high) {
		if o.Compression == None {
			return fmt.Errorf("write qcow2: level %d makes no sense without compression", o.Level)
		}
		return fmt.Errorf("write qcow2: %s has no level %d; use %d to %d", o.Compression, o.Level, low, high)
	}
	if o.Workers < 0 {
		return fmt.Errorf("write qcow2: %d workers", o.Workers)
	}
	if size <= 0 || size%512 != 0 || size > maxVirtualSize {
		return fmt.Errorf("write qcow2: a disk of %d bytes; it must be a multiple of 512 bytes and at most 2 PiB", size)
	}
	return nil
}

// job is some clusters on their way through a worker to the file. Jobs are reused.
type job struct {
	clusters []int64 // numbers of clusters of the disk, ascending
	results  []result
	data     []byte // what the results describe, one after the other
	err      error
	done     chan struct{}
}

// result is what became of one cluster.
type result struct {
	kind   kind
	length int // bytes of data
}

type kind uint8

const (
	zero kind = iota
	plain
	compressed
)

// copyData compresses the data of src and places it in the file.
func (out *image) copyData(ctx context.Context, src Source, o Options) error {
	var total, done int64
	for _, n := range src.Data() {
		total += n
	}
	count := o.Workers * jobsAhead
	free, work, queue := make(chan *job, count), make(chan *job, count), make(chan *job, count)
	for range count {
		free <- &job{done: make(chan struct{}, 1)}
	}
	compressors := make([]compressor, o.Workers)
	for i := range compressors {
		var err error
		if compressors[i], err = newCompressor(o); err != nil {
			return fmt.Errorf("write qcow2: %w", err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(work)
		defer close(queue)
		for clusters := range dataClusters(src) {
			select {
			case j := <-free:
				j.clusters = append(j.clusters[:0], clusters...)
				work <- j // never blocks: there are only count jobs
				queue <- j
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for _, compress := range compressors {
		group.Go(func() error {
			buf := make([]byte, clusterSize)
			for j := range work {
				j.run(src, compress, buf)
				j.done <- struct{}{}
			}
			return nil
		})
	}
	group.Go(func() error {
		for j := range queue {
			select {
			case <-j.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if j.err != nil {
				return j.err
			}
			if err := out.place(j); err != nil {
				return err
			}
			if o.Progress != nil {
				// Clusters round the data up, so that this may run ahead.
				done = min(done+int64(len(j.clusters))*clusterSize, total)
				o.Progress(done, total)
			}
			free <- j
		}
		return nil
	})
	return group.Wait()
}

// dataClusters yields the numbers of the clusters that hold data, in order, some at a time. The slice is reused.
func dataClusters(src Source) iter.Seq[[]int64] {
	return func(yield func([]int64) bool) {
		batch := make([]int64, 0, jobClusters)
		next := int64(0) // ranges that are close to one another share clusters
		for off, n := range src.Data() {
			for next = max(next, off/clusterSize); next*clusterSize < off+n; next++ {
				if batch = append(batch, next); len(batch) == jobClusters {
					if !yield(batch) {
						return
					}
					batch = batch[:0]
				}
			}
		}
		if len(batch) > 0 {
			yield(batch)
		}
	}
}

var zeroCluster [clusterSize]byte

// run reads and compresses the clusters of a job. buf holds a cluster.
func (j *job) run(src Source, compress compressor, buf []byte) {
	j.results, j.data, j.err = j.results[:0], j.data[:0], nil
	for _, c := range j.clusters {
		off := c * clusterSize
		n := int(min(clusterSize, src.Size()-off))
		if got, err := src.ReadAt(buf[:n], off); got < n {
			j.err = fmt.Errorf("write qcow2: read the disk at byte %d: %w", off+int64(got), err)
			return
		}
		clear(buf[n:])
		if bytes.Equal(buf, zeroCluster[:]) {
			j.results = append(j.results, result{zero, 0})
			continue
		}
		start := len(j.data)
		if compress != nil {
			if j.data, j.err = compress(j.data, buf); j.err != nil {
				return
			}
			if n := len(j.data) - start; n <= worthwhile {
				j.results = append(j.results, result{compressed, n})
				continue
			}
		}
		j.data = append(j.data[:start], buf...)
		j.results = append(j.results, result{plain, clusterSize})
	}
}

// image is a file being written.
type image struct {
	w           io.WriterAt
	size        int64 // of the disk
	compression Compression

	end       int64 // of the allocated clusters: where the next one begins
	packed    int64 // where the next compressed cluster goes if it fits before packedEnd
	packedEnd int64 // end of the clusters that hold compressed ones
	l2        []l2Table
	refcounts []uint16 // of clusters up to end; grown when they are counted
}

// l2Table maps the clusters index×l2Entries and following.
type l2Table struct {
	index   int64
	entries []byte
}

// place writes what a job made and maps it.
func (out *image) place(j *job) error {
	data := j.data
	for i, r := range j.results {
		if r.kind == zero {
			continue
		}
		var (
			at    int64
			entry uint64
		)
		if r.kind == plain {
			at = out.end
			out.end += clusterSize
			entry = uint64(at) | flagCopied
			out.count(at, clusterSize)
		} else {
			at = out.pack(int64(r.length))
			last := at + int64(r.length) - 1
			sectors := last/compressedSector - at/compressedSector // further sectors after the first
			entry = uint64(at) | uint64(sectors)<<compressedShift | flagCompressed
			out.count(at, int64(r.length))
		}
		if _, err := out.w.WriteAt(data[:r.length], at); err != nil {
			return fmt.Errorf("write qcow2: %w", err)
		}
		data = data[r.length:]
		out.mapCluster(j.clusters[i], entry)
	}
	return nil
}

// pack finds room for n bytes of compressed data, right behind the last if that is possible.
func (out *image) pack(n int64) int64 {
	if out.packed+n > out.packedEnd {
		if out.packedEnd != out.end {
			out.packed = out.end // plain clusters came in between
		}
		for out.packedEnd = out.end; out.packed+n > out.packedEnd; {
			out.end += clusterSize
			out.packedEnd = out.end
		}
	}
	at := out.packed
	out.packed += n
	return at
}

// count adds a reference to all clusters of the file that n bytes at off touch.
func (out *image) count(off, n int64) {
	for c := off / clusterSize; c <= (off+n-1)/clusterSize; c++ {
		for int64(len(out.refcounts)) <= c {
			out.refcounts = append(out.refcounts, 0)
		}
		out.refcounts[c]++
	}
}

// mapCluster enters where a cluster of the disk lies. Clusters come in ascending order.
func (out *image) mapCluster(cluster int64, entry uint64) {
	index := cluster / l2Entries
	if n := len(out.l2); n == 0 || out.l2[n-1].index != index {
		out.l2 = append(out.l2, l2Table{index, make([]byte, clusterSize)})
	}
	entries := out.l2[len(out.l2)-1].entries
	binary.BigEndian.PutUint64(entries[cluster%l2Entries*8:], entry)
}

// finish writes the tables and the header, and returns the size of the file.
func (out *image) finish() (int64, error) {
	l1 := make([]byte, ceil(ceil(out.size, clusterSize), l2Entries)*8)
	for _, t := range out.l2 {
		at, err := out.appendClusters(t.entries)
		if err != nil {
			return 0, err
		}
		binary.BigEndian.PutUint64(l1[t.index*8:], uint64(at)|flagCopied)
	}
	l1Offset, err := out.appendClusters(l1)
	if err != nil {
		return 0, err
	}
	// The refcounts count their own blocks and table too.
	data := out.end / clusterSize
	var blocks, table int64
	for n := int64(-1); n != data+blocks+table; {
		n = data + blocks + table
		blocks = ceil(n, refcountsPer)
		table = ceil(blocks*8, clusterSize)
	}
	out.count(0, clusterSize)
	out.count(out.end, (blocks+table)*clusterSize)
	counts := make([]byte, blocks*clusterSize)
	for i, n := range out.refcounts {
		binary.BigEndian.PutUint16(counts[i*2:], n)
	}
	blocksOffset, err := out.appendUncounted(counts)
	if err != nil {
		return 0, err
	}
	blockOffsets := make([]byte, table*clusterSize)
	for i := range blocks {
		binary.BigEndian.PutUint64(blockOffsets[i*8:], uint64(blocksOffset+i*clusterSize))
	}
	tableOffset, err := out.appendUncounted(blockOffsets)
	if err != nil {
		return 0, err
	}
	header := out.header(int64(len(l1)/8), l1Offset, tableOffset, table)
	if _, err := out.w.WriteAt(header, 0); err != nil {
		return 0, fmt.Errorf("write qcow2: %w", err)
	}
	return out.end, nil
}

// appendClusters writes p, padded to whole clusters, and counts them.
func (out *image) appendClusters(p []byte) (int64, error) {
	at, err := out.appendUncounted(p)
	out.count(at, out.end-at)
	return at, err
}

func (out *image) appendUncounted(p []byte) (int64, error) {
	at := out.end
	out.end += ceil(int64(len(p)), clusterSize) * clusterSize
	padded := append(p, make([]byte, out.end-at-int64(len(p)))...)
	if _, err := out.w.WriteAt(padded, at); err != nil {
		return 0, fmt.Errorf("write qcow2: %w", err)
	}
	return at, nil
}

// header returns the first cluster.
func (out *image) header(l1Size, l1Offset, tableOffset, tableClusters int64) []byte {
	h := make([]byte, clusterSize)
	be := binary.BigEndian
	copy(h, magic)
	be.PutUint32(h[4:], version)
	be.PutUint32(h[20:], clusterBits)
	be.PutUint64(h[24:], uint64(out.size))
	be.PutUint32(h[36:], uint32(l1Size))
	be.PutUint64(h[40:], uint64(l1Offset))
	be.PutUint64(h[48:], uint64(tableOffset))
	be.PutUint32(h[56:], uint32(tableClusters))
	be.PutUint32(h[96:], 4) // refcounts have 1<<4 bits
	be.PutUint32(h[100:], headerLength)
	if out.compression == Zstd {
		be.PutUint64(h[72:], featureCompressionType)
		h[104] = typeZstd
		// A QEMU that is too old for zstd prints this name.
		name := h[headerLength:]
		be.PutUint32(name, extensionNames)
		be.PutUint32(name[4:], 48)
		name[8], name[9] = 0, 3 // incompatible feature, bit 3
		copy(name[10:], "compression type")
	}
	return h
}

func ceil(n, unit int64) int64 { return (n + unit - 1) / unit }
