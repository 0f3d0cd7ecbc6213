package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// cursor opens the directories of a root, never following a symbolic link. It keeps
// those above the last one open, so that going through a tree in order costs about
// one openat per directory.
type cursor struct {
	stack []openDir
}

type openDir struct {
	path string
	fd   int
}

// newCursor begins at the directory named root, which may be any path.
func newCursor(root string) (*cursor, error) {
	fd, err := openat(unix.AT_FDCWD, root, unix.O_DIRECTORY|unix.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", root, err)
	}
	return &cursor{stack: []openDir{{tree.Root, fd}}}, nil
}

func (c *cursor) close() {
	for _, d := range c.stack {
		unix.Close(d.fd)
	}
	c.stack = nil
}

// forget closes path and what is below it: it was removed or mounted over.
func (c *cursor) forget(path string) {
	for i, d := range c.stack {
		if i > 0 && (d.path == path || strings.HasPrefix(d.path, path+"/")) {
			for _, d := range c.stack[i:] {
				unix.Close(d.fd)
			}
			c.stack = c.stack[:i]
			return
		}
	}
}

// dir returns a descriptor of the directory at path, good until the next call.
func (c *cursor) dir(path string) (int, error) {
	for {
		top := c.stack[len(c.stack)-1]
		if top.path == path {
			return top.fd, nil
		}
		if top.path != tree.Root && !strings.HasPrefix(path, top.path+"/") {
			unix.Close(top.fd)
			c.stack = c.stack[:len(c.stack)-1]
			continue
		}
		rest := path
		if top.path != tree.Root {
			rest = path[len(top.path)+1:]
		}
		name, _, _ := strings.Cut(rest, "/")
		fd, err := openat(top.fd, name, unix.O_DIRECTORY|unix.O_RDONLY)
		next := tree.Join(top.path, name)
		if err != nil {
			return -1, pathError("open", next, err)
		}
		c.stack = append(c.stack, openDir{next, fd})
	}
}

// parent returns a descriptor of the directory that holds path, and path's name in
// it. The root is "." in itself.
func (c *cursor) parent(path string) (fd int, name string, err error) {
	fd, err = c.dir(tree.Parent(path))
	return fd, path[strings.LastIndexByte(path, '/')+1:], err
}

// pathError is an error about a path of the root, which names of commands and
// packages show with a leading slash.
func pathError(op, path string, err error) error {
	return &os.PathError{Op: op, Path: "/" + strings.TrimPrefix(path, "."), Err: err}
}

// openat opens without following a symbolic link in name's last element.
func openat(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// statAt returns the stat data of name in dir, and its number of links and device
// numbers.
func statAt(dir int, name string) (s stat, links, major, minor uint32, err error) {
	var x unix.Statx_t
	err = unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &x)
	if err != nil {
		return s, 0, 0, 0, err
	}
	s = stat{
		inode: inode{Ino: x.Ino},
		Mode:  uint32(x.Mode), UID: x.Uid, GID: x.Gid, Size: x.Size,
		MTime: tree.Time{Sec: x.Mtime.Sec, Nsec: x.Mtime.Nsec},
		CTime: tree.Time{Sec: x.Ctime.Sec, Nsec: x.Ctime.Nsec},
	}
	if x.Mask&unix.STATX_BTIME != 0 {
		s.Birth = tree.Time{Sec: x.Btime.Sec, Nsec: x.Btime.Nsec}
	}
	return s, x.Nlink, x.Rdev_major, x.Rdev_minor, nil
}

// found is one name on disk.
type found struct {
	path         string
	links        uint32
	major, minor uint32
	stat
}

// maxDepth is how deep directories may be nested. Commands can make deeper ones,
// but no path of that length can be used; and every level costs descriptors, of
// which some hosts give a process no more than 4096.
const maxDepth = 1000

// scan lists a root's directory in the order of trees. It does not look into
// directories that are nested too deeply, and returns the first of them.
func scan(c *cursor) (all []found, tooDeep string, err error) {
	add := func(dir int, name, path string) error {
		f := found{path: path}
		var err error
		if f.stat, f.links, f.major, f.minor, err = statAt(dir, name); err != nil {
			return pathError("stat", path, err)
		}
		all = append(all, f)
		return nil
	}
	root, err := c.dir(tree.Root)
	if err != nil {
		return nil, "", err
	}
	if err := add(root, ".", tree.Root); err != nil {
		return nil, "", err
	}
	var walk func(dir string, depth int) error
	walk = func(dir string, depth int) error {
		if depth > maxDepth {
			if tooDeep == "" {
				tooDeep = dir
			}
			return nil
		}
		fd, err := c.dir(dir)
		if err != nil {
			return err
		}
		names, err := readNames(fd)
		if err != nil {
			return pathError("read", dir, err)
		}
		for _, name := range names {
			if fd, err = c.dir(dir); err != nil {
				return err
			}
			path := tree.Join(dir, name)
			if err := add(fd, name, path); err != nil {
				return err
			}
			if all[len(all)-1].Mode&unix.S_IFMT == unix.S_IFDIR {
				if err := walk(path, depth+1); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return all, tooDeep, walk(tree.Root, 0)
}

// readNames returns the sorted names in the directory fd, which it leaves open.
func readNames(fd int) ([]string, error) {
	// A descriptor of its own: reading moves the offset.
	own, err := openat(fd, ".", unix.O_DIRECTORY|unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(own), "directory")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// remover removes trees of any depth. What is deeper than it can hold open goes to
// a directory of its own first, and is removed from there.
type remover struct {
	trash int // descriptor of that directory
	moved int // number of trees that were put there
}

// trashName is the name of that directory beside the root.
const trashName = "trash"

// newRemover makes the trash directory in dir.
func newRemover(dir string) (*remover, error) {
	path := filepath.Join(dir, trashName)
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("the scratch directory cannot be written: %w", err)
	}
	fd, err := openat(unix.AT_FDCWD, path, unix.O_DIRECTORY|unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	r := &remover{trash: fd}
	if err := r.empty(); err != nil { // of one that was killed
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *remover) close() { unix.Close(r.trash) }

// remove removes name in dir and all below it.
func (r *remover) remove(dir int, name string) error {
	before := r.moved
	err := r.tree(dir, name, 0)
	if err == nil && r.moved > before {
		err = r.empty()
	}
	return err
}

// empty removes what is in the trash directory. Doing so may put more there.
func (r *remover) empty() error {
	for {
		names, err := readNames(r.trash)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, name := range names {
			if err := r.tree(r.trash, name, 0); err != nil {
				return err
			}
		}
	}
}

// tree removes name in dir, moving aside what lies deeper than maxDepth.
func (r *remover) tree(dir int, name string, depth int) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	fd, openErr := openat(dir, name, unix.O_DIRECTORY|unix.O_RDONLY)
	if openErr != nil {
		return err
	}
	defer unix.Close(fd)
	if depth == maxDepth {
		r.moved++
		return unix.Renameat(dir, name, r.trash, strconv.Itoa(r.moved))
	}
	names, err := readNames(fd)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := r.tree(fd, n, depth+1); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
}

// removeRoot removes the directory that holds the tree.
func (s *server) removeRoot() error {
	if err := s.dropIndex(); err != nil {
		return err
	}
	r, err := newRemover(s.Dir)
	if err != nil {
		return err
	}
	defer r.close()
	return r.remove(unix.AT_FDCWD, s.root)
}
