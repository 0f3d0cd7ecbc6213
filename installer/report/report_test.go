package report

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestEncode(t *testing.T) {
	for want, e := range map[string]Event{
		`{"event":"started","seconds":1.500,"name":"n","version":"1","arch":"x86_64","id":"ab","mode":"install"}`:              Started{Name: "n", Version: "1", Arch: "x86_64", ID: "ab", Mode: "install"},
		`{"event":"write","seconds":1.500,"done":1,"total":2,"rate":3}`:                                                        Progress{"write", 1, 2, 3},
		`{"event":"failed","seconds":1.500,"stage":"write","device":"/dev/sda","message":"<a> & \"b\"\n","written":"nothing"}`: Failed{"write", "/dev/sda", "<a> & \"b\"\n", "nothing"},
		`{"event":"decision","seconds":1.500,"decision":{"disk":"x"},"dry_run":true}`:                                          Decision{map[string]string{"disk": "x"}, true},
		`{"event":"grow","seconds":1.500,"partition":4,"size":5}`:                                                              Grow{Partition: 4, Size: 5},
		`{"event":"disks","seconds":1.500,"disks":null}`:                                                                       Disks{},
	} {
		got, err := Encode(e, 1500*time.Millisecond)
		if err != nil || string(got) != want || !json.Valid(got) {
			t.Errorf("%v\n got %s\nwant %s", err, got, want)
		}
	}
	if _, err := Encode(Disks{Disks: func() {}}, 0); err == nil {
		t.Error("a function was encoded")
	}
}

// server keeps the events that were posted.
type server struct {
	*httptest.Server
	mu     sync.Mutex
	events []string
	status int
	hold   chan struct{} // requests wait until it is closed
}

func serve(t *testing.T, status int) *server {
	s := &server{status: status, hold: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-s.hold
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.events = append(s.events, string(body))
		w.WriteHeader(s.status)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestPostsInOrder(t *testing.T) {
	s := serve(t, http.StatusNoContent)
	close(s.hold)
	var lines []string
	r := New(func(line []byte) { lines = append(lines, string(line)) })
	r.Send(Medium{"before"})
	r.To(t.Context(), s.URL, func(err error) { t.Error(err) })
	for i := range 20 {
		r.Send(Script{fmt.Sprint(i)})
	}
	r.Flush(time.Minute)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) != 20 || len(lines) != 21 {
		t.Fatalf("%d posted, %d lines", len(s.events), len(lines))
	}
	for i, e := range s.events {
		if !strings.Contains(e, fmt.Sprintf(`"name":"%d"`, i)) {
			t.Errorf("event %d is %s", i, e)
		}
	}
}

// A server that does not answer holds nothing up; progress is lost first, and what matters is not.
func TestServerThatStalls(t *testing.T) {
	s := serve(t, http.StatusOK)
	r := New(nil)
	r.To(t.Context(), s.URL, func(err error) { t.Error(err) })
	r.Send(Medium{"first"})
	for i := range 10 * queue {
		r.mu.Lock()
		r.last = time.Time{} // as if a second had passed
		r.mu.Unlock()
		r.Send(Progress{"write", int64(i), 1 << 40, 0})
	}
	r.Send(Done{Device: "/dev/sda"})
	if len(r.waiting) > queue {
		t.Errorf("%d events wait", len(r.waiting))
	}
	close(s.hold)
	r.Flush(time.Minute)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !strings.Contains(s.events[0], `"medium"`) || !strings.Contains(s.events[len(s.events)-1], `"done"`) {
		t.Errorf("first %s, last %s", s.events[0], s.events[len(s.events)-1])
	}
}

func TestServerThatRefuses(t *testing.T) {
	s := serve(t, http.StatusForbidden)
	close(s.hold)
	problems := make(chan error, 10)
	r := New(nil)
	r.To(t.Context(), s.URL, func(err error) { problems <- err })
	r.Send(Medium{"a"})
	if err := <-problems; !strings.Contains(err.Error(), "403") {
		t.Error(err)
	}
	r.Send(Medium{"b"})
	r.Flush(time.Minute)
	if len(problems) != 0 {
		t.Errorf("told again: %v", <-problems)
	}
}

// Of progress, one event in a second is enough; the last of a phase is always sent.
func TestProgressIsThinned(t *testing.T) {
	n := 0
	r := New(func([]byte) { n++ })
	for i := range int64(1001) {
		r.Send(Progress{"write", i, 1000, 0})
	}
	if n < 2 || n > 20 {
		t.Errorf("%d events", n)
	}
}
