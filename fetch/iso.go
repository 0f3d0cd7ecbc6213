package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"strings"
	"time"
)

// An isoImage is an index of the files in an ISO 9660 image.
type isoImage struct {
	size  int64 // of the image file, which was read when
	mtime time.Time
	files map[string]isoExtent // by path, without a slash before it
	dirs  map[string]bool
}

// splitISO returns the two parts of an iso: URL's path: of the image file and, below
// its root, of a file or directory in it; the latter is "." for the root.
func splitISO(u *url.URL) (image, inside string) {
	image, inside, found := strings.Cut(u.Path, "!/")
	if !found {
		image = strings.TrimSuffix(image, "!")
	}
	return image, path.Clean("./" + path.Clean("/"+inside))
}

// image returns the index of an image file, which is read when it has not been before
// or has changed since.
func (c *Client) image(name string) (*isoImage, error) {
	c.imagesLock.Lock()
	defer c.imagesLock.Unlock()
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if known := c.images[name]; known != nil && known.size == info.Size() && known.mtime.Equal(info.ModTime()) {
		return known, nil
	}
	image := &isoImage{size: info.Size(), mtime: info.ModTime()}
	if image.files, image.dirs, err = readISO(f); err != nil {
		return nil, fmt.Errorf("%s cannot be read as an ISO 9660 image: %w", name, err)
	}
	if c.images == nil {
		c.images = make(map[string]*isoImage)
	}
	c.images[name] = image
	return image, nil
}

// open returns the contents of a file in the image.
func (i *isoImage) open(name, inside string) (LocalReader, error) {
	extent, ok := i.files[inside]
	switch {
	case i.dirs[inside]:
		return nil, fmt.Errorf("%s in %s is a directory", inside, name)
	case !ok:
		return nil, fmt.Errorf("%w: %s has no file %s", ErrNotFound, name, inside)
	case extent.size == inPieces:
		return nil, fmt.Errorf("%s in %s is not in one piece, and such files are not supported: copy it out of the image", inside, name)
	case extent.offset+extent.size > i.size:
		return nil, fmt.Errorf("%s is cut short: %s lies beyond its end", name, inside)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &section{io.NewSectionReader(f, extent.offset, extent.size), f}, nil
}

// A section is a part of a file, which Close closes.
type section struct {
	*io.SectionReader
	io.Closer
}

// openISO opens a file in an image.
func (c *Client) openISO(ctx context.Context, u *url.URL) (LocalReader, error) {
	name, inside := splitISO(u)
	image, err := c.image(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	return image.open(name, inside)
}
