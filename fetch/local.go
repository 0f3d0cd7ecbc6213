package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// IsLocal reports whether a URL is of files on this machine, which Open and List read:
// file:///dir/file, or iso:/dir/file.iso!/dir/file for a file in an ISO 9660 image (of
// which nothing is escaped up to "!/").
func IsLocal(rawURL string) bool {
	u, err := parseURL(rawURL)
	return err == nil && isLocal(u)
}

// parseURL parses a URL. In one of an ISO image the path of the image is written as it
// is, and the path in it as in any URL, with %20 for a space.
func parseURL(rawURL string) (*url.URL, error) {
	rest, ok := strings.CutPrefix(rawURL, "iso:")
	if !ok {
		return url.Parse(rawURL)
	}
	image, inside, found := strings.Cut(rest, "!/")
	if found {
		var err error
		if inside, err = url.PathUnescape(inside); err != nil {
			return nil, err
		}
		image += "!/"
	}
	return &url.URL{Scheme: "iso", Path: image + inside}, nil
}

func isLocal(u *url.URL) bool { return u.Scheme == "file" || u.Scheme == "iso" }

// checkLocal reports what is wrong with the URL of a file on this machine.
func checkLocal(u *url.URL) error {
	switch {
	case u.Host != "" && u.Host != "localhost":
		return fmt.Errorf("the URL of a file has three slashes, not %s", display(u))
	case !strings.HasPrefix(u.Path, "/"):
		return fmt.Errorf("the URL of a file has an absolute path, not %s", display(u))
	}
	return nil
}

// A LocalReader reads a file on this machine.
type LocalReader interface {
	io.ReadSeekCloser
	io.ReaderAt
}

// Open opens a file on this machine by its URL. errors.Is(err, ErrNotFound) reports
// that there is none.
func (c *Client) Open(ctx context.Context, rawURL string) (LocalReader, error) {
	u, err := parseLocal(rawURL)
	if err != nil {
		return nil, err
	}
	return c.openLocal(ctx, u)
}

func parseLocal(rawURL string) (*url.URL, error) {
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, errors.New("the URL of a file is malformed")
	}
	if !isLocal(u) {
		return nil, fmt.Errorf("%s is not a file or iso URL", display(u))
	}
	return u, checkLocal(u)
}

func (c *Client) openLocal(ctx context.Context, u *url.URL) (LocalReader, error) {
	if u.Scheme == "iso" {
		return c.openISO(ctx, u)
	}
	f, err := os.Open(u.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// A LocalFile is a file that List found.
type LocalFile struct {
	Path string // below the directory, with slashes: "Packages/b/bash.rpm"
	URL  string // for Open, Get and Fresh
	Size int64  // bytes
}

// List returns the regular files in the directory at the URL and in those below it,
// sorted by path. Symbolic links to files count as files; those to directories are not
// followed. errors.Is(err, ErrNotFound) reports that there is no such directory.
func (c *Client) List(ctx context.Context, rawURL string) ([]LocalFile, error) {
	u, err := parseLocal(rawURL)
	if err != nil {
		return nil, err
	}
	var found []LocalFile
	if u.Scheme == "iso" {
		found, err = c.listISO(u)
	} else {
		found, err = listDir(ctx, u.Path)
	}
	if err != nil {
		return nil, err
	}
	base := strings.TrimRight(rawURL, "/")
	if u.Scheme == "iso" && !strings.Contains(base, "!/") && !strings.HasSuffix(base, "!") {
		base += "!" // the root of the image
	}
	for i := range found {
		found[i].URL = base + "/" + (&url.URL{Path: found[i].Path}).EscapedPath()
	}
	slices.SortFunc(found, func(a, b LocalFile) int { return strings.Compare(a.Path, b.Path) })
	return found, nil
}

func listDir(ctx context.Context, dir string) ([]LocalFile, error) {
	var found []LocalFile
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := os.Stat(name) // of what a link points to
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a link to nowhere
		}
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		relative, err := filepath.Rel(dir, name)
		found = append(found, LocalFile{Path: filepath.ToSlash(relative), Size: info.Size()})
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return found, err
}

func (c *Client) listISO(u *url.URL) ([]LocalFile, error) {
	name, inside := splitISO(u)
	image, err := c.image(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	if !image.dirs[inside] {
		return nil, fmt.Errorf("%w: %s has no directory %s", ErrNotFound, name, inside)
	}
	prefix := inside + "/"
	if inside == "." {
		prefix = ""
	}
	var found []LocalFile
	for file, extent := range image.files {
		if below, ok := strings.CutPrefix(file, prefix); ok {
			found = append(found, LocalFile{Path: below, Size: extent.size})
		}
	}
	return found, nil
}
