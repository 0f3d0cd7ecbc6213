package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// rangeIDs is how many ids besides root's a Range sandbox has: 1 to 65535.
const rangeIDs = 65535

// minRange is the number of subordinate ids a user needs: what useradd and
// usermod give out.
const minRange = 65536

// idMaps are the lines of /proc/PID/uid_map and gid_map of a sandbox.
type idMaps struct {
	uid, gid []syscall.SysProcIDMap
}

// String says which host ids are used.
func (m idMaps) String() string {
	if len(m.uid) < 2 {
		return fmt.Sprintf("user %d and group %d alone", m.uid[0].HostID, m.gid[0].HostID)
	}
	return fmt.Sprintf("user %d has subordinate users %d-%d and groups %d-%d", m.uid[0].HostID,
		m.uid[1].HostID, m.uid[1].HostID+rangeIDs-1, m.gid[1].HostID, m.gid[1].HostID+rangeIDs-1)
}

// singleID maps the user's own ids to root.
func singleID(uid, gid int) idMaps {
	return idMaps{
		uid: []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}},
		gid: []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}},
	}
}

// findRange returns the maps of the Range mode for a user, or a *HostError that
// says what the host lacks.
func findRange(uid, gid int) (idMaps, error) {
	name := strconv.Itoa(uid)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	m := singleID(uid, gid)
	for _, f := range []struct {
		path string
		ids  *[]syscall.SysProcIDMap
	}{{"/etc/subuid", &m.uid}, {"/etc/subgid", &m.gid}} {
		start, err := findSubordinate(f.path, name, uid)
		if err != nil {
			return idMaps{}, err
		}
		*f.ids = append(*f.ids, syscall.SysProcIDMap{ContainerID: 1, HostID: start, Size: rangeIDs})
	}
	if _, _, err := tools(); err != nil {
		return idMaps{}, err
	}
	return m, nil
}

// findSubordinate returns the first id of the user's first range of at least
// minRange ids in the file at path.
func findSubordinate(path, name string, uid int) (int, error) {
	lacking := &HostError{
		Problem: fmt.Sprintf("%s gives user %s no range of %d subordinate ids", path, name, minRange),
		Remedy:  fmt.Sprintf("as root, run: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s (a range no other user has)", name),
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, lacking
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	start, ok, err := parseSubordinate(f, name, uid)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	if !ok {
		return 0, lacking
	}
	return start, nil
}

// parseSubordinate reads lines "user:first:count" (subuid(5)). The user is a name
// or a number. Lines it cannot read belong to somebody else's business and are
// passed over, as newuidmap does.
func parseSubordinate(r io.Reader, name string, uid int) (start int, ok bool, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(fields) != 3 || fields[0] != name && fields[0] != strconv.Itoa(uid) {
			continue
		}
		first, err1 := strconv.ParseUint(fields[1], 10, 32)
		count, err2 := strconv.ParseUint(fields[2], 10, 32)
		if err1 == nil && err2 == nil && first > 0 && count >= minRange && first+count <= 1<<32 {
			return int(first), true, nil
		}
	}
	return 0, false, lines.Err()
}
