package provenance

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/stages/customize"
	"github.com/imagefactory/imagefactory/stages/harden"
	"github.com/imagefactory/imagefactory/stages/session"
)

// PackageDatabase returns the claims of stages that write the database of installed packages,
// wherever the families have it. Alternatives are not among it: they belong to packages.
func PackageDatabase() []Claim {
	o := Origin{Kind: Generated, Name: "package database"}
	var claims []Claim
	for _, p := range []string{
		"/var/lib/dpkg/status*", "/var/lib/dpkg/available*", "/var/lib/dpkg/arch*", "/var/lib/dpkg/diversions*", "/var/lib/dpkg/statoverride*",
		"/var/lib/dpkg/lock*", "/var/lib/dpkg/info", "/var/lib/dpkg/info/**", "/var/lib/dpkg/triggers", "/var/lib/dpkg/triggers/**",
		"/var/lib/dpkg/updates", "/var/lib/dpkg/parts", "/var/lib/dpkg", "/var/lib/apt/extended_states",
		"/var/lib/rpm", "/var/lib/rpm/**", "/usr/lib/sysimage/rpm", "/usr/lib/sysimage/rpm/**",
	} {
		claims = append(claims, Claim{Path: p, Origin: o})
	}
	return claims
}

// Links returns the claims of the links that a merge makes before any package, path to target.
func Links(links map[string]string) []Claim {
	var claims []Claim
	for _, p := range slices.Sorted(maps.Keys(links)) {
		claims = append(claims, Claim{Path: p, Origin: Origin{Kind: Generated, Name: "links of the distribution's data"}})
	}
	return claims
}

// Cleaned returns the claims of the rules by which every stage that runs programs of the image
// empties what belongs to one machine or one build.
func Cleaned(rules session.Rules) []Claim {
	var claims []Claim
	for _, p := range rules.Truncate {
		claims = append(claims, Claim{Path: p, Origin: Origin{Kind: Generated, Name: "cleaning by the distribution's data"}})
	}
	return claims
}

// Customized returns the claims of the stage customize: the recipe's blocks and attributes,
// and what the distribution's data adds to every image.
func Customized(o customize.Options) []Claim {
	var claims []Claim
	claim := func(kind Kind, name string, paths ...string) {
		for _, p := range paths {
			claims = append(claims, Claim{Path: p, Origin: Origin{Kind: kind, Name: name}})
		}
	}
	// What a file block writes comes last, over anything else.
	for _, f := range slices.Backward(o.Files) {
		claim(Block, fmt.Sprintf("file %q", f.Path), f.Path)
	}
	for _, u := range o.Users {
		if u.Home != "" {
			claim(Block, fmt.Sprintf("user %q", u.Name), path.Join(u.Home, ".ssh"), path.Join(u.Home, ".ssh/authorized_keys"))
		}
	}
	for _, u := range o.Users {
		if !u.System && u.Home != "" {
			claim(Block, fmt.Sprintf("user %q", u.Name), u.Home, path.Join(u.Home, "**"))
		}
	}
	var users []string
	for _, u := range o.Users {
		users = append(users, fmt.Sprintf("user %q", u.Name))
	}
	if len(users) > 0 {
		claim(Block, strings.Join(users, ", "), "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")
	}
	claim(Block, "hostname", "/etc/hostname", "/etc/hosts")
	claim(Block, "timezone", "/etc/localtime", "/etc/timezone")
	claim(Block, "locale", "/etc/locale.conf", "/etc/default/locale")
	claim(Block, "disk", "/etc/fstab")
	for _, m := range o.Mounts {
		if m.Path != "/" {
			claim(Block, "disk", m.Path)
		}
	}
	for _, f := range o.Defaults {
		claim(Generated, "default of the distribution's data", f.Path)
	}
	for _, u := range o.Units {
		const dir = "/etc/systemd/system"
		claim(Generated, "unit of the distribution's data", path.Join(dir, u.Name))
		if u.WantedBy != "" {
			claim(Generated, "unit of the distribution's data", path.Join(dir, u.WantedBy+".wants", u.Name))
		}
	}
	return append(claims, Cleaned(o.Clean)...)
}

// Hardened returns the claims of the stage harden, from the changes it made.
func Hardened(changes []harden.Change) []Claim {
	rules := map[string][]string{}
	for _, c := range changes {
		if !slices.Contains(rules[c.Path], c.Rule) {
			rules[c.Path] = append(rules[c.Path], c.Rule)
		}
	}
	var claims []Claim
	for _, p := range slices.Sorted(maps.Keys(rules)) {
		claims = append(claims, Claim{Path: p, Origin: Origin{Kind: Block, Name: "harden, " + strings.Join(rules[p], ", ")}})
	}
	return claims
}
