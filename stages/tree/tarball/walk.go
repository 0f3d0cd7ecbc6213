package tarball

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
)

const blockSize = 512

// Walk calls add with every entry of the archive in r and its contents. It fails when
// the archive has no end mark. Errors name the entry.
func Walk(r io.Reader, add func(*tar.Header, io.Reader) error) error {
	in := &countingReader{r: r}
	archive := tar.NewReader(in)
	last := "" // the entry before the current position, for errors
	for {
		before := in.n
		h, err := archive.Next()
		if err == io.EOF {
			padded := (before + blockSize - 1) &^ (blockSize - 1)
			if in.n-padded < 2*blockSize {
				return fmt.Errorf("the archive ends after entry %q without its end mark: it has been cut short", last)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("the header after entry %q: %w", last, describe(err))
		}
		if err := add(h, archive); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, describe(err))
		}
		last = h.Name
	}
}

// describe puts into words the two errors of archive/tar that are not.
func describe(err error) error {
	switch {
	case errors.Is(err, tar.ErrHeader):
		return errors.New("it is not a valid tar header")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the archive ends in the middle of it")
	}
	return err
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
