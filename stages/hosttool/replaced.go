package hosttool

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm/rpmfile"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// replaced are the files of a session that stand in the place of packages' files while
// scripts run, such as the program that would generate an initramfs. rpm must not put
// its own there: it is told that these paths are shared (%_netsharedpath), and the
// packages' files are put in place afterwards.
type replaced struct {
	packages map[string]string // path as a package has it → package file
	owned    map[string]bool   // directories that packages have, of those that prepare makes
	made     []string          // directories of the target that were made for the files
}

// replaced returns the paths of the session's files, as packages may have them.
func (o *RPMOptions) replaced() []string {
	var paths []string
	for _, f := range o.Session.Files {
		paths = append(paths, f.Path)
		// Packages from before the merge of /usr have the shorter one.
		if short := strings.TrimPrefix(f.Path, "/usr"); strings.HasPrefix(short, "/bin/") || strings.HasPrefix(short, "/sbin/") {
			paths = append(paths, short)
		}
	}
	return paths
}

// findReplaced finds the packages that have files at the paths of the session's.
func findReplaced(o *RPMOptions, sources []Source, paths []string) (*replaced, error) {
	r := &replaced{packages: map[string]string{}, owned: map[string]bool{}}
	wanted, dirs := map[string]bool{}, map[string]bool{}
	for _, p := range o.replaced() {
		wanted[p] = true
	}
	for _, f := range o.Session.Files {
		for dir := tree.Parent(strings.TrimPrefix(f.Path, "/")); dir != tree.Root; dir = tree.Parent(dir) {
			dirs[dir] = true
		}
	}
	// A directory after the one that holds it.
	r.made = slices.SortedFunc(maps.Keys(dirs), tree.Compare)
	if len(wanted) == 0 {
		return r, nil
	}
	for i := range sources {
		f, err := rpmfile.Open(paths[i])
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", &sources[i], err)
		}
		for _, file := range f.Header.Files() {
			if wanted[file.Path] && !file.IsGhost() {
				r.packages[file.Path] = paths[i]
			}
			if dir := strings.TrimPrefix(file.Path, "/"); dirs[dir] {
				r.owned[dir] = true
			}
		}
		f.Close()
	}
	return r, nil
}

// prepare makes the directories of the session's files, which are put there only where
// there is one.
func (r *replaced) prepare(target *tree.Tree, epoch int64) (*tree.Tree, error) {
	edit := target.Edit()
	for _, dir := range r.made {
		if err := edit.MkdirAll(dir, tree.Entry{Mode: 0o755, MTime: tree.Time{Sec: epoch}}); err != nil {
			return nil, err
		}
	}
	return edit.Tree()
}

// restore puts the packages' files in place, after the session's are gone, and removes
// directories that turned out to be nobody's.
func (r *replaced) restore(ctx context.Context, st *store.Store, after *tree.Tree) (*tree.Tree, error) {
	edit := after.Edit()
	for _, path := range slices.Sorted(maps.Keys(r.packages)) {
		e, err := fileOf(ctx, st, r.packages[path], strings.TrimPrefix(path, "/"))
		if err != nil {
			return nil, fmt.Errorf("the file %s of a package, which was kept out while scripts ran: %w", path, err)
		}
		dir, err := edit.Resolve(tree.Parent(e.Path))
		if err != nil {
			return nil, err
		}
		e.Path, e.Link = tree.Join(dir, e.Name()), 0
		edit.Put(e)
	}
	t, err := edit.Tree()
	if err != nil {
		return nil, err
	}
	edit = t.Edit()
	for _, dir := range slices.Backward(r.made) {
		if len(t.Subtree(dir)) == 1 && !r.owned[dir] {
			edit.Remove(dir)
			if t, err = edit.Tree(); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

// fileOf returns the entry that a package has at a path.
func fileOf(ctx context.Context, st *store.Store, packageFile, path string) (tree.Entry, error) {
	f, err := rpmfile.Open(packageFile)
	if err != nil {
		return tree.Entry{}, err
	}
	defer f.Close()
	digest, err := f.Unpack(ctx, st)
	if err != nil {
		return tree.Entry{}, err
	}
	t, err := tree.Load(st, digest)
	if err != nil {
		return tree.Entry{}, err
	}
	e, ok := t.Lookup(path)
	if !ok {
		return e, fmt.Errorf("%s does not hold it", packageFile)
	}
	return e, nil
}
