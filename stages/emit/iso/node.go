package iso

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Types of files in the modes of Rock Ridge, as in stat(2).
const (
	typeDirectory = 0o040000
	typeRegular   = 0o100000
	typeSymlink   = 0o120000

	permissions = 0o7777
	typeMask    = 0o170000
)

// maxSections is how many pieces of a file Linux follows (fs/isofs/inode.c), each of maxSection bytes.
const maxSections = 100

// maxTarget is the longest target of a symbolic link in bytes. Linux would follow longer ones, but xorriso refuses to read
// an image that has one.
const maxTarget = 1023

// node is a file of the medium.
type node struct {
	path     string
	name     string     // last element of path
	id       identifier // what it is called without Rock Ridge
	mode     uint32     // type and permissions
	parent   *node      // the root's is the root
	children []*node    // of a directory, in the order of its records
	target   string     // of a symbolic link

	digest store.Digest // contents of a regular file,
	image  *disk.Image  // or these
	size   int64        // of the contents in bytes

	block   uint32 // where the contents are, or the records of a directory
	records int64  // bytes of a directory's records, whole blocks; its continuation areas follow
	number  int    // of a directory in the path tables, from 1
	shared  bool   // the contents lie where another file with the same ones put them
}

func (n *node) isDir() bool { return n.mode&typeMask == typeDirectory }

// links is the number of hard links that a POSIX file system would show.
func (n *node) links() uint32 {
	links := uint32(1)
	if n.isDir() {
		links++
		for _, c := range n.children {
			if c.isDir() {
				links++
			}
		}
	}
	return links
}

// files yields every file below n that is no directory: directory by directory, in the order of the records.
func (n *node) files() iter.Seq[*node] {
	return func(yield func(*node) bool) { n.yieldFiles(yield) }
}

func (n *node) yieldFiles(yield func(*node) bool) bool {
	for _, c := range n.children {
		if c.isDir() && !c.yieldFiles(yield) || !c.isDir() && !yield(c) {
			return false
		}
	}
	return true
}

// plant returns the root of the tree of files, each with its name of plain ISO 9660.
func plant(st *store.Store, files []File) (*node, error) {
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b File) int { return tree.Compare(a.Path, b.Path) })
	root := &node{path: tree.Root, mode: typeDirectory | 0o755}
	root.parent = root
	dirs := map[string]*node{tree.Root: root}
	for i, f := range files {
		fail := func(err error) (*node, error) { return nil, fmt.Errorf("/%s: %w", f.Path, err) }
		if i > 0 && files[i-1].Path == f.Path {
			return fail(errors.New("it is named twice"))
		}
		n, err := newNode(st, f)
		if err != nil {
			return fail(err)
		}
		if f.Path == tree.Root {
			root.mode = n.mode
			continue
		}
		if n.parent, err = parentOf(dirs, f.Path); err != nil {
			return fail(err)
		}
		n.parent.children = append(n.parent.children, n)
		if n.isDir() {
			dirs[f.Path] = n
		}
	}
	for _, d := range dirs {
		d.identify()
	}
	return root, nil
}

// newNode checks f and looks up how large it is.
func newNode(st *store.Store, f File) (*node, error) {
	if err := tree.CheckPath(f.Path); err != nil {
		return nil, err
	}
	if f.Mode&^permissions != 0 {
		return nil, fmt.Errorf("mode %#o has more than permission bits", f.Mode)
	}
	kinds := 0
	for _, set := range []bool{!f.Digest.IsZero(), f.Image != nil, f.Directory, f.Target != ""} {
		if set {
			kinds++
		}
	}
	if kinds != 1 || f.Path == tree.Root && !f.Directory {
		return nil, errors.New("it must be exactly one of a file with a digest, a file with an image, a directory, and a symbolic link")
	}
	n := &node{
		path: f.Path, name: lastElement(f.Path), mode: typeRegular | f.Mode,
		digest: f.Digest, image: f.Image, target: f.Target,
	}
	var err error
	switch {
	case f.Directory:
		n.mode = typeDirectory | f.Mode
	case f.Target != "":
		n.mode = typeSymlink | f.Mode
		err = checkTarget(f.Target)
	case f.Image != nil:
		n.size = f.Image.Size
	default:
		n.size, err = st.Stat(f.Digest)
	}
	if n.size > maxSections*maxSection {
		return nil, fmt.Errorf("it has %d bytes; Linux reads no files of more than %d bytes from ISO 9660", n.size, int64(maxSections*maxSection))
	}
	return n, err
}

func lastElement(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

func checkTarget(target string) error {
	if strings.IndexByte(target, 0) >= 0 {
		return fmt.Errorf("the target %q of the symbolic link holds a NUL byte", target)
	}
	if len(target) > maxTarget {
		return fmt.Errorf("the target of the symbolic link has %d bytes; %d are the most that all readers of ISO 9660 take", len(target), maxTarget)
	}
	for name := range strings.SplitSeq(target, "/") {
		if len(name) > tree.MaxName {
			return fmt.Errorf("the target of the symbolic link has an element of %d bytes; %d are the most", len(name), tree.MaxName)
		}
	}
	return nil
}

// parentOf returns the directory that holds path, making those that nobody named.
func parentOf(dirs map[string]*node, path string) (*node, error) {
	above := tree.Parent(path)
	if d, ok := dirs[above]; ok {
		return d, nil
	}
	parent, err := parentOf(dirs, above)
	if err != nil {
		return nil, err
	}
	// What is at this place and no directory sorts before everything below it, so it is there by now.
	for _, c := range parent.children {
		if c.path == above {
			return nil, fmt.Errorf("/%s is not a directory", above)
		}
	}
	d := &node{path: above, name: lastElement(above), mode: typeDirectory | 0o755, parent: parent}
	parent.children = append(parent.children, d)
	dirs[above] = d
	return d, nil
}

// identify gives the children their names of plain ISO 9660 and the order of their records (ECMA-119 9.3).
func (n *node) identify() {
	var names namer
	for _, c := range n.children { // in the order of their names, so that the same names always give the same result
		if c.isDir() {
			c.id = names.directory(c.name)
		} else {
			c.id = names.file(c.name)
		}
	}
	slices.SortFunc(n.children, func(a, b *node) int {
		return cmp.Or(strings.Compare(a.id.stem, b.id.stem), strings.Compare(a.id.extension, b.id.extension))
	})
}
