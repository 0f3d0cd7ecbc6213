package trim

import "github.com/imagefactory/imagefactory/stages/trim/modules"

// Report says what trimming left and took, and why. Its JSON encoding has the names in lower case
// given here; all lists are sorted.
type Report struct {
	Profile  string        `json:"profile"`
	Database string        `json:"database"` // "kept", "dropped" or "none" where the root had none
	Before   Counts        `json:"before"`
	After    Counts        `json:"after"`
	Packages []PackageFate `json:"packages"`           // by name
	Paths    []PathFate    `json:"paths,omitempty"`    // in the order in which they were applied
	Services []ServiceFate `json:"services,omitempty"` // by name
	Modules  []ModuleFate  `json:"modules,omitempty"`  // kernel modules and firmware that went, each by path
	// Classes counts the kernel modules by their class; nil where none went.
	Classes []modules.ClassCount `json:"classes,omitempty"`
	// Unowned are entries that no package owned and that went for another reason than Paths, files of the package
	// database left out, by path.
	Unowned []UnownedFate `json:"unowned,omitempty"`
	Keep    []string      `json:"keep,omitempty"` // globs of paths that the recipe keeps
}

// Counts are what a root has.
type Counts struct {
	Packages int   `json:"packages"`
	Services int   `json:"services"` // unit files, as `systemctl list-unit-files` counts them
	Files    int   `json:"files"`    // entries that are no directories
	Bytes    int64 `json:"bytes"`    // of regular files, hard linked ones once
	Modules  int   `json:"modules"`  // kernel modules
	// States counts the unit files by their state.
	States map[string]int `json:"states,omitempty"`
}

// PackageFate is what became of a package.
type PackageFate struct {
	ID         string `json:"id"` // see installed.Package
	Name       string `json:"name"`
	Version    string `json:"version"`
	Arch       string `json:"arch"`
	Bytes      int64  `json:"bytes"`       // of its files before
	After      int64  `json:"after"`       // and after
	Files      int    `json:"files"`       // entries that are no directories, before
	FilesAfter int    `json:"files_after"` // and after
	Kept       bool   `json:"kept"`
	Reason     string `json:"reason"` // why it is kept or not, a clause
	// By is the ID of the package that needs it, and Need the text of that need; empty for a root of the
	// search and for what is not kept.
	By   string `json:"by,omitempty"`
	Need string `json:"need,omitempty"`
	// Chain leads from what asked for a package to this one, a clause for each step.
	Chain []string `json:"chain,omitempty"`
	// Dependents are the IDs of kept packages that declare to need this one, which is not kept or lost
	// all of its files.
	Dependents []string `json:"dependents,omitempty"`
}

// PathFate is what one rule about paths took.
type PathFate struct {
	Rule   string   `json:"rule"`   // "recipe", or the name of the profile's rule
	Reason string   `json:"reason"` // a clause
	Globs  []string `json:"globs"`
	Except []string `json:"except,omitempty"`
	Files  int      `json:"files"` // entries that are no directories
	Bytes  int64    `json:"bytes"`
}

// ServiceFate is what became of a unit file.
type ServiceFate struct {
	Name    string `json:"name"`
	Path    string `json:"path"`              // absolute
	Package string `json:"package,omitempty"` // ID of the package that owns it
	Before  string `json:"before,omitempty"`  // state (package services); empty for one that was not there
	After   string `json:"after,omitempty"`   // and after; empty for one that went
	Reason  string `json:"reason,omitempty"`  // why it changed or went
}

// ModuleFate is a kernel module or firmware file that went.
type ModuleFate struct {
	Path   string `json:"path"`            // absolute
	Class  string `json:"class,omitempty"` // of a module
	Bytes  int64  `json:"bytes"`
	Reason string `json:"reason"` // a clause
}

// UnownedFate is an entry that went and that no package owned.
type UnownedFate struct {
	Path   string `json:"path"`   // absolute
	Reason string `json:"reason"` // a clause
}

// Package returns the fate of a package by ID or name; nil when there was none.
func (r *Report) Package(name string) *PackageFate {
	for i := range r.Packages {
		if r.Packages[i].ID == name {
			return &r.Packages[i]
		}
	}
	for i := range r.Packages {
		if r.Packages[i].Name == name {
			return &r.Packages[i]
		}
	}
	return nil
}
