package installer

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/installer/payload"
)

// web is a server that answers as told, and a source that reads from it.
func web(t *testing.T, wait time.Duration, answer http.HandlerFunc) webSource {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return webSource{server.URL, wait, t.Logf}
}

func TestWebSourceReadsAgain(t *testing.T) {
	var asked atomic.Int32
	s := web(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
		switch asked.Add(1) {
		case 1:
			http.Error(w, "starting", http.StatusServiceUnavailable)
		case 2: // ends too early
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "short")
		default:
			fmt.Fprint(w, "hello")
		}
	})
	data, err := s.ReadFile(t.Context(), "/install.json")
	if err != nil || string(data) != "hello" || asked.Load() != 3 {
		t.Errorf("%q %v after %d requests", data, err, asked.Load())
	}
}

func TestWebSourceGivesUp(t *testing.T) {
	for name, c := range map[string]struct {
		wait   time.Duration
		answer http.HandlerFunc
		want   string
	}{
		"not there": {time.Minute, http.NotFound, "the server says 404 Not Found"},
		"busy":      {time.Millisecond, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, "no answer that can be used in 0 seconds"},
		"stalls":    {50 * time.Millisecond, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "no answer that can be used in 0 seconds"},
		"too large": {time.Minute, func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, maxFile+1)) }, "more than"},
	} {
		if _, err := web(t, c.wait, c.answer).ReadFile(t.Context(), "/install.json"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A payload of another size than the document says is not of the same build.
func TestWebSourceChecksSize(t *testing.T) {
	s := web(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "payload", time.Time{}, strings.NewReader("0123456789"))
	})
	if _, err := s.Open(t.Context(), "/payload", 11); err == nil || !strings.Contains(err.Error(), "10 bytes, not 11") {
		t.Errorf("%v", err)
	}
	f, err := s.Open(t.Context(), "/payload", 10)
	if err != nil {
		t.Fatal(err)
	}
	defer f.(*payload.HTTP).Close()
	p := make([]byte, 4)
	if _, err := f.ReadAt(p, 3); err != nil || string(p) != "3456" {
		t.Errorf("%q %v", p, err)
	}
}
