package deb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
	"github.com/imagefactory/imagefactory/stages/tree/tarball"
)

// A tarItem is one entry of an archive under test.
type tarItem struct {
	tar.Header
	body string
}

func file(name, body string) tarItem {
	return tarItem{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(body))}, body}
}

func dir(name string) tarItem {
	return tarItem{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}}
}

func symlink(name, target string) tarItem {
	return tarItem{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}}
}

func hardlink(name, target string) tarItem {
	return tarItem{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}}
}

func device(name string, kind byte, major, minor int64) tarItem {
	return tarItem{Header: tar.Header{Typeflag: kind, Name: name, Mode: 0o600, Devmajor: major, Devminor: minor}}
}

// archive returns a tar archive of items.
func archive(t testing.TB, items ...tarItem) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, item := range items {
		if err := w.WriteHeader(&item.Header); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, item.body)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A rawMember is one member of an ar archive under test.
type rawMember struct {
	name string
	data []byte
}

// arArchive returns an ar archive of members.
func arArchive(members ...rawMember) []byte {
	out := []byte(arMagic)
	for _, m := range members {
		out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		out = append(out, m.data...)
		if len(m.data)%2 == 1 {
			out = append(out, '\n')
		}
	}
	return out
}

const testControl = "Package: sample\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: test\n"

// debFile returns an uncompressed package of data items.
func debFile(t testing.TB, data []byte) []byte {
	t.Helper()
	control := archive(t, dir("./"), file("./control", testControl))
	return arArchive(rawMember{"debian-binary", []byte("2.0\n")}, rawMember{"control.tar", control}, rawMember{"data.tar", data})
}

func newStore(t testing.TB) (st *store.Store, dir string) {
	t.Helper()
	dir = t.TempDir()
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st, dir
}

// storeFiles lists everything in a store's directory but its lock.
func storeFiles(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "lock" {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func writeFile(t testing.TB, name string, p []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, p, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// unpackBytes unpacks a package and returns its tree.
func unpackBytes(t *testing.T, p []byte) (*Unpacked, *tree.Tree, *store.Store) {
	t.Helper()
	st, _ := newStore(t)
	u, err := Unpack(t.Context(), st, writeFile(t, "sample_1_all.deb", p))
	if err != nil {
		t.Fatal(err)
	}
	tr, err := tree.Load(st, u.Tree)
	if err != nil {
		t.Fatal(err)
	}
	return u, tr, st
}

func TestUnpackEntries(t *testing.T) {
	mtime := time.Unix(1700000000, 123456789)
	long := strings.Repeat("n", 255)
	items := []tarItem{
		dir("./"),
		dir("./usr/"),
		{tar.Header{Typeflag: tar.TypeReg, Name: "./usr/setuid", Mode: 0o104755, Uid: 3_000_000_000, Gid: 42, Uname: "daemon", Size: 4, ModTime: mtime, Format: tar.FormatPAX}, "body"},
		file("./usr/empty", ""),
		hardlink("./usr/second", "./usr/setuid"),
		hardlink("./usr/third", "./usr/second"),
		symlink("./usr/link", "../../../etc/shadow"), // only data; nothing follows it
		hardlink("./usr/link2", "./usr/link"),
		device("./usr/null", tar.TypeChar, 1, 3),
		device("./usr/sda", tar.TypeBlock, 8, 1<<20-1),
		{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "./usr/fifo", Mode: 0o600}},
		file("./usr/"+long, "long name"),
		file("./deep/without/parents", "x"),
		{Header: tar.Header{Typeflag: tar.TypeDir, Name: "./usr/old", Mode: 0o1777, ModTime: time.Unix(-5, 0)}},
		{Header: tar.Header{Typeflag: tar.TypeReg, Name: "./usr/future", Mode: 0o644, ModTime: time.Unix(1<<33, 0)}},
		{tar.Header{Typeflag: tar.TypeReg, Name: "./usr/caps", Mode: 0o755, Size: 1, PAXRecords: map[string]string{
			"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
			"SCHILY.xattr.user.empty":          "",
			"RHT.security.selinux":             "system_u:object_r:bin_t:s0",
			"SCHILY.acl.access":                "user::rwx,user:lisa:r-x:1000,group::r-x,mask::r-x,other::r--",
		}}, "c"},
	}
	u, tr, st := unpackBytes(t, debFile(t, archive(t, items...)))

	regular := func(path, body string) tree.Entry {
		return tree.Entry{Path: path, Type: tree.Regular, Mode: 0o644, Digest: store.Sum([]byte(body)), Size: int64(len(body))}
	}
	setuid := regular("usr/setuid", "body")
	setuid.Mode, setuid.UID, setuid.GID, setuid.Link = 0o4755, 3_000_000_000, 42, 2
	setuid.MTime = tree.Time{Sec: 1700000000, Nsec: 123456789}
	second, third := setuid, setuid
	second.Path, third.Path = "usr/second", "usr/third"
	link := tree.Entry{Path: "usr/link", Type: tree.Symlink, Mode: 0o777, Target: "../../../etc/shadow", Link: 1}
	link2 := link
	link2.Path = "usr/link2"
	future := regular("usr/future", "")
	future.MTime.Sec = 1 << 33
	caps := regular("usr/caps", "c")
	caps.Mode = 0o754 // as the ACL says
	caps.Xattrs = []tree.Xattr{
		{Name: "security.capability", Value: []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")},
		{Name: "security.selinux", Value: []byte("system_u:object_r:bin_t:s0")},
		{Name: "system.posix_acl_access", Value: []byte("\x02\x00\x00\x00" +
			"\x01\x00\x07\x00\xff\xff\xff\xff" + "\x02\x00\x05\x00\xe8\x03\x00\x00" + "\x04\x00\x05\x00\xff\xff\xff\xff" +
			"\x10\x00\x05\x00\xff\xff\xff\xff" + "\x20\x00\x04\x00\xff\xff\xff\xff")},
		{Name: "user.empty", Value: []byte{}},
	}
	directory := func(path string) tree.Entry { return tree.Entry{Path: path, Type: tree.Directory, Mode: 0o755} }
	want, err := tree.New([]tree.Entry{
		directory("."), directory("usr"), directory("deep"), directory("deep/without"),
		{Path: "usr/old", Type: tree.Directory, Mode: 0o1777, MTime: tree.Time{Sec: -5}},
		regular("deep/without/parents", "x"), regular("usr/empty", ""), regular("usr/"+long, "long name"),
		setuid, second, third, link, link2, future, caps,
		{Path: "usr/null", Type: tree.CharDevice, Mode: 0o600, Major: 1, Minor: 3},
		{Path: "usr/sda", Type: tree.BlockDevice, Mode: 0o600, Major: 8, Minor: 1<<20 - 1},
		{Path: "usr/fifo", Type: tree.FIFO, Mode: 0o600},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range tree.Diff(want, tr) {
		t.Errorf("%s: want %+v\nhave %+v", change.Path, change.Before, change.After)
	}
	if u.Files != 13 || u.InstalledBytes != 4+9+1+1 {
		t.Errorf("%d files with %d bytes", u.Files, u.InstalledBytes)
	}
	for _, e := range tr.Entries() {
		if e.Type == tree.Regular {
			if p, err := st.ReadAll(e.Digest); err != nil || int64(len(p)) != e.Size {
				t.Errorf("%s: %d bytes in the store, %v", e.Path, len(p), err)
			}
		}
	}
	// The value survives its cache.
	p, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	var back Unpacked
	if err := json.Unmarshal(p, &back); err != nil || !reflect.DeepEqual(&back, u) {
		t.Errorf("after JSON: %+v, %v", back, err)
	}
}

// tool returns an error message for a test that needs a program.
func tool(t testing.TB, name, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("this test needs %s: run `make test`, or install the package %s", name, pkg)
	}
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return string(out)
}

// Packages built by dpkg-deb with every compression are what dpkg-deb says they
// are.
func TestUnpackLikeDpkg(t *testing.T) {
	tool(t, "dpkg-deb", "dpkg")
	root := t.TempDir()
	write := func(name, body string, mode os.FileMode) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
		os.Chmod(path, mode)
	}
	write("DEBIAN/control", testControl, 0o644)
	write("DEBIAN/postinst", "#!/bin/sh\n", 0o755)
	write("DEBIAN/conffiles", "/etc/sample.conf\n", 0o644)
	write("etc/sample.conf", "setting\n", 0o640)
	write("usr/bin/sample", strings.Repeat("machine code ", 100_000), 0o755)
	write("usr/share/doc/"+strings.Repeat("very-long-name/", 12)+"README", "text", 0o644)
	write("usr/share/odd name\twith\\things", "", 0o644)
	if err := os.Symlink("sample", filepath.Join(root, "usr/bin/alias")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(root, "usr/bin/sample"), filepath.Join(root, "usr/bin/twin")); err != nil {
		t.Fatal(err)
	}
	for _, compression := range []string{"none", "gzip", "xz", "zstd"} {
		t.Run(compression, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "sample.deb")
			run(t, "dpkg-deb", "--root-owner-group", "-Z"+compression, "--uniform-compression", "--build", root, file)
			st, _ := newStore(t)
			u, err := Unpack(t.Context(), st, file)
			if err != nil {
				t.Fatal(err)
			}
			tr, err := tree.Load(st, u.Tree)
			if err != nil {
				t.Fatal(err)
			}
			out := t.TempDir()
			run(t, "dpkg-deb", "--extract", file, out)
			compareTree(t, st, tr, out)
			if got := run(t, "dpkg-deb", "--info", file, "postinst"); string(u.Control["postinst"]) != got {
				t.Errorf("postinst is %q, dpkg-deb says %q", u.Control["postinst"], got)
			}
			if u.ControlModes["postinst"] != 0o755 || u.ControlModes["control"] != 0o644 {
				t.Errorf("control modes %v", u.ControlModes)
			}
			sum := strings.Fields(run(t, "md5sum", filepath.Join(root, "usr/bin/sample")))[0]
			for _, want := range []string{sum + "  usr/bin/sample\n", sum + "  usr/bin/twin\n"} {
				if !strings.Contains(string(u.Control["md5sums"]), want) {
					t.Errorf("md5sums lack %q:\n%s", want, u.Control["md5sums"])
				}
			}
		})
	}
}

// compareTree compares a tree with a directory of the host.
func compareTree(t *testing.T, st *store.Store, tr *tree.Tree, root string) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		seen++
		rel, _ := filepath.Rel(root, path)
		e, ok := tr.Lookup(rel)
		if !ok {
			t.Errorf("%s is missing in the tree", rel)
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.Type() != fs.ModeSymlink && e.Mode != uint32(info.Mode().Perm()) {
			t.Errorf("%s has mode %o, want %o", rel, e.Mode, info.Mode().Perm())
		}
		if e.UID != 0 || e.GID != 0 || e.MTime.Sec != info.ModTime().Unix() && e.Type != tree.Directory {
			t.Errorf("%s is %+v, want %v", rel, e, info.ModTime())
		}
		switch {
		case d.Type().IsRegular():
			want, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if got, err := st.ReadAll(e.Digest); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s has other contents (%v)", rel, err)
			}
		case d.Type() == fs.ModeSymlink:
			if want, _ := os.Readlink(path); e.Target != want {
				t.Errorf("%s points to %q, want %q", rel, e.Target, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen != tr.Len() {
		t.Errorf("the tree has %d entries, the directory %d", tr.Len(), seen)
	}
	twin, _ := tr.Lookup("usr/bin/twin")
	if twin.Link == 0 {
		t.Error("usr/bin/twin is no hard link")
	}
}

// A package with md5sums keeps its own.
func TestUnpackKeepsMD5Sums(t *testing.T) {
	control := archive(t, file("control", testControl), file("md5sums", "0  usr/x\n"))
	p := arArchive(rawMember{"debian-binary", []byte("2.0\n")}, rawMember{"_gpgorigin", []byte("odd")},
		rawMember{"control.tar/", control}, rawMember{"data.tar", archive(t, file("./x", "1"))}, rawMember{"_signature", nil}, rawMember{"anything", nil})
	u, _, _ := unpackBytes(t, p)
	if string(u.Control["md5sums"]) != "0  usr/x\n" {
		t.Errorf("md5sums is %q", u.Control["md5sums"])
	}
}

func TestUnpackNoFiles(t *testing.T) {
	_, tr, _ := unpackBytes(t, debFile(t, archive(t)))
	if tr.Len() != 1 {
		t.Errorf("%d entries", tr.Len())
	}
}

func gzipped(p []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(p)
	w.Close()
	return out.Bytes()
}

// patchTar changes bytes of the first header of an archive and mends its checksum.
func patchTar(p []byte, at int, with string) []byte {
	p = bytes.Clone(p)
	copy(p[at:], with)
	copy(p[148:156], "        ")
	sum := 0
	for _, c := range p[:512] {
		sum += int(c)
	}
	copy(p[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return p
}

// Every hostile package is refused with an error that names the package and the
// member or entry, and leaves nothing in the store.
func TestUnpackHostile(t *testing.T) {
	good := archive(t, file("./a", "contents of a"))
	many := func(n int, item func(i int) tarItem) []byte {
		var items []tarItem
		for i := range n {
			items = append(items, item(i))
		}
		return archive(t, items...)
	}
	xattr := func(name, value string) []byte {
		return archive(t, tarItem{tar.Header{Typeflag: tar.TypeReg, Name: "./a", PAXRecords: map[string]string{name: value}}, ""})
	}
	acl := func(text string) []byte { return xattr("SCHILY.acl.access", text) }
	xz := func(p []byte) []byte { // by the reference implementation
		tool(t, "xz", "xz-utils")
		cmd := exec.Command("xz", "-c")
		cmd.Stdin = bytes.NewReader(p)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	compressed := func(suffix string, data []byte) []byte {
		return arArchive(rawMember{"debian-binary", []byte("2.0\n")},
			rawMember{"control.tar", archive(t, file("control", testControl))}, rawMember{"data.tar" + suffix, data})
	}
	flipped := func(p []byte, at int) []byte {
		p = bytes.Clone(p)
		p[at] ^= 0x40
		return p
	}
	packed := xz(archive(t, file("./a", strings.Repeat("some text ", 1000))))
	control := func(items ...tarItem) []byte {
		return arArchive(rawMember{"debian-binary", []byte("2.0\n")}, rawMember{"control.tar", archive(t, items...)}, rawMember{"data.tar", good})
	}
	whole := debFile(t, good)

	// Small limits, so that the test does not need what the real ones allow.
	limits := limits{tarball.Limits{ContentBytes: 1 << 20, Entries: 50, MetadataBytes: 100_000, Devices: 5}, 1 << 20}

	for name, test := range map[string]struct {
		deb  []byte
		want string
	}{
		"dot dot":             {debFile(t, archive(t, file("./../etc/passwd", "x"))), `data.tar: entry "./../etc/passwd": the name "./../etc/passwd" has the element ".."`},
		"inner dot dot":       {debFile(t, archive(t, file("usr/../../x", "x"))), `has the element ".."`},
		"only dot dot":        {debFile(t, archive(t, dir("../"))), `has the element ".."`},
		"inner dot":           {debFile(t, archive(t, file("usr/./x", "x"))), `has the element "."`},
		"empty element":       {debFile(t, archive(t, file("usr//x", "x"))), `has the element ""`},
		"absolute":            {debFile(t, archive(t, file("/etc/passwd", "x"))), `the name "/etc/passwd" is absolute`},
		"absolute after dot":  {debFile(t, archive(t, file(".//etc/passwd", "x"))), `is absolute`},
		"root as a file":      {debFile(t, patchTar(archive(t, file("./x", "x")), 2, "\x00")), `"./" is the name of a directory`},
		"slash after a file":  {debFile(t, patchTar(archive(t, file("./file", "x")), 6, "/")), `has the element ""`},
		"newline":             {debFile(t, archive(t, file("a\nb", "x"))), `holds a newline or a NUL`},
		"long element":        {debFile(t, archive(t, file(strings.Repeat("n", 256), "x"))), `has an element of 256 bytes`},
		"long path":           {debFile(t, archive(t, file(strings.Repeat("a/", 2048)+"b", "x"))), `its name has 4097 bytes`},
		"below a symlink":     {debFile(t, archive(t, symlink("./lib", "/etc"), file("./lib/passwd", "x"))), `entry "lib/passwd" lies below "lib", which is not a directory`},
		"symlink afterwards":  {debFile(t, archive(t, file("./lib/passwd", "x"), symlink("./lib", "/etc"))), `lies below "lib"`},
		"below a file":        {debFile(t, archive(t, file("a", "x"), file("a/b/c", "x"))), `lies below "a"`},
		"twice":               {debFile(t, archive(t, file("./a", "1"), file("a", "2"))), `entry "a": it is in the archive twice`},
		"directory twice":     {debFile(t, archive(t, dir("./a"), dir("a/"))), `it is in the archive twice`},
		"file over symlink":   {debFile(t, archive(t, symlink("./a", "/etc/passwd"), file("./a", "2"))), `it is in the archive twice`},
		"symlink to nothing":  {debFile(t, archive(t, symlink("./a", ""))), `it is a symbolic link to nothing`},
		"long target":         {debFile(t, archive(t, symlink("./a", strings.Repeat("x", 4096)))), `its target has 4096 bytes`},
		"hardlink to missing": {debFile(t, archive(t, hardlink("./a", "./b"))), `hard link to "./b", which is not an earlier entry`},
		"hardlink forward":    {debFile(t, archive(t, hardlink("./a", "./b"), file("./b", "x"))), `which is not an earlier entry`},
		"hardlink outside":    {debFile(t, archive(t, hardlink("./a", "../../etc/shadow"))), `it is a hard link: the name "../../etc/shadow" has the element ".."`},
		"hardlink absolute":   {debFile(t, archive(t, hardlink("./a", "/etc/shadow"))), `it is a hard link: the name "/etc/shadow" is absolute`},
		"hardlink to itself":  {debFile(t, archive(t, hardlink("./a", "./a"))), `which is not an earlier entry`},
		"hardlink to a dir":   {debFile(t, archive(t, dir("./d"), hardlink("./a", "./d"))), `hard link to the directory`},
		"hardlink through a symlink": {debFile(t, archive(t, symlink("./s", "/etc"), hardlink("./a", "./s/shadow"))),
			`which is not an earlier entry`},
		"hardlink with contents": {debFile(t, patchTar(archive(t, hardlink("./a", "./b")), 124, "00000000777\x00")), `only regular files have contents`},
		"device flood":           {debFile(t, many(6, func(i int) tarItem { return device(fmt.Sprintf("./d%d", i), tar.TypeChar, 1, 3) })), `entry "./d5": it is one device too many`},
		"device number":          {debFile(t, archive(t, device("./d", tar.TypeChar, 1<<12, 0))), `no device number 4096:0`},
		"entry flood":            {debFile(t, many(51, func(i int) tarItem { return file(fmt.Sprintf("./f%d", i), "") })), `more than 50 entries`},
		"parent flood":           {debFile(t, archive(t, file(strings.Repeat("a/", 60)+"b", "x"))), `more than 50 entries`},
		"name flood":             {debFile(t, many(40, func(i int) tarItem { return file(strings.Repeat("n/", 1500)+fmt.Sprint(i), "") })), `need more than 100000 bytes`},
		"size of the disk":       {debFile(t, patchTar(good, 124, "77777777777\x00")), `it claims 8589934591 bytes`},
		"size beyond all disks":  {debFile(t, patchTar(good, 124, "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff")), `it claims 9223372036854775807 bytes`},
		"negative size":          {debFile(t, patchTar(good, 124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")), `it is not a valid tar header`},
		"size beyond the end":    {debFile(t, patchTar(good, 124, "00000777777\x00")), `entry "./a": the archive ends in the middle of it`},
		"wrong checksum":         {debFile(t, flipped(good, 5)), `it is not a valid tar header`},
		"cut in a header":        {debFile(t, good[:300]), `the header after entry ""`},
		"cut in contents":        {debFile(t, good[:515]), `entry "./a": the archive ends in the middle of it`},
		"no end mark":            {debFile(t, good[:1024]), `the archive ends after entry "./a" without its end mark`},
		"half an end mark":       {debFile(t, good[:1536]), `without its end mark`},
		"empty tar":              {debFile(t, nil), `without its end mark`},
		"hidden second archive":  {debFile(t, append(bytes.Clone(good), good...)), `data after the end of the tar archive`},
		"sparse":                 {debFile(t, patchTar(archive(t, tarItem{tar.Header{Typeflag: tar.TypeReg, Name: "./a", Format: tar.FormatGNU}, ""}), 156, "S")), `GNU sparse file`},
		"pax sparse":             {debFile(t, archive(t, tarItem{tar.Header{Typeflag: tar.TypeReg, Name: "./a"}, ""})), ""}, // replaced below
		"multi volume":           {debFile(t, patchTar(good, 156, "M")), `entries of tar type 'M' have no place`},
		"volume label":           {debFile(t, patchTar(archive(t, file("./a", "")), 156, "V")), `entries of tar type 'V'`},
		"global pax":             {debFile(t, archive(t, tarItem{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"path": "x"}}})), `entries of tar type 'g'`},
		"user id":                {debFile(t, archive(t, tarItem{Header: tar.Header{Typeflag: tar.TypeDir, Name: "./a", Uid: 1<<32 - 1}})), `its owner 4294967295 is not`},
		"xattr name":             {debFile(t, xattr("SCHILY.xattr.com.example.x", "1")), `its extended attribute "com.example.x": there is no such name space on Linux`},
		"xattr empty name":       {debFile(t, xattr("SCHILY.xattr.user.", "1")), `there is no such name space on Linux`},
		"xattr size":             {debFile(t, xattr("SCHILY.xattr.user.x", strings.Repeat("v", 65537))), `its value has 65537 bytes`},
		"acl binary":             {debFile(t, xattr("SCHILY.xattr.system.posix_acl_access", "\x02\x00\x00\x00junk")), `it is not an ACL of version 2`},
		"acl by name":            {debFile(t, acl("user::rwx,user:lisa:r-x,group::r-x,mask::r-x,other::r--")), `names a user or group without a numeric id`},
		"acl without mask":       {debFile(t, acl("user::rwx,user:1:r-x,group::r-x,other::r--")), `it needs exactly one mask`},
		"acl twice":              {debFile(t, acl("user::rwx,user::rwx,group::r-x,other::r--")), `one is there twice`},
		"acl nonsense":           {debFile(t, acl("all your base")), `it is not of the form kind:id:permissions`},

		"bomb":             {compressed(".gz", gzipped(archive(t, file("./a", strings.Repeat("\x00", 1<<20))))), `data.tar.gz: entry "./a": it decompresses to more than 1048576 bytes`},
		"bomb behind":      {compressed(".gz", gzipped(append(bytes.Clone(good), make([]byte, 2<<20)...))), `it decompresses to more than 1048576 bytes`},
		"xz cut":           {compressed(".xz", packed[:len(packed)-30]), `the compressed data is damaged or cut short`},
		"xz without end":   {compressed(".xz", packed[:len(packed)-12]), `the compressed data is damaged or cut short`},
		"xz damaged":       {compressed(".xz", flipped(packed, len(packed)/2)), `the compressed data is damaged or cut short`},
		"xz checksum":      {compressed(".xz", flipped(packed, len(packed)-32)), `the compressed data is damaged or cut short`},
		"not xz":           {compressed(".xz", []byte("nothing")), `data.tar.xz: `},
		"not gzip":         {compressed(".gz", nil), `data.tar.gz: `},
		"not zstd":         {compressed(".zst", []byte("nothing at all")), `data.tar.zst: `},
		"unknown":          {compressed(".rar", good), `data.tar.rar: the compression ".rar" is not known`},
		"lzma":             {compressed(".lzma", []byte("nothing at all")), `data.tar.lzma: `},
		"empty":            {nil, `it is too short to be an ar archive`},
		"not ar":           {[]byte("PK\x03\x04 and so on"), `it is not an ar archive`},
		"cut in ar header": {whole[:100], `it ends inside the member header at byte 72`},
		"cut in member":    {whole[:len(whole)-512], `member "data.tar" claims 2048 bytes, but only 1536 follow`},
		"rpm":              {arArchive(rawMember{"something", nil}), `its first member is not debian-binary`},
		"ar names":         {arArchive(rawMember{"../debian-binary", []byte("2.0\n")}), `is not a member name`},
		"ar size":          {bytes.Replace(whole, []byte("100644  4         `"), []byte("100644  -4        `"), 1), `"-4" is not a size`},
		"ar huge size":     {bytes.Replace(whole, []byte("100644  4         `"), []byte("100644  9999999999`"), 1), `claims 9999999999 bytes`},
		"version 3":        {arArchive(rawMember{"debian-binary", []byte("3.0\n")}), `its package format is "3.0"`},
		"long version":     {arArchive(rawMember{"debian-binary", make([]byte, 2000)}), `debian-binary has 2000 bytes`},
		"no control":       {arArchive(rawMember{"debian-binary", []byte("2.0\n")}), `it has no control.tar member`},
		"data first":       {arArchive(rawMember{"debian-binary", []byte("2.0\n")}, rawMember{"data.tar", good}), `member "data.tar" is not expected here`},
		"no data":          {whole[:len(whole)-len(good)-60], `it has no data.tar member`},
		"control twice": {arArchive(rawMember{"debian-binary", []byte("2.0\n")}, rawMember{"control.tar", good}, rawMember{"control.tar", good}),
			`member "control.tar" is not expected here`},
		"member flood":       {arArchive(make([]rawMember, 0)...), `its first member is not debian-binary`},
		"control in a dir":   {control(file("./control", testControl), file("./sub/file", "x")), `control.tar: entry "./sub/file": control information is made of regular files`},
		"control a link":     {control(symlink("./control", "/etc/passwd")), `control information is made of regular files`},
		"control file twice": {control(file("./control", testControl), file("control", "x")), `control.tar: entry "control": it is in the archive twice`},
		"control dot dot":    {control(file("../control", testControl)), `has the element ".."`},
		"no control file":    {control(file("./postinst", "x")), `control.tar: it has no control file`},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "pax sparse" {
				// archive/tar does not write it.
				test.deb = debFile(t, []byte(bytes.Replace(xattr("XNU.sparse.major", "1"), []byte("XNU.sparse"), []byte("GNU.sparse"), 1)))
				test.want = "PAX sparse file"
			}
			st, dir := newStore(t)
			_, err := unpack(t.Context(), st, writeFile(t, "sample.deb", test.deb), limits)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v\nwant   %s", err, test.want)
			}
			if left := storeFiles(t, dir); len(left) > 0 {
				t.Errorf("the store has %v", left)
			}
		})
	}

	// The same store takes a good package afterwards.
	st, _ := newStore(t)
	path := writeFile(t, "evil.deb", debFile(t, archive(t, file("./a", "1"), file("/b", "2"))))
	if _, err := Unpack(t.Context(), st, path); err == nil || !strings.HasPrefix(err.Error(), "package evil.deb: data.tar: entry \"/b\": ") {
		t.Errorf("error %v", err)
	}
	if st.Has(store.Sum([]byte("1"))) {
		t.Error("the store has contents of a package that was refused")
	}
	if _, err := Unpack(t.Context(), st, writeFile(t, "good.deb", whole)); err != nil {
		t.Error(err)
	}
}

func TestUnpackCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	st, dir := newStore(t)
	_, err := Unpack(ctx, st, writeFile(t, "a.deb", debFile(t, archive(t, file("./a", "x")))))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if left := storeFiles(t, dir); len(left) > 0 {
		t.Errorf("the store has %v", left)
	}
}

// Many members are refused before they are all read.
func TestArMemberFlood(t *testing.T) {
	p := arArchive(make([]rawMember, maxArMembers+1)...)
	p = bytes.ReplaceAll(p, []byte("                0 "), []byte("m               0 "))
	if _, err := readAr(bytes.NewReader(p), int64(len(p))); err == nil || !strings.Contains(err.Error(), "more than 64 members") {
		t.Errorf("error %v", err)
	}
}

func FuzzAr(f *testing.F) {
	f.Add(debFile(f, archive(f, file("./a", "x"))))
	f.Add(arArchive(rawMember{"debian-binary", []byte("2.0\n")}, rawMember{"_x", []byte("odd")}))
	f.Add([]byte(arMagic))
	f.Fuzz(func(t *testing.T, p []byte) {
		members, err := readAr(bytes.NewReader(p), int64(len(p)))
		if err != nil {
			return
		}
		for _, m := range members {
			if m.size < 0 || m.offset < int64(len(arMagic)) || m.offset+m.size > int64(len(p)) {
				t.Errorf("member %+v is not inside the file of %d bytes", m, len(p))
			}
		}
		findDebMembers(bytes.NewReader(p), members)
	})
}

// FuzzUnpack feeds tar archives; whatever is accepted must be a valid tree whose
// contents are in the store.
func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, dir("./"), file("./a", "x"), hardlink("./b", "./a"), symlink("./c", "a"), device("./d", tar.TypeChar, 1, 3)))
	f.Add(archive(f, tarItem{tar.Header{Typeflag: tar.TypeReg, Name: "./a", PAXRecords: map[string]string{
		"SCHILY.xattr.user.x": "1", "SCHILY.acl.access": "u::rwx,u:1:r-x,g::r-x,m::r-x,o::r--"}}, ""}))
	f.Add(archive(f, file("./"+strings.Repeat("long/", 50)+"name", "x")))
	st, _ := newStore(f)
	limits := tarball.Limits{ContentBytes: 1 << 20, Entries: 100, MetadataBytes: 1 << 20, Devices: 5}
	f.Fuzz(func(t *testing.T, p []byte) {
		batch, err := st.NewBatch()
		if err != nil {
			t.Fatal(err)
		}
		defer batch.Abort()
		im := tarball.NewImporter(batch, limits, true)
		if im.Read(&memberReader{ctx: t.Context(), r: bytes.NewReader(p), left: 1 << 20, limit: 1 << 20}) != nil {
			return
		}
		tr, err := im.Tree()
		if err != nil {
			return
		}
		if _, err := tree.Decode(tr.Encode()); err != nil {
			t.Errorf("the tree is invalid: %v", err)
		}
		for _, e := range tr.Entries() {
			if strings.Contains("/"+e.Path+"/", "/../") {
				t.Errorf("path %q", e.Path)
			}
		}
	})
}
