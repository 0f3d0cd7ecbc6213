package recipes

import (
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/imagefactory/imagefactory/profiles"
	"github.com/imagefactory/imagefactory/recipes/decode"
)

// defaultProfile is the profile of a trim block which names none: only what the block says is left out.
const defaultProfile = "none"

// ModuleClasses lists the classes of kernel modules that hosts can do without; package stages/trim/modules has what is in
// each. What is in none of them always stays.
var ModuleClasses = []string{
	"amateur-radio", "atm", "bluetooth", "can", "cluster-filesystems", "firewire", "flash", "floppy", "gadget",
	"graphics", "industrial", "infiniband", "isdn", "joystick", "laptop", "legacy-filesystems", "legacy-network",
	"media", "memory-cards", "modem", "mouse", "nfc", "parallel-port", "pcmcia", "sensors", "server-graphics", "sound",
	"staging", "tests", "thunderbolt", "usb-devices", "usb-serial", "wireless",
}

var (
	// unitSuffixes are the types of units (systemd.unit(5)), as alternatives of a pattern.
	unitSuffixes = `service|socket|device|mount|automount|swap|target|path|timer|slice|scope`

	// unitPattern has the names of units and globs of them.
	unitPattern = regexp.MustCompile(`^[A-Za-z0-9:_.\\@*?\[\]-]+\.(` + unitSuffixes + `)$`)

	// unitName has what can be the name of a unit, without globs.
	unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]+$`)

	// packageGlob has the names of packages of all families, capabilities excepted, and globs of them.
	packageGlob = regexp.MustCompile(`^[A-Za-z0-9*?\[][A-Za-z0-9+._:*?\[\]^!-]*$`)
)

// trim reads the trim block. The recipe's root is read already.
func (l *loader) trim(b *decode.Body, r *Recipe) *Trim {
	blk := b.Single("trim")
	if blk == nil {
		return nil
	}
	s := decode.New("the trim block", &l.diags, blk.Parts...)
	t := &Trim{Profile: l.profile(s, defaultProfile, "profile", profiles.Names())}
	keep, remove := l.selection(s, "keep"), l.selection(s, "remove")
	t.Keep, t.Remove = decode.Values(keep), decode.Values(remove)
	for _, x := range remove {
		if slices.Contains(t.Keep, x.Value) {
			l.errorf(x.Range, "Kept and removed", "%q is also in keep. Remove it from one of the two lists.", x.Value)
		}
		if slices.Contains(r.Rootfs.Packages, x.Value) {
			l.errorf(x.Range, "Installed and removed", "%q is also in packages of the rootfs block. Remove it there, and it is not even downloaded; or remove it here.", x.Value)
		}
	}
	t.Paths = decode.Values(l.distinct(s, "paths", "Duplicate path", func(x decode.Text) bool { return l.pathGlob(x) }))
	for _, x := range s.AllTexts("paths") {
		if slices.Contains(t.Keep, x.Value) {
			l.errorf(x.Range, "Kept and removed", "%q is also in keep. Remove it from one of the two lists.", x.Value)
		}
	}
	t.Modules = decode.Values(l.distinct(s, "modules", "Duplicate class", func(x decode.Text) bool {
		if slices.Contains(ModuleClasses, x.Value) {
			return true
		}
		l.errorf(x.Range, "Unknown class", "There is no class %q of kernel modules. %s Modules of no class stay in any case; a single one stays by its path in keep.", x.Value, decode.DidYouMean(x.Value, ModuleClasses))
		return false
	}))
	t.Services = l.services(s, keep, remove)
	t.Budget = l.budget(s)
	t.Exceptions = l.exceptions(s)
	s.Close()
	return t
}

// profile reads the name of a profile: of a trim block, or of a harden block.
func (l *loader) profile(s *decode.Body, def, what string, known []string) string {
	t := s.Text("profile")
	switch {
	case t.Range.Filename == "":
		return def
	case !slices.Contains(known, t.Value):
		l.errorf(t.Range, "Unknown "+what, "There is no %s %q. %s", what, t.Value, decode.DidYouMean(t.Value, known))
		return def
	}
	return t.Value
}

// distinct reads a list, joined over all files, of which valid reports the mistakes in elements. Twice in one file is a
// slip of the pen worth telling; a repetition across files is not.
func (l *loader) distinct(s *decode.Body, name, twice string, valid func(decode.Text) bool) []decode.Text {
	var out []decode.Text
	seen := map[string]hcl.Range{}
	for _, t := range s.AllTexts(name) {
		if first, again := seen[t.Value]; again {
			if first.Filename == t.Range.Filename {
				l.errorf(t.Range, twice, "%q already stands at %s. Remove one of them.", t.Value, decode.Where(first))
			}
			continue
		}
		seen[t.Value] = t.Range
		if valid(t) {
			out = append(out, t)
		}
	}
	return out
}

// selection reads keep or remove: packages, units and paths.
func (l *loader) selection(s *decode.Body, name string) []decode.Text {
	return l.distinct(s, name, "Duplicate element", func(t decode.Text) bool {
		switch {
		case strings.HasPrefix(t.Value, "/"):
			return l.pathGlob(t)
		case unitPattern.MatchString(t.Value), packageGlob.MatchString(t.Value):
			if _, err := path.Match(t.Value, ""); err != nil {
				l.errorf(t.Range, "Invalid pattern", "%q is not a pattern: \"[\" begins a set of characters, which \"]\" ends.", t.Value)
				return false
			}
			if strings.Trim(t.Value, "*?") == "" {
				l.errorf(t.Range, "Pattern for everything", "%q is every package. Name what is meant.", t.Value)
				return false
			}
			return true
		case strings.HasPrefix(t.Value, "@"):
			l.errorf(t.Range, "Group of packages", "Groups are for installing; when an image is trimmed it has packages only. Name the packages themselves.")
		case strings.Contains(t.Value, "/"):
			l.errorf(t.Range, "Relative path", "Paths in the image are absolute. Write: %q", "/"+strings.TrimLeft(t.Value, "./"))
		case len(strings.Fields(t.Value)) > 1:
			l.errorf(t.Range, "Invalid element", "Every element names one thing. Write: %s", strings.ReplaceAll(fmt.Sprintf("%q", strings.Fields(t.Value)), `" "`, `", "`))
		default:
			l.errorf(t.Range, "Invalid element", "%q is neither a package, nor a unit such as \"cron.service\", nor a path such as \"/usr/share/doc/**\".", t.Value)
		}
		return false
	})
}

// pathGlob reports what is wrong with a glob of paths of the image: elements are those of path.Match, or "**" for any number
// of them.
func (l *loader) pathGlob(t decode.Text) bool {
	elements := strings.Split(strings.TrimPrefix(t.Value, "/"), "/")
	switch {
	case !strings.Contains(t.Value, "/"):
		l.errorf(t.Range, "Not a path", "%q is no absolute path in the image. Packages and units stand in keep and remove.", t.Value)
		return false
	case !strings.HasPrefix(t.Value, "/"):
		l.errorf(t.Range, "Relative path", "Paths in the image are absolute. Write: %q", "/"+strings.TrimLeft(t.Value, "./"))
		return false
	case t.Value != "/" && strings.HasSuffix(t.Value, "/"):
		l.errorf(t.Range, "Directory with a slash", "Write %q for the directory and all that is in it, or %q for what is in it alone.", strings.TrimRight(t.Value, "/"), strings.TrimRight(t.Value, "/")+"/**")
		return false
	case !slices.ContainsFunc(elements, func(e string) bool { return strings.Trim(e, "*?") != "" }):
		l.errorf(t.Range, "Pattern for everything", "%q is the whole system. Name what is meant.", t.Value)
		return false
	}
	for _, e := range elements {
		_, err := path.Match(e, "")
		switch {
		case e == "" || e == "." || e == "..":
			l.errorf(t.Range, "Path with dots", "%q has an empty element, \".\" or \"..\" in it. Write: %q", t.Value, path.Clean(t.Value))
			return false
		case err != nil:
			l.errorf(t.Range, "Invalid pattern", "%q is not a pattern: \"[\" begins a set of characters, which \"]\" ends. Write \"\\\\[\" for the character itself.", t.Value)
			return false
		case strings.Contains(e, "**") && e != "**":
			l.errorf(t.Range, "Invalid pattern", "\"**\" stands for any number of directories, between slashes or at the end. Write \"*\" in the part %q.", e)
			return false
		}
	}
	return true
}

// services reads the services block. keep and remove are those of the trim block.
func (l *loader) services(s *decode.Body, keep, remove []decode.Text) Services {
	blk := s.Single("services")
	if blk == nil {
		return Services{}
	}
	b := decode.New("the services block", &l.diags, blk.Parts...)
	type place struct {
		list string
		at   hcl.Range
	}
	placed := map[string]place{}
	for _, t := range keep {
		placed[t.Value] = place{"keep", t.Range}
	}
	for _, t := range remove {
		placed[t.Value] = place{"remove of the trim block", t.Range}
	}
	compatible := func(list, other string) bool { // the rest would say twice or contradict
		return other == "keep" && list != "remove" || other == "disable" && list != "enable"
	}
	read := func(list string) []string {
		var out []string
		for _, t := range l.distinct(b, list, "Duplicate unit", l.unit) {
			unit := withSuffix(t.Value)
			if other, ok := placed[unit]; ok && !compatible(list, other.list) {
				l.errorf(t.Range, "Contradiction", "%q is also in %s at %s. Remove it from one of the two lists.", unit, other.list, decode.Where(other.at))
				continue
			}
			placed[unit] = place{list, t.Range}
			out = append(out, unit)
		}
		return out
	}
	c := Services{Disable: read("disable"), Enable: read("enable"), Mask: read("mask"), Remove: read("remove")}
	b.Close()
	return c
}

// unit reports what is wrong with the name of a unit.
func (l *loader) unit(t decode.Text) bool {
	_, base, inDirectory := strings.Cut(t.Value, "/")
	switch {
	case inDirectory:
		l.errorf(t.Range, "Path instead of a name", "Units are named, wherever they lie. Write: %q", path.Base(base))
	case strings.ContainsAny(t.Value, "*?["):
		l.errorf(t.Range, "Invalid unit", "%q is a pattern, and what it stands for would depend on what is installed. Name the units themselves.", t.Value)
	case !unitName.MatchString(t.Value):
		l.errorf(t.Range, "Invalid unit", "%q cannot be the name of a unit (systemd.unit(5)). Write for example: \"ssh.service\"", t.Value)
	default:
		return true
	}
	return false
}

// withSuffix returns the whole name of a unit: without a suffix a service is meant, as for systemctl.
func withSuffix(unit string) string {
	if unitPattern.MatchString(unit) {
		return unit
	}
	return unit + ".service"
}

func (l *loader) budget(s *decode.Body) Budget {
	var u Budget
	blk := s.Single("budget")
	if blk == nil {
		return u
	}
	b := decode.New("the budget block", &l.diags, blk.Parts...)
	u.Packages, u.Services = l.most(b, "packages"), l.most(b, "services")
	u.Size, u.ImageSize = l.mostBytes(b, "size"), l.mostBytes(b, "image_size")
	if !slices.ContainsFunc([]string{"packages", "services", "size", "image_size"}, b.Has) {
		l.errorf(blk.Range, "Budget without bounds", "The budget block bounds nothing. Write for example: size = \"770MiB\", or remove it.")
	}
	b.Close()
	return u
}

// most reads a bound of a number.
func (l *loader) most(b *decode.Body, name string) int {
	return int(b.Int(name, 0, 1, math.MaxInt32))
}

// mostBytes reads a bound of a size.
func (l *loader) mostBytes(b *decode.Body, name string) int64 {
	t := b.Text(name)
	if t.Range.Filename == "" {
		return 0
	}
	n, err := ParseSize(t.Value)
	switch {
	case err != nil:
		l.errorf(t.Range, "Invalid size", "The %s of the budget: %s.", name, err)
	case n == 0:
		l.errorf(t.Range, "Budget of nothing", "No image has no bytes. Write for example: %s = \"770MiB\", or remove the attribute for no bound.", name)
	}
	return n
}

func (l *loader) exceptions(s *decode.Body) []Exception {
	var out []Exception
	for _, blk := range s.Repeated("exception", "") {
		b := decode.New("the exception block", &l.diags, blk.Parts...)
		var e Exception
		if b.Require("kind", `kind = "library"`) {
			t := b.Text("kind")
			e.Kind = t.Value
			if t.Range.Filename != "" && !slices.Contains(ExceptionKinds, t.Value) {
				l.errorf(t.Range, "Unknown kind", "There is no kind %q of check. %s", t.Value, decode.DidYouMean(t.Value, ExceptionKinds))
			}
		}
		if b.Require("path", `path = "/usr/lib/plugins/*.so"`) {
			t := b.Text("path")
			e.Path = t.Value
			if t.Range.Filename != "" && l.pathGlob(t) && strings.Contains(strings.TrimSuffix(t.Value, "/**"), "**") {
				l.errorf(t.Range, "Invalid pattern", "In an exception \"**\" stands at the end of a path only: %q is whatever is below the directory. Name the directories before it.", "/usr/lib/**")
			}
		}
		if t := b.Text("need"); t.Range.Filename != "" {
			e.Need = t.Value
			if _, err := path.Match(t.Value, ""); err != nil || t.Value == "" {
				l.errorf(t.Range, "Invalid pattern", "%q is not a pattern of what is needed. Write its name, for example \"libfoo.so.1\", which may have \"*\" and \"?\" in it.", t.Value)
			}
		}
		if b.Require("reason", `reason = "loaded only where the device exists"`) {
			t := b.Text("reason")
			e.Reason = t.Value
			if t.Range.Filename != "" && strings.TrimSpace(t.Value) == "" {
				l.errorf(t.Range, "Missing reason", "An exception from a check says why the system works without what is missing.")
			}
		}
		b.Close()
		out = append(out, e)
	}
	return out
}
