// Package compress reads the compressed streams that package archives, repository
// indexes and root file systems come in: gzip, xz, zstd, bzip2 and lzma.
//
// The streams are strangers': one that asks for more memory than the archives of any
// distribution is refused. Checksums are verified as far as a stream is read, the last
// of them at its end.
package compress

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
	"github.com/ulikunitz/xz/lzma"
)

// Memory a compressed stream may ask for. "xz -9" needs 64 MiB, "zstd --long"
// 128 MiB; the archives use 8 MiB of either.
const (
	maxXzDictionary = 64 << 20
	maxZstdWindow   = 128 << 20
)

// Decoders own a dictionary of several MiB each, so they are used again.
var (
	xzDecoders   sync.Pool // of *xz.Reader
	zstdDecoders sync.Pool // of *zstd.Decoder
)

// NewReader returns a reader of what r holds, by the suffix of its file name:
// none, .gz, .xz, .zst, .bz2 or .lzma, the old form of xz without checksums. The caller calls release once it has stopped
// reading.
func NewReader(suffix string, r io.Reader) (plain io.Reader, release func(), err error) {
	switch suffix {
	case "":
		return r, func() {}, nil
	case ".xz":
		return decompressXz(bufio.NewReaderSize(r, 64<<10))
	case ".zst":
		return decompressZstd(r)
	case ".gz":
		z, err := gzip.NewReader(bufio.NewReaderSize(r, 64<<10))
		return z, func() {}, err
	case ".bz2":
		return bzip2.NewReader(r), func() {}, nil
	case ".lzma":
		z, err := lzma.ReaderConfig{DictCap: maxXzDictionary}.NewReader(bufio.NewReaderSize(r, 64<<10))
		return z, func() {}, err
	default:
		return nil, nil, fmt.Errorf("the compression %q is not known", suffix)
	}
}

func decompressXz(r io.Reader) (io.Reader, func(), error) {
	z, _ := xzDecoders.Get().(*xz.Reader)
	if z == nil {
		var err error
		if z, err = xz.NewReader(nil, maxXzDictionary); err != nil {
			return nil, nil, err
		}
	}
	release := func() {
		// Lets go of r; the error is that nothing is not an xz file.
		_ = z.Reset(eof{})
		xzDecoders.Put(z)
	}
	if err := z.Reset(r); err != nil {
		release()
		return nil, nil, err
	}
	return z, release, nil
}

// magics are the bytes that compressed streams begin with.
var magics = []struct{ suffix, magic string }{
	{".gz", "\x1f\x8b"},
	{".xz", "\xfd7zXZ\x00"},
	{".zst", "\x28\xb5\x2f\xfd"},
	{".bz2", "BZh"},
}

// MagicBytes is how much of a stream Detect needs to see.
const MagicBytes = 6

// Detect returns the suffix for NewReader of a stream that begins with p, by its
// content. It is empty for what is not compressed in a way that this package knows.
func Detect(p []byte) string {
	for _, m := range magics {
		if bytes.HasPrefix(p, []byte(m.magic)) {
			return m.suffix
		}
	}
	return ""
}

// eof is an empty reader.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

func decompressZstd(r io.Reader) (io.Reader, func(), error) {
	z, _ := zstdDecoders.Get().(*zstd.Decoder)
	if z == nil {
		var err error
		z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, nil, err
		}
	}
	release := func() {
		_ = z.Reset(nil) // lets go of r; never fails
		zstdDecoders.Put(z)
	}
	if err := z.Reset(r); err != nil {
		release()
		return nil, nil, err
	}
	return z, release, nil
}
