package payload_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/installer/payload"
)

// server serves a payload as badly as a test asks for.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string // the Range of each, in order
	handle   func(n int, w http.ResponseWriter, r *http.Request) bool
}

// serve starts a server of content. handle is asked first for the n-th request, from 1, and says whether it answered.
func serve(t *testing.T, content []byte, handle func(n int, w http.ResponseWriter, r *http.Request) bool) *server {
	s := &server{handle: handle}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Header.Get("Range"))
		n := len(s.requests)
		s.mu.Unlock()
		if s.handle != nil && s.handle(n, w, r) {
			return
		}
		w.Header().Set("ETag", `"one"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	t.Cleanup(s.Close)
	return s
}

// patient are options of a test: nothing is waited for long.
func patient() payload.HTTPOptions {
	return payload.HTTPOptions{Stall: 300 * time.Millisecond, Backoff: time.Millisecond, Retries: 4}
}

// install restores the payload at a server to memory and returns the device.
func install(t *testing.T, s *server, b built) (*fakeDevice, error) {
	t.Helper()
	h, err := payload.OpenHTTP(t.Context(), s.URL, patient())
	if err != nil {
		return nil, err
	}
	defer h.Close()
	p, err := payload.Open(h, h.Size(), b.digest)
	if err != nil {
		return nil, err
	}
	d := newFake(26 * mib)
	return d, p.Restore(t.Context(), d, payload.Plan{}, nil)
}

func TestInstallOverHTTP(t *testing.T) {
	b := example(t)
	s := serve(t, b.bytes, nil)
	d, err := install(t, s, b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(d.data[:len(b.disk)], b.disk) {
		t.Error("the device has other bytes than the disk")
	}
	// The size, footer, index, then the chunks in one request, and at last the table.
	if len(s.requests) > 6 {
		t.Errorf("it took the requests %q", s.requests)
	}
}

// part answers a request with a range of content that is as wrong as the test wants it.
func part(w http.ResponseWriter, r *http.Request, content []byte) (from int) {
	from, _ = strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-"))
	w.Header().Set("ETag", `"one"`)
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
	w.Header().Set("Content-Length", strconv.Itoa(len(content)-from))
	w.WriteHeader(http.StatusPartialContent)
	return from
}

func TestBadServersAreOutlived(t *testing.T) {
	b := example(t)
	for name, handle := range map[string]func(n int, w http.ResponseWriter, r *http.Request) bool{
		"breaks off after a while": func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n > 25 {
				return false
			}
			from := part(w, r, b.bytes)
			w.Write(b.bytes[from:min(from+300_000, len(b.bytes))])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
		"restarts": func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n > 3 && n < 7 {
				panic(http.ErrAbortHandler) // no answer at all
			}
			if n == 3 {
				from := part(w, r, b.bytes)
				w.Write(b.bytes[from:min(from+1000, len(b.bytes))])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			return false
		},
		"is overloaded": func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n%3 == 0 {
				return false
			}
			w.WriteHeader(map[int]int{1: http.StatusServiceUnavailable, 2: http.StatusTooManyRequests}[n%3])
			return true
		},
		"stalls": func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n != 4 {
				return false
			}
			from := part(w, r, b.bytes)
			w.Write(b.bytes[from:min(from+5000, len(b.bytes))])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		},
		"corrupts one chunk once": func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n != 4 {
				return false
			}
			from := part(w, r, b.bytes)
			damaged := bytes.Clone(b.bytes)
			damaged[b.index.Chunks[3].Stored+3] ^= 1
			w.Write(damaged[from:])
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, b.bytes, handle)
			d, err := install(t, s, b)
			if err != nil {
				t.Fatalf("after the requests %q: %v", s.requests, err)
			}
			if !bytes.Equal(d.data[:len(b.disk)], b.disk) {
				t.Error("the device has other bytes than the disk")
			}
		})
	}
}

func TestHopelessServersAreNamed(t *testing.T) {
	b := example(t)
	damaged := bytes.Clone(b.bytes)
	damaged[b.index.Chunks[3].Stored+3] ^= 1
	for name, test := range map[string]struct {
		content []byte
		handle  func(n int, w http.ResponseWriter, r *http.Request) bool
		want    string
	}{
		"knows no ranges": {b.bytes, func(n int, w http.ResponseWriter, r *http.Request) bool {
			w.Write(b.bytes)
			return true
		}, "does not support range requests"},
		"has no such file": {b.bytes, func(n int, w http.ResponseWriter, r *http.Request) bool {
			http.NotFound(w, r)
			return true
		}, `the server answers "404 Not Found"`},
		"replaces the file": {b.bytes, func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n < 4 {
				return false
			}
			w.Header().Set("ETag", `"two"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b.bytes))
			return true
		}, "was replaced while it was read"},
		"replaces the file with a shorter one": {b.bytes, func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n < 2 {
				return false
			}
			w.Header().Set("ETag", `"one"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b.bytes[:1000]))
			return true
		}, "was replaced while it was read"},
		"serves a damaged file": {damaged, nil, "do not have their digest"},
		"is gone": {b.bytes, func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n < 4 {
				return false
			}
			panic(http.ErrAbortHandler)
		}, "given up after 5 attempts"},
		"never sends anything": {b.bytes, func(n int, w http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			return true
		}, "has sent nothing for 300ms"},
		"sends another part": {b.bytes, func(n int, w http.ResponseWriter, r *http.Request) bool {
			r.Header.Set("Range", "bytes=7-")
			part(w, r, b.bytes)
			return true
		}, "sends bytes from 7 on instead of from 0"},
		"sends nonsense": {b.bytes, func(n int, w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Range", "bytes 0-5/*")
			w.WriteHeader(http.StatusPartialContent)
			return true
		}, `Content-Range "bytes 0-5/*"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, test.content, test.handle)
			_, err := install(t, s, b)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("after the requests %q the error is %v, want %q in it", s.requests, err, test.want)
			}
			if err != nil && !strings.Contains(err.Error(), s.URL) {
				t.Errorf("the error does not name the URL: %v", err)
			}
		})
	}
}

// TestRefetchAsksPastCaches holds that bytes which turned out wrong are not asked from the cache that gave them.
func TestRefetchAsksPastCaches(t *testing.T) {
	b := example(t)
	damaged := bytes.Clone(b.bytes)
	damaged[b.index.Chunks[2].Stored+1] ^= 1
	var cached atomic.Int32
	s := serve(t, b.bytes, func(n int, w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Cache-Control") == "no-cache" {
			return false
		}
		cached.Add(1)
		w.Header().Set("ETag", `"one"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(damaged))
		return true
	})
	if _, err := install(t, s, b); err != nil {
		t.Errorf("after %d answers of the cache: %v", cached.Load(), err)
	}
}

func TestHTTPReadsLikeAFile(t *testing.T) {
	content := make([]byte, 3*mib)
	for i := range content {
		content[i] = byte(i * 7 >> 3)
	}
	s := serve(t, content, nil)
	var notices int
	o := patient()
	o.Notice = func(error, time.Duration) { notices++ }
	h, err := payload.OpenHTTP(t.Context(), s.URL, o)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if h.Size() != int64(len(content)) || h.Name() != s.URL {
		t.Errorf("%s has %d bytes", h.Name(), h.Size())
	}
	got, err := io.ReadAll(io.NewSectionReader(h, 0, h.Size()))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("reading all gives %d bytes, %v", len(got), err)
	}
	if len(s.requests) != 1 {
		t.Errorf("reading in order took the requests %q", s.requests)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			p := make([]byte, 1000)
			off := i * 300_000
			if _, err := h.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, content[off:off+1000]) {
				t.Errorf("reading at %d gives %v or other bytes", off, err)
			}
		})
	}
	wg.Wait()
	p := make([]byte, 100)
	if n, err := h.ReadAt(p, h.Size()-50); n != 50 || !errors.Is(err, io.EOF) {
		t.Errorf("reading across the end gives %d bytes, %v", n, err)
	}
	if n, err := h.ReadAt(p, h.Size()); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("reading behind the end gives %d bytes, %v", n, err)
	}
	if _, err := h.ReadAt(p, -1); err == nil {
		t.Error("a negative offset is accepted")
	}
	if notices != 0 {
		t.Errorf("a good server gave %d notices", notices)
	}
}
