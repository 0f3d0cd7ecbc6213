package trim

import (
	"fmt"
	"strings"

	"github.com/imagefactory/imagefactory/stages/guard"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// GuardError says that what was left out is needed by what stays. Its exit status is 4.
type GuardError struct {
	Profile  string
	Findings []guard.Finding
	// Advice is for each finding what to write into the trim block.
	Advice []string
}

func (e *GuardError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "trimming with profile %q takes %d thing(s) that what stays needs:", e.Profile, len(e.Findings))
	const most = 25
	for i, f := range e.Findings[:min(most, len(e.Findings))] {
		fmt.Fprintf(&b, "\n  %s: %s\n    %s", f.Kind, f, e.Advice[i])
	}
	if more := len(e.Findings) - most; more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return b.String()
}

// ExitStatus is 4: a check failed.
func (e *GuardError) ExitStatus() int { return 4 }

// check compares the trimmed tree with what it was.
func (w *trimming) check(t *tree.Tree) error {
	exceptions := w.options.Exceptions[:len(w.options.Exceptions):len(w.options.Exceptions)]
	for _, x := range w.profile.Exceptions {
		exceptions = append(exceptions, guard.Exception{Kind: x.Kind, Path: x.Path, Need: x.Need, Reason: x.Reason})
	}
	findings, err := guard.Check(w.ctx, w.store, w.before, t, w.database.Owners, exceptions)
	if err != nil || len(findings) == 0 {
		return err
	}
	e := &GuardError{Profile: w.profile.Name, Findings: findings}
	for _, f := range findings {
		e.Advice = append(e.Advice, w.advice(t, f))
	}
	return e
}

// advice says what to write into the trim block because of a finding.
func (w *trimming) advice(t *tree.Tree, f guard.Finding) string {
	exception := fmt.Sprintf("an exception block with kind = %q, path = %q, need = %q and a reason", f.Kind, f.Path, f.Need)
	var removed []string
	for _, id := range f.Packages {
		if _, kept := w.plan.kept[id]; !kept {
			removed = append(removed, w.database.Package(id).Name)
		}
	}
	keep := ""
	switch {
	case len(removed) > 0:
		keep = fmt.Sprintf("keep = [%q] (it went because %s)", removed[0], w.plan.why(f.Packages[0]))
	case f.Provider != "":
		keep = fmt.Sprintf("keep = [%q]", f.Provider)
		for _, r := range w.report.Paths {
			if glob, ok := newGlobs(w.before, r.Globs).below(relative(f.Provider)); ok {
				keep += fmt.Sprintf(" (it went because of %q, %s)", glob, r.Rule)
				break
			}
		}
	}
	remove := ""
	if _, ok := t.Lookup(relative(f.Path)); ok {
		remove = fmt.Sprintf("or remove = [%q] ", f.Path)
	}
	if keep == "" {
		return strings.TrimPrefix(fmt.Sprintf("write into the trim block: %sor %s", remove, exception), "or ")
	}
	return fmt.Sprintf("write into the trim block: %s %sor %s", keep, remove, exception)
}
