package installer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/imagefactory/imagefactory/installer/disks"
	"github.com/imagefactory/imagefactory/installer/report"
	"github.com/imagefactory/imagefactory/installer/signature"
	"github.com/imagefactory/imagefactory/installer/target"
)

// lookMost bounds how long a disk may take to show what it holds. Disks that failed may take for ever.
const lookMost = 60 * time.Second

// inventory lists the disks and what they hold. Nothing is written.
func (m *machine) inventory() ([]disks.Disk, []disks.Skipped, map[string]target.Inspection, error) {
	all, skipped, err := disks.List("/sys", "/dev")
	if err != nil {
		return nil, nil, nil, err
	}
	contents := map[string]target.Inspection{}
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, disk := range all {
		if disk.Size == 0 {
			continue
		}
		wait.Go(func() {
			inspection := lookBounded(disk)
			mu.Lock()
			defer mu.Unlock()
			contents[disk.Name] = inspection
		})
	}
	wait.Wait()
	return all, skipped, contents, nil
}

// lookBounded looks at a disk, but not for ever. The goroutine that hangs in the kernel cannot be ended; nothing waits for it.
func lookBounded(disk disks.Disk) target.Inspection {
	answer := make(chan target.Inspection, 1)
	go func() { answer <- look(disk) }()
	select {
	case inspection := <-answer:
		return inspection
	case <-time.After(lookMost):
		return target.Inspection{Err: fmt.Errorf("it did not answer for %.0f seconds", lookMost.Seconds())}
	}
}

func look(disk disks.Disk) target.Inspection {
	f, err := os.Open(disk.Path)
	if err != nil {
		return target.Inspection{Err: err}
	}
	defer f.Close()
	if _, ok := unfinished(f); ok {
		return target.Inspection{} // as good as empty: see markerText
	}
	contents, err := signature.Scan(f, disk.Size, disk.LogicalSector)
	return target.Inspection{Contents: contents, Err: err}
}

// decide chooses the disk, shows why, and asks when that is wanted.
func (m *machine) decide(ctx context.Context) (target.Decision, error) {
	m.stage = "disks"
	if !m.source.Local() {
		m.settle(ctx) // as was done when a medium was found
	}
	all, skipped, contents, err := m.inventory()
	if err != nil {
		return target.Decision{}, err
	}
	m.present = presentPartitions(contents)
	m.report.Send(report.Disks{Disks: all})
	m.stage = "decision"
	decision, err := target.Choose(all, m.source.Disk(), m.config.Target, target.Options{
		Contents:      contents,
		ImageSize:     m.config.Payload.DiskSize,
		Layout:        m.layoutMatches,
		FailedDrivers: m.loader.FailedDisks(),
		Skipped:       skipped,
	})
	if none := (*target.NoDisk)(nil); errors.As(err, &none) {
		m.showDecision(none)
		return target.Decision{}, none
	}
	if err != nil {
		return target.Decision{}, err
	}
	m.device = decision.Disk.Path
	m.say("%s", strings.TrimRight(decision.Table(), "\n"))
	m.showDecision(decision)
	return decision, nil
}

// showDecision reports the decision; a dry run prints the JSON on every console.
func (m *machine) showDecision(decision any) {
	event := report.Decision{Decision: decision, DryRun: m.arguments.DryRun}
	m.report.Send(event)
	if !m.arguments.DryRun {
		return
	}
	line, err := report.Encode(event, 0)
	if err != nil {
		line = []byte(err.Error())
	}
	m.consoles.PrintfWithoutEvents("%s", line)
}

// errDeclined says that nobody wants the installation.
var errDeclined = errors.New("the installation was not confirmed")

// confirm asks on all consoles whether the disk may be overwritten, and waits for an answer.
func (m *machine) confirm(ctx context.Context, decision target.Decision) error {
	m.stage = "confirmation"
	what := "It is empty."
	if len(decision.Wiped) > 0 {
		var gone []string
		for _, found := range decision.Wiped {
			gone = append(gone, found.String())
		}
		what = "These will be gone: " + strings.Join(gone, "; ") + "."
	}
	if len(decision.Preserve) > 0 {
		what += " These partitions are kept: " + strings.Join(decision.Preserve, ", ") + "."
	}
	m.say("%s %s will be written to %s (%s). %s", m.config.Name, m.config.Version, decision.Disk.Path, strings.TrimSpace(decision.Disk.Model+" "+decision.Disk.Serial), what)
	m.consoles.Discard()
	m.consoles.Prompt("Type yes to install; anything else cancels. No time limit: ")
	answer, err := m.consoles.ReadLine(ctx)
	if err != nil {
		return err
	}
	if !strings.EqualFold(answer, "yes") {
		return errDeclined
	}
	return nil
}
