package repodata

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm"
)

// excluded returns those of the packages that the patterns of dnf's option "exclude"
// mean: names, or names with an architecture or version after them ("kernel-debug*",
// "bash.i686", "bash-5.1.8", "bash-5.1.8-9.el9.x86_64"), with * ? and [] as in a shell.
// Of the ways to read a pattern the first counts that means any package.
func excluded(packages []*rpm.Package, patterns []string) (map[*rpm.Package]bool, error) {
	found := make(map[*rpm.Package]bool)
	for _, pattern := range patterns {
		pattern = strings.ReplaceAll(pattern, "[!", "[^") // as package path negates
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("the exclude %q is not a pattern: a [ is not closed", pattern)
		}
		if pattern == "" {
			return nil, errors.New("an exclude is empty")
		}
		for _, reading := range readings(pattern) {
			before := len(found)
			for _, p := range packages {
				if reading.match(p) {
					found[p] = true
				}
			}
			if len(found) > before {
				break
			}
		}
	}
	return found, nil
}

// A packagePattern has a pattern for each part of a package's name; an empty one means
// any.
type packagePattern struct{ name, epoch, version, release, arch string }

func (m packagePattern) match(p *rpm.Package) bool {
	return matches(m.name, p.Name) && matches(m.arch, p.Arch) &&
		matches(m.version, p.EVR.Version) && matches(m.release, p.EVR.Release) &&
		(m.epoch == "" || matches(m.epoch, strconv.FormatUint(uint64(p.EVR.Epoch), 10)))
}

func matches(pattern, text string) bool {
	if pattern == "" {
		return true
	}
	// There is no slash in names, which is all that path.Match treats unlike fnmatch(3).
	ok, err := path.Match(pattern, text)
	return ok && err == nil
}

// readings returns what a pattern can mean, in libdnf's order: with version, release and
// architecture, with an architecture, a name alone, with version and release, with a
// version.
func readings(pattern string) []packagePattern {
	var list []packagePattern
	rest, arch, hasArch := cutLast(pattern, ".")
	if m, ok := splitRelease(rest); ok && hasArch {
		m.arch = arch
		list = append(list, m)
	}
	if hasArch {
		list = append(list, packagePattern{name: rest, arch: arch})
	}
	list = append(list, packagePattern{name: pattern})
	if m, ok := splitRelease(pattern); ok {
		list = append(list, m)
	}
	if m, ok := splitVersion(pattern); ok {
		list = append(list, m)
	}
	return list
}

// splitRelease reads "name-[epoch:]version-release".
func splitRelease(pattern string) (packagePattern, bool) {
	rest, release, found := cutLast(pattern, "-")
	if !found {
		return packagePattern{}, false
	}
	m, ok := splitVersion(rest)
	m.release = release
	return m, ok
}

// splitVersion reads "name-[epoch:]version".
func splitVersion(pattern string) (packagePattern, bool) {
	name, version, found := cutLast(pattern, "-")
	m := packagePattern{name: name, version: version}
	if epoch, rest, ok := strings.Cut(version, ":"); ok {
		m.epoch, m.version = epoch, rest
	}
	return m, found
}

// cutLast cuts around the last separator; it is not found at either end.
func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i <= 0 || i == len(s)-1 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
