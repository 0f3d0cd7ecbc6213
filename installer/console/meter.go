package console

import (
	"fmt"
	"sync"
	"time"
)

const (
	// window is the time over which the rate is measured: long enough to be calm, short enough to follow.
	window = 10 * time.Second
	// stalled is the time without any progress after which that is said.
	stalled = 30 * time.Second
)

// Meter shows how far a long piece of work is, with rate and remaining time.
type Meter struct {
	consoles *Consoles
	what     string
	now      func() time.Time

	mu      sync.Mutex
	samples []sample
	done    int64
	total   int64
	moved   time.Time // when done last grew
	warned  time.Time
	stop    chan struct{}
}

type sample struct {
	at   time.Time
	done int64
}

// Rate is how fast the work goes.
type Rate struct {
	// PerSecond is bytes; 0 when nothing is known yet.
	PerSecond int64
	// Left is the remaining time; negative when nothing is known yet.
	Left time.Duration
}

// Meter starts to show the progress of what, a verb with "ing". While nothing moves, it says so every half a minute.
func (c *Consoles) Meter(what string) *Meter {
	m := &Meter{consoles: c, what: what, now: time.Now, stop: make(chan struct{})}
	m.moved = m.now()
	go m.watch()
	return m
}

// Update shows that done of total bytes are done.
func (m *Meter) Update(done, total int64) Rate {
	m.mu.Lock()
	now := m.now()
	if done > m.done {
		m.moved = now
	}
	m.done, m.total = done, total
	m.samples = append(m.samples, sample{now, done})
	for len(m.samples) > 2 && now.Sub(m.samples[1].at) >= window {
		m.samples = m.samples[1:]
	}
	first := m.samples[0]
	rate := Rate{Left: -1}
	if passed := now.Sub(first.at); passed >= time.Second && done > first.done {
		rate.PerSecond = int64(float64(done-first.done) / passed.Seconds())
		if rate.PerSecond > 0 {
			rate.Left = time.Duration(float64(total-done) / float64(rate.PerSecond) * float64(time.Second))
		}
	}
	m.mu.Unlock()
	m.consoles.Progress(percent(done, total), progressLine(m.what, done, total, rate))
	return rate
}

// Stop ends the display; the line stays in logs only.
func (m *Meter) Stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.stop:
	default:
		close(m.stop)
	}
}

func (m *Meter) watch() {
	tick := time.NewTicker(stalled / 3)
	defer tick.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-tick.C:
		}
		m.mu.Lock()
		now := m.now()
		still := now.Sub(m.moved)
		say := still >= stalled && now.Sub(m.warned) >= stalled
		if say {
			m.warned = now
		}
		m.mu.Unlock()
		if say {
			m.consoles.Printf("%s: nothing has moved for %.0f seconds; still waiting.", m.what, still.Seconds())
		}
	}
}

func percent(done, total int64) int {
	if total <= 0 {
		return 0
	}
	return int(float64(done) / float64(total) * 100)
}

func progressLine(what string, done, total int64, rate Rate) string {
	line := fmt.Sprintf("%s %3d %%  %s of %s", what, percent(done, total), Size(done), Size(total))
	if rate.PerSecond > 0 {
		line += fmt.Sprintf("  %s/s", Size(rate.PerSecond))
	}
	if rate.Left >= 0 && done < total {
		line += fmt.Sprintf("  %s left", duration(rate.Left))
	}
	return line
}

func duration(d time.Duration) string {
	d = d.Round(time.Second)
	if d < time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return fmt.Sprintf("%d:%02d min", int(d.Minutes()), int(d.Seconds())%60)
}

// Size writes a number of bytes for a person.
func Size(bytes int64) string {
	value, units := float64(bytes), []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for len(units) > 1 && value >= 1024 {
		value, units = value/1024, units[1:]
	}
	if units[0] == "B" || value >= 100 {
		return fmt.Sprintf("%.0f %s", value, units[0])
	}
	return fmt.Sprintf("%.1f %s", value, units[0])
}
