package tarball

import (
	"archive/tar"
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// An Importer makes a tree from the archive of a package. It refuses what packages do
// not hold: absolute names and odd ones, a name twice, entries below symbolic links,
// hard links to anything but an earlier entry, sparse files.
type Importer struct {
	batch   *store.Batch
	meter   meter
	entries []tree.Entry
	index   map[string]int // path → entries

	links        uint32 // groups of hard links so far
	contentBytes int64

	md5  hash.Hash         // nil unless sums are wanted
	sums map[string]string // path → MD5 in hexadecimal
}

// NewImporter returns an importer that puts the contents of files into batch. With
// wantSums it makes MD5 sums of them.
func NewImporter(batch *store.Batch, limits Limits, wantSums bool) *Importer {
	im := &Importer{batch: batch, meter: meter{limits: limits}, index: map[string]int{}}
	if wantSums {
		im.md5 = md5.New()
		im.sums = map[string]string{}
	}
	return im
}

// Read imports every entry of the archive in r.
func (im *Importer) Read(r io.Reader) error { return Walk(r, im.add) }

// add imports one entry.
func (im *Importer) add(h *tar.Header, contents io.Reader) error {
	if err := CheckForm(h); err != nil {
		return err
	}
	path, err := Path(h)
	if err != nil {
		return err
	}
	if _, ok := im.index[path]; ok {
		return errors.New("it is in the archive twice")
	}
	if h.Typeflag == tar.TypeLink {
		return im.addHardLink(path, h.Linkname)
	}
	if im.md5 != nil {
		im.md5.Reset()
		contents = io.TeeReader(contents, im.md5)
	}
	e, err := entryOf(h, path, contents, im.batch, im.meter.limits)
	if err != nil {
		return err
	}
	if im.md5 != nil && e.Type == tree.Regular {
		im.sums[path] = fmt.Sprintf("%x", im.md5.Sum(nil))
	}
	im.contentBytes += e.Size
	return im.append(e)
}

// addHardLink adds another name of an earlier entry.
func (im *Importer) addHardLink(path, linkname string) error {
	target, err := strictPath(linkname, false)
	if err != nil {
		return fmt.Errorf("it is a hard link: %w", err)
	}
	i, ok := im.index[target]
	if !ok {
		return fmt.Errorf("it is a hard link to %q, which is not an earlier entry of the archive", linkname)
	}
	original := &im.entries[i]
	if original.Type == tree.Directory {
		return fmt.Errorf("it is a hard link to the directory %q", linkname)
	}
	if original.Link == 0 {
		im.links++
		original.Link = im.links
	}
	e := *original
	e.Path = path
	if sum, ok := im.sums[target]; ok {
		im.sums[path] = sum
	}
	return im.append(e)
}

// append adds an entry unless there are too many or they are too large.
func (im *Importer) append(e tree.Entry) error {
	if err := im.meter.count(&e); err != nil {
		return err
	}
	im.index[e.Path] = len(im.entries)
	im.entries = append(im.entries, e)
	return nil
}

// Tree returns the tree of what was read. Directories that are needed but were not in
// the archive are root's with mode 0755 and the time of the entry that needed them.
func (im *Importer) Tree() (*tree.Tree, error) {
	for i := 0; i < len(im.entries); i++ { // append grows it
		e := &im.entries[i]
		if e.Path == tree.Root {
			continue
		}
		parent := tree.Parent(e.Path)
		if j, ok := im.index[parent]; ok {
			if im.entries[j].Type != tree.Directory {
				return nil, fmt.Errorf("entry %q lies below %q, which is not a directory", e.Path, parent)
			}
			continue
		}
		if err := im.append(missingDirectory(parent, e.MTime)); err != nil {
			return nil, fmt.Errorf("entry %q: %w", e.Path, err)
		}
	}
	if len(im.entries) == 0 {
		// A package without files still has the root.
		im.entries = append(im.entries, missingDirectory(tree.Root, tree.Time{}))
	}
	return tree.New(im.entries)
}

// ContentBytes returns the length of all regular files read; hard links to one inode
// count once.
func (im *Importer) ContentBytes() int64 { return im.contentBytes }

// MD5Sums returns the sums in the form of a Debian package's md5sums file, sorted by
// path.
func (im *Importer) MD5Sums() []byte {
	var out bytes.Buffer
	for _, path := range slices.Sorted(maps.Keys(im.sums)) {
		fmt.Fprintf(&out, "%s  %s\n", im.sums[path], path)
	}
	return out.Bytes()
}

// CheckForm refuses the forms of tar that archive/tar reads but dpkg does not and for
// which a package has no use, and links and devices with contents, about whose length
// implementations of tar disagree.
func CheckForm(h *tar.Header) error {
	if h.Typeflag == tar.TypeGNUSparse {
		return errors.New("it is a GNU sparse file, which dpkg does not accept either")
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, paxSparse) {
			return errors.New("it is a PAX sparse file, which dpkg does not accept either")
		}
	}
	return checkSize(h)
}

// Path turns the name of an entry into the path of a tree: without a leading "./" and,
// for directories, without the trailing slash. It refuses every other form that is not
// canonical.
func Path(h *tar.Header) (string, error) { return strictPath(h.Name, h.Typeflag == tar.TypeDir) }

func strictPath(name string, isDir bool) (string, error) {
	path := strings.TrimPrefix(name, "./")
	if isDir {
		path = strings.TrimSuffix(path, "/")
	}
	if path == "" || path == "." {
		if !isDir {
			return "", fmt.Errorf("%q is the name of a directory", name)
		}
		return tree.Root, nil
	}
	if path[0] == '/' {
		return "", fmt.Errorf("the name %q is absolute", name)
	}
	if len(path) > maxPathBytes {
		return "", fmt.Errorf("its name has %d bytes; Linux allows %d", len(path), maxPathBytes)
	}
	if strings.ContainsAny(path, "\n\x00") {
		// dpkg's lists have one name a line.
		return "", fmt.Errorf("the name %q holds a newline or a NUL", name)
	}
	for element := range strings.SplitSeq(path, "/") {
		switch {
		case element == ".." || element == "." || element == "":
			return "", fmt.Errorf("the name %q has the element %q", name, element)
		case len(element) > maxNameBytes:
			return "", fmt.Errorf("the name %q has an element of %d bytes; Linux allows %d", name, len(element), maxNameBytes)
		}
	}
	return path, nil
}
