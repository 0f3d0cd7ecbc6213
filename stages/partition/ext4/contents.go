package ext4

import (
	"errors"
	"fmt"

	"github.com/imagefactory/imagefactory/stages/tree"
)

const (
	lostFound      = "lost+found"
	lostFoundBytes = 16 << 10 // room for e2fsck to put names into, as mke2fs makes it
	maxFastSymlink = 59       // bytes of a target that fit into i_block with their NUL
)

// contents is the tree as inodes: everything that does not depend on the size of
// the file system.
type contents struct {
	inodes      []*inode // the root, then those from lost+found on in order of number
	lastInode   uint32   // all numbers up to it are in use
	directories []*inode
	symlinks    []*inode // those whose target needs a block
	files       []*inode
	xattrBlocks []*xattrBlock
}

// directory is a directory whose entries are being collected.
type directory struct {
	inode, parent *inode
	entries       []directoryEntry
}

// contentsBuilder numbers inodes in tree order and fills them.
type contentsBuilder struct {
	contents
	c       *config
	holes   sparseMap
	memory  []inode                // for all inodes
	links   []*inode               // by hard link group - 1
	shared  map[string]*xattrBlock // by bytes: the block to share for the next inode
	dirs    []*directory
	dirsNow map[string]*directory
}

// newContents turns a tree into inodes. Its errors name the path that ext4 cannot
// hold.
func newContents(c *config, t *tree.Tree, holes sparseMap) (*contents, error) {
	b := &contentsBuilder{
		contents: contents{lastInode: lostFoundInode},
		c:        c,
		holes:    holes,
		memory:   make([]inode, 0, t.Len()+1),
		shared:   map[string]*xattrBlock{},
		dirsNow:  map[string]*directory{},
	}
	entries := t.Entries()
	for i := range entries {
		e := &entries[i]
		if err := b.add(e); err != nil {
			return nil, fmt.Errorf("/%s: %w", e.Path, err)
		}
		if i == 0 {
			if err := b.addLostFound(t); err != nil {
				return nil, fmt.Errorf("/%s: %w", lostFound, err)
			}
		}
	}
	for _, d := range b.dirs {
		if err := b.finishDirectory(d); err != nil {
			return nil, fmt.Errorf("/%s: %w", d.inode.path, err)
		}
	}
	return &b.contents, nil
}

// addLostFound adds the directory for e2fsck's finds, which has a number of its
// own, with the tree's attributes or mke2fs'.
func (b *contentsBuilder) addLostFound(t *tree.Tree) error {
	e, ok := t.Lookup(lostFound)
	if !ok {
		e = tree.Entry{Path: lostFound, Type: tree.Directory, Mode: 0o700, MTime: b.c.Time}
	}
	if e.Type != tree.Directory {
		return fmt.Errorf("ext4 needs this name for a directory, the tree has a %s", e.Type)
	}
	return b.addInode(&e, lostFoundInode)
}

// add adds one entry of the tree: a name in its parent and, unless it is a further
// name of one, an inode.
func (b *contentsBuilder) add(e *tree.Entry) error {
	switch {
	case e.Path == tree.Root:
		return b.addInode(e, rootInode)
	case e.Path == lostFound:
		return nil
	case e.Link != 0 && int(e.Link) <= len(b.links):
		in := b.links[e.Link-1]
		if in.links++; in.links > maxLinks {
			return fmt.Errorf("the file has more than %d hard links", maxLinks)
		}
		b.addName(e, in)
		return nil
	}
	b.lastInode++
	return b.addInode(e, b.lastInode)
}

func (b *contentsBuilder) addName(e *tree.Entry, in *inode) {
	parent := b.dirsNow[tree.Parent(e.Path)]
	parent.entries = append(parent.entries, directoryEntry{e.Name(), in.number, e.Type})
}

// addInode adds the inode of an entry and its first name.
func (b *contentsBuilder) addInode(e *tree.Entry, number uint32) error {
	b.memory = append(b.memory, inode{
		number: number,
		path:   e.Path,
		mode:   modeOf[e.Type] | uint16(e.Mode),
		uid:    e.UID,
		gid:    e.GID,
		links:  1,
		mtime:  e.MTime,
		atime:  e.MTime,
	})
	in := &b.memory[len(b.memory)-1]
	b.inodes = append(b.inodes, in)
	if e.Link != 0 {
		b.links = append(b.links, in)
	}
	if number != rootInode {
		b.addName(e, in)
	}
	if !inodeTimeFits(e.MTime) {
		return fmt.Errorf("its time %d s lies outside what ext4 can hold, 1901 to 2446", e.MTime.Sec)
	}
	if err := b.addXattrs(in, e.Xattrs); err != nil {
		return err
	}
	switch e.Type {
	case tree.Directory:
		b.addDirectory(e, in)
	case tree.Symlink:
		return b.addSymlink(e, in)
	case tree.Regular:
		return b.addFile(e, in)
	case tree.CharDevice, tree.BlockDevice:
		return encodeDevice(in.block[:], e.Major, e.Minor)
	case tree.FIFO, tree.Socket:
	}
	return nil
}

func (b *contentsBuilder) addDirectory(e *tree.Entry, in *inode) {
	d := &directory{inode: in, parent: in}
	in.links = 2
	if in.number != rootInode {
		d.parent = b.dirsNow[tree.Parent(e.Path)].inode
		d.parent.links++
	}
	b.dirs = append(b.dirs, d)
	b.dirsNow[e.Path] = d
}

func (b *contentsBuilder) addSymlink(e *tree.Entry, in *inode) error {
	in.size = int64(len(e.Target))
	if len(e.Target) <= maxFastSymlink {
		copy(in.block[:], e.Target)
		return nil
	}
	if len(e.Target) >= b.c.BlockSize {
		return fmt.Errorf("the symlink's target has %d bytes, with blocks of %d bytes one less is the most", len(e.Target), b.c.BlockSize)
	}
	in.flags = flagExtents
	in.data = make([]byte, b.c.BlockSize)
	copy(in.data, e.Target)
	in.runs = []span{{0, 1}}
	b.symlinks = append(b.symlinks, in)
	return nil
}

func (b *contentsBuilder) addFile(e *tree.Entry, in *inode) error {
	in.size, in.digest, in.flags = e.Size, e.Digest, flagExtents
	blockSize := uint64(b.c.BlockSize)
	blocks := (uint64(e.Size) + blockSize - 1) / blockSize
	if blocks > maxFileBlocks {
		return fmt.Errorf("the file has %d bytes, with blocks of %d bytes ext4 holds at most %d", e.Size, blockSize, maxFileBlocks*blockSize)
	}
	if data, scanned := b.holes[e.Digest]; scanned {
		for _, run := range data {
			first := run.start / blockSize
			in.runs = append(in.runs, span{first, (run.end()+blockSize-1)/blockSize - first})
		}
	} else if blocks > 0 {
		in.runs = []span{{0, blocks}}
	}
	b.files = append(b.files, in)
	return nil
}

// addXattrs puts attributes into the inode and, where they do not fit, into a block
// that inodes with the same attributes share.
func (b *contentsBuilder) addXattrs(in *inode, list []tree.Xattr) error {
	if len(list) == 0 {
		return nil
	}
	inInode, inBlock, err := splitXattrs(list, b.c.BlockSize)
	if err != nil {
		return err
	}
	in.xattrs = encodeInodeXattrs(inInode)
	if len(inBlock) == 0 {
		return nil
	}
	data := encodeXattrBlock(inBlock, b.c.BlockSize)
	block := b.shared[string(data)]
	if block == nil || block.references == xattrMaxReferences {
		block = &xattrBlock{data: data}
		b.shared[string(data)] = block
		b.xattrBlocks = append(b.xattrBlocks, block)
	}
	block.references++
	in.external = block
	return nil
}

// finishDirectory makes a directory's blocks, when all numbers are known.
func (b *contentsBuilder) finishDirectory(d *directory) error {
	minBlocks := 1
	if d.inode.number == lostFoundInode {
		minBlocks = lostFoundBytes / b.c.BlockSize
	}
	data, indexed, err := encodeDirectory(b.c, d.inode.number, d.parent.number, d.entries, minBlocks)
	if err != nil {
		return err
	}
	d.inode.flags = flagExtents
	if indexed {
		d.inode.flags |= flagIndex
	}
	if d.inode.links > maxLinks {
		if !b.c.features.has(roCompat, roDirNlink) || !indexed {
			return errors.New("the directory has too many subdirectories; the ext4 features \"dir_nlink\" and \"dir_index\" allow more")
		}
		d.inode.links = 1 // "unknown"
	}
	d.inode.data = data
	d.inode.size = int64(len(data))
	d.inode.runs = []span{{0, uint64(len(data) / b.c.BlockSize)}}
	b.directories = append(b.directories, d.inode)
	return nil
}
