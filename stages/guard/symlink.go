package guard

import (
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// volatile are directories whose contents come when the system runs.
var volatile = []string{"proc", "sys", "dev", "run", "tmp", "var/run", "var/lock", "var/tmp"}

// isVolatile reports whether a path of the tree is in such a directory.
func isVolatile(name string) bool {
	for _, dir := range volatile {
		if name == dir || strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

// follow returns where a path leads, whether or not anything is there: at the first missing element, the rest of the path
// is taken as it is. The last result says whether something is there.
func (s *side) follow(name string) (string, bool) {
	at, rest := tree.Root, path.Clean("/" + name)[1:]
	for links := 0; rest != ""; {
		element, after, _ := strings.Cut(rest, "/")
		rest = after
		switch element {
		case "", ".":
			continue
		case "..":
			at = tree.Parent(at)
			continue
		}
		next := tree.Join(at, element)
		e, ok := s.t.Lookup(next)
		if !ok {
			return tree.Join(at, strings.Trim(element+"/"+rest, "/")), false
		}
		if e.Type != tree.Symlink {
			at = next
			continue
		}
		if links++; links > 40 {
			return next, false
		}
		if strings.HasPrefix(e.Target, "/") {
			at = tree.Root
		}
		rest = strings.Trim(e.Target+"/"+rest, "/")
	}
	return at, true
}

// symlinks finds symbolic links that lead nowhere, and led somewhere.
func (c *checker) symlinks() ([]Finding, error) {
	var found []Finding
	for _, e := range c.after.t.Entries() {
		if e.Type != tree.Symlink || isVolatile(e.Path) {
			continue
		}
		end, ok := c.after.follow(e.Path)
		if ok || isVolatile(end) {
			continue
		}
		f := Finding{Kind: Symlink, Path: "/" + e.Path, Need: "/" + end}
		if old, was := c.before.t.Lookup(e.Path); was && old.Type == tree.Symlink {
			led, ok := c.before.follow(e.Path)
			if !ok && old.Target == e.Target {
				continue // it led nowhere before
			}
			if ok {
				f.Provider = "/" + led
			}
		}
		found = append(found, f)
	}
	return found, nil
}
