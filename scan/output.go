package scan

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// WriteJSON writes the result as JSON, in the form the package's documentation
// describes.
func (r *Result) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// JUnit's document, as far as it is written.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Skipped *junitMessage `xml:"skipped"`
		Failure *junitMessage `xml:"failure"`
	}
	junitMessage struct {
		Type    string `xml:"type,attr,omitempty"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// add adds a test case.
func (s *junitSuite) add(c junitCase) {
	s.Tests++
	if c.Failure != nil {
		s.Failures++
	}
	if c.Skipped != nil {
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}

// WriteJUnit writes the result as JUnit XML.
func (r *Result) WriteJUnit(w io.Writer) error {
	name := "hardening"
	if r.Name != "" {
		name += " of " + r.Name
	}
	rules := junitSuite{Name: name}
	for _, rule := range r.Rules {
		c := junitCase{Name: rule.ID + ": " + rule.Title, Class: "scan." + r.Profile}
		switch rule.Status {
		case Fail:
			c.Failure = &junitMessage{Type: string(rule.Severity), Message: firstEvidence(rule.Evidence), Text: rule.text()}
		case NotApplicable, Skipped:
			c.Skipped = &junitMessage{Message: rule.Explanation}
		}
		rules.add(c)
	}
	suites := []junitSuite{rules}
	if o := r.OpenSCAP; o != nil && o.Skipped == "" {
		s := junitSuite{Name: "OpenSCAP, " + o.Profile}
		for _, rule := range o.Results {
			c := junitCase{Name: rule.ID + ": " + rule.Title, Class: "scan.openscap"}
			switch rule.Result {
			case "pass", "fixed":
			case "fail":
				c.Failure = &junitMessage{Type: rule.Severity, Message: rule.Title}
			default:
				c.Skipped = &junitMessage{Message: rule.Result}
			}
			s.add(c)
		}
		suites = append(suites, s)
	}
	doc := junitSuites{Name: name, Suites: suites}
	for _, s := range suites {
		doc.Tests += s.Tests
		doc.Failures += s.Failures
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(doc); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func firstEvidence(evidence []Evidence) string {
	if len(evidence) == 0 {
		return ""
	}
	s := evidence[0].String()
	if more := len(evidence) - 1; more > 0 {
		s += fmt.Sprintf(", and %d more", more)
	}
	return s
}

// text is a failure in full.
func (r *RuleResult) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nLooked at: %s.\n", r.Reason, r.Checks)
	for _, e := range r.Evidence {
		fmt.Fprintf(&b, "- %s\n", e)
	}
	switch {
	case r.Remedy != "":
		fmt.Fprintf(&b, "Remedy: %s\n", r.Remedy)
	case r.Settable:
		b.WriteString("Remedy: a harden block in the recipe, which does not skip this rule\n")
	}
	return b.String()
}

// WriteTable writes the result for a person: what fails first, and with its evidence.
// width is the terminal's in columns; 0 stands for one without an end. With all, rules
// that pass or do not apply are listed as well.
func (r *Result) WriteTable(w io.Writer, width int, all bool) error {
	t := table{width: width}
	shown := map[Status]bool{Fail: true, Pass: all, NotApplicable: all, Skipped: true}
	for _, status := range []Status{Fail, Skipped, NotApplicable, Pass} {
		for _, rule := range r.Rules {
			if rule.Status != status || !shown[status] {
				continue
			}
			t.row(string(status), string(rule.Severity), rule.ID, rule.Title)
			switch status {
			case Fail:
				for i, e := range rule.Evidence {
					if i == shownEvidence && !all && len(rule.Evidence) > shownEvidence+1 {
						t.row("", "", "", fmt.Sprintf("… and %d more", len(rule.Evidence)-i))
						break
					}
					t.row("", "", "", e.String())
				}
				if rule.Remedy != "" {
					t.row("", "", "", "→ "+rule.Remedy)
				}
			case NotApplicable, Skipped:
				t.row("", "", "", rule.Explanation)
			}
		}
	}
	if o := r.OpenSCAP; o != nil {
		if o.Skipped != "" {
			t.row("skipped", "", "openscap", o.Skipped)
		}
		for _, warning := range o.Warnings {
			t.row("warning", "", "openscap", warning)
		}
		for _, rule := range o.Results {
			if rule.Result == "fail" || all {
				id := rule.ID
				if _, short, ok := strings.Cut(id, ".content_rule_"); ok {
					id = short // names of the SCAP Security Guide are long
				}
				t.row(rule.Result, rule.Severity, "openscap", rule.Title+" ("+id+")")
			}
		}
	}
	var b strings.Builder
	t.write(&b)
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	r.writeInventory(&b, width)
	settable := 0
	for _, rule := range r.Rules {
		if rule.Status == Fail && rule.Settable {
			settable++
		}
	}
	if settable > 0 && r.Profile != "" {
		fmt.Fprintf(&b, "%d of the failures are mended by a block harden { profile = %q } in the recipe.\n", settable, r.Profile)
	}
	fmt.Fprintf(&b, "%d passed, %d failed, %d do not apply, %d skipped", r.Counts.Pass, r.Counts.Fail, r.Counts.NotApplicable, r.Counts.Skipped)
	if o := r.OpenSCAP; o != nil && o.Skipped == "" {
		passed, failed := o.counts()
		fmt.Fprintf(&b, "; OpenSCAP (%s): %d passed, %d failed", o.Profile, passed, failed)
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

// shownEvidence is how much evidence of a rule the table shows.
const shownEvidence = 5

// writeInventory writes how much there is of each, and the paths where they are few.
func (r *Result) writeInventory(b *strings.Builder, width int) {
	v := &r.Inventory
	t := table{width: width}
	list := func(what string, paths []string) {
		if len(paths) == 0 {
			t.row(what, "none")
			return
		}
		const few = 12
		text := strings.Join(paths[:min(few, len(paths))], ", ")
		if len(paths) > few {
			text += fmt.Sprintf(", … and %d more", len(paths)-few)
		}
		t.row(what, fmt.Sprintf("%d: %s", len(paths), text))
	}
	paths := func(found []File) []string {
		var names []string
		for _, f := range found {
			names = append(names, f.Path)
		}
		return names
	}
	list("set-user-ID, set-group-ID", paths(v.SetID))
	var names []string
	for _, f := range v.Capabilities {
		names = append(names, f.Path+" "+f.Capabilities)
	}
	list("capabilities", names)
	list("writable by everybody", paths(v.WorldWritable))
	list("owner without account", paths(v.NoAccount))
	if v.PackagesKnown {
		list("of no package", paths(v.NoPackage))
	} else {
		t.row("of no package", "not known: the tree has no database of packages")
	}
	names = nil
	for _, a := range v.EmptyPasswords {
		names = append(names, a.Name)
	}
	list("empty passwords", slices.Compact(names))
	names = nil
	for _, k := range v.WeakKeys {
		names = append(names, fmt.Sprintf("%s:%d", k.Path, k.Line))
	}
	list("weak SSH keys", names)
	names = nil
	for _, k := range v.PrivateKeys {
		names = append(names, k.Path)
	}
	list("private keys", slices.Compact(names))
	t.write(b)
	b.WriteByte('\n')
}

// table is rows of cells, of which the last takes what is left of the width.
type table struct {
	width int
	rows  [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// least is the narrowest that the last column gets, however narrow the terminal is.
const least = 30

// write writes the table with two blanks between columns. Text that is too long for
// the last column goes on in the next line.
func (t *table) write(b *strings.Builder) {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row[:len(row)-1] {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	indent := 0
	for _, n := range widths {
		indent += n + 2
	}
	for _, row := range t.rows {
		for i, cell := range row[:len(row)-1] {
			b.WriteString(cell)
			b.WriteString(strings.Repeat(" ", widths[i]+2-utf8.RuneCountInString(cell)))
		}
		last := printable(row[len(row)-1])
		if t.width == 0 {
			b.WriteString(last + "\n")
			continue
		}
		for i, line := range wrap(last, max(least, t.width-indent)) {
			if i > 0 {
				b.WriteString(strings.Repeat(" ", indent))
			}
			b.WriteString(line + "\n")
		}
	}
}

// printable replaces control characters, which names of files and values can have: a
// terminal would obey them.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return '\uFFFD'
		}
		return c
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// wrap breaks text into lines of at most width columns, between words where there is
// a blank.
func wrap(s string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		for {
			candidate := word
			if line != "" {
				candidate = line + " " + word
			}
			if utf8.RuneCountInString(candidate) <= width {
				line = candidate
				break
			}
			if line != "" {
				lines, line = append(lines, line), ""
				continue
			}
			runes := []rune(word)
			lines, word = append(lines, string(runes[:width])), string(runes[width:])
		}
	}
	return append(lines, line)
}
