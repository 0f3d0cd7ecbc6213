package emit

import (
	"context"
	"crypto/sha256"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/emit/qcow2"
	"github.com/imagefactory/imagefactory/stages/store"
)

// Qcow2 writes a disk as a qcow2 image at path, with its .sha256. The Progress of o is used, that of q is not.
func Qcow2(ctx context.Context, st *store.Store, im disk.Image, path string, q qcow2.Options, o Options) (Output, error) {
	r, err := im.Open(st)
	if err != nil {
		return Output{}, err
	}
	defer r.Close()
	out, err := create(path)
	if err != nil {
		return Output{}, err
	}
	defer out.abort()
	q.Progress = o.Progress
	size, err := qcow2.Write(ctx, out, r, q)
	if err != nil {
		return Output{}, explain(path, err)
	}
	// The header is known last, so that the digest has to be taken of the finished file: from the page cache, while it
	// goes to the disk.
	var group errgroup.Group
	group.Go(func() error { return out.sync(ctx) })
	sum := sha256.New()
	_, err = io.Copy(sum, contextReader{ctx, io.NewSectionReader(out, 0, size)})
	if syncErr := group.Wait(); err == nil {
		err = syncErr
	}
	if err != nil {
		return Output{}, explain(path, err)
	}
	result := Output{Path: path, Size: size, VirtualSize: im.Size, Digest: store.Digest(sum.Sum(nil))}
	if err := o.accept(result.Size); err != nil {
		return Output{}, err
	}
	return result, out.commitImage(result.Digest)
}

// contextReader stops reading when its context ends.
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
