package installed

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// alternativesDirs are where the two programs of the name update-alternatives (dpkg's and chkconfig's)
// keep what they know, a file for each name; both have the links in linksDir.
var alternativesDirs = []string{dpkgDir + "/alternatives", "/var/lib/alternatives"}

const linksDir = "/etc/alternatives"

// alternative is what a file of alternativesDirs says (dpkg's utils/update-alternatives.c; chkconfig's has
// no empty line at the end, and perhaps a family before the priority):
//
//	auto | manual
//	link of the master
//	name and link of each slave, on two lines
//	an empty line
//	for each choice: path, priority, and for each slave a path or an empty line
//	an empty line
type alternative struct {
	name    string // of the master: the file's
	manual  bool
	links   []string // of the master and the slaves
	names   []string // the same's names in linksDir
	choices []choice
	end     string // what follows the last choice
}

type choice struct {
	paths    []string // for the master and the slaves; "" for none
	priority string   // as written
}

func parseAlternative(name string, p []byte) (*alternative, error) {
	a := &alternative{name: name, names: []string{name}}
	rest := strings.Split(string(p), "\n")
	next := func() (string, bool) {
		if len(rest) == 0 {
			return "", false
		}
		line := rest[0]
		rest = rest[1:]
		return line, true
	}
	mode, _ := next()
	link, ok := next()
	if mode != "auto" && mode != "manual" || !ok {
		return nil, fmt.Errorf("its first line is %q, and not auto or manual", mode)
	}
	a.manual, a.links = mode == "manual", []string{link}
	for {
		slave, ok := next()
		if slave == "" && ok {
			break
		}
		link, ok2 := next()
		if !ok || !ok2 {
			return nil, fmt.Errorf("it ends where the link of %q should be", slave)
		}
		a.names, a.links = append(a.names, slave), append(a.links, link)
	}
	for {
		path, ok := next()
		if path == "" || !ok {
			break
		}
		c := choice{paths: []string{path}}
		if c.priority, ok = next(); !ok {
			return nil, fmt.Errorf("it ends where the priority of %s should be", path)
		}
		for range a.names[1:] {
			path, ok := next()
			if !ok {
				return nil, fmt.Errorf("it ends where the slaves of %s should be", c.paths[0])
			}
			c.paths = append(c.paths, path)
		}
		a.choices = append(a.choices, c)
		a.end = strings.Join(rest, "\n")
	}
	return a, nil
}

func (a *alternative) encode() []byte {
	var b bytes.Buffer
	b.WriteString("auto\n")
	if a.manual {
		b.Reset()
		b.WriteString("manual\n")
	}
	b.WriteString(a.links[0] + "\n")
	for i, name := range a.names[1:] {
		b.WriteString(name + "\n" + a.links[i+1] + "\n")
	}
	b.WriteByte('\n')
	for _, c := range a.choices {
		b.WriteString(c.paths[0] + "\n" + c.priority + "\n")
		for _, path := range c.paths[1:] {
			b.WriteString(path + "\n")
		}
	}
	b.WriteString(a.end)
	return b.Bytes()
}

// rank returns a choice's priority as a number: chkconfig writes "@family@10 service" for one
// with a family and a service.
func (c choice) rank() int {
	text := c.priority
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		text = text[i+1:]
	}
	text, _, _ = strings.Cut(text, " ")
	n, _ := strconv.Atoi(text) // update-alternatives wrote it
	return n
}

// settleAlternatives takes choices whose files are gone out of the alternatives.
func (d *Database) settleAlternatives(w *writer) error {
	for _, dir := range alternativesDirs {
		for _, e := range w.children(dir) {
			if e.Type != tree.Regular || strings.HasSuffix(e.Path, ".dpkg-tmp") {
				continue
			}
			p, err := w.contents(e)
			if err != nil {
				return err
			}
			a, err := parseAlternative(e.Name(), p)
			if err != nil {
				return fmt.Errorf("/%s: %w", e.Path, err)
			}
			if err := w.settle("/"+e.Path, a); err != nil {
				return fmt.Errorf("/%s: %w", e.Path, err)
			}
		}
	}
	return nil
}

func (w *writer) settle(file string, a *alternative) error {
	changed := false
	a.choices = slices.DeleteFunc(a.choices, func(c choice) bool {
		gone := !w.exists(c.paths[0])
		changed = changed || gone
		return gone
	})
	for _, c := range a.choices {
		for i, path := range c.paths {
			if path != "" && !w.exists(path) {
				c.paths[i], changed = "", true
			}
		}
	}
	if !changed {
		return nil
	}
	if len(a.choices) == 0 {
		w.remove(file)
		for i := range a.names {
			w.unlink(a.names[i], a.links[i])
		}
		return nil
	}
	current := -1
	if target, ok := w.target(linksDir + "/" + a.name); ok {
		current = slices.IndexFunc(a.choices, func(c choice) bool { return c.paths[0] == target })
	}
	if current < 0 { // what was chosen is gone
		a.manual, current = false, 0
		for i, c := range a.choices {
			if c.rank() > a.choices[current].rank() {
				current = i
			}
		}
	}
	for i, path := range a.choices[current].paths {
		if path == "" {
			w.unlink(a.names[i], a.links[i])
		} else if err := w.link(a, i, path); err != nil {
			return err
		}
	}
	return w.replace(file, a.encode())
}

// target returns where the link at an absolute path leads.
func (w *writer) target(name string) (string, bool) {
	e, ok := w.entry(name)
	return e.Target, ok && e.Type == tree.Symlink
}

// entry returns what is at an absolute path, whose directories may be links.
func (w *writer) entry(name string) (tree.Entry, bool) {
	p := relative(name)
	dir, err := w.edit.Resolve(tree.Parent(p))
	if err != nil {
		return tree.Entry{}, false
	}
	return w.edit.Get(tree.Join(dir, p[strings.LastIndexByte(p, '/')+1:]))
}

// unlink takes the two links of a name away. What is no link to linksDir is somebody else's.
func (w *writer) unlink(name, link string) {
	if target, ok := w.target(link); ok && target == linksDir+"/"+name {
		e, _ := w.entry(link)
		w.edit.Remove(e.Path)
	}
	if e, ok := w.entry(linksDir + "/" + name); ok && e.Type == tree.Symlink {
		w.edit.Remove(e.Path)
	}
}

// link lets the links of one of the names lead to path.
func (w *writer) link(a *alternative, i int, path string) error {
	e, ok := w.entry(linksDir + "/" + a.names[i])
	if !ok {
		// A slave that the choice before did not have: like the master's link.
		if e, ok = w.entry(linksDir + "/" + a.name); !ok {
			return nil // somebody took the links away, and meant it
		}
		e.Path = tree.Join(tree.Parent(e.Path), a.names[i])
	}
	if e.Type == tree.Symlink && e.Target != path {
		e.Target, e.Link = path, 0
		w.edit.Put(e)
	}
	if _, ok := w.entry(a.links[i]); ok {
		return nil
	}
	dir, err := w.edit.Resolve(tree.Parent(relative(a.links[i])))
	if err != nil {
		return nil // the directory of documentation, for example, is not there
	}
	e.Path, e.Target = tree.Join(dir, a.links[i][strings.LastIndexByte(a.links[i], '/')+1:]), linksDir+"/"+a.names[i]
	w.edit.Put(e)
	return nil
}
