// Package macros expands the few rpm macros that scriptlets may use: the directories of
// the distribution layout and what a script has defined itself.
//
// rpm would take all others from macro files of the system it runs on; which those
// are for an image that is being built is nobody's guess. So an unknown macro is an
// error, not its own name as it is to rpm.
package macros

import (
	"errors"
	"fmt"
	"maps"
	"strings"
)

// Table holds macros without parameters: name to body.
type Table map[string]string

// maxDepth is how deep macros may refer to macros, as rpm has it (max_macro_depth).
const maxDepth = 64

// Standard returns the macros that rpm itself defines for 64-bit systems
// (macros.in and the platform's macros).
func Standard() Table {
	return maps.Clone(standard)
}

var standard = Table{
	"_prefix":         "/usr",
	"_exec_prefix":    "%{_prefix}",
	"_bindir":         "%{_exec_prefix}/bin",
	"_sbindir":        "%{_exec_prefix}/sbin",
	"_libexecdir":     "%{_exec_prefix}/libexec",
	"_datadir":        "%{_prefix}/share",
	"_datarootdir":    "%{_prefix}/share",
	"_sysconfdir":     "/etc",
	"_sharedstatedir": "/var/lib",
	"_localstatedir":  "/var",
	"_lib":            "lib64",
	"_libdir":         "%{_exec_prefix}/%{_lib}",
	"_includedir":     "%{_prefix}/include",
	"_infodir":        "%{_datadir}/info",
	"_mandir":         "%{_datadir}/man",
	"_docdir":         "%{_datadir}/doc",
	"_defaultdocdir":  "%{_datadir}/doc",
	"_initddir":       "%{_sysconfdir}/rc.d/init.d",
	"_rundir":         "/run",
	"_tmppath":        "%{_var}/tmp",
	"_usr":            "/usr",
	"_usrsrc":         "%{_usr}/src",
	"_var":            "/var",
	"_rpmconfigdir":   "%{_usr}/lib/rpm",
	"_unitdir":        "%{_prefix}/lib/systemd/system",
	"_presetdir":      "%{_prefix}/lib/systemd/system-preset",
	"_udevrulesdir":   "%{_prefix}/lib/udev/rules.d",
	"_sysusersdir":    "%{_prefix}/lib/sysusers.d",
	"_tmpfilesdir":    "%{_prefix}/lib/tmpfiles.d",
	"_modprobedir":    "%{_prefix}/lib/modprobe.d",
	"_sysctldir":      "%{_prefix}/lib/sysctl.d",
	"nil":             "",
}

// Define adds the macro that definition holds: its name, white space, its body.
func (t Table) Define(definition string) error {
	definition = strings.TrimSpace(definition)
	i := strings.IndexAny(definition, " \t\n(")
	if i < 0 {
		i = len(definition)
	}
	name, body := definition[:i], definition[i:]
	if strings.HasPrefix(body, "(") {
		return fmt.Errorf("the macro %%%s has parameters, which scriptlets cannot use here", name)
	}
	body = strings.TrimSpace(body)
	if len(name) < 3 || !isName(name) || body == "" {
		return fmt.Errorf("%q is not the definition of a macro: a name of at least three letters, digits and underscores, and a body", definition)
	}
	t[name] = body
	return nil
}

// Expand returns text with its macros replaced: %name, %{name}, %{?name}, %{!?name:text}
// and %{?name:text}, and %% as a percent sign.
func (t Table) Expand(text string) (string, error) {
	return t.expand(text, 0)
}

func (t Table) expand(text string, depth int) (string, error) {
	if depth > maxDepth {
		return "", errors.New("macros refer to each other without end")
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "%")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if strings.HasPrefix(after, "%") {
			b.WriteByte('%')
			text = after[1:]
			continue
		}
		expression, rest, err := cutExpression(after)
		if err != nil {
			return "", err
		}
		if text = rest; expression == "" { // a percent sign before something else
			b.WriteByte('%')
			continue
		}
		value, err := t.evaluate(expression, depth)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
	}
}

// cutExpression takes the expression from what follows a percent sign; it is empty when
// nothing there is one.
func cutExpression(s string) (expression, rest string, err error) {
	if strings.HasPrefix(s, "(") {
		return "", "", errors.New("%(…) runs a shell command, which is not possible when macros of a scriptlet are expanded")
	}
	if !strings.HasPrefix(s, "{") {
		end := len(s) - len(strings.TrimLeft(s, "?!"))
		for end < len(s) && isNameByte(s[end]) {
			end++
		}
		if !isName(strings.TrimLeft(s[:end], "?!")) {
			return "", s, nil
		}
		return s[:end], s[end:], nil
	}
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return s[1:i], s[i+1:], nil
			}
		}
	}
	return "", "", fmt.Errorf("%%%s: the closing brace is missing", s)
}

// evaluate returns the value of what stands between the braces.
func (t Table) evaluate(expression string, depth int) (string, error) {
	name := strings.TrimLeft(expression, "?!")
	flags := expression[:len(expression)-len(name)]
	name, alternative, hasAlternative := strings.Cut(name, ":")
	if !isName(name) {
		return "", fmt.Errorf("%%{%s} is not a macro that scriptlets can use here", expression)
	}
	body, defined := t[name]
	if !strings.Contains(flags, "?") {
		if !defined || hasAlternative {
			return "", fmt.Errorf("the macro %%{%s} is not known here; only rpm's standard directories and what the script defines are", expression)
		}
		return t.expand(body, depth+1)
	}
	wanted := strings.Count(flags, "!")%2 == 0
	switch {
	case defined != wanted:
		return "", nil
	case hasAlternative:
		return t.expand(alternative, depth+1)
	case wanted:
		return t.expand(body, depth+1)
	}
	return "", nil
}

func isName(s string) bool {
	for i := range len(s) {
		if !isNameByte(s[i]) {
			return false
		}
	}
	return s != "" && (s[0] < '0' || s[0] > '9')
}

func isNameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
