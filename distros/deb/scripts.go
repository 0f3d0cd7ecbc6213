package deb

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ConfigureStep is a command to run in the root, in order, so that packages which
// Database left as unpacked become installed.
type ConfigureStep struct {
	Name string // for messages
	Args []string
}

// ConfigureSteps returns the commands that configure packages, which are in the order
// of OrderInstalled. preinst scripts of one round run in that order; dpkg finds its
// own.
//
// dpkg would run a package's preinst script before the package is unpacked; here
// everything is unpacked already, which only a script that looks for its own
// package's files could tell. What it may rely on holds: the packages it
// Pre-Depends on are configured (Debian policy 7.2). So the scripts of packages
// without Pre-Depends run first, then what the others Pre-Depend on is configured,
// with all that needs, then the others' scripts run, and then everything is
// configured, triggers last. Essential packages are configured in the first round
// too, because all others may rely on them without saying so (policy 3.8).
func ConfigureSteps(packages []*Installed) ([]ConfigureStep, error) {
	byName := map[string][]*Installed{}
	for _, p := range packages {
		byName[p.Name()] = append(byName[p.Name()], p)
		provides, err := ParseRelations(p.stanza.Get("Provides"))
		if err != nil {
			return nil, fmt.Errorf("package %s, Provides: %w", p.Name(), err)
		}
		for _, r := range provides {
			byName[r.Name] = append(byName[r.Name], p)
		}
	}
	first := map[*Installed]bool{} // to be configured before the late preinst scripts
	var late, early []*Installed
	for _, p := range packages {
		if p.stanza.Get("Essential") == "yes" {
			if err := p.close(byName, first); err != nil {
				return nil, err
			}
		}
		if len(p.Control["preinst"]) == 0 {
			continue
		}
		needs, err := p.dependencies(byName, "Pre-Depends")
		if err != nil {
			return nil, err
		}
		if len(needs) == 0 {
			early = append(early, p)
			continue
		}
		late = append(late, p)
		for _, n := range needs {
			if err := n.close(byName, first); err != nil {
				return nil, err
			}
		}
	}
	// A package that is configured in the first round has to have its own preinst
	// script behind it, whatever that Pre-Depends on.
	late = slices.DeleteFunc(late, func(p *Installed) bool {
		if first[p] {
			early = append(early, p)
		}
		return first[p]
	})
	dpkg := []string{"dpkg", "--force-confold", "--force-confdef"}
	var steps []ConfigureStep
	if len(early) > 0 {
		steps = append(steps, ConfigureStep{"preinst scripts", preinstScript(inOrder(packages, early))})
	}
	if len(first) > 0 {
		var names []string
		for _, p := range packages {
			if first[p] {
				names = append(names, p.argument())
			}
		}
		steps = append(steps, ConfigureStep{"dpkg --configure of essential packages and what preinst scripts need", append(append(slices.Clone(dpkg), "--no-triggers", "--configure"), names...)})
	}
	if len(late) > 0 {
		steps = append(steps, ConfigureStep{"preinst scripts", preinstScript(late)})
	}
	return append(steps, ConfigureStep{"dpkg --configure -a", append(slices.Clone(dpkg), "--configure", "-a")}), nil
}

// argument returns the package's name as dpkg takes it in commands: with the
// architecture, which architecture-independent packages do not have.
func (p *Installed) argument() string {
	if p.Arch() == "all" {
		return p.Name()
	}
	return p.Name() + ":" + p.Arch()
}

// inOrder returns subset in the order of packages.
func inOrder(packages, subset []*Installed) []*Installed {
	member := map[*Installed]bool{}
	for _, p := range subset {
		member[p] = true
	}
	return slices.DeleteFunc(slices.Clone(packages), func(p *Installed) bool { return !member[p] })
}

// dependencies returns the installed packages which satisfy the relations in one of
// p's fields; of alternatives, all that are installed.
func (p *Installed) dependencies(byName map[string][]*Installed, field string) ([]*Installed, error) {
	groups, err := ParseDependencies(p.stanza.Get(field))
	if err != nil {
		return nil, fmt.Errorf("package %s, %s: %w", p.Name(), field, err)
	}
	found := map[*Installed]bool{}
	for _, group := range groups {
		for _, r := range group {
			for _, q := range byName[r.Name] {
				if q != p {
					found[q] = true
				}
			}
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b *Installed) int { return strings.Compare(a.Name(), b.Name()) }), nil
}

// close adds p and all it depends on to set.
func (p *Installed) close(byName map[string][]*Installed, set map[*Installed]bool) error {
	if set[p] {
		return nil
	}
	set[p] = true
	for _, field := range []string{"Pre-Depends", "Depends"} {
		needs, err := p.dependencies(byName, field)
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := n.close(byName, set); err != nil {
				return err
			}
		}
	}
	return nil
}

// preinstScript returns a command that runs the preinst scripts of packages with
// the environment dpkg gives them (dpkg(1), "Internal environment").
func preinstScript(packages []*Installed) []string {
	var b strings.Builder
	b.WriteString("set -e\nexport DPKG_ROOT= DPKG_ADMINDIR=" + adminDir + " DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1\n")
	for _, p := range packages {
		fmt.Fprintf(&b, "echo 'Running the preinst script of %s'\nDPKG_MAINTSCRIPT_PACKAGE=%s DPKG_MAINTSCRIPT_ARCH=%s %s/info/%s.preinst install </dev/null\n",
			p.Name(), p.Name(), p.Arch(), adminDir, p.infoName())
	}
	return []string{"/bin/sh", "-c", b.String()}
}
