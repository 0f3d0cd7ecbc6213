package tree

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
)

// Type says what an entry is.
type Type uint8

// The types of entries, with the values used in the encoding.
const (
	Regular Type = 1 + iota
	Directory
	Symlink
	CharDevice
	BlockDevice
	FIFO
	Socket
)

var typeNames = [...]string{Regular: "file", Directory: "directory", Symlink: "symlink", CharDevice: "character device", BlockDevice: "block device", FIFO: "FIFO", Socket: "socket"}

// String returns the type's name in English.
func (t Type) String() string {
	if t >= Regular && t <= Socket {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Root is the path of a tree's root directory.
const Root = "."

// MaxName is the longest path element in bytes that Linux file systems take.
const MaxName = 255

// Time is a point in time: seconds since 1970-01-01 UTC and nanoseconds (0 to
// 999,999,999) after them.
type Time struct {
	Sec  int64
	Nsec uint32
}

// After reports whether t is later than u.
func (t Time) After(u Time) bool { return t.Sec > u.Sec || t.Sec == u.Sec && t.Nsec > u.Nsec }

// Xattr is one extended attribute, by its full name ("security.capability").
type Xattr struct {
	Name  string
	Value []byte
}

// Entry is one name in a tree.
type Entry struct {
	Path     string // relative and slash separated; Root for the root
	Type     Type
	Mode     uint32 // permission bits including set-id and sticky, 07777
	UID, GID uint32
	MTime    Time
	Xattrs   []Xattr      // sorted by name; POSIX ACLs in the kernel's xattr form
	Target   string       // of a symlink
	Major    uint32       // of a device
	Minor    uint32       // of a device
	Link     uint32       // non-zero and equal for names of one inode
	Digest   store.Digest // of a regular file's contents
	Size     int64        // of a regular file's contents, in bytes
}

// Name returns the last element of the path.
func (e *Entry) Name() string { return e.Path[strings.LastIndexByte(e.Path, '/')+1:] }

// Parent returns the path of the directory that holds path; the root's is Root.
func Parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return Root
}

// Join returns the path of name in directory dir.
func Join(dir, name string) string {
	if dir == Root {
		return name
	}
	return dir + "/" + name
}

// Equal reports whether a and b are the same in everything.
func (e *Entry) Equal(b *Entry) bool { return e.Path == b.Path && e.Link == b.Link && e.sameInode(b) }

// sameInode compares all but Path and Link.
func (e *Entry) sameInode(b *Entry) bool {
	return e.Type == b.Type && e.Mode == b.Mode && e.UID == b.UID && e.GID == b.GID && e.MTime == b.MTime &&
		e.Target == b.Target && e.Major == b.Major && e.Minor == b.Minor && e.Digest == b.Digest && e.Size == b.Size &&
		slices.EqualFunc(e.Xattrs, b.Xattrs, func(x, y Xattr) bool { return x.Name == y.Name && string(x.Value) == string(y.Value) })
}

// Compare orders paths: the root first, and '/' before every other byte, so that a
// directory is followed at once by all that lies below it.
func Compare(a, b string) int {
	if a == b {
		return 0
	}
	if a == Root {
		return -1
	}
	if b == Root {
		return 1
	}
	n := min(len(a), len(b))
	for i := range n {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x == '/' {
			return -1
		}
		if y == '/' {
			return 1
		}
		if x < y {
			return -1
		}
		return 1
	}
	return len(a) - len(b)
}

// Tree is an immutable list of entries that satisfies the package's invariants.
type Tree struct {
	entries []Entry
}

// New returns the tree of entries, which it sorts, numbering hard link groups
// anew. A group of one entry becomes an ordinary entry. The error names the first
// path that breaks an invariant. New keeps the slice.
func New(entries []Entry) (*Tree, error) {
	if !slices.IsSortedFunc(entries, compareEntries) {
		slices.SortFunc(entries, compareEntries)
	}
	renumber(entries)
	if err := validate(entries); err != nil {
		return nil, err
	}
	return &Tree{entries: entries}, nil
}

func compareEntries(a, b Entry) int { return Compare(a.Path, b.Path) }

// renumber gives hard link groups the numbers 1, 2, … in order of appearance.
func renumber(entries []Entry) {
	members := map[uint32]int{}
	for i := range entries {
		if l := entries[i].Link; l != 0 {
			members[l]++
		}
	}
	if len(members) == 0 {
		return
	}
	numbers := map[uint32]uint32{}
	for i := range entries {
		l := entries[i].Link
		if l == 0 {
			continue
		}
		if members[l] == 1 {
			entries[i].Link = 0
			continue
		}
		if numbers[l] == 0 {
			numbers[l] = uint32(len(numbers) + 1)
		}
		entries[i].Link = numbers[l]
	}
}

// CheckPath says what is wrong with path as an entry's path, or nothing.
func CheckPath(path string) error {
	if path == Root {
		return nil
	}
	if path == "" {
		return errors.New("the path is empty")
	}
	if strings.IndexByte(path, 0) >= 0 {
		return errors.New("the path holds a NUL byte")
	}
	for rest, more := path, true; more; {
		var element string
		element, rest, more = strings.Cut(rest, "/")
		switch {
		case element == "":
			return errors.New("the path is absolute or has an empty element")
		case element == "." || element == "..":
			return fmt.Errorf("the path has an element %q", element)
		case len(element) > MaxName:
			return fmt.Errorf("a path element has %d bytes, %d is the most", len(element), MaxName)
		}
	}
	return nil
}

// checkEntry checks what concerns one entry alone.
func checkEntry(e *Entry) error {
	if err := CheckPath(e.Path); err != nil {
		return err
	}
	if e.Type < Regular || e.Type > Socket {
		return fmt.Errorf("%s is unknown", e.Type)
	}
	if e.Mode&^0o7777 != 0 {
		return fmt.Errorf("mode %#o has more than permission bits", e.Mode)
	}
	if e.MTime.Nsec >= 1e9 {
		return fmt.Errorf("%d nanoseconds are a second or more", e.MTime.Nsec)
	}
	for i, x := range e.Xattrs {
		if x.Name == "" || strings.IndexByte(x.Name, 0) >= 0 {
			return fmt.Errorf("extended attribute name %q is empty or holds a NUL byte", x.Name)
		}
		if i > 0 && e.Xattrs[i-1].Name >= x.Name {
			return fmt.Errorf("extended attribute %q is out of order or twice there", x.Name)
		}
	}
	if e.Type == Regular {
		if e.Digest.IsZero() {
			return errors.New("the file has no digest")
		}
		if e.Size < 0 {
			return fmt.Errorf("the size %d is negative", e.Size)
		}
	} else if !e.Digest.IsZero() || e.Size != 0 {
		return fmt.Errorf("a %s cannot have contents", e.Type)
	}
	if e.Type == Symlink {
		if e.Target == "" || strings.IndexByte(e.Target, 0) >= 0 {
			return fmt.Errorf("the symlink's target %q is empty or holds a NUL byte", e.Target)
		}
	} else if e.Target != "" {
		return fmt.Errorf("a %s cannot have a target", e.Type)
	}
	if e.Type != CharDevice && e.Type != BlockDevice && (e.Major != 0 || e.Minor != 0) {
		return fmt.Errorf("a %s cannot have device numbers", e.Type)
	}
	if e.Type == Directory && e.Link != 0 {
		return errors.New("a directory cannot be hard linked")
	}
	return nil
}

// validate checks sorted entries against the package's invariants.
func validate(entries []Entry) error {
	if len(entries) == 0 || entries[0].Path != Root || entries[0].Type != Directory {
		return errors.New("the tree has no root directory")
	}
	var dirs []string // the open directories above the current entry
	var groups []*Entry
	var sizes []int
	for i := range entries {
		e := &entries[i]
		fail := func(err error) error { return fmt.Errorf("/%s: %w", e.Path, err) }
		if err := checkEntry(e); err != nil {
			return fail(err)
		}
		if i > 0 {
			switch c := Compare(entries[i-1].Path, e.Path); {
			case c == 0:
				return fail(errors.New("the path is twice in the tree"))
			case c > 0:
				return fail(errors.New("the entry is out of order"))
			}
			parent := Parent(e.Path)
			for len(dirs) > 0 && dirs[len(dirs)-1] != parent {
				dirs = dirs[:len(dirs)-1]
			}
			if len(dirs) == 0 {
				return fail(fmt.Errorf("/%s is not a directory of the tree", parent))
			}
		}
		if e.Type == Directory {
			dirs = append(dirs, e.Path)
		}
		if e.Link == 0 {
			continue
		}
		switch n := int(e.Link); {
		case n == len(groups)+1:
			groups = append(groups, e)
			sizes = append(sizes, 1)
		case n > len(groups)+1:
			return fail(fmt.Errorf("hard link group %d is out of order", n))
		default:
			if !groups[n-1].sameInode(e) {
				return fail(fmt.Errorf("it is a hard link of /%s but differs from it", groups[n-1].Path))
			}
			sizes[n-1]++
		}
	}
	for i, n := range sizes {
		if n == 1 {
			return fmt.Errorf("/%s: hard link group %d has one entry", groups[i].Path, i+1)
		}
	}
	return nil
}

// Empty returns the tree that has only a root directory with mode 0755, owned by
// root, of the time mtime.
func Empty(mtime Time) *Tree {
	return &Tree{entries: []Entry{{Path: Root, Type: Directory, Mode: 0o755, MTime: mtime}}}
}

// Entries returns all entries in order. The caller must not change them.
func (t *Tree) Entries() []Entry { return t.entries }

// Len returns the number of entries, the root included.
func (t *Tree) Len() int { return len(t.entries) }

// index returns where path is or would be.
func (t *Tree) index(path string) (int, bool) {
	return sort.Find(len(t.entries), func(i int) int { return Compare(path, t.entries[i].Path) })
}

// Lookup returns the entry at path. It does not follow symbolic links.
func (t *Tree) Lookup(path string) (Entry, bool) {
	i, ok := t.index(path)
	if !ok {
		return Entry{}, false
	}
	return t.entries[i], true
}

// Subtree returns the entries of path and of all below it, in order. The caller
// must not change them.
func (t *Tree) Subtree(path string) []Entry {
	i, ok := t.index(path)
	if !ok {
		return nil
	}
	return t.entries[i:t.subtreeEnd(i)]
}

// subtreeEnd returns the index after the last entry below entry i.
func (t *Tree) subtreeEnd(i int) int {
	dir := t.entries[i].Path
	if dir == Root {
		return len(t.entries)
	}
	prefix := dir + "/"
	return i + 1 + sort.Search(len(t.entries)-i-1, func(n int) bool {
		return !strings.HasPrefix(t.entries[i+1+n].Path, prefix)
	})
}

// Children returns the entries directly in directory dir, in order of name.
func (t *Tree) Children(dir string) []Entry {
	i, ok := t.index(dir)
	if !ok || t.entries[i].Type != Directory {
		return nil
	}
	var children []Entry
	for n, end := i+1, t.subtreeEnd(i); n < end; n = t.subtreeEnd(n) {
		children = append(children, t.entries[n])
	}
	return children
}

// Bytes returns the total size of the tree's regular files, hard linked ones once.
func (t *Tree) Bytes() int64 {
	var total int64
	var groups uint32
	for i := range t.entries {
		e := &t.entries[i]
		if e.Link > groups {
			groups = e.Link
		} else if e.Link != 0 {
			continue
		}
		total += e.Size
	}
	return total
}

// Resolve follows symbolic links in path as a process whose root directory is the
// tree would, and returns the path it ends at. The last element need not exist.
// It fails when an intermediate element is missing or no directory, or after 40
// links, as Linux does.
func (t *Tree) Resolve(path string) (string, error) {
	return resolve(path, func(p string) (Entry, bool) { return t.Lookup(p) })
}

func resolve(path string, lookup func(string) (Entry, bool)) (string, error) {
	current := Root
	rest := strings.Split(path, "/")
	links := 0
	for len(rest) > 0 {
		element := rest[0]
		rest = rest[1:]
		if element == "" || element == "." {
			continue
		}
		if dir, ok := lookup(current); !ok || dir.Type != Directory {
			return "", fmt.Errorf("/%s is not a directory", current)
		}
		if element == ".." {
			current = Parent(current)
			continue
		}
		next := Join(current, element)
		e, ok := lookup(next)
		if ok && e.Type == Symlink {
			if links++; links > 40 {
				return "", fmt.Errorf("/%s: too many levels of symbolic links", path)
			}
			if strings.HasPrefix(e.Target, "/") {
				current = Root
			}
			rest = append(strings.Split(e.Target, "/"), rest...)
			continue
		}
		current = next
	}
	return current, nil
}
