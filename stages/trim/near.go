package trim

import (
	"fmt"

	"github.com/agext/levenshtein"
)

// near returns the sentence that helps after an unknown name, or "" when no name is near.
func near(name string, names []string) string {
	best, distance := "", max(2, len(name)/3)+1
	for _, n := range names {
		if d := levenshtein.Distance(name, n, nil); d < distance || d == distance && n < best {
			best, distance = n, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("Did you mean %q?", best)
}
