package repodata

import (
	"context"
	"fmt"
	"path"

	"github.com/imagefactory/imagefactory/fetch"
	"github.com/imagefactory/imagefactory/stages/store"
)

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
		digest, ok := rec.checksum.sha256()
		if !ok {
			return nil, fmt.Errorf("repository %s: %s has no SHA-256 digest", r.Name, path.Base(rec.href))
		}
		name, err := client.Get(ctx, fetch.Request{Name: r.Name + "/" + path.Base(rec.href), URLs: r.metadataURLs(rec), Size: rec.size, Digest: digest})
		if err != nil {
			return nil, fmt.Errorf("repository %s: %w", r.Name, err)
		}
		files = append(files, MetadataFile{Kind: forms[0], Name: path.Base(rec.href), Path: name, Digest: digest, Size: rec.size})
	}
	return files, nil
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
