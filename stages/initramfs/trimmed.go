package initramfs

import (
	"fmt"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// The generator is part of the system it generates for, with all it needs, and most
// trimmed systems have neither. So it runs in the system as it was before trimming, but
// with the drivers of the trimmed one, and what it made goes to that.

// driverDirs are the directories from which generators take what depends on the machine.
var driverDirs = []string{"lib/modules", "lib/firmware"}

// WithDrivers returns the root full with nothing but the kernel modules and firmware of
// the root trimmed, which was made from it.
func WithDrivers(full, trimmed *tree.Tree) (*tree.Tree, error) {
	edit := full.Edit()
	for _, dir := range driverDirs {
		path, err := full.Resolve(dir)
		if err != nil {
			continue // a root without lib has no drivers
		}
		kept := map[string]bool{}
		for _, e := range trimmed.Subtree(path) {
			kept[e.Path] = true
			if before, ok := full.Lookup(e.Path); !ok || !before.Equal(&e) {
				e.Link = 0
				edit.Put(e)
			}
		}
		for _, e := range full.Subtree(path) {
			if !kept[e.Path] {
				edit.Remove(e.Path)
			}
		}
	}
	return edit.Tree()
}

// Transfer returns the root trimmed with the kernels and initial RAM file systems of made,
// the result of Run for WithDrivers. The error names a kernel that trimming took away.
func Transfer(made, trimmed *tree.Tree, o Options) (*tree.Tree, error) {
	versions, err := Kernels(made, o.Kernel)
	if err != nil {
		return nil, err
	}
	edit := trimmed.Edit()
	for _, version := range versions {
		for _, path := range []string{At(o.Kernel, version), At(o.Image, version)} {
			e, ok := made.Lookup(path)
			if !ok {
				return nil, fmt.Errorf("the initial RAM file system of Linux %s is missing: /%s", version, path)
			}
			dir, ok := made.Lookup(tree.Parent(path))
			if !ok {
				return nil, fmt.Errorf("/%s is missing", tree.Parent(path))
			}
			if err := edit.MkdirAll(tree.Parent(path), dir); err != nil {
				return nil, err
			}
			e.Link = 0
			edit.Put(e)
		}
	}
	return edit.Tree()
}
