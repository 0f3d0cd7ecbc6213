package modules

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	kmod "github.com/imagefactory/imagefactory/installer/modules"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// All is the name that stands for all classes.
const All = "*"

// Options say which modules to remove. Classes and modules that are named twice are kept.
type Options struct {
	Drop []string `json:"drop,omitempty"` // classes to remove; All for every one
	Keep []string `json:"keep,omitempty"` // classes to keep of those
	// KeepModules and RemoveModules are names of modules, or patterns of them. A module that is kept keeps those it
	// depends on. Removing one that a kept module depends on is an error.
	KeepModules   []string `json:"keep_modules,omitempty"`
	RemoveModules []string `json:"remove_modules,omitempty"`
	// Firmware also removes firmware that no module left, and nothing built into the kernel, names.
	Firmware bool `json:"firmware,omitempty"`
	// KeepFirmware are patterns of files below /lib/firmware that stay, as of path.Match; a directory stands for all
	// below it.
	KeepFirmware []string `json:"keep_firmware,omitempty"`
}

// Plan says what becomes of a tree's modules and firmware.
type Plan struct {
	Modules  []Fate       `json:"modules"`  // sorted by release and path
	Firmware []Fate       `json:"firmware"` // sorted by path; nil where firmware is left alone
	Classes  []ClassCount `json:"classes"`  // sorted by name; that of modules without a class comes first

	remove []string          // paths of the tree
	write  map[string][]byte // new contents of indexes, by their paths in the tree
}

// Fate is what becomes of a module or a file of firmware.
type Fate struct {
	Path    string `json:"path"`              // absolute
	Release string `json:"release,omitempty"` // of the kernel
	Name    string `json:"name"`              // "snd_hda_intel", "iwlwifi-7260-17.ucode"
	Class   string `json:"class,omitempty"`
	Bytes   int64  `json:"bytes"`
	Kept    bool   `json:"kept"`
	Reason  string `json:"reason"` // "class sound is removed", "iwlwifi depends on it", …
}

// ClassCount is what a class had and has left, in all kernels.
type ClassCount struct {
	Name      string `json:"name"`
	Modules   int    `json:"modules"`
	Bytes     int64  `json:"bytes"`
	Kept      int    `json:"kept"`
	KeptBytes int64  `json:"kept_bytes"`
}

// IsZero reports whether the plan changes nothing.
func (p Plan) IsZero() bool { return len(p.remove) == 0 && len(p.write) == 0 }

// check refuses names that mean nothing.
func (o Options) check() error {
	for _, l := range [][]string{o.Drop, o.Keep} {
		for _, name := range l {
			if _, ok := classByName(name); !ok && name != All {
				var names []string
				for _, c := range Classes {
					names = append(names, c.Name)
				}
				return fmt.Errorf("%q is no class of kernel modules; there are %s", name, strings.Join(names, ", "))
			}
		}
	}
	for _, l := range [][]string{o.KeepModules, o.RemoveModules, o.KeepFirmware} {
		for _, pattern := range l {
			if _, err := path.Match(pattern, ""); err != nil {
				return fmt.Errorf("%q is not a pattern: %w", pattern, err)
			}
		}
	}
	return nil
}

// drops reports whether the options remove a class.
func (o Options) drops(class string) bool {
	return class != "" && (slices.Contains(o.Drop, class) || slices.Contains(o.Drop, All)) && !slices.Contains(o.Keep, class) && !slices.Contains(o.Keep, All)
}

// Choose decides about the modules of all kernels in a tree, and about its firmware. Modules must have been indexed by
// depmod(8), as packages of kernels do when they are installed.
func Choose(ctx context.Context, st *store.Store, t *tree.Tree, o Options) (Plan, error) {
	plan := Plan{write: map[string][]byte{}}
	if err := o.check(); err != nil {
		return plan, err
	}
	if len(o.Drop)+len(o.RemoveModules) == 0 && !o.Firmware {
		return plan, nil
	}
	configured, err := configured(st, t)
	if err != nil {
		return plan, err
	}
	counts := map[string]*ClassCount{}
	var kernels []*kernel
	matched := map[string]bool{}
	for _, dir := range releases(t) {
		k, err := readKernel(st, t, dir)
		if err != nil {
			return plan, err
		}
		kernels = append(kernels, k)
		if err := k.decide(o, configured, matched); err != nil {
			return plan, err
		}
		for _, m := range k.modules {
			plan.Modules = append(plan.Modules, Fate{"/" + k.dir + "/" + m.file, k.release, m.name, m.class, m.size, m.kept, m.reason})
			c := counts[m.class]
			if c == nil {
				c = &ClassCount{Name: m.class}
				counts[m.class] = c
			}
			c.Modules++
			c.Bytes += m.size
			if m.kept {
				c.Kept++
				c.KeptBytes += m.size
			} else {
				plan.remove = append(plan.remove, k.dir+"/"+m.file)
			}
		}
	}
	if len(kernels) > 0 {
		for _, name := range o.RemoveModules {
			if !matched[name] && !strings.ContainsAny(name, "*?[") {
				return plan, fmt.Errorf("there is no kernel module %s to remove; leave it out", name)
			}
		}
	}
	slices.SortFunc(plan.Modules, func(a, b Fate) int { return tree.Compare(a.Path, b.Path) })
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		plan.Classes = append(plan.Classes, *counts[name])
	}
	firmware := o.Firmware && hasFirmware(t)
	for _, k := range kernels {
		if err := k.read(ctx, firmware); err != nil {
			return plan, err
		}
		if err := k.index(plan.write); err != nil {
			return plan, err
		}
	}
	if firmware {
		if err := plan.chooseFirmware(st, t, o, kernels); err != nil {
			return plan, err
		}
	}
	return plan, nil
}

// Apply removes what the plan says, the directories that are empty then, and writes the indexes of depmod(8) about what is
// left. t must be the tree that the plan was made for.
func Apply(st *store.Store, t *tree.Tree, p Plan) (*tree.Tree, error) {
	if p.IsZero() {
		return t, nil
	}
	batch, err := st.NewBatch()
	if err != nil {
		return nil, err
	}
	defer batch.Abort()
	e := t.Edit()
	for _, name := range slices.Sorted(maps.Keys(p.write)) {
		entry, ok := t.Lookup(name)
		if !ok || entry.Type != tree.Regular {
			return nil, fmt.Errorf("/%s is not in the tree that the plan was made for", name)
		}
		entry.Link = 0
		entry.Size = int64(len(p.write[name]))
		if entry.Digest, err = batch.AddBytes(p.write[name]); err != nil {
			return nil, err
		}
		e.Put(entry)
	}
	if err := batch.Commit(); err != nil {
		return nil, err
	}
	gone := map[string]bool{}
	for _, name := range p.remove {
		if _, ok := t.Lookup(name); !ok {
			return nil, fmt.Errorf("/%s is not in the tree that the plan was made for", name)
		}
		e.Remove(name)
		gone[name] = true
	}
	for _, name := range p.remove {
		for dir := tree.Parent(name); !gone[dir] && path.Base(tree.Parent(dir)) != "modules" && path.Base(dir) != "firmware"; dir = tree.Parent(dir) {
			if slices.ContainsFunc(t.Children(dir), func(c tree.Entry) bool { return !gone[c.Path] }) {
				break
			}
			e.Remove(dir)
			gone[dir] = true
		}
	}
	return e.Tree()
}

// kernel is one kernel's modules.
type kernel struct {
	st      *store.Store
	t       *tree.Tree
	dir     string // in the tree: "usr/lib/modules/6.1.0-1-amd64"
	release string
	modules []*module // in the order of modules.dep
	byName  map[string]*module
	known   *kmod.Index
	owners  map[string]*module  // of symbols
	soft    map[string][]string // soft dependencies, by name
}

// module is a module of a kernel.
type module struct {
	file   string // below the kernel's directory
	name   string
	class  string
	size   int64
	digest store.Digest
	deps   []*module // all that have to be loaded first, as modules.dep has them

	kept   bool
	reason string
	borne  bool // kept for others that need it

	direct   []*module // those whose symbols it uses, in the order in which it names the symbols
	firmware []string
	sorted   int // place in the topological order
	index    int // place among those left
}

// releases returns the directories of kernels.
func releases(t *tree.Tree) []string {
	var dirs []string
	for _, root := range []string{"usr/lib/modules", "lib/modules"} {
		if real, err := t.Resolve(root); err != nil || real != root {
			continue
		}
		for _, e := range t.Children(root) {
			if e.Type != tree.Directory {
				continue
			}
			// Modules alone, without a kernel or indexes, are for other kernels to link to.
			_, kernel := t.Lookup(e.Path + "/kernel")
			_, indexed := t.Lookup(e.Path + "/modules.dep")
			if (kernel || indexed) && slices.ContainsFunc(t.Subtree(e.Path), func(e tree.Entry) bool { return e.Type == tree.Regular && isModule(e.Path) }) {
				dirs = append(dirs, e.Path)
			}
		}
	}
	return dirs
}

// isModule reports whether a file is a kernel module by its name.
func isModule(file string) bool { return strings.HasSuffix(plain(file), ".ko") }

// suffixes are those of compressed modules.
var suffixes = []string{".xz", ".zst", ".gz"}

// plain returns the name a compressed file has when it is unpacked.
func plain(file string) string {
	for _, s := range suffixes {
		if name, ok := strings.CutSuffix(file, s); ok {
			return name
		}
	}
	return file
}

// moduleName returns the name that the kernel knows a module's file by.
func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(plain(file)), ".ko"), "-", "_")
}

// readKernel reads what depmod left about a kernel's modules.
func readKernel(st *store.Store, t *tree.Tree, dir string) (*kernel, error) {
	k := &kernel{st: st, t: t, dir: dir, release: path.Base(dir), byName: map[string]*module{}, owners: map[string]*module{}}
	var err error
	if k.known, err = kmod.Read(files{st, t, dir}); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("/%s has no modules.dep: the modules of the kernel were never indexed; run depmod %s in a script", dir, k.release)
	} else if err != nil {
		return nil, fmt.Errorf("/%s: %w", dir, err)
	}
	text, err := k.readFile("modules.dep")
	if err != nil {
		return nil, err
	}
	depends := map[*module]string{}
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		if line == "" || line[0] == '#' {
			continue
		}
		file, needs, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(file, "/") {
			return nil, fmt.Errorf("/%s/modules.dep, line %d: %q is not `PATH: PATH…` with paths below the directory; run depmod %s in a script", dir, number, line, k.release)
		}
		e, ok := t.Lookup(dir + "/" + file)
		if ok && e.Type == tree.Symlink { // to a module that was made for another kernel and fits this one, too
			if real, err := t.Resolve(e.Path); err == nil {
				e, ok = t.Lookup(real)
			}
		}
		if !ok || e.Type != tree.Regular {
			return nil, fmt.Errorf("/%s/modules.dep, line %d: /%s/%s is not there; run depmod %s in a script", dir, number, dir, file, k.release)
		}
		m := &module{file: file, name: moduleName(file), class: ClassOf(file), size: e.Size, digest: e.Digest}
		k.modules = append(k.modules, m)
		k.byName[m.name] = m
		depends[m] = needs
	}
	for _, m := range k.modules {
		for need := range strings.FieldsSeq(depends[m]) {
			d, ok := k.byName[moduleName(need)]
			if !ok {
				return nil, fmt.Errorf("/%s/modules.dep: %s depends on %s, which has no line; run depmod %s in a script", dir, m.file, need, k.release)
			}
			m.deps = append(m.deps, d)
		}
	}
	return k, nil
}

// readFile returns a file of the kernel's directory, or "" when there is none.
func (k *kernel) readFile(name string) (string, error) {
	e, ok := k.t.Lookup(k.dir + "/" + name)
	if !ok || e.Type != tree.Regular {
		return "", nil
	}
	p, err := k.st.ReadAll(e.Digest)
	if err != nil {
		return "", fmt.Errorf("/%s/%s: %w", k.dir, name, err)
	}
	return string(p), nil
}

// decide says of each module whether it stays, and why.
func (k *kernel) decide(o Options, configured map[string]string, matched map[string]bool) error {
	named := func(patterns []string, name string) string {
		for _, p := range patterns {
			if ok, _ := path.Match(strings.ReplaceAll(p, "-", "_"), name); ok {
				matched[p] = true
				return p
			}
		}
		return ""
	}
	removed := map[*module]string{}
	var queue []*module
	keep := func(m *module, reason string) {
		if !m.kept {
			m.kept, m.reason = true, reason
			queue = append(queue, m)
		}
	}
	for _, m := range k.modules {
		keepBy, removeBy := named(o.KeepModules, m.name), named(o.RemoveModules, m.name)
		switch file := configured[m.name]; {
		case keepBy != "":
			keep(m, "it is named to be kept")
		case removeBy != "":
			removed[m] = removeBy
			m.reason = "it is named to be removed"
		case file != "":
			keep(m, "/"+file+" loads it")
		case o.drops(m.class):
			m.reason = "class " + m.class + " is removed"
		case m.class == "":
			keep(m, "it is of no class")
		default:
			keep(m, "class "+m.class+" is kept")
		}
	}
	// What is kept by itself comes first, so that reasons name the nearest of it.
	for len(queue) > 0 {
		m := queue[0]
		queue = queue[1:]
		for _, d := range m.deps {
			if by, ok := removed[d]; ok {
				return fmt.Errorf("the kernel module %s cannot be removed (%q): %s of kernel %s depends on it and is kept, because %s; remove that too, or keep both", d.name, by, m.name, k.release, m.reason)
			}
			d.borne = d.borne || !d.kept
			keep(d, m.name+" depends on it")
		}
		for _, name := range k.softDependencies(m.name) {
			if d := k.byName[name]; d != nil && removed[d] == "" {
				d.borne = d.borne || !d.kept
				keep(d, m.name+" wants it (softdep)")
			}
		}
	}
	return nil
}
