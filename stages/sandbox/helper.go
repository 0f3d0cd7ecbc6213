package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Init must be the first statement of main and of TestMain in every executable
// that uses this package: the sandbox starts the executable again under other
// names, and then Init does its work and does not return.
func Init() {
	if len(os.Args) == 0 {
		return
	}
	switch os.Args[0] {
	case argEnter:
		die(enter())
	case argHelper:
		// Parent-death signals and capability bounding sets belong to threads.
		runtime.LockOSThread()
		die(serve())
	case argInit:
		runtime.LockOSThread()
		die(initMain())
	case argProbe:
		os.Exit(0)
	}
}

// die ends a helper process. The text reaches the caller's helper.died.
func die(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// enter waits until the caller has mapped the ids of this user namespace and then
// executes itself: execve by the namespace's root is what gives it capabilities.
func enter() error {
	var b [1]byte
	for {
		n, err := unix.Read(helperSocket, b[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return errors.New("the caller has gone")
		}
		break
	}
	if err := unix.Exec("/proc/self/exe", []string{argHelper}, []string{}); err != nil {
		return fmt.Errorf("execute /proc/self/exe in the user namespace: %w", err)
	}
	return nil
}

// server is the state of a helper process.
type server struct {
	setup
	ch   *channel
	st   *store.Store
	root string // path of the directory that holds the tree
	idx  *index // what the directory held after the last Checkout or Capture
	// hidden are the paths whose contents on disk are not the tree's: see plain.go.
	hidden hiddenPaths
}

// serve is the main function of a helper.
func serve() error {
	if err := closeOnExec(); err != nil {
		return err
	}
	unix.Umask(0o022)
	ch, err := newChannel(os.NewFile(helperSocket, "sandbox"))
	if err != nil {
		return err
	}
	s := &server{ch: ch}
	if _, err := ch.receive(&s.setup); err != nil {
		return fmt.Errorf("the caller has gone: %w", err)
	}
	var first response
	if err := s.prepare(&first); err != nil {
		first.fail(err)
	}
	if err := ch.send(first); err != nil {
		return err
	}

	// Requests are read in the background, to see a cancellation or the end of the
	// caller while one is being served.
	type work struct {
		q     request
		files []*os.File
		ctx   context.Context
	}
	todo := make(chan work)
	go func() {
		cancel := func() {}
		for {
			var q request
			files, err := ch.receive(&q)
			if err != nil {
				// The caller closed the socket or is dead. What we started dies with us,
				// in Plain mode not by itself.
				if s.Mode == Plain {
					die(killOrphans())
				}
				os.Exit(0)
			}
			if q.Op == opCancel {
				cancel()
				continue
			}
			var ctx context.Context
			ctx, cancel = context.WithCancel(context.Background())
			todo <- work{q, files, ctx}
		}
	}()
	for w := range todo {
		var r response
		if err := s.do(w.ctx, &w.q, w.files, &r); err != nil {
			r = response{Stats: r.Stats}
			if w.ctx.Err() != nil {
				r.Canceled = true
			}
			r.fail(err)
		}
		for _, f := range w.files {
			f.Close()
		}
		if err := ch.send(r); err != nil {
			return err
		}
	}
	return nil
}

// closeOnExec keeps descriptors that the caller inherited from somewhere from
// reaching the commands.
func closeOnExec() error {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return &HostError{Problem: fmt.Sprintf("the sandbox needs /proc: %v", err), Remedy: "mount it"}
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// prepare gets the helper ready and settles its mode.
func (s *server) prepare(r *response) error {
	if s.Mode == Chroot && !canMount() {
		if s.Forced {
			return &HostError{Problem: "this root user may not create namespaces (the container is unprivileged)", Remedy: "use the mode plain"}
		}
		s.Mode = Plain
		r.Note = ", but it may not create namespaces"
	}
	if (s.Mode == Range || s.Mode == Single) && !canMount() {
		return noNamespaces(errors.New("it has no capabilities in its own namespace"))
	}
	if s.Mode == Plain {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("adopt orphaned processes: %w", err)
		}
	}
	r.Mode = s.Mode
	s.Identity = string(s.Mode) + " " + s.Identity
	s.root = filepath.Join(s.Dir, rootName)
	if err := os.Mkdir(s.root, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("the scratch directory cannot be written: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(s.root, &fs); err != nil {
		return err
	}
	if fs.Flags&unix.ST_NOEXEC != 0 {
		return &HostError{Problem: fmt.Sprintf("%s is on a file system mounted noexec, so nothing can be run there", s.Dir), Remedy: "put the cache elsewhere (--cache or IMAGEFACTORY_CACHE)"}
	}
	if s.Store != "" {
		var err error
		if s.st, err = store.Open(s.Store); err != nil {
			return err
		}
	}
	return nil
}

// canMount reports whether this process may create the namespaces that Run needs.
func canMount() bool {
	cmd := exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        []string{argProbe},
		Env:         []string{},
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: namespaces(true)},
	}
	return cmd.Run() == nil
}

// namespaces are the clone(2) flags for Run.
func namespaces(network bool) uintptr {
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS)
	if !network {
		flags |= unix.CLONE_NEWNET
	}
	if _, err := os.Lstat("/proc/self/ns/cgroup"); err == nil {
		flags |= unix.CLONE_NEWCGROUP
	}
	return flags
}

// do serves one request.
func (s *server) do(ctx context.Context, q *request, files []*os.File, r *response) error {
	switch q.Op {
	case opCheckout:
		t, err := tree.Decode(q.Tree)
		if err != nil {
			return err
		}
		return s.checkout(ctx, t, &r.Stats)
	case opCapture:
		t, err := s.capture(ctx, &r.Stats)
		if err != nil {
			return err
		}
		r.Tree = t.Encode()
		return nil
	case opRun:
		return s.run(ctx, &q.Command, files)
	case opRemove:
		s.idx = nil
		return s.removeRoot()
	}
	return fmt.Errorf("unknown operation %q", q.Op)
}
