package trim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Budget bounds what a trimmed image may have; 0 is no bound.
type Budget struct {
	Packages  int   `json:"packages,omitempty"`
	Services  int   `json:"services,omitempty"`   // unit files
	Size      int64 `json:"size,omitempty"`       // bytes of the root's regular files
	ImageSize int64 `json:"image_size,omitempty"` // bytes of the largest image that is written
}

// offenders is how many of the largest a BudgetError names.
const offenders = 8

// Excess is one bound that was exceeded.
type Excess struct {
	What       string   `json:"what"` // "packages", "services", "size" or "image_size"
	Bound      int64    `json:"bound"`
	Have       int64    `json:"have"`
	Offenders  []string `json:"offenders"` // the largest, each with who pulls it in
	byteCounts bool
}

// BudgetError says which bounds were exceeded. Its exit status is 4.
type BudgetError struct{ Exceeded []Excess }

func (e *BudgetError) Error() string {
	var b strings.Builder
	for i, x := range e.Exceeded {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "budget exceeded: %s = %s, and there are %s, %s too much. The largest:", x.What, x.amount(x.Bound), x.amount(x.Have), x.amount(x.Have-x.Bound))
		for _, o := range x.Offenders {
			b.WriteString("\n  " + o)
		}
	}
	return b.String()
}

// ExitStatus is 4: a budget failed.
func (e *BudgetError) ExitStatus() int { return 4 }

func (x Excess) amount(n int64) string {
	if x.byteCounts {
		return size(n)
	}
	return fmt.Sprint(n)
}

// size writes a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

// Check compares what a report says is left, and the size of the largest image in bytes, with the bounds. The
// error is a *BudgetError.
func (b Budget) Check(r Report, imageSize int64) error {
	var exceeded []Excess
	check := func(what string, bound, have int64, bytes bool, offenders func() []string) {
		if bound > 0 && have > bound {
			exceeded = append(exceeded, Excess{what, bound, have, offenders(), bytes})
		}
	}
	largest := func() []string { return r.largest(func(p PackageFate) int64 { return p.After }, size) }
	check("packages", int64(b.Packages), int64(r.After.Packages), false, largest)
	check("services", int64(b.Services), int64(r.After.Services), false, r.unitOwners)
	check("size", b.Size, r.After.Bytes, true, largest)
	check("image_size", b.ImageSize, imageSize, true, largest)
	if exceeded == nil {
		return nil
	}
	return &BudgetError{exceeded}
}

// largest describes the kept packages with the largest measure.
func (r *Report) largest(measure func(PackageFate) int64, write func(int64) string) []string {
	var kept []PackageFate
	for _, p := range r.Packages {
		if p.Kept && measure(p) > 0 {
			kept = append(kept, p)
		}
	}
	slices.SortStableFunc(kept, func(a, b PackageFate) int { return cmp.Compare(measure(b), measure(a)) })
	var lines []string
	for _, p := range kept[:min(offenders, len(kept))] {
		lines = append(lines, fmt.Sprintf("%s %s (%s): %s", p.ID, p.Version, write(measure(p)), strings.Join(p.Chain, "; ")))
	}
	return lines
}

// unitOwners describes who owns the most unit files that are left.
func (r *Report) unitOwners() []string {
	count := map[string]int64{}
	for _, s := range r.Services {
		if s.After != "" {
			count[s.Package]++
		}
	}
	lines := r.largest(func(p PackageFate) int64 { return count[p.ID] }, func(n int64) string { return fmt.Sprintf("%d unit files", n) })
	if n := count[""]; n > 0 {
		lines = append(lines, fmt.Sprintf("%d unit files belong to no package", n))
	}
	return lines
}
