package target

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/imagefactory/imagefactory/installer/disks"
	"github.com/imagefactory/imagefactory/installer/signature"
)

// NoDisk says that the policy has no answer, or more than one.
type NoDisk struct {
	// Problem is what is wrong, in a sentence.
	Problem string `json:"problem"`
	// Candidates is every disk, and why it was not taken.
	Candidates []Candidate `json:"candidates"`
	// Skipped are the block devices that are no disks.
	Skipped []disks.Skipped `json:"skipped,omitempty"`
}

// Error returns the problem and a table of every disk.
func (e *NoDisk) Error() string {
	var text strings.Builder
	text.WriteString(e.Problem)
	if len(e.Candidates) > 0 {
		text.WriteString(":\n" + strings.TrimSuffix(table(e.Candidates), "\n"))
	}
	for _, s := range e.Skipped {
		// Every Linux has these, and nobody takes them for disks.
		if strings.HasPrefix(s.Name, "loop") || strings.HasPrefix(s.Name, "ram") || strings.HasPrefix(s.Name, "zram") {
			continue
		}
		fmt.Fprintf(&text, "\n%s is no disk: %s", s.Name, printable(s.Why))
	}
	return text.String()
}

// table shows one disk per line, and below each what it holds and every reason against it. Lines are short enough for a
// console of 80 columns unless a reason is long.
func table(candidates []Candidate) string {
	rows := [][]string{{"DISK", "SIZE", "BUS", "MODEL", "SERIAL"}}
	for _, c := range candidates {
		d := c.Disk
		model := strings.TrimSpace(d.Vendor + " " + d.Model)
		if strings.TrimSpace(d.Vendor) == "ATA" { // the kernel's word for every ATA disk
			model = d.Model
		}
		rows = append(rows, []string{d.Name, rounded(d.Size), d.Transport, cut(printable(model), 30), cut(printable(d.Serial), 22)})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var out strings.Builder
	for n, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if cell == "" {
				cell = "-"
			}
			line.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		if n == 0 {
			continue
		}
		c := candidates[n-1]
		if c.Taken {
			fmt.Fprintf(&out, "  * is taken; it holds: %s\n", printable(c.Contents))
		}
		for _, reason := range c.Reasons {
			fmt.Fprintf(&out, "  - %s\n", printable(reason))
		}
	}
	return out.String()
}

// brief lists what a disk holds, but not all of it.
func brief(contents signature.Contents) string {
	const most = 4
	list := strings.Split(contents.String(), "; ")
	if len(list) > most {
		list = append(list[:most:most], fmt.Sprintf("and %d more", len(list)-most))
	}
	return strings.Join(list, ", ")
}

// printable keeps what a disk says of itself from writing escape sequences to a console.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != utf8.RuneError {
			return r
		}
		return '?'
	}, s)
}

func cut(s string, length int) string {
	if runes := []rune(s); len(runes) > length {
		return string(runes[:length-1]) + "…"
	}
	return s
}

// rounded writes a size for a table: "18.2 GiB".
func rounded(bytes int64) string {
	unit, name := int64(1), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if bytes/unit < 1024 {
			break
		}
		unit, name = unit*1024, next
	}
	if unit == 1 {
		return strconv.FormatInt(bytes, 10) + " B"
	}
	return fmt.Sprintf("%.1f %s", float64(bytes)/float64(unit), name)
}

// exactly writes a size for a comparison: two that differ must not look the same.
func exactly(bytes int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}} {
		if bytes >= unit.size && bytes%unit.size == 0 {
			return fmt.Sprintf("%d %s", bytes/unit.size, unit.name)
		}
	}
	if bytes < 1<<20 {
		return fmt.Sprintf("%d bytes", bytes)
	}
	return fmt.Sprintf("%s (%d bytes)", rounded(bytes), bytes)
}
