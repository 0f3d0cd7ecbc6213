package recipes

import (
	"maps"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/baselines"
	"github.com/imagefactory/imagefactory/recipes/decode"
)

// harden reads the harden block.
func (l *loader) harden(b *decode.Body) *Harden {
	blk := b.Single("harden")
	if blk == nil {
		return nil
	}
	s := decode.New("the harden block", &l.diags, blk.Parts...)
	h := &Harden{}
	if s.Require("profile", `profile = "baseline"`) {
		h.Profile = l.profile(s, "", "baseline", baselines.Names())
	}
	rules, err := baselines.Load(h.Profile)
	if err != nil { // it was reported
		rules = nil
	}
	h.Skip = decode.Values(l.distinct(s, "skip", "Duplicate rule", func(t decode.Text) bool { return l.rule(rules, t, []string{t.Value}, nil) }))
	h.Set = s.Map("set")
	for _, id := range slices.Sorted(maps.Keys(h.Set)) {
		at := decode.Text{Value: id, Range: s.Range("set")}
		if l.rule(rules, at, nil, map[string]string{id: h.Set[id]}) && slices.Contains(h.Skip, id) {
			l.errorf(at.Range, "Set and skipped", "The rule %q is also in skip. Remove it from one of the two.", id)
		}
	}
	s.Close()
	return h
}

// rule reports a rule that the profile does not have, and a value that it cannot have. The profile is nil where it is not
// known.
func (l *loader) rule(p *baselines.Profile, t decode.Text, skip []string, set map[string]string) bool {
	if p == nil {
		return true
	}
	_, err := p.Select(skip, set)
	if err != nil {
		text := err.Error()
		if !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "?") {
			text += "."
		}
		l.errorf(t.Range, "Invalid rule", "%s", strings.ToUpper(text[:1])+text[1:])
	}
	return err == nil
}
