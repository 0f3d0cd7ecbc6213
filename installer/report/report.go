// Package report tells programs what the installer does: one JSON object per event, as a line on a console, or POSTed to a
// URL. Every object has "event", and "seconds" since the installer began; the types below are the rest.
//
// Reports never hold up an installation, nor make it fail: when a server does not answer, events wait in a bounded queue, from
// which those of progress are dropped first.
package report

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	queue   = 128
	timeout = 5 * time.Second // of one POST
	tries   = 3
)

// Event is one of the types of this package.
type Event interface{ event() string }

// Started is the first event.
type Started struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	ID      string `json:"id"`
	Mode    string `json:"mode"`
	DryRun  bool   `json:"dry_run,omitempty"`
}

// Medium says what is installed from: a device, or a URL.
type Medium struct {
	Source string `json:"source"`
}

// Disks lists the disks of the machine.
type Disks struct {
	Disks any `json:"disks"`
}

// Decision says which disk is taken and what happens to it, or why none is.
type Decision struct {
	Decision any  `json:"decision"`
	DryRun   bool `json:"dry_run,omitempty"`
}

// Progress tells how far a phase is: "verify", "write" or "read-back". It comes about once a second.
type Progress struct {
	Phase string `json:"-"`
	Done  int64  `json:"done"`  // bytes
	Total int64  `json:"total"` // bytes
	Rate  int64  `json:"rate"`  // bytes per second; 0 when not known
}

// Grow, EFI and Script tell of the steps after writing.
type Grow struct {
	Partition int    `json:"partition"`
	Label     string `json:"label,omitempty"`
	Size      int64  `json:"size"` // bytes, of the partition now
}

// EFI says which entry was made in the firmware's boot menu.
type EFI struct {
	Label  string `json:"label"`
	Loader string `json:"loader"`
}

// Script says that a script ended well.
type Script struct {
	Name string `json:"name"`
}

// Done is the last event of an installation that succeeded.
type Done struct {
	Device string `json:"device,omitempty"`
	After  string `json:"after"`
}

// Failed is the last event of one that did not.
type Failed struct {
	Stage   string `json:"stage"`
	Device  string `json:"device,omitempty"`
	Message string `json:"message"`
	// Written says what was changed: "nothing", or a sentence.
	Written string `json:"written"`
}

func (Started) event() string    { return "started" }
func (Medium) event() string     { return "medium" }
func (Disks) event() string      { return "disks" }
func (Decision) event() string   { return "decision" }
func (p Progress) event() string { return p.Phase }
func (Grow) event() string       { return "grow" }
func (EFI) event() string        { return "efi" }
func (Script) event() string     { return "script" }
func (Done) event() string       { return "done" }
func (Failed) event() string     { return "failed" }

// Encode returns the object of an event, without a line break.
func Encode(e Event, since time.Duration) ([]byte, error) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e); err != nil {
		return nil, fmt.Errorf("the event %s: %w", e.event(), err)
	}
	head := fmt.Sprintf(`{"event":%q,"seconds":%.3f`, e.event(), since.Seconds())
	rest := bytes.TrimSpace(body.Bytes())[1:] // without '{'
	if len(rest) > 1 {
		head += ","
	}
	return append([]byte(head), rest...), nil
}

// Reporter sends events.
type Reporter struct {
	line  func([]byte)
	begun time.Time

	mu       sync.Mutex
	last     time.Time // of the last event of progress
	waiting  []queued
	more     chan struct{}
	idle     chan struct{} // closed when nothing is waiting
	url      string
	client   *http.Client
	problem  func(error)
	problems int
}

type queued struct {
	body     []byte
	progress bool
}

// New returns a reporter that hands every event to line, unless that is nil.
func New(line func([]byte)) *Reporter {
	return &Reporter{line: line, begun: time.Now(), client: &http.Client{Timeout: timeout}}
}

// To also POSTs events to a URL from now on, for as long as ctx lasts. The first time that one cannot be delivered, problem is told.
func (r *Reporter) To(ctx context.Context, url string, problem func(error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.url, r.problem = url, problem
	if r.more == nil {
		r.more = make(chan struct{}, 1)
		go r.post(ctx)
	}
}

// Send reports an event. Of progress, at most one event a second, and the last, are sent.
func (r *Reporter) Send(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, progress := e.(Progress)
	if progress {
		if now := time.Now(); now.Sub(r.last) < time.Second && p.Done < p.Total {
			return
		} else {
			r.last = now
		}
	}
	body, err := Encode(e, time.Since(r.begun))
	if err != nil {
		body = fmt.Appendf(nil, `{"event":%q,"error":%q}`, e.event(), err)
	}
	if r.line != nil {
		r.line(body)
	}
	if r.url == "" {
		return
	}
	if len(r.waiting) >= queue && !r.makeRoom(progress) {
		return
	}
	r.waiting = append(r.waiting, queued{body, progress})
	if r.idle == nil {
		r.idle = make(chan struct{})
	}
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// makeRoom drops the oldest event of progress, or of all when there is none and the new one matters more.
func (r *Reporter) makeRoom(progress bool) bool {
	for i, q := range r.waiting {
		if q.progress {
			r.waiting = append(r.waiting[:i], r.waiting[i+1:]...)
			return true
		}
	}
	if progress {
		return false
	}
	r.waiting = r.waiting[1:]
	return true
}

// post delivers events in their order.
func (r *Reporter) post(ctx context.Context) {
	for {
		r.mu.Lock()
		if len(r.waiting) == 0 {
			if r.idle != nil {
				close(r.idle)
				r.idle = nil
			}
			r.mu.Unlock()
			select {
			case <-r.more:
				continue
			case <-ctx.Done():
				return
			}
		}
		next := r.waiting[0]
		r.waiting = r.waiting[1:]
		url := r.url
		r.mu.Unlock()
		r.deliver(ctx, url, next.body)
	}
}

func (r *Reporter) deliver(ctx context.Context, url string, body []byte) {
	var err error
	for try := range tries {
		if try > 0 {
			select {
			case <-time.After(time.Duration(try) * time.Second):
			case <-ctx.Done():
				return
			}
		}
		if err = r.once(ctx, url, body); err == nil {
			return
		}
	}
	r.mu.Lock()
	r.problems++
	first := r.problems == 1
	r.mu.Unlock()
	if first && r.problem != nil {
		r.problem(fmt.Errorf("events cannot be sent, and will be lost: %w", err))
	}
}

func (r *Reporter) once(ctx context.Context, url string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection can be used again
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("POST %s: %s", url, response.Status)
	}
	return nil
}

// Flush waits until all events are delivered or given up, but no longer than most.
func (r *Reporter) Flush(most time.Duration) {
	r.mu.Lock()
	idle := r.idle
	r.mu.Unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-time.After(most):
	}
}
