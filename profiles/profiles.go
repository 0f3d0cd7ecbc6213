package profiles

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/imagefactory/imagefactory/recipes/decode"
)

// Profile is what a role needs. The package's documentation describes every field by the name it
// has in a file. It is plain data: its JSON encoding is part of the key of a stage.
type Profile struct {
	Name        string
	Description string
	Reachable   bool
	Essential   bool
	Scripts     []string
	Links       []string
	Roles       []Role
	Needs       []Need
	Manager     Manager
	Paths       []PathRule
	Leftovers   []Leftover
	Services    []Services
	Modules     Modules
	Exceptions  []Exception
}

// Role is packages that are kept for one purpose.
type Role struct {
	Name     string
	Packages []string
	Reason   string
}

// Need is a need which packages have beside what they declare, or with Drop, do not have.
type Need struct {
	Name   string
	Of, On []string
	Drop   bool
	Reason string
}

// Manager is the package manager.
type Manager struct {
	Packages []string
	Reason   string
}

// PathRule is files that go, whoever owns them.
type PathRule struct {
	Name          string
	Globs, Except []string
	Unless        []string // packages any of which lets the files stay
	Reason        string
}

// Leftover is files without an owner that go with packages.
type Leftover struct {
	Name            string
	Packages, Paths []string
}

// Services is what happens to unit files that are there. Names may be globs.
type Services struct {
	Name                          string
	Enable, Disable, Mask, Remove []string
	Unless                        []string // packages any of which lets the units be as they are
	Reason                        string
}

// Modules says which kernel modules and firmware go.
type Modules struct {
	Drop, Keep                 []string // classes
	KeepModules, RemoveModules []string // names, or globs of them
	Firmware                   bool
	KeepFirmware               []string
}

// Exception is what the checks after trimming must not report.
type Exception struct{ Name, Kind, Path, Need, Reason string }

//go:embed *.hcl
var data embed.FS

// constants is the scope of the files: no variables, no functions.
type constants struct{}

func (constants) Eval(e hclsyntax.Expression) (cty.Value, hcl.Diagnostics) { return e.Value(nil) }
func (constants) Dir() string                                              { return "" }

// embedded parses the files once; a mistake in them is a bug which the tests find.
var embedded = sync.OnceValue(func() map[string]decode.Part {
	entries, err := data.ReadDir(".")
	if err != nil {
		panic(err)
	}
	parts := map[string]decode.Part{}
	for _, e := range entries {
		src, err := data.ReadFile(e.Name())
		if err != nil {
			panic(err)
		}
		name, part, diags := parse(e.Name(), src)
		if diags.HasErrors() {
			panic(diags)
		}
		parts[name] = part
	}
	return parts
})

// parse reads the file of one profile.
func parse(file string, src []byte) (string, decode.Part, hcl.Diagnostics) {
	f, diags := hclsyntax.ParseConfig(src, file, hcl.InitialPos)
	if diags.HasErrors() {
		return "", decode.Part{}, diags
	}
	body := f.Body.(*hclsyntax.Body)
	if len(body.Attributes) > 0 || len(body.Blocks) != 1 || body.Blocks[0].Type != "profile" || len(body.Blocks[0].Labels) != 1 ||
		body.Blocks[0].Labels[0]+".hcl" != file {
		decode.Errorf(&diags, body.Range(), "No profile", "The file %s has one block: profile %q { … }", file, strings.TrimSuffix(file, ".hcl"))
		return "", decode.Part{}, diags
	}
	b := body.Blocks[0]
	return b.Labels[0], decode.Part{Body: b.Body, Scope: constants{}, Header: b.DefRange()}, diags
}

// Names returns the names of the profiles, sorted.
func Names() []string {
	var names []string
	for name := range embedded() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// UnknownError says that there is no profile of a name. Its exit status is 2.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("there is no profile %q. %s", e.Name, decode.DidYouMean(e.Name, Names()))
}

// ExitStatus tells the command that what was asked for is wrong.
func (e *UnknownError) ExitStatus() int { return 2 }

// Load returns the profile of a name. The error is an *UnknownError.
func Load(name string) (*Profile, error) {
	if _, ok := embedded()[name]; !ok {
		return nil, &UnknownError{Name: name}
	}
	p, diags := load(embedded(), name)
	if diags.HasErrors() {
		return nil, diags
	}
	return p, nil
}

// load reads the profile of a name and what it inherits from.
func load(files map[string]decode.Part, name string) (*Profile, hcl.Diagnostics) {
	var diags hcl.Diagnostics
	var parts []decode.Part
	var seen []string
	for at := name; at != ""; {
		part, ok := files[at]
		if !ok || slices.Contains(seen, at) {
			decode.Errorf(&diags, parts[0].Header, "Wrong inheritance", "A profile inherits from another one; %q is none, or inherits from this one.", at)
			return nil, diags
		}
		seen, parts = append(seen, at), append([]decode.Part{part}, parts...)
		at = decode.New("profile", &diags, part).String("inherits", "")
	}
	b := decode.New(fmt.Sprintf("profile %q", name), &diags, parts...)
	b.String("inherits", "")
	p := &Profile{
		Name: name, Description: b.String("description", ""), Reachable: b.Bool("reachable", false), Essential: b.Bool("essential", false),
		Scripts: globs(b, "scripts"), Links: pathGlobs(b, "links"),
	}
	each := func(kind string, read func(label string, b *decode.Body)) {
		for _, blk := range b.Labelled(kind, "name", true) {
			body := decode.New(fmt.Sprintf("%s %q", kind, blk.Label()), &diags, blk.Parts...)
			read(blk.Label(), body)
			body.Close()
		}
	}
	reason := func(b *decode.Body) string {
		b.Require("reason", `reason = "what the machine does with it"`)
		return b.String("reason", "")
	}
	each("role", func(label string, b *decode.Body) {
		p.Roles = append(p.Roles, Role{label, globs(b, "packages"), reason(b)})
	})
	each("need", func(label string, b *decode.Body) {
		p.Needs = append(p.Needs, Need{label, globs(b, "of"), globs(b, "on"), b.Bool("drop", false), reason(b)})
	})
	each("paths", func(label string, b *decode.Body) {
		p.Paths = append(p.Paths, PathRule{label, pathGlobs(b, "globs"), pathGlobs(b, "except"), globs(b, "unless"), reason(b)})
	})
	each("leftovers", func(label string, b *decode.Body) {
		p.Leftovers = append(p.Leftovers, Leftover{label, globs(b, "packages"), pathGlobs(b, "paths")})
	})
	each("services", func(label string, b *decode.Body) {
		list := func(name string) []string { return globs(b, name) }
		p.Services = append(p.Services, Services{label, list("enable"), list("disable"), list("mask"), list("remove"), globs(b, "unless"), reason(b)})
	})
	each("exception", func(label string, b *decode.Body) {
		p.Exceptions = append(p.Exceptions, Exception{label, b.String("kind", ""), b.String("path", ""), b.String("need", "*"), reason(b)})
	})
	if blk := b.Single("manager"); blk != nil {
		m := decode.New("the manager block", &diags, blk.Parts...)
		p.Manager = Manager{globs(m, "packages"), reason(m)}
		m.Close()
	}
	if blk := b.Single("modules"); blk != nil {
		m := decode.New("the modules block", &diags, blk.Parts...)
		p.Modules = Modules{
			m.Strings("drop"), m.Strings("keep"), m.Strings("keep_modules"), m.Strings("remove_modules"), m.Bool("firmware", false), m.Strings("keep_firmware"),
		}
		m.Close()
	}
	b.Close()
	return p, diags
}

// globs reads a list of globs of packages; lists of all parts are joined.
func globs(b *decode.Body, name string) []string {
	return patterns(b, name, func(s string) bool { return s != "" && !strings.Contains(s, "/") })
}

// pathGlobs reads a list of globs of absolute paths.
func pathGlobs(b *decode.Body, name string) []string {
	return patterns(b, name, func(s string) bool { return strings.HasPrefix(s, "/") && path.Clean(s) == s && s != "/" })
}

func patterns(b *decode.Body, name string, valid func(string) bool) []string {
	var out []string
	for _, t := range b.AllTexts(name) {
		if _, err := path.Match(t.Value, ""); err != nil || !valid(t.Value) {
			b.Errorf(t.Range, "Invalid pattern", "%q cannot stand in %s.", t.Value, name)
			continue
		}
		if !slices.Contains(out, t.Value) {
			out = append(out, t.Value)
		}
	}
	return out
}
