package payload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// HTTPOptions says how patient an [HTTP] is. Zero values mean what is given with each.
type HTTPOptions struct {
	// Client makes the requests; http.DefaultClient.
	Client *http.Client
	// Stall is how long to wait for the next bytes, or for a connection and the answer: 30 seconds.
	Stall time.Duration
	// Retries is how often in a row a request is repeated that brought no byte: 10.
	Retries int
	// Backoff is how long to wait before the first repetition; then twice as long each time, up to 30 times as long:
	// half a second.
	Backoff time.Duration
	// Notice is told why a request is repeated, and when; may be nil.
	Notice func(err error, wait time.Duration)
}

// skipAhead is the number of bytes that are rather read and dropped than asked for with another request.
const skipAhead = 256 << 10

// HTTP is a file of a web server as an [io.ReaderAt]. Reads in ascending order are served from one request that runs on ahead
// as far as the connection's buffers reach; an interrupted one is taken up where it ended (RFC 9110 section 14). It
// is safe for use by several goroutines, which wait for one another.
type HTTP struct {
	ctx       context.Context
	url       string
	o         HTTPOptions
	size      int64
	validator string // of this version of the file: a strong ETag, or when it was modified; empty when there is neither

	mu     sync.Mutex
	stream *stream // nil when there is none
	fresh  bool    // caches on the way are not to be trusted
}

// ChangedError says that a file on a server is no longer the one that was opened.
type ChangedError struct{ URL string }

func (e *ChangedError) Error() string {
	return e.URL + " was replaced while it was read; start the installation again"
}

// statusError is an answer that is not what was asked for.
type statusError struct {
	url, status string
	code        int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the server answers %q for %s", e.status, e.url)
}

// errNoRanges is an answer of a whole file to a question for a part.
var errNoRanges = errors.New("the server does not support range requests (RFC 9110 section 14), without which an interrupted download cannot go on: serve the files with another one, such as nginx, Apache or Caddy")

// permanent reports whether asking again cannot help.
func permanent(err error) bool {
	var changed *ChangedError
	if errors.As(err, &changed) || errors.Is(err, errNoRanges) {
		return true
	}
	var status *statusError
	return errors.As(err, &status) && status.code < 500 && status.code != http.StatusRequestTimeout && status.code != http.StatusTooManyRequests
}

// OpenHTTP asks for the size and the version of the file at url. ctx bounds this and every later read.
func OpenHTTP(ctx context.Context, url string, o HTTPOptions) (*HTTP, error) {
	if o.Client == nil {
		o.Client = http.DefaultClient
	}
	if o.Stall <= 0 {
		o.Stall = 30 * time.Second
	}
	if o.Retries <= 0 {
		o.Retries = 10
	}
	if o.Backoff <= 0 {
		o.Backoff = 500 * time.Millisecond
	}
	h := &HTTP{ctx: ctx, url: url, o: o, size: -1}
	err := h.persist(func() (bool, error) {
		s, err := h.request(0)
		h.stream = s
		return false, err
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", url, err)
	}
	return h, nil
}

// Name is the URL.
func (h *HTTP) Name() string { return h.url }

// Size is the size of the file in bytes.
func (h *HTTP) Size() int64 { return h.size }

// Refetch makes the next read ask anew, past caches on the way: what was read turned out to be wrong.
func (h *HTTP) Refetch() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fresh = true
	h.drop()
}

// Close ends the use of the file.
func (h *HTTP) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop()
	return nil
}

func (h *HTTP) drop() {
	if h.stream != nil {
		h.stream.close()
		h.stream = nil
	}
}

// ReadAt implements [io.ReaderAt].
func (h *HTTP) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s: negative offset %d", h.url, off)
	}
	if off >= h.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > h.size-off
	if short {
		p = p[:h.size-off]
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	done := 0
	err := h.persist(func() (bool, error) {
		before := done
		for done < len(p) {
			n, err := h.readSome(p[done:], off+int64(done))
			done += n
			if err != nil {
				h.drop()
				return done > before, err
			}
		}
		return true, nil
	})
	if err == nil && short {
		err = io.EOF
	}
	return done, err
}

// persist repeats do until it succeeds, fails for good, or made no progress too often.
func (h *HTTP) persist(do func() (progress bool, err error)) error {
	for failures, wait := 0, h.o.Backoff; ; {
		progress, err := do()
		if err == nil {
			return nil
		}
		if h.ctx.Err() != nil {
			return h.ctx.Err()
		}
		if permanent(err) {
			return err
		}
		if progress {
			failures, wait = 0, h.o.Backoff
		}
		if failures++; failures > h.o.Retries {
			return fmt.Errorf("given up after %d attempts: %w", failures, err)
		}
		if h.o.Notice != nil {
			h.o.Notice(err, wait)
		}
		select {
		case <-time.After(wait):
		case <-h.ctx.Done():
			return h.ctx.Err()
		}
		wait = min(2*wait, 30*h.o.Backoff)
	}
}

// readSome reads at least one byte at off.
func (h *HTTP) readSome(p []byte, off int64) (int, error) {
	if h.stream != nil && (h.stream.at > off || h.stream.at < off-skipAhead) {
		h.drop()
	}
	if h.stream == nil {
		s, err := h.request(off)
		if err != nil {
			return 0, err
		}
		h.stream = s
	}
	for h.stream.at < off {
		if _, err := h.stream.read(p[:min(int64(len(p)), off-h.stream.at)]); err != nil {
			return 0, err
		}
	}
	return h.stream.read(p)
}

// request asks for everything from off on.
func (h *HTTP) request(off int64) (*stream, error) {
	ctx, cancel := context.WithCancel(h.ctx)
	s := &stream{h: h, at: off, cancel: cancel}
	s.watch = time.AfterFunc(h.o.Stall, func() {
		s.stalled.Store(true)
		cancel()
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url, nil)
	if err != nil {
		s.close()
		return nil, err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-", off))
	req.Header.Set("Accept-Encoding", "identity")
	if h.validator != "" {
		req.Header.Set("If-Range", h.validator)
	}
	if h.fresh {
		req.Header.Set("Cache-Control", "no-cache")
	}
	resp, err := h.o.Client.Do(req)
	if err != nil {
		s.close()
		return nil, s.explain(err)
	}
	s.body = resp.Body
	if err := h.check(resp, off); err != nil {
		s.close()
		return nil, err
	}
	s.watch.Stop()
	return s, nil
}

// check reads the head of an answer.
func (h *HTTP) check(resp *http.Response, off int64) error {
	known := h.size >= 0
	switch {
	case resp.StatusCode == http.StatusOK && known && validator(resp) != h.validator:
		return &ChangedError{h.url}
	case resp.StatusCode == http.StatusOK:
		return errNoRanges
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && known:
		return &ChangedError{h.url} // it became shorter
	case resp.StatusCode != http.StatusPartialContent:
		return &statusError{h.url, resp.Status, resp.StatusCode}
	}
	first, size, err := contentRange(resp.Header.Get("Content-Range"))
	if err != nil {
		return err
	}
	if !known {
		h.size, h.validator = size, validator(resp)
	}
	if size != h.size || validator(resp) != h.validator {
		return &ChangedError{h.url}
	}
	if first != off {
		return fmt.Errorf("the server sends bytes from %d on instead of from %d", first, off)
	}
	return nil
}

// validator returns what tells this version of a file from others: If-Range takes no weak ETag.
func validator(resp *http.Response) string {
	if tag := resp.Header.Get("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return resp.Header.Get("Last-Modified")
}

// contentRange reads "bytes FIRST-LAST/SIZE".
func contentRange(s string) (first, size int64, err error) {
	wrong := fmt.Errorf("the server sends the Content-Range %q, which is none with a size", s)
	rest, ok := strings.CutPrefix(s, "bytes ")
	bounds, total, ok2 := strings.Cut(rest, "/")
	from, to, ok3 := strings.Cut(bounds, "-")
	if !ok || !ok2 || !ok3 {
		return 0, 0, wrong
	}
	var numbers [3]int64
	for i, text := range []string{from, to, total} {
		if numbers[i], err = strconv.ParseInt(strings.TrimSpace(text), 10, 64); err != nil || numbers[i] < 0 {
			return 0, 0, wrong
		}
	}
	if numbers[0] > numbers[1] || numbers[1] >= numbers[2] {
		return 0, 0, wrong
	}
	return numbers[0], numbers[2], nil
}
