package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// categories are what the colors of the treemap mean.
var categories = []string{
	"Kernel and boot", "Firmware", "Libraries", "Programs", "Documentation and languages", "Container images", "Data and configuration",
}

// The indexes of categories.
const (
	kernelCategory = iota
	firmwareCategory
	libraryCategory
	programCategory
	documentCategory
	containerCategory
	dataCategory
)

// categoryOf tells what a file is for by the place it has in the hierarchy of file systems (hier(7), file-hierarchy(7)).
func categoryOf(path string) int {
	in := func(dirs ...string) bool {
		return slices.ContainsFunc(dirs, func(d string) bool { return strings.HasPrefix(path, d) })
	}
	switch {
	case in("boot/", "efi/", "usr/lib/modules/", "lib/modules/", "usr/lib/grub/", "usr/share/grub/"):
		return kernelCategory
	case in("usr/lib/firmware/", "lib/firmware/"):
		return firmwareCategory
	case in("var/lib/containerd/", "var/lib/containers/", "var/lib/docker/", "usr/share/containers/storage/", "usr/lib/containers/storage/"):
		return containerCategory
	case in("usr/share/doc/", "usr/share/man/", "usr/share/info/", "usr/share/locale/", "usr/share/i18n/", "usr/lib/locale/",
		"usr/share/help/", "usr/share/gtk-doc/", "usr/share/common-licenses/", "usr/share/licenses/"):
		return documentCategory
	case in("bin/", "sbin/", "usr/bin/", "usr/sbin/", "usr/libexec/", "usr/local/bin/", "usr/local/sbin/", "usr/games/"):
		return programCategory
	case in("lib/", "lib64/", "usr/lib/", "usr/lib64/", "usr/lib32/", "usr/local/lib/"):
		return libraryCategory
	}
	return dataCategory
}

// treemap sorts the bytes of an image by package, directory and file.
type treemap struct {
	page   Page
	owners map[string]string // IDs of packages by absolute path
	sizes  map[string]int64  // bytes of each path in the larger of the trees; hard linked ones at their first path only
}

func newTreemap(p Page) *treemap {
	m := &treemap{page: p, owners: map[string]string{}, sizes: map[string]int64{}}
	if p.Database != nil {
		for _, pkg := range p.Database.Packages {
			for _, f := range pkg.Files {
				if _, ok := m.owners[f]; !ok {
					m.owners[f] = pkg.ID
				}
			}
		}
	}
	for _, t := range []*tree.Tree{p.After, p.Before} {
		if t != nil {
			for path, n := range ownSizes(t) {
				m.sizes[path] = n
			}
		}
	}
	return m
}

// ownSizes returns the bytes of the regular files of a tree, hard linked ones at their first path.
func ownSizes(t *tree.Tree) map[string]int64 {
	sizes := map[string]int64{}
	seen := map[uint32]bool{}
	for _, e := range t.Entries() {
		if e.Type != tree.Regular || e.Link != 0 && seen[e.Link] {
			continue
		}
		seen[e.Link] = true
		sizes[e.Path] = e.Size
	}
	return sizes
}

// owner returns the ID of the package of a relative path, or "".
func (m *treemap) owner(path string) string { return m.owners[absolute(path)] }

// The groups of what no package owns. Their names cannot be those of packages.
const (
	withoutPackage = "(no package)"
	unpackaged     = "not from packages"
)

// group returns the top node that a path belongs to.
func (m *treemap) group(path string) string {
	if id := m.owner(path); id != "" {
		return id
	}
	return withoutPackage
}

// mapNode is a package, a directory, a file, or the small ones of a directory together.
type mapNode struct {
	name          string
	before, after int64
	category      int // of most of its bytes
	note          string
	children      []mapNode
	files         int // 0 for a directory or package; more than 1 for many together
}

// MarshalJSON writes [name, bytes before, bytes after, category, files, children, note], without what is empty at the end.
func (n mapNode) MarshalJSON() ([]byte, error) {
	row := []any{n.name, n.before, n.after, n.category, n.files}
	if len(n.children) > 0 || n.note != "" {
		row = append(row, n.children)
	}
	if n.note != "" {
		row = append(row, n.note)
	}
	return json.Marshal(row)
}

// maxLeaves is how many files are told apart. With it the page of 20,000 files takes less than 2 MB.
const maxLeaves = 12000

// node returns the root of the map.
func (m *treemap) node() mapNode {
	before, after := ownSizes(cmp.Or(m.page.Before, m.page.After)), ownSizes(m.page.After)
	type file struct {
		path          string
		before, after int64
	}
	groups := map[string][]file{}
	var sizes []int64
	for _, p := range sortedKeys(before, after) {
		f := file{p, before[p], after[p]}
		if f.before == 0 && f.after == 0 {
			continue
		}
		groups[m.group(p)] = append(groups[m.group(p)], f)
		sizes = append(sizes, max(f.before, f.after))
	}
	least := int64(0)
	if len(sizes) > maxLeaves {
		slices.SortFunc(sizes, func(a, b int64) int { return cmp.Compare(b, a) })
		least = sizes[maxLeaves]
	}
	root := mapNode{name: "The image"}
	for _, name := range sortedKeys(groups, nil) {
		top := &directory{}
		for _, f := range groups[name] {
			top.add(strings.Split(f.path, "/"), mapNode{
				name: absolute(f.path), before: f.before, after: f.after, category: categoryOf(f.path), files: 1, note: m.note(name, f.path),
			})
		}
		n := top.node("", least)
		n.name, n.files = valid(name), 0
		if len(n.children) == 0 { // one file alone
			n = mapNode{name: valid(name), before: n.before, after: n.after, category: n.category, children: []mapNode{n}}
		}
		if name == withoutPackage {
			n.name = unpackaged
		}
		root.children = append(root.children, n)
	}
	root.sum()
	return root
}

// note says where a file comes from that no package owns.
func (m *treemap) note(group, path string) string {
	if group != withoutPackage || m.page.Origin == nil {
		return ""
	}
	return valid(m.page.Origin(absolute(path)))
}

// directory is a directory of a package while the map is made.
type directory struct {
	names []string // in order
	dirs  map[string]*directory
	files []mapNode
}

// add puts a file at its place; elements are those of its path.
func (d *directory) add(elements []string, f mapNode) {
	for _, name := range elements[:len(elements)-1] {
		if d.dirs == nil {
			d.dirs = map[string]*directory{}
		}
		below := d.dirs[name]
		if below == nil {
			below = &directory{}
			d.dirs[name] = below
			d.names = append(d.names, name)
		}
		d = below
	}
	f.name = valid(elements[len(elements)-1])
	d.files = append(d.files, f)
}

// node returns the map of a directory: directories that hold nothing but one directory become one, and so do the files and
// directories which have less than least bytes.
func (d *directory) node(name string, least int64) mapNode {
	for len(d.files) == 0 && len(d.names) == 1 {
		name += "/" + valid(d.names[0])
		d = d.dirs[d.names[0]]
	}
	n := mapNode{name: name}
	var small mapNode
	add := func(child mapNode) {
		if max(child.before, child.after) >= least {
			n.children = append(n.children, child)
			return
		}
		if small.before+small.after == 0 || child.before+child.after > small.before+small.after {
			small.category = child.category
		}
		small.before += child.before
		small.after += child.after
		small.files += child.count()
	}
	for _, dir := range d.names {
		add(d.dirs[dir].node("/"+valid(dir), least))
	}
	for _, f := range d.files {
		add(f)
	}
	if small.files > 0 {
		small.name = fmt.Sprintf("%s of less than %s", plural(small.files, "file", "files"), Bytes(least))
		n.children = append(n.children, small)
	}
	n.sum()
	return n
}

// count is the number of files in a node.
func (n mapNode) count() int {
	count := n.files
	for _, c := range n.children {
		count += c.count()
	}
	return count
}

// sum computes what follows from the children, and puts the largest first.
func (n *mapNode) sum() {
	slices.SortStableFunc(n.children, func(a, b mapNode) int {
		return cmp.Or(cmp.Compare(max(b.before, b.after), max(a.before, a.after)), cmp.Compare(a.name, b.name))
	})
	n.before, n.after = 0, 0
	var bytes [7]int64
	for _, c := range n.children {
		n.before += c.before
		n.after += c.after
		bytes[c.category] += max(c.before, c.after)
	}
	for i := range bytes {
		if bytes[i] > bytes[n.category] {
			n.category = i
		}
	}
}
