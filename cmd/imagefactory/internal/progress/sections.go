package progress

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/stages"
)

// sections collects the lines of each stage and writes them as one section
// when the stage ends: stages run side by side, and sections of GitLab's job
// logs may not overlap.
type sections struct {
	w      io.Writer
	stages map[string]*section
}

type section struct {
	started time.Time
	lines   []string
}

// GitLab shows events as lines, those of a stage in a section that can be
// collapsed (docs.gitlab.com, "Expand and collapse job log sections").
func GitLab(w io.Writer) View {
	return &sections{w: w, stages: map[string]*section{}}
}

func (v *sections) Show(e stages.Event) {
	text, ok := line(e)
	if !ok {
		return
	}
	s := v.stages[e.Stage]
	switch {
	case e.Kind == stages.StageStarted:
		v.stages[e.Stage] = &section{started: e.Time, lines: []string{text}}
		fmt.Fprintln(v.w, e.Stage+": started")
	case s == nil:
		fmt.Fprintln(v.w, text)
	case e.Kind == stages.StageDone, e.Kind == stages.StageFailed:
		s.lines = append(s.lines, text)
		v.write(e, s)
		delete(v.stages, e.Stage)
	default:
		s.lines = append(s.lines, text)
	}
}

// write writes a section; that of a failed stage is open.
func (v *sections) write(e stages.Event, s *section) {
	const clear = "\r\x1b[0K"
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '_'
	}, strings.ToLower(e.Stage))
	collapsed := "[collapsed=true]"
	title := e.Stage
	if e.Kind == stages.StageFailed {
		collapsed = ""
		title += " (failed)"
	}
	fmt.Fprintf(v.w, "section_start:%d:%s%s%s%s\n", s.started.Unix(), name, collapsed, clear, title)
	for _, text := range s.lines {
		fmt.Fprintln(v.w, text)
	}
	fmt.Fprintf(v.w, "section_end:%d:%s%s\n", e.Time.Unix(), name, clear)
}

// Close writes what stages said that did not end.
func (v *sections) Close() {
	for name, s := range v.stages {
		v.write(stages.Event{Kind: stages.StageFailed, Stage: name, Time: s.started}, s)
	}
	clear(v.stages)
}
