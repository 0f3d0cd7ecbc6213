// Package accounts reads passwd(5), shadow(5) and group(5) of a root line by line, so
// that what is found can be pointed at, and lines that are of another form are kept.
package accounts

import (
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/scan/files"
)

// Line is a line of such a file.
type Line struct {
	Number int // from 1
	Fields []string
}

// Entry reports whether the line is an account or a group: it has at least n fields
// and a name, and is neither a comment nor a reference to NIS.
func (l Line) Entry(n int) bool {
	return len(l.Fields) >= n && l.Fields[0] != "" && !strings.ContainsAny(l.Fields[0][:1], "#+-")
}

// Parse splits a file into lines.
func Parse(data []byte) []Line {
	var lines []Line
	for text := range strings.Lines(string(data)) {
		lines = append(lines, Line{len(lines) + 1, strings.Split(strings.TrimSuffix(text, "\n"), ":")})
	}
	return lines
}

// Format is the inverse of Parse.
func Format(lines []Line) []byte {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(strings.Join(l.Fields, ":"))
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

// Paths of the files.
const (
	Passwd = "/etc/passwd"
	Shadow = "/etc/shadow"
	Group  = "/etc/group"
)

// User is an account.
type User struct {
	Line     int // in /etc/passwd
	Name     string
	Password string // the field of /etc/passwd: "x" where it is in /etc/shadow
	UID, GID uint32
	Home     string
	Shell    string
}

// Password is the password of an account in /etc/shadow.
type Password struct {
	Line int
	Name string
	Hash string // the whole field
}

// GroupEntry is a group.
type GroupEntry struct {
	Line int // in /etc/group
	Name string
	GID  uint32
}

// Database is what the three files say. Lines with numbers that are none are left
// out, as the C library does.
type Database struct {
	Users     []User
	Passwords []Password
	Groups    []GroupEntry
}

// Read reads the accounts of a root. Files that are missing have no entries.
func Read(root files.Root) (*Database, error) {
	var data [3][]byte
	for i, path := range []string{Passwd, Shadow, Group} {
		f, _, err := root.Read(path)
		if err != nil {
			return nil, err
		}
		data[i] = f.Data
	}
	return New(data[0], data[1], data[2]), nil
}

// New returns what the three files say.
func New(passwd, shadow, group []byte) *Database {
	d := &Database{}
	for _, l := range Parse(passwd) {
		if !l.Entry(7) {
			continue
		}
		uid, err1 := strconv.ParseUint(l.Fields[2], 10, 32)
		gid, err2 := strconv.ParseUint(l.Fields[3], 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		d.Users = append(d.Users, User{
			Line: l.Number, Name: l.Fields[0], Password: l.Fields[1], UID: uint32(uid), GID: uint32(gid), Home: l.Fields[5], Shell: l.Fields[6],
		})
	}
	for _, l := range Parse(shadow) {
		if l.Entry(2) {
			d.Passwords = append(d.Passwords, Password{l.Number, l.Fields[0], l.Fields[1]})
		}
	}
	for _, l := range Parse(group) {
		if !l.Entry(3) {
			continue
		}
		if gid, err := strconv.ParseUint(l.Fields[2], 10, 32); err == nil {
			d.Groups = append(d.Groups, GroupEntry{l.Number, l.Fields[0], uint32(gid)})
		}
	}
	return d
}

// UserName returns the first name of a number, and whether it has one.
func (d *Database) UserName(uid uint32) (string, bool) {
	for _, u := range d.Users {
		if u.UID == uid {
			return u.Name, true
		}
	}
	return "", false
}

// GroupName returns the first name of a number, and whether it has one.
func (d *Database) GroupName(gid uint32) (string, bool) {
	for _, g := range d.Groups {
		if g.GID == gid {
			return g.Name, true
		}
	}
	return "", false
}

// UID returns the number of a name, and whether there is one. root is 0 in every tree.
func (d *Database) UID(name string) (uint32, bool) {
	for _, u := range d.Users {
		if u.Name == name {
			return u.UID, true
		}
	}
	return 0, name == "root"
}

// GID returns the number of a group's name, and whether there is one. root is 0 in
// every tree.
func (d *Database) GID(name string) (uint32, bool) {
	for _, g := range d.Groups {
		if g.Name == name {
			return g.GID, true
		}
	}
	return 0, name == "root"
}
