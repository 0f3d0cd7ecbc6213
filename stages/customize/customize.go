// Package customize is the stage that puts the recipe's host name, time zone,
// locale, accounts, files and mounts into a configured root. It changes the tree
// and runs nothing.
package customize

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Version is the version of this stage's code; see stages.Stage.
const Version = 2

// Options is what the recipe says about the system. It is part of the stage's key.
type Options struct {
	Hostname string        `json:"hostname"`
	Timezone string        `json:"timezone"`
	Locale   string        `json:"locale"`
	Users    []User        `json:"users"`
	Files    []File        `json:"files"`
	Defaults []File        `json:"defaults"` // written where nothing is yet, and When holds
	Units    []Unit        `json:"units"`
	Mounts   []Mount       `json:"mounts"`
	Clean    session.Rules `json:"clean"`
	Epoch    int64         `json:"epoch"` // seconds since 1970; the time of everything written
}

// User is an account to make, or to change when it is there.
type User struct {
	Name              string   `json:"name"`
	UID               *uint32  `json:"uid"`
	Group             string   `json:"group"` // name or number; empty: one of the user's name
	Groups            []string `json:"groups"`
	Home              string   `json:"home"`
	Shell             string   `json:"shell"`
	Comment           string   `json:"comment"`
	System            bool     `json:"system"`
	SSHAuthorizedKeys []string `json:"ssh_authorized_keys"`
	PasswordHash      *string  `json:"password_hash"`
}

// File is a file to write.
type File struct {
	Path    string       `json:"path"`    // absolute
	Content []byte       `json:"content"` // when Source is empty
	Source  string       `json:"-"`       // file on the host
	Digest  store.Digest `json:"source,omitzero"`
	Mode    uint32       `json:"mode"`
	Owner   string       `json:"owner"` // name or number
	Group   string       `json:"group"`
	When    string       `json:"when,omitempty"` // absolute path that has to be in the root; empty: always
}

// Unit is a systemd unit to add and enable.
type Unit struct {
	Name     string `json:"name"`
	When     string `json:"when"` // absolute path that has to be in the root; empty: always
	WantedBy string `json:"wanted_by"`
	Content  string `json:"content"`
}

// Mount is a line of /etc/fstab.
type Mount struct {
	Device  string `json:"device"`
	Path    string `json:"path"`
	Type    string `json:"type"`
	Options string `json:"options"`
	Pass    int    `json:"pass"`
}

type customizer struct {
	st    *store.Store
	batch *store.Batch
	edit  *tree.Editor
	time  tree.Time
}

// Run applies o to root.
func Run(ctx context.Context, run *stages.Run, root rootfs.Root, o Options) (rootfs.Root, error) {
	st := run.Cache.Store
	t, err := root.Load(st)
	if err != nil {
		return rootfs.Root{}, err
	}
	batch, err := st.NewBatch()
	if err != nil {
		return rootfs.Root{}, err
	}
	defer batch.Abort()
	c := customizer{st: st, batch: batch, edit: t.Edit(), time: tree.Time{Sec: o.Epoch}}
	for _, step := range []func(Options) error{c.system, c.mounts, c.accounts, c.units} {
		if err := context.Cause(ctx); err != nil {
			return rootfs.Root{}, err
		}
		if err := step(o); err != nil {
			return rootfs.Root{}, err
		}
	}
	if err := batch.Commit(); err != nil {
		return rootfs.Root{}, err
	}
	changed, err := c.edit.Tree()
	if err != nil {
		return rootfs.Root{}, err
	}
	if changed, err = session.Clean(st, changed, o.Clean, o.Epoch); err != nil {
		return rootfs.Root{}, err
	}
	return rootfs.Save(st, changed)
}

// resolve returns where the absolute path p of the root really is: it follows links
// in its directory, to what is missing too, which put then makes.
func (c *customizer) resolve(p string) (string, error) {
	p = strings.TrimPrefix(path.Clean(p), "/")
	current, rest := tree.Root, strings.Split(path.Dir(p), "/")
	links := 0
	for len(rest) > 0 {
		element := rest[0]
		rest = rest[1:]
		switch element {
		case "", ".":
			continue
		case "..":
			current = tree.Parent(current)
			continue
		}
		next := tree.Join(current, element)
		switch e, ok := c.edit.Get(next); {
		case ok && e.Type == tree.Symlink:
			if links++; links > 40 { // as Linux
				return "", fmt.Errorf("/%s: too many levels of symbolic links", next)
			}
			if path.IsAbs(e.Target) {
				current = tree.Root
			}
			rest = append(strings.Split(e.Target, "/"), rest...)
		case ok && e.Type != tree.Directory:
			return "", fmt.Errorf("/%s is a %s, not a directory", next, e.Type)
		default:
			current = next
		}
	}
	return tree.Join(current, path.Base(p)), nil
}

// put writes an entry at the absolute path p, with missing directories.
func (c *customizer) put(p string, e tree.Entry) error {
	real, err := c.resolve(p)
	if err != nil {
		return err
	}
	if err := c.edit.MkdirAll(tree.Parent(real), tree.Entry{Mode: 0o755, MTime: c.time}); err != nil {
		return err
	}
	if old, ok := c.edit.Get(real); ok && old.Type == tree.Directory && e.Type != tree.Directory {
		return fmt.Errorf("/%s is a directory in the image, and cannot be replaced by a %s", real, e.Type)
	}
	e.Path, e.MTime = real, c.time
	c.edit.Put(e)
	return nil
}

// write writes a file of root's at the absolute path p.
func (c *customizer) write(p, content string, mode uint32) error {
	digest, err := c.batch.AddBytes([]byte(content))
	if err != nil {
		return err
	}
	return c.put(p, tree.Entry{Type: tree.Regular, Mode: mode, Digest: digest, Size: int64(len(content))})
}

// symlink makes a symbolic link at the absolute path p.
func (c *customizer) symlink(p, target string) error {
	return c.put(p, tree.Entry{Type: tree.Symlink, Mode: 0o777, Target: target})
}

// exists reports whether the absolute path p is in the root.
func (c *customizer) exists(p string) bool {
	real, err := c.edit.Resolve(p)
	if err != nil {
		return false
	}
	_, ok := c.edit.Get(real)
	return ok
}

// system writes host name, time zone and locale.
func (c *customizer) system(o Options) error {
	if err := c.write("/etc/hostname", o.Hostname+"\n", 0o644); err != nil {
		return err
	}
	if !c.exists("/etc/hosts") {
		hosts := "127.0.0.1\tlocalhost\n127.0.1.1\t" + o.Hostname + "\n\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
		if err := c.write("/etc/hosts", hosts, 0o644); err != nil {
			return err
		}
	}
	zone := "/usr/share/zoneinfo/" + o.Timezone
	switch {
	case c.exists(zone):
		if err := c.symlink("/etc/localtime", zone); err != nil {
			return err
		}
		if err := c.write("/etc/timezone", o.Timezone+"\n", 0o644); err != nil {
			return err
		}
	case o.Timezone != "UTC" && o.Timezone != "Etc/UTC":
		return fmt.Errorf("the time zone %s is not in the image: there is no %s; add the package tzdata or correct `timezone`", o.Timezone, zone)
	}
	if err := c.checkLocale(o.Locale); err != nil {
		return err
	}
	// systemd reads the first, PAM of the deb family the second.
	for _, p := range []string{"/etc/locale.conf", "/etc/default/locale"} {
		if err := c.write(p, "LANG="+o.Locale+"\n", 0o644); err != nil {
			return err
		}
	}
	return nil
}

// checkLocale makes sure that the C library has the locale.
func (c *customizer) checkLocale(locale string) error {
	if locale == "C" || locale == "POSIX" || strings.EqualFold(locale, "C.UTF-8") {
		return nil // built in, or in every libc package
	}
	language, codeset, _ := strings.Cut(locale, ".")
	normal := language
	if codeset != "" {
		normal += "." + strings.ToLower(strings.ReplaceAll(codeset, "-", ""))
	}
	for _, p := range []string{"/usr/lib/locale/" + locale, "/usr/lib/locale/" + normal, "/usr/lib/locale/locale-archive"} {
		if c.exists(p) {
			return nil
		}
	}
	return fmt.Errorf("the locale %s is not in the image; add a package that has it (locales-all has every one), or use C.UTF-8", locale)
}

// mounts writes /etc/fstab and makes the mount points.
func (c *customizer) mounts(o Options) error {
	var b strings.Builder
	b.WriteString("# <device> <mount point> <type> <options> <dump> <pass>\n")
	for _, m := range o.Mounts {
		fmt.Fprintf(&b, "%s %s %s %s 0 %d\n", m.Device, m.Path, m.Type, m.Options, m.Pass)
		if m.Path == "/" {
			continue
		}
		real, err := c.resolve(m.Path)
		if err != nil {
			return fmt.Errorf("mount point %s: %w", m.Path, err)
		}
		if err := c.edit.MkdirAll(real, tree.Entry{Mode: 0o755, MTime: c.time}); err != nil {
			return fmt.Errorf("mount point %s: %w", m.Path, err)
		}
	}
	return c.write("/etc/fstab", b.String(), 0o644)
}

// read returns the file at the absolute path p, and whether it is there.
func (c *customizer) read(p string) ([]byte, bool, error) {
	e, ok := c.edit.Get(strings.TrimPrefix(p, "/"))
	if !ok || e.Type != tree.Regular {
		return nil, false, nil
	}
	data, err := c.st.ReadAll(e.Digest)
	return data, true, err
}

// accounts makes the recipe's users, with their home directories, and then its
// files, which may belong to them.
func (c *customizer) accounts(o Options) error {
	var a accounts
	tables := []struct {
		path  string
		table *[][]string
		there *bool
	}{
		{"/etc/passwd", &a.passwd, new(bool)},
		{"/etc/group", &a.group, new(bool)},
		{"/etc/shadow", &a.shadow, &a.hasShadow},
		{"/etc/gshadow", &a.gshadow, &a.hasGshadow},
	}
	for _, t := range tables {
		data, there, err := c.read(t.path)
		if err != nil {
			return err
		}
		*t.table, *t.there = parseTable(data), there
	}
	for _, u := range o.Users {
		if err := a.add(u, o.Epoch/(24*60*60)); err != nil {
			return err
		}
	}
	if len(o.Users) > 0 {
		for _, t := range tables {
			if err := c.replace(t.path, formatTable(*t.table), *t.there); err != nil {
				return err
			}
		}
	}
	for _, u := range o.Users {
		if err := c.home(&a, u); err != nil {
			return fmt.Errorf("user %s: %w", u.Name, err)
		}
	}
	for _, f := range o.Defaults {
		if c.exists(f.Path) || f.When != "" && !c.exists(f.When) {
			continue
		}
		if err := c.file(&a, f); err != nil {
			return err
		}
	}
	for _, f := range o.Files {
		if err := c.file(&a, f); err != nil {
			return err
		}
	}
	return nil
}

// replace gives the file at p, where there is one, new contents.
func (c *customizer) replace(p string, content []byte, there bool) error {
	if !there {
		return nil
	}
	e, _ := c.edit.Get(strings.TrimPrefix(p, "/"))
	digest, err := c.batch.AddBytes(content)
	if err != nil {
		return err
	}
	e.Digest, e.Size, e.Link, e.MTime = digest, int64(len(content)), 0, c.time
	c.edit.Put(e)
	return nil
}

// home makes a user's home directory like /etc/skel, and the authorized keys.
func (c *customizer) home(a *accounts, u User) error {
	uid, err := a.uid(u.Name)
	if err != nil {
		return err
	}
	line := find(a.passwd, u.Name)
	gid, err := a.gid(line[3])
	if err != nil {
		return err
	}
	own := func(e tree.Entry) tree.Entry {
		e.UID, e.GID, e.Link = uid, gid, 0
		return e
	}
	if !u.System && !c.exists(u.Home) {
		if err := c.put(u.Home, own(tree.Entry{Type: tree.Directory, Mode: 0o700})); err != nil {
			return err
		}
		skeleton, err := c.edit.Tree()
		if err != nil {
			return err
		}
		for _, e := range skeleton.Subtree("etc/skel") {
			if e.Path == "etc/skel" {
				continue
			}
			if err := c.put(path.Join(u.Home, strings.TrimPrefix(e.Path, "etc/skel/")), own(e)); err != nil {
				return err
			}
		}
	}
	if len(u.SSHAuthorizedKeys) == 0 {
		return nil
	}
	if !c.exists(u.Home) {
		return fmt.Errorf("ssh_authorized_keys need a home directory, and %s is not in the image", u.Home)
	}
	ssh := path.Join(u.Home, ".ssh")
	if !c.exists(ssh) {
		if err := c.put(ssh, own(tree.Entry{Type: tree.Directory, Mode: 0o700})); err != nil {
			return err
		}
	}
	keys := strings.Join(u.SSHAuthorizedKeys, "\n") + "\n"
	digest, err := c.batch.AddBytes([]byte(keys))
	if err != nil {
		return err
	}
	return c.put(path.Join(ssh, "authorized_keys"), own(tree.Entry{Type: tree.Regular, Mode: 0o600, Digest: digest, Size: int64(len(keys))}))
}

// file writes a file of the recipe.
func (c *customizer) file(a *accounts, f File) error {
	uid, err := a.uid(f.Owner)
	if err != nil {
		return fmt.Errorf("file %s: owner: %w", f.Path, err)
	}
	gid, err := a.gid(f.Group)
	if err != nil {
		return fmt.Errorf("file %s: group: %w", f.Path, err)
	}
	e := tree.Entry{Type: tree.Regular, Mode: f.Mode, UID: uid, GID: gid, Size: int64(len(f.Content))}
	if f.Source == "" {
		e.Digest, err = c.batch.AddBytes(f.Content)
	} else {
		e.Digest, e.Size, err = c.copy(f)
	}
	if err != nil {
		return fmt.Errorf("file %s: %w", f.Path, err)
	}
	if err := c.put(f.Path, e); err != nil {
		return fmt.Errorf("file %s: %w", f.Path, err)
	}
	return nil
}

// copy stores the file on the host that f names, and makes sure that it is still
// the one whose digest is in the stage's key.
func (c *customizer) copy(f File) (store.Digest, int64, error) {
	in, err := os.Open(f.Source)
	if err != nil {
		return store.Digest{}, 0, err
	}
	defer in.Close()
	digest, size, err := c.batch.Add(in)
	if err == nil && digest != f.Digest {
		err = fmt.Errorf("%s changed while the build ran; build again", f.Source)
	}
	return digest, size, err
}

// unitDir is where units of the administrator lie (systemd.unit(5)).
const unitDir = "/etc/systemd/system"

// units adds and enables units.
func (c *customizer) units(o Options) error {
	for _, u := range o.Units {
		if u.When != "" && !c.exists(u.When) {
			continue
		}
		if err := c.write(path.Join(unitDir, u.Name), u.Content, 0o644); err != nil {
			return fmt.Errorf("unit %s: %w", u.Name, err)
		}
		if u.WantedBy == "" {
			continue
		}
		if err := c.symlink(path.Join(unitDir, u.WantedBy+".wants", u.Name), path.Join(unitDir, u.Name)); err != nil {
			return fmt.Errorf("unit %s: %w", u.Name, err)
		}
	}
	return nil
}
