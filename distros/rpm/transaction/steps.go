package transaction

import (
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm"
	"github.com/imagefactory/imagefactory/distros/rpm/header"
)

// A Step is something to do in the root.
type Step struct {
	Package string // that the script belongs to: "bash-5.1.8-9.el9.x86_64"
	Kind    Kind
	// Interpreter is the program and its first arguments; the program Lua is the one
	// built into rpm. Empty for Owners and Sysusers.
	Interpreter []string
	// Script is the body, which follows the interpreter's arguments as a file. Without
	// HasScript there is none, and no Args either.
	Script    string
	HasScript bool
	Args      []int
	// Input are the lines of standard input: paths for file triggers, lines of
	// sysusers.d(5) for Sysusers.
	Input []string
	// HasInput tells an empty Input from none.
	HasInput bool
	Prefixes []string // of a relocatable package, for RPM_INSTALL_PREFIX
	Critical bool     // that it fails ends the installation
	Owners   []Owner  // of Kind Owners
	Replace  string   // of Kind Sysusers: the file in the root that Input is from, if any
}

// Name returns the step as messages name it: "%post(bash-5.1.8-9.el9.x86_64)".
func (s *Step) Name() string { return string(s.Kind) + "(" + s.Package + ")" }

// Kind is what a step is.
type Kind string

// The kinds of steps.
const (
	PreTrans           Kind = "%pretrans"
	Sysusers           Kind = "%sysusers" // rpm's name, though no specification has such a section
	TriggerPreIn       Kind = "%triggerprein"
	PreIn              Kind = "%pre"
	Owners             Kind = "owners"
	FileTriggerIn      Kind = "%filetriggerin"
	PostIn             Kind = "%post"
	TriggerIn          Kind = "%triggerin"
	PostTrans          Kind = "%posttrans"
	TransFileTriggerIn Kind = "%transfiletriggerin"
)

// An Owner says to whom a file belongs that is not root's.
type Owner struct {
	Path        string // absolute
	User, Group string
}

// countsSince is the version of rpm from which on file triggers get counts as arguments.
var countsSince = rpm.EVR{Version: "4.20"}

// Steps returns what rpm does when it installs members, in the order of Order, into
// an empty root. The error names the package with a script that cannot be prepared.
func Steps(ordered []*Member) ([]Step, error) {
	s := &sequence{counts: true}
	for _, m := range ordered {
		p, err := newPackage(m.Header)
		if err != nil {
			return nil, err
		}
		s.all = append(s.all, p)
		if p.name == "rpm" {
			s.counts = rpm.CompareEVR(rpm.EVR{Version: m.Header.EVR().Version}, countsSince) >= 0
		}
	}
	for _, p := range s.all {
		s.script(p, PreTrans)
	}
	for _, p := range s.all {
		s.install(p)
	}
	for _, p := range s.all {
		s.script(p, PostTrans)
	}
	for _, p := range s.all {
		s.ownFileTriggers(p, p.transFileTriggers, TransFileTriggerIn, 0, maxPriority)
	}
	return s.steps, nil
}

// Priorities of file triggers. Those from highPriority on run before %post.
const (
	defaultPriority = 100000
	highPriority    = 10000
	maxPriority     = 1<<32 - 1
)

// sequence is what has happened so far.
type sequence struct {
	all       []*pkg
	installed []*pkg // in the database, in order
	counts    bool   // file triggers get counts
	steps     []Step
}

// count returns how many packages of a name are installed.
func (s *sequence) count(name string) int {
	n := 0
	for _, p := range s.installed {
		if p.name == name {
			n++
		}
	}
	return n
}

// script adds a package's own script of a kind, if it has one.
func (s *sequence) script(p *pkg, kind Kind) {
	script, ok := p.scripts[kind]
	if !ok {
		return
	}
	n := s.count(p.name)
	if kind != PostTrans { // which runs when the package is counted already
		n++
	}
	script.Args = []int{n}
	s.steps = append(s.steps, script)
}

// install adds all that happens when one package is installed.
func (s *sequence) install(p *pkg) {
	s.steps = append(s.steps, p.sysusers...)
	s.triggersOfOthers(p, onPreIn)
	s.ownTriggers(p, onPreIn)
	s.script(p, PreIn)
	if len(p.owners) > 0 {
		s.steps = append(s.steps, Step{Package: p.nevra, Kind: Owners, Owners: p.owners})
	}
	post, hasPost := p.scripts[PostIn]
	if hasPost {
		post.Args = []int{s.count(p.name) + 1}
	}
	s.installed = append(s.installed, p)

	s.fileTriggers(p, highPriority, maxPriority)
	s.ownFileTriggers(p, p.fileTriggers, FileTriggerIn, highPriority, maxPriority)
	if hasPost {
		s.steps = append(s.steps, post)
	}
	s.triggersOfOthers(p, onIn)
	s.ownTriggers(p, onIn)
	s.fileTriggers(p, 0, highPriority-1)
	s.ownFileTriggers(p, p.fileTriggers, FileTriggerIn, 0, highPriority-1)
}

// An event sets off triggers.
type event struct {
	kind  Kind
	sense uint32
}

var (
	onPreIn = event{TriggerPreIn, header.SenseTriggerPreIn}
	onIn    = event{TriggerIn, header.SenseTriggerIn}
)

// triggersOfOthers adds the triggers in installed packages that p sets off. Each package
// runs one of its triggers at most.
func (s *sequence) triggersOfOthers(p *pkg, e event) {
	for _, owner := range s.installed {
		for _, name := range owner.conditions {
			if name.name != p.name {
				continue
			}
			if t := owner.match(p, e.sense); t != nil {
				s.trigger(owner, t, e.kind, s.count(owner.name), s.count(p.name))
			}
			break
		}
	}
}

// ownTriggers adds p's triggers that installed packages set off, each once.
func (s *sequence) ownTriggers(p *pkg, e event) {
	run := map[int]bool{}
	for _, c := range p.conditions {
		if run[c.trigger] {
			continue
		}
		for _, source := range s.installed {
			if source.name != c.name {
				continue
			}
			if t := p.match(source, e.sense); t != nil && !run[t.trigger] {
				run[t.trigger] = true
				s.trigger(p, t, e.kind, s.count(p.name), s.count(c.name))
			}
		}
	}
}

// trigger adds a trigger of owner.
func (s *sequence) trigger(owner *pkg, c *condition, kind Kind, args ...int) {
	step := owner.triggers[c.trigger]
	step.Kind, step.Args = kind, args
	s.steps = append(s.steps, step)
}

// fileTriggers adds the file triggers of installed packages, p among them, for p's files.
func (s *sequence) fileTriggers(p *pkg, low, high uint32) {
	type ready struct {
		owner   *pkg
		trigger *fileTrigger
	}
	var all []ready
	for _, owner := range s.installed {
		for i := range owner.fileTriggers {
			t := &owner.fileTriggers[i]
			if t.priority >= low && t.priority <= high {
				all = append(all, ready{owner, t})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b ready) int { return comparePriority(a.trigger, b.trigger) })
	for _, r := range all {
		if files := r.trigger.matches(p); len(files) > 0 {
			s.fileTrigger(r.owner, r.trigger, FileTriggerIn, files, s.count(p.name))
		}
	}
}

// ownFileTriggers adds p's file triggers for the files of installed packages: all of them
// after the transaction, others than p before.
func (s *sequence) ownFileTriggers(p *pkg, triggers []fileTrigger, kind Kind, low, high uint32) {
	var chosen []*fileTrigger
	for i := range triggers {
		if t := &triggers[i]; t.priority >= low && t.priority <= high {
			chosen = append(chosen, t)
		}
	}
	slices.SortStableFunc(chosen, comparePriority)
	for _, t := range chosen {
		var files []string
		for _, prefix := range t.prefixes {
			for _, q := range s.installed {
				if (q != p || kind == TransFileTriggerIn) && q.hasDirectory(prefix) {
					files = append(files, q.filesBelow(prefix)...)
				}
			}
		}
		if len(files) > 0 {
			s.fileTrigger(p, t, kind, files, 1)
		}
	}
}

// fileTrigger adds a file trigger of owner, which count packages of one name set off.
func (s *sequence) fileTrigger(owner *pkg, t *fileTrigger, kind Kind, files []string, count int) {
	step := t.step
	step.Kind, step.Input, step.HasInput = kind, files, true
	switch {
	case !s.counts:
		step.Args = []int{0}
	case kind == TransFileTriggerIn:
		step.Args = []int{s.count(owner.name)}
	default:
		step.Args = []int{s.count(owner.name), count}
	}
	s.steps = append(s.steps, step)
}

// comparePriority puts higher priorities first.
func comparePriority(a, b *fileTrigger) int {
	switch {
	case a.priority > b.priority:
		return -1
	case a.priority < b.priority:
		return 1
	}
	return 0
}

// matches returns the files of p that set the trigger off, in the order of the prefixes.
func (t *fileTrigger) matches(p *pkg) []string {
	var files []string
	for _, prefix := range t.prefixes {
		files = append(files, p.filesBelow(prefix)...)
	}
	return files
}

// filesBelow returns the files whose paths begin with prefix.
func (p *pkg) filesBelow(prefix string) []string {
	var files []string
	for _, f := range p.files {
		if strings.HasPrefix(f, prefix) {
			files = append(files, f)
		}
	}
	return files
}

// hasDirectory reports whether the package has a file in a directory whose path, with
// a slash at the end, begins with prefix. rpm looks for packages by that.
func (p *pkg) hasDirectory(prefix string) bool {
	return slices.ContainsFunc(p.directories, func(d string) bool { return strings.HasPrefix(d, prefix) })
}

// problem is an error about a package's script.
func problem(h *header.Header, kind Kind, err error) error {
	return fmt.Errorf("package %s, %s: %w", h.NEVRA(), kind, err)
}
