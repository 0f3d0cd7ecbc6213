package customize

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// accounts is the account database of a root: passwd(5), group(5), shadow(5) and
// gshadow(5), as lines of colon separated fields. Lines that are not of that form
// (comments, NIS markers) are kept as they are.
type accounts struct {
	passwd, group, shadow, gshadow [][]string
	hasShadow, hasGshadow          bool
}

// parseTable splits a database into lines of fields.
func parseTable(p []byte) [][]string {
	var table [][]string
	for line := range strings.Lines(string(p)) {
		table = append(table, strings.Split(strings.TrimSuffix(line, "\n"), ":"))
	}
	return table
}

// formatTable is the inverse of parseTable.
func formatTable(table [][]string) []byte {
	var b strings.Builder
	for _, fields := range table {
		b.WriteString(strings.Join(fields, ":"))
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

// find returns the line named name, or nil.
func find(table [][]string, name string) []string {
	if i := index(table, name); i >= 0 {
		return table[i]
	}
	return nil
}

// index returns the number of the line named name, or -1.
func index(table [][]string, name string) int {
	return slices.IndexFunc(table, func(fields []string) bool { return fields[0] == name })
}

// id returns a numeric field of the line named name, or what name itself says as a
// number.
func id(table [][]string, name string, field int) (uint32, error) {
	if fields := find(table, name); len(fields) > field {
		n, err := strconv.ParseUint(fields[field], 10, 32)
		if err != nil {
			return 0, fmt.Errorf("%s has the id %q", name, fields[field])
		}
		return uint32(n), nil
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	return 0, errNoAccount
}

var errNoAccount = errors.New("there is no such account in the image")

// uid returns the id of a user given by name or number.
func (a *accounts) uid(name string) (uint32, error) {
	n, err := id(a.passwd, name, 2)
	if err != nil {
		return 0, fmt.Errorf("user %s: %w", name, err)
	}
	return n, nil
}

// gid returns the id of a group given by name or number.
func (a *accounts) gid(name string) (uint32, error) {
	n, err := id(a.group, name, 2)
	if err != nil {
		return 0, fmt.Errorf("group %s: %w", name, err)
	}
	return n, nil
}

// free returns the lowest id in [from, to] that table does not use.
func free(table [][]string, from, to uint32) (uint32, error) {
	used := map[string]bool{}
	for _, fields := range table {
		if len(fields) > 2 {
			used[fields[2]] = true
		}
	}
	for n := from; n <= to; n++ {
		if !used[strconv.FormatUint(uint64(n), 10)] {
			return n, nil
		}
	}
	return 0, fmt.Errorf("all ids from %d to %d are taken", from, to)
}

// Id ranges as useradd(8) has them by default (login.defs): system accounts from the
// top of their range down would depend on order, so from its bottom up here.
const (
	firstUser, lastUser     = 1000, 60000
	firstSystem, lastSystem = 300, 999
)

// add adds or changes the account of u. day is the date of the password change, in
// days since 1970.
func (a *accounts) add(u User, day int64) error {
	existing := find(a.passwd, u.Name)
	from, to := uint32(firstUser), uint32(lastUser)
	if u.System {
		from, to = firstSystem, lastSystem
	}

	var uid uint32
	var err error
	switch {
	case u.UID != nil:
		uid = *u.UID
		for _, fields := range a.passwd {
			if len(fields) > 2 && fields[0] != u.Name && fields[2] == strconv.FormatUint(uint64(uid), 10) {
				return fmt.Errorf("user %s: the id %d belongs to %s", u.Name, uid, fields[0])
			}
		}
	case existing != nil:
		if uid, err = a.uid(u.Name); err != nil {
			return err
		}
	default:
		if uid, err = free(a.passwd, from, to); err != nil {
			return fmt.Errorf("user %s: %w", u.Name, err)
		}
	}

	group := u.Group
	if group == "" {
		if len(existing) > 3 {
			group = existing[3]
		} else {
			group = u.Name
			if find(a.group, group) == nil {
				if err := a.addGroup(group, uid, from, to); err != nil {
					return fmt.Errorf("user %s: %w", u.Name, err)
				}
			}
		}
	}
	gid, err := a.gid(group)
	if err != nil {
		return fmt.Errorf("user %s: %w", u.Name, err)
	}

	password := "x" // it is in the shadow file
	if !a.hasShadow {
		if u.PasswordHash != nil {
			return fmt.Errorf("user %s: password_hash needs /etc/shadow, which is not in the image; add the package that makes it (passwd)", u.Name)
		}
		password = "!"
	}
	line := []string{u.Name, password, fmt.Sprint(uid), fmt.Sprint(gid), u.Comment, u.Home, u.Shell}
	if i := index(a.passwd, u.Name); i >= 0 {
		a.passwd[i] = line
	} else {
		a.passwd = append(a.passwd, line)
	}
	for _, g := range u.Groups {
		if err := a.join(u.Name, g); err != nil {
			return fmt.Errorf("user %s: %w", u.Name, err)
		}
	}
	if a.hasShadow {
		shadow := find(a.shadow, u.Name)
		if shadow == nil {
			shadow = []string{u.Name, "!", fmt.Sprint(day), "0", "99999", "7", "", "", ""}
			a.shadow = append(a.shadow, shadow)
		}
		if u.PasswordHash != nil && len(shadow) > 1 {
			shadow[1] = *u.PasswordHash
		}
	}
	return nil
}

// addGroup adds a group, with the id of its user where that is free.
func (a *accounts) addGroup(name string, uid, from, to uint32) error {
	gid := uid
	for _, fields := range a.group {
		if len(fields) > 2 && fields[2] == strconv.FormatUint(uint64(uid), 10) {
			var err error
			if gid, err = free(a.group, from, to); err != nil {
				return fmt.Errorf("group %s: %w", name, err)
			}
			break
		}
	}
	a.group = append(a.group, []string{name, "x", fmt.Sprint(gid), ""})
	if a.hasGshadow {
		a.gshadow = append(a.gshadow, []string{name, "!", "", ""})
	}
	return nil
}

// join makes user a member of group.
func (a *accounts) join(user, group string) error {
	fields := find(a.group, group)
	if len(fields) < 4 {
		return fmt.Errorf("group %s: %w", group, errNoAccount)
	}
	addMember(fields, user)
	if fields := find(a.gshadow, group); len(fields) >= 4 {
		addMember(fields, user)
	}
	return nil
}

func addMember(fields []string, user string) {
	var members []string
	if fields[3] != "" {
		members = strings.Split(fields[3], ",")
	}
	if !slices.Contains(members, user) {
		fields[3] = strings.Join(append(members, user), ",")
	}
}
