package pipeline

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// NotReproducibleError says where two builds of the same inputs differ first. It is
// a failed check: exit status 4.
type NotReproducibleError struct {
	Stage  string
	Detail string
}

func (e *NotReproducibleError) Error() string {
	return fmt.Sprintf("the build is not reproducible: building again gave something else in stage %s: %s", e.Stage, e.Detail)
}

// ExitStatus is 4: a check failed.
func (e *NotReproducibleError) ExitStatus() int { return 4 }

// Verify builds a recipe that Build has built once more, with nothing but the
// downloads taken from the cache, and compares the results of every stage. The error
// is a *NotReproducibleError when one differs.
func (env *Environment) Verify(ctx context.Context, r *recipes.Recipe) error {
	first, err := env.prepare(ctx, r)
	if err != nil {
		return err
	}
	if _, err := first.Run(ctx, first.name, nil, first.targets...); err != nil {
		return err
	}

	again, err := env.scratch()
	if err != nil {
		return err
	}
	defer again.discard()
	second, err := newGraph(&again.Environment, r, first.lock, first.keys, again.Options.OutputDir)
	if err != nil {
		return err
	}
	secondTargets, err := again.targets(r, second)
	if err != nil {
		return err
	}
	if _, err := second.Run(ctx, first.name, env.Options.Sink, secondTargets...); err != nil {
		return err
	}
	before, after := first.Values(), second.Values()
	for i := range before {
		if before[i].Digest == after[i].Digest || isOutput(first.graph, before[i].Stage) {
			continue
		}
		return &NotReproducibleError{
			Stage:  before[i].Stage,
			Detail: difference(env.Cache.Store, again.Cache.Store, before[i].References, after[i].References),
		}
	}
	for i := range first.outputs {
		a, b := first.outputs[i].Result(), second.outputs[i].Result()
		if a.SHA256 != b.SHA256 {
			return &NotReproducibleError{Stage: first.outputs[i].Name(), Detail: fmt.Sprintf("%s has the digest %s, then %s", filepath.Base(a.Path), a.SHA256, b.SHA256)}
		}
	}
	return nil
}

// isOutput reports whether a stage writes an output: its result names files and times.
func isOutput(g *graph, stage string) bool {
	for _, o := range g.outputs {
		if o.Name() == stage {
			return true
		}
	}
	return false
}

// scratchEnvironment is an environment with a cache of its own that goes away.
type scratchEnvironment struct {
	Environment
	dir string
}

// scratch returns an environment like env with an empty cache, but with its downloads.
func (env *Environment) scratch() (*scratchEnvironment, error) {
	dir, err := env.Cache.Scratch()
	if err != nil {
		return nil, err
	}
	s := &scratchEnvironment{Environment: *env, dir: dir}
	s.Options.OutputDir = filepath.Join(dir, "out")
	if s.Cache, err = stages.OpenCache(filepath.Join(dir, "cache")); err == nil {
		s.Pool, err = sandbox.NewPool(s.Cache.Store, s.Cache.Roots(), sandbox.Options{AllowSingle: env.Options.AllowSingle})
	}
	if err != nil {
		s.discard()
		return nil, err
	}
	return s, nil
}

// discard removes what scratch made.
func (s *scratchEnvironment) discard() {
	if s.Pool != nil {
		// Files of subordinate ids go with the sandbox's help; what is left is ours.
		if err := s.Pool.Clean(0); err != nil {
			s.warn("%s cannot be removed entirely: %v", s.dir, err)
		}
	}
	if s.Cache != nil {
		s.Cache.Close()
	}
	os.RemoveAll(s.dir)
}

// difference says how the objects of two results, in two stores, differ first.
func difference(sa, sb *store.Store, a, b []store.Digest) string {
	for i := range a {
		if i >= len(b) {
			break
		}
		if a[i] == b[i] {
			continue
		}
		before, errA := tree.Load(sa, a[i])
		after, errB := tree.Load(sb, b[i])
		if errA != nil || errB != nil {
			return fmt.Sprintf("object %s, then %s", a[i], b[i])
		}
		changes := tree.Diff(before, after)
		if len(changes) == 0 {
			continue
		}
		more := ""
		if len(changes) > 1 {
			more = fmt.Sprintf(" (paths that differ: %d)", len(changes))
		}
		return describe(changes[0]) + more
	}
	return "its result is recorded differently"
}

// describe says what changed at one path.
func describe(c tree.Change) string {
	switch {
	case c.Before == nil:
		return fmt.Sprintf("/%s is there only the second time", c.Path)
	case c.After == nil:
		return fmt.Sprintf("/%s is there only the first time", c.Path)
	}
	a, b := c.Before, c.After
	var what []string
	note := func(differs bool, name string, x, y any) {
		if differs {
			what = append(what, fmt.Sprintf("%s %v, then %v", name, x, y))
		}
	}
	note(a.Type != b.Type, "type", a.Type, b.Type)
	note(a.Digest != b.Digest, "contents", a.Digest, b.Digest)
	note(a.Mode != b.Mode, "mode", fmt.Sprintf("%#o", a.Mode), fmt.Sprintf("%#o", b.Mode))
	note(a.UID != b.UID || a.GID != b.GID, "owner", fmt.Sprintf("%d:%d", a.UID, a.GID), fmt.Sprintf("%d:%d", b.UID, b.GID))
	seconds := func(t tree.Time) string { return fmt.Sprintf("%d.%09d", t.Sec, t.Nsec) }
	note(a.MTime != b.MTime, "time", seconds(a.MTime), seconds(b.MTime))
	note(a.Target != b.Target, "target", strconv.Quote(a.Target), strconv.Quote(b.Target))
	note(a.Major != b.Major || a.Minor != b.Minor, "device", fmt.Sprintf("%d:%d", a.Major, a.Minor), fmt.Sprintf("%d:%d", b.Major, b.Minor))
	if !reflect.DeepEqual(a.Xattrs, b.Xattrs) {
		what = append(what, "extended attributes differ")
	}
	if len(what) == 0 {
		what = append(what, "hard links differ")
	}
	return fmt.Sprintf("/%s: %s", c.Path, strings.Join(what, "; "))
}
