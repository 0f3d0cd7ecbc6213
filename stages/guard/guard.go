package guard

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// The kinds of findings.
const (
	Library     = "library"     // a shared library, a version of its symbols, a PAM or NSS module
	Interpreter = "interpreter" // of a script, or the dynamic linker of a program
	Unit        = "unit"        // what a unit executes, or a unit it cannot do without
	Symlink     = "symlink"     // what a symbolic link leads to
	Module      = "module"      // a kernel module that another one depends on
	Account     = "account"     // a user or group
)

// Kinds lists the kinds of findings.
var Kinds = []string{Library, Interpreter, Unit, Symlink, Module, Account}

// Finding is something that a tree needs, had before, and has no more.
type Finding struct {
	Kind  string `json:"kind"`
	Path  string `json:"path"`            // absolute, of the file that has the need
	Owner string `json:"owner,omitempty"` // the packages of Path
	Need  string `json:"need"`            // "libcrypt.so.1", "/usr/bin/perl", "user messagebus"
	// Provider is the path that met the need before, and Packages are its packages. Both are empty for a need that only
	// came with the change.
	Provider string   `json:"provider,omitempty"`
	Packages []string `json:"packages,omitempty"`
}

// String returns the finding as a sentence.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(f.Path)
	if f.Owner != "" {
		fmt.Fprintf(&b, " (%s)", f.Owner)
	}
	fmt.Fprintf(&b, " needs %s, which ", f.Need)
	switch {
	case f.Provider == "":
		b.WriteString("nothing provides")
	case len(f.Packages) == 0:
		fmt.Fprintf(&b, "%s provided", f.Provider)
	default:
		fmt.Fprintf(&b, "%s of the package %s provided", f.Provider, strings.Join(f.Packages, ", "))
	}
	return b.String()
}

// Exception says which findings are none. Empty fields match everything.
type Exception struct {
	Kind string `json:"kind,omitempty"` // one of the kinds
	// Path and Need are patterns as of path.Match; "**" as the last element of Path matches all below.
	Path   string `json:"path,omitempty"`
	Need   string `json:"need,omitempty"`
	Reason string `json:"reason,omitempty"` // for people
}

// Check says what is wrong with the exception, or nothing.
func (x Exception) Check() error {
	if x.Kind != "" && !slices.Contains(Kinds, x.Kind) {
		return fmt.Errorf("%q is no kind of finding; there are %s", x.Kind, strings.Join(Kinds, ", "))
	}
	for _, pattern := range []string{x.Path, x.Need} {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("%q is not a pattern: %w", pattern, err)
		}
	}
	return nil
}

// Matches reports whether the exception is about the finding.
func (x Exception) Matches(f Finding) bool {
	return (x.Kind == "" || x.Kind == f.Kind) && (x.Path == "" || match(x.Path, f.Path)) && (x.Need == "" || match(x.Need, f.Need))
}

// match is path.Match, with "**" for everything below.
func match(pattern, name string) bool {
	if dir, ok := strings.CutSuffix(pattern, "/**"); ok {
		for at := name; at != "/" && at != "."; at = path.Dir(at) {
			if ok, _ := path.Match(dir, at); ok && at != name {
				return true
			}
		}
		return dir == ""
	}
	ok, _ := path.Match(pattern, name)
	if !ok && !strings.Contains(pattern, "/") && strings.Contains(name, "/") { // a need may be a path
		ok, _ = path.Match(pattern, path.Base(name))
	}
	return ok
}

// Check returns what after needs and lacks though before had it, sorted by kind and path, without what exceptions name.
// owners returns the packages that a path (absolute, of before) belongs to; it may be nil. Errors are those of the store
// and of the context: files that cannot be understood have no needs.
func Check(ctx context.Context, st *store.Store, before, after *tree.Tree, owners func(path string) []string, exceptions []Exception) ([]Finding, error) {
	for _, x := range exceptions {
		if err := x.Check(); err != nil {
			return nil, err
		}
	}
	changes := tree.Diff(before, after)
	if len(changes) == 0 {
		return nil, nil
	}
	c := newChecker(ctx, st, before, after, changes)
	var all []Finding
	for _, check := range []func() ([]Finding, error){c.symlinks, c.programs, c.units, c.modules, c.accounts, c.logins} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		found, err := check()
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	kept := all[:0]
	for _, f := range all {
		if slices.ContainsFunc(exceptions, func(x Exception) bool { return x.Matches(f) }) {
			continue
		}
		if owners != nil {
			f.Owner = strings.Join(owners(f.Path), ", ")
			if f.Provider != "" {
				f.Packages = owners(f.Provider)
			}
		}
		kept = append(kept, f)
	}
	slices.SortFunc(kept, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(slices.Index(Kinds, a.Kind), slices.Index(Kinds, b.Kind)), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Need, b.Need))
	})
	return slices.CompactFunc(kept, func(a, b Finding) bool { return a.Kind == b.Kind && a.Path == b.Path && a.Need == b.Need }), nil
}
