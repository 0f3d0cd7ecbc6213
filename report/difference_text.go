package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Brief returns the difference without the files that packages which differ account for, which are counted there.
func (d *Difference) Brief() *Difference {
	brief := *d
	brief.Files = []FileChange{}
	for _, f := range d.Files {
		if !f.Explained {
			brief.Files = append(brief.Files, f)
		}
	}
	return &brief
}

// WriteText writes the difference as tables.
func (d *Difference) WriteText(w io.Writer, o TextOptions) error {
	p := &printer{o: o}
	d.summary(p)
	d.packages(p)
	d.kernels(p)
	d.privileges(p)
	d.services(p)
	d.accounts(p)
	d.files(p)
	d.outputs(p)
	if len(d.Notes) > 0 {
		p.heading("Notes", "")
		for _, n := range d.Notes {
			p.paragraph(printable(n))
		}
	}
	return p.writeTo(w)
}

// marks show changes, so that they are told apart without colors too.
var marks = map[Change]struct{ mark, color string }{
	Added: {"+", green}, Removed: {"-", red}, Changed: {"~", yellow}, Upgraded: {"↑", yellow}, Downgraded: {"↓", red}, Rebuilt: {"~", yellow},
}

func marked(c Change, cells ...string) row {
	m := marks[c]
	return row{color: m.color, cells: append([]string{m.mark}, cells...)}
}

// name says what a side is.
func (s Side) name() string {
	name := s.Name
	if s.Version != "" {
		name += " " + s.Version
	}
	return printable(name)
}

func (d *Difference) summary(p *printer) {
	what := "differs from"
	if d.Equal {
		what = "is the same as"
	}
	p.heading(fmt.Sprintf("%s %s %s", d.B.name(), what, d.A.name()), "")
	var rows []row
	number := func(title string, a, b *int) {
		if a != nil && b != nil {
			rows = append(rows, row{cells: []string{title, grouped(*a), grouped(*b), signed(*b - *a)}})
		}
	}
	number("Packages", d.A.Packages, d.B.Packages)
	number("Services", d.A.Services, d.B.Services)
	number("Files", d.A.Files, d.B.Files)
	if d.A.Bytes != nil && d.B.Bytes != nil {
		rows = append(rows, row{cells: []string{"Size of files", Bytes(*d.A.Bytes), Bytes(*d.B.Bytes), signedBytes(*d.B.Bytes - *d.A.Bytes)}})
	}
	p.table([]column{{}, {title: "before", right: true}, {title: "after", right: true}, {title: "change", right: true}}, rows)
}

func (d *Difference) packages(p *printer) {
	if len(d.Packages) == 0 {
		return
	}
	counts := map[Change]int{}
	var rows []row
	for _, c := range d.Packages {
		counts[c.Change]++
		var version, size string
		switch c.Change {
		case Added:
			version, size = c.After.text(), sizeChange(0, c.After.Size)
		case Removed:
			version, size = c.Before.text(), sizeChange(c.Before.Size, 0)
		case Rebuilt:
			version, size = c.After.text()+" (built anew)", sizeChange(c.Before.Size, c.After.Size)
		default:
			old, now := c.Before.Version, c.After.Version
			if c.Before.Arch != c.After.Arch {
				old, now = c.Before.text(), c.After.text()
			}
			version, size = printable(old)+" → "+printable(now), sizeChange(c.Before.Size, c.After.Size)
		}
		rows = append(rows, marked(c.Change, printable(c.Name), size, c.Files.text(), version))
	}
	p.heading("Packages", countsText(counts))
	p.table([]column{{}, {}, {right: true, drop: 1}, {drop: 2}, {}}, rows)
}

func (s *PackageState) text() string { return printable(s.Version + " " + s.Arch) }

// sizeChange is empty when nothing is known or nothing changed.
func sizeChange(before, after int64) string {
	if before == after {
		return ""
	}
	return signedBytes(after - before)
}

func (c FileCounts) text() string {
	if c.Total() == 0 {
		return ""
	}
	return plural(c.Total(), "file", "files")
}

// countsText says how many changes of each kind there are.
func countsText(counts map[Change]int) string {
	var parts []string
	for _, c := range []Change{Added, Removed, Upgraded, Downgraded, Rebuilt, Changed} {
		if n := counts[c]; n > 0 {
			parts = append(parts, grouped(n)+" "+string(c))
		}
	}
	return strings.Join(parts, ", ")
}

func (d *Difference) kernels(p *printer) {
	if len(d.Kernels) == 0 {
		return
	}
	p.heading("Kernels", "")
	var rows []row
	for _, k := range d.Kernels {
		rows = append(rows, marked(k.Change, printable(k.Release)))
	}
	p.table([]column{{}, {}}, rows)
}

func (d *Difference) privileges(p *printer) {
	if len(d.Privileges) == 0 {
		return
	}
	p.heading("Privileged programs", "files that run with other rights than before")
	var rows []row
	for _, c := range d.Privileges {
		change := presence(len(c.Before) > 0, len(c.After) > 0)
		text := list(c.Before) + " → " + list(c.After)
		switch change {
		case Added:
			text = list(c.After)
		case Removed:
			text = "no longer " + list(c.Before)
		}
		r := marked(change, printable(c.Path), text)
		if change != Removed {
			r.color = red // a right more is what to look at first
		}
		rows = append(rows, r)
	}
	p.table([]column{{}, {}, {}}, rows)
}

func list(rights []string) string { return printable(strings.Join(rights, ", ")) }

func (d *Difference) services(p *printer) {
	if len(d.Services) == 0 {
		return
	}
	counts := map[Change]int{}
	var rows []row
	for _, c := range d.Services {
		counts[c.Change]++
		text := c.Before + c.After
		if c.Change == Changed {
			text = c.Before + " → " + c.After
		}
		rows = append(rows, marked(c.Change, printable(c.Name), printable(text)))
	}
	p.heading("Services", countsText(counts))
	p.table([]column{{}, {}, {}}, rows)
}

func (d *Difference) accounts(p *printer) {
	if len(d.Accounts) == 0 {
		return
	}
	p.heading("Users and groups", "")
	var rows []row
	for _, c := range d.Accounts {
		var text string
		switch c.Change {
		case Added:
			text = c.After.text()
		case Removed:
			text = c.Before.text()
		default:
			var parts []string
			before, after := c.Before.attributes(), c.After.attributes()
			for _, a := range c.Attributes {
				if before[a] == after[a] { // another password, which is not shown
					parts = append(parts, a+" changed")
					continue
				}
				parts = append(parts, fmt.Sprintf("%s %s → %s", a, orNone(before[a]), orNone(after[a])))
			}
			text = strings.Join(parts, ", ")
		}
		rows = append(rows, marked(c.Change, c.Kind, printable(c.Name), printable(text)))
	}
	p.table([]column{{}, {}, {}, {}}, rows)
}

func (a *Account) attributes() map[string]string {
	return map[string]string{
		"id": a.ID, "group": a.Group, "home": a.Home, "shell": a.Shell, "description": a.Description, "password": a.Password,
		"members": strings.Join(a.Members, " "),
	}
}

func (a *Account) text() string {
	text := "id " + a.ID
	if a.Shell != "" {
		text += ", shell " + a.Shell
	}
	if a.Password != "" {
		text += ", password " + a.Password
	}
	if len(a.Members) > 0 {
		text += ", members " + strings.Join(a.Members, " ")
	}
	return text
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

// manyLabels is from how many files on a change of nothing but SELinux labels is told by number.
const manyLabels = 20

func (d *Difference) files(p *printer) {
	files, hidden := d.Files, 0
	if !p.o.Files {
		files = d.Brief().Files
		hidden = len(d.Files) - len(files)
	}
	onlyLabel := func(f FileChange) bool { return len(f.Attributes) == 1 && f.Attributes[0] == "label" }
	labels := 0
	if !p.o.Files {
		for _, f := range files {
			if onlyLabel(f) {
				labels++
			}
		}
	}
	counts := map[Change]int{}
	var rows []row
	for i := 0; i < len(files); i++ {
		f := files[i]
		counts[f.Change]++
		if labels >= manyLabels && onlyLabel(f) {
			continue
		}
		path, text := printable(f.Path), f.text()
		if f.state().Type == "directory" && f.Path != "/" {
			path += "/"
		}
		// All that is in a directory which was added or removed went with it.
		if !p.o.Files && f.Change != Changed && f.state().Type == "directory" {
			var below FileCounts
			var size int64
			for i+1 < len(files) && strings.HasPrefix(files[i+1].Path, f.Path+"/") {
				i++
				counts[files[i].Change]++
				if s := files[i].state(); s.Type != "directory" {
					below.add(files[i].Change)
					size += s.Size
				}
			}
			if n := below.Total(); n > 0 {
				text = fmt.Sprintf("directory with %s, %s", plural(n, "file", "files"), Bytes(size))
			}
		}
		rows = append(rows, marked(f.Change, path, text))
	}
	if len(rows) == 0 && labels < manyLabels && hidden == 0 {
		return
	}
	p.heading("Files", countsText(counts))
	p.table([]column{{}, {}, {}}, rows)
	if labels >= manyLabels {
		p.paragraph(fmt.Sprintf("%s have another SELinux label and differ in nothing else (--files lists them).", plural(labels, "file", "files")))
	}
	if hidden > 0 {
		what := "changes come"
		if hidden == 1 {
			what = "change comes"
		}
		p.paragraph(fmt.Sprintf("%s more %s with the packages above (--files lists them).", grouped(hidden), what))
	}
}

// state is that of a path after the change, or before it where it is gone.
func (f *FileChange) state() *FileState {
	if f.After != nil {
		return f.After
	}
	return f.Before
}

// text says what changed.
func (f *FileChange) text() string {
	if f.Change != Changed {
		s := f.state()
		parts := []string{s.Type}
		if s.Type == "file" {
			parts = []string{Bytes(s.Size)}
		}
		if s.Target != "" {
			parts = append(parts, "→ "+s.Target)
		}
		if s.Device != "" {
			parts = append(parts, s.Device)
		}
		if s.Type != "symlink" && (s.Mode != "0644" && s.Type == "file" || s.Mode != "0755" && s.Type != "file") {
			parts = append(parts, s.Mode)
		}
		if s.UID != 0 || s.GID != 0 {
			parts = append(parts, s.Owner)
		}
		return printable(strings.Join(parts, " "))
	}
	before, after := f.Before.attributes(), f.After.attributes()
	var parts []string
	for _, a := range f.Attributes {
		switch {
		case a == "contents" && f.Before.Size == f.After.Size:
			parts = append(parts, "contents ("+Bytes(f.After.Size)+")")
		case a == "contents":
			parts = append(parts, fmt.Sprintf("contents %s → %s", Bytes(f.Before.Size), Bytes(f.After.Size)))
		case before[a] == after[a]: // names of accounts hide that numbers changed
			parts = append(parts, fmt.Sprintf("%s %d:%d → %d:%d", a, f.Before.UID, f.Before.GID, f.After.UID, f.After.GID))
		default:
			parts = append(parts, fmt.Sprintf("%s %s → %s", a, orNone(before[a]), orNone(after[a])))
		}
	}
	return printable(strings.Join(parts, ", "))
}

// attributes returns the texts of what can differ, by name.
func (s *FileState) attributes() map[string]string {
	var xattrs []string
	for name, value := range s.Xattrs {
		xattrs = append(xattrs, name+"="+value)
	}
	slices.Sort(xattrs)
	return map[string]string{
		"type": s.Type, "mode": s.Mode, "owner": s.Owner, "target": s.Target, "device": s.Device, "capabilities": s.Capabilities,
		"acl": s.ACL, "label": s.Label, "xattrs": strings.Join(xattrs, " "), "links": s.LinkedTo,
	}
}

func (d *Difference) outputs(p *printer) {
	if len(d.Outputs) == 0 {
		return
	}
	p.heading("Outputs", "")
	var rows []row
	for _, c := range d.Outputs {
		size := func(o *Output) (text string, n int64) {
			if o == nil {
				return "", 0
			}
			return Bytes(o.Size), o.Size
		}
		before, old := size(c.Before)
		after, now := size(c.After)
		text := ""
		if c.Before != nil && c.After != nil && c.Before.VirtualSize != c.After.VirtualSize && c.After.VirtualSize != c.After.Size {
			text = fmt.Sprintf("disk %s → %s", Bytes(c.Before.VirtualSize), Bytes(c.After.VirtualSize))
		}
		rows = append(rows, marked(c.Change, printable(c.Format), before, after, signedBytes(now-old), text))
	}
	p.table([]column{{}, {}, {title: "before", right: true}, {title: "after", right: true}, {title: "change", right: true}, {}}, rows)
}
