package fetch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Reading ISO 9660 images (ECMA-119) with the names of Rock Ridge (IEEE P1282, SUSP).
// github.com/kdomanski/iso9660 0.4 would read them, too, but does not end on some
// malformed images, and computes the place of a directory modulo 4 GiB.

const (
	isoSector      = 2048
	isoDescriptors = 16 // sector of the first volume descriptor

	volumePrimary    = 1
	volumeTerminator = 255

	// Flags of a directory record.
	isoDirectory = 1 << 1
	isoContinues = 1 << 7 // the next record is a further piece of the file
)

// Bounds on what strangers' images can make us do. An install DVD with 10,000 packages
// has 3 MB of directories.
const (
	maxISODirectories = 64 << 20 // bytes, all together
	maxISODepth       = 64
)

// An isoExtent is where in the image the contents of a file are, in bytes.
type isoExtent struct{ offset, size int64 }

// inPieces is the size of a file whose contents are not in one piece.
const inPieces = -1

// An isoReader finds the files of an image.
type isoReader struct {
	image   io.ReaderAt
	left    int64          // bytes of directories that may still be read
	seen    map[int64]bool // directories, by their offset
	skip    int            // bytes before system use entries
	rock    bool           // has Rock Ridge
	files   map[string]isoExtent
	dirs    map[string]bool
	partial string // a file of which more pieces must follow
}

// A volume descriptor has the directory record of the root at this offset.
const isoRootRecord = 156

// readISO finds the files and directories of an image. Names have no slash at the
// beginning; the root is ".".
func readISO(image io.ReaderAt) (files map[string]isoExtent, dirs map[string]bool, err error) {
	r := &isoReader{
		image: image, left: maxISODirectories, seen: make(map[int64]bool),
		files: make(map[string]isoExtent), dirs: make(map[string]bool),
	}
	for sector := int64(isoDescriptors); ; sector++ {
		descriptor, err := r.read(sector*isoSector, isoSector)
		if err != nil {
			return nil, nil, err
		}
		if string(descriptor[1:6]) != "CD001" || descriptor[0] == volumeTerminator {
			return nil, nil, errors.New("it has no primary volume descriptor")
		}
		if descriptor[0] != volumePrimary {
			continue
		}
		if size := binary.LittleEndian.Uint16(descriptor[128:]); size != isoSector {
			return nil, nil, fmt.Errorf("its blocks have %d bytes, not %d", size, isoSector)
		}
		root := parseISORecord(descriptor[isoRootRecord : isoRootRecord+34])
		return r.files, r.dirs, r.readDirectory(root.extent, ".", 0)
	}
}

// read returns a part of the image that is not a file's contents.
func (r *isoReader) read(offset, size int64) ([]byte, error) {
	if r.left -= size; r.left < 0 {
		return nil, fmt.Errorf("its directories have more than %d bytes", maxISODirectories)
	}
	p := make([]byte, size)
	if _, err := r.image.ReadAt(p, offset); err == io.EOF {
		return nil, errors.New("it is cut short: what describes its files is not all there")
	} else if err != nil {
		return nil, err
	}
	return p, nil
}

// An isoRecord is one entry of a directory (ECMA-119, 9.1).
type isoRecord struct {
	extent    isoExtent
	flags     byte
	name      string
	systemUse []byte
}

// parseISORecord parses a record whose length has been checked.
func parseISORecord(p []byte) isoRecord {
	start := int64(binary.LittleEndian.Uint32(p[2:])) + int64(p[1])
	rec := isoRecord{
		extent: isoExtent{start * isoSector, int64(binary.LittleEndian.Uint32(p[10:]))},
		flags:  p[25],
	}
	end := 33 + int(p[32])
	if end > len(p) {
		return rec // without a name, which is an error in a directory
	}
	rec.name = string(p[33:end])
	end += end % 2 // to an even length
	rec.systemUse = p[min(end, len(p)):]
	return rec
}

// Names of a directory itself and of the one above it.
const isoSelf, isoParent = "\x00", "\x01"

func (r *isoReader) readDirectory(extent isoExtent, name string, depth int) error {
	if depth > maxISODepth || r.seen[extent.offset] {
		return fmt.Errorf("it is malformed: directory %s contains itself", name)
	}
	r.seen[extent.offset] = true
	r.dirs[name] = true
	p, err := r.read(extent.offset, extent.size)
	if err != nil {
		return err
	}
	for i := 0; i < len(p); {
		length := int(p[i])
		if length == 0 { // records do not cross sectors
			i = (i/isoSector + 1) * isoSector
			continue
		}
		if length < 34 || i+length > len(p) {
			return fmt.Errorf("it is malformed: directory %s has an entry of %d bytes", name, length)
		}
		if err := r.addRecord(parseISORecord(p[i:i+length]), name, depth); err != nil {
			return err
		}
		i += length
	}
	return nil
}

// addRecord notes what a record of a directory says.
func (r *isoReader) addRecord(rec isoRecord, dir string, depth int) error {
	if rec.name == isoSelf && dir == "." {
		r.findRockRidge(rec.systemUse)
	}
	if rec.name == isoSelf || rec.name == isoParent {
		return nil
	}
	u := isoSystemUse{name: plainISOName(rec.name)}
	if r.rock && len(rec.systemUse) >= r.skip {
		if err := r.readSystemUse(rec.systemUse[r.skip:], &u); err != nil {
			return err
		}
	}
	if u.name == "" || u.name == "." || u.name == ".." || strings.ContainsAny(u.name, "/\x00") {
		return fmt.Errorf("it is malformed: directory %s holds the name %q", dir, u.name)
	}
	below := path.Join(dir, u.name)
	switch {
	case u.relocated || u.special:
		return nil
	case u.moved > 0:
		return r.readMoved(u.moved, below, depth+1)
	case rec.flags&isoDirectory != 0:
		return r.readDirectory(rec.extent, below, depth+1)
	}
	r.addFile(below, rec)
	return nil
}

// addFile notes a file, or a further piece of the one that was noted last.
func (r *isoReader) addFile(name string, rec isoRecord) {
	extent := rec.extent
	if r.partial == name {
		first := r.files[name]
		if first.size >= 0 && first.offset+first.size == extent.offset {
			extent = isoExtent{first.offset, first.size + extent.size}
		} else {
			extent.size = inPieces
		}
	}
	r.files[name] = extent
	r.partial = ""
	if rec.flags&isoContinues != 0 {
		r.partial = name
	}
}

// readMoved reads a directory that Rock Ridge has in another place because plain
// ISO 9660 allows only eight levels. Its size is in its own first record.
func (r *isoReader) readMoved(sector int64, name string, depth int) error {
	p, err := r.read(sector*isoSector, isoSector)
	if err != nil {
		return err
	}
	return r.readDirectory(isoExtent{sector * isoSector, parseISORecord(p[:34]).extent.size}, name, depth)
}

// plainISOName is a name without what ISO 9660 appends: a version, and a dot where there is no suffix.
func plainISOName(name string) string {
	name, _, _ = strings.Cut(name, ";")
	return strings.TrimSuffix(name, ".")
}

// findRockRidge looks at the root's own record, which says whether there are system
// use entries and where they begin (SUSP 5.3).
func (r *isoReader) findRockRidge(p []byte) {
	if len(p) >= 7 && string(p[:2]) == "SP" && p[4] == 0xbe && p[5] == 0xef {
		r.rock, r.skip = true, int(p[6])
	}
}

// An isoSystemUse is what Rock Ridge says of a record.
type isoSystemUse struct {
	name      string
	named     bool  // name is Rock Ridge's
	moved     int64 // sector of a directory that is in another place; 0: it is not
	relocated bool  // this is that other place
	special   bool  // a symbolic link, device, …
}

// Of a POSIX mode: the bits of the type, and those types that count.
const modeType, modeRegular, modeDirectory = 0o170000, 0o100000, 0o040000

// maxContinuations bounds the areas in which the entries of one record go on.
const maxContinuations = 32

// readSystemUse reads the system use entries of a record, in its own area and in those
// where they go on (SUSP 5.1).
func (r *isoReader) readSystemUse(p []byte, u *isoSystemUse) error {
	for range maxContinuations {
		var next isoExtent
		for len(p) >= 4 {
			length := int(p[2])
			if length < 4 || length > len(p) {
				break // padding
			}
			entry := p[:length]
			p = p[length:]
			switch kind := string(entry[:2]); {
			case kind == "CE" && length >= 28:
				sector, offset := binary.LittleEndian.Uint32(entry[4:]), binary.LittleEndian.Uint32(entry[12:])
				next = isoExtent{int64(sector)*isoSector + int64(offset), int64(binary.LittleEndian.Uint32(entry[20:]))}
			case kind == "ST":
				p = nil
			default:
				u.add(kind, entry)
			}
		}
		if next.size == 0 {
			return nil
		}
		var err error
		if p, err = r.read(next.offset, next.size); err != nil {
			return err
		}
	}
	return errors.New("it is malformed: the description of a file has no end")
}

// add notes one system use entry.
func (u *isoSystemUse) add(kind string, entry []byte) {
	switch {
	case kind == "NM" && len(entry) >= 5:
		if !u.named {
			u.name, u.named = "", true
		}
		u.name += string(entry[5:])
	case kind == "PX" && len(entry) >= 8:
		mode := binary.LittleEndian.Uint32(entry[4:]) & modeType
		u.special = mode != modeRegular && mode != modeDirectory
	case kind == "CL" && len(entry) >= 8:
		u.moved = int64(binary.LittleEndian.Uint32(entry[4:]))
	case kind == "RE":
		u.relocated = true
	}
}
