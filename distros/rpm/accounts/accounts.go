// Package accounts reads the user and group databases of a root file system,
// passwd(5) and group(5), as files: name services need the C library of the root.
package accounts

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// The files of the databases.
const (
	PasswdFile = "/etc/passwd"
	GroupFile  = "/etc/group"
)

// User is a line of passwd(5).
type User struct {
	Name     string
	Password string
	UID, GID uint32
	Comment  string
	Home     string
	Shell    string
}

// Group is a line of group(5).
type Group struct {
	Name    string
	GID     uint32
	Members []string
}

// Database is what both files say. Lines that are not of their formats are passed
// over, as the C library does.
type Database struct {
	Users  []User
	Groups []Group
}

// Read reads the databases below the directory root. A file that is not there has no
// lines.
func Read(root string) (*Database, error) {
	d := &Database{}
	err := lines(root+PasswdFile, 7, func(f []string) {
		uid, uidErr := strconv.ParseUint(f[2], 10, 32)
		gid, gidErr := strconv.ParseUint(f[3], 10, 32)
		if uidErr == nil && gidErr == nil {
			d.Users = append(d.Users, User{Name: f[0], Password: f[1], UID: uint32(uid), GID: uint32(gid), Comment: f[4], Home: f[5], Shell: f[6]})
		}
	})
	if err != nil {
		return nil, err
	}
	err = lines(root+GroupFile, 4, func(f []string) {
		if gid, err := strconv.ParseUint(f[2], 10, 32); err == nil {
			g := Group{Name: f[0], GID: uint32(gid)}
			if f[3] != "" {
				g.Members = strings.Split(f[3], ",")
			}
			d.Groups = append(d.Groups, g)
		}
	})
	return d, err
}

// lines calls take with the fields of each line that has n of them and a name.
func lines(path string, n int, take func([]string)) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 1<<20) // groups with many members
	for scanner.Scan() {
		if fields := strings.Split(scanner.Text(), ":"); len(fields) == n && fields[0] != "" {
			take(fields)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// User returns the first user of that name.
func (d *Database) User(name string) (User, bool) {
	for _, u := range d.Users {
		if u.Name == name {
			return u, true
		}
	}
	return User{}, false
}

// UserID returns the first user of that number.
func (d *Database) UserID(uid uint32) (User, bool) {
	for _, u := range d.Users {
		if u.UID == uid {
			return u, true
		}
	}
	return User{}, false
}

// Group returns the first group of that name.
func (d *Database) Group(name string) (Group, bool) {
	for _, g := range d.Groups {
		if g.Name == name {
			return g, true
		}
	}
	return Group{}, false
}

// GroupID returns the first group of that number.
func (d *Database) GroupID(gid uint32) (Group, bool) {
	for _, g := range d.Groups {
		if g.GID == gid {
			return g, true
		}
	}
	return Group{}, false
}
