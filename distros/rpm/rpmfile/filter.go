package rpmfile

import (
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// LeftOut returns the absolute paths of the files that rpm would not install: those
// marked as documentation when docs is false (--nodocs), and those marked as of other
// languages than the given ones (%_install_langs); nil languages are all. In the
// database these files have the state "not installed".
//
// As in rpm, a file of the language "de" is wanted by "de" and by "de_AT", but one of
// "de_AT" not by "de"; and a directory of the package all of whose files were left
// out is left out, too.
func LeftOut(h *header.Header, docs bool, languages []string) map[string]bool {
	left := map[string]bool{}
	files := h.Files()
	kept, emptied := map[string]int{}, map[string]bool{} // by directory
	var dirs []string
	for i := range files {
		f := &files[i]
		if f.IsDir() {
			dirs = append(dirs, f.Path)
		}
		if !docs && f.Flags&header.FileDoc != 0 || languages != nil && !speaks(f.Langs, languages) {
			left[f.Path] = true
			emptied[path.Dir(f.Path)] = true
		} else {
			kept[path.Dir(f.Path)]++
		}
	}
	slices.Sort(dirs)
	for _, dir := range slices.Backward(dirs) { // from below
		if emptied[dir] && kept[dir] == 0 && !left[dir] {
			left[dir] = true
			emptied[path.Dir(dir)] = true
			kept[path.Dir(dir)]--
		}
	}
	return left
}

// speaks reports whether a file of some languages is wanted.
func speaks(langs string, wanted []string) bool {
	if langs == "" {
		return true
	}
	for _, lang := range strings.Split(langs, "|") {
		for _, w := range wanted {
			if lang != "" && strings.HasPrefix(w, lang) {
				return true
			}
		}
	}
	return false
}
