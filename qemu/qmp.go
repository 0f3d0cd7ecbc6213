package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
)

// qmp speaks QEMU's machine protocol (docs/interop/qmp-spec.txt of QEMU): one
// command at a time, each answered by a "return" or an "error"; of the events
// that arrive in between, those of eventsKept are kept.
type qmp struct {
	conn    net.Conn
	answers chan answer // closed when the connection ends
	mu      sync.Mutex  // held by the command under way
	events  map[string]chan string
}

// eventsKept are the events somebody may wait for.
var eventsKept = []string{"SHUTDOWN", "RESET"}

type answer struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	QMP   json.RawMessage `json:"QMP"`
	Event string          `json:"event"`
	Data  struct {
		Reason string `json:"reason"`
	} `json:"data"`
}

// dialQMP waits for QEMU's greeting and leaves negotiation mode.
func dialQMP(conn net.Conn) (*qmp, error) {
	q := &qmp{conn: conn, answers: make(chan answer), events: map[string]chan string{}}
	for _, name := range eventsKept {
		q.events[name] = make(chan string, 1)
	}
	go q.read()
	if greeting, ok := <-q.answers; !ok || greeting.QMP == nil {
		conn.Close()
		return nil, fmt.Errorf("QEMU did not start")
	}
	return q, q.execute(context.Background(), "qmp_capabilities", nil)
}

func (q *qmp) read() {
	defer close(q.answers)
	defer q.conn.Close()
	for decoder := json.NewDecoder(q.conn); ; {
		var a answer
		if err := decoder.Decode(&a); err != nil {
			return
		}
		switch {
		case a.Return != nil || a.Error != nil || a.QMP != nil:
			q.answers <- a
		case q.events[a.Event] != nil:
			select {
			case q.events[a.Event] <- a.Data.Reason:
			default: // one that nobody has waited for is kept already
			}
		}
	}
}

// event waits for an event of eventsKept and returns its reason. One that
// arrived since the last call counts, too.
func (q *qmp) event(ctx context.Context, name string) (string, error) {
	select {
	case reason := <-q.events[name]:
		return reason, nil
	case <-ctx.Done():
		return "", fmt.Errorf("%s: %w", name, context.Cause(ctx))
	}
}

// execute sends a command, whose arguments may be nil, and waits for its answer.
// It returns io.EOF when QEMU ends without one.
func (q *qmp) execute(ctx context.Context, command string, arguments map[string]any) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	message := struct {
		Execute   string         `json:"execute"`
		Arguments map[string]any `json:"arguments,omitempty"`
	}{command, arguments}
	if err := json.NewEncoder(q.conn).Encode(message); err != nil {
		return fmt.Errorf("%s: %w", command, io.EOF)
	}
	select {
	case a, ok := <-q.answers:
		switch {
		case !ok:
			return fmt.Errorf("%s: %w", command, io.EOF)
		case a.Error != nil:
			return fmt.Errorf("%s: %s", command, a.Error.Desc)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", command, context.Cause(ctx))
	}
}
