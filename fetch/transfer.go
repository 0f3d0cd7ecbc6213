package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A permanentError is one that another attempt at the same URL would only
// repeat.
type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// A statusError is an answer other than success.
type statusError struct {
	status     int
	text       string        // "404 Not Found"
	retryAfter time.Duration // 0 when the server does not say
}

func (e *statusError) Error() string { return "the server answers " + e.text }

func (e *statusError) Is(target error) bool {
	switch e.status {
	case http.StatusNotFound, http.StatusGone:
		return target == ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return target == ErrForbidden
	}
	return false
}

// stalledError ends a transfer that brings nothing any more.
type stalledError struct{ after time.Duration }

func (e *stalledError) Error() string {
	return fmt.Sprintf("nothing arrived for %v", e.after)
}

const (
	maxBackoff    = 30 * time.Second
	maxRetryAfter = time.Minute
)

// A source is one URL and what happened there so far.
type source struct {
	url   *url.URL
	tries int
	err   error // of the last attempt
	dead  bool  // a further attempt is useless
}

// An Error says why something could not be downloaded, for every URL.
type Error struct {
	Name    string
	sources []*source
}

// Error names what was wanted and, for every URL, what happened.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cannot download %s: ", e.Name)
	for i, s := range e.sources {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %v", display(s.url), s.err)
		if s.tries > 1 {
			fmt.Fprintf(&b, " (%d tries)", s.tries)
		}
	}
	if advice := e.advice(); advice != "" {
		b.WriteString("; " + advice)
	}
	return b.String()
}

// advice says what to do when nothing was reached at all.
func (e *Error) advice() string {
	for _, s := range e.sources {
		var network *net.OpError
		var dns *net.DNSError
		if !errors.As(s.err, &network) && !errors.As(s.err, &dns) {
			return ""
		}
	}
	return "check the network and the proxy settings (http_proxy, https_proxy, no_proxy), or choose another mirror"
}

// Is reports ErrNotFound or ErrForbidden when every server answered that.
func (e *Error) Is(target error) bool {
	for _, s := range e.sources {
		if target != ErrNotFound && target != ErrForbidden || !errors.Is(s.err, target) {
			return false
		}
	}
	return true
}

// try calls attempt for one URL after the other, in rounds with pauses between
// them, until it succeeds, the context ends, or no URL is worth another attempt.
// A round in which an attempt reports progress does not count.
func (c *Client) try(ctx context.Context, name string, urls []string, attempt func(context.Context, *url.URL) (progressed bool, err error)) error {
	sources, err := parseSources(name, urls)
	if err != nil {
		return err
	}
	for failed := 0; ; {
		alive, progressed := false, false
		pause := min(c.options.Backoff<<min(failed, 10), maxBackoff)
		for _, s := range sources {
			if s.dead {
				continue
			}
			advanced, err := attempt(ctx, s.url)
			if err == nil {
				return nil
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			var local *localError
			if errors.As(err, &local) {
				return fmt.Errorf("cannot download %s: %w", name, local)
			}
			s.tries++
			s.err = err
			s.dead = isPermanent(err)
			alive = alive || !s.dead
			progressed = progressed || advanced
			var status *statusError
			if errors.As(err, &status) {
				pause = max(pause, min(status.retryAfter, maxRetryAfter))
			}
		}
		failed++
		if progressed {
			failed = 0
		}
		if !alive || failed == c.options.Attempts {
			return &Error{Name: name, sources: sources}
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

func parseSources(name string, urls []string) ([]*source, error) {
	var sources []*source
	for _, text := range urls {
		u, err := parseURL(text)
		if err != nil {
			return nil, fmt.Errorf("cannot download %s: its URL is malformed", name) // err would show a password
		}
		switch u.Scheme {
		case "http", "https":
			if u.Host == "" {
				return nil, fmt.Errorf("cannot download %s: the URL %s names no server", name, display(u))
			}
		case "file", "iso":
			if err := checkLocal(u); err != nil {
				return nil, fmt.Errorf("cannot download %s: %w", name, err)
			}
		default:
			return nil, fmt.Errorf("cannot download %s: %s is not an http, https, file or iso URL", name, display(u))
		}
		sources = append(sources, &source{url: u})
	}
	return sources, nil
}

// isPermanent reports whether another attempt at the same URL is useless.
func isPermanent(err error) bool {
	var (
		permanent *permanentError
		status    *statusError
		dns       *net.DNSError
		cert      *tls.CertificateVerificationError
		host      x509.HostnameError
	)
	switch {
	case errors.As(err, &permanent), errors.As(err, &cert), errors.As(err, &host):
		return true
	case errors.As(err, &dns):
		return dns.IsNotFound
	case errors.As(err, &status):
		switch status.status {
		case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
			http.StatusRequestedRangeNotSatisfiable:
			return false
		}
		return status.status < 500
	}
	return false
}

// transfer appends to p what is missing of the file r asks for.
func (c *Client) transfer(ctx context.Context, u *url.URL, r Request, p *partial, m *meter) error {
	if r.Size > 0 && p.size > r.Size {
		if err := p.restart(); err != nil {
			return err
		}
	}
	m.set(p.size)
	if r.Size > 0 && p.size == r.Size {
		return nil // an earlier run got as far as this
	}
	ctx, touch, stop := c.watch(ctx)
	defer stop()
	body, err := c.open(ctx, u, r, p)
	if err != nil {
		return cause(ctx, err)
	}
	defer body.Close()

	limit := r.Size
	if limit == 0 {
		limit = maxUnknownSize
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := body.Read(buf)
		touch()
		if p.size+int64(n) > limit {
			if err := p.restart(); err != nil {
				return err
			}
			return &permanentError{fmt.Errorf("it sends more than the %d bytes the file should have", limit)}
		}
		if _, err := p.Write(buf[:n]); err != nil {
			return err
		}
		m.set(p.size)
		switch {
		case err == io.EOF && p.size < r.Size:
			return fmt.Errorf("the connection ended after %d of %d bytes", p.size, r.Size)
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("the connection broke after %d bytes: %w", p.size, cause(ctx, err))
		}
	}
}

// watch returns a context that ends when touch has not been called for
// Options.Stall. stop frees what it holds.
func (c *Client) watch(parent context.Context) (ctx context.Context, touch, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	timer := time.AfterFunc(c.options.Stall, func() { cancel(&stalledError{c.options.Stall}) })
	touch = func() { timer.Reset(c.options.Stall) }
	stop = func() {
		timer.Stop()
		cancel(nil)
	}
	return ctx, touch, stop
}

// cause returns why a request failed: the reason its context ended for, or err
// without the URL, which the caller names.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var request *url.Error
	if errors.As(err, &request) {
		return request.Err
	}
	return err
}

// open starts the transfer of what p lacks of the file at u. If the source cannot
// start there, p is emptied.
func (c *Client) open(ctx context.Context, u *url.URL, r Request, p *partial) (io.ReadCloser, error) {
	if isLocal(u) {
		return c.openAt(ctx, u, p)
	}
	header := http.Header{}
	if p.size > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", p.size))
	}
	resp, err := c.request(ctx, u, header)
	if err != nil {
		return nil, err
	}
	if err := checkAnswer(resp, r, p); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp.Body, nil
}

// request sends a GET request.
func (c *Client) request(ctx context.Context, u *url.URL, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, &permanentError{err}
	}
	req.Header = header
	req.Header.Set("User-Agent", c.options.UserAgent)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err // a non-nil resp has a closed body
	}
	return resp, nil
}

// checkAnswer makes p agree with what the answer's body continues: nothing, or
// exactly what p holds.
func checkAnswer(resp *http.Response, r Request, p *partial) error {
	switch resp.StatusCode {
	case http.StatusOK:
		if resp.ContentLength >= 0 && r.Size > 0 && resp.ContentLength != r.Size {
			return &permanentError{fmt.Errorf("the server has %d bytes there, but the file should have %d", resp.ContentLength, r.Size)}
		}
		return p.restart() // all of it, whether asked for or not
	case http.StatusPartialContent:
		start, err := contentRangeStart(resp.Header.Get("Content-Range"))
		if err != nil || start != p.size {
			if err := p.restart(); err != nil {
				return err
			}
			return fmt.Errorf("the server answers with another part of the file than asked for (%q)", resp.Header.Get("Content-Range"))
		}
		return nil
	case http.StatusRequestedRangeNotSatisfiable:
		if err := p.restart(); err != nil {
			return err
		}
	}
	return newStatusError(resp)
}

func newStatusError(resp *http.Response) error {
	e := &statusError{status: resp.StatusCode, text: resp.Status}
	// The form with a date is not worth understanding: servers send seconds.
	if seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16); err == nil {
		e.retryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

// contentRangeStart reads the first number of "bytes 1000-1999/5000".
func contentRangeStart(s string) (int64, error) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	if !ok {
		return 0, errors.New("not a range of bytes")
	}
	first, _, _ := strings.Cut(rest, "-")
	return strconv.ParseInt(first, 10, 64)
}

// openAt opens a file of this machine where p ends.
func (c *Client) openAt(ctx context.Context, u *url.URL, p *partial) (io.ReadCloser, error) {
	f, err := c.openLocal(ctx, u)
	if err != nil {
		return nil, &permanentError{err}
	}
	if _, err := f.Seek(p.size, io.SeekStart); err != nil {
		f.Close()
		return nil, &permanentError{err}
	}
	return struct {
		io.Reader
		io.Closer
	}{&contextReader{ctx, f}, f}, nil
}
