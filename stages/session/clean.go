package session

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Rules lists what must not be in an image because it belongs to one machine or to
// one build.
type Rules struct {
	Remove   []string `json:"remove,omitempty"`   // absolute patterns; * and ? match in one element, a last element ** everything below
	Truncate []string `json:"truncate,omitempty"` // absolute paths of files which must exist and be empty
}

// Clean returns t without what rules remove, with what they truncate empty, with no
// time after epoch (seconds since 1970) and no password change after its day.
func Clean(st *store.Store, t *tree.Tree, rules Rules, epoch int64) (*tree.Tree, error) {
	edit := t.Edit()
	for _, pattern := range rules.Remove {
		matched, err := match(t, tree.Root, strings.Split(strings.TrimPrefix(pattern, "/"), "/"))
		if err != nil {
			return nil, fmt.Errorf("pattern %s: %w", pattern, err)
		}
		for _, p := range matched {
			edit.Remove(p)
		}
	}
	empty := store.Sum(nil)
	for _, p := range rules.Truncate {
		p = strings.TrimPrefix(p, "/")
		if dir, ok := edit.Get(tree.Parent(p)); !ok || dir.Type != tree.Directory {
			continue
		}
		e, ok := edit.Get(p)
		switch {
		case !ok:
			edit.Put(tree.Entry{Path: p, Type: tree.Regular, Mode: 0o644, MTime: tree.Time{Sec: epoch}, Digest: empty})
		case e.Type == tree.Regular && e.Size > 0:
			e.Digest, e.Size, e.Link, e.MTime = empty, 0, 0, tree.Time{Sec: epoch}
			edit.Put(e)
		}
	}
	if err := clampShadow(st, edit, epoch); err != nil {
		return nil, err
	}
	cleaned, err := edit.Tree()
	if err != nil {
		return nil, err
	}
	return clampTimes(cleaned, epoch)
}

// match returns the paths in t, below dir, that the pattern's elements match.
func match(t *tree.Tree, dir string, elements []string) ([]string, error) {
	element, rest := elements[0], elements[1:]
	if element == "**" && len(rest) == 0 {
		var all []string
		for _, e := range t.Children(dir) {
			all = append(all, e.Path)
		}
		return all, nil
	}
	var names []string
	if strings.ContainsAny(element, "*?[\\") {
		for _, e := range t.Children(dir) {
			ok, err := path.Match(element, e.Name())
			if err != nil {
				return nil, err
			}
			if ok {
				names = append(names, e.Path)
			}
		}
	} else if e, ok := t.Lookup(tree.Join(dir, element)); ok {
		names = append(names, e.Path)
	}
	if len(rest) == 0 {
		return names, nil
	}
	var matched []string
	for _, p := range names {
		below, err := match(t, p, rest)
		if err != nil {
			return nil, err
		}
		matched = append(matched, below...)
	}
	return matched, nil
}

// clampTimes returns t with every modification time after epoch set to it: files
// written by this build would otherwise tell when it ran.
func clampTimes(t *tree.Tree, epoch int64) (*tree.Tree, error) {
	limit := tree.Time{Sec: epoch}
	if !slices.ContainsFunc(t.Entries(), func(e tree.Entry) bool { return e.MTime.After(limit) }) {
		return t, nil
	}
	entries := slices.Clone(t.Entries())
	for i := range entries {
		if entries[i].MTime.After(limit) {
			entries[i].MTime = limit
		}
	}
	return tree.New(entries)
}

// clampShadow sets days of last password change in /etc/shadow (shadow(5), third
// field) that lie after epoch to its day: programs that add accounts put the day
// of the build there.
func clampShadow(st *store.Store, edit *tree.Editor, epoch int64) error {
	const file = "etc/shadow"
	e, ok := edit.Get(file)
	if !ok || e.Type != tree.Regular {
		return nil
	}
	p, err := st.ReadAll(e.Digest)
	if err != nil {
		return err
	}
	limit := epoch / (24 * 60 * 60)
	lines := strings.Split(string(p), "\n")
	changed := false
	for i, line := range lines {
		fields := strings.Split(line, ":")
		if len(fields) < 3 {
			continue
		}
		if day, err := strconv.ParseInt(fields[2], 10, 64); err == nil && day > limit {
			fields[2] = strconv.FormatInt(limit, 10)
			lines[i] = strings.Join(fields, ":")
			changed = true
		}
	}
	if !changed {
		return nil
	}
	text := strings.Join(lines, "\n")
	if e.Digest, err = st.Put([]byte(text)); err != nil {
		return err
	}
	e.Size, e.Link = int64(len(text)), 0
	edit.Put(e)
	return nil
}
