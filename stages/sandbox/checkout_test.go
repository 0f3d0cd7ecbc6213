package sandbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/tree"
)

// capability is the xattr of cap_net_raw=ep in version 2, as it is in images.
func capability() []byte {
	p := binary.LittleEndian.AppendUint32(nil, 0x02000001)
	for _, v := range []uint32{1 << unix.CAP_NET_RAW, 0, 0, 0} {
		p = binary.LittleEndian.AppendUint32(p, v)
	}
	return p
}

// acl is a POSIX ACL in the kernel's form that gives a group read and execute.
func acl(group uint32) []byte {
	p := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 7, ^uint32(0)}, {4, 5, ^uint32(0)}, {8, 5, group}, {16, 5, ^uint32(0)}, {32, 5, ^uint32(0)}} {
		p = binary.LittleEndian.AppendUint16(p, e.tag)
		p = binary.LittleEndian.AppendUint16(p, e.perm)
		p = binary.LittleEndian.AppendUint32(p, e.id)
	}
	return p
}

// everything returns a tree with all that trees can hold and file systems take.
func (f *fixture) everything() *tree.Tree {
	var entries []tree.Entry
	add := func(e tree.Entry, change func(e *tree.Entry)) {
		if change != nil {
			change(&e)
		}
		entries = append(entries, e)
	}
	own := func(uid, gid uint32) func(e *tree.Entry) {
		return func(e *tree.Entry) { e.UID, e.GID = uid, gid }
	}
	xattr := func(pairs ...string) func(e *tree.Entry) {
		return func(e *tree.Entry) {
			for i := 0; i < len(pairs); i += 2 {
				e.Xattrs = append(e.Xattrs, tree.Xattr{Name: pairs[i], Value: []byte(pairs[i+1])})
			}
		}
	}
	at := func(sec int64, nsec uint32) func(e *tree.Entry) {
		return func(e *tree.Entry) { e.MTime = tree.Time{Sec: sec, Nsec: nsec} }
	}
	node := func(path string, kind tree.Type, mode uint32) tree.Entry {
		return tree.Entry{Path: path, Type: kind, Mode: mode, MTime: tree.Time{Sec: 1e9, Nsec: 3}}
	}
	link := func(path, target string) tree.Entry {
		e := node(path, tree.Symlink, 0o777)
		e.Target = target
		return e
	}
	device := func(kind tree.Type, path string, major, minor uint32) tree.Entry {
		e := node(path, kind, 0o660)
		e.Major, e.Minor, e.GID = major, minor, 6
		return e
	}

	add(f.file("owner/shadow", "secret", 0o640), own(0, 42))
	add(dir("owner/home", 0o700), own(1000, 1000))
	add(f.file("owner/home/.profile", "# profile", 0o644), own(1000, 100))
	for _, id := range []uint32{1, 65534, 65535, 65536, 3e9} {
		add(f.file(fmt.Sprintf("owner/id-%d", id), "x", 0o600), own(id, id))
		add(dir(fmt.Sprintf("owner/dir-%d", id), 0o750), own(id, 0))
		add(link(fmt.Sprintf("owner/link-%d", id), "nowhere"), own(0, id))
	}
	add(f.file("mode/su", "su", 0o4755), nil)
	add(f.file("mode/wall", "wall", 0o2755), own(0, 5))
	add(f.file("mode/su-user", "su", 0o6711), own(33, 33))
	add(dir("mode/sticky", 0o1777), nil)
	add(dir("mode/setgid", 0o2775), own(0, 50))
	add(f.file("mode/none", "none", 0), nil)
	add(dir("mode/closed", 0), own(5, 5))
	add(f.file("mode/closed/file", "closed", 0o400), own(5, 5))
	add(f.file("xattr/ping", "ping", 0o755), xattr("security.capability", string(capability())))
	add(f.file("xattr/ping-user", "ping", 0o750), func(e *tree.Entry) {
		own(7, 7)(e)
		xattr("security.capability", string(capability()), "user.note", "a note")(e)
	})
	add(dir("xattr/journal", 0o755), xattr("system.posix_acl_access", string(acl(4)), "system.posix_acl_default", string(acl(4))))
	add(f.file("xattr/acl-far", "x", 0o755), xattr("system.posix_acl_access", string(acl(3e9))))
	add(dir("xattr/opaque", 0o755), xattr("trusted.overlay.opaque", "y"))
	add(f.file("xattr/labelled", "x", 0o644), xattr("security.selinux", "system_u:object_r:etc_t:s0\x00", "user.empty", ""))
	add(link("xattr/labelled-link", "labelled"), xattr("security.selinux", "system_u:object_r:etc_t:s0\x00"))
	for _, name := range []string{"link/b", "link/a", "other/c"} {
		add(f.file(name, "hard linked", 0o644), func(e *tree.Entry) { e.Link, e.UID = 9, 33 })
	}
	add(link("link/one", "x"), func(e *tree.Entry) { e.Link = 4 })
	add(link("link/two", "x"), func(e *tree.Entry) { e.Link = 4 })
	add(link("symlink/absolute", "/etc/passwd"), nil)
	add(link("symlink/up", "../../../.."), at(2e9, 999999999))
	add(link("symlink/long", strings.Repeat("l", 4000)), nil)
	add(node("node/fifo", tree.FIFO, 0o622), own(10, 11))
	add(node("node/socket", tree.Socket, 0o755), own(10, 11))
	add(device(tree.CharDevice, "node/null", 1, 3), nil)
	add(device(tree.BlockDevice, "node/sda", 8, 0), xattr("security.selinux", "label\x00"))
	add(device(tree.CharDevice, "node/large", 4095, 1048575), own(3e9, 3e9))
	for _, name := range []string{"new\nline", `quote'"\`, strings.Repeat("n", 255), "inv\xff\xfealid", " ", "-rf", "ünïcode", "\x01\x1b[31m", "%s", "...", "a", "a.b", "a-b"} {
		add(f.file("name/"+name, name, 0o644), nil)
	}
	add(dir("name/a/b", 0o755), nil)
	entries = slices.DeleteFunc(entries, func(e tree.Entry) bool { return e.Path == "name/a" })
	add(f.file(strings.Repeat("deep/", 300)+"file", "deep", 0o644), nil)
	add(f.file("time/0", "x", 0o644), at(0, 0))
	add(f.file("time/1969", "x", 0o644), at(-1, 999999999))
	add(f.file("time/ns", "x", 0o644), at(1234567890, 123456789))
	add(f.file("time/2050", "x", 0o644), at(2524608000, 1))
	add(f.file("time/2400", "x", 0o644), at(13569465600, 1))
	add(f.file("time/never", "x", 0o644), at(1<<50, 1)) // later than file systems can say
	add(dir("time/dir", 0o755), at(2524608000, 7))
	add(f.file("size/empty", "", 0o644), nil)
	noise := make([]byte, 3<<20+17)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	add(f.file("size/large", string(noise), 0o644), nil)
	sparse := make([]byte, 8<<20)
	copy(sparse[5<<20+100:], "data in the middle")
	add(f.file("size/sparse", string(sparse), 0o644), nil)
	add(f.file("size/sparse-end", "data"+string(sparse[:1<<20]), 0o644), nil)
	return f.tree(entries...)
}

// inodes counts the regular files of a tree, hard linked ones once.
func inodes(t *tree.Tree) (n int) {
	links := map[uint32]bool{}
	for _, e := range t.Entries() {
		if e.Type == tree.Regular && !links[e.Link] {
			n++
			links[e.Link] = e.Link != 0
		}
	}
	return n
}

// within calls f for all paths below /, but not what the sandbox mounts.
func within(f func(path string, info fs.FileInfo, st *syscall.Stat_t) error) error {
	return filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if slices.Contains(freshDirs, strings.TrimPrefix(path, "/")) {
			return filepath.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return f(path, info, info.Sys().(*syscall.Stat_t))
	})
}

func init() {
	// list prints what the kernel says of every file.
	toolFuncs["list"] = func([]string) error {
		return within(func(path string, info fs.FileInfo, st *syscall.Stat_t) error {
			target := ""
			if info.Mode()&fs.ModeSymlink != 0 {
				target, _ = os.Readlink(path)
			}
			_, err := fmt.Printf("%q %o %d:%d %d.%d %q\n", path, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec, target)
			return err
		})
	}
	// touch changes every file's ctime and nothing else.
	toolFuncs["touch"] = func([]string) error {
		return within(func(path string, info fs.FileInfo, st *syscall.Stat_t) error {
			if info.Mode()&fs.ModeSymlink != 0 {
				return os.Lchown(path, int(st.Uid), int(st.Gid))
			}
			return syscall.Chmod(path, st.Mode&0o7777)
		})
	}
	// inodes prints the inode numbers and blocks of files.
	toolFuncs["inodes"] = func(paths []string) error {
		for _, path := range paths {
			var st syscall.Stat_t
			if err := syscall.Lstat(path, &st); err != nil {
				return err
			}
			fmt.Println(path, st.Ino, st.Blocks, st.Nlink)
		}
		return nil
	}
	// xattr prints an extended attribute.
	toolFuncs["xattr"] = func(args []string) error {
		p := make([]byte, 1000)
		n, err := unix.Lgetxattr(args[0], args[1], p)
		fmt.Printf("%x", p[:max(n, 0)])
		return err
	}
}

// listing is what toolFuncs["list"] must print for t.
func listing(t *tree.Tree, m Mode) string {
	kinds := map[tree.Type]uint32{
		tree.Regular: unix.S_IFREG, tree.Directory: unix.S_IFDIR, tree.Symlink: unix.S_IFLNK, tree.CharDevice: unix.S_IFCHR,
		tree.BlockDevice: unix.S_IFBLK, tree.FIFO: unix.S_IFIFO, tree.Socket: unix.S_IFSOCK,
	}
	id := func(id uint32) uint32 {
		switch {
		case m == Single:
			return 0
		case m == Range && id > 65535:
			return 65534
		}
		return id
	}
	var lines []string
	for _, e := range t.Entries() {
		kind := kinds[e.Type]
		if (m == Range || m == Single) && (e.Type == tree.CharDevice || e.Type == tree.BlockDevice) {
			kind = unix.S_IFREG
		}
		path := "/" + strings.TrimPrefix(e.Path, ".")
		lines = append(lines, fmt.Sprintf("%q %o %d:%d %d.%d %q\n", path, kind|e.Mode, id(e.UID), id(e.GID), e.MTime.Sec, e.MTime.Nsec, e.Target))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func sortLines(s string) string {
	lines := strings.SplitAfter(s, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// Everything that a tree can hold comes back from disk as it was, and looks right
// from inside.
func TestSandboxRoundTrip(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		want := f.everything()
		f.checkout(want)
		if s := f.root.Stats(); s.Written != want.Len() || s.Entries != want.Len() {
			t.Errorf("%d of %d entries written", s.Written, want.Len())
		}
		if d := diff(want, f.capture()); d != "" {
			t.Error(d)
		}
		if s := f.root.Stats(); s.Hashed != 0 {
			t.Errorf("%d unchanged files were read", s.Hashed)
		}
		got, expected := sortLines(f.run("list")), listing(want, m)
		wantLines := strings.SplitAfter(expected, "\n")
		gotLines := strings.SplitAfter(got, "\n")
		for _, l := range wantLines {
			if !slices.Contains(gotLines, l) && !strings.Contains(l, "time/never") {
				t.Errorf("inside, missing %s", l)
			}
		}
		if len(wantLines) != len(gotLines) {
			t.Errorf("%d entries inside instead of %d", len(gotLines), len(wantLines))
		}
		f.run("touch")
		if d := diff(want, f.capture()); d != "" {
			t.Error("after touching everything: ", d)
		}
		if s := f.root.Stats(); s.Hashed < inodes(want) {
			t.Errorf("%d of %d touched files were read", s.Hashed, inodes(want))
		}
	})
}

// A capability is version 2 in trees and inside, and on disk belongs to the
// namespace.
func TestSandboxCapability(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		f.checkout(f.everything())
		if got := f.run("xattr", "/xattr/ping", "security.capability"); got != fmt.Sprintf("%x", capability()) {
			t.Errorf("inside: %s", got)
		}
		if m != Range && m != Single {
			return
		}
		p := make([]byte, 100)
		n, err := unix.Lgetxattr(filepath.Join(f.root.dir, rootName, "xattr/ping"), "security.capability", p)
		if err != nil {
			t.Fatal(err)
		}
		if n != 24 || binary.LittleEndian.Uint32(p[20:]) != uint32(os.Getuid()) {
			t.Errorf("on disk: %x", p[:n])
		}
	})
}

func TestSandboxSparse(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		f.checkout(f.everything())
		var path string
		var ino, blocks, links int
		if _, err := fmt.Sscan(f.run("inodes", "/size/sparse"), &path, &ino, &blocks, &links); err != nil {
			t.Fatal(err)
		}
		if blocks*512 > 1<<20 {
			t.Errorf("%d blocks of 512 bytes for an 8 MiB file of zeros", blocks)
		}
	})
}

// Checkout of another tree touches only what differs.
func TestSandboxCheckoutDifference(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		first := f.everything()
		f.checkout(first)
		paths := []string{"/owner/shadow", "/link/a", "/size/large", "/mode/su", "/mode/sticky", "/symlink/up"}
		before := f.run(append([]string{"inodes"}, paths...)...)

		e := first.Edit()
		e.Put(f.file("added/file", "added", 0o644))
		e.Put(dir("added", 0o755))
		e.Remove("name")
		changed := f.file("owner/home/.profile", "# changed", 0o644)
		e.Put(changed)
		x, _ := e.Get("mode/su")
		x.Mode = 0o755
		e.Put(x)
		x, _ = e.Get("mode/sticky")
		x.UID = 12
		e.Put(x)
		x, _ = e.Get("symlink/up")
		x.MTime.Nsec = 1
		e.Put(x)
		x, _ = e.Get("xattr/ping")
		x.Xattrs = nil
		e.Put(x)
		x, _ = e.Get("node/null")
		x.Mode = 0o600
		e.Put(x)
		second, err := e.Tree()
		if err != nil {
			t.Fatal(err)
		}
		f.checkout(second)
		// The root directory, in which Run made and removed mount points, added,
		// added/file, .profile, su, sticky, up, ping and null.
		if s := f.root.Stats(); s.Written != 9 || s.Removed != 2 {
			t.Errorf("%+v, expected 9 written, 2 removed", s)
		}
		if after := f.run(append([]string{"inodes"}, paths...)...); after != before {
			t.Errorf("files were made anew:\n%swere\n%s", after, before)
		}
		if d := diff(second, f.capture()); d != "" {
			t.Error(d)
		}
		f.checkout(first)
		if d := diff(first, f.capture()); d != "" {
			t.Error(d)
		}
	})
}

// Hard links are split and joined as the tree says.
func TestSandboxCheckoutLinks(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		same := func(path string, link uint32) tree.Entry {
			e := f.file(path, "same", 0o644)
			e.Link = link
			return e
		}
		trees := []*tree.Tree{
			f.tree(same("a", 1), same("b", 1), same("c", 1), same("d", 0)),
			f.tree(same("a", 0), same("b", 0), same("c", 0), same("d", 0)),
			f.tree(same("a", 1), same("b", 1), same("c", 2), same("d", 2)),
			f.tree(same("a", 1), same("b", 2), same("c", 1), same("d", 2)),
			f.tree(same("a", 1), same("b", 1), same("c", 1), same("d", 1)),
			f.tree(same("a", 1), same("d", 1)),
		}
		for i, from := range trees {
			for j, to := range trees {
				f.checkout(from)
				f.checkout(to)
				f.run("touch") // from disk, not from the index
				if d := diff(to, f.capture()); d != "" {
					t.Errorf("from %d to %d: %s", i, j, d)
				}
			}
		}
	})
}

// What is made in a directory that is there already inherits nothing from it.
func TestSandboxCheckoutInheritance(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		mail := dir("var/mail", 0o2775)
		journal := dir("var/journal", 0o755)
		journal.Xattrs = []tree.Xattr{{Name: "system.posix_acl_default", Value: acl(0)}}
		if m != Single {
			mail.GID = 8
		}
		f.checkout(f.tree(mail, journal))
		want := f.tree(mail, journal, f.file("var/mail/root", "x", 0o600), f.file("var/mail/sub/x", "x", 0o600),
			f.file("var/journal/log", "x", 0o640), f.file("var/journal/sub/log", "x", 0o640))
		f.checkout(want)
		f.run("touch")
		if d := diff(want, f.capture()); d != "" {
			t.Error(d)
		}
	})
}

// Every type can become every other.
func TestSandboxCheckoutTypes(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		special := func(kind tree.Type) tree.Entry { return tree.Entry{Path: "x", Type: kind, Mode: 0o644} }
		link, null := special(tree.Symlink), special(tree.CharDevice)
		link.Target, link.Mode = "elsewhere", 0o777
		null.Major, null.Minor = 1, 3
		for _, from := range []tree.Entry{f.file("x", "1", 0o644), f.file("x/y", "1", 0o644), link, null, special(tree.FIFO)} {
			for _, to := range []tree.Entry{f.file("x", "2", 0o644), f.file("x/z/y", "2", 0o644), link, null, special(tree.Socket)} {
				f.checkout(f.tree(from))
				want := f.tree(to)
				f.checkout(want)
				if d := diff(want, f.capture()); d != "" {
					t.Errorf("%s to %s: %s", from.Type, to.Type, d)
				}
			}
		}
	})
}

// What commands have changed does not survive the next Checkout, even if it does
// not show in size and mtime.
func TestSandboxCheckoutRepairs(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		want := f.everything()
		f.checkout(want)
		f.run("vandal")
		f.checkout(want)
		if d := diff(want, f.capture()); d != "" {
			t.Error(d)
		}
		f.run("touch")
		if d := diff(want, f.capture()); d != "" {
			t.Error(d)
		}
	})
}

func init() {
	// vandal changes everything it can, without a trace in size and mtime.
	toolFuncs["vandal"] = func([]string) error {
		return within(func(path string, info fs.FileInfo, st *syscall.Stat_t) error {
			switch {
			case path == "/" || strings.HasPrefix(path, "/bin") || strings.HasPrefix(path, "/lib"):
				return nil
			case info.Mode().IsRegular():
				g, err := os.OpenFile(path, os.O_WRONLY, 0)
				if err != nil {
					return err
				}
				defer g.Close()
				if st.Size > 0 {
					if _, err := g.WriteAt([]byte{'?'}, 0); err != nil {
						return err
					}
				}
				times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: st.Mtim.Sec, Nsec: st.Mtim.Nsec}}
				if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times, 0); err != nil {
					return err
				}
				return unix.Fsetxattr(int(g.Fd()), "user.vandal", []byte("was here"), 0)
			case info.IsDir():
				if err := os.WriteFile(filepath.Join(path, "vandal"), nil, 0o644); err != nil {
					return err
				}
				return os.Chmod(path, 0o700)
			}
			return os.Lchown(path, 0, 0)
		})
	}
}

// An index that is missing, damaged or of another boot is not trusted.
func TestSandboxIndexLost(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		want := f.tree(f.file("etc/a", "a", 0o644), f.file("etc/b", "b", 0o644))
		path := filepath.Join(f.root.dir, indexName)
		for name, damage := range map[string]func(p []byte) []byte{
			"missing":    nil,
			"truncated":  func(p []byte) []byte { return p[:len(p)/2] },
			"empty":      func([]byte) []byte { return nil },
			"bit":        func(p []byte) []byte { p[len(p)/2] ^= 1; return p },
			"other boot": func(p []byte) []byte { return bytes.Replace(p, []byte(bootID()), []byte(strings.Repeat("0", 36)), 1) },
		} {
			f.checkout(want)
			if err := f.root.Close(); err != nil {
				t.Fatal(err)
			}
			if damage == nil {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			} else {
				p, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, damage(p), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			if f.root, err = NewRoot(t.Context(), f.st, filepath.Dir(path), Options{Mode: m}); err != nil {
				t.Fatal(err)
			}
			f.checkout(want)
			if s := f.root.Stats(); s.Written != want.Len() {
				t.Errorf("%s: %d of %d entries written", name, s.Written, want.Len())
			}
		}
		if err := f.root.Remove(); err != nil {
			t.Error(err)
		}
	})
}

// A cancelled Checkout leaves a root that the next one puts right, and Run and
// Capture refuse it.
func TestSandboxCheckoutCancelled(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		want := f.everything()
		f.checkout(want)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := f.root.Checkout(ctx, f.tree()); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if _, err := f.root.Capture(t.Context()); err == nil {
			t.Error("Capture after a cancelled Checkout")
		}
		if _, err := f.try(Command{}, "list"); err == nil {
			t.Error("Run after a cancelled Checkout")
		}
		f.checkout(want)
		if d := diff(want, f.capture()); d != "" {
			t.Error(d)
		}
	})
}

// Contents that the store lost are an error that names the file, and a later
// Checkout of another tree works.
func TestSandboxCheckoutMissingObject(t *testing.T) {
	eachMode(t, func(t *testing.T, m Mode) {
		f := newFixture(t, m)
		lost := f.file("etc/lost", "x", 0o644)
		lost.Digest[0] ^= 1
		err := f.root.Checkout(t.Context(), f.tree(lost))
		if err == nil || !strings.Contains(err.Error(), "/etc/lost") {
			t.Errorf("error %v", err)
		}
		f.checkout(f.tree())
	})
}
