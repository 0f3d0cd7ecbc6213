package trim

import (
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// glob is a pattern of absolute paths: elements of path.Match, and "**" for any number of elements. A
// pattern that matches a directory means all that is in it, too.
type glob struct {
	text     string
	prefix   string   // relative path that all matches begin with
	elements []string // of the pattern
}

// newGlob compiles a pattern. Links in the directories that it begins with are followed, so that
// /lib/modules is found where /lib leads to /usr/lib.
func newGlob(t *tree.Tree, text string) glob {
	elements := strings.Split(strings.Trim(text, "/"), "/")
	literal := 0
	for literal < len(elements) && !strings.ContainsAny(elements[literal], `*?[\`) {
		literal++
	}
	dirs := min(literal, len(elements)-1) // what the last element names is meant itself, link or not
	if dirs > 0 {
		if real, err := t.Resolve(strings.Join(elements[:dirs], "/")); err == nil && real != tree.Root {
			real := strings.Split(real, "/")
			elements = append(real, elements[dirs:]...)
			literal += len(real) - dirs
		}
	}
	return glob{text: text, prefix: strings.Join(elements[:literal], "/"), elements: elements}
}

// matches reports whether the pattern matches a relative path itself.
func (g glob) matches(p string) bool {
	if !strings.HasPrefix(p, g.prefix) {
		return false
	}
	return matchElements(g.elements, p)
}

func matchElements(pattern []string, p string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			if len(pattern) == 1 {
				return p != ""
			}
			for {
				if matchElements(pattern[1:], p) {
					return true
				}
				_, rest, ok := strings.Cut(p, "/")
				if !ok {
					return false
				}
				p = rest
			}
		}
		if p == "" {
			return false
		}
		element, rest, _ := strings.Cut(p, "/")
		if ok, _ := path.Match(pattern[0], element); !ok {
			return false
		}
		pattern, p = pattern[1:], rest
	}
	return p == ""
}

// globs are patterns of which any one counts.
type globs []glob

func newGlobs(t *tree.Tree, texts []string) globs {
	var all globs
	for _, text := range texts {
		all = append(all, newGlob(t, text))
	}
	return all
}

// match returns the text of the first pattern that matches a relative path itself.
func (all globs) match(p string) (string, bool) {
	for _, g := range all {
		if g.matches(p) {
			return g.text, true
		}
	}
	return "", false
}

// below returns the text of the first pattern that matches a relative path or a directory that it is in.
func (all globs) below(p string) (string, bool) {
	for _, g := range all {
		if !strings.HasPrefix(p, g.prefix) {
			continue
		}
		for at := p; at != tree.Root; at = tree.Parent(at) {
			if matchElements(g.elements, at) {
				return g.text, true
			}
		}
	}
	return "", false
}

// matchName reports whether any of the patterns matches the name of a package.
func matchName(patterns []string, name string) (string, bool) {
	for _, p := range patterns {
		if ok, _ := path.Match(p, name); ok {
			return p, true
		}
	}
	return "", false
}
