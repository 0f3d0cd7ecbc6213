package rpm

import (
	"errors"
	"fmt"
	"strings"
)

// An Operator joins the operands of a rich dependency.
type Operator uint8

// The operators of rich dependencies.
const (
	Single  Operator = iota // no operator: a capability
	And                     // all operands
	Or                      // any operand
	If                      // the first when the second holds; otherwise the third, if any
	Unless                  // the first and not the second; when that holds the third, if any
	With                    // one package that is both, or all
	Without                 // one package that is the first and not the second
	elseOp                  // joins the third operand of If and Unless
)

var operatorNames = [...]string{"", "and", "or", "if", "unless", "with", "without", "else"}

// String returns the word that rich dependencies are written with.
func (o Operator) String() string { return operatorNames[o] }

// An Expression is a rich dependency taken apart.
type Expression struct {
	Op         Operator
	Dependency Dependency    // of Single
	Operands   []*Expression // two, or more of And, Or and With, or three of If and Unless
}

// String returns the expression as it is written, with parentheses around everything
// but single capabilities.
func (e *Expression) String() string {
	if e.Op == Single {
		return e.Dependency.String()
	}
	var b strings.Builder
	for i, operand := range e.Operands {
		switch {
		case i == 0:
			b.WriteByte('(')
		case i == 2 && (e.Op == If || e.Op == Unless):
			b.WriteString(" else ")
		default:
			b.WriteString(" " + e.Op.String() + " ")
		}
		b.WriteString(operand.String())
	}
	b.WriteByte(')')
	return b.String()
}

// Capabilities calls f for all capabilities of the expression.
func (e *Expression) Capabilities(f func(Dependency)) {
	if e.Op == Single {
		f(e.Dependency)
	}
	for _, operand := range e.Operands {
		operand.Capabilities(f)
	}
}

// maxRichDepth bounds how deep rich dependencies may be nested; real ones are three deep.
const maxRichDepth = 100

// ParseRich parses a rich dependency by rpm's rules: one kind of operator in each pair
// of parentheses, of which only "and", "or" and "with" can be repeated; "else" after "if" or
// "unless" only; and within "with" and "without" only these two and "or".
func ParseRich(s string) (*Expression, error) {
	p := richParser{rest: s}
	e, err := p.expression(0)
	if p.unclosed != "" {
		err = fmt.Errorf("a parenthesis of %q is not closed in it", p.unclosed)
	}
	if err == nil && p.rest != "" {
		err = fmt.Errorf("%q follows its end", p.rest)
	}
	if err == nil {
		_, err = e.context(false)
	}
	if err != nil {
		return nil, fmt.Errorf("rich dependency %q: %w", s, err)
	}
	return e, nil
}

// A richParser reads a rich dependency from left to right.
type richParser struct {
	rest     string
	unclosed string // a word with more opening parentheses than closing ones
}

func (p *richParser) skipSpace() { p.rest = strings.TrimLeft(p.rest, " \t\r\n\f\v,") }

// word reads up to white space or a closing parenthesis that was not opened within it.
func (p *richParser) word() string {
	depth, i := 0, 0
loop:
	for ; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case strings.IndexByte(" \t\r\n\f\v,", c) >= 0:
			break loop
		case c == '(':
			depth++
		case c == ')':
			if depth == 0 {
				break loop
			}
			depth--
		}
	}
	word := p.rest[:i]
	p.rest = p.rest[i:]
	if depth > 0 {
		p.unclosed = word
	}
	return word
}

var errUnterminated = errors.New("the closing parenthesis is missing")

// expression reads from an opening parenthesis to the one that closes it.
func (p *richParser) expression(depth int) (*Expression, error) {
	if !strings.HasPrefix(p.rest, "(") {
		return nil, errors.New("it does not begin with '('")
	}
	if depth == maxRichDepth {
		return nil, fmt.Errorf("it is nested more than %d deep", maxRichDepth)
	}
	p.rest = p.rest[1:]
	e := &Expression{}
	last := Single
	for {
		p.skipSpace()
		operand, err := p.operand(depth)
		if err != nil {
			return nil, err
		}
		e.Operands = append(e.Operands, operand)
		p.skipSpace()
		if p.rest == "" {
			return nil, errUnterminated
		}
		if p.rest[0] == ')' {
			p.rest = p.rest[1:]
			break
		}
		op, err := parseOperator(p.word())
		if err != nil {
			return nil, err
		}
		if err := mayFollow(op, last); err != nil {
			return nil, err
		}
		if last == Single {
			e.Op = op
		}
		last = op
	}
	if e.Op == Single {
		return e.Operands[0], nil
	}
	return e, nil
}

func (p *richParser) operand(depth int) (*Expression, error) {
	switch {
	case p.rest == "":
		return nil, errUnterminated
	case p.rest[0] == ')':
		return nil, errors.New("an operand is missing")
	case p.rest[0] == '(':
		return p.expression(depth + 1)
	}
	name := p.word()
	p.skipSpace()
	before := p.rest
	operator := p.word()
	if _, ok := senseOf(operator); !ok {
		p.rest = before
		return &Expression{Dependency: Dependency{Name: name}}, nil
	}
	p.skipSpace()
	d, err := newDependency(name, operator, p.word())
	if err != nil {
		return nil, err
	}
	return &Expression{Dependency: d}, nil
}

func parseOperator(word string) (Operator, error) {
	for i, name := range operatorNames {
		if i > 0 && name == word {
			return Operator(i), nil
		}
	}
	return 0, fmt.Errorf("%q is not one of and, or, if, unless, else, with and without", word)
}

// mayFollow says whether an operator may come next after another one in the same
// parentheses; last is Single for the first.
func mayFollow(op, last Operator) error {
	switch {
	case op == elseOp && last != If && last != Unless:
		return errors.New("'else' does not follow 'if' or 'unless'")
	case op == elseOp || last == Single:
		return nil
	case op != last:
		return fmt.Errorf("'%v' and '%v' are in the same parentheses", last, op)
	case op != And && op != Or && op != With:
		return fmt.Errorf("'%v' is there twice in the same parentheses", op)
	}
	return nil
}

// CheckRequires reports whether the expression may be in Requires, Recommends or
// Suggests by rpm's rules: an "if" means the opposite of what it says within "or",
// and an "unless" within "and", where their condition fails.
func (e *Expression) CheckRequires() error { return e.check(And) }

// CheckConflicts is CheckRequires for Conflicts, Supplements and Enhances, where it is
// the other way round.
func (e *Expression) CheckConflicts() error { return e.check(Or) }

func (e *Expression) check(within Operator) error {
	c, err := e.context(true)
	if err == nil {
		err = c.allow(within, true)
	}
	if err != nil {
		return fmt.Errorf("rich dependency %q: %w", e, err)
	}
	return nil
}

// A richContext is what an expression must not be an operand of.
type richContext struct{ and, or, with bool }

// context checks the operands of the expression against its operator. It always looks at
// with and without, at if and unless only when nesting is set.
func (e *Expression) context(nesting bool) (richContext, error) {
	var c richContext
	if e.Op == Single {
		return c, nil
	}
	for i, operand := range e.Operands {
		sub, err := operand.context(nesting)
		if err != nil {
			return c, err
		}
		if condition := i == 1 && (e.Op == If || e.Op == Unless); condition {
			sub.and, sub.or = false, false
		}
		c = richContext{c.and || sub.and, c.or || sub.or, c.with || sub.with}
	}
	if err := c.allow(e.Op, nesting); err != nil {
		return c, err
	}
	switch e.Op {
	case If:
		c.or, c.with = true, true
	case Unless:
		c.and, c.with = true, true
	case And:
		c = richContext{with: true}
	case Or:
		c.and, c.or = false, false
	}
	return c, nil
}

func (c richContext) allow(op Operator, nesting bool) error {
	switch {
	case c.with && (op == With || op == Without):
		return fmt.Errorf("'%v' has operands with other operators than 'with', 'without' and 'or'", op)
	case !nesting:
		return nil
	case c.and && (op == And || op == If):
		return errors.New("'unless' is not allowed here; use 'or' instead")
	case c.or && (op == Or || op == Unless):
		return errors.New("'if' is not allowed here; use 'and' instead")
	}
	return nil
}
