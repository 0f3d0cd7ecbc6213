package repodata

import (
	"fmt"
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm"
)

// excludes are patterns of packages, as dnf's option "exclude" has them: a name, or a
// name with an architecture or version after it ("kernel-debug*", "bash.i686",
// "bash-5.1.8", "bash-5.1.8-9.el9.x86_64"), with * ? and [] as in a shell.
type excludes []string

func parseExcludes(patterns []string) (excludes, error) {
	list := make(excludes, len(patterns))
	for i, p := range patterns {
		list[i] = strings.ReplaceAll(p, "[!", "[^") // as package path negates
		if _, err := path.Match(list[i], ""); err != nil {
			return nil, fmt.Errorf("the exclude %q is not a pattern: a [ is not closed", p)
		}
	}
	return list, nil
}

// match reports whether a package is excluded.
func (e excludes) match(p *rpm.Package) bool {
	for _, pattern := range e {
		for _, text := range [...]string{
			p.Name,
			p.Name + "." + p.Arch,
			p.Name + "-" + p.EVR.Version,
			p.Name + "-" + p.EVR.Version + "-" + p.EVR.Release,
			p.Name + "-" + p.EVR.Version + "-" + p.EVR.Release + "." + p.Arch,
			withEpoch(p),
			strings.TrimSuffix(withEpoch(p), "."+p.Arch),
		} {
			// Names have no slash, which is all that path.Match treats as special.
			if ok, err := path.Match(pattern, text); err == nil && ok {
				return true
			}
		}
	}
	return false
}

// withEpoch returns the name, version and architecture with an epoch, even of 0, as
// modules and libdnf write it: "bash-0:5.1.8-9.el9.x86_64".
func withEpoch(p *rpm.Package) string {
	return fmt.Sprintf("%s-%d:%s-%s.%s", p.Name, p.EVR.Epoch, p.EVR.Version, p.EVR.Release, p.Arch)
}
