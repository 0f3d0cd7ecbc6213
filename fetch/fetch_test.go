package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/stages/store"
)

// content returns n bytes that do not repeat.
func content(n int) []byte {
	p := make([]byte, n)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(p)
	return p
}

func digestOf(p []byte) store.Digest { return store.Digest(sha256.Sum256(p)) }

// newClient returns a client that does not wait long for anything.
func newClient(t *testing.T, o Options) *Client {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Backoff == 0 {
		o.Backoff = time.Millisecond
	}
	if o.Attempts == 0 {
		o.Attempts = 3
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s
}

// drop ends the connection in the middle of the answer.
func drop(w http.ResponseWriter) {
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// serveRange answers a request for body, honouring Range, and sends at most limit
// bytes before it drops the connection.
func serveRange(w http.ResponseWriter, r *http.Request, body []byte, limit int) {
	start := 0
	if header := r.Header.Get("Range"); header != "" {
		fmt.Sscanf(header, "bytes=%d-", &start)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(body)-1, len(body)))
	}
	rest := body[start:]
	w.Header().Set("Content-Length", strconv.Itoa(len(rest)))
	if start > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	if len(rest) > limit {
		w.Write(rest[:limit])
		drop(w)
	}
	w.Write(rest)
}

// checkObject reads back what Get returned.
func checkObject(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s holds %d other bytes than the %d that were asked for", path, len(got), len(want))
	}
}

// files returns the names in a directory of the cache.
func files(t *testing.T, c *Client, sub string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(c.options.Dir, sub))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestGet(t *testing.T) {
	body := content(1 << 20)
	var requests atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		w.Write(body)
	})
	c := newClient(t, Options{})
	r := Request{URLs: []string{s.URL + "/pool/a.deb"}, Size: int64(len(body)), Digest: digestOf(body)}
	for range 2 {
		path, err := c.Get(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		checkObject(t, path, body)
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests; the second Get should have used the cache", n)
	}
	if left := files(t, c, partialDir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestGetWithoutSize(t *testing.T) {
	for _, body := range [][]byte{content(100000), {}} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(body) })
		path, err := newClient(t, Options{}).Get(t.Context(), Request{URLs: []string{s.URL}, Digest: digestOf(body)})
		if err != nil {
			t.Fatal(err)
		}
		checkObject(t, path, body)
	}
}

// A damaged file of the cache is noticed and fetched again.
func TestGetDamagedCache(t *testing.T) {
	body := content(5000)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(body) })
	c := newClient(t, Options{})
	r := Request{URLs: []string{s.URL}, Size: int64(len(body)), Digest: digestOf(body)}
	path, err := c.Get(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(path, 0o644)
	if err := os.WriteFile(path, body[:4999], 0o644); err != nil {
		t.Fatal(err)
	}
	if path, err = c.Get(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	checkObject(t, path, body)
}

// Servers that break off are asked for the rest; progress resets the count of
// attempts.
func TestGetResume(t *testing.T) {
	body := content(8 << 20)
	var ranges []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		ranges = append(ranges, r.Header.Get("Range"))
		serveRange(w, r, body, 1<<20)
	})
	c := newClient(t, Options{Attempts: 2})
	path, err := c.Get(t.Context(), Request{URLs: []string{s.URL}, Size: int64(len(body)), Digest: digestOf(body)})
	if err != nil {
		t.Fatal(err)
	}
	checkObject(t, path, body)
	if len(ranges) < 8 || ranges[0] != "" || slices.Contains(ranges[1:], "") {
		t.Errorf("requested ranges %q", ranges)
	}
}

// What another process had downloaded is continued.
func TestGetResumeEarlierRun(t *testing.T) {
	body := content(1 << 20)
	for name, start := range map[string]int{"some": 700001, "all": len(body), "too much": len(body) + 1} {
		t.Run(name, func(t *testing.T) {
			sent := 0
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				before := 0
				fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &before)
				sent += len(body) - before
				serveRange(w, r, body, len(body))
			})
			c := newClient(t, Options{})
			d := digestOf(body)
			beginning := append(bytes.Clone(body), 'x')[:start]
			if err := os.WriteFile(filepath.Join(c.options.Dir, partialDir, hexName(d)), beginning, 0o644); err != nil {
				t.Fatal(err)
			}
			path, err := c.Get(t.Context(), Request{URLs: []string{s.URL}, Size: int64(len(body)), Digest: d})
			if err != nil {
				t.Fatal(err)
			}
			checkObject(t, path, body)
			if want := len(body) - start%(len(body)+1); sent != want {
				t.Errorf("%d bytes were sent, want %d", sent, want)
			}
		})
	}
}

// The beginning of another file costs a second download, not a failure.
func TestGetResumeWrongBeginning(t *testing.T) {
	body := content(1 << 20)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { serveRange(w, r, body, len(body)) })
	c := newClient(t, Options{})
	d := digestOf(body)
	os.WriteFile(filepath.Join(c.options.Dir, partialDir, hexName(d)), make([]byte, 1000), 0o644)
	path, err := c.Get(t.Context(), Request{URLs: []string{s.URL}, Size: int64(len(body)), Digest: d})
	if err != nil {
		t.Fatal(err)
	}
	checkObject(t, path, body)
}

func TestGetServerIgnoresRange(t *testing.T) {
	body := content(3 << 20)
	var requests atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		if requests.Add(1) == 1 {
			w.Write(body[:2<<20])
			drop(w)
		}
		if r.Header.Get("Range") == "" {
			t.Error("the second request does not ask for a range")
		}
		w.Write(body)
	})
	path, err := newClient(t, Options{}).Get(t.Context(), Request{URLs: []string{s.URL}, Size: int64(len(body)), Digest: digestOf(body)})
	if err != nil {
		t.Fatal(err)
	}
	checkObject(t, path, body)
}

// Answers to a range request that do not fit: another range, none, 416.
func TestGetServerConfusesRange(t *testing.T) {
	body := content(1 << 20)
	for name, answer := range map[string]func(http.ResponseWriter){
		"other range": func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(body)-1, len(body)))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(body)
		},
		"no range": func(w http.ResponseWriter) { w.WriteHeader(http.StatusPartialContent); w.Write(body) },
		"416":      func(w http.ResponseWriter) { w.WriteHeader(http.StatusRequestedRangeNotSatisfiable) },
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") != "" {
					answer(w)
					return
				}
				w.Write(body)
			})
			c := newClient(t, Options{})
			d := digestOf(body)
			os.WriteFile(filepath.Join(c.options.Dir, partialDir, hexName(d)), body[:1000], 0o644)
			path, err := c.Get(t.Context(), Request{URLs: []string{s.URL}, Size: int64(len(body)), Digest: d})
			if err != nil {
				t.Fatal(err)
			}
			checkObject(t, path, body)
		})
	}
}

func TestGetStall(t *testing.T) {
	body := content(1 << 20)
	var requests atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch requests.Add(1) {
		case 1: // not even a header
			<-r.Context().Done()
		case 2: // a part
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.Write(body[:1000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			serveRange(w, r, body, len(body))
		}
	})
	c := newClient(t, Options{Stall: 50 * time.Millisecond})
	r := Request{URLs: []string{s.URL}, Size: int64(len(body)), Digest: digestOf(body)}
	path, err := c.Get(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	checkObject(t, path, body)
}

func TestGetAlwaysStalls(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := newClient(t, Options{Stall: 10 * time.Millisecond})
	_, err := c.Get(t.Context(), Request{Name: "a.deb", URLs: []string{s.URL + "/a.deb"}, Digest: digestOf(nil)})
	want := "cannot download a.deb: " + s.URL + "/a.deb: nothing arrived for 10ms (3 tries)"
	if err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

// Passing faults are retried, lasting ones are not.
func TestGetStatus(t *testing.T) {
	body := content(1000)
	for _, test := range []struct {
		status, tries int
		text          string
	}{
		{500, 3, "the server answers 500 Internal Server Error (3 tries)"},
		{503, 3, "the server answers 503 Service Unavailable (3 tries)"},
		{429, 3, "the server answers 429 Too Many Requests (3 tries)"},
		{404, 1, "the server answers 404 Not Found"},
		{410, 1, "the server answers 410 Gone"},
		{403, 1, "the server answers 403 Forbidden"},
		{204, 1, "the server answers 204 No Content"},
	} {
		t.Run(strconv.Itoa(test.status), func(t *testing.T) {
			var requests, failing atomic.Int32
			failing.Store(1000)
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if requests.Add(1); failing.Add(-1) >= 0 {
					w.WriteHeader(test.status)
					return
				}
				w.Write(body)
			})
			c := newClient(t, Options{})
			r := Request{Name: "a.deb", URLs: []string{s.URL + "/a.deb"}, Size: int64(len(body)), Digest: digestOf(body)}
			_, err := c.Get(t.Context(), r)
			if want := "cannot download a.deb: " + s.URL + "/a.deb: " + test.text; err == nil || err.Error() != want {
				t.Errorf("error %q, want %q", err, want)
			}
			if errors.Is(err, ErrNotFound) != (test.status == 404 || test.status == 410) {
				t.Errorf("errors.Is(%v, ErrNotFound) is wrong", err)
			}
			if n := int(requests.Load()); n != test.tries {
				t.Errorf("%d tries, want %d", n, test.tries)
			}
			// A later good run succeeds, and so does one that fails twice before.
			failing.Store(0)
			if test.tries > 1 {
				failing.Store(2)
			}
			path, err := c.Get(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			checkObject(t, path, body)
		})
	}
}

func TestGetRetryAfter(t *testing.T) {
	var requests atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	start := time.Now()
	if _, err := newClient(t, Options{}).Get(t.Context(), Request{URLs: []string{s.URL}, Digest: digestOf(nil)}); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(start); waited < time.Second {
		t.Errorf("asked again after %v, though the server said one second", waited)
	}
}

func TestGetMirrors(t *testing.T) {
	body := content(1000)
	good := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(body) })
	missing := serve(t, func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) })
	wrong := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, len(body))) })
	short := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(body[:10]) })
	long := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for range 100 {
			w.Write(body)
			w.(http.Flusher).Flush()
		}
	})
	c := newClient(t, Options{})
	r := Request{Name: "a", Size: int64(len(body)), Digest: digestOf(body)}
	bad := []string{missing.URL, wrong.URL, short.URL, long.URL}
	r.URLs = bad
	_, err := c.Get(t.Context(), r)
	if err == nil {
		t.Fatal("there is no error")
	}
	for _, want := range []string{
		missing.URL + ": the server answers 404 Not Found; ",
		wrong.URL + ": it sent 1000 bytes with the digest sha256:",
		short.URL + ": the server has 10 bytes there, but the file should have 1000; ",
		long.URL + ": it sends more than the 1000 bytes the file should have",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q\nlacks %q", err, want)
		}
	}
	if errors.Is(err, ErrNotFound) {
		t.Error("only one server did not find it")
	}
	if objects := files(t, c, objectsDir); len(objects) > 0 {
		t.Errorf("wrong bytes are in the cache: %v", objects)
	}
	r.URLs = append(bad, good.URL)
	path, err := c.Get(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	checkObject(t, path, body)
}

func TestGetUnreachable(t *testing.T) {
	s := httptest.NewServer(nil)
	s.Close() // nobody listens there any more
	_, err := newClient(t, Options{}).Get(t.Context(), Request{Name: "a", URLs: []string{s.URL}, Digest: digestOf(nil)})
	if err == nil || !strings.Contains(err.Error(), "connection refused (3 tries); check the network and the proxy settings") {
		t.Errorf("error %q", err)
	}
}

func TestGetRedirects(t *testing.T) {
	body := content(1000)
	target := serve(t, func(w http.ResponseWriter, r *http.Request) { serveRange(w, r, body, len(body)) })
	var requests atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		switch r.URL.Path {
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/hostname", http.StatusFound)
		default:
			http.Redirect(w, r, target.URL, http.StatusFound)
		}
	})
	c := newClient(t, Options{})
	r := Request{Name: "a", Size: int64(len(body)), Digest: digestOf(body)}
	for path, want := range map[string]string{
		"/loop": "it redirects more than 10 times",
		"/file": "it redirects to file:///etc/hostname",
	} {
		requests.Store(0)
		r.URLs = []string{s.URL + path}
		if _, err := c.Get(t.Context(), r); err == nil || !strings.HasSuffix(err.Error(), path+": "+want) {
			t.Errorf("error %q, want %q", err, want)
		}
		if n := requests.Load(); n > 11 {
			t.Errorf("%s: %d requests", path, n)
		}
	}
	r.URLs = []string{s.URL + "/ok"}
	path, err := c.Get(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	checkObject(t, path, body)
}

// Streams of HTTP/2 that are reset are continued, too.
func TestGetHTTP2Reset(t *testing.T) {
	body := content(3 << 20)
	var protocols []string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocols = append(protocols, r.Proto)
		serveRange(w, r, body, 1<<20)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	c := newClient(t, Options{})
	c.http.Transport = s.Client().Transport
	path, err := c.Get(t.Context(), Request{URLs: []string{s.URL}, Size: int64(len(body)), Digest: digestOf(body)})
	if err != nil {
		t.Fatal(err)
	}
	checkObject(t, path, body)
	if len(protocols) < 3 || protocols[0] != "HTTP/2.0" {
		t.Errorf("requests were made with %q", protocols)
	}
}

func TestGetUntrustedCertificate(t *testing.T) {
	var requests atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	_, err := newClient(t, Options{}).Get(t.Context(), Request{URLs: []string{s.URL}, Digest: digestOf(nil)})
	if err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "tries") {
		t.Errorf("error %q", err)
	}
}

func TestGetFile(t *testing.T) {
	body := content(100000)
	name := filepath.Join(t.TempDir(), "a b.deb")
	if err := os.WriteFile(name, body, 0o644); err != nil {
		t.Fatal(err)
	}
	fileURL := (&url.URL{Scheme: "file", Path: name}).String()
	c := newClient(t, Options{Offline: true}) // no network is needed
	path, err := c.Get(t.Context(), Request{URLs: []string{"http://localhost:1/", fileURL}, Size: int64(len(body)), Digest: digestOf(body)})
	if err != nil {
		t.Fatal(err)
	}
	checkObject(t, path, body)
	for file, want := range map[string]string{
		name + "-missing":    "no such file or directory",
		filepath.Dir(name):   "it is not a regular file",
		name + "/impossible": "not a directory",
	} {
		_, err := c.Get(t.Context(), Request{URLs: []string{"file://" + file}, Digest: digestOf([]byte("other"))})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %q, want %q", err, want)
		}
	}
}

func TestGetMalformedURL(t *testing.T) {
	c := newClient(t, Options{})
	for text, want := range map[string]string{
		"ftp://user:secret@host/a": "ftp://user:xxxxx@host/a is not an http, https, file or iso URL",
		"http:///a":                "names no server",
		"file://etc/passwd":        "the URL of a file has three slashes",
		"http://user:secret@ho st": "its URL is malformed",
		"/etc/passwd":              "is not an http, https, file or iso URL",
	} {
		_, err := c.Get(t.Context(), Request{Name: "a", URLs: []string{text}, Digest: digestOf([]byte("x"))})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %q, want %q", err, want)
		}
	}
	for _, r := range []Request{{Name: "a"}, {URLs: []string{"http://h/"}}, {URLs: []string{"http://h/"}, Size: -1, Digest: digestOf(nil)}} {
		if _, err := c.Get(t.Context(), r); err == nil {
			t.Errorf("%+v is no error", r)
		}
	}
}

func TestOffline(t *testing.T) {
	body := content(1000)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(body) })
	online := newClient(t, Options{})
	offline := newClient(t, Options{Dir: online.options.Dir, Offline: true})
	r := Request{Name: "a.deb", URLs: []string{s.URL + "/a.deb"}, Size: int64(len(body)), Digest: digestOf(body)}
	_, err := offline.Get(t.Context(), r)
	want := fmt.Sprintf("a.deb (%s) is not in the download cache %s, and --offline forbids fetching it from %s/a.deb: run once without --offline",
		r.Digest, online.options.Dir, s.URL)
	if err == nil || err.Error() != want {
		t.Errorf("error %q\nwant %q", err, want)
	}
	if _, err := offline.Fresh(t.Context(), s.URL+"/InRelease", nil); err == nil || !strings.Contains(err.Error(), "--offline forbids") {
		t.Errorf("error %q", err)
	}
	if _, err := online.Get(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := online.Fresh(t.Context(), s.URL+"/InRelease", nil); err != nil {
		t.Fatal(err)
	}
	s.Close()
	path, err := offline.Get(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	checkObject(t, path, body)
	if got, err := offline.Fresh(t.Context(), s.URL+"/InRelease", nil); err != nil || !bytes.Equal(got, body) {
		t.Errorf("the kept copy is %q, %v", got, err)
	}
}

// Cancelling ends a transfer, a pause, and the wait for a lock at once.
func TestCancel(t *testing.T) {
	body := content(1000)
	stalling := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.Write(body[:10])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	failing := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	for name, prepare := range map[string]func(c *Client, r *Request){
		"transfer": func(_ *Client, r *Request) { r.URLs = []string{stalling.URL} },
		"pause":    func(_ *Client, r *Request) { r.URLs = []string{failing.URL} },
		"lock": func(c *Client, r *Request) {
			r.URLs = []string{failing.URL}
			p, err := openPartial(context.Background(), filepath.Join(c.options.Dir, partialDir, hexName(r.Digest)))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.close)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, Options{Backoff: time.Hour})
			r := Request{Size: int64(len(body)), Digest: digestOf(body)}
			prepare(c, &r)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() {
				_, err := c.Get(ctx, r)
				done <- err
			}()
			time.Sleep(50 * time.Millisecond)
			cancel()
			select {
			case err := <-done:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("error %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Error("Get goes on after its context was cancelled")
			}
		})
	}
}

// Many goroutines and clients (which share nothing but the directory, like
// processes) ask for the same file at the same time: it is downloaded once.
func TestGetConcurrently(t *testing.T) {
	body := content(2 << 20)
	var requests atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		time.Sleep(20 * time.Millisecond)
		serveRange(w, r, body, len(body))
	})
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		c := newClient(t, Options{Dir: dir})
		for range 4 {
			wg.Go(func() {
				path, err := c.Get(t.Context(), Request{URLs: []string{s.URL}, Size: int64(len(body)), Digest: digestOf(body)})
				if err != nil {
					t.Error(err)
					return
				}
				checkObject(t, path, body)
			})
		}
	}
	wg.Wait()
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests for one file", n)
	}
}

func TestParallel(t *testing.T) {
	var now, most atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		most.Store(max(most.Load(), now.Add(1)))
		time.Sleep(5 * time.Millisecond)
		now.Add(-1)
		io.WriteString(w, r.URL.Path)
	})
	c := newClient(t, Options{Parallel: 3})
	var wg sync.WaitGroup
	for i := range 30 {
		name := fmt.Sprintf("/%d", i)
		wg.Go(func() {
			if _, err := c.Get(t.Context(), Request{URLs: []string{s.URL + name}, Digest: digestOf([]byte(name))}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n > 3 {
		t.Errorf("%d transfers at a time", n)
	}
}

func TestProgress(t *testing.T) {
	body := content(1 << 20)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { serveRange(w, r, body, 600000) })
	var seen []Progress
	c := newClient(t, Options{Progress: func(p Progress) { seen = append(seen, p) }})
	if _, err := c.Get(t.Context(), Request{Name: "a", URLs: []string{s.URL}, Size: 1 << 20, Digest: digestOf(body)}); err != nil {
		t.Fatal(err)
	}
	first, last := seen[0], seen[len(seen)-1]
	if first != (Progress{Name: "a", Done: 0, Total: 1 << 20}) || last != (Progress{Name: "a", Done: 1 << 20, Total: 1 << 20}) {
		t.Errorf("progress was %v", seen)
	}
}

func TestProxy(t *testing.T) {
	body := content(1000)
	var asked string
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.String()
		w.Write(body)
	})
	// net/http reads the environment once a process.
	out := runHelper(t, "proxy", "http_proxy="+proxy.URL, "HELPER_DIGEST="+digestOf(body).String())
	if asked != "http://mirror.invalid/a" {
		t.Errorf("the proxy was asked for %q; the helper says: %s", asked, out)
	}
}

// On a full disk there is one clear error and nothing in the cache; afterwards
// everything works.
func TestDiskFull(t *testing.T) {
	body := content(1 << 20)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { serveRange(w, r, body, len(body)) })
	dir := t.TempDir()
	out := runHelper(t, "full", "HELPER_DIR="+dir, "HELPER_URL="+s.URL, "HELPER_DIGEST="+digestOf(body).String())
	if !strings.Contains(out, "cannot download a: the download cache cannot be written: ") || !strings.Contains(out, "file too large") {
		t.Errorf("the helper says: %s", out)
	}
	c := newClient(t, Options{Dir: dir})
	for _, sub := range []string{objectsDir, partialDir} {
		if left := files(t, c, sub); len(left) > 0 {
			t.Errorf("%s holds %v", sub, left)
		}
	}
	path, err := c.Get(t.Context(), Request{URLs: []string{s.URL}, Digest: digestOf(body)})
	if err != nil {
		t.Fatal(err)
	}
	checkObject(t, path, body)
}

// A killed process leaves its part to the next one.
func TestKilled(t *testing.T) {
	body := content(4 << 20)
	half := make(chan struct{})
	var once sync.Once
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			serveRange(w, r, body, len(body))
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body[:2<<20])
		w.(http.Flusher).Flush()
		once.Do(func() { close(half) })
		<-r.Context().Done()
	})
	dir := t.TempDir()
	helper := helperCommand("get", "HELPER_DIR="+dir, "HELPER_URL="+s.URL, "HELPER_DIGEST="+digestOf(body).String())
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	<-half
	partialFile := filepath.Join(dir, partialDir, hexName(digestOf(body)))
	for { // until the helper has written something
		if info, err := os.Stat(partialFile); err == nil && info.Size() > 1<<20 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	helper.Process.Kill()
	helper.Wait()
	c := newClient(t, Options{Dir: dir})
	path, err := c.Get(t.Context(), Request{URLs: []string{s.URL}, Size: int64(len(body)), Digest: digestOf(body)})
	if err != nil {
		t.Fatal(err)
	}
	checkObject(t, path, body)
}

func TestUnwritableCache(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o644)
	if _, err := New(Options{Dir: file}); err == nil || !strings.Contains(err.Error(), "the download cache cannot be created: ") {
		t.Errorf("error %v", err)
	}
}

// The test binary runs itself for what changes a whole process.
func TestMain(m *testing.M) {
	if mode := os.Getenv("HELPER_MODE"); mode != "" {
		helper(mode)
		return
	}
	os.Exit(m.Run())
}

func helperCommand(mode string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(env, "HELPER_MODE="+mode)...)
	return cmd
}

func runHelper(t *testing.T, mode string, env ...string) string {
	t.Helper()
	out, err := helperCommand(mode, env...).CombinedOutput()
	if err != nil {
		t.Fatalf("the helper process: %v\n%s", err, out)
	}
	return string(out)
}

func helper(mode string) {
	d, err := store.ParseDigest(os.Getenv("HELPER_DIGEST"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	dir := os.Getenv("HELPER_DIR")
	address := os.Getenv("HELPER_URL")
	switch mode {
	case "proxy":
		if dir, err = os.MkdirTemp("", "fetch-test-"); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		defer os.RemoveAll(dir)
		address = "http://mirror.invalid/a"
	case "full":
		// As on a full disk, but any user can do it: no file may become longer.
		limit := syscall.Rlimit{Cur: 300000, Max: 300000}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	c, err := New(Options{Dir: dir})
	if err == nil {
		_, err = c.Get(context.Background(), Request{Name: "a", URLs: []string{address}, Digest: d})
	}
	fmt.Println(err)
}

func TestFresh(t *testing.T) {
	version, requests, full := "one", 0, 0
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		w.Header().Set("ETag", strconv.Quote(version))
		if r.Header.Get("If-None-Match") == strconv.Quote(version) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		full++
		io.WriteString(w, "document "+version)
	})
	c := newClient(t, Options{})
	for _, version = range []string{"one", "one", "two"} {
		got, err := c.Fresh(t.Context(), s.URL, nil)
		if err != nil || string(got) != "document "+version {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if requests != 3 || full != 2 {
		t.Errorf("%d requests, %d documents sent; want 3 and 2", requests, full)
	}
	// What is not accepted does not replace what was.
	version = "login page"
	refused := errors.New("not signed")
	if _, err := c.Fresh(t.Context(), s.URL, func(p []byte) error { return refused }); err != refused {
		t.Errorf("error %v", err)
	}
	offline := newClient(t, Options{Dir: c.options.Dir, Offline: true})
	if got, err := offline.Fresh(t.Context(), s.URL, nil); err != nil || string(got) != "document two" {
		t.Errorf("%q, %v", got, err)
	}
}

// A damaged copy is not taken for current because the server says so.
func TestFreshDamagedCopy(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		io.WriteString(w, "good")
	})
	c := newClient(t, Options{})
	accept := func(p []byte) error {
		if string(p) != "good" {
			return fmt.Errorf("bad: %q", p)
		}
		return nil
	}
	if _, err := c.Fresh(t.Context(), s.URL, accept); err != nil {
		t.Fatal(err)
	}
	for _, damage := range []func([]byte) []byte{
		func(p []byte) []byte { return bytes.Replace(p, []byte("good"), []byte("evil"), 1) },
		func(p []byte) []byte { return p[:len(p)-4] },
		func(p []byte) []byte { return []byte("garbage") },
		func(p []byte) []byte { return nil },
	} {
		name := filepath.Join(c.options.Dir, freshDir, files(t, c, freshDir)[0])
		p, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, damage(p), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Fresh(t.Context(), s.URL, accept); err != nil || string(got) != "good" {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestFreshErrors(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/short":
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "cut")
			drop(w)
		case "/endless":
			p := make([]byte, 1<<20)
			for range MaxFreshBytes>>20 + 1 {
				w.Write(p)
			}
		default:
			http.NotFound(w, r)
		}
	})
	c := newClient(t, Options{})
	for path, want := range map[string]string{
		"/missing": "cannot download missing: " + s.URL + "/missing: the server answers 404 Not Found",
		"/short":   "cannot download short: " + s.URL + "/short: the connection broke after 3 bytes: unexpected EOF (3 tries)",
		"/endless": "cannot download endless: " + s.URL + "/endless: it sends more than 67108864 bytes",
	} {
		_, err := c.Fresh(t.Context(), s.URL+path, nil)
		if err == nil || err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
		if errors.Is(err, ErrNotFound) != (path == "/missing") {
			t.Errorf("errors.Is(%v, ErrNotFound) is wrong", err)
		}
	}
	if _, err := c.Fresh(t.Context(), "file:///nonexistent/InRelease", nil); !errors.Is(err, ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestGoroutinesEnd(t *testing.T) {
	before := runtime.NumGoroutine()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	c := newClient(t, Options{Stall: 5 * time.Millisecond})
	c.Get(t.Context(), Request{URLs: []string{s.URL}, Digest: digestOf(nil)})
	s.Close()
	c.http.CloseIdleConnections()
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}
