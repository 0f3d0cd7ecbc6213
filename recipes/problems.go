package recipes

import (
	"bytes"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// Problems are the mistakes and warnings found in a recipe, with the sources they point into.
type Problems struct {
	hcl.Diagnostics
	sources map[string]*hcl.File
}

// Err returns p as an error when it contains errors, else nil.
func (p *Problems) Err() error {
	if p.HasErrors() {
		return p
	}
	return nil
}

// Error is the text Write produces, 100 columns wide and without color.
func (p *Problems) Error() string {
	var b strings.Builder
	_ = p.Write(&b, 100, false) // a strings.Builder never fails
	return strings.TrimRight(b.String(), "\n")
}

// ExitStatus tells the command that the recipe is wrong.
func (p *Problems) ExitStatus() int { return 2 }

// Write shows every problem: what it is, where (file:line:column), the line, and what to write instead. Text is wrapped
// to width columns; 0 means not at all.
func (p *Problems) Write(w io.Writer, width int, color bool) error {
	var b bytes.Buffer
	for i, d := range p.Diagnostics {
		if i > 0 {
			b.WriteByte('\n')
		}
		p.render(&b, d, width, color)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (p *Problems) render(b *bytes.Buffer, d *hcl.Diagnostic, width int, color bool) {
	paint := func(code, s string) string {
		if color {
			return "\x1b[" + code + "m" + s + "\x1b[0m"
		}
		return s
	}
	title := paint("1;31", "Error")
	if d.Severity == hcl.DiagWarning {
		title = paint("1;33", "Warning")
	}
	fmt.Fprintf(b, "%s: %s\n", title, paint("1", d.Summary))
	if r := d.Subject; r != nil {
		fmt.Fprintf(b, "  %s:%d:%d\n", r.Filename, r.Start.Line, r.Start.Column)
		if line, ok := p.line(r); ok {
			number := fmt.Sprint(r.Start.Line)
			fmt.Fprintf(b, "    %s | %s\n", number, line)
			if pad, mark := underline(line, r); mark > 0 {
				fmt.Fprintf(b, "    %s | %s%s\n", strings.Repeat(" ", len(number)), pad, paint("31", strings.Repeat("^", mark)))
			}
		}
	}
	for _, line := range wrap(d.Detail, width-2) {
		fmt.Fprintf(b, "  %s\n", line)
	}
}

// line is the source line a range starts in, with control characters made visible.
func (p *Problems) line(r *hcl.Range) (string, bool) {
	file := p.sources[r.Filename]
	if file == nil || r.Start.Byte > len(file.Bytes) {
		return "", false
	}
	start := bytes.LastIndexByte(file.Bytes[:r.Start.Byte], '\n') + 1
	rest := file.Bytes[start:]
	if end := bytes.IndexByte(rest, '\n'); end >= 0 {
		rest = rest[:end]
	}
	clean := func(c rune) rune {
		if c < ' ' && c != '\t' || c == utf8.RuneError || c == 0x7f {
			return '?'
		}
		return c
	}
	line := strings.Map(clean, strings.TrimRight(string(rest), "\r"))
	if runes := []rune(line); len(runes) > 200 {
		line = string(runes[:200]) + "…"
	}
	return line, true
}

// underline returns what stands before the marks, tabs kept so that they line up, and how many marks to make.
func underline(line string, r *hcl.Range) (string, int) {
	runes := []rune(line)
	start := min(r.Start.Column-1, len(runes))
	end := len(runes)
	if r.End.Line == r.Start.Line {
		end = min(r.End.Column-1, len(runes))
	}
	pad := make([]rune, start)
	for i := range pad {
		pad[i] = ' '
		if runes[i] == '\t' {
			pad[i] = '\t'
		}
	}
	return string(pad), max(1, end-start)
}

func wrap(text string, width int) []string {
	var lines []string
	for _, paragraph := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		line := ""
		for _, word := range strings.Fields(paragraph) {
			if line != "" && width > 0 && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
				lines = append(lines, line)
				line = ""
			}
			if line != "" {
				line += " "
			}
			line += word
		}
		lines = append(lines, line)
	}
	return lines
}

// problems sorts what was found by place and removes repetitions and sensitive values.
func (l *loader) problems() *Problems {
	var secrets []string
	for _, v := range l.variables {
		if v.sensitive && v.value.IsWhollyKnown() && !v.value.IsNull() && v.value.Type() == cty.String && v.value.AsString() != "" {
			secrets = append(secrets, v.value.AsString())
		}
	}
	sort.SliceStable(l.diags, func(i, j int) bool { return before(l.diags[i].Subject, l.diags[j].Subject) })
	p := &Problems{sources: l.sources}
	seen := map[string]bool{}
	for _, d := range l.diags {
		d.Expression, d.EvalContext = nil, nil // they hold the values of all variables
		for _, s := range secrets {
			d.Detail = strings.ReplaceAll(d.Detail, strconv.Quote(s), "(sensitive value)") // values are always quoted
		}
		key := d.Error()
		if !seen[key] {
			seen[key] = true
			p.Diagnostics = append(p.Diagnostics, d)
		}
	}
	return p
}

func before(a, b *hcl.Range) bool {
	if a == nil || b == nil {
		return a == nil && b != nil
	}
	if a.Filename != b.Filename {
		return a.Filename < b.Filename
	}
	return a.Start.Byte < b.Start.Byte
}
