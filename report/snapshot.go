package report

import (
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Snapshot is what is known of a system. Lists that are nil are not known; there is nothing of a kind when its list is
// empty but not nil.
type Snapshot struct {
	// Name is what the system was read from, for people: "kube-node.hcl", "out/", "node.qcow2".
	Name string
	// Version and Arch are the image's own, from recipe or manifest; may be empty.
	Version, Arch string
	// Tree is the root file system, or nil.
	Tree *tree.Tree
	// Store has the contents of files in Tree. Those of /etc/passwd, group and shadow are looked at. May be nil.
	Store *store.Store
	// Family decides how versions are compared: "deb" or "rpm"; empty when not known.
	Family string
	// Packages are what is installed.
	Packages []Package
	// Services are the unit files.
	Services []Service
	// Kernels are the releases of the installed kernels, sorted; see Kernels.
	Kernels []string
	// Outputs are the files that a build left.
	Outputs []Output
	// Notes say what the snapshot lacks, for people, one sentence each.
	Notes []string
}

// Package is an installed package.
type Package struct {
	Name    string
	Version string // as the package manager prints it, with epoch
	Arch    string
	Size    int64    // bytes of its regular files; 0 when not known
	SHA256  string   // of the package file, in hexadecimal; "" when not known
	Files   []string // absolute paths in the tree; nil when not known
}

// Service is a unit file and its state, as "systemctl list-unit-files" shows it.
type Service struct {
	Name  string
	State string
}

// Output is a file that a build left.
type Output struct {
	Format      string `json:"format"` // "raw", "qcow2", "iso", …
	File        string `json:"file"`   // name without directory
	Size        int64  `json:"size"`   // bytes
	VirtualSize int64  `json:"virtual_size,omitempty"`
}

// Kernels returns the releases of the kernels in a tree, sorted: the directories of /usr/lib/modules, or /lib/modules where
// /usr is not merged, that hold something.
func Kernels(t *tree.Tree) []string {
	kernels := []string{}
	for _, name := range []string{"/usr/lib/modules", "/lib/modules"} {
		dir, err := t.Resolve(name)
		if err != nil {
			continue // a directory above it is missing
		}
		for _, e := range t.Children(dir) {
			if e.Type == tree.Directory && len(t.Children(e.Path)) > 0 {
				kernels = append(kernels, e.Name())
			}
		}
	}
	slices.Sort(kernels)
	return slices.Compact(kernels)
}

// absolute returns a tree's path as people write it.
func absolute(path string) string {
	if path == tree.Root {
		return "/"
	}
	return "/" + path
}

// relative is the inverse of absolute.
func relative(path string) string {
	if path = strings.Trim(path, "/"); path == "" {
		return tree.Root
	}
	return path
}
