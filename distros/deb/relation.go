package deb

import (
	"fmt"
	"strings"
)

// An Operator is the comparison of a versioned relation.
type Operator uint8

// The operators of deb-control(5). The deprecated "<" and ">" are read as
// what they mean to dpkg, "<=" and ">=".
const (
	AnyVersion   Operator = iota // no version was given
	Earlier                      // <<
	EarlierEqual                 // <=
	Equal                        // =
	LaterEqual                   // >=
	Later                        // >>
)

var operatorNames = [...]string{"", "<<", "<=", "=", ">=", ">>"}

// String returns the operator as it is written in a control file.
func (o Operator) String() string { return operatorNames[o] }

// ParseOperator reads an operator as it is written in a control file.
func ParseOperator(s string) (Operator, error) {
	switch s {
	case "<":
		return EarlierEqual, nil
	case ">":
		return LaterEqual, nil
	}
	for i, name := range operatorNames {
		if i > 0 && s == name {
			return Operator(i), nil
		}
	}
	return AnyVersion, fmt.Errorf("unknown comparison %q; the comparisons are <<, <=, =, >= and >>", s)
}

// Holds says whether "version o bound" is true.
func (o Operator) Holds(version, bound string) bool {
	if o == AnyVersion {
		return true
	}
	c := CompareVersions(version, bound)
	switch o {
	case Earlier:
		return c < 0
	case EarlierEqual:
		return c <= 0
	case Equal:
		return c == 0
	case LaterEqual:
		return c >= 0
	default:
		return c > 0
	}
}

// A Relation names a package, real or virtual, and which versions of it:
// one alternative of a dependency, one conflict, or one thing provided.
type Relation struct {
	Name    string
	Arch    string // architecture qualifier: "", "any", "native" or an architecture
	Op      Operator
	Version string // "" if Op is AnyVersion
}

// String returns the relation as it is written in a control file.
func (r Relation) String() string {
	s := r.Name
	if r.Arch != "" {
		s += ":" + r.Arch
	}
	if r.Op != AnyVersion {
		s += " (" + r.Op.String() + " " + r.Version + ")"
	}
	return s
}

// Alternatives is a dependency: any one of its relations satisfies it.
type Alternatives []Relation

// String returns the dependency as it is written in a control file.
func (a Alternatives) String() string {
	names := make([]string, len(a))
	for i, r := range a {
		names[i] = r.String()
	}
	return strings.Join(names, " | ")
}

// ParseDependencies reads the value of Depends, Pre-Depends or Recommends.
// Architecture restrictions ("[amd64]") and build profiles ("<!nocheck>") are
// for source packages and refused here, as apt and dpkg refuse them.
func ParseDependencies(value string) ([]Alternatives, error) {
	var all []Alternatives
	for part := range strings.SplitSeq(value, ",") {
		if strings.TrimSpace(part) == "" {
			continue // a comma at the end; dpkg tolerates it too
		}
		var group Alternatives
		for alternative := range strings.SplitSeq(part, "|") {
			r, err := parseRelation(alternative)
			if err != nil {
				return nil, err
			}
			group = append(group, r)
		}
		all = append(all, group)
	}
	return all, nil
}

// ParseRelations reads the value of Conflicts, Breaks or Provides: a list
// without alternatives.
func ParseRelations(value string) ([]Relation, error) {
	var all []Relation
	for part := range strings.SplitSeq(value, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if strings.Contains(part, "|") {
			return nil, fmt.Errorf("%q: alternatives are not allowed here", part)
		}
		r, err := parseRelation(part)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// parseRelation reads `name[:arch] [(op version)]`.
func parseRelation(text string) (Relation, error) {
	text = strings.TrimSpace(text)
	fail := func(format string, args ...any) (Relation, error) {
		return Relation{}, fmt.Errorf("relation %q: %s", text, fmt.Sprintf(format, args...))
	}
	end := strings.IndexAny(text, " \t\n([<")
	if end < 0 {
		end = len(text)
	}
	rest := strings.TrimSpace(text[end:])
	var r Relation
	r.Name, r.Arch, _ = strings.Cut(text[:end], ":")
	if !isPackageName(r.Name) {
		return fail("%q is not a package name", r.Name)
	}
	if strings.HasSuffix(text[:end], ":") || r.Arch != "" && !isPackageName(r.Arch) {
		return fail("%q is not an architecture", r.Arch)
	}
	if strings.HasPrefix(rest, "(") {
		constraint, after, closed := strings.Cut(rest[1:], ")")
		if !closed {
			return fail("the closing parenthesis is missing")
		}
		constraint = strings.TrimSpace(constraint)
		version := strings.TrimLeft(constraint, "<=>")
		op, err := ParseOperator(constraint[:len(constraint)-len(version)])
		if err != nil {
			return fail("%v", err)
		}
		r.Op, r.Version = op, strings.TrimSpace(version)
		if r.Version == "" || strings.ContainsAny(r.Version, " \t\n(") {
			return fail("%q is not a version", r.Version)
		}
		rest = strings.TrimSpace(after)
	}
	switch {
	case rest == "":
		return r, nil
	case rest[0] == '[':
		return fail("architecture restrictions are only allowed in source packages")
	case rest[0] == '<':
		return fail("build profiles are only allowed in source packages")
	default:
		return fail("unexpected %q", rest)
	}
}

// isPackageName is more liberal than Debian's policy, which asks for lower
// case and two characters: third parties publish names with capitals and
// underscores, and dpkg installs them.
func isPackageName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isDigit(c) && !isLetter(c) && (i == 0 || strings.IndexByte("+-._~", c) < 0) {
			return false
		}
	}
	return s != ""
}
