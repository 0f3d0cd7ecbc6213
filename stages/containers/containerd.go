package containers

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"go.etcd.io/bbolt"

	"github.com/imagefactory/imagefactory/stages/store"
)

// The directory of containerd's data, and what is below it.
const (
	defaultContainerdRoot = "/var/lib/containerd"
	containerdConfig      = "/etc/containerd/config.toml"
	contentDir            = "io.containerd.content.v1.content/blobs/sha256"
	metadataDir           = "io.containerd.metadata.v1.bolt"
	metadataFile          = "meta.db"
)

// metadataVersion is the version of the database (dbVersion in containerd's package
// metadata) that containerd 1.6 and 1.7 write. Later ones bring it up to date.
const metadataVersion = 3

// containerd puts images into containerd's content store, and what is known of them into
// its database.
func (p *placer) containerd(ctx context.Context, placed []Image) error {
	root, err := p.containerdRoot()
	if err != nil {
		return err
	}
	if e, ok := p.exists(path.Join(root, metadataDir, metadataFile)); ok {
		return fmt.Errorf("/%s: containerd's database: %w; take it out with the program or archive it comes from", e.Path, errAlready)
	}
	// The modes are those containerd gives.
	if _, err := p.mkdir(root, 0o711); err != nil {
		return err
	}
	blobs, err := p.mkdir(path.Join(root, contentDir), 0o755)
	if err != nil {
		return err
	}
	database := metadata{version: metadataVersion, namespaces: map[string]*namespace{}}
	for _, i := range placed {
		labels, err := p.contentLabels(i)
		if err != nil {
			return fmt.Errorf("container %q: %w", i.display(), err)
		}
		n := database.namespace(i.Namespace)
		for _, b := range i.blobs() {
			p.blob(blobs, b, 0o444)
			n.content[b.Digest] = content{size: b.Size, labels: labels[b.Digest]}
		}
		for _, name := range i.containerdNames() {
			n.images[name] = i.Top
		}
	}
	data, err := p.database(ctx, database)
	if err != nil {
		return fmt.Errorf("containerd's database: %w", err)
	}
	dir, err := p.mkdir(path.Join(root, metadataDir), 0o711)
	if err != nil {
		return err
	}
	return p.write(dir, metadataFile, data, 0o644)
}

// containerdRoot returns the directory of containerd's data, as its configuration has it
// (containerd-config.toml(5)).
func (p *placer) containerdRoot() (string, error) {
	type configuration struct {
		Root    string   `toml:"root"`
		Imports []string `toml:"imports"`
	}
	read := func(name string) (c configuration, err error) {
		data, ok, err := p.read(name)
		if err != nil || !ok {
			return c, err
		}
		if err := toml.Unmarshal(data, &c); err != nil {
			return c, fmt.Errorf("%s: containerd's configuration: %w", name, err)
		}
		return c, nil
	}
	c, err := read(containerdConfig)
	if err != nil {
		return "", err
	}
	root := c.Root
	if len(c.Imports) > 0 {
		// They may set it, and count more than the file that imports them.
		t, err := p.edit.Tree()
		if err != nil {
			return "", err
		}
		for _, pattern := range c.Imports {
			if !path.IsAbs(pattern) {
				pattern = path.Join(path.Dir(containerdConfig), pattern)
			}
			for _, e := range t.Entries() {
				name := "/" + e.Path
				if ok, _ := path.Match(pattern, name); !ok {
					continue
				}
				imported, err := read(name)
				if err != nil {
					return "", err
				}
				if imported.Root != "" {
					root = imported.Root
				}
			}
		}
	}
	switch {
	case root == "":
		return defaultContainerdRoot, nil
	case !path.IsAbs(root):
		return "", fmt.Errorf("%s: root = %q is not an absolute path", containerdConfig, root)
	}
	return path.Clean(root), nil
}

// blobs returns everything that an image consists of.
func (i *Image) blobs() []Blob {
	found := []Blob{i.Top}
	if i.Manifest.Digest != i.Top.Digest {
		found = append(found, i.Manifest)
	}
	found = append(found, i.Config)
	for _, l := range i.Layers {
		found = append(found, l.Blob)
	}
	return found
}

// digested is the image's name with its digest.
func (i Image) digested() string { return i.Name + "@" + i.Top.Digest.String() }

// containerdNames returns the names under which containerd knows an image. Those in
// Kubernetes' namespace are what its CRI service makes when it pulls one: by tag, by
// digest, and by what is the image's identity for it, the digest of the configuration.
func (i *Image) containerdNames() []string {
	var names []string
	if i.Tagged != "" {
		names = append(names, i.Tagged)
	}
	names = append(names, i.digested())
	if i.Namespace == DefaultNamespace {
		names = append(names, i.Config.Digest.String())
	}
	return names
}

// Labels of containerd.
const (
	// contentLabel says that a blob needs another one (containerd's package gc).
	contentLabel = "containerd.io/gc.ref.content."
	// managedLabel and pinnedLabel are of the CRI service: it knows the image, and the
	// kubelet does not remove it when disk space runs out. Without a network it could not
	// come back.
	managedLabel, managed = "io.cri-containerd.image", "managed"
	pinnedLabel, pinned   = "io.cri-containerd.pinned", "pinned"
)

// contentLabels returns the labels of an image's blobs, without which containerd's
// collection of garbage would remove all but the first.
func (p *placer) contentLabels(i Image) (map[store.Digest]map[string]string, error) {
	labels := map[store.Digest]map[string]string{}
	if i.Top.isList() {
		data, err := p.st.ReadAll(i.Top.Digest)
		if err != nil {
			return nil, err
		}
		var list index
		if err := json.Unmarshal(data, &list); err != nil {
			return nil, fmt.Errorf("its list of manifests: %w", err)
		}
		of := map[string]string{}
		// All are named, as containerd does, also those of other platforms, which are
		// not there: should they be fetched one day, they stay.
		for n, m := range list.Manifests {
			of[fmt.Sprintf("%sm.%d", contentLabel, n)] = m.Digest.String()
		}
		labels[i.Top.Digest] = of
	}
	of := map[string]string{contentLabel + "config": i.Config.Digest.String()}
	for n, l := range i.Layers {
		of[fmt.Sprintf("%sl.%d", contentLabel, n)] = l.Digest.String()
	}
	labels[i.Manifest.Digest] = of
	return labels, nil
}

// metadata is the part of containerd's database that is written; its form is described
// in buckets.go of containerd's package metadata.
type metadata struct {
	version    int64
	namespaces map[string]*namespace
}

type namespace struct {
	images  map[string]Blob // by name
	content map[store.Digest]content
}

type content struct {
	size   int64
	labels map[string]string
}

func (m *metadata) namespace(name string) *namespace {
	n, ok := m.namespaces[name]
	if !ok {
		n = &namespace{map[string]Blob{}, map[store.Digest]content{}}
		m.namespaces[name] = n
	}
	return n
}

// database returns the file of the database.
//
// bbolt writes the buckets that a transaction has opened in the order of a Go map, which
// is a different one each time. So every transaction opens one bucket only, with those
// it lies in: then there is but one order.
func (p *placer) database(ctx context.Context, m metadata) ([]byte, error) {
	scratch, err := p.run.Cache.Scratch()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	file := filepath.Join(scratch, metadataFile)
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{
		PageSize:     4096, // not that of the build host
		FreelistType: bbolt.FreelistArrayType,
		NoSync:       true, // it is copied, and thrown away
		NoGrowSync:   true,
	})
	if err != nil {
		return nil, err
	}
	defer db.Close() // again, after an error
	w := boltWriter{ctx: ctx, db: db}
	stamp, err := time.Unix(p.epoch, 0).UTC().MarshalBinary()
	if err != nil {
		return nil, err
	}
	w.fields([]string{"v1"}, map[string][]byte{"version": varint(m.version)})
	for _, name := range slices.Sorted(maps.Keys(m.namespaces)) {
		n := m.namespaces[name]
		for _, digest := range slices.SortedFunc(maps.Keys(n.content), func(a, b store.Digest) int { return strings.Compare(a.Hex(), b.Hex()) }) {
			blob := n.content[digest]
			bucket := []string{"v1", name, "content", "blob", digest.String()}
			w.fields(bucket, map[string][]byte{"createdat": stamp, "updatedat": stamp, "size": varint(blob.size)})
			w.labels(bucket, blob.labels)
		}
		for _, image := range slices.Sorted(maps.Keys(n.images)) {
			target := n.images[image]
			bucket := []string{"v1", name, "images", image}
			w.fields(bucket, map[string][]byte{"createdat": stamp, "updatedat": stamp})
			if name == DefaultNamespace {
				w.labels(bucket, map[string]string{managedLabel: managed, pinnedLabel: pinned})
			}
			w.fields(append(bucket, "target"), map[string][]byte{
				"digest": []byte(target.Digest.String()), "mediatype": []byte(target.MediaType), "size": varint(target.Size),
			})
		}
	}
	if w.err != nil {
		return nil, w.err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

// varint is an integer as containerd stores it.
func varint(i int64) []byte { return binary.AppendVarint(nil, i) }

// boltWriter writes buckets until there is an error.
type boltWriter struct {
	ctx context.Context
	db  *bbolt.DB
	err error
}

func (w *boltWriter) labels(bucket []string, labels map[string]string) {
	if len(labels) == 0 {
		return
	}
	fields := make(map[string][]byte, len(labels))
	for k, v := range labels {
		fields[k] = []byte(v)
	}
	w.fields(append(slices.Clone(bucket), "labels"), fields)
}

// fields writes the fields of a bucket, in a transaction of its own.
func (w *boltWriter) fields(bucket []string, fields map[string][]byte) {
	if w.err == nil {
		w.err = context.Cause(w.ctx)
	}
	if w.err != nil {
		return
	}
	w.err = w.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(bucket[0]))
		for _, name := range bucket[1:] {
			if err == nil {
				b, err = b.CreateBucketIfNotExists([]byte(name))
			}
		}
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if err := b.Put([]byte(name), fields[name]); err != nil {
				return err
			}
		}
		return nil
	})
}
