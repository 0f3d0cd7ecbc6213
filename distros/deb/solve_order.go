package deb

import (
	"slices"
	"strings"
)

// Order returns a set of packages in the order in which they can be
// configured, as groups: what a package pre-depends or depends on is in an
// earlier group, except where the dependencies form a cycle. The packages of a
// cycle are in one group; within a group the order is that in which to
// configure, with pre-dependencies first as far as they do not form a cycle
// themselves, otherwise by name. Dependencies on packages outside of the set
// are ignored. The native architecture is arch.
func Order(arch string, set []*Package) ([][]*Package, error) {
	o, err := newOrdering(arch, set)
	if err != nil {
		return nil, err
	}
	components := o.components(o.depends)
	componentOf := make([]int, len(o.packages))
	for i, members := range components {
		for _, v := range members {
			componentOf[v] = i
		}
	}
	// Components come after what they depend on, so one pass gives each the
	// first group in which it can be.
	groupOf := make([]int, len(components))
	var groups [][]*Package
	for i, members := range components {
		for _, v := range members {
			for _, w := range o.depends[v] {
				if componentOf[w] != i {
					groupOf[i] = max(groupOf[i], groupOf[componentOf[w]]+1)
				}
			}
		}
		if groupOf[i] == len(groups) {
			groups = append(groups, nil)
		}
	}
	for v, i := range componentOf { // by name
		if members := components[i]; v == members[0] {
			for _, w := range o.preDependenciesFirst(members) {
				groups[groupOf[i]] = append(groups[groupOf[i]], o.packages[w])
			}
		}
	}
	return groups, nil
}

// An ordering is the dependencies within a set of packages.
type ordering struct {
	packages   []*Package // sorted
	preDepends [][]int    // by index into packages
	depends    [][]int    // pre-dependencies included
}

func newOrdering(arch string, set []*Package) (*ordering, error) {
	var foreign []string
	for _, p := range set {
		if p.Arch != "all" && p.Arch != arch && !slices.Contains(foreign, p.Arch) {
			foreign = append(foreign, p.Arch)
		}
	}
	u, err := NewUniverse(arch, foreign, &Index{Packages: set})
	if err != nil {
		return nil, err
	}
	s := newSearch(u, false)
	o := &ordering{packages: slices.Clone(set)}
	slices.SortFunc(o.packages, comparePackages)
	for _, p := range o.packages {
		s.variable(p) // numbers packages as o.packages does
	}
	for _, p := range o.packages {
		var edges [2][]int
		for i, field := range []struct{ name, value string }{{"Pre-Depends", p.PreDepends}, {"Depends", p.Depends}} {
			all, err := ParseDependencies(field.value)
			if err != nil {
				s.malformed(p, field.name, err)
			}
			for _, relation := range all {
				// One package that satisfies it is enough: the preferred one.
				if targets := s.anyOf(relation, p); len(targets) > 0 {
					edges[i] = append(edges[i], targets[0])
				}
			}
		}
		o.preDepends = append(o.preDepends, edges[0])
		o.depends = append(o.depends, slices.Concat(edges[0], edges[1]))
	}
	return o, s.err
}

// components returns the strongly connected components of a graph, each after
// those that it has edges to (Tarjan, Depth-first search and linear graph
// algorithms, 1972).
func (o *ordering) components(edges [][]int) [][]int {
	var (
		components [][]int
		stack      []int
		number     = make([]int, len(edges)) // order of discovery, from 1
		lowest     = make([]int, len(edges)) // smallest number that can be reached
		onStack    = make([]bool, len(edges))
		count      int
		visit      func(v int)
	)
	visit = func(v int) {
		count++
		number[v], lowest[v] = count, count
		stack, onStack[v] = append(stack, v), true
		for _, w := range edges[v] {
			if number[w] == 0 {
				visit(w)
				lowest[v] = min(lowest[v], lowest[w])
			} else if onStack[w] {
				lowest[v] = min(lowest[v], number[w])
			}
		}
		if lowest[v] == number[v] {
			first := slices.Index(stack, v)
			members := slices.Sorted(slices.Values(stack[first:]))
			stack = stack[:first]
			for _, w := range members {
				onStack[w] = false
			}
			components = append(components, members)
		}
	}
	for v := range edges {
		if number[v] == 0 {
			visit(v)
		}
	}
	return components
}

// preDependenciesFirst orders the members of a cycle by their
// pre-dependencies alone.
func (o *ordering) preDependenciesFirst(members []int) []int {
	if len(members) == 1 {
		return members
	}
	edges := make([][]int, len(o.packages))
	for _, v := range members {
		for _, w := range o.preDepends[v] {
			if slices.Contains(members, w) {
				edges[v] = append(edges[v], w)
			}
		}
	}
	var ordered []int
	for _, component := range o.components(edges) {
		for _, v := range component {
			if slices.Contains(members, v) {
				ordered = append(ordered, v)
			}
		}
	}
	return ordered
}

// OrderInstalled sorts packages in the order of Order, and fails as it does.
func OrderInstalled(arch string, packages []*Installed) ([]*Installed, error) {
	var index strings.Builder
	byName := map[string]*Installed{}
	for _, p := range packages {
		index.WriteString(p.stanza.String())
		index.WriteByte('\n')
		byName[p.Name()+":"+p.Arch()] = p
	}
	set, err := ParseIndex(strings.NewReader(index.String()), "installed packages")
	if err != nil {
		return nil, err
	}
	groups, err := Order(arch, set.Packages)
	if err != nil {
		return nil, err
	}
	ordered := make([]*Installed, 0, len(packages))
	for _, p := range slices.Concat(groups...) {
		ordered = append(ordered, byName[p.Name+":"+p.Arch])
	}
	return ordered, nil
}
