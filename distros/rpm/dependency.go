package rpm

import (
	"cmp"
	"fmt"
	"strings"
)

// Sense says how the version of a capability is bounded. It has rpm's values of the
// lowest bits of RPMSENSE (rpmds.h).
type Sense uint8

// The bits of a Sense.
const (
	Less    Sense = 1 << 1
	Greater Sense = 1 << 2
	Equal   Sense = 1 << 3
)

// String returns "<", "<=", "=", ">=" or ">", and "" for any version.
func (s Sense) String() string {
	switch s & (Less | Greater | Equal) {
	case Less:
		return "<"
	case Less | Equal:
		return "<="
	case Equal:
		return "="
	case Greater | Equal:
		return ">="
	case Greater:
		return ">"
	case Less | Greater:
		return "<>"
	default:
		return ""
	}
}

// A Dependency is one capability that a package provides or relates to, in the form
// metadata and headers have it.
type Dependency struct {
	// Name is the capability: a package name, "libc.so.6()(64bit)", a path. When it
	// begins with "(" it is a whole rich dependency and the other fields are empty.
	Name  string
	Sense Sense // 0: any version
	EVR   EVR
	Pre   bool // required by scriptlets: decides the order of installation
}

// IsRich reports whether the dependency is a boolean expression.
func (d Dependency) IsRich() bool { return strings.HasPrefix(d.Name, "(") }

// String returns the dependency as spec files have it: "bash >= 5".
func (d Dependency) String() string {
	if d.Sense.String() == "" {
		return d.Name
	}
	return d.Name + " " + d.Sense.String() + " " + d.EVR.String()
}

// ParseDependency parses a capability, "name" or "name >= version", or a rich
// dependency, which is checked by ParseRich. White space separates an operator from
// what it is between: capabilities like "font(:lang=en)" contain the same
// characters.
func ParseDependency(s string) (Dependency, error) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "(") {
		if _, err := ParseRich(s); err != nil {
			return Dependency{}, err
		}
		return Dependency{Name: s}, nil
	}
	words := strings.Fields(s)
	switch len(words) {
	case 0:
		return Dependency{}, fmt.Errorf("the dependency is empty")
	case 1:
		return Dependency{Name: words[0]}, nil
	case 3:
		return newDependency(words[0], words[1], words[2])
	}
	return Dependency{}, fmt.Errorf("dependency %q is neither a name nor of the form \"name >= version\"", s)
}

// newDependency makes a dependency of the three words that it is written with.
func newDependency(name, operator, version string) (Dependency, error) {
	sense, ok := senseOf(operator)
	if !ok {
		return Dependency{}, fmt.Errorf("dependency %q: %q is not one of <, <=, =, >= and >", name+" "+operator+" "+version, operator)
	}
	evr, err := ParseEVR(version)
	if err != nil {
		return Dependency{}, fmt.Errorf("dependency %q: %w", name+" "+operator+" "+version, err)
	}
	return Dependency{Name: name, Sense: sense, EVR: evr}, nil
}

// senseOf knows the operators as rpm does.
func senseOf(operator string) (s Sense, ok bool) {
	switch operator {
	case "<":
		return Less, true
	case "<=", "=<":
		return Less | Equal, true
	case "=", "==":
		return Equal, true
	case ">=", "=>":
		return Greater | Equal, true
	case ">":
		return Greater, true
	}
	return 0, false
}

// SatisfiedBy reports whether a capability that a package provides is what d, which is not
// rich, asks for: the names are the same and there is a version within both bounds.
// Without a bound on one side every version is. A bound without a release means all
// releases of its version.
func (d Dependency) SatisfiedBy(provided Dependency) bool {
	if d.Name != provided.Name {
		return false
	}
	const any = Less | Greater | Equal
	want, have := d.Sense&any, provided.Sense&any
	if want == 0 || have == 0 || want == any || have == any || want&have&(Less|Greater) != 0 {
		return true
	}
	c := cmp.Or(cmp.Compare(provided.EVR.Epoch, d.EVR.Epoch), CompareVersions(provided.EVR.Version, d.EVR.Version))
	if c == 0 {
		switch haveRelease, wantRelease := provided.EVR.Release, d.EVR.Release; {
		case haveRelease == wantRelease:
		case haveRelease == "":
			return have&Equal != 0
		case wantRelease == "":
			return want&Equal != 0
		default:
			c = CompareVersions(haveRelease, wantRelease)
		}
	}
	switch {
	case c < 0: // the bound of what is provided is below the one asked for
		return want&Less != 0 || have&Greater != 0
	case c > 0:
		return want&Greater != 0 || have&Less != 0
	default:
		return want&have&Equal != 0
	}
}

// Names reports whether d, which is not rich, names a package itself and not what it
// provides. So obsoletes are matched.
func (d Dependency) Names(p *Package) bool {
	return d.Name == p.Name && d.SatisfiedBy(p.self())
}

// self is the capability that every package provides: its name in its version.
func (p *Package) self() Dependency {
	return Dependency{Name: p.Name, Sense: Equal, EVR: p.EVR}
}
