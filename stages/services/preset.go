package services

import (
	"strings"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// presetDirs are where presets lie, in order.
var presetDirs = []string{
	"etc/systemd/system-preset",
	"run/systemd/system-preset",
	"usr/local/lib/systemd/system-preset",
	"usr/lib/systemd/system-preset",
	"lib/systemd/system-preset",
}

// rule is a line of a preset file.
type rule struct {
	action  string // what systemctl prints: "enabled", "disabled", "ignored"
	pattern string
}

type presetRules []rule

// presets reads the presets of the tree.
func (v *view) presets() (presetRules, error) {
	files := map[string]string{}
	for _, name := range presetDirs {
		dir, err := v.t.Resolve(name)
		if err != nil {
			continue
		}
		for _, e := range v.t.Children(dir) {
			if _, ok := files[e.Name()]; !ok && strings.HasSuffix(e.Name(), ".preset") {
				files[e.Name()] = e.Path
			}
		}
	}
	var rules presetRules
	for _, name := range sorted(files) {
		real, err := v.t.Resolve(files[name])
		if err != nil {
			continue
		}
		e, ok := v.t.Lookup(real)
		if !ok || e.Type != tree.Regular {
			continue
		}
		text, err := v.read(e)
		if err != nil {
			return nil, err
		}
		for line := range strings.SplitSeq(text, "\n") {
			fields := strings.Fields(line)
			if len(fields) < 2 || strings.ContainsAny(fields[0][:1], "#;") {
				continue
			}
			switch fields[0] {
			case "enable":
				if len(fields) > 2 && shapeOf(fields[1]) != template {
					continue // instances can only be of a template
				}
				rules = append(rules, rule{"enabled", fields[1]})
			case "disable":
				rules = append(rules, rule{"disabled", strings.Join(fields[1:], " ")})
			case "ignore":
				rules = append(rules, rule{"ignored", strings.Join(fields[1:], " ")})
			}
		}
	}
	return rules, nil
}

// query returns what the presets say of a unit. Where no rule matches it is to be enabled. As in systemctl's list, the
// instances that a rule names after a template count for the template alone.
func (p presetRules) query(name string) string {
	for _, r := range p {
		if glob(r.pattern, name) {
			return r.action
		}
	}
	return "enabled"
}
