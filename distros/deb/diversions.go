package deb

import (
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// DiversionsFile is where dpkg keeps its diversions (dpkg-divert(1)).
const DiversionsFile = adminDir + "/diversions"

// DivertedDirectories returns the directories that unpacking after the diversions in
// the contents of DiversionsFile would have made, and unpacking before them did not:
// a package's directory whose path another package diverts goes to the path it is
// diverted to. Distributions that merged /usr guard their links that way, and then
// `dpkg --verify` expects the directories.
func DivertedDirectories(diversions []byte, packages []*Installed) ([]tree.Entry, error) {
	lines := strings.Split(strings.TrimSuffix(string(diversions), "\n"), "\n")
	if len(diversions) == 0 {
		return nil, nil
	}
	if len(lines)%3 != 0 {
		return nil, fmt.Errorf("%s has %d lines, not three for each diversion", DiversionsFile, len(lines))
	}
	var dirs []tree.Entry
	for diversion := range slices.Chunk(lines, 3) {
		from, to, owner := diversion[0], diversion[1], diversion[2]
		for _, p := range packages {
			e, ok := p.Tree.Lookup(strings.TrimPrefix(from, "/"))
			if !ok || e.Type != tree.Directory || p.Name() == owner {
				continue
			}
			e.Path = strings.TrimPrefix(to, "/")
			dirs = append(dirs, e)
			break
		}
	}
	return dirs, nil
}
