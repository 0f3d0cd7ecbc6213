package services

import (
	"fmt"
	"path"
	"strings"
)

// maxName is the longest name of a unit in bytes (UNIT_NAME_MAX).
const maxName = 255

// kinds are the suffixes of units, and what links may do with them.
var kinds = map[string]struct{ alias, template bool }{
	"service":   {true, true},
	"socket":    {true, true},
	"target":    {true, true},
	"timer":     {true, true},
	"path":      {true, true},
	"device":    {true, false},
	"mount":     {},
	"automount": {},
	"swap":      {},
	"slice":     {},
	"scope":     {},
}

// shape says how a unit's name is made up.
type shape uint8

const (
	invalid  shape = iota
	plain          // ssh.service
	template       // getty@.service
	instance       // getty@tty1.service
)

// Kind returns what a unit is ("service", "socket", …), which is the suffix of its name, or "" when name is no unit's.
func Kind(name string) string {
	if shapeOf(name) == invalid {
		return ""
	}
	return name[strings.LastIndexByte(name, '.')+1:]
}

// shapeOf classifies a name as unit_name_is_valid() does.
func shapeOf(name string) shape {
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 || len(name) > maxName {
		return invalid
	}
	if _, ok := kinds[name[dot+1:]]; !ok {
		return invalid
	}
	for i := range dot {
		c := name[i]
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', strings.IndexByte(`:-_.\@`, c) >= 0:
		default:
			return invalid
		}
	}
	switch at := strings.IndexByte(name[:dot], '@'); {
	case at < 0:
		return plain
	case at == 0:
		return invalid
	case at == dot-1:
		return template
	default:
		return instance
	}
}

// templateOf returns getty@.service of getty@tty1.service, and "" of a name that is no instance.
func templateOf(name string) string {
	if shapeOf(name) != instance {
		return ""
	}
	return name[:strings.IndexByte(name, '@')+1] + name[strings.LastIndexByte(name, '.'):]
}

// instanceOf returns tty1 of getty@tty1.service, and "" of a name that is no instance.
func instanceOf(name string) string {
	if shapeOf(name) != instance {
		return ""
	}
	return name[strings.IndexByte(name, '@')+1 : strings.LastIndexByte(name, '.')]
}

// withInstance returns getty@tty1.service for getty@.service or getty@tty2.service.
func withInstance(name, value string) string {
	return name[:strings.IndexByte(name, '@')+1] + value + name[strings.LastIndexByte(name, '.'):]
}

// canonical returns the name of a unit that a person means: ".service" may be left out.
func canonical(name string) (string, error) {
	full := name
	if i := strings.LastIndexByte(name, '.'); i < 0 {
		full += ".service"
	} else if _, ok := kinds[name[i+1:]]; !ok {
		full += ".service"
	}
	if shapeOf(full) == invalid {
		return "", fmt.Errorf("%q is not the name of a unit", name)
	}
	return full, nil
}

// checkAlias says what is wrong with a link of the name alias to a unit (unit_validate_alias_symlink).
func checkAlias(alias, target string) error {
	a, b := shapeOf(alias), shapeOf(target)
	switch {
	case a == invalid:
		return fmt.Errorf("%q is not the name of a unit", alias)
	case b == invalid:
		return fmt.Errorf("%q is not the name of a unit", target)
	case Kind(alias) != Kind(target):
		return fmt.Errorf("a %s cannot be an alias of a %s", Kind(alias), Kind(target))
	case !kinds[Kind(alias)].alias:
		return fmt.Errorf("a %s cannot have aliases", Kind(alias))
	case a != plain && !kinds[Kind(alias)].template:
		return fmt.Errorf("a %s cannot be a template", Kind(alias))
	case alias == target:
		return errSelf
	case !compatible(alias, target, false):
		return fmt.Errorf("%s cannot be an alias of %s: one is a template or an instance, the other is not, or not of the same", alias, target)
	}
	return nil
}

// compatible reports whether a link of a name may stand for a unit (unit_symlink_name_compatible).
func compatible(link, target string, propagate bool) bool {
	switch a, b := shapeOf(link), shapeOf(target); {
	case a == plain && b == plain, a == template && b == template:
		return Kind(link) == Kind(target)
	case a == instance && b == instance:
		return Kind(link) == Kind(target) && instanceOf(link) == instanceOf(target)
	case a == instance && b == template:
		return Kind(link) == Kind(target)
	case propagate && a == template && b == instance:
		return Kind(link) == Kind(target)
	}
	return false
}

// glob reports whether a name matches a pattern as fnmatch(3) with FNM_NOESCAPE says.
func glob(pattern, name string) bool {
	pattern = strings.ReplaceAll(pattern, `\`, `\\`)
	pattern = strings.ReplaceAll(pattern, "[!", "[^")
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}
