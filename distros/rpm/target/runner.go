package target

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/imagefactory/imagefactory/distros/rpm/lua"
	"github.com/imagefactory/imagefactory/distros/rpm/transaction"
)

// path is the PATH of scriptlets (rpm's _install_script_path).
const path = "/sbin:/bin:/usr/sbin:/usr/bin"

// abandonAfter is how long output is waited for that something a script has left
// running might still print.
const abandonAfter = 200 * time.Millisecond

// runner does steps.
type runner struct {
	mu     sync.Mutex
	events *gob.Encoder
	err    error // of writing events
}

func (r *runner) emit(step int, kind EventKind, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.events.Encode(Event{Step: step, Kind: kind, Text: text}); err != nil {
		r.err = err
	}
}

// do does step number i and reports whether it succeeded.
func (r *runner) do(i int, s *transaction.Step) bool {
	var err error
	switch s.Kind {
	case transaction.Owners:
		err = setOwners(s.Owners, func(warning string) { r.emit(i, Warned, warning) })
	case transaction.Sysusers:
		err = r.sysusers(i, s)
	default:
		err = r.script(i, s)
	}
	if err != nil {
		r.emit(i, Failed, err.Error())
	}
	return err == nil
}

// script runs a scriptlet.
func (r *runner) script(i int, s *transaction.Step) error {
	if s.Interpreter[0] == transaction.Lua {
		script := lua.Script{Name: s.Name(), Body: s.Script, Args: s.Args, Prefixes: s.Prefixes, Executable: Program}
		if s.HasInput {
			script.Files = append([]string{}, s.Input...) // not nil, which would be no trigger
		}
		cmd, file, err := lua.Command(script)
		if err != nil {
			return err
		}
		defer file.Close()
		err = r.run(i, s, cmd)
		if exit := (*failure)(nil); errors.As(err, &exit) && exit.status == 1 {
			return errors.New("the Lua script failed") // it has said why
		}
		return err
	}
	cmd := exec.Cmd{Path: s.Interpreter[0], Args: append([]string{}, s.Interpreter...)}
	if s.HasScript {
		file := filepath.Join(Directory, "rpm-tmp."+strconv.Itoa(i))
		if err := os.WriteFile(file, []byte(s.Script), 0o600); err != nil {
			return fmt.Errorf("write the script: %w", err)
		}
		defer os.Remove(file)
		cmd.Args = append(cmd.Args, file)
		for _, n := range s.Args {
			cmd.Args = append(cmd.Args, strconv.Itoa(n))
		}
	}
	return r.run(i, s, &cmd)
}

// run runs a command for a step.
func (r *runner) run(i int, s *transaction.Step, cmd *exec.Cmd) error {
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "PATH="+path)
	for n, prefix := range s.Prefixes {
		if n == 0 {
			cmd.Env = append(cmd.Env, "RPM_INSTALL_PREFIX="+prefix)
		}
		cmd.Env = append(cmd.Env, "RPM_INSTALL_PREFIX"+strconv.Itoa(n)+"="+prefix)
	}
	// A pipe even without input, as from rpm.
	cmd.Stdin = strings.NewReader(joinLines(s.Input))
	out := &lines{take: func(text string) { r.emit(i, Printed, text) }}
	cmd.Stdout, cmd.Stderr = out, out // one writer: one pipe
	cmd.WaitDelay = abandonAfter
	err := cmd.Run()
	out.flush()
	return explain(cmd.Path, err)
}

// explain says in words how a command has failed.
func explain(program string, err error) error {
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrWaitDelay):
		return nil // it succeeded, and something it started keeps the pipe
	case !errors.As(err, &exit):
		if err != nil {
			return fmt.Errorf("its interpreter cannot be run: %w", err)
		}
		return nil
	}
	status := exit.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return fmt.Errorf("it was killed by signal %d (%s)", status.Signal(), status.Signal())
	}
	if exit.ExitCode() == 0 {
		return nil
	}
	return &failure{program, exit.ExitCode()}
}

// failure says that a command ended with another status than 0.
type failure struct {
	program string
	status  int
}

func (e *failure) Error() string {
	return fmt.Sprintf("%s failed with exit status %d", e.program, e.status)
}

// joinLines ends each line.
func joinLines(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return strings.Join(all, "\n") + "\n"
}

// lines cuts what is written into lines.
type lines struct {
	mu      sync.Mutex
	partial []byte
	take    func(string)
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, p...)
	for {
		line, rest, found := bytes.Cut(l.partial, []byte("\n"))
		if !found {
			return len(p), nil
		}
		l.take(string(line))
		l.partial = rest
	}
}

// flush ends an unfinished line.
func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.partial) > 0 {
		l.take(string(l.partial))
		l.partial = nil
	}
}
