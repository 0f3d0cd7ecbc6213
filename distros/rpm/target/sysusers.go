package target

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/distros/rpm/accounts"
	"github.com/imagefactory/imagefactory/distros/rpm/transaction"
)

// systemdSysusers is the program that rpm runs for packages which declare users.
const systemdSysusers = "/usr/bin/systemd-sysusers"

// sysusers makes the users and groups that a package declares: by the root's own
// systemd-sysusers, as rpm does, or by the code below in a root without systemd. rpm
// itself runs the program of the system it runs on, so that it does not matter whether the root has
// one.
func (r *runner) sysusers(i int, s *transaction.Step) error {
	if unix.Access(systemdSysusers, unix.X_OK) != nil {
		return addAccounts("", s.Input)
	}
	cmd := exec.Cmd{Path: systemdSysusers, Args: []string{systemdSysusers}}
	if s.Replace != "" {
		cmd.Args = append(cmd.Args, "--replace="+s.Replace)
	}
	cmd.Args = append(cmd.Args, "-")
	return r.run(i, s, &cmd)
}

// lastSystemID is where the search for a free number begins, downwards (systemd's and
// login.defs' SYS_UID_MAX).
const lastSystemID = 999

// addAccounts adds the users and groups of lines of sysusers.d(5), of the types u, g
// and m, to the databases below root, unless they are there.
func addAccounts(root string, lines []string) error {
	db, err := accounts.Read(root)
	if err != nil {
		return err
	}
	a := &adder{root: root, db: db}
	// All groups come before all users, as in systemd. Other types are ignored, as by rpm.
	for _, kinds := range [][]string{{"g"}, {"u", "u!"}, {"m"}} {
		for _, line := range lines {
			fields, err := splitFields(line)
			if err == nil && len(fields) > 0 && slices.Contains(kinds, fields[0]) {
				err = a.add(fields)
			}
			if err != nil {
				return fmt.Errorf("the line %q of sysusers.d(5): %w", line, err)
			}
		}
	}
	return a.save()
}

// adder is the databases with what is to be added.
type adder struct {
	root    string
	db      *accounts.Database
	users   []string // names to add
	locked  map[string]bool
	groups  []string
	members []membership
}

// membership says that a user is to be in a group.
type membership struct{ user, group string }

// add adds what one line declares.
func (a *adder) add(fields []string) error {
	field := func(n int) string {
		if n >= len(fields) || fields[n] == "-" {
			return ""
		}
		return fields[n]
	}
	name := field(1)
	if name == "" || strings.ContainsAny(name, ", /") {
		return fmt.Errorf("%q is not a name", name)
	}
	for n, text := range fields {
		// The databases have no way to write these.
		if n != 2 && strings.Contains(text, ":") || strings.ContainsFunc(text, unicode.IsControl) {
			return fmt.Errorf("%q holds a colon or a control character", text)
		}
	}
	switch fields[0] {
	case "u", "u!":
		return a.addUser(accounts.User{Name: name, Comment: field(3), Home: field(4), Shell: field(5)}, field(2), fields[0] == "u!")
	case "g":
		_, err := a.addGroup(name, field(2))
		return err
	case "m":
		if group := field(2); group == "" || strings.ContainsAny(group, ":, /") {
			return fmt.Errorf("%q is not the name of a group", group)
		}
		if err := a.addUser(accounts.User{Name: name}, "", false); err != nil {
			return err
		}
		if _, err := a.addGroup(field(2), ""); err != nil {
			return err
		}
		if g, _ := a.db.Group(field(2)); !slices.Contains(g.Members, name) {
			a.members = append(a.members, membership{name, field(2)})
		}
	}
	return nil
}

// id returns the number that the text says: itself, that of a file's owner, or a free one
// for the empty text.
func (a *adder) id(text string, owner func(unix.Stat_t) uint32) (uint32, bool, error) {
	if strings.HasPrefix(text, "/") {
		var st unix.Stat_t
		if err := unix.Stat(a.root+text, &st); err == nil {
			return owner(st), true, nil
		}
		text = ""
	}
	if text == "" {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n >= 1<<32-1 {
		return 0, false, fmt.Errorf("%q is not the number of a user or group", text)
	}
	return uint32(n), true, nil
}

// free returns a number that no user and no group has.
func (a *adder) free() (uint32, error) {
	for id := uint32(lastSystemID); id > 0; id-- {
		_, user := a.db.UserID(id)
		_, group := a.db.GroupID(id)
		if !user && !group {
			return id, nil
		}
	}
	return 0, fmt.Errorf("no number from 1 to %d is free", lastSystemID)
}

// addGroup adds a group unless it is there, and returns its number.
func (a *adder) addGroup(name, number string) (uint32, error) {
	if g, ok := a.db.Group(name); ok {
		return g.GID, nil
	}
	gid, given, err := a.id(number, func(st unix.Stat_t) uint32 { return st.Gid })
	if err != nil {
		return 0, err
	}
	if _, taken := a.db.GroupID(gid); !given || taken {
		if gid, err = a.free(); err != nil {
			return 0, err
		}
	}
	a.db.Groups = append(a.db.Groups, accounts.Group{Name: name, GID: gid})
	a.groups = append(a.groups, name)
	return gid, nil
}

// addUser adds a user and its group unless it is there.
func (a *adder) addUser(u accounts.User, number string, lock bool) error {
	if _, ok := a.db.User(u.Name); ok {
		return nil
	}
	uidText, gidText, hasGroup := strings.Cut(number, ":")
	uid, given, err := a.id(uidText, func(st unix.Stat_t) uint32 { return st.Uid })
	if err != nil {
		return err
	}
	if _, taken := a.db.UserID(uid); taken {
		given = false
	}
	switch {
	case hasGroup:
		if g, ok := a.db.Group(gidText); ok {
			u.GID = g.GID
		} else if gid, err := strconv.ParseUint(gidText, 10, 32); err == nil {
			u.GID = uint32(gid)
		} else {
			return fmt.Errorf("there is no group %q", gidText)
		}
		if !given {
			if uid, err = a.free(); err != nil {
				return err
			}
		}
	default:
		want := ""
		if given {
			want = strconv.FormatUint(uint64(uid), 10)
		}
		if u.GID, err = a.addGroup(u.Name, want); err != nil {
			return err
		}
		if !given { // the same number as the group, where that is possible
			uid = u.GID
			if _, taken := a.db.UserID(uid); taken {
				if uid, err = a.free(); err != nil {
					return err
				}
			}
		}
	}
	u.UID, u.Password = uid, "x"
	if u.Home == "" {
		u.Home = "/"
	}
	if u.Shell == "" {
		u.Shell = "/usr/sbin/nologin"
		if u.UID == 0 {
			u.Shell = "/bin/sh"
		}
	}
	a.db.Users = append(a.db.Users, u)
	a.users = append(a.users, u.Name)
	if lock {
		if a.locked == nil {
			a.locked = map[string]bool{}
		}
		a.locked[u.Name] = true
	}
	return nil
}

// save writes what was added.
func (a *adder) save() error {
	var passwd, shadow, group, gshadow strings.Builder
	day := lastChange()
	for _, name := range a.users {
		u, _ := a.db.User(name)
		fmt.Fprintf(&passwd, "%s:x:%d:%d:%s:%s:%s\n", u.Name, u.UID, u.GID, u.Comment, u.Home, u.Shell)
		expire := ""
		if a.locked[name] {
			expire = "1" // 2 January 1970: the account has expired
		}
		fmt.Fprintf(&shadow, "%s:!*:%s:::::%s:\n", u.Name, day, expire)
	}
	for _, name := range a.groups {
		g, _ := a.db.Group(name)
		fmt.Fprintf(&group, "%s:x:%d:\n", g.Name, g.GID)
		fmt.Fprintf(&gshadow, "%s:!*::\n", g.Name)
	}
	for _, f := range []struct {
		path, added string
		mode        os.FileMode
		optional    bool
		memberField int
	}{
		{accounts.GroupFile, group.String(), 0o644, false, 3},
		{"/etc/gshadow", gshadow.String(), 0, true, 3},
		{accounts.PasswdFile, passwd.String(), 0o644, false, -1},
		{"/etc/shadow", shadow.String(), 0, true, -1},
	} {
		old, err := os.ReadFile(a.root + f.path)
		if errors.Is(err, fs.ErrNotExist) && !f.optional {
			err = nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if len(old) > 0 && old[len(old)-1] != '\n' {
			old = append(old, '\n')
		}
		content := append(slices.Clone(old), f.added...)
		if f.memberField >= 0 {
			content = a.join(content, f.memberField)
		}
		if bytes.Equal(content, old) {
			continue
		}
		if err := os.WriteFile(a.root+f.path, content, f.mode); err != nil {
			return err
		}
	}
	return nil
}

// join adds the new members to the lines of groups.
func (a *adder) join(content []byte, field int) []byte {
	all := strings.SplitAfter(string(content), "\n")
	for _, m := range a.members {
		for n, line := range all {
			fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
			if fields[0] != m.group || len(fields) <= field {
				continue
			}
			if fields[field] != "" {
				fields[field] += ","
			}
			fields[field] += m.user
			all[n] = strings.Join(fields, ":") + "\n"
		}
	}
	return []byte(strings.Join(all, ""))
}

// lastChange is the day of the build, as shadow(5) counts; empty when it is not known.
func lastChange() string {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return ""
	}
	return strconv.FormatInt(seconds/86400, 10)
}

// splitFields splits a line at white space; quotes, single or double, keep it together.
func splitFields(line string) ([]string, error) {
	var fields []string
	var b strings.Builder
	inField, quote := false, byte(0)
	for i := range len(line) {
		c := line[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, inField = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if inField {
				fields = append(fields, b.String())
				b.Reset()
			}
			inField = false
		default:
			b.WriteByte(c)
			inField = true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quotation mark is missing")
	}
	if inField {
		fields = append(fields, b.String())
	}
	if len(fields) > 0 && strings.HasPrefix(fields[0], "#") {
		return nil, nil
	}
	return fields, nil
}
