// Package harden changes a root so that the rules of a baseline pass. It is an
// operation on the tree; nothing of the target runs.
//
// Settings go into drop-in files of their own, named below, which begin with the
// rules they come from, wherever the program that reads them has such files:
//
//	/etc/sysctl.d/99-zz-hardening.conf             read last, so that it counts
//	/etc/ssh/sshd_config.d/00-hardening.conf       read first, so that it counts; a marked block
//	                                               at the top of sshd_config where that does not
//	                                               include the directory before it sets something
//	/etc/systemd/FILE.d/99-zz-hardening.conf       coredump.conf, system.conf
//	/etc/systemd/system/UNIT.d/99-zz-hardening.conf  options of mount units
//	/etc/security/limits.d/99-zz-hardening.conf
//	/etc/modprobe.d/00-hardening.conf              read first, so that it counts
//
// Only what does not pass without them is in them. Everything else is edited where it
// stands: fstab, login.defs, the files of accounts, modes and owners.
//
// Apply is idempotent: it takes its own drop-in files away before it looks, so that the
// result depends on nothing but the rest of the tree and the rules. Afterwards it
// evaluates the rules again; one that still fails, because something it must not
// touch stands against it, is an error that names the place.
package harden

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/baselines"
	"github.com/imagefactory/imagefactory/scan"
	"github.com/imagefactory/imagefactory/scan/files"
	"github.com/imagefactory/imagefactory/scan/sshd"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// Version is the version of this stage's code; see stages.Stage. The rules are part of
// the stage's inputs: see Options.Rules.
const Version = 1

// Options says what to harden. It is part of the stage's key.
type Options struct {
	Profile string            `json:"profile"`        // of package baselines
	Skip    []string          `json:"skip,omitempty"` // identifiers of rules to leave out
	Set     map[string]string `json:"set,omitempty"`  // other values, by the rules' identifiers
	Epoch   int64             `json:"epoch"`          // seconds since 1970; the time of what is written
}

// Rules returns the rules that the options ask for. They belong into the key of the
// stage, because the profile's name stays the same when its rules change. The error has
// the exit status 2.
func (o Options) Rules() ([]baselines.Rule, error) {
	p, err := baselines.Load(o.Profile)
	if err != nil {
		return nil, err
	}
	return p.Select(o.Skip, o.Set)
}

// Change is something that was changed for a rule.
type Change struct {
	Rule   string `json:"rule"`
	Path   string `json:"path"`             // absolute
	Before string `json:"before,omitempty"` // what was there
	After  string `json:"after"`
}

// Run hardens root, and tells every change as a Log event.
func Run(ctx context.Context, run *stages.Run, root rootfs.Root, o Options) (rootfs.Root, error) {
	rules, err := o.Rules()
	if err != nil {
		return rootfs.Root{}, err
	}
	st := run.Cache.Store
	t, err := root.Load(st)
	if err != nil {
		return rootfs.Root{}, err
	}
	hardened, changes, err := Apply(ctx, st, t, rules, o.Epoch)
	if err != nil {
		return rootfs.Root{}, err
	}
	for _, c := range changes {
		text := c.Path + ": " + c.After
		if c.Before != "" {
			text += " (before: " + c.Before + ")"
		}
		run.Emit(stages.Event{Kind: stages.Log, Item: c.Rule, Text: text})
	}
	return rootfs.Save(st, hardened)
}

// applier is the tree while it is changed.
type applier struct {
	root    files.Root
	before  *tree.Tree // what Apply was given
	epoch   int64
	changes []Change
	block   int // lines that were put before sshd's configuration
}

// Apply returns the tree with everything changed that the rules ask for and that can
// be set, and what that was, in the order of the rules. Rules that are skipped, that do
// not apply, that pass or that are only checked change nothing.
func Apply(ctx context.Context, st *store.Store, t *tree.Tree, rules []baselines.Rule, epoch int64) (*tree.Tree, []Change, error) {
	var settable []baselines.Rule
	for _, r := range rules {
		if r.Settable() && !r.Skipped {
			settable = append(settable, r)
		}
	}
	a := &applier{root: files.Root{Store: st, Tree: t}, before: t, epoch: epoch}
	if err := a.strip(); err != nil {
		return nil, nil, err
	}
	results, err := scan.Evaluate(ctx, st, a.root.Tree, settable, scan.Options{})
	if err != nil {
		return nil, nil, err
	}
	var failing []failure
	for i, r := range results {
		if r.Status == scan.Fail {
			failing = append(failing, failure{settable[i], r.Evidence})
		}
	}
	if err := a.dropIns(failing); err != nil {
		return nil, nil, err
	}
	for _, f := range failing {
		set, ok := setters[f.rule.Kind]
		if !ok {
			continue // in a drop-in file
		}
		if err := set(a, f); err != nil {
			return nil, nil, fmt.Errorf("rule %s: %w", f.rule.ID, err)
		}
	}
	if err := a.sshd(ctx, failing); err != nil {
		return nil, nil, err
	}
	if err := a.verify(ctx, settable); err != nil {
		return nil, nil, err
	}
	order := map[string]int{}
	for i, r := range rules {
		order[r.ID] = i
	}
	// What was stripped and written again is no change.
	a.changes = slices.DeleteFunc(a.changes, func(c Change) bool {
		path := strings.TrimPrefix(c.Path, "/")
		old, ok1 := t.Lookup(path)
		now, ok2 := a.root.Tree.Lookup(path)
		return ok1 == ok2 && (!ok1 || old.Equal(&now))
	})
	slices.SortStableFunc(a.changes, func(x, y Change) int { return order[x.Rule] - order[y.Rule] })
	return a.root.Tree, a.changes, nil
}

// failure is a rule that does not pass yet.
type failure struct {
	rule     baselines.Rule
	evidence []scan.Evidence
}

// found is what there was before, in a few words.
func (f *failure) found() string {
	if len(f.evidence) == 0 {
		return ""
	}
	e := f.evidence[0]
	e.Wanted = ""
	return e.String()
}

// ConflictError says that rules fail though all was done for them.
type ConflictError struct {
	Failed []scan.RuleResult
}

func (e *ConflictError) Error() string {
	var b strings.Builder
	b.WriteString("what hardening sets does not hold, because something else in the image stands against it:")
	for _, r := range e.Failed {
		for _, ev := range r.Evidence {
			fmt.Fprintf(&b, "\n  %s: %s", r.ID, ev)
		}
	}
	b.WriteString("\nchange these places, or skip the rules or set their values in the recipe's harden block")
	return b.String()
}

// ExitStatus is 4: a check failed.
func (e *ConflictError) ExitStatus() int { return 4 }

// verify makes sure that all the rules pass, or do not apply.
func (a *applier) verify(ctx context.Context, rules []baselines.Rule) error {
	results, err := scan.Evaluate(ctx, a.root.Store, a.root.Tree, rules, scan.Options{})
	if err != nil {
		return err
	}
	conflict := &ConflictError{}
	for _, r := range results {
		if r.Status != scan.Fail {
			continue
		}
		for i := range r.Evidence { // people look for the line in the file as it was
			if r.Evidence[i].Path == sshd.Path {
				r.Evidence[i].Line -= a.block
			}
		}
		conflict.Failed = append(conflict.Failed, r)
	}
	if conflict.Failed == nil {
		return nil
	}
	return conflict
}

// edit changes the tree.
func (a *applier) edit(change func(*tree.Editor) error) error {
	editor := a.root.Tree.Edit()
	if err := change(editor); err != nil {
		return err
	}
	t, err := editor.Tree()
	if err != nil {
		return err
	}
	a.root.Tree = t
	return nil
}

// write gives the absolute path p contents. A file that is there keeps its owner and
// its mode; a new one is root's and has the mode given. Contents that were there
// before Apply keep their time.
func (a *applier) write(p string, content []byte, mode uint32) error {
	real, err := a.root.Tree.Resolve(strings.TrimPrefix(p, "/"))
	if err != nil {
		real = strings.TrimPrefix(p, "/") // directories are missing, and made below
	}
	digest, err := a.root.Store.Put(content)
	if err != nil {
		return err
	}
	e, ok := a.root.Tree.Lookup(real)
	if ok && e.Type != tree.Regular {
		return fmt.Errorf("%s is a %s, and cannot be written", p, e.Type)
	}
	if !ok {
		e = tree.Entry{Path: real, Type: tree.Regular, Mode: mode}
	}
	if old, there := a.before.Lookup(real); there && old.Type == tree.Regular && old.Digest == digest {
		e.MTime = old.MTime
		if !ok { // stripped
			e = old
		}
	} else {
		e.MTime = tree.Time{Sec: a.epoch}
	}
	e.Digest, e.Size, e.Link = digest, int64(len(content)), 0
	return a.edit(func(editor *tree.Editor) error {
		if err := editor.MkdirAll(tree.Parent(real), tree.Entry{Mode: 0o755, MTime: tree.Time{Sec: a.epoch}}); err != nil {
			return err
		}
		editor.Put(e)
		return nil
	})
}

// marker begins the first line of every file that is written here.
const marker = "# Written by imagefactory's hardening"

// sshd_config's block.
const (
	blockBegin = "# BEGIN imagefactory's hardening"
	blockEnd   = "# END imagefactory's hardening\n"
)

// The names of drop-in files.
const (
	lastName  = "99-zz-hardening.conf"
	firstName = "00-hardening.conf"
)

// Drop-in files at fixed places.
const (
	sysctlDropIn   = "/etc/sysctl.d/" + lastName
	limitsDropIn   = "/etc/security/limits.d/" + lastName
	modprobeDropIn = "/etc/modprobe.d/" + firstName
	sshdDropIn     = "/etc/ssh/sshd_config.d/" + firstName
)

// dropInPatterns match every drop-in file that is written here.
var dropInPatterns = []string{
	sysctlDropIn, limitsDropIn, modprobeDropIn, sshdDropIn, "/etc/systemd/*.conf.d/" + lastName, "/etc/systemd/system/*.mount.d/" + lastName,
}

// strip takes away what Apply wrote before, so that the rules are evaluated on
// everything else.
func (a *applier) strip() error {
	var own []string
	for _, e := range a.root.Glob(dropInPatterns, nil) {
		var data []byte
		if e.Type == tree.Regular {
			var err error
			if data, err = a.root.Contents(e); err != nil {
				return err
			}
		}
		if !bytes.HasPrefix(data, []byte(marker)) {
			return fmt.Errorf("/%s is not written by hardening, which needs this name for itself: give the file another name", e.Path)
		}
		own = append(own, e.Path)
	}
	if len(own) > 0 {
		if err := a.edit(func(editor *tree.Editor) error {
			for _, p := range own {
				editor.Remove(p)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return a.stripBlock()
}

// dropIns writes the drop-in files of all kinds but sshd's.
func (a *applier) dropIns(failing []failure) error {
	drops := map[string]*dropIn{}
	add := func(path, section string, f failure, lines ...string) {
		d := drops[path]
		if d == nil {
			d = &dropIn{path: path, section: section, mode: 0o644}
			drops[path] = d
		}
		d.add(f, lines...)
	}
	for _, f := range failing {
		r := &f.rule
		switch r.Kind {
		case baselines.Sysctl:
			add(sysctlDropIn, "", f, r.Key+" = "+r.Value)
		case baselines.SystemdConf:
			file, section, key := r.SystemdKey()
			add("/etc/systemd/"+file+".d/"+lastName, "["+section+"]\n", f, key+"="+r.Value)
		case baselines.Limits:
			domain, kind, item := r.LimitsKey()
			add(limitsDropIn, "", f, strings.Join([]string{domain, kind, item, r.Value}, " "))
		case baselines.Modules:
			var lines []string
			for _, name := range r.Fields() {
				lines = append(lines, "install "+name+" /bin/false")
			}
			add(modprobeDropIn, "", f, lines...)
		}
	}
	paths := make([]string, 0, len(drops))
	for path := range drops {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		if err := a.drop(drops[path]); err != nil {
			return err
		}
	}
	return nil
}

// dropIn is a file with the settings of several rules.
type dropIn struct {
	path    string
	section string
	mode    uint32
	ids     []string
	body    strings.Builder
	changes []Change
}

func (d *dropIn) add(f failure, lines ...string) {
	d.ids = append(d.ids, f.rule.ID)
	fmt.Fprintf(&d.body, "\n# %s: %s\n", f.rule.ID, f.rule.Title)
	for _, line := range lines {
		d.body.WriteString(line + "\n")
	}
	d.changes = append(d.changes, Change{Rule: f.rule.ID, Path: d.path, Before: f.found(), After: strings.Join(lines, "; ")})
}

// text is the file. The header is broken into lines that fit on a terminal.
func (d *dropIn) text() string {
	var b strings.Builder
	b.WriteString(marker + ", for the rules\n")
	line := "#"
	for i, id := range d.ids {
		if i < len(d.ids)-1 {
			id += ","
		}
		if len(line)+1+len(id) > 100 {
			b.WriteString(line + "\n")
			line = "#"
		}
		line += " " + id
	}
	b.WriteString(line + "\n")
	return b.String() + d.section + d.body.String()
}

// drop writes a drop-in file.
func (a *applier) drop(d *dropIn) error {
	a.changes = append(a.changes, d.changes...)
	return a.write(d.path, []byte(d.text()), d.mode)
}
