package payload

import (
	"context"
	"fmt"
	"io"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/store"
)

// Version is the version of this stage's code; see stages.Stage.
const Version = 1

// Result is a payload in the store.
type Result struct {
	Object store.Digest `json:"object"` // the payload
	Info   Info         `json:"info"`
}

// Run writes the disk whose encoding is the object image of the store as a payload, into the store.
func Run(ctx context.Context, run *stages.Run, image store.Digest, o Options) (Result, error) {
	st := run.Cache.Store
	im, err := disk.Load(st, image)
	if err != nil {
		return Result{}, err
	}
	return Store(ctx, st, im, o, func(done, total int64) {
		run.Emit(stages.Event{Kind: stages.Progress, Done: done, Total: total, Unit: stages.Bytes})
	})
}

// Store is Run for an image at hand.
func Store(ctx context.Context, st *store.Store, im disk.Image, o Options, progress func(done, total int64)) (Result, error) {
	r, err := im.Open(st)
	if err != nil {
		return Result{}, err
	}
	defer r.Close()
	batch, err := st.NewBatch()
	if err != nil {
		return Result{}, err
	}
	defer batch.Abort()
	pr, pw := io.Pipe()
	var (
		info Info
		done = make(chan struct{})
	)
	go func() {
		defer close(done)
		var err error
		info, err = Write(ctx, r, pw, o, progress)
		pw.CloseWithError(err)
	}()
	digest, size, err := batch.Add(pr)
	pr.CloseWithError(err) // ends Write, when the store could not take all of it
	<-done
	if err != nil {
		return Result{}, err
	}
	if size != info.Size || digest.Hex() != info.SHA256 {
		return Result{}, fmt.Errorf("the store took another payload than was written: %d bytes with the digest %s instead of %d with %s", size, digest.Hex(), info.Size, info.SHA256)
	}
	return Result{Object: digest, Info: info}, batch.Commit()
}
