package importer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/importer/images/imagetest"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// odd makes a directory of everything that a root file system can hold. Root alone can.
func odd(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes devices and owners: run it as root")
	}
	for program, pkg := range map[string]string{"tar": "tar", "bsdtar": "libarchive-tools", "setfattr": "attr", "setfacl": "acl", "setcap": "libcap2-bin", "xz": "xz-utils", "zstd": "zstd", "bzip2": "bzip2"} {
		imagetest.Need(t, program, pkg)
	}
	root := t.TempDir()
	imagetest.Shell(t, root, `
		umask 022
		mkdir -p etc usr/bin dev var/spool deep/$(printf '%090d' 1)/$(printf '%090d' 2)/$(printf '%090d' 3)
		echo hello >etc/hello; ln etc/hello usr/bin/hello; ln usr/bin/hello deep/third
		ln -s usr/bin bin; ln -s /nowhere/$(printf '%0180d' 4) hanging
		echo x >deep/$(printf '%090d' 1)/$(printf '%090d' 2)/$(printf '%090d' 3)/file
		printf 'a b' >'usr/bin/ name with blank and
newline'
		printf '\377' >"$(printf 'etc/\377')"
		: >usr/bin/ping; chmod 0755 usr/bin/ping; setcap cap_net_raw+ep usr/bin/ping
		: >usr/bin/su; chown 0:7 usr/bin/su; chmod 4750 usr/bin/su
		chown 70000:3000000000 etc/hello
		chmod 1777 var/spool; chmod 2755 var
		mknod dev/null c 1 3; mknod dev/disk b 259 1048575; mkfifo var/fifo
		: >etc/acl; setfacl -m u:1234:rw,g:99:r etc/acl; setfacl -d -m u:5555:rwx var/spool
		setfattr -n user.note -v 0x00ff01 etc/acl
		setfattr -n trusted.note -v text etc/hello
		truncate -s 3M usr/sparse; printf end >>usr/sparse
		touch -d '1969-12-31 23:59:58 UTC' etc/acl; touch -d '2050-01-01 00:00:00.123456789 UTC' usr/bin/su`)
	return root
}

// importArchive imports an archive and returns the tree.
func importArchive(t testing.TB, c *stages.Cache, path string) (*tree.Tree, error) {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	root, _, err := stagetest.Run(t, c, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return Archive(ctx, run, path, store.Sum(p))
	})
	if err != nil {
		return nil, err
	}
	return stagetest.Load(t, c.Store, root.Tree), nil
}

// factsOfDirectory returns of each path below dir what find says of it: type, mode, owners,
// time and target.
func factsOfDirectory(t testing.TB, dir string) map[string]string {
	t.Helper()
	facts := map[string]string{}
	list := imagetest.Shell(t, dir, `find . -printf '%P\0%y %m %U:%G %T@ %l\0'`)
	fields := strings.Split(strings.TrimSuffix(list, "\x00"), "\x00")
	for i := 0; i+1 < len(fields); i += 2 {
		facts[fields[i]] = fields[i+1]
	}
	return facts
}

// TestArchiveOfTar imports what GNU tar and bsdtar write of a directory of odd things, in
// every compression, and compares it with the directory.
func TestArchiveOfTar(t *testing.T) {
	root := odd(t)
	c := stagetest.Cache(t)
	var want *tree.Tree
	for _, test := range []struct{ name, command string }{
		{"GNU tar, PAX, all attributes", `tar --format=posix --xattrs --xattrs-include='*' --acls --numeric-owner --sparse -C "$1" -cf "$2" .`},
		{"bsdtar, PAX", `bsdtar --format pax --xattrs --acls --numeric-owner -C "$1" -cf "$2" .`},
		{"gzip", `tar --format=posix --xattrs --xattrs-include='*' --acls --numeric-owner -S -C "$1" -czf "$2" .`},
		{"xz", `tar --format=posix --xattrs --xattrs-include='*' --acls --numeric-owner -C "$1" -cJf "$2" .`},
		{"zstd", `tar --format=posix --xattrs --xattrs-include='*' --acls --numeric-owner -C "$1" --zstd -cf "$2" .`},
		{"bzip2", `tar --format=posix --xattrs --xattrs-include='*' --acls --numeric-owner -C "$1" -cjf "$2" .`},
	} {
		path := filepath.Join(t.TempDir(), "root") // its name tells nothing
		imagetest.Shell(t, "/", test.command, root, path)
		got, err := importArchive(t, c, path)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if want == nil {
			want = got
			checkFacts(t, root, got)
			continue
		}
		for _, change := range tree.Diff(want, got) {
			t.Errorf("%s: %s\n%+v\nwant\n%+v", test.name, change.Path, change.After, change.Before)
		}
	}
}

// checkFacts compares the tree with the directory that it was archived from.
func checkFacts(t *testing.T, dir string, got *tree.Tree) {
	t.Helper()
	facts := factsOfDirectory(t, dir)
	if len(facts) != got.Len() {
		t.Errorf("%d entries, want %d", got.Len(), len(facts))
	}
	kinds := map[tree.Type]string{tree.Regular: "f", tree.Directory: "d", tree.Symlink: "l", tree.CharDevice: "c", tree.BlockDevice: "b", tree.FIFO: "p"}
	for _, e := range got.Entries() {
		path := e.Path
		if path == tree.Root {
			path = ""
		}
		want := facts[path]
		fields := strings.Fields(want)
		if len(fields) < 4 {
			t.Errorf("%q is not in the directory", e.Path)
			continue
		}
		have := fmt.Sprintf("%s %o %d:%d", kinds[e.Type], e.Mode, e.UID, e.GID)
		if have != strings.Join(fields[:3], " ") {
			t.Errorf("%q: %s, want %s", e.Path, have, want)
		}
		if e.Type == tree.Symlink && !strings.HasSuffix(want, " "+e.Target) {
			t.Errorf("%q -> %q, want %s", e.Path, e.Target, want)
		}
	}
	value := func(path, name string) string {
		e, _ := got.Lookup(path)
		for _, x := range e.Xattrs {
			if x.Name == name {
				return string(x.Value)
			}
		}
		return ""
	}
	if got := value("etc/acl", "user.note"); got != "\x00\xff\x01" {
		t.Errorf("attribute: %q", got)
	}
	if got := value("usr/bin/ping", "security.capability"); len(got) != 20 || got[3] != 2 {
		t.Errorf("capability: %x", got)
	}
	// linux/posix_acl_xattr.h: version 2, then tag, permissions, id of each entry.
	const acl = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x06\x00\xd2\x04\x00\x00" + "\x04\x00\x04\x00\xff\xff\xff\xff" +
		"\x08\x00\x04\x00\x63\x00\x00\x00" + "\x10\x00\x06\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff"
	if got := value("etc/acl", "system.posix_acl_access"); got != acl {
		t.Errorf("ACL: %x", got)
	}
	if value("var/spool", "system.posix_acl_default") == "" {
		t.Error("the default ACL is lost")
	}
	if e, _ := got.Lookup("etc/acl"); e.MTime != (tree.Time{Sec: -2}) {
		t.Errorf("a time before 1970: %+v", e.MTime)
	}
	if e, _ := got.Lookup("usr/bin/su"); e.MTime != (tree.Time{Sec: 2524608000, Nsec: 123456789}) {
		t.Errorf("a time with nanoseconds: %+v", e.MTime)
	}
	if e, _ := got.Lookup("dev/disk"); e.Major != 259 || e.Minor != 1048575 {
		t.Errorf("device: %+v", e)
	}
	a, _ := got.Lookup("etc/hello")
	for _, path := range []string{"usr/bin/hello", "deep/third"} {
		if b, _ := got.Lookup(path); b.Link == 0 || a.Link != b.Link {
			t.Errorf("%s is no hard link", path)
		}
	}
	if e, _ := got.Lookup("usr/sparse"); e.Size != 3<<20+3 {
		t.Errorf("sparse file: %d bytes", e.Size)
	}
}

// TestArchiveFormats reads the older formats, which have less.
func TestArchiveFormats(t *testing.T) {
	imagetest.Need(t, "tar", "tar")
	dir := t.TempDir()
	long := strings.Repeat("long/", 30) + strings.Repeat("x", 150)
	imagetest.Shell(t, dir, `mkdir -p "$(dirname "$1")" d; echo 1 >"$1"; ln -s "$1" l; truncate -s 2M s; echo 2 >>s`, long)
	c := stagetest.Cache(t)
	for _, format := range []string{"gnu", "oldgnu", "posix"} {
		path := filepath.Join(t.TempDir(), "root.tar")
		imagetest.Shell(t, "/", `tar --format="$1" --sparse -C "$2" -cf "$3" .`, format, dir, path)
		got, err := importArchive(t, c, path)
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		e, _ := got.Lookup(long)
		l, _ := got.Lookup("l")
		s, _ := got.Lookup("s")
		if e.Size != 2 || l.Target != long || s.Size != 2<<20+2 {
			t.Errorf("%s: %+v %+v %+v", format, e, l, s)
		}
	}
	for _, format := range []string{"v7", "ustar"} {
		path := filepath.Join(t.TempDir(), "root.tar")
		imagetest.Shell(t, "/", `tar --format="$1" -C "$2" -cf "$3" ./s ./d`, format, dir, path)
		if got, err := importArchive(t, c, path); err != nil || got.Len() != 3 {
			t.Errorf("%s: %v", format, err)
		}
	}
}

func TestArchiveRefuses(t *testing.T) {
	imagetest.Need(t, "tar", "tar")
	c := stagetest.Cache(t)
	dir := t.TempDir()
	imagetest.Shell(t, dir, `mkdir d; head -c 200000 /dev/urandom >d/f; tar -cf whole.tar d; gzip -k whole.tar; zstd -q whole.tar; xz -k whole.tar
		for s in gz zst xz; do head -c 100000 whole.tar.$s >cut.$s; cp whole.tar.$s bad.$s; printf XXXX | dd of=bad.$s bs=1 seek=150000 conv=notrunc status=none; done
		head -c 100000 whole.tar >cut.tar; echo text >text; : >empty; tar -cf none.tar -T /dev/null
		tar -cPf up.tar --transform 's,^d/f,../../f,' d/f`)
	for name, want := range map[string]string{
		"cut.tar": "the archive ends", "cut.gz": "the archive ends", "cut.zst": "the archive ends", "cut.xz": "damaged or cut short",
		"bad.gz": "damaged", "bad.zst": "damaged", "bad.xz": "damaged", "text": "the archive ends", "empty": "without its end mark",
		"none.tar": "it holds nothing", "up.tar": `has the element ".."`,
	} {
		_, err := importArchive(t, c, filepath.Join(dir, name))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v; want %s", name, err, want)
		}
	}
	_, _, err := stagetest.Run(t, c, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return Archive(ctx, run, filepath.Join(dir, "whole.tar"), store.Sum(nil))
	})
	if err == nil || !strings.Contains(err.Error(), "it has changed while the build ran") {
		t.Errorf("another digest: %v", err)
	}
}
