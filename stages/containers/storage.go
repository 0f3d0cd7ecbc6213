package containers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/klauspost/compress/gzip"
	"github.com/vbatts/tar-split/tar/asm"
	"github.com/vbatts/tar-split/tar/storage"

	"github.com/imagefactory/imagefactory/distros/compress"
	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
	"github.com/imagefactory/imagefactory/stages/tree/tarball"
)

// storageRoot is the additional image store that podman and CRI-O are told of.
const storageRoot = "/usr/lib/containers/storage"

// Configuration of containers/storage: the second counts where the first is missing.
const (
	storageConfig        = "/etc/containers/storage.conf"
	storageDefaultConfig = "/usr/share/containers/storage.conf"
)

// storageLayer is a layer as layers.json has it (Layer in layers.go of containers/storage).
type storageLayer struct {
	ID               string   `json:"id"`
	Parent           string   `json:"parent,omitempty"`
	Created          string   `json:"created"`
	CompressedDigest string   `json:"compressed-diff-digest"`
	CompressedSize   int64    `json:"compressed-size"`
	Digest           string   `json:"diff-digest"`
	Size             int64    `json:"diff-size"`
	Compression      int      `json:"compression,omitempty"` // Compression of its package archive
	UIDs             []uint32 `json:"uidset"`
	GIDs             []uint32 `json:"gidset"`
}

// storageImage is an image as images.json has it (Image in images.go of containers/storage).
type storageImage struct {
	ID       string            `json:"id"`
	Digest   string            `json:"digest"`
	Names    []string          `json:"names"`
	Layer    string            `json:"layer"`
	Metadata string            `json:"metadata"`
	Big      []string          `json:"big-data-names"`
	Sizes    map[string]int64  `json:"big-data-sizes"`
	Digests  map[string]string `json:"big-data-digests"`
	Created  string            `json:"created"`
}

// compressions are the numbers of compressed formats in layers.json, by the suffixes of
// package compress.
var compressions = map[string]int{".bz2": 1, ".gz": 2, ".xz": 3, ".zst": 4}

// storage puts images into an additional store of containers/storage, in the form of
// its driver overlay.
func (p *placer) storage(ctx context.Context, placed []Image) error {
	// Packages bring the directories with nothing but locks; those are no store yet.
	for _, name := range []string{"overlay-images/images.json", "overlay-layers/layers.json"} {
		if e, ok := p.exists(path.Join(storageRoot, name)); ok {
			return fmt.Errorf("/%s: podman's additional image store: %w; take it out with the program or archive it comes from", e.Path, errAlready)
		}
	}
	if err := p.storageConfig(); err != nil {
		return err
	}
	dirs := map[string]string{}
	for _, name := range []string{"overlay", "overlay/l", "overlay-images", "overlay-layers"} {
		dir, err := p.mkdir(path.Join(storageRoot, name), 0o755)
		if err != nil {
			return err
		}
		dirs[name] = dir
	}
	s := storageWriter{placer: p, dirs: dirs}
	byID := map[string]*storageImage{}
	var images []*storageImage
	for _, i := range placed {
		top, err := s.layers(ctx, i)
		if err != nil {
			return fmt.Errorf("container %q: %w", i.display(), err)
		}
		id := i.Config.Digest.Hex()
		image, ok := byID[id]
		if !ok {
			image = &storageImage{ID: id, Digest: i.Manifest.Digest.String(), Layer: top, Metadata: "{}", Sizes: map[string]int64{}, Digests: map[string]string{}}
			if image.Created, err = s.created(i); err != nil {
				return fmt.Errorf("container %q: %w", i.display(), err)
			}
			byID[id] = image
			images = append(images, image)
		}
		if image.Layer != top {
			return fmt.Errorf("container %q: the image %s is there with other layers", i.display(), id)
		}
		if err := s.image(image, i); err != nil {
			return fmt.Errorf("container %q: %w", i.display(), err)
		}
	}
	for name, list := range map[string]any{"overlay-images/images.json": images, "overlay-layers/layers.json": s.all} {
		text, err := json.Marshal(list)
		if err != nil {
			return err
		}
		if err := p.write(dirs[path.Dir(name)], path.Base(name), text, 0o644); err != nil {
			return err
		}
	}
	// The store cannot be read without the files that are locked meanwhile.
	for _, name := range []string{"overlay-images/images.lock", "overlay-layers/layers.lock"} {
		if _, ok := p.edit.Get(tree.Join(dirs[path.Dir(name)], path.Base(name))); ok {
			continue
		}
		if err := p.write(dirs[path.Dir(name)], path.Base(name), nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// storageWriter writes one store.
type storageWriter struct {
	*placer
	dirs map[string]string // where the directories of the store really are
	all  []*storageLayer
	done map[string]placedLayer // by id
}

// placedLayer is a layer that was written.
type placedLayer struct {
	lower string     // "l/LINK" of it and of those below it, the highest first
	root  tree.Entry // its root directory
}

// layers writes the layers of an image, unless they are there, and returns the highest's id.
func (s *storageWriter) layers(ctx context.Context, i Image) (string, error) {
	if s.done == nil {
		s.done = map[string]placedLayer{}
	}
	// What containers/storage gives the root of a container without it in any layer.
	below := placedLayer{root: tree.Entry{Mode: 0o555}}
	parent := ""
	for n, l := range i.Layers {
		id := layerID(parent, l.Plain)
		if there, ok := s.done[id]; ok {
			parent, below = id, there
			continue
		}
		placed, err := s.layer(ctx, id, parent, below, l, fmt.Sprintf("%s, layer %d of %d", i.display(), n+1, len(i.Layers)))
		if err != nil {
			return "", fmt.Errorf("layer %d (%s): %w", n+1, l.Digest, err)
		}
		s.done[id] = placed
		parent, below = id, placed
	}
	return parent, nil
}

// layerID returns the name that a layer over another one has, in all that use
// containers/image (its storage_dest.go): so layers that are pulled later share those of
// the store.
func layerID(parent, plain string) string {
	if parent == "" {
		return plain
	}
	return store.Sum([]byte(parent + "+" + plain)).Hex()
}

// link returns the short name of a layer in overlay/l. Mount options are short of room.
func link(id string) string {
	sum := sha256.Sum256([]byte(id))
	return base32.StdEncoding.EncodeToString(sum[:])[:26]
}

func (s *storageWriter) layer(ctx context.Context, id, parent string, below placedLayer, l Layer, item string) (placedLayer, error) {
	got, err := s.unpacked(ctx, l, item)
	if err != nil {
		return placedLayer{}, err
	}
	diff, err := tree.Load(s.st, got.Tree)
	if err != nil {
		return placedLayer{}, err
	}
	root, _ := diff.Lookup(tree.Root)
	if !got.Rooted {
		root.Mode, root.UID, root.GID = below.root.Mode, below.root.UID, below.root.GID
	}
	dir := tree.Join(s.dirs["overlay"], id)
	if err := s.edit.MkdirAll(dir, tree.Entry{Mode: 0o755, MTime: s.now()}); err != nil {
		return placedLayer{}, err
	}
	links := map[uint32]uint32{}
	uids, gids := map[uint32]bool{}, map[uint32]bool{}
	for _, e := range diff.Entries() {
		uids[e.UID], gids[e.GID] = true, true
		if e.Path == tree.Root {
			e = root
			if !got.Rooted {
				e.MTime = s.now()
			}
			e.Path = tree.Join(dir, "diff")
		} else {
			e.Path = tree.Join(tree.Join(dir, "diff"), e.Path)
		}
		if e.Link != 0 {
			if links[e.Link] == 0 {
				links[e.Link] = s.edit.NewLink()
			}
			e.Link = links[e.Link]
		}
		s.edit.Put(e)
	}
	name := link(id)
	placed := placedLayer{lower: "l/" + name, root: root}
	if below.lower != "" {
		if err := s.write(dir, "lower", []byte(below.lower), 0o644); err != nil {
			return placedLayer{}, err
		}
		placed.lower += ":" + below.lower
	}
	if err := s.write(dir, "link", []byte(name), 0o644); err != nil {
		return placedLayer{}, err
	}
	s.edit.Put(tree.Entry{Path: tree.Join(s.dirs["overlay/l"], name), Type: tree.Symlink, Mode: 0o777, MTime: s.now(), Target: "../" + id + "/diff"})
	size, err := s.st.Stat(got.Split)
	if err != nil {
		return placedLayer{}, err
	}
	s.put(s.dirs["overlay-layers"], id+".tar-split.gz", 0o644, got.Split, size)
	s.all = append(s.all, &storageLayer{
		ID: id, Parent: parent, Created: s.stamp(), CompressedDigest: l.Digest.String(), CompressedSize: l.Size,
		Digest: "sha256:" + l.Plain, Size: got.Size, Compression: got.Compression, UIDs: sorted(uids), GIDs: sorted(gids),
	})
	return placed, nil
}

func sorted(ids map[uint32]bool) []uint32 {
	list := make([]uint32, 0, len(ids))
	for id := range ids {
		list = append(list, id)
	}
	slices.Sort(list)
	return list
}

// stamp is the time of what is written, as JSON has it.
func (p *placer) stamp() string { return time.Unix(p.epoch, 0).UTC().Format(time.RFC3339) }

// created returns when an image was made, as its configuration says.
func (s *storageWriter) created(i Image) (string, error) {
	data, err := s.st.ReadAll(i.Config.Digest)
	if err != nil {
		return "", err
	}
	var config struct {
		Created *time.Time `json:"created"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return "", fmt.Errorf("its configuration: %w", err)
	}
	if config.Created == nil {
		return s.stamp(), nil
	}
	return config.Created.UTC().Format(time.RFC3339Nano), nil
}

// image adds a name to an image, and the documents that belong to it.
func (s *storageWriter) image(image *storageImage, i Image) error {
	// An image is found by a digest when one of its names has the repository, so the
	// digest is a name only where there is no tag.
	name := i.Tagged
	if name == "" {
		name = i.digested()
	}
	if !slices.Contains(image.Names, name) {
		image.Names = append(image.Names, name)
	}
	dir := tree.Join(s.dirs["overlay-images"], image.ID)
	if err := s.edit.MkdirAll(dir, tree.Entry{Mode: 0o755, MTime: s.now()}); err != nil {
		return err
	}
	add := func(key string, b Blob) {
		if _, ok := image.Sizes[key]; ok {
			return
		}
		image.Big = append(image.Big, key)
		image.Sizes[key], image.Digests[key] = b.Size, b.Digest.String()
		s.put(dir, bigDataName(key), 0o644, b.Digest, b.Size)
	}
	add(i.Config.Digest.String(), i.Config)
	add("manifest-"+i.Top.Digest.String(), i.Top)
	add("manifest-"+i.Manifest.Digest.String(), i.Manifest)
	add("manifest", i.Manifest)
	return nil
}

// bigDataName returns the name of the file that holds a document (makeBigDataBaseName in
// store.go of containers/storage).
func bigDataName(key string) string {
	plain := func(c rune) bool { return c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' }
	if !strings.ContainsFunc(key, func(c rune) bool { return !plain(c) }) {
		return key
	}
	return "=" + base64.StdEncoding.EncodeToString([]byte(key))
}

// unpackVersion is the version of the code that unpacks one layer.
const unpackVersion = 1

// unpackedLayer is what one layer becomes in the store of containers/storage. It is
// remembered, whatever images have the layer.
type unpackedLayer struct {
	Tree        store.Digest `json:"tree"`  // with overlayfs' whiteouts
	Split       store.Digest `json:"split"` // tar-split's record: how the archive is made of the tree, byte by byte
	Size        int64        `json:"size"`  // of the archive, bytes
	Compression int          `json:"compression"`
	Rooted      bool         `json:"rooted"` // the archive has an entry for the root directory
}

func (s *storageWriter) unpacked(ctx context.Context, l Layer, item string) (unpackedLayer, error) {
	key := stages.Key("container-layer", unpackVersion, []string{l.Digest.Hex(), l.Plain})
	got, _, err := stages.Memo(ctx, s.run.Cache, key, "container layer "+l.Plain[:12], func(ctx context.Context) (unpackedLayer, error) {
		return unpack(ctx, s.run, l, item)
	})
	return got, err
}

// unpack reads the blob of a layer.
func unpack(ctx context.Context, run *stages.Run, l Layer, item string) (unpackedLayer, error) {
	fail := func(err error) (unpackedLayer, error) { return unpackedLayer{}, err }
	st := run.Cache.Store
	archive, err := openLayer(ctx, run, l, item)
	if err != nil {
		return fail(err)
	}
	defer archive.Close()
	var split bytes.Buffer
	zipped := gzip.NewWriter(&split)
	input, err := asm.NewInputTarStream(archive, storage.NewJSONPacker(zipped), storage.NewDiscardFilePutter())
	if err != nil {
		return fail(err)
	}
	batch, err := st.NewBatch()
	if err != nil {
		return fail(err)
	}
	defer batch.Abort()
	t, err := tarball.Apply(tree.Empty(noTime), input, batch, tarball.Options{Limits: tarball.DefaultLimits})
	// tar-split works in a goroutine of its own, which ends when all is read.
	if _, copyErr := io.Copy(io.Discard, input); err == nil {
		err = copyErr
	}
	if err == nil {
		err = archive.check()
	}
	if err == nil {
		err = zipped.Close()
	}
	if err != nil {
		return fail(err)
	}
	result := unpackedLayer{Size: archive.size, Compression: compressions[archive.format]}
	if t, result.Rooted, err = whiteouts(t); err != nil {
		return fail(err)
	}
	if result.Split, err = batch.AddBytes(split.Bytes()); err != nil {
		return fail(err)
	}
	if err := batch.Commit(); err != nil {
		return fail(err)
	}
	result.Tree, err = tree.Save(st, t)
	return result, err
}

// Whiteouts of layers (OCI Image Format Specification, "Image Layer Filesystem
// Changeset").
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
	aufs     = ".wh..wh." // begins the names of what the file system aufs left behind
)

// noTime is the time of a root directory that an archive has no entry for.
var noTime = tree.Time{Sec: -1 << 40}

// whiteouts turns the whiteouts of a layer into those of overlayfs: a character device
// 0/0, and for an opaque directory an extended attribute. It also tells whether the
// layer has a root directory of its own.
func whiteouts(t *tree.Tree) (*tree.Tree, bool, error) {
	root, _ := t.Lookup(tree.Root)
	edit := t.Edit()
	for _, e := range t.Entries() {
		name := e.Name()
		if !strings.HasPrefix(name, whiteout) {
			continue
		}
		dir := tree.Parent(e.Path)
		edit.Remove(e.Path)
		switch {
		case name == opaque:
			d, ok := edit.Get(dir)
			if !ok {
				continue // it lay in something that was removed
			}
			d.Xattrs = append(slices.Clone(d.Xattrs), tree.Xattr{Name: "trusted.overlay.opaque", Value: []byte("y")})
			slices.SortFunc(d.Xattrs, func(a, b tree.Xattr) int { return strings.Compare(a.Name, b.Name) })
			edit.Put(d)
		case strings.HasPrefix(name, aufs):
		default:
			hidden := strings.TrimPrefix(name, whiteout)
			if hidden == "" || hidden == "." || hidden == ".." {
				return nil, false, fmt.Errorf("%s: it is a whiteout of nothing", e.Path)
			}
			hidden = tree.Join(dir, hidden)
			if _, ok := edit.Get(hidden); ok {
				continue // a whiteout concerns the layers below, and this one has it anew
			}
			edit.Put(tree.Entry{Path: hidden, Type: tree.CharDevice, MTime: e.MTime})
		}
	}
	changed, err := edit.Tree()
	return changed, root.MTime != noTime, err
}

// storeLayer is a layer's archive, decompressed, with what has to be verified of it.
type storeLayer struct {
	io.Reader
	release func()
	format  string    // see compress.Detect
	plain   io.Writer // hash
	sum     func() store.Digest
	want    string
	size    int64
}

// openLayer opens the archive of a layer that is in the store.
func openLayer(ctx context.Context, run *stages.Run, l Layer, item string) (*storeLayer, error) {
	object, err := run.Cache.Store.Object(l.Digest)
	if err != nil {
		return nil, err
	}
	magic := make([]byte, compress.MagicBytes)
	n, err := object.ReadAt(magic, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	a := &storeLayer{format: compress.Detect(magic[:n]), want: l.Plain}
	decompressed, release, err := compress.NewReader(a.format, object.NewReader())
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	a.release, a.plain = release, hash
	a.sum = func() store.Digest { return store.Digest(hash.Sum(nil)) }
	a.Reader = &layerReader{ctx: ctx, r: decompressed, layer: a, run: run, item: item}
	return a, nil
}

// Close releases the decompressor.
func (a *storeLayer) Close() { a.release() }

// check verifies what was read, which has to be all.
func (a *storeLayer) check() error {
	if got := a.sum().Hex(); got != a.want {
		return fmt.Errorf("it decompresses to what has the digest sha256:%s, and the image's configuration says sha256:%s", got, a.want)
	}
	return nil
}

// maxLayerBytes bounds what a layer decompresses to.
const maxLayerBytes = 64 << 30

// layerReader counts and hashes what a decompressor gives.
type layerReader struct {
	ctx   context.Context
	r     io.Reader
	layer *storeLayer
	run   *stages.Run
	item  string
	told  int64
}

// layerStep is how many bytes pass between events.
const layerStep = 16 << 20

func (r *layerReader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	r.layer.plain.Write(p[:n]) // a hash gives no errors
	r.layer.size += int64(n)
	switch {
	case r.layer.size > maxLayerBytes:
		return 0, fmt.Errorf("it decompresses to more than %d bytes", int64(maxLayerBytes))
	case err != nil && err != io.EOF:
		err = fmt.Errorf("the compressed data is damaged or cut short: %w", err)
	}
	if r.layer.size-r.told >= layerStep {
		r.told = r.layer.size
		r.run.Emit(stages.Event{Kind: stages.Progress, Item: r.item, Done: r.layer.size, Unit: stages.Bytes})
	}
	return n, err
}

// storageConfiguration is what matters of storage.conf (containers-storage.conf(5)).
type storageConfiguration struct {
	Storage struct {
		Driver  string `toml:"driver"`
		Options struct {
			Stores []string `toml:"additionalimagestores"`
		} `toml:"options"`
	} `toml:"storage"`
}

// freshStorageConfig is what counts where a distribution has no storage.conf, written down.
const freshStorageConfig = `# Written by imagefactory: see containers-storage.conf(5).
[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"

[storage.options]
`

// storageConfig tells podman and CRI-O of the store.
func (p *placer) storageConfig() error {
	name := storageConfig
	data, ok, err := p.read(name)
	if err == nil && !ok {
		name = storageDefaultConfig
		data, ok, err = p.read(name)
	}
	if err != nil {
		return err
	}
	text := string(data)
	if !ok {
		name, text = storageConfig, freshStorageConfig
	}
	changed, err := addStore(text)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	dir, err := p.mkdir(path.Dir(storageConfig), 0o755)
	if err != nil {
		return err
	}
	return p.write(dir, path.Base(storageConfig), []byte(changed), 0o644)
}

var (
	optionsTable = regexp.MustCompile(`(?m)^[ \t]*\[[ \t]*storage[ \t]*\.[ \t]*options[ \t]*\][ \t]*(#.*)?$`)
	nextTable    = regexp.MustCompile(`(?m)^[ \t]*\[`)
	storesKey    = regexp.MustCompile(`(?m)^[ \t]*additionalimagestores[ \t]*=[ \t]*\[`)
)

// addStore adds the store to a storage.conf, of which everything else stays.
func addStore(text string) (string, error) {
	var before storageConfiguration
	if err := toml.Unmarshal([]byte(text), &before); err != nil {
		return "", err
	}
	// The store has the form of one driver, the one that is taken when none is named.
	if d := before.Storage.Driver; d != "" && d != "overlay" && d != "overlay2" {
		return "", fmt.Errorf("it sets the driver %q, and images can be preloaded for the driver \"overlay\" only; set that, or leave out the container blocks of podman and cri-o", d)
	}
	if slices.Contains(before.Storage.Options.Stores, storageRoot) {
		return text, nil
	}
	table := optionsTable.FindStringIndex(text)
	if table == nil {
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		text += "\n[storage.options]\n"
		table = []int{len(text) - 1, len(text) - 1}
	}
	end := len(text)
	if next := nextTable.FindStringIndex(text[table[1]:]); next != nil {
		end = table[1] + next[0]
	}
	section := text[table[1]:end]
	if key := storesKey.FindStringIndex(section); key != nil {
		section = section[:key[1]] + fmt.Sprintf("%q, ", storageRoot) + section[key[1]:]
	} else {
		section = fmt.Sprintf("\nadditionalimagestores = [%q]", storageRoot) + section
	}
	changed := text[:table[1]] + section + text[end:]
	// Text was edited that has a grammar, so what came of it is looked at.
	var after storageConfiguration
	err := toml.Unmarshal([]byte(changed), &after)
	if err == nil && !slices.Equal(after.Storage.Options.Stores, append([]string{storageRoot}, before.Storage.Options.Stores...)) {
		err = errors.New("the list is another one")
	}
	if err != nil {
		return "", fmt.Errorf("%q cannot be added to additionalimagestores of [storage.options] (%w); add it in a file block", storageRoot, err)
	}
	return changed, nil
}
