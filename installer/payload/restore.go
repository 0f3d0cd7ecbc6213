package payload

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"
)

// bootCodeSize is the part of the first sector that a BIOS executes; the rest is a partition table.
const bootCodeSize = 440

// Plan says how a device is written.
type Plan struct {
	// Skip are ranges that are neither written nor read: partitions whose contents are kept. With any, the partition
	// table on the device stays as it is until the end.
	Skip []Range
	// Last are ranges without which the system does not start, such as the start of the EFI system partition. They are
	// cleared first and written after everything else, before the partition table. Only needed with Skip.
	Last []Range
}

// Restore writes the disk onto a device, whose size must be at least that of the disk, and compares what the device then
// holds. Inside the disk everything but plan.Skip is written, holes as zeros; behind it only the last MiB is cleared, unless
// something is skipped. See the package comment for the order. Errors before the first write leave the device as it was;
// after it they are a *WriteError. Restore can be repeated whatever became of an earlier one.
func (p *Payload) Restore(ctx context.Context, d Device, plan Plan, progress Progress) error {
	if err := p.accept(d, plan); err != nil {
		return err
	}
	r := &restorer{p: p, d: d, progress: progress, skip: joined(plan.Skip)}
	groups := r.plan(plan)
	err := r.clear(ctx, plan)
	for _, g := range groups {
		if err == nil {
			err = r.run(ctx, g)
		}
	}
	var at *ioError
	if err == nil || len(r.written) == 0 && !errors.As(err, &at) {
		return err
	}
	out := &WriteError{Device: d.Name(), Offset: -1, Doing: "installing on", Written: joined(r.written), Err: err}
	if errors.As(err, &at) {
		out.Offset, out.Doing, out.Err = at.offset, at.doing, at.err
	}
	return out
}

// accept checks everything that can be checked before the first write.
func (p *Payload) accept(d Device, plan Plan) error {
	if d.SectorSize() != sectorSize {
		return fmt.Errorf("%s has sectors of %d bytes and the system is made for disks whose sectors have %d: nothing was written; choose another disk, or format this one to that sector size",
			d.Name(), d.SectorSize(), sectorSize)
	}
	if d.Size() < p.DiskSize() {
		return &TooSmallError{Device: d.Name(), Have: d.Size(), Need: p.DiskSize()}
	}
	for _, r := range slices.Concat(plan.Skip, plan.Last) {
		if r.Length <= 0 || r.Offset < TableSize || r.Length > d.Size()-r.Offset || r.Offset%sectorSize != 0 || r.Length%sectorSize != 0 {
			return fmt.Errorf("install on %s: %d bytes at byte %d cannot be treated apart: nothing was written", d.Name(), r.Length, r.Offset)
		}
	}
	return nil
}

// restorer is one Restore.
type restorer struct {
	p        *Payload
	d        Device
	progress Progress
	skip     []Range
	written  []Range

	total, wrote, readBack int64 // bytes of data
}

// action is a chunk to write, or a range to zero.
type action struct {
	Range
	chunk int // index, or -1 for zeros
	data  int64
}

// plan returns what is to be done, in groups of which each is finished before the next begins: most of the disk, what
// shall come last, and the start of the disk with its partition table.
func (r *restorer) plan(plan Plan) [3][]action {
	var groups [3][]action
	last := joined(plan.Last)
	add := func(a action) {
		g := 0
		switch {
		case a.Offset < TableSize:
			g = 2
		case slices.ContainsFunc(last, a.overlaps):
			g = 1
		}
		groups[g] = append(groups[g], a)
		r.total += a.data
	}
	zero := func(from, to int64) {
		for _, hole := range (Range{from, to - from}).without(r.skip) {
			// A hole that begins in the start of the disk belongs to two groups.
			if hole.Offset < TableSize && hole.End() > TableSize {
				add(action{Range: Range{hole.Offset, TableSize - hole.Offset}, chunk: -1})
				hole = Range{TableSize, hole.End() - TableSize}
			}
			add(action{Range: hole, chunk: -1})
		}
	}
	at := int64(0)
	for i, c := range r.p.index.Chunks {
		zero(at, c.Offset)
		at = c.End()
		whole := Range{c.Offset, int64(c.Length)}
		var data int64
		for _, part := range whole.without(r.skip) {
			data += part.Length
		}
		if data > 0 {
			add(action{Range: whole, chunk: i, data: data})
		}
	}
	zero(at, r.p.DiskSize())
	// The table itself is the very last thing.
	slices.SortStableFunc(groups[2], func(a, b action) int { return min(a.chunk, 0) - min(b.chunk, 0) })
	return groups
}

// clear makes sure that the device does not pass for a finished system from here on.
func (r *restorer) clear(ctx context.Context, plan Plan) error {
	r.progress.tell(Write, 0, r.total)
	ranges := joined(plan.Last)
	if len(r.skip) == 0 {
		tail := max((r.d.Size()-TableSize)/sectorSize*sectorSize, TableSize)
		ranges = joined(append(ranges, Range{0, TableSize}, Range{tail, r.d.Size()/sectorSize*sectorSize - tail}))
	} else if err := r.clearBootCode(); err != nil {
		return err
	}
	for _, whole := range ranges {
		for _, part := range whole.without(r.skip) {
			if err := r.zero(ctx, part); err != nil {
				return err
			}
		}
	}
	return r.sync()
}

// clearBootCode clears the boot code and leaves the partition table behind it.
func (r *restorer) clearBootCode() error {
	sector := alignedBuffer(sectorSize)
	if n, err := r.d.ReadAt(sector, 0); n < len(sector) {
		return &ioError{0, "reading", err}
	}
	clear(sector[:bootCodeSize])
	return r.write(sector, 0)
}

func (r *restorer) zero(ctx context.Context, part Range) error {
	if part.Length <= 0 {
		return nil
	}
	r.written = append(r.written, part)
	return zeroAll(ctx, r.d, part, func() { r.progress.tell(Write, r.wrote, r.total) })
}

func (r *restorer) write(b []byte, off int64) error {
	r.note(Range{off, int64(len(b))})
	n, err := r.d.WriteAt(b, off)
	if n < len(b) && err == nil {
		err = io.ErrShortWrite
	}
	if err != nil {
		return &ioError{off + int64(n), "writing", err}
	}
	return nil
}

// note remembers what was written, joined while it is in order.
func (r *restorer) note(part Range) {
	if n := len(r.written); n > 0 && r.written[n-1].End() == part.Offset {
		r.written[n-1].Length += part.Length
		return
	}
	r.written = append(r.written, part)
}

func (r *restorer) sync() error {
	if err := r.d.Sync(); err != nil {
		return &ioError{-1, "flushing", err}
	}
	return nil
}

// expected is a piece of data as it must be read back.
type expected struct {
	Range
	sum [sha256.Size]byte
}

// run does one group: everything is written, flushed, and compared.
func (r *restorer) run(ctx context.Context, actions []action) error {
	if len(actions) == 0 {
		return nil
	}
	expect, err := r.writeGroup(ctx, actions)
	if err != nil {
		return err
	}
	if err := r.sync(); err != nil {
		return err
	}
	return r.compare(ctx, expect)
}

// job is an action on its way from the payload to the device.
type job struct {
	action
	frame []byte
	raw   []byte
	err   error
	done  chan struct{}
}

// writeGroup reads frames in the order of the disk, which is that of a download, decompresses them in parallel and writes
// them in order. Of what it wrote it returns what must be read back.
func (r *restorer) writeGroup(ctx context.Context, actions []action) ([]expected, error) {
	const ahead = 3 * workers // frames in flight: what a network gets to be late
	frames, raws := make(chan []byte, ahead), make(chan []byte, ahead)
	for range ahead {
		frames <- make([]byte, maxStored)
		raws <- alignedBuffer(ChunkSize)
	}
	work, queue := make(chan *job, ahead), make(chan *job, ahead)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(work)
		defer close(queue)
		for _, a := range actions {
			j := &job{action: a, done: make(chan struct{})}
			if a.chunk >= 0 {
				c := r.p.index.Chunks[a.chunk]
				// Both buffers are taken in order, so that the writer never waits for a job that waits for it.
				select {
				case j.frame = <-frames:
				case <-ctx.Done():
					return ctx.Err()
				}
				select {
				case j.raw = <-raws:
				case <-ctx.Done():
					return ctx.Err()
				}
				if err := r.p.frame(c, j.frame[:c.StoredLength]); err != nil {
					return err
				}
			}
			select {
			case queue <- j:
			case <-ctx.Done():
				return ctx.Err()
			}
			if a.chunk >= 0 {
				work <- j // never blocks: there are only so many frames
			}
		}
		return nil
	})
	for range workers {
		group.Go(func() error {
			dec, err := newDecoder()
			if err != nil {
				return err
			}
			defer dec.Close()
			for j := range work {
				c := r.p.index.Chunks[j.chunk]
				j.err = r.p.decode(dec, c, j.frame[:c.StoredLength], j.raw)
				frames <- j.frame
				close(j.done)
			}
			return nil
		})
	}
	var expect []expected
	group.Go(func() error {
		for j := range queue {
			if j.chunk < 0 {
				if err := r.zero(ctx, j.Range); err != nil {
					return err
				}
				continue
			}
			select {
			case <-j.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if j.err != nil {
				return j.err
			}
			for _, part := range j.without(r.skip) {
				b := j.raw[part.Offset-j.Offset:][:part.Length]
				if err := r.write(b, part.Offset); err != nil {
					return err
				}
				e := expected{part, r.p.index.Chunks[j.chunk].SHA256}
				if part != j.Range {
					e.sum = sha256.Sum256(b)
				}
				expect = append(expect, e)
			}
			r.wrote += j.data
			r.progress.tell(Write, r.wrote, r.total)
			raws <- j.raw
		}
		return nil
	})
	err := group.Wait()
	return expect, err
}

// compare reads back what a group wrote.
func (r *restorer) compare(ctx context.Context, expect []expected) error {
	const ahead = 2 * workers
	type piece struct {
		expected
		data []byte
		done chan bool
	}
	bufs := make(chan []byte, ahead)
	for range ahead {
		bufs <- alignedBuffer(ChunkSize)
	}
	work, queue := make(chan *piece, ahead), make(chan *piece, ahead)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(work)
		defer close(queue)
		for _, e := range expect {
			var b []byte
			select {
			case b = <-bufs:
			case <-ctx.Done():
				return ctx.Err()
			}
			if n, err := r.d.ReadAt(b[:e.Length], e.Offset); int64(n) < e.Length {
				if err == nil || errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return &ioError{e.Offset + int64(n), "reading back", err}
			}
			x := &piece{e, b, make(chan bool, 1)}
			work <- x // never blocks: there are only so many buffers
			queue <- x
		}
		return nil
	})
	for range workers {
		group.Go(func() error {
			for x := range work {
				x.done <- sha256.Sum256(x.data[:x.Length]) == x.sum
			}
			return nil
		})
	}
	group.Go(func() error {
		for x := range queue {
			if !<-x.done {
				return &ioError{x.Offset, "reading back", ErrReadBack}
			}
			r.readBack += x.Length
			r.progress.tell(ReadBack, r.readBack, r.total)
			bufs <- x.data
		}
		return nil
	})
	return group.Wait()
}
