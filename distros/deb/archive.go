package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The ar(5) container of a package, as deb(5) restricts it: no symbol table,
// no long names, sizes in decimal.
const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
	// maxArMembers is far above the three members deb(5) asks for and the
	// signatures some archives add.
	maxArMembers = 64
)

// An arMember is where one member of an ar archive lies.
type arMember struct {
	name   string
	offset int64 // of the contents, bytes from the start of the file
	size   int64 // of the contents, bytes
}

// readAr lists the members of the ar archive of size bytes in r. Every member
// it returns lies inside the file.
func readAr(r io.ReaderAt, size int64) ([]arMember, error) {
	magic := make([]byte, len(arMagic))
	if n, err := r.ReadAt(magic, 0); n < len(magic) {
		if err == io.EOF {
			return nil, errors.New("it is too short to be an ar archive")
		}
		return nil, err
	}
	if string(magic) != arMagic {
		return nil, errors.New("it is not an ar archive")
	}
	var members []arMember
	header := make([]byte, arHeaderSize)
	for pos := int64(len(arMagic)); pos < size; {
		if len(members) == maxArMembers {
			return nil, fmt.Errorf("it has more than %d members", maxArMembers)
		}
		if n, err := r.ReadAt(header, pos); n < len(header) {
			if err == io.EOF {
				return nil, fmt.Errorf("it ends inside the member header at byte %d", pos)
			}
			return nil, err
		}
		m, err := parseArHeader(header)
		if err != nil {
			return nil, fmt.Errorf("the member header at byte %d is malformed: %w", pos, err)
		}
		m.offset = pos + arHeaderSize
		if m.size > size-m.offset {
			return nil, fmt.Errorf("member %q claims %d bytes, but only %d follow", m.name, m.size, size-m.offset)
		}
		members = append(members, m)
		pos = m.offset + m.size + m.size&1 // contents are padded to an even length
	}
	return members, nil
}

// parseArHeader reads name and size of a 60-byte member header; owner, mode and
// time mean nothing in a package.
func parseArHeader(h []byte) (arMember, error) {
	if !bytes.Equal(h[58:60], []byte("`\n")) {
		return arMember{}, errors.New("it does not end in the ar header mark")
	}
	name := strings.TrimRight(string(h[:16]), " ")
	name = strings.TrimSuffix(name, "/") // binutils' ar ends names in a slash
	if name == "" || strings.ContainsAny(name, "/\x00\n") {
		return arMember{}, fmt.Errorf("%q is not a member name", h[:16])
	}
	digits := strings.TrimRight(string(h[48:58]), " ")
	// ParseUint accepts no sign; ten digits always fit.
	size, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return arMember{}, fmt.Errorf("%q is not a size", digits)
	}
	return arMember{name: name, size: int64(size)}, nil
}

// debMembers are the two members of a package that matter.
type debMembers struct {
	control, data arMember
}

// findDebMembers checks that an archive is laid out as deb(5) says: first
// debian-binary of format 2, then control.tar, then data.tar. Members whose
// name starts with an underscore and whatever follows data.tar are ignored, as
// deb(5) prescribes.
func findDebMembers(r io.ReaderAt, members []arMember) (debMembers, error) {
	if len(members) == 0 || members[0].name != "debian-binary" {
		return debMembers{}, errors.New("its first member is not debian-binary: it is not a Debian package")
	}
	if err := checkDebVersion(r, members[0]); err != nil {
		return debMembers{}, err
	}
	var found debMembers
	for _, m := range members[1:] {
		switch base, _, _ := strings.Cut(m.name, "."); {
		case strings.HasPrefix(m.name, "_"):
		case base == "control" && strings.HasPrefix(m.name, "control.tar") && found.control.name == "":
			found.control = m
		case base == "data" && strings.HasPrefix(m.name, "data.tar") && found.control.name != "":
			found.data = m
			return found, nil
		default:
			return debMembers{}, fmt.Errorf("member %q is not expected here: deb(5) wants debian-binary, control.tar, data.tar", m.name)
		}
	}
	if found.control.name == "" {
		return debMembers{}, errors.New("it has no control.tar member")
	}
	return debMembers{}, errors.New("it has no data.tar member")
}

// checkDebVersion reads debian-binary: "2.<minor>\n", of which any minor
// version is compatible.
func checkDebVersion(r io.ReaderAt, m arMember) error {
	if m.size > 1024 {
		return fmt.Errorf("debian-binary has %d bytes instead of a version number", m.size)
	}
	p := make([]byte, m.size)
	if _, err := r.ReadAt(p, m.offset); err != nil && err != io.EOF {
		return err
	}
	version, _, ended := strings.Cut(string(p), "\n")
	if !ended || !strings.HasPrefix(version, "2.") {
		return fmt.Errorf("its package format is %q; only format 2 is understood", version)
	}
	return nil
}
