package scan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/baselines"
	"github.com/imagefactory/imagefactory/scan/accounts"
	"github.com/imagefactory/imagefactory/scan/files"
	"github.com/imagefactory/imagefactory/scan/sshd"
	"github.com/imagefactory/imagefactory/scan/sysctl"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Status is what became of a rule.
type Status string

// The statuses.
const (
	Pass          Status = "pass"
	Fail          Status = "fail"
	NotApplicable Status = "not-applicable" // there is nothing to look at; the explanation says what is missing
	Skipped       Status = "skipped"        // the recipe or the command line says so
)

// Options is what a scan needs besides the tree and the rules.
type Options struct {
	Name    string // of what is scanned, for people
	Profile string // of the rules, for people

	// Owners returns the packages that own an absolute path; nil where the tree has
	// no database of packages, and it is not known.
	Owners func(path string) []string

	// Cmdline is the kernel's command line, one parameter an element; nil where it is
	// not known. The scan then looks for one in the tree.
	Cmdline []string
}

// Evidence is something that was found, and makes a rule pass or fail.
type Evidence struct {
	Path   string `json:"path,omitempty"`   // absolute
	Line   int    `json:"line,omitempty"`   // from 1
	Found  string `json:"found"`            // the value there
	Wanted string `json:"wanted,omitempty"` // the value that would pass, where the rule fails
}

// String writes the evidence in a line.
func (e Evidence) String() string {
	s := e.Found
	if e.Path != "" {
		where := e.Path
		if e.Line > 0 {
			where = fmt.Sprintf("%s:%d", where, e.Line)
		}
		s = where + ": " + s
	}
	if e.Wanted != "" {
		s += " (wanted: " + e.Wanted + ")"
	}
	return s
}

// RuleResult is what a scan says of one rule.
type RuleResult struct {
	ID          string             `json:"id"`
	Title       string             `json:"title"`
	Severity    baselines.Severity `json:"severity"`
	Status      Status             `json:"status"`
	Reason      string             `json:"reason"`
	References  []string           `json:"references,omitempty"`
	Checks      string             `json:"checks"`                // what was looked at
	Explanation string             `json:"explanation,omitempty"` // why it does not apply
	Evidence    []Evidence         `json:"evidence,omitempty"`
	Settable    bool               `json:"settable"`         // stage harden makes it pass
	Remedy      string             `json:"remedy,omitempty"` // of a failure that is not settable
}

// Counts is how many rules have each status.
type Counts struct {
	Pass          int `json:"pass"`
	Fail          int `json:"fail"`
	NotApplicable int `json:"not_applicable"`
	Skipped       int `json:"skipped"`
}

// Result is what a scan found. Its JSON form is described in the package's
// documentation.
type Result struct {
	Format    int          `json:"format"` // 1
	Name      string       `json:"name,omitempty"`
	Profile   string       `json:"profile,omitempty"`
	Counts    Counts       `json:"counts"`
	Rules     []RuleResult `json:"rules"`
	Inventory Inventory    `json:"inventory"`
	OpenSCAP  *OpenSCAP    `json:"openscap,omitempty"` // nil where it was not asked for
}

// FailedError says that rules failed. Its exit status is 4.
type FailedError struct {
	Name   string
	Failed []RuleResult
}

func (e *FailedError) Error() string {
	var ids []string
	for _, r := range e.Failed {
		ids = append(ids, r.ID)
	}
	what := "1 rule fails"
	if len(ids) != 1 {
		what = fmt.Sprintf("%d rules fail", len(ids))
	}
	if e.Name != "" {
		what = e.Name + ": " + what
	}
	return what + ": " + strings.Join(ids, ", ")
}

// ExitStatus is 4: a check failed.
func (e *FailedError) ExitStatus() int { return 4 }

// Err returns a *FailedError when a rule of at least the severity failed, and nil
// otherwise. Rules of OpenSCAP's content do not count: they are for people to
// judge.
func (r *Result) Err(least baselines.Severity) error {
	rank := func(s baselines.Severity) int { return slices.Index(baselines.Severities, string(s)) }
	e := &FailedError{Name: r.Name}
	for _, rule := range r.Rules {
		if rule.Status == Fail && rank(rule.Severity) >= rank(least) {
			e.Failed = append(e.Failed, rule)
		}
	}
	if e.Failed == nil {
		return nil
	}
	return e
}

// Tree evaluates the rules on a tree and lists what deserves a look.
func Tree(ctx context.Context, st *store.Store, t *tree.Tree, rules []baselines.Rule, o Options) (*Result, error) {
	r := &Result{Format: 1, Name: o.Name, Profile: o.Profile}
	e, err := newEvaluator(st, t, o)
	if err != nil {
		return nil, err
	}
	if r.Rules, err = e.rules(ctx, rules); err != nil {
		return nil, err
	}
	for _, rule := range r.Rules {
		switch rule.Status {
		case Pass:
			r.Counts.Pass++
		case Fail:
			r.Counts.Fail++
		case NotApplicable:
			r.Counts.NotApplicable++
		case Skipped:
			r.Counts.Skipped++
		}
	}
	if r.Inventory, err = e.inventory(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// Evaluate evaluates the rules alone, in their order.
func Evaluate(ctx context.Context, st *store.Store, t *tree.Tree, rules []baselines.Rule, o Options) ([]RuleResult, error) {
	e, err := newEvaluator(st, t, o)
	if err != nil {
		return nil, err
	}
	return e.rules(ctx, rules)
}

// evaluator has what several rules look at, each read when it is first needed.
type evaluator struct {
	root     files.Root
	options  Options
	accounts *accounts.Database
	sysctls  *sysctl.Config
	sshds    *sshd.Config
	keysSeen *keyring
}

func newEvaluator(st *store.Store, t *tree.Tree, o Options) (*evaluator, error) {
	e := &evaluator{root: files.Root{Store: st, Tree: t}, options: o}
	var err error
	e.accounts, err = accounts.Read(e.root)
	return e, err
}

// verdict is what a check says: nothing found wrong is a pass.
type verdict struct {
	absent string // why the rule does not apply
	failed bool
	proof  []Evidence
}

// fail adds evidence that the rule fails.
func (v *verdict) fail(e Evidence) { v.failed, v.proof = true, append(v.proof, e) }

// pass adds evidence that is as it should be.
func (v *verdict) pass(e Evidence) { v.proof = append(v.proof, e) }

// checks has a function for each kind of rule.
var checks = map[baselines.Kind]func(*evaluator, context.Context, *baselines.Rule) (verdict, error){
	baselines.Sysctl:         (*evaluator).sysctl,
	baselines.SSHD:           (*evaluator).sshd,
	baselines.LoginDefs:      (*evaluator).loginDefs,
	baselines.SystemdConf:    (*evaluator).systemdConf,
	baselines.Limits:         (*evaluator).limits,
	baselines.Mount:          (*evaluator).mount,
	baselines.Permissions:    (*evaluator).permissions,
	baselines.Unit:           (*evaluator).unit,
	baselines.Modules:        (*evaluator).modules,
	baselines.Cmdline:        (*evaluator).cmdline,
	baselines.Allow:          (*evaluator).allow,
	baselines.Absent:         (*evaluator).absent,
	baselines.MachineID:      (*evaluator).machineID,
	baselines.Setuid:         (*evaluator).setuid,
	baselines.WorldWritable:  (*evaluator).worldWritable,
	baselines.Unowned:        (*evaluator).unowned,
	baselines.EmptyPasswords: (*evaluator).emptyPasswords,
	baselines.RootPassword:   (*evaluator).rootPassword,
	baselines.PasswordHash:   (*evaluator).passwordHash,
	baselines.SystemShells:   (*evaluator).systemShells,
	baselines.UniqueIDs:      (*evaluator).uniqueIDs,
	baselines.Homes:          (*evaluator).homes,
	baselines.PrivateKeys:    (*evaluator).privateKeys,
	baselines.WeakKeys:       (*evaluator).weakKeys,
	baselines.KnownKeys:      (*evaluator).knownKeys,
}

// rules evaluates rules in their order.
func (e *evaluator) rules(ctx context.Context, rules []baselines.Rule) ([]RuleResult, error) {
	results := make([]RuleResult, 0, len(rules))
	for i := range rules {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		r, err := e.rule(ctx, &rules[i])
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", rules[i].ID, err)
		}
		results = append(results, r)
	}
	return results, nil
}

// rule evaluates one rule.
func (e *evaluator) rule(ctx context.Context, r *baselines.Rule) (RuleResult, error) {
	result := RuleResult{
		ID: r.ID, Title: r.Title, Severity: r.Severity, Reason: r.Reason, References: r.References, Checks: r.Checks(), Settable: r.Settable(),
	}
	if r.Skipped {
		result.Status, result.Explanation = Skipped, "left out on request"
		return result, nil
	}
	if len(r.When) > 0 && !slices.ContainsFunc(r.When, e.there) {
		result.Status, result.Explanation = NotApplicable, "there is no "+strings.Join(r.When, " or ")
		return result, nil
	}
	check, ok := checks[r.Kind]
	if !ok {
		return result, fmt.Errorf("there is no check for rules of the kind %q", r.Kind)
	}
	v, err := check(e, ctx, r)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return result, fmt.Errorf("%w; the tree and its store do not belong together", err)
		}
		return result, err
	}
	result.Evidence = v.proof
	switch {
	case v.failed:
		result.Status = Fail
		result.Evidence = slices.DeleteFunc(result.Evidence, func(e Evidence) bool { return e.Wanted == "" })
		result.Remedy = r.Remedy
	case v.absent != "":
		result.Status, result.Explanation = NotApplicable, v.absent
	default:
		result.Status = Pass
	}
	return result, nil
}

// there reports whether an absolute path or pattern leads to something.
func (e *evaluator) there(pattern string) bool {
	if strings.ContainsAny(pattern, "*?[") {
		return len(e.root.Glob([]string{pattern}, nil)) > 0
	}
	return e.root.Exists(pattern)
}
