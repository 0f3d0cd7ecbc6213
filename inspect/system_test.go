package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/stages/disk"
	"github.com/imagefactory/imagefactory/stages/emit/iso"
	"github.com/imagefactory/imagefactory/stages/partition"
	"github.com/imagefactory/imagefactory/stages/partition/ext4"
	"github.com/imagefactory/imagefactory/stages/partition/fat"
	"github.com/imagefactory/imagefactory/stages/payload"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

const mebibyte = 1 << 20

var (
	rootUUID = partition.GUID{1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}
	dataUUID = partition.GUID{17, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}
	diskGUID = partition.GUID{18, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}
)

// builder makes images with the writers of builds.
type builder struct {
	testing.TB
	st *store.Store
}

func newBuilder(t testing.TB) builder { return builder{t, stagetest.Cache(t).Store} }

func (b builder) file(path, contents string) tree.Entry {
	return stagetest.File(b, b.st, path, contents)
}

// ext4 writes a file system.
func (b builder) ext4(t *tree.Tree, size int64, uuid partition.GUID) disk.Image {
	b.Helper()
	im, err := ext4.Write(context.Background(), b.st, t, ext4.Options{Size: size, UUID: uuid, Label: "SYSTEM", Time: tree.Time{Sec: stagetest.Epoch}})
	if err != nil {
		b.Fatal(err)
	}
	return im
}

// fat writes a file system with the UUID 1234-ABCD.
func (b builder) fat(t *tree.Tree) disk.Image {
	b.Helper()
	im, err := fat.Write(context.Background(), b.st, t, fat.Options{Size: 8 * mebibyte, Label: "ESP", VolumeID: 0x1234abcd, Time: tree.Time{Sec: stagetest.Epoch}})
	if err != nil {
		b.Fatal(err)
	}
	return im
}

// disk composes a partitioned disk.
func (b builder) disk(parts ...disk.Image) disk.Image {
	b.Helper()
	specs := []partition.Spec{
		{Number: 1, Label: "ESP", Type: partition.TypeESP, GUID: dataUUID, Size: 8 * mebibyte},
		{Number: 2, Label: "ROOT-A", Type: partition.TypeLinuxRootX86_64, GUID: rootUUID, Size: 32 * mebibyte},
		{Number: 3, Label: "DATA", Type: partition.TypeLinux, GUID: diskGUID, Size: 16 * mebibyte},
	}
	layout, err := partition.Plan(64*mebibyte, diskGUID, specs)
	if err != nil {
		b.Fatal(err)
	}
	contents := partition.Contents{Partitions: map[int]disk.Image{}}
	for i, p := range parts {
		contents.Partitions[i+1] = p
	}
	im, err := partition.Compose(b.st, layout, contents)
	if err != nil {
		b.Fatal(err)
	}
	return im
}

// export writes an image to a file.
func (b builder) export(im disk.Image) string {
	b.Helper()
	r, err := im.Open(b.st)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	path := filepath.Join(b.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, io.NewSectionReader(r, 0, im.Size)); err != nil {
		b.Fatal(err)
	}
	return path
}

// system reads the system in an image file.
func system(t testing.TB, path string, o SystemOptions) *System {
	t.Helper()
	im, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	s, err := im.System(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// everything is a tree with all that a root can hold.
func (b builder) everything() *tree.Tree {
	caps := b.file("usr/bin/ping", "ping")
	caps.Mode, caps.Xattrs = 0o755, []tree.Xattr{
		{Name: "security.capability", Value: []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{Name: "security.selinux", Value: []byte("system_u:object_r:ping_exec_t:s0\x00")},
		{Name: "user.long", Value: bytes.Repeat([]byte("x"), 3000)},
	}
	acl := stagetest.Dir("var/log/journal")
	acl.Mode, acl.GID, acl.Xattrs = 0o2755, 101, []tree.Xattr{{Name: "system.posix_acl_default", Value: []byte{
		2, 0, 0, 0, 1, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, 4, 0, 5, 0, 0xff, 0xff, 0xff, 0xff, 8, 0, 5, 0, 4, 0, 0, 0,
		0x10, 0, 5, 0, 0xff, 0xff, 0xff, 0xff, 0x20, 0, 5, 0, 0xff, 0xff, 0xff, 0xff}}}
	perl, perl5 := b.file("usr/bin/perl", "perl"), b.file("usr/bin/perl5", "perl")
	perl.Link, perl5.Link = 1, 1
	linkedDevice := tree.Entry{Path: "usr/share/a", Type: tree.CharDevice, Mode: 0o600, Major: 300, Minor: 70000, Link: 2}
	otherName := linkedDevice
	otherName.Path = "usr/share/b"
	owned := stagetest.Owner(b.file("home/who/file", "mine"), 3_000_000_000, 4_000_000_000)
	owned.MTime = tree.Time{Sec: 2_524_608_000, Nsec: 123_456_789}
	entries := []tree.Entry{
		caps, acl, perl, perl5, linkedDevice, otherName, owned,
		stagetest.Mode(b.file("usr/bin/su", "su"), 0o4755), b.file("empty", ""), b.file("large", strings.Repeat("0123456789abcdef", 100_000)),
		b.file("sparse", strings.Repeat("\x00", 5<<20)+"end"), b.file("odd \xff\n\"name", "x"), b.file(strings.Repeat("n", 255), "x"),
		stagetest.Link("bin", "usr/bin"), stagetest.Link("long", strings.Repeat("../", 100)+"x"),
		{Path: "run/fifo", Type: tree.FIFO, Mode: 0o600}, {Path: "run/socket", Type: tree.Socket, Mode: 0o777},
		{Path: "run/block", Type: tree.BlockDevice, Mode: 0o660, GID: 6, Major: 8, Minor: 1},
	}
	for i := range 1000 {
		entries = append(entries, b.file(fmt.Sprintf("usr/share/many/file-%04d", i), fmt.Sprint(i)))
	}
	return stagetest.Tree(b, entries...)
}

// same compares trees and shows the first differences.
func same(t testing.TB, what string, got, want *tree.Tree) {
	t.Helper()
	if got.Digest() == want.Digest() {
		return
	}
	for i, c := range tree.Diff(want, got) {
		if i == 5 {
			break
		}
		t.Errorf("%s: %s:\nwritten %+v\nread    %+v", what, c.Path, c.Before, c.After)
	}
	t.Errorf("%s: the tree that was read is not the one that was written", what)
}

// TestSystemRoundTrip reads what the writers of builds wrote, in every form an image has.
func TestSystemRoundTrip(t *testing.T) {
	b := newBuilder(t)
	root := b.everything()
	bare := b.export(b.ext4(root, 32*mebibyte, rootUUID))
	same(t, "bare ext4", system(t, bare, SystemOptions{}).Tree, root)

	whole := b.disk(b.fat(tree.Empty(tree.Time{})), b.ext4(root, 32*mebibyte, rootUUID))
	raw := b.export(whole)
	s := system(t, raw, SystemOptions{})
	same(t, "raw", s.Tree, root)
	if len(s.Mounts) != 1 || s.Mounts[0] != (Mount{"/", 2, "ROOT-A", "ext4"}) || s.Missing != nil {
		t.Errorf("mounts: %+v, missing: %q", s.Mounts, s.Missing)
	}
	qcow2 := raw + ".qcow2"
	tool(t, "qemu-img", "convert", "-O", "qcow2", "-c", raw, qcow2)
	same(t, "qcow2", system(t, qcow2, SystemOptions{}).Tree, root)

	same(t, "payload of an ISO", system(t, b.medium(whole, nil), SystemOptions{}).Tree, root)
	live := b.ext4(root, 32*mebibyte, rootUUID)
	same(t, "live ISO", system(t, b.medium(disk.Image{}, &live), SystemOptions{}).Tree, root)
}

// medium makes an ISO like those of builds, with a disk to install or a live root.
func (b builder) medium(install disk.Image, live *disk.Image) string {
	b.Helper()
	c := config.Config{Format: config.Format, Name: "node", Version: "1", Arch: "x86_64", ID: strings.Repeat("ab", 16), After: config.Reboot,
		OnFailure: config.Halt, Consoles: []string{"tty0"}}
	var files []iso.File
	if live != nil {
		c.Mode, c.Root = config.ModeLive, config.RootImage{File: "/live/root.img", Filesystem: "ext4"}
		files = append(files, iso.File{Path: "live/root.img", Mode: 0o644, Image: live})
	} else {
		result, err := payload.Store(context.Background(), b.st, install, payload.Options{}, nil)
		if err != nil {
			b.Fatal(err)
		}
		c.Mode = config.ModeInstall
		c.Payload = config.Payload{File: "/imagefactory/payload", Size: result.Info.Size, SHA256: result.Info.SHA256, IndexSHA256: result.Info.IndexSHA256, DiskSize: result.Info.DiskSize}
		c.Layout = config.Layout{DiskGUID: diskGUID.String(), Partitions: []config.Partition{
			{Number: 2, Label: "ROOT-A", TypeGUID: partition.TypeLinuxRootX86_64.String(), GUID: rootUUID.String(), Start: 9 * mebibyte, Size: 32 * mebibyte, Filesystem: "ext4", Role: "root"},
		}}
		files = append(files, iso.File{Path: "imagefactory/payload", Mode: 0o644, Digest: result.Object})
	}
	document, err := c.Encode()
	if err != nil {
		b.Fatal(err)
	}
	digest, err := b.st.Put(document)
	if err != nil {
		b.Fatal(err)
	}
	efi := b.fat(tree.Empty(tree.Time{}))
	files = append(files, iso.File{Path: "imagefactory/install.json", Mode: 0o644, Digest: digest}, iso.File{Path: "efi.img", Mode: 0o644, Image: &efi})
	im, err := iso.Compose(b.st, files, iso.Options{VolumeID: "NODE", Seed: digest, EFI: "efi.img"})
	if err != nil {
		b.Fatal(err)
	}
	return b.export(im)
}

// TestSystemMounts puts the file systems together that fstab names.
func TestSystemMounts(t *testing.T) {
	b := newBuilder(t)
	first, second := b.file("hidden/a", "h"), b.file("hidden/b", "h")
	first.Link, second.Link = 1, 1
	data := stagetest.Tree(t, b.file("file", "data"), first, second)
	entries := slices.Clone(data.Entries())
	entries[0].Mode, entries[0].UID = 0o700, 33 // of the mounted root
	data, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	esp := stagetest.Tree(t, b.file("EFI/BOOT/BOOTX64.EFI", "loader"), b.file("startup.nsh", "fs0:"))
	fstab := fmt.Sprintf(`# what is mounted
UUID=%s / ext4 defaults 0 1
UUID="1234-abcd" /boot/efi vfat umask=0077 0 2
PARTLABEL=DATA /srv/my\040data/ ext4 defaults 0 2
LABEL=ELSEWHERE /mnt ext4 noauto 0 0
/dev/sda9 /mnt ext4 noauto 0 0
UUID=0000 none swap sw 0 0
`, rootUUID)
	x, y := b.file("etc/x", "same"), b.file("srv/my data/y", "same") // the second is hidden by the mount
	x.Link, y.Link = 1, 1
	efi := stagetest.Mode(stagetest.Dir("boot/efi"), 0o700)
	root := stagetest.Tree(t, b.file("etc/fstab", fstab), x, y, b.file("srv/my data/hidden", "x"), efi, stagetest.Dir("mnt"))
	path := b.export(b.disk(b.fat(esp), b.ext4(root, 32*mebibyte, rootUUID), b.ext4(data, 16*mebibyte, dataUUID)))
	s := system(t, path, SystemOptions{Store: b.st, Contents: func(e tree.Entry) bool { return strings.HasPrefix(e.Path, "boot/") }})
	if got, want := fmt.Sprint(s.Mounts), "[{/ 2 ROOT-A ext4} {/boot/efi 1 ESP fat16} {/srv/my data 3 DATA ext4}]"; strings.ReplaceAll(got, "fat12", "fat16") != want || s.Missing != nil {
		t.Errorf("mounts: %s, missing %q", got, s.Missing)
	}
	var got []string
	for _, e := range s.Tree.Entries() {
		got = append(got, fmt.Sprintf("%s %o %d %d", e.Path, e.Mode, e.UID, e.Link))
	}
	want := []string{
		". 755 0 0", "boot 755 0 0", "boot/efi 700 0 0", "boot/efi/EFI 755 0 0", "boot/efi/EFI/BOOT 755 0 0", "boot/efi/EFI/BOOT/BOOTX64.EFI 644 0 0",
		"boot/efi/startup.nsh 644 0 0", "etc 755 0 0", "etc/fstab 644 0 0", "etc/x 644 0 0", "mnt 755 0 0", "srv 755 0 0", "srv/my data 700 33 0",
		"srv/my data/file 644 0 0", "srv/my data/hidden 755 0 0", "srv/my data/hidden/a 644 0 1", "srv/my data/hidden/b 644 0 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	e, _ := s.Tree.Lookup("boot/efi/EFI/BOOT/BOOTX64.EFI")
	if text, err := b.st.ReadAll(e.Digest); err != nil || string(text) != "loader" {
		t.Errorf("the contents that were asked for: %q, %v", text, err)
	}
}

// TestSystemMissing says what of fstab is left out.
func TestSystemMissing(t *testing.T) {
	b := newBuilder(t)
	fstab := "PARTLABEL=DATA /data xfs defaults 0 2\nPARTLABEL=ESP /none/here vfat defaults 0 2\n"
	root := stagetest.Tree(t, b.file("etc/fstab", fstab), stagetest.Dir("data"))
	s := system(t, b.export(b.disk(b.fat(tree.Empty(tree.Time{})), b.ext4(root, 32*mebibyte, rootUUID))), SystemOptions{})
	if len(s.Missing) != 2 || !strings.Contains(s.Missing[0], "/data (partition 3) is left out: its file system is of no kind that can be read") ||
		!strings.Contains(s.Missing[1], "/none/here (partition 1) is left out") {
		t.Errorf("%q", s.Missing)
	}
	same(t, "without its mounts", s.Tree, root)
}

// TestSystemNone refuses images without a system.
func TestSystemNone(t *testing.T) {
	b := newBuilder(t)
	im := open(t, b.export(b.disk(b.fat(tree.Empty(tree.Time{})))))
	if _, err := im.System(context.Background(), SystemOptions{}); err == nil || !strings.Contains(err.Error(), "the root file system, partition 2, is of no kind that can be read") {
		t.Errorf("a root that cannot be read: %v", err)
	}
	im = open(t, b.export(b.fat(tree.Empty(tree.Time{}))))
	if _, err := im.System(context.Background(), SystemOptions{}); !errors.Is(err, errNoSystem) {
		t.Errorf("a FAT file system alone: %v", err)
	}
}

// TestSystemBounds refuses what would take too long, and ends when it is told to.
func TestSystemBounds(t *testing.T) {
	b := newBuilder(t)
	root := stagetest.Tree(t, b.file("a", "12345"), b.file("b", "12345"))
	im := open(t, b.export(b.ext4(root, 16*mebibyte, rootUUID)))
	if _, err := im.System(context.Background(), SystemOptions{MaxBytes: 9}); err == nil || !strings.Contains(err.Error(), "/b has 5 bytes") {
		t.Errorf("too many bytes: %v", err)
	}
	if _, err := im.System(context.Background(), SystemOptions{MaxBytes: 10}); err != nil {
		t.Errorf("just enough bytes: %v", err)
	}
	if _, err := im.System(context.Background(), SystemOptions{Contents: func(tree.Entry) bool { return true }}); err == nil || !strings.Contains(err.Error(), "no store") {
		t.Errorf("without a store: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := im.System(ctx, SystemOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestSystemOfMke2fs reads a file system that mke2fs filled from a directory, and compares it with the directory and with
// what debugfs takes out of it.
func TestSystemOfMke2fs(t *testing.T) {
	dir := t.TempDir()
	source, image, dump := filepath.Join(dir, "source"), filepath.Join(dir, "image"), filepath.Join(dir, "dump")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(dir, 0o755))
	for _, d := range []string{"etc", "usr/bin", "usr/share/deep/er/and/deeper", "many"} {
		must(os.MkdirAll(filepath.Join(source, d), 0o755))
	}
	must(os.Mkdir(dump, 0o755))
	write := func(name, contents string, mode uint32, uid, gid int) {
		t.Helper()
		p := filepath.Join(source, name)
		must(os.WriteFile(p, []byte(contents), 0o600))
		must(os.Chown(p, uid, gid))
		must(unix.Chmod(p, mode))
	}
	write("etc/passwd", "root:x:0:0::/root:/bin/sh\n", 0o644, 0, 0)
	write("etc/shadow", "root:*:1::::::\n", 0o640, 0, 42)
	write("usr/bin/sudo", strings.Repeat("sudo", 10_000), 0o4755, 0, 0)
	write("usr/bin/ping", "ping", 0o755, 0, 0)
	write("usr/share/deep/er/and/deeper/with space", "x", 0o604, 100_000, 200_000)
	write("empty", "", 0o644, 0, 0)
	for i := range 150 {
		write(fmt.Sprintf("many/name-that-is-rather-long-%d", i), fmt.Sprint(i), 0o644, i, i)
	}
	sparse, err := os.Create(filepath.Join(source, "sparse"))
	must(err)
	_, err = sparse.WriteAt([]byte("end"), 9<<20)
	must(errors.Join(err, sparse.Truncate(10<<20), sparse.Close()))
	must(os.Link(filepath.Join(source, "usr/bin/ping"), filepath.Join(source, "usr/bin/ping6")))
	must(os.Symlink("/usr/bin", filepath.Join(source, "bin")))
	must(os.Symlink(strings.Repeat("x/", 60)+"y", filepath.Join(source, "long")))
	must(unix.Mknod(filepath.Join(source, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(unix.Mkfifo(filepath.Join(source, "fifo"), 0o600))
	must(unix.Setxattr(filepath.Join(source, "usr/bin/ping"), "security.capability", []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0))

	for _, features := range []string{"", "^metadata_csum,^64bit", "^extent,^64bit,^metadata_csum,^huge_file"} {
		must(os.RemoveAll(image))
		args := []string{"-q", "-t", "ext4", "-d", source, "-b", "1024"}
		if features != "" {
			args = append(args, "-O", features)
		}
		tool(t, "mke2fs", append(args, image, "64M")...)
		s := system(t, image, SystemOptions{})
		must(os.RemoveAll(dump))
		must(os.Mkdir(dump, 0o755))
		tool(t, "debugfs", "-R", "rdump / "+dump, image)

		links := map[uint64][]string{}
		seen := 1 // the root
		for _, e := range s.Tree.Entries() {
			if e.Path == tree.Root {
				continue
			}
			seen++
			where := filepath.Join(source, e.Path)
			var st unix.Stat_t
			must(unix.Lstat(where, &st))
			types := map[tree.Type]uint32{tree.Regular: unix.S_IFREG, tree.Directory: unix.S_IFDIR, tree.Symlink: unix.S_IFLNK, tree.CharDevice: unix.S_IFCHR, tree.FIFO: unix.S_IFIFO}
			if st.Mode&unix.S_IFMT != types[e.Type] || st.Mode&0o7777 != e.Mode || st.Uid != e.UID || st.Gid != e.GID || st.Mtim.Sec != e.MTime.Sec {
				t.Errorf("%q %s: %+v, the source has mode %o, owner %d:%d, time %d", features, e.Path, e, st.Mode, st.Uid, st.Gid, st.Mtim.Sec)
			}
			switch e.Type {
			case tree.Regular:
				// Contents as debugfs reads them.
				text, err := os.ReadFile(filepath.Join(dump, e.Path))
				must(err)
				if store.Sum(text) != e.Digest || int64(len(text)) != e.Size {
					t.Errorf("%q %s: contents differ from what debugfs reads", features, e.Path)
				}
				if st.Nlink > 1 {
					links[st.Ino] = append(links[st.Ino], fmt.Sprint(e.Link))
				} else if e.Link != 0 {
					t.Errorf("%q %s: it is linked", features, e.Path)
				}
			case tree.Symlink:
				if target, err := os.Readlink(where); err != nil || target != e.Target {
					t.Errorf("%q %s: target %q", features, e.Path, e.Target)
				}
			case tree.CharDevice:
				if unix.Mkdev(e.Major, e.Minor) != st.Rdev {
					t.Errorf("%q %s: device %d:%d", features, e.Path, e.Major, e.Minor)
				}
			}
			value := make([]byte, 100)
			n, err := unix.Lgetxattr(where, "security.capability", value)
			has := slices.ContainsFunc(e.Xattrs, func(x tree.Xattr) bool {
				return x.Name == "security.capability" && bytes.Equal(x.Value, value[:max(0, n)])
			})
			if (err == nil) != has {
				t.Errorf("%q %s: attributes %v", features, e.Path, e.Xattrs)
			}
		}
		for _, group := range links {
			if len(group) != 2 || group[0] != group[1] || group[0] == "0" {
				t.Errorf("%q: hard links %v", features, group)
			}
		}
		count := 0
		must(filepath.WalkDir(source, func(string, os.DirEntry, error) error { count++; return nil }))
		if count != seen {
			t.Errorf("%q: %d entries of %d", features, seen, count)
		}
	}
}

func TestParseFstab(t *testing.T) {
	for text, want := range map[string]string{
		"":                                        "[]",
		"# comment\n\nLABEL=a /a x\n":             "[{LABEL=a /a}]",
		"b /z/../b//c/./ x\n\ta\t/a\tx":           "[{a /a} {b /z/../b/c}]",
		"a /a x\nb /a x\n":                        "[{b /a}]",
		`L\040A=x /with\040space\011tab\134 x`:    `[{L A=x /with space` + "\t" + `tab\}]`,
		"a / x\nswap none swap\nonly\nx relative": "[]",
		`a /bad\9escape\04 x`:                     `[{a /bad\9escape\04}]`,
	} {
		if got := fmt.Sprint(parseFstab(text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func FuzzFstab(f *testing.F) {
	f.Add("UUID=1 /a\\040b ext4 defaults 0 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		lines := parseFstab(text)
		for i, l := range lines {
			if !strings.HasPrefix(l.path, "/") || l.path == "/" || strings.Contains(l.path, "//") {
				t.Errorf("path %q", l.path)
			}
			if i > 0 && tree.Compare(lines[i-1].path, l.path) >= 0 {
				t.Errorf("%q is not before %q", lines[i-1].path, l.path)
			}
		}
	})
}

// FuzzSystem changes bytes of images. Whatever they say then, reading ends, with a tree or an error.
func FuzzSystem(f *testing.F) {
	b := newBuilder(f)
	root := stagetest.Tree(f, b.file("etc/fstab", "UUID=1234-ABCD /boot vfat x 0 0\n"), stagetest.Dir("boot"), b.file("usr/bin/x", "x"), stagetest.Link("bin", "usr/bin"))
	esp := stagetest.Tree(f, b.file("EFI/BOOT/a long name.efi", "loader"))
	// Without checksums, so that changes get past them.
	plain, err := ext4.Write(context.Background(), b.st, root, ext4.Options{Size: 16 * mebibyte, BlockSize: 1024, UUID: rootUUID, Inodes: 64,
		Features: []string{"has_journal", "ext_attr", "filetype", "extent", "sparse_super", "large_file", "extra_isize"}})
	if err != nil {
		f.Fatal(err)
	}
	type base struct {
		data  []byte
		dense []int64 // sectors that are not zero
	}
	var bases []base
	for _, im := range []disk.Image{b.disk(b.fat(esp), plain), b.disk(b.fat(esp), b.ext4(root, 16*mebibyte, rootUUID))} {
		r, err := im.Open(b.st)
		if err != nil {
			f.Fatal(err)
		}
		made := base{data: make([]byte, im.Size)}
		if _, err := r.ReadAt(made.data, 0); err != nil && err != io.EOF {
			f.Fatal(err)
		}
		r.Close()
		zeros := make([]byte, partition.SectorSize)
		for at := int64(0); at < im.Size; at += partition.SectorSize {
			if !bytes.Equal(made.data[at:][:partition.SectorSize], zeros) {
				made.dense = append(made.dense, at)
			}
		}
		bases = append(bases, made)
	}
	f.Add(uint8(0), []byte{})
	f.Add(uint8(0), []byte{0x00, 0x01, 0x02, 0xff})
	f.Add(uint8(1), []byte{0x09, 0x04, 0x38, 0x53, 0x02, 0x03, 0x04, 0x05})
	f.Fuzz(func(t *testing.T, which uint8, edits []byte) {
		base := bases[int(which)%len(bases)]
		// Each edit is a place of 3 bytes among those sectors and the new byte there.
		changed := map[int64]byte{}
		for ; len(edits) >= 4; edits = edits[4:] {
			at := int(edits[0])<<16 | int(edits[1])<<8 | int(edits[2])
			changed[base.dense[at/partition.SectorSize%len(base.dense)]+int64(at%partition.SectorSize)] = edits[3]
		}
		im, err := openDisk(patched{base.data, changed}, int64(len(base.data)), "raw")
		if err != nil {
			return
		}
		s, err := im.System(context.Background(), SystemOptions{MaxBytes: 64 * mebibyte})
		if err == nil && s.Tree.Len() == 0 {
			t.Error("a tree without a root")
		}
	})
}

// patched is an image with changed bytes.
type patched struct {
	base    []byte
	changed map[int64]byte
}

func (p patched) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(p.base)) {
		return 0, io.EOF
	}
	n := copy(b, p.base[off:])
	for at, v := range p.changed {
		if at >= off && at < off+int64(n) {
			b[at-off] = v
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}
