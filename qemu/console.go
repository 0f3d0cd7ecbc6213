package qemu

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"sync"
)

// Console drives a guest's serial port. Its methods are for one goroutine at a
// time, but for Transcript, which may be called whenever.
type Console struct {
	conn io.ReadWriteCloser

	mu     sync.Mutex
	log    []byte        // everything the guest printed
	seen   int           // how much of log Expect has consumed
	grown  chan struct{} // closed and replaced when log grows or ended becomes true
	ended  bool          // nothing more will come
	marker int           // makes every command's markers unique
}

func newConsole(conn io.ReadWriteCloser) *Console {
	c := &Console{conn: conn, grown: make(chan struct{})}
	go c.read()
	return c
}

// read collects what the guest prints until the connection ends.
func (c *Console) read() {
	defer c.conn.Close()
	buffer := make([]byte, 4096)
	for {
		n, err := c.conn.Read(buffer)
		c.mu.Lock()
		c.log = append(c.log, buffer[:n]...)
		c.ended = err != nil
		close(c.grown)
		c.grown = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Transcript is everything the guest has printed so far.
func (c *Console) Transcript() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.log)
}

// Send types text; "\n" is the return key.
func (c *Console) Send(text string) error {
	if _, err := io.WriteString(c.conn, text); err != nil {
		return fmt.Errorf("typing on the console: %w", err)
	}
	return nil
}

// Expect waits until pattern matches what the guest printed since the last
// match, consumes everything up to the end of the match and returns the match
// with its groups. The error, when ctx or the machine ends first or the guest's
// kernel panics, quotes the last lines of the console.
func (c *Console) Expect(ctx context.Context, pattern *regexp.Regexp) ([]string, error) {
	for {
		c.mu.Lock()
		text, ended, grown := c.log[c.seen:], c.ended, c.grown
		at := pattern.FindSubmatchIndex(text)
		if at != nil {
			match := make([]string, len(at)/2)
			for i := range match {
				if at[2*i] >= 0 {
					match[i] = string(text[at[2*i]:at[2*i+1]])
				}
			}
			c.seen += at[1]
			c.mu.Unlock()
			return match, nil
		}
		c.mu.Unlock()

		if ended {
			return nil, c.unmet(pattern, io.ErrUnexpectedEOF)
		}
		if bytes.Contains(text, kernelPanic) {
			return nil, c.unmet(pattern, errPanic)
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, c.unmet(pattern, context.Cause(ctx))
		}
	}
}

// unmet is the error for a pattern that never came.
func (c *Console) unmet(pattern *regexp.Regexp, cause error) error {
	const lines = 20
	text := bytes.TrimSpace(c.Transcript())
	if all := bytes.Split(text, []byte("\n")); len(all) > lines {
		text = bytes.Join(all[len(all)-lines:], []byte("\n"))
	}
	return fmt.Errorf("waiting for %q on the console: %w; its last lines were:\n%s", pattern, cause, text)
}

// kernelPanic is how Linux says that it will say no more.
var kernelPanic = []byte("Kernel panic - not syncing")

var (
	errPanic     = errors.New("the guest's kernel panicked")
	errEmergency = errors.New("the guest started in emergency mode: a file system or device that it needs did not appear in time")
)

var (
	loginPrompt    = regexp.MustCompile(`(login: )|You are in emergency mode`)
	passwordPrompt = regexp.MustCompile(`[Pp]assword: `)
	loginOutcome   = regexp.MustCompile(`([#$] |Login incorrect[^\n]*)(?:\x1b\[[0-9;?]*[A-Za-z])*$`)
)

// Login waits for the login prompt, logs in and leaves a plain shell that
// neither echoes nor prompts, which is what Run needs. A guest that ends in
// systemd's emergency mode instead is an error.
func (c *Console) Login(ctx context.Context, user, password string) error {
	prompt, err := c.Expect(ctx, loginPrompt)
	if err != nil {
		return err
	}
	if prompt[1] == "" {
		return c.unmet(loginPrompt, errEmergency)
	}
	if err := c.Send(user + "\n"); err != nil {
		return err
	}
	if _, err := c.Expect(ctx, passwordPrompt); err != nil {
		return err
	}
	if err := c.Send(password + "\n"); err != nil {
		return err
	}
	outcome, err := c.Expect(ctx, loginOutcome)
	if err != nil {
		return err
	}
	if len(outcome[1]) > 2 {
		return fmt.Errorf("logging in as %s: %s", user, outcome[1])
	}
	return c.Shell(ctx)
}

// Shell turns the shell at the console into a plain one: no echo, no prompt,
// no line editing, and no kernel messages in between where the user may
// silence them. Login calls it; a guest that boots into a shell needs it too.
func (c *Console) Shell(ctx context.Context) error {
	c.marker++
	// The marker is typed in two pieces, so that its echo is not taken for it.
	err := c.Send(fmt.Sprintf("exec env PS1= PS2= sh -c \"stty -echo; dmesg -n 1 2>/dev/null; echo ready''-%d; exec sh\"\n", c.marker))
	if err != nil {
		return err
	}
	_, err = c.Expect(ctx, regexp.MustCompile(fmt.Sprintf(`ready-%d\r?\n`, c.marker)))
	return err
}

// Run runs a command in the guest's shell and returns what it wrote to its
// standard output, without the last newlines, and its exit status. The shell
// must be one that Shell has prepared; a terminal takes lines of up to 4,000
// bytes.
//
// The output travels encoded, between markers and with its length, because
// anything may write to a serial console at any time; if something did, it is
// asked for again.
func (c *Console) Run(ctx context.Context, command string) (stdout string, status int, err error) {
	const attempts = 3
	c.marker++
	pattern := regexp.MustCompile(fmt.Sprintf(`<%d:(\d+):(\d+):([^>]*)>`, c.marker))
	show := fmt.Sprintf("printf '<%%d:%%d:%%d:%%s>\\n' %d $status ${#result} $result\n", c.marker)
	err = c.Send(fmt.Sprintf("result=$( %s\n); status=$?; result=$(printf %%s \"$result\" | base64 | tr -d '\\n')\n", command))
	if err != nil {
		return "", 0, err
	}
	for range attempts {
		if err := c.Send(show); err != nil {
			return "", 0, err
		}
		match, err := c.Expect(ctx, pattern)
		if err != nil {
			return "", 0, fmt.Errorf("running %q in the guest: %w", command, err)
		}
		length, err := strconv.Atoi(match[2])
		if err != nil || length != len(match[3]) {
			continue
		}
		text, err := base64.StdEncoding.DecodeString(match[3])
		if err != nil {
			continue
		}
		status, err := strconv.Atoi(match[1])
		return string(text), status, err
	}
	return "", 0, fmt.Errorf("running %q in the guest: its output was damaged on the console %d times", command, attempts)
}
