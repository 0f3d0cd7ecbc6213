package configure

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/imagefactory/imagefactory/distros/rpm/target"
	"github.com/imagefactory/imagefactory/distros/rpm/transaction"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/store"
)

// RPMOptions says how RunRPM runs.
type RPMOptions struct {
	Session session.Options `json:"session"`
	// Import is what the image's own rpmdb --importdb reads after the last scriptlet, where
	// the database is of a kind that only it can write; nil otherwise. It follows from
	// the packages, so it is not part of the key.
	Import []byte `json:"-"`
}

// RunRPM does in the merged root of packages of the rpm family what rpm does besides
// unpacking them: scriptlets, triggers, users, owners of files. A failing %pretrans or %pre
// is an error, a *session.CommandError that names the script and its package; of
// all others a Warning event tells.
//
// rpm would unpack a package after its %pre; here all are unpacked before the first
// scriptlet runs, which only one that looks for its own package's files could tell.
func RunRPM(ctx context.Context, run *stages.Run, pool *sandbox.Pool, root rootfs.Root, pkgs []packages.Package, o RPMOptions) (rootfs.Root, error) {
	st := run.Cache.Store
	t, err := root.Load(st)
	if err != nil {
		return rootfs.Root{}, err
	}
	steps, err := rpmSteps(ctx, st, pkgs)
	if err != nil {
		return rootfs.Root{}, err
	}
	after, err := session.Run(ctx, run, pool, t, o.Session, func(ctx context.Context, s *session.Session) error {
		if err := runSteps(ctx, run, s, steps); err != nil {
			return err
		}
		if o.Import == nil {
			return nil
		}
		return s.Run(ctx, session.Command{Name: "rpmdb --importdb", Args: []string{"rpmdb", "--importdb"}, Stdin: o.Import})
	})
	if err != nil {
		return rootfs.Root{}, err
	}
	return rootfs.Save(st, after)
}

// rpmSteps returns what there is to do for packages, in order.
func rpmSteps(ctx context.Context, st *store.Store, pkgs []packages.Package) ([]transaction.Step, error) {
	members := make([]*transaction.Member, len(pkgs))
	for i, p := range pkgs {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		h, err := p.LoadHeader(st)
		if err != nil {
			return nil, err
		}
		members[i] = &transaction.Member{Header: h}
	}
	members, err := transaction.Order(members)
	if err != nil {
		return nil, err
	}
	return transaction.Steps(members)
}

// runSteps does steps in the root, all in one command.
func runSteps(ctx context.Context, run *stages.Run, s *session.Session, steps []transaction.Step) error {
	if len(steps) == 0 {
		return nil
	}
	input, err := target.Encode(steps)
	if err != nil {
		return err
	}
	program, release, err := target.Executable(run.Cache.Roots())
	if err != nil {
		return err
	}
	defer release()
	reader, writer := io.Pipe()
	watch := &watcher{run: run, steps: steps}
	watched := make(chan error, 1)
	go func() {
		err := target.Decode(reader, watch.take)
		_, _ = io.Copy(io.Discard, reader) // the command must not block on what nobody understands
		watched <- err
	}()
	err = s.Run(ctx, session.Command{
		Name: "scriptlets", Args: []string{target.Program}, Stdin: input, Stdout: writer,
		Binds: []sandbox.Bind{{Source: program, Target: target.Program}},
	})
	writer.Close()
	decodeErr := <-watched
	switch {
	case watch.failure != nil:
		return watch.failure
	case err != nil:
		return err
	}
	return decodeErr
}

// keptLines is how much of a failed script's output messages show.
const keptLines = 20

// watcher passes on what happens to steps.
type watcher struct {
	run     *stages.Run
	steps   []transaction.Step
	step    int      // that the last event was of
	last    []string // what it printed last
	failure error    // of a critical step
}

func (w *watcher) take(e target.Event) {
	if e.Step < 0 || e.Step >= len(w.steps) {
		return
	}
	if e.Step != w.step {
		w.step, w.last = e.Step, nil
	}
	step := &w.steps[e.Step]
	text := strings.TrimRight(strings.ToValidUTF8(e.Text, "\uFFFD"), "\r")
	switch e.Kind {
	case target.Printed:
		w.run.Emit(stages.Event{Kind: stages.Log, Item: step.Name(), Text: text})
		if w.last = append(w.last, text); len(w.last) > keptLines {
			w.last = w.last[1:]
		}
	case target.Warned:
		w.run.Emit(stages.Event{Kind: stages.Warning, Text: step.Name() + ": " + text})
	case target.Failed:
		failure := &session.CommandError{Name: step.Name(), Err: errors.New(text), Output: strings.Join(w.last, "\n")}
		if step.Critical {
			w.failure = failure
			return
		}
		w.run.Emit(stages.Event{Kind: stages.Warning, Text: failure.Error()})
	}
}
