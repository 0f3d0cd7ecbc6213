package payload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// stream is the body of one answer.
type stream struct {
	h       *HTTP
	body    io.ReadCloser
	at      int64 // offset in the file of the next byte
	cancel  context.CancelFunc
	watch   *time.Timer // cancels the request when it fires
	stalled atomic.Bool
}

// read reads some bytes. Only while it waits for them does the time for a stall run: between two reads it may be the
// disk that is slow.
func (s *stream) read(p []byte) (int, error) {
	s.watch.Reset(s.h.o.Stall)
	n, err := s.body.Read(p)
	s.watch.Stop()
	s.at += int64(n)
	if n > 0 {
		return n, nil // an error comes again
	}
	if err == nil {
		return 0, nil
	}
	return 0, s.explain(err)
}

// explain says in words what an error of the transport means.
func (s *stream) explain(err error) error {
	switch {
	case s.stalled.Load():
		return fmt.Errorf("%s has sent nothing for %v, at byte %d", s.h.url, s.h.o.Stall, s.at)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s broke off at byte %d of %d", s.h.url, s.at, s.h.size)
	}
	return err
}

func (s *stream) close() {
	s.watch.Stop()
	s.cancel()
	if s.body != nil {
		s.body.Close()
	}
}
