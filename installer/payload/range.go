package payload

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Range is Length bytes of a device from Offset on.
type Range struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// End is the offset of the first byte behind the range.
func (r Range) End() int64 { return r.Offset + r.Length }

func (r Range) overlaps(o Range) bool { return r.Offset < o.End() && o.Offset < r.End() }

// joined returns ranges sorted, with those joined that touch or overlap.
func joined(ranges []Range) []Range {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b Range) int { return cmp.Compare(a.Offset, b.Offset) })
	var out []Range
	for _, r := range sorted {
		if n := len(out); n > 0 && r.Offset <= out[n-1].End() {
			out[n-1].Length = max(out[n-1].End(), r.End()) - out[n-1].Offset
			continue
		}
		out = append(out, r)
	}
	return out
}

// without returns what holes, which are joined, leave of r.
func (r Range) without(holes []Range) []Range {
	var out []Range
	at := r.Offset
	for _, h := range holes {
		if h.End() <= at || h.Offset >= r.End() {
			continue
		}
		if h.Offset > at {
			out = append(out, Range{at, h.Offset - at})
		}
		at = h.End()
	}
	if at < r.End() {
		out = append(out, Range{at, r.End() - at})
	}
	return out
}

// describe lists ranges for a person.
func describe(ranges []Range) string {
	const shown = 4
	var b strings.Builder
	for i, r := range ranges {
		if i == shown && len(ranges) > shown+1 {
			fmt.Fprintf(&b, " and %d more ranges up to byte %d", len(ranges)-i, ranges[len(ranges)-1].End()-1)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d to %d", r.Offset, r.End()-1)
	}
	return b.String()
}

// bytesText prints a number of bytes for a person.
func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}
