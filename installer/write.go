package installer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/console"
	"github.com/imagefactory/imagefactory/installer/disks"
	"github.com/imagefactory/imagefactory/installer/finish"
	"github.com/imagefactory/imagefactory/installer/payload"
	"github.com/imagefactory/imagefactory/installer/report"
	"github.com/imagefactory/imagefactory/stages/partition"
)

// install does an installation, or a dry run of one. When that goes well, it ends the machine.
func (m *machine) install(ctx context.Context) error {
	decision, err := m.decide(ctx)
	if err != nil {
		return err
	}
	disk := decision.Disk
	kept, err := m.keep(disk, decision.Preserve)
	if err != nil {
		return fmt.Errorf("%s: %w", disk.Path, err)
	}
	if m.arguments.DryRun {
		return m.endDryRun()
	}
	if m.config.Confirm {
		if err := m.confirm(ctx, decision); err != nil {
			return err
		}
	}
	scripts, err := m.readScripts(ctx)
	if err != nil {
		return err
	}
	m.stage = "payload"
	image, closeImage, err := m.openPayload(ctx)
	if err != nil {
		return err
	}
	defer closeImage()
	mark, err := m.restore(ctx, image, disk, kept)
	if err != nil {
		return err
	}
	// The disk keeps its mark until everything is done.
	partitions, err := m.settleDisk(image, disk, kept)
	if err != nil {
		return err
	}
	m.setBootEntry(partitions)
	if err := m.runScripts(ctx, scripts, disk.Path); err != nil {
		return err
	}
	m.stage = "end"
	if mark != nil {
		if err := mark.unmark(disk.Path); err != nil {
			return err
		}
	}
	m.say("%s %s is installed on %s.", m.config.Name, m.config.Version, disk.Path)
	m.done()
	return nil
}

// endDryRun ends without having written. Unless the command line says what follows, that is the prompt: whoever wants to see a
// decision wants to read it.
func (m *machine) endDryRun() error {
	m.say("Dry run: nothing was written to any disk.")
	if m.arguments.After != nil {
		m.done()
	}
	m.report.Send(report.Done{Device: m.device, After: config.Shell})
	m.prompt()
	return errRetry
}

// layoutMatches says why the partitions with the labels cannot be kept on a disk; nil when they can.
func (m *machine) layoutMatches(disk disks.Disk, labels []string) error {
	_, err := m.keep(disk, labels)
	return err
}

// keep returns the partitions of a disk that are kept.
func (m *machine) keep(disk disks.Disk, labels []string) ([]finish.Kept, error) {
	if len(labels) == 0 {
		return nil, nil
	}
	f, err := os.Open(disk.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return finish.Keep(f, disk.Size, m.config.Layout, labels)
}

// openPayload opens the payload, and verifies all of it when it is on a medium. From a server it would have to be transferred twice;
// there, each piece is verified before it is written.
func (m *machine) openPayload(ctx context.Context) (*payload.Payload, func(), error) {
	p := m.config.Payload
	file, err := m.source.Open(ctx, p.File, p.Size)
	if err != nil {
		return nil, nil, err
	}
	closeFile := func() {
		if c, ok := file.(io.Closer); ok {
			c.Close()
		}
	}
	image, err := payload.Open(file, p.Size, p.IndexSHA256)
	if err == nil && image.DiskSize() != p.DiskSize {
		err = fmt.Errorf("the payload is of a disk of %d bytes, the document says %d", image.DiskSize(), p.DiskSize)
	}
	if err == nil && m.source.Local() {
		m.stage = "verification"
		err = m.measured("Verifying", func(progress payload.Progress) error { return image.VerifyAll(ctx, progress) })
	}
	if err != nil {
		closeFile()
		return nil, nil, err
	}
	return image, closeFile, nil
}

// measured runs a piece of work whose progress is shown and reported.
func (m *machine) measured(what string, work func(payload.Progress) error) error {
	var meter *console.Meter
	var phase payload.Phase
	names := map[payload.Phase]string{payload.Verify: "Verifying", payload.Write: "Writing", payload.ReadBack: "Reading back"}
	defer func() {
		if meter != nil {
			meter.Stop()
		}
	}()
	return work(func(p payload.Phase, done, total int64) {
		if meter == nil || p != phase {
			if meter != nil {
				meter.Stop()
			}
			if names[p] != "" {
				what = names[p]
			}
			meter, phase = m.consoles.Meter(what), p
		}
		rate := meter.Update(done, total)
		m.report.Send(report.Progress{Phase: string(p), Done: done, Total: total, Rate: rate.PerSecond})
	})
}

// restore writes the payload to the disk. From here on, the disk is no longer as it was. It returns the mark that is on the disk now;
// nil when partitions are kept.
func (m *machine) restore(ctx context.Context, image *payload.Payload, disk disks.Disk, kept []finish.Kept) (*markedDevice, error) {
	m.stage = "write"
	device, err := payload.OpenDevice(disk.Path)
	if err != nil {
		return nil, err
	}
	defer device.Close()
	m.say("Writing %s to %s (%s).", console.Size(image.DataSize()), disk.Path, strings.TrimSpace(disk.Model+" "+disk.Serial))
	var to payload.Device = device
	var mark *markedDevice
	var plan payload.Plan
	if len(kept) == 0 {
		mark = newMarkedDevice(device, m.config.ID)
		to = mark
	} else {
		plan = payload.Plan{Skip: finish.Skip(kept), Last: finish.Last(m.config.Layout, kept)}
	}
	m.wrote("%s was overwritten in part; the error says where. It does not start, and the installation can be repeated. No other disk was written to.", disk.Path)
	err = m.measured("Writing", func(progress payload.Progress) error { return image.Restore(ctx, to, plan, progress) })
	if err != nil {
		if failed := (*payload.WriteError)(nil); !errors.As(err, &failed) {
			m.written = "" // it failed before the first write
		}
		return nil, err
	}
	m.wrote("%s holds the whole system, but what follows the writing is not finished. The installation can be repeated. No other disk was written to.", disk.Path)
	return mark, nil
}

// settleDisk fits the partition table and the last file system to the disk, and the new system to what was kept. It returns the
// partitions that the disk has now.
func (m *machine) settleDisk(image *payload.Payload, disk disks.Disk, kept []finish.Kept) ([]partition.Placed, error) {
	m.stage = "partition table"
	f, err := os.OpenFile(disk.Path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	settled, err := finish.SettleTable(f, disk.Size, kept, m.config.Grow)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	if err := finish.Reread(disk.Path, settled.Partitions); err != nil {
		return nil, err
	}
	for _, p := range m.config.Layout.Partitions {
		if p.Filesystem != "" {
			m.load("fs-" + p.Filesystem)
		}
	}
	if root, ok := m.config.Layout.Root(); ok && len(kept) > 0 {
		m.stage = "kept partitions"
		adopted, err := finish.Adopt(image.Disk(), m.config.Layout, kept, finish.PartitionPath(disk.Path, root.Number))
		if err != nil {
			return nil, err
		}
		for _, a := range adopted {
			m.say("The new system mounts the kept %s (%s).", a.Label, a.Kept)
		}
	}
	if m.config.Grow && len(settled.Partitions) > 0 {
		m.stage = "grow"
		if err := m.grow(disk, lastPartition(settled.Partitions)); err != nil {
			return nil, err
		}
	}
	return settled.Partitions, nil
}

// grow makes the file system in the last partition fill it.
func (m *machine) grow(disk disks.Disk, last partition.Placed) error {
	growth, err := finish.GrowFilesystem(finish.PartitionPath(disk.Path, last.Number))
	if err != nil {
		return err
	}
	if growth.Left != "" {
		m.say("Partition %d (%s) has %s; its contents stay as large as they are: %s.", last.Number, last.Label, console.Size(last.Size), growth.Left)
	} else {
		m.say("Partition %d (%s) has %s, and so has its file system.", last.Number, last.Label, console.Size(last.Size))
	}
	m.report.Send(report.Grow{Partition: last.Number, Label: last.Label, Size: last.Size})
	return nil
}

func lastPartition(all []partition.Placed) partition.Placed {
	last := all[0]
	for _, p := range all {
		if p.Start > last.Start {
			last = p
		}
	}
	return last
}
