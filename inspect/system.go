package inspect

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// System is the operating system in an image.
type System struct {
	// Tree is what its processes would see: the root file system with the others mounted in it.
	Tree *tree.Tree
	// Mounts are the file systems that Tree is made of, the root first, then by path.
	Mounts []Mount
	// Missing says which file systems of the image's /etc/fstab are not part of Tree, one sentence each. File systems
	// that are not on this disk are not mentioned.
	Missing []string
}

// Mount is a file system of an image and where it is mounted.
type Mount struct {
	Path      string `json:"path"` // absolute
	Partition int    `json:"partition"`
	Label     string `json:"label"` // of the partition
	Type      string `json:"type"`  // of the file system, as in FileSystem
}

// SystemOptions says how to read a system.
type SystemOptions struct {
	// Store takes the contents of files. Needed only with Contents.
	Store *store.Store
	// Contents says of which regular files the contents are wanted in Store; nil: of none. Everything about the others is
	// in the tree, their digests too.
	Contents func(tree.Entry) bool
	// MaxBytes bounds the bytes of all files, as their sizes say; 0 for 256 GiB. A sparse file can claim any size, and
	// its digest takes reading all of its zeros.
	MaxBytes int64
}

const (
	defaultMaxBytes = 256 << 30
	// maxTreeMemory bounds what a tree is read into: 3,000 times what that of a usual system takes.
	maxTreeMemory = 1 << 30
	entryMemory   = 256 // of an entry without its strings, about
	maxFstab      = 1 << 20
)

// System reads the system in the image: the root file system (that of the first slot where there are two), with the file
// systems of this disk that its /etc/fstab names mounted where it says. On an installation medium of imagefactory's it is
// the system that is installed, or in live mode the one that runs.
//
// FAT has neither owners nor modes: its files are root's, 0644, its directories 0755, whatever the options in fstab say. An
// empty lost+found in the top directory of an ext4 file system belongs to the file system, and is left out. What lies
// below a mount point in the file system above it, where no process can see it, is left out too.
func (im *Image) System(ctx context.Context, o SystemOptions) (*System, error) {
	part, err := im.root()
	if errors.Is(err, errNoRoot) {
		inner, err := im.medium()
		if err != nil {
			return nil, err
		}
		if inner == nil {
			return nil, errNoSystem
		}
		return inner.System(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	r := systemReader{o: o}
	r.left = r.limit()
	v := im.volumes[part.Number]
	if v == nil {
		return nil, fmt.Errorf("the root file system, partition %d, is of no kind that can be read (ext4, FAT)", part.Number)
	}
	entries, err := r.list(ctx, v)
	if err != nil {
		return nil, err
	}
	t, err := tree.New(entries)
	if err != nil {
		return nil, fmt.Errorf("partition %d: %w", part.Number, err)
	}
	s := &System{Tree: t, Mounts: []Mount{{Path: "/", Partition: part.Number, Label: part.Label, Type: v.describe().Type}}}
	fstab, err := readFstab(v, t)
	if err != nil {
		return nil, err
	}
	for _, line := range fstab {
		if err := im.mount(ctx, &r, s, part.Number, line); err != nil {
			return nil, err
		}
	}
	if s.Tree, err = r.contents(ctx, s.Tree); err != nil {
		return nil, err
	}
	return s, nil
}

// errNoSystem says that an image holds no system at all.
var errNoSystem = errors.New("it holds no root file system that can be read (ext4), and is no installation medium of imagefactory's")

// fstabLine is a file system that /etc/fstab mounts.
type fstabLine struct {
	spec string // what is mounted
	path string // where: absolute and clean
}

// readFstab returns what the /etc/fstab of the root file system v, whose entries are t, mounts elsewhere than at /, in the
// order of the paths, which is that of mounting.
func readFstab(v volume, t *tree.Tree) ([]fstabLine, error) {
	where, err := t.Resolve("/etc/fstab")
	if err != nil {
		return nil, nil // no fstab, nothing to mount
	}
	e, ok := t.Lookup(where)
	if !ok || e.Type != tree.Regular {
		return nil, nil
	}
	if e.Size > maxFstab {
		return nil, fmt.Errorf("/etc/fstab has %d bytes, %d is the most that is read", e.Size, maxFstab)
	}
	r, err := v.open(e.Path)
	if err != nil {
		return nil, fmt.Errorf("/etc/fstab: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxFstab))
	if err != nil {
		return nil, fmt.Errorf("/etc/fstab: %w", err)
	}
	return parseFstab(string(text)), nil
}

// parseFstab reads the lines of a file as fstab(5) describes it. The last line for a path counts, as that mount hides the
// others.
func parseFstab(text string) []fstabLine {
	at := map[string]fstabLine{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		path := cleanPath(unescape(fields[1]))
		if !strings.HasPrefix(fields[1], "/") || path == "/" { // "none" of swap
			continue
		}
		at[path] = fstabLine{spec: unescape(fields[0]), path: path}
	}
	lines := make([]fstabLine, 0, len(at))
	for _, line := range at {
		lines = append(lines, line)
	}
	slices.SortFunc(lines, func(a, b fstabLine) int { return tree.Compare(a.path, b.path) })
	return lines
}

// cleanPath removes what is superfluous in an absolute path, and keeps "..", which symlinks give a meaning.
func cleanPath(p string) string {
	elements := slices.DeleteFunc(strings.Split(p, "/"), func(e string) bool { return e == "" || e == "." })
	return "/" + strings.Join(elements, "/")
}

// unescape replaces \040 and the like, by which fstab writes white space.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// find returns the partition that a spec of fstab means, by whatever name but that of a device, which an image does not
// know.
func (im *Image) find(spec string) (Partition, bool) {
	spec = strings.ReplaceAll(spec, `"`, "")
	kind, value, ok := strings.Cut(spec, "=")
	if rest, found := strings.CutPrefix(spec, "/dev/disk/by-"); found {
		kind, value, ok = strings.Cut(rest, "/")
	}
	if !ok || value == "" {
		return Partition{}, false
	}
	for _, p := range im.summary.Partitions {
		fs := FileSystem{}
		if p.FileSystem != nil {
			fs = *p.FileSystem
		}
		var name string
		switch strings.ToUpper(kind) {
		case "UUID":
			name = fs.UUID
		case "LABEL":
			name = fs.Label
		case "PARTUUID":
			if !p.GUID.IsZero() {
				name = p.GUID.String()
			}
		case "PARTLABEL":
			name = p.Label
		}
		if name != "" && (name == value || strings.HasSuffix(strings.ToUpper(kind), "UUID") && strings.EqualFold(name, value)) {
			return p, true
		}
	}
	return Partition{}, false
}

// mount adds the file system that a line of fstab names to s, if it is on this disk.
func (im *Image) mount(ctx context.Context, r *systemReader, s *System, root int, line fstabLine) error {
	p, ok := im.find(line.spec)
	if !ok || p.Number == root {
		return nil
	}
	missing := func(format string, args ...any) {
		s.Missing = append(s.Missing, fmt.Sprintf("%s (partition %d) is left out: ", line.path, p.Number)+fmt.Sprintf(format, args...))
	}
	v := im.volumes[p.Number]
	if v == nil {
		missing("its file system is of no kind that can be read (ext4, FAT)")
		return nil
	}
	at, err := s.Tree.Resolve(line.path)
	if err != nil {
		missing("%v", err)
		return nil
	}
	point, ok := s.Tree.Lookup(at)
	if !ok || point.Type != tree.Directory {
		missing("there is no such directory to mount it on")
		return nil
	}
	entries, err := r.list(ctx, v)
	if err != nil {
		return fmt.Errorf("partition %d: %w", p.Number, err)
	}
	// An invariant broken inside the partition is to be told by its own paths.
	below, err := tree.New(entries)
	if err != nil {
		return fmt.Errorf("partition %d: %w", p.Number, err)
	}
	edit := s.Tree.Edit()
	for _, e := range s.Tree.Children(at) {
		edit.Remove(e.Path)
	}
	kind := v.describe().Type
	links := map[uint32]uint32{}
	for _, e := range below.Entries() {
		if e.Link != 0 {
			if links[e.Link] == 0 {
				links[e.Link] = edit.NewLink()
			}
			e.Link = links[e.Link]
		}
		path := at
		if e.Path != tree.Root {
			path = tree.Join(at, e.Path)
		} else if strings.HasPrefix(kind, "fat") {
			continue // it has no attributes of its own
		}
		e.Path = path
		edit.Put(e)
	}
	if s.Tree, err = edit.Tree(); err != nil {
		return fmt.Errorf("partition %d, mounted on %s: %w", p.Number, line.path, err)
	}
	s.Mounts = append(s.Mounts, Mount{Path: "/" + at, Partition: p.Number, Label: p.Label, Type: kind})
	return nil
}

// systemReader reads file systems.
type systemReader struct {
	o      SystemOptions
	left   int64 // bytes of files that may still be read
	memory int64 // that entries take
	files  []systemFile
}

// systemFile is a regular file: one inode, whatever its names.
type systemFile struct {
	path   string // of its first name, in the file system it lies in
	size   int64
	open   func() (*io.SectionReader, error)
	wanted bool // in the store
	needed bool // in the tree
	digest store.Digest
}

// placeholder stands for the digest of file i in entries until the tree is whole: contents are read last, so that those
// that a mount hides are not read.
func placeholder(i int) store.Digest {
	var d store.Digest
	binary.BigEndian.PutUint64(d[:], uint64(i)+1)
	return d
}

// file returns the file for which the digest of an entry stands.
func (r *systemReader) file(d store.Digest) *systemFile {
	return &r.files[binary.BigEndian.Uint64(d[:])-1]
}

// list returns the entries of a file system, with placeholders for digests.
func (r *systemReader) list(ctx context.Context, v volume) ([]tree.Entry, error) {
	var entries []tree.Entry
	digests := map[uint32]store.Digest{} // of the files with several names, by their number
	err := v.walk(func(e tree.Entry, open func() (*io.SectionReader, error)) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		r.memory += entryMemory + int64(len(e.Path)+len(e.Target))
		for _, x := range e.Xattrs {
			r.memory += int64(len(x.Name) + len(x.Value))
		}
		if r.memory > maxTreeMemory {
			return fmt.Errorf("at /%s: the names and attributes of the files take more than %d MiB of memory", e.Path, maxTreeMemory>>20)
		}
		if e.Type == tree.Regular {
			d, known := digests[e.Link]
			if e.Link == 0 || !known {
				d = placeholder(len(r.files))
				r.files = append(r.files, systemFile{path: e.Path, size: e.Size, open: open})
			}
			if e.Link != 0 {
				digests[e.Link] = d
			}
			e.Digest = d
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if _, ok := v.(ext4Volume); ok {
		entries = withoutLostFound(entries)
	}
	return entries, nil
}

// withoutLostFound removes the directory in which e2fsck collects files that lost their names, if there are none.
func withoutLostFound(entries []tree.Entry) []tree.Entry {
	const name = "lost+found"
	i := slices.IndexFunc(entries, func(e tree.Entry) bool { return e.Path == name })
	if i < 0 || entries[i].Type != tree.Directory || i+1 < len(entries) && strings.HasPrefix(entries[i+1].Path, name+"/") {
		return entries
	}
	return slices.Delete(entries, i, i+1)
}

// contents reads the files of t and returns it with their digests.
func (r *systemReader) contents(ctx context.Context, t *tree.Tree) (*tree.Tree, error) {
	entries := slices.Clone(t.Entries())
	var store, hash []*systemFile
	for _, e := range entries {
		if e.Type != tree.Regular {
			continue
		}
		f := r.file(e.Digest)
		wanted := r.o.Contents != nil && r.o.Contents(e)
		switch {
		case !f.needed:
			if r.left -= f.size; r.left < 0 {
				return nil, fmt.Errorf("/%s has %d bytes, and with it the files have more than the %d that are read at most", e.Path, f.size, r.limit())
			}
			f.needed, f.wanted = true, wanted
		case wanted:
			f.wanted = true // by another of its names
		}
	}
	for i := range r.files {
		switch f := &r.files[i]; {
		case f.wanted:
			store = append(store, f)
		case f.needed:
			hash = append(hash, f)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.store(ctx, store) })
	// Two share an image without getting into each other's way, and what a hash can do is the bound.
	next := atomic.Int64{}
	for range min(4, runtime.GOMAXPROCS(0)) {
		group.Go(func() error {
			buffer := make([]byte, 256<<10)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(hash) {
					return nil
				}
				if err := hash[i].sum(ctx, buffer); err != nil {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i := range entries {
		if entries[i].Type == tree.Regular {
			entries[i].Digest = r.file(entries[i].Digest).digest
		}
	}
	return tree.New(entries)
}

// limit is the bound of all files' bytes.
func (r *systemReader) limit() int64 {
	if r.o.MaxBytes > 0 {
		return r.o.MaxBytes
	}
	return defaultMaxBytes
}

// sum computes the digest of a file.
func (f *systemFile) sum(ctx context.Context, buffer []byte) error {
	contents, err := f.open()
	if err != nil {
		return fmt.Errorf("/%s: %w", f.path, err)
	}
	hash := sha256.New()
	// Without the reader's own WriteTo, which knows neither the buffer nor the context.
	if _, err := io.CopyBuffer(hash, cancelReader{ctx, contents}, buffer); err != nil {
		return fmt.Errorf("/%s: %w", f.path, err)
	}
	hash.Sum(f.digest[:0])
	return nil
}

// store puts files into the store.
func (r *systemReader) store(ctx context.Context, files []*systemFile) error {
	if len(files) == 0 {
		return nil
	}
	if r.o.Store == nil {
		return errors.New("contents are wanted, but there is no store to put them into")
	}
	batch, err := r.o.Store.NewBatch()
	if err != nil {
		return err
	}
	defer batch.Abort()
	for _, f := range files {
		contents, err := f.open()
		if err != nil {
			return fmt.Errorf("/%s: %w", f.path, err)
		}
		if f.digest, _, err = batch.Add(cancelReader{ctx, contents}); err != nil {
			return fmt.Errorf("/%s: %w", f.path, err)
		}
	}
	return batch.Commit()
}

// cancelReader is a reader that ends with its context.
type cancelReader struct {
	ctx context.Context
	r   io.Reader
}

func (c cancelReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
