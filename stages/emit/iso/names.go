package iso

import (
	"fmt"
	"strings"
)

// Limits of interchange level 2 and 3 (ECMA-119 7.5.1, 7.6.3, 10.2).
const (
	maxFileName      = 30 // characters of the stem and the extension of a file together
	maxDirectoryName = 31
	maxExtension     = 8 // ours: enough for every extension in use, so that stems stay long
)

// identifier is a name of plain ISO 9660.
type identifier struct {
	stem, extension string
	dir             bool
}

// String is the form on the medium: a file's has both separators and the version, a directory's neither (ECMA-119 7.5, 7.6).
func (id identifier) String() string {
	if id.dir {
		return id.stem
	}
	return id.stem + "." + id.extension + ";1"
}

// namer turns the names of one directory into identifiers that differ from each other. The zero value is ready.
type namer struct {
	taken map[[2]string]bool // by stem and extension
	next  map[[2]string]int  // the number to try next for those that are taken
}

func (n *namer) file(name string) identifier {
	stem, extension := name, ""
	// A dot at the beginning begins a name, not an extension.
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		stem, extension = name[:i], dCharacters(name[i+1:], maxExtension)
	}
	limit := maxFileName - len(extension)
	return identifier{stem: n.unique(dCharacters(stem, limit), extension, limit), extension: extension}
}

func (n *namer) directory(name string) identifier {
	return identifier{stem: n.unique(dCharacters(name, maxDirectoryName), "", maxDirectoryName), dir: true}
}

// unique returns stem, or if that is taken stem with a number in the place of its end, in at most limit characters.
func (n *namer) unique(stem, extension string, limit int) string {
	if n.taken == nil {
		n.taken, n.next = map[[2]string]bool{}, map[[2]string]int{}
	}
	wanted := [2]string{stem, extension}
	for n.taken[[2]string{stem, extension}] {
		n.next[wanted]++
		number := fmt.Sprintf("_%d", n.next[wanted])
		stem = wanted[0][:min(len(wanted[0]), limit-len(number))] + number
	}
	n.taken[[2]string{stem, extension}] = true
	return stem
}

// dCharacters returns at most limit characters of name in upper case, with '_' for each that is none of the d-characters
// (ECMA-119 7.4.1): A to Z, 0 to 9 and '_' itself.
func dCharacters(name string, limit int) string {
	b := make([]byte, 0, limit)
	for _, r := range name {
		if len(b) == limit {
			break
		}
		switch {
		case r >= 'a' && r <= 'z':
			r += 'A' - 'a'
		case !isDCharacter(r):
			r = '_'
		}
		b = append(b, byte(r))
	}
	return string(b)
}

func isDCharacter(r rune) bool { return r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' }
