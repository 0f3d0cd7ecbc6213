package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sink is a console in memory.
type sink struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// end ends the goroutines, which in an installer live as long as the machine.
func (c *Consoles) end() {
	for _, s := range c.all() {
		close(s.items)
	}
}

// seen is what is on a terminal in the end: lines, in which '\r' begins again and text overwrites.
func seen(raw string) []string {
	var lines []string
	for _, line := range strings.Split(raw, "\n") {
		var cells []rune
		at := 0
		for _, r := range line {
			if r == '\r' {
				at = 0
				continue
			}
			if at < len(cells) {
				cells[at] = r
			} else {
				cells = append(cells, r)
			}
			at++
		}
		lines = append(lines, strings.TrimRight(string(cells), " "))
	}
	return lines
}

func TestActive(t *testing.T) {
	got := Active([]byte("ttyS0                -W- (EC a  )    4:64\ntty0                 -WU (E  p  )    4:1\nnetcon0              -W- (E     )\nhvc0 R-- (E  p  )  229:0\n\n"))
	if !slices.Equal(got, []string{"ttyS0", "tty0", "netcon0"}) {
		t.Errorf("%q", got)
	}
}

// Messages, progress and events reach each console in its way.
func TestConsolesOfEveryKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var screen, log, events sink
		c := New()
		defer c.end()
		c.Add("tty0", &screen, nil, false, false)
		c.Add("log", &log, nil, true, false)
		c.Add("ttyS0", &events, nil, false, true)
		c.Printf("begin")
		m := c.Meter("Writing")
		for i := int64(0); i <= 100; i++ {
			m.Update(i<<20, 100<<20)
			time.Sleep(100 * time.Millisecond)
		}
		c.Event([]byte(`{"event":"write"}`))
		m.Stop()
		c.Printf("a line\nand another")
		c.PrintfWithoutEvents("no event")
		c.Prompt("prompt> ")
		c.Flush(time.Minute)

		if got := seen(screen.String()); !slices.Equal(got, []string{"begin", "a line", "and another", "no event", "prompt>"}) {
			t.Errorf("on a screen: %q", got)
		}
		if n := strings.Count(screen.String(), "Writing"); n < 10 || n > 12 {
			t.Errorf("%d progress lines in 10 seconds", n)
		}
		if !strings.Contains(screen.String(), "Writing  50 %  50.0 MiB of 100 MiB  10.0 MiB/s  5 s left") {
			t.Errorf("progress: %q", screen.String())
		}
		if n := strings.Count(log.String(), "Writing"); n != 11 || strings.Contains(log.String(), "\r") {
			t.Errorf("%d progress lines in a plain log: %q", n, log.String())
		}
		if strings.Contains(events.String(), "\r") || !strings.Contains(events.String(), "\n{\"event\":\"write\"}\n") || strings.Contains(events.String(), "no event") {
			t.Errorf("on the console of events: %q", events.String())
		}
		if strings.Contains(screen.String()+log.String(), `"event"`) {
			t.Error("an event is on a console that was not asked for it")
		}
		if got := c.Log(); !slices.Equal(got, []string{"begin", "a line", "and another", "no event"}) {
			t.Errorf("the log: %q", got)
		}
	})
}

// A console that takes nothing costs a moment, and the others nothing.
func TestStuckConsole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe() // nobody reads
		var good sink
		c := New()
		defer c.end()
		c.Add("stuck", w, nil, false, false)
		c.Add("good", &good, nil, false, false)
		start := time.Now()
		for i := range 3000 {
			c.Printf("line %d", i)
			c.Progress(i/30, "progress")
		}
		c.Flush(5 * time.Second)
		if passed := time.Since(start); passed > time.Minute {
			t.Errorf("it took %v", passed)
		}
		time.Sleep(time.Second)
		for i := range 3000 {
			if !strings.Contains(good.String(), fmt.Sprintf("line %d\n", i)) {
				t.Fatalf("line %d is missing", i)
			}
		}
		r.CloseWithError(errors.New("end"))
		synctest.Wait()
	})
}

// A line that sends slowly is waited for, after all that was written before; one that never sends, for the time that is allowed.
func TestFlushWaitsUntilLinesHaveSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var line sink
		c := New()
		defer c.end()
		sent, held := "", make(chan struct{})
		c.add(&screen{name: "ttyS0", w: &line, drain: func() { time.Sleep(4 * time.Second); sent = line.String() }}, nil, false)
		c.Printf("last words")
		start := time.Now()
		c.Flush(10 * time.Second)
		if sent != "last words\n" || time.Since(start) != 4*time.Second {
			t.Errorf("%q after %v", sent, time.Since(start))
		}
		c.add(&screen{name: "ttyS1", w: &line, drain: func() { <-held }}, nil, false)
		start = time.Now()
		c.Flush(10 * time.Second)
		if passed := time.Since(start); passed != 10*time.Second {
			t.Errorf("it took %v", passed)
		}
		close(held)
	})
}

func TestSaysThatNothingMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var screen sink
		c := New()
		defer c.end()
		c.Add("tty0", &screen, nil, false, false)
		m := c.Meter("Writing")
		m.Update(1, 100)
		time.Sleep(100 * time.Second)
		m.Stop()
		time.Sleep(stalled)
		c.Flush(time.Second)
		if n := strings.Count(screen.String(), "nothing has moved for"); n != 3 {
			t.Errorf("said %d times: %q", n, screen.String())
		}
	})
}

func TestReadLine(t *testing.T) {
	serial, typed := io.Pipe()
	c := New()
	c.Add("ttyS0", io.Discard, serial, false, false)
	c.Add("tty0", io.Discard, strings.NewReader(""), false, false)
	go io.WriteString(typed, "yes\r\nno\r  spaced \n")
	var got []string
	for range 3 {
		line, err := c.ReadLine(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, line)
	}
	// A "\r\n" that arrives in two pieces may look like an empty line; that is no answer to anything.
	if !slices.Equal(got, []string{"yes", "no", "spaced"}) {
		t.Errorf("%q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.ReadLine(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A real terminal is put into line mode.
func TestOpenTerminal(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	name := unlockTerminal(t, master)
	c := New()
	if err := c.Open("/dev/pts", name); err != nil {
		t.Fatal(err)
	}
	if err := c.Open("/dev", "no-such-console"); err == nil {
		t.Error("a console that does not exist was opened")
	}
	c.Printf("hello")
	buffer := make([]byte, 64)
	n, err := io.ReadAtLeast(master, buffer, len("hello\r\n"))
	if err != nil || string(buffer[:n]) != "hello\r\n" {
		t.Errorf("%q %v", buffer[:n], err)
	}
	if _, err := master.WriteString("yes\r"); err != nil {
		t.Fatal(err)
	}
	if line, err := c.ReadLine(t.Context()); err != nil || line != "yes" {
		t.Errorf("%q %v", line, err)
	}
}

func TestSize(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 << 30: "5.0 GiB", 200 << 20: "200 MiB", 3 << 50: "3.0 PiB"} {
		if got := Size(bytes); got != want {
			t.Errorf("Size(%d) = %q, want %q", bytes, got, want)
		}
	}
}
