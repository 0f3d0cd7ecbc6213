package stages

import (
	"sync"
	"time"
)

// EventKind says what an Event tells.
type EventKind string

// The kinds of events, with the fields that each uses besides Time and Stage.
const (
	StageStarted  EventKind = "stage-started"  // Text: why it runs
	StageCached   EventKind = "stage-cached"   // its result was there already
	StageDone     EventKind = "stage-done"     // Millis
	StageFailed   EventKind = "stage-failed"   // Text: the error
	Progress      EventKind = "progress"       // Item, Done, Total, Unit
	Log           EventKind = "log"            // Text: one line a script printed; Item: the script
	Warning       EventKind = "warning"        // Text
	OutputWritten EventKind = "output-written" // Item: the file, Total: its size, Digest
)

// Units of Progress events.
const (
	Bytes    = "bytes"
	Packages = "packages"
)

// Event is something that happened in a build.
type Event struct {
	Time   time.Time `json:"time"`
	Kind   EventKind `json:"event"`
	Stage  string    `json:"stage,omitempty"`
	Item   string    `json:"item,omitempty"`
	Text   string    `json:"text,omitempty"`
	Done   int64     `json:"done,omitempty"`  // so far, in Unit
	Total  int64     `json:"total,omitempty"` // in Unit; 0 when it is not known
	Unit   string    `json:"unit,omitempty"`
	Millis int64     `json:"ms,omitempty"` // wall time in milliseconds
	Digest string    `json:"digest,omitempty"`
}

// Sink takes events, one at a time. It must not block for long: the build waits.
type Sink func(Event)

// Serial returns a sink that stamps events and passes them to sink one at a time.
// A nil sink drops them.
func Serial(sink Sink) Sink {
	if sink == nil {
		return func(Event) {}
	}
	var mu sync.Mutex
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Time.IsZero() {
			e.Time = time.Now().UTC()
		}
		sink(e)
	}
}
