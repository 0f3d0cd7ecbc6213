package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/imagefactory/imagefactory/stages/trim"
)

// TrimSchema is the version of the JSON document of a Trimming. A reader must ignore members it does not know.
const TrimSchema = 1

// Trimming is what trimming did to an image, as "imagefactory trim" prints it.
type Trimming struct {
	Schema int    `json:"schema"` // TrimSchema
	Name   string `json:"name"`   // of the image
	// Stages are what the root was after each stage of the build, in order.
	Stages []Stage     `json:"stages"`
	Report trim.Report `json:"report"`
}

// WriteJSON writes the document.
func (t *Trimming) WriteJSON(w io.Writer) error {
	document := *t
	document.Schema = TrimSchema
	if document.Stages == nil {
		document.Stages = []Stage{}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(document)
}

// largest is how many packages the lists of the largest have.
const largest = 10

// WriteText writes tables: what there was and what is left, stage by stage, the largest of what went and of what stayed and
// why, and what became of services. With o.Files every package and every service that changed is listed.
func (t *Trimming) WriteText(w io.Writer, o TextOptions) error {
	p := &printer{o: o}
	r := &t.Report
	p.heading(printable(t.Name)+": before and after trimming", profileNote(r))
	p.table([]column{{}, {title: "before", right: true}, {title: "after", right: true}, {title: "change", right: true}, {right: true, drop: 1}}, countRows(r))
	t.stages(p)

	removed := filter(r.Packages, func(f trim.PackageFate) bool { return !f.Kept })
	kept := filter(r.Packages, func(f trim.PackageFate) bool { return f.Kept })
	limit := largest
	if o.Files {
		limit = len(r.Packages)
	}
	fates(p, "Packages removed", removed, limit, func(f trim.PackageFate) int64 { return f.Bytes })
	fates(p, "Packages kept", kept, limit, func(f trim.PackageFate) int64 { return f.After })
	t.paths(p)
	t.services(p)
	return p.writeTo(w)
}

func profileNote(r *trim.Report) string {
	if r.Profile == "" {
		return ""
	}
	return "profile " + printable(r.Profile)
}

// countRows are the rows of figures.
func countRows(r *trim.Report) []row {
	var rows []row
	add := func(title string, before, after int64, write, difference func(int64) string) {
		color := ""
		if after < before {
			color = green
		}
		change := ""
		if before > 0 && after < before {
			change = percent(before-after, before) + " less"
		}
		rows = append(rows, row{color, []string{title, write(before), write(after), difference(after - before), change}})
	}
	count, signedCount := func(n int64) string { return grouped(int(n)) }, func(n int64) string { return signed(int(n)) }
	add("Packages", int64(r.Before.Packages), int64(r.After.Packages), count, signedCount)
	add("Services", int64(r.Before.Services), int64(r.After.Services), count, signedCount)
	for _, state := range sortedKeys(r.Before.States, r.After.States) {
		add("  "+printable(state), int64(r.Before.States[state]), int64(r.After.States[state]), count, signedCount)
	}
	add("Kernel modules", int64(r.Before.Modules), int64(r.After.Modules), count, signedCount)
	add("Files", int64(r.Before.Files), int64(r.After.Files), count, signedCount)
	add("Size of files", r.Before.Bytes, r.After.Bytes, Bytes, signedBytes)
	return rows
}

// stages tells how the root grew and shrank.
func (t *Trimming) stages(p *printer) {
	if len(t.Stages) == 0 {
		return
	}
	p.heading("Stages", "")
	var rows []row
	for i, s := range t.Stages {
		change := ""
		if i > 0 {
			change = signedBytes(s.Counts.Bytes - t.Stages[i-1].Counts.Bytes)
		}
		rows = append(rows, row{cells: []string{
			printable(s.Name), grouped(s.Counts.Packages), grouped(s.Counts.Services), grouped(s.Counts.Files), Bytes(s.Counts.Bytes), change,
		}})
	}
	p.table([]column{
		{title: "after"}, {title: "packages", right: true}, {title: "services", right: true, drop: 2}, {title: "files", right: true, drop: 1},
		{title: "size", right: true}, {title: "change", right: true},
	}, rows)
}

// fates lists packages, the largest first.
func fates(p *printer, title string, list []trim.PackageFate, limit int, size func(trim.PackageFate) int64) {
	if len(list) == 0 {
		return
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b trim.PackageFate) int { return cmp.Compare(size(b), size(a)) })
	var total, shown int64
	for i, f := range list {
		total += size(f)
		if i < limit {
			shown += size(f)
		}
	}
	note := fmt.Sprintf("%s, %s", grouped(len(list)), Bytes(total))
	if len(list) > limit {
		note += fmt.Sprintf("; the %d largest have %s of it", limit, percent(shown, total))
	}
	p.heading(title, note)
	var rows []row
	for _, f := range list[:min(limit, len(list))] {
		before := ""
		if f.Kept && f.After != f.Bytes {
			before = "of " + Bytes(f.Bytes)
		}
		rows = append(rows, row{cells: []string{printable(f.ID), Bytes(size(f)), before, printable(f.Version), printable(f.Reason)}})
	}
	p.table([]column{{}, {right: true}, {right: true, drop: 1}, {drop: 2}, {}}, rows)
}

// paths lists what rules about paths took.
func (t *Trimming) paths(p *printer) {
	r := &t.Report
	var rows []row
	for _, f := range r.Paths {
		if f.Files > 0 {
			rows = append(rows, row{cells: []string{printable(f.Rule), Bytes(f.Bytes), plural(f.Files, "file", "files"), printable(f.Reason)}})
		}
	}
	if n := len(r.Modules); n > 0 {
		var bytes int64
		for _, m := range r.Modules {
			bytes += m.Bytes
		}
		rows = append(rows, row{cells: []string{"modules and firmware", Bytes(bytes), plural(n, "file", "files"), "no driver that this kind of host loads needs them"}})
	}
	if len(rows) > 0 {
		p.heading("Files removed from packages that stay", "")
		p.table([]column{{}, {right: true}, {right: true, drop: 1}, {}}, rows)
	}
}

// services lists those that another state was asked for, and with all files those that went.
func (t *Trimming) services(p *printer) {
	gone := 0
	var rows []row
	for _, s := range t.Report.Services {
		change := presence(s.Before != "", s.After != "")
		switch {
		case change == Removed:
			gone++
			if p.o.Files {
				rows = append(rows, marked(change, printable(s.Name), s.Before, printable(s.Reason)))
			}
		case change == Added:
			rows = append(rows, marked(change, printable(s.Name), s.After, printable(s.Reason)))
		case s.Before != s.After:
			rows = append(rows, marked(change, printable(s.Name), s.Before+" → "+s.After, printable(s.Reason)))
		}
	}
	if gone == 0 && len(rows) == 0 {
		return
	}
	note := ""
	if gone > 0 {
		note = grouped(gone) + " removed"
	}
	p.heading("Services", note)
	p.table([]column{{}, {}, {}, {}}, rows)
}

func filter[T any](list []T, is func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), func(v T) bool { return !is(v) })
}
