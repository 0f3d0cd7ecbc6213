package modules

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Index knows the modules of one directory, usually /lib/modules/RELEASE.
type Index struct {
	dir     fs.FS
	modules map[string]module
	builtin map[string]bool
	aliases map[string][]alias // by what precedes the first ':' or wildcard
	softdep map[string]soft
}

type module struct {
	path    string   // in dir
	depends []string // names; loaded from the last to the first
}

type alias struct{ pattern, name string }

type soft struct{ pre, post []string }

// Read reads the indexes in dir. Without modules.dep the error is fs.ErrNotExist.
func Read(dir fs.FS) (*Index, error) {
	x := &Index{
		dir:     dir,
		modules: map[string]module{},
		builtin: map[string]bool{},
		aliases: map[string][]alias{},
		softdep: map[string]soft{},
	}
	if err := x.lines("modules.dep", x.addDependencies); err != nil {
		return nil, err
	}
	for name, add := range map[string]func(string) error{
		"modules.alias":   x.addAlias,
		"modules.softdep": x.addSoftDependency,
		"modules.builtin": func(line string) error { x.builtin[moduleName(line)] = true; return nil },
	} {
		if err := x.lines(name, add); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return x, nil
}

// lines calls add with each line of a file that is not a comment.
func (x *Index) lines(name string, add func(string) error) error {
	f, err := x.dir.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20) // modules with hundreds of dependencies have long lines
	for number := 1; scanner.Scan(); number++ {
		line := strings.TrimSpace(scanner.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := add(line); err != nil {
			return fmt.Errorf("%s, line %d: %w", name, number, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (x *Index) addDependencies(line string) error {
	file, depends, ok := strings.Cut(line, ":")
	if !ok {
		return fmt.Errorf("%q has no colon", line)
	}
	// Some depmods write paths from the root of the file system.
	if i := strings.LastIndex(file, "/lib/modules/"); i >= 0 {
		if _, below, found := strings.Cut(file[i+len("/lib/modules/"):], "/"); found {
			file = below
		}
	}
	file = path.Clean(file)
	if !fs.ValidPath(file) {
		return fmt.Errorf("%q is no path below the directory", file)
	}
	m := module{path: file}
	for d := range strings.FieldsSeq(depends) {
		m.depends = append(m.depends, moduleName(d))
	}
	x.modules[moduleName(file)] = m
	return nil
}

func (x *Index) addAlias(line string) error {
	fields := strings.Fields(line)
	if len(fields) != 3 || fields[0] != "alias" {
		return fmt.Errorf("%q is not `alias PATTERN MODULE`", line)
	}
	pattern := normal(fields[1])
	key := bus(pattern)
	x.aliases[key] = append(x.aliases[key], alias{pattern, moduleName(fields[2])})
	return nil
}

func (x *Index) addSoftDependency(line string) error {
	fields := strings.Fields(line)
	if len(fields) < 2 || fields[0] != "softdep" {
		return fmt.Errorf("%q is not `softdep MODULE …`", line)
	}
	name := moduleName(fields[1])
	s := x.softdep[name]
	var list *[]string
	for _, f := range fields[2:] {
		switch {
		case f == "pre:":
			list = &s.pre
		case f == "post:":
			list = &s.post
		case list != nil: // some modules forget to say which; kmod ignores those, too
			*list = append(*list, moduleName(f))
		}
	}
	x.softdep[name] = s
	return nil
}

// Lookup returns the modules that serve an alias (a device's modalias, or fs-xfs), or the module of that name, sorted.
// It is empty when nothing does, or what does is part of the kernel.
func (x *Index) Lookup(name string) []string {
	name = normal(name)
	if _, ok := x.modules[name]; ok {
		return []string{name}
	}
	var found []string
	keys := []string{bus(name)}
	if keys[0] != "" {
		keys = append(keys, "") // patterns that begin with a wildcard
	}
	for _, key := range keys {
		for _, a := range x.aliases[key] {
			if match(a.pattern, name) && !x.builtin[a.name] {
				found = append(found, a.name)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// Order returns the modules to load for name, itself included, in the order in which they have to be loaded. Missing
// soft dependencies are left out. Loops among soft dependencies are cut.
func (x *Index) Order(name string) ([]string, error) {
	var order []string
	err := x.order(moduleName(name), &order, map[string]bool{})
	return order, err
}

func (x *Index) order(name string, order *[]string, visited map[string]bool) error {
	if visited[name] || x.builtin[name] {
		return nil
	}
	visited[name] = true
	m, ok := x.modules[name]
	if !ok {
		return &MissingError{Module: name}
	}
	if _, err := fs.Stat(x.dir, m.path); err != nil {
		return &MissingError{Module: name, Path: m.path}
	}
	// Dependencies come in the order in which they have to be unloaded.
	for _, d := range slices.Backward(m.depends) {
		if err := x.order(d, order, visited); err != nil {
			return fmt.Errorf("%s depends on %s: %w", name, d, err)
		}
	}
	s := x.softdep[name]
	x.soften(s.pre, order, visited)
	*order = append(*order, name)
	x.soften(s.post, order, visited)
	return nil
}

// soften adds modules that had better be there, with what they depend on, or leaves them out whole.
func (x *Index) soften(names []string, order *[]string, visited map[string]bool) {
	for _, alias := range names {
		found := x.Lookup(alias)
		for _, name := range found {
			length := len(*order)
			if err := x.order(name, order, visited); err != nil {
				for _, undone := range (*order)[length:] {
					delete(visited, undone)
				}
				*order = (*order)[:length]
			}
		}
	}
}

// MissingError says that a module is not there.
type MissingError struct {
	Module string
	Path   string // where the index says it is; empty when the index does not know it
}

func (e *MissingError) Error() string {
	if e.Path != "" {
		return fmt.Sprintf("the module %s is not in this initramfs (%s)", e.Module, e.Path)
	}
	return fmt.Sprintf("there is no module %s for this kernel", e.Module)
}

// moduleName is the name of a module, given that or its file.
func moduleName(file string) string {
	name := path.Base(file)
	for _, suffix := range []string{".gz", ".xz", ".zst"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return strings.ReplaceAll(strings.TrimSuffix(name, ".ko"), "-", "_")
}

// normal makes '-' and '_' the same outside of bracket expressions, where '-' is a range.
func normal(s string) string {
	if !strings.Contains(s, "-") {
		return s
	}
	b, inside := []byte(s), false
	for i, c := range b {
		switch {
		case c == '[':
			inside = true
		case c == ']':
			inside = false
		case c == '-' && !inside:
			b[i] = '_'
		}
	}
	return string(b)
}

// bus is what an alias begins with, up to its first colon: "pci", "usb"; empty when a wildcard comes first.
func bus(s string) string {
	i := strings.IndexAny(s, ":*?[")
	if i < 0 {
		return s
	}
	if s[i] != ':' {
		return ""
	}
	return s[:i]
}
