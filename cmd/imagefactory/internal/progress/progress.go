// Package progress shows the events of a build: as bars on a terminal, as
// lines elsewhere, as collapsible sections in GitLab CI, or as JSON.
package progress

import (
	"fmt"
	"io"
	"time"

	"github.com/imagefactory/imagefactory/stages"
)

// View shows events. Events come one at a time.
type View interface {
	// Show shows one event; it is a stages.Sink.
	Show(stages.Event)
	// Close leaves the screen in order; nothing is shown after it.
	Close()
}

// line is an event in plain words; ok is false for events that are no news to
// somebody who reads lines.
func line(e stages.Event) (text string, ok bool) {
	switch e.Kind {
	case stages.StageStarted:
		if e.Text == "" {
			return e.Stage + ": started", true
		}
		return fmt.Sprintf("%s: started: %s", e.Stage, e.Text), true
	case stages.StageCached:
		return e.Stage + ": cached", true
	case stages.StageDone:
		return fmt.Sprintf("%s: done in %s", e.Stage, duration(e.Millis)), true
	case stages.StageFailed:
		return e.Stage + ": failed", true // the error itself is the command's last word
	case stages.Log:
		return fmt.Sprintf("%s: %s", e.Stage, e.Text), true
	case stages.Warning:
		return "warning: " + e.Text, true
	case stages.OutputWritten:
		return fmt.Sprintf("wrote %s (%d bytes)", e.Item, e.Total), true
	}
	return "", false
}

// duration writes milliseconds for a person.
func duration(millis int64) string {
	d := time.Duration(millis) * time.Millisecond
	if d < time.Second {
		return d.String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// lines writes one line per event.
type lines struct{ w io.Writer }

// Lines shows events as plain lines.
func Lines(w io.Writer) View { return lines{w} }

func (v lines) Show(e stages.Event) {
	if text, ok := line(e); ok {
		fmt.Fprintln(v.w, text)
	}
}

func (v lines) Close() {}
