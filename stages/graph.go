package stages

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/imagefactory/imagefactory/stages/store"
)

// Input is something a stage's result depends on. Value is encoded as JSON; it
// should be small: the digest of a file, not the file.
type Input struct {
	Name  string
	Value any
}

// Stage declares a stage.
type Stage struct {
	Name    string  // what people call it; unique in the graph
	Kind    string  // what code it runs; part of the key, where Name is not
	Version int     // of that code: raised when it gives something else for the same inputs
	Inputs  []Input // in the order in which they enter the key
	Needs   []Node  // stages whose results are inputs too
	After   []Node  // stages to let go first, where both run: only a matter of time, not of the result
}

// Node is a stage of a graph.
type Node interface {
	node() *node
}

// node is a stage as the graph runs it.
type node struct {
	stage Stage
	needs []*node
	after []*node
	run   func(context.Context, *Run) (any, error)
	valid func(json.RawMessage) bool
	store func(json.RawMessage) error // gives the handle its value

	done   chan struct{}
	value  json.RawMessage
	err    error
	record Record
}

// Handle refers to a stage whose result is a T.
type Handle[T any] struct {
	n     *node
	value T
}

func (h *Handle[T]) node() *node { return h.n }

// Name returns the name of the stage.
func (h *Handle[T]) Name() string { return h.n.stage.Name }

// Result returns what the stage gave. It may be called from stages which need it,
// and after Graph.Run.
func (h *Handle[T]) Result() T { return h.value }

// Run is what a running stage gets from the engine.
type Run struct {
	Cache *Cache
	Stage string // its name
	emit  Sink
}

// NewRun returns a Run for work of a stage's kind outside of any graph, such as asking
// repositories. Its events are those of the stage named stage.
func NewRun(cache *Cache, stage string, sink Sink) *Run {
	return &Run{Cache: cache, Stage: stage, emit: Serial(sink)}
}

// Emit tells an event of the stage.
func (r *Run) Emit(e Event) {
	e.Stage = r.Stage
	r.emit(e)
}

// Warn tells a warning: something the user should know, though the build goes on.
func (r *Run) Warn(format string, args ...any) {
	r.Emit(Event{Kind: Warning, Text: fmt.Sprintf(format, args...)})
}

// Graph is a build's stages. Add them in an order in which every stage comes after
// those it needs.
type Graph struct {
	cache *Cache
	nodes []*node
	names map[string]struct{}
}

// NewGraph returns an empty graph over cache.
func NewGraph(cache *Cache) *Graph {
	return &Graph{cache: cache, names: map[string]struct{}{}}
}

// Add adds a stage that computes a T. It panics when the name is taken: names come
// from code and from recipes that have been validated.
func Add[T any](g *Graph, s Stage, run func(context.Context, *Run) (T, error)) *Handle[T] {
	return AddChecked(g, s, nil, run)
}

// AddChecked is Add for a stage that leaves something outside of the cache: a
// result counts as cached only while valid says that it still stands.
func AddChecked[T any](g *Graph, s Stage, valid func(T) bool, run func(context.Context, *Run) (T, error)) *Handle[T] {
	if _, taken := g.names[s.Name]; taken {
		panic("stages: two stages named " + s.Name)
	}
	g.names[s.Name] = struct{}{}
	h := &Handle[T]{}
	n := &node{stage: s, done: make(chan struct{})}
	for _, need := range s.Needs {
		n.needs = append(n.needs, need.node())
	}
	for _, a := range s.After {
		n.after = append(n.after, a.node())
	}
	n.run = func(ctx context.Context, r *Run) (any, error) { return run(ctx, r) }
	n.store = func(p json.RawMessage) error { return json.Unmarshal(p, &h.value) }
	if valid != nil {
		n.valid = func(p json.RawMessage) bool {
			var v T
			return json.Unmarshal(p, &v) == nil && valid(v)
		}
	}
	h.n = n
	g.nodes = append(g.nodes, n)
	return h
}

// keyedInput is an input as it enters a key.
type keyedInput struct {
	Name   string       `json:"name"`
	Digest store.Digest `json:"digest"`

	// Not part of the key:
	Text  string `json:"text,omitempty"`  // the value where it is short
	Stage bool   `json:"stage,omitempty"` // it is the result of a stage that is needed
}

const shortInput = 120 // bytes of JSON that plan can show

// inputs returns the node's inputs. Those of the stages it needs must be known.
func (n *node) inputs() ([]keyedInput, error) {
	inputs, err := n.declaredInputs()
	if err != nil {
		return nil, err
	}
	for _, need := range n.needs {
		inputs = append(inputs, keyedInput{Name: need.stage.Name, Digest: store.Sum(need.value), Stage: true})
	}
	return inputs, nil
}

// declaredInputs returns the inputs that are no other stage's result.
func (n *node) declaredInputs() ([]keyedInput, error) {
	var inputs []keyedInput
	for _, in := range n.stage.Inputs {
		p, err := json.Marshal(in.Value)
		if err != nil {
			return nil, fmt.Errorf("stage %s, input %s: %w", n.stage.Name, in.Name, err)
		}
		k := keyedInput{Name: in.Name, Digest: store.Sum(p)}
		if len(p) <= shortInput {
			k.Text = string(p)
		}
		inputs = append(inputs, k)
	}
	return inputs, nil
}

// key returns the key of a stage with the given inputs.
func (n *node) key(inputs []keyedInput) store.Digest {
	bare := make([]keyedInput, len(inputs))
	for i, in := range inputs {
		bare[i] = keyedInput{Name: in.Name, Digest: in.Digest}
	}
	return Key(n.stage.Kind, n.stage.Version, bare)
}

// Key returns the key of the function kind, in the given version of its code, over
// value. It is for results that are cached apart from any graph, with Memo.
func Key(kind string, version int, value any) store.Digest {
	p, err := json.Marshal(struct {
		Format  int    `json:"format"`
		Kind    string `json:"kind"`
		Version int    `json:"version"`
		Inputs  any    `json:"inputs"`
	}{1, kind, version, value})
	if err != nil {
		panic("stages: a key of something that is not JSON: " + err.Error())
	}
	return store.Sum(p)
}

// Record is what became of a stage in a build.
type Record struct {
	Stage  string       `json:"stage"`
	Key    store.Digest `json:"key"`
	Cached bool         `json:"cached"`
	Millis int64        `json:"ms"` // wall time in milliseconds
}

// StageError says which stage failed.
type StageError struct {
	Stage string
	Err   error
}

func (e *StageError) Error() string { return fmt.Sprintf("stage %s: %v", e.Stage, e.Err) }

// Unwrap returns the cause.
func (e *StageError) Unwrap() error { return e.Err }

// Run runs the stages that targets need, independent ones in parallel, and returns
// a record of each in the order of the graph. recipe is the recipe's path, under
// which the inputs are remembered for Plan. The first failure cancels the others;
// the error is then a *StageError, or the cause of ctx's end. Run may be called
// once.
func (g *Graph) Run(ctx context.Context, recipe string, sink Sink, targets ...Node) ([]Record, error) {
	emit := Serial(sink)
	last := g.loadLast(recipe)
	wanted := g.wanted(targets)
	parent := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var wg sync.WaitGroup
	var mu sync.Mutex // of last.next
	for _, n := range g.nodes {
		if !wanted[n] {
			continue
		}
		wg.Go(func() {
			defer close(n.done)
			for _, need := range n.needs {
				<-need.done
				if need.err != nil {
					n.err = need.err
					return
				}
			}
			for _, a := range n.after {
				if wanted[a] {
					<-a.done
				}
			}
			if n.err = context.Cause(ctx); n.err != nil {
				return
			}
			inputs, err := g.runNode(ctx, n, emit, last)
			if err != nil {
				n.err = err
				cancel(err)
				return
			}
			mu.Lock()
			last.next[n.stage.Name] = lastStage{Key: n.record.Key, Inputs: inputs}
			mu.Unlock()
		})
	}
	wg.Wait()
	if err := context.Cause(parent); err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	g.saveLast(recipe, last)
	var records []Record
	for _, n := range g.nodes {
		if wanted[n] {
			records = append(records, n.record)
		}
	}
	return records, nil
}

// runNode runs one node whose needs are done.
func (g *Graph) runNode(ctx context.Context, n *node, emit Sink, last *lastBuild) ([]keyedInput, error) {
	name := n.stage.Name
	inputs, err := n.inputs()
	if err != nil {
		return nil, err
	}
	key := n.key(inputs)
	start := time.Now()
	ran := false
	value, cached, err := g.cache.memo(ctx, key, name, func(ctx context.Context) (any, error) {
		ran = true
		start = time.Now()
		emit(Event{Kind: StageStarted, Stage: name, Text: g.reason(n, key, inputs, last)})
		return n.run(ctx, &Run{Cache: g.cache, Stage: name, emit: emit})
	}, n.valid)
	if err == nil {
		err = n.store(value)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause // whatever it says, it was stopped because of something else
		}
		if ran {
			emit(Event{Kind: StageFailed, Stage: name, Text: err.Error()})
		}
		return nil, &StageError{Stage: name, Err: err}
	}
	n.value = value
	n.record = Record{Stage: name, Key: key, Cached: cached}
	if cached {
		emit(Event{Kind: StageCached, Stage: name})
	} else {
		n.record.Millis = time.Since(start).Milliseconds()
		emit(Event{Kind: StageDone, Stage: name, Millis: n.record.Millis})
	}
	return inputs, nil
}

// wanted returns the nodes that targets need, themselves included.
func (g *Graph) wanted(targets []Node) map[*node]bool {
	wanted := map[*node]bool{}
	var visit func(*node)
	visit = func(n *node) {
		if !wanted[n] {
			wanted[n] = true
			for _, need := range n.needs {
				visit(need)
			}
		}
	}
	for _, t := range targets {
		visit(t.node())
	}
	return wanted
}

// Value is what a stage gave.
type Value struct {
	Stage      string
	Digest     store.Digest   // of the result's JSON document
	References []store.Digest // objects that the result names, in its order
}

// Values returns what the stages of a finished Run gave, in the order of the graph.
func (g *Graph) Values() []Value {
	var values []Value
	for _, n := range g.nodes {
		if n.value != nil {
			values = append(values, Value{Stage: n.stage.Name, Digest: store.Sum(n.value), References: references(n.value)})
		}
	}
	return values
}
