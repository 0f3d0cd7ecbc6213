package stages

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/imagefactory/imagefactory/stages/store"
)

// PlannedStage is what a build would do with one stage.
type PlannedStage struct {
	Stage  string       `json:"stage"`
	Cached bool         `json:"cached"`
	Key    store.Digest `json:"key,omitzero"` // zero when a stage before it has to run first
	Reason string       `json:"reason,omitempty"`
}

// Plan says what Run would do, without doing it. A stage after one that has to run
// is listed as to run, though it is skipped when that gives what it gave before.
func (g *Graph) Plan(recipe string, targets ...Node) ([]PlannedStage, error) {
	last := g.loadLast(recipe)
	wanted := g.wanted(targets)
	var plan []PlannedStage
	runs := map[*node]bool{}
	for _, n := range g.nodes {
		if !wanted[n] {
			continue
		}
		p := PlannedStage{Stage: n.stage.Name}
		var waits []string
		for _, need := range n.needs {
			if runs[need] {
				waits = append(waits, need.stage.Name)
			}
		}
		if len(waits) > 0 {
			p.Reason = "after " + strings.Join(waits, ", ")
			own, err := last.changedOwn(n)
			if err != nil {
				return nil, err
			}
			if own != "" {
				p.Reason = own + "; " + p.Reason
			}
			runs[n] = true
			plan = append(plan, p)
			continue
		}
		inputs, err := n.inputs()
		if err != nil {
			return nil, err
		}
		p.Key = n.key(inputs)
		value, ok := g.cache.load(p.Key)
		if ok && (n.valid == nil || n.valid(value)) {
			if err := n.store(value); err == nil {
				p.Cached = true
				n.value = value
				plan = append(plan, p)
				continue
			}
		}
		p.Reason = g.reason(n, p.Key, inputs, last)
		runs[n] = true
		plan = append(plan, p)
	}
	return plan, nil
}

// lastBuild is what stages had as inputs in the last build of a recipe.
type lastBuild struct {
	Stages map[string]lastStage `json:"stages"`
	next   map[string]lastStage // of the build that is under way
}

// lastStage is one stage of a lastBuild.
type lastStage struct {
	Key    store.Digest `json:"key"`
	Inputs []keyedInput `json:"inputs"`
}

func (g *Graph) lastPath(recipe string) string {
	return filepath.Join(g.cache.Dir, "last", store.Sum([]byte(recipe)).Hex()+".json")
}

// loadLast reads the record of recipe's last build. One that is not there or not
// readable is empty: it only serves explanations.
func (g *Graph) loadLast(recipe string) *lastBuild {
	last := &lastBuild{next: map[string]lastStage{}}
	if p, err := os.ReadFile(g.lastPath(recipe)); err == nil {
		if json.Unmarshal(p, last) != nil {
			last.Stages = nil
		}
	}
	return last
}

// saveLast records a build's inputs. Stages the build did not want keep their old
// ones. It may fail without harm, as loadLast may.
func (g *Graph) saveLast(recipe string, last *lastBuild) {
	merged := map[string]lastStage{}
	for _, n := range g.nodes {
		name := n.stage.Name
		if now, ok := last.next[name]; ok {
			merged[name] = now
		} else if before, ok := last.Stages[name]; ok {
			merged[name] = before
		}
	}
	if p, err := json.Marshal(lastBuild{Stages: merged}); err == nil {
		_ = writeAtomic(g.lastPath(recipe), p)
	}
}

// reason says why the stage n, with this key and these inputs, has no result that can
// be used.
func (g *Graph) reason(n *node, key store.Digest, inputs []keyedInput, last *lastBuild) string {
	before, known := last.Stages[n.stage.Name]
	if known {
		if changes := changedInputs(before.Inputs, inputs); changes != "" {
			return changes
		}
		if before.Key != key {
			return "the code of this stage changed"
		}
	}
	if _, ok := g.cache.load(key); ok {
		return "what it wrote outside of the cache is gone or changed"
	}
	if known {
		return "its result is no longer in the cache"
	}
	return "not built before"
}

// changedOwn says which of the node's declared inputs changed, for a node whose
// needs are not known yet.
func (l *lastBuild) changedOwn(n *node) (string, error) {
	before, ok := l.Stages[n.stage.Name]
	if !ok {
		return "not built before", nil
	}
	inputs, err := n.declaredInputs()
	if err != nil {
		return "", err
	}
	var declared []keyedInput
	for _, in := range before.Inputs {
		if !in.Stage {
			declared = append(declared, in)
		}
	}
	return changedInputs(declared, inputs), nil
}

// changedInputs names the inputs that differ, with their values where those are
// short; "" when there is no difference.
func changedInputs(before, after []keyedInput) string {
	type id struct {
		name  string
		stage bool
	}
	old := map[id]keyedInput{}
	for _, in := range before {
		old[id{in.Name, in.Stage}] = in
	}
	var changes []string
	for _, in := range after {
		was, ok := old[id{in.Name, in.Stage}]
		delete(old, id{in.Name, in.Stage})
		switch {
		case !ok:
			changes = append(changes, in.Name+" is new")
		case was.Digest == in.Digest:
		case was.Text != "" && in.Text != "":
			changes = append(changes, fmt.Sprintf("%s changed from %s to %s", in.Name, was.Text, in.Text))
		default:
			changes = append(changes, in.Name+" changed")
		}
	}
	for _, in := range before {
		if _, gone := old[id{in.Name, in.Stage}]; gone {
			changes = append(changes, in.Name+" is gone")
		}
	}
	return strings.Join(changes, "; ")
}
