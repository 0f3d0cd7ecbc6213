package settings

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/scan/files"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// FstabPath is the file of fstab(5).
const FstabPath = "/etc/fstab"

// MountPoint is how a root mounts something.
type MountPoint struct {
	Found   bool
	Options []string
	Path    string // absolute, of fstab or of the unit that has the options
	Line    int    // from 1
	Unit    string // name of the mount unit; "" for a line of fstab
}

// FindMount returns how the absolute path point is mounted: by fstab, or by a mount
// unit that a target of the root wants. systemd's own mounts, such as /dev/shm where
// fstab has no line for it, are not found.
func FindMount(root files.Root, point string) (MountPoint, error) {
	f, _, err := root.Read(FstabPath)
	if err != nil {
		return MountPoint{}, err
	}
	number := 0
	for text := range strings.Lines(string(f.Data)) {
		number++
		fields, ok := fstabLine(text)
		if ok && path.Clean(unescape(fields[1])) == point {
			return MountPoint{Found: true, Options: strings.Split(fields[3], ","), Path: FstabPath, Line: number}, nil
		}
	}
	return mountUnit(root, point)
}

// fstabLine splits a line of fstab into its fields, the options "defaults" where they
// are missing.
func fstabLine(text string) ([]string, bool) {
	fields := strings.Fields(text)
	if len(fields) < 3 || fields[0][0] == '#' {
		return nil, false
	}
	if len(fields) == 3 {
		fields = append(fields, "defaults")
	}
	return fields, true
}

// unescape undoes the octal escapes of fstab(5).
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// SetFstab returns the file with the options added to the line for point. Where there
// is none, a line for a file system of the type kind is added.
func SetFstab(data []byte, point string, options []string, kind string) []byte {
	var b strings.Builder
	found := false
	for text := range strings.Lines(string(data)) {
		if fields, ok := fstabLine(text); ok && !found && path.Clean(unescape(fields[1])) == point {
			found = true
			fields[3] = strings.Join(append(strings.Split(fields[3], ","), options...), ",")
			text = strings.Join(fields, " ") + "\n"
		}
		b.WriteString(text)
	}
	if !found {
		if b.Len() > 0 && !strings.HasSuffix(b.String(), "\n") {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s %s %s %s 0 0\n", kind, point, kind, strings.Join(append([]string{"defaults"}, options...), ","))
	}
	return []byte(b.String())
}

// UnitName returns the name of the mount unit of an absolute path (systemd-escape -p).
func UnitName(point string) string {
	point = strings.Trim(path.Clean(point), "/")
	if point == "" {
		return "-.mount"
	}
	var b strings.Builder
	for i := range len(point) {
		c := point[i]
		switch {
		case c == '/':
			b.WriteByte('-')
		case c == '_' || c == ':' || c == '.' && i > 0 || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String() + ".mount"
}

// unitDirs are where units lie, in order of precedence.
func unitDirs() []string { return files.ConfDirs("systemd/system") }

// mountUnit finds the mount unit of a point.
func mountUnit(root files.Root, point string) (MountPoint, error) {
	name := UnitName(point)
	wanted := false
	var unit files.File
	found := false
	for _, dir := range unitDirs() {
		wants := root.Glob([]string{dir + "/*.wants/" + name, dir + "/*.requires/" + name}, nil)
		wanted = wanted || slices.ContainsFunc(wants, func(e tree.Entry) bool { return e.Target != "/dev/null" })
		if found {
			continue
		}
		if e, ok := root.Lookup(dir); ok {
			if _, ok := root.Tree.Lookup(tree.Join(e.Path, name)); ok {
				f, regular, err := root.Read(path.Join(dir, name))
				if err != nil {
					return MountPoint{}, err
				}
				if !regular { // a link to /dev/null: masked
					return MountPoint{}, nil
				}
				unit, found = f, true
			}
		}
	}
	if !found || !wanted {
		return MountPoint{}, nil
	}
	m := MountPoint{Found: true, Path: unit.Path, Unit: name}
	var dropDirs []string
	for _, dir := range unitDirs() {
		dropDirs = append(dropDirs, path.Join(dir, name+".d"))
	}
	drops, err := root.DropIns(".conf", dropDirs...)
	for _, f := range append([]files.File{unit}, drops...) {
		for _, a := range Assignments(f.Data) {
			if a.Section == "Mount" && a.Key == "Options" {
				m.Options, m.Path, m.Line = strings.Split(a.Value, ","), f.Path, a.Line
			}
		}
	}
	return m, err
}

// MissingOptions returns those of the wanted mount options that do not hold. Of an
// option and its opposite the last counts; user, users, owner and group imply others
// (mount(8)).
func MissingOptions(options, wanted []string) []string {
	var missing []string
	for _, w := range wanted {
		opposite := strings.TrimPrefix(w, "no")
		holds := false
		for _, o := range options {
			switch {
			case o == w:
				holds = true
			case o == opposite, o == "defaults" && opposite != w:
				holds = false
			case o == "user" || o == "users":
				holds = holds || w == "noexec" || w == "nosuid" || w == "nodev"
			case o == "owner" || o == "group":
				holds = holds || w == "nosuid" || w == "nodev"
			}
		}
		if !holds {
			missing = append(missing, w)
		}
	}
	return missing
}
