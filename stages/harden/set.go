package harden

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/baselines"
	"github.com/imagefactory/imagefactory/scan"
	"github.com/imagefactory/imagefactory/scan/accounts"
	"github.com/imagefactory/imagefactory/scan/files"
	"github.com/imagefactory/imagefactory/scan/settings"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// setters has a function for each kind that is set otherwise than in a drop-in file
// of settings.
var setters = map[baselines.Kind]func(*applier, failure) error{
	baselines.LoginDefs:      (*applier).loginDefs,
	baselines.Mount:          (*applier).mount,
	baselines.Permissions:    (*applier).permissions,
	baselines.Unit:           (*applier).unit,
	baselines.Allow:          (*applier).allow,
	baselines.Absent:         (*applier).absent,
	baselines.MachineID:      (*applier).machineID,
	baselines.Setuid:         (*applier).setuid,
	baselines.WorldWritable:  (*applier).worldWritable,
	baselines.EmptyPasswords: (*applier).emptyPasswords,
	baselines.SystemShells:   (*applier).systemShells,
	baselines.Homes:          (*applier).homes,
}

// changed records a change.
func (a *applier) changed(f failure, p, before, after string) {
	a.changes = append(a.changes, Change{Rule: f.rule.ID, Path: p, Before: before, After: after})
}

func (a *applier) loginDefs(f failure) error {
	file, ok, err := a.root.Read(settings.LoginDefsPath)
	if err != nil || !ok {
		return err
	}
	a.changed(f, "/"+strings.TrimPrefix(file.Real, "/"), f.found(), f.rule.Key+" "+f.rule.Value)
	return a.write(settings.LoginDefsPath, settings.SetLoginDefs(file.Data, f.rule.Key, f.rule.Value), 0o644)
}

func (a *applier) mount(f failure) error {
	m, err := settings.FindMount(a.root, f.rule.Key)
	if err != nil {
		return err
	}
	missing := settings.MissingOptions(m.Options, f.rule.Fields())
	if m.Unit != "" {
		p := path.Join("/etc/systemd/system", m.Unit+".d", lastName)
		d := &dropIn{path: p, section: "[Mount]\n", mode: 0o644}
		d.add(f, "Options="+strings.Join(append(slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == "" }), missing...), ","))
		return a.drop(d)
	}
	fstab, _, err := a.root.Read(settings.FstabPath)
	if err != nil {
		return err
	}
	a.changed(f, settings.FstabPath, f.found(), f.rule.Key+" has the options "+strings.Join(missing, ","))
	return a.write(settings.FstabPath, settings.SetFstab(fstab.Data, f.rule.Key, missing, f.rule.Default), 0o644)
}

// change changes mode and owner of an entry, and of all other names of its inode.
func (a *applier) change(f failure, entries []tree.Entry, change func(*tree.Entry)) error {
	return a.edit(func(editor *tree.Editor) error {
		links := map[uint32]bool{}
		for _, e := range entries {
			now := e
			change(&now)
			if now.Equal(&e) {
				continue
			}
			a.changed(f, "/"+e.Path, describe(&e), describe(&now))
			if now.Mode != e.Mode {
				chmodACL(&now)
			}
			editor.Put(now)
			if e.Link == 0 || links[e.Link] {
				continue
			}
			links[e.Link] = true
			for _, other := range a.root.Tree.Entries() {
				if other.Link == e.Link && other.Path != e.Path {
					same := now
					same.Path = other.Path
					editor.Put(same)
				}
			}
		}
		return nil
	})
}

// describe tells mode and owner.
func describe(e *tree.Entry) string { return fmt.Sprintf("mode %04o, %d:%d", e.Mode, e.UID, e.GID) }

// chmodACL makes an access control list agree with the entry's mode, as chmod(2) does:
// the group's permissions are those of the mask where there is one (acl(5)). The
// attribute is in the kernel's form: version 2, then tag, permissions and id of each
// entry (linux/posix_acl_xattr.h).
func chmodACL(e *tree.Entry) {
	const owner, group, mask, other = 0x01, 0x04, 0x10, 0x20
	for i, x := range e.Xattrs {
		if x.Name != "system.posix_acl_access" || len(x.Value) < 4 || len(x.Value)%8 != 4 {
			continue
		}
		value := slices.Clone(x.Value)
		masked := false
		for at := 4; at < len(value); at += 8 {
			masked = masked || binary.LittleEndian.Uint16(value[at:]) == mask
		}
		for at := 4; at < len(value); at += 8 {
			var permissions uint32
			switch tag := binary.LittleEndian.Uint16(value[at:]); {
			case tag == owner:
				permissions = e.Mode >> 6
			case tag == mask, tag == group && !masked:
				permissions = e.Mode >> 3
			case tag == other:
				permissions = e.Mode
			default:
				continue
			}
			binary.LittleEndian.PutUint16(value[at+2:], uint16(permissions&7))
		}
		e.Xattrs = slices.Clone(e.Xattrs)
		e.Xattrs[i].Value = value
	}
}

func (a *applier) permissions(f failure) error {
	db, err := accounts.Read(a.root)
	if err != nil {
		return err
	}
	r := &f.rule
	var entries []tree.Entry
	for _, e := range a.root.Glob(r.Paths, r.Except) {
		if e.Type != tree.Symlink {
			entries = append(entries, e)
		}
	}
	var missing error
	err = a.change(f, entries, func(e *tree.Entry) {
		e.Mode &= r.Mode()
		if name, ok := db.UserName(e.UID); len(r.Owners) > 0 && !(ok && slices.Contains(r.Owners, name)) {
			if e.UID, ok = db.UID(r.Owners[0]); !ok {
				missing = fmt.Errorf("there is no account %s, which has to own /%s", r.Owners[0], e.Path)
			}
		}
		if name, ok := db.GroupName(e.GID); len(r.Groups) > 0 && !(ok && slices.Contains(r.Groups, name)) {
			if e.GID, ok = db.GID(r.Groups[0]); !ok {
				missing = fmt.Errorf("there is no group %s, which has to own /%s", r.Groups[0], e.Path)
			}
		}
	})
	return errors.Join(missing, err)
}

func (a *applier) unit(f failure) error {
	const dir = "/etc/systemd/system"
	p := path.Join(dir, f.rule.Key)
	a.changed(f, p, f.found(), "a link to /dev/null")
	return a.edit(func(editor *tree.Editor) error {
		real, err := editor.Resolve(strings.TrimPrefix(dir, "/"))
		if err != nil {
			real = strings.TrimPrefix(dir, "/")
		}
		if err := editor.MkdirAll(real, tree.Entry{Mode: 0o755, MTime: tree.Time{Sec: a.epoch}}); err != nil {
			return err
		}
		editor.Put(tree.Entry{Path: tree.Join(real, f.rule.Key), Type: tree.Symlink, Mode: 0o777, Target: "/dev/null", MTime: tree.Time{Sec: a.epoch}})
		return nil
	})
}

func (a *applier) allow(f failure) error {
	for _, p := range f.rule.Paths {
		a.changed(f, p, f.found(), "lists "+strings.Join(f.rule.Fields(), ", "))
		// Readable by all: crontab and at run as the user who asks.
		if err := a.write(p, []byte(strings.Join(f.rule.Fields(), "\n")+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// remove removes files.
func (a *applier) remove(f failure, paths ...string) error {
	return a.edit(func(editor *tree.Editor) error {
		for _, p := range paths {
			a.changed(f, "/"+p, "it was in the image", "removed")
			editor.Remove(p)
		}
		return nil
	})
}

func (a *applier) absent(f failure) error {
	var paths []string
	for _, e := range a.root.Glob(f.rule.Paths, f.rule.Except) {
		if e.Type != tree.Directory {
			paths = append(paths, e.Path)
		}
	}
	return a.remove(f, paths...)
}

func (a *applier) machineID(f failure) error {
	for _, e := range f.evidence {
		if e.Path == "/etc/machine-id" {
			// Empty and not missing: systemd mounts a temporary one over it where the root
			// cannot be written (machine-id(5)).
			a.changed(f, e.Path, e.Found, "empty")
			if err := a.write(e.Path, nil, 0o444); err != nil {
				return err
			}
			continue
		}
		if err := a.remove(f, strings.TrimPrefix(e.Path, "/")); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) setuid(f failure) error {
	var entries []tree.Entry
	for _, e := range a.root.Tree.Entries() {
		if e.Type == tree.Regular && scan.SetID(e.Mode) && !files.Match(f.rule.Paths, "/"+e.Path) {
			entries = append(entries, e)
		}
	}
	return a.change(f, entries, func(e *tree.Entry) { e.Mode &^= 0o6000 })
}

func (a *applier) worldWritable(f failure) error {
	var entries []tree.Entry
	for _, e := range a.root.Tree.Entries() {
		if scan.WorldWritable(&e) && !files.Match(f.rule.Except, "/"+e.Path) {
			entries = append(entries, e)
		}
	}
	return a.change(f, entries, func(e *tree.Entry) {
		if e.Type == tree.Directory {
			e.Mode |= 0o1000
		} else {
			e.Mode &^= 0o002
		}
	})
}

// accountLines changes lines of a file of accounts.
func (a *applier) accountLines(p string, change func(accounts.Line) bool) error {
	file, ok, err := a.root.Read(p)
	if err != nil || !ok {
		return err
	}
	lines := accounts.Parse(file.Data)
	changed := false
	for _, l := range lines {
		changed = change(l) || changed
	}
	if !changed {
		return nil
	}
	return a.write(p, accounts.Format(lines), 0o600)
}

func (a *applier) emptyPasswords(f failure) error {
	db, err := accounts.Read(a.root)
	if err != nil {
		return err
	}
	locked := "!"
	for _, p := range []string{accounts.Passwd, accounts.Shadow} {
		err := a.accountLines(p, func(l accounts.Line) bool {
			if !l.Entry(2) || l.Fields[1] != "" {
				return false
			}
			l.Fields[1] = locked
			// With a line in shadow, that is what counts from now on; it is locked below
			// where it is empty.
			if p == accounts.Passwd && slices.ContainsFunc(db.Passwords, func(s accounts.Password) bool { return s.Name == l.Fields[0] }) {
				l.Fields[1] = "x"
			}
			a.changed(f, p, l.Fields[0]+" had an empty password", "locked")
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// noLogins are the programs that refuse a login, the one that says so first.
var noLogins = []string{"/usr/sbin/nologin", "/sbin/nologin", "/usr/bin/nologin", "/bin/false", "/usr/bin/false"}

func (a *applier) systemShells(f failure) error {
	i := slices.IndexFunc(noLogins, a.root.Exists)
	if i < 0 {
		return fmt.Errorf("the image has none of %s to give to system accounts; keep one, or skip the rule", strings.Join(noLogins, ", "))
	}
	names := map[int]bool{}
	for _, e := range f.evidence {
		names[e.Line] = true
	}
	return a.accountLines(accounts.Passwd, func(l accounts.Line) bool {
		if !names[l.Number] {
			return false
		}
		a.changed(f, accounts.Passwd, l.Fields[0]+" had the shell "+strconv.Quote(l.Fields[6]), l.Fields[0]+" has "+noLogins[i])
		l.Fields[6] = noLogins[i]
		return true
	})
}

func (a *applier) homes(f failure) error {
	db, err := accounts.Read(a.root)
	if err != nil {
		return err
	}
	for _, ev := range f.evidence {
		e, ok := a.root.Tree.Lookup(strings.TrimPrefix(ev.Path, "/"))
		if !ok {
			continue
		}
		owner := e.UID
		for _, u := range db.Users {
			if home, ok := a.root.Lookup(u.Home); ok && home.Path == e.Path && u.UID >= 1 && !scan.NoLogin(u.Shell) {
				owner = u.UID
			}
		}
		if err := a.change(f, []tree.Entry{e}, func(e *tree.Entry) { e.Mode, e.UID = e.Mode&f.rule.Mode(), owner }); err != nil {
			return err
		}
	}
	return nil
}
