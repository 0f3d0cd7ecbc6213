package repodata

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/distros/compress"
	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages/store"
)

// Forms of the metadata that are read, the preferred one first.
var (
	primaryForms   = []string{"primary"}
	filelistsForms = []string{"filelists"}
	groupForms     = []string{"group_gz", "group", "group_zst", "group_xz", "group_bz2"}
	modulesForms   = []string{"modules"}
)

// chooseFiles decides which files of the metadata are read, and makes sure that the
// packages are there: a mirror that is being updated may have nothing but the
// new repomd.xml.
func (r *Repository) chooseFiles(ctx context.Context, client *fetch.Client) error {
	primary := r.repomd.record(primaryForms...)
	if primary == nil {
		what := "no list of packages (primary)"
		if r.repomd.records["primary_zck"] != nil {
			what = "its packages as zchunk (primary_zck) alone, which is not supported: make the metadata with createrepo_c without --zck-only"
		}
		return unusable("%s%s has %s", r.URL, repomdPath, what)
	}
	records := []*record{primary}
	for _, forms := range [][]string{filelistsForms, groupForms, modulesForms} {
		if rec := r.repomd.record(forms...); rec != nil {
			records = append(records, rec)
		}
	}
	for _, rec := range records {
		if err := rec.check(r.config.Unverified); err != nil {
			return unusable("%s%s: %w", r.URL, repomdPath, err)
		}
		file, err := r.indexFile(ctx, client, rec)
		if err != nil {
			return err
		}
		r.Files = append(r.Files, file)
	}
	return nil
}

// indexFile describes a file of the metadata. It is downloaded if it is the list of
// packages, to see that it is there, or when otherwise its SHA-256 is not known.
func (r *Repository) indexFile(ctx context.Context, client *fetch.Client, rec *record) (IndexFile, error) {
	file := IndexFile{Path: rec.href, Size: rec.size}
	var known bool
	file.Digest, known = rec.checksum.sha256()
	if known && !slices.Contains(primaryForms, rec.kind) {
		return file, nil
	}
	content, err := r.content(ctx, client, rec)
	var offline *fetch.OfflineError
	if known && errors.As(err, &offline) {
		return file, nil // Load will say so, if it comes to that
	}
	if err != nil {
		return file, err
	}
	defer content.Close()
	if !known {
		p, err := io.ReadAll(content)
		if err != nil {
			return file, err
		}
		file.Digest = store.Sum(p)
	}
	return file, nil
}

// metadataURLs returns where a file of the metadata may be.
func (r *Repository) metadataURLs(rec *record) []string {
	if rec.base != "" {
		return []string{cleanBase(rec.base) + "/" + rec.href}
	}
	var urls []string
	for _, base := range append([]string{r.URL}, r.Mirrors...) {
		urls = append(urls, base+"/"+rec.href)
	}
	return urls
}

// content opens a file of the metadata, which is downloaded and verified.
func (r *Repository) content(ctx context.Context, client *fetch.Client, rec *record) (io.ReadCloser, error) {
	urls := r.metadataURLs(rec)
	if digest, ok := rec.checksum.sha256(); ok {
		name, err := client.Get(ctx, fetch.Request{Name: r.Name + "/" + path.Base(rec.href), URLs: urls, Size: rec.size, Digest: digest})
		if err != nil {
			return nil, err
		}
		return os.Open(name)
	}
	// The cache of downloads knows SHA-256 alone.
	var err error
	for _, url := range urls {
		var p []byte
		p, err = client.Fresh(ctx, url, func(p []byte) error {
			if err := rec.checksum.verify(p); err != nil {
				return unusable("%s: %w", url, err)
			}
			return nil
		})
		if err == nil {
			return io.NopCloser(bytes.NewReader(p)), nil
		}
	}
	return nil, err
}

// maxMetadataBytes bounds a decompressed file; the largest file lists have 1 GB.
const maxMetadataBytes = 2 << 30

// read calls parse with the decompressed contents of a file of the metadata.
func (r *Repository) read(ctx context.Context, client *fetch.Client, rec *record, parse func(io.Reader) error) error {
	fail := func(err error) error { return fmt.Errorf("repository %s: %w", r.Name, err) }
	content, err := r.content(ctx, client, rec)
	if err != nil {
		return fail(err)
	}
	defer content.Close()
	suffix := path.Ext(rec.href)
	if suffix == ".xml" || suffix == ".yaml" {
		suffix = ""
	}
	plain, release, err := compress.NewReader(suffix, content)
	if err != nil {
		return fail(fmt.Errorf("%s: %w", path.Base(rec.href), err))
	}
	defer release()
	ahead, stop := compress.ReadAhead(&boundedReader{ctx: ctx, r: plain, left: maxMetadataBytes})
	defer stop()
	if err := parse(ahead); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fail(fmt.Errorf("%s: %w", path.Base(rec.href), err))
	}
	return nil
}

// A boundedReader fails when there is more to read than metadata has, or when its
// context ends.
type boundedReader struct {
	ctx  context.Context
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("it decompresses to more than %d bytes", int64(maxMetadataBytes))
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("the compressed data is damaged or cut short: %w", err)
	}
	return n, err
}

// A MetadataFile is a file of a repository's metadata on this host.
type MetadataFile struct {
	Kind   string // as repomd.xml has it: "primary", "filelists", "group", "modules"
	Name   string // file name; its suffix tells the compression
	Path   string // where it is
	Digest store.Digest
	Size   int64 // bytes; 0 if the repository does not say
}

// Metadata downloads and verifies what tools that solve by themselves need of the
// repository's metadata: packages, files, groups and modules. A directory of packages
// alone has none, and metadata without SHA-256 digests cannot be kept as files: both
// are errors.
func (r *Repository) Metadata(ctx context.Context, client *fetch.Client) ([]MetadataFile, error) {
	if r.repomd == nil {
		return nil, fmt.Errorf("repository %s is a directory of packages without metadata: run `createrepo_c` in it", r.Name)
	}
	var files []MetadataFile
	for _, forms := range [][]string{primaryForms, filelistsForms, groupForms, modulesForms} {
		rec := r.repomd.record(forms...)
		if rec == nil {
			continue
		}
		kind, _, _ := strings.Cut(rec.kind, "_") // "group_gz" is a form of "group"
		digest, ok := rec.checksum.sha256()
		if !ok {
			return nil, fmt.Errorf("repository %s: %s has no SHA-256 digest", r.Name, path.Base(rec.href))
		}
		name, err := client.Get(ctx, fetch.Request{Name: r.Name + "/" + path.Base(rec.href), URLs: r.metadataURLs(rec), Size: rec.size, Digest: digest})
		if err != nil {
			return nil, fmt.Errorf("repository %s: %w", r.Name, err)
		}
		files = append(files, MetadataFile{Kind: kind, Name: path.Base(rec.href), Path: name, Digest: digest, Size: rec.size})
	}
	return files, nil
}
