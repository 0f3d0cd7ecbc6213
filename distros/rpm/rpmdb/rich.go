package rpmdb

import (
	"slices"
	"strings"
)

// richNames returns the names in a rich dependency that rpm's index has, each once: those
// whose presence can break it after a "!", the others before them (rpmdb.c,
// updateRichDep). A dependency that rpm cannot parse has none.
func richNames(dependency string) []string {
	p := richParser{rest: dependency}
	if !p.group() {
		return nil
	}
	slices.Sort(p.names)
	names := slices.Compact(p.names)
	for i, name := range names {
		names[i] = strings.TrimPrefix(name, " ")
	}
	return names
}

// richParser collects names with a " " or, where negated, a "!" before them.
type richParser struct {
	rest    string
	names   []string
	negated bool
}

// group parses "(" term { operator term } ")".
func (p *richParser) group() bool {
	p.rest = strings.TrimPrefix(p.rest, "(")
	conditional := false // the last operator was if or unless
	condition := len(p.names)
	for {
		p.skipSpace()
		if !p.term() {
			return false
		}
		p.skipSpace()
		if rest, ok := strings.CutPrefix(p.rest, ")"); ok {
			p.rest = rest
			if conditional {
				p.negated = !p.negated
			}
			return true
		}
		switch p.word() {
		case "and", "or", "with", "without":
		case "if", "unless":
			condition, conditional = len(p.names), true
			p.negated = !p.negated
		case "else":
			// The condition holds or does not: its names matter both ways.
			for _, name := range p.names[condition:] {
				p.names = append(p.names, invert(name))
			}
			p.negated, conditional = !p.negated, false
		default:
			return false
		}
	}
}

// invert returns a collected name with the other mark.
func invert(name string) string {
	if name[0] == '!' {
		return " " + name[1:]
	}
	return "!" + name[1:]
}

// term parses a group, or a name with a version or without.
func (p *richParser) term() bool {
	if strings.HasPrefix(p.rest, "(") {
		return p.group()
	}
	name := p.word()
	if name == "" {
		return false
	}
	if !strings.HasPrefix(name, "rpmlib(") {
		mark := " "
		if p.negated {
			mark = "!"
		}
		p.names = append(p.names, mark+name)
	}
	p.skipSpace()
	if strings.HasPrefix(p.rest, "<") || strings.HasPrefix(p.rest, ">") || strings.HasPrefix(p.rest, "=") {
		p.word()
		p.skipSpace()
		return p.word() != ""
	}
	return true
}

func (p *richParser) skipSpace() { p.rest = strings.TrimLeft(p.rest, " \t\n\v\f\r") }

// word takes what is before a space, a comma, or a ")" that closes nothing in it.
func (p *richParser) word() string {
	depth := 0
	for i, c := range []byte(p.rest) {
		switch c {
		case '(':
			depth++
		case ')':
			if depth--; depth < 0 {
				return p.take(i)
			}
		case ' ', '\t', '\n', '\v', '\f', '\r', ',':
			return p.take(i)
		}
	}
	return p.take(len(p.rest))
}

// take takes n bytes.
func (p *richParser) take(n int) string {
	word := p.rest[:n]
	p.rest = p.rest[n:]
	return word
}
