package rpmfile

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/distros/openpgp"
	"github.com/imagefactory/imagefactory/distros/rpm/header"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

func newStore(t testing.TB) *store.Store {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// unpackFile returns the tree of a package, which must unpack.
func unpackFile(t testing.TB, st *store.Store, path string) *tree.Tree {
	t.Helper()
	d, err := openFile(t, path).Unpack(context.Background(), st)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := tree.Load(st, d)
	if err != nil {
		t.Fatal(err)
	}
	return unpacked
}

// tool fails the test when a program is missing.
func tool(t testing.TB, program, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("this test needs %s: run `make test`, or install the package %s", program, pkg)
	}
}

// run returns what a program of rpm prints, with a configuration of its own.
func run(t testing.TB, stdin io.Reader, program string, args ...string) []byte {
	t.Helper()
	tool(t, program, "rpm")
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "LC_ALL=C", "TZ=UTC", "SOURCE_DATE_EPOCH=1600000000")
	cmd.Stdin = stdin
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, stderr.Bytes())
	}
	return out
}

// rpmbuild builds the package of a spec and returns its path.
func rpmbuild(t testing.TB, spec string, defines ...string) string {
	t.Helper()
	tool(t, "rpmbuild", "rpm")
	top := t.TempDir()
	file := filepath.Join(top, "sample.spec")
	if err := os.WriteFile(file, []byte(spec), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"-bb", "--define", "_topdir " + top, "--define", "_build_id_links none", "--define", "__os_install_post %{nil}",
		"--define", "clamp_mtime_to_source_date_epoch 1", "--define", "_rpmfilename sample.rpm"}
	for _, d := range defines {
		args = append(args, "--define", d)
	}
	run(t, nil, "rpmbuild", append(args, file)...)
	return filepath.Join(top, "RPMS", "sample.rpm")
}

const spec = `
Name: sample
Version: 1.0
Release: 1
Summary: A sample of everything a package can hold
License: MIT
BuildArch: noarch
AutoReqProv: no
%description
%{summary}.
%install
cd %{buildroot}
mkdir -p usr/bin usr/share/sample/dir usr/share/doc/sample usr/share/locale/de/LC_MESSAGES etc var/lib/sample var/log
echo hello > usr/bin/hello
ln usr/bin/hello usr/bin/again
ln usr/bin/hello usr/share/sample/third
echo one > usr/share/sample/one
ln usr/share/sample/one usr/share/sample/two
ln -s ../share/sample usr/bin/link
ln -s /nowhere/to/be/found usr/bin/dangling
echo cap > usr/bin/cap
echo cap > usr/bin/inherit
: > usr/share/sample/empty
ln usr/share/sample/empty usr/share/sample/empty2
head -c 300001 /dev/zero > usr/share/sample/zeros
seq 100000 > usr/share/sample/numbers
echo x > 'usr/share/sample/with space'
echo x > 'usr/share/sample/äöü'
echo x > 'usr/share/sample/[a]*?'
echo doc > usr/share/doc/sample/README
echo mo > usr/share/locale/de/LC_MESSAGES/sample.mo
echo conf > etc/sample.conf
mkfifo usr/share/sample/fifo
find . -exec touch -h -d @1500000000 {} +
touch -d '2009-08-07 06:05:04 UTC' usr/share/sample/one
%files
%attr(4755, root, root) /usr/bin/hello
%attr(4755, root, root) /usr/bin/again
%attr(4755, root, root) /usr/share/sample/third
%caps(cap_net_admin,cap_net_raw=ep) /usr/bin/cap
%caps(cap_setuid+i) /usr/bin/inherit
/usr/bin/link
/usr/bin/dangling
%dir /usr/share/sample
%dir %attr(2711, daemon, adm) /usr/share/sample/dir
/usr/share/sample/one
/usr/share/sample/two
/usr/share/sample/empty
/usr/share/sample/empty2
/usr/share/sample/zeros
%attr(0600, nobody, mail) /usr/share/sample/numbers
/usr/share/sample/with*
/usr/share/sample/ä*
/usr/share/sample/?a]*
/usr/share/sample/fifo
%doc /usr/share/doc/sample
%lang(de) /usr/share/locale/de/LC_MESSAGES/sample.mo
%config(noreplace) /etc/sample.conf
%dir %attr(1777, root, root) /var/lib/sample
%ghost %attr(0600, root, root) /var/log/sample.log
%dev(c, 5, 1) %attr(0622, root, tty) /dev/sampletty
%dev(b, 8, 17) %attr(0660, root, disk) /dev/sampledisk
`

// A file is what a tree and an archive say of one.
type file struct {
	kind   byte // as in tar
	mode   int64
	mtime  int64
	major  int64
	minor  int64
	target string // of a symlink
	digest store.Digest
	size   int64
	first  string // of the names of a file with several
}

// treeFiles returns the files of a tree that a package lists.
func treeFiles(t testing.TB, unpacked *tree.Tree, listed []header.File) map[string]file {
	t.Helper()
	kinds := map[tree.Type]byte{tree.Regular: tar.TypeReg, tree.Directory: tar.TypeDir, tree.Symlink: tar.TypeSymlink,
		tree.CharDevice: tar.TypeChar, tree.BlockDevice: tar.TypeBlock, tree.FIFO: tar.TypeFifo}
	names := map[string]bool{}
	for _, f := range listed {
		names[relative(f.Path)] = true
	}
	files := map[string]file{}
	links := map[uint32]string{}
	for _, e := range unpacked.Entries() {
		if e.UID != 0 || e.GID != 0 {
			t.Errorf("%s: owned by %d:%d", e.Path, e.UID, e.GID)
		}
		if !names[e.Path] {
			if e.Type != tree.Directory || e.Mode != 0o755 {
				t.Errorf("%s: %v %o that the package does not list", e.Path, e.Type, e.Mode)
			}
			continue
		}
		f := file{kind: kinds[e.Type], mode: int64(e.Mode), mtime: e.MTime.Sec, major: int64(e.Major), minor: int64(e.Minor), target: e.Target, digest: e.Digest, size: e.Size}
		if e.Link != 0 {
			if links[e.Link] == "" {
				links[e.Link] = e.Path
			}
			f.first = links[e.Link]
		}
		files[e.Path] = f
	}
	return files
}

// archiveFiles returns the files of a package as rpm unpacks it. Which of the names of
// one file the others link to is not told.
func archiveFiles(t testing.TB, path string) map[string]file {
	t.Helper()
	p, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r := tar.NewReader(bytes.NewReader(run(t, p, "rpm2archive", "--nocompression")))
	files := map[string]file{}
	groups := map[string][]string{}
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(strings.TrimSuffix(h.Name, "/"), "./")
		if h.Typeflag == tar.TypeLink {
			to := strings.TrimPrefix(h.Linkname, "./")
			groups[to] = append(groups[to], name)
			continue
		}
		f := file{kind: h.Typeflag, mode: h.Mode & 0o7777, mtime: h.ModTime.Unix(), major: h.Devmajor, minor: h.Devminor, target: h.Linkname}
		if f.kind == tar.TypeReg {
			contents, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			f.digest, f.size = store.Sum(contents), int64(len(contents))
		}
		files[name] = f
	}
	for name, others := range groups {
		names := append(others, name)
		f, first := files[name], names[0]
		for _, n := range names {
			if tree.Compare(n, first) < 0 {
				first = n
			}
		}
		f.first = first
		for _, n := range names {
			files[n] = f
		}
	}
	return files
}

// compareWithRPM unpacks a package and compares every file with what rpm makes of it.
func compareWithRPM(t *testing.T, path string) *tree.Tree {
	t.Helper()
	unpacked := unpackFile(t, newStore(t), path)
	got, want := treeFiles(t, unpacked, openFile(t, path).Header.Files()), archiveFiles(t, path)
	for name, w := range want {
		if w.kind == tar.TypeSymlink {
			w.mode = 0o777
		}
		if g, ok := got[name]; !ok || g != w {
			t.Errorf("%s: %s is\n%+v\nrpm says\n%+v", filepath.Base(path), name, g, w)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: rpm does not unpack %s", filepath.Base(path), name)
		}
	}
	// And with what rpm prints of the header.
	for line := range strings.Lines(string(run(t, nil, "rpm", "-qp", "--nosignature", "--qf", "[%{FILENAMES}\t%{LONGFILESIZES}\t%{FILEDIGESTS}\t%{FILEFLAGS}\n]", path))) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 4 || fields[0] == "(none)" {
			continue
		}
		flags, _ := strconv.Atoi(fields[3])
		e, ok := unpacked.Lookup(relative(fields[0]))
		if ghost := flags&header.FileGhost != 0; ok == ghost {
			t.Errorf("%s: %s is there: %v; %%ghost: %v", filepath.Base(path), fields[0], ok, ghost)
			continue
		}
		const sha256Length = 64
		if e.Type == tree.Regular && (strconv.FormatInt(e.Size, 10) != fields[1] || len(fields[2]) == sha256Length && hex.EncodeToString(e.Digest[:]) != fields[2]) {
			t.Errorf("%s: %s has %d bytes, %v; rpm says %v", filepath.Base(path), fields[0], e.Size, e.Digest, fields)
		}
	}
	return unpacked
}

func TestUnpackRealPackages(t *testing.T) {
	n := 0
	for _, pattern := range []string{"cavaliergopher-rpm/*.rpm", "go-rpmutils/*.rpm", "go-rpmutils/*/*.rpm", "rpm-tests/RPMS/*.rpm", "rpm-tests/RPMS/*.rpm-v3"} {
		for _, path := range realFiles(t, pattern) {
			if strings.Contains(path, "-corrupted") {
				_, err := openFile(t, path).Unpack(context.Background(), newStore(t))
				wantError(t, err, Malformed, "the cpio archive is cut short")
				continue
			}
			compareWithRPM(t, path)
			n++
		}
	}
	if n < 40 {
		t.Errorf("only %d packages", n)
	}
}

func TestUnpackEveryCompressor(t *testing.T) {
	var first store.Digest
	for _, payload := range []string{"w.ufdio", "w9.gzdio", "w9.bzdio", "w6.xzdio", "w6.lzdio", "w3.zstdio"} {
		path := rpmbuild(t, spec, "_binary_payload "+payload)
		unpacked := compareWithRPM(t, path)
		if first.IsZero() {
			first = unpacked.Digest()
		}
		if unpacked.Digest() != first {
			t.Errorf("%s: the tree differs", payload)
		}
		if _, err := openFile(t, path).Verify(context.Background(), nil, openpgp.Options{}); err != nil {
			t.Errorf("%s: %v", payload, err)
		}
	}
}

func TestUnpackSpecial(t *testing.T) {
	unpacked := compareWithRPM(t, rpmbuild(t, spec))
	for path, want := range map[string]tree.Entry{
		"usr/bin/hello":         {Type: tree.Regular, Mode: 0o4755, Link: 1},
		"usr/share/sample/dir":  {Type: tree.Directory, Mode: 0o2711},
		"usr/share/sample/fifo": {Type: tree.FIFO, Mode: 0o644},
		"var/lib/sample":        {Type: tree.Directory, Mode: 0o1777},
		"dev/sampletty":         {Type: tree.CharDevice, Mode: 0o622, Major: 5, Minor: 1},
		"dev/sampledisk":        {Type: tree.BlockDevice, Mode: 0o660, Major: 8, Minor: 17},
		"usr/bin/dangling":      {Type: tree.Symlink, Mode: 0o777, Target: "/nowhere/to/be/found"},
		"var/log":               {Type: tree.Directory, Mode: 0o755},
	} {
		e, ok := unpacked.Lookup(path)
		if path == "var/log" {
			if ok {
				t.Error("a directory is there for a file that is not")
			}
			continue
		}
		if !ok || e.Type != want.Type || e.Mode != want.Mode || e.Major != want.Major || e.Minor != want.Minor || e.Target != want.Target || (e.Link != 0) != (want.Link != 0) {
			t.Errorf("%s: %+v, want %+v", path, e, want)
		}
	}
	if e, _ := unpacked.Lookup("usr/share/sample/one"); e.MTime != (tree.Time{Sec: 1249625104}) {
		t.Errorf("time %+v", e.MTime)
	}
	for path, text := range map[string]string{"usr/bin/cap": "cap_net_admin,cap_net_raw=ep", "usr/bin/inherit": "cap_setuid+i"} {
		e, _ := unpacked.Lookup(path)
		if len(e.Xattrs) != 1 || e.Xattrs[0].Name != "security.capability" || !bytes.Equal(e.Xattrs[0].Value, kernelCapabilities(t, text)) {
			t.Errorf("%s: %x, the kernel has %x", path, e.Xattrs, kernelCapabilities(t, text))
		}
	}
}

// kernelCapabilities returns the attribute that setcap sets for a text.
func kernelCapabilities(t testing.TB, text string) []byte {
	t.Helper()
	tool(t, "setcap", "libcap2-bin")
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("setcap", text, name).CombinedOutput(); err != nil {
		t.Fatalf("setcap %s: %v: %s", text, err, out)
	}
	value := make([]byte, 64)
	n, err := unix.Getxattr(name, "security.capability", value)
	if err != nil {
		t.Fatal(err)
	}
	return value[:n]
}

func TestParseCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("setcap needs root")
	}
	for _, text := range []string{"cap_chown=ep", "cap_net_bind_service,cap_sys_nice+eip", "cap_chown=p cap_kill+p", "cap_chown,cap_kill=eip cap_kill-i",
		"= cap_setgid+ep", "CAP_SYS_ADMIN=ep", "cap_checkpoint_restore=ep", "cap_audit_read,cap_bpf=i", "cap_chown+p-p+i", "cap_dac_override=pe", "12=ep", "=p cap_chown-p"} {
		got, err := parseCapabilities(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if want := kernelCapabilities(t, text); !bytes.Equal(got, want) {
			t.Errorf("%q: %x, the kernel has %x", text, got, want)
		}
	}
	for _, text := range []string{"", "=", "cap_chown=", "cap_chown+p-p"} {
		if got, err := parseCapabilities(text); got != nil || err != nil {
			t.Errorf("%q: %x, %v", text, got, err)
		}
	}
	for _, text := range []string{"cap_chown", "cap_nothing=ep", "cap_chown=x", "cap_chown+", "+ep", "cap_chown,=p", "64=p", "cap_chown+p=e", "cap_chown=ep cap_kill=p"} {
		if got, err := parseCapabilities(text); err == nil {
			t.Errorf("%q gives %x", text, got)
		}
		if err := exec.Command("setcap", text, os.DevNull).Run(); err == nil {
			t.Errorf("setcap accepts %q", text)
		}
	}
}

// manyFiles has a file of every kind that cpio makes a difference of.
func manyFiles() []testFile {
	return []testFile{
		{path: "/", mode: 0o040755},
		{path: "/dev", mode: 0o040755},
		{path: "/dev/console", mode: 0o020600},
		{path: "/usr", mode: 0o040755},
		{path: "/usr/bin", mode: 0o040755},
		{path: "/usr/bin/a", mode: 0o100755, contents: "linked", ino: 7},
		{path: "/usr/bin/b", mode: 0o100755, contents: "linked", ino: 7},
		{path: "/usr/bin/c", mode: 0o100755, contents: "alone"},
		{path: "/usr/bin/d", mode: 0o120777, contents: "../bin/a"},
		{path: "/usr/bin/e", mode: 0o100644, contents: ""},
		{path: "/usr/bin/f", mode: 0o010644},
		{path: "/usr/bin/g", mode: 0o100644, contents: "not there", flags: header.FileGhost, absent: true},
	}
}

// The three forms of cpio are one tree, which rpm unpacks, too.
func TestUnpackForms(t *testing.T) {
	scattered := append(manyFiles(), testFile{path: "/usr/bin/h", mode: 0o100755, contents: "linked", ino: 7})
	for _, files := range [][]testFile{manyFiles(), scattered} {
		var digests []store.Digest
		for name, p := range map[string]testPackage{"newc": {}, "crc": {crc: true}, "stripped": {stripped: true}} {
			p.files = files
			path := writePackage(t, p.bytes(t))
			st := newStore(t)
			unpacked := unpackFile(t, st, path)
			digests = append(digests, unpacked.Digest())
			if digests[0] != unpacked.Digest() {
				t.Errorf("%s: the tree differs", name)
			}
			a, _ := unpacked.Lookup("usr/bin/a")
			b, _ := unpacked.Lookup("usr/bin/b")
			if a.Link == 0 || a.Link != b.Link || a.Digest != store.Sum([]byte("linked")) {
				t.Errorf("%s: the links are %+v and %+v", name, a, b)
			}
			if _, ok := unpacked.Lookup("usr/bin/g"); ok {
				t.Errorf("%s: a ghost is there", name)
			}
			if contents, err := st.ReadAll(a.Digest); err != nil || string(contents) != "linked" {
				t.Errorf("%s: contents %q, %v", name, contents, err)
			}
			// rpm 4.18 reads no crc, and its archiver loses what lies between links.
			if !p.crc && len(files) < len(scattered) {
				compareWithRPM(t, path)
			}
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	one := func(f testFile) []testFile { return append(manyFiles(), f) }
	replace := func(old, new string) func([]byte) []byte {
		return func(p []byte) []byte {
			if !bytes.Contains(p, []byte(old)) {
				t.Fatalf("the archive has no %q", old)
			}
			return bytes.Replace(p, []byte(old), []byte(new), 1)
		}
	}
	for name, test := range map[string]struct {
		p    testPackage
		text string
	}{
		"other contents":   {testPackage{files: one(testFile{path: "/usr/x", mode: 0o100644, contents: "x"}), payload: replace("alone", "other")}, "/usr/bin/c: its digest is"},
		"odd digest":       {testPackage{files: one(testFile{path: "/usr/x", mode: 0o100644, contents: "x", digest: "zz"})}, "/usr/x: its digest is"},
		"longer":           {testPackage{files: one(testFile{path: "/usr/x", mode: 0o100644, contents: "four", size: 3})}, "/usr/x: it has 4 bytes, but 3 in the header"},
		"shorter":          {testPackage{files: one(testFile{path: "/usr/x", mode: 0o100644, contents: "four", size: 5})}, "/usr/x: it has 4 bytes, but 5 in the header"},
		"missing":          {testPackage{files: one(testFile{path: "/usr/x", mode: 0o100644, contents: "x", absent: true})}, "it lacks /usr/x, which the header lists"},
		"missing stripped": {testPackage{files: one(testFile{path: "/usr/x", mode: 0o100644, contents: "x", absent: true}), stripped: true}, "it lacks /usr/x"},
		"extra":            {testPackage{files: manyFiles(), payload: replace("./usr/bin/c", "./usr/bin/x")}, `it holds "./usr/bin/x", which the header does not list`},
		"outside":          {testPackage{files: manyFiles(), payload: replace("./usr/bin/c", "../../bin/c")}, `it holds "../../bin/c", which the header does not list`},
		"twice":            {testPackage{files: manyFiles(), payload: replace("./usr/bin/c", "./usr/bin/a")}, "it holds /usr/bin/a twice"},
		"ghost":            {testPackage{files: one(testFile{path: "/usr/x", mode: 0o100644, contents: "x", flags: header.FileGhost})}, "which the header says is not in it (%ghost)"},
		"traversal":        {testPackage{files: one(testFile{path: "/usr/../etc/x", mode: 0o100644})}, `the path "/usr/../etc/x" in its header cannot be`},
		"double slash":     {testPackage{files: one(testFile{path: "/usr//x", mode: 0o100644})}, "cannot be"},
		"relative":         {testPackage{files: one(testFile{path: "usr/x", mode: 0o100644})}, "is not absolute"},
		"header twice":     {testPackage{files: one(testFile{path: "/usr/bin/a", mode: 0o100644})}, "/usr/bin/a is twice in its header"},
		"below a file":     {testPackage{files: one(testFile{path: "/usr/bin/c/x", mode: 0o100644})}, "/usr/bin/c/x: /usr/bin/c is not a directory"},
		"below a link":     {testPackage{files: one(testFile{path: "/usr/bin/d/x", mode: 0o100644})}, "is not a directory"},
		"other target":     {testPackage{files: manyFiles(), payload: replace("../bin/a", "/etc/pwd")}, `/usr/bin/d: it links to "/etc/pwd", but to "../bin/a" in the header`},
		"other type":       {testPackage{files: manyFiles(), payload: replace("000081ED", "000041ED")}, "/usr/bin/a has the mode 40755, but 100755 in the header"},
		"no type":          {testPackage{files: one(testFile{path: "/usr/x", mode: 0o644}), stripped: true}, "its mode 644 is of no known kind of file"},
		"odd capabilities": {testPackage{files: one(testFile{path: "/usr/x", mode: 0o100644, caps: "cap_fly=ep"})}, `/usr/x: the capabilities "cap_fly=ep" cannot be read: there is no capability "cap_fly"`},
		"links unlike":     {testPackage{files: one(testFile{path: "/usr/x", mode: 0o100600, contents: "linked", ino: 7})}, "hard link"},
		"no magic":         {testPackage{files: manyFiles(), payload: replace(magicNewc, "070707")}, `"070707" is not the beginning of a cpio entry`},
		"odd number":       {testPackage{files: manyFiles(), payload: replace("000003E8", "+00003E8")}, `"+00003E8" is not a number`},
		"sum":              {testPackage{files: manyFiles(), crc: true, payload: replace("alone", "alonf")}, "/usr/bin/c: its digest is"},
		"data behind":      {testPackage{files: manyFiles(), payload: func(p []byte) []byte { return append(p, 'x') }}, "there is data after the end of the cpio archive"},
		"no trailer":       {testPackage{files: manyFiles(), payload: func(p []byte) []byte { return p[:len(p)-124] }}, "the cpio archive is cut short"},
		"cut":              {testPackage{files: manyFiles(), payload: func(p []byte) []byte { return p[:len(p)-200] }}, "the cpio archive is cut short"},
		"index":            {testPackage{files: manyFiles(), stripped: true, payload: replace("07070X00000006", "07070X000000FF")}, "an entry is of file 255, but the header has 12 files"},
		"bomb":             {testPackage{files: manyFiles(), payload: func(p []byte) []byte { return append(p, make([]byte, 2<<20)...) }}, "it decompresses to more than the header says"},
		"format":           {testPackage{files: manyFiles(), entries: []header.Entry{header.StringEntry(header.TagPayloadFormat, "drpm")}}, `it is of the format "drpm" instead of cpio`},
		"compressor":       {testPackage{files: manyFiles(), entries: []header.Entry{header.StringEntry(header.TagPayloadCompressor, "rar")}}, `its payload is compressed with "rar", which is not known`},
		"other compressor": {testPackage{files: manyFiles(), entries: []header.Entry{header.StringEntry(header.TagPayloadCompressor, "xz")}}, "its payload cannot be"},
		"digest kind":      {testPackage{files: manyFiles(), entries: []header.Entry{header.Uint32sEntry(header.TagFileDigestAlgo, 3)}}, "digests of the unknown kind 3"},
		"source":           {testPackage{files: manyFiles(), without: []header.Tag{header.TagSourceRPM}}, "it is a source package, which cannot be installed"},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStore(t)
			_, err := openFile(t, writePackage(t, test.p.bytes(t))).Unpack(context.Background(), st)
			wantError(t, err, Malformed, test.text)
			if size, err := st.Size(); err != nil || size != 0 {
				t.Errorf("%d bytes are in the store, %v", size, err)
			}
		})
	}
}

// Directories may be listed more than once; rpm installs such packages, though its
// archiver does not take them.
func TestUnpackDirectoryTwice(t *testing.T) {
	for _, stripped := range []bool{false, true} {
		p := testPackage{stripped: stripped, files: append(manyFiles(), testFile{path: "/usr/bin", mode: 0o040755}, testFile{path: "/usr/bin", mode: 0o040755})}
		if unpacked := unpackFile(t, newStore(t), writePackage(t, p.bytes(t))); unpacked.Len() != len(manyFiles())-1 {
			t.Errorf("the tree has %d entries", unpacked.Len())
		}
		p.files[len(p.files)-1].mode = 0o040700
		_, err := openFile(t, writePackage(t, p.bytes(t))).Unpack(context.Background(), newStore(t))
		wantError(t, err, Malformed, "/usr/bin is twice in its header")
	}
}

func TestUnpackStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f := openFile(t, writePackage(t, (&testPackage{files: manyFiles()}).bytes(t)))
	if _, err := f.Unpack(ctx, newStore(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// LeftOut is compared with what rpm installs.
func TestLeftOut(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("rpm installs into another root only as root")
	}
	path := rpmbuild(t, `
Name: sample
Version: 1.0
Release: 1
Summary: A sample
License: MIT
BuildArch: noarch
AutoReqProv: no
%description
%{summary}.
%install
cd %{buildroot}
mkdir -p usr/share/doc/sample/more usr/share/sample/de usr/share/sample/all
for l in C de de_AT en pt_BR; do echo $l > usr/share/sample/$l.mo; done
mkdir -p usr/share/sample/nest/inner usr/share/sample/both/inner
touch usr/share/sample/nest/inner/x usr/share/sample/both/inner/x usr/share/sample/both/y usr/share/sample/de/only usr/share/doc/sample/README usr/share/doc/sample/more/x usr/share/sample/kept usr/share/sample/all/both
%files
%dir /usr/share/sample
%dir /usr/share/sample/de
%dir /usr/share/sample/all
/usr/share/sample/C.mo
/usr/share/sample/kept
%lang(de) /usr/share/sample/de.mo
%lang(de_AT) /usr/share/sample/de_AT.mo
%lang(en) /usr/share/sample/en.mo
%lang(pt_BR) /usr/share/sample/pt_BR.mo
%lang(de) /usr/share/sample/de/only
/usr/share/sample/all/both
%dir /usr/share/sample/nest
%dir /usr/share/sample/nest/inner
%lang(fr) /usr/share/sample/nest/inner/x
%dir /usr/share/sample/both
%dir /usr/share/sample/both/inner
%lang(fr) /usr/share/sample/both/inner/x
/usr/share/sample/both/y
%doc /usr/share/doc/sample
%license /usr/share/sample/kept
`)
	h := openFile(t, path).Header
	for _, test := range []struct {
		docs      bool
		languages []string
	}{
		{true, nil}, {false, nil}, {true, []string{"de"}}, {true, []string{"de_AT"}}, {true, []string{"pt"}}, {false, []string{"en_US", "de"}}, {true, []string{"C"}},
	} {
		root := t.TempDir()
		langs := "all"
		if test.languages != nil {
			langs = strings.Join(test.languages, ":")
		}
		args := []string{"--root", root, "--dbpath", "/var/lib/rpm", "--nosignature", "--define", "_install_langs " + langs, "-i", path}
		if !test.docs {
			args = append([]string{"--excludedocs"}, args...)
		}
		run(t, nil, "rpm", args...)
		left := LeftOut(h, test.docs, test.languages)
		for _, f := range h.Files() {
			_, err := os.Lstat(root + f.Path)
			if there := err == nil; there == left[f.Path] {
				t.Errorf("docs %v, languages %v: %s is there: %v", test.docs, test.languages, f.Path, there)
			}
		}
	}
}

// Files of 4 GiB and more come in the stripped form alone.
func TestCpioLarge(t *testing.T) {
	const size = 5<<30 + 3
	parts := io.MultiReader(strings.NewReader("07070X00000000\x00\x00"), io.LimitReader(zeros{}, size), strings.NewReader("\x0007070X00000001\x00\x00next\x07"[:21]),
		strings.NewReader(string((&testPackage{}).cpio())))
	in := &cpioReader{r: parts, files: 2}
	if _, err := in.Next(); err != nil {
		t.Fatal(err)
	}
	in.Expect(size)
	if n, err := io.Copy(io.Discard, in); err != nil || n != size {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if _, err := in.Next(); err != nil {
		t.Fatal(err)
	}
	in.Expect(4)
	if p, err := io.ReadAll(in); string(p) != "next" || err != nil {
		t.Fatalf("%q, %v", p, err)
	}
	if _, err := in.Next(); err != io.EOF {
		t.Fatal(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
