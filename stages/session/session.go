// Package session runs commands of the target in a root and takes back what they
// changed, cleaned of everything that belongs to the build and not to the image.
//
// Whatever stage runs target code does it through here, so that the rules hold
// everywhere: files that only exist while scripts run are gone afterwards, nothing
// is younger than the build's epoch, and what the distribution's data lists as
// belonging to one machine never enters a result.
package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// File is a file that exists only during a session.
type File struct {
	Path    string `json:"path"` // absolute
	Content string `json:"content"`
	Mode    uint32 `json:"mode"`
}

// Options says how a session runs. It is part of the key of the stages that use it.
type Options struct {
	Env   map[string]string `json:"env,omitempty"`   // of every command
	Files []File            `json:"files,omitempty"` // there during the session only
	Clean Rules             `json:"clean"`
	Epoch int64             `json:"epoch"` // seconds since 1970; nothing in the result is younger
}

// Session is a root in use.
type Session struct {
	root    *sandbox.Root
	run     *stages.Run
	options Options
}

// Run makes a root of t, lets do run commands in it, and returns the tree that this
// leaves.
func Run(ctx context.Context, run *stages.Run, pool *sandbox.Pool, t *tree.Tree, o Options, do func(context.Context, *Session) error) (result *tree.Tree, err error) {
	prepared, err := withFiles(run.Cache.Store, t, o)
	if err != nil {
		return nil, err
	}
	root, release, err := pool.Acquire(ctx, prepared)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := root.Checkout(ctx, prepared); err != nil {
		return nil, fmt.Errorf("make the root: %w", err)
	}
	if err := do(ctx, &Session{root: root, run: run, options: o}); err != nil {
		return nil, err
	}
	after, err := root.Capture(ctx)
	if err != nil {
		return nil, fmt.Errorf("take the changes back: %w", err)
	}
	after, err = withoutFiles(t, after, o.Files)
	if err != nil {
		return nil, err
	}
	return Clean(run.Cache.Store, after, o.Clean, o.Epoch)
}

// place returns where in a tree the file at the absolute path p
// lies, or would lie: links in its directory are followed. ok is false when there is no
// such directory.
func place(t *tree.Editor, p string) (path string, ok bool) {
	p = strings.TrimPrefix(p, "/")
	dir, err := t.Resolve(tree.Parent(p))
	if err != nil {
		return "", false
	}
	if e, ok := t.Get(dir); !ok || e.Type != tree.Directory {
		return "", false
	}
	return tree.Join(dir, p[strings.LastIndexByte(p, '/')+1:]), true
}

// withFiles returns t with the session's files in it, in place of what is there. In a
// root without a file's directory nothing can look for the file.
func withFiles(st *store.Store, t *tree.Tree, o Options) (*tree.Tree, error) {
	edit := t.Edit()
	for _, f := range o.Files {
		path, ok := place(edit, f.Path)
		if !ok {
			continue
		}
		digest, err := st.Put([]byte(f.Content))
		if err != nil {
			return nil, err
		}
		edit.Put(tree.Entry{
			Path: path, Type: tree.Regular, Mode: f.Mode, MTime: tree.Time{Sec: o.Epoch},
			Digest: digest, Size: int64(len(f.Content)),
		})
	}
	return edit.Tree()
}

// withoutFiles puts back what before had at the paths of files. Where a script has
// moved the directory of a file and left a link, that is where the file is now; where it
// has removed the directory, there is nothing to put back. One of several hard links
// comes back as a file of its own.
func withoutFiles(before, after *tree.Tree, files []File) (*tree.Tree, error) {
	original, edit := before.Edit(), after.Edit()
	for _, f := range files {
		was, ok := place(original, f.Path)
		if !ok {
			continue // it was never there
		}
		now, ok := place(edit, "/"+was)
		if !ok {
			continue
		}
		edit.Remove(now)
		if old, ok := before.Lookup(was); ok {
			old.Path, old.Link = now, 0
			edit.Put(old)
		}
	}
	return edit.Tree()
}

// Mode returns how the session's commands run.
func (s *Session) Mode() sandbox.Mode { return s.root.Mode() }

// Command is a command to run in a session.
type Command struct {
	Name    string // for messages
	Args    []string
	Env     map[string]string // over that of the session
	Stdin   []byte
	Stdout  io.Writer // gets the standard output instead of the log; nil: the log
	Stderr  io.Writer // gets the error output besides the log; nil: only the log does
	Network bool
	Binds   []sandbox.Bind
	Chroots []string // see sandbox.Command
}

// CommandError says which command failed and what it printed last.
type CommandError struct {
	Name   string
	Err    error
	Output string // the end of what it printed
}

func (e *CommandError) Error() string {
	if e.Output == "" {
		return fmt.Sprintf("%s: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("%s: %v; it printed last:\n%s", e.Name, e.Err, e.Output)
}

// Unwrap returns the cause.
func (e *CommandError) Unwrap() error { return e.Err }

// keptLines is how much of a failed command's output an error shows.
const keptLines = 20

// Run runs a command and passes on every line it prints as a Log event.
func (s *Session) Run(ctx context.Context, c Command) error {
	vars := map[string]string{"SOURCE_DATE_EPOCH": strconv.FormatInt(s.options.Epoch, 10)}
	maps.Copy(vars, s.options.Env)
	maps.Copy(vars, c.Env)
	var env []string
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		env = append(env, name+"="+vars[name])
	}
	log := &lines{emit: func(text string) {
		s.run.Emit(stages.Event{Kind: stages.Log, Item: c.Name, Text: text})
	}}
	command := sandbox.Command{Args: c.Args, Env: env, Stdout: log, Stderr: log, Network: c.Network, Binds: c.Binds, Chroots: c.Chroots}
	if c.Stdout != nil {
		command.Stdout = c.Stdout
	}
	if c.Stderr != nil {
		command.Stderr = io.MultiWriter(log, c.Stderr)
	}
	if c.Stdin != nil {
		command.Stdin = bytes.NewReader(c.Stdin)
	}
	err := s.root.Run(ctx, command)
	log.flush()
	var exit *sandbox.ExitError
	if errors.As(err, &exit) {
		return &CommandError{Name: c.Name, Err: err, Output: strings.Join(log.last, "\n")}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	return nil
}

// lines cuts what is written to it into lines.
type lines struct {
	mu      sync.Mutex
	partial []byte
	last    []string
	emit    func(string)
}

var _ io.Writer = (*lines)(nil)

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, p...)
	for {
		i := bytes.IndexByte(l.partial, '\n')
		if i < 0 {
			return len(p), nil
		}
		l.line(string(l.partial[:i]))
		l.partial = l.partial[i+1:]
	}
}

// line notes a whole line. The caller holds l.mu.
func (l *lines) line(text string) {
	text = strings.TrimRight(strings.ToValidUTF8(text, "\uFFFD"), "\r")
	l.emit(text)
	if l.last = append(l.last, text); len(l.last) > keptLines {
		l.last = l.last[1:]
	}
}

// flush ends an unfinished line.
func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.partial) > 0 {
		l.line(string(l.partial))
		l.partial = nil
	}
}
