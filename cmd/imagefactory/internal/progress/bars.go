package progress

import (
	"fmt"
	"io"
	"slices"

	"github.com/schollz/progressbar/v3"

	"github.com/imagefactory/imagefactory/stages"
)

// bars keeps one bar at the bottom of a terminal, for what moved last, and
// lets what is finished scroll by above it.
type bars struct {
	w   io.Writer
	bar *progressbar.ProgressBar // nil: none is shown
	of  subject

	running   []string                // stages, in the order they started
	downloads map[string]stages.Event // by item: the last news of each
}

// subject is what a bar is about.
type subject struct{ stage, item, unit string }

// Bars shows events on a terminal.
func Bars(w io.Writer) View {
	return &bars{w: w, downloads: map[string]stages.Event{}}
}

func (v *bars) Show(e stages.Event) {
	switch e.Kind {
	case stages.StageStarted:
		v.running = append(v.running, e.Stage)
		v.spin(e.Stage, "")
	case stages.Log:
		v.spin(e.Stage, e.Text)
	case stages.Progress:
		v.progress(e)
	case stages.StageDone, stages.StageFailed:
		v.running = slices.DeleteFunc(v.running, func(s string) bool { return s == e.Stage })
		v.clear()
		v.print(e)
		if n := len(v.running); n > 0 {
			v.spin(v.running[n-1], "")
		}
	default:
		v.clear()
		v.print(e)
	}
}

// print writes an event as a line; there must be no bar.
func (v *bars) print(e stages.Event) {
	if text, ok := line(e); ok {
		fmt.Fprintln(v.w, text)
	}
}

// spin shows a stage of which nothing is known but that it runs, and what it
// said last.
func (v *bars) spin(stage, said string) {
	of := subject{stage: stage}
	if v.bar == nil || v.of != of {
		v.begin(of, -1)
	}
	if said != "" {
		stage += ": " + said
	}
	v.bar.Describe(clip(stage))
	v.bar.Add(1)
}

// progress shows how far something is. All downloads are one thing.
func (v *bars) progress(e stages.Event) {
	of, description := subject{e.Stage, e.Item, e.Unit}, e.Stage+": "+e.Item
	if e.Unit == stages.Bytes && !slices.Contains(v.running, e.Stage) {
		of, description = subject{stage: e.Stage, unit: e.Unit}, e.Stage
		v.downloads[e.Item] = e
		e.Done, e.Total = 0, 0
		for _, d := range v.downloads {
			e.Done += d.Done
			e.Total += max(d.Total, d.Done)
		}
	}
	if e.Total <= 0 {
		v.spin(e.Stage, e.Item)
		return
	}
	if v.bar == nil || v.of != of {
		v.begin(of, e.Total)
	}
	v.bar.Describe(clip(description))
	v.bar.ChangeMax64(e.Total)
	v.bar.Set64(e.Done)
	if e.Done >= e.Total {
		v.bar = nil // the library ends, and clears, a bar that is full
	}
}

// begin shows a new bar; max is -1 for one without an end.
func (v *bars) begin(of subject, max int64) {
	v.clear()
	v.of = of
	options := []progressbar.Option{
		progressbar.OptionSetWriter(v.w),
		progressbar.OptionShowBytes(of.unit == stages.Bytes),
		progressbar.OptionSetWidth(30),
		progressbar.OptionClearOnFinish(),
		// No goroutine of the library's draws while a line is printed.
		progressbar.OptionSetSpinnerChangeInterval(0),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetPredictTime(max > 0),
	}
	if max > 0 {
		options = append(options, progressbar.OptionShowCount())
	}
	v.bar = progressbar.NewOptions64(max, options...)
}

// clear takes the bar off the screen.
func (v *bars) clear() {
	if v.bar != nil {
		v.bar.Clear()
		v.bar = nil
	}
}

// clip keeps descriptions short enough to leave room for the bar.
func clip(s string) string {
	const limit = 48
	if r := []rune(s); len(r) > limit {
		return string(r[:limit-1]) + "…"
	}
	return s
}

func (v *bars) Close() { v.clear() }
