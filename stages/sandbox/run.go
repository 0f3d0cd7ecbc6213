package sandbox

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// basicEnv is what every command's environment begins with.
var basicEnv = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root",
	"LANG=C.UTF-8",
	"TERM=dumb",
}

// runSpec is a Command without its streams, on its way to the helper and to init.
type runSpec struct {
	Args     []string
	Dir      string
	Env      []string
	Hostname string
	Network  bool
	Binds    []bindSpec
	Chroots  []string

	Mode Mode   // set by the helper
	Root string // path of the directory that becomes /; set by the helper
}

// bindSpec is a Bind whose target the helper has resolved.
type bindSpec struct {
	Source   string
	Target   string // as a path of a tree
	Writable bool
	Optional bool // do without when the source does not exist
	// Fresh says that the target lies in a file system that init mounts, so that
	// init must make it. Otherwise it exists.
	Fresh bool
	IsDir bool
}

// spec checks the command and completes it.
func (c *Command) spec() (runSpec, error) {
	s := runSpec{Args: c.Args, Dir: c.Dir, Hostname: c.Hostname, Network: c.Network, Env: mergeEnv(basicEnv, c.Env)}
	if s.Dir == "" {
		s.Dir = "/"
	}
	if s.Hostname == "" {
		s.Hostname = "localhost"
	}
	for _, a := range append(append([]string{s.Dir, s.Hostname}, s.Args...), s.Env...) {
		if strings.IndexByte(a, 0) >= 0 {
			return s, fmt.Errorf("the command's %q holds a NUL byte", a)
		}
	}
	for _, b := range c.Binds {
		source, err := filepath.Abs(b.Source)
		if err != nil {
			return s, err
		}
		s.Binds = append(s.Binds, bindSpec{Source: source, Target: b.Target, Writable: b.Writable})
	}
	for _, dir := range c.Chroots {
		if err := tree.CheckPath(dir); err != nil {
			return s, fmt.Errorf("the directory %q to change the root to: %w", dir, err)
		}
		s.Chroots = append(s.Chroots, dir)
	}
	if c.Network {
		s.Binds = append(s.Binds, bindSpec{Source: "/etc/resolv.conf", Target: "etc/resolv.conf", Optional: true})
	}
	return s, nil
}

// mergeEnv returns base with the variables of extra, of which the last counts.
func mergeEnv(base, extra []string) []string {
	var env []string
	at := map[string]int{}
	for _, v := range append(append([]string{}, base...), extra...) {
		name, _, _ := strings.Cut(v, "=")
		if i, ok := at[name]; ok {
			env[i] = v
			continue
		}
		at[name] = len(env)
		env = append(env, v)
	}
	return env
}

// initResult is what init reports when the command has ended.
type initResult struct {
	Problem string // the command was not started, and why
	OnHost  bool   // the host is to blame
	Status  uint32 // wait status
}

// run runs one command.
func (s *server) run(ctx context.Context, spec *runSpec, files []*os.File) (err error) {
	if s.idx == nil {
		return errNotCurrent
	}
	if len(files) != 3 {
		return fmt.Errorf("%d files for stdin, stdout and stderr", len(files))
	}
	if s.Mode == Plain && len(spec.Chroots) > 0 {
		return &HostError{
			Problem: fmt.Sprintf("%s works on a second root below its own, and the sandbox cannot mount what belongs there in mode %q", spec.Args[0], Plain),
			Remedy:  "build where imagefactory may make namespaces: as an ordinary user with subordinate ids, or as root outside of a container",
		}
	}
	spec.Mode, spec.Root = s.Mode, s.root
	c, err := newCursor(s.root)
	if err != nil {
		return err
	}
	defer c.close()
	points := &points{c: c}
	if s.Mode == Plain {
		if points.unmade, err = newRemover(s.Dir); err != nil {
			return err
		}
		defer points.unmade.close()
	}
	defer func() {
		if cleanErr := points.remove(); err == nil {
			err = cleanErr
		}
	}()
	if err := points.prepare(spec); err != nil {
		return err
	}
	if s.Mode == Plain {
		if err := s.furnish(c, points.unmade, spec); err != nil {
			return err
		}
	}

	specR, specW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer specR.Close()
	resultR, resultW, err := os.Pipe()
	if err != nil {
		specW.Close()
		return err
	}
	defer resultR.Close()
	cmd := exec.Cmd{
		Path:       "/proc/self/exe",
		Args:       []string{argInit},
		Env:        []string{},
		Dir:        "/",
		Stdin:      files[0],
		Stdout:     files[1],
		Stderr:     files[2],
		ExtraFiles: []*os.File{specR, resultW},
		// If the helper is killed, so is init, and as process 1 it takes everything
		// with it.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	}
	if s.Mode != Plain {
		cmd.SysProcAttr.Cloneflags = namespaces(spec.Network)
	}
	err = cmd.Start()
	resultW.Close()
	if err != nil {
		specW.Close()
		return fmt.Errorf("start the sandbox: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	sendErr := gob.NewEncoder(specW).Encode(spec)
	specW.Close()
	// Wait before reading: in Plain mode, survivors might hold the pipe open. The
	// result is small, so the pipe's buffer takes it.
	waitErr := cmd.Wait()
	if s.Mode == Plain {
		if err := killOrphans(); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var result initResult
	if err := gob.NewDecoder(resultR).Decode(&result); err != nil {
		return fmt.Errorf("the sandbox ended unexpectedly: %w", errors.Join(waitErr, sendErr))
	}
	return result.err(spec.Args[0])
}

// err is the error that a Run ends with.
func (r *initResult) err(program string) error {
	status := syscall.WaitStatus(r.Status)
	switch {
	case r.Problem != "" && r.OnHost:
		return &HostError{Problem: r.Problem}
	case r.Problem != "":
		return errors.New(r.Problem)
	case status.Signaled():
		return &ExitError{Program: program, Status: 128 + int(status.Signal()), Signal: int(status.Signal())}
	case status.ExitStatus() != 0:
		return &ExitError{Program: program, Status: status.ExitStatus()}
	}
	return nil
}

// freshDirs are the directories over which Run mounts file systems of its own, in
// this order.
var freshDirs = []string{"dev", "proc", "sys", "run", "tmp"}

// chrootDirs are those that Command.Chroots get as well.
var chrootDirs = []string{"dev", "proc", "sys"}

// points are the mount points that were made in the root's directory for one Run.
type points struct {
	c    *cursor
	made []point
	// unmade removes mount points with what is in them, in Plain mode: nothing was
	// mounted there.
	unmade *remover
}

type point struct {
	path string
	inode
	isDir bool
}

// prepare makes what is missing of the directories and bind targets.
func (p *points) prepare(spec *runSpec) error {
	for _, d := range freshDirs {
		if err := p.ensure(d, true); err != nil {
			return err
		}
	}
	for _, dir := range spec.Chroots {
		for _, d := range chrootDirs {
			if err := p.ensureParents(tree.Join(dir, d)); err != nil {
				return err
			}
			if err := p.ensure(tree.Join(dir, d), true); err != nil {
				return err
			}
		}
	}
	binds := spec.Binds
	spec.Binds = nil
	for _, b := range binds {
		info, err := os.Stat(b.Source)
		if errors.Is(err, os.ErrNotExist) && b.Optional {
			continue
		}
		if err != nil {
			return fmt.Errorf("bind for the sandbox: %w", err)
		}
		b.IsDir = info.IsDir()
		target, err := p.resolve(b.Target)
		if err != nil {
			return fmt.Errorf("bind %s: %w", b.Source, err)
		}
		b.Target = target
		switch top, _, below := strings.Cut(target, "/"); {
		case target == tree.Root:
			return fmt.Errorf("bind %s: the root directory cannot be replaced", b.Source)
		case !below && isFresh(top), top == "proc", top == "sys":
			return fmt.Errorf("bind %s: /%s is the sandbox's own", b.Source, target)
		case isFresh(top):
			b.Fresh = true
		default:
			if err := p.ensureParents(target); err != nil {
				return err
			}
			if err := p.ensure(target, b.IsDir); err != nil {
				return err
			}
		}
		spec.Binds = append(spec.Binds, b)
	}
	return nil
}

func isFresh(name string) bool {
	for _, d := range freshDirs {
		if d == name {
			return true
		}
	}
	return false
}

// resolve returns the path in the root that path means, following symbolic links as
// a process in the root would. What does not exist, or is mounted later, is taken
// as it stands.
func (p *points) resolve(path string) (string, error) {
	current := tree.Root
	rest := strings.Split(path, "/")
	for links := 0; len(rest) > 0; {
		element := rest[0]
		rest = rest[1:]
		switch element {
		case "", ".":
			continue
		case "..":
			current = tree.Parent(current)
			continue
		}
		next := tree.Join(current, element)
		if top, _, _ := strings.Cut(next, "/"); isFresh(top) {
			current = next
			continue
		}
		dir, name, err := p.c.parent(next)
		if err != nil {
			if errors.Is(err, unix.ENOENT) {
				current = next
				continue
			}
			return "", err
		}
		target, err := readlinkat(dir, name)
		if err != nil { // no symbolic link, or nothing
			current = next
			continue
		}
		if links++; links > 40 {
			return "", pathError("resolve", path, unix.ELOOP)
		}
		if strings.HasPrefix(target, "/") {
			current = tree.Root
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	if err := tree.CheckPath(current); err != nil {
		return "", fmt.Errorf("/%s: %w", path, err)
	}
	return current, nil
}

func (p *points) ensureParents(path string) error {
	parent := tree.Parent(path)
	if parent == tree.Root {
		return nil
	}
	if err := p.ensureParents(parent); err != nil {
		return err
	}
	return p.ensure(parent, true)
}

// ensure makes the directory or empty file at path unless it is there.
func (p *points) ensure(path string, isDir bool) error {
	dir, name, err := p.c.parent(path)
	if err != nil {
		return err
	}
	st, _, _, _, err := statAt(dir, name)
	if err == nil {
		if (st.Mode&unix.S_IFMT == unix.S_IFDIR) == isDir && st.Mode&unix.S_IFMT != unix.S_IFLNK {
			return nil
		}
		if isDir {
			return fmt.Errorf("the root file system's /%s must be a directory: the sandbox mounts something there", path)
		}
		return fmt.Errorf("the root file system's /%s must be a file: the sandbox binds one there", path)
	}
	if !errors.Is(err, unix.ENOENT) {
		return pathError("stat", path, err)
	}
	return keepMTime(dir, func() error {
		if isDir {
			err = unix.Mkdirat(dir, name, 0o755)
		} else {
			var fd int
			if fd, err = openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY); err == nil {
				unix.Close(fd)
			}
		}
		if err != nil {
			return pathError("create", path, err)
		}
		if st, _, _, _, err = statAt(dir, name); err != nil {
			return pathError("stat", path, err)
		}
		p.made = append(p.made, point{path, st.inode, isDir})
		return nil
	})
}

// keepMTime gives the directory the modification time back that it has before do.
func keepMTime(dir int, do func() error) error {
	st, _, _, _, err := statAt(dir, ".")
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return setMTime(dir, ".", st.MTime)
}

// remove removes what ensure made, unless commands have put something there.
func (p *points) remove() error {
	for i := len(p.made) - 1; i >= 0; i-- {
		m := p.made[i]
		p.c.forget(m.path)
		dir, name, err := p.c.parent(m.path)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue // a command moved or replaced the directory
		}
		if err != nil {
			return err
		}
		st, _, _, _, err := statAt(dir, name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return pathError("stat", m.path, err)
		}
		if p.unmade == nil && (st.inode != m.inode || !m.isDir && st.Size > 0) {
			continue
		}
		if p.unmade != nil {
			if err := keepMTime(dir, func() error { return p.unmade.remove(dir, name) }); err != nil {
				return pathError("remove", m.path, err)
			}
			continue
		}
		flags := 0
		if m.isDir {
			flags = unix.AT_REMOVEDIR
		}
		err = keepMTime(dir, func() error { return unix.Unlinkat(dir, name, flags) })
		if err != nil && !errors.Is(err, unix.ENOTEMPTY) {
			return pathError("remove", m.path, err)
		}
	}
	p.made = nil
	return nil
}
