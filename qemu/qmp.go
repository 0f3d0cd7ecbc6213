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
// command at a time, each answered by a "return" or an "error"; events that
// arrive in between are skipped.
type qmp struct {
	conn    net.Conn
	answers chan answer // closed when the connection ends
	mu      sync.Mutex  // held by the command under way
}

type answer struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	QMP json.RawMessage `json:"QMP"`
}

// dialQMP waits for QEMU's greeting and leaves negotiation mode.
func dialQMP(conn net.Conn) (*qmp, error) {
	q := &qmp{conn: conn, answers: make(chan answer)}
	go q.read()
	if greeting, ok := <-q.answers; !ok || greeting.QMP == nil {
		conn.Close()
		return nil, fmt.Errorf("QEMU did not start")
	}
	return q, q.execute(context.Background(), "qmp_capabilities")
}

func (q *qmp) read() {
	defer close(q.answers)
	defer q.conn.Close()
	for decoder := json.NewDecoder(q.conn); ; {
		var a answer
		if err := decoder.Decode(&a); err != nil {
			return
		}
		if a.Return != nil || a.Error != nil || a.QMP != nil {
			q.answers <- a
		}
	}
}

// execute sends a command without arguments and waits for its answer. It
// returns io.EOF when QEMU ends without one.
func (q *qmp) execute(ctx context.Context, command string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, err := fmt.Fprintf(q.conn, `{"execute":%q}`+"\n", command); err != nil {
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
