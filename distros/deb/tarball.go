package deb

import (
	"archive/tar"
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// tarLimits bound what one archive may contain. They are far above any package
// of a distribution (the largest have 10^5 entries and some GiB) and exist so
// that a hostile one ends in an error instead of a full disk or memory.
type tarLimits struct {
	streamBytes   int64 // decompressed archive
	entries       int   // including parents that have to be added
	metadataBytes int64 // names, link targets, extended attributes
	devices       int   // character and block devices
}

var defaultTarLimits = tarLimits{
	streamBytes:   32 << 30,
	entries:       1 << 19,
	metadataBytes: 128 << 20,
	devices:       1024,
}

// Limits of the kernel on one entry.
const (
	maxPathBytes   = 4095     // PATH_MAX without the NUL
	maxNameBytes   = 255      // NAME_MAX
	maxXattrName   = 255      // XATTR_NAME_MAX
	maxXattrBytes  = 64 << 10 // XATTR_SIZE_MAX
	maxXattrs      = 256
	maxMajorNumber = 1<<12 - 1
	maxMinorNumber = 1<<20 - 1
)

// maxControlBytes bounds control.tar, decompressed; the md5sums of the largest
// packages have 10 MiB.
const maxControlBytes = 64 << 20

const tarBlockSize = 512

// Files of control.tar this package knows.
const (
	controlFile = "control"
	md5sumsFile = "md5sums"
)

// PAX records (POSIX.1-2017, pax(1)) of other vendors that carry attributes.
const (
	paxSchilyXattr  = "SCHILY.xattr."      // name follows; the value is binary
	paxAccessACL    = "SCHILY.acl.access"  // text
	paxDefaultACL   = "SCHILY.acl.default" // text
	paxSELinux      = "RHT.security.selinux"
	paxSparse       = "GNU.sparse."
	xattrAccessACL  = "system.posix_acl_access"
	xattrDefaultACL = "system.posix_acl_default"
	xattrSELinux    = "security.selinux"
)

// A tarImporter makes the entries of a tree from a tar stream and puts the
// contents of files into a batch.
type tarImporter struct {
	batch   *store.Batch
	limits  tarLimits
	entries []tree.Entry
	index   map[string]int // path → entries

	links         uint32 // groups of hard links so far
	devices       int
	metadataBytes int64
	contentBytes  int64

	md5  hash.Hash         // nil unless sums are wanted
	sums map[string]string // path → MD5 in hexadecimal
}

func newTarImporter(batch *store.Batch, limits tarLimits, wantSums bool) *tarImporter {
	im := &tarImporter{batch: batch, limits: limits, index: map[string]int{}}
	if wantSums {
		im.md5 = md5.New()
		im.sums = map[string]string{}
	}
	return im
}

// read imports every entry of the stream.
func (im *tarImporter) read(r io.Reader) error {
	return readTar(r, im.add)
}

// readTar calls add for every entry of the archive in r, which must have its end
// mark: without it nobody can tell a whole archive from a part of one.
func readTar(r io.Reader, add func(*tar.Header, io.Reader) error) error {
	in := &countingReader{r: r}
	archive := tar.NewReader(in)
	last := "" // the entry before the current position, for errors
	for {
		before := in.n
		h, err := archive.Next()
		if err == io.EOF {
			padded := (before + tarBlockSize - 1) &^ (tarBlockSize - 1)
			if in.n-padded < 2*tarBlockSize {
				return fmt.Errorf("the archive ends after entry %q without its end mark: it has been cut short", last)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("the header after entry %q: %w", last, describeTarError(err))
		}
		if err := add(h, archive); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, describeTarError(err))
		}
		last = h.Name
	}
}

// describeTarError puts into words the two errors of archive/tar that are not.
func describeTarError(err error) error {
	switch {
	case errors.Is(err, tar.ErrHeader):
		return errors.New("it is not a valid tar header")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the archive ends in the middle of it")
	}
	return err
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// add imports one entry.
func (im *tarImporter) add(h *tar.Header, contents io.Reader) error {
	if err := checkTarForm(h); err != nil {
		return err
	}
	path, err := entryPath(h.Name, h.Typeflag == tar.TypeDir)
	if err != nil {
		return err
	}
	if _, ok := im.index[path]; ok {
		return errors.New("it is in the archive twice")
	}
	if h.Typeflag == tar.TypeLink {
		return im.addHardLink(path, h.Linkname)
	}
	e := tree.Entry{
		Path:  path,
		Mode:  uint32(h.Mode & 0o7777), // some archives put the file type in, too
		MTime: tree.Time{Sec: h.ModTime.Unix(), Nsec: uint32(h.ModTime.Nanosecond())},
	}
	if e.UID, err = ownerID(h.Uid); err != nil {
		return err
	}
	if e.GID, err = ownerID(h.Gid); err != nil {
		return err
	}
	if e.Xattrs, err = xattrs(h); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg:
		e.Type = tree.Regular
		if h.Size > im.limits.streamBytes {
			return fmt.Errorf("it claims %d bytes; no package has a file of more than %d", h.Size, im.limits.streamBytes)
		}
		if err := im.addContents(&e, contents); err != nil {
			return err
		}
		if e.Size != h.Size {
			return fmt.Errorf("it has %d bytes instead of %d", e.Size, h.Size)
		}
	case tar.TypeDir:
		e.Type = tree.Directory
	case tar.TypeSymlink:
		e.Type = tree.Symlink
		if e.Target, err = symlinkTarget(h.Linkname); err != nil {
			return err
		}
	case tar.TypeFifo:
		e.Type = tree.FIFO
	case tar.TypeChar, tar.TypeBlock:
		e.Type = tree.CharDevice
		if h.Typeflag == tar.TypeBlock {
			e.Type = tree.BlockDevice
		}
		if err := im.setDevice(&e, h.Devmajor, h.Devminor); err != nil {
			return err
		}
	default:
		return fmt.Errorf("entries of tar type %q have no place in a package", h.Typeflag)
	}
	return im.append(e)
}

// addContents stores the contents of a regular file.
func (im *tarImporter) addContents(e *tree.Entry, contents io.Reader) (err error) {
	if im.md5 != nil {
		im.md5.Reset()
		contents = io.TeeReader(contents, im.md5)
	}
	if e.Digest, e.Size, err = im.batch.Add(contents); err != nil {
		return err
	}
	if im.md5 != nil {
		im.sums[e.Path] = fmt.Sprintf("%x", im.md5.Sum(nil))
	}
	im.contentBytes += e.Size
	return nil
}

// addHardLink adds another name of an earlier entry.
func (im *tarImporter) addHardLink(path, linkname string) error {
	target, err := entryPath(linkname, false)
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

func (im *tarImporter) setDevice(e *tree.Entry, major, minor int64) error {
	if im.devices++; im.devices > im.limits.devices {
		return fmt.Errorf("it is one device too many: no package has more than %d", im.limits.devices)
	}
	if major < 0 || major > maxMajorNumber || minor < 0 || minor > maxMinorNumber {
		return fmt.Errorf("there is no device number %d:%d on Linux", major, minor)
	}
	e.Major, e.Minor = uint32(major), uint32(minor)
	return nil
}

// append adds an entry unless there are too many or they are too large.
func (im *tarImporter) append(e tree.Entry) error {
	if len(im.entries) == im.limits.entries {
		return fmt.Errorf("the archive has more than %d entries", im.limits.entries)
	}
	im.metadataBytes += int64(len(e.Path) + len(e.Target))
	for _, x := range e.Xattrs {
		im.metadataBytes += int64(len(x.Name) + len(x.Value))
	}
	if im.metadataBytes > im.limits.metadataBytes {
		return fmt.Errorf("the names and attributes of the archive need more than %d bytes", im.limits.metadataBytes)
	}
	im.index[e.Path] = len(im.entries)
	im.entries = append(im.entries, e)
	return nil
}

// tree adds the parents that are missing and returns the tree.
func (im *tarImporter) tree() (*tree.Tree, error) {
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

func missingDirectory(path string, mtime tree.Time) tree.Entry {
	return tree.Entry{Path: path, Type: tree.Directory, Mode: 0o755, MTime: mtime}
}

// md5sums returns the sums in the form of a package's md5sums file: what dpkg
// writes for a package that ships none.
func (im *tarImporter) md5sums() []byte {
	var out bytes.Buffer
	for _, path := range slices.Sorted(maps.Keys(im.sums)) {
		fmt.Fprintf(&out, "%s  %s\n", im.sums[path], path)
	}
	return out.Bytes()
}

// checkTarForm refuses the forms of tar that archive/tar reads but dpkg does not
// and for which a package has no use, and links and devices with contents, about
// whose length implementations of tar disagree.
func checkTarForm(h *tar.Header) error {
	if h.Typeflag == tar.TypeGNUSparse {
		return errors.New("it is a GNU sparse file, which dpkg does not accept either")
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, paxSparse) {
			return errors.New("it is a PAX sparse file, which dpkg does not accept either")
		}
	}
	switch h.Typeflag {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		if h.Size != 0 {
			return fmt.Errorf("it claims contents of %d bytes, but only regular files have contents", h.Size)
		}
	}
	return nil
}

// entryPath turns the name of an entry into the path of a tree: without a leading
// "./" and, for directories, without the trailing slash.
func entryPath(name string, isDir bool) (string, error) {
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

func symlinkTarget(target string) (string, error) {
	switch {
	case target == "":
		return "", errors.New("it is a symbolic link to nothing")
	case len(target) > maxPathBytes:
		return "", fmt.Errorf("its target has %d bytes; Linux allows %d", len(target), maxPathBytes)
	case strings.ContainsRune(target, 0):
		return "", errors.New("its target holds a NUL")
	}
	return target, nil
}

// ownerID checks a user or group id. The last one means "none" to the kernel.
func ownerID(id int) (uint32, error) {
	if id < 0 || id >= math.MaxUint32 {
		return 0, fmt.Errorf("its owner %d is not a user or group id", id)
	}
	return uint32(id), nil
}

// xattrs returns the extended attributes of an entry, sorted by name.
func xattrs(h *tar.Header) ([]tree.Xattr, error) {
	values := map[string]string{}
	for key, value := range h.PAXRecords {
		name, isXattr := strings.CutPrefix(key, paxSchilyXattr)
		switch {
		case isXattr:
			values[name] = value
		case key == paxSELinux:
			values[xattrSELinux] = value
		}
	}
	for key, name := range map[string]string{paxAccessACL: xattrAccessACL, paxDefaultACL: xattrDefaultACL} {
		text, ok := h.PAXRecords[key]
		if !ok || text == "" {
			continue
		}
		acl, err := parseTextACL(text)
		if err != nil {
			return nil, fmt.Errorf("its ACL %q: %w", text, err)
		}
		if _, ok := values[name]; ok || (acl.minimal() && name == xattrAccessACL) {
			continue // the binary form is exact; a minimal ACL is the mode
		}
		values[name] = string(acl.encode())
	}
	if len(values) > maxXattrs {
		return nil, fmt.Errorf("it has %d extended attributes; no package needs more than %d", len(values), maxXattrs)
	}
	var list []tree.Xattr
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := checkXattr(name, values[name]); err != nil {
			return nil, fmt.Errorf("its extended attribute %q: %w", name, err)
		}
		list = append(list, tree.Xattr{Name: name, Value: []byte(values[name])})
	}
	return list, nil
}

// checkXattr refuses what no Linux file system would keep.
func checkXattr(name, value string) error {
	space, rest, _ := strings.Cut(name, ".")
	switch {
	case len(name) > maxXattrName:
		return fmt.Errorf("its name has %d bytes; Linux allows %d", len(name), maxXattrName)
	case len(value) > maxXattrBytes:
		return fmt.Errorf("its value has %d bytes; Linux allows %d", len(value), maxXattrBytes)
	case name == xattrAccessACL || name == xattrDefaultACL:
		return checkBinaryACL([]byte(value))
	case rest == "" || (space != "security" && space != "user" && space != "trusted"):
		return errors.New("there is no such name space on Linux")
	}
	return nil
}

// readControl reads control.tar: a flat set of small files.
func readControl(r io.Reader) (files map[string][]byte, modes map[string]uint32, err error) {
	files, modes = map[string][]byte{}, map[string]uint32{}
	err = readTar(r, func(h *tar.Header, contents io.Reader) error {
		if err := checkTarForm(h); err != nil {
			return err
		}
		path, err := entryPath(h.Name, h.Typeflag == tar.TypeDir)
		if err != nil {
			return err
		}
		switch {
		case path == tree.Root:
			return nil
		case h.Typeflag != tar.TypeReg || strings.Contains(path, "/"):
			return errors.New("control information is made of regular files in one directory")
		case files[path] != nil:
			return errors.New("it is in the archive twice")
		}
		// readMember bounds the length, whatever the header claims.
		if files[path], err = io.ReadAll(contents); err != nil {
			return err
		}
		modes[path] = uint32(h.Mode & 0o7777)
		return nil
	})
	if err == nil && len(files[controlFile]) == 0 {
		err = errors.New("it has no control file")
	}
	return files, modes, err
}
