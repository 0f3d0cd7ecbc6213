package recipes

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/recipes/decode"
)

var envPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// scripts reads the scripts of the build and those of the installation.
func (l *loader) scripts(b *decode.Body) (out, install []Script) {
	blocks := b.Labelled("script", "name", false)
	var names, installNames []string
	for _, blk := range blocks {
		if isInstallScript(blk) {
			installNames = append(installNames, blk.Label())
		} else {
			names = append(names, blk.Label())
		}
	}
	ambiguous := false
	for _, blk := range blocks {
		s := decode.New(fmt.Sprintf("script %q", blk.Label()), &l.diags, blk.Parts...)
		c := Script{Name: blk.Label(), Range: blk.Range, Network: s.Bool("network", false), Env: s.Map("env"), Inputs: l.inputs(s)}
		if !namePattern.MatchString(c.Name) {
			l.errorf(blk.Range, "Invalid name", "%q cannot be the name of a script. Use letters, digits, \".\", \"_\" and \"-\", starting with a letter or digit.", c.Name)
		}
		if slices.Contains(Stages, c.Name) {
			ambiguous = true
			l.errorf(blk.Range, "Name of a stage", "%q is the name of a stage of the build, so after and before would be ambiguous. Give the script another name.", c.Name)
		}
		for _, name := range slices.Sorted(maps.Keys(c.Env)) {
			if !envPattern.MatchString(name) {
				l.errorf(s.Range("env"), "Invalid environment variable", "%q cannot be the name of an environment variable. Use letters, digits and \"_\".", name)
			}
		}
		l.program(s, &c)
		if s.Has("stage") {
			if l.installStage(s, c) {
				install = append(install, c)
			}
		} else {
			c.After = l.place(s, "after", names, installNames, AnchorStages)
			c.Before = l.place(s, "before", names, installNames, FinishStages)
			out = append(out, c)
		}
		s.Close()
	}
	if ambiguous {
		return out, install
	}
	if cycle := order(out).cycle; len(cycle) > 0 {
		i := slices.IndexFunc(out, func(c Script) bool { return c.Name == cycle[0] })
		l.errorf(out[i].Range, "Scripts wait for each other", "No order satisfies after and before: %s. Remove one of them.", strings.Join(cycle, " → "))
	}
	return out, install
}

// isInstallScript reports whether the block says a stage, of which there is only one to say.
func isInstallScript(blk *decode.Block) bool {
	last := blk.Parts[len(blk.Parts)-1]
	_, ok := last.Body.Attributes["stage"]
	return ok
}

// installStage reads the stage of a script which says one, and reports what only scripts of the build have. It returns
// whether there is such a stage.
func (l *loader) installStage(s *decode.Body, c Script) bool {
	t := s.Text("stage")
	switch {
	case t.Range.Filename == "" || t.Value == StageInstall:
	case slices.Contains(Stages, t.Value):
		l.errorf(t.Range, "Stage of the build", "stage is \"install\" for scripts which run on the installed machine. To run a script while the image is built, write its place among the stages, for example: after = \"customize\"")
	default:
		l.errorf(t.Range, "Unknown stage", "There is no stage %q to run scripts in. Write \"install\" to run on the installed machine, or remove the attribute to run while the image is built.", t.Value)
	}
	for _, name := range []string{"after", "before"} {
		if s.Has(name) {
			l.errorf(s.Range(name), "No place to choose", "Scripts of the stage \"install\" run after everything else, in order of definition. Remove %s, or remove stage to run while the image is built.", name)
		}
	}
	if s.Has("inputs") {
		l.errorf(s.Range("inputs"), "No inputs", "A script on the installed machine sees what is installed and nothing of this one. Put what it needs into the image with file blocks.")
	}
	if strings.HasPrefix(string(c.Content), "\x7fELF") {
		l.errorf(s.Range("run"), "Not a script", "The installer runs scripts, whose first line names an interpreter, and %q is a compiled program. Put the program into the image with a file block, and run it in the script.", s.Text("run").Value)
	}
	return t.Value == StageInstall
}

// program reads inline or run.
func (l *loader) program(s *decode.Body, c *Script) {
	inline, run := s.Text("inline"), s.Text("run")
	switch hasInline, hasRun := s.Has("inline"), s.Has("run"); {
	case hasInline && hasRun:
		l.errorf(s.Range("run"), "Two programs", "Script %q has both inline and run. Remove one of them, or make two scripts.", c.Name)
	case !hasInline && !hasRun:
		l.errorf(c.Range, "Missing program", "Script %q does nothing. Write inline = <<-SH … SH, or run = \"scripts/%s.sh\".", c.Name, c.Name)
	case hasInline:
		c.Inline, c.Content = true, []byte(inline.Value)
		if inline.Range.Filename != "" && strings.TrimSpace(inline.Value) == "" {
			l.errorf(inline.Range, "Missing program", "Script %q is empty.", c.Name)
		}
	case run.Range.Filename != "":
		c.Run = l.abs(s.Dir("run"), run.Value)
		content, err := l.read(c.Run)
		if err != nil {
			l.errorf(run.Range, "Cannot read script", "The script %q cannot be read: %s. Relative paths start from the directory of the file they are written in.", run.Value, distros.Reason(err))
			return
		}
		c.Content = content
		if !strings.HasPrefix(string(content), "#!") && !strings.HasPrefix(string(content), "\x7fELF") {
			l.errorf(run.Range, "Script without interpreter", "The first line of %q must name its interpreter. Write: #!/bin/sh -e", run.Value)
		}
	}
}

// place reads after or before. later are scripts which run when there is no build any more.
func (l *loader) place(s *decode.Body, name string, scripts, later, stages []string) string {
	t := s.Text(name)
	if t.Range.Filename == "" || slices.Contains(scripts, t.Value) || slices.Contains(stages, t.Value) {
		return t.Value
	}
	if slices.Contains(Stages, t.Value) {
		l.errorf(t.Range, "No place for a script", "A script cannot run %s the stage %q. It can run %s %s, or another script.", name, t.Value, name, decode.Or(stages))
		return ""
	}
	if slices.Contains(later, t.Value) {
		l.errorf(t.Range, "Script of the installation", "Script %q runs on the installed machine, long after the image was built. Give this one stage = \"install\" too; such scripts run in order of definition.", t.Value)
		return ""
	}
	known := append(slices.Clone(stages), scripts...)
	l.errorf(t.Range, "Unknown stage or script", "There is no stage or script %q. %s", t.Value, decode.DidYouMean(t.Value, known))
	return ""
}

// ScriptOrder returns the scripts in the order they run: first those between the stages configure and customize, then
// those between customize and initramfs. Scripts nothing orders run in order of definition.
func (r *Recipe) ScriptOrder() (configured, customized []Script) {
	o := order(r.Scripts)
	return o.configured, o.customized
}

// ordered is the result of order: either a cycle of names, which begins and ends with the same script, or the two groups.
type ordered struct {
	cycle                  []string
	configured, customized []Script
}

// order sorts scripts topologically. The stages are nodes of the same graph: configure before customize before
// initramfs, every script between the first and the last. A script which only says before stands where its successor
// stands, directly in front; one which says nothing follows customize.
func order(scripts []Script) ordered {
	byName := map[string]Script{}
	for _, s := range scripts {
		byName[s.Name] = s
	}
	predecessors := map[string][]string{StageCustomize: {StageConfigure}}
	add := func(before, after string) { predecessors[after] = append(predecessors[after], before) }
	for _, s := range scripts {
		add(afterOf(s, byName, nil), s.Name)
		switch s.Before {
		case "", StageHarden, StageTrim, StageInitramfs: // behind every script
		default:
			add(s.Name, s.Before)
		}
	}

	var o ordered
	done := map[string]int{StageConfigure: 2} // 1: on the path, 2: placed
	late := false
	var path []string
	var visit func(name string) bool
	visit = func(name string) bool {
		switch done[name] {
		case 2:
			return true
		case 1:
			start := slices.Index(path, name)
			o.cycle = append(slices.Clone(path[start:]), name)
			return false
		}
		done[name] = 1
		path = append(path, name)
		for _, p := range predecessors[name] {
			if !visit(p) {
				return false
			}
		}
		path = path[:len(path)-1]
		done[name] = 2
		switch {
		case name == StageCustomize:
			late = true
		case late:
			o.customized = append(o.customized, byName[name])
		default:
			o.configured = append(o.configured, byName[name])
		}
		return true
	}
	// Whatever does not need customize comes first, so that scripts after configure are not held up behind it.
	for _, s := range scripts {
		if !needs(predecessors, s.Name, StageCustomize, map[string]bool{}) && !visit(s.Name) {
			return rotateToScript(o, byName)
		}
	}
	for _, name := range append([]string{StageCustomize}, names(scripts)...) {
		if !visit(name) {
			return rotateToScript(o, byName)
		}
	}
	return o
}

func names(scripts []Script) []string {
	var out []string
	for _, s := range scripts {
		out = append(out, s.Name)
	}
	return out
}

// afterOf is the stage or script a script follows. seen guards against circles, which order reports.
func afterOf(s Script, byName map[string]Script, seen []string) string {
	switch {
	case s.After == StageRootfs:
		return StageConfigure
	case s.After == StageContainers: // the images come with what the recipe adds, before any script that follows it
		return StageCustomize
	case s.After != "":
		return s.After
	case s.Before == StageCustomize:
		return StageConfigure
	case s.Before == "" || slices.Contains(FinishStages, s.Before) || slices.Contains(seen, s.Name):
		return StageCustomize
	}
	return afterOf(byName[s.Before], byName, append(seen, s.Name))
}

func needs(predecessors map[string][]string, name, target string, seen map[string]bool) bool {
	if name == target {
		return true
	}
	if seen[name] {
		return false
	}
	seen[name] = true
	for _, p := range predecessors[name] {
		if needs(predecessors, p, target, seen) {
			return true
		}
	}
	return false
}

// rotateToScript makes a cycle begin with a script, not with a stage, so that there is a place to point at.
func rotateToScript(o ordered, byName map[string]Script) ordered {
	ring := o.cycle[:len(o.cycle)-1]
	for i, name := range ring {
		if _, ok := byName[name]; ok {
			ring = append(slices.Clone(ring[i:]), ring[:i]...)
			break
		}
	}
	slices.Reverse(ring[1:]) // followed predecessors: turn into the order of running
	return ordered{cycle: append(ring, ring[0])}
}
