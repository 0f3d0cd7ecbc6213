package ext4

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// Node is one name in a file system with all that its inode says.
type Node struct {
	// Entry is what a tree would hold, but for Digest, which is zero. Link is only
	// set by Walk.
	tree.Entry

	Inode   uint32
	Links   uint32 // names of the inode; 1 for a directory may mean too many to count
	Sectors uint64 // of 512 bytes that the inode takes
	ATime   tree.Time
	CTime   tree.Time
	Created tree.Time

	inode *diskInode
}

// maxTarget bounds the symlinks that are read, as Linux does.
const maxTarget = 4096

// node reads everything about an inode but its contents.
func (f *FS) node(path string, number uint32) (*Node, error) {
	in, err := f.readInode(number)
	if err != nil {
		return nil, err
	}
	n := &Node{
		Entry:   tree.Entry{Path: path, Type: in.kind, Mode: uint32(in.mode) &^ modeTypeMask, UID: in.uid, GID: in.gid, MTime: in.mtime},
		Inode:   number,
		Links:   in.links,
		Sectors: in.sectors,
		ATime:   in.atime,
		CTime:   in.ctime,
		Created: in.crtime,
		inode:   in,
	}
	if n.Xattrs, err = f.readXattrs(in); err != nil {
		return nil, err
	}
	switch in.kind {
	case tree.Regular:
		n.Size = int64(in.size)
	case tree.Symlink:
		n.Target, err = f.readTarget(in)
	case tree.CharDevice, tree.BlockDevice:
		n.Major, n.Minor = decodeDevice(in.block)
	case tree.Directory, tree.FIFO, tree.Socket:
	}
	return n, err
}

// readTarget returns the target of a symlink.
func (f *FS) readTarget(in *diskInode) (string, error) {
	if in.size == 0 || in.size > maxTarget {
		return "", corrupt(in.where(), "the symlink's target has %d bytes", in.size)
	}
	target := in.block[:min(uint64(len(in.block)), in.size)]
	if in.size > maxFastSymlink || in.flags&flagExtents != 0 {
		file, err := f.openInode(in)
		if err != nil {
			return "", err
		}
		target = make([]byte, in.size)
		if err := readFull(file, target, 0); err != nil {
			return "", err
		}
	}
	if slices.Contains(target, 0) {
		return "", corrupt(in.where(), "the symlink's target holds a NUL byte")
	}
	return string(target), nil
}

// readXattrs returns an inode's attributes, sorted by name.
func (f *FS) readXattrs(in *diskInode) ([]tree.Xattr, error) {
	le := binary.LittleEndian
	var list []tree.Xattr
	if p := in.xattrs; len(p) >= xattrInodeHeader && le.Uint32(p) == xattrMagic {
		var err error
		if list, err = decodeXattrs(p[xattrInodeHeader:], 0); err != nil {
			return nil, corrupt(in.where(), "%v", err)
		}
	}
	if in.acl != 0 {
		p, err := f.readBlock(in.acl, in.where())
		if err != nil {
			return nil, err
		}
		if le.Uint32(p) != xattrMagic {
			return nil, corrupt(in.where(), "its extended attributes' block has the magic number %#x", le.Uint32(p))
		}
		if f.features.metadataChecksums() {
			if have, want := le.Uint32(p[16:]), xattrBlockChecksum(p, in.acl, f.checksumSeed); have != want {
				return nil, corrupt(in.where(), "its extended attributes' block has the checksum %#x instead of %#x", have, want)
			}
		}
		more, err := decodeXattrs(p[xattrBlockHeader:], xattrBlockHeader)
		if err != nil {
			return nil, corrupt(in.where(), "%v", err)
		}
		list = append(list, more...)
	}
	slices.SortFunc(list, func(a, b tree.Xattr) int { return cmp.Compare(a.Name, b.Name) })
	for i := range list[min(1, len(list)):] {
		if list[i].Name == list[i+1].Name {
			return nil, corrupt(in.where(), "it has the extended attribute %q twice", list[i].Name)
		}
	}
	return list, nil
}

// Stat returns the node at a path as a tree has it: relative, "." for the root. It
// follows no symlinks. Where there is nothing the error is fs.ErrNotExist.
func (f *FS) Stat(path string) (*Node, error) {
	missing := func() error { return &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist} }
	number := uint32(rootInode)
	if path != tree.Root {
		for element := range strings.SplitSeq(path, "/") {
			in, err := f.readInode(number)
			if err != nil {
				return nil, err
			}
			if in.kind != tree.Directory {
				return nil, missing()
			}
			entries, err := f.readDirectory(in)
			if err != nil {
				return nil, err
			}
			i, ok := slices.BinarySearchFunc(entries, element, func(e directoryEntry, name string) int { return cmp.Compare(e.name, name) })
			if !ok {
				return nil, missing()
			}
			number = entries[i].number
		}
	}
	return f.node(path, number)
}

// ReadDir returns the nodes in a directory, sorted by name.
func (f *FS) ReadDir(path string) ([]*Node, error) {
	dir, err := f.Stat(path)
	if err != nil {
		return nil, err
	}
	entries, err := f.readDirectory(dir.inode)
	if err != nil {
		return nil, err
	}
	nodes := make([]*Node, 0, len(entries))
	for _, e := range entries {
		n, err := f.child(path, e)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// maxPath bounds the paths that are read, and with them what a hostile chain of
// directories costs; Linux can name a quarter of it.
const maxPath = 16 << 10

// child reads the node of an entry of the directory at path.
func (f *FS) child(path string, e directoryEntry) (*Node, error) {
	path = tree.Join(path, e.name)
	if len(path) > maxPath {
		return nil, corrupt(fmt.Sprintf("inode %d", e.number), "its path has more than %d bytes", maxPath)
	}
	n, err := f.node(path, e.number)
	if err != nil {
		return nil, fmt.Errorf("/%s: %w", path, err)
	}
	if e.kind != 0 && e.kind != n.Type {
		return nil, corrupt(n.inode.where(), "it is a %s, its name /%s says %s", n.Type, path, e.kind)
	}
	return n, nil
}

// Open opens the regular file at path.
func (f *FS) Open(path string) (*File, error) {
	n, err := f.Stat(path)
	if err != nil {
		return nil, err
	}
	return f.OpenNode(n)
}

// OpenNode opens a regular file of this file system.
func (f *FS) OpenNode(n *Node) (*File, error) {
	if n.Type != tree.Regular {
		return nil, &fs.PathError{Op: "open", Path: n.Path, Err: errors.New("it is a " + n.Type.String())}
	}
	return f.openInode(n.inode)
}

// Walk calls visit for every name in the file system, the root first, in a tree's
// order. Link numbers the inodes with several names from 1 on. Walk stops at the
// first error; that of a damaged file system is a *CorruptError.
func (f *FS) Walk(visit func(*Node) error) error {
	w := walker{fs: f, visit: visit, links: map[uint32]uint32{}, directories: map[uint32]bool{}}
	root, err := f.node(tree.Root, rootInode)
	if err != nil {
		return err
	}
	if root.Type != tree.Directory {
		return corrupt(root.inode.where(), "the root is a %s", root.Type)
	}
	return w.walk(root)
}

type walker struct {
	fs          *FS
	visit       func(*Node) error
	links       map[uint32]uint32
	directories map[uint32]bool // those seen: none has two names
	blocks      uint64          // of all directories: no more than there are
}

func (w *walker) walk(n *Node) error {
	if n.Type != tree.Directory {
		if n.Links > 1 {
			if w.links[n.Inode] == 0 {
				w.links[n.Inode] = uint32(len(w.links) + 1)
			}
			n.Link = w.links[n.Inode]
		}
		return w.visit(n)
	}
	if w.directories[n.Inode] {
		return corrupt(n.inode.where(), "the directory /%s has a second name", n.Path)
	}
	w.directories[n.Inode] = true
	if err := w.visit(n); err != nil {
		return err
	}
	entries, err := w.fs.readDirectory(n.inode)
	if err != nil {
		return fmt.Errorf("/%s: %w", n.Path, err)
	}
	if w.blocks += n.inode.size / w.fs.blockSize; w.blocks > w.fs.blocks {
		return corrupt(n.inode.where(), "the directories have more blocks than there are")
	}
	for _, e := range entries {
		child, err := w.fs.child(n.Path, e)
		if err != nil {
			return err
		}
		if err := w.walk(child); err != nil {
			return err
		}
	}
	return nil
}
