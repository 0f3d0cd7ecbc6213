package report

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/tree"
	"github.com/imagefactory/imagefactory/stages/trim"
)

// Page is what the HTML page about an image shows.
type Page struct {
	Name, Version, Arch string // of the image
	Tool                string // what made the page: "imagefactory 1.2"

	// After is the root file system of the image.
	After *tree.Tree
	// Database has the packages of the root before it was trimmed, or of the image where it was not; nil when there was
	// none.
	Database *installed.Database
	// Before is the root file system before it was trimmed, and Report what trimming did; both nil when it was not.
	Before *tree.Tree
	Report *trim.Report
	// Origin, unless nil, says where a path comes from that no package owns, such as `file "/etc/motd"`, and "" when it
	// does not know. See package provenance.
	Origin func(path string) string

	Stages  []Stage      // what the root was after each stage, in order; may be empty
	Outputs []Output     // what the build left; may be empty
	Budget  *trim.Budget // bounds of the recipe; may be nil
	Checks  []Check      // what a scan of the image found; may be empty
}

// Stage is a stage of the build and what the root was after it.
type Stage struct {
	Name   string      `json:"name"`
	Counts trim.Counts `json:"counts"`
}

// Check is a rule that the image was checked by.
type Check struct {
	ID       string `json:"id"`
	Title    string `json:"title"`
	Severity string `json:"severity"`
	Result   string `json:"result"` // "pass", "fail", …
	Evidence string `json:"evidence"`
}

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// pageView is what the template shows.
type pageView struct {
	Title, Subtitle, Tool string
	Sentence              string
	Figures               []figure
	Policy                string
	Style                 template.CSS
	Script                template.JS
	Data                  template.JS
	Trimmed               bool
	Stages                []stageRow
	Outputs               []outputRow
}

// figure is one of the numbers at the top.
type figure struct {
	Title, Before, After, Note string
	Class                      string // "good": less than before; "bad": over the budget
}

type stageRow struct{ Name, Packages, Services, Files, Bytes, Change string }

type outputRow struct{ File, Format, Size, Disk string }

// HTML writes the page: one document without anything outside of it, which works wherever it lies. A content security
// policy in it lets nothing but its own script run and nothing be loaded, whatever names of files and packages say.
func HTML(w io.Writer, p Page) error {
	data, err := p.data()
	if err != nil {
		return err
	}
	// Escapes <, > and &, so that nothing in it ends the element it lies in.
	encoded, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	view := pageView{
		Title:    strings.TrimSpace(strings.Join([]string{valid(p.Name), valid(p.Version)}, " ")),
		Subtitle: valid(p.Arch), Tool: valid(p.Tool),
		Sentence: p.sentence(), Figures: p.figures(),
		Policy: fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; base-uri 'none'; form-action 'none'", sourceHash(pageCSS), sourceHash(pageJS)),
		Style:  template.CSS(pageCSS), Script: template.JS(pageJS), Data: template.JS(encoded),
		Trimmed: p.Report != nil && p.Before != nil,
	}
	last := int64(0)
	for i, s := range p.Stages {
		change := ""
		if i > 0 {
			change = signedBytes(s.Counts.Bytes - last)
		}
		last = s.Counts.Bytes
		view.Stages = append(view.Stages, stageRow{
			valid(s.Name), grouped(s.Counts.Packages), grouped(s.Counts.Services), grouped(s.Counts.Files), Bytes(s.Counts.Bytes), change,
		})
	}
	for _, o := range p.Outputs {
		row := outputRow{File: valid(o.File), Format: valid(o.Format), Size: Bytes(o.Size)}
		if o.VirtualSize > 0 {
			row.Disk = Bytes(o.VirtualSize)
		}
		view.Outputs = append(view.Outputs, row)
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, view); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	_, err = w.Write(b.Bytes())
	return err
}

// sourceHash names a script or style sheet in a content security policy.
func sourceHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// valid makes foreign text valid UTF-8 without control characters.
func valid(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return s
	}
	return printable(s)
}

// sentence says for everybody what trimming did.
func (p Page) sentence() string {
	r := p.Report
	if r == nil {
		return fmt.Sprintf("The image holds %s in %s.", Bytes(p.After.Bytes()), plural(filesOf(p.After), "file", "files"))
	}
	less := r.Before.Bytes - r.After.Bytes
	if less <= 0 {
		return "Trimming made this image no smaller."
	}
	text := fmt.Sprintf("Trimming took %s (%s) of %s out of this image", Bytes(less), percent(less, r.Before.Bytes), Bytes(r.Before.Bytes))
	if n := r.Before.Packages - r.After.Packages; n > 0 {
		text += fmt.Sprintf(": %s of %s", grouped(n), plural(r.Before.Packages, "package", "packages"))
		if m := r.Before.Services - r.After.Services; m > 0 {
			text += fmt.Sprintf(" and %s of %s", grouped(m), plural(r.Before.Services, "service", "services"))
		}
	}
	text += "."
	if r.Profile != "" && r.Profile != "none" {
		text += fmt.Sprintf(" The profile %q says what such a system needs, and everything it does not lead to was removed.", r.Profile)
	}
	if r.Database == "dropped" {
		text += " The package manager and its database went too."
	}
	if more := p.After.Bytes() - r.After.Bytes; more > 0 {
		text += fmt.Sprintf(" With what the build adds afterwards, such as the initramfs, the image holds %s.", Bytes(p.After.Bytes()))
	}
	return valid(text)
}

func filesOf(t *tree.Tree) int {
	n := 0
	for _, e := range t.Entries() {
		if e.Type != tree.Directory {
			n++
		}
	}
	return n
}

// percent writes a share: "66 %", and "less than 1 %".
func percent(part, whole int64) string {
	if whole == 0 {
		return "0 %"
	}
	n := (part*200 + whole) / (2 * whole)
	if n == 0 && part > 0 {
		return "less than 1 %"
	}
	return fmt.Sprintf("%d %%", n)
}

func (p Page) figures() []figure {
	r := p.Report
	if r == nil {
		f := []figure{
			{Title: "Size of all files", After: Bytes(p.After.Bytes())},
			{Title: "Files", After: grouped(filesOf(p.After))},
		}
		if p.Database != nil {
			f = append(f, figure{Title: "Packages", After: grouped(len(p.Database.Packages))})
		}
		return append(f, figure{Title: "Kernel", After: valid(strings.Join(Kernels(p.After), ", "))})
	}
	var budget trim.Budget
	if p.Budget != nil {
		budget = *p.Budget
	}
	number := func(title string, before, after, bound int64, write func(int64) string) figure {
		f := figure{Title: title, Before: write(before), After: write(after)}
		switch {
		case before > after:
			f.Note, f.Class = percent(before-after, before)+" less", "good"
		case before < after:
			f.Note = write(after-before) + " more"
		default:
			f.Note = "as before"
		}
		switch {
		case bound > 0 && after > bound:
			f.Note, f.Class = fmt.Sprintf("%s, over the budget of %s", f.Note, write(bound)), "bad"
		case bound > 0:
			f.Note += ", within the budget of " + write(bound)
		}
		return f
	}
	count := func(n int64) string { return grouped(int(n)) }
	return []figure{
		number("Size of all files", r.Before.Bytes, r.After.Bytes, budget.Size, Bytes),
		number("Packages", int64(r.Before.Packages), int64(r.After.Packages), int64(budget.Packages), count),
		number("Services", int64(r.Before.Services), int64(r.After.Services), int64(budget.Services), count),
		number("Files", int64(r.Before.Files), int64(r.After.Files), 0, count),
		number("Kernel modules", int64(r.Before.Modules), int64(r.After.Modules), 0, count),
	}
}

// pageData is the data of the script. Rows are arrays, as there are thousands.
type pageData struct {
	Trimmed    bool       `json:"trimmed"`
	Categories []string   `json:"categories"`
	Map        mapNode    `json:"map"`
	Packages   [][]any    `json:"packages"` // name, version, architecture, bytes before and after, files before and after, kept, why, chain
	Services   [][]any    `json:"services"` // name, package, state before and after, reason
	Removed    [][]any    `json:"removed"`  // path, files, bytes, package, reason
	Modules    [][]any    `json:"modules"`  // path, bytes, reason
	Checks     [][]string `json:"checks"`   // id, title, severity, result, evidence
}

func (p Page) data() (*pageData, error) {
	d := &pageData{
		Trimmed: p.Report != nil && p.Before != nil, Categories: categories,
		Packages: [][]any{}, Services: [][]any{}, Removed: [][]any{}, Modules: [][]any{}, Checks: [][]string{},
	}
	m := newTreemap(p)
	d.Map = m.node()
	if r := p.Report; r != nil {
		for _, f := range r.Packages {
			chain := []string{}
			for _, step := range f.Chain {
				chain = append(chain, valid(step))
			}
			d.Packages = append(d.Packages, []any{valid(f.ID), valid(f.Version), valid(f.Arch), f.Bytes, f.After, f.Files, f.FilesAfter, f.Kept, valid(f.Reason), chain})
		}
		for _, s := range r.Services {
			d.Services = append(d.Services, []any{valid(s.Name), valid(s.Package), s.Before, s.After, valid(s.Reason)})
		}
		for _, x := range r.Modules {
			d.Modules = append(d.Modules, []any{valid(x.Path), x.Bytes, valid(x.Reason)})
		}
	} else if p.Database != nil {
		for _, x := range p.Database.Packages {
			files := 0
			for _, path := range x.Files {
				if e, ok := p.After.Lookup(relative(path)); ok && e.Type != tree.Directory {
					files++
				}
			}
			d.Packages = append(d.Packages, []any{valid(x.ID), valid(x.Version), valid(x.Arch), x.Size, x.Size, files, files, true, valid(x.Summary), []string{}})
		}
	}
	if d.Trimmed {
		d.Removed = p.removed(m)
	}
	for _, c := range p.Checks {
		d.Checks = append(d.Checks, []string{valid(c.ID), valid(c.Title), valid(c.Severity), valid(c.Result), valid(c.Evidence)})
	}
	return d, nil
}

// maxRemoved bounds the list of removed paths, the largest first: nobody reads more of them, and it keeps the page small.
const maxRemoved = 5000

// removed lists what trimming took, a directory that went whole as one path.
func (p Page) removed(m *treemap) [][]any {
	type gone struct {
		path    string
		files   int
		bytes   int64
		largest string // of the files in it
		mixed   bool   // these belong to different packages
	}
	var list []gone
	modules := map[string]string{}
	for _, x := range p.Report.Modules {
		modules[relative(x.Path)] = x.Reason
	}
	for _, e := range p.Before.Entries() {
		if _, ok := p.After.Lookup(e.Path); ok {
			continue
		}
		if n := len(list); n > 0 && strings.HasPrefix(e.Path, list[n-1].path+"/") {
			if e.Type != tree.Directory {
				last := &list[n-1]
				last.files++
				last.bytes += m.sizes[e.Path]
				last.mixed = last.mixed || last.largest != "" && m.owner(e.Path) != m.owner(last.largest)
				if last.largest == "" || m.sizes[e.Path] > m.sizes[last.largest] {
					last.largest = e.Path
				}
			}
			continue
		}
		g := gone{path: e.Path}
		if e.Type != tree.Directory {
			g.files, g.bytes = 1, m.sizes[e.Path]
		}
		list = append(list, g)
	}
	slices.SortStableFunc(list, func(a, b gone) int { return cmp.Compare(b.bytes, a.bytes) })
	fates := map[string]*trim.PackageFate{}
	for i := range p.Report.Packages {
		fates[p.Report.Packages[i].ID] = &p.Report.Packages[i]
	}
	explain := trim.Explainer{Report: *p.Report, Database: p.Database, Tree: p.After, Origin: p.Origin}
	rows := [][]any{}
	for _, g := range list[:min(len(list), maxRemoved)] {
		var pkg, reason string
		// A directory went for the reasons for which what was in it did.
		for _, path := range []string{g.largest, g.path} {
			if path == "" || reason != "" {
				continue
			}
			pkg = m.owner(path)
			if why, ok := modules[path]; ok {
				reason = why
			} else if f := fates[pkg]; f != nil && !f.Kept {
				reason = fmt.Sprintf("%s was removed: %s", pkg, f.Reason)
			} else if p.Report.Database == "dropped" && isRecord(path) {
				reason = "a record of the package manager, which went too"
			} else if e, err := explain.Why(absolute(path)); err == nil && len(e.Lines) > 0 {
				pkg, reason = e.Package, e.Lines[0]
			}
		}
		switch {
		case reason == "":
			reason = "no package owned it, and it went with what had made it"
		case g.mixed:
			pkg, reason = "several", "most of it: "+reason
		}
		path := absolute(g.path)
		if e, _ := p.Before.Lookup(g.path); e.Type == tree.Directory {
			path += "/"
		}
		rows = append(rows, []any{valid(path), g.files, g.bytes, valid(pkg), valid(reason)})
	}
	return rows
}

// isRecord reports whether a path is among what package managers write about packages.
func isRecord(path string) bool {
	return slices.ContainsFunc([]string{"var/lib/dpkg/", "var/lib/apt/", "var/lib/rpm/", "usr/lib/sysimage/rpm/", "usr/share/rpm/"},
		func(dir string) bool { return strings.HasPrefix(path, dir) })
}
