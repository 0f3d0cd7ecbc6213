// Package isofs reads single files of ISO 9660 images (ECMA-119) by their Rock Ridge names (IEEE P1282), from any offset of a
// file of any size. The installer reads its medium with it: that needs no driver, no mount, and tells bad media apart
// from bad drivers.
//
// It differs from the reader in package fetch, which lists whole DVDs: this one follows one path, and reads files
// of several extents, as those over 4 GiB are.
package isofs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

const (
	sector           = 2048
	firstDescriptor  = 16
	descriptors      = 32       // no image has as many
	maxDirectory     = 16 << 20 // bytes of one directory
	maxContinuations = 16       // of one record's system use area

	flagDirectory = 1 << 1
	flagContinues = 1 << 7 // the next record is a further extent of the file
)

// ErrNoISO says that there is no ISO 9660 volume.
var ErrNoISO = errors.New("it holds no ISO 9660 volume")

// Volume is an image.
type Volume struct {
	// ID and SetID are the volume identifier and the volume set identifier, without the spaces that fill them.
	ID, SetID string
	// Size is the number of bytes the volume says it has.
	Size int64

	image io.ReaderAt
	root  record
	rock  bool // has Rock Ridge
	skip  int  // bytes before system use entries
}

// record is a directory record, or all of those of one file.
type record struct {
	name      string
	directory bool
	extents   []extent
	size      int64
}

type extent struct{ offset, size int64 }

// Open reads the volume descriptors. Without any the error is ErrNoISO; an error of the device is returned as it is.
func Open(image io.ReaderAt) (*Volume, error) {
	for n := range int64(descriptors) {
		d := make([]byte, sector)
		if err := readAt(image, d, (firstDescriptor+n)*sector); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return nil, ErrNoISO
			}
			return nil, err
		}
		if string(d[1:6]) != "CD001" || d[0] == 255 {
			return nil, ErrNoISO
		}
		if d[0] != 1 { // only the primary one
			continue
		}
		if size := binary.LittleEndian.Uint16(d[128:]); size != sector {
			return nil, fmt.Errorf("the ISO 9660 volume has blocks of %d bytes, not %d", size, sector)
		}
		v := &Volume{
			ID:    strings.TrimRight(string(d[40:72]), " \x00"),
			SetID: strings.TrimRight(string(d[190:318]), " \x00"),
			Size:  int64(binary.LittleEndian.Uint32(d[80:])) * sector,
			image: image,
		}
		root, _, err := parseRecord(d[156:190])
		if err != nil {
			return nil, err
		}
		v.root = root
		return v, v.findRockRidge()
	}
	return nil, ErrNoISO
}

// findRockRidge reads the "SP" entry of the root's first record, which says where system use entries begin.
func (v *Volume) findRockRidge() error {
	first := make([]byte, sector)
	if err := readAt(v.image, first, v.root.extents[0].offset); err != nil {
		return err
	}
	length := int(first[0])
	// 33 bytes and the name of "." come before the entries.
	if length >= 34+7 && first[34] == 'S' && first[35] == 'P' && first[38] == 0xbe && first[39] == 0xef {
		v.rock, v.skip = true, int(first[40])
	}
	return nil
}

// File is the contents of a file.
type File struct {
	image   io.ReaderAt
	extents []extent
	size    int64
}

// Size is the length of the file in bytes.
func (f *File) Size() int64 { return f.size }

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset < 0 {
		return 0, errors.New("negative offset")
	}
	for _, e := range f.extents {
		if offset >= e.size {
			offset -= e.size
			continue
		}
		for n < len(p) && offset < e.size {
			piece := p[n:min(len(p), n+int(min(e.size-offset, 1<<30)))]
			got, err := f.image.ReadAt(piece, e.offset+offset)
			n += got
			offset += int64(got)
			if got < len(piece) {
				if err == nil || errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF // the image is cut short
				}
				return n, err
			}
		}
		offset = 0
		if n == len(p) {
			return n, nil
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Open finds the file with an absolute path. The error wraps fs.ErrNotExist when there is none.
func (v *Volume) Open(path string) (*File, error) {
	at := v.root
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if !at.directory {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		next, err := v.find(at, name)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		at = next
	}
	if at.directory {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("it is a directory")}
	}
	return &File{v.image, at.extents, at.size}, nil
}

// ReadFile returns the contents of a file of at most the given size.
func (v *Volume) ReadFile(path string, most int64) ([]byte, error) {
	f, err := v.Open(path)
	if err != nil {
		return nil, err
	}
	if f.size > most {
		return nil, fmt.Errorf("%s has %d bytes; at most %d were expected", path, f.size, most)
	}
	data := make([]byte, f.size)
	if n, err := f.ReadAt(data, 0); n < len(data) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// find returns an entry of a directory.
func (v *Volume) find(dir record, name string) (record, error) {
	if dir.size > maxDirectory {
		return record{}, fmt.Errorf("a directory has %d bytes", dir.size)
	}
	data := make([]byte, dir.size)
	if n, err := (&File{v.image, dir.extents, dir.size}).ReadAt(data, 0); n < len(data) {
		return record{}, err
	}
	var file record // of which more extents follow
	continues := false
	for at := 0; at < len(data); {
		length := int(data[at])
		if length == 0 { // records do not cross sectors
			at = (at/sector + 1) * sector
			continue
		}
		if length < 34 || at+length > len(data) {
			return record{}, errors.New("a directory is malformed")
		}
		raw := data[at : at+length]
		at += length
		r, use, err := parseRecord(raw)
		if err != nil {
			return record{}, err
		}
		if n := raw[32]; n == 1 && raw[33] <= 1 { // "." and ".."
			continue
		}
		rockName, err := v.rockName(use)
		if err != nil {
			return record{}, err
		}
		if rockName == "" {
			rockName, _, _ = strings.Cut(r.name, ";")
			rockName = strings.TrimSuffix(rockName, ".")
		}
		if rockName != name {
			continue
		}
		if !continues {
			file = r
		} else {
			file.extents = append(file.extents, r.extents...)
			file.size += r.size
		}
		continues = raw[25]&flagContinues != 0
		if !continues {
			return file, nil
		}
	}
	if continues {
		return record{}, errors.New("a directory is malformed: a file is not complete")
	}
	return record{}, fs.ErrNotExist
}

// parseRecord reads a directory record, and returns its system use area.
func parseRecord(raw []byte) (record, []byte, error) {
	if len(raw) < 34 || 33+int(raw[32]) > len(raw) {
		return record{}, nil, errors.New("a directory is malformed")
	}
	nameEnd := 33 + int(raw[32])
	r := record{
		name:      string(raw[33:nameEnd]),
		directory: raw[25]&flagDirectory != 0,
		size:      int64(binary.LittleEndian.Uint32(raw[10:])),
	}
	r.extents = []extent{{(int64(binary.LittleEndian.Uint32(raw[2:])) + int64(raw[1])) * sector, r.size}}
	// The name is padded, so that what follows begins at an even offset.
	return r, raw[min(len(raw), nameEnd+nameEnd%2):], nil
}

// rockName joins the "NM" entries of a system use area and of its continuations.
func (v *Volume) rockName(use []byte) (string, error) {
	if !v.rock {
		return "", nil
	}
	use = use[min(v.skip, len(use)):]
	var name strings.Builder
	for range maxContinuations {
		var next []byte
		for len(use) >= 4 {
			length := int(use[2])
			if length < 4 || length > len(use) {
				break // padding
			}
			entry := use[:length]
			use = use[length:]
			switch string(entry[:2]) {
			case "NM":
				if length > 5 {
					name.Write(entry[5:])
				}
			case "CE":
				if length < 28 {
					return "", errors.New("a directory is malformed")
				}
				block := int64(binary.LittleEndian.Uint32(entry[4:]))
				offset := int64(binary.LittleEndian.Uint32(entry[12:]))
				size := int64(binary.LittleEndian.Uint32(entry[20:]))
				if size > sector {
					return "", errors.New("a directory is malformed")
				}
				next = make([]byte, size)
				if err := readAt(v.image, next, block*sector+offset); err != nil {
					return "", err
				}
			case "ST":
				use = nil
			}
		}
		if next == nil {
			return name.String(), nil
		}
		use = next
	}
	return "", errors.New("a directory is malformed")
}

// readAt fills p; io.ErrUnexpectedEOF says that the image ends before.
func readAt(r io.ReaderAt, p []byte, offset int64) error {
	n, err := r.ReadAt(p, offset)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
