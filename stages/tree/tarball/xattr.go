package tarball

import (
	"archive/tar"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// PAX records (POSIX.1-2017, pax(1)) of vendors that carry attributes.
const (
	paxSchilyXattr     = "SCHILY.xattr."      // name follows; the value is binary
	paxLibarchiveXattr = "LIBARCHIVE.xattr."  // name, percent-encoded, follows; the value is in base64
	paxAccessACL       = "SCHILY.acl.access"  // text
	paxDefaultACL      = "SCHILY.acl.default" // text
	paxSELinux         = "RHT.security.selinux"
	paxSparse          = "GNU.sparse."
	xattrAccessACL     = "system.posix_acl_access"
	xattrDefaultACL    = "system.posix_acl_default"
	xattrSELinux       = "security.selinux"
)

// xattrs returns the extended attributes of an entry, sorted by name.
func xattrs(h *tar.Header) ([]tree.Xattr, error) {
	values := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) { // LIBARCHIVE before SCHILY, which is exact
		value := h.PAXRecords[key]
		if encoded, ok := strings.CutPrefix(key, paxLibarchiveXattr); ok {
			name, err := url.PathUnescape(encoded)
			if err != nil {
				return nil, fmt.Errorf("the name of its extended attribute %q: %w", encoded, err)
			}
			// bsdtar leaves the padding out.
			p, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "=\n"))
			if err != nil {
				return nil, fmt.Errorf("its extended attribute %q: %w", name, err)
			}
			values[name] = string(p)
		}
		if name, ok := strings.CutPrefix(key, paxSchilyXattr); ok {
			values[name] = value
		}
		if key == paxSELinux {
			values[xattrSELinux] = strings.TrimRight(value, "\x00")
		}
	}
	if err := addACLs(values, h.PAXRecords); err != nil {
		return nil, err
	}
	if len(values) > maxXattrs {
		return nil, fmt.Errorf("it has %d extended attributes; no file needs more than %d", len(values), maxXattrs)
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

// addACLs adds ACLs written as text to an entry's attributes.
func addACLs(values, records map[string]string) error {
	for key, name := range map[string]string{paxAccessACL: xattrAccessACL, paxDefaultACL: xattrDefaultACL} {
		text, ok := records[key]
		if !ok || text == "" {
			continue
		}
		acl, err := parseTextACL(text)
		if err != nil {
			return fmt.Errorf("its ACL %q: %w", text, err)
		}
		if _, ok := values[name]; ok || (acl.minimal() && name == xattrAccessACL) {
			continue // the binary form is exact; a minimal ACL is the mode
		}
		values[name] = string(acl.encode())
	}
	return nil
}

// checkXattr refuses what no Linux file system would keep.
func checkXattr(name, value string) error {
	space, rest, _ := strings.Cut(name, ".")
	switch {
	case len(name) > maxXattrName:
		return fmt.Errorf("its name has %d bytes; Linux allows %d", len(name), maxXattrName)
	case strings.ContainsRune(name, 0):
		return errors.New("its name holds a NUL")
	case len(value) > maxXattrBytes:
		return fmt.Errorf("its value has %d bytes; Linux allows %d", len(value), maxXattrBytes)
	case name == xattrAccessACL || name == xattrDefaultACL:
		return checkBinaryACL([]byte(value))
	case rest == "" || (space != "security" && space != "user" && space != "trusted"):
		return errors.New("there is no such name space on Linux")
	}
	return nil
}
