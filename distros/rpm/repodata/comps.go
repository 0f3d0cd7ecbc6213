package repodata

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/imagefactory/imagefactory/distros/rpm"
)

// Comps are the groups of packages of one or several repositories, and the environments,
// which are groups of groups
// (https://fedoraproject.org/wiki/How_to_use_and_edit_comps.xml_for_package_groups).
type Comps struct {
	Groups       []*Group // in the order of the file
	Environments []*Environment
}

// A Group is packages that serve one purpose.
type Group struct {
	ID, Name string // "core", "Core"
	Members  []Member
}

// A Member is a package of a group.
type Member struct {
	Package string // its name
	Kind    MemberKind
	Needs   string // of Conditional members: the package without which this one is not wanted
}

// A MemberKind says when a member is installed with its group.
type MemberKind string

// The kinds. Optional members are only offered to people who choose.
const (
	Mandatory   MemberKind = "mandatory"
	Default     MemberKind = "default"
	Optional    MemberKind = "optional"
	Conditional MemberKind = "conditional"
)

// An Environment is the groups that make up a kind of installation.
type Environment struct {
	ID, Name string   // "minimal-environment", "Minimal Install"
	Groups   []string // IDs
	Options  []string // IDs of groups that are only offered
}

type xmlComps struct {
	XMLName xml.Name `xml:"comps"`
	Groups  []struct {
		ID      string    `xml:"id"`
		Names   []xmlName `xml:"name"`
		Members []struct {
			Kind     string `xml:"type,attr"`
			Requires string `xml:"requires,attr"`
			Name     string `xml:",chardata"`
		} `xml:"packagelist>packagereq"`
	} `xml:"group"`
	Environments []struct {
		ID      string    `xml:"id"`
		Names   []xmlName `xml:"name"`
		Groups  []string  `xml:"grouplist>groupid"`
		Options []string  `xml:"optionlist>groupid"`
	} `xml:"environment"`
}

type xmlName struct {
	Language string `xml:"lang,attr"`
	Text     string `xml:",chardata"`
}

// untranslated returns the name that has no language.
func untranslated(names []xmlName) string {
	for _, n := range names {
		if n.Language == "" {
			return strings.TrimSpace(n.Text)
		}
	}
	return ""
}

// ParseComps reads a comps.xml document.
func ParseComps(r io.Reader) (*Comps, error) {
	p, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var doc xmlComps
	if err := unmarshal(p, &doc); err != nil {
		return nil, err
	}
	c := &Comps{}
	for _, g := range doc.Groups {
		group := &Group{ID: strings.TrimSpace(g.ID), Name: untranslated(g.Names)}
		if group.ID == "" {
			return nil, fmt.Errorf("the group %q has no id", group.Name)
		}
		for _, m := range g.Members {
			member := Member{Package: strings.TrimSpace(m.Name), Kind: MemberKind(m.Kind)}
			switch member.Kind {
			case Default, Optional:
			case Conditional:
				member.Needs = m.Requires
			default:
				member.Kind = Mandatory // so does libcomps
			}
			if member.Package == "" {
				return nil, fmt.Errorf("group %s has a package without a name", group.ID)
			}
			group.Members = append(group.Members, member)
		}
		c.Groups = append(c.Groups, group)
	}
	for _, e := range doc.Environments {
		environment := &Environment{ID: strings.TrimSpace(e.ID), Name: untranslated(e.Names), Groups: trimAll(e.Groups), Options: trimAll(e.Options)}
		if environment.ID == "" {
			return nil, fmt.Errorf("the environment %q has no id", environment.Name)
		}
		c.Environments = append(c.Environments, environment)
	}
	return c, nil
}

func trimAll(list []string) []string {
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// MergeComps returns the groups of several repositories: a group or environment that
// more than one of them has gets the members of all. Any of them may be nil.
func MergeComps(list ...*Comps) *Comps {
	merged := &Comps{}
	for _, c := range list {
		if c == nil {
			continue
		}
		for _, g := range c.Groups {
			if known := merged.group(g.ID); known != nil {
				known.Members = union(known.Members, g.Members)
			} else {
				merged.Groups = append(merged.Groups, &Group{g.ID, g.Name, slices.Clone(g.Members)})
			}
		}
		for _, e := range c.Environments {
			if known := merged.environment(e.ID); known != nil {
				known.Groups = union(known.Groups, e.Groups)
				known.Options = union(known.Options, e.Options)
			} else {
				merged.Environments = append(merged.Environments, &Environment{e.ID, e.Name, slices.Clone(e.Groups), slices.Clone(e.Options)})
			}
		}
	}
	return merged
}

// union appends to a what of b it does not have.
func union[T comparable](a, b []T) []T {
	for _, v := range b {
		if !slices.Contains(a, v) {
			a = append(a, v)
		}
	}
	return a
}

func (c *Comps) group(id string) *Group {
	for _, g := range c.Groups {
		if g.ID == id {
			return g
		}
	}
	return nil
}

func (c *Comps) environment(id string) *Environment {
	for _, e := range c.Environments {
		if e.ID == id {
			return e
		}
	}
	return nil
}

// An UnknownGroupError says that no repository has a group or environment.
type UnknownGroupError struct {
	Spec    string   // as it was asked for: "@cor"
	Similar []string // what there is of a similar name
}

// Error names the group and what may have been meant.
func (e *UnknownGroupError) Error() string {
	what := "group or environment"
	if strings.HasPrefix(e.Spec, "@^") {
		what = "environment"
	}
	if len(e.Similar) == 0 {
		return fmt.Sprintf("no repository has the %s %q", what, e.Spec)
	}
	return fmt.Sprintf("no repository has the %s %q; there is %s", what, e.Spec, strings.Join(e.Similar, ", "))
}

// ExitStatus is 2: the recipe is wrong.
func (e *UnknownGroupError) ExitStatus() int { return 2 }

// Expand returns the packages that installing a group ("@core") or an environment
// ("@^minimal-environment") installs: mandatory, default and, with Item.If, conditional
// members, once each. Groups and environments go by their id or, else, their name in whatever
// case; "@name" is also an environment when no group is called so. Like dnf, members that no repository
// has are left out of an installation (they are Optional items), and so are groups
// of an environment that no repository has. The error is an *UnknownGroupError.
func (c *Comps) Expand(spec string) ([]rpm.Item, error) {
	name, environmentOnly := strings.CutPrefix(strings.TrimPrefix(spec, "@"), "^")
	if !environmentOnly {
		if g := find(c.Groups, name); g != nil {
			return expandGroups([]*Group{g}), nil
		}
	}
	e := find(c.Environments, name)
	if e == nil {
		return nil, &UnknownGroupError{Spec: spec, Similar: c.similar(name, environmentOnly)}
	}
	var groups []*Group
	for _, id := range e.Groups {
		if g := c.group(id); g != nil {
			groups = append(groups, g)
		}
	}
	return expandGroups(groups), nil
}

// identity returns the id and the name.
func (g *Group) identity() (id, name string) { return g.ID, g.Name }

// identity returns the id and the name.
func (e *Environment) identity() (id, name string) { return e.ID, e.Name }

// find returns the element with an id or else the name.
func find[T interface{ identity() (id, name string) }](list []T, name string) (found T) {
	for _, v := range list {
		if id, _ := v.identity(); id == name {
			return v
		}
	}
	for _, v := range list {
		if id, full := v.identity(); strings.EqualFold(full, name) || strings.EqualFold(id, name) {
			return v
		}
	}
	return found
}

func expandGroups(groups []*Group) []rpm.Item {
	var items []rpm.Item
	index := make(map[string]int) // of items, by name
	for _, g := range groups {
		for _, m := range g.Members {
			if m.Kind == Optional {
				continue
			}
			i, known := index[m.Package]
			switch {
			case !known:
				index[m.Package] = len(items)
				items = append(items, rpm.Item{Spec: m.Package, Origin: "group " + g.ID, Optional: true, If: m.Needs})
			case items[i].If != m.Needs && m.Needs == "":
				items[i].If = "" // wanted in any case
			case items[i].If != m.Needs && items[i].If != "":
				items = append(items, rpm.Item{Spec: m.Package, Origin: "group " + g.ID, Optional: true, If: m.Needs})
			}
		}
	}
	return items
}

// similar returns ids and names that look like the one asked for, ready for use.
func (c *Comps) similar(name string, environmentOnly bool) []string {
	var found []string
	consider := func(prefix, id, full string) {
		lower := strings.ToLower(name)
		if distance := levenshtein.Distance(lower, strings.ToLower(id), nil); distance <= 1+len(name)/5 ||
			levenshtein.Distance(lower, strings.ToLower(full), nil) <= 1+len(name)/5 || strings.HasPrefix(id, lower) {
			found = append(found, fmt.Sprintf("%q", prefix+id))
		}
	}
	if !environmentOnly {
		for _, g := range c.Groups {
			consider("@", g.ID, g.Name)
		}
	}
	for _, e := range c.Environments {
		consider("@^", e.ID, e.Name)
	}
	const most = 5
	return found[:min(most, len(found))]
}
