package stages

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// childEnv names the function of children that a test process is to run instead of
// the tests.
const childEnv = "STAGES_TEST_CHILD"

// children are what tests do in other processes. An error becomes the child's
// output and exit status 1.
var children = map[string]func(args []string) error{
	"memo": childMemo,
	"hold": childHold,
	"open": func(args []string) error { _, err := OpenCache(args[0]); return err },
}

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		if err := children[name](os.Args[1:]); err != nil {
			fmt.Print(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child returns a command that runs one of children.
func child(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	return cmd
}

// recorder collects events as "kind stage text".
type recorder struct{ events []Event }

func (r *recorder) sink(e Event) { r.events = append(r.events, e) }

func (r *recorder) lines() []string {
	var lines []string
	for _, e := range r.events {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Kind, e.Stage, e.Text)))
	}
	return lines
}

// value is a stage that gives v.
func value[T any](v T) func(context.Context, *Run) (T, error) {
	return func(context.Context, *Run) (T, error) { return v, nil }
}

func mustRun(t testing.TB, g *Graph, sink Sink, targets ...Node) []Record {
	t.Helper()
	records, err := g.Run(t.Context(), "recipe.hcl", sink, targets...)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func results(t testing.TB, c *Cache) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(c.Dir, "results", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// TestKeyFormat computes a key as doc.go describes it.
func TestKeyFormat(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	g := NewGraph(c)
	first := Add(g, Stage{Name: "first", Kind: "one", Version: 1}, value(map[string]int{"b": 1, "a": 2}))
	second := Add(g, Stage{Name: "any name", Kind: "two", Version: 7, Inputs: []Input{{"size", 5}, {"text", "é<"}}, Needs: []Node{first}}, value(0))
	records := mustRun(t, g, nil, second)
	sum := func(s string) string { return store.Sum([]byte(s)).String() }
	want := sum(`{"format":1,"kind":"two","version":7,"inputs":[` +
		`{"name":"size","digest":"` + sum("5") + `"},` +
		`{"name":"text","digest":"` + sum(`"é\u003c"`) + `"},` +
		`{"name":"first","digest":"` + sum(`{"a":2,"b":1}`) + `"}]}`)
	if got := records[1].Key.String(); got != want {
		t.Errorf("key %s, want %s", got, want)
	}
	p, err := os.ReadFile(c.resultPath(records[0].Key))
	if want := `{"key":"` + records[0].Key.String() + `","stage":"first","value":{"a":2,"b":1}}` + "\n"; err != nil || string(p) != want {
		t.Errorf("the result file holds %s, %v, want %s", p, err, want)
	}
}

func TestKeyDependsOnWhatMatters(t *testing.T) {
	key := func(change func(s *Stage)) store.Digest {
		s := Stage{Name: "n", Kind: "k", Version: 1, Inputs: []Input{{"a", 1}, {"b", 2}}}
		change(&s)
		n := &node{stage: s}
		inputs, err := n.inputs()
		if err != nil {
			t.Fatal(err)
		}
		return n.key(inputs)
	}
	base := key(func(*Stage) {})
	if key(func(s *Stage) { s.Name = "other" }) != base {
		t.Error("the key depends on the stage's name")
	}
	for name, change := range map[string]func(*Stage){
		"kind":    func(s *Stage) { s.Kind = "other" },
		"version": func(s *Stage) { s.Version = 2 },
		"value":   func(s *Stage) { s.Inputs[0].Value = 3 },
		"name":    func(s *Stage) { s.Inputs[0].Name = "c" },
		"order":   func(s *Stage) { slices.Reverse(s.Inputs) },
		"number":  func(s *Stage) { s.Inputs = s.Inputs[:1] },
		"type":    func(s *Stage) { s.Inputs[0].Value = "1" },
	} {
		if key(change) == base {
			t.Errorf("the key does not depend on the %s of the inputs", name)
		}
	}
}

func TestSecondRunDoesNothing(t *testing.T) {
	dir := t.TempDir()
	type result struct {
		Text string
		Tree store.Digest
	}
	build := func() (lines []string, records []Record, got result) {
		c := openTestCache(t, dir)
		defer c.Close()
		g := NewGraph(c)
		a := Add(g, Stage{Name: "a", Kind: "a", Version: 1}, func(ctx context.Context, r *Run) (result, error) {
			d, err := tree.Save(r.Cache.Store, tree.Empty(tree.Time{}))
			return result{"from a", d}, err
		})
		b := Add(g, Stage{Name: "b", Kind: "b", Version: 1, Needs: []Node{a}}, func(context.Context, *Run) (result, error) {
			r := a.Result()
			r.Text += ", through b"
			return r, nil
		})
		var rec recorder
		records = mustRun(t, g, rec.sink, b)
		if b.Name() != "b" {
			t.Errorf("the handle's name is %q", b.Name())
		}
		return rec.lines(), records, b.Result()
	}
	want := result{"from a, through b", tree.Empty(tree.Time{}).Digest()}
	lines, first, got := build()
	if got != want || first[0].Cached || first[1].Cached {
		t.Errorf("first build: %+v, %+v", got, first)
	}
	if want := []string{"stage-started a not built before", "stage-done a", "stage-started b not built before", "stage-done b"}; !slices.Equal(lines, want) {
		t.Errorf("first build: %q", lines)
	}
	lines, second, got := build()
	if got != want || !second[0].Cached || !second[1].Cached || second[0].Millis != 0 || second[1].Key != first[1].Key {
		t.Errorf("second build: %+v, %+v", got, second)
	}
	if want := []string{"stage-cached a", "stage-cached b"}; !slices.Equal(lines, want) {
		t.Errorf("second build: %q", lines)
	}
}

func TestEarlyCutOff(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	ran := 0
	for version := range 3 {
		g := NewGraph(c)
		a := Add(g, Stage{Name: "a", Kind: "a", Version: version}, value(version/2)) // 0, 0, 1
		b := Add(g, Stage{Name: "b", Kind: "b", Version: 1, Needs: []Node{a}}, func(context.Context, *Run) (int, error) {
			ran++
			return a.Result() * 10, nil
		})
		mustRun(t, g, nil, b)
		if want := []int{1, 1, 2}[version]; ran != want {
			t.Errorf("after build %d, the second stage ran %d times, want %d", version, ran, want)
		}
	}
}

func TestIndependentStagesRunTogether(t *testing.T) {
	g := NewGraph(openTestCache(t, t.TempDir()))
	const n = 5
	var barrier sync.WaitGroup
	barrier.Add(n)
	var targets []Node
	for i := range n {
		targets = append(targets, Add(g, Stage{Name: fmt.Sprint("s", i), Kind: "s", Version: 1, Inputs: []Input{{"i", i}}}, func(context.Context, *Run) (int, error) {
			barrier.Done()
			barrier.Wait() // forever, unless all run at the same time
			return i, nil
		}))
	}
	sum := Add(g, Stage{Name: "sum", Kind: "sum", Version: 1, Needs: targets}, func(context.Context, *Run) (int, error) {
		total := 0
		for _, n := range targets {
			total += n.(*Handle[int]).Result()
		}
		return total, nil
	})
	records := mustRun(t, g, nil, sum)
	if sum.Result() != 10 || len(records) != n+1 || records[2].Stage != "s2" {
		t.Errorf("%d, %+v", sum.Result(), records)
	}
}

func TestFailureCancelsSiblings(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	broken := errors.New("it broke")
	build := func(fail bool) ([]string, error) {
		g := NewGraph(c)
		done := Add(g, Stage{Name: "done", Kind: "done", Version: 1}, value(1))
		started := make(chan struct{})
		bad := Add(g, Stage{Name: "bad", Kind: "bad", Version: 1, Needs: []Node{done}}, func(ctx context.Context, r *Run) (int, error) {
			if !fail {
				return 2, nil
			}
			<-started
			return 0, broken
		})
		sibling := Add(g, Stage{Name: "sibling", Kind: "sibling", Version: 1, Needs: []Node{done}}, func(ctx context.Context, r *Run) (store.Digest, error) {
			b, err := r.Cache.Store.NewBatch()
			if err != nil {
				return store.Digest{}, err
			}
			defer b.Abort()
			d, err := b.AddBytes([]byte("half"))
			if err != nil || !fail {
				return d, errors.Join(err, b.Commit())
			}
			close(started)
			<-ctx.Done()
			return store.Digest{}, errors.New("killed by a signal") // whatever a cancelled stage says
		})
		after := Add(g, Stage{Name: "after", Kind: "after", Version: 1, Needs: []Node{bad, sibling}}, value(3))
		var rec recorder
		records, err := g.Run(t.Context(), "recipe.hcl", rec.sink, after)
		if fail && records != nil {
			t.Errorf("records of a failed build: %+v", records)
		}
		return rec.lines(), err
	}
	lines, err := build(true)
	var stage *StageError
	if !errors.As(err, &stage) || stage.Stage != "bad" || !errors.Is(err, broken) || err.Error() != "stage bad: it broke" {
		t.Errorf("the error is %v", err)
	}
	slices.Sort(lines)
	if want := []string{"stage-done done", "stage-failed bad it broke", "stage-started bad not built before", "stage-started done not built before", "stage-started sibling not built before"}; !slices.Equal(lines, want) {
		t.Errorf("events: %q", lines)
	}
	if n := len(results(t, c)); n != 1 {
		t.Errorf("%d results, want that of the stage which ended well", n)
	}
	if left, _ := filepath.Glob(filepath.Join(c.Dir, "store", "*", "*")); len(left) != 0 {
		t.Errorf("the store holds %v", left)
	}
	lines, err = build(false)
	if err != nil || !slices.Contains(lines, "stage-cached done") || len(results(t, c)) != 4 {
		t.Errorf("the next build: %v, %q, %d results", err, lines, len(results(t, c)))
	}
}

func TestCancelledBuild(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupt := errors.New("interrupted")
	g := NewGraph(c)
	a := Add(g, Stage{Name: "a", Kind: "a", Version: 1}, func(ctx context.Context, r *Run) (int, error) {
		cancel(interrupt)
		<-ctx.Done()
		return 0, ctx.Err()
	})
	b := Add(g, Stage{Name: "b", Kind: "b", Version: 1, Needs: []Node{a}}, value(1))
	var rec recorder
	_, err := g.Run(ctx, "recipe.hcl", rec.sink, b)
	if !errors.Is(err, interrupt) {
		t.Errorf("the error is %v", err)
	}
	if want := []string{"stage-started a not built before"}; !slices.Equal(rec.lines(), want) {
		t.Errorf("events: %q", rec.lines())
	}
	if len(results(t, c)) != 0 {
		t.Errorf("results: %v", results(t, c))
	}
	g = NewGraph(c)
	a = Add(g, Stage{Name: "a", Kind: "a", Version: 1}, value(5))
	mustRun(t, g, nil, a)
	if a.Result() != 5 {
		t.Error("the next build does not run the stage")
	}
	g = NewGraph(c)
	a = Add(g, Stage{Name: "a", Kind: "a", Version: 2}, func(context.Context, *Run) (int, error) {
		t.Error("a stage of a build that was cancelled before runs")
		return 0, nil
	})
	if _, err := g.Run(ctx, "recipe.hcl", nil, a); !errors.Is(err, interrupt) {
		t.Errorf("the error is %v", err)
	}
}

func TestBadResults(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	absent := store.Sum([]byte("absent"))
	run := func(v any) error {
		g := NewGraph(c)
		_, err := g.Run(t.Context(), "recipe.hcl", nil, Add(g, Stage{Name: "a", Kind: "a", Version: 1}, value(v)))
		return err
	}
	if err := run(func() {}); err == nil || !strings.HasPrefix(err.Error(), "stage a: the result cannot be stored: json: unsupported type") {
		t.Errorf("a result that is not JSON: %v", err)
	}
	want := "stage a: the result refers to what the store does not have: object " + absent.String() + ": not in the store"
	if err := run(absent); err == nil || err.Error() != want {
		t.Errorf("a result that refers to what is not there: %v, want %s", err, want)
	}
	g := NewGraph(c)
	in := Add(g, Stage{Name: "a", Kind: "a", Version: 1, Inputs: []Input{{"f", func() {}}}}, value(0))
	if _, err := g.Run(t.Context(), "recipe.hcl", nil, in); err == nil || err.Error() != "stage a, input f: json: unsupported type: func()" {
		t.Errorf("an input that is not JSON: %v", err)
	}
	if len(results(t, c)) != 0 {
		t.Error("bad results are remembered")
	}
	defer func() {
		if recover() == nil {
			t.Error("two stages have one name")
		}
	}()
	Add(g, Stage{Name: "a"}, value(0))
}

func TestMemoAmongGoroutines(t *testing.T) {
	dir := t.TempDir()
	key := Key("test", 1, "x")
	var ran, cached atomic.Int32
	var wg sync.WaitGroup
	for range 3 {
		c := openTestCache(t, dir)
		for range 4 {
			wg.Go(func() {
				v, hit, err := Memo(t.Context(), c, key, "x", func(context.Context) (string, error) {
					ran.Add(1)
					return "value", nil
				})
				if v != "value" || err != nil {
					t.Errorf("Memo: %q, %v", v, err)
				}
				if hit {
					cached.Add(1)
				}
			})
		}
	}
	wg.Wait()
	if ran.Load() != 1 || cached.Load() != 11 {
		t.Errorf("it ran %d times and was cached %d times", ran.Load(), cached.Load())
	}
}

// childMemo computes ten values and notes each that it did compute.
func childMemo(args []string) error {
	c, err := OpenCache(args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range 10 {
		d, _, err := Memo(context.Background(), c, Key("test", 1, i), "x", func(context.Context) (store.Digest, error) {
			log, err := os.OpenFile(args[1], os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
			if err != nil {
				return store.Digest{}, err
			}
			defer log.Close()
			fmt.Fprintln(log, i)
			return c.Store.Put(fmt.Append(nil, "value ", i))
		})
		if err != nil {
			return err
		}
		if p, err := c.Store.ReadAll(d); err != nil || string(p) != fmt.Sprint("value ", i) {
			return fmt.Errorf("value %d is %q, %v", i, p, err)
		}
	}
	return nil
}

func TestMemoAmongProcesses(t *testing.T) {
	dir, log := t.TempDir(), filepath.Join(t.TempDir(), "log")
	var cmds []*exec.Cmd
	for range 4 {
		cmd := child("memo", dir, log)
		cmd.Stdout = new(strings.Builder)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, cmd.Stdout)
		}
	}
	p, err := os.ReadFile(log)
	if want := "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"; err != nil || string(p) != want {
		t.Errorf("computed: %q, %v", p, err)
	}
}

func TestMemoErrors(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	key := Key("test", 1, "x")
	broken := errors.New("broken")
	if _, _, err := Memo(t.Context(), c, key, "x", func(context.Context) (int, error) { return 1, broken }); err != broken {
		t.Errorf("Memo: %v", err)
	}
	// A waiting call ends when its context does.
	running, finish := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		v, _, err := Memo(t.Context(), c, key, "x", func(context.Context) (int, error) {
			close(running)
			<-finish
			return 2, nil
		})
		if v != 2 || err != nil {
			t.Errorf("after an error: %d, %v", v, err)
		}
	})
	<-running
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, _, err := Memo(ctx, c, key, "x", func(context.Context) (int, error) { t.Error("it runs twice"); return 0, nil }); err != enough {
		t.Errorf("waiting: %v", err)
	}
	close(finish)
	wg.Wait()
	if v, hit, err := Memo(t.Context(), c, key, "x", func(context.Context) (int, error) { return 3, nil }); v != 2 || !hit || err != nil {
		t.Errorf("afterwards: %d, %v, %v", v, hit, err)
	}
}

func TestPlan(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	long := strings.Repeat("x", 200)
	type recipe struct {
		inputs, lateInputs []Input
		version            int
		output             string // what the second stage gives
		rename             string
	}
	recipes := recipe{inputs: []Input{{"size", "8GiB"}, {"packages", long}, {"fast", true}}, version: 1, output: "out"}
	stands := true
	graph := func(r recipe) (*Graph, Node) {
		g := NewGraph(c)
		a := Add(g, Stage{Name: "a", Kind: "a", Version: r.version, Inputs: r.inputs}, value(r.output))
		b := Add(g, Stage{Name: "b" + r.rename, Kind: "b", Version: 1, Inputs: r.lateInputs, Needs: []Node{a}}, value(1))
		out := AddChecked(g, Stage{Name: "out", Kind: "out", Version: 1, Needs: []Node{b}}, func(int) bool { return stands }, value(2))
		return g, out
	}
	plan := func(r recipe) string {
		t.Helper()
		g, target := graph(r)
		p, err := g.Plan("recipe.hcl", target)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, s := range p {
			text := s.Stage + ": "
			if s.Cached {
				text += "cached"
			}
			text += s.Reason
			if s.Key.IsZero() != strings.Contains(s.Reason, "after ") {
				text += fmt.Sprintf(" (key %s)", s.Key)
			}
			lines = append(lines, text)
		}
		return strings.Join(lines, "\n")
	}
	check := func(what string, r recipe, want ...string) {
		t.Helper()
		if got := plan(r); got != strings.Join(want, "\n") {
			t.Errorf("%s:\n got %s\nwant %s", what, got, strings.Join(want, "\n     "))
		}
	}
	with := func(change func(r *recipe)) recipe {
		r := recipes
		r.inputs, r.lateInputs = slices.Clone(r.inputs), slices.Clone(r.lateInputs)
		change(&r)
		return r
	}
	check("nothing built", recipes, "a: not built before", "b: not built before; after a", "out: not built before; after b")
	if len(results(t, c)) != 0 {
		t.Error("planning built something")
	}
	g, target := graph(recipes)
	mustRun(t, g, nil, target)
	check("nothing changed", recipes, "a: cached", "b: cached", "out: cached")
	check("a short input", with(func(r *recipe) { r.inputs[0].Value = "9GiB" }), `a: size changed from "8GiB" to "9GiB"`, "b: after a", "out: after b")
	check("a long input", with(func(r *recipe) { r.inputs[1].Value = long + "x" }), "a: packages changed", "b: after a", "out: after b")
	check("several", with(func(r *recipe) {
		r.inputs = []Input{{"size", 1}, {"new", 1}, {"fast", true}}
	}), `a: size changed from "8GiB" to 1; new is new; packages is gone`, "b: after a", "out: after b")
	check("its own and another's", with(func(r *recipe) { r.inputs[2].Value = false; r.lateInputs = []Input{{"x", 1}} }),
		"a: fast changed from true to false", "b: x is new; after a", "out: after b")
	check("only its own", with(func(r *recipe) { r.lateInputs = []Input{{"a", 1}} }), "a: cached", "b: a is new", "out: after b")
	check("the order of inputs", with(func(r *recipe) { slices.Reverse(r.inputs) }), "a: the code of this stage changed", "b: after a", "out: after b")
	check("the code", with(func(r *recipe) { r.version = 2 }), "a: the code of this stage changed", "b: after a", "out: after b")
	check("a new name", with(func(r *recipe) { r.rename = "2" }), "a: cached", "b2: cached", "out: b2 is new; b is gone")

	stands = false
	check("outputs are gone", recipes, "a: cached", "b: cached", "out: what it wrote outside of the cache is gone or changed")
	var rec recorder
	g, target = graph(recipes)
	mustRun(t, g, rec.sink, target)
	if want := []string{"stage-cached a", "stage-cached b", "stage-started out what it wrote outside of the cache is gone or changed", "stage-done out"}; !slices.Equal(rec.lines(), want) {
		t.Errorf("events: %q", rec.lines())
	}
	stands = true

	// A stage whose result changed under the same inputs, as after a new version.
	g, target = graph(with(func(r *recipe) { r.version = 2; r.output = "other" }))
	rec = recorder{}
	mustRun(t, g, rec.sink, target)
	if want := []string{"stage-started a the code of this stage changed", "stage-done a", "stage-started b a changed", "stage-done b", "stage-cached out"}; !slices.Equal(rec.lines(), want) {
		t.Errorf("events: %q", rec.lines())
	}
	for _, path := range results(t, c) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	check("no results", with(func(r *recipe) { r.version = 2 }), "a: its result is no longer in the cache", "b: after a", "out: after b")

	// Other recipes have other last builds; what is not a record of one counts as none.
	g, target = graph(recipes)
	if p, err := g.Plan("other.hcl", target); err != nil || p[0].Reason != "not built before" {
		t.Errorf("another recipe: %+v, %v", p, err)
	}
	if err := os.WriteFile(g.lastPath("recipe.hcl"), []byte(`{"stages":{"a":[]`), 0o644); err != nil {
		t.Fatal(err)
	}
	check("a damaged record", recipes, "a: not built before", "b: not built before; after a", "out: not built before; after b")
}

func TestTargets(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	ran := map[string]int{}
	graph := func(size int) (*Graph, map[string]Node) {
		g := NewGraph(c)
		add := func(name string, inputs []Input, needs ...Node) Node {
			return Add(g, Stage{Name: name, Kind: name, Version: 1, Inputs: inputs, Needs: needs}, func(context.Context, *Run) (int, error) {
				ran[name]++
				return 0, nil
			})
		}
		disk := add("disk", nil)
		return g, map[string]Node{
			"raw":   add("raw", []Input{{"size", size}}, disk),
			"qcow2": add("qcow2", []Input{{"size", size}}, disk),
		}
	}
	g, outputs := graph(1)
	mustRun(t, g, nil, outputs["raw"], outputs["qcow2"])
	g, outputs = graph(2)
	records := mustRun(t, g, nil, outputs["raw"])
	if len(records) != 2 || records[0].Stage != "disk" || records[1].Stage != "raw" {
		t.Errorf("records: %+v", records)
	}
	if want := map[string]int{"disk": 1, "raw": 2, "qcow2": 1}; !reflect.DeepEqual(ran, want) {
		t.Errorf("ran: %v", ran)
	}
	// What was not wanted is compared with when it was built last.
	g, outputs = graph(2)
	plan, err := g.Plan("recipe.hcl", outputs["qcow2"])
	if err != nil || len(plan) != 2 || plan[1].Reason != "size changed from 1 to 2" {
		t.Errorf("plan: %+v, %v", plan, err)
	}
}

func TestResultsThatLostTheirObjects(t *testing.T) {
	contents := []byte("contents of a file")
	d := store.Sum(contents)
	save := func(st *store.Store, kind string) (store.Digest, error) {
		if _, err := st.Put(contents); err != nil {
			return store.Digest{}, err
		}
		switch kind {
		case "tree":
			t, err := tree.New([]tree.Entry{{Path: tree.Root, Type: tree.Directory}, {Path: "f", Type: tree.Regular, Digest: d, Size: int64(len(contents))}})
			if err != nil {
				return store.Digest{}, err
			}
			return tree.Save(st, t)
		case "image":
			return st.Put(disk.Image{Size: 4096, Extents: []disk.Extent{{Offset: 0, Length: int64(len(contents)), Object: d}}}.Encode())
		}
		return d, nil
	}
	for _, kind := range []string{"object", "tree", "image"} {
		for _, lost := range []string{"contents", "container", "result", "damaged container"} {
			if kind == "object" && strings.HasSuffix(lost, "container") {
				continue
			}
			t.Run(kind+" without "+lost, func(t *testing.T) {
				dir := t.TempDir()
				ran := 0
				build := func() {
					c := openTestCache(t, dir)
					defer c.Close()
					g := NewGraph(c)
					a := Add(g, Stage{Name: "a", Kind: "a", Version: 1}, func(ctx context.Context, r *Run) (store.Digest, error) {
						ran++
						return save(r.Cache.Store, kind)
					})
					mustRun(t, g, nil, a)
					if a.Result().IsZero() || !c.Store.Has(d) || c.missing([]byte(`"`+a.Result().String()+`"`)) != nil {
						t.Error("a build leaves an incomplete result")
					}
				}
				build()
				c := openTestCache(t, dir)
				switch lost {
				case "result":
					if err := os.WriteFile(results(t, c)[0], []byte(`{"key":"sha256`), 0o644); err != nil {
						t.Fatal(err)
					}
				case "damaged container":
					// The container's pack is the larger one.
					packs, err := filepath.Glob(filepath.Join(dir, "store", "packs", "*"))
					if err != nil {
						t.Fatal(err)
					}
					slices.SortFunc(packs, func(a, b string) int { return int(fileSize(t, b) - fileSize(t, a)) })
					damageByte(t, packs[0], 8+20)
				default:
					live := map[store.Digest]struct{}{}
					entries, _, err := c.inventory(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					for ref := range entries[0].refs {
						if (ref == d) != (lost == "contents") {
							live[ref] = struct{}{}
						}
					}
					if _, err := c.Store.Sweep(live); err != nil {
						t.Fatal(err)
					}
				}
				c.Close()
				build()
				if ran != 2 {
					t.Errorf("the stage ran %d times, want 2", ran)
				}
				build()
				if ran != 2 {
					t.Error("after it was mended the stage ran again")
				}
			})
		}
	}
}

func fileSize(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// damageByte changes one byte of a file.
func damageByte(t testing.TB, path string, at int) {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p[at] ^= 1
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, p, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestEvents(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	g := NewGraph(c)
	a := Add(g, Stage{Name: "a", Kind: "a", Version: 1}, func(ctx context.Context, r *Run) (int, error) {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for n := range 50 {
					r.Emit(Event{Kind: Progress, Stage: "not the sender's to say", Item: fmt.Sprint(i), Done: int64(n), Total: 50, Unit: Bytes})
				}
			})
		}
		wg.Wait()
		r.Warn("%d things", 3)
		return 1, nil
	})
	var rec recorder
	busy := make(chan struct{}, 1)
	mustRun(t, g, func(e Event) {
		select {
		case busy <- struct{}{}:
		default:
			t.Error("the sink is called twice at a time")
		}
		rec.sink(e)
		<-busy
	}, a)
	if len(rec.events) != 8*50+3 {
		t.Errorf("%d events", len(rec.events))
	}
	for _, e := range rec.events {
		if e.Stage != "a" || e.Time.IsZero() || e.Time.Location().String() != "UTC" {
			t.Fatalf("event %+v", e)
		}
	}
	warning := rec.events[len(rec.events)-2]
	warning.Time = warning.Time.Truncate(0)
	p, err := json.Marshal(warning)
	stamp, _ := json.Marshal(warning.Time)
	if want := `{"time":` + string(stamp) + `,"event":"warning","stage":"a","text":"3 things"}`; err != nil || string(p) != want {
		t.Errorf("a warning is %s, %v, want %s", p, err, want)
	}
}

func TestOpenCacheErrors(t *testing.T) {
	parent, err := os.MkdirTemp("", "cache-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(parent) })
	file := filepath.Join(parent, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = OpenCache(file)
	var cacheErr *CacheError
	want := "the cache directory " + file + " cannot be used: mkdir " + file + ": not a directory; choose another with --cache or IMAGEFACTORY_CACHE"
	if !errors.As(err, &cacheErr) || cacheErr.ExitStatus() != 3 || err.Error() != want {
		t.Errorf("a file: %v, want %s", err, want)
	}
	if !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("%v does not wrap its cause", err)
	}
	dir := filepath.Join(parent, "cache")
	openTestCache(t, dir).Close()
	for _, d := range []string{dir, parent} {
		if err := os.Chmod(d, 0o555); err != nil {
			t.Fatal(err)
		}
	}
	cmd := child("open", dir)
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.HasPrefix(string(out), "the cache directory "+dir+" cannot be used: open "+dir+"/"+probePrefix) || !strings.Contains(string(out), "permission denied") {
		t.Errorf("a read-only directory: %v, %s", err, out)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestResultsAreReadableByOthers(t *testing.T) {
	c := openTestCache(t, t.TempDir())
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	g := NewGraph(c)
	mustRun(t, g, nil, Add(g, Stage{Name: "a", Kind: "a", Version: 1}, value(1)))
	info, err := os.Stat(results(t, c)[0])
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("a result has mode %v, %v", info.Mode(), err)
	}
}

// childHold opens a cache, says so, and waits for the end of its standard input.
func childHold(args []string) error {
	c, err := OpenCache(args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Println("open")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// holdOpen has another process open the cache in dir until release is called.
func holdOpen(t *testing.T, dir string) (release func()) {
	t.Helper()
	cmd := child("hold", dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, len("open\n"))); err != nil {
		t.Fatal(err)
	}
	return func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func FuzzResult(f *testing.F) {
	d := store.Sum([]byte("present"))
	key := Key("fuzz", 1, nil)
	f.Add([]byte(`{"key":"` + key.String() + `","stage":"a","value":{"tree":"` + d.String() + `","n":[1,"sha256:00"]}}`))
	f.Add([]byte(`{"key":"` + key.String() + `","stage":"a","value":"` + store.Sum([]byte("absent")).String() + `"}`))
	f.Add([]byte(`{"key":"` + key.String() + `"}`))
	f.Add([]byte(`{"value":["\"` + d.String() + `\"","\\` + d.String() + `",{"` + d.String() + `":null}]}`))
	f.Add([]byte(nil))
	c, err := OpenCache(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Store.Put([]byte("present")); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if err := os.WriteFile(c.resultPath(key), p, 0o644); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
		if value, ok := c.load(key); ok {
			for _, ref := range references(value) {
				if !c.Store.Has(ref) {
					t.Errorf("loaded, though %s is not there", ref)
				}
			}
		}
		// The quick way to find references finds what a parser does.
		var v any
		if json.Unmarshal(p, &v) != nil {
			references(p)
			return
		}
		canonical, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		got, want := references(canonical), parsedReferences(v)
		byValue := func(a, b store.Digest) int { return bytes.Compare(a[:], b[:]) }
		slices.SortFunc(got, byValue)
		slices.SortFunc(want, byValue)
		if !slices.Equal(got, want) {
			t.Errorf("references %v, want %v", got, want)
		}
	})
}

// parsedReferences returns the digests among the strings of a JSON value.
func parsedReferences(v any) []store.Digest {
	var refs []store.Digest
	add := func(s string) {
		if d, err := store.ParseDigest(s); err == nil {
			refs = append(refs, d)
		}
	}
	switch v := v.(type) {
	case string:
		add(v)
	case []any:
		for _, e := range v {
			refs = append(refs, parsedReferences(e)...)
		}
	case map[string]any:
		for name, e := range v {
			add(name)
			refs = append(refs, parsedReferences(e)...)
		}
	}
	return refs
}
