package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The names under which the executable starts itself. Init knows them again.
const (
	argEnter  = "imagefactory-sandbox-enter"  // in a new user namespace whose ids are not mapped yet
	argHelper = "imagefactory-sandbox-helper" // root of the namespace, serving one Root
	argInit   = "imagefactory-sandbox-init"   // process 1 of one Run
	argProbe  = "imagefactory-sandbox-probe"  // shows that namespaces can be made, and ends
)

// File descriptors of a helper.
const (
	helperSocket = 3 + iota
	helperLock   // keeps the root's lock until the helper is gone too
)

// killAfter is how long an operation may take to end after it was cancelled,
// before its helper is killed.
const killAfter = 5 * time.Second

// helper is the process that works inside a sandbox's namespace on behalf of one
// Root.
type helper struct {
	mode   Mode
	note   string
	cmd    *exec.Cmd
	ch     *channel
	stderr *tail
	broken bool
}

// startHelper starts a helper in the mode p and gives it s. The lock, if any, is
// held by the helper too.
func startHelper(ctx context.Context, p plan, s setup, lock *os.File) (*helper, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "sandbox")
	defer theirs.Close()
	ch, err := newChannel(os.NewFile(uintptr(pair[0]), "sandbox"))
	if err != nil {
		return nil, err
	}
	h := &helper{ch: ch, stderr: &tail{}}
	h.cmd = &exec.Cmd{
		Path:       "/proc/self/exe",
		Args:       []string{argHelper},
		Env:        []string{}, // nothing of the caller's
		Dir:        "/",
		Stderr:     h.stderr,
		ExtraFiles: []*os.File{theirs},
		// A session of its own: ^C on the terminal is for the caller, who cancels.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
		WaitDelay:   time.Second,
	}
	if lock != nil {
		h.cmd.ExtraFiles = append(h.cmd.ExtraFiles, lock)
	}
	switch p.mode {
	case Range:
		h.cmd.Args[0] = argEnter
		h.cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
	case Single:
		h.cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		h.cmd.SysProcAttr.UidMappings = p.ids.uid
		h.cmd.SysProcAttr.GidMappings = p.ids.gid
	}
	if err := h.cmd.Start(); err != nil {
		ch.conn.Close()
		if p.mode == Range || p.mode == Single {
			return nil, noNamespaces(err)
		}
		return nil, fmt.Errorf("start the sandbox's helper: %w", err)
	}
	if p.mode == Range {
		if err := writeMaps(ctx, h.cmd.Process.Pid, p.ids); err != nil {
			h.kill()
			return nil, err
		}
		if _, err := ch.conn.Write([]byte{1}); err != nil {
			h.kill()
			return nil, h.died(err)
		}
	}
	s.Mode, s.Forced = p.mode, p.forced
	if err := ch.send(s); err != nil {
		h.kill()
		return nil, h.died(err)
	}
	r, err := h.wait(ctx)
	if err != nil {
		h.kill()
		return nil, err
	}
	h.mode, h.note = r.Mode, r.Note
	return h, nil
}

// noNamespaces explains why a user namespace could not be made.
func noNamespaces(err error) error {
	remedy := "allow unprivileged user namespaces, or run as root"
	for _, k := range []struct{ file, bad, remedy string }{
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "as root, run: sysctl kernel.unprivileged_userns_clone=1"},
		{"/proc/sys/user/max_user_namespaces", "0", "as root, run: sysctl user.max_user_namespaces=15000"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "as root, run: sysctl kernel.apparmor_restrict_unprivileged_userns=0"},
	} {
		if p, readErr := os.ReadFile(k.file); readErr == nil && strings.TrimSpace(string(p)) == k.bad {
			remedy = k.remedy
		}
	}
	return &HostError{Problem: fmt.Sprintf("this host does not let an ordinary user make a user namespace (%v)", err), Remedy: remedy}
}

// writeMaps gives the process pid its ids by the set-user-id programs that may.
func writeMaps(ctx context.Context, pid int, ids idMaps) error {
	newuidmap, newgidmap, err := tools()
	if err != nil {
		return err
	}
	for _, m := range []struct {
		tool string
		ids  []syscall.SysProcIDMap
	}{{newuidmap, ids.uid}, {newgidmap, ids.gid}} {
		args := []string{strconv.Itoa(pid)}
		for _, r := range m.ids {
			args = append(args, strconv.Itoa(r.ContainerID), strconv.Itoa(r.HostID), strconv.Itoa(r.Size))
		}
		if out, err := exec.CommandContext(ctx, m.tool, args...).CombinedOutput(); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return &HostError{
				Problem: fmt.Sprintf("%s %s failed: %v: %s", m.tool, strings.Join(args, " "), err, strings.TrimSpace(string(out))),
				Remedy:  "it must be set-user-id root or have the file capability cap_setuid or cap_setgid (reinstall its package), and the process must not run under no_new_privs",
			}
		}
	}
	return nil
}

// call has the helper do one operation.
func (h *helper) call(ctx context.Context, q request, files ...*os.File) (response, error) {
	if err := ctx.Err(); err != nil {
		return response{}, context.Cause(ctx)
	}
	if err := h.ch.send(q, files...); err != nil {
		h.kill()
		return response{}, h.died(err)
	}
	return h.wait(ctx)
}

// wait waits for the response to an operation, which it cancels with ctx.
func (h *helper) wait(ctx context.Context) (response, error) {
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-done:
			return
		case <-ctx.Done():
		}
		_ = h.ch.send(request{Op: opCancel}) // a dead helper is noticed by receive
		select {
		case <-done:
		case <-time.After(killAfter):
			_ = h.cmd.Process.Kill()
		}
	})
	var r response
	_, err := h.ch.receive(&r)
	close(done)
	watch.Wait()
	if err != nil {
		h.kill()
		if ctx.Err() != nil {
			return response{}, context.Cause(ctx)
		}
		return response{}, h.died(err)
	}
	if r.Canceled {
		return r, context.Cause(ctx)
	}
	return r, r.err()
}

// died explains the end of a helper that should be alive.
func (h *helper) died(err error) error {
	if text := strings.TrimSpace(h.stderr.String()); text != "" {
		return fmt.Errorf("the sandbox's helper ended: %s", text)
	}
	if state := h.cmd.ProcessState; state != nil {
		return fmt.Errorf("the sandbox's helper ended (%s)", state)
	}
	return fmt.Errorf("the sandbox's helper ended: %w", err)
}

// stop lets the helper end and waits for it.
func (h *helper) stop() {
	h.ch.conn.Close()
	_ = h.cmd.Wait() // its status says nothing: it ends because the socket closed
	h.broken = true
}

// kill ends the helper and all that runs under it.
func (h *helper) kill() {
	if h.broken {
		return
	}
	if h.mode == Plain {
		// No pid namespace dies with the helper. What it has started is found below it
		// only as long as it lives; some rounds, since processes may be starting more.
		for range 100 {
			descendants, err := findDescendants(h.cmd.Process.Pid)
			if err != nil || len(descendants) == 0 {
				break
			}
			killAll(descendants)
		}
	}
	_ = h.cmd.Process.Kill()
	h.stop()
}

// tail keeps the last bytes written to it.
type tail struct {
	mu sync.Mutex
	p  []byte
}

// tailBytes is how much a tail keeps.
const tailBytes = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p = append(t.p, p...)
	if n := len(t.p) - tailBytes; n > 0 {
		t.p = append(t.p[:0], t.p[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.p)
}

// stdio turns the streams of a Command into files for the helper.
type stdio struct {
	files  [3]*os.File
	close  []io.Closer    // ends that are the command's
	ours   []io.Closer    // ends that its output comes from
	copies sync.WaitGroup // of output; that of stdin may hang in its reader for ever
	mu     sync.Mutex
	err    error
}

// openStdio makes the files. The caller closes and then waits.
func openStdio(c *Command) (s *stdio, err error) {
	s = &stdio{}
	defer func() {
		if err != nil {
			s.closeFiles()
			s.wait()
		}
	}()
	if s.files[0], err = s.reader(c.Stdin); err != nil {
		return nil, err
	}
	if s.files[1], err = s.writer(c.Stdout); err != nil {
		return nil, err
	}
	if c.Stdout != nil && sameWriter(c.Stdout, c.Stderr) {
		s.files[2] = s.files[1] // one pipe keeps the order of the lines
		return s, nil
	}
	s.files[2], err = s.writer(c.Stderr)
	return s, err
}

// sameWriter compares interfaces whose dynamic types may not be comparable.
func sameWriter(a, b io.Writer) (same bool) {
	defer func() { _ = recover() }()
	return a == b
}

func (s *stdio) null(flag int) (*os.File, error) {
	f, err := os.OpenFile(os.DevNull, flag, 0)
	if err == nil {
		s.close = append(s.close, f)
	}
	return f, err
}

func (s *stdio) reader(r io.Reader) (*os.File, error) {
	if r == nil {
		return s.null(os.O_RDONLY)
	}
	if f, ok := r.(*os.File); ok {
		return f, nil
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.close = append(s.close, pr)
	go func() {
		defer pw.Close()
		// The command need not read all of it.
		if _, err := io.Copy(pw, r); err != nil && !errors.Is(err, syscall.EPIPE) {
			s.failed(fmt.Errorf("stdin: %w", err))
		}
	}()
	return pr, nil
}

func (s *stdio) writer(w io.Writer) (*os.File, error) {
	if w == nil {
		return s.null(os.O_WRONLY)
	}
	if f, ok := w.(*os.File); ok {
		return f, nil
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.close = append(s.close, pw)
	s.ours = append(s.ours, pr)
	s.copies.Go(func() {
		defer pr.Close()
		if _, err := io.Copy(w, pr); err != nil && !errors.Is(err, os.ErrClosed) {
			s.failed(err)
			_, _ = io.Copy(io.Discard, pr) // the command must not block on our writer's fault
		}
	})
	return pw, nil
}

func (s *stdio) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = errors.Join(s.err, err)
}

// closeFiles closes the ends that were for the helper, once it has them.
func (s *stdio) closeFiles() {
	for _, c := range s.close {
		c.Close()
	}
	s.close = nil
}

// abandon gives up the output of processes that could not be ended.
func (s *stdio) abandon() {
	for _, c := range s.ours {
		c.Close()
	}
}

// wait waits until all output was copied and returns what went wrong with that.
func (s *stdio) wait() error {
	s.copies.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
