package recipes

import (
	"maps"
	"regexp"
	"slices"

	"github.com/imagefactory/imagefactory/recipes/decode"
)

// ruleIdentifier has the identifiers of rules.
var ruleIdentifier = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// baselineNames are the names of the baselines.
func baselineNames() []string { return []string{"baseline"} }

// harden reads the harden block.
func (l *loader) harden(b *decode.Body) *Harden {
	blk := b.Single("harden")
	if blk == nil {
		return nil
	}
	s := decode.New("the harden block", &l.diags, blk.Parts...)
	h := &Harden{}
	if s.Require("profile", `profile = "baseline"`) {
		h.Profile = l.profile(s, "", "baseline", baselineNames())
	}
	h.Skip = decode.Values(l.distinct(s, "skip", "Duplicate rule", l.rule))
	h.Set = s.Map("set")
	for _, id := range slices.Sorted(maps.Keys(h.Set)) {
		at := decode.Text{Value: id, Range: s.Range("set")}
		if l.rule(at) && slices.Contains(h.Skip, id) {
			l.errorf(at.Range, "Set and skipped", "The rule %q is also in skip. Remove it from one of the two.", id)
		}
	}
	s.Close()
	return h
}

// rule reports what is wrong with the identifier of a rule.
func (l *loader) rule(t decode.Text) bool {
	if ruleIdentifier.MatchString(t.Value) {
		return true
	}
	l.errorf(t.Range, "Invalid rule", "%q cannot be the identifier of a rule, which has lower case letters, digits and \"-\". Write for example: \"sshd-01\"", t.Value)
	return false
}
