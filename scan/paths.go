package scan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/baselines"
	"github.com/imagefactory/imagefactory/scan/files"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Bits of modes.
const (
	setuidBit = 0o4000
	setgidBit = 0o2000
	stickyBit = 0o1000
)

// maxEvidence is how much evidence of one kind a rule shows: a tree in which
// everything is wrong is no reason for a report of 100,000 lines.
const maxEvidence = 50

// failMany adds a failure, or counts it where there are many already.
func (v *verdict) failMany(e Evidence) {
	switch {
	case len(v.proof) < maxEvidence:
		v.fail(e)
	case len(v.proof) == maxEvidence:
		v.proof = append(v.proof, Evidence{Found: "1 more", Wanted: e.Wanted})
	default:
		last := &v.proof[maxEvidence]
		var n int
		fmt.Sscan(last.Found, &n)
		last.Found = fmt.Sprintf("%d more", n+1)
	}
}

func (e *evaluator) permissions(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	found := e.root.Glob(r.Paths, r.Except)
	for _, entry := range found {
		if entry.Type == tree.Symlink {
			continue // its mode means nothing
		}
		var is, want []string
		if entry.Mode&^r.Mode() != 0 {
			is, want = append(is, fmt.Sprintf("mode %04o", entry.Mode)), append(want, "at most "+r.Value)
		}
		if owner := e.user(entry.UID); len(r.Owners) > 0 && !slices.Contains(r.Owners, owner) {
			is, want = append(is, "owner "+owner), append(want, "owner "+strings.Join(r.Owners, " or "))
		}
		if group := e.group(entry.GID); len(r.Groups) > 0 && !slices.Contains(r.Groups, group) {
			is, want = append(is, "group "+group), append(want, "group "+strings.Join(r.Groups, " or "))
		}
		if is != nil {
			v.failMany(Evidence{Path: "/" + entry.Path, Found: strings.Join(is, ", "), Wanted: strings.Join(want, ", ")})
		} else if len(found) <= maxEvidence {
			v.pass(Evidence{Path: "/" + entry.Path, Found: fmt.Sprintf("mode %04o, %s:%s", entry.Mode, e.user(entry.UID), e.group(entry.GID))})
		}
	}
	if len(found) == 0 {
		v.absent = "the tree has none of these files"
	}
	return v, nil
}

// user returns the name of a user, or the number where there is none.
func (e *evaluator) user(uid uint32) string {
	if name, ok := e.accounts.UserName(uid); ok || uid == 0 {
		if !ok {
			return "root"
		}
		return name
	}
	return fmt.Sprint(uid)
}

// group returns the name of a group, or the number where there is none.
func (e *evaluator) group(gid uint32) string {
	if name, ok := e.accounts.GroupName(gid); ok || gid == 0 {
		if !ok {
			return "root"
		}
		return name
	}
	return fmt.Sprint(gid)
}

func (e *evaluator) absent(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	for _, entry := range e.root.Glob(r.Paths, r.Except) {
		if entry.Type != tree.Directory {
			v.failMany(Evidence{Path: "/" + entry.Path, Found: "it is in the image", Wanted: "no such file"})
		}
	}
	return v, nil
}

// Paths of machine ids: systemd's, and the one D-Bus had before.
const (
	machineIDPath = "/etc/machine-id"
	dbusIDPath    = "/var/lib/dbus/machine-id"
)

func (e *evaluator) machineID(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	for _, p := range []string{machineIDPath, dbusIDPath} {
		entry, ok := e.root.Tree.Lookup(strings.TrimPrefix(p, "/"))
		if !ok || entry.Type != tree.Regular {
			continue // a link to the other
		}
		f, _, err := e.root.Read(p)
		if err != nil {
			return v, err
		}
		switch id := strings.TrimSpace(string(f.Data)); id {
		case "", "uninitialized":
			v.pass(Evidence{Path: p, Found: fmt.Sprintf("%q", id)})
		default:
			v.fail(Evidence{Path: p, Line: 1, Found: id, Wanted: "an empty file"})
		}
	}
	return v, nil
}

func (e *evaluator) setuid(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	for _, entry := range e.root.Tree.Entries() {
		if entry.Type != tree.Regular || !SetID(entry.Mode) {
			continue
		}
		ev := Evidence{Path: "/" + entry.Path, Found: fmt.Sprintf("mode %04o, %s:%s", entry.Mode, e.user(entry.UID), e.group(entry.GID))}
		if files.Match(r.Paths, ev.Path) {
			v.pass(ev)
			continue
		}
		ev.Wanted = "no set-user-ID or set-group-ID bit"
		v.failMany(ev)
	}
	return v, nil
}

// SetID reports whether the mode of a regular file makes it run as its owner or its
// group. Set-group-ID without execution by the group means mandatory locking, which
// Linux no longer has (fcntl(2)), so it means nothing.
func SetID(mode uint32) bool {
	return mode&setuidBit != 0 || mode&setgidBit != 0 && mode&0o010 != 0
}

func (e *evaluator) worldWritable(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	for _, entry := range e.root.Tree.Entries() {
		if !WorldWritable(&entry) || files.Match(r.Except, "/"+entry.Path) {
			continue
		}
		ev := Evidence{Path: "/" + entry.Path, Found: fmt.Sprintf("%s of mode %04o", entry.Type, entry.Mode), Wanted: "no write permission for others"}
		if entry.Type == tree.Directory {
			ev.Wanted = "the sticky bit"
		}
		v.failMany(ev)
	}
	return v, nil
}

// WorldWritable reports whether everybody can write the entry in a way that matters:
// devices like /dev/null are meant for that, links have no mode, and the sticky bit
// guards directories.
func WorldWritable(e *tree.Entry) bool {
	if e.Mode&0o002 == 0 {
		return false
	}
	switch e.Type {
	case tree.Regular, tree.FIFO, tree.Socket:
		return true
	case tree.Directory:
		return e.Mode&stickyBit == 0
	}
	return false
}

func (e *evaluator) unowned(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	if len(e.accounts.Users) == 0 {
		v.absent = "there are no accounts in /etc/passwd"
		return v, nil
	}
	for _, f := range e.withoutAccount() {
		v.failMany(Evidence{Path: f.Path, Found: f.Owner + ":" + f.Group, Wanted: "a user and a group with an account"})
	}
	return v, nil
}

// withoutAccount returns the paths whose user or group has no account.
func (e *evaluator) withoutAccount() []File {
	users, groups := map[uint32]bool{0: true}, map[uint32]bool{0: true}
	for _, u := range e.accounts.Users {
		users[u.UID] = true
	}
	for _, g := range e.accounts.Groups {
		groups[g.GID] = true
	}
	var found []File
	for _, entry := range e.root.Tree.Entries() {
		if !users[entry.UID] || !groups[entry.GID] {
			found = append(found, e.file(entry))
		}
	}
	return found
}
