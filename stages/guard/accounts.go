package guard

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// accounts are the users and groups of a tree.
type accounts struct {
	users, groups map[string]string // name to the file that says so
	uids, gids    map[uint32]string // id to name
}

func (s *side) accounts() (*accounts, error) {
	if s.names != nil {
		return s.names, nil
	}
	a := &accounts{map[string]string{}, map[string]string{}, map[uint32]string{}, map[uint32]string{}}
	for _, f := range []struct {
		name string
		ids  map[uint32]string
		set  map[string]string
	}{{"etc/passwd", a.uids, a.users}, {"etc/group", a.gids, a.groups}, {"usr/lib/passwd", a.uids, a.users}, {"usr/lib/group", a.gids, a.groups}} {
		e, ok := s.file(f.name)
		if !ok {
			continue
		}
		text, err := s.text(e)
		if err != nil {
			return nil, err
		}
		for line := range strings.SplitSeq(text, "\n") {
			fields := strings.Split(line, ":")
			if len(fields) < 3 || fields[0] == "" {
				continue
			}
			f.set[fields[0]] = cmp.Or(f.set[fields[0]], e.Path)
			if id, err := strconv.ParseUint(fields[2], 10, 32); err == nil && f.ids[uint32(id)] == "" {
				f.ids[uint32(id)] = fields[0]
			}
		}
	}
	// What systemd-sysusers makes at the next start is as good as there, where it is.
	if _, ok := s.command("systemd-sysusers"); ok {
		err := s.lines([]string{"etc/sysusers.d", "usr/local/lib/sysusers.d", "usr/lib/sysusers.d"}, ".conf", func(e tree.Entry, line string) {
			fields := strings.Fields(line)
			if len(fields) < 2 {
				return
			}
			switch fields[0] {
			case "u", "u!":
				a.users[fields[1]] = cmp.Or(a.users[fields[1]], e.Path)
				a.groups[fields[1]] = cmp.Or(a.groups[fields[1]], e.Path)
			case "g":
				a.groups[fields[1]] = cmp.Or(a.groups[fields[1]], e.Path)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	s.names = a
	return a, nil
}

// lines calls do with the lines of configuration files: those with the suffix in directories of which the first that has a
// name wins.
func (s *side) lines(dirs []string, suffix string, do func(e tree.Entry, line string)) error {
	seen := map[string]bool{}
	for _, name := range dirs {
		dir, err := s.t.Resolve(name)
		if err != nil {
			continue
		}
		for _, e := range s.t.Children(dir) {
			if seen[e.Name()] || !strings.HasSuffix(e.Name(), suffix) {
				continue
			}
			seen[e.Name()] = true
			f, ok := s.file(e.Path)
			if !ok {
				continue
			}
			text, err := s.text(f)
			if err != nil {
				return err
			}
			f.Path = e.Path
			for line := range strings.SplitSeq(text, "\n") {
				if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
					do(f, line)
				}
			}
		}
	}
	return nil
}

var (
	dbusAccount = regexp.MustCompile(`\b(user|group)="([^"*]+)"`)
	udevAccount = regexp.MustCompile(`\b(OWNER|GROUP):?="([^"$%]+)"`)
)

// accounts finds files that belong to a user or group, and configuration that names one, which are gone.
func (c *checker) accounts() ([]Finding, error) {
	before, err := c.before.accounts()
	if err != nil {
		return nil, err
	}
	after, err := c.after.accounts()
	if err != nil {
		return nil, err
	}
	var found []Finding
	gone := func(kind string, had, has map[uint32]string, id uint32) (string, bool) {
		name, was := had[id]
		_, is := has[id]
		return fmt.Sprintf("%s %s (%d)", kind, name, id), was && !is
	}
	goneUID, goneGID := map[string]bool{}, map[string]bool{} // directories already found: what lies below is not repeated
	for _, e := range c.after.t.Entries() {
		if name, ok := gone("user", before.uids, after.uids, e.UID); ok {
			goneUID[e.Path] = true
			if parent, _ := c.after.t.Lookup(tree.Parent(e.Path)); e.Path == tree.Root || !goneUID[parent.Path] || parent.UID != e.UID {
				found = append(found, Finding{Kind: Account, Path: "/" + e.Path, Need: name, Provider: "/" + before.users[before.uids[e.UID]]})
			}
		}
		if name, ok := gone("group", before.gids, after.gids, e.GID); ok {
			goneGID[e.Path] = true
			if parent, _ := c.after.t.Lookup(tree.Parent(e.Path)); e.Path == tree.Root || !goneGID[parent.Path] || parent.GID != e.GID {
				found = append(found, Finding{Kind: Account, Path: "/" + e.Path, Need: name, Provider: "/" + before.groups[before.gids[e.GID]]})
			}
		}
	}
	need := func(file, kind, name string) {
		had, has := before.users, after.users
		if kind == "group" {
			had, has = before.groups, after.groups
		}
		if had[name] != "" && has[name] == "" {
			found = append(found, Finding{Kind: Account, Path: "/" + file, Need: kind + " " + name, Provider: "/" + had[name]})
		}
	}
	for manager, files := range c.after.units().files {
		for _, name := range sortedKeys(files) {
			e := files[name]
			if e.Type != tree.Regular || manager > 0 {
				continue
			}
			all, err := c.after.assignments(manager, name, e)
			if err != nil {
				return nil, err
			}
			for _, a := range all {
				switch a.Name {
				case "User", "SocketUser":
					need(e.Path, "user", a.Value)
				case "Group", "SocketGroup":
					need(e.Path, "group", a.Value)
				case "SupplementaryGroups":
					for _, g := range strings.Fields(a.Value) {
						need(e.Path, "group", g)
					}
				}
			}
		}
	}
	sources := []struct {
		dirs   []string
		suffix string
		do     func(e tree.Entry, line string)
	}{
		{[]string{"etc/tmpfiles.d", "usr/local/lib/tmpfiles.d", "usr/lib/tmpfiles.d"}, ".conf", func(e tree.Entry, line string) {
			fields := strings.Fields(line)
			if len(fields) > 3 {
				need(e.Path, "user", strings.TrimPrefix(fields[3], ":"))
			}
			if len(fields) > 4 {
				need(e.Path, "group", strings.TrimPrefix(fields[4], ":"))
			}
		}},
		{[]string{"etc/dbus-1/system.d", "usr/share/dbus-1/system.d"}, ".conf", func(e tree.Entry, line string) {
			for _, m := range dbusAccount.FindAllStringSubmatch(line, -1) {
				need(e.Path, m[1], m[2])
			}
		}},
		{[]string{"etc/udev/rules.d", "usr/local/lib/udev/rules.d", "usr/lib/udev/rules.d"}, ".rules", func(e tree.Entry, line string) {
			for _, m := range udevAccount.FindAllStringSubmatch(line, -1) {
				kind := "group"
				if m[1] == "OWNER" {
					kind = "user"
				}
				need(e.Path, kind, m[2])
			}
		}},
	}
	for _, s := range sources {
		if err := c.after.lines(s.dirs, s.suffix, s.do); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// logins finds PAM modules and modules of the name service switch that configuration names and that are gone: without
// them nobody can log in.
func (c *checker) logins() ([]Finding, error) {
	var found []Finding
	for _, dir := range []string{"etc/pam.d", "usr/lib/pam.d"} {
		real, err := c.after.t.Resolve(dir)
		if err != nil {
			continue
		}
		for _, e := range c.after.t.Children(real) {
			f, ok := c.after.file(e.Path)
			if !ok {
				continue
			}
			text, err := c.after.text(f)
			if err != nil {
				return nil, err
			}
			for line := range strings.SplitSeq(strings.ReplaceAll(text, "\\\n", " "), "\n") {
				module := pamModule(line)
				if module == "" || c.after.pam(module) != "" {
					continue
				}
				if by := c.before.pam(module); by != "" {
					found = append(found, Finding{Kind: Library, Path: "/" + e.Path, Need: module, Provider: "/" + by})
				}
			}
		}
	}
	e, ok := c.after.file("etc/nsswitch.conf")
	if !ok {
		return found, nil
	}
	text, err := c.after.text(e)
	if err != nil {
		return nil, err
	}
	for line := range strings.SplitSeq(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		_, sources, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		for name := range strings.FieldsSeq(nssAction.ReplaceAllString(sources, " ")) {
			library := "libnss_" + name + ".so.2"
			if by := c.before.base(library); by != "" && c.after.base(library) == "" {
				if real, err := c.before.t.Resolve(by); err == nil {
					by = real
				}
				found = append(found, Finding{Kind: Library, Path: "/" + e.Path, Need: library, Provider: "/" + by})
			}
		}
	}
	return found, nil
}

var nssAction = regexp.MustCompile(`\[[^]]*\]`)

// pamModule returns the module that a line of PAM's configuration cannot do without, or "" (pam.conf(5)).
func pamModule(line string) string {
	line, _, _ = strings.Cut(line, "#")
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '-' || line[0] == '@' { // "-": it is left out where it is not there
		return ""
	}
	kind, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
	if !slices.Contains([]string{"auth", "account", "password", "session"}, strings.ToLower(kind)) {
		return ""
	}
	rest = strings.TrimSpace(rest)
	if strings.HasPrefix(rest, "[") {
		_, rest, _ = strings.Cut(rest, "]")
	} else {
		var control string
		control, rest, _ = strings.Cut(rest, " ")
		if control == "include" || control == "substack" {
			return ""
		}
	}
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return ""
	}
	return fields[0]
}

// pam returns the file of a PAM module, or "".
func (s *side) pam(module string) string {
	if strings.HasPrefix(module, "/") {
		e, ok := s.file(module)
		if !ok {
			return ""
		}
		return e.Path
	}
	for _, root := range []string{"usr/lib64", "usr/lib", "lib64", "lib"} {
		if e, ok := s.file(root + "/security/" + module); ok {
			return e.Path
		}
		real, err := s.t.Resolve(root)
		if err != nil || real != root && root != "usr/lib" {
			continue
		}
		for _, d := range s.t.Children(real) {
			if d.Type != tree.Directory || !strings.Contains(d.Name(), "-linux-") {
				continue
			}
			if e, ok := s.file(d.Path + "/security/" + module); ok {
				return e.Path
			}
		}
	}
	return ""
}
