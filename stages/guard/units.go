package guard

import (
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/stages/services"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// unitDirs are where systemd looks for units of the system and of users, of what an image can hold.
var unitDirs = [][]string{
	{"etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"},
	{"etc/systemd/user", "usr/local/lib/systemd/user", "usr/lib/systemd/user"},
}

// unitSet has the names of a tree's units.
type unitSet struct {
	files []map[string]tree.Entry // by manager, as in unitDirs; the first file of each name
}

func (s *side) units() *unitSet {
	if s.unitSet != nil {
		return s.unitSet
	}
	u := &unitSet{}
	for _, dirs := range unitDirs {
		files := map[string]tree.Entry{}
		for _, name := range dirs {
			dir, err := s.t.Resolve(name)
			if err != nil {
				continue
			}
			for _, e := range s.t.Children(dir) {
				if _, ok := files[e.Name()]; !ok && services.Kind(e.Name()) != "" && e.Type != tree.Directory {
					files[e.Name()] = e
				}
			}
		}
		u.files = append(u.files, files)
	}
	s.unitSet = u
	return u
}

// find returns the file of a unit or of its template, when it leads to one.
func (s *side) findUnit(manager int, name string) (tree.Entry, bool) {
	files := s.units().files[manager]
	e, ok := files[name]
	if !ok {
		at := strings.IndexByte(name, '@')
		if at < 0 {
			return e, false
		}
		if e, ok = files[name[:at+1]+path.Ext(name)]; !ok {
			return e, false
		}
	}
	if e.Type == tree.Symlink {
		end, there := s.follow(e.Path)
		if end == "dev/null" {
			return e, true // masked, which is a decision
		}
		if e, ok = s.t.Lookup(end); !ok || !there {
			return e, false
		}
	}
	return e, true
}

// assignments returns what a unit's file and its drop-ins say, in order.
func (s *side) assignments(manager int, name string, e tree.Entry) ([]services.Assignment, error) {
	text, err := s.text(e)
	if err != nil {
		return nil, err
	}
	all := services.Parse(text)
	names := []string{name}
	if at := strings.IndexByte(name, '@'); at >= 0 && !strings.HasPrefix(name[at:], "@.") {
		names = append(names, name[:at+1]+path.Ext(name))
	}
	for stem := strings.TrimSuffix(name, path.Ext(name)); strings.Contains(stem, "-"); { // prefixes: foo-.service.d
		stem = stem[:strings.LastIndexByte(stem, '-')]
		names = append(names, stem+"-"+path.Ext(name))
	}
	names = append(names, strings.TrimPrefix(path.Ext(name), ".")) // service.d
	files := map[string]tree.Entry{}
	for _, name := range names {
		for _, dir := range unitDirs[manager] {
			below, err := s.t.Resolve(dir + "/" + name + ".d")
			if err != nil {
				continue
			}
			for _, d := range s.t.Children(below) {
				if _, ok := files[d.Name()]; ok || !strings.HasSuffix(d.Name(), ".conf") {
					continue
				}
				if f, ok := s.file(d.Path); ok {
					files[d.Name()] = f
				} else {
					files[d.Name()] = tree.Entry{} // masks others of the name
				}
			}
		}
	}
	for _, d := range sortedKeys(files) {
		if files[d].Type != tree.Regular {
			continue
		}
		text, err := s.text(files[d])
		if err != nil {
			return nil, err
		}
		all = append(all, services.Parse(text)...)
	}
	return all, nil
}

// command is an Exec line's program.
type command struct {
	key, name string
	ignored   bool // "-": systemd does not mind its failure
}

// commands returns the programs that a unit executes, as the last of its assignments leave them.
func commands(all []services.Assignment) []command {
	byKey := map[string][]command{}
	for _, a := range all {
		if !strings.HasPrefix(a.Name, "Exec") {
			continue
		}
		switch a.Name {
		case "ExecStart", "ExecStartPre", "ExecStartPost", "ExecCondition", "ExecReload", "ExecReloadPost", "ExecStop", "ExecStopPre", "ExecStopPost":
		default:
			continue
		}
		if a.Value == "" {
			delete(byKey, a.Name)
			continue
		}
		first := true
		for _, word := range services.Words(a.Value) {
			if word == ";" {
				first = true
				continue
			}
			if !first {
				continue
			}
			first = false
			c := command{key: a.Name}
			for word != "" && strings.IndexByte("@-:+!|", word[0]) >= 0 {
				c.ignored = c.ignored || word[0] == '-'
				word = word[1:]
			}
			c.name = word
			byKey[a.Name] = append(byKey[a.Name], c)
		}
	}
	var list []command
	for _, key := range sortedKeys(byKey) {
		list = append(list, byKey[key]...)
	}
	return list
}

// units finds units that lost what they execute, or a unit that they start or cannot do without.
func (c *checker) units() ([]Finding, error) {
	var found []Finding
	for manager, files := range c.after.units().files {
		for _, name := range sortedKeys(files) {
			e := files[name]
			if e.Type != tree.Regular || e.Size == 0 {
				continue // an alias is looked at by its own name
			}
			all, err := c.after.assignments(manager, name, e)
			if err != nil {
				return nil, err
			}
			if c.skipped(all) {
				continue
			}
			found = append(found, c.lostCommands(e, all)...)
			found = append(found, c.lostUnits(manager, name, e, all)...)
		}
	}
	return found, nil
}

// lostCommands finds programs of a unit that are not there any more.
func (c *checker) lostCommands(e tree.Entry, all []services.Assignment) []Finding {
	var found []Finding
	for _, a := range all {
		switch a.Name {
		case "RootDirectory", "RootImage", "ExecSearchPath":
			if a.Value != "" {
				return nil // its paths are in another root, or depend on more than the tree
			}
		}
	}
	for _, cmd := range commands(all) {
		name := strings.ReplaceAll(cmd.name, "%%", "%")
		if name == "" || strings.ContainsAny(cmd.name, "$") || strings.Contains(strings.ReplaceAll(cmd.name, "%%", ""), "%") {
			continue // only the running system knows it
		}
		if cmd.ignored && cmd.key != "ExecStart" {
			continue // the unit says itself that it can do without
		}
		if f, ok := c.lost(Unit, e.Path, name); ok {
			found = append(found, f)
		}
	}
	return found
}

// skipped reports whether a condition keeps a unit from being started in the tree, because of a path that was there.
func (c *checker) skipped(all []services.Assignment) bool {
	for _, a := range all {
		switch a.Name {
		case "ConditionPathExists", "ConditionPathIsDirectory", "ConditionPathIsReadWrite", "ConditionDirectoryNotEmpty",
			"ConditionFileNotEmpty", "ConditionFileIsExecutable":
		default:
			continue
		}
		// "|" makes it one of several, "!" asks for what is not there.
		if !strings.HasPrefix(a.Value, "/") || strings.Contains(a.Value, "%") || isVolatile(a.Value[1:]) {
			continue
		}
		if !c.after.exists(a.Value) {
			return true
		}
	}
	return false
}

// lostUnits finds units that a unit starts or requires, and that are not there any more.
func (c *checker) lostUnits(manager int, name string, e tree.Entry, all []services.Assignment) []Finding {
	var needs []string
	own, accept := "", false
	for _, a := range all {
		switch a.Name {
		case "Requires", "Requisite", "BindsTo":
			needs = append(needs, services.Words(a.Value)...)
		case "Unit", "Service":
			own = a.Value
		case "Accept":
			accept = a.Value == "yes" || a.Value == "true" || a.Value == "1" || a.Value == "on"
		}
	}
	stem := strings.TrimSuffix(name, path.Ext(name))
	switch services.Kind(name) {
	case "timer", "path", "socket":
		if own == "" {
			own = stem + ".service"
			if accept {
				own = stem + "@.service"
			}
		}
		needs = append(needs, own)
	}
	var found []Finding
	for _, need := range needs {
		if strings.Contains(need, "%") || services.Kind(need) == "" {
			continue
		}
		if _, ok := c.after.findUnit(manager, need); ok {
			continue
		}
		if by, was := c.before.findUnit(manager, need); was {
			found = append(found, Finding{Kind: Unit, Path: "/" + e.Path, Need: need, Provider: "/" + by.Path})
		}
	}
	return found
}
