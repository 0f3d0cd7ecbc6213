package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// Plain mode cannot mount. What the other modes mount is then put into the root's
// directory itself: device nodes, and copies of what is bound. Those paths are
// hidden: Capture returns what the index says of them, and the next Checkout puts
// that back.

// hiddenPaths are the paths of a root whose contents on disk are not the tree's.
type hiddenPaths map[string]bool

// covers reports whether path is hidden or lies below something hidden.
func (h hiddenPaths) covers(path string) bool {
	for len(h) > 0 {
		if h[path] {
			return true
		}
		if path == tree.Root {
			return false
		}
		path = tree.Parent(path)
	}
	return false
}

// apply returns disk without what is hidden, and the positions of the entries of x
// that are to be captured instead.
func (h hiddenPaths) apply(disk []found, x *index) (visible []found, kept []int) {
	if len(h) == 0 {
		return disk, nil
	}
	for i := range disk {
		if !h.covers(disk[i].path) {
			visible = append(visible, disk[i])
		}
	}
	for i, e := range x.tree.Entries() {
		if h.covers(e.Path) {
			kept = append(kept, i)
		}
	}
	return visible, kept
}

// plainDevices are the nodes made in /dev, all of major number 1 but tty.
var plainDevices = []struct {
	name         string
	major, minor uint32
}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}}

// furnish fills the root's directory for a command in Plain mode.
func (s *server) furnish(c *cursor, r *remover, spec *runSpec) error {
	for _, d := range freshDirs {
		s.hidden[d] = true
		c.forget(d)
		fd, err := c.dir(d)
		if err != nil {
			return err
		}
		names, err := readNames(fd)
		if err != nil {
			return pathError("read", d, err)
		}
		for _, name := range names {
			if err := r.remove(fd, name); err != nil {
				return pathError("remove", tree.Join(d, name), err)
			}
		}
		mode := uint32(0o755)
		if d == "tmp" {
			mode = 0o1777
		}
		if err := unix.Fchmod(fd, mode); err != nil {
			return pathError("chmod", d, err)
		}
	}
	dev, err := c.dir("dev")
	if err != nil {
		return err
	}
	for _, d := range plainDevices {
		err := unix.Mknodat(dev, d.name, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor)))
		if err == nil {
			err = unix.Fchmodat(dev, d.name, 0o666, 0)
		}
		if err != nil && !errors.Is(err, unix.EPERM) { // Limits says that it may be missing
			return pathError("mknod", "dev/"+d.name, err)
		}
	}
	for _, l := range devLinks {
		if err := unix.Symlinkat(l.target, dev, l.name); err != nil {
			return pathError("symlink", "dev/"+l.name, err)
		}
	}
	if err := unix.Mkdirat(dev, "shm", 0o777); err != nil {
		return pathError("mkdir", "dev/shm", err)
	}
	if err := unix.Fchmodat(dev, "shm", 0o1777, 0); err != nil {
		return pathError("chmod", "dev/shm", err)
	}
	for _, b := range spec.Binds {
		if b.Writable {
			return &HostError{Problem: fmt.Sprintf("%s cannot be made visible for writing: this container may not mount", b.Source), Remedy: "run the build as an ordinary user, or in a container that may create namespaces"}
		}
		if !b.Fresh {
			s.hidden[b.Target] = true
		}
		if err := copyIn(c, r, b.Source, b.Target); err != nil {
			return fmt.Errorf("copy %s to /%s in the sandbox: %w", b.Source, b.Target, err)
		}
	}
	return nil
}

// copyIn copies a file or directory of the host over path in the root.
func copyIn(c *cursor, r *remover, source, path string) error {
	for i := strings.IndexByte(path, '/'); i >= 0; {
		dir, name, err := c.parent(path[:i])
		if err != nil {
			return err
		}
		if err := unix.Mkdirat(dir, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		next := strings.IndexByte(path[i+1:], '/')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	dir, name, err := c.parent(path)
	if err != nil {
		return err
	}
	c.forget(path)
	source, err = filepath.EvalSymlinks(source)
	if err != nil {
		return err
	}
	return keepMTime(dir, func() error {
		if err := r.remove(dir, name); err != nil {
			return err
		}
		return copyNode(source, dir, name)
	})
}

// copyNode copies source to name in dir: contents and permissions.
func copyNode(source string, dir int, name string) error {
	info, err := os.Lstat(source)
	if err != nil {
		return err
	}
	switch info.Mode().Type() {
	case 0:
		in, err := os.Open(source)
		if err != nil {
			return err
		}
		defer in.Close()
		fd, err := openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)
		if err != nil {
			return err
		}
		out := os.NewFile(uintptr(fd), name)
		defer out.Close()
		if _, err := out.ReadFrom(in); err != nil {
			return err
		}
		return out.Chmod(info.Mode().Perm())
	case os.ModeSymlink:
		target, err := os.Readlink(source)
		if err != nil {
			return err
		}
		return unix.Symlinkat(target, dir, name)
	case os.ModeDir:
		if err := unix.Mkdirat(dir, name, 0o700); err != nil {
			return err
		}
		fd, err := openat(dir, name, unix.O_DIRECTORY|unix.O_RDONLY)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		entries, err := os.ReadDir(source)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := copyNode(filepath.Join(source, e.Name()), fd, e.Name()); err != nil {
				return err
			}
		}
		return unix.Fchmod(fd, uint32(info.Mode().Perm()))
	}
	return fmt.Errorf("%s is neither a file, a directory nor a symbolic link", source)
}

// enterPlain changes the root of init in Plain mode. Init adopts the processes that
// lose their parents, as process 1 of a namespace does.
func enterPlain(spec *runSpec) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopt orphaned processes: %w", err)
	}
	if err := unix.Chroot(spec.Root); err != nil {
		return &HostError{Problem: fmt.Sprintf("chroot %s: %v", spec.Root, err), Remedy: "the container must have the capability SYS_CHROOT"}
	}
	return unix.Chdir("/")
}

// killOrphans kills what a command in Plain mode has left running. The helper is
// the subreaper to which all of it falls when init has ended.
func killOrphans() error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.ECHILD):
			return nil
		case err != nil && !errors.Is(err, syscall.EINTR):
			return err
		case pid > 0:
			continue
		}
		descendants, err := findDescendants(os.Getpid())
		if err != nil {
			return err
		}
		killAll(descendants)
		time.Sleep(time.Millisecond)
	}
}

// killAll kills processes, of which some may have ended by themselves.
func killAll(pids []int) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// findDescendants returns the processes below root, the parents first.
func findDescendants(root int) ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		p, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it has ended
		}
		// "pid (name) state ppid …", and the name may hold anything.
		_, after, _ := strings.Cut(string(p[strings.LastIndexByte(string(p), ')')+1:]), " ")
		fields := strings.Fields(after)
		if len(fields) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	var found []int
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		found = append(found, children[queue[0]]...)
		queue = append(queue, children[queue[0]]...)
	}
	return found, nil
}
