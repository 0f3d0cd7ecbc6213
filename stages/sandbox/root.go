package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Root is a directory that holds a tree whose commands can be run. It is used by
// one process at a time, and by one operation at a time; further calls wait.
type Root struct {
	dir  string
	st   *store.Store
	plan plan
	lock *os.File

	mu      sync.Mutex
	helper  *helper
	current bool // the helper knows what the directory holds
	stats   Stats
}

// Stats counts what the last Checkout or Capture did, in entries of the tree.
type Stats struct {
	Entries int   // in the tree
	Written int   // Checkout: created, or given other attributes
	Removed int   // Checkout: removed or replaced
	Hashed  int   // Capture: files whose contents were read
	Bytes   int64 // contents written or read
}

// Command is a program to run in a Root.
type Command struct {
	// Args is the program and its arguments. A program without a slash is looked
	// up in the PATH of Env inside the root.
	Args []string
	Dir  string // working directory in the root; empty means /
	// Env is added to, and overrides, PATH, HOME=/root, LANG=C.UTF-8 and TERM=dumb.
	// Nothing of the caller's environment is passed on.
	Env []string
	// Stdin, Stdout and Stderr are the null device when nil.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Network gives the host's network and /etc/resolv.conf instead of a private
	// loopback interface.
	Network  bool
	Hostname string // empty means "localhost"
	Binds    []Bind
	// Chroots are directories of the root, such as "sysroot", that the command itself
	// enters with chroot(2): they get the same /dev, /proc and /sys as the root. Plain
	// mode cannot do that and refuses it with a *HostError.
	Chroots []string
}

// Bind makes a file or directory of the host visible in the root. It is never
// captured.
type Bind struct {
	Source   string // path on the host
	Target   string // path in the root; created when missing, and removed again
	Writable bool   // read-only otherwise
}

// ExitError says that a command ran and failed.
type ExitError struct {
	Program string // Command.Args[0]
	Status  int    // exit status; 128 + Signal after a signal, as in a shell
	Signal  int    // the signal that ended it, or 0
}

func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return fmt.Sprintf("%s was killed by signal %d (%s)", e.Program, e.Signal, syscall.Signal(e.Signal))
	}
	return fmt.Sprintf("%s failed with exit status %d", e.Program, e.Status)
}

// errLocked says that another process uses a root.
var errLocked = errors.New("another build is using it")

// NewRoot opens the directory dir as a Root, creating it if need be. The error is a
// *HostError when the host lacks what a sandbox needs. The caller ends with Close
// or Remove.
func NewRoot(ctx context.Context, st *store.Store, dir string, o Options) (*Root, error) {
	p, err := choose(o)
	if err != nil {
		return nil, err
	}
	r, err := openRoot(st, dir, p)
	if err != nil {
		return nil, err
	}
	if err := r.start(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// openRoot locks dir without starting anything. It fails with errLocked when
// another process has it.
func openRoot(st *store.Store, dir string, p plan) (*Root, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	// 0700: the tree may hold set-user-id programs of what are, outside, the
	// user's own ids. Nobody else may reach them.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the scratch directory cannot be made: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the scratch directory cannot be closed to others: %w", err)
	}
	lock, err := tryLock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("scratch directory %s: %w", dir, err)
	}
	return &Root{dir: dir, st: st, plan: p, lock: lock}, nil
}

// tryLock returns the open and locked file at path or fails with errLocked.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errLocked
	}
	if err == nil {
		// Whoever held it may have removed the directory in the meantime.
		var mine, there os.FileInfo
		if mine, err = f.Stat(); err == nil {
			if there, err = os.Stat(path); err == nil && !os.SameFile(mine, there) {
				err = errLocked
			}
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// start makes sure that there is a helper.
func (r *Root) start(ctx context.Context) error {
	if r.lock == nil {
		return errors.New("the sandbox is closed")
	}
	if r.helper != nil && !r.helper.broken {
		return nil
	}
	r.current = false
	s := setup{Dir: r.dir, Identity: r.plan.identity()}
	if r.st != nil {
		dir, err := filepath.Abs(r.st.Dir())
		if err != nil {
			return err
		}
		s.Store = dir
	}
	h, err := startHelper(ctx, r.plan, s, r.lock)
	if err != nil {
		return err
	}
	r.helper = h
	return nil
}

// call starts the helper if need be and has it do q.
func (r *Root) call(ctx context.Context, q request, files ...*os.File) (response, error) {
	if err := r.start(ctx); err != nil {
		return response{}, err
	}
	return r.helper.call(ctx, q, files...)
}

// Mode returns how the root's commands run.
func (r *Root) Mode() Mode {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.helper != nil {
		return r.helper.mode
	}
	return r.plan.mode
}

// Stats returns what the last Checkout or Capture did.
func (r *Root) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// Checkout makes the directory hold exactly t, writing only what differs from what
// it holds. After an error, the directory holds nothing in particular until the
// next Checkout.
func (r *Root) Checkout(ctx context.Context, t *tree.Tree) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current = false
	res, err := r.call(ctx, request{Op: opCheckout, Tree: t.Encode()})
	r.stats = res.Stats
	if err != nil {
		return fmt.Errorf("check out the root file system: %w", err)
	}
	r.current = true
	return nil
}

// errNotCurrent is a mistake of the caller's.
var errNotCurrent = errors.New("the sandbox holds no tree: Checkout comes first, also after the sandbox has failed")

// Run runs a command in the directory and waits until it and everything it started
// has ended; what is left running when the command ends is killed. A command that
// fails gives an *ExitError. Cancelling ctx kills everything.
func (r *Root) Run(ctx context.Context, c Command) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.current {
		return errNotCurrent
	}
	if len(c.Args) == 0 {
		return errors.New("no command to run in the sandbox")
	}
	spec, err := c.spec()
	if err != nil {
		return err
	}
	s, err := openStdio(&c)
	if err != nil {
		return err
	}
	_, err = r.call(ctx, request{Op: opRun, Command: spec}, s.files[:]...)
	s.closeFiles()
	if r.helper == nil || r.helper.broken {
		r.current = false // what it had prepared in the directory is still there
		s.abandon()
	}
	if copyErr := s.wait(); err == nil {
		err = copyErr
	}
	return err
}

// Capture returns the tree that the directory holds now. Contents that the store
// lacks are added to it; only files that changed since Checkout or the last
// Capture are read.
func (r *Root) Capture(ctx context.Context) (*tree.Tree, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.current {
		return nil, errNotCurrent
	}
	res, err := r.call(ctx, request{Op: opCapture})
	r.stats = res.Stats
	if err != nil {
		return nil, fmt.Errorf("capture the root file system: %w", err)
	}
	return tree.Decode(res.Tree)
}

// Close stops the helper and unlocks the directory, which stays for another time.
func (r *Root) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.close()
}

func (r *Root) close() error {
	if r.helper != nil && !r.helper.broken {
		r.helper.stop()
	}
	r.helper = nil
	r.current = false
	if r.lock == nil {
		return nil
	}
	err := r.lock.Close()
	r.lock = nil
	return err
}

// Remove closes the root and removes its directory.
func (r *Root) Remove() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lock == nil {
		return nil
	}
	_, err := r.call(context.Background(), request{Op: opRemove})
	if err == nil {
		// Out of the way at once: whoever looks for the directory from now on makes a
		// new one, with a lock of its own.
		gone := fmt.Sprintf("%s.removed-%d", r.dir, os.Getpid())
		if err = os.Rename(r.dir, gone); err == nil {
			err = os.RemoveAll(gone)
		}
	}
	if closeErr := r.close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("remove the scratch directory %s: %w", r.dir, err)
	}
	return nil
}

// RemoveAll removes the directory of a root that nobody uses, with the files of
// subordinate ids that os.RemoveAll may not remove.
func RemoveAll(ctx context.Context, dir string, o Options) error {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	r, err := NewRoot(ctx, nil, dir, o)
	if err != nil {
		return err
	}
	return r.Remove()
}
