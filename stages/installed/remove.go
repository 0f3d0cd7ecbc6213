package installed

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/distros/deb"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// removeDeb takes packages out of dpkg's and apt's files, and what is gone out of what they say of
// the others.
func (d *Database) removeDeb(w *writer, gone map[string]struct{}) error {
	names := map[string]struct{}{} // "name:arch" in status
	infos := map[string]struct{}{} // in names of files and in the records of triggers
	for i, p := range d.Packages {
		if _, ok := gone[p.ID]; !ok {
			continue
		}
		names[p.Name+":"+p.Arch] = struct{}{}
		f := d.deb.packages[i]
		if f.info != "" {
			infos[f.info] = struct{}{}
		}
		if f.file != dpkgStatus {
			w.remove(f.file)
			w.remove(f.file + ".md5sums")
			w.remove(f.file + ".list")
		}
	}
	if err := d.restoreDiverted(w, gone); err != nil {
		return err
	}
	for _, e := range w.children(dpkgInfo) {
		if info, control, ok := cutLast(e.Name(), "."); ok && control != "" {
			if _, ok := infos[info]; ok {
				w.edit.Remove(e.Path)
			}
		}
	}
	keep := func(s deb.Stanza) bool {
		arch := s.Get("Architecture")
		_, ok := names[s.Get("Package")+":"+arch]
		if !ok && arch == d.deb.native && s.Get("Auto-Installed") != "" { // apt's record, see readExtendedStates
			_, ok = names[s.Get("Package")+":all"]
		}
		return !ok
	}
	if err := w.rewriteStanzas(dpkgStatus, keep, d.deb.settleConffiles(w)); err != nil {
		return err
	}
	if err := w.rewriteStanzas(extendedStates, keep, nil); err != nil {
		return err
	}
	if err := d.settleLists(w, gone); err != nil {
		return err
	}
	if err := d.settleTriggers(w, infos); err != nil {
		return err
	}
	err := w.rewriteLines(dpkgDir+"/statoverride", func(line string) string {
		words := strings.SplitN(line, " ", 4)
		if len(words) < 4 || w.exists(words[3]) {
			return line
		}
		// What was never there waits for a package; what went with one does not.
		dir, err := w.tree.Resolve(tree.Parent(relative(words[3])))
		if err != nil {
			return line
		}
		for _, id := range d.Owners(tree.Join(dir, path.Base(words[3]))) {
			if _, ok := gone[id]; ok {
				return ""
			}
		}
		return line
	})
	if err != nil {
		return err
	}
	// dpkg's copies of what was before its last change would tell of what is gone.
	for _, name := range []string{"status-old", "diversions-old", "statoverride-old", "available-old"} {
		w.remove(dpkgDir + "/" + name)
	}
	return nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// rewriteStanzas writes a file without the stanzas that keep does not want; change, unless nil, returns
// the text of one that stays.
func (w *writer) rewriteStanzas(name string, keep func(deb.Stanza) bool, change func(deb.Stanza, []string) []string) error {
	p, err := w.file(name)
	if errors.Is(err, errAbsent) {
		return nil
	}
	if err != nil {
		return err
	}
	text := lines(p)
	var b bytes.Buffer
	err = deb.ParseStanzas(bytes.NewReader(p), func(s deb.Stanza) error {
		if !keep(s) {
			return nil
		}
		end := s.Line - 1
		for end < len(text) && strings.TrimSpace(text[end]) != "" {
			end++
		}
		stanza := text[s.Line-1 : end]
		if change != nil {
			stanza = change(s, stanza)
		}
		b.WriteString(strings.Join(stanza, "\n") + "\n\n")
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if bytes.Equal(b.Bytes(), p) {
		return nil
	}
	return w.replace(name, b.Bytes())
}

// settleConffiles returns a change for rewriteStanzas that takes configuration files which are gone out
// of the field Conffiles.
func (d *debDatabase) settleConffiles(w *writer) func(deb.Stanza, []string) []string {
	return func(s deb.Stanza, text []string) []string {
		if s.Get("Conffiles") == "" || !isInstalled(s) {
			return text
		}
		var out []string
		header := -1 // where the field begins in out, while in it
		for _, line := range text {
			continues := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
			switch {
			case !continues:
				if header >= 0 && header == len(out)-1 {
					out = out[:header]
				}
				header = -1
				if strings.HasPrefix(strings.ToLower(line), "conffiles:") {
					header = len(out)
				}
			case header >= 0:
				words := strings.Fields(line)
				if last := words[len(words)-1]; last != "obsolete" && last != "remove-on-upgrade" && !d.has(w, s.Get("Package"), words[0]) {
					continue
				}
			}
			out = append(out, line)
		}
		if header >= 0 && header == len(out)-1 {
			out = out[:header]
		}
		return out
	}
}

// has reports whether the tree still has what a package has at a path.
func (d *debDatabase) has(w *writer, pkg, name string) bool {
	for _, v := range d.diversions {
		if v.from == name && v.owner != pkg {
			name = v.to
		}
	}
	_, ok := w.locate(name)
	return ok
}

// settleLists takes files that are gone out of the lists of files, and of their digests, of packages that stay.
func (d *Database) settleLists(w *writer, gone map[string]struct{}) error {
	for i, p := range d.Packages {
		if _, ok := gone[p.ID]; ok {
			continue
		}
		f := d.deb.packages[i]
		base := dpkgInfo + "/" + f.info
		if f.file != dpkgStatus {
			base = f.file
		}
		err := w.rewriteLines(base+".list", func(line string) string {
			if !d.deb.has(w, p.Name, line) {
				return ""
			}
			return line
		})
		if err != nil {
			return err
		}
		err = w.rewriteLines(base+".md5sums", func(line string) string {
			if _, file, ok := strings.Cut(line, "  "); ok && !d.deb.has(w, p.Name, "/"+file) {
				return ""
			}
			return line
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// settleTriggers takes packages out of what dpkg knows of who waits for what.
func (d *Database) settleTriggers(w *writer, infos map[string]struct{}) error {
	goes := func(who string) bool {
		who, _, _ = strings.Cut(who, "/")
		_, ok := infos[who]
		return ok
	}
	for _, e := range w.children(dpkgDir + "/triggers") {
		if e.Type != tree.Regular || e.Name() == "Lock" {
			continue
		}
		name := "/" + e.Path
		err := w.rewriteLines(name, func(line string) string {
			words := strings.Fields(line)
			switch {
			case len(words) == 0:
				return ""
			case e.Name() == "File":
				if len(words) == 2 && goes(words[1]) {
					return ""
				}
			case e.Name() == "Unincorp":
				kept := words[:1]
				for _, who := range words[1:] {
					if !goes(who) {
						kept = append(kept, who)
					}
				}
				if len(kept) == 1 && len(words) > 1 {
					return ""
				}
				return strings.Join(kept, " ")
			case goes(words[0]):
				return ""
			}
			return line
		})
		if err != nil {
			return err
		}
		// A trigger nobody waits for has no file.
		if now, ok := w.edit.Get(e.Path); ok && now.Size == 0 && e.Size > 0 && e.Name() != "File" && e.Name() != "Unincorp" {
			w.edit.Remove(e.Path)
		}
	}
	return nil
}

// rewriteLines writes a file with the lines that change returns; "" takes a line away. A
// file that is not there stays so.
func (w *writer) rewriteLines(name string, change func(string) string) error {
	p, err := w.file(name)
	if errors.Is(err, errAbsent) {
		return nil
	}
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, line := range lines(p) {
		if line = change(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	if bytes.Equal(b.Bytes(), p) {
		return nil
	}
	return w.replace(name, b.Bytes())
}

// restoreDiverted forgets the diversions of packages that go; what they diverted goes back to its
// place.
func (d *Database) restoreDiverted(w *writer, gone map[string]struct{}) error {
	owners := map[string]bool{} // by name, as diversions have them: false when one stays
	for _, p := range d.Packages {
		_, goes := gone[p.ID]
		if was, ok := owners[p.Name]; ok {
			goes = goes && was
		}
		owners[p.Name] = goes
	}
	var b strings.Builder
	changed := false
	for _, v := range d.deb.diversions {
		if !owners[v.owner] {
			b.WriteString(v.from + "\n" + v.to + "\n" + v.owner + "\n")
			continue
		}
		changed = true
		if e, ok := w.entry(v.to); ok {
			if _, taken := w.entry(v.from); taken {
				continue
			}
			if err := w.rename(e, v.from); err != nil {
				return err
			}
		}
	}
	if !changed {
		return nil
	}
	return w.replace(deb.DiversionsFile, []byte(b.String()))
}

// rename moves an entry that is no directory to an absolute path.
func (w *writer) rename(e tree.Entry, to string) error {
	if e.Type == tree.Directory {
		return nil // a directory that was made for a diversion's sake holds nothing of the package's
	}
	dir, err := w.edit.Resolve(tree.Parent(relative(to)))
	if err != nil {
		return fmt.Errorf("%s cannot go back to %s, from where it was diverted: %w", "/"+e.Path, to, err)
	}
	w.edit.Remove(e.Path)
	e.Path = tree.Join(dir, path.Base(to))
	w.edit.Put(e)
	return nil
}
