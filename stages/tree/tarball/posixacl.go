package tarball

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// Tags of POSIX.1e ACL entries, in the order in which the kernel wants them
// (linux/posix_acl.h).
const (
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
)

const (
	aclXattrVersion = 2 // linux/posix_acl_xattr.h: u32 version, then 8 bytes an entry
	aclUndefinedID  = math.MaxUint32
)

type aclEntry struct {
	tag, perm uint16
	id        uint32 // aclUndefinedID unless the tag is aclUser or aclGroup
}

// An acl is a POSIX.1e access control list, sorted as the kernel wants it.
type acl []aclEntry

// minimal reports whether the list says no more than a file's mode does.
func (a acl) minimal() bool { return len(a) == 3 }

// encode returns the form of the system.posix_acl_* attributes.
func (a acl) encode() []byte {
	out := binary.LittleEndian.AppendUint32(nil, aclXattrVersion)
	for _, e := range a {
		out = binary.LittleEndian.AppendUint16(out, e.tag)
		out = binary.LittleEndian.AppendUint16(out, e.perm)
		out = binary.LittleEndian.AppendUint32(out, e.id)
	}
	return out
}

// check applies the kernel's posix_acl_valid.
func (a acl) check() error {
	count := map[uint16]int{}
	for i, e := range a {
		if i > 0 && compareACL(a[i-1], e) >= 0 {
			return errors.New("its entries are not sorted, or one is there twice")
		}
		qualified := e.tag == aclUser || e.tag == aclGroup
		switch {
		case e.perm > 7:
			return fmt.Errorf("%#o are not permission bits", e.perm)
		case qualified == (e.id == aclUndefinedID):
			return errors.New("an entry lacks the id it needs or has one too many")
		}
		count[e.tag]++
	}
	named := count[aclUser] + count[aclGroup]
	switch {
	case count[aclUserObj] != 1 || count[aclGroupObj] != 1 || count[aclOther] != 1:
		return errors.New("it needs the owner, the owning group and others exactly once")
	case count[aclMask] > 1 || named > 0 && count[aclMask] == 0:
		return errors.New("it needs exactly one mask")
	case named+count[aclMask]+3 != len(a):
		return errors.New("it has an entry of unknown kind")
	}
	return nil
}

func compareACL(a, b aclEntry) int {
	return cmp.Or(cmp.Compare(a.tag, b.tag), cmp.Compare(a.id, b.id))
}

// checkBinaryACL checks the value of a system.posix_acl_* attribute.
func checkBinaryACL(p []byte) error {
	_, err := decodeACL(p)
	return err
}

// decodeACL reads the form of the system.posix_acl_* attributes.
func decodeACL(p []byte) (acl, error) {
	if len(p) < 4 || (len(p)-4)%8 != 0 || binary.LittleEndian.Uint32(p) != aclXattrVersion {
		return nil, errors.New("it is not an ACL of version 2")
	}
	var a acl
	for p = p[4:]; len(p) > 0; p = p[8:] {
		a = append(a, aclEntry{
			tag:  binary.LittleEndian.Uint16(p),
			perm: binary.LittleEndian.Uint16(p[2:]),
			id:   binary.LittleEndian.Uint32(p[4:]),
		})
	}
	return a, a.check()
}

// modeOf returns the mode of an entry with attributes. Where it has an access ACL, the
// kernel derives the permissions from that, with the mask as those of the group;
// archives have those of the owning group there, too.
func modeOf(mode uint32, attributes []tree.Xattr) (uint32, error) {
	for _, x := range attributes {
		if x.Name != xattrAccessACL {
			continue
		}
		list, err := decodeACL(x.Value)
		if err != nil {
			return 0, err
		}
		mode &^= 0o777
		group := uint32(0)
		for _, e := range list { // a mask comes after the group
			switch e.tag {
			case aclUserObj:
				mode |= uint32(e.perm) << 6
			case aclGroupObj, aclMask:
				group = uint32(e.perm) << 3
			case aclOther:
				mode |= uint32(e.perm)
			}
		}
		mode |= group
	}
	return mode, nil
}

// parseTextACL reads the text of a SCHILY.acl record: entries like "user::rwx",
// "user:1000:r-x" or "user:lisa:r-x:1000", separated by commas or newlines. A
// name without a number is an error: it means something only where it was
// written.
func parseTextACL(text string) (acl, error) {
	var list acl
	for entry := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		e, err := parseTextACLEntry(strings.TrimSpace(entry))
		if err != nil {
			return nil, fmt.Errorf("entry %q: %w", entry, err)
		}
		list = append(list, e)
	}
	slices.SortFunc(list, compareACL)
	if err := list.check(); err != nil {
		return nil, err
	}
	return list, nil
}

func parseTextACLEntry(entry string) (aclEntry, error) {
	entry, _, _ = strings.Cut(entry, "\t") // "#effective:…" comments follow
	fields := strings.Split(entry, ":")
	if len(fields) < 3 || len(fields) > 4 {
		return aclEntry{}, errors.New("it is not of the form kind:id:permissions")
	}
	e := aclEntry{id: aclUndefinedID}
	switch qualified := fields[1] != ""; fields[0] {
	case "user", "u":
		e.tag = aclUserObj
		if qualified {
			e.tag = aclUser
		}
	case "group", "g":
		e.tag = aclGroupObj
		if qualified {
			e.tag = aclGroup
		}
	case "mask", "m":
		e.tag = aclMask
	case "other", "o":
		e.tag = aclOther
	default:
		return aclEntry{}, fmt.Errorf("%q is neither user, group, mask nor other", fields[0])
	}
	if e.tag == aclUser || e.tag == aclGroup {
		// star writes the number behind the permissions.
		number := fields[1]
		if len(fields) == 4 {
			number = fields[3]
		}
		id, err := strconv.ParseUint(number, 10, 32)
		if err != nil || id == aclUndefinedID {
			return aclEntry{}, errors.New("it names a user or group without a numeric id")
		}
		e.id = uint32(id)
	}
	perm, err := parseACLPermissions(fields[2])
	e.perm = perm
	return e, err
}

// parseACLPermissions reads "rwx" with "-" for what is not granted.
func parseACLPermissions(s string) (uint16, error) {
	if len(s) != 3 {
		return 0, fmt.Errorf("%q are not permissions", s)
	}
	var perm uint16
	for i, c := range []byte("rwx") {
		switch s[i] {
		case c:
			perm |= 4 >> i
		case '-':
		default:
			return 0, fmt.Errorf("%q are not permissions", s)
		}
	}
	return perm, nil
}
