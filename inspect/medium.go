package inspect

import (
	"bytes"
	"container/list"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/isofs"
	"github.com/imagefactory/imagefactory/installer/payload"
)

// maxDocument bounds the document of a medium, as package config does.
const maxDocument = 4 << 20

// medium returns the disk that an installation medium carries, or the root file system of a live medium. It returns nil
// when the image is none of imagefactory's media.
func (im *Image) medium() (*Image, error) {
	if im.file == nil {
		return nil, nil // a medium in a medium would have no end
	}
	volume, err := isofs.Open(im.disk)
	if errors.Is(err, isofs.ErrNoISO) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ISO 9660: %w", err)
	}
	document, err := volume.ReadFile(config.MediumPath, maxDocument)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", config.MediumPath, err)
	}
	c, err := config.Decode(bytes.NewReader(document))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", config.MediumPath, err)
	}
	if c.Payload.File == "" {
		f, err := volume.Open(c.Root.File)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Root.File, err)
		}
		inner, err := openDisk(f, f.Size(), "live")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Root.File, err)
		}
		return inner, nil
	}
	f, err := volume.Open(c.Payload.File)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Payload.File, err)
	}
	p, err := payload.Open(f, f.Size(), c.Payload.IndexSHA256)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Payload.File, err)
	}
	inner, err := openDisk(newChunkCache(p.Disk(), p.DiskSize()), p.DiskSize(), "payload")
	if err != nil {
		return nil, fmt.Errorf("the disk in %s: %w", c.Payload.File, err)
	}
	return inner, nil
}

// chunkCache remembers the chunks of a payload that were read last. A payload decompresses a whole chunk for every read;
// metadata and contents of a file lie in different ones.
type chunkCache struct {
	r    io.ReaderAt
	size int64

	mu     sync.Mutex
	chunks map[int64]*list.Element // by offset
	recent *list.List              // of *cachedChunk, the last used first
}

type cachedChunk struct {
	offset int64
	once   sync.Once
	data   []byte
	err    error
}

// cachedChunks is how many chunks are remembered: 128 MiB of them.
const cachedChunks = 32

func newChunkCache(r io.ReaderAt, size int64) *chunkCache {
	return &chunkCache{r: r, size: size, chunks: map[int64]*list.Element{}, recent: list.New()}
}

// ReadAt implements io.ReaderAt.
func (c *chunkCache) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("read at the negative offset %d", offset)
	}
	done := 0
	for done < len(p) {
		at := offset + int64(done)
		if at >= c.size {
			return done, io.EOF
		}
		start := at / payload.ChunkSize * payload.ChunkSize
		data, err := c.chunk(start)
		if err != nil {
			return done, err
		}
		done += copy(p[done:], data[at-start:])
	}
	return done, nil
}

// chunk returns the bytes from start to the next chunk.
func (c *chunkCache) chunk(start int64) ([]byte, error) {
	c.mu.Lock()
	e := c.chunks[start]
	if e == nil {
		e = c.recent.PushFront(&cachedChunk{offset: start})
		c.chunks[start] = e
		if c.recent.Len() > cachedChunks {
			last := c.recent.Remove(c.recent.Back()).(*cachedChunk)
			delete(c.chunks, last.offset)
		}
	} else {
		c.recent.MoveToFront(e)
	}
	chunk := e.Value.(*cachedChunk)
	c.mu.Unlock()
	chunk.once.Do(func() {
		chunk.data = make([]byte, min(payload.ChunkSize, c.size-start))
		if n, err := c.r.ReadAt(chunk.data, start); n < len(chunk.data) {
			chunk.err = err
		}
	})
	return chunk.data, chunk.err
}
