package trim

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
	"github.com/imagefactory/imagefactory/stages/trim/modules"
)

// moduleDirs are where kernels have their modules, each in a directory of its release.
var moduleDirs = []string{"usr/lib/modules", "lib/modules"}

// moduleOf returns the directory of a kernel and the name of the module that a relative path is; false when it is none.
func moduleOf(p string) (dir, name string, ok bool) {
	for _, base := range moduleDirs {
		rest, found := strings.CutPrefix(p, base+"/")
		if !found {
			continue
		}
		release, _, found := strings.Cut(rest, "/")
		name, compression, isModule := strings.Cut(path.Base(p), ".ko")
		if found && isModule && slices.Contains([]string{"", ".xz", ".zst", ".gz"}, compression) {
			return base + "/" + release, strings.ReplaceAll(name, "-", "_"), true
		}
	}
	return "", "", false
}

// trimModules returns the tree, before anything went, with the modules and firmware left out that the profile names, or
// that go with packages or paths; and without the directories of kernels all modules of which go. The indexes of depmod
// then are about what is left.
func (w *trimming) trimModules(r *removal, keep globs) (*tree.Tree, error) {
	o := modules.Options{
		Drop: w.profile.Modules.Drop, Keep: append(slices.Clone(w.profile.Modules.Keep), w.options.Modules...),
		KeepModules: slices.Clone(w.profile.Modules.KeepModules), RemoveModules: slices.Clone(w.profile.Modules.RemoveModules),
		Firmware: w.profile.Modules.Firmware, KeepFirmware: slices.Clone(w.profile.Modules.KeepFirmware),
	}
	had, goes := map[string]int{}, map[string][]string{} // modules by kernel
	for i, e := range w.before.Entries() {
		if file, ok := firmwareOf(e.Path); ok {
			if _, ok := keep.below(e.Path); ok {
				o.KeepFirmware = append(o.KeepFirmware, quote(file))
			}
		}
		dir, name, ok := moduleOf(e.Path)
		if !ok {
			continue
		}
		had[dir]++
		if r.goes[i] {
			goes[dir] = append(goes[dir], name)
		} else if _, ok := keep.below(e.Path); ok {
			o.KeepModules = append(o.KeepModules, name)
		}
	}
	edit := w.before.Edit()
	for dir, names := range goes {
		if len(names) == had[dir] {
			edit.Remove(dir)
			delete(had, dir)
			continue
		}
		o.RemoveModules = append(o.RemoveModules, names...)
	}
	for dir, names := range goes {
		if _, stays := had[dir]; stays && len(had) > 1 {
			return nil, fmt.Errorf("some modules of the kernel in /%s go with a package or a path (%s), and there is another kernel, which has modules of the same names; remove one of the kernels", dir, names[0])
		}
	}
	slices.Sort(o.RemoveModules)
	o.RemoveModules = slices.Compact(o.RemoveModules)
	t, err := edit.Tree()
	if err != nil {
		return nil, err
	}
	plan, err := modules.Choose(w.ctx, w.store, t, o)
	if err != nil {
		return nil, err
	}
	w.report.Classes = plan.Classes
	for _, list := range [][]modules.Fate{plan.Modules, plan.Firmware} {
		for _, f := range list {
			if !f.Kept {
				w.report.Modules = append(w.report.Modules, ModuleFate{Path: f.Path, Class: f.Class, Bytes: f.Bytes, Reason: f.Reason})
			}
		}
	}
	return modules.Apply(w.store, t, plan)
}

// firmwareOf returns the path of a file below /lib/firmware; false when a relative path is none.
func firmwareOf(p string) (string, bool) {
	for _, base := range []string{"usr/lib/firmware/", "lib/firmware/"} {
		if file, ok := strings.CutPrefix(p, base); ok {
			return file, true
		}
	}
	return "", false
}

// quote writes a path as a pattern that matches it alone.
func quote(p string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(p)
}
