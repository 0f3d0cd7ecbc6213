package decode

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/agext/levenshtein"
)

// Nearest returns the names a person may have meant by name, nearest first, at most three.
func Nearest(name string, names []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	limit := max(2, len(name)/3)
	var near []candidate
	seen := map[string]bool{}
	for _, n := range names {
		if seen[n] || n == "" {
			continue
		}
		seen[n] = true
		d := levenshtein.Distance(strings.ToLower(name), strings.ToLower(n), nil)
		if d <= limit && d < len(n) {
			near = append(near, candidate{n, d})
		}
	}
	sort.Slice(near, func(i, j int) bool {
		if near[i].distance != near[j].distance {
			return near[i].distance < near[j].distance
		}
		return near[i].name < near[j].name
	})
	var out []string
	for _, c := range near[:min(3, len(near))] {
		out = append(out, c.name)
	}
	return out
}

// DidYouMean is the sentence which helps after an unknown name: the nearest names, or all of them when none is near.
func DidYouMean(name string, names []string) string {
	if near := Nearest(name, names); len(near) > 0 {
		return fmt.Sprintf("Did you mean %s?", Or(near))
	}
	all := slices.Compact(slices.Sorted(slices.Values(names)))
	if len(all) == 0 {
		return "There are none at all."
	}
	return fmt.Sprintf("Known are %s.", List(all))
}

// Or quotes names and joins them with "or".
func Or(names []string) string { return enumerate(names, "or") }

// List quotes names and joins them with "and".
func List(names []string) string { return enumerate(names, "and") }

func enumerate(names []string, last string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	if n := len(quoted); n > 1 {
		return strings.Join(quoted[:n-1], ", ") + " " + last + " " + quoted[n-1]
	}
	return strings.Join(quoted, "")
}
