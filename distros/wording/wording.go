// Package wording has what the messages of all package families are worded with.
package wording

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
)

// List writes "a, b and c", with any conjunction, and no more than limit of the items:
// "a, b and 7 more". There must be at least one item.
func List(items []string, conjunction string, limit int) string {
	if rest := len(items) - limit; rest > 0 {
		items = append(items[:limit:limit], fmt.Sprintf("%d more", rest))
		conjunction = "and"
	}
	last := len(items) - 1
	if last == 0 {
		return items[0]
	}
	return strings.Join(items[:last], ", ") + " " + conjunction + " " + items[last]
}

// Nearest returns the names, limit of them, that are most like a name, or failing that
// the shortest that begin with it and "-".
func Nearest(name string, names iter.Seq[string], limit int) []string {
	type neighbour struct {
		name     string
		distance int
	}
	var similar, longer []neighbour
	most := 1 + len(name)/4
	for n := range names {
		if difference := len(n) - len(name); difference >= -most && difference <= most {
			if d := levenshtein.Distance(name, n, nil); d <= most {
				similar = append(similar, neighbour{n, d})
			}
		}
		if strings.HasPrefix(n, name+"-") {
			longer = append(longer, neighbour{n, len(n)})
		}
	}
	if len(similar) == 0 {
		similar = longer
	}
	slices.SortFunc(similar, func(a, b neighbour) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})
	similar = slices.Compact(similar)
	var nearest []string
	for _, n := range similar[:min(limit, len(similar))] {
		nearest = append(nearest, n.name)
	}
	return nearest
}
