package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/imagefactory/imagefactory/stages/store"
)

// MaxFreshBytes is the largest document Fresh accepts.
const MaxFreshBytes = 64 << 20

// A freshHeader is the first line of a kept document.
type freshHeader struct {
	URL          string    `json:"url"`
	ETag         string    `json:"etag,omitempty"`
	LastModified string    `json:"last_modified,omitempty"`
	Fetched      time.Time `json:"fetched"`
}

// Fresh returns the document at rawURL as it is now: a small one that changes,
// like the InRelease file of a repository. Unchanged documents are not
// transferred again. When the client is offline it returns the copy that the
// last call got.
//
// accept decides whether the document is the one that was meant (that its
// signature verifies, for instance) and may be nil. Its error is returned as it
// is, and what it refuses never replaces the kept copy: a hotel's login page
// does not become the repository.
//
// errors.Is(err, ErrNotFound) reports that the server has no such document.
func (c *Client) Fresh(ctx context.Context, rawURL string, accept func([]byte) error) ([]byte, error) {
	if accept == nil {
		accept = func([]byte) error { return nil }
	}
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, errors.New("the URL of a document is malformed")
	}
	if isLocal(u) {
		return c.freshLocal(ctx, u, accept)
	}
	kept := filepath.Join(c.options.Dir, freshDir, hexName(store.Sum([]byte(rawURL))))
	header, old, err := readKept(kept)
	if err != nil {
		return nil, err
	}
	if c.options.Offline {
		if old == nil {
			return nil, &OfflineError{Name: path.Base(u.Path), URL: display(u), Dir: c.options.Dir}
		}
		return old, accept(old)
	}
	if err := c.slots.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer c.slots.Release(1)
	header, body, err := c.update(ctx, u, header, old)
	if err != nil {
		return nil, err
	}
	err = accept(body)
	if err != nil && old != nil && bytes.Equal(body, old) {
		// The kept copy may be damaged: do without it.
		if header, body, err = c.update(ctx, u, freshHeader{}, nil); err != nil {
			return nil, err
		}
		err = accept(body)
	}
	if err != nil {
		return nil, err
	}
	return body, writeKept(kept, header, body)
}

func (c *Client) freshLocal(ctx context.Context, u *url.URL, accept func([]byte) error) ([]byte, error) {
	if err := checkLocal(u); err != nil {
		return nil, err
	}
	f, err := c.openLocal(ctx, u)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(&contextReader{ctx, f}, MaxFreshBytes+1))
	if err != nil {
		return nil, err
	}
	if len(body) > MaxFreshBytes {
		return nil, fmt.Errorf("%s has more than %d bytes", u.Path, MaxFreshBytes)
	}
	return body, accept(body)
}

// update downloads a document unless the server says that old is still it.
func (c *Client) update(ctx context.Context, u *url.URL, header freshHeader, old []byte) (freshHeader, []byte, error) {
	var body []byte
	err := c.try(ctx, path.Base(u.Path), []string{u.String()}, func(ctx context.Context, u *url.URL) (bool, error) {
		var err error
		header, body, err = c.freshAttempt(ctx, u, header, old)
		return false, err
	})
	header.URL, header.Fetched = display(u), time.Now().UTC()
	return header, body, err
}

// freshAttempt asks once for the document, or for word that old is still it.
func (c *Client) freshAttempt(ctx context.Context, u *url.URL, header freshHeader, old []byte) (freshHeader, []byte, error) {
	ctx, touch, stop := c.watch(ctx)
	defer stop()
	ask := http.Header{}
	if old != nil && header.ETag != "" {
		ask.Set("If-None-Match", header.ETag)
	}
	if old != nil && header.LastModified != "" {
		ask.Set("If-Modified-Since", header.LastModified)
	}
	ask.Set("Cache-Control", "max-age=0") // proxies on the way ask, too
	resp, err := c.request(ctx, u, ask)
	if err != nil {
		return header, nil, cause(ctx, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && old != nil:
		return header, old, nil
	case resp.StatusCode != http.StatusOK:
		return header, nil, newStatusError(resp)
	}
	var body bytes.Buffer
	buf := make([]byte, 64<<10)
	for {
		n, err := resp.Body.Read(buf)
		touch()
		body.Write(buf[:n])
		switch {
		case body.Len() > MaxFreshBytes:
			return header, nil, &permanentError{fmt.Errorf("it sends more than %d bytes", MaxFreshBytes)}
		case err == io.EOF:
			header = freshHeader{ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified")}
			return header, body.Bytes(), nil
		case err != nil:
			return header, nil, fmt.Errorf("the connection broke after %d bytes: %w", body.Len(), cause(ctx, err))
		}
	}
}

// readKept reads a kept document; none is no error, and a file that is not one
// counts as none.
func readKept(path string) (freshHeader, []byte, error) {
	p, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return freshHeader{}, nil, nil
	}
	if err != nil {
		return freshHeader{}, nil, fmt.Errorf("the download cache cannot be read: %w", err)
	}
	line, body, _ := bytes.Cut(p, []byte("\n"))
	var h freshHeader
	if json.Unmarshal(line, &h) != nil {
		return freshHeader{}, nil, nil
	}
	if body == nil {
		body = []byte{}
	}
	return h, body, nil
}

// writeKept replaces a kept document as a whole.
func writeKept(path string, h freshHeader, body []byte) error {
	line, err := json.Marshal(h)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "new-")
	if err != nil {
		return cacheError(err)
	}
	defer os.Remove(f.Name()) // fails once renamed
	defer f.Close()
	if _, err := f.Write(append(append(line, '\n'), body...)); err != nil {
		return cacheError(err)
	}
	if err := f.Chmod(0o644); err != nil {
		return cacheError(err)
	}
	if err := f.Close(); err != nil {
		return cacheError(err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return cacheError(err)
	}
	return nil
}
