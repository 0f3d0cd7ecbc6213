package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// capture returns the tree that the directory holds now.
func (s *server) capture(ctx context.Context, stats *Stats) (*tree.Tree, error) {
	if s.idx == nil || s.st == nil {
		return nil, errNotCurrent
	}
	c, err := newCursor(s.root)
	if err != nil {
		return nil, err
	}
	defer c.close()
	disk, tooDeep, err := scan(c)
	if err != nil {
		return nil, err
	}
	if tooDeep != "" {
		return nil, fmt.Errorf("directories are nested more than %d deep: /%.200s…", maxDepth, tooDeep)
	}
	batch, err := s.st.NewBatch()
	if err != nil {
		return nil, err
	}
	defer batch.Abort()
	j := &captureJob{c: c, batch: batch, stats: stats, known: map[inode]int{}, before: s.idx, links: map[inode]*linked{}}
	for i := range s.idx.records {
		j.known[s.idx.records[i].inode] = i
	}
	// In order of paths, so that what is hidden comes from the index in its place.
	disk, kept := s.hidden.apply(disk, s.idx)
	entries := make([]tree.Entry, 0, len(disk)+len(kept))
	var records []record
	for i := range disk {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e, r, err := j.entry(&disk[i])
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
		records = append(records, r)
	}
	for _, i := range kept {
		entries = append(entries, s.idx.tree.Entries()[i])
		entries[len(entries)-1].Link = 0
		records = append(records, s.idx.records[i])
	}
	if len(kept) > 0 {
		sortTogether(entries, records)
	}
	if err := batch.Commit(); err != nil {
		return nil, err
	}
	t, err := tree.New(entries)
	if err != nil {
		return nil, err
	}
	stats.Entries = t.Len()
	if err := s.dropIndex(); err != nil {
		return nil, err
	}
	return t, s.saveIndex(&index{tree: t, records: records})
}

// sortTogether sorts entries by path and records with them.
func sortTogether(entries []tree.Entry, records []record) {
	order := make([]int, len(entries))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return tree.Compare(entries[a].Path, entries[b].Path) })
	e, r := slices.Clone(entries), slices.Clone(records)
	for i, n := range order {
		entries[i], records[i] = e[n], r[n]
	}
}

// captureJob is one Capture in progress.
type captureJob struct {
	c      *cursor
	batch  *store.Batch
	stats  *Stats
	before *index
	known  map[inode]int // to positions in before
	links  map[inode]*linked
}

// linked is the entry of a file's first name, for its further ones.
type linked struct {
	entry  tree.Entry
	record record
}

// entry returns the tree's entry for a name on disk.
func (j *captureJob) entry(f *found) (e tree.Entry, r record, err error) {
	multiple := f.links > 1 && f.Mode&unix.S_IFMT != unix.S_IFDIR
	if multiple {
		if first := j.links[f.inode]; first != nil {
			e, r = first.entry, first.record
			e.Path = f.path
			return e, r, nil
		}
	}
	var was *tree.Entry
	var rec *record
	if i, ok := j.known[f.inode]; ok {
		was, rec = &j.before.tree.Entries()[i], &j.before.records[i]
	}
	if rec != nil && rec.stat == f.stat {
		e, r = *was, *rec
	} else if e, r, err = j.read(f, was, rec); err != nil {
		return e, r, pathError("read", f.path, err)
	}
	e.Path, e.Link = f.path, 0
	if multiple {
		e.Link = uint32(len(j.links) + 1)
		j.links[f.inode] = &linked{e, r}
	}
	return e, r, nil
}

// read looks at a file that is new or has changed. When it is the same inode as
// was, what has not changed on disk is as in was: so owners and attributes that
// could not be represented survive.
func (j *captureJob) read(f *found, was *tree.Entry, rec *record) (e tree.Entry, r record, err error) {
	r.stat = f.stat
	e = tree.Entry{Path: f.path, Mode: f.Mode & 0o7777, UID: f.UID, GID: f.GID, MTime: f.MTime}
	if rec != nil && rec.Mode&unix.S_IFMT != f.Mode&unix.S_IFMT {
		was, rec = nil, nil // a file system without birth times reused the number
	}
	if rec != nil {
		if f.UID == rec.UID {
			e.UID = was.UID
		}
		if f.GID == rec.GID {
			e.GID = was.GID
		}
		if f.MTime == rec.MTime {
			e.MTime = was.MTime
		}
		if f.Mode == rec.Mode {
			e.Mode = was.Mode
		}
	}
	dir, name, err := j.c.parent(f.path)
	if err != nil {
		return e, r, err
	}
	fd := -1
	switch f.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Type = tree.Regular
		if fd, err = openat(dir, name, unix.O_RDONLY); err != nil {
			return e, r, err
		}
		defer unix.Close(fd)
		if rec != nil && rec.placeholder(was) {
			e.Type, e.Major, e.Minor = was.Type, was.Major, was.Minor
			break
		}
		if e.Digest, e.Size, err = j.batch.Add(fdReader(fd)); err != nil {
			return e, r, err
		}
		j.stats.Hashed++
		j.stats.Bytes += e.Size
	case unix.S_IFDIR:
		e.Type = tree.Directory
	case unix.S_IFLNK:
		e.Type = tree.Symlink
		if e.Target, err = readlinkat(dir, name); err != nil {
			return e, r, err
		}
	case unix.S_IFCHR:
		e.Type, e.Major, e.Minor = tree.CharDevice, f.major, f.minor
	case unix.S_IFBLK:
		e.Type, e.Major, e.Minor = tree.BlockDevice, f.major, f.minor
	case unix.S_IFIFO:
		e.Type = tree.FIFO
	case unix.S_IFSOCK:
		e.Type = tree.Socket
	default:
		return e, r, fmt.Errorf("unknown file type %#o", f.Mode&unix.S_IFMT)
	}
	if e.Xattrs, err = readXattrs(dir, name, fd); err != nil {
		return e, r, err
	}
	if rec != nil {
		e.Xattrs, r.skipped = mergeSkipped(e.Xattrs, was.Xattrs, rec.skipped)
	}
	return e, r, nil
}

// mergeSkipped adds to the attributes on disk those of the entry that could not be
// put there, and returns their new positions. One that is on disk now was set by a
// command and wins.
func mergeSkipped(disk, entry []tree.Xattr, skipped []uint32) (merged []tree.Xattr, positions []uint32) {
	merged = disk
	added := map[string]bool{}
	for _, i := range skipped {
		x := entry[i]
		if !slices.ContainsFunc(merged, func(y tree.Xattr) bool { return x.Name == y.Name }) {
			merged = append(merged, x)
			added[x.Name] = true
		}
	}
	slices.SortFunc(merged, func(a, b tree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	for i := range merged {
		if added[merged[i].Name] {
			positions = append(positions, uint32(i))
		}
	}
	return merged, positions
}

// fdReader reads a descriptor that somebody else closes.
type fdReader int

func (fd fdReader) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), p)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func readlinkat(dir int, name string) (string, error) {
	p := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, p)
	if err != nil {
		return "", err
	}
	return string(p[:n]), nil
}

// readXattrs returns the extended attributes on disk of name in dir, or of fd if
// that is open, sorted by name. Capabilities come in the form they have in an image
// (version 2, without the id of a user namespace's root): the kernel converts them.
func readXattrs(dir int, name string, fd int) ([]tree.Xattr, error) {
	list := func(p []byte) (int, error) { return unix.Llistxattr(procPath(dir, name), p) }
	get := func(attr string, p []byte) (int, error) { return unix.Lgetxattr(procPath(dir, name), attr, p) }
	if fd >= 0 {
		list = func(p []byte) (int, error) { return unix.Flistxattr(fd, p) }
		get = func(attr string, p []byte) (int, error) { return unix.Fgetxattr(fd, attr, p) }
	}
	names, err := grow(list)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil || len(names) == 0 {
		return nil, err
	}
	var xattrs []tree.Xattr
	for n := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if !onDisk(n) {
			continue
		}
		value, err := grow(func(p []byte) (int, error) { return get(n, p) })
		if errors.Is(err, unix.ENODATA) {
			continue // listed, but not for us
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
		xattrs = append(xattrs, tree.Xattr{Name: n, Value: value})
	}
	slices.SortFunc(xattrs, func(a, b tree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return xattrs, nil
}

// grow calls a system call with larger buffers until the answer fits.
func grow(call func(p []byte) (int, error)) ([]byte, error) {
	for p := make([]byte, 256); ; p = make([]byte, 4*len(p)) {
		n, err := call(p)
		if errors.Is(err, unix.ERANGE) && len(p) < 1<<20 {
			continue
		}
		if err != nil || n == 0 {
			return nil, err
		}
		return p[:n], nil
	}
}
