package ext4

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// acl is a POSIX ACL in the form of the system.posix_acl_* attributes: the owner, user
// 1000, the owning group, group 70000, the mask and others.
func acl() []byte {
	p := []byte{2, 0, 0, 0}
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 7, aclUndefinedID}, {2, 5, 1000}, {4, 5, aclUndefinedID}, {8, 4, 70000}, {0x10, 7, aclUndefinedID}, {0x20, 4, aclUndefinedID}} {
		p = binary.LittleEndian.AppendUint16(p, e.tag)
		p = binary.LittleEndian.AppendUint16(p, e.perm)
		p = binary.LittleEndian.AppendUint32(p, e.id)
	}
	return p
}

// netRaw is the attribute of a file with the capability cap_net_raw=ep.
func netRaw() []byte {
	return []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
}

// oddTree holds an entry of every kind, with everything that has gone wrong in
// file system writers before.
func oddTree(t testing.TB, st *store.Store) *tree.Tree {
	r := rand.New(rand.NewPCG(1, 2))
	b := newBuilder(t, st)
	mtime := tree.Time{Sec: 1700000000, Nsec: 987654321}
	for _, dir := range []string{"dev", "etc", "names", "times", "xattrs", "files", "links", "empty directory"} {
		b.dir(dir)
	}
	b.add(tree.Entry{Path: "tmp", Type: tree.Directory, Mode: 0o1777, MTime: mtime})
	b.add(tree.Entry{Path: "setgid", Type: tree.Directory, Mode: 0o2755, GID: 50, MTime: mtime})
	b.contents(tree.Entry{Path: "setuid", Mode: 0o4755, UID: 3000000000, GID: 4294967294, MTime: mtime}, []byte("#!"))
	b.contents(tree.Entry{Path: "no permissions", MTime: mtime, UID: 65536, GID: 65535}, []byte("secret"))

	for i, d := range []tree.Entry{
		{Type: tree.CharDevice, Major: 1, Minor: 3}, {Type: tree.BlockDevice, Major: 8, Minor: 1}, {Type: tree.CharDevice, Major: 255, Minor: 255},
		{Type: tree.BlockDevice, Major: 259, Minor: 1048575}, {Type: tree.CharDevice, Major: 4095, Minor: 256}, {Type: tree.CharDevice},
		{Type: tree.BlockDevice, Major: 0, Minor: 300}, {Type: tree.FIFO}, {Type: tree.Socket},
	} {
		d.Path, d.Mode, d.MTime = fmt.Sprintf("dev/%d", i), 0o660, mtime
		b.add(d)
	}

	for _, name := range []string{
		strings.Repeat("n", 255), strings.Repeat("\xff", 255), "new\nline", "quote\"s", "back\\slash", " lead and trail ", "tab\t", "\x01\x7f",
		"ümläut", "-rf", "...", "a", "a-b", "a.b", "A", "*?[", "$(id)", "<12>",
	} {
		b.file("names/"+name, []byte(name))
	}
	deep := "names/a dir"
	b.dir(deep)
	for i := range 120 {
		deep += fmt.Sprintf("/%d %s", i, strings.Repeat("d", i%20))
		b.dir(deep)
	}
	b.file(deep+"/bottom", []byte("found"))

	for i, at := range []tree.Time{
		{}, {Sec: -1, Nsec: 1}, {Sec: -1 << 31}, {Sec: 1<<31 - 1, Nsec: 999999999}, {Sec: 1 << 31}, {Sec: 2524608000, Nsec: 5}, {Sec: 1 << 32}, {Sec: 3<<32 + 7, Nsec: 1}, {Sec: -1<<31 + 1<<34 - 1, Nsec: 999999999},
	} {
		b.contents(tree.Entry{Path: fmt.Sprintf("times/%d", i), Mode: 0o644, MTime: at}, nil)
	}
	b.add(tree.Entry{Path: "times/directory", Type: tree.Directory, Mode: 0o700, MTime: tree.Time{Sec: 4102444800, Nsec: 3}})
	b.add(tree.Entry{Path: "times/symlink", Type: tree.Symlink, Mode: 0o777, Target: "0", MTime: tree.Time{Sec: 4102444800, Nsec: 3}})

	withXattrs := func(e tree.Entry, xattrs ...tree.Xattr) {
		sortXattrs(xattrs)
		e.Path, e.Mode, e.MTime, e.Xattrs = "xattrs/"+e.Path, 0o754, mtime, xattrs
		if e.Type == tree.Regular {
			b.contents(e, []byte(e.Path))
			return
		}
		b.add(e)
	}
	file, dir := tree.Regular, tree.Directory
	capability := tree.Xattr{Name: "security.capability", Value: netRaw()}
	label := tree.Xattr{Name: "security.selinux", Value: []byte("system_u:object_r:bin_t:s0\x00")}
	access := tree.Xattr{Name: "system.posix_acl_access", Value: acl()}
	withXattrs(tree.Entry{Path: "capability", Type: file}, capability)
	withXattrs(tree.Entry{Path: "acl", Type: file}, access)
	withXattrs(tree.Entry{Path: "default acl", Type: dir}, access, tree.Xattr{Name: "system.posix_acl_default", Value: acl()}, label)
	withXattrs(tree.Entry{Path: "all", Type: file}, access, capability, label, tree.Xattr{Name: "trusted.x", Value: []byte("y")}, tree.Xattr{Name: "user.empty"},
		tree.Xattr{Name: "user.long", Value: randomBytes(r, 300)}, tree.Xattr{Name: "user." + strings.Repeat("n", 250), Value: []byte{0, 1, 2}})
	for i := range 5 { // of these, three share a block
		withXattrs(tree.Entry{Path: fmt.Sprintf("shared %d", i), Type: file}, tree.Xattr{Name: "user.shared", Value: bytes.Repeat([]byte{byte(i / 3)}, 200)})
	}
	withXattrs(tree.Entry{Path: "on symlink", Type: tree.Symlink, Target: "nowhere"}, label)
	withXattrs(tree.Entry{Path: "on device", Type: tree.CharDevice, Major: 1, Minor: 5}, label)
	withXattrs(tree.Entry{Path: "full", Type: file}, tree.Xattr{Name: "user.a", Value: randomBytes(r, 900)})

	for _, n := range []int{0, 1, 59, 60, 1023, 1024, 1025, 4095, 4096, 4097, 200000} {
		b.file(fmt.Sprintf("files/%d", n), randomBytes(r, n))
	}
	b.file("files/all zeros", make([]byte, 5<<20))
	b.file("files/zeros at the start", append(make([]byte, 5<<20), 'x'))
	b.file("files/zeros at the end", append([]byte{'x'}, make([]byte, 5<<20)...))
	b.file("files/many holes", holed(r, 24<<20+77, 64<<10))
	b.file("files/small holes", holed(r, 6<<20, 16<<10))

	for _, n := range []int{1, 58, 59, 60, 61, 500, 1023} {
		b.add(tree.Entry{Path: fmt.Sprintf("links/%d", n), Type: tree.Symlink, Mode: 0o777, Target: strings.Repeat("t", n), MTime: mtime})
	}
	b.add(tree.Entry{Path: "links/odd", Type: tree.Symlink, Mode: 0o777, Target: "../\xff\n", MTime: mtime})
	hard := tree.Entry{Mode: 0o600, Link: 9, MTime: mtime}
	for _, path := range []string{"links/hard", "etc/hard", "setgid/hard"} {
		hard.Path = path
		b.contents(hard, []byte("one inode"))
	}
	for _, path := range []string{"links/hard device", "dev/hard device"} {
		b.add(tree.Entry{Path: path, Type: tree.BlockDevice, Major: 7, Link: 4, MTime: mtime})
	}
	for _, path := range []string{"links/hard symlink", "dev/hard symlink"} {
		b.add(tree.Entry{Path: path, Type: tree.Symlink, Mode: 0o777, Target: "x", Link: 3, MTime: mtime})
	}
	return b.tree()
}

// addNames adds n empty files to a directory.
func (b *builder) addNames(dir string, n int, name func(i int) string) *builder {
	b.t.Helper()
	b.dir(dir)
	for i := range n {
		b.file(dir+"/"+name(i), nil)
	}
	return b
}

func sortXattrs(list []tree.Xattr) {
	slices.SortFunc(list, func(a, b tree.Xattr) int { return strings.Compare(a.Name, b.Name) })
}
