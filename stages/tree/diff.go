package tree

// Change is a difference between two trees at one path.
type Change struct {
	Path          string
	Before, After *Entry // nil where the path is in only one of the trees
}

// Diff returns the paths at which a and b differ, in order. Hard link groups are
// compared by their numbers, so a group that appears or goes may show later
// groups as changed; callers that care compare what they need of the entries.
func Diff(a, b *Tree) []Change {
	var changes []Change
	i, j := 0, 0
	for i < len(a.entries) || j < len(b.entries) {
		var c int
		switch {
		case i == len(a.entries):
			c = 1
		case j == len(b.entries):
			c = -1
		default:
			c = Compare(a.entries[i].Path, b.entries[j].Path)
		}
		switch {
		case c < 0:
			changes = append(changes, Change{Path: a.entries[i].Path, Before: &a.entries[i]})
			i++
		case c > 0:
			changes = append(changes, Change{Path: b.entries[j].Path, After: &b.entries[j]})
			j++
		default:
			if !a.entries[i].Equal(&b.entries[j]) {
				changes = append(changes, Change{Path: a.entries[i].Path, Before: &a.entries[i], After: &b.entries[j]})
			}
			i++
			j++
		}
	}
	return changes
}
