package ext4

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// fullTier skips a test that is not part of the quick tier.
func fullTier(t *testing.T) {
	t.Helper()
	if os.Getenv("IMAGEFACTORY_TEST") != "full" {
		t.Skip("part of the full tier: set IMAGEFACTORY_TEST=full")
	}
}

// lookTool returns the path of a program that a test needs.
func lookTool(t testing.TB, name, debianPackage string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	t.Fatalf("%s is missing: install it with `apt-get install %s` (`make test` does)", name, debianPackage)
	return ""
}

// run executes a tool and returns what it prints. A status other than 0 fails the
// test.
func run(t testing.TB, debianPackage, name string, args ...string) string {
	t.Helper()
	out, err := tool(t, debianPackage, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, clip(out))
	}
	return string(out)
}

func tool(t testing.TB, debianPackage, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(lookTool(t, name, debianPackage), args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC", "PAGER=cat", "DEBUGFS_PAGER=__none__", "MKE2FS_CONFIG=/dev/null")
	return cmd
}

func clip(p []byte) []byte {
	if len(p) > 6000 {
		return append(p[:6000:6000], "…"...)
	}
	return p
}

func openStore(t testing.TB) *store.Store {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

var testUUID = [16]byte{0x5e, 0xed, 0xf1, 0x1e, 0x55, 0x73, 0x4e, 0x4d, 0x8a, 0x2b, 1, 2, 3, 4, 5, 6}

// options are the defaults with an identity.
func options(size int64) Options {
	return Options{Size: size, UUID: testUUID, Label: "test", Time: tree.Time{Sec: 1763750400, Nsec: 123456789}, ReservedPercent: 5}
}

// builder collects the entries of a test's tree.
type builder struct {
	t       testing.TB
	batch   *store.Batch
	entries []tree.Entry
}

func newBuilder(t testing.TB, st *store.Store) *builder {
	t.Helper()
	batch, err := st.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	b := &builder{t: t, batch: batch}
	b.add(tree.Entry{Path: tree.Root, Type: tree.Directory, Mode: 0o755, MTime: tree.Time{Sec: 1700000000}})
	return b
}

func (b *builder) add(e tree.Entry) *builder {
	b.entries = append(b.entries, e)
	return b
}

func (b *builder) dir(path string) *builder {
	return b.add(tree.Entry{Path: path, Type: tree.Directory, Mode: 0o755, MTime: tree.Time{Sec: 1700000001, Nsec: 5}})
}

func (b *builder) contents(e tree.Entry, contents []byte) *builder {
	b.t.Helper()
	d, err := b.batch.AddBytes(contents)
	if err != nil {
		b.t.Fatal(err)
	}
	e.Type, e.Digest, e.Size = tree.Regular, d, int64(len(contents))
	return b.add(e)
}

func (b *builder) file(path string, contents []byte) *builder {
	b.t.Helper()
	return b.contents(tree.Entry{Path: path, Mode: 0o644, MTime: tree.Time{Sec: 1700000002, Nsec: 999999999}}, contents)
}

func (b *builder) tree() *tree.Tree {
	b.t.Helper()
	if err := b.batch.Commit(); err != nil {
		b.t.Fatal(err)
	}
	t, err := tree.New(b.entries)
	if err != nil {
		b.t.Fatal(err)
	}
	return t
}

// write makes a file system and the file that holds it.
func write(t testing.TB, st *store.Store, tr *tree.Tree, o Options) string {
	t.Helper()
	im, err := Write(context.Background(), st, tr, o)
	if err != nil {
		t.Fatal(err)
	}
	return materialize(t, st, im)
}

// materialize writes an image to a sparse file.
func materialize(t testing.TB, st *store.Store, im disk.Image) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ext4.img")
	if err := materializeTo(st, im, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func materializeTo(st *store.Store, im disk.Image, path string) error {
	r, err := im.Open(st)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(im.Size); err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for offset, length := range im.Data() {
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.NewOffsetWriter(f, offset)}, struct{ io.Reader }{io.NewSectionReader(r, offset, length)}, buf); err != nil {
			return err
		}
	}
	return f.Close()
}

// fsck demands that e2fsck finds nothing at all to complain about.
func fsck(t testing.TB, image string) {
	t.Helper()
	out := run(t, "e2fsprogs", "e2fsck", "-fn", image)
	for _, complaint := range []string{"WARNING", "fix", "Fix", "IGNORED", "ptimize"} {
		if strings.Contains(out, complaint) {
			t.Fatalf("e2fsck complains:\n%s", clip([]byte(out)))
		}
	}
}

// randomBytes returns n bytes that are not zero.
func randomBytes(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(1 + r.IntN(255))
	}
	return p
}

// holed returns contents with a block of data every step bytes and zeros between.
func holed(r *rand.Rand, size, step int) []byte {
	p := make([]byte, size)
	for off := 0; off < size; off += step {
		copy(p[off:], randomBytes(r, min(4096, size-off)))
	}
	return p
}

var _ = fmt.Sprint
var _ = bytes.Equal
