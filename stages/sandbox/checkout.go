package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// checkoutWorkers write files at the same time. More do not help: creating inodes
// is serial in the kernel's journal.
const checkoutWorkers = 2

// action is what Checkout does about one entry of the wanted tree.
type action uint8

const (
	keep   action = iota // it is there and right
	adjust               // it is there, its attributes may not be right
	reopen               // a directory that was right, before opened for new names
	create               // it is not there (any more)
)

// checkout makes the directory hold want.
func (s *server) checkout(ctx context.Context, want *tree.Tree, stats *Stats) error {
	if s.st == nil {
		return errors.New("the sandbox has no store")
	}
	have, err := s.loadIndex()
	if err != nil {
		return err
	}
	if err := s.dropIndex(); err != nil {
		return err
	}
	s.hidden = hiddenPaths{}
	for _, e := range want.Entries() {
		if strings.Count(e.Path, "/") >= maxDepth {
			return fmt.Errorf("directories are nested more than %d deep: /%.200s…", maxDepth, e.Path)
		}
	}
	c, err := newCursor(s.root)
	if err != nil {
		return err
	}
	defer c.close()
	disk, _, err := scan(c)
	if err != nil {
		return err
	}

	job := &checkout{
		server: s, want: want.Entries(), have: have, disk: disk, stats: stats,
		actions: make([]action, want.Len()), records: make([]record, want.Len()), touched: map[string]bool{},
	}
	stats.Entries = want.Len()
	job.compare()
	if err := job.remove(ctx, c); err != nil {
		return err
	}
	if err := job.openDirectories(c); err != nil {
		return err
	}
	if err := job.createDirectories(ctx, c); err != nil {
		return err
	}
	if err := job.createFiles(ctx); err != nil {
		return err
	}
	if err := job.finish(ctx, c); err != nil {
		return err
	}
	return s.saveIndex(&index{tree: want, records: job.records})
}

// checkout is one Checkout in progress.
type checkout struct {
	*server
	want []tree.Entry
	have *index  // nil when nothing is known
	disk []found // what is there
	// actions and records are parallel to want.
	actions []action
	records []record
	doomed  []string        // paths to remove, none below another
	touched map[string]bool // directories whose mtime the work has changed
	stats   *Stats
}

// known returns the index's entry and record for disk[i] when that has not changed
// since the index was written.
func (j *checkout) known(f *found) (*tree.Entry, *record) {
	if j.have == nil {
		return nil, nil
	}
	entries := j.have.tree.Entries()
	i, ok := slices.BinarySearchFunc(entries, f.path, func(e tree.Entry, path string) int { return tree.Compare(e.Path, path) })
	if !ok || j.have.records[i].stat != f.stat {
		return nil, nil
	}
	return &entries[i], &j.have.records[i]
}

// compare decides what to do about every entry and every name on disk.
func (j *checkout) compare() {
	groups := j.linkGroups()
	n := 0
	doom := func(path string) {
		if len(j.doomed) > 0 && strings.HasPrefix(path, j.doomed[len(j.doomed)-1]+"/") {
			return // goes with its directory
		}
		j.doomed = append(j.doomed, path)
	}
	for i := range j.want {
		e := &j.want[i]
		for n < len(j.disk) && tree.Compare(j.disk[n].path, e.Path) < 0 {
			doom(j.disk[n].path)
			n++
		}
		if n == len(j.disk) || j.disk[n].path != e.Path {
			j.actions[i] = create
			continue
		}
		f := &j.disk[n]
		n++
		isDir := f.Mode&unix.S_IFMT == unix.S_IFDIR
		was, rec := j.known(f)
		switch {
		case isDir && e.Type == tree.Directory:
			j.actions[i] = adjust
			if was != nil && sameAttributes(was, e) {
				j.actions[i], j.records[i] = keep, *rec
			}
		case was == nil || was.Type != e.Type || was.Digest != e.Digest || was.Target != e.Target ||
			was.Major != e.Major || was.Minor != e.Minor || !groups.intact(e, f):
			doom(f.path)
			j.actions[i] = create
		default:
			j.actions[i] = adjust
			if sameAttributes(was, e) {
				j.actions[i], j.records[i] = keep, *rec
			}
		}
	}
	for ; n < len(j.disk); n++ {
		doom(j.disk[n].path)
	}
}

// sameAttributes compares what Checkout can change without making a file anew.
func sameAttributes(a, b *tree.Entry) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.MTime == b.MTime &&
		slices.EqualFunc(a.Xattrs, b.Xattrs, func(x, y tree.Xattr) bool { return x.Name == y.Name && bytes.Equal(x.Value, y.Value) })
}

// linkGroups says for each hard link group of the wanted tree whether the disk has
// exactly that group.
type linkGroups map[uint32]bool

// intact reports whether f can stay as e as far as hard links go.
func (g linkGroups) intact(e *tree.Entry, f *found) bool {
	if e.Link == 0 {
		return f.links == 1
	}
	return g[e.Link]
}

func (j *checkout) linkGroups() linkGroups {
	type group struct {
		ino   inode
		links uint32
		size  uint32
		bad   bool
	}
	groups := map[uint32]*group{}
	onDisk := map[string]*found{}
	for i := range j.disk {
		if f := &j.disk[i]; f.links > 1 && f.Mode&unix.S_IFMT != unix.S_IFDIR {
			onDisk[f.path] = f
		}
	}
	for i := range j.want {
		e := &j.want[i]
		if e.Link == 0 {
			continue
		}
		g := groups[e.Link]
		f := onDisk[e.Path]
		if g == nil {
			g = &group{}
			groups[e.Link] = g
			if f != nil {
				g.ino, g.links = f.inode, f.links
			}
		}
		g.size++
		if f == nil || f.inode != g.ino {
			g.bad = true
		} else if was, _ := j.known(f); was == nil || was.Digest != e.Digest || was.Type != e.Type {
			g.bad = true // a member that is made anew leaves the others' group
		}
	}
	intact := linkGroups{}
	for n, g := range groups {
		intact[n] = !g.bad && g.links == g.size
	}
	return intact
}

// touch notes that a name was made or removed in path's directory.
func (j *checkout) touch(path string) { j.touched[tree.Parent(path)] = true }

// remove removes what is doomed.
func (j *checkout) remove(ctx context.Context, c *cursor) error {
	if len(j.doomed) == 0 {
		return nil
	}
	r, err := newRemover(j.Dir)
	if err != nil {
		return err
	}
	defer r.close()
	for _, path := range j.doomed {
		if err := ctx.Err(); err != nil {
			return err
		}
		dir, name, err := c.parent(path)
		if err != nil {
			return err
		}
		if err := r.remove(dir, name); err != nil {
			return pathError("remove", path, err)
		}
		j.touch(path)
		j.stats.Removed++
	}
	return nil
}

// openDirectories takes set-group-id bits and default ACLs from the directories that
// get new names: what is made there would inherit them. finish puts them back.
func (j *checkout) openDirectories(c *cursor) error {
	opened := map[string]bool{}
	for i := range j.want {
		if j.actions[i] == create {
			opened[tree.Parent(j.want[i].Path)] = true
		}
	}
	for i := range j.want {
		e := &j.want[i]
		if j.actions[i] == create || !opened[e.Path] {
			continue
		}
		if j.actions[i] == keep {
			j.actions[i] = reopen
		}
		fd, err := c.dir(e.Path)
		if err != nil {
			return err
		}
		if err := unix.Fchmod(fd, 0o700); err != nil {
			return pathError("chmod", e.Path, err)
		}
		err = unix.Fremovexattr(fd, defaultACL)
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) {
			return pathError("remove the default ACL of", e.Path, err)
		}
	}
	return nil
}

// createDirectories makes the missing directories, closed to everybody until
// finish gives them their attributes.
func (j *checkout) createDirectories(ctx context.Context, c *cursor) error {
	for i := range j.want {
		e := &j.want[i]
		if j.actions[i] != create || e.Type != tree.Directory {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		dir, name, err := c.parent(e.Path)
		if err != nil {
			return err
		}
		if err := unix.Mkdirat(dir, name, 0o700); err != nil {
			return pathError("mkdir", e.Path, err)
		}
		j.touch(e.Path)
		j.touched[e.Path] = true
	}
	return nil
}

// createFiles makes what is missing and no directory, then the further names of
// hard linked files.
func (j *checkout) createFiles(ctx context.Context) error {
	var missing, links []int
	first := map[uint32]int{} // hard link group to its first entry
	for i := range j.want {
		e := &j.want[i]
		if e.Type == tree.Directory {
			continue
		}
		if e.Link != 0 {
			if _, ok := first[e.Link]; ok {
				links = append(links, i)
				continue
			}
			first[e.Link] = i
		}
		if j.actions[i] != keep {
			missing = append(missing, i)
		}
		if j.actions[i] == create {
			j.touch(e.Path)
		}
	}

	const chunk = 32 // neighbours share a directory
	var next atomic.Int64
	var stats [checkoutWorkers]Stats
	errs := make([]error, checkoutWorkers)
	var workers sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for n := range checkoutWorkers {
		workers.Go(func() {
			w, err := newWriter(j.server, &stats[n])
			if err != nil {
				errs[n] = err
				cancel()
				return
			}
			defer w.close()
			for {
				start := int(next.Add(chunk)) - chunk
				if start >= len(missing) {
					return
				}
				for _, i := range missing[start:min(start+chunk, len(missing))] {
					err := ctx.Err()
					if err == nil {
						err = w.write(&j.want[i], j.actions[i], &j.records[i])
					}
					if err != nil {
						errs[n] = err
						cancel()
						return
					}
				}
			}
		})
	}
	workers.Wait()
	for n := range checkoutWorkers {
		j.stats.Written += stats[n].Written
		j.stats.Bytes += stats[n].Bytes
	}
	// The first error that is not the cancellation it caused.
	slices.SortStableFunc(errs, func(a, b error) int {
		return boolCompare(errors.Is(a, context.Canceled), errors.Is(b, context.Canceled))
	})
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return j.createLinks(links, first)
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// createLinks makes the second and further names of hard linked files and takes
// their records, after all names exist: each changes the ctime.
func (j *checkout) createLinks(links []int, first map[uint32]int) error {
	if len(links) == 0 {
		return nil
	}
	from, err := newCursor(j.root)
	if err != nil {
		return err
	}
	defer from.close()
	to, err := newCursor(j.root)
	if err != nil {
		return err
	}
	defer to.close()
	for _, i := range links {
		if j.actions[i] != create {
			continue
		}
		e, target := &j.want[i], &j.want[first[j.want[i].Link]]
		fromDir, fromName, err := from.parent(target.Path)
		if err != nil {
			return err
		}
		toDir, toName, err := to.parent(e.Path)
		if err != nil {
			return err
		}
		if err := unix.Linkat(fromDir, fromName, toDir, toName, 0); err != nil {
			return pathError("link", e.Path, err)
		}
		j.touch(e.Path)
		j.stats.Written++
	}
	changed := map[uint32]bool{}
	for _, i := range links {
		changed[j.want[i].Link] = changed[j.want[i].Link] || j.actions[i] != keep
	}
	for group, i := range first {
		if changed[group] {
			dir, name, err := from.parent(j.want[i].Path)
			if err != nil {
				return err
			}
			if j.records[i].stat, _, _, _, err = statAt(dir, name); err != nil {
				return pathError("stat", j.want[i].Path, err)
			}
		}
	}
	for _, i := range links {
		if changed[j.want[i].Link] {
			j.records[i] = j.records[first[j.want[i].Link]]
		}
	}
	return nil
}

// finish gives directories their attributes, the deepest first: what happens in a
// directory changes its times.
func (j *checkout) finish(ctx context.Context, c *cursor) error {
	w, err := newWriter(j.server, j.stats)
	if err != nil {
		return err
	}
	defer w.close()
	for i := len(j.want) - 1; i >= 0; i-- {
		e := &j.want[i]
		if e.Type != tree.Directory || j.actions[i] == keep && !j.touched[e.Path] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.directory(e, j.actions[i], &j.records[i]); err != nil {
			return err
		}
	}
	return nil
}

// writer makes entries on disk. Each goroutine has its own.
type writer struct {
	*server
	c     *cursor
	buf   []byte
	stats *Stats
}

// copyBytes is the size of a writer's buffer. Nearly all files are smaller and take
// one read and one write.
const copyBytes = 1 << 20

func newWriter(s *server, stats *Stats) (*writer, error) {
	c, err := newCursor(s.root)
	if err != nil {
		return nil, err
	}
	return &writer{server: s, c: c, buf: make([]byte, copyBytes), stats: stats}, nil
}

func (w *writer) close() { w.c.close() }

// write makes e, which is no directory, or gives it its attributes.
func (w *writer) write(e *tree.Entry, a action, r *record) error {
	dir, name, err := w.c.parent(e.Path)
	if err != nil {
		return err
	}
	fd := -1
	if a == create {
		if fd, err = w.create(dir, name, e); err != nil {
			return pathError("create", e.Path, err)
		}
	} else if e.Type == tree.Regular {
		if fd, err = openat(dir, name, unix.O_RDONLY); err != nil {
			return pathError("open", e.Path, err)
		}
	}
	err = w.attributes(dir, name, fd, e, a == create, r)
	if fd >= 0 {
		if closeErr := unix.Close(fd); err == nil && closeErr != nil {
			err = pathError("close", e.Path, closeErr)
		}
	}
	if err != nil {
		return err
	}
	w.stats.Written++
	return w.stat(dir, name, e, r)
}

// directory gives the directory e its attributes.
func (w *writer) directory(e *tree.Entry, a action, r *record) error {
	fd, err := w.c.dir(e.Path)
	if err != nil {
		return err
	}
	if a == keep {
		// Only the time was disturbed, by what was made or removed in it.
		if err := setMTime(fd, ".", e.MTime); err != nil {
			return pathError("set the time of", e.Path, err)
		}
		return w.stat(fd, ".", e, r)
	}
	if err := w.attributes(fd, ".", fd, e, a == create, r); err != nil {
		return err
	}
	if a != reopen {
		w.stats.Written++
	}
	return w.stat(fd, ".", e, r)
}

func (w *writer) stat(dir int, name string, e *tree.Entry, r *record) error {
	var err error
	if r.stat, _, _, _, err = statAt(dir, name); err != nil {
		return pathError("stat", e.Path, err)
	}
	return nil
}

// create makes e without attributes. A regular file (or what stands for a device)
// is returned open.
func (w *writer) create(dir int, name string, e *tree.Entry) (fd int, err error) {
	switch e.Type {
	case tree.Regular:
		fd, err := openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)
		if err != nil {
			return -1, err
		}
		if err := w.fill(fd, e); err != nil {
			unix.Close(fd)
			return -1, err
		}
		return fd, nil
	case tree.Symlink:
		return -1, unix.Symlinkat(e.Target, dir, name)
	}
	kind := map[tree.Type]uint32{tree.CharDevice: unix.S_IFCHR, tree.BlockDevice: unix.S_IFBLK, tree.FIFO: unix.S_IFIFO, tree.Socket: unix.S_IFSOCK}[e.Type]
	err = unix.Mknodat(dir, name, kind|0o600, int(unix.Mkdev(e.Major, e.Minor)))
	if errors.Is(err, unix.EPERM) {
		return openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)
	}
	return -1, err
}

// fill writes the contents of e to the new file fd.
func (w *writer) fill(fd int, e *tree.Entry) error {
	if e.Size == 0 {
		return nil
	}
	o, err := w.st.Object(e.Digest)
	if err != nil {
		return err
	}
	if o.Size() != e.Size {
		return fmt.Errorf("the tree says that it has %d bytes, object %s has %d", e.Size, e.Digest, o.Size())
	}
	for off := int64(0); off < e.Size; {
		p := w.buf[:min(int64(len(w.buf)), e.Size-off)]
		n, err := o.ReadAt(p, off)
		if n < len(p) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if err := writeData(fd, p, off); err != nil {
			return err
		}
		off += int64(len(p))
	}
	w.stats.Bytes += e.Size
	// The last block may have been a hole.
	if e.Size >= holeBytes {
		return unix.Ftruncate(fd, e.Size)
	}
	return nil
}

// holeBytes is the least run of zeros, aligned to itself, that becomes a hole.
const holeBytes = 64 << 10

var zeros [holeBytes]byte

// writeData writes p at off, leaving out blocks of zeros.
func writeData(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		hole := len(p) >= holeBytes && bytes.Equal(p[:holeBytes], zeros[:])
		n := min(holeBytes, len(p))
		for n < len(p) && hole == (len(p)-n >= holeBytes && bytes.Equal(p[n:n+holeBytes], zeros[:])) {
			n = min(n+holeBytes, len(p))
		}
		for done := 0; !hole && done < n; {
			m, err := unix.Pwrite(fd, p[done:n], off+int64(done))
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return err
			}
			done += m
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// attributes gives e's file on disk e's owner, mode, extended attributes and time,
// as far as that can be done here. The order matters: chown clears set-user-id bits
// and capabilities.
func (w *writer) attributes(dir int, name string, fd int, e *tree.Entry, fresh bool, r *record) error {
	uid, gid := w.owner(e)
	if !fresh || uid != 0 || gid != 0 {
		if err := unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return pathError("chown", e.Path, err)
		}
	}
	if e.Type != tree.Symlink {
		if err := chmod(dir, name, fd, e.Mode); err != nil {
			return pathError("chmod", e.Path, err)
		}
	}
	r.skipped = nil
	if len(e.Xattrs) > 0 || !fresh {
		var err error
		if r.skipped, err = setXattrs(dir, name, fd, e.Xattrs, fresh); err != nil {
			return pathError("set the attributes of", e.Path, err)
		}
	}
	if err := setMTime(dir, name, e.MTime); err != nil {
		return pathError("set the time of", e.Path, err)
	}
	return nil
}

// nobody stands for owners that the sandbox cannot represent.
const nobody = 65534

// owner returns the ids that e gets on disk.
func (w *writer) owner(e *tree.Entry) (uid, gid int) {
	disk := func(id uint32) int {
		switch {
		case w.Mode == Single:
			return 0
		case w.Mode == Range && id > rangeIDs, id == math.MaxUint32: // chown's "leave it"
			return nobody
		}
		return int(id)
	}
	return disk(e.UID), disk(e.GID)
}

// chmod works on anything but symbolic links, without opening devices or FIFOs.
func chmod(dir int, name string, fd int, mode uint32) error {
	if fd >= 0 {
		return unix.Fchmod(fd, mode)
	}
	// fchmodat(2) follows links, but name is a node that was just made and nothing
	// else runs here.
	return unix.Fchmodat(dir, name, mode, 0)
}

// setMTime sets name's modification time and leaves its access time.
func setMTime(dir int, name string, t tree.Time) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: t.Sec, Nsec: int64(t.Nsec)}}
	return unix.UtimesNanoAt(dir, name, times, unix.AT_SYMLINK_NOFOLLOW)
}

// procPath is a path of name in dir for system calls that know no *at form. The
// last element is not followed by those used here.
func procPath(dir int, name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", dir, name) }

// defaultACL is the attribute that new names in a directory inherit from.
const defaultACL = "system.posix_acl_default"

// onDisk reports whether the extended attribute name is kept on disk. The others
// are virtual: security modules and file systems of the host put attributes of
// their own there, which are not the target's, and without privilege most cannot be
// set anyway.
func onDisk(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", defaultACL:
		return true
	}
	return strings.HasPrefix(name, "user.")
}

// setXattrs gives a file exactly the extended attributes want and returns the
// positions of those that are not on disk: the virtual ones, and those that this
// mode or file system does not let us set.
func setXattrs(dir int, name string, fd int, want []tree.Xattr, fresh bool) (skipped []uint32, err error) {
	set := func(x *tree.Xattr) error { return unix.Lsetxattr(procPath(dir, name), x.Name, x.Value, 0) }
	if fd >= 0 {
		set = func(x *tree.Xattr) error { return unix.Fsetxattr(fd, x.Name, x.Value, 0) }
	}
	if !fresh {
		have, err := readXattrs(dir, name, fd)
		if err != nil {
			return nil, err
		}
		for _, x := range have {
			if !slices.ContainsFunc(want, func(y tree.Xattr) bool { return x.Name == y.Name }) {
				if err := unix.Lremovexattr(procPath(dir, name), x.Name); err != nil {
					return nil, fmt.Errorf("%s: %w", x.Name, err)
				}
			}
		}
	}
	for i := range want {
		if onDisk(want[i].Name) {
			err := set(&want[i])
			if err == nil {
				continue
			}
			if !unsupported(err) {
				return nil, fmt.Errorf("%s: %w", want[i].Name, err)
			}
		}
		skipped = append(skipped, uint32(i))
	}
	return skipped, nil
}

// unsupported reports whether err says that an extended attribute cannot be on this
// file: the namespace may not set it, the file system has no such thing, or its
// value names ids that do not exist here or is too long. The tree keeps it.
func unsupported(err error) bool {
	for _, e := range []unix.Errno{unix.EPERM, unix.EACCES, unix.EOPNOTSUPP, unix.EINVAL, unix.E2BIG, unix.ERANGE, unix.ENOSPC} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
