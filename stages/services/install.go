package services

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Assignment is a line NAME=VALUE of a unit file.
type Assignment struct {
	Section, Name, Value string
	Line                 int // of the file, from 1; the first where lines are continued
}

// Parse returns the assignments in the text of a unit file or drop-in, as systemd's config_parse() reads them: lines that
// end in a backslash are continued, comments begin with "#" or ";". Lines that are neither are left out, as systemd
// ignores them.
func Parse(text string) []Assignment {
	var found []Assignment
	section := ""
	var continued strings.Builder
	first := 0
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		line = strings.TrimSuffix(line, "\r")
		trimmed := strings.TrimLeft(line, " \t")
		if strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";") {
			continue // also between continued lines
		}
		if continued.Len() == 0 && first == 0 {
			first = number
		}
		if backslashes(line)%2 == 1 {
			continued.WriteString(line[:len(line)-1] + " ")
			continue
		}
		continued.WriteString(line)
		whole, at := strings.TrimSpace(continued.String()), first
		continued.Reset()
		first = 0
		if strings.HasPrefix(whole, "[") && strings.HasSuffix(whole, "]") {
			section = whole[1 : len(whole)-1]
			continue
		}
		if name, value, ok := strings.Cut(whole, "="); ok {
			found = append(found, Assignment{section, strings.TrimSpace(name), strings.TrimSpace(value), at})
		}
	}
	return found
}

// backslashes counts those at the end of a line.
func backslashes(line string) int {
	return len(line) - len(strings.TrimRight(line, `\`))
}

// Words splits a value at white space, keeping together what is quoted.
func Words(value string) []string {
	var words []string
	var word strings.Builder
	quote, inside := byte(0), false
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '"' || c == '\'':
			quote, inside = c, true
		case c == ' ' || c == '\t' || c == '\n':
			if inside {
				words = append(words, word.String())
				word.Reset()
				inside = false
			}
		default:
			inside = true
			word.WriteByte(c)
		}
	}
	if inside {
		words = append(words, word.String())
	}
	return words
}

// parse adds what the section [Install] of text says of the unit name.
func (i *install) parse(name, text string) error {
	if !strings.Contains(text, "[Install]") {
		return nil
	}
	for _, a := range Parse(text) {
		if a.Section != "Install" {
			continue
		}
		var list *[]string
		switch a.Name {
		case "Alias":
			if !kinds[Kind(name)].alias {
				continue // systemd warns and ignores it
			}
			list = &i.aliases
		case "WantedBy":
			list = &i.wantedBy
		case "RequiredBy":
			list = &i.requiredBy
		case "UpheldBy":
			list = &i.upheldBy
		case "Also":
			for _, word := range Words(a.Value) {
				also, err := i.expand(name, word)
				if err != nil {
					return fmt.Errorf("line %d, Also=: %w", a.Line, err)
				}
				if shapeOf(also) == invalid {
					return fmt.Errorf("line %d, Also=: %q is not the name of a unit", a.Line, also)
				}
				i.also = append(i.also, also)
			}
			continue
		case "DefaultInstance":
			if shapeOf(name) != template {
				continue
			}
			value, err := i.expand(name, a.Value)
			if err != nil {
				return fmt.Errorf("line %d, DefaultInstance=: %w", a.Line, err)
			}
			if value != "" && shapeOf("x@"+value+".service") != instance {
				continue // systemd warns and ignores it
			}
			i.defaultInstance = value
			continue
		default:
			continue
		}
		if a.Value == "" {
			*list = nil // an empty assignment resets the list
			continue
		}
		*list = append(*list, Words(a.Value)...)
	}
	return nil
}

// expand replaces the specifiers of systemd.unit(5) that are known without the machine.
func (i *install) expand(name, text string) (string, error) {
	if !strings.Contains(text, "%") {
		return text, nil
	}
	dot := strings.LastIndexByte(name, '.')
	prefix, _, _ := strings.Cut(name[:dot], "@")
	value := instanceOf(name)
	if value == "" {
		value = i.defaultInstance
	}
	full := name
	if shapeOf(name) == template && i.defaultInstance != "" {
		full = withInstance(name, i.defaultInstance)
	}
	var b strings.Builder
	for n := 0; n < len(text); n++ {
		if text[n] != '%' || n+1 == len(text) {
			b.WriteByte(text[n])
			continue
		}
		n++
		switch text[n] {
		case '%':
			b.WriteByte('%')
		case 'i':
			b.WriteString(value)
		case 'j':
			b.WriteString(prefix[strings.LastIndexByte(prefix, '-')+1:])
		case 'n':
			b.WriteString(full)
		case 'N':
			b.WriteString(full[:strings.LastIndexByte(full, '.')])
		case 'p':
			b.WriteString(prefix)
		default:
			return "", fmt.Errorf("%q has the specifier %%%c, which only the running machine knows; write what it should be", text, text[n])
		}
	}
	return b.String(), nil
}
