package ext4

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

// compareTrees demands that a file system holds the tree and, besides, at most
// lost+found.
func compareTrees(t testing.TB, want, got *tree.Tree) {
	t.Helper()
	if _, ok := want.Lookup(lostFound); !ok {
		edit := got.Edit()
		edit.Remove(lostFound)
		var err error
		if got, err = edit.Tree(); err != nil {
			t.Fatal(err)
		}
	}
	for i, change := range tree.Diff(want, got) {
		if i == 10 {
			t.Error("…")
			break
		}
		t.Errorf("%q: wrote %s, read %s", change.Path, describe(change.Before), describe(change.After))
	}
}

func describe(e *tree.Entry) string {
	if e == nil {
		return "nothing"
	}
	s := strconv.QuoteToASCII(fmt.Sprintf("%+v", *e))
	return s[:min(len(s), 600)]
}

// readTree reads a file system with this package.
func readTree(t testing.TB, image string) *tree.Tree {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	fs, err := Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
	var entries []tree.Entry
	err = fs.Walk(func(n *Node) error {
		e := n.Entry
		if e.Type == tree.Regular {
			file, err := fs.OpenNode(n)
			if err != nil {
				return err
			}
			p, err := io.ReadAll(file.NewReader())
			if err != nil {
				return err
			}
			e.Digest = store.Sum(p)
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// readMount reads a mounted file system through the kernel.
func readMount(t testing.TB, root string) *tree.Tree {
	t.Helper()
	var entries []tree.Entry
	links := map[uint64]uint32{}
	var visit func(path string)
	visit = func(path string) {
		full := filepath.Join(root, path)
		var s unix.Stat_t
		if err := unix.Lstat(full, &s); err != nil {
			t.Fatalf("%q: %v", full, err)
		}
		kind, ok := typeOfMode(uint16(s.Mode))
		if !ok {
			t.Fatalf("%q: mode %#o", full, s.Mode)
		}
		e := tree.Entry{Path: path, Type: kind, Mode: s.Mode & 0o7777, UID: s.Uid, GID: s.Gid, MTime: tree.Time{Sec: s.Mtim.Sec, Nsec: uint32(s.Mtim.Nsec)}}
		e.Xattrs = mountXattrs(t, full)
		var err error
		switch kind {
		case tree.Regular:
			var p []byte
			if p, err = os.ReadFile(full); err == nil {
				e.Size, e.Digest = s.Size, store.Sum(p)
			}
		case tree.Symlink:
			e.Target, err = os.Readlink(full)
		case tree.CharDevice, tree.BlockDevice:
			e.Major, e.Minor = unix.Major(s.Rdev), unix.Minor(s.Rdev)
		}
		if err != nil {
			t.Fatal(err)
		}
		if kind != tree.Directory && s.Nlink > 1 {
			if links[s.Ino] == 0 {
				links[s.Ino] = uint32(len(links) + 1)
			}
			e.Link = links[s.Ino]
		}
		entries = append(entries, e)
		if kind == tree.Directory {
			dir, err := os.Open(full)
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			names, err := dir.Readdirnames(-1)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				visit(tree.Join(path, name))
			}
		}
	}
	visit(tree.Root)
	tr, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func mountXattrs(t testing.TB, path string) []tree.Xattr {
	t.Helper()
	var list []tree.Xattr
	names := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		t.Fatalf("%q: %v", path, err)
	}
	for name := range strings.SplitSeq(string(names[:n]), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatalf("%q: %s: %v", path, name, err)
		}
		list = append(list, tree.Xattr{Name: name, Value: value[:n]})
	}
	sortXattrs(list)
	return list
}

// loopMount mounts an image read-write until the test ends or the returned function is
// called. Tests that need it are skipped where the kernel or the user cannot.
func loopMount(t testing.TB, image string) (root string, unmount func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	root = t.TempDir()
	if out, err := tool(t, "mount", "mount", "-o", "loop,user_xattr,acl", "-t", "ext4", image, root).CombinedOutput(); err != nil {
		t.Fatalf("mount %s: %v\n%s", image, err, out)
	}
	mounted := true
	unmount = func() {
		if !mounted {
			return
		}
		mounted = false
		if out, err := tool(t, "mount", "umount", root).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v\n%s", root, err, out)
		}
		// A mount namespace made meanwhile, by another package's sandbox, keeps the file system in
		// use until it ends.
		for range 600 {
			if run(t, "mount", "losetup", "-j", image) == "" {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("%s is in use a minute after it was unmounted", image)
	}
	t.Cleanup(unmount)
	return root, unmount
}

// readDebugfs reads a file system with debugfs alone.
func readDebugfs(t testing.TB, image string) *tree.Tree {
	t.Helper()
	d := &debugfs{t: t, image: image, dir: t.TempDir()}
	type item struct {
		path   string
		number int
	}
	found := []item{{tree.Root, rootInode}}
	for level := found; len(level) > 0; { // one batch for each level of directories
		commands := make([]string, len(level))
		for i, at := range level {
			commands[i] = fmt.Sprintf("ls -p <%d>", at.number)
		}
		var next []item
		for i, out := range d.batch(commands) {
			for _, m := range listing.FindAllStringSubmatch(out, -1) {
				if m[3] == "." || m[3] == ".." || m[1] == "0" {
					continue
				}
				at := item{tree.Join(level[i].path, m[3]), atoi(t, m[1])}
				found = append(found, at)
				if strings.HasPrefix(m[2], "04") {
					next = append(next, at)
				}
			}
		}
		level = next
	}

	var commands []string
	numbers := map[int]bool{}
	for _, at := range found {
		if !numbers[at.number] {
			numbers[at.number] = true
			commands = append(commands, fmt.Sprintf("stat <%d>", at.number))
		}
	}
	stats := map[int]string{}
	for _, out := range d.batch(commands) {
		m := regexp.MustCompile(`(?m)^Inode: (\d+)`).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("debugfs stat printed %q", out)
		}
		stats[atoi(t, m[1])] = out
	}

	// Contents and attributes come as files.
	commands = nil
	for number, out := range stats {
		if strings.Contains(out, "Type: regular") || strings.Contains(out, "Type: symlink") && !strings.Contains(out, "Fast link dest") {
			commands = append(commands, fmt.Sprintf("dump <%d> %s/%d", number, d.dir, number))
		}
		for i, name := range xattrNames(out) {
			commands = append(commands, fmt.Sprintf(`ea_get -f %s/%d.%d <%d> %q`, d.dir, number, i, number, name))
		}
	}
	d.batch(commands)

	links := map[int]uint32{}
	var entries []tree.Entry
	for _, at := range found {
		e := d.entry(at.number, stats[at.number])
		e.Path = at.path
		if e.Type != tree.Directory && !strings.Contains(stats[at.number], "Links: 1 ") {
			if links[at.number] == 0 {
				links[at.number] = uint32(len(links) + 1)
			}
			e.Link = links[at.number]
		}
		entries = append(entries, e)
	}
	tr, err := tree.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// debugfs runs batches of commands.
type debugfs struct {
	t     testing.TB
	image string
	dir   string // for dumped files
}

var (
	listing   = regexp.MustCompile(`/(\d+)/(\d+)/-?\d+/-?\d+/([^/]+)/\d*/\n`)
	statLine  = regexp.MustCompile(`Type: (.+?)\s+Mode:\s+(\d+)`)
	userLine  = regexp.MustCompile(`User:\s*(-?\d+)\s+Group:\s*(-?\d+)\s+(?:Project:\s*\d+\s+)?Size: (\d+)`)
	mtimeLine = regexp.MustCompile(`mtime: 0x([0-9a-f]+):([0-9a-f]+)`)
	device    = regexp.MustCompile(`Device major/minor number: (\d+):(\d+)`)
	fastLink  = regexp.MustCompile(`(?s)Fast link dest: "(.*)"\n`)
	attribute = regexp.MustCompile(`(?m)^  ((?:user|system|security|trusted)\.\S+) \(\d+\)`)
)

func xattrNames(stat string) []string {
	_, list, _ := strings.Cut(stat, "Extended attributes:\n")
	var names []string
	for _, m := range attribute.FindAllStringSubmatch(list, -1) {
		names = append(names, m[1])
	}
	return names
}

// batch runs commands and returns what each prints.
func (d *debugfs) batch(commands []string) []string {
	d.t.Helper()
	cmd := tool(d.t, "e2fsprogs", "debugfs", "-f", "-", d.image)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		d.t.Fatalf("debugfs: %v\n%s", err, clip(errs.Bytes()))
	}
	if lines := strings.SplitN(errs.String(), "\n", 2); len(lines) > 1 && lines[1] != "" {
		d.t.Fatalf("debugfs: %s", clip([]byte(lines[1])))
	}
	parts := strings.Split("\n"+out.String(), "\ndebugfs: ")[1:]
	if len(parts) != len(commands) {
		d.t.Fatalf("debugfs answered %d of %d commands:\n%s", len(parts), len(commands), clip(out.Bytes()))
	}
	for i := range parts {
		_, parts[i], _ = strings.Cut(parts[i]+"\n", "\n")
	}
	return parts
}

// entry turns what stat prints, and the dumped files, into an entry.
func (d *debugfs) entry(number int, out string) tree.Entry {
	t := d.t
	t.Helper()
	match := func(r *regexp.Regexp) []string {
		m := r.FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("debugfs stat printed %q", out)
		}
		return m
	}
	kinds := map[string]tree.Type{"regular": tree.Regular, "directory": tree.Directory, "symlink": tree.Symlink, "character special": tree.CharDevice,
		"block special": tree.BlockDevice, "FIFO": tree.FIFO, "socket": tree.Socket}
	m := match(statLine)
	mode, err := strconv.ParseUint(m[2], 8, 32)
	if err != nil {
		t.Fatal(err)
	}
	e := tree.Entry{Type: kinds[m[1]], Mode: uint32(mode)}
	m = match(userLine)
	e.UID, e.GID = uint32(atoi(t, m[1])), uint32(atoi(t, m[2])) // debugfs prints large ids as negative
	size := int64(atoi(t, m[3]))
	m = match(mtimeLine)
	seconds, err1 := strconv.ParseUint(m[1], 16, 32)
	extra, err2 := strconv.ParseUint(m[2], 16, 32)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	e.MTime = tree.Time{Sec: int64(int32(seconds)) + int64(extra%4)<<32, Nsec: uint32(extra / 4)}
	dumped := func(name string) []byte {
		p, err := os.ReadFile(filepath.Join(d.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	switch e.Type {
	case tree.Regular:
		p := dumped(strconv.Itoa(number))
		e.Size, e.Digest = size, store.Sum(p)
	case tree.Symlink:
		if m := fastLink.FindStringSubmatch(out); m != nil {
			e.Target = m[1]
		} else {
			e.Target = string(dumped(strconv.Itoa(number)))
		}
	case tree.CharDevice, tree.BlockDevice:
		m := match(device)
		e.Major, e.Minor = uint32(atoi(t, m[1])), uint32(atoi(t, m[2]))
	}
	for i, name := range xattrNames(out) {
		value := dumped(fmt.Sprintf("%d.%d", number, i))
		if strings.HasPrefix(name, "system.posix_acl") {
			// libext2fs leaves the ids of entries that have none zero, the kernel all ones.
			for p := value[4:]; len(p) >= 8; p = p[8:] {
				if hasID, err := aclTagHasID(binary.LittleEndian.Uint16(p)); err == nil && !hasID {
					binary.LittleEndian.PutUint32(p[4:], aclUndefinedID)
				}
			}
		}
		e.Xattrs = append(e.Xattrs, tree.Xattr{Name: name, Value: value})
	}
	sortXattrs(e.Xattrs)
	return e
}

func atoi(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
