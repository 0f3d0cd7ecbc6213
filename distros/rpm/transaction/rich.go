package transaction

import (
	"fmt"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm"
)

// maxRichDepth is how deep rich dependencies may be nested. Real ones have 4 levels.
const maxRichDepth = 64

// richOperands returns those operands of a rich dependency that rpm orders by: all of
// "and" and "or", and the first of others. (What follows "else" is meant to be among
// them, but rpm does not find it.)
func richOperands(text string) ([]rpm.Dependency, error) {
	p := richParser{rest: text}
	operands, err := p.expression(0)
	if err == nil && p.rest != "" {
		err = fmt.Errorf("%q follows its end", p.rest)
	}
	if err != nil {
		return nil, fmt.Errorf("the rich dependency %s: %w", text, err)
	}
	return operands, nil
}

// richParser reads the grammar of rpm's boolean dependencies.
type richParser struct{ rest string }

// expression reads "(" operand { operator operand } ")".
func (p *richParser) expression(depth int) ([]rpm.Dependency, error) {
	if depth > maxRichDepth {
		return nil, fmt.Errorf("more than %d levels of parentheses", maxRichDepth)
	}
	p.rest = p.rest[1:] // the parenthesis
	operands, err := p.operand(depth)
	if err != nil {
		return nil, err
	}
	counts := true // whether the next operand is ordered by
	for {
		p.rest = strings.TrimLeft(p.rest, " ")
		if strings.HasPrefix(p.rest, ")") {
			p.rest = p.rest[1:]
			return operands, nil
		}
		switch operator := p.word(); operator {
		case "and", "or":
		case "if", "unless", "else", "with", "without":
			counts = false
		default:
			return nil, fmt.Errorf("%q is not an operator", operator)
		}
		next, err := p.operand(depth)
		if err != nil {
			return nil, err
		}
		if counts {
			operands = append(operands, next...)
		}
	}
}

// operand reads an expression in parentheses or a name with perhaps a version.
func (p *richParser) operand(depth int) ([]rpm.Dependency, error) {
	p.rest = strings.TrimLeft(p.rest, " ")
	if strings.HasPrefix(p.rest, "(") {
		return p.expression(depth + 1)
	}
	d := rpm.Dependency{Name: p.word()}
	if d.Name == "" {
		return nil, fmt.Errorf("a name is missing before %q", p.rest)
	}
	p.rest = strings.TrimLeft(p.rest, " ")
	for p.rest != "" {
		bit, ok := map[byte]rpm.Sense{'<': rpm.Less, '>': rpm.Greater, '=': rpm.Equal}[p.rest[0]]
		if !ok {
			break
		}
		d.Sense |= bit
		p.rest = p.rest[1:]
	}
	if d.Sense != 0 {
		p.rest = strings.TrimLeft(p.rest, " ")
		var err error
		if d.EVR, err = rpm.ParseEVR(p.word()); err != nil {
			return nil, err
		}
	}
	return []rpm.Dependency{d}, nil
}

// word reads up to white space or a parenthesis that closes more than the word opens, as
// names like "libc.so.6()(64bit)" do.
func (p *richParser) word() string {
	open := 0
	for i := range len(p.rest) {
		switch p.rest[i] {
		case '(':
			open++
		case ')':
			if open--; open < 0 {
				return p.cut(i)
			}
		case ' ':
			return p.cut(i)
		}
	}
	return p.cut(len(p.rest))
}

func (p *richParser) cut(i int) string {
	word := p.rest[:i]
	p.rest = p.rest[i:]
	return word
}
