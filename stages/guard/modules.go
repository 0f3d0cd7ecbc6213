package guard

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// moduleSuffixes are those of kernel modules, plain and compressed.
var moduleSuffixes = []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"}

// isModule reports whether a path is that of a kernel module.
func isModule(name string) bool {
	return slices.ContainsFunc(moduleSuffixes, func(suffix string) bool { return strings.HasSuffix(name, suffix) }) &&
		strings.Contains(name, "lib/modules/")
}

// moduleName returns the name of the module in a file.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// modules finds kernel modules that lost one which they depend on: by modules.dep of before, which says what the module
// needs, and by modules.softdep. A module that is there and that modules.dep of after does not list cannot be loaded
// either.
func (c *checker) modules() ([]Finding, error) {
	var found []Finding
	for _, root := range []string{"usr/lib/modules", "lib/modules"} {
		if real, err := c.after.t.Resolve(root); err != nil || real != root {
			continue
		}
		for _, release := range c.after.t.Children(root) {
			if release.Type != tree.Directory {
				continue
			}
			of, err := c.modulesOf(release.Path)
			if err != nil {
				return nil, err
			}
			found = append(found, of...)
		}
	}
	return found, nil
}

func (c *checker) modulesOf(dir string) ([]Finding, error) {
	if !slices.ContainsFunc(c.changes, func(ch tree.Change) bool { return strings.HasPrefix(ch.Path, dir+"/") }) {
		return nil, nil
	}
	before, err := c.before.dependencies(dir)
	if err != nil {
		return nil, err
	}
	after, err := c.after.dependencies(dir)
	if err != nil {
		return nil, err
	}
	soft, err := c.before.softDependencies(dir)
	if err != nil {
		return nil, err
	}
	files := map[string]string{} // of before, by name
	for file := range before {
		files[moduleName(file)] = file
	}
	kept := func(file string) bool { _, ok := c.after.file(dir + "/" + file); return ok }
	var found []Finding
	for _, file := range sortedKeys(before) {
		if !kept(file) {
			continue
		}
		needs := before[file]
		for _, name := range soft[moduleName(file)] {
			if other, ok := files[name]; ok {
				needs = append(needs, other)
			}
		}
		for _, need := range needs {
			if kept(need) {
				continue
			}
			if _, was := c.before.file(dir + "/" + need); was {
				found = append(found, Finding{Kind: Module, Path: "/" + dir + "/" + file, Need: moduleName(need), Provider: "/" + dir + "/" + need})
			}
		}
		if _, listed := after[file]; !listed && len(before) > 0 {
			found = append(found, Finding{Kind: Module, Path: "/" + dir + "/" + file, Need: "its line in modules.dep", Provider: "/" + dir + "/modules.dep"})
		}
	}
	return found, nil
}

// dependencies reads modules.dep: of each module, by its path below dir, those it depends on.
func (s *side) dependencies(dir string) (map[string][]string, error) {
	deps := map[string][]string{}
	e, ok := s.file(dir + "/modules.dep")
	if !ok {
		return deps, nil
	}
	text, err := s.text(e)
	if err != nil {
		return nil, err
	}
	for line := range strings.SplitSeq(text, "\n") {
		if file, needs, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") {
			deps[file] = strings.Fields(needs)
		}
	}
	return deps, nil
}

// softDependencies reads modules.softdep: of each module, by its name, the names of those it wants loaded before and
// after it. Some name an alias, which many modules may serve: they are left out.
func (s *side) softDependencies(dir string) (map[string][]string, error) {
	soft := map[string][]string{}
	e, ok := s.file(dir + "/modules.softdep")
	if !ok {
		return soft, nil
	}
	text, err := s.text(e)
	if err != nil {
		return nil, err
	}
	for line := range strings.SplitSeq(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != "softdep" {
			continue
		}
		for _, f := range fields[2:] {
			if f != "pre:" && f != "post:" {
				name := strings.ReplaceAll(fields[1], "-", "_")
				soft[name] = append(soft[name], strings.ReplaceAll(f, "-", "_"))
			}
		}
	}
	return soft, nil
}
