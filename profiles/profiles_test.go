package profiles

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/recipes/decode"
	"github.com/imagefactory/imagefactory/stages/guard"
	"github.com/imagefactory/imagefactory/stages/trim/modules"
)

// TestLoad reads every profile and looks for slips of the pen in the data.
func TestLoad(t *testing.T) {
	if got := Names(); !slices.Equal(got, []string{"container-host", "minimal", "none"}) {
		t.Errorf("the profiles are %q", got)
	}
	for _, name := range Names() {
		p, err := Load(name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if p.Name != name || p.Description == "" {
			t.Errorf("%s: %q, %q", name, p.Name, p.Description)
		}
		for _, class := range append(p.Modules.Drop, p.Modules.Keep...) {
			if !slices.ContainsFunc(modules.Classes, func(c modules.Class) bool { return c.Name == class }) {
				t.Errorf("%s: %q is no class of kernel modules", name, class)
			}
		}
		for _, x := range p.Exceptions {
			if !slices.Contains(guard.Kinds, x.Kind) {
				t.Errorf("%s: exception %s: %q is no kind", name, x.Name, x.Kind)
			}
		}
		for _, s := range p.Services {
			for _, unit := range slices.Concat(s.Enable, s.Disable, s.Mask, s.Remove) {
				if path.Ext(unit) == "" && !strings.HasSuffix(unit, "*") {
					t.Errorf("%s: services %s: %q has no suffix", name, s.Name, unit)
				}
			}
		}
		for _, r := range p.Roles {
			if len(r.Packages) == 0 {
				t.Errorf("%s: role %s has no packages", name, r.Name)
			}
		}
	}
	if p, _ := Load("none"); p.Reachable || len(p.Paths)+len(p.Services)+len(p.Manager.Packages) > 0 {
		t.Errorf("none takes something: %+v", p)
	}
	host, _ := Load("container-host")
	minimal, _ := Load("minimal")
	if host.Essential || !host.Reachable || len(host.Manager.Packages) == 0 || len(host.Paths) <= len(minimal.Paths) || host.Paths[0].Name != minimal.Paths[0].Name {
		t.Error("container-host does not continue minimal")
	}
	var unknown *UnknownError
	if _, err := Load("container-hots"); !errors.As(err, &unknown) || unknown.ExitStatus() != 2 || !strings.Contains(err.Error(), "container-host") {
		t.Errorf("an unknown profile: %v", err)
	}
}

// TestMistakes says what is wrong with a file.
func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		`x = 1`:                                         "No profile",
		`profile "b" {}`:                                "No profile",
		`profile "a" { reachabel = true }`:              "reachable",
		`profile "a" { inherits = "b" }`:                "Wrong inheritance",
		`profile "a" { inherits = "a" }`:                "Wrong inheritance",
		"profile \"a\" {\n  role \"x\" {}\n}":           "reason",
		`profile "a" { links = ["etc"] }`:               "Invalid pattern",
		"profile \"a\" {\n  scripts = [\"/x\"]\n}":      "Invalid pattern",
		"profile \"a\" {\n  modules {\n drp = []\n}\n}": "drop",
	} {
		name, part, diags := parse("a.hcl", []byte(text))
		if !diags.HasErrors() {
			_, diags = load(map[string]decode.Part{name: part}, name)
		}
		if !strings.Contains(diags.Error(), want) {
			t.Errorf("%s: %v, want %s", text, diags, want)
		}
	}
}
