package target

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/distros/rpm/lua"
	"github.com/imagefactory/imagefactory/distros/rpm/transaction"
)

// Directory is where in the root the program is, and what it writes meanwhile.
const Directory = "/run/imagefactory"

// Program is the path in the root at which this program must be visible, and the
// name under which it has to be started.
const Program = Directory + "/rpm-scripts"

// Event is something that happened to a step.
type Event struct {
	Step int // index
	Kind EventKind
	Text string
}

// EventKind says what an Event tells.
type EventKind uint8

// The kinds of events.
const (
	Printed EventKind = iota // Text is a line of output
	Warned                   // Text is what is strange, though the step goes on
	Failed                   // Text is why; after a critical step, no other is done
)

// Init must be the first thing that main, and TestMain of tests that run steps, call. In a
// process that was started as Program, or by it, it does not return.
func Init() {
	lua.Init()
	if len(os.Args) == 0 || os.Args[0] != Program {
		return
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve does the steps that standard input has.
func serve() error {
	var steps []transaction.Step
	if err := gob.NewDecoder(os.Stdin).Decode(&steps); err != nil {
		return fmt.Errorf("read the steps: %w", err)
	}
	// Only this process may write to the stream of events.
	fd, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), "events")
	if err := unix.Dup3(2, 1, 0); err != nil {
		return err
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	r := &runner{events: gob.NewEncoder(out)}
	for i := range steps {
		if done := r.do(i, &steps[i]); !done && steps[i].Critical {
			break
		}
	}
	return r.err
}

// Encode returns steps as standard input of Program.
func Encode(steps []transaction.Step) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(steps)
	return b.Bytes(), err
}

// Decode calls take with each event that standard output of Program has.
func Decode(r io.Reader, take func(Event)) error {
	decoder := gob.NewDecoder(r)
	for {
		var e Event
		err := decoder.Decode(&e)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the program that runs scriptlets in the root: %w", err)
		}
		take(e)
	}
}
