// Package settings reads single settings out of the configuration files of a root, by
// the rules of the programs that read them: login.defs(5), systemd's
// configuration, limits.conf(5), fstab(5) and mount units, modprobe.d(5), and the
// kernel's command line.
package settings

import (
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/scan/files"
)

// Setting is a value and where it stands. Line is 0 where nothing sets it; Path is
// then the file to set it in, if any.
type Setting struct {
	Value string
	Path  string // absolute
	Line  int    // from 1
}

// LoginDefsPath is the file of login.defs(5).
const LoginDefsPath = "/etc/login.defs"

// LoginDefs returns the value of a key of login.defs, and its line; 0 when it is not
// set. The last line counts (getdef.c of shadow).
func LoginDefs(data []byte, key string) (value string, line int) {
	number := 0
	for text := range strings.Lines(string(data)) {
		number++
		name, rest, ok := loginDefsLine(text)
		if ok && name == key {
			value, line = rest, number
		}
	}
	return value, line
}

// loginDefsLine splits a line; ok is false where it sets nothing.
func loginDefsLine(text string) (name, value string, ok bool) {
	text = strings.TrimRight(text, " \t\r\n")
	text = strings.TrimLeft(text, " \t")
	if text == "" || text[0] == '#' {
		return "", "", false
	}
	i := strings.IndexAny(text, " \t")
	if i < 0 {
		return "", "", false
	}
	value = strings.TrimLeft(text[i:], " \"\t")
	value, _, _ = strings.Cut(value, "\"")
	return text[:i], value, true
}

// SetLoginDefs returns the file with key set to value: in its last line that sets it,
// or in a new one.
func SetLoginDefs(data []byte, key, value string) []byte {
	_, line := LoginDefs(data, key)
	var b strings.Builder
	number := 0
	for text := range strings.Lines(string(data)) {
		number++
		if number == line {
			text = key + "\t" + value + "\n"
		}
		b.WriteString(text)
	}
	if line == 0 {
		if b.Len() > 0 && !strings.HasSuffix(b.String(), "\n") {
			b.WriteByte('\n')
		}
		b.WriteString(key + "\t" + value + "\n")
	}
	return []byte(b.String())
}

// Systemd returns a setting of one of systemd's configuration files, such as
// "coredump.conf", with its drop-in files; the last counts (systemd.conf(5)).
func Systemd(root files.Root, file, section, key string) (Setting, error) {
	s := Setting{Path: "/etc/systemd/" + file}
	for _, dir := range files.ConfDirs("systemd") {
		f, ok, err := root.Read(path.Join(dir, file))
		if err != nil {
			return s, err
		}
		if ok {
			s.scan(f, section, key)
			break
		}
	}
	drops, err := root.DropIns(".conf", files.ConfDirs("systemd/"+file+".d")...)
	for _, f := range drops {
		s.scan(f, section, key)
	}
	return s, err
}

// scan takes over what a file in systemd's syntax says about a key.
func (s *Setting) scan(f files.File, section, key string) {
	for _, a := range Assignments(f.Data) {
		if a.Section == section && a.Key == key {
			*s = Setting{a.Value, f.Path, a.Line}
		}
	}
}

// Assignment is a line of a file in systemd's syntax (systemd.syntax(7)).
type Assignment struct {
	Section, Key, Value string
	Line                int // from 1, the first where it is continued
}

// Assignments returns the assignments of a file in systemd's syntax.
func Assignments(data []byte) []Assignment {
	var found []Assignment
	section, pending, start := "", "", 0
	number := 0
	for text := range strings.Lines(string(data)) {
		number++
		text = strings.TrimRight(text, "\r\n")
		trimmed := strings.TrimLeft(text, " \t")
		if trimmed != "" && (trimmed[0] == '#' || trimmed[0] == ';') {
			continue // also between continued lines
		}
		if pending == "" {
			start = number
		}
		if before, ok := strings.CutSuffix(text, "\\"); ok {
			pending += before + " "
			continue
		}
		line := strings.TrimSpace(pending + text)
		pending = ""
		if name, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimSuffix(name, "]")
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok {
			found = append(found, Assignment{section, strings.TrimSpace(key), strings.TrimSpace(value), start})
		}
	}
	return found
}

// LimitsDir has the drop-in files of pam_limits.
const LimitsDir = "/etc/security/limits.d"

// Limit returns a limit that pam_limits sets for a domain (limits.conf(5)). The last
// line counts; the type "-" is both hard and soft.
func Limit(root files.Root, domain, kind, item string) (Setting, error) {
	s := Setting{Path: LimitsDir}
	main, ok, err := root.Read("/etc/security/limits.conf")
	if err != nil {
		return s, err
	}
	read, err := root.DropIns(".conf", LimitsDir)
	if err != nil {
		return s, err
	}
	if ok {
		read = append([]files.File{main}, read...)
	}
	for _, f := range read {
		number := 0
		for text := range strings.Lines(string(f.Data)) {
			number++
			text, _, _ = strings.Cut(text, "#")
			fields := strings.Fields(text)
			if len(fields) == 4 && fields[0] == domain && (strings.EqualFold(fields[1], kind) || fields[1] == "-") && strings.EqualFold(fields[2], item) {
				s = Setting{fields[3], f.Path, number}
			}
		}
	}
	return s, nil
}

// ModuleName returns a module's name as kmod compares it.
func ModuleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// ModulesOf returns the loadable kernel modules of a root by name, each with the path
// of one of its files.
func ModulesOf(root files.Root) map[string]string {
	found := map[string]string{}
	dir, ok := root.Lookup("/lib/modules")
	if !ok {
		if dir, ok = root.Lookup("/usr/lib/modules"); !ok {
			return found
		}
	}
	for _, e := range root.Tree.Subtree(dir.Path) {
		name := e.Name()
		i := strings.Index(name, ".ko")
		if i > 0 && slices.Contains([]string{".ko", ".ko.gz", ".ko.xz", ".ko.zst"}, name[i:]) {
			found[ModuleName(name[:i])] = "/" + e.Path
		}
	}
	return found
}

// Modprobe is the install lines of modprobe.d, in the order in which kmod reads them.
type Modprobe struct {
	installs []install
}

type install struct {
	pattern string
	Setting
}

// ReadModprobe reads modprobe.d(5) of a root.
func ReadModprobe(root files.Root) (*Modprobe, error) {
	drops, err := root.DropIns(".conf", files.ConfDirs("modprobe.d")...)
	m := &Modprobe{}
	for _, f := range drops {
		m.parse(f.Path, f.Data)
	}
	return m, err
}

// parse adds the install lines of a file.
func (m *Modprobe) parse(name string, data []byte) {
	number, start, pending := 0, 0, ""
	for text := range strings.Lines(string(data)) {
		number++
		if pending == "" {
			start = number
		}
		text = strings.TrimRight(text, "\r\n")
		if before, ok := strings.CutSuffix(text, "\\"); ok {
			pending += before
			continue
		}
		fields := strings.Fields(pending + text)
		pending = ""
		if len(fields) >= 3 && fields[0] == "install" {
			m.installs = append(m.installs, install{ModuleName(fields[1]), Setting{strings.Join(fields[2:], " "), name, start}})
		}
	}
}

// refusing are commands that load nothing.
var refusing = []string{"/bin/false", "/usr/bin/false", "/bin/true", "/usr/bin/true", "/sbin/nologin", "/usr/sbin/nologin"}

// Refused returns the install line that modprobe obeys for a module, of which the
// first counts, and whether it loads nothing.
func (m *Modprobe) Refused(module string) (Setting, bool) {
	module = ModuleName(module)
	for _, i := range m.installs {
		if ok, err := path.Match(i.pattern, module); ok && err == nil {
			return i.Setting, slices.Contains(refusing, i.Value)
		}
	}
	return Setting{}, false
}

// Cmdline returns the parameters of the kernel's command line as the boot loader's
// configuration in the root has them, and where; nil when there is none.
func Cmdline(root files.Root) (parameters []string, where string, line int, err error) {
	candidates := []string{"/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"}
	for _, e := range root.Glob([]string{"/boot/loader/entries/*.conf", "/efi/loader/entries/*.conf", "/boot/efi/loader/entries/*.conf"}, nil) {
		candidates = append(candidates, "/"+e.Path)
	}
	for _, p := range candidates {
		f, ok, err := root.Read(p)
		if err != nil {
			return nil, "", 0, err
		}
		number := 0
		for text := range strings.Lines(string(f.Data)) {
			number++
			fields := strings.Fields(text)
			if len(fields) == 0 || !ok {
				continue
			}
			switch fields[0] {
			case "linux", "linuxefi", "linux16":
				if path.Ext(p) == ".cfg" && len(fields) > 1 {
					return fields[2:], p, number, nil
				}
			case "options":
				if path.Ext(p) == ".conf" {
					return fields[1:], p, number, nil
				}
			}
		}
	}
	f, ok, err := root.Read("/etc/kernel/cmdline")
	if err != nil || !ok {
		return nil, "", 0, err
	}
	return append([]string{}, strings.Fields(string(f.Data))...), f.Path, 1, nil
}
