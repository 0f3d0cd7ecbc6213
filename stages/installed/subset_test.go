package installed

import (
	"slices"
	"testing"
)

func TestSubset(t *testing.T) {
	d := Empty()
	d.Family = Deb
	d.Packages = []Package{
		{ID: "a", Name: "a", Files: []string{"/usr", "/usr/a"}}, {ID: "b", Name: "b", Files: []string{"/usr", "/usr/b"}}, {ID: "c", Name: "c", Files: []string{"/usr"}},
	}
	s := d.Subset(func(p *Package) bool { return p.Name != "b" })
	if s.Family != Deb || len(s.Packages) != 2 || s.Package("b") != nil || s.Package("c") == nil || s.Package("c").Name != "c" {
		t.Errorf("the subset is %+v", s)
	}
	if got := s.Owners("/usr"); !slices.Equal(got, []string{"a", "c"}) || s.Owners("/usr/b") != nil {
		t.Errorf("/usr belongs to %q", got)
	}
}
