package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// POSIX ACLs have two forms: that of the system.posix_acl_* attributes (version 2,
// 8 bytes an entry; linux/posix_acl_xattr.h), which trees hold, and a shorter one
// on disk (version 1; fs/ext4/acl.h).
const (
	aclXattrVersion = 2
	aclDiskVersion  = 1

	aclUser  = 0x02 // the tags of entries that have an id
	aclGroup = 0x08

	aclUndefinedID = 0xffffffff
)

// aclToDisk converts an attribute's value to the form on disk.
func aclToDisk(value []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(value) < 4 || le.Uint32(value) != aclXattrVersion || (len(value)-4)%8 != 0 {
		return nil, errors.New("it is not an ACL of version 2")
	}
	out := le.AppendUint32(make([]byte, 0, len(value)), aclDiskVersion)
	for p := value[4:]; len(p) > 0; p = p[8:] {
		out = append(out, p[:4]...) // tag and permissions
		if hasID, err := aclTagHasID(le.Uint16(p)); err != nil {
			return nil, err
		} else if hasID {
			out = append(out, p[4:8]...)
		}
	}
	return out, nil
}

// aclFromDisk is the inverse of aclToDisk.
func aclFromDisk(value []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(value) < 4 || le.Uint32(value) != aclDiskVersion {
		return nil, errors.New("it is not an ACL of version 1")
	}
	out := le.AppendUint32(make([]byte, 0, 2*len(value)), aclXattrVersion)
	for p := value[4:]; len(p) > 0; {
		if len(p) < 4 {
			return nil, errors.New("its last entry is cut short")
		}
		hasID, err := aclTagHasID(le.Uint16(p))
		if err != nil {
			return nil, err
		}
		out = append(out, p[:4]...)
		p = p[4:]
		if !hasID {
			out = le.AppendUint32(out, aclUndefinedID)
			continue
		}
		if len(p) < 4 {
			return nil, errors.New("its last entry is cut short")
		}
		out = append(out, p[:4]...)
		p = p[4:]
	}
	return out, nil
}

func aclTagHasID(tag uint16) (bool, error) {
	switch tag {
	case aclUser, aclGroup:
		return true, nil
	case 0x01, 0x04, 0x10, 0x20: // the owner, the owning group, the mask, others
		return false, nil
	default:
		return false, fmt.Errorf("the tag %#x of an entry is unknown", tag)
	}
}
