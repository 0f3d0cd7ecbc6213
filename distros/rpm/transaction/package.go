package transaction

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm"
	"github.com/imagefactory/imagefactory/distros/rpm/header"
	"github.com/imagefactory/imagefactory/distros/rpm/macros"
)

// A pkg is what a header says of scripts and what they react to.
type pkg struct {
	name, nevra string
	provides    []rpm.Dependency
	files       []string // absolute, in the header's order
	directories []string // with a slash at the end

	scripts           map[Kind]Step
	triggers          []Step // by number
	conditions        []condition
	fileTriggers      []fileTrigger
	transFileTriggers []fileTrigger
	sysusers          []Step
	owners            []Owner
}

// A condition sets a trigger off.
type condition struct {
	trigger int // number of the script
	name    string
	flags   uint32
	version rpm.Dependency
}

// A fileTrigger is a script that files of some directories set off.
type fileTrigger struct {
	step     Step
	prefixes []string
	priority uint32
}

// Flags of scripts (rpmscript.h).
const (
	expandsMacros = 1 << 0
	isQueryFormat = 1 << 1
	isCritical    = 1 << 2
)

// Lua is the name of the interpreter inside rpm.
const Lua = "<lua>"

// scriptTags are the tags of a package's own scripts.
var scriptTags = []struct {
	kind                 Kind
	script, prog, option header.Tag
	critical             bool
}{
	{PreTrans, header.TagPreTrans, header.TagPreTransProg, header.TagPreTransFlags, true},
	{PreIn, header.TagPreIn, header.TagPreInProg, header.TagPreInFlags, true},
	{PostIn, header.TagPostIn, header.TagPostInProg, header.TagPostInFlags, false},
	{PostTrans, header.TagPostTrans, header.TagPostTransProg, header.TagPostTransFlags, false},
}

func newPackage(h *header.Header) (*pkg, error) {
	p := &pkg{name: h.Name(), nevra: h.NEVRA(), scripts: map[Kind]Step{}, directories: h.Strings(header.TagDirNames)}
	for _, d := range h.Dependencies(header.Provides) {
		p.provides = append(p.provides, d.Dependency)
	}
	for _, f := range h.Files() {
		p.files = append(p.files, f.Path)
		if !f.IsGhost() && !(isRoot(f.User) && isRoot(f.Group)) {
			p.owners = append(p.owners, Owner{Path: f.Path, User: f.User, Group: f.Group})
		}
	}
	for _, t := range scriptTags {
		if !h.Has(t.script) && !h.Has(t.prog) {
			continue
		}
		flags, _ := h.Uint32(t.option)
		step, err := p.step(h, t.kind, h.Strings(t.prog), h.String(t.script), h.Has(t.script), flags)
		if err != nil {
			return nil, err
		}
		step.Critical = step.Critical || t.critical
		p.scripts[t.kind] = step
	}
	var err error
	if p.sysusers, err = sysusers(h); err != nil {
		return nil, err
	}
	if err = p.readTriggers(h); err != nil {
		return nil, err
	}
	if p.fileTriggers, err = p.readFileTriggers(h, fileTags); err != nil {
		return nil, err
	}
	p.transFileTriggers, err = p.readFileTriggers(h, transFileTags)
	return p, err
}

// isRoot reports whether a name of a user or group, which old packages may lack, is root's.
func isRoot(name string) bool { return name == "" || name == "root" }

// step makes a step of a script as the header has it.
func (p *pkg) step(h *header.Header, kind Kind, interpreter []string, script string, hasScript bool, flags uint32) (Step, error) {
	if len(interpreter) == 0 || interpreter[0] == "" {
		interpreter = []string{"/bin/sh"}
	}
	var err error
	if flags&expandsMacros != 0 {
		if script, err = macros.Standard().Expand(script); err != nil {
			return Step{}, problem(h, kind, err)
		}
	}
	if flags&isQueryFormat != 0 {
		if script, err = formatQuery(h, script); err != nil {
			return Step{}, problem(h, kind, err)
		}
	}
	return Step{
		Package: p.nevra, Kind: kind, Interpreter: interpreter, Script: script, HasScript: hasScript,
		Prefixes: h.Strings(header.TagPrefixes), Critical: flags&isCritical != 0,
	}, nil
}

// triggerTags are the tags of one set of triggers, which are arrays: of conditions, and
// of scripts that conditions refer to by index.
type triggerTags struct {
	name, version, flags, index header.Tag
	scripts, progs, scriptFlags header.Tag
	priorities                  header.Tag
	kind                        Kind
	sense                       uint32
}

var (
	packageTags = triggerTags{
		name: header.TagTriggerName, version: header.TagTriggerVersion, flags: header.TagTriggerFlags, index: header.TagTriggerIndex,
		scripts: header.TagTriggerScripts, progs: header.TagTriggerScriptProg, scriptFlags: header.TagTriggerScriptFlags,
		kind: TriggerIn, sense: header.SenseTriggerIn | header.SenseTriggerPreIn,
	}
	fileTags = triggerTags{
		name: header.TagFileTriggerName, version: header.TagFileTriggerVersion, flags: header.TagFileTriggerFlags, index: header.TagFileTriggerIndex,
		scripts: header.TagFileTriggerScripts, progs: header.TagFileTriggerScriptProg, scriptFlags: header.TagFileTriggerScriptFlags,
		priorities: header.TagFileTriggerPriorities,
		kind:       FileTriggerIn, sense: header.SenseTriggerIn,
	}
	transFileTags = triggerTags{
		name: header.TagTransFileTriggerName, version: header.TagTransFileTriggerVersion, flags: header.TagTransFileTriggerFlags, index: header.TagTransFileTriggerIndex,
		scripts: header.TagTransFileTriggerScripts, progs: header.TagTransFileTriggerScriptProg, scriptFlags: header.TagTransFileTriggerScriptFlags,
		priorities: header.TagTransFileTriggerPriorities,
		kind:       TransFileTriggerIn, sense: header.SenseTriggerIn,
	}
)

// triggerConditions returns the conditions of a set of triggers. That arrays are of one
// length and indexes within bounds, where they exist, header.Parse has seen to.
func triggerConditions(h *header.Header, tags triggerTags) ([]condition, error) {
	names, versions, flags, indexes := h.Strings(tags.name), h.Strings(tags.version), h.Uint32s(tags.flags), h.Uint32s(tags.index)
	if len(versions) != len(names) || len(flags) != len(names) || len(indexes) != len(names) {
		return nil, problem(h, tags.kind, fmt.Errorf("the header has %d conditions with %d versions, %d flags and %d indexes", len(names), len(versions), len(flags), len(indexes)))
	}
	var conditions []condition
	for i, name := range names {
		c := condition{trigger: int(indexes[i]), name: name, flags: flags[i]}
		if sense := rpm.Sense(flags[i] & (header.SenseLess | header.SenseGreater | header.SenseEqual)); sense != 0 && versions[i] != "" {
			evr, err := rpm.ParseEVR(versions[i])
			if err != nil {
				return nil, problem(h, tags.kind, fmt.Errorf("the condition %s: %w", name, err))
			}
			c.version = rpm.Dependency{Name: name, Sense: sense, EVR: evr}
		}
		conditions = append(conditions, c)
	}
	return conditions, nil
}

// triggerScripts returns the scripts of those triggers of a set that installing can set
// off; others are left empty.
func (p *pkg) triggerScripts(h *header.Header, tags triggerTags, conditions []condition) ([]Step, error) {
	progs, flags := h.Strings(tags.progs), h.Uint32s(tags.scriptFlags)
	bodies := h.Strings(tags.scripts)
	steps := make([]Step, len(bodies))
	for _, c := range conditions {
		if c.flags&tags.sense == 0 || steps[c.trigger].Kind != "" {
			continue
		}
		var interpreter []string
		if c.trigger < len(progs) {
			interpreter = []string{progs[c.trigger]}
		}
		var flag uint32
		if c.trigger < len(flags) {
			flag = flags[c.trigger]
		}
		var err error
		if steps[c.trigger], err = p.step(h, tags.kind, interpreter, bodies[c.trigger], true, flag); err != nil {
			return nil, err
		}
	}
	return steps, nil
}

func (p *pkg) readTriggers(h *header.Header) (err error) {
	if p.conditions, err = triggerConditions(h, packageTags); err != nil {
		return err
	}
	p.triggers, err = p.triggerScripts(h, packageTags, p.conditions)
	return err
}

// match returns the first condition for an event of that sense that source meets.
func (p *pkg) match(source *pkg, sense uint32) *condition {
	for i := range p.conditions {
		if c := &p.conditions[i]; c.flags&sense != 0 && c.name == source.name && source.satisfies(c.version) {
			return c
		}
	}
	return nil
}

// satisfies reports whether one of the package's provides of its own name lies in
// a range.
func (p *pkg) satisfies(d rpm.Dependency) bool {
	if d.Sense == 0 {
		return true
	}
	for _, provided := range p.provides {
		if provided.Name == d.Name && overlap(provided, d) {
			return true
		}
	}
	return false
}

// readFileTriggers returns the file triggers of a set that installing can set off, in
// the order of the specification.
func (p *pkg) readFileTriggers(h *header.Header, tags triggerTags) ([]fileTrigger, error) {
	conditions, err := triggerConditions(h, tags)
	if err != nil {
		return nil, err
	}
	steps, err := p.triggerScripts(h, tags, conditions)
	if err != nil {
		return nil, err
	}
	priorities := h.Uint32s(tags.priorities)
	var triggers []fileTrigger
	for number, step := range steps {
		if step.Kind == "" {
			continue
		}
		t := fileTrigger{step: step, priority: defaultPriority}
		if number < len(priorities) {
			t.priority = priorities[number]
		}
		for _, c := range conditions {
			if c.trigger == number {
				t.prefixes = append(t.prefixes, c.name)
			}
		}
		triggers = append(triggers, t)
	}
	return triggers, nil
}

// sysusers returns a step for each file of sysusers.d(5) whose lines the package's
// provides hold; see rpm-sysusers(7).
func sysusers(h *header.Header) ([]Step, error) {
	flags, versions := h.Uint32s(header.TagProvideFlags), h.Strings(header.TagProvideVersion)
	var steps []Step
	for i, name := range h.Strings(header.TagProvideName) {
		kind, _, _ := strings.Cut(name, "(")
		isAccount := strings.HasSuffix(name, ")") && (kind == "user" || kind == "group" || kind == "groupmember")
		if !isAccount || i >= len(flags) || i >= len(versions) || flags[i]&header.SenseEqual == 0 {
			continue
		}
		line, err := base64.StdEncoding.DecodeString(versions[i])
		if err != nil {
			return nil, problem(h, Sysusers, fmt.Errorf("what the package provides as %s = %s is not base64: %w", name, versions[i], err))
		}
		text := strings.TrimRight(string(line), "\x00") // which replace base64's own padding
		replace := provider(h, i)
		at := -1
		for n := range steps {
			if steps[n].Replace == replace {
				at = n
			}
		}
		if at < 0 {
			at = len(steps)
			steps = append(steps, Step{Package: h.NEVRA(), Kind: Sysusers, HasInput: true, Critical: true, Replace: replace})
		}
		steps[at].Input = append(steps[at].Input, text)
	}
	return steps, nil
}

// provider returns the path of the file that a provides was generated from, or "".
func provider(h *header.Header, provides int) string {
	starts, counts, dictionary := h.Uint32s(header.TagFileDependsX), h.Uint32s(header.TagFileDependsN), h.Uint32s(header.TagDependsDict)
	wanted := uint32('P')<<24 | uint32(provides)
	for i, f := range h.Files() {
		if i >= len(starts) || i >= len(counts) {
			break
		}
		for n := uint64(starts[i]); n < uint64(starts[i])+uint64(counts[i]) && n < uint64(len(dictionary)); n++ {
			if dictionary[n] == wanted {
				return f.Path
			}
		}
	}
	return ""
}
