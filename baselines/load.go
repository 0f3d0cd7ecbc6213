package baselines

import (
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/imagefactory/imagefactory/recipes/decode"
)

//go:embed *.hcl
var data embed.FS

// Profile is a set of rules.
type Profile struct {
	Name  string
	Title string
	Rules []Rule // in the order of the file, which keeps related ones together
}

// constants is the scope of the files: no variables, no functions.
type constants struct{}

func (constants) Eval(e hclsyntax.Expression) (cty.Value, hcl.Diagnostics) { return e.Value(nil) }
func (constants) Dir() string                                              { return "" }

// embedded reads the data files once; a mistake in them is a bug of this program which its tests find.
var embedded = sync.OnceValue(func() map[string]*Profile {
	profiles := map[string]*Profile{}
	entries, err := data.ReadDir(".")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		src, err := data.ReadFile(e.Name())
		if err != nil {
			panic(err)
		}
		found, diags := parse(e.Name(), src)
		if diags.HasErrors() {
			panic(diags)
		}
		for _, p := range found {
			profiles[p.Name] = p
		}
	}
	return profiles
})

// Names returns the built-in profiles, sorted.
func Names() []string {
	var names []string
	for name := range embedded() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// UnknownError says that there is no profile, or no rule in it, of a name. Its exit status is 2.
type UnknownError struct {
	What  string // "profile" or "rule"
	Name  string
	Known []string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("there is no hardening %s %q. %s", e.What, e.Name, e.suggestion())
}

// suggestion is the nearest names, or for the many rules where to find them.
func (e *UnknownError) suggestion() string {
	if near := decode.Nearest(e.Name, e.Known); len(near) == 0 && e.What == "rule" {
		first, _, _ := strings.Cut(e.Name, "-")
		var related []string
		for _, name := range e.Known {
			if strings.HasPrefix(name, first+"-") {
				related = append(related, name)
			}
		}
		if len(related) > 0 {
			return "Those that begin like it are " + decode.List(related) + "."
		}
	}
	return decode.DidYouMean(e.Name, e.Known)
}

// ExitStatus tells the command that what was asked for is wrong.
func (e *UnknownError) ExitStatus() int { return 2 }

// ValueError says that a rule cannot have a value. Its exit status is 2.
type ValueError struct {
	Rule, Value, Problem string
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("the rule %s cannot be set to %q: %s", e.Rule, e.Value, e.Problem)
}

// ExitStatus tells the command that what was asked for is wrong.
func (e *ValueError) ExitStatus() int { return 2 }

// Load returns the built-in profile, or an *UnknownError. The caller may change it.
func Load(name string) (*Profile, error) {
	p, ok := embedded()[name]
	if !ok {
		return nil, &UnknownError{What: "profile", Name: name, Known: Names()}
	}
	c := *p
	c.Rules = slices.Clone(p.Rules)
	return &c, nil
}

// IDs returns the identifiers of the profile's rules, in their order.
func (p *Profile) IDs() []string {
	ids := make([]string, len(p.Rules))
	for i := range p.Rules {
		ids[i] = p.Rules[i].ID
	}
	return ids
}

// Select returns the profile's rules with those in skip marked as skipped, and with
// the values that set has by their identifiers. The error is an *UnknownError or a
// *ValueError.
func (p *Profile) Select(skip []string, set map[string]string) ([]Rule, error) {
	rules := slices.Clone(p.Rules)
	find := func(id string) (*Rule, error) {
		i := slices.IndexFunc(rules, func(r Rule) bool { return r.ID == id })
		if i < 0 {
			return nil, &UnknownError{What: "rule", Name: id, Known: p.IDs()}
		}
		return &rules[i], nil
	}
	for _, id := range skip {
		r, err := find(id)
		if err != nil {
			return nil, err
		}
		r.Skipped = true
	}
	ids := make([]string, 0, len(set))
	for id := range set {
		ids = append(ids, id)
	}
	slices.Sort(ids) // the same mistake first, every time
	for _, id := range ids {
		r, err := find(id)
		if err != nil {
			return nil, err
		}
		if r.Skipped {
			return nil, &ValueError{Rule: id, Value: set[id], Problem: "it is skipped"}
		}
		if err := r.override(set[id]); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

// override replaces the rule's value by one of the recipe's. That alone is wanted
// then: what the profile accepts besides its own value may be what the recipe
// does not want. A comparison stays.
func (r *Rule) override(value string) error {
	k := kinds[r.Kind]
	if r.Kind == Setuid {
		for _, p := range strings.Fields(value) {
			if !strings.HasPrefix(p, "/") {
				return &ValueError{Rule: r.ID, Value: value, Problem: fmt.Sprintf("it is a list of absolute paths, and %q is none", p)}
			}
		}
		r.Paths = append(slices.Clone(r.Paths), strings.Fields(value)...)
		return nil
	}
	if k.value == nil {
		return &ValueError{Rule: r.ID, Value: value, Problem: "the rule has no value; it can only be skipped"}
	}
	if problem := k.value(value); problem != "" {
		return &ValueError{Rule: r.ID, Value: value, Problem: problem}
	}
	r.Value, r.Accept = value, nil
	return nil
}

// parse reads the profiles of a file.
func parse(filename string, src []byte) ([]*Profile, hcl.Diagnostics) {
	file, diags := hclsyntax.ParseConfig(src, filename, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags
	}
	body := decode.New("the file "+filename, &diags, decode.Part{Body: file.Body.(*hclsyntax.Body), Scope: constants{}})
	var profiles []*Profile
	for _, blk := range body.Labelled("profile", "name", false) {
		b := decode.New(fmt.Sprintf("profile %q", blk.Label()), &diags, blk.Parts...)
		p := &Profile{Name: blk.Label(), Title: b.String("title", "")}
		b.Require("title", `title = "…"`)
		for _, r := range b.Labelled("rule", "identifier", false) {
			p.Rules = append(p.Rules, rule(decode.New(fmt.Sprintf("rule %q", r.Label()), &diags, r.Parts...), r.Label()))
		}
		b.Close()
		profiles = append(profiles, p)
	}
	body.Close()
	return profiles, diags
}

// rule reads one rule.
func rule(b *decode.Body, id string) Rule {
	r := Rule{
		ID: id, Title: b.String("title", ""), Reason: b.String("reason", ""), Severity: Severity(b.String("severity", "")),
		References: b.Strings("references"), Kind: Kind(b.String("kind", "")), When: b.Strings("when"),
		Key: b.String("key", ""), Value: b.String("value", ""), Accept: b.Strings("accept"), Compare: b.String("compare", ""),
		Default: b.String("default", ""), Paths: b.Strings("paths"), Except: b.Strings("except"),
		Owners: b.Strings("owners"), Groups: b.Strings("groups"), Remedy: b.String("remedy", ""),
	}
	for _, name := range []string{"title", "reason", "severity", "kind"} {
		b.Require(name, name+" = \"…\"")
	}
	if r.Severity != "" && !slices.Contains(Severities, string(r.Severity)) {
		b.Errorf(b.Range("severity"), "Unknown severity", "There is no severity %q. %s", r.Severity, decode.DidYouMean(string(r.Severity), Severities))
	}
	k, ok := kinds[r.Kind]
	if !ok {
		if r.Kind != "" {
			b.Errorf(b.Range("kind"), "Unknown kind of rule", "There is no kind %q. %s", r.Kind, decode.DidYouMean(string(r.Kind), Kinds()))
		}
		b.Close()
		return r
	}
	for _, name := range k.needs {
		b.Require(name, name+" = …")
	}
	for _, name := range []string{"key", "value", "accept", "compare", "default", "paths", "except", "owners", "groups", "remedy"} {
		if b.Has(name) && !slices.Contains(k.needs, name) && !slices.Contains(k.may, name) {
			b.Errorf(b.Range(name), "Attribute of another kind", "Rules of the kind %q have no %q. Remove it.", r.Kind, name)
		}
	}
	if b.Has("value") && k.value != nil {
		if problem := k.value(r.Value); problem != "" {
			b.Errorf(b.Range("value"), "Wrong value", "The rule %s cannot have the value %q: %s.", id, r.Value, problem)
		}
	}
	if r.Compare != "" && r.Compare != AtMost && r.Compare != AtLeast {
		b.Errorf(b.Range("compare"), "Wrong comparison", "compare is %q; it can be %s.", r.Compare, decode.Or([]string{AtMost, AtLeast}))
	}
	if k.parts > 0 && strings.Count(r.Key, "/") != k.parts-1 {
		b.Errorf(b.Range("key"), "Wrong key", "Keys of the kind %q have %d parts with slashes between them, and %q has not.", r.Kind, k.parts, r.Key)
	}
	for _, name := range []string{"when", "paths", "except"} {
		for _, p := range b.Strings(name) {
			if !strings.HasPrefix(p, "/") {
				b.Errorf(b.Range(name), "Path is not absolute", "%q does not begin with a slash.", p)
			}
		}
	}
	b.Close()
	return r
}
