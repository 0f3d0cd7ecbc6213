package rpmfile

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// perFile bounds what a payload has for each file besides its contents.
const perFile = 64 << 10

// maxUnpacked is how many bytes a package may decompress to, far above any real one.
const maxUnpacked = 256 << 30

// Unpack puts the package's files and their tree into st: all of them together or,
// when it returns an error, nothing. It returns the digest of the tree, a tree.Tree,
// for tree.Load.
//
// What the tree says of a file is what the header says: mode, time, capabilities (as
// the extended attribute security.capability), device numbers and hard links. All
// owners are 0:0, because the header has names, which the root that the package is
// installed in gives numbers. %ghost files are absent; documentation and languages
// are all there (see LeftOut). Directories that are needed but not in the package are
// root's with mode 0755 and the time of the file that needed them.
//
// Contents must have the sizes and digests that the header says. A payload that lacks
// a file of the header or has another one, names that lead elsewhere, files below a
// symbolic link and a damaged payload are errors, which name the file.
//
// Unpack does not verify signatures: see Verify. It uses one processor; callers
// unpack several packages at a time, the largest first.
func (f *File) Unpack(ctx context.Context, st *store.Store) (store.Digest, error) {
	if f.Header.IsSource() {
		return store.Digest{}, f.fail(Malformed, "it is a source package, which cannot be installed")
	}
	batch, err := st.NewBatch()
	if err != nil {
		return store.Digest{}, err
	}
	defer batch.Abort()
	d, err := f.unpack(ctx, batch)
	var known *Error
	var write *store.WriteError
	switch {
	case err == nil:
		err = batch.Commit()
	case errors.As(err, &known), errors.As(err, &write), ctx.Err() != nil:
	default:
		err = f.fail(Malformed, "its payload cannot be unpacked: %w", err)
	}
	if err != nil {
		return store.Digest{}, err
	}
	return d, nil
}

func (f *File) unpack(ctx context.Context, batch *store.Batch) (store.Digest, error) {
	if format := f.Header.String(header.TagPayloadFormat); format != "" && format != "cpio" {
		return store.Digest{}, fmt.Errorf("it is of the format %q instead of cpio", format)
	}
	u, err := newUnpacker(f.Header, batch)
	if err != nil {
		return store.Digest{}, err
	}
	if err := f.readPayload(ctx, u.read); err != nil {
		return store.Digest{}, err
	}
	t, err := u.tree()
	if err != nil {
		return store.Digest{}, err
	}
	// The tree goes into the same batch as the contents it names.
	return batch.AddBytes(t.Encode())
}

// An unpacker reads a payload.
type unpacker struct {
	header *header.Header
	batch  *store.Batch
	files  []header.File
	paths  map[string]int   // index of files by absolute path
	twins  map[string][]int // further indexes of directories that are listed again
	seen   []bool
	inodes []int // for each regular file the number of its inode
	inode  []inode
	digest hash.Hash // of a file's contents, as the header wants it; nil: SHA-256, the store's
	limit  int64     // bytes that the payload may have
}

// An inode is a regular file under all of its names.
type inode struct {
	last   int // the file with the highest index, which has the contents when stripped
	links  int
	filled bool
	digest store.Digest
}

func newUnpacker(h *header.Header, batch *store.Batch) (*unpacker, error) {
	files := h.Files()
	u := &unpacker{header: h, batch: batch, files: files, paths: make(map[string]int, len(files)), twins: map[string][]int{},
		seen: make([]bool, len(files)), inodes: make([]int, len(files)), limit: perFile}
	type identity struct{ dev, ino uint32 }
	numbers := map[identity]int{}
	for i := range files {
		f := &files[i]
		if !strings.HasPrefix(f.Path, "/") {
			return nil, fmt.Errorf("the path %q in its header is not absolute", f.Path)
		}
		if err := tree.CheckPath(relative(f.Path)); err != nil {
			return nil, fmt.Errorf("the path %q in its header cannot be: %w", f.Path, err)
		}
		if first, ok := u.paths[f.Path]; !ok {
			u.paths[f.Path] = i
		} else if f.IsDir() && f.Mode == files[first].Mode {
			// So rpmbuild writes what is listed with and without a slash behind it.
			u.twins[f.Path] = append(u.twins[f.Path], i)
		} else {
			return nil, fmt.Errorf("%s is twice in its header", f.Path)
		}
		if f.Size > maxUnpacked || u.limit > maxUnpacked {
			return nil, fmt.Errorf("its files have more than %d bytes", int64(maxUnpacked))
		}
		u.limit += int64(f.Size) + perFile
		if !f.IsRegular() || f.IsGhost() {
			continue
		}
		id := identity{f.Dev, f.Ino}
		number, ok := numbers[id]
		if !ok || !h.Has(header.TagFileInodes) {
			number = len(u.inode)
			u.inode = append(u.inode, inode{})
			numbers[id] = number
		}
		u.inodes[i] = number
		u.inode[number].last = i
		u.inode[number].links++
	}
	if algo := h.FileDigestAlgo(); algo != header.SHA256 {
		if u.digest = newDigest(algo); u.digest == nil {
			return nil, fmt.Errorf("its files have digests of the unknown kind %d", algo)
		}
	}
	return u, nil
}

// relative returns the path in a tree of an absolute path.
func relative(path string) string {
	if path == "/" {
		return tree.Root
	}
	return strings.TrimPrefix(path, "/")
}

// read reads the whole payload.
func (u *unpacker) read(r io.Reader) error {
	in := &cpioReader{r: bufio.NewReaderSize(&limitReader{r, u.limit}, 128<<10), files: len(u.files)}
	for {
		e, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		i, err := u.find(e)
		if err != nil {
			return err
		}
		if err := u.take(i, e, in); err != nil {
			return fmt.Errorf("%s: %w", u.files[i].Path, err)
		}
	}
	for i := range u.files {
		if f := &u.files[i]; !u.seen[i] && !f.IsGhost() {
			return fmt.Errorf("it lacks %s, which the header lists", f.Path)
		}
	}
	return nil
}

// find returns the index of an entry's file.
func (u *unpacker) find(e *cpioEntry) (int, error) {
	i := e.Index
	if i < 0 {
		path := e.Name
		if path == "." {
			path = "/"
		} else if path = strings.TrimPrefix(path, "."); !strings.HasPrefix(path, "/") {
			path = "/" + e.Name
		}
		var ok bool
		if i, ok = u.paths[path]; !ok {
			return 0, fmt.Errorf("it holds %q, which the header does not list", e.Name)
		}
		if twins := u.twins[path]; u.seen[i] && len(twins) > 0 {
			i, u.twins[path] = twins[0], twins[1:]
		}
		if uint32(u.files[i].Mode)&header.ModeType != e.Mode&header.ModeType {
			return 0, fmt.Errorf("%s has the mode %o, but %o in the header", path, e.Mode, u.files[i].Mode)
		}
	}
	switch {
	case u.seen[i]:
		return 0, fmt.Errorf("it holds %s twice", u.files[i].Path)
	case u.files[i].IsGhost():
		return 0, fmt.Errorf("it holds %s, which the header says is not in it (%%ghost)", u.files[i].Path)
	}
	u.seen[i] = true
	return i, nil
}

// take reads the contents of an entry, which is file i.
func (u *unpacker) take(i int, e *cpioEntry, in *cpioReader) error {
	f := &u.files[i]
	switch {
	case f.IsRegular():
		n := &u.inode[u.inodes[i]]
		if e.Index >= 0 {
			if i != n.last {
				return nil // the last link has the contents
			}
			in.Expect(int64(f.Size))
		} else if n.links > 1 && e.Size == 0 && f.Size > 0 {
			return nil // another link has the contents
		}
		if e.Size != int64(f.Size) {
			return fmt.Errorf("it has %d bytes, but %d in the header", e.Size, f.Size)
		}
		return u.store(f, n, in)
	case f.Mode&header.ModeType == header.ModeSymlink:
		if e.Index >= 0 {
			in.Expect(int64(f.Size))
		}
		if e.Size > maxCpioName {
			return fmt.Errorf("the target of the link has %d bytes", e.Size)
		}
		target, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		if string(target) != f.Link {
			return fmt.Errorf("it links to %q, but to %q in the header", target, f.Link)
		}
		return nil
	case e.Size != 0:
		return fmt.Errorf("it has %d bytes of contents, but is no file", e.Size)
	}
	return nil
}

// store puts the contents of a regular file into the store.
func (u *unpacker) store(f *header.File, n *inode, in io.Reader) error {
	if u.digest != nil {
		u.digest.Reset()
		in = io.TeeReader(in, u.digest)
	}
	d, _, err := u.batch.Add(in)
	if err != nil {
		return err
	}
	got := d[:]
	if u.digest != nil {
		got = u.digest.Sum(nil)
	}
	// Without a digest in the header the payload's alone protects the contents.
	if want, err := hex.DecodeString(f.Digest); f.Digest != "" && (err != nil || !bytes.Equal(got, want)) {
		return fmt.Errorf("its digest is %x, but %s in the header", got, f.Digest)
	}
	n.digest, n.filled = d, true
	return nil
}

// tree returns the tree of all files.
func (u *unpacker) tree() (*tree.Tree, error) {
	entries := make([]tree.Entry, 0, len(u.files)+8)
	have := make(map[string]bool, len(u.files))
	for i := range u.files {
		if u.files[i].IsGhost() || u.paths[u.files[i].Path] != i {
			continue
		}
		e, err := u.entry(i)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.files[i].Path, err)
		}
		entries = append(entries, e)
		have[e.Path] = true
	}
	built, _ := u.header.Uint32(header.TagBuildTime)
	oldest := tree.Time{Sec: int64(built)}
	for _, e := range entries {
		for path := e.Path; path != tree.Root; {
			if path = tree.Parent(path); have[path] {
				break
			}
			have[path] = true
			entries = append(entries, tree.Entry{Path: path, Type: tree.Directory, Mode: 0o755, MTime: e.MTime})
		}
	}
	if !have[tree.Root] {
		entries = append(entries, tree.Entry{Path: tree.Root, Type: tree.Directory, Mode: 0o755, MTime: oldest})
	}
	return tree.New(entries)
}

var treeTypes = map[uint16]tree.Type{
	header.ModeRegular: tree.Regular, header.ModeDir: tree.Directory, header.ModeSymlink: tree.Symlink, header.ModeChar: tree.CharDevice,
	header.ModeBlock: tree.BlockDevice, header.ModeFIFO: tree.FIFO, header.ModeSocket: tree.Socket,
}

// entry returns the entry of file i.
func (u *unpacker) entry(i int) (tree.Entry, error) {
	f := &u.files[i]
	e := tree.Entry{Path: relative(f.Path), Type: treeTypes[f.Mode&header.ModeType], Mode: uint32(f.Mode) &^ header.ModeType, MTime: tree.Time{Sec: int64(f.MTime)}}
	switch e.Type {
	case 0:
		return e, fmt.Errorf("its mode %o is of no known kind of file", f.Mode)
	case tree.Regular:
		n := &u.inode[u.inodes[i]]
		if !n.filled {
			return e, errors.New("none of its hard links has contents")
		}
		e.Digest, e.Size = n.digest, int64(f.Size)
		if n.links > 1 {
			e.Link = uint32(u.inodes[i] + 1)
		}
		if f.Caps != "" {
			value, err := parseCapabilities(f.Caps)
			if err != nil {
				return e, err
			}
			if value != nil {
				e.Xattrs = []tree.Xattr{{Name: "security.capability", Value: value}}
			}
		}
	case tree.Symlink:
		e.Target, e.Mode = f.Link, 0o777
	case tree.CharDevice, tree.BlockDevice:
		e.Major, e.Minor = uint32(f.RDev>>8), uint32(f.RDev&0xff)
	}
	return e, nil
}

// A limitReader fails when there is more than a number of bytes.
type limitReader struct {
	r    io.Reader
	left int64
}

func (l *limitReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, errors.New("it decompresses to more than the header says")
	}
	return n, err
}
