package report

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// accounts are the users and groups of a system.
type accounts struct {
	known         bool
	users, groups map[string]*Account
	userNames     map[string]string // by number
	groupNames    map[string]string
}

// maxAccounts bounds the files that accounts are read from.
const maxAccounts = 16 << 20

// readAccounts reads /etc/passwd, /etc/group and /etc/shadow. A system without passwd has no accounts; when the store does
// not have the contents they are not known.
func readAccounts(st *store.Store, t *tree.Tree) (accounts, error) {
	a := accounts{users: map[string]*Account{}, groups: map[string]*Account{}, userNames: map[string]string{}, groupNames: map[string]string{}}
	if t == nil || st == nil {
		return a, nil
	}
	var tables [3][][]string
	for i, name := range []string{"/etc/passwd", "/etc/group", "/etc/shadow"} {
		table, err := readTable(st, t, name)
		if errors.Is(err, store.ErrNotFound) {
			return a, nil
		}
		if err != nil {
			return a, fmt.Errorf("%s: %w", name, err)
		}
		tables[i] = table
	}
	a.known = true
	for _, f := range tables[0] {
		if len(f) < 7 {
			continue
		}
		u := &Account{ID: f[2], Group: f[3], Description: f[4], Home: f[5], Shell: f[6]}
		u.setPassword(f[1])
		a.users[f[0]] = u
		if _, ok := a.userNames[f[2]]; !ok {
			a.userNames[f[2]] = f[0]
		}
	}
	for _, f := range tables[2] {
		if u := a.users[f[0]]; u != nil && len(f) >= 2 && u.hash == "x" {
			u.setPassword(f[1])
		}
	}
	for _, f := range tables[1] {
		if len(f) < 4 {
			continue
		}
		g := &Account{ID: f[2]}
		for name := range strings.SplitSeq(f[3], ",") {
			if name != "" {
				g.Members = append(g.Members, name)
			}
		}
		slices.Sort(g.Members)
		a.groups[f[0]] = g
		if _, ok := a.groupNames[f[2]]; !ok {
			a.groupNames[f[2]] = f[0]
		}
	}
	return a, nil
}

// setPassword takes over the second field of passwd or shadow.
func (a *Account) setPassword(field string) {
	a.hash = field
	switch {
	case field == "":
		a.Password = "none"
	case strings.ContainsAny(field[:1], "!*") || field == "x": // "x" without a line in shadow
		a.Password = "locked"
	default:
		a.Password = "set"
	}
}

// readTable returns the fields of the lines of a file like passwd.
func readTable(st *store.Store, t *tree.Tree, name string) ([][]string, error) {
	path, err := t.Resolve(name)
	if err != nil {
		return nil, nil
	}
	e, ok := t.Lookup(path)
	if !ok || e.Type != tree.Regular {
		return nil, nil
	}
	if e.Size > maxAccounts {
		return nil, fmt.Errorf("it has %d bytes, %d is the most that is read", e.Size, maxAccounts)
	}
	text, err := st.ReadAll(e.Digest)
	if err != nil {
		return nil, err
	}
	var table [][]string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimRight(line, "\n"); line != "" && line[0] != '#' {
			table = append(table, strings.Split(line, ":"))
		}
	}
	return table, nil
}

// owner returns the names of a user and a group, or their numbers.
func (a accounts) owner(uid, gid uint32) string {
	return name(a.userNames, uid) + ":" + name(a.groupNames, gid)
}

func name(names map[string]string, id uint32) string {
	number := fmt.Sprint(id)
	if n, ok := names[number]; ok {
		return n
	}
	return number
}

// diffAccounts returns the users and groups that differ.
func diffAccounts(a, b accounts) []AccountChange {
	changes := []AccountChange{}
	for _, kind := range []struct {
		name          string
		before, after map[string]*Account
	}{{"user", a.users, b.users}, {"group", a.groups, b.groups}} {
		for _, n := range sortedKeys(kind.before, kind.after) {
			before, after := kind.before[n], kind.after[n]
			c := AccountChange{Kind: kind.name, Name: n, Before: before, After: after, Change: presence(before != nil, after != nil)}
			if c.Change == Changed {
				if c.Attributes = before.differences(after); len(c.Attributes) == 0 {
					continue
				}
			}
			changes = append(changes, c)
		}
	}
	return changes
}

// differences names the attributes in which two accounts differ.
func (a *Account) differences(b *Account) []string {
	var names []string
	for _, attribute := range []struct {
		name   string
		differ bool
	}{
		{"id", a.ID != b.ID}, {"group", a.Group != b.Group}, {"home", a.Home != b.Home}, {"shell", a.Shell != b.Shell},
		{"description", a.Description != b.Description}, {"password", a.hash != b.hash}, {"members", !slices.Equal(a.Members, b.Members)},
	} {
		if attribute.differ {
			names = append(names, attribute.name)
		}
	}
	return names
}
