package report

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// TextOptions says how to write for a terminal.
type TextOptions struct {
	// Width is the number of columns; 0: as many as it takes.
	Width int
	// Color is for terminals.
	Color bool
	// Files lists every file, those of packages that differ too, and what is in directories that were added or removed.
	Files bool
}

// printer writes text with tables.
type printer struct {
	b bytes.Buffer
	o TextOptions
}

// Colors, as terminals' escape sequences number them.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
)

func (p *printer) paint(code, s string) string {
	if !p.o.Color || code == "" || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// heading begins a section.
func (p *printer) heading(text, note string) {
	if p.b.Len() > 0 {
		p.b.WriteByte('\n')
	}
	p.b.WriteString(p.paint(bold, text))
	if note != "" {
		p.b.WriteString("  " + p.paint(faint, note))
	}
	p.b.WriteByte('\n')
}

// column is a column of a table.
type column struct {
	title string
	right bool // align to the right
	// drop says in which order columns are left out when there is not enough room, the highest first; 0: never.
	drop int
}

// row is a row of a table.
type row struct {
	color string // of its first cell
	cells []string
}

const gap = "  "

// table writes rows, indented by two columns. Columns without anything in them are left out. When a row is too long even so,
// its last cell moves to a line of its own.
func (p *printer) table(columns []column, rows []row) {
	const indent = "  "
	shown := make([]int, 0, len(columns))
	widths := make([]int, len(columns))
	titled := false
	for c, col := range columns {
		used := false
		for _, r := range rows {
			if n := utf8.RuneCountInString(r.cells[c]); n > 0 {
				used, widths[c] = true, max(widths[c], n)
			}
		}
		if used {
			shown = append(shown, c)
			widths[c] = max(widths[c], utf8.RuneCountInString(col.title))
			titled = titled || col.title != ""
		}
	}
	total := func() int {
		n := len(indent)
		for _, c := range shown {
			n += widths[c] + len(gap)
		}
		return n - len(gap)
	}
	for p.o.Width > 0 && total() > p.o.Width {
		last := -1
		for i, c := range shown {
			if columns[c].drop > 0 && (last < 0 || columns[c].drop > columns[shown[last]].drop) {
				last = i
			}
		}
		if last < 0 {
			break
		}
		shown = append(shown[:last:last], shown[last+1:]...)
	}
	// What does not fit is told by the first columns alone; the last is long where a table is too wide.
	broken := p.o.Width > 0 && total() > p.o.Width && len(shown) > 1
	line := func(color string, cells func(c int) string) {
		p.b.WriteString(indent)
		used := len(indent)
		for i, c := range shown {
			text := cells(c)
			n := utf8.RuneCountInString(text)
			isLast := i == len(shown)-1
			if isLast && broken && used+n > p.o.Width {
				p.trimRight()
				for _, part := range wrap(text, p.o.Width-len(indent)-4) {
					p.b.WriteString("\n" + indent + "    " + part)
				}
				break
			}
			pad := strings.Repeat(" ", max(0, widths[c]-n))
			if broken && i == len(shown)-2 && !columns[c].right {
				pad = "" // the column behind it is not in line anyway
			}
			if i == 0 {
				text = p.paint(color, text)
			}
			switch {
			case columns[c].right:
				p.b.WriteString(pad + text)
			case isLast:
				p.b.WriteString(text)
			default:
				p.b.WriteString(text + pad)
			}
			used += widths[c] + len(gap)
			if !isLast {
				p.b.WriteString(gap)
			}
		}
		p.trimRight()
		p.b.WriteByte('\n')
	}
	if titled && len(rows) > 0 {
		line("", func(c int) string { return columns[c].title })
	}
	for _, r := range rows {
		line(r.color, func(c int) string { return r.cells[c] })
	}
}

// trimRight removes spaces from the end.
func (p *printer) trimRight() {
	p.b.Truncate(len(bytes.TrimRight(p.b.Bytes(), " ")))
}

// paragraph writes a text, wrapped and indented.
func (p *printer) paragraph(text string) {
	for _, line := range wrap(text, p.o.Width-2) {
		p.b.WriteString("  " + line + "\n")
	}
}

func (p *printer) writeTo(w io.Writer) error {
	_, err := w.Write(p.b.Bytes())
	return err
}

// wrap breaks text between words. A width of 0 or less means not at all; words are never broken.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && width > 0 && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// printable makes foreign text fit for a terminal: control characters, invalid UTF-8 and what turns the direction of writing
// are written as escapes.
func printable(s string) string {
	clean := true
	for i, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError && invalidAt(s, i) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n <= 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += n
	}
	return b.String()
}

func invalidAt(s string, i int) bool {
	_, n := utf8.DecodeRuneInString(s[i:])
	return n <= 1
}

// Bytes writes a number of bytes for a person, in powers of 1000 as all of imagefactory does: "415 MB".
func Bytes(n int64) string {
	if n < 0 {
		return "-" + Bytes(-n)
	}
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n)/unit, 0
	for value >= 999.5 && prefix < len("kMGTPE")-1 {
		value /= unit
		prefix++
	}
	precision := 0
	if value < 9.95 {
		precision = 1
	}
	return fmt.Sprintf("%.*f %cB", precision, value, "kMGTPE"[prefix])
}

// signedBytes is Bytes for a difference: "+1.2 MB", "-3 B", "±0".
func signedBytes(n int64) string {
	if n > 0 {
		return "+" + Bytes(n)
	}
	if n == 0 {
		return "±0"
	}
	return Bytes(n)
}

// grouped writes a number with commas between thousands.
func grouped(n int) string {
	s := strconv.Itoa(n)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// signed is grouped for a difference.
func signed(n int) string {
	switch {
	case n > 0:
		return "+" + grouped(n)
	case n == 0:
		return "±0"
	}
	return grouped(n)
}

// plural writes a number of things: "1 file", "2,000 files".
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}
