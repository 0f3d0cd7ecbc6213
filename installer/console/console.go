// Package console writes to all consoles of a machine at the same time, and reads what is typed on any.
//
// A console may be a screen, a serial line of 9600 baud, or one whose cable was never connected and which takes nothing.
// None may hold up an installation: each has a bounded queue of its own, from which what is short-lived is dropped first.
package console

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	columns   = 79  // of the narrowest console, less one: the last would wrap on some
	queue     = 256 // items that may wait for a console
	patience  = time.Second
	perSecond = time.Second // no more than one progress line in this time
	tenth     = 10          // per cent between progress lines of a plain log
	kept      = 2000        // lines of the log
)

// Consoles are all consoles. Its methods may be used by several goroutines.
type Consoles struct {
	typed chan string

	mu      sync.Mutex
	screens []*screen
	log     []string
}

// screen is one console.
type screen struct {
	name  string
	w     io.Writer
	drain func()      // waits until the line has sent everything; nil for what is no terminal
	plain bool        // a log: no line is ever overwritten
	json  atomic.Bool // events go here
	items chan item

	// Of the goroutine that writes:
	shown int // characters of the progress line
	at    time.Time
	tenth int
}

type item struct {
	text     string
	progress bool // may be dropped, and overwritten
	percent  int
	json     bool // only for consoles of events
	human    bool // only for others
	flushed  chan<- struct{}
}

// New returns consoles without any.
func New() *Consoles { return &Consoles{typed: make(chan string)} }

// Active returns the names of the consoles that the kernel writes to, from the contents of /proc/consoles: "tty0", "ttyS0". Those
// that only the command line names, but no driver has, are not among them.
func Active(procConsoles []byte) []string {
	var names []string
	for line := range bytes.Lines(procConsoles) {
		name, rest, _ := bytes.Cut(line, []byte(" "))
		flags := bytes.TrimSpace(rest)
		if len(name) == 0 || !bytes.Contains(flags, []byte("W")) {
			continue
		}
		names = append(names, string(name))
	}
	return names
}

// OpenEvents makes a console one of events: the lines of Event go there, and progress only line by line. It is opened when it is not open.
func (c *Consoles) OpenEvents(dev, name string) error {
	for _, s := range c.all() {
		if s.name == name {
			s.json.Store(true)
			return nil
		}
	}
	return c.open(dev, name, true)
}

// Open adds a console by the name of its device.
func (c *Consoles) Open(dev, name string) error { return c.open(dev, name, false) }

func (c *Consoles) open(dev, name string, events bool) error {
	// Opening a serial line without a carrier would wait for one; writing to it does not.
	fd, err := unix.Open(filepath.Join(dev, name), unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("the console %s: %w", name, err)
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return fmt.Errorf("the console %s: %w", name, err)
	}
	terminal := setLineMode(fd)
	f := os.NewFile(uintptr(fd), name)
	var drain func()
	if terminal {
		drain = func() { _ = unix.IoctlSetInt(fd, unix.TCSBRK, 1) } // tcdrain(3)
	}
	c.add(&screen{name: name, w: f, drain: drain, plain: !terminal}, f, events)
	return nil
}

// setLineMode makes a terminal edit and echo lines, and end ours with a carriage return. It says whether it is a terminal.
func setLineMode(fd int) bool {
	mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return false
	}
	mode.Iflag |= unix.ICRNL
	mode.Oflag |= unix.OPOST | unix.ONLCR
	mode.Lflag |= unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK
	_ = unix.IoctlSetTermios(fd, unix.TCSETS, mode) // it is a console all the same
	return true
}

// Add adds a console. A plain one is a log, in which nothing can be overwritten. in may be nil.
func (c *Consoles) Add(name string, w io.Writer, in io.Reader, plain, events bool) {
	c.add(&screen{name: name, w: w, plain: plain}, in, events)
}

func (c *Consoles) add(s *screen, in io.Reader, events bool) {
	s.items, s.tenth = make(chan item, queue), -1
	s.json.Store(events)
	c.mu.Lock()
	c.screens = append(c.screens, s)
	c.mu.Unlock()
	go s.run()
	if in != nil {
		go c.read(in)
	}
}

// Names are the names of the consoles.
func (c *Consoles) Names() []string {
	var names []string
	for _, s := range c.all() {
		names = append(names, s.name)
	}
	return names
}

func (c *Consoles) all() []*screen {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.screens)
}

// Printf writes lines to every console and to the log.
func (c *Consoles) Printf(format string, args ...any) {
	c.send(c.remember(format, args))
}

// PrintfWithoutEvents is Printf for what the consoles of events have got already.
func (c *Consoles) PrintfWithoutEvents(format string, args ...any) {
	i := c.remember(format, args)
	i.human = true
	c.send(i)
}

// remember formats lines and adds them to the log.
func (c *Consoles) remember(format string, args []any) item {
	text := strings.TrimRight(fmt.Sprintf(format, args...), "\n")
	c.mu.Lock()
	c.log = append(c.log, strings.Split(text, "\n")...)
	if over := len(c.log) - kept; over > 0 {
		c.log = slices.Delete(c.log, 0, over)
	}
	c.mu.Unlock()
	return item{text: text}
}

// Echo writes a line that the log need not keep.
func (c *Consoles) Echo(line string) { c.send(item{text: line}) }

// Prompt writes a text that ends without a line break.
func (c *Consoles) Prompt(text string) { c.send(item{text: text, percent: -1}) }

// Log returns the lines that Printf wrote, without those that are too old.
func (c *Consoles) Log() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.log)
}

// Progress shows a line that the next one overwrites. On a plain console, only every tenth of the way is written.
func (c *Consoles) Progress(percent int, text string) {
	c.send(item{text: text, percent: percent, progress: true})
}

// Event writes a line to the consoles that were opened for events.
func (c *Consoles) Event(line []byte) { c.send(item{text: string(line), json: true}) }

func (c *Consoles) send(i item) {
	for _, s := range c.all() {
		if i.json && !s.json.Load() || i.human && s.json.Load() {
			continue
		}
		select {
		case s.items <- i:
			continue
		default:
		}
		if i.progress {
			continue
		}
		// A message is worth a moment, but a console that takes nothing must not cost one for each.
		timer := time.NewTimer(patience)
		select {
		case s.items <- i:
		case <-timer.C:
			for range queue / 2 {
				select {
				case <-s.items:
				default:
				}
			}
		}
		timer.Stop()
	}
}

// Flush waits until everything is written and serial lines have sent it, or for the time most. What the kernel prints overtakes
// what a line has not sent: without this, its last words stand inside ours.
func (c *Consoles) Flush(most time.Duration) {
	end := time.After(most)
	var waiting []chan struct{}
	for _, s := range c.all() {
		flushed := make(chan struct{})
		waiting = append(waiting, flushed)
		go func() {
			select {
			case s.items <- item{flushed: flushed}:
			case <-time.After(most): // it takes nothing
			}
		}()
	}
	for _, flushed := range waiting {
		select {
		case <-flushed:
		case <-end:
			return
		}
	}
}

func (s *screen) run() {
	for i := range s.items {
		switch {
		case i.flushed != nil:
			if s.drain != nil {
				s.drain()
			}
			close(i.flushed)
		case i.progress:
			s.progress(i)
		case i.percent < 0:
			s.write(s.clear() + i.text)
		default:
			s.write(s.clear() + i.text + "\n")
		}
	}
}

func (s *screen) progress(i item) {
	if s.plain || s.json.Load() {
		if i.percent/tenth == s.tenth {
			return
		}
		s.tenth = i.percent / tenth
		s.write(i.text + "\n")
		return
	}
	now := time.Now()
	if now.Sub(s.at) < perSecond && i.percent < 100 {
		return
	}
	s.at = now
	text := i.text
	if utf8.RuneCountInString(text) > columns {
		text = string([]rune(text)[:columns])
	}
	length := utf8.RuneCountInString(text)
	// Spaces wipe out what was longer; not every terminal knows more.
	s.write("\r" + text + strings.Repeat(" ", max(0, s.shown-length)))
	s.shown = length
}

// clear returns what removes the progress line.
func (s *screen) clear() string {
	s.tenth = -1
	if s.shown == 0 {
		return ""
	}
	length := s.shown
	s.shown, s.at = 0, time.Time{}
	return "\r" + strings.Repeat(" ", length) + "\r"
}

// write has nowhere to report an error to: the other consoles go on.
func (s *screen) write(text string) { _, _ = io.WriteString(s.w, text) }

// read passes on the lines typed on a console.
func (c *Consoles) read(in io.Reader) {
	scanner := bufio.NewScanner(in)
	scanner.Split(scanLines)
	for scanner.Scan() {
		c.typed <- strings.TrimSpace(scanner.Text())
	}
}

// scanLines splits after "\r", too: that is what the return key sends.
func scanLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexAny(data, "\r\n"); i >= 0 {
		advance = i + 1
		if data[i] == '\r' && advance < len(data) && data[advance] == '\n' {
			advance++
		}
		return advance, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// ReadLine returns the next line typed on any console. It waits for as long as ctx lasts.
func (c *Consoles) ReadLine(ctx context.Context) (string, error) {
	select {
	case line := <-c.typed:
		return line, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Discard forgets what was typed before, so that it answers no question asked now.
func (c *Consoles) Discard() {
	for {
		select {
		case <-c.typed:
		default:
			return
		}
	}
}
