package transaction

import (
	"math"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm"
	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// Order returns members in the order in which rpm installs them; see the package's
// documentation.
func Order(members []*Member) ([]*Member, error) {
	o := newOrdering(sorted(members))
	for _, n := range o.nodes {
		if err := o.relate(n); err != nil {
			return nil, err
		}
	}
	o.findGroups()
	return o.collect(), nil
}

// A node is a member on its way through the ordering.
type node struct {
	*Member
	color    uint32
	requires []relation // what this package needs, the last found first
	requirer []relation // what needs this package, the last found first
	missing  int        // how many of what it needs are not collected yet
	wanted   int        // how many others need it: decides who goes first

	// group is the circle to which the node belongs; nil when it is in none.
	group     *group
	done      bool
	discovery int // Tarjan's order of discovery, from 1
	lowest    int // the smallest discovery that can be reached
	onStack   bool
	distance  int // in a group: steps from the next requirement of a scriptlet
}

// A relation is a requirement between two packages.
type relation struct {
	to     *node
	strong bool // some scriptlet needs it
}

// A group is packages that require each other in a circle.
type group struct {
	members []*node
	missing int // how many requirements of members lie outside and are not collected yet
}

// ordering is the packages and what they provide.
type ordering struct {
	nodes    []*node
	provides map[string][]provided
	files    map[string][]*node
	groups   []*group
	ordered  []*Member
}

type provided struct {
	by *node
	rpm.Dependency
}

func newOrdering(members []*Member) *ordering {
	o := &ordering{provides: map[string][]provided{}, files: map[string][]*node{}}
	for _, m := range members {
		n := &node{Member: m}
		for _, c := range m.Header.Uint32s(header.TagFileColors) {
			n.color |= c
		}
		for _, d := range m.Header.Dependencies(header.Provides) {
			o.provides[d.Name] = append(o.provides[d.Name], provided{n, d.Dependency})
		}
		for _, f := range m.Header.Files() {
			o.files[f.Path] = append(o.files[f.Path], n)
		}
		o.nodes = append(o.nodes, n)
	}
	return o
}

// orderKinds are the dependencies that rpm orders by. Weak ones count like requirements.
var orderKinds = []struct {
	kind    header.Kind
	reverse bool
}{
	{header.Requires, false},
	{header.Recommends, false},
	{header.Suggests, false},
	{header.Supplements, true},
	{header.Enhances, true},
	{header.Order, false},
}

// relate finds the relations of n to others.
func (o *ordering) relate(n *node) error {
	for _, k := range orderKinds {
		for _, d := range n.Header.Dependencies(k.kind) {
			if d.Flags&unorderedFlags != 0 && d.Flags&orderedFlags == 0 {
				continue
			}
			strong := d.Flags&installFlags != 0 || d.Flags&requireFlags == header.SensePrereq
			alternatives := []rpm.Dependency{d.Dependency}
			if d.IsRich() {
				var err error
				if alternatives, err = richOperands(d.Name); err != nil {
					return err
				}
			}
			for _, a := range alternatives {
				if p := o.provider(n, a); p != nil && p != n {
					if !k.reverse {
						n.require(p, strong)
					} else if !n.strengthenLast(p, strong) {
						p.add(n, strong)
					}
				}
			}
		}
	}
	return nil
}

// provider returns the package that satisfies n's dependency d, or nil.
func (o *ordering) provider(n *node, d rpm.Dependency) *node {
	var found []*node
	if strings.HasPrefix(d.Name, "/") {
		found = o.files[d.Name]
	}
	if len(found) == 0 {
		for _, p := range o.provides[d.Name] {
			if overlap(p.Dependency, d) {
				found = append(found, p.by)
			}
		}
	}
	var best *node
	bestScore := 0
	for _, p := range found {
		score := 0
		if p.color == color64 {
			score += 2
		}
		if p == n {
			score++
		}
		if best == nil || score > bestScore {
			best, bestScore = p, score
		}
	}
	return best
}

// require notes that n needs p. Several requirements of one package in a row count
// once.
func (n *node) require(p *node, strong bool) {
	if len(p.requirer) > 0 && p.requirer[0].to == n {
		n.strengthen(p, strong)
		return
	}
	n.add(p, strong)
}

// strengthenLast reports whether p is what n was found to need last, and if so only notes
// strong. rpm does so when p is then found to need n, by a reverse dependency of
// n's, which is left out.
func (n *node) strengthenLast(p *node, strong bool) bool {
	if len(n.requires) == 0 || n.requires[0].to != p {
		return false
	}
	n.strengthen(p, strong)
	return true
}

// strengthen makes n's last relation to p strong, in both directions.
func (n *node) strengthen(p *node, strong bool) {
	for _, r := range []*relation{find(n.requires, p), find(p.requirer, n)} {
		r.strong = r.strong || strong
	}
}

// find returns the first of relations that is to n; there is one.
func find(relations []relation, n *node) *relation {
	return &relations[slices.IndexFunc(relations, func(r relation) bool { return r.to == n })]
}

// add notes that n needs p.
func (n *node) add(p *node, strong bool) {
	n.missing++
	p.wanted++
	p.requirer = slices.Insert(p.requirer, 0, relation{n, strong})
	n.requires = slices.Insert(n.requires, 0, relation{p, strong})
}

// findGroups finds the circles (Tarjan, Depth-first search and linear graph
// algorithms, 1972), going from what is required to what requires it.
func (o *ordering) findGroups() {
	var stack []*node
	count := 0
	var visit func(n *node)
	visit = func(n *node) {
		count++
		n.discovery, n.lowest = count, count
		stack, n.onStack = append(stack, n), true
		for _, r := range n.requirer {
			if r.to.discovery == 0 {
				visit(r.to)
				n.lowest = min(n.lowest, r.to.lowest)
			} else if r.to.onStack {
				n.lowest = min(n.lowest, r.to.discovery)
			}
		}
		if n.lowest != n.discovery {
			return
		}
		first := slices.Index(stack, n)
		members := slices.Clone(stack[first:])
		stack = stack[:first]
		for _, m := range members {
			m.onStack = false
		}
		if len(members) == 1 {
			return
		}
		g := &group{members: members}
		for _, m := range members {
			m.group = g
		}
		for _, m := range members {
			for _, r := range m.requires {
				if r.to.group != g {
					g.missing++
				}
			}
		}
		o.groups = append(o.groups, g)
	}
	for _, n := range o.nodes {
		if n.discovery == 0 {
			visit(n)
		}
	}
}

// queue holds packages that can be installed, those that most others want first; of
// equals, what came last.
type queue []*node

func (q *queue) add(n *node) {
	at := slices.IndexFunc(*q, func(other *node) bool { return other.wanted <= n.wanted })
	if at < 0 {
		at = len(*q)
	}
	*q = slices.Insert(*q, at, n)
}

func (q *queue) take() *node {
	n := (*q)[0]
	*q = (*q)[1:]
	return n
}

// collect returns the members in order.
func (o *ordering) collect() []*Member {
	var ready queue
	for _, n := range o.nodes {
		if n.missing == 0 {
			ready.add(n)
		}
	}
	for _, g := range o.groups {
		if g.missing == 0 {
			ready.add(g.members[0])
		}
	}
	for len(ready) > 0 {
		if n := ready.take(); n.group != nil {
			o.collectGroup(n.group, &ready)
		} else {
			o.collectNode(n, &ready, &ready)
		}
	}
	return o.ordered
}

// collectNode takes n, and adds what that makes possible to a queue: of n's own group to inner,
// others to outer.
func (o *ordering) collectNode(n *node, inner, outer *queue) {
	o.ordered = append(o.ordered, n.Member)
	for _, r := range n.requirer {
		p := r.to
		if p.done || p == n {
			continue
		}
		if p.missing--; p.missing == 0 {
			if p.group == n.group {
				inner.add(p)
			} else {
				outer.add(p)
			}
		}
		if p.group != nil && p.group != n.group {
			if p.group.missing--; p.group.missing == 0 {
				outer.add(p) // on behalf of its group
			}
		}
	}
	n.done = true
}

// collectGroup takes a whole circle: again and again the member that does least harm,
// and what that makes possible.
func (o *ordering) collectGroup(g *group, outer *queue) {
	g.measure()
	for {
		var best *node
		for _, n := range g.members {
			if !n.done && (best == nil || n.distance >= best.distance) {
				best = n
			}
		}
		if best == nil {
			return
		}
		for inner := (queue{best}); len(inner) > 0; {
			o.collectNode(inner.take(), &inner, outer)
		}
	}
}

// measure finds how far each member is from those whose scriptlets need another
// member: breaking a requirement far from them does the least harm.
func (g *group) measure() {
	var next []*node
	for _, n := range g.members {
		n.distance = math.MaxInt
		if slices.ContainsFunc(n.requires, func(r relation) bool { return r.strong && r.to.group == g }) {
			n.distance = 0
			next = append(next, n)
		}
	}
	for ; len(next) > 0; next = next[1:] {
		for _, r := range next[0].requires {
			if r.to.group == g && r.to.distance > next[0].distance+1 {
				r.to.distance = next[0].distance + 1
				next = append(next, r.to)
			}
		}
	}
}
