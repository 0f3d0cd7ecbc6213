package progress

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/stages"
)

// build is the events of a small build, two stages of which run side by side.
var build = []stages.Event{
	{Kind: stages.Warning, Text: "the clock is odd"},
	{Kind: stages.StageStarted, Stage: "packages", Text: "not built before"},
	{Kind: stages.Progress, Stage: "download", Item: "a 1.0", Done: 10, Total: 100, Unit: stages.Bytes},
	{Kind: stages.Progress, Stage: "download", Item: "b 1.0", Done: 50, Total: 50, Unit: stages.Bytes},
	{Kind: stages.Progress, Stage: "download", Item: "a 1.0", Done: 100, Total: 100, Unit: stages.Bytes},
	{Kind: stages.StageStarted, Stage: "tools", Text: "not built before"},
	{Kind: stages.Progress, Stage: "packages", Item: "unpack", Done: 1, Total: 2, Unit: stages.Packages},
	{Kind: stages.Progress, Stage: "packages", Item: "unpack", Done: 2, Total: 2, Unit: stages.Packages},
	{Kind: stages.StageDone, Stage: "packages", Millis: 1234},
	{Kind: stages.StageDone, Stage: "tools", Millis: 5},
	{Kind: stages.StageCached, Stage: "grub"},
	{Kind: stages.StageStarted, Stage: "script tune", Text: "the script changed"},
	{Kind: stages.Log, Stage: "script tune", Item: "tune", Text: "tuning"},
	{Kind: stages.StageFailed, Stage: "script tune", Text: "exit status 1"},
	{Kind: stages.OutputWritten, Item: "out/x.raw", Total: 42},
}

func show(view View) {
	for i, e := range build {
		e.Time = time.Unix(int64(1000+i), 0).UTC()
		view.Show(e)
	}
	view.Close()
}

func TestLines(t *testing.T) {
	var b bytes.Buffer
	show(Lines(&b))
	want := `warning: the clock is odd
packages: started: not built before
tools: started: not built before
packages: done in 1.2s
tools: done in 5ms
grub: cached
script tune: started: the script changed
script tune: tuning
script tune: failed
wrote out/x.raw (42 bytes)
`
	if b.String() != want {
		t.Errorf("got:\n%s", b.String())
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	show(JSON(&b))
	var got []stages.Event
	for line := range strings.Lines(b.String()) {
		var e stages.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		got = append(got, e)
	}
	if len(got) != len(build) {
		t.Fatalf("%d lines for %d events", len(got), len(build))
	}
	for i, e := range got {
		want := build[i]
		want.Time = e.Time
		if e != want {
			t.Errorf("event %d is %+v, want %+v", i, e, want)
		}
	}
}

// TestGitLab checks that sections do not overlap, however stages do.
func TestGitLab(t *testing.T) {
	var b bytes.Buffer
	show(GitLab(&b))
	want := "warning: the clock is odd\n" +
		"packages: started\n" +
		"tools: started\n" +
		"section_start:1001:packages[collapsed=true]\r\x1b[0Kpackages\n" +
		"packages: started: not built before\n" +
		"packages: done in 1.2s\n" +
		"section_end:1008:packages\r\x1b[0K\n" +
		"section_start:1005:tools[collapsed=true]\r\x1b[0Ktools\n" +
		"tools: started: not built before\n" +
		"tools: done in 5ms\n" +
		"section_end:1009:tools\r\x1b[0K\n" +
		"grub: cached\n" +
		"script tune: started\n" +
		"section_start:1011:script_tune\r\x1b[0Kscript tune (failed)\n" +
		"script tune: started: the script changed\n" +
		"script tune: tuning\n" +
		"script tune: failed\n" +
		"section_end:1013:script_tune\r\x1b[0K\n" +
		"wrote out/x.raw (42 bytes)\n"
	if b.String() != want {
		t.Errorf("got:\n%q\nwant:\n%q", b.String(), want)
	}
}

func TestGitLabShowsUnfinishedStages(t *testing.T) {
	var b bytes.Buffer
	view := GitLab(&b)
	view.Show(stages.Event{Kind: stages.StageStarted, Stage: "lock"})
	view.Show(stages.Event{Kind: stages.Log, Stage: "lock", Text: "the last words"})
	view.Close()
	view.Close()
	if strings.Count(b.String(), "lock: the last words") != 1 {
		t.Errorf("got:\n%s", b.String())
	}
}

// TestBars plays the output as a terminal would and looks at what stays.
func TestBars(t *testing.T) {
	var b bytes.Buffer
	show(Bars(&b))
	var stays []string
	for _, line := range strings.Split(b.String(), "\n") {
		// What follows the last return to the first column is what is seen.
		line = line[strings.LastIndexByte(line, '\r')+1:]
		line = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`).ReplaceAllString(line, "")
		stays = append(stays, strings.TrimRight(line, " "))
	}
	want := `warning: the clock is odd
packages: done in 1.2s
tools: done in 5ms
grub: cached
script tune: failed
wrote out/x.raw (42 bytes)
`
	if got := strings.Join(stays, "\n"); got != want {
		t.Errorf("what stays on the screen:\n%s\nall:\n%q", got, b.String())
	}
	for _, passing := range []string{"download", "packages: unpack", "script tune: tuning"} {
		if !strings.Contains(b.String(), passing) {
			t.Errorf("%q was never shown", passing)
		}
	}
}

func TestBarsWithUnknownTotal(t *testing.T) {
	var b bytes.Buffer
	view := Bars(&b)
	view.Show(stages.Event{Kind: stages.Progress, Stage: "download", Item: "Packages.xz", Done: 10, Unit: stages.Bytes})
	view.Show(stages.Event{Kind: stages.StageStarted, Stage: "a stage with a name that is much too long to be shown whole on one line"})
	view.Close()
	if strings.Contains(b.String(), "\n") {
		t.Errorf("something stays on the screen: %q", b.String())
	}
}
