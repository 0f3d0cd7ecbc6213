package scan

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/baselines"
	"github.com/imagefactory/imagefactory/scan/files"
	"github.com/imagefactory/imagefactory/scan/settings"
	"github.com/imagefactory/imagefactory/scan/sshd"
	"github.com/imagefactory/imagefactory/scan/sysctl"
	"github.com/imagefactory/imagefactory/stages/tree"
)

func (e *evaluator) sysctl(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	if e.sysctls == nil {
		if e.sysctls, err = sysctl.Read(e.root); err != nil {
			return v, err
		}
	}
	s, ok := e.sysctls.Effective(r.Key)
	switch {
	case !ok:
		v.fail(Evidence{Found: "nothing sets " + r.Key, Wanted: r.Wanted()})
	case r.Passes(s.Value):
		v.pass(Evidence{Path: s.Path, Line: s.Line, Found: r.Key + " = " + s.Value})
	default:
		v.fail(Evidence{Path: s.Path, Line: s.Line, Found: r.Key + " = " + s.Value, Wanted: r.Wanted()})
	}
	return v, nil
}

func (e *evaluator) sshd(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	if e.sshds == nil {
		if e.sshds, err = sshd.Read(e.root); errors.Is(err, sshd.ErrNoConfig) {
			v.absent = err.Error() + ", so that sshd does not start"
			return v, nil
		}
		if err != nil {
			v.fail(Evidence{Found: "sshd refuses its configuration: " + err.Error(), Wanted: "a configuration that sshd takes"})
			return v, nil
		}
	}
	passes := func(value string) bool {
		value = sshd.Normal(r.Key, value)
		// 0 stands for no limit at all.
		return r.Passes(value) && (r.Compare != baselines.AtMost || value != "0")
	}
	s, ok := e.sshds.Global(r.Key)
	switch {
	case ok && passes(s.Value):
		v.pass(Evidence{Path: s.Path, Line: s.Line, Found: r.Key + " " + s.Value})
	case ok:
		v.fail(Evidence{Path: s.Path, Line: s.Line, Found: r.Key + " " + s.Value, Wanted: r.Wanted()})
	case passes(r.Default):
		v.pass(Evidence{Found: fmt.Sprintf("%s is not set, and %s by default", r.Key, r.Default)})
	default:
		v.fail(Evidence{Found: fmt.Sprintf("%s is not set, and %s by default", r.Key, r.Default), Wanted: r.Wanted()})
	}
	for _, s := range e.sshds.Matches(r.Key) {
		if !passes(s.Value) {
			v.fail(Evidence{Path: s.Path, Line: s.Line, Found: fmt.Sprintf("%s %s, for Match %s", r.Key, s.Value, s.Match), Wanted: r.Wanted()})
		}
	}
	return v, nil
}

func (e *evaluator) loginDefs(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	f, ok, err := e.root.Read(settings.LoginDefsPath)
	if err != nil {
		return v, err
	}
	if !ok {
		v.absent = "there is no " + settings.LoginDefsPath
		return v, nil
	}
	value, line := settings.LoginDefs(f.Data, r.Key)
	v.setting(r, f.Path, line, value, r.Key+" "+value)
	return v, nil
}

// setting compares a setting that is a value in a line of a file, 0 where no line
// sets it.
func (v *verdict) setting(r *baselines.Rule, name string, line int, value, text string) {
	switch {
	case line > 0 && r.Passes(value):
		v.pass(Evidence{Path: name, Line: line, Found: text})
	case line > 0:
		v.fail(Evidence{Path: name, Line: line, Found: text, Wanted: r.Wanted()})
	case r.Default != "" && r.Passes(r.Default):
		v.pass(Evidence{Found: "it is not set, and " + r.Default + " by default"})
	default:
		v.fail(Evidence{Path: name, Found: "it is not set", Wanted: r.Wanted()})
	}
}

func (e *evaluator) systemdConf(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	file, section, key := r.SystemdKey()
	s, err := settings.Systemd(e.root, file, section, key)
	if err != nil {
		return v, err
	}
	v.setting(r, s.Path, s.Line, s.Value, key+"="+s.Value)
	return v, nil
}

func (e *evaluator) limits(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	domain, kind, item := r.LimitsKey()
	s, err := settings.Limit(e.root, domain, kind, item)
	if err != nil {
		return v, err
	}
	v.setting(r, s.Path, s.Line, s.Value, strings.Join([]string{domain, kind, item, s.Value}, " "))
	return v, nil
}

func (e *evaluator) mount(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	m, err := settings.FindMount(e.root, r.Key)
	if err != nil {
		return v, err
	}
	if !m.Found {
		if r.Default == "" {
			v.absent = r.Key + " is no mount of its own"
		} else {
			v.fail(Evidence{Path: settings.FstabPath, Found: "there is no line for " + r.Key, Wanted: "the options " + r.Value})
		}
		return v, nil
	}
	ev := Evidence{Path: m.Path, Line: m.Line, Found: fmt.Sprintf("%s has the options %s", r.Key, strings.Join(m.Options, ","))}
	if missing := settings.MissingOptions(m.Options, r.Fields()); len(missing) > 0 {
		ev.Wanted = "also " + strings.Join(missing, ",")
		v.fail(ev)
	} else {
		v.pass(ev)
	}
	return v, nil
}

func (e *evaluator) unit(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	mask := path.Join("/etc/systemd/system", r.Key)
	for _, dir := range []string{"/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"} {
		unit := path.Join(dir, r.Key)
		entry, ok := e.root.Tree.Lookup(resolveDir(e.root, unit))
		if !ok {
			continue
		}
		target := entry.Target
		if !path.IsAbs(target) {
			target = path.Join(dir, target)
		}
		if entry.Type == tree.Symlink && target == "/dev/null" {
			v.pass(Evidence{Path: unit, Found: r.Key + " is masked"})
		} else {
			v.fail(Evidence{Path: unit, Found: r.Key + " can be started", Wanted: "a link of " + mask + " to /dev/null"})
		}
		return v, nil
	}
	v.absent = "there is no unit " + r.Key
	return v, nil
}

// resolveDir returns the path in the tree of the absolute path p, of which only the
// directories are followed.
func resolveDir(root files.Root, p string) string {
	dir, err := root.Tree.Resolve(strings.TrimPrefix(path.Dir(p), "/"))
	if err != nil {
		return strings.TrimPrefix(p, "/")
	}
	return tree.Join(dir, path.Base(p))
}

func (e *evaluator) modules(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	present := settings.ModulesOf(e.root)
	refused, err := settings.ReadModprobe(e.root)
	if err != nil {
		return v, err
	}
	found := false
	for _, name := range r.Fields() {
		where, ok := present[settings.ModuleName(name)]
		if !ok {
			continue
		}
		found = true
		if s, ok := refused.Refused(name); ok {
			v.pass(Evidence{Path: s.Path, Line: s.Line, Found: "install " + name + " " + s.Value})
		} else if s.Line > 0 {
			v.fail(Evidence{Path: s.Path, Line: s.Line, Found: "install " + name + " " + s.Value, Wanted: "install " + name + " /bin/false"})
		} else {
			v.fail(Evidence{Path: where, Found: "modprobe loads " + name, Wanted: "install " + name + " /bin/false"})
		}
	}
	if !found {
		v.absent = "the tree has none of these kernel modules"
	}
	return v, nil
}

func (e *evaluator) cmdline(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	parameters, where, line := e.options.Cmdline, "the recipe", 0
	if parameters == nil {
		if parameters, where, line, err = settings.Cmdline(e.root); err != nil {
			return v, err
		}
		if parameters == nil {
			v.absent = "the kernel's command line is not in the tree: it is the boot loader's"
			return v, nil
		}
	}
	found := false
	value := ""
	for _, p := range parameters { // the last counts
		if k, val, _ := strings.Cut(p, "="); strings.ReplaceAll(k, "-", "_") == strings.ReplaceAll(r.Key, "-", "_") {
			found, value = true, val
		}
	}
	ev := Evidence{Path: where, Line: line, Found: strings.TrimSuffix(r.Key+"="+value, "=")}
	if e.options.Cmdline != nil {
		ev.Path = ""
	}
	switch {
	case found && r.Passes(value):
		v.pass(ev)
	case !found && r.Default != "" && r.Passes(r.Default):
		v.pass(Evidence{Found: fmt.Sprintf("%s is not there, and %s by default", r.Key, r.Default)})
	case found:
		ev.Wanted = r.Parameter()
		v.fail(ev)
	default:
		v.fail(Evidence{Path: ev.Path, Line: line, Found: r.Key + " is not there", Wanted: r.Parameter()})
	}
	return v, nil
}

func (e *evaluator) allow(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	for _, p := range r.Paths {
		f, ok, err := e.root.Read(p)
		if err != nil {
			return v, err
		}
		if !ok {
			v.fail(Evidence{Path: p, Found: "there is no such file", Wanted: "a file that lists " + strings.Join(r.Fields(), ", ")})
			continue
		}
		number := 0
		for text := range strings.Lines(string(f.Data)) {
			number++
			name := strings.TrimSpace(text)
			if name == "" || name[0] == '#' {
				continue
			}
			if !slices.Contains(r.Fields(), name) {
				v.fail(Evidence{Path: p, Line: number, Found: name + " is allowed", Wanted: "nobody but " + strings.Join(r.Fields(), ", ")})
			}
		}
		v.pass(Evidence{Path: p, Found: "lists nobody else"})
	}
	return v, nil
}
