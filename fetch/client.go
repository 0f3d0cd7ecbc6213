package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/imagefactory/imagefactory/stages/store"
)

// Options say how a Client works. Only Dir has no default.
type Options struct {
	Dir      string // the cache; created when it does not exist
	Parallel int    // transfers at a time; 0: 6
	Offline  bool   // use only the cache and URLs of this machine's files

	// Progress, when set, is told how downloads advance: when one starts, every
	// 100 ms, and when it ends. Calls do not overlap. It is not called for what
	// the cache has.
	Progress func(Progress)

	Attempts int           // in a row and without progress, per URL; 0: 5
	Backoff  time.Duration // before the second attempt; doubles each time; 0: 500 ms
	Stall    time.Duration // a transfer without a byte for so long is broken off; 0: 30 s

	UserAgent string // empty: "imagefactory"
}

// Progress is how far one download is.
type Progress struct {
	Name  string // Request.Name
	Done  int64  // bytes, including what an earlier run had downloaded; falls when a download starts again
	Total int64  // bytes; 0 if unknown
}

// A Request asks for one file.
type Request struct {
	Name   string       // for messages; defaults to the last element of the first URL
	URLs   []string     // http, https, file or iso (see IsLocal); the same file on several mirrors, the preferred one first
	Size   int64        // bytes; 0 if unknown
	Digest store.Digest // must be set
}

// ErrNotFound says that the servers answered and do not have the file.
var ErrNotFound = errors.New("not found")

// ErrForbidden says that the servers answered and do not hand out the file, with the
// status 401 or 403. Object stores answer so when they do not have it.
var ErrForbidden = errors.New("forbidden")

// OfflineError says that something is not in the cache and may not be fetched.
type OfflineError struct {
	Name string // what is missing
	URL  string // where it would come from
	Dir  string // the cache
}

// Error names all three, and says what to do.
func (e *OfflineError) Error() string {
	return fmt.Sprintf("%s is not in the download cache %s, and --offline forbids fetching it from %s: run once without --offline",
		e.Name, e.Dir, e.URL)
}

// maxUnknownSize bounds downloads whose size is not known beforehand.
const maxUnknownSize = 64 << 30

const maxRedirects = 10

// A Client downloads files. It may be used by any number of goroutines.
type Client struct {
	options Options
	http    *http.Client
	slots   *semaphore.Weighted
	report  sync.Mutex // held while calling Options.Progress

	imagesLock sync.Mutex
	images     map[string]*isoImage // those used so far, by the path of the file
}

// New returns a Client and creates its cache.
func New(o Options) (*Client, error) {
	setDefault(&o.Parallel, 6)
	setDefault(&o.Attempts, 5)
	setDefault(&o.Backoff, 500*time.Millisecond)
	setDefault(&o.Stall, 30*time.Second)
	setDefault(&o.UserAgent, "imagefactory")
	for _, sub := range []string{objectsDir, partialDir, freshDir} {
		if err := os.MkdirAll(filepath.Join(o.Dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("the download cache cannot be created: %w", err)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() // proxies from the environment
	transport.DisableCompression = true                          // digests are of the bytes the server has
	transport.MaxIdleConnsPerHost = o.Parallel
	return &Client{
		options: o,
		http:    &http.Client{Transport: transport, CheckRedirect: checkRedirect},
		slots:   semaphore.NewWeighted(int64(o.Parallel)),
	}, nil
}

// checkRedirect stops at what a further attempt would only repeat.
func checkRedirect(next *http.Request, via []*http.Request) error {
	switch {
	case len(via) >= maxRedirects:
		return &permanentError{fmt.Errorf("it redirects more than %d times", maxRedirects)}
	case next.URL.Scheme != "http" && next.URL.Scheme != "https":
		return &permanentError{fmt.Errorf("it redirects to %s", next.URL.Redacted())}
	}
	return nil
}

func setDefault[T comparable](option *T, value T) {
	var zero T
	if *option == zero {
		*option = value
	}
}

// Get returns the path of a file of the cache with the digest and size that r asks
// for. Unless it is there already, Get downloads it from the first URL that
// gives the right bytes, going on where an earlier attempt, also one of another
// process, ended. The caller only reads the file.
//
// errors.Is(err, ErrNotFound) reports that every server answered that it has no
// such file.
func (c *Client) Get(ctx context.Context, r Request) (string, error) {
	if err := r.complete(); err != nil {
		return "", err
	}
	object := filepath.Join(c.options.Dir, objectsDir, hexName(r.Digest))
	if ok, err := verified(ctx, object, r); err != nil {
		return "", err
	} else if ok {
		return object, nil
	}
	urls := c.allowed(r.URLs)
	if len(urls) == 0 {
		return "", &OfflineError{Name: fmt.Sprintf("%s (%s)", r.Name, r.Digest), URL: redacted(r.URLs[0]), Dir: c.options.Dir}
	}
	if err := c.slots.Acquire(ctx, 1); err != nil {
		return "", err
	}
	defer c.slots.Release(1)
	p, err := openPartial(ctx, filepath.Join(c.options.Dir, partialDir, hexName(r.Digest)))
	if err != nil {
		return "", err
	}
	defer p.close()
	// Another process may have finished while this one waited for the lock.
	if ok, err := verified(ctx, object, r); err != nil {
		return "", err
	} else if ok {
		p.remove()
		return object, nil
	}
	if err := c.download(ctx, r, urls, p); err != nil {
		return "", err
	}
	if err := p.commit(object); err != nil {
		return "", err
	}
	return object, nil
}

// complete checks a request and fills in its name.
func (r *Request) complete() error {
	if len(r.URLs) == 0 {
		return fmt.Errorf("there is no URL to fetch %s from", r.Name)
	}
	if r.Name == "" {
		r.Name = path.Base(r.URLs[0])
	}
	if r.Digest.IsZero() {
		return fmt.Errorf("%s has no digest to verify it with", r.Name)
	}
	if r.Size < 0 {
		return fmt.Errorf("%s: %d is not a size", r.Name, r.Size)
	}
	return nil
}

// allowed returns the URLs that may be used: all, or those of this machine's files when
// offline.
func (c *Client) allowed(urls []string) []string {
	if !c.options.Offline {
		return urls
	}
	var local []string
	for _, u := range urls {
		if IsLocal(u) {
			local = append(local, u)
		}
	}
	return local
}

// redacted returns a URL for messages: without its password.
func redacted(u string) string {
	parsed, err := parseURL(u)
	if err != nil {
		return "(malformed URL)"
	}
	return display(parsed)
}

// display returns a URL for messages: without its password, and of an ISO image as
// people write it.
func display(u *url.URL) string {
	if u.Scheme == "iso" {
		return "iso:" + u.Path
	}
	return u.Redacted()
}

// download fills p until it is the file r asks for.
func (c *Client) download(ctx context.Context, r Request, urls []string, p *partial) error {
	m := c.newMeter(r)
	furthest := p.size
	err := c.try(ctx, r.Name, urls, func(ctx context.Context, u *url.URL) (progressed bool, err error) {
		start := p.size
		err = c.transfer(ctx, u, r, p, m)
		if err == nil {
			err = p.check(r.Digest, start > 0)
		}
		if p.size >= furthest+minProgress {
			furthest = p.size
			progressed = true
		}
		return progressed, err
	})
	if err != nil {
		return err
	}
	m.finish()
	return nil
}

// minProgress is what a broken-off transfer must have brought beyond all earlier
// ones not to count as a failed attempt. A server that closes every
// connection after some megabytes is slow, not broken.
const minProgress = 256 << 10

// A meter reports one download's progress.
type meter struct {
	client *Client
	state  Progress
	last   time.Time
}

const meterInterval = 100 * time.Millisecond

func (c *Client) newMeter(r Request) *meter {
	return &meter{client: c, state: Progress{Name: r.Name, Total: r.Size}}
}

// set reports done unless the last report was a moment ago.
func (m *meter) set(done int64) {
	m.state.Done = done
	if now := time.Now(); now.Sub(m.last) >= meterInterval {
		m.last = now
		m.send()
	}
}

func (m *meter) finish() {
	if m.state.Total == 0 {
		m.state.Total = m.state.Done
	}
	m.send()
}

func (m *meter) send() {
	if m.client.options.Progress == nil {
		return
	}
	m.client.report.Lock()
	defer m.client.report.Unlock()
	m.client.options.Progress(m.state)
}
