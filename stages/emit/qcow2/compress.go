package qcow2

import (
	"fmt"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// Compression is how clusters are compressed.
type Compression uint8

const (
	// Zstd needs QEMU 5.1 or later to read.
	Zstd Compression = iota
	// Deflate is read by everything that reads qcow2.
	Deflate
	// None leaves data as it is; zeros still take no space.
	None
)

var compressionNames = [...]string{Zstd: "zstd", Deflate: "deflate", None: "none"}

// String returns the name that [ParseCompression] takes.
func (c Compression) String() string {
	if int(c) < len(compressionNames) {
		return compressionNames[c]
	}
	return fmt.Sprintf("compression %d", uint8(c))
}

// ParseCompression reads the name of a compression.
func ParseCompression(name string) (Compression, error) {
	for c, n := range compressionNames {
		if n == name {
			return Compression(c), nil
		}
	}
	return 0, fmt.Errorf("unknown compression %q; use zstd, deflate or none", name)
}

// Levels is the range of levels of c, and the default among them; all 0 for None.
func (c Compression) Levels() (low, high, standard int) {
	switch c {
	case Zstd:
		return 1, 19, 3
	case Deflate:
		return 1, 9, 6
	}
	return 0, 0, 0
}

// compressor appends the compressed form of src to dst. It is used by one goroutine.
type compressor func(dst, src []byte) ([]byte, error)

// newCompressor returns the compressor of checked options; nil for None.
func newCompressor(o Options) (compressor, error) {
	switch o.Compression {
	case Zstd:
		enc, err := zstd.NewWriter(nil,
			zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(o.Level)),
			zstd.WithWindowSize(clusterSize),
			zstd.WithEncoderCRC(false))
		if err != nil {
			return nil, err
		}
		return func(dst, src []byte) ([]byte, error) { return enc.EncodeAll(src, dst), nil }, nil
	case Deflate:
		// QEMU itself compresses with a window of 4 KiB only. Its reader inflates the whole cluster in one call, where
		// zlib looks back in the output and not in its window, so the usual window is fine, and 7 % smaller.
		var out appender
		enc, err := flate.NewWriter(&out, o.Level)
		if err != nil {
			return nil, err
		}
		return func(dst, src []byte) ([]byte, error) {
			out = dst
			enc.Reset(&out)
			if _, err := enc.Write(src); err != nil {
				return nil, err
			}
			err := enc.Close()
			return out, err
		}, nil
	}
	return nil, nil
}

// appender is a writer onto a slice that others own.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}
