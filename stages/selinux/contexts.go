package selinux

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// none is the context of paths that are not to be labelled.
const none = "<<none>>"

// metacharacters make an expression more than a path (label_file.h, spec_hasMetaChars).
const metacharacters = ".^$?*+|[({"

// fileTypes are the types of files as file_contexts writes them.
var fileTypes = map[string]tree.Type{
	"--": tree.Regular, "-d": tree.Directory, "-l": tree.Symlink, "-c": tree.CharDevice,
	"-b": tree.BlockDevice, "-p": tree.FIFO, "-s": tree.Socket,
}

// spec is a line of file_contexts.
type spec struct {
	expression string
	stem       string // its first element, with the slash before it, where that has no metacharacter
	kind       tree.Type
	context    string

	exact   bool           // no metacharacters at all
	literal string         // what every match begins with
	tail    tail           // what may follow literal
	regexp  *regexp.Regexp // nil unless tail is byExpression
}

// tail says how the end of a path is matched after the literal beginning.
type tail uint8

const (
	byExpression tail = iota
	nothing           // ""
	anything          // ".*"
	subtree           // "(/.*)?"
)

// contexts finds labels.
type contexts struct {
	specs    []spec           // regular expressions, then exact paths
	byStem   map[string][]int // specs that can match below a stem, the last first
	subs     []substitution   // of the administrator, in the order they are tried
	distSubs []substitution   // of the distribution
}

type substitution struct{ from, to string }

// parse adds the lines of a file of contexts; name is for errors.
func (c *contexts) parse(name string, data []byte) error {
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		s, ok, err := parseSpec(line)
		if err != nil {
			return fmt.Errorf("%s, line %d: %w", name, number, err)
		}
		if ok {
			c.specs = append(c.specs, s)
		}
	}
	return nil
}

// parseSpec parses a line of file_contexts; ok is false when it says nothing.
func parseSpec(line string) (s spec, ok bool, err error) {
	fields := strings.FieldsFunc(line, isSpace)
	if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
		return spec{}, false, nil
	}
	for i, f := range fields[:min(len(fields), 3)] {
		if strings.ContainsFunc(f, func(r rune) bool { return r >= 0x80 }) {
			return spec{}, false, fmt.Errorf("field %d is not ASCII", i+1)
		}
	}
	switch len(fields) {
	case 1:
		return spec{}, false, fmt.Errorf("%s has no context", fields[0])
	case 2:
		s.context = fields[1]
	default:
		if s.kind, ok = fileTypes[fields[1]]; !ok {
			return spec{}, false, fmt.Errorf("%s is no type of file", fields[1])
		}
		s.context = fields[2]
	}
	s.expression = fields[0]
	if s.stem = stem(s.expression); strings.ContainsAny(s.stem, metacharacters) {
		s.stem = ""
	}
	return s, true, s.compile()
}

func isSpace(r rune) bool { return r == ' ' || '\t' <= r && r <= '\r' }

// stem returns the first element of a path that has more than one, and otherwise nothing.
func stem(path string) string {
	if len(path) > 1 {
		if i := strings.IndexByte(path[1:], '/'); i >= 0 {
			return path[:i+1]
		}
	}
	return ""
}

// hasMetacharacters reports whether an expression is more than a path with escapes.
func hasMetacharacters(expression string) bool {
	for i := 0; i < len(expression); i++ {
		switch {
		case expression[i] == '\\':
			i++
		case strings.IndexByte(metacharacters, expression[i]) >= 0:
			return true
		}
	}
	return false
}

// compile prepares the matching.
func (s *spec) compile() error {
	s.exact = !hasMetacharacters(s.expression)
	compiled, err := regexp.Compile("(?s)^" + s.expression + "$")
	if err != nil {
		return fmt.Errorf("expression %s: %w (RE2 has no look-around, back references or possessive quantifiers)", s.expression, err)
	}
	var rest string
	s.literal, rest = literalPrefix(s.expression)
	switch rest {
	case "":
		s.tail = nothing
	case ".*":
		s.tail = anything
	case "(/.*)?":
		s.tail = subtree
	default:
		s.regexp = compiled
	}
	return nil
}

// literalPrefix returns what every match of the expression begins with, and the rest of
// the expression.
func literalPrefix(expression string) (literal, rest string) {
	if hasAlternatives(expression) {
		return "", expression
	}
	var b strings.Builder
	for i := 0; i < len(expression); {
		c, next := expression[i], i+1
		if c == '\\' {
			if next == len(expression) || isAlphanumeric(expression[next]) {
				return b.String(), expression[i:] // a class of characters
			}
			c, next = expression[next], next+1
		} else if strings.IndexByte(metacharacters, c) >= 0 {
			return b.String(), expression[i:]
		}
		if next < len(expression) && strings.IndexByte("?*+{", expression[next]) >= 0 {
			return b.String(), expression[i:] // there need not be exactly one of it
		}
		b.WriteByte(c)
		i = next
	}
	return b.String(), ""
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// hasAlternatives reports whether the expression has, or may have, a | outside of
// parentheses.
func hasAlternatives(expression string) bool {
	depth := 0
	for i := 0; i < len(expression); i++ {
		switch expression[i] {
		case '\\':
			i++
		case '[':
			return strings.IndexByte(expression[i:], '|') >= 0 && depth == 0 // not worth parsing
		case '(':
			depth++
		case ')':
			depth--
		case '|':
			if depth == 0 {
				return true
			}
		}
	}
	return false
}

// matches reports whether the expression of s matches an absolute path.
func (s *spec) matches(path string) bool {
	after, ok := strings.CutPrefix(path, s.literal)
	if !ok {
		return false
	}
	switch s.tail {
	case nothing:
		return after == ""
	case anything:
		return true
	case subtree:
		return after == "" || after[0] == '/'
	}
	return s.regexp.MatchString(bytesAsRunes(path))
}

// bytesAsRunes returns s with a character for each byte, so that "." matches one byte.
func bytesAsRunes(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 {
			runes := make([]rune, len(s))
			for i := range len(s) {
				runes[i] = rune(s[i])
			}
			return string(runes)
		}
	}
	return s
}

// sort puts exact paths after expressions; it comes after the last parse.
func (c *contexts) sort() {
	slices.SortStableFunc(c.specs, func(a, b spec) int {
		switch {
		case a.exact == b.exact:
			return 0
		case b.exact:
			return -1
		}
		return 1
	})
	c.byStem = map[string][]int{}
}

// parseSubs reads a file of substitutions: lines of two paths.
func parseSubs(data []byte) []substitution {
	var subs []substitution
	for line := range strings.Lines(string(data)) {
		fields := strings.FieldsFunc(line, isSpace)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		subs = append(subs, substitution{from: fields[0], to: fields[1]})
	}
	slices.Reverse(subs) // the last line is tried first
	return subs
}

// substitute applies the first substitution that fits.
func substitute(subs []substitution, path string) string {
	for _, s := range subs {
		rest, ok := strings.CutPrefix(path, s.from)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		if s.to == "/" && rest != "" {
			return rest
		}
		return s.to + rest
	}
	return path
}

// lookup returns the context of an absolute path, or nothing when it is to have none.
func (c *contexts) lookup(path string, kind tree.Type) (string, bool) {
	path = substitute(c.distSubs, substitute(c.subs, path))
	for _, i := range c.below(stem(path)) {
		s := &c.specs[i]
		if (s.kind == 0 || s.kind == kind) && s.matches(path) {
			return s.context, s.context != none
		}
	}
	return "", false
}

// below returns the specs that can match paths with the stem, the last first.
func (c *contexts) below(stem string) []int {
	list, ok := c.byStem[stem]
	if !ok {
		for i := len(c.specs) - 1; i >= 0; i-- {
			if s := c.specs[i].stem; s == "" || s == stem {
				list = append(list, i)
			}
		}
		c.byStem[stem] = list
	}
	return list
}

var errNoLines = errors.New("it has no line that labels anything")
