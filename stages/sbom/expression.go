package sbom

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
)

// licenseListVersion is the version of the SPDX licence list in spdx-licenses.txt.
const licenseListVersion = "3.29"

// The identifiers of the SPDX licence list, one a line, an empty line, and those of exceptions.
//
//go:embed spdx-licenses.txt
var licenseList string

// known maps the identifiers of the SPDX licence list, in lower case, to the way they are written.
var known = sync.OnceValue(func() (ids struct{ licenses, exceptions map[string]string }) {
	index := func(text string) map[string]string {
		m := map[string]string{}
		for _, id := range strings.Fields(text) {
			m[strings.ToLower(id)] = id
		}
		return m
	}
	licenses, exceptions, _ := strings.Cut(licenseList, "\n\n")
	ids.licenses, ids.exceptions = index(licenses), index(exceptions)
	return ids
})

// listed returns the identifier of a licence as the SPDX list has it. Deprecated ones of the GNU
// licences give those that took their place.
func listed(id string) (string, bool) {
	lower := strings.ToLower(id)
	for _, gnu := range []string{"gpl-", "lgpl-", "agpl-", "gfdl-"} {
		if version, ok := strings.CutPrefix(lower, gnu); ok && strings.Trim(version, "0123456789.+") == "" {
			plain, later := strings.CutSuffix(lower, "+")
			suffix := "-only"
			if later {
				suffix = "-or-later"
			}
			found, ok := known().licenses[plain+suffix]
			return found, ok
		}
	}
	found, ok := known().licenses[lower]
	return found, ok
}

// node is an expression of licences: a leaf, or what joins others.
type node struct {
	op   string // "AND", "OR", or "" for a leaf
	leaf string // as SPDX has it
	kids []*node
}

// join joins expressions, flat and each once.
func join(op string, nodes ...*node) *node {
	var kids []*node
	add := func(n *node) {
		text := n.String()
		if !slices.ContainsFunc(kids, func(k *node) bool { return k.String() == text }) {
			kids = append(kids, n)
		}
	}
	for _, n := range nodes {
		switch {
		case n == nil:
		case n.op == op:
			for _, k := range n.kids {
				add(k)
			}
		default:
			add(n)
		}
	}
	switch len(kids) {
	case 0:
		return nil
	case 1:
		return kids[0]
	}
	return &node{op: op, kids: kids}
}

// String returns the expression as SPDX has it (SPDX 2.3, annex D).
func (n *node) String() string {
	if n == nil {
		return ""
	}
	if n.op == "" {
		return n.leaf
	}
	parts := make([]string, len(n.kids))
	for i, k := range n.kids {
		parts[i] = k.String()
		if k.op == "OR" && n.op == "AND" {
			parts[i] = "(" + parts[i] + ")"
		}
	}
	return strings.Join(parts, " "+n.op+" ")
}

// leaves appends the licences of the expression to list.
func (n *node) leaves(list []string) []string {
	if n.op == "" {
		return append(list, n.leaf)
	}
	for _, k := range n.kids {
		list = k.leaves(list)
	}
	return list
}

// parser reads expressions as distributions write them: names of one or more words joined by
// "and", "or" and "and/or", with parentheses, and in copyright files commas that bind less
// (copyright-format 1.0, License field).
type parser struct {
	tokens []string
	leaf   func(name string) *node
}

// parse reads an expression whose names leaf translates. It returns nil for one that is not
// well formed. Without commas those are part of names.
func parse(text string, commas bool, leaf func(name string) *node) *node {
	text = strings.NewReplacer("(", " ( ", ")", " ) ").Replace(text)
	if commas {
		text = strings.ReplaceAll(text, ",", " , ")
	}
	p := parser{tokens: strings.Fields(text), leaf: leaf}
	n, ok := p.commas()
	if !ok || len(p.tokens) > 0 {
		return nil
	}
	return n
}

func (p *parser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return strings.ToLower(p.tokens[0])
}

func (p *parser) next() { p.tokens = p.tokens[1:] }

// commas reads expressions that commas separate, and an operator after each comma.
func (p *parser) commas() (*node, bool) {
	n, ok := p.alternatives()
	for ok && p.peek() == "," {
		p.next()
		op := "AND" // a mere list
		switch p.peek() {
		case "or", "and/or":
			op = "OR"
			p.next()
		case "and":
			p.next()
		}
		var more *node
		if more, ok = p.alternatives(); ok {
			n = join(op, n, more)
		}
	}
	return n, ok
}

func (p *parser) alternatives() (*node, bool) {
	n, ok := p.conjunction()
	for ok && (p.peek() == "or" || p.peek() == "and/or") {
		p.next()
		var more *node
		if more, ok = p.conjunction(); ok {
			n = join("OR", n, more)
		}
	}
	return n, ok
}

func (p *parser) conjunction() (*node, bool) {
	n, ok := p.term()
	for ok && p.peek() == "and" && !(len(p.tokens) > 1 && p.tokens[1] == ",") {
		p.next()
		var more *node
		if more, ok = p.term(); ok {
			n = join("AND", n, more)
		}
	}
	return n, ok
}

func (p *parser) term() (*node, bool) {
	if p.peek() == "(" {
		p.next()
		n, ok := p.commas()
		if !ok || p.peek() != ")" {
			return nil, false
		}
		p.next()
		// "(A or B) with exceptions"
		if p.peek() == "with" {
			return nil, false
		}
		return n, true
	}
	var words []string
	for len(p.tokens) > 0 && !slices.Contains([]string{"and", "or", "and/or", ",", "(", ")"}, p.peek()) {
		words = append(words, p.tokens[0])
		p.next()
	}
	if len(words) == 0 {
		return nil, false
	}
	n := p.leaf(strings.Join(words, " "))
	return n, n != nil
}
