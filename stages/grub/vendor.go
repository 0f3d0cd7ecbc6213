package grub

import (
	"fmt"
	"path"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// anyVendor stands for the vendor's directory in the paths of a Signed whose
// distribution does not know it.
const anyVendor = "*"

// InTools returns s with the vendor's directory, where the distribution leaves it open,
// as the packages in the tools tree have it: the one directory that holds the signed
// GRUB, which has its own place built in.
func (s *Signed) InTools(t *tree.Tree) (*Signed, error) {
	if s == nil || path.Base(s.Prefix) != anyVendor {
		return s, nil
	}
	var found, looked []string
	for _, f := range s.Files {
		if f.Role != "grub" {
			continue
		}
		for _, source := range f.Sources {
			above, below, ok := strings.Cut(source, "/"+anyVendor+"/")
			if !ok {
				continue
			}
			looked = append(looked, source)
			dir, err := t.Resolve(above)
			if err != nil {
				continue
			}
			for _, child := range t.Children(dir) {
				if _, err := Lookup(t, path.Join("/", child.Path, below)); err == nil {
					found = append(found, path.Base(child.Path))
				}
			}
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("the boot packages of the distribution hold %d files %s, so its vendor directory is not known; name it in the signed block of a distro block", len(found), strings.Join(looked, " or "))
	}
	named := &Signed{Prefix: path.Join(path.Dir(s.Prefix), found[0])}
	for _, f := range s.Files {
		var sources []string
		for _, source := range f.Sources {
			sources = append(sources, strings.Replace(source, "/"+anyVendor+"/", "/"+found[0]+"/", 1))
		}
		named.Files = append(named.Files, SignedFile{Role: f.Role, Sources: sources, Name: f.Name})
	}
	return named, nil
}
