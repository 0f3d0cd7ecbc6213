package media

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/initramfs"
	"github.com/imagefactory/imagefactory/stages/media/cpio"
	"github.com/imagefactory/imagefactory/stages/media/drivers"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// InitramfsVersion is the version of MakeInitramfs' code; see stages.Stage.
const InitramfsVersion = 2

// InitramfsOptions says how the installer's initial RAM file system is made.
type InitramfsOptions struct {
	Kernel string  `json:"kernel"` // path pattern of kernels in the root, with {version}; the newest is taken
	Init   Program `json:"init"`
	Epoch  int64   `json:"epoch"`
}

// Initramfs is a kernel and the installer's initial RAM file system for it.
type Initramfs struct {
	Release  string       `json:"release"`
	Kernel   store.Digest `json:"kernel"`
	Image    store.Digest `json:"image"`
	Size     int64        `json:"size"` // of Image in bytes
	Modules  int          `json:"modules"`
	Firmware int          `json:"firmware"` // files

	// What drivers.Choice says of what is not there.
	Missing         []string          `json:"missing,omitempty"`
	Broken          map[string]string `json:"broken,omitempty"`
	MissingFirmware int               `json:"missing_firmware"`
}

// certificates are where programs in Go look for the authorities they trust (crypto/x509, root_linux.go), of which the
// first of the root is taken: for payloads from https addresses.
var certificates = []string{
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
	"/etc/pki/tls/cacert.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ssl/cert.pem",
}

// MakeInitramfs makes the installer's initial RAM file system for the newest kernel of the root: the installer as /init,
// the modules and the firmware package drivers chooses, and nothing else of the root but the certificate authorities it
// trusts. It warns of classes of drivers the kernel lacks.
func MakeInitramfs(ctx context.Context, run *stages.Run, root rootfs.Root, o InitramfsOptions) (Initramfs, error) {
	st := run.Cache.Store
	t, err := root.Load(st)
	if err != nil {
		return Initramfs{}, err
	}
	versions, err := initramfs.Kernels(t, o.Kernel)
	if err != nil {
		return Initramfs{}, err
	}
	kernel, _ := t.Lookup(initramfs.At(o.Kernel, versions[0]))
	// Most changes of a root do not concern the installer.
	key := stages.Key("media-initramfs", InitramfsVersion, struct {
		Options  InitramfsOptions
		Release  string
		Concerns []concern
	}{o, versions[0], concerns(t, versions[0], kernel)})
	out, _, err := stages.Memo(ctx, run.Cache, key, run.Stage, func(ctx context.Context) (Initramfs, error) {
		return makeInitramfs(ctx, st, t, versions[0], kernel, o)
	})
	if err == nil {
		out.tell(run)
	}
	return out, err
}

// concern is a file of the root that an initial RAM file system may depend on.
type concern struct {
	Path, Target string
	Digest       store.Digest
}

// concerns returns the kernel, and all modules, firmware and certificates there are.
func concerns(t *tree.Tree, release string, kernel tree.Entry) []concern {
	out := []concern{{Path: kernel.Path, Digest: kernel.Digest}}
	for _, p := range append([]string{"lib/modules/" + release, "usr/lib/modules/" + release, "lib/firmware"}, certificates...) {
		real, err := t.Resolve(p)
		if err != nil {
			continue
		}
		for _, e := range t.Subtree(real) {
			out = append(out, concern{e.Path, e.Target, e.Digest})
		}
	}
	return out
}

func makeInitramfs(ctx context.Context, st *store.Store, t *tree.Tree, release string, kernel tree.Entry, o InitramfsOptions) (Initramfs, error) {
	choice, err := drivers.Choose(ctx, st, t, release)
	if err != nil {
		return Initramfs{}, err
	}
	a := &archive{st: st, epoch: o.Epoch, entries: map[string]archived{}}
	if err := a.base(t, o); err != nil {
		return Initramfs{}, err
	}
	if err := a.drivers(ctx, choice); err != nil {
		return Initramfs{}, err
	}
	out := Initramfs{
		Release: choice.Release, Kernel: kernel.Digest, Modules: len(choice.Modules), Firmware: len(choice.Firmware),
		Missing: choice.Missing, Broken: choice.Broken, MissingFirmware: len(choice.MissingFirmware),
	}
	out.Image, out.Size, err = a.save()
	return out, err
}

// tell says what was chosen and what is not there.
func (i Initramfs) tell(run *stages.Run) {
	run.Emit(stages.Event{Kind: stages.Log, Item: "drivers", Text: fmt.Sprintf(
		"%d modules of kernel %s and %d files of firmware for the installer; %d files that modules name are not in the image",
		i.Modules, i.Release, i.Firmware, i.MissingFirmware)})
	if len(i.Missing) > 0 {
		run.Warn("the installer will lack drivers for %s: the image's kernel %s has none", strings.Join(i.Missing, ", "), i.Release)
	}
	for _, name := range slices.Sorted(maps.Keys(i.Broken)) {
		run.Warn("the installer will lack the module %s: it needs %s, which is not in the image", name, i.Broken[name])
	}
}

// archive collects what goes into an initial RAM file system.
type archive struct {
	st      *store.Store
	epoch   int64
	entries map[string]archived
}

// archived is an entry with its contents: an object of the store, or bytes.
type archived struct {
	cpio.Entry
	digest store.Digest
	bytes  []byte
}

func (a *archive) put(e archived) {
	for dir := tree.Parent(e.Path); dir != tree.Root; dir = tree.Parent(dir) {
		if _, ok := a.entries[dir]; !ok {
			a.entries[dir] = archived{Entry: cpio.Entry{Path: dir, Mode: cpio.Directory | 0o755}}
		}
	}
	a.entries[e.Path] = e
}

func (a *archive) putBytes(path string, mode uint32, p []byte) {
	a.put(archived{Entry: cpio.Entry{Path: path, Mode: cpio.Regular | mode, Size: int64(len(p))}, bytes: p})
}

func (a *archive) putObject(path string, digest store.Digest, size int64) {
	a.put(archived{Entry: cpio.Entry{Path: path, Mode: cpio.Regular | 0o644, Size: size}, digest: digest})
}

// base adds the installer and what it finds before it mounts anything.
func (a *archive) base(t *tree.Tree, o InitramfsOptions) error {
	program, err := o.Init.read()
	if err != nil {
		return err
	}
	a.putBytes("init", 0o755, program)
	for _, dir := range []string{"dev", "etc", "proc", "run", "sys"} {
		a.put(archived{Entry: cpio.Entry{Path: dir, Mode: cpio.Directory | 0o755}})
	}
	a.put(archived{Entry: cpio.Entry{Path: "tmp", Mode: cpio.Directory | 0o1777}})
	// The kernel opens the console for init before that can make any device.
	a.put(archived{Entry: cpio.Entry{Path: "dev/console", Mode: cpio.CharDevice | 0o600, Major: 5, Minor: 1}})
	a.put(archived{Entry: cpio.Entry{Path: "dev/null", Mode: cpio.CharDevice | 0o666, Major: 1, Minor: 3}})
	for _, p := range certificates {
		real, err := t.Resolve(p)
		if err != nil {
			continue
		}
		if e, ok := t.Lookup(real); ok && e.Type == tree.Regular {
			a.putObject(strings.TrimPrefix(certificates[0], "/"), e.Digest, e.Size)
			break
		}
	}
	return nil
}

// drivers adds modules and firmware. Plain modules are compressed one by one: the installer unpacks the few it loads, and
// the rest takes a third of the memory.
func (a *archive) drivers(ctx context.Context, choice drivers.Choice) error {
	dir := path.Join("lib/modules", choice.Release)
	compressed := make([][]byte, len(choice.Modules))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, m := range choice.Modules {
		if path.Ext(m.Path) != ".ko" {
			a.putObject(path.Join(dir, m.Path), m.Digest, m.Size)
			continue
		}
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			plain, err := a.st.ReadAll(m.Digest)
			if err != nil {
				return err
			}
			compressed[i], err = compressModule(plain)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, m := range choice.Modules {
		if compressed[i] != nil {
			a.putBytes(path.Join(dir, m.Path+".zst"), 0o644, compressed[i])
		}
	}
	for name, text := range choice.Indexes {
		if name == "modules.dep" {
			text = renameModules(text)
		}
		a.putBytes(path.Join(dir, name), 0o644, text)
	}
	for _, f := range choice.Firmware {
		a.putObject(path.Join("lib/firmware", f.Path), f.Digest, f.Size)
	}
	return nil
}

// compressModule returns a module as .ko.zst holds it. The same module gives the same bytes.
func compressModule(plain []byte) ([]byte, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer encoder.Close()
	return encoder.EncodeAll(plain, nil), nil
}

// renameModules gives plain modules in modules.dep the names they have compressed.
func renameModules(dep []byte) []byte {
	var b strings.Builder
	for line := range strings.Lines(string(dep)) {
		file, depends, _ := strings.Cut(strings.TrimSpace(line), ":")
		b.WriteString(renameModule(file) + ":")
		for each := range strings.FieldsSeq(depends) {
			b.WriteString(" " + renameModule(each))
		}
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

func renameModule(file string) string {
	if path.Ext(file) == ".ko" {
		return file + ".zst"
	}
	return file
}

// save writes the archive, compressed so that every kernel reads it, into the store.
func (a *archive) save() (store.Digest, int64, error) {
	batch, err := a.st.NewBatch()
	if err != nil {
		return store.Digest{}, 0, err
	}
	defer batch.Abort()
	r, w := io.Pipe()
	go func() { w.CloseWithError(a.write(w)) }()
	digest, size, err := batch.Add(r)
	r.CloseWithError(err) // ends the writer after an error
	if err != nil {
		return store.Digest{}, 0, err
	}
	return digest, size, batch.Commit()
}

func (a *archive) write(w io.Writer) error {
	buffered := bufio.NewWriterSize(w, 1<<20)
	z, err := gzip.NewWriterLevel(buffered, gzip.DefaultCompression) // its header has no time and no name
	if err != nil {
		return err
	}
	c := cpio.NewWriter(z)
	for _, p := range slices.SortedFunc(maps.Keys(a.entries), tree.Compare) {
		e := a.entries[p]
		e.Time = a.epoch
		if err := c.Add(e.Entry); err != nil {
			return err
		}
		if e.digest.IsZero() {
			_, err = c.Write(e.bytes)
		} else {
			var o *store.Object
			if o, err = a.st.Object(e.digest); err == nil {
				_, err = io.Copy(c, o.NewReader())
			}
		}
		if err != nil {
			return err
		}
	}
	if err := c.Close(); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}
