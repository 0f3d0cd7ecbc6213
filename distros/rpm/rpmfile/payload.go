package rpmfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/imagefactory/imagefactory/distros/compress"
	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// suffixes are what compress calls the compressors of TagPayloadCompressor.
var suffixes = map[string]string{"gzip": ".gz", "bzip2": ".bz2", "xz": ".xz", "lzma": ".lzma", "zstd": ".zst"}

// readPayload gives read the decompressed payload.
func (f *File) readPayload(ctx context.Context, read func(io.Reader) error) error {
	name := f.Header.String(header.TagPayloadCompressor)
	in := bufio.NewReaderSize(contextReader{ctx, io.NewSectionReader(f.file, f.payloadOffset, f.size-f.payloadOffset)}, 64<<10)
	suffix, ok := suffixes[name]
	switch {
	case name == "" || name == "gzip":
		// rpm names none for gzip in its oldest packages, and none for no compression
		// at all; it tells them apart by the content, too.
		if magic, _ := in.Peek(compress.MagicBytes); compress.Detect(magic) != ".gz" {
			suffix = ""
		} else {
			suffix = ".gz"
		}
	case !ok:
		return f.fail(Malformed, "its payload is compressed with %q, which is not known", name)
	}
	plain, release, err := compress.NewReader(suffix, in)
	if err != nil {
		return f.fail(Malformed, "its payload cannot be decompressed: %w", err)
	}
	defer release()
	return read(&plainReader{plain})
}

// A plainReader names the decompressor's errors for what they mean.
type plainReader struct{ r io.Reader }

func (p *plainReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if err != nil && err != io.EOF && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("the compressed data is damaged or cut short: %w", err)
	}
	return n, err
}

// A contextReader reads until its context is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
