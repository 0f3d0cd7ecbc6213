// Package drivers chooses, of the kernel modules in a root tree, those that start an installer on a machine nobody has
// seen: disks, controllers, network cards, keyboards and file systems, by where they lie in the kernel's sources
// (Classes), with all modules they depend on and the firmware they name.
package drivers

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/installer/modules"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Choice is what was chosen of one kernel's modules.
type Choice struct {
	Release  string
	Modules  []Module   // sorted by Path
	Firmware []Firmware // sorted by Path

	// Indexes are modules.dep, modules.alias, modules.softdep and modules.builtin, by name, about the chosen modules only.
	Indexes map[string][]byte

	// Builtin lists, for each class by its name, modules that are part of the kernel; Missing the names of classes that
	// should be there and are neither modules nor that.
	Builtin map[string][]string
	Missing []string
	// Broken are chosen modules left out because one they depend on is not in the tree; the values say which.
	Broken map[string]string
	// MissingFirmware are files that chosen modules name and the tree lacks, sorted. Most drivers name files for
	// hardware or versions of long ago.
	MissingFirmware []string
}

// Module is a chosen module.
type Module struct {
	Path   string // below /lib/modules/RELEASE: "kernel/drivers/ata/ahci.ko.xz"
	Class  string // empty when it is only there because others depend on it
	Digest store.Digest
	Size   int64
}

// Name returns the module's name.
func (m Module) Name() string { return moduleName(m.Path) }

// Firmware is a file that a chosen module loads.
type Firmware struct {
	Path   string // below /lib/firmware: "bnx2/bnx2-mips-09-6.2.1b.fw.xz"
	Digest store.Digest
	Size   int64
}

// Choose chooses among the modules of the kernel release in t. Modules must have been indexed by depmod(8), as packages
// of kernels do when they are installed.
func Choose(ctx context.Context, st *store.Store, t *tree.Tree, release string) (Choice, error) {
	dir, err := t.Resolve("lib/modules/" + release)
	if err != nil {
		if dir, err = t.Resolve("usr/lib/modules/" + release); err != nil {
			return Choice{}, fmt.Errorf("the kernel %s has no modules: %w", release, err)
		}
	}
	files := treeFS{st, t, dir}
	index, err := modules.Read(files)
	if errors.Is(err, fs.ErrNotExist) {
		return Choice{}, fmt.Errorf("/%s has no modules.dep: the modules of the kernel were never indexed; run depmod %s in a script", dir, release)
	}
	if err != nil {
		return Choice{}, fmt.Errorf("/%s: %w", dir, err)
	}
	dep, err := fs.ReadFile(files, "modules.dep")
	if err != nil {
		return Choice{}, fmt.Errorf("/%s: %w", dir, err)
	}
	c := &chooser{files: files, index: index, paths: map[string]string{}, chosen: map[string]string{}}
	for line := range bytes.Lines(dep) {
		if file, _, ok := strings.Cut(string(line), ":"); ok && !strings.HasPrefix(file, "#") {
			file = belowRelease(file)
			c.paths[moduleName(file)] = file
		}
	}
	c.out = Choice{Release: release, Builtin: map[string][]string{}, Broken: map[string]string{}}
	if err := c.classes(); err != nil {
		return Choice{}, fmt.Errorf("/%s: %w", dir, err)
	}
	if err := c.list(); err != nil {
		return Choice{}, fmt.Errorf("/%s: %w", dir, err)
	}
	if c.out.Indexes, err = c.indexes(dep); err != nil {
		return Choice{}, fmt.Errorf("/%s: %w", dir, err)
	}
	named, err := c.builtinFirmware()
	if err != nil {
		return Choice{}, fmt.Errorf("/%s: %w", dir, err)
	}
	c.out.Firmware, c.out.MissingFirmware, err = firmware(ctx, st, t, release, c.out.Modules, named)
	if err != nil {
		return Choice{}, fmt.Errorf("/%s: %w", dir, err)
	}
	return c.out, nil
}

type chooser struct {
	files  treeFS
	index  *modules.Index
	paths  map[string]string // of all modules, by name
	chosen map[string]string // class by name
	out    Choice
}

// classes chooses the modules of all classes and what they depend on.
func (c *chooser) classes() error {
	builtin, err := fs.ReadFile(c.files, "modules.builtin")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	names := slices.Sorted(maps.Keys(c.paths))
	for _, class := range Classes {
		for line := range bytes.Lines(builtin) {
			if file, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "kernel/"); ok && class.has(file) {
				c.out.Builtin[class.Name] = append(c.out.Builtin[class.Name], moduleName(file))
			}
		}
		found := len(c.out.Builtin[class.Name]) > 0
		for _, name := range names {
			// Modules of other vendors, in extra/ or updates/, keep the kernel's directories where they replace its modules.
			file := c.paths[name]
			_, file, _ = strings.Cut(file, "/")
			if !class.has(file) {
				continue
			}
			if err := c.add(name, class.Name); err != nil {
				return err
			}
			_, ok := c.chosen[name]
			found = found || ok
		}
		if !found && !class.Optional {
			c.out.Missing = append(c.out.Missing, class.Name)
		}
	}
	return nil
}

// add chooses a module of a class, with what it depends on.
func (c *chooser) add(name, class string) error {
	order, err := c.index.Order(name)
	if missing := (*modules.MissingError)(nil); errors.As(err, &missing) {
		if missing.Module != name {
			c.out.Broken[name] = missing.Module
		}
		return nil // taken out of the root on purpose
	}
	if err != nil {
		return err
	}
	for _, each := range order {
		if c.chosen[each] == "" {
			c.chosen[each] = ""
		}
	}
	c.chosen[name] = class
	return nil
}

// list looks the chosen modules up.
func (c *chooser) list() error {
	for name, class := range c.chosen {
		e, err := c.files.lookup("open", c.paths[name])
		if err != nil {
			return err
		}
		c.out.Modules = append(c.out.Modules, Module{Path: c.paths[name], Class: class, Digest: e.Digest, Size: e.Size})
	}
	slices.SortFunc(c.out.Modules, func(a, b Module) int { return tree.Compare(a.Path, b.Path) })
	return nil
}

// builtinFirmware returns the names of firmware that modules of the classes name which are part of the kernel. What
// modinfo(8) says of those is in modules.builtin.modinfo, each value as "MODULE.KEY=VALUE" with a NUL behind it.
func (c *chooser) builtinFirmware() ([]string, error) {
	p, err := fs.ReadFile(c.files, "modules.builtin.modinfo")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ours := map[string]bool{}
	for _, names := range c.out.Builtin {
		for _, name := range names {
			ours[name] = true
		}
	}
	var named []string
	for each := range strings.SplitSeq(string(p), "\x00") {
		module, rest, _ := strings.Cut(each, ".")
		if value, ok := strings.CutPrefix(rest, "firmware="); ok && ours[moduleName(module)] {
			named = append(named, value)
		}
	}
	return named, nil
}

// indexes returns the lines of the indexes that are about chosen modules.
func (c *chooser) indexes(dep []byte) (map[string][]byte, error) {
	chosen := func(name string) bool { _, ok := c.chosen[moduleName(name)]; return ok }
	out := map[string][]byte{}
	var b bytes.Buffer
	for line := range bytes.Lines(dep) {
		if file, depends, ok := strings.Cut(strings.TrimSpace(string(line)), ":"); ok && chosen(file) {
			b.WriteString(belowRelease(file) + ":")
			for each := range strings.FieldsSeq(depends) {
				b.WriteString(" " + belowRelease(each))
			}
			b.WriteByte('\n')
		}
	}
	out["modules.dep"] = b.Bytes()
	for name, about := range map[string]int{"modules.alias": 2, "modules.softdep": 1, "modules.builtin": -1} {
		f, err := c.files.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if about < 0 || len(fields) > about && chosen(fields[about]) {
				b.Write(lines.Bytes())
				b.WriteByte('\n')
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = b.Bytes()
	}
	return out, nil
}

// belowRelease returns a path of modules.dep below the kernel's directory: some depmods write it from the root.
func belowRelease(file string) string {
	if i := strings.LastIndex(file, "/lib/modules/"); i >= 0 {
		if _, below, ok := strings.Cut(file[i+len("/lib/modules/"):], "/"); ok {
			file = below
		}
	}
	return path.Clean(file)
}
